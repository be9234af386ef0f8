"""Fits of integrations: what was put in comes out, whatever hits and missing pixels there are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from exposure_scene import Exposure

from tso3dask.ops.exposure_model import NUMBERS
from tso3dask.ops.model_fit import (
    fit_integrations,
    fit_plan,
    fit_window,
    sum_labels,
    useful_numbers,
)


@pytest.fixture(scope="module")
def trace():
    scene = Exposure(hits=2e-3, lines=0.6)
    return scene, scene.template()


def fit(scene, model, sci=None, dq=None, **options):
    rows, columns = fit_window(model.region)
    sci = scene.cubes["sci"] if sci is None else sci
    dq = scene.dq if dq is None else dq
    cut = np.s_[:, rows, columns]
    plan = fit_plan(model, options.pop("labels", None))
    return fit_integrations(
        plan, np.ascontiguousarray(sci[cut]), np.ascontiguousarray(dq[cut]), **options
    )


def plain_fit(scene, model, k, clip=5.0):
    """Same fit of one integration in plain numpy, from its true numbers."""
    rows, columns = fit_window(model.region)
    sci = scene.cubes["sci"][k][rows, columns].astype(float).ravel()
    error = np.sqrt(model.variance[rows, columns].astype(float)).ravel()
    images = [model.image, np.ones_like(model.image), model.gradient_y, model.gradient_x]
    basis = np.array([i[rows, columns].ravel() for i in (*images, model.curvature)], float)
    usable = np.isfinite(error) & ~model.dead[rows, columns].ravel() & np.isfinite(sci)
    free = [i for i, name in enumerate(NUMBERS) if name in model.fitted]
    a = (basis[free] / error)[:, usable]
    d = (sci / error)[usable]
    p = np.linalg.lstsq(a.T, d, rcond=None)[0]
    use = np.ones(d.size, bool)
    for _ in range(12):
        left = np.abs(d - p @ a)
        use = left <= clip * 1.4826 * np.median(left)
        p = np.linalg.lstsq(a[:, use].T, d[use], rcond=None)[0]
    out = np.zeros(5)
    out[free] = p
    out[2:] /= out[0]
    return out


def test_kernel_agrees_with_plain_numpy(trace):
    scene, model = trace
    found = fit(scene, model, tolerances=(0.3, 0.1, *[0.0] * 10))
    for k in (0, 7, 20, 39):
        expected = plain_fit(scene, model, k)
        got = [found[name][k] for name in NUMBERS]
        np.testing.assert_allclose(got, expected, rtol=2e-6, atol=2e-5)


def test_numbers_put_in_come_out(trace):
    scene, model = trace
    found = fit(scene, model)
    ratio = found["brightness"] / scene.brightness
    photons = 0.5 / np.sqrt(scene.image().sum())  # their variance is a quarter of the light
    assert np.std(ratio / ratio.mean()) < 1.1 * photons
    inside = scene.brightness < 1
    # 10 % less light, to a few of the standard errors of the means
    assert abs(ratio[inside].mean() / ratio[~inside].mean() - 1) < 3e-4
    np.testing.assert_allclose(found["background"], scene.background, atol=0.15)
    assert {"shift_y", "shift_x", "width"} <= set(model.fitted)
    for name, truth in (("shift_y", scene.dy), ("shift_x", scene.dx)):
        shift = found[name] - np.median(found[name])
        assert np.std(shift - truth) < {"shift_y": 0.001, "shift_x": 0.005}[name], name
        assert abs(np.polyfit(truth, shift, 1)[0] - 1) < 0.03, name
    assert 0.9 < np.median(found["scatter"]) < 1.1
    hits = scene.hit[(slice(None), *fit_window(model.region))].sum(axis=(1, 2))
    assert np.all(found["left_out"] >= 0.9 * hits)


def test_hits_and_missing_pixels_do_not_matter():
    clean = Exposure()
    model = clean.template()
    before = fit(clean, model)
    rng = np.random.default_rng(3)
    hit = rng.random(clean.dq.shape) < 0.01
    sci = np.where(hit, clean.cubes["sci"] + rng.uniform(50, 5000, hit.shape), clean.cubes["sci"])
    lost, flagged = rng.random((2, *hit.shape)) < 0.02
    sci = np.where(lost, np.nan, np.where(flagged, 1e30, sci)).astype(np.float32)
    after = fit(clean, model, sci, (clean.dq | np.where(flagged, 1, 0)).astype(np.uint32))
    np.testing.assert_allclose(after["brightness"], before["brightness"], rtol=6e-4)
    np.testing.assert_allclose(after["shift_y"], before["shift_y"], atol=2e-3)


def test_estimates_count_as_missing():
    """Pixels that were replaced tell nothing of the star: their values do not matter."""
    one, two = (Exposure(nints=20, shape=(24, 80), seed=4) for _ in range(2))
    bad = np.random.default_rng(5).random(one.dq.shape) < 0.02
    bad[:, 8, 12] = True
    found = []
    for scene, bit in ((one, 1), (two, 1 << 28)):
        scene.cubes["sci"] = np.where(bad, np.float32(1.1), np.float32(1)) * scene.cubes["sci"]
        scene.cubes["dq"] = scene.dq = np.where(bad, bit, 0).astype(np.uint32)
        model = scene.template()
        assert model.dead[8, 12]
        found.append({"image": model.image} | fit(scene, model))
    for name, values in found[0].items():
        np.testing.assert_array_equal(found[1][name], values, err_msg=name)


def test_flares_are_fitted():
    scene = Exposure(depth=-0.5)
    found = fit(scene, scene.template())
    ratio = found["brightness"] / scene.brightness
    np.testing.assert_allclose(ratio / np.median(ratio), 1, atol=2e-3)


def test_integrations_do_not_know_of_each_other(trace):
    scene, model = trace
    whole = fit(scene, model)
    one = fit(scene, model, scene.cubes["sci"][11:12], scene.dq[11:12])
    for name in whole:
        np.testing.assert_array_equal(one[name], whole[name][11:12])


def test_integrations_without_pixels_are_unknown(trace):
    scene, model = trace
    sci = scene.cubes["sci"].copy()
    sci[3] = np.nan
    dq = scene.dq.copy()
    dq[5] = 1
    found = fit(scene, model, sci, dq)
    assert np.flatnonzero(np.isnan(found["brightness"])).tolist() == [3, 5]
    assert all(np.isnan(found[name][[3, 5]]).all() for name in found)


def test_what_cannot_be_told_is_not_fitted():
    scene = Exposure(lines=0.0)
    model = scene.template()
    assert "shift_x" not in model.fitted and "shift_y" in model.fitted
    assert (fit(scene, model)["shift_x"] == 0).all()
    faint = replace(model, variance=model.variance * 1e6)
    assert useful_numbers(faint, 0.02) == ("brightness", "background")


@pytest.mark.parametrize("dispaxis", [1, 2])
def test_a_curved_trace_tells_the_shift_along_it(dispaxis):
    class Curved(Exposure):
        def centre(self, x):
            return 9.3 + 0.01 * np.asarray(x) + 12 * (np.asarray(x) / 300 - 0.5) ** 2

    scene = Curved(lines=0.0, peak=1e5, dispaxis=dispaxis)
    found = fit(scene, scene.template())
    (along, dx), (across, dy) = ("shift_x", scene.dx), ("shift_y", scene.dy)
    if dispaxis == 2:
        (along, dx), (across, dy) = (across, dy), (along, dx)
    off = found[along] - dx
    assert 1e-4 < np.std(off) < 0.1 * np.std(dx)
    assert np.polyfit(dx, found[along], 1)[0] == pytest.approx(1, abs=0.05)
    off = found[across] - dy - 0.01 * dx  # the trace as a whole is slanted
    assert np.std(off) < 0.002


def test_sums_leave_out_hits(trace):
    scene, model = trace
    labels, columns = sum_labels(model, True)
    found = fit(scene, model, labels=labels)
    x = np.arange(columns)
    spectra = found["sums"][:, :columns]
    ratio = spectra[:, 40:-40] / (scene.brightness[:, None] * scene.spectrum(x)[40:-40])
    assert abs(np.median(ratio) - 1) < 5e-3 and np.abs(ratio - 1).max() < 0.25
    growth = np.cumsum(found["sums"][:, columns:], axis=1)
    total = scene.brightness * scene.spectrum(x).sum()
    np.testing.assert_allclose(growth[:, 11], total, rtol=5e-3)
    within = growth[:, 1] / growth[:, 11]  # one pixel on each side of the centre: 2 pixels
    np.testing.assert_allclose(within, 0.785, atol=0.01)


def test_window_holds_the_light():
    region = np.zeros((30, 40), bool)
    region[10:14, 20:38] = True
    assert fit_window(region) == (slice(4, 20), slice(14, 40))
    assert fit_window(np.zeros((5, 6), bool)) == (slice(0, 5), slice(0, 6))


def test_shapes_are_checked(trace):
    scene, model = trace
    with pytest.raises(ValueError, match="must be"):
        fit_integrations(fit_plan(model), scene.cubes["sci"], scene.dq)
