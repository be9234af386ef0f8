"""Cubes as files have them, until somebody asks for their values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from tso3dask.ops.blocks import to_native

__all__ = ["StoredCubes"]


class StoredCubes(Mapping[str, np.ndarray]):
    """Cubes by name, each of which becomes native in its own memory when it is asked for.

    A run writes flagged pixels as they are, and extraction asks for some of the cubes alone.

    Parameters
    ----------
    stored : mapping of str to ndarray
        Contiguous cubes of the types in `tso3dask.ops.blocks.STORED`; they belong to this object
        from now on.
    """

    def __init__(self, stored: Mapping[str, np.ndarray]) -> None:
        self._stored = dict(stored)
        self._native: dict[str, np.ndarray] = {}
        self._names = tuple(stored)

    def __getitem__(self, name: str) -> np.ndarray:
        if name in self._stored:
            self._native[name] = to_native(self._stored.pop(name))
        return self._native[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def as_they_are(self) -> dict[str, np.ndarray]:
        """Return all cubes, as files have them but for those that have been asked for."""
        return self._stored | self._native
