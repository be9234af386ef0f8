"""Model of a design by columns of the detector.

Where all pixels of a column have the same wavelengths, as in the maps that references give, they
see the spectrum through as many integrals as there are orders. However many pixels a column has,
it tells no more of the spectrum than that many numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tso3dask.ops.soss.engine import Design
from tso3dask.ops.soss.runs import RunMatrix

if TYPE_CHECKING:
    from scipy.sparse import csc_matrix

__all__ = ["ColumnModel"]

SMALLEST_SHARE = 1e-12
"""A number whose square is below this share of its order's is rounding: orders are alike there."""


@dataclass(frozen=True)
class ColumnModel:
    """What the columns of the detector tell of a spectrum.

    Parameters
    ----------
    integrals : tuple of RunMatrix
        Integral over the pixels of a column of the spectrum of each order (column, grid point).
    shares : tuple of RunMatrix
        Spatial profile of each order over the errors (pixel, column).
    mixing : numpy.ndarray
        Upper triangles (column, number, order): the square of each is the product of the shares.
    """

    integrals: tuple[RunMatrix, ...]
    shares: tuple[RunMatrix, ...]
    mixing: np.ndarray

    @classmethod
    def of(cls, design: Design, error: np.ndarray) -> ColumnModel | None:
        """Model of pixels with errors (pixel,); None if some column has several wavelengths."""
        width = design.mask.shape[1]
        column = design.pixels % width
        pointers = np.arange(len(column) + 1)
        integrals, shares = [], []
        for part in design.orders:
            weights = _common_rows(part.weights, column, width)
            if weights is None:
                return None
            convolution = part.convolution(len(design.grid))
            integrals.append(weights.scaled(columns=part.sensitivity).product(convolution))
            share = np.where(np.diff(part.weights.pointers) > 0, part.profile / error, 0.0)
            shares.append(RunMatrix(column, pointers, share, width))
        return cls(tuple(integrals), tuple(shares), _triangles(shares, column, width))

    def numbers(self, scaled: np.ndarray) -> np.ndarray:
        """Numbers (number, column, ...) that pixels over their errors (pixel, ...) come down to."""
        found = np.stack([share.transposed_times(scaled) for share in self.shares])
        triangle = self.mixing.reshape(*self.mixing.shape, *[1] * (scaled.ndim - 1))
        for i in range(len(found)):
            for j in range(i):
                found[i] -= triangle[:, j, i] * found[j]
            pivot = triangle[:, i, i]
            found[i] *= np.where(pivot > 0, 1 / np.where(pivot > 0, pivot, 1.0), 0.0)
        return found

    def matrix(self) -> csc_matrix:
        """Matrix from the spectrum (grid point) to the flattened numbers (number, column)."""
        from scipy.sparse import diags, vstack

        spectra = [integral.to_csr() for integral in self.integrals]
        count = len(spectra)
        rows = [
            sum(diags(self.mixing[:, i, j]) @ spectra[j] for j in range(i, count))
            for i in range(count)
        ]
        found = vstack(rows, format="csc")
        found.eliminate_zeros()
        return found


def _common_rows(weights: RunMatrix, column: np.ndarray, width: int) -> RunMatrix | None:
    """Row of weights of each column, empty if no pixel has any; None if pixels differ."""
    lengths = np.diff(weights.pointers)
    used = np.flatnonzero(lengths)
    example = np.full(width, -1)
    example[column[used]] = used
    other = example[column[used]]
    same = (weights.first[used] == weights.first[other]) & (lengths[used] == lengths[other])
    if not same.all():
        return None
    places = _places(weights.pointers[other], lengths[used])
    if not np.array_equal(weights.values[places], weights.values):
        return None
    some = example >= 0
    count = np.where(some, lengths[example], 0)
    begins = np.where(some, weights.pointers[:-1][example], 0)
    return RunMatrix(
        np.where(some, weights.first[example], 0),
        np.concatenate([[0], np.cumsum(count)]),
        weights.values[_places(begins, count)],
        weights.columns,
    )


def _places(begins: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Places of stretches of some lengths, one after the other."""
    shift = begins - np.concatenate([[0], np.cumsum(lengths)[:-1]])
    return np.arange(lengths.sum()) + np.repeat(shift, lengths)


def _triangles(shares: list[RunMatrix], column: np.ndarray, width: int) -> np.ndarray:
    """Cholesky factors of the products of the shares, zero where a pivot is rounding."""
    count = len(shares)
    mixing = np.zeros((width, count, count))
    for i, one in enumerate(shares):
        for j in range(i, count):
            whole = np.bincount(column, one.values * shares[j].values, width)
            rest = whole - (mixing[:, :i, i] * mixing[:, :i, j]).sum(axis=1)
            if i == j:
                good = rest > SMALLEST_SHARE * whole
                mixing[good, i, i] = np.sqrt(rest[good])
            else:
                mixing[good, i, j] = rest[good] / mixing[good, i, i]
    return mixing
