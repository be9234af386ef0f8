"""Symmetric positive definite systems that are banded in a suitable order of the unknowns.

They serve where pixels of a column differ in wavelength (else: `tso3dask.ops.soss.frontal`).
The unknowns of the joint solution are not banded in order of wavelength, as a pixel sees two
wavelengths far apart. In reverse Cuthill-McKee order they are, with a band of varying width. The
Cholesky factor is kept in panels of columns, each as high as its part of the band.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tso3dask.ops.soss.engine import Design
from tso3dask.ops.soss.runs import RunMatrix

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

__all__ = ["BandedFactor", "BandedSystem", "NormalFactor", "NormalSystem", "smoothness_matrix"]

SMALLEST_PIVOT = 1e-14
"""Pivots below this share of the diagonal are rounding: the system is called ill-conditioned."""

PANEL = 64
"""Columns of a panel."""


def smoothness_matrix(grid: np.ndarray) -> csr_matrix:
    """Lower half of the product T^T T of the first-derivative operator T on a grid."""
    from scipy.sparse import diags

    share = 1.0 / np.diff(grid) ** 2
    diagonal = np.zeros(len(grid))
    diagonal[:-1] += share
    diagonal[1:] += share
    return diags([-share, diagonal], [-1, 0], format="csr")


@dataclass(frozen=True)
class BandedFactor:
    """Cholesky factor in panels of columns.

    Parameters
    ----------
    inverses : tuple of numpy.ndarray
        Inverse of the triangle on the diagonal of each panel.
    panels : tuple of numpy.ndarray
        What is below it (row, column).
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
        """Solution for right-hand sides (unknown,) or (unknown, side)."""
        x = right[self.order]
        parts = list(zip(range(0, len(x), PANEL), self.inverses, self.panels, strict=True))
        for begin, inverse, panel in parts:
            middle = begin + len(inverse)
            x[begin:middle] = inverse @ x[begin:middle]
            x[middle : middle + len(panel)] -= panel @ x[begin:middle]
        for begin, inverse, panel in reversed(parts):
            middle = begin + len(inverse)
            x[begin:middle] -= panel.T @ x[middle : middle + len(panel)]
            x[begin:middle] = inverse.T @ x[begin:middle]
        result = np.empty_like(x)
        result[self.order] = x
        return result


