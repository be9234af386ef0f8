"""Light in an aperture that stays, and in one that follows a star that moves."""

from __future__ import annotations

import numpy as np
import pytest
from photutils.aperture import CircularAperture

from tso3dask.simulation.recipe import make_recipe
from tso3dask.simulation.scene import Scene, star_centre

RADIUS = 3.0
"""Of the apertures of `tso_photometry` if nothing is said."""
JITTER = 0.01


def scatter_of_light(mode: str) -> tuple[float, float]:
    """Scatter of the light of an aperture that stays and of one that moves with the star."""
    recipe = make_recipe(mode, jitter=JITTER, background=0.0, nints=2, segments=1)
    scene = Scene(recipe, recipe.mode.detectors[0])
    y, x = star_centre(recipe)
    shifts = JITTER * np.random.default_rng(3).normal(size=(20, 2))
    frames = scene.rates(np.zeros(20), shifts[:, 1], shifts[:, 0]).astype(float)

    def light(frame: np.ndarray, dy: float, dx: float) -> float:
        return float(CircularAperture((x + dx, y + dy), RADIUS).do_photometry(frame)[0][0])

    staying = [light(frame, 0, 0) for frame in frames]
    moving = [light(frame, *shift) for frame, shift in zip(frames, shifts, strict=True)]
    return float(np.std(staying) / np.mean(staying)), float(np.std(moving) / np.mean(moving))


@pytest.mark.parametrize(("mode", "better"), [("nrc_tsimage", "moving"), ("mir_image", "staying")])
def test_which_aperture_is_steadier(mode, better):
    staying, moving = scatter_of_light(mode)
    assert (moving < 0.5 * staying) if better == "moving" else (staying < 0.5 * moving)
