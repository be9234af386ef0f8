"""Matrices whose rows are runs of adjacent columns.

Integration weights of pixels, resolution kernels, and their products all have this form: a few
neighbouring points of the wavelength grid per row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

__all__ = ["SIDES", "RunMatrix"]

SIDES = 16
"""Number of right-hand sides that go through products together."""


def _doubles(x: np.ndarray) -> np.ndarray:
    if x.ndim == 2 and x.shape[1] != SIDES:
        raise ValueError(f"expected {SIDES} right-hand sides, got {x.shape[1]}")
    return np.ascontiguousarray(x, dtype=np.float64)


@dataclass(frozen=True)
class RunMatrix:
    """A sparse matrix with one run of adjacent columns per row.

    Parameters
    ----------
    first : numpy.ndarray
        First column of each row.
    pointers : numpy.ndarray
        Where the values of each row begin, and the number of all values.
    values : numpy.ndarray
        The values, row by row.
    columns : int
        Number of columns.
    """

    first: np.ndarray
    pointers: np.ndarray
    values: np.ndarray
    columns: int

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.first)

    def triplets(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Row, column and value of all entries, zeros too."""
        lengths = np.diff(self.pointers)
        row = np.repeat(np.arange(self.rows, dtype=np.int32), lengths)
        shift = np.repeat((self.first - self.pointers[:-1]).astype(np.int32), lengths)
        return row, np.arange(len(self.values), dtype=np.int32) + shift, self.values

    def to_csr(self) -> csr_matrix:
        """Copy into compressed rows, without the zeros."""
        from scipy.sparse import csr_matrix

        indices = np.arange(len(self.values)) + np.repeat(
            self.first - self.pointers[:-1], np.diff(self.pointers)
        )
        shape = (self.rows, self.columns)
        matrix = csr_matrix((self.values, indices, self.pointers), shape=shape, copy=True)
        matrix.eliminate_zeros()
        return matrix

    def scaled(
        self, rows: np.ndarray | None = None, columns: np.ndarray | None = None
    ) -> RunMatrix:
        """Multiply rows, or columns, or both, by factors."""
        values = self.values
        if rows is not None:
            values = values * np.repeat(rows, np.diff(self.pointers))
        if columns is not None:
            shift = np.repeat(self.first - self.pointers[:-1], np.diff(self.pointers))
            values = values * columns[np.arange(len(values)) + shift]
        return RunMatrix(self.first, self.pointers, values, self.columns)

    def selected(self, rows: np.ndarray) -> RunMatrix:
        """Empty the rows that are not selected by a boolean array."""
        kept = np.repeat(rows, np.diff(self.pointers))
        pointers = np.concatenate([[0], np.cumsum(np.where(rows, np.diff(self.pointers), 0))])
        return RunMatrix(self.first, pointers, self.values[kept], self.columns)

    def __matmul__(self, x: np.ndarray) -> np.ndarray:
        """Product with a vector (column,) or with `SIDES` of them (column, side)."""
        from ._runs_jit import times, times_sides

        out = np.empty((self.rows, *x.shape[1:]))
        kernel = times if x.ndim == 1 else times_sides
        kernel(self.first, self.pointers, self.values, _doubles(x), out)
        return out

    def transposed_times(self, x: np.ndarray) -> np.ndarray:
        """Product of the transposed matrix with a vector (row,) or `SIDES` of them (row, side)."""
        from ._runs_jit import transposed_times, transposed_times_sides

        out = np.zeros((self.columns, *x.shape[1:]))
        kernel = transposed_times if x.ndim == 1 else transposed_times_sides
        kernel(self.first, self.pointers, self.values, _doubles(x), out)
        return out

    def transposed_product(self, other: RunMatrix) -> RunMatrix:
        """Product of the transposed matrix with another of the same rows."""
        from ._runs_jit import transposed_product

        first, pointers, values = transposed_product(
            self.first,
            self.pointers,
            self.values,
            other.first,
            other.pointers,
            other.values,
            self.columns,
        )
        return RunMatrix(first, pointers, values, other.columns)

    def product(self, other: RunMatrix) -> RunMatrix:
        """Product with another matrix whose rows are the columns of this one."""
        from ._runs_jit import product

        first, pointers, values = product(
            self.first, self.pointers, self.values, other.first, other.pointers, other.values
        )
        return RunMatrix(first, pointers, values, other.columns)

    def reaches_nan(self, x: np.ndarray) -> np.ndarray:
        """Rows with a value other than zero where x (column,) is NaN."""
        present = RunMatrix(
            self.first, self.pointers, (self.values != 0).astype(float), self.columns
        )
        return (present @ np.isnan(x).astype(float)) > 0
