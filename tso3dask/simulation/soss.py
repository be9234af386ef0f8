"""A smooth model of NIRISS SOSS: where three orders fall, how wide and how bright they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.polynomial import chebyshev, polynomial

from .lightcurve import spectral_depth, stellar_spectrum

if TYPE_CHECKING:
    from scipy.interpolate import CubicSpline

__all__ = [
    "ORDERS",
    "PWCPOS_COMMANDED",
    "SERIES_REACH",
    "SossLight",
    "SossOptics",
    "SossOrder",
    "is_soss_frame",
    "kernel_samples",
    "stellar_flux",
    "throughput",
]

NX = 2048
PWCPOS_COMMANDED = 245.76
SUBSTRIP96_FIRST_ROW = 10
OVERSAMPLING = 8
KERNEL_HALFWIDTH = 10
MARGIN = 40
SERIES_REACH = 0.1
"""Shifts up to so many pixels are a Taylor series of second order, where exact ones cost more."""
# Cross-dispersion profile as pairs of Gaussians at +-offset (weight of the pair, offset, sigma in
# pixels), fitted to the order-1 profile of the SOSS simulations of njcuk9999/jwst-mtl.
PROFILE = (
    (0.704, 6.818, 2.507),
    (-0.182, 4.946, 1.48),
    (0.387, 0.0, 7.195),
    (0.077, 0.0, 17.043),
)
# Line spread: share and sigma (pixels) of a core and a wing, after the kernels of jwst-mtl.
KERNEL_CORE = 0.65
KERNEL_SIGMAS = (0.68, 2.6)


@dataclass(frozen=True)
class SossOrder:
    """One spectral order at the commanded position of the pupil wheel.

    Parameters
    ----------
    number : spectral order.
    centre : polynomial (constant first) in ``t = x / 2047`` of the row of the trace's centre,
        in rows of SUBSTRIP256.
    waves : polynomial in ``t`` of the wavelength in um.
    wave_shift : change of wavelength with the pupil wheel, um per degree.
    pivot : pixel ``(x, y)`` about which the trace turns with the pupil wheel.
    range : wavelengths in um between which the throughput is defined.
    throughput : Chebyshev coefficients of its logarithm, in the logarithm of the wavelength.
    cutoff : column from which on the trace is off the array.
    short_cutoff : shortest wavelength of use, um; None if the array sets it.
    """

    number: int
    centre: tuple[float, ...]
    waves: tuple[float, ...]
    wave_shift: float
    pivot: tuple[float, float]
    range: tuple[float, float]
    throughput: tuple[float, ...]
    cutoff: int
    short_cutoff: float | None = None


# Fits to public material: centres and wavelengths of orders 1 and 2 to the reference traces and
# wavelength models of spacetelescope/pastasoss, all else to the spectrace reference 0023.
ORDERS = {
    order.number: order
    for order in (
        SossOrder(
            1,
            (84.7896, -84.6437, -54.4726, 471.629, -1512.9059, 2639.8548, -2292.4292, 824.0132),
            (2.8314579, -2.0026572, -0.0852739, 0.1004398),
            -0.0083,
            (1887.0, 54.0),
            (0.62, 3.0),
            (-2.335, 1.378, -1.841, 0.868, -0.292, 0.035, -0.021, -0.073, 0.096, -0.09),
            2048,
        ),
        SossOrder(
            2,
            (104.4286, -46.1186, -91.7482, 817.0989, -1401.9733, 1023.43),
            (1.4184153, -0.9706232, -0.0867195, 0.1196583),
            -0.0033,
            (1677.0, 200.0),
            (0.52, 1.5),
            (-4.135, -1.093, -1.904, 1.68, 0.132, 0.271, -0.141, -0.19, -0.201, -0.028),
            1783,
            0.58,
        ),
        SossOrder(
            3,
            (143.3559, 38.5336, 15.0813, 479.0991, -2.5334, 1.1882),
            (0.9569911, -0.7047098, 0.291429, -0.1693376),
            0.0,
            (1100.0, 220.0),
            (0.58, 1.05),
            (-8.188, 6.38, -4.908, 1.765, -0.125, -0.32, 0.234, -0.048, -0.056),
            1040,
            0.63,
        ),
    )
}


def is_soss_frame(shape: tuple[int, int]) -> bool:
    """Whether `shape` (ny, nx) is a real SOSS array, or SUBSTRIP256 with fewer, wider columns."""
    ny, nx = shape
    return shape == (96, NX) or (ny == 256 and 384 <= nx <= NX)


def throughput(order: int, wave: np.ndarray) -> np.ndarray:
    """Fraction of the light that `order` takes, at wavelengths in um of any shape."""
    item = ORDERS[order]
    low, high = item.range
    inside = np.clip(wave, low, high)
    s = 2 * np.log(inside / low) / np.log(high / low) - 1
    return np.exp(chebyshev.chebval(s, item.throughput) - ((wave - inside) / 0.02) ** 2)


def kernel_samples(wave: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """Line spread function per pixel.

    Parameters
    ----------
    wave : central wavelength, um; broadcasts with `offset`.
    offset : distance from the centre along the dispersion, pixels.
    """
    stretch = 1 + 0.05 * (np.asarray(wave) - 1.5)
    out = np.zeros(np.broadcast_shapes(np.shape(stretch), np.shape(offset)))
    shares = (KERNEL_CORE, 1 - KERNEL_CORE)
    for share, sigma in zip(shares, KERNEL_SIGMAS, strict=True):
        width = sigma * stretch
        out += share / (np.sqrt(2 * np.pi) * width) * np.exp(-0.5 * (offset / width) ** 2)
    return out


class SossOptics:
    """Traces, wavelengths, profiles and light of all orders on one array.

    An array of fewer than 2048 columns sees the same wavelengths and rows in wider columns, which
    makes tests of 256-row arrays cheap.

    Parameters
    ----------
    shape : (ny, nx); see `is_soss_frame`.
    pwcpos : position of the pupil wheel, degrees.
    """

    def __init__(self, shape: tuple[int, int], pwcpos: float) -> None:
        self.shape = shape
        self.first_row = SUBSTRIP96_FIRST_ROW if shape[0] == 96 else 0
        self.offset = pwcpos - PWCPOS_COMMANDED
        self.scale = NX / shape[1]

    def native(self, x: np.ndarray) -> np.ndarray:
        """Column of an array of 2048 columns."""
        return (np.asarray(x) + 0.5) * self.scale - 0.5

    def column(self, native: float) -> float:
        """Column of this array, from that of an array of 2048 columns."""
        return (native + 0.5) / self.scale - 0.5

    def commanded_centre(self, order: int, x: np.ndarray) -> np.ndarray:
        """Row of SUBSTRIP256 of the trace's centre at the commanded pupil wheel position."""
        return polynomial.polyval(self.native(x) / (NX - 1), ORDERS[order].centre)

    def pivot(self, order: int) -> tuple[float, float]:
        """Pixel of SUBSTRIP256 about which the trace turns."""
        x, y = ORDERS[order].pivot
        return self.column(x), y

    def centre(self, order: int, x: np.ndarray) -> np.ndarray:
        """Row of this array of the trace's centre, the pupil wheel's turn included."""
        samples = np.arange(-MARGIN, self.shape[1] + MARGIN, dtype=np.float64)
        x0, y0 = self.pivot(order)
        angle = np.radians(self.offset)
        dx, dy = samples - x0, self.commanded_centre(order, samples) - y0
        turned_x = x0 + dx * np.cos(angle) - dy * np.sin(angle)
        turned_y = y0 + dx * np.sin(angle) + dy * np.cos(angle)
        return np.interp(x, turned_x, turned_y) - self.first_row

    def wavelength(self, order: int, x: np.ndarray) -> np.ndarray:
        """Wavelength in um at columns `x`."""
        item = ORDERS[order]
        wave = polynomial.polyval(self.native(x) / (NX - 1), item.waves)
        return np.clip(wave + item.wave_shift * self.offset, 0.4, 3.2)

    def cutoff(self, order: int) -> int:
        """Column from which on the trace is not used."""
        return min(self.shape[1], round(self.column(ORDERS[order].cutoff)))

    def profile(self, order: int, padding: int = 0) -> np.ndarray:
        """Share of a column's light in each pixel.

        Returns
        -------
        (y, x) float32, with `padding` more pixels on each side.
        """
        x = np.arange(-padding, self.shape[1] + padding)
        return self.profile_around(self.centre(order, x), padding)[0]

    def profile_around(
        self, centre: np.ndarray, padding: int = 0, derivatives: int = 0
    ) -> list[np.ndarray]:
        """Share of a column's light in each pixel, and its derivatives.

        Parameters
        ----------
        centre : row of each column's centre, (x,).
        padding : more rows on each side.
        derivatives : how many derivatives with respect to the row, up to two.

        Returns
        -------
        (y, x) float32 each.
        """
        from scipy.special import erf

        edges = np.arange(-padding, self.shape[0] + padding + 1)[:, None] - 0.5 - centre
        sums = [np.zeros_like(edges) for _ in range(1 + derivatives)]
        total = sum(weight for weight, _, _ in PROFILE)
        for weight, offset, sigma in PROFILE:
            for side in (-offset, offset):
                z = (edges - side) / sigma
                sums[0] += weight / (4 * total) * erf(z / np.sqrt(2))
                if derivatives:
                    density = np.exp(-0.5 * z**2) / (sigma * np.sqrt(2 * np.pi))
                    density *= weight / (2 * total)
                    for order, factor in enumerate((1.0, -z / sigma)[:derivatives]):
                        sums[1 + order] += factor * density
        return [np.diff(values, axis=0).astype(np.float32) for values in sums]

    def column_light(self, order: int, flux: np.ndarray | None = None) -> np.ndarray:
        """Count rate per column of a star whose flux density per wavelength is `flux`.

        The flux is smoothed with the line spread function, multiplied by throughput and
        wavelength (photons) and integrated over each column.

        Parameters
        ----------
        order : spectral order.
        flux : at the wavelengths of `fine_wavelengths`; 1 if None.

        Returns
        -------
        (x,) float64.
        """
        x = np.arange(self.shape[1])
        light = self.light_below(order, flux)
        return light(x + 0.5) - light(x - 0.5)

    def light_below(self, order: int, flux: np.ndarray | None = None) -> CubicSpline:
        """Count rate below a place along the dispersion, pixels; see `column_light`."""
        from scipy.interpolate import CubicSpline

        u, wave = self._fine(order)
        if flux is None:
            flux = np.ones_like(wave)
        reach = KERNEL_HALFWIDTH * OVERSAMPLING
        smooth = np.zeros(len(wave) - 2 * reach)
        norm = np.zeros_like(smooth)
        inner = slice(reach, len(wave) - reach)
        for k in range(-reach, reach + 1):
            weight = kernel_samples(wave[inner], np.array(k / OVERSAMPLING))
            smooth += weight * flux[reach + k : len(wave) - reach + k]
            norm += weight
        smooth /= norm
        light = smooth * throughput(order, wave[inner]) * wave[inner]
        light *= np.abs(np.gradient(wave, u)[inner])
        ends = np.append(u[inner], u[inner][-1] + 1 / OVERSAMPLING) - 0.5 / OVERSAMPLING
        return CubicSpline(ends, np.append(0.0, np.cumsum(light) / OVERSAMPLING))

    def fine_wavelengths(self, order: int) -> np.ndarray:
        """Wavelengths, um, at which `column_light` wants the flux: eight per column."""
        return self._fine(order)[1]

    def _fine(self, order: int) -> tuple[np.ndarray, np.ndarray]:
        count = (self.shape[1] + 2 * MARGIN) * OVERSAMPLING
        u = (np.arange(count) + 0.5) / OVERSAMPLING - 0.5 - MARGIN
        return u, self.wavelength(order, u)


