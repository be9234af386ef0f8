"""Extraction by a fit of spatial profiles, for blocks of integrations.

In each element along the dispersion the pixels across it are a sum of known functions: the
profile of the source, perhaps that of a second source, and powers of the coordinate across for
the background. Their amplitudes come from linear least squares in which every good pixel counts
alike; the source's amplitude is its flux. Each integration is fitted on its own. Method: Horne
(1986, PASP 98, 609); rules for bad pixels and errors: JWST documentation of the extract_1d step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .box import RESULTS
from .extract_params import HORIZONTAL

__all__ = [
    "Fit",
    "OptimalPlan",
    "extract_optimal",
    "fit_profiles",
    "optimal_plan",
    "total_variance",
]

WORST_CONDITION = 1e10
"""Where the condition number of the normal equations reaches this, they are not solved."""
BATCH = 1 << 17
"""Pixels that are fitted together."""

Pixels = NDArray[np.floating]
Image = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class OptimalPlan:
    """What a fit needs to know beyond the pixels.

    Attributes
    ----------
    dispaxis : int
        Dispersion direction.
    profiles : tuple of ndarray
        Spatial profile ``(y, x)`` of the source, and perhaps that of a second one.
    inside : ndarray of bool or None
        Background pixels ``(y, x)`` that are fitted beside those under the profiles.
    order : int
        Order of the background polynomial, -1 for none.
    """

    dispaxis: int
    profiles: tuple[Image, ...]
    inside: NDArray[np.bool_] | None = None
    order: int = -1

    @property
    def shape(self) -> tuple[int, int]:
        """Shape ``(y, x)`` of the image."""
        return self.profiles[0].shape

    @property
    def across(self) -> int:
        """Axis of an image that runs across the dispersion."""
        return 0 if self.dispaxis == HORIZONTAL else 1

    @cached_property
    def used(self) -> NDArray[np.bool_]:
        """Pixels ``(y, x)`` that are fitted where they are good."""
        used = np.zeros(self.shape, bool) if self.inside is None else self.inside.copy()
        for profile in self.profiles:
            used |= profile != 0
        return used

    @cached_property
    def functions(self) -> Image:
        """What is fitted, ``(function, y, x)``: powers of the coordinate, then profiles.

        The coordinate runs from -1 to 1 across the image.
        """
        count = self.shape[self.across]
        position = np.linspace(-1, 1, count)
        position = position[:, np.newaxis] if self.across == 0 else position[np.newaxis, :]
        powers = [np.ones_like(position)]
        for _ in range(self.order):
            powers.append(powers[-1] * position)
        powers = powers[: self.order + 1]
        return np.stack([*(np.broadcast_to(p, self.shape) for p in powers), *self.profiles])

    def __getstate__(self) -> dict[str, Any]:
        """State for pickle, without what can be made again."""
        return {k: v for k, v in vars(self).items() if k not in ("used", "functions")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)


def optimal_plan(
    profiles: Sequence[Image],
    dispaxis: int,
    *,
    bkg_profile: Image | None = None,
    bkg_order: float | None = None,
) -> OptimalPlan:
    """Settle a fit.

    Parameters
    ----------
    profiles : sequence of ndarray
        Profile ``(y, x)`` of the source, and perhaps of a second one.
    dispaxis : int
        Dispersion direction.
    bkg_profile : ndarray, optional
        Background pixels ``(y, x)``: where it is not 0.
    bkg_order : int, optional
        Order of the background polynomial; None for no background.

    Returns
    -------
    OptimalPlan

    Raises
    ------
    InputError
        If the order is not a whole number of 0 or more.
    """
    if bkg_order is not None and (bkg_order < 0 or bkg_order != int(bkg_order)):
        raise InputError(f"bkg_order is {bkg_order!r}; it must be a whole number, 0 or more")
    return OptimalPlan(
        dispaxis,
        tuple(np.ascontiguousarray(profile, dtype=np.float64) for profile in profiles),
        None if bkg_profile is None else np.asarray(bkg_profile != 0),
        -1 if bkg_order is None else int(bkg_order),
    )


@dataclass(frozen=True, eq=False)
class Fit:
    """Amplitudes of a block of integrations.

    Attributes
    ----------
    plan : OptimalPlan
        What was fitted.
    good : ndarray of bool
        Pixels ``(integration, y, x)`` with a value and a variance.
    amplitudes : ndarray
        ``(function, integration, dispersion)``, 0 where the fit has no solution.
    covariances : ndarray
        ``(function, function, integration, dispersion)`` for pixels of unit variance.
    """

    plan: OptimalPlan
    good: NDArray[np.bool_]
    amplitudes: Image
    covariances: Image

    def scene(self) -> Image:
        """Sum of all functions with their amplitudes, ``(integration, y, x)``."""
        return self._sum(range(len(self.amplitudes)))

    def _sum(self, which: Sequence[int]) -> Image:
        functions = self.plan.functions
        total = np.zeros(self.good.shape)
        for k in which:
            total += self.along(self.amplitudes[k]) * functions[k]
        return total

    def along(self, values: Image) -> Image:
        """Spread values ``(integration, dispersion)`` over images."""
        return values[:, np.newaxis, :] if self.plan.across == 0 else values[:, :, np.newaxis]


def fit_profiles(sci: Pixels, variance: Pixels, plan: OptimalPlan) -> Fit:
    """Fit the profiles and the background of a block of integrations.

    Parameters
    ----------
    sci : ndarray
        Values ``(integration, y, x)``, NaN for bad pixels.
    variance : ndarray
        Their variance. It says only whether a pixel is good: it is if both are finite.
    plan : OptimalPlan
        What to fit.

    Returns
    -------
    Fit
        Nothing is fitted where the good pixels do not tell the functions apart.
    """
    good = np.isfinite(sci) & np.isfinite(variance)
    weight = good & plan.used
    values = np.where(weight, sci, 0.0)
    functions = plan.functions
    count = len(functions)
    elements = sci.shape[2 - plan.across]
    matrix = np.empty((len(sci), elements, count, count))
    vector = np.empty((count, len(sci), elements))
    subscripts = "nyx,yx->nx" if plan.across == 0 else "nyx,yx->ny"
    counted = weight.astype(np.float64)
    for i, one in enumerate(functions):
        vector[i] = np.einsum(subscripts, values, one)
        for k, other in enumerate(functions[: i + 1]):
            matrix[:, :, i, k] = matrix[:, :, k, i] = np.einsum(subscripts, counted, one * other)
    covariances = _invert(matrix)
    amplitudes = np.einsum("iknl,knl->inl", covariances, vector)
    return Fit(plan, good, amplitudes, covariances)


def _invert(matrix: Image) -> Image:
    """Inverses ``(i, k, integration, dispersion)``; 0 where a matrix is ill-conditioned."""
    size = matrix.shape[-1]
    inverse = np.zeros((size, size, *matrix.shape[:2]))
    if size == 1:
        only = matrix[..., 0, 0]
        np.divide(1.0, only, out=inverse[0, 0], where=only > 0)
    elif size == 2:
        a, b, d = matrix[..., 0, 0], matrix[..., 0, 1], matrix[..., 1, 1]
        determinant = a * d - b * b
        largest = (a + d) / 2 + np.hypot((a - d) / 2, b)  # eigenvalue
        with np.errstate(divide="ignore", invalid="ignore"):
            solvable = (determinant > 0) & (largest * largest / determinant < WORST_CONDITION)
        for (i, k), cofactor in {(0, 0): d, (1, 1): a, (0, 1): -b, (1, 0): -b}.items():
            np.divide(cofactor, determinant, out=inverse[i, k], where=solvable)
    else:
        solvable = np.linalg.cond(matrix) < WORST_CONDITION
        inverse[:, :, solvable] = np.linalg.inv(matrix[solvable]).transpose(1, 2, 0)
    return inverse


def extract_optimal(
    sci: Pixels,
    var_rnoise: Pixels | None,
    var_poisson: Pixels | None,
    var_flat: Pixels | None,
    plan: OptimalPlan,
) -> dict[str, Image]:
    """Fit spectra.

    Parameters
    ----------
    sci : ndarray
        Values ``(integration, y, x)``, NaN for bad pixels.
    var_rnoise, var_poisson, var_flat : ndarray or None
        Variances of the same shape; None or another shape counts as zero.
    plan : OptimalPlan
        What to fit.

    Returns
    -------
    dict of ndarray
        Arrays ``(integration, dispersion)`` float64 in the order of `tso3dask.ops.box.RESULTS`:
        flux and its variances, background under the profile and its share of these variances,
        effective number of pixels. Flux is NaN where the profile has no good pixel, and 0 where
        the fit has no solution. The background's share is what a fit without a background would
        not have, 0 if that were negative, and NaN in an element with any variance that is not
        finite.
    """
    variances = [
        v if v is not None and v.shape == sci.shape else None
        for v in (var_rnoise, var_poisson, var_flat)
    ]
    step = max(1, BATCH // (sci.shape[1] * sci.shape[2]))
    result = np.empty((len(RESULTS), len(sci), sci.shape[2 - plan.across]))
    given = [image for image in (sci, *variances) if image is not None]
    compiled = all(image.dtype == np.float32 for image in given)
    extract = _extract_compiled if compiled else _extract_batch
    for first in range(0, len(sci), step):
        some = slice(first, first + step)
        parts = [None if v is None else v[some] for v in variances]
        extract(sci[some], parts, plan, result[:, some])
    return dict(zip(RESULTS, result, strict=True))


def total_variance(variances: Sequence[Pixels | None], like: Pixels) -> Pixels:
    """Sum of the variances that there are, in their own precision."""
    given = [v for v in variances if v is not None]
    if not given:
        return np.zeros_like(like)
    total = given[0]
    with np.errstate(over="ignore", invalid="ignore"):
        for variance in given[1:]:
            total = total + variance
    return total


def _extract_compiled(
    sci: Pixels, variances: Sequence[Pixels | None], plan: OptimalPlan, result: Image
) -> None:
    """Fit a few integrations into `result` with the compiled kernels."""
    from ._optimal_jit import normal_equations, spectra

    missing = any(v is None for v in variances)
    zero = np.zeros(sci.shape, np.float32) if missing else sci
    cubes = [np.ascontiguousarray(v if v is not None else zero) for v in (sci, *variances)]
    count, along_x = len(plan.functions), plan.across == 0
    matrix = np.zeros((*result.shape[1:], count, count))
    vector = np.zeros((count, *result.shape[1:]))
    normal_equations(*cubes, plan.used, plan.functions, along_x, matrix, vector)
    covariances = _invert(matrix)
    amplitudes = np.einsum("iknl,knl->inl", covariances, vector)
    source = plan.order + 1
    sums = np.zeros(result.shape)
    spectra(
        *cubes, plan.used, plan.functions, along_x, plan.order,
        np.ascontiguousarray(covariances[source]), amplitudes, sums,
    )  # fmt: skip
    sums[0] = np.where(np.isclose(sums[8], 0), np.nan, amplitudes[source])
    result[...] = sums


def _extract_batch(
    sci: Pixels, variances: Sequence[Pixels | None], plan: OptimalPlan, result: Image
) -> None:
    """Fit a few integrations into `result`."""
    axis = plan.across + 1
    fit = fit_profiles(sci, total_variance(variances, sci), plan)
    functions, source = plan.functions, plan.order + 1
    profile = plan.profiles[0]
    share = np.zeros(sci.shape)  # weight of each pixel in the flux
    for k, function in enumerate(functions):
        share += fit.along(fit.covariances[source, k]) * function
    share *= fit.good & plan.used
    squared = share * share
    with np.errstate(invalid="ignore", divide="ignore"):
        npixels = (profile * fit.good).sum(axis=axis) / (profile**2).sum(axis=plan.across)
    flux = fit.amplitudes[source]
    result[0] = np.where(np.isclose(npixels, 0), np.nan, flux)
    result[8] = npixels
    result[4:8] = 0.0
    lit = profile**2 * fit.good
    with np.errstate(invalid="ignore", divide="ignore"):
        alone = profile * fit.good / lit.sum(axis=axis, keepdims=True)
    for i, variance in enumerate(variances):
        if variance is None:
            result[1 + i] = 0.0
            if plan.order >= 0:
                result[5 + i] = np.where(np.isnan(alone.sum(axis=axis)), np.nan, 0.0)
            continue
        known = np.where(fit.good, variance, 0.0)
        result[1 + i] = (squared * known).sum(axis=axis)
        if plan.order >= 0:
            with np.errstate(invalid="ignore", over="ignore"):
                less = result[1 + i] - (variance * alone * alone).sum(axis=axis)
                result[5 + i] = np.where(less <= 0, 0.0, less)
    if plan.order >= 0:
        background = (alone * fit._sum(range(source))).sum(axis=axis)
        result[4] = np.where(np.isfinite(background), background, 0.0)
