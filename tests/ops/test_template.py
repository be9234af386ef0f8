"""Images of models of exposures: what a source looks like, from a sample of noisy integrations."""

from __future__ import annotations

import numpy as np
import pytest
from exposure_scene import Exposure
from scipy.ndimage import correlate1d

from tso3dask.ops import template
from tso3dask.ops.dispersion import FIRST_DIFFERENCE
from tso3dask.ops.gradients import derivatives
from tso3dask.ops.template import SAMPLE, evenly_spaced


@pytest.mark.parametrize("dispaxis", [0, 1, 2])
def test_images_of_a_known_source(dispaxis):
    shape = (41, 45) if dispaxis == 0 else (24, 300)
    scene = Exposure(dispaxis=dispaxis, shape=shape, hits=3e-3, peak=2e4)
    model = scene.template()
    truth = scene.image(np.median(scene.dy), np.median(scene.dx))
    lit = model.region
    scale = np.sum(model.image[lit] * truth[lit]) / np.sum(truth[lit] ** 2)
    assert abs(scale - 1) < 0.03  # 1 is the median brightness
    error = np.sqrt(model.variance * np.pi / 2 / len(scene.cubes["sci"]))
    off = (model.image - scale * truth) / np.maximum(error, 4e-3 * truth)
    assert np.abs(off).max() < 6 and np.std(off) < 1.5
    assert np.median(np.abs(model.image[~lit])) < 1
    assert 0.85 < model.scatter < 1.15
    assert not model.dead.any() and np.isfinite(model.variance).all()
    step = 0.01
    slope = (scene.image(step, 0) - scene.image(-step, 0)) / (2 * step)
    if dispaxis != 2:
        fitted = np.sum(slope * model.gradient_y) / np.sum(model.gradient_y**2)
        assert abs(fitted - 1) < 0.08  # of equal weights; see below for fits


@pytest.mark.parametrize("halo", [0.0, 0.12])
@pytest.mark.parametrize(
    ("sigma", "most"), [(0.55, 0.03), (0.65, 0.012), (0.75, 0.01), (1.2, 0.01)]
)
def test_gradients_of_sources_that_are_hardly_resolved(sigma, most, halo):
    core, wide = (Exposure(nints=2, sigma=s, jitter=0, lines=0) for s in (sigma, 3 * sigma))

    def image(dy):
        return (1 - halo) * core.image(dy) + halo * wide.image(dy)

    weight = 1 / (4 + image(0) / 4)
    first, second = derivatives(image(0), 3 * np.sqrt(0.025 / weight), 0)
    change = (image(1e-3) - image(-1e-3)) / 2e-3
    root = np.sqrt(weight.ravel())

    def shift(gradient, curvature):
        basis = [v.ravel() * root for v in (image(0), np.ones_like(change), gradient, curvature)]
        return np.linalg.lstsq(np.transpose(basis), change.ravel() * root, rcond=None)[0][2]

    assert abs(shift(-first, second / 2) - 1) < most
    if sigma < 1:  # differences of the image ring in the wings
        assert shift(-correlate1d(image(0), FIRST_DIFFERENCE, axis=0), second / 2) < 0.95


def test_derivatives_along_both_axes():
    y, x = np.indices((21, 25))
    light = 1e4 * np.exp(-((y - 10.2) ** 2) / 2 / 0.8 - (x - 12.1) ** 2 / 2 / 1.3)
    for axis, d, s in ((0, y - 10.2, 0.8), (1, x - 12.1, 1.3)):
        first, second = derivatives(light, 1e-30, axis)
        truth = -d / s * light, (d**2 / s**2 - 1 / s) * light
        np.testing.assert_allclose(first, truth[0], atol=1e-4)
        np.testing.assert_allclose(second, truth[1], atol=1e-4)
    assert not derivatives(light, 2e4, 0)[0].any()


@pytest.mark.parametrize("level", [0.0, 2.0, 4.0])
@pytest.mark.parametrize("slope", [-0.2, 0.2])
@pytest.mark.parametrize("axis", [0, 1])
def test_derivatives_where_light_ends_at_once(axis, slope, level):
    """Pixels beyond a slanted end are dark; what is left of the PSF has its own derivatives."""
    y, x = np.indices((23, 31))
    d = y - 10.3 - 0.02 * x
    light = 1e4 * np.exp(-(d**2) / 2 / 0.9)
    lit = slope * (y - 11) + x < 20
    if axis:
        light, lit, d = light.T, lit.T, d.T
    ended = np.where(lit, light, 0) + level
    first, second = derivatives(ended, 2.0, axis)
    sure = lit & (light > 40 * max(level, 1))
    truth = -d / 0.9 * light, (d**2 / 0.9**2 - 1 / 0.9) * light
    for found, expected in zip((first, second), truth, strict=True):
        off = np.abs(found - expected)[sure]
        assert off.max() < (1e-3 if level == 0 else 1500)
    assert np.abs(first[~lit]).max() <= 4 * level


