"""Lazily indexed arrays over pixels and tables of spectra, for xarray."""

from __future__ import annotations

from typing import Any

import numpy as np
from xarray.backends import BackendArray
from xarray.core import indexing

from tso3dask.io.pixels import ArraySpec
from tso3dask.io.spectra_tables import SpectrumTable

__all__ = ["ColumnArray", "PixelArray"]


class PixelArray(BackendArray):
    """Pixels of one image, read by offset when they are indexed.

    Parameters
    ----------
    spec : ArraySpec
        Where the pixels are. The object pickles to little more than this.
    """

    def __init__(self, spec: ArraySpec) -> None:
        self.spec = spec
        self.shape = spec.shape
        self.dtype = spec.native

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.BASIC, self._read
        )

    def _read(self, key: tuple[Any, ...]) -> np.ndarray:
        if len(self.shape) == 2:
            return self.spec.read()[key]
        rows = key[0]
        if isinstance(rows, int | np.integer):
            first, last, step, drop = int(rows), int(rows) + 1, 1, True
        else:
            first, last, step = rows.indices(self.shape[0])
            drop = False
        if step < 0:
            count = len(range(first, last, step))
            low = first + (count - 1) * step
            region = self._region(low, first + 1, key[1:])[::step] if count else None
        else:
            region = self._region(first, max(first, last), key[1:])[::step]
        if region is None:
            region = self._region(0, 0, key[1:])
        return region[0] if drop else region

    def _region(self, first: int, last: int, inner: tuple[Any, ...]) -> np.ndarray:
        y = inner[0]
        if isinstance(y, slice) and y.step in (None, 1):
            region = self.spec.read_region(first, last, y)
            return region[(slice(None), slice(None), *inner[1:])]
        if isinstance(y, int | np.integer):
            region = self.spec.read_region(first, last, slice(int(y), int(y) + 1))
            return region[(slice(None), 0, *inner[1:])]
        return self.spec.read(first, last)[(slice(None), *inner)]


class ColumnArray(BackendArray):
    """One vector column over the rows of one or several tables of equal width.

    Parameters
    ----------
    tables : sequence of SpectrumTable
        In order of integration.
    name : str
        Column.
    """

    def __init__(self, tables: list[SpectrumTable], name: str) -> None:
        self._tables = tables
        self._name = name
        base = tables[0].dtype[name].base.newbyteorder("=")
        self.dtype = np.dtype("uint32") if name == "DQ" else base
        self.shape = (sum(t.rows for t in tables), tables[0].width)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.OUTER_1VECTOR, self._read
        )

    def _read(self, key: tuple[Any, ...]) -> np.ndarray:
        wanted = np.arange(self.shape[0])[key[0]]
        rows = np.atleast_1d(wanted)
        out = np.empty((rows.size, self.shape[1]), self.dtype)
        first = 0
        for table in self._tables:
            here = np.flatnonzero((rows >= first) & (rows < first + table.rows))
            if here.size:
                low, high = rows[here].min() - first, rows[here].max() - first + 1
                values = table.column(self._name, int(low), int(high))
                out[here] = values[rows[here] - first - low]
            first += table.rows
        return out[(0 if wanted.ndim == 0 else slice(None), key[1])]
