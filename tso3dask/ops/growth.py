"""Choice of an aperture by the scatter of the light inside it.

The light of each integration is known within several distances from the centre of the trace. Its
scatter is that of the differences of successive integrations, so that transits, flares and slow
drifts do not matter: with ``f`` the flux within a width and ``d = f[i + 1] - f[i]`` it is
``1.4826 median|d - median d| / sqrt(2)`` over the median of ``f``. A narrow aperture scatters with
the place of the source and loses photons, a wide one collects noise of the background.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .background_clip import MAD_TO_SIGMA

__all__ = ["GrowthCurve", "best_width", "growth_curve"]

FEWEST = 8
"""Fewer differences than this tell no scatter."""
NARROWEST = 2.0
"""Smallest width that is chosen, pixels."""


@dataclass(frozen=True, eq=False)
class GrowthCurve:
    """Light within apertures of several widths.

    Attributes
    ----------
    width : (n,) float64
        Full widths across the trace, pixels.
    flux : (n,) float64
        Median light inside.
    scatter : (n,) float64
        Its relative scatter from one integration to the next; NaN where it is not known.
    integrations : int
        Integrations that the scatter comes from; 0 where that is not known.
    chosen : float or None
        Width that was taken because of it, pixels.
    """

    width: NDArray[np.float64]
    flux: NDArray[np.float64]
    scatter: NDArray[np.float64]
    integrations: int = 0
    chosen: float | None = None

    @property
    def tolerance(self) -> float:
        """Relative error of the scatter, ``1 / sqrt(2 N)``; 0 where it is not known."""
        return 1 / np.sqrt(2 * self.integrations) if self.integrations else 0.0


def growth_curve(sums: NDArray[np.floating], step: float = 1.0) -> GrowthCurve:
    """Reduce the light of all integrations of an exposure.

    Parameters
    ----------
    sums : (integration, n) ndarray
        Light within ``step``, ``2 step`` ... of full width, in order of time; NaN where an
        integration has none.
    step : float
        Pixels.

    Returns
    -------
    GrowthCurve
    """
    values = np.asarray(sums, np.float64)
    width = step * np.arange(1, values.shape[1] + 1)
    scatter = np.full(width.size, np.nan)
    flux = np.full(width.size, np.nan)
    for k, light in enumerate(values.T):
        known = np.isfinite(light)
        if known.any():
            flux[k] = np.median(light[known])
        steps = np.diff(light)
        steps = steps[np.isfinite(steps)]
        if steps.size >= FEWEST and flux[k] > 0:
            spread = np.median(np.abs(steps - np.median(steps)))
            scatter[k] = MAD_TO_SIGMA * spread / np.sqrt(2) / flux[k]
    known = int(np.isfinite(values).any(axis=1).sum()) if values.size else 0
    return GrowthCurve(width, flux, scatter, known)


def best_width(
    curve: GrowthCurve, largest: float = np.inf, usual: float | None = None
) -> float | None:
    """Width of least scatter.

    Widths whose scatter is above the least by no more than its own error, see
    `GrowthCurve.tolerance`, are as good; the one nearest to the usual width is taken.

    Parameters
    ----------
    curve : GrowthCurve
        Light by width.
    largest : float
        Largest width that fits, pixels.
    usual : float, optional
        Width that the aperture has otherwise, pixels; by default the widest of those that are as
        good is taken.

    Returns
    -------
    float or None
        None where no scatter is known.
    """
    fits = (curve.width >= NARROWEST) & (curve.width <= largest) & np.isfinite(curve.scatter)
    if not fits.any():
        return None
    least = np.min(curve.scatter[fits])
    good = curve.width[fits & (curve.scatter <= least * (1 + curve.tolerance))]
    return float(good[-1] if usual is None else good[np.argmin(np.abs(good - usual))])
