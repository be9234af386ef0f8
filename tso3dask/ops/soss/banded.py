"""Symmetric positive definite systems of banded form.

The unknowns of the joint solution are not banded in order of wavelength, as a pixel sees two
wavelengths far apart. In reverse Cuthill-McKee order they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

__all__ = ["BandedFactor", "BandedSystem", "PanelFactor", "smoothness_matrix"]

SMALLEST_PIVOT = 1e-14
"""Pivots below this share of the diagonal are rounding: the system is called ill-conditioned."""


def smoothness_matrix(grid: np.ndarray) -> csr_matrix:
    """Product T^T T of the first-derivative operator T on a grid."""
    from scipy.sparse import diags

    share = 1.0 / np.diff(grid) ** 2
    diagonal = np.zeros(len(grid))
    diagonal[:-1] += share
    diagonal[1:] += share
    return diags([-share, diagonal, -share], [-1, 0, 1], format="csr")


PANEL = 64
"""Columns of a panel."""


@dataclass(frozen=True)
class BandedFactor:
    """Cholesky factor of a banded matrix in another order of the unknowns.

    Parameters
    ----------
    band : numpy.ndarray
        Lower factor (distance below the diagonal, unknown).
    order : numpy.ndarray
        Unknown at each place of the factor.
    ill_conditioned : bool
        Whether pivots were lost to rounding.
    """

    band: np.ndarray
    order: np.ndarray
    ill_conditioned: bool

    def solve(self, right: np.ndarray) -> np.ndarray:
        """Solution for right-hand sides (unknown,) or (unknown, side)."""
        from scipy.linalg.lapack import dpbtrs

        solution, _ = dpbtrs(self.band, right[self.order], lower=1)
        result = np.empty_like(right)
        result[self.order] = solution.reshape(right.shape)
        return result

    def in_panels(self) -> PanelFactor:
        """Copy the factor into panels, for many right-hand sides."""
        from scipy.linalg import solve_triangular

        reach, size = self.band.shape
        heights = reach - 1 - np.argmax(self.band[::-1] != 0, axis=0)
        inverses, panels = [], []
        for begin in range(0, size, PANEL):
            width = min(PANEL, size - begin)
            last = int((np.arange(width) + heights[begin : begin + width]).max()) + 1
            below = np.arange(last) - np.arange(width)[:, np.newaxis]
            inside = (below >= 0) & (below < reach)
            at = np.broadcast_to(np.arange(begin, begin + width)[:, np.newaxis], below.shape)
            panel = np.zeros((width, last))
            panel[inside] = self.band[below[inside], at[inside]]
            corner = np.ascontiguousarray(panel[:, :width].T)
            inverses.append(solve_triangular(corner, np.eye(width), lower=True))
            panels.append(np.ascontiguousarray(panel[:, width:]))
        return PanelFactor(tuple(inverses), tuple(panels), self.order, self.ill_conditioned)


@dataclass(frozen=True)
class PanelFactor:
    """Cholesky factor in panels of columns that end with their last value.

    Parameters
    ----------
    inverses : tuple of numpy.ndarray
        Inverse of the square on the diagonal of each panel.
    panels : tuple of numpy.ndarray
        What is below it, transposed (column, row).
    order : numpy.ndarray
        Unknown at each place of the factor.
    ill_conditioned : bool
        Whether pivots were lost to rounding.
    """

    inverses: tuple[np.ndarray, ...]
    panels: tuple[np.ndarray, ...]
    order: np.ndarray
    ill_conditioned: bool

    def solve(self, right: np.ndarray) -> np.ndarray:
        """Solution for right-hand sides (unknown, side)."""
        x = right[self.order]
        begins = range(0, len(x), PANEL)
        for begin, inverse, panel in zip(begins, self.inverses, self.panels, strict=True):
            middle = begin + panel.shape[0]
            x[begin:middle] = inverse @ x[begin:middle]
            x[middle : middle + panel.shape[1]] -= panel.T @ x[begin:middle]
        parts = zip(begins, self.inverses, self.panels, strict=True)
        for begin, inverse, panel in reversed(list(parts)):
            middle = begin + panel.shape[0]
            rest = x[begin:middle] - panel @ x[middle : middle + panel.shape[1]]
            x[begin:middle] = inverse.T @ rest
        result = np.empty_like(x)
        result[self.order] = x
        return result


class BandedSystem:
    """The matrices A + factor^2 R for any regularisation factor.

    Parameters
    ----------
    normal, smoothness : scipy.sparse.csr_matrix
        The symmetric matrices A and R.
    """

    def __init__(self, normal: csr_matrix, smoothness: csr_matrix) -> None:
        from scipy.sparse.csgraph import reverse_cuthill_mckee

        pattern = abs(normal) + abs(smoothness)
        order = reverse_cuthill_mckee(pattern.tocsr(), symmetric_mode=True)
        place = np.empty(len(order), np.int64)
        place[order] = np.arange(len(order))
        entries = pattern.tocoo()
        self.order = order
        self.width = int(np.abs(place[entries.row] - place[entries.col]).max(initial=0))
        self._normal = self._triplets(normal, place)
        self._smoothness = self._triplets(smoothness, place)

    @staticmethod
    def _triplets(matrix: csr_matrix, place: np.ndarray) -> tuple[np.ndarray, ...]:
        """Distance below the diagonal, column and value of the entries of the lower half."""
        entries = matrix.tocoo()
        row, column = place[entries.row], place[entries.col]
        lower = row >= column
        below = (row - column)[lower].astype(np.int32)
        return below, column[lower].astype(np.int32), entries.data[lower]

    def _matrix(self, factor: float) -> np.ndarray:
        band = np.zeros((self.width + 1, len(self.order)), order="F")
        below, column, value = self._normal
        band[below, column] = value
        below, column, value = self._smoothness
        band[below, column] += factor**2 * value
        return band

    def factorised(self, factor: float) -> BandedFactor:
        """Cholesky factor for a regularisation factor.

        Where rounding makes the matrix indefinite its diagonal is raised by as little as helps,
        and the result says that it is ill-conditioned.
        """
        from scipy.linalg.lapack import dpbtrf

        matrix = self._matrix(factor)
        diagonal = np.where(matrix[0] > 0, matrix[0], 1.0)
        band, failed = dpbtrf(matrix, lower=1, overwrite_ab=1)
        ill = bool(failed)
        raised = np.finfo(float).eps
        while failed:
            matrix = self._matrix(factor)
            matrix[0] = diagonal * (1 + raised)
            band, failed = dpbtrf(matrix, lower=1, overwrite_ab=1)
            raised *= 10
        ill |= bool((band[0] ** 2 < SMALLEST_PIVOT * diagonal).any())
        return BandedFactor(band, self.order, ill)
