"""The noise-free picture: count rate of every pixel in every integration."""

from __future__ import annotations

import numpy as np

from .geometry import Trace, soss_optics, traces_of
from .lightcurve import spectral_depth, stellar_spectrum
from .recipe import Recipe
from .soss import ORDERS, SossLight, SossOptics, stellar_flux

__all__ = ["Scene", "star_centre"]

HALO = 0.12
HALO_WIDTH = 3.0
REACH = 6.0


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
        self._parts: list[_Spectrum | _Star | _WeakLens | SossLight]
        if self.orders:
            self._parts = list(self.orders)
        elif self.traces:
            self._parts = [_Spectrum(recipe, trace) for trace in self.traces]
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
        wave = trace.wavelength(along, trace.centre_at(along))
        rate = _column_rate(self.recipe, trace, wave)
        return {
            "wavelength": wave,
            "depth": spectral_depth(wave, self.recipe.depth),
            "flux": rate * self._factor() / _throughput(trace, wave),
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
            factor /= np.nan_to_num(_throughput(self.traces[0], wave), nan=0.2)
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


def _throughput(trace: Trace, wave: np.ndarray) -> np.ndarray:
    """Relative throughput, a smooth hump over the order's range; NaN outside."""
    low, high = sorted((trace.waves[0], trace.waves[-1]))
    return np.sin(np.pi * (0.06 + 0.88 * (wave - low) / (high - low))) ** 0.8


def _column_rate(recipe: Recipe, trace: Trace, wave: np.ndarray) -> np.ndarray:
    """Count rate of the star summed across the trace, DN/s; NaN where no light falls."""

    def relative(um: np.ndarray) -> np.ndarray:
        return stellar_spectrum(um) * _throughput(trace, um)

    peak = np.nanmax(relative(trace.waves))
    return recipe.mode.peak_rate * trace.brightness * relative(wave) / peak


def _gauss_pixels(edges: np.ndarray, axis: int) -> np.ndarray:
    """Integral of a normal profile over pixels, from pixel edges in units of sqrt(2) sigma."""
    from scipy.special import erf

    return np.float32(0.5) * np.diff(erf(edges.astype(np.float32)), axis=axis)


class _Spectrum:
    """One order of a dispersed star."""

    def __init__(self, recipe: Recipe, trace: Trace) -> None:
        shape = recipe.shape
        self.cross = 1 if trace.dispaxis == 1 else 2
        n_along, n_across = (shape[1], shape[0]) if self.cross == 1 else shape
        along = np.arange(n_along, dtype=np.float64)
        centre, sigma = trace.centre_at(along), trace.sigma_at(along)
        self.jitter_free = recipe.jitter == 0
        reach = REACH * HALO_WIDTH * sigma + 4 * recipe.jitter
        lit = (along >= trace.pixels[0]) & (along <= trace.pixels[-1])
        low = int(np.clip(np.floor(np.min((centre - reach)[lit])), 0, n_across))
        high = int(np.clip(np.ceil(np.max((centre + reach)[lit])) + 1, low, n_across))
        self.window = np.s_[:, low:high, :] if self.cross == 1 else np.s_[:, :, low:high]
        cut = self.window[1:]
        edges = np.arange(low, high + 1) - 0.5
        width = np.sqrt(2) * sigma

        def place(numerator: np.ndarray) -> np.ndarray:
            return numerator if self.cross == 1 else numerator.T

        offset = (edges[:, None] - centre) / width
        self.edges = place(offset)[None]
        self.inverse_width = (1 / width)[None, :] if self.cross == 1 else (1 / width)[:, None]
        wave = trace.wavelength_image(shape).astype(np.float64)
        flux = _column_rate(recipe, trace, wave)[cut]
        slope = np.gradient(flux, axis=1 if self.cross == 1 else 0)
        self.flux, self.slope = (np.nan_to_num(a).astype(np.float32) for a in (flux, slope))
        self.depth = np.nan_to_num(spectral_depth(wave, recipe.depth))[cut].astype(np.float32)

    def add(self, out: np.ndarray, transit: np.ndarray, dx: np.ndarray, dy: np.ndarray) -> None:
        along, across = (dx, dy) if self.cross == 1 else (dy, dx)
        edges = self.edges
        if not self.jitter_free:
            edges = edges - across[:, None, None] * self.inverse_width
        profile = _gauss_pixels(edges, self.cross)
        profile *= np.float32(1 - HALO)
        profile += np.float32(HALO) * _gauss_pixels(edges / HALO_WIDTH, self.cross)
        light = self.flux - _column(along) * self.slope
        light *= 1 - _column(transit) * self.depth
        light *= profile
        out[self.window] += light


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
                _gauss_pixels((edges - shift[:, None]) / (np.sqrt(2) * width), 1)
                for edges, shift in zip(self.edges, (dy, dx), strict=True)
            ]
            across[0] *= np.float32(share) * light[:, None]
            out += across[0][:, :, None] * across[1][:, None, :]


class _WeakLens:
    """A star spread over a ring by the weak lens; shifts to first order."""

    def __init__(self, recipe: Recipe) -> None:
        yc, xc = star_centre(recipe)
        y, x = np.indices(recipe.shape, dtype=np.float64)
        radius, angle = np.hypot(x - xc, y - yc), np.arctan2(y - yc, x - xc)
        outer = 0.42 * min(recipe.shape) * (1 + 0.05 * np.cos(6 * angle))
        ring = 1 / (1 + np.exp((radius - outer) / 1.2)) * (0.3 + (radius / outer) ** 2)
        ring *= 1 + 0.25 * np.cos(radius / 1.7)
        image = recipe.mode.peak_rate * ring / ring.sum()
        self.depth = recipe.depth
        self.image = image.astype(np.float32)
        self.dy, self.dx = (g.astype(np.float32) for g in np.gradient(image))

    def add(self, out: np.ndarray, transit: np.ndarray, dx: np.ndarray, dy: np.ndarray) -> None:
        light = self.image - _column(dx) * self.dx - _column(dy) * self.dy
        light *= 1 - _column(transit) * np.float32(self.depth)
        out += light


def star_centre(recipe: Recipe) -> tuple[float, float]:
    """Mean position of an imaged star, 0-based ``(y, x)``."""
    ny, nx = recipe.shape
    return (ny - 1) / 2 + 0.31, (nx - 1) / 2 - 0.22


def _column(values: np.ndarray) -> np.ndarray:
    return np.asarray(values, dtype=np.float32)[:, None, None]