class BandedSystem:
    """The matrices A + factor^2 R for any regularisation factor.

    Parameters
    ----------
    normal, smoothness : scipy.sparse.csr_matrix
        Lower halves of the symmetric matrices A and R.
    """

    def __init__(self, normal: csr_matrix, smoothness: csr_matrix) -> None:
        from scipy.sparse import csr_matrix
        from scipy.sparse.csgraph import reverse_cuthill_mckee

        patterns = [
            csr_matrix((np.ones(m.nnz, np.int8), m.indices, m.indptr), shape=m.shape)
            for m in (normal, smoothness)
        ]
        self.order = reverse_cuthill_mckee(patterns[0] + patterns[1], symmetric_mode=False)
        size = len(self.order)
        place = np.empty(size, np.int64)
        place[self.order] = np.arange(size)
        entries = [self._lower(matrix, place) for matrix in (normal, smoothness)]
        # A row of the factor begins where that of the matrix does: its columns reach down to the
        # last row that has begun.
        starts = np.arange(size)
        for row, column, _ in entries:
            np.minimum.at(starts, row, column)
        last = np.zeros(size, np.int64)
        np.maximum.at(last, starts, np.arange(size))
        last = np.maximum.accumulate(last)
        self.begins = np.arange(0, size, PANEL)
        self.widths = np.minimum(PANEL, size - self.begins)
        self.heights = last[self.begins + self.widths - 1] + 1 - self.begins
        self.offsets = np.concatenate([[0], np.cumsum(self.heights * self.widths)])
        self._entries = [(self._positions(row, column), value) for row, column, value in entries]

    @staticmethod
    def _lower(matrix: csr_matrix, place: np.ndarray) -> tuple[np.ndarray, ...]:
        """Row, column and value of the entries of the lower half in the new order."""
        entries = matrix.tocoo()
        one, two = place[entries.row], place[entries.col]
        return np.maximum(one, two), np.minimum(one, two), entries.data

    def _positions(self, row: np.ndarray, column: np.ndarray) -> np.ndarray:
        panel = column // PANEL
        begin = panel * PANEL
        return self.offsets[panel] + (row - begin) * self.widths[panel] + column - begin

    def _matrix(self, factor: float) -> list[np.ndarray]:
        """Panels (row, column) of the matrix."""
        values = np.zeros(self.offsets[-1])
        (at, value), (at_smooth, smooth) = self._entries
        values[at] = value
        values[at_smooth] += factor**2 * smooth
        return [
            part.reshape(-1, width)
            for part, width in zip(
                np.split(values, self.offsets[1:-1]), self.widths.tolist(), strict=True
            )
        ]

    def factorised(self, factor: float) -> BandedFactor:
        """Cholesky factor for a regularisation factor.

        Where rounding makes the matrix indefinite its diagonal is raised by as little as helps,
        and the result says that it is ill-conditioned.
        """
        raised, ill = 0.0, False
        while True:
            panels = self._matrix(factor)
            diagonal = np.concatenate([np.diagonal(p[: p.shape[1]]) for p in panels])
            diagonal = np.where(diagonal > 0, diagonal, 1.0)
            if raised:
                for begin, panel in zip(self.begins.tolist(), panels, strict=True):
                    width = panel.shape[1]
                    at = np.arange(width)
                    panel[at, at] = diagonal[begin : begin + width] * (1 + raised)
            inverses = self._eliminate(panels)
            if inverses is not None:
                break
            ill = True
            raised = raised * 100 or 1e-12
        pivots = np.concatenate([np.diagonal(inverse) for inverse in inverses]) ** -2
        ill |= bool((pivots < SMALLEST_PIVOT * diagonal).any())
        below = tuple(panel[panel.shape[1] :] for panel in panels)
        return BandedFactor(tuple(inverses), below, self.order, ill)

    def _eliminate(self, panels: list[np.ndarray]) -> list[np.ndarray] | None:
        """Cholesky factorisation in place; None if the matrix is not positive definite."""
        from scipy.linalg.lapack import dpotrf, dtrtri

        inverses = []
        for p, panel in enumerate(panels):
            width = panel.shape[1]
            corner, failed = dpotrf(panel[:width], lower=1, clean=1)
            if failed:
                return None
            inverse = np.ascontiguousarray(dtrtri(corner, lower=1)[0])
            inverses.append(inverse)
            below = panel[width:]
            below[:] = below @ inverse.T
            done = 0
            for later in panels[p + 1 :]:
                rest = below[done:]
                columns = rest[: later.shape[1]]
                later[: len(rest), : len(columns)] -= rest @ columns.T
                done += later.shape[1]
                if done >= len(below):
                    break
        return inverses


@dataclass(frozen=True)
class NormalFactor:
    """Factorised normal equations of a design.

    Parameters
    ----------
    design : Design
        Model of the pixels.
    matrices : tuple of RunMatrix
        From the convolved spectrum of each order to pixels over errors.
    seen : numpy.ndarray
        Points of the grid that are unknowns.
    factor : BandedFactor
        The system.
    """

    design: Design
    matrices: tuple[RunMatrix, ...]
    seen: np.ndarray
    factor: BandedFactor

    @property
    def ill_conditioned(self) -> bool:
        """Whether pivots were lost to rounding."""
        return self.factor.ill_conditioned

    def solve(self, scaled: np.ndarray) -> np.ndarray:
        """Spectrum (point, ...) of pixels over their errors (pixel, ...)."""
        return self.factor.solve(self.design.right_side(self.matrices, scaled)[self.seen])


class NormalSystem:
    """Normal equations of a design for any regularisation factor.

    Parameters
    ----------
    design : Design
        Model of the pixels.
    matrices : sequence of RunMatrix
        From the convolved spectrum of each order to pixels over errors.
    error : numpy.ndarray
        Errors (pixel,).
    smoothness : scipy.sparse.csr_matrix
        Lower half of the regularisation of the points that are `seen`.
    seen : numpy.ndarray
        Points of the grid that are unknowns.
    """

    def __init__(
        self,
        design: Design,
        matrices: Sequence[RunMatrix],
        error: np.ndarray,
        smoothness: csr_matrix,
        seen: np.ndarray,
    ) -> None:
        self.design, self.matrices, self.seen = design, tuple(matrices), seen
        normal = design.normal_matrix(error)
        self.system = BandedSystem(normal[seen][:, seen], smoothness)

    def factorised(self, factor: float) -> NormalFactor:
        """Cholesky factor for a regularisation factor."""
        return NormalFactor(self.design, self.matrices, self.seen, self.system.factorised(factor))
