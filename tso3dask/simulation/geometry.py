"""Where a spectrum falls on an array of a given size: traces, wavelengths, widths."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .modes import Dispersion, Mode
from .soss import ORDERS, SossOptics, is_soss_frame

__all__ = ["Trace", "soss_optics", "traces_of"]


@dataclass(frozen=True)
class Trace:
    """One spectral order, in pixels of the array.

    Parameters
    ----------
    order : spectral order.
    dispaxis : 1 if wavelength runs along x, 2 along y.
    pixels : illuminated pixels along the dispersion, increasing.
    waves : wavelength at each of `pixels` on the pivot row, um.
    centre : polynomial coefficients of the trace's centre in the pixel along the dispersion.
    sigma : polynomial coefficients of the profile's width, pixels.
    tilt, pivot : a pixel ``(d, c)`` (along, across the dispersion) has the wavelength of
        ``d + tilt * (c - pivot)``.
    brightness : relative to the first order.
    """

    order: int
    dispaxis: int
    pixels: np.ndarray
    waves: np.ndarray
    centre: tuple[float, ...]
    sigma: tuple[float, ...]
    tilt: float
    pivot: float
    brightness: float

    def wavelength(self, along: np.ndarray, across: np.ndarray | float) -> np.ndarray:
        """Wavelength in um at pixel coordinates; NaN outside the illuminated range."""
        place = self.place(along, across)
        return np.interp(place, self.pixels, self.waves, left=np.nan, right=np.nan)

    def place(self, along: np.ndarray, across: np.ndarray | float) -> np.ndarray:
        """Pixel along the pivot row that has the wavelength of pixel coordinates."""
        return along + self.tilt * (np.asarray(across) - self.pivot)

    def centre_at(self, along: np.ndarray) -> np.ndarray:
        """Centre of the trace across the dispersion, pixels."""
        return np.polynomial.polynomial.polyval(along, self.centre)

    def sigma_at(self, along: np.ndarray) -> np.ndarray:
        """Width (one sigma) of the profile across the dispersion, pixels."""
        return np.polynomial.polynomial.polyval(along, self.sigma)

    def wavelength_image(self, shape: tuple[int, int]) -> np.ndarray:
        """Wavelength of every pixel, ``(y, x)`` float32 um; NaN where no light falls."""
        y, x = np.indices(shape, dtype=np.float64)
        along, across = (x, y) if self.dispaxis == 1 else (y, x)
        return self.wavelength(along, across).astype(np.float32)


def _in_pixels(poly: tuple[float, ...], first: float, length: float) -> tuple[float, ...]:
    """Rewrite a polynomial in ``s = (pixel - first) / length`` as one in the pixel."""
    p = np.polynomial.Polynomial(poly)
    return tuple(p(np.polynomial.Polynomial([-first / length, 1.0 / length])).coef)


def _trace(item: Dispersion, dispaxis: int, shape: tuple[int, int]) -> Trace:
    n_along, n_across = (shape[1], shape[0]) if dispaxis == 1 else shape
    first = int(np.ceil(item.lit[0] * (n_along - 1) - 1e-6))
    last = int(np.floor(item.lit[1] * (n_along - 1) + 1e-6))
    pixels = np.arange(first, last + 1, dtype=np.float64)
    s = (pixels - first) / (last - first)
    waves = item.waves[0] + (item.waves[1] - item.waves[0]) * (s + item.bend * s * (1 - s))
    width = np.minimum(item.sigma, n_across / 10.0)
    centre = tuple(c * n_across for c in item.centre)
    return Trace(
        order=item.order,
        dispaxis=dispaxis,
        pixels=pixels,
        waves=waves,
        centre=_in_pixels(centre, first, last - first),
        sigma=_in_pixels((width[0], width[1] - width[0]), first, last - first),
        tilt=item.tilt,
        pivot=(n_across - 1) / 2,
        brightness=item.brightness,
    )


def soss_optics(mode: Mode, shape: tuple[int, int]) -> SossOptics | None:
    """Optics of a SOSS observation; None for other modes, and for small arrays made for tests."""
    if mode.exp_type != "NIS_SOSS" or not is_soss_frame(shape):
        return None
    return SossOptics(shape, mode.extra["meta.instrument.pupil_position"])


def _soss_trace(optics: SossOptics, order: int) -> Trace:
    length = optics.cutoff(order)
    pixels = np.arange(length, dtype=np.float64)
    s = pixels / (length - 1)
    poly = np.polynomial.polynomial.polyfit(s, optics.centre(order, pixels), 7)
    return Trace(
        order=order,
        dispaxis=1,
        pixels=pixels,
        waves=optics.wavelength(order, pixels),
        centre=_in_pixels(tuple(poly), 0, length - 1),
        sigma=(7.0,),
        tilt=0.0,
        pivot=(optics.shape[0] - 1) / 2,
        brightness=1.0,
    )


def traces_of(mode: Mode, detector: str, shape: tuple[int, int]) -> tuple[Trace, ...]:
    """Traces of every order of `mode` on `detector` for an array of ``(ny, nx)`` pixels."""
    if mode.dispaxis is None:
        return ()
    optics = soss_optics(mode, shape)
    if optics is not None:
        return tuple(_soss_trace(optics, order) for order in ORDERS)
    return tuple(_trace(item, mode.dispaxis, shape) for item in mode.dispersions[detector])
