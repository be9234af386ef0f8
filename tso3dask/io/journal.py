"""Rows that tasks give back, and those of finished tasks kept on disk."""

from __future__ import annotations

import pickle
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from tso3dask.errors import RunError

__all__ = ["ChunkResult", "Journal", "load_object"]

_ABOUT = "run.json"


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
    about : str
        What the run is of, as text; kept beside the first result.
    """

    folder: str
    about: str = field(default="", repr=False)

    def description(self) -> str:
        """What the run is of that left results here; empty if that is not known."""
        try:
            return (Path(self.folder) / _ABOUT).read_text("utf-8")
        except (OSError, UnicodeDecodeError):
            return ""

    def _make(self) -> None:
        """Make the folder."""
        folder = Path(self.folder)
        if folder.is_dir():
            return
        folder.mkdir(parents=True, exist_ok=True)
        if self.about:
            (folder / _ABOUT).write_text(self.about, "utf-8")

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
        self._make()
        part = path.with_suffix(".part")
        with part.open("wb") as handle:
            place = np.array([result.member, result.a, result.b])
            np.savez(handle, _range=place, **result.rows)  # type: ignore[arg-type]
        part.replace(path)
        return result

    def keep(self, name: str, value: Any) -> str:
        """Keep something that tasks of any process share, and return the path of its file."""
        path = (Path(self.folder) / f"{name}.pickle").absolute()
        self._make()
        part = path.with_suffix(".part")
        with part.open("wb") as handle:
            pickle.dump(value, handle, protocol=5)
        part.replace(path)
        return str(path)

    def forget(self, label: str) -> None:
        """Forget the results of one member, whose label is part of their names."""
        for path in Path(self.folder).glob(f"*-{label}-*"):
            path.unlink(missing_ok=True)

    def forget_all(self) -> None:
        """Forget the results of all members, but not what their tasks share."""
        for path in Path(self.folder).glob("*.npz"):
            path.unlink(missing_ok=True)

    def remove(self) -> None:
        """Forget everything."""
        shutil.rmtree(self.folder, ignore_errors=True)


def load_object(path: str) -> Any:
    """Return what `Journal.keep` put into a file.

    Raises
    ------
    RunError
        If the file is not there any more.
    """
    try:
        with open(path, "rb") as handle:
            return pickle.load(handle)
    except OSError as error:
        raise RunError(
            f"{path}: cannot be read ({error.strerror}); a run needs it until its end"
        ) from error
