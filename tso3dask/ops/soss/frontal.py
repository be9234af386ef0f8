"""Joint systems of orders whose pixels of a column all have the same wavelengths.

The unknowns are the spectrum and the misfit of the numbers that columns tell of it, in a symmetric
matrix that is positive on the former and negative on the latter, so that any order of elimination
will do (Vanderbei 1995, SIAM J. Optim. 5, 100). Going along the detector, a point of the spectrum
is eliminated when all columns that see it have been met, and a column when all of its points are
gone. Only those in between are held, a front of a few hundred unknowns however fine the grid is.
No normal matrix is made, so that the condition is not squared.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from tso3dask.ops.soss.columns import ColumnModel

if TYPE_CHECKING:
    from scipy.sparse import csc_matrix, csr_matrix

__all__ = ["FrontalFactor", "FrontalSystem"]

SMALLEST_PIVOT = 1e-14
"""Pivots below this share of what they are a difference of are rounding."""

SMALLEST_FACTOR = 1e-10
"""Share of the natural scale of factors below which none is well determined."""

MOST_REFINEMENTS = 12
"""Corrections of a solution; a system that needs more is ill-conditioned."""

EXACT, TOLERABLE = 1e-8, 1e-6
"""Shares of the right side to which a solution is to be exact, and has to be where it can."""


@dataclass(frozen=True)
class FrontalFactor:
    """Factorised system.

    Parameters
    ----------
    model : ColumnModel
        Model of the pixels.
    kept : numpy.ndarray
        Numbers of columns that say anything, among the flattened (number, column).
    steps_of_points, steps_of_numbers : numpy.ndarray
        When each point of the spectrum and each of these numbers is eliminated.
    slots, shares, pivots : numpy.ndarray
        Place in the front of the unknown that is eliminated in each step, its shares in those in
        the front (step, place), and its pivot.
    ill_conditioned : bool
        Whether pivots were lost to rounding, or solutions cannot be made exact.
    matrix : scipy.sparse.csr_matrix
        From the points to the numbers, (kept number, point).
    smoothness : scipy.sparse.csr_matrix
        Regularisation (point, point), times the factor squared.
    refinements : int
        How often a solution is corrected by what it leaves of the system. Without pivoting,
        eliminating loses digits where the regularisation is small.
    """

    model: ColumnModel
    kept: np.ndarray
    steps_of_points: np.ndarray
    steps_of_numbers: np.ndarray
    slots: np.ndarray
    shares: np.ndarray
    pivots: np.ndarray
    ill_conditioned: bool
    matrix: csr_matrix
    smoothness: csr_matrix
    refinements: int = 0

    def solve(self, scaled: np.ndarray) -> np.ndarray:
        """Spectrum (point, ...) of pixels over their errors (pixel, ...)."""
        sides = scaled.shape[1:]
        numbers = self.model.numbers(scaled).reshape(-1, *sides)[self.kept]
        points, rest = self._eliminated(np.zeros((len(self.steps_of_points), *sides)), numbers)
        for _ in range(self.refinements):
            more, further = self._eliminated(*self._left(points, rest, numbers))
            points, rest = points + more, rest + further
        return points

    def refined(self) -> FrontalFactor | None:
        """Return the same with as many corrections as it takes, or None where none are enough."""
        trial = np.ones(len(self.kept))
        points, rest = self._eliminated(np.zeros(len(self.steps_of_points)), trial)
        last, size = np.inf, float(np.linalg.norm(trial))
        for count in range(MOST_REFINEMENTS + 1):
            more, further = self._eliminated(*self._left(points, rest, trial))
            change = float(np.linalg.norm(further))
            if change <= EXACT * size:
                return replace(self, refinements=count)
            if not change < last / 2:  # the last correction was no use
                return replace(self, refinements=count - 1) if last <= TOLERABLE * size else None
            points, rest, last = points + more, rest + further, change
        return None

    def _eliminated(self, points: np.ndarray, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Solve the whole system for both parts of its right side."""
        from ._frontal_jit import solve_one, solve_sides

        right = np.zeros((len(self.slots), *numbers.shape[1:]))
        right[self.steps_of_points] = points
        right[self.steps_of_numbers] = numbers
        kernel = solve_sides if numbers.ndim > 1 else solve_one
        kernel(self.slots, self.shares, self.pivots, right)
        return right[self.steps_of_points], right[self.steps_of_numbers]

    def _left(
        self, points: np.ndarray, rest: np.ndarray, numbers: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """What a solution leaves of both parts of the right side."""
        return (
            -(self.smoothness @ points) - self.matrix.T @ rest,
            numbers - self.matrix @ points + rest,
        )


class FrontalSystem:
    """The systems of a design for any regularisation factor.

    Parameters
    ----------
    model : ColumnModel
        Model of the pixels.
    smoothness : scipy.sparse.csr_matrix
        Lower half of the regularisation of the points that are `seen`.
    seen : numpy.ndarray
        Points of the grid that are unknowns.
    """

    def __init__(self, model: ColumnModel, smoothness: csr_matrix, seen: np.ndarray) -> None:
        from scipy.sparse import tril

        from ._frontal_jit import place

        self.model = model
        matrix = model.matrix()[:, np.flatnonzero(seen)]
        filled = np.zeros(matrix.shape[0], bool)
        filled[matrix.indices] = True
        self.kept = np.flatnonzero(filled)
        self.matrix = matrix.tocsr()[self.kept]
        self.smoothness = (smoothness + tril(smoothness, -1).T).tocsr()
        sequence = _sequence(matrix, self.kept, model.mixing.shape[0])
        count, points = len(sequence), matrix.shape[1]
        self.steps = np.empty(count, np.int64)
        self.steps[sequence] = np.arange(count)
        link = smoothness.diagonal(-1)
        linked = np.flatnonzero(link)
        pairs = np.stack(
            [
                np.concatenate([_columns(matrix), linked]),
                np.concatenate([points - 1 + np.cumsum(filled)[matrix.indices], linked + 1]),
            ]
        )
        first, then = np.sort(self.steps[pairs], axis=0)
        order = np.argsort(first, kind="stable")
        self.pointers = np.concatenate([[0], np.cumsum(np.bincount(first, minlength=count))])
        self.values = np.concatenate([matrix.data, np.zeros(len(linked))])[order]
        self.smooth_values = np.concatenate([np.zeros(matrix.nnz), link[linked]])[order]
        self.slots, self.places = np.empty(count, np.int64), np.empty(len(order), np.int64)
        self.size = place(self.pointers, then[order], self.slots, self.places)
        self.diagonal = np.where(sequence < points, 0.0, -1.0)
        self.smooth_diagonal = np.zeros(count)
        self.smooth_diagonal[self.steps[:points]] = smoothness.diagonal()
        # a factor at which regularisation weighs about as much as the pixels
        self.scale = np.sqrt((matrix.data**2).max() / self.smooth_diagonal.max())

    def factorised(self, factor: float) -> FrontalFactor:
        """Factors of the system for a regularisation factor.

        Where it is so small that pivots are lost to rounding, or solutions are not exact however
        often they are corrected, the next larger power of ten of it that helps is used, and the
        result says that it is ill-conditioned.
        """
        from ._frontal_jit import eliminate

        points, numbers = np.split(self.steps, [len(self.steps) - len(self.kept)])
        used, ill = factor, False
        while True:
            shares, pivots = np.empty((len(self.slots), self.size)), np.empty(len(self.slots))
            lost = eliminate(
                self.slots,
                self.pointers,
                self.places,
                self.values + used**2 * self.smooth_values,
                self.diagonal + used**2 * self.smooth_diagonal,
                SMALLEST_PIVOT,
                shares,
                pivots,
            )
            found = FrontalFactor(
                self.model,
                self.kept,
                points,
                numbers,
                self.slots,
                shares,
                pivots,
                ill or lost > 0,
                self.matrix,
                used**2 * self.smoothness,
            )
            exact = None if lost else found.refined()
            if exact:
                return exact
            if used > self.scale:
                return replace(found, ill_conditioned=True)
            used, ill = max(10 * used, SMALLEST_FACTOR * self.scale), True


def _columns(matrix: csc_matrix) -> np.ndarray:
    """Column of each entry."""
    return np.repeat(np.arange(matrix.shape[1]), np.diff(matrix.indptr))


def _sequence(matrix: csc_matrix, kept: np.ndarray, width: int) -> np.ndarray:
    """Order of elimination of the points, counted from 0, and of the `kept` numbers after them.

    Regularisation alone does not tell the level of the spectrum. So the last point waits for the
    numbers that have a value in it.
    """
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import reverse_cuthill_mckee

    column, point = matrix.indices % width, _columns(matrix)
    sees = csr_matrix((np.ones(len(point), np.int32), (column, point)), (width, matrix.shape[1]))
    met = np.empty(width, np.int64)
    met[reverse_cuthill_mckee((sees @ sees.T).tocsr(), symmetric_mode=True)] = np.arange(width)
    ready = np.zeros(matrix.shape[1], np.int64)
    np.maximum.at(ready, point, met[column])
    last = np.argsort(ready, kind="stable")[-1]
    gone = np.zeros(matrix.shape[0], np.int64)
    others = point != last
    np.maximum.at(gone, matrix.indices[others], ready[point[others]])
    when = np.concatenate([2 * ready, 2 * gone[kept] + 1])
    when[last] = when.max() + 1
    return np.argsort(when, kind="stable")