def test_dead_pixels_are_filled_by_the_profile():
    scene = Exposure(dispaxis=1, lines=0.0, peak=2e4)
    rng = np.random.default_rng(5)
    dead = rng.random(scene.shape) < 0.01
    dead[9:14, 100] = True  # a whole cut through the trace
    scene.cubes["sci"][:, dead] = np.nan
    scene.cubes["dq"][:, dead & (rng.random(scene.shape) < 0.5)] = 1
    model = scene.template()
    assert (model.dead == dead).all()
    assert np.isfinite(model.image).all()
    truth = scene.image(np.median(scene.dy), 0)
    lit = dead & model.region
    lit[:, 99:102] = False
    assert lit.sum() > 15
    np.testing.assert_allclose(model.image[lit], truth[lit], rtol=0.05, atol=60)


def test_dead_pixels_of_a_star_are_filled_by_its_profile():
    scene = Exposure(dispaxis=0, shape=(41, 45), peak=1e5, sigma=1.3)
    dead = np.zeros(scene.shape, bool)
    dead[21, 22] = dead[19, 24] = dead[3, 4] = True
    scene.cubes["dq"][:, dead] = 1
    model = scene.template()
    truth = scene.image(np.median(scene.dy), np.median(scene.dx))
    np.testing.assert_allclose(model.image[dead], truth[dead], rtol=0.1, atol=3)


@pytest.mark.parametrize(
    "names", [("sci", "dq", "err"), ("sci", "dq"), ("sci", "dq", "err", "zero")]
)
def test_variances_come_from_what_there_is(names):
    scene = Exposure(peak=2e4, jitter=0.01)
    if "zero" in names:
        scene.cubes["err"][:] = 0
    model = scene.template(names)
    truth = np.median(scene.cubes["err"], axis=0) ** 2
    if "zero" in names or "err" not in names:  # from the scatter of 40 values each
        truth = np.median(Exposure(peak=2e4).cubes["err"], axis=0) ** 2
        assert abs(np.median(model.variance / truth) - 1) < 0.15
    else:
        np.testing.assert_allclose(model.variance, truth, rtol=0.1)
    assert model.read_variance is None
    whole = scene.template()
    np.testing.assert_allclose(whole.read_variance[~whole.region], 4, rtol=2.5)
    assert (whole.read_variance <= whole.variance + 1e-3).all()


@pytest.mark.parametrize("ends", [(0, 300), (37, 262)])
def test_the_trace_ends_where_its_light_does(ends):
    scene = Exposure(lines=0.0, peak=2e4, jitter=0.0)
    dark = np.ones(300, bool)
    dark[slice(*ends)] = False
    noise = np.random.default_rng(4).normal(30, 2, (40, 24, int(dark.sum())))
    scene.cubes["sci"][..., dark] = noise
    model = scene.template()
    lit = np.flatnonzero(np.isfinite(model.centre))
    assert lit[0] == pytest.approx(ends[0], abs=12) and lit[0] <= ends[0]
    assert lit[-1] + 1 == pytest.approx(ends[1], abs=12) and lit[-1] + 1 >= ends[1]
    truth = scene.centre(np.arange(300))[lit] + np.median(scene.dy)
    np.testing.assert_allclose(model.centre[lit], truth, atol=0.03)
    assert model.region[:, slice(*ends)].any(axis=0).all()


def test_samples_are_bounded_and_even():
    for total in (1, 5, 64, 65, 1000):
        picks = evenly_spaced(total, SAMPLE)
        assert picks.size == min(total, SAMPLE) and np.ptp(np.diff(picks)) <= 1 if total > 1 else 1
        assert picks[0] >= 0 and picks[-1] < total


def test_nothing_but_noise_has_no_target():
    scene = Exposure(peak=0.0)
    model = scene.template()
    assert not model.region.any() and np.isfinite(model.image).all()


def test_single_integrations():
    model = Exposure(nints=1).template()
    assert model.region.any() and np.isfinite(model.image).all()


@pytest.mark.parametrize("dispaxis", [0, 1, 2])
def test_only_what_is_near_the_target_matters_to_gradients(dispaxis, monkeypatch):
    shape = (41, 45) if dispaxis == 0 else (24, 300)
    scene = Exposure(dispaxis=dispaxis, shape=shape, hits=3e-3, peak=2e4)
    near = scene.template()
    monkeypatch.setattr(template, "STENCIL", 10**6)
    whole = scene.template()
    for name in ("image", "gradient_y", "gradient_x", "curvature"):
        np.testing.assert_array_equal(getattr(near, name), getattr(whole, name))
    assert near.gradient_y.any() or near.gradient_x.any()
