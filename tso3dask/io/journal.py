"""Rows that tasks give back, and those of finished tasks kept on disk."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

__all__ = ["ChunkResult", "Journal"]


@dataclass(frozen=True)
class ChunkResult:
    """Rows that a task gives back. Never pixels.

    Attributes
    ----------
    member : int
        Member of the association.
    a, b : int
        Integrations of the segment.
    rows : dict of str to ndarray
        One value or a short vector per integration, or per bin of integrations.
    """

    member: int
    a: int
    b: int
    rows: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Journal:
    """Results of finished tasks on disk, so that an interrupted run can go on.

    Attributes
    ----------
    folder : str
        Hidden folder beside the products.
    """

    folder: str

    def _path(self, name: str) -> Path:
        return Path(self.folder) / f"{name}.npz"

    def load(self, name: str) -> ChunkResult | None:
        """Return the result of a finished task, or None."""
        path = self._path(name)
        if not path.exists():
            return None
        try:
            with np.load(path, allow_pickle=False) as stored:
                rows = {k: stored[k] for k in stored.files}
            member, a, b = (int(v) for v in rows.pop("_range"))
        except (OSError, ValueError, EOFError, KeyError, BadZipFile):
            return None
        return ChunkResult(member, a, b, rows)

    def save(self, name: str, result: ChunkResult) -> ChunkResult:
        """Keep a result and return it."""
        path = self._path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        with part.open("wb") as handle:
            place = np.array([result.member, result.a, result.b])
            np.savez(handle, _range=place, **result.rows)  # type: ignore[arg-type]
        part.replace(path)
        return result

    def forget(self, label: str) -> None:
        """Forget the results of one member, whose label is part of their names."""
        for path in Path(self.folder).glob(f"*-{label}-*"):
            path.unlink(missing_ok=True)

    def remove(self) -> None:
        """Forget everything."""
        shutil.rmtree(self.folder, ignore_errors=True)
