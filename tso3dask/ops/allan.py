"""Scatter of light curves: from one integration to the next, and against the size of bins.

White noise averages down as one over the square root of the integrations in a bin. What lies
above that line lasts longer than an integration: drifts, jitter, stellar variability, and the
transit itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "BinnedScatter",
    "allan_deviation",
    "binned_scatter",
    "relative_curve",
    "successive_scatter",
]

Float = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class BinnedScatter:
    """Scatter of a light curve against the size of bins.

    Attributes
    ----------
    size : (bin size,) int64
        Integrations in a bin.
    scatter : (bin size,) float64
        Standard deviation of the means of bins, in the unit of the light curve.
    white : (bin size,) float64
        What white noise of the scatter of single integrations would give.
    count : (bin size,) int64
        Number of bins.
    """

    size: NDArray[np.int64]
    scatter: Float
    white: Float
    count: NDArray[np.int64]


def binned_scatter(values: Float, sizes: NDArray[np.integer] | None = None) -> BinnedScatter:
    """Return the scatter of a light curve averaged in bins of growing size.

    Parameters
    ----------
    values : ndarray
        ``(integration,)`` residuals, or a light curve without trend; NaN is left out before
        binning.
    sizes : ndarray of int, optional
        Bin sizes; by default about ten per decade, up to a tenth of the integrations, so that
        there are at least ten bins.

    Returns
    -------
    BinnedScatter
        The standard deviation of ``M`` bin means with ``M - 1`` degrees of freedom, beside
        ``s / sqrt(N)`` for bins of ``N`` integrations, where ``s`` is that of single ones.
        Integrations that fill no bin, at the end, are left out.
    """
    finite, kept = _binned_sizes(values, sizes, 2, 10)
    scatter = np.empty(kept.size)
    for i, n in enumerate(kept):
        bins = finite.size // n
        scatter[i] = finite[: bins * n].reshape(bins, n).mean(axis=1).std(ddof=1)
    single = finite.std(ddof=1) if finite.size > 1 else np.nan
    return BinnedScatter(kept, scatter, single / np.sqrt(kept), finite.size // np.maximum(kept, 1))


def allan_deviation(values: Float, sizes: NDArray[np.integer] | None = None) -> BinnedScatter:
    """Return the scatter between neighbouring bins of a light curve that may hold a transit.

    Parameters
    ----------
    values : ndarray
        ``(integration,)``; NaN is left out before binning.
    sizes : ndarray of int, optional
        Bin sizes; by default about ten per decade, up to a twentieth of the integrations.

    Returns
    -------
    BinnedScatter
        Differences of bins that follow each other, from every integration on, over ``sqrt(2)``;
        their scatter is 1.4826 times the median of absolute values, so that the few steps of a
        transit do not count; beside ``s / sqrt(N)`` where ``s`` is that of single integrations.
        White noise gives the same as in `binned_scatter`.
    """
    finite, kept = _binned_sizes(values, sizes, 3, 20)
    sums = np.concatenate([[0.0], np.cumsum(finite - (np.median(finite) if finite.size else 0))])
    scatter = np.empty(kept.size)
    for i, n in enumerate(kept):
        means = (sums[n:] - sums[:-n]) / n
        scatter[i] = 1.4826 * np.median(np.abs(means[n:] - means[:-n])) / np.sqrt(2)
    single = 1.4826 * np.median(np.abs(np.diff(finite))) / np.sqrt(2) if finite.size > 1 else np.nan
    return BinnedScatter(kept, scatter, single / np.sqrt(kept), finite.size // np.maximum(kept, 1))


def _binned_sizes(
    values: Float, sizes: NDArray[np.integer] | None, fewest: int, usual: int
) -> tuple[Float, NDArray[np.int64]]:
    """Finite values, and sizes of which there are `fewest` bins; by default `usual` ones."""
    finite = np.asarray(values, dtype=np.float64)
    finite = finite[np.isfinite(finite)]
    if sizes is None:
        most = max(1, finite.size // usual)
        sizes = np.unique(np.round(np.geomspace(1, most, 1 + int(10 * np.log10(most)))).astype(int))
    return finite, np.array([n for n in sizes if finite.size // n >= fewest], dtype=np.int64)


def successive_scatter(values: Float) -> float:
    """Return the scatter between neighbouring integrations.

    Parameters
    ----------
    values : ndarray
        ``(integration,)``; differences with NaN are left out.

    Returns
    -------
    float
        Root mean square of the differences of neighbours over ``sqrt(2)``: the standard
        deviation of white noise, hardly moved by a transit or a drift, but by every spike. NaN
        with less than two differences.
    """
    steps = np.diff(np.asarray(values, dtype=np.float64))
    steps = steps[np.isfinite(steps)]
    return float(np.sqrt(np.mean(steps**2) / 2)) if steps.size > 1 else float("nan")


def relative_curve(values: Float) -> Float:
    """Return a light curve ``(integration,)`` over its median; NaN if that is not above 0."""
    values = np.asarray(values, dtype=np.float64)
    finite = values[np.isfinite(values)]
    middle = np.median(finite) if finite.size else np.nan
    return values / middle if middle > 0 else np.full(values.shape, np.nan)
