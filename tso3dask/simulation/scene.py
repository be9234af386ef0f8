"""The noise-free picture: count rate of every pixel in every integration."""

from __future__ import annotations

import numpy as np

from .dispersed import (
    HALO,
    HALO_WIDTH,
    ColumnLight,
    Spectrum,
    gauss_pixels,
    throughput,
)
from .geometry import soss_optics, traces_of
from .recipe import Recipe
from .soss import ORDERS, SERIES_REACH, SossLight, SossOptics, stellar_flux

__all__ = ["Scene", "star_centre"]

LENS_STEP = 0.01


class Scene:
    """Count rates on one detector.

    Parameters
    ----------
    recipe : what to simulate.
    detector : name of the detector.

    Attributes
    ----------
    background : (y, x) float32, DN/s.
    conversion : (y, x) float32, data unit per DN/s.
    traces : spectral orders; empty for imaging.
    """

    def __init__(self, recipe: Recipe, detector: str) -> None:
        self.recipe = recipe
        self.detector = detector
        self.traces = traces_of(recipe.mode, detector, recipe.shape)
        self.background = self._background()
        self.conversion = self._conversion()
        self.optics = soss_optics(recipe.mode, recipe.shape)
        self.orders = _soss_light(recipe, self.optics) if self.optics is not None else []
        self._parts: list[Spectrum | _Star | _WeakLens | SossLight]
        if self.orders:
            self._parts = list(self.orders)
        elif self.traces:
            self._parts = [Spectrum(recipe, trace) for trace in self.traces]
        else:
            self._parts = [(_WeakLens if recipe.mode.pupil == "WLP8" else _Star)(recipe)]

    def rates(self, transit: np.ndarray, dx: np.ndarray, dy: np.ndarray) -> np.ndarray:
        """Count rate, background included.

        Parameters
        ----------
        transit : drop of the transit, 0...1, (integration,).
        dx, dy : shift of the star, pixels, (integration,).

        Returns
        -------
        (integration, y, x) float32, DN/s, no NaN.
        """
        out = np.empty((len(transit), *self.recipe.shape), np.float32)
        out[:] = self.background
        for part in self._parts:
            part.add(out, transit, dx, dy)
        return out

    def star(self) -> dict[str, np.ndarray]:
        """Give wavelength, depth, flux (data unit times pixels) and count rate of order 1."""
        if not self.traces:
            flux = self.recipe.mode.peak_rate * float(np.mean(self.conversion))
            return {"depth": np.array([self.recipe.depth]), "flux": np.array([flux])}
        if self.optics is not None:
            return self._soss_star(self.optics)
        trace = self.traces[0]
        length = self.recipe.shape[1 if trace.dispaxis == 1 else 0]
        along = np.arange(length, dtype=np.float64)
        across = trace.centre_at(along)
        wave = trace.wavelength(along, across)
        place = np.where(np.isnan(wave), np.nan, trace.place(along, across))
        column = ColumnLight(self.recipe, trace)
        rate = column.rate(place)
        return {
            "wavelength": wave,
            "depth": column.depth(place),
            "flux": rate * self._factor() / throughput(trace, wave),
            "rate": rate,
        }

    def _soss_star(self, optics: SossOptics) -> dict[str, np.ndarray]:
        """Give what `star` gives, and the same and the image of each order by its number."""
        out: dict[str, np.ndarray] = {}
        along = np.arange(self.recipe.shape[1])
        for light in self.orders:
            wave = optics.wavelength(light.order, along)
            values = {
                "wavelength": wave,
                "depth": np.divide(
                    light.drop, light.rate, out=np.full_like(wave, np.nan), where=light.rate > 0
                ),
                "flux": light.rate,
                "rate": light.rate,
            }
            if light.order == 1:
                out.update(values)
            for key, value in values.items():
                out[f"{key}_order{light.order}"] = value
            out[f"image_order{light.order}"] = light.image()
        return out

    def light_curve(self, transit: np.ndarray) -> np.ndarray:
        """Relative white light of the first order's counts, 1 outside the transit."""
        star = self.star()
        weight = np.nan_to_num(star.get("rate", np.ones(1)))
        depth = np.nan_to_num(star["depth"])
        return 1.0 - transit * float(np.sum(weight * depth) / np.sum(weight))

    def _factor(self) -> float:
        """Return the data unit per DN/s where the throughput is 1."""
        recipe = self.recipe
        if not recipe.photom:
            return 1.0
        megajansky = recipe.mode.jy_per_dn * 1e-6
        return megajansky if recipe.unit == "MJy" else megajansky / recipe.mode.pixel_area

    def _conversion(self) -> np.ndarray:
        factor = np.full(self.recipe.shape, self._factor())
        if self.traces and self.recipe.photom:
            wave = self.traces[0].wavelength_image(self.recipe.shape)
            factor /= np.nan_to_num(throughput(self.traces[0], wave), nan=0.2)
        return factor.astype(np.float32)

    def _background(self) -> np.ndarray:
        y, x = np.indices(self.recipe.shape) / np.reshape(self.recipe.shape, (2, 1, 1)) - 0.5
        level = self.recipe.background
        slope = 0.15 * (x if self.recipe.mode.dispaxis == 2 else y) + 0.05 * (x + y)
        return (level * (1 + slope)).astype(np.float32)


