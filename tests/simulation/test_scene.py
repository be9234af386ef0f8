"""Light curve, geometry and noise against what they claim to be."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.interpolate import make_interp_spline
from scipy.optimize import least_squares

from tso3dask.simulation.lightcurve import overlap_area, spectral_depth, transit_shape
from tso3dask.simulation.modes import MODES
from tso3dask.simulation.noise import DO_NOT_USE, Detector
from tso3dask.simulation.recipe import make_recipe
from tso3dask.simulation.scene import Scene

SHAPES = {1: (24, 60), 2: (60, 24), None: (24, 26)}
CLEAN = {"cr_rate": 0.0, "lost_rate": 0.0, "hot_fraction": 0.0, "dead_fraction": 0.0}


def small(mode, **arguments):
    return make_recipe(
        mode, **{"nints": 40, "shape": SHAPES[MODES[mode].dispaxis], **CLEAN, **arguments}
    )


def expose(recipe, start=0, stop=None, detector=0):
    made = Detector(recipe, detector)
    return made, made.expose(recipe.timeline(), 0, start, recipe.nints if stop is None else stop, 1)


def test_overlap_area_of_circles():
    assert overlap_area(np.array([0.0, 0.89, 1.11]), 0.1).tolist() == [1.0, 1.0, 0.0]
    # a very small disc on the edge is cut by a straight line
    assert overlap_area(np.array([1.0]), 1e-4)[0] == pytest.approx(0.5, abs=1e-4)
    d, k = 0.8, 0.5
    y, x = (np.indices((2000, 2000)) + 0.5) / 2000 - 0.5
    inside = np.hypot(x, y) <= 0.5
    share = np.mean((np.hypot(2 * k * x + d, 2 * k * y) <= 1)[inside])
    assert overlap_area(np.array([d]), k)[0] == pytest.approx(share, abs=2e-3)


def test_transit_shape_and_depth():
    shape = transit_shape(np.linspace(-1, 1, 201), 0.01)
    assert shape[100] == 1.0
    assert np.all(shape[np.abs(np.linspace(-1, 1, 201)) > 0.5] == 0)
    np.testing.assert_allclose(shape, shape[::-1], atol=1e-12)
    assert np.all(np.diff(shape[:101]) >= -1e-12)
    wave = np.linspace(0.6, 14, 500)
    assert np.all(np.abs(spectral_depth(wave, 0.01) / 0.01 - 1) < 0.15)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("var_flat", [True, False])
def test_noise_matches_errors(mode, var_flat):
    recipe = small(mode, var_flat=var_flat)
    made, chunk = expose(recipe)
    line = recipe.timeline()
    truth = made.scene.rates(line.transit, line.jitter_x, line.jitter_y) * made.scene.conversion
    variance = chunk.var_poisson.astype(float) + chunk.var_rnoise
    if var_flat:
        variance = variance + chunk.var_flat
        truth = truth * made.flat
    else:
        assert chunk.var_flat is None
    good = (chunk.dq & DO_NOT_USE) == 0
    np.testing.assert_allclose(chunk.err[good] ** 2.0, variance[good], rtol=2e-6)
    random = (chunk.sci - truth)[good] / np.sqrt(chunk.var_poisson + chunk.var_rnoise)[good]
    assert np.mean(random) == pytest.approx(0, abs=5 / np.sqrt(random.size))
    assert np.mean(random**2) == pytest.approx(1, abs=8 / np.sqrt(random.size))


def test_flat_pattern_has_its_stated_variance():
    recipe = small("nrc_tsimage", shape=(64, 64), nints=2)
    made, chunk = expose(recipe)
    line = recipe.timeline()
    light = made.scene.rates(line.transit, line.jitter_x, line.jitter_y) * made.scene.conversion
    pull = light[0] * (made.flat - 1) / np.sqrt(chunk.var_flat[0])
    assert np.mean(pull**2) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("mode", MODES)
def test_star_is_where_its_trace_is(mode):
    recipe = small(mode, depth=0.0, jitter=0.0, nints=2, segments=1)
    made = Detector(recipe, 0)
    zero = np.zeros(1)
    light = made.scene.rates(zero, zero, zero)[0] - made.scene.background
    if not made.scene.traces:
        x = np.indices(light.shape)[1]
        assert np.sum(light * x) / light.sum() == pytest.approx((26 - 1) / 2 - 0.22, abs=0.05)
        assert light.sum() == pytest.approx(recipe.mode.peak_rate, rel=0.03)
        return
    if mode == "nis_soss":
        return
    trace = made.scene.traces[0]
    if trace.dispaxis == 2:
        light = light.T
    at = int(np.argmax(light.sum(axis=0)))
    centre = np.sum(light[:, at] * np.arange(light.shape[0])) / light[:, at].sum()
    assert centre == pytest.approx(trace.centre_at(np.array(float(at))), abs=0.35)


@pytest.mark.parametrize("mode", ["nrc_tsimage", "nrs_prism", "mir_lrs-slitless"])
def test_jitter_moves_the_star(mode):
    recipe = small(mode, nints=2, segments=1, depth=0.0)
    scene = Detector(recipe, 0).scene
    zero, half = np.zeros(1), np.full(1, 0.5)
    across_x = recipe.mode.dispaxis == 2
    moved = scene.rates(zero, half if across_x else zero, zero if across_x else half)
    still = scene.rates(zero, zero, zero)
    axis = 2 if across_x else 1
    index = np.arange(still.shape[axis]).reshape([-1 if a == axis else 1 for a in range(3)])

    def centre(cube):
        light = cube - scene.background
        return np.sum(light * index) / np.sum(light)

    assert centre(moved) - centre(still) == pytest.approx(0.5, abs=0.015)


SHIFTS = [(0.04, -0.02), (-0.07, 0.09), (0.31, 0.24)]


def shift_of(moved, still, low, high):
    """Shift of a profile along its first axis by least squares against an interpolated one."""
    index = np.arange(len(still))
    curve = make_interp_spline(index, still, k=5)
    inner = slice(low, high)

    def residual(shift):
        model = curve(index[inner] - shift)
        return (moved[inner] - model).ravel() / still.max()

    return least_squares(residual, 0.0, xtol=1e-12, ftol=1e-12).x[0]


@pytest.mark.parametrize("shift", SHIFTS)
@pytest.mark.parametrize("mode", [name for name in MODES if MODES[name].dispaxis])
def test_spectra_move_as_they_are_told(mode, shift):
    along, across = shift
    # all of the profile's wings are on the larger array of SOSS
    subarray = "SUBSTRIP256" if mode == "nis_soss" else None
    recipe = make_recipe(mode, subarray=subarray, nints=2, segments=1, depth=0.0, jitter=0.1)
    swap = recipe.mode.dispaxis == 2
    dx, dy = (across, along) if swap else (along, across)
    for detector in recipe.mode.detectors:
        scene = Scene(recipe, detector)
        part = scene._parts[0]
        frames = np.zeros((2, *recipe.shape), np.float32)
        part.add(frames, np.zeros(2), np.array([0.0, dx]), np.array([0.0, dy]))
        still, moved = np.swapaxes(frames, 1, 2).astype(float) if swap else frames.astype(float)
        trace = scene.traces[0]
        first, last = int(trace.pixels[0]) + 8, int(trace.pixels[-1]) - 8
        found = shift_of(moved.sum(axis=0), still.sum(axis=0), first, last)
        assert found == pytest.approx(along, abs=1e-3)
        lit = slice(first, last)
        rows = np.arange(len(still))[:, None]
        light = (frame[:, lit] for frame in (still, moved))
        centres = [(frame * rows).sum(axis=0) / frame.sum(axis=0) for frame in light]
        slope = np.gradient(trace.centre_at(np.arange(still.shape[1])))
        found = np.diff(centres, axis=0)[0] + along * slope[lit]
        # at lines, light has a slope across a tilted trace; wings of SOSS end at the array
        assert np.median(found) == pytest.approx(across, abs=1e-3)
        np.testing.assert_allclose(found, across, atol=2e-3)


@pytest.mark.parametrize("shift", SHIFTS)
@pytest.mark.parametrize(
    "mode, pupil", [("nrc_tsimage", None), ("mir_image", None), ("nrc_tsimage", "WLP8")]
)
def test_images_move_as_they_are_told(mode, pupil, shift):
    dx, dy = shift
    recipe = make_recipe(mode, pupil=pupil, nints=2, segments=1, depth=0.0, jitter=0.1)
    scene = Scene(recipe, recipe.mode.detectors[0])
    frames = scene.rates(np.zeros(2), np.array([0, dx]), np.array([0, dy])).astype(float)
    still, moved = frames - scene.background
    for axis, told in ((0, dx), (1, dy)):
        found = shift_of(moved.sum(axis=axis), still.sum(axis=axis), 6, -6)
        assert found == pytest.approx(told, abs=1e-3)


def test_light_curve_is_what_the_pixels_do():
    recipe = small("nrs_prism", jitter=0.0, depth=0.02)
    scene = Detector(recipe, 0).scene
    line = recipe.timeline()
    counts = (scene.rates(line.transit, line.jitter_x, line.jitter_y) - scene.background).sum(
        axis=(1, 2)
    )
    curve = scene.light_curve(line.transit)
    np.testing.assert_allclose(counts / counts[0], curve, atol=2e-4)
    assert 0.01 < 1 - curve.min() < 0.03


def test_pixels_do_not_depend_on_grouping():
    recipe = small("mir_lrs-slitless", nints=7, cr_rate=1e-2, lost_rate=1e-2, segments=1)
    _, whole = expose(recipe)
    _, part = expose(recipe, 3, 5)
    for name in ("sci", "err", "dq", "var_poisson", "var_rnoise", "var_flat"):
        np.testing.assert_array_equal(getattr(whole, name)[3:5], getattr(part, name))
    rays = whole.cosmic_rays
    np.testing.assert_array_equal(
        rays[(rays["integration"] >= 4) & (rays["integration"] <= 5)], part.cosmic_rays
    )


def test_cosmic_rays_and_bad_pixels_are_as_recorded():
    arguments = {"nints": 5, "segments": 1, "lost_rate": 1e-3}
    _, without = expose(small("nrs_prism", **arguments))
    _, chunk = expose(small("nrs_prism", cr_rate=5e-3, **arguments))
    rays = chunk.cosmic_rays
    assert len(rays) > 10
    at = (rays["integration"] - 1, rays["y"], rays["x"])
    difference = np.nan_to_num(chunk.sci - without.sci)
    np.testing.assert_allclose(difference[at], rays["amplitude"], rtol=1e-4)
    assert np.all(rays["amplitude"] > 9.9 * chunk.err[at])
    difference[at] = 0
    assert not np.any(difference)
    lost = chunk.lost
    where = (lost["integration"] - 1, lost["y"], lost["x"])
    assert np.all(np.isnan(chunk.sci[where])) and np.all(chunk.dq[where] & DO_NOT_USE)
    assert np.isnan(chunk.sci).sum() == len(lost)

    recipe = small("nrs_prism", hot_fraction=0.02, dead_fraction=0.01, nints=3, segments=1)
    made, chunk = expose(recipe)
    assert np.all(chunk.dq[:, made.hot] & (2048 | 1) == 2049)
    assert np.all(chunk.dq[:, made.dead] & (1024 | 1) == 1025)
    assert np.all(np.isfinite(chunk.sci[:, made.hot])) and np.all(np.isnan(chunk.err[:, made.dead]))
    assert made.hot.any() and made.dead.any()


def test_reference_pixels_frame_the_full_array():
    made = Detector(make_recipe("nrc_tsgrism", nints=2, segments=1), 0)
    assert np.all(made.dq[:, :4] == 2**31 + 1) and np.all(made.dq[:4] == 2**31 + 1)
    assert not made.dq[-1, 100] & np.uint32(2**31)
