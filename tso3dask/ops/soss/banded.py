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

__all__ = ["BandedFactor", "BandedSystem", "smoothness_matrix"]

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
        self._normal = self._banded(normal, place)
        self._smoothness = self._triplets(smoothness, place)

    @staticmethod
    def _triplets(matrix: csr_matrix, place: np.ndarray) -> tuple[np.ndarray, ...]:
        entries = matrix.tocoo()
        row, column = place[entries.row], place[entries.col]
        lower = row >= column
        return (row - column)[lower], column[lower], entries.data[lower]

    def _banded(self, matrix: csr_matrix, place: np.ndarray) -> np.ndarray:
        below, column, value = self._triplets(matrix, place)
        band = np.zeros((self.width + 1, len(self.order)), order="F")
        band[below, column] = value
        return band

    def factorised(self, factor: float) -> BandedFactor:
        """Cholesky factor for a regularisation factor.

        Where rounding makes the matrix indefinite its diagonal is raised by as little as helps,
        and the result says that it is ill-conditioned.
        """
        from scipy.linalg.lapack import dpbtrf

        matrix = self._normal.copy(order="F")
        below, column, value = self._smoothness
        matrix[below, column] += factor**2 * value
        diagonal = np.where(matrix[0] > 0, matrix[0], 1.0)
        band, failed = dpbtrf(matrix, lower=1)
        ill = bool(failed)
        raised = np.finfo(float).eps
        while failed:
            matrix[0] = diagonal * (1 + raised)
            band, failed = dpbtrf(matrix, lower=1)
            raised *= 10
        ill |= bool((band[0] ** 2 < SMALLEST_PIVOT * diagonal).any())
        return BandedFactor(band, self.order, ill)
