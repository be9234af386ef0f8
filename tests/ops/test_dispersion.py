"""Shifts of spectra along their dispersion."""

from __future__ import annotations

import numpy as np
import pytest
from exposure_scene import Exposure

from tso3dask.ops.dispersion import collapsed, dispersion_shift, shifts_along
from tso3dask.ops.model_fit import fit_integrations, fit_plan, fit_window, sum_labels


def measured(scene, model):
    labels, columns = sum_labels(model, False)
    cut = (slice(None), *fit_window(model.region))
    plan = fit_plan(model, labels)
    sci, dq = (np.ascontiguousarray(scene.cubes[name][cut]) for name in ("sci", "dq"))
    found = fit_integrations(plan, sci, dq)
    return shifts_along(dispersion_shift(model), found["sums"][:, :columns], found["brightness"])


@pytest.mark.parametrize("dispaxis", [1, 2])
def test_shifts_are_found_to_the_error_that_is_told(dispaxis):
    scene = Exposure(dispaxis=dispaxis, lines=0.5, peak=1e4, hits=2e-3)
    model = scene.template()
    error = dispersion_shift(model).error
    truth = scene.dx if dispaxis == 1 else scene.dy
    shift = measured(scene, model)
    shift -= np.median(shift)
    assert error < 0.004
    assert np.std(shift - truth) < 1.4 * error < 0.005
    assert abs(np.polyfit(truth, shift, 1)[0] - 1) < 5 * error / np.std(truth) / np.sqrt(40) + 0.01


def test_errors_of_the_flat_field_are_no_lines():
    scene = Exposure(lines=0.4, peak=1e4)
    flat = 1 + 0.01 * np.random.default_rng(2).standard_normal(scene.shape)
    scene.cubes["sci"] *= flat.astype(np.float32)
    model = scene.template()
    shift = measured(scene, model)
    assert abs(np.polyfit(scene.dx, shift, 1)[0] - 1) < 0.08
    plain = Exposure(lines=0.0, peak=1e4)
    plain.cubes["sci"] *= flat.astype(np.float32)
    assert (measured(plain, plain.template()) == 0).all()


def test_slow_changes_of_colour_are_no_shift():
    scene = Exposure(lines=0.5, peak=1e4, jitter=0.0)
    slope = 1 + 0.02 * np.linspace(-1, 1, 300)
    star = scene.image() * scene.brightness[:, None, None]
    scene.cubes["sci"][20:] += (star * (slope - 1))[20:].astype(np.float32)
    shift = measured(scene, scene.template())
    assert abs(np.mean(shift[20:]) - np.mean(shift[:20])) < 0.003


def test_collapsed_spectrum():
    scene = Exposure(peak=1e4)
    model = scene.template()
    spectrum, variance = collapsed(model)
    lit = np.isfinite(spectrum)
    assert lit.sum() > 280
    ratio = spectrum[lit] / scene.spectrum(np.arange(300))[lit]
    assert np.std(ratio) < 0.01 and (variance[lit] > 0).all()


def test_short_spectra_tell_nothing():
    scene = Exposure(shape=(12, 10), peak=1e4)
    measure = dispersion_shift(scene.template())
    assert np.isinf(measure.error) and not measure.weights.any()