def stellar_flux(wave: np.ndarray) -> np.ndarray:
    """Flux density of the star per wavelength, arbitrary unit; `wave` in um."""
    return stellar_spectrum(wave) / wave**2


class SossLight:
    """Light of a star with a transiting planet in one order.

    Parameters
    ----------
    optics : where the light falls.
    order : spectral order.
    scale : count rate per unit of `SossOptics.column_light` of `stellar_flux`.
    depth : transit depth.

    Attributes
    ----------
    rate : (x,) count rate of a column outside the transit, DN/s.
    drop : (x,) what is missing of it at mid-transit, DN/s.
    profile : (y, x) share of each pixel.
    """

    def __init__(self, optics: SossOptics, order: int, scale: float, depth: float) -> None:
        self.order = order
        self.optics = optics
        wave = optics.fine_wavelengths(order)
        flux = scale * stellar_flux(wave)
        self.below = optics.light_below(order, flux)
        self.below_drop = optics.light_below(order, flux * spectral_depth(wave, depth))
        self.pixels = np.arange(optics.shape[1], dtype=np.float64)
        self.centre = optics.centre(order, self.pixels)
        slope = optics.centre(order, self.pixels + 0.5) - optics.centre(order, self.pixels - 0.5)
        self.rate, self.drop = self._exact(0.0)
        # values, first and second derivatives along x
        self.series = np.array(
            [
                [self.rate, self.drop, self.centre],
                [*self._exact(0.0, 1), slope],
                [*self._exact(0.0, 2), np.zeros_like(slope)],
            ]
        )
        self.profile, self.slope, self.bend = optics.profile_around(self.centre, derivatives=2)

    def image(self) -> np.ndarray:
        """Count rate of every pixel outside the transit, (y, x) float32."""
        return (self.profile * self.rate).astype(np.float32)

    def add(self, out: np.ndarray, transit: np.ndarray, dx: np.ndarray, dy: np.ndarray) -> None:
        """Add the light of integrations to `out`; the picture moves as a whole."""
        for i in range(len(out)):
            rate, drop, centre = self._columns(dx[i])
            light = (rate - transit[i] * drop).astype(np.float32)
            out[i] += self._profile(centre + dy[i]) * light

    def _exact(self, dx: float, order: int = 0) -> list[np.ndarray]:
        """Light and drop of columns of a star that is off by `dx`, or their derivatives."""
        low, high = (self.pixels + edge - dx for edge in (-0.5, 0.5))
        return [f(high, order) - f(low, order) for f in (self.below, self.below_drop)]

    def _columns(self, dx: float) -> np.ndarray:
        """Light, drop and centre of the columns of a star that is off by `dx`, (3, x)."""
        if abs(dx) <= SERIES_REACH:
            return self.series[0] - dx * (self.series[1] - 0.5 * dx * self.series[2])
        return np.array([*self._exact(dx), self.optics.centre(self.order, self.pixels - dx)])

    def _profile(self, centre: np.ndarray) -> np.ndarray:
        """Share of each pixel of traces around `centre`, (y, x) float32."""
        shift = (centre - self.centre).astype(np.float32)
        reach = np.max(np.abs(shift))
        if not reach:
            return self.profile
        if reach > SERIES_REACH:
            return self.optics.profile_around(centre)[0]
        return self.profile - shift * (self.slope - np.float32(0.5) * shift * self.bend)
