"""Detectors: noise that matches its stated errors, cosmic rays, bad pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .recipe import Recipe, Timeline, rng_for
from .scene import Scene, star_centre

__all__ = ["EVENT_DTYPE", "Chunk", "Detector"]

DO_NOT_USE = 1
JUMP_DET = 4
DEAD = 1024
HOT = 2048
REFERENCE_PIXEL = 2**31

FLAT_ERROR = 0.002
JUMP_RATE = 1e-3
COSMIC_SIGMAS = (10.0, 500.0)
EVENT_DTYPE = np.dtype(
    [
        ("exposure", "i4"),
        ("detector", "i4"),
        ("segment", "i4"),
        ("integration", "i4"),
        ("y", "i4"),
        ("x", "i4"),
        ("amplitude", "f8"),
    ]
)


@dataclass(frozen=True)
class Chunk:
    """Pixels of a run of integrations, (integration, y, x); float32, `dq` uint32."""

    sci: np.ndarray
    err: np.ndarray
    dq: np.ndarray
    var_poisson: np.ndarray
    var_rnoise: np.ndarray
    var_flat: np.ndarray | None
    cosmic_rays: np.ndarray
    lost: np.ndarray


class Detector:
    """One detector looking at one scene.

    Every integration draws from its own random stream, so pixels do not depend on how the
    integrations are grouped.

    Parameters
    ----------
    recipe : what to simulate.
    index : number of the detector within the mode.
    """

    def __init__(self, recipe: Recipe, index: int) -> None:
        self.recipe = recipe
        self.index = index
        self.scene = Scene(recipe, recipe.mode.detectors[index])
        rng = rng_for(recipe.seed, 1, index)
        shape = recipe.shape
        pattern = rng.standard_normal(shape, dtype=np.float32)
        self.flat = np.float32(1) + np.float32(FLAT_ERROR) * pattern
        typical = recipe.mode.read_noise / (recipe.mode.gain * recipe.integration_time)
        read = typical * (1 + 0.1 * rng.standard_normal(shape))
        self.var_rnoise = ((read * self.scene.conversion) ** 2).astype(np.float32)
        draw = rng.random(shape)
        draw[self._core()] = 1.0
        self.hot = draw < recipe.hot_fraction
        self.dead = (draw >= recipe.hot_fraction) & (
            draw < recipe.hot_fraction + recipe.dead_fraction
        )
        self.hot_rate = np.where(self.hot, rng.uniform(0.02, 0.5, shape), 0).astype(np.float32)
        self.hot_rate *= np.float32(self.recipe.mode.peak_rate / 10)
        self.reference = self._reference_pixels()
        self.dq = np.zeros(shape, np.uint32)
        self.dq[self.hot] |= HOT | DO_NOT_USE
        self.dq[self.dead] |= DEAD | DO_NOT_USE
        self.dq[self.reference] = REFERENCE_PIXEL | DO_NOT_USE
        self.blank = self.dead | self.reference

    def _core(self) -> np.ndarray:
        """Pixels kept free of permanent defects: the core of an imaged star."""
        y, x = np.indices(self.recipe.shape)
        if not self.recipe.mode.imaging:
            return np.zeros(self.recipe.shape, bool)
        yc, xc = star_centre(self.recipe)
        return np.hypot(y - yc, x - xc) < 3.0 * self.recipe.mode.psf_sigma

    def _reference_pixels(self) -> np.ndarray:
        left, right, bottom, top = self.recipe.mode.reference_pixels
        ny, nx = self.recipe.shape
        mask = np.zeros((ny, nx), bool)
        if nx == self.recipe.mode.shape[1]:
            mask[:, :left] = True
            mask[:, nx - right :] = True
        if ny == self.recipe.mode.shape[0]:
            mask[:bottom] = True
            mask[ny - top :] = True
        return mask

    def expose(
        self, timeline: Timeline, exposure: int, start: int, stop: int, segment: int
    ) -> Chunk:
        """Integrations ``start <= i < stop`` (0-based) of one exposure.

        Returns
        -------
        Chunk in the data's unit. ``err**2`` is the sum of the variances; the noise drawn has
        variance ``var_poisson + var_rnoise``, the flat field is off by a fixed pattern with
        variance ``var_flat``. Dead, reference and lost pixels are NaN in every float array and
        flagged DO_NOT_USE; hot pixels are flagged and keep their value.
        """
        recipe, conversion = self.recipe, self.scene.conversion
        rows = slice(exposure * recipe.nints + start, exposure * recipe.nints + stop)
        sci = self.scene.rates(
            timeline.transit[rows], timeline.jitter_x[rows], timeline.jitter_y[rows]
        )
        sci += self.hot_rate
        electrons = recipe.mode.gain * recipe.integration_time
        var_poisson = sci * (conversion * conversion / np.float32(electrons))
        sci *= conversion
        var_rnoise = np.empty_like(sci)
        var_rnoise[:] = self.var_rnoise
        variance = var_poisson + var_rnoise
        var_flat = None
        if recipe.var_flat:
            var_flat = sci * np.float32(FLAT_ERROR)
            var_flat *= var_flat
            sci *= self.flat
        spread = np.sqrt(variance)
        if var_flat is not None:
            variance += var_flat
        err = np.sqrt(variance, out=variance)
        dq = np.empty(sci.shape, np.uint32)
        dq[:] = self.dq
        buffer = np.empty(recipe.shape, np.float32)
        rays, lost = [], []
        for k, i in enumerate(range(start, stop)):
            rng = rng_for(recipe.seed, 2, self.index, exposure, i)
            rng.standard_normal(out=buffer, dtype=np.float32)
            buffer *= spread[k]
            sci[k] += buffer
            where = (exposure, self.index, segment, i + 1)
            self._jumps(rng, dq[k])
            lost.append(self._lose(rng, where, dq[k]))
            rays.append(self._cosmic_rays(rng, where, sci[k], err[k], dq[k]))
        floats = [a for a in (sci, err, var_poisson, var_rnoise, var_flat) if a is not None]
        gone = np.concatenate(lost)
        at = (gone["integration"] - 1 - start, gone["y"], gone["x"])
        for array in floats:
            array[:, self.blank] = np.nan
            array[at] = np.nan
        return Chunk(sci, err, dq, var_poisson, var_rnoise, var_flat, np.concatenate(rays), gone)

    def _positions(
        self, rng: np.random.Generator, rate: float, where: tuple[int, ...]
    ) -> np.ndarray:
        ny, nx = self.recipe.shape
        count = int(rng.poisson(rate * ny * nx))
        flat = np.unique(rng.integers(0, ny * nx, count))
        events = np.zeros(len(flat), EVENT_DTYPE)
        names = ("exposure", "detector", "segment", "integration")
        for name, value in zip(names, where, strict=True):
            events[name] = value
        events["y"], events["x"] = np.divmod(flat, nx)
        return events

    def _jumps(self, rng: np.random.Generator, dq: np.ndarray) -> None:
        """Flag harmless jumps, as a ramp fit that dealt with them does."""
        count = int(rng.poisson(JUMP_RATE * dq.size))
        dq.reshape(-1)[rng.integers(0, dq.size, count)] |= np.uint32(JUMP_DET)

    def _cosmic_rays(
        self,
        rng: np.random.Generator,
        where: tuple[int, ...],
        sci: np.ndarray,
        err: np.ndarray,
        dq: np.ndarray,
    ) -> np.ndarray:
        """Add hits; return those on usable pixels."""
        events = self._positions(rng, self.recipe.cr_rate, where)
        low, high = np.log(COSMIC_SIGMAS)
        at = (events["y"], events["x"])
        sigmas = np.exp(rng.uniform(low, high, len(events)))
        events["amplitude"] = (sigmas * err[at]).astype(np.float32)
        sci[at] += events["amplitude"].astype(np.float32)
        return events[(dq[at] & DO_NOT_USE) == 0]

    def _lose(self, rng: np.random.Generator, where: tuple[int, ...], dq: np.ndarray) -> np.ndarray:
        """Flag pixels without a value in this integration only."""
        events = self._positions(rng, self.recipe.lost_rate, where)
        dq[events["y"], events["x"]] |= np.uint32(DO_NOT_USE | JUMP_DET)
        return events
