"""Light curves of spectra: white light with errors and weights, and channels, in one pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .channels import ChannelPlan, sum_channels
from .whitelight import NO_RANGE, white_light_sums

__all__ = ["LightCurves", "Weights", "spectrum_weights", "white_light_errors"]

Float = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Weights:
    """Weights of columns in the weighted white light, constant in time.

    Attributes
    ----------
    weight : (dispersion,) float64
        Weight of each column; 0 where it is not used.
    reference : (dispersion,) float64
        Typical spectrum, in the unit of the flux; 0 where it is not used.
    level : float
        Typical white light, in the unit of the flux.
    """

    weight: Float
    reference: Float
    level: float


def spectrum_weights(
    flux: Float, error: Float, wavelength: Float, limits: tuple[float, float] = NO_RANGE
) -> Weights:
    """Find the weights of columns from a sample of spectra.

    The light curve of a column over its typical flux ``F`` has the variance ``v / F**2``; the
    inverse-variance weighted mean of these relative light curves has the weights ``F / v`` for the
    fluxes themselves. They are made of medians over the sample, so that no integration has
    weights of its own.

    Parameters
    ----------
    flux, error : ndarray
        Sample ``(integration, dispersion)``.
    wavelength : ndarray
        ``(dispersion,)`` micrometres.
    limits : tuple of float
        Inclusive limits of the wavelengths in the sum.
    """
    size = flux.shape[1]
    reference, variance = np.zeros(size), np.zeros(size)
    for out, sample in ((reference, flux), (variance, np.square(error))):
        seen = np.isfinite(sample).any(axis=0)
        out[seen] = np.nanmedian(np.where(np.isfinite(sample), sample, np.nan)[:, seen], axis=0)
    with np.errstate(invalid="ignore"):
        inside = (wavelength >= limits[0]) & (wavelength <= limits[1])
    level = float(reference[inside].sum())
    used = inside & (reference > 0) & (variance > 0)
    weight = np.zeros(size)
    weight[used] = reference[used] / variance[used]
    return Weights(weight, np.where(used, reference, 0.0), level)


def white_light_errors(
    flux: Float,
    error: Float,
    wavelength: Float,
    min_wave: float = NO_RANGE[0],
    max_wave: float = NO_RANGE[1],
) -> Float:
    """Errors of `white_light_sums`: those of the columns that it sums, added in quadrature.

    Parameters
    ----------
    flux, error : ndarray
        Spectra and their errors ``(integration, dispersion)``.
    wavelength : ndarray
        Wavelengths ``(dispersion,)`` or ``(integration, dispersion)``, micrometres.
    min_wave, max_wave : float
        Inclusive limits.

    Returns
    -------
    ndarray
        ``(integration,)`` in the unit of `flux`; columns without an error are left out, NaN where
        no error is left.
    """
    squares = np.where(np.isnan(flux), np.nan, np.square(error))
    return np.sqrt(white_light_sums(squares, wavelength, min_wave, max_wave))


def weighted_sums(flux: Float, error: Float, weights: Weights) -> tuple[Float, Float]:
    """Weighted white light and its errors.

    Parameters
    ----------
    flux, error : ndarray
        Spectra and their errors ``(integration, dispersion)``.
    weights : Weights
        Of `spectrum_weights`.

    Returns
    -------
    total, uncertainty : ndarray
        ``(integration,)`` in the unit of `flux`: ``level * sum(w f) / sum(w F)`` over the columns
        that have a flux, so that a column without one leaves the light curve where it is. NaN
        where no column is left.
    """
    known = ~np.isnan(flux) & (weights.weight > 0)
    measured = known & ~np.isnan(error)
    # rows in one piece, so that a row's sum does not depend on how many there are beside it
    scale, total, variance = (
        np.ascontiguousarray(np.where(use, terms, 0.0)).sum(axis=1)
        for use, terms in (
            (known, weights.weight * weights.reference),
            (known, weights.weight * flux),
            (measured, np.square(weights.weight * error)),
        )
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        factor = np.where(scale > 0, weights.level / scale, np.nan)
    uncertainty = np.sqrt(variance) * factor
    uncertainty[uncertainty == 0] = np.nan
    return total * factor, uncertainty


@dataclass(frozen=True, eq=False)
class LightCurves:
    """What is summed over the wavelengths of each spectrum of one order.

    Attributes
    ----------
    wavelength : (dispersion,) float64
        Micrometres.
    limits : tuple of float
        Inclusive limits of the white light, micrometres.
    errors : bool
        Whether errors of the white light are wanted.
    weights : Weights or None
        Weights of the weighted white light, if it is wanted.
    channels : ChannelPlan or None
        Channels, if they are wanted.
    """

    wavelength: Float
    limits: tuple[float, float] = NO_RANGE
    errors: bool = False
    weights: Weights | None = None
    channels: ChannelPlan | None = None

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name of each series and its shape without ``integration``."""
        found: dict[str, tuple[int, ...]] = {"white": ()}
        if self.errors:
            found["white_error"] = ()
        if self.weights is not None:
            found |= {"white_weighted": (), "white_weighted_error": ()}
        if self.channels is not None:
            found |= dict.fromkeys(("channels", "channels_error"), (self.channels.count,))
        return found

    def empty(self, rows: int) -> dict[str, Float]:
        """Series of NaN for so many integrations."""
        return {name: np.full((rows, *shape), np.nan) for name, shape in self.shapes.items()}

    def white(self, columns: Mapping[str, Float]) -> Float:
        """White light ``(integration,)`` of spectra, as `measure` gives it."""
        return white_light_sums(columns["FLUX"], self.wavelength, *self.limits)

    def error_counts(self, columns: Mapping[str, Float]) -> NDArray[np.int64]:
        """Count the columns that the white light sums, and those of them with an error above 0.

        Parameters
        ----------
        columns : mapping
            ``FLUX`` and ``FLUX_ERROR`` ``(integration, dispersion)``.

        Returns
        -------
        ndarray
            ``(1, 2)``: those with an error and all of them, in all integrations together.
        """
        low, high = self.limits
        with np.errstate(invalid="ignore"):
            summed = ~np.isnan(columns["FLUX"])
            summed &= (self.wavelength >= low) & (self.wavelength <= high)
            known = summed & (columns["FLUX_ERROR"] > 0)
        return np.array([[np.count_nonzero(known), np.count_nonzero(summed)]])

    def measure(self, columns: Mapping[str, Float]) -> dict[str, Float]:
        """Sum spectra.

        Parameters
        ----------
        columns : mapping
            ``FLUX`` and ``FLUX_ERROR`` ``(integration, dispersion)``.

        Returns
        -------
        dict of ndarray
            The series of `shapes`, in the unit of the flux.
        """
        flux = columns["FLUX"]
        found = {"white": self.white(columns)}
        if len(self.shapes) == 1:
            return found
        error = columns["FLUX_ERROR"]
        if self.errors:
            found["white_error"] = white_light_errors(flux, error, self.wavelength, *self.limits)
        if self.weights is not None:
            weighted = weighted_sums(flux, error, self.weights)
            found["white_weighted"], found["white_weighted_error"] = weighted
        if self.channels is not None:
            sums = sum_channels(flux, error, self.channels)
            found["channels"], found["channels_error"] = sums
        return found
