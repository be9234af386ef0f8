"""One order of a dispersed star on the pixels, at any place of the star."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .geometry import Trace
from .lightcurve import spectral_depth, stellar_spectrum
from .recipe import Recipe
from .soss import SERIES_REACH

if TYPE_CHECKING:
    from scipy.interpolate import CubicSpline

__all__ = [
    "HALO",
    "HALO_WIDTH",
    "ColumnLight",
    "Spectrum",
    "gauss_pixels",
    "throughput",
]

HALO = 0.12
HALO_WIDTH = 3.0
REACH = 6.0
OVERSAMPLING = 16
WIDEST_LINE = 1.2


def throughput(trace: Trace, wave: np.ndarray) -> np.ndarray:
    """Relative throughput, a smooth hump that ends beyond the order's range; NaN stays NaN."""
    low, high = sorted((trace.waves[0], trace.waves[-1]))
    return np.sin(np.pi * np.clip(0.06 + 0.88 * (wave - low) / (high - low), 0, 1)) ** 0.8


def gauss_pixels(edges: np.ndarray, axis: int) -> np.ndarray:
    """Integral of a normal profile over pixels, from pixel edges in units of sqrt(2) sigma."""
    from scipy.special import erf

    return np.float32(0.5) * np.diff(erf(edges.astype(np.float32)), axis=axis)


class ColumnLight:
    """Light of one order, summed across the trace, as smooth functions of the place.

    The spectrum is smoothed by a Gaussian line spread, as wide as the trace but for `WIDEST_LINE`
    at most, and integrated over pixels.

    Parameters
    ----------
    recipe : what to simulate.
    trace : the order.

    Attributes
    ----------
    rate : count rate of the star outside the transit, DN/s per pixel, at a place in pixels of
        the trace's pivot row.
    depth : transit depth at a place.
    """

    def __init__(self, recipe: Recipe, trace: Trace) -> None:
        from scipy.interpolate import CubicSpline
        from scipy.special import erf

        width = min(float(np.mean(trace.sigma_at(trace.pixels))), WIDEST_LINE)
        margin = int(np.ceil(4 * recipe.jitter + 2))
        half = int(np.ceil((0.5 + 5 * width) * OVERSAMPLING))
        first, last = trace.pixels[0] - margin, trace.pixels[-1] + margin
        count = round(last - first) * OVERSAMPLING + 1
        place = first + (np.arange(-half, count + half)) / OVERSAMPLING
        ends = sorted((trace.waves[0], trace.waves[-1]))
        wave = CubicSpline(trace.pixels, trace.waves)(place)
        wave = np.clip(wave, 0.5 * ends[0], 2 * ends[1])

        def relative(um: np.ndarray) -> np.ndarray:
            return stellar_spectrum(um) * throughput(trace, um)

        edges = (np.arange(-half, half + 1)[:, None] / OVERSAMPLING + [-0.5, 0.5]) / width
        spread = np.diff(erf(edges / np.sqrt(2)), axis=1)[:, 0]
        spread /= spread.sum()
        peak = recipe.mode.peak_rate * trace.brightness / np.max(relative(trace.waves))
        inner = place[half : half + count]
        light = np.convolve(relative(wave), spread, "valid")
        self.rate: CubicSpline = CubicSpline(inner, peak * light)
        self.depth: CubicSpline = CubicSpline(
            inner, spectral_depth(wave, recipe.depth)[half : half + count]
        )


class Spectrum:
    """One order of a dispersed star.

    The picture moves as a whole: trace, wavelengths and widths with the star. The illuminated
    range stays where it is on the detector.
    """

    def __init__(self, recipe: Recipe, trace: Trace) -> None:
        shape = recipe.shape
        self.trace = trace
        self.cross = 1 if trace.dispaxis == 1 else 2
        n_along, n_across = (shape[1], shape[0]) if self.cross == 1 else shape
        self.pixels = np.arange(n_along, dtype=np.float64)
        centre, sigma = trace.centre_at(self.pixels), trace.sigma_at(self.pixels)
        reach = REACH * HALO_WIDTH * sigma + 4 * recipe.jitter
        lit = (self.pixels >= trace.pixels[0]) & (self.pixels <= trace.pixels[-1])
        low = int(np.clip(np.floor(np.min((centre - reach)[lit])), 0, n_across))
        high = int(np.clip(np.ceil(np.max((centre + reach)[lit])) + 1, low, n_across))
        self.window = np.s_[:, low:high, :] if self.cross == 1 else np.s_[:, :, low:high]
        self.edges = self._across(np.arange(low, high + 1)[None] - 0.5)
        self.still = self._profile(np.zeros(1), np.zeros(1))
        self.column = ColumnLight(recipe, trace)
        across = self._across(np.arange(low, high if trace.tilt else low + 1)[None])
        self.place = trace.place(self._along(self.pixels[None]), across)
        inside = (self.place >= trace.pixels[0]) & (self.place <= trace.pixels[-1])
        self.lit = inside.astype(np.float32)
        self.place = np.clip(self.place, trace.pixels[0], trace.pixels[-1])
        self.series = [
            [self._light(curve, 0.0, order) for order in range(terms)]
            for curve, terms in ((self.column.rate, 3), (self.column.depth, 2))
        ]

    def add(self, out: np.ndarray, transit: np.ndarray, dx: np.ndarray, dy: np.ndarray) -> None:
        """Add the light of integrations, (integration, y, x) DN/s, to `out`."""
        along, across = (dx, dy) if self.cross == 1 else (dy, dx)
        light, depth = self._shifted(along + self.trace.tilt * across)
        light *= 1 - np.asarray(transit, np.float32)[:, None, None] * depth
        moves = np.any(along) or np.any(across)
        out[self.window] += light * (self._profile(along, across) if moves else self.still)

    def _along(self, values: np.ndarray) -> np.ndarray:
        return values[:, None, :] if self.cross == 1 else values[:, :, None]

    def _across(self, values: np.ndarray) -> np.ndarray:
        return values[:, :, None] if self.cross == 1 else values[:, None, :]

    def _light(self, curve: CubicSpline, shift: float, order: int = 0) -> np.ndarray:
        """Values, or a derivative, of a curve in all pixels, (1, y, x) float32; 0 in the dark."""
        place = np.clip(self.place - shift, curve.x[0], curve.x[-1])
        return np.asarray(curve(place, order) * self.lit, np.float32)

    def _shifted(self, shift: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Light of columns and depth of the transit, (integration, y, x)."""
        one = np.asarray(shift, np.float32)[:, None, None]
        (rate, slope, bend), (depth, change) = self.series
        light = rate - one * (slope - np.float32(0.5) * one * bend)
        drop = depth - one * change
        for i in np.flatnonzero(np.abs(shift) > SERIES_REACH):
            light[i] = self._light(self.column.rate, shift[i])[0]
            drop[i] = self._light(self.column.depth, shift[i])[0]
        return light, drop

    def _profile(self, along: np.ndarray, across: np.ndarray) -> np.ndarray:
        """Share of each pixel in the light of its column, (integration, y, x) float32."""
        seen = self.pixels - along[:, None]
        inverse = 1 / (np.sqrt(2) * self.trace.sigma_at(seen))
        centre = (self.trace.centre_at(seen) + across[:, None]) * inverse
        edges = self.edges * self._along(inverse)
        edges -= self._along(centre)
        profile = gauss_pixels(edges, self.cross)
        profile *= np.float32(1 - HALO)
        profile += np.float32(HALO) * gauss_pixels(edges / HALO_WIDTH, self.cross)
        return profile