def _soss_light(recipe: Recipe, optics: SossOptics) -> list[SossLight]:
    """Light of all orders, scaled to the mode's peak of order 1."""
    scale = recipe.mode.peak_rate
    scale /= float(np.max(optics.column_light(1, stellar_flux(optics.fine_wavelengths(1)))))
    return [SossLight(optics, order, scale, recipe.depth) for order in ORDERS]


class _Star:
    """A point source with a core and a halo."""

    def __init__(self, recipe: Recipe) -> None:
        self.depth = recipe.depth
        self.rate = recipe.mode.peak_rate
        self.sigma = min(recipe.mode.psf_sigma, min(recipe.shape) / 10)
        self.edges = [
            np.arange(n + 1) - 0.5 - c
            for n, c in zip(recipe.shape, star_centre(recipe), strict=True)
        ]

    def add(self, out: np.ndarray, transit: np.ndarray, dx: np.ndarray, dy: np.ndarray) -> None:
        light = (self.rate * (1 - self.depth * transit)).astype(np.float32)
        for share, width in ((1 - HALO, self.sigma), (HALO, HALO_WIDTH * self.sigma)):
            across = [
                gauss_pixels((edges - shift[:, None]) / (np.sqrt(2) * width), 1)
                for edges, shift in zip(self.edges, (dy, dx), strict=True)
            ]
            across[0] *= np.float32(share) * light[:, None]
            out += across[0][:, :, None] * across[1][:, None, :]


class _WeakLens:
    """A star spread over a ring by the weak lens."""

    def __init__(self, recipe: Recipe) -> None:
        self.centre = star_centre(recipe)
        self.shape = recipe.shape
        self.depth = recipe.depth
        self.scale = recipe.mode.peak_rate / self._ring(0.0, 0.0).sum()
        h = LENS_STEP
        around = {(j, i): self._image(j * h, i * h) for j in (-1, 0, 1) for i in (-1, 0, 1)}
        mixed = around[1, 1] - around[1, -1] - around[-1, 1] + around[-1, -1]
        derivatives = (
            around[0, 0],
            (around[1, 0] - around[-1, 0]) / (2 * h),
            (around[0, 1] - around[0, -1]) / (2 * h),
            (around[1, 0] - 2 * around[0, 0] + around[-1, 0]) / (2 * h**2),
            (around[0, 1] - 2 * around[0, 0] + around[0, -1]) / (2 * h**2),
            mixed / (4 * h**2),
        )
        self.series = np.stack(derivatives).astype(np.float32)

    def _ring(self, dy: float, dx: float) -> np.ndarray:
        yc, xc = self.centre
        y, x = np.indices(self.shape, dtype=np.float64)
        y, x = y - yc - dy, x - xc - dx
        radius, angle = np.hypot(x, y), np.arctan2(y, x)
        outer = 0.42 * min(self.shape) * (1 + 0.05 * np.cos(6 * angle))
        ring = 1 / (1 + np.exp((radius - outer) / 1.2)) * (0.3 + (radius / outer) ** 2)
        return ring * (1 + 0.25 * np.cos(radius / 1.7))

    def _image(self, dy: float, dx: float) -> np.ndarray:
        return self.scale * self._ring(dy, dx)

    def add(self, out: np.ndarray, transit: np.ndarray, dx: np.ndarray, dy: np.ndarray) -> None:
        """Add the light of integrations, (integration, y, x) DN/s, to `out`."""
        brightness = np.asarray(1 - self.depth * transit, np.float32)
        for i, (y, x) in enumerate(zip(dy, dx, strict=True)):
            if max(abs(y), abs(x)) > SERIES_REACH:
                light = self._image(y, x).astype(np.float32)
            else:
                terms = np.array([1, y, x, y * y, x * x, x * y], np.float32)
                light = np.tensordot(terms, self.series, 1)
            out[i] += brightness[i] * light


def star_centre(recipe: Recipe) -> tuple[float, float]:
    """Mean position of an imaged star, 0-based ``(y, x)``."""
    ny, nx = recipe.shape
    return (ny - 1) / 2 + 0.31, (nx - 1) / 2 - 0.22
