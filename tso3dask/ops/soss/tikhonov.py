"""Search of the Tikhonov regularisation factor.

Darveau-Bernier et al. 2022, PASP 134, 094502, section 2.3: the solution minimises chi2 plus
factor^2 times the squared norm of the spectrum's derivative. The best factor is the one from which
on chi2 rises noticeably with the logarithm of the factor. Factors of which rounding decides the
solution take part in the search but are never the result.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from tso3dask.ops.soss.banded import NormalFactor, NormalSystem, smoothness_matrix
from tso3dask.ops.soss.columns import ColumnModel
from tso3dask.ops.soss.engine import Design
from tso3dask.ops.soss.frontal import FrontalFactor, FrontalSystem

__all__ = ["FactorTests", "RegularisedFit", "best_factor", "first_guess", "search_factor"]

SLOPE = {"chi2": 1e-5, "chi2_soft_l1": 1e-4, "chi2_cauchy": 1e-3}
"""Rise of each kind of chi2 per decade of the factor that counts as noticeable."""

FINE_POINTS = 10000


class RegularisedFit:
    """Fit of a spectrum to pixels for any regularisation factor.

    Parameters
    ----------
    design : Design
        Model of the pixels.
    scaled : numpy.ndarray
        Data over errors (pixel,).
    error : numpy.ndarray
        Errors (pixel,).
    drop_unseen : bool
        Leave out grid points that no pixel tells anything of; they are NaN in solutions.
        Otherwise the regularisation alone decides them.
    """

    def __init__(
        self, design: Design, scaled: np.ndarray, error: np.ndarray, drop_unseen: bool = True
    ) -> None:
        self.design = design
        self.scaled = np.asarray(scaled, dtype=np.float64)
        self.matrices = design.weighted(error)
        self.right = design.right_side(self.matrices, self.scaled)
        self.seen = self.right != 0 if drop_unseen else np.ones(len(self.right), dtype=bool)
        smoothness = smoothness_matrix(design.grid)[self.seen][:, self.seen]
        columns = ColumnModel.of(design, error) if self.seen.any() else None
        self.system: FrontalSystem | NormalSystem
        if columns is None:
            self.system = NormalSystem(design, self.matrices, error, smoothness, self.seen)
        else:
            self.system = FrontalSystem(columns, smoothness, self.seen)

    def solve(self, factor: float) -> tuple[np.ndarray, FrontalFactor | NormalFactor]:
        """Spectrum (grid point,) and the factorised system it comes from."""
        system = self.system.factorised(factor)
        solution = np.full(len(self.seen), np.nan)
        solution[self.seen] = system.solve(self.scaled)
        return solution, system

    def residual(self, solution: np.ndarray) -> np.ndarray:
        """Model minus data over errors (pixel,)."""
        return self.design.pixel_model(solution, self.matrices) - self.scaled


@dataclass
class FactorTests:
    """Solutions of tested factors and how good they are.

    Parameters
    ----------
    factors : numpy.ndarray
        Tested factors, in the order of the tests.
    solutions : list of numpy.ndarray
        Spectra (grid point,).
    chi2, chi2_soft_l1, chi2_cauchy : numpy.ndarray
        Mean loss per pixel of the squared residuals.
    regularisation : numpy.ndarray
        Squared norm of the spectrum's derivative.
    ill_conditioned : numpy.ndarray
        Factors of which rounding decides the solution.
    """

    factors: np.ndarray = field(default_factory=lambda: np.empty(0))
    solutions: list[np.ndarray] = field(default_factory=list)
    chi2: np.ndarray = field(default_factory=lambda: np.empty(0))
    chi2_soft_l1: np.ndarray = field(default_factory=lambda: np.empty(0))
    chi2_cauchy: np.ndarray = field(default_factory=lambda: np.empty(0))
    regularisation: np.ndarray = field(default_factory=lambda: np.empty(0))
    ill_conditioned: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=bool))

    def test(self, fit: RegularisedFit, factors: np.ndarray) -> None:
        """Add the tests of more factors."""
        for factor in factors:
            solution, system = fit.solve(float(factor))
            square = fit.residual(solution) ** 2
            square = square[~np.isnan(square)]
            slope = np.diff(solution) / np.diff(fit.design.grid)
            self.factors = np.append(self.factors, factor)
            self.solutions.append(solution)
            self.chi2 = np.append(self.chi2, _mean(square))
            self.chi2_soft_l1 = np.append(self.chi2_soft_l1, _mean(2 * (np.sqrt(1 + square) - 1)))
            self.chi2_cauchy = np.append(self.chi2_cauchy, _mean(np.log(1 + square)))
            self.regularisation = np.append(self.regularisation, np.nansum(slope**2))
            self.ill_conditioned = np.append(self.ill_conditioned, system.ill_conditioned)


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else float("nan")


def first_guess(design: Design, estimate: np.ndarray) -> float:
    """Factor of the order of magnitude that an estimate of the spectrum asks for.

    Parameters
    ----------
    design : Design
        Model of the pixels.
    estimate : numpy.ndarray
        Estimate of the spectrum at the points of the grid.
    """
    slope = np.diff(estimate) / np.diff(design.grid)
    return float((np.count_nonzero(~design.mask) / np.nansum(slope**2)) ** 0.5)


def best_factor(tests: FactorTests, kind: str = "chi2_cauchy", lowest: float = 0.0) -> float:
    """Smallest factor at which chi2 rises noticeably, the largest tested where it never does.

    Parameters
    ----------
    tests : FactorTests
        At least two tests with a chi2.
    kind : str
        Which chi2: ``chi2``, ``chi2_soft_l1`` or ``chi2_cauchy``.
    lowest : float
        Smallest factor that may be returned.
    """
    from scipy.interpolate import Akima1DInterpolator, UnivariateSpline

    values = getattr(tests, kind)
    finite = np.isfinite(values)
    order = np.argsort(tests.factors[finite])
    x, y = np.log10(tests.factors[finite][order]), values[finite][order]
    degree = min(3, len(x) - 1)
    if degree < 1:
        return float(tests.factors.max())
    curve = (
        Akima1DInterpolator(x, y, method="makima")
        if degree == 3
        else UnivariateSpline(x, y, k=degree, s=0)
    )
    fine = np.linspace(x[0], x[-1], FINE_POINTS)
    rising = curve.derivative()(fine) > SLOPE[kind]
    if lowest > 0:
        rising &= fine >= np.log10(lowest)
    return float(10 ** fine[rising][0]) if rising.any() else float(10 ** x[-1])


def _closer_factors(tests: FactorTests, factor: float) -> np.ndarray:
    """Two factors around the tested one that is closest to a factor."""
    f = np.sort(tests.factors)
    distance = np.abs(np.log(f) - np.log(factor))
    at = int(np.flatnonzero(distance == distance.min())[0])
    if at == 0:
        return np.array([f[0] ** 2 / f[1], np.sqrt(f[0] * f[1])])
    if at == len(f) - 1:
        return np.array([np.sqrt(f[-1] * f[-2]), f[-1] ** 2 / f[-2]])
    return np.array([np.sqrt(f[at] * f[at - 1]), np.sqrt(f[at] * f[at + 1])])


def search_factor(
    fit: RegularisedFit, guess: float, decades: tuple[float, float], refinements: int = 3
) -> tuple[float, FactorTests, list[str]]:
    """Find the best factor: ten over a range, then two closer ones around the best, repeatedly.

    Parameters
    ----------
    fit : RegularisedFit
        The fit.
    guess : float
        First guess of the factor.
    decades : tuple of float
        Range of the search around the guess, in decades.
    refinements : int
        How often the best factor is refined.

    Returns
    -------
    factor : float
        The best factor of those whose solution is well determined.
    tests : FactorTests
        All tests made.
    notes : list of str
        A line where a smaller factor was not accepted.
    """
    tests = FactorTests()
    start = np.log10(guess)
    tests.test(fit, np.logspace(start + decades[0], start + decades[1], 10))
    factor = best_factor(tests)
    for _ in range(refinements):
        tests.test(fit, _closer_factors(tests, factor))
        factor = best_factor(tests)
    notes: list[str] = []
    if not tests.ill_conditioned.all():
        lowest = float(tests.factors[~tests.ill_conditioned].min())
        if factor < lowest:
            found, factor = factor, best_factor(tests, lowest=lowest)
            notes.append(
                f"regularisation factor {found:.3e} is not accepted: the solution would be decided"
                f" by rounding; {factor:.3e} is used"
            )
    return factor, tests, notes
