"""The spatial profile of a point source on the detector, from a PSF that changes with wavelength.

A PSF reference is an image of the PSF across the dispersion, finer than pixels, at a series of
wavelengths. Each pixel of the usable part of the array has a place in that image: by its
wavelength along one axis, by its distance from the trace along the other. The trace can be moved
so that the profile fits an observed image best. Rules: JWST documentation of the extract_1d step
(optimal extraction).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .extract_params import HORIZONTAL
from .optimal import OptimalPlan, fit_profiles
from .source_position import Bounds

__all__ = ["PlacedPsf", "fit_offsets", "place_psf"]

Image = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PlacedPsf:
    """A PSF with a place for every pixel of the array in it.

    Attributes
    ----------
    shape : tuple of int
        ``(y, x)`` shape of the array.
    dispaxis : int
        Dispersion direction.
    window : tuple of slice
        Usable part of the array, along y and x.
    image : ndarray
        The PSF; its wavelengths run along the axis along which the spectrum does.
    subpix : float
        Its samples per pixel.
    row, column : ndarray
        Place of each pixel of the window in the PSF, ``(y, x)`` or what broadcasts to that.
    nod : float or None
        Distance of a second, negative source, pixels.
    """

    shape: tuple[int, int]
    dispaxis: int
    window: tuple[slice, slice]
    image: Image
    subpix: float
    row: Image
    column: Image
    nod: float | None = None

    def profiles(self, offset: float = 0.0, nod: float | None = None) -> list[Image]:
        """Profiles in the window, each with a sum of 1 across the dispersion (or 0).

        Parameters
        ----------
        offset : float
            The trace moves by this many pixels towards smaller indices.
        nod : float, optional
            Distance of the second source; without it there is one profile. The second is negative.
        """
        offsets = [offset] if nod is None else [offset, nod]
        row, column = self.row, self.column
        found = []
        for sign, step in zip((1.0, -1.0), offsets, strict=False):
            if self.dispaxis == HORIZONTAL:
                row = row + step * self.subpix
            else:
                column = column + step * self.subpix
            found.append(sign * self._sampled(row, column))
        return found

    def _sampled(self, row: Image, column: Image) -> Image:
        from scipy.ndimage import map_coordinates

        profile = map_coordinates(self.image, [row, column], order=1)
        axis = 0 if self.dispaxis == HORIZONTAL else 1
        total = np.nansum(profile, axis=axis, keepdims=True)
        with np.errstate(divide="ignore", invalid="ignore"):
            profile = np.where(total != 0, profile / total, 0.0)
        profile[~np.isfinite(profile)] = 0.0
        return profile

    def whole(self, offset: float = 0.0, nod: float | None = None) -> list[Image]:
        """Profiles ``(y, x)`` on the whole array, 0 outside the window."""
        images = []
        for profile in self.profiles(offset, nod):
            image = np.zeros(self.shape)
            image[self.window] = profile
            images.append(image)
        return images

    @property
    def limits(self) -> tuple[int, int]:
        """Limits across the dispersion: those of the window."""
        across = self.window[0 if self.dispaxis == HORIZONTAL else 1]
        return across.start, across.stop


def place_psf(
    psf: Any,
    *,
    shape: tuple[int, int],
    dispaxis: int,
    bounds: Bounds,
    trace: NDArray[np.floating],
    wavelengths: NDArray[np.floating],
    nod: float | None = None,
) -> PlacedPsf:
    """Find the place of every pixel in a PSF.

    Parameters
    ----------
    psf : object
        With ``data`` (a PSF image), ``wave`` (wavelength of its samples along the dispersion),
        ``subpix`` (samples per pixel), ``center_row`` and ``center_col`` (the source's place).
    shape : tuple of int
        ``(y, x)`` shape of the array.
    dispaxis : int
        Dispersion direction.
    bounds : tuple
        ``((x0, x1), (y0, y1))`` of the usable pixels.
    trace : ndarray
        Place ``(dispersion,)`` of the source across the dispersion.
    wavelengths : ndarray
        Wavelength ``(y, x)`` of each pixel.
    nod : float, optional
        Distance of a second, negative source.

    Returns
    -------
    PlacedPsf
    """
    (x0, x1), (y0, y1) = ((int(np.ceil(low)), int(np.ceil(high))) for low, high in bounds)
    window = (slice(y0, y1), slice(x0, x1))
    cut = wavelengths[window]
    order = np.argsort(psf.wave)
    order = order[np.isfinite(psf.wave[order])]
    sample = np.interp(cut, psf.wave[order], order, left=np.nan, right=np.nan)
    # positions on both axes count from the lower bound along x, as in the reference's definition
    center = psf.center_row if dispaxis == HORIZONTAL else psf.center_col
    along = window[1] if dispaxis == HORIZONTAL else window[0]
    start = center - (trace[along] - bounds[0][0]) * psf.subpix
    y, x = np.indices(cut.shape)
    if dispaxis == HORIZONTAL:
        row, column = y * psf.subpix + start, sample
    else:
        row, column = sample, x * psf.subpix + start[:, np.newaxis]
    return PlacedPsf(shape, dispaxis, window, psf.data, psf.subpix, row, column, nod)


def fit_offsets(
    placed: PlacedPsf, image: NDArray[np.floating], variance: NDArray[np.floating]
) -> tuple[float, float | None]:
    """Move the trace to where the profile fits an image best.

    What is made smallest is the sum of squared residuals over variance of a fit of the profile
    and a constant background in each element along the dispersion.

    Parameters
    ----------
    placed : PlacedPsf
        The PSF where headers put it.
    image : ndarray
        Values ``(y, x)`` of the whole array, NaN for bad pixels.
    variance : ndarray
        Their variance.

    Returns
    -------
    offset : float
        How far the trace moves towards smaller indices, pixels.
    nod : float or None
        Distance of the second source, where there is one.
    """
    from scipy.optimize import minimize

    image, variance = image[placed.window], variance[placed.window]

    def misfit(offsets: Sequence[float]) -> float:
        profiles = placed.profiles(offsets[0], offsets[1] if len(offsets) > 1 else None)
        plan = OptimalPlan(placed.dispaxis, tuple(profiles), None, 0)
        scene = fit_profiles(image[np.newaxis], variance[np.newaxis], plan).scene()[0]
        with np.errstate(divide="ignore", invalid="ignore"):
            return float(np.nansum((scene - image) ** 2 / variance))

    start = [0.0] if placed.nod is None else [0.0, placed.nod]
    with np.errstate(invalid="ignore"):  # a variance of 0 makes the misfit infinite
        found = minimize(misfit, start, method="Nelder-Mead").x
    return float(found[0]), (float(found[1]) if placed.nod is not None else None)
