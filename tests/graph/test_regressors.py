"""Regressors: on the light curve's time axis, the same from a run and lazily."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import tso3dask as tso3
from tso3dask.errors import NotYetError
from tso3dask.graph import regressors
from tso3dask.io.tables import read_table
from tso3dask.progress import closing_text

WANTED = {
    "outlier_detection": {"nan_aware": True, "scale_brightness": True},
    "pixel_replace": {"skip": False, "algorithm": "temporal"},
    "regressors": {"skip": False},
}
COUNTED = ("n_outliers", "flagged_fraction", "n_replaced", "replaced_fraction")


def steps_of(observation, wanted=None):
    steps = {step: dict(values) for step, values in observation.steps.items()}
    for step, values in (wanted or WANTED).items():
        steps[step] = {**steps.get(step, {}), **values}
    return steps


@pytest.fixture(scope="module")
def observations(spectra, images, detectors):
    return {"spectra": spectra, "images": images, "detectors": detectors}


@pytest.mark.parametrize("kind", ["spectra", "images", "detectors"])
def test_run_and_lazy_table(observations, kind, tmp_path):
    made = observations[kind]
    plan = tso3.plan(made.asn, steps_of(made))
    result = plan.run(tmp_path)
    (path,) = result.products["regressors"]
    table = read_table(path)
    curve = read_table(result.products["phot" if kind == "images" else "whtlt"][0])
    times = [name for name in table.colnames if name.startswith(("MJD", "BJD"))]
    for name in times:
        np.testing.assert_array_equal(table[name], curve[name])
    endings = ["_NRS1", "_NRS2"] if kind == "detectors" else [""]
    for ending in endings:
        names = {n.removesuffix(ending) for n in table.colnames if n.endswith(ending)}
        places = {"spectra": {"shift_x"}, "detectors": {"shift_y"}}.get(
            kind, {"shift_x", "shift_y"}
        )
        assert {*places, "brightness", *COUNTED} <= names  # along wavelength only where lines tell
        shares = [table[f"{n}{ending}"] for n in ("flagged_fraction", "replaced_fraction")]
        for share in shares:
            assert np.all((np.asarray(share) >= 0) & (np.asarray(share) < 0.2))
        assert np.asarray(table[f"n_outliers{ending}"]).sum() > 0
    counts = sum(entry["n_outliers"] for entry in result.outliers)
    assert sum(np.asarray(table[f"n_outliers{e}"]).sum() for e in endings) == counts
    lazy = plan.compute("regressors", scheduler="synchronous")[0]
    assert list(lazy) == table.colnames
    for name in table.colnames:
        values = getattr(table[name], "value", table[name])
        np.testing.assert_allclose(lazy[name], values, rtol=1e-12)
    data = pd.read_csv(path, comment="#", sep=r"\s+")
    assert list(data.columns) == table.colnames
    assert table.meta.get("dispersion_axis") == {"spectra": "y", "detectors": "x"}.get(kind)
    plain = {n.removesuffix(ending) for n in table.colnames for ending in endings}
    assert set(table.meta["meaning"]) == plain & set(regressors.MEANINGS)


def test_jitter_that_was_put_in_is_found(made, tmp_path):
    simulated = made("nrc_tsimage", nints=30, segments=2, shape=(32, 32), jitter=0.05, cr_rate=0.0)
    plan = tso3.plan(simulated.asn, steps_of(simulated, {"regressors": {"skip": False}}))
    table = read_table(plan.run(tmp_path).products["regressors"][0])
    with np.load(simulated.truth_path) as truth:
        for axis in "xy":
            found = np.asarray(table[f"shift_{axis}"])
            expected = truth[f"jitter_{axis}"] - np.median(truth[f"jitter_{axis}"])
            np.testing.assert_allclose(found - np.median(found), expected, atol=0.015)


PLACES = {
    "mir_lrs-slitless": ((200, 48), {"x": 0.002}),
    "nrc_tsgrism": ((40, 600), {"y": 0.001}),
    "nrs_g395h": ((32, 512), {"y": 0.003}),
    "nrs_prism": ((32, 200), {"y": 0.004}),
    "nrc_tsimage": ((40, 40), {"x": 0.005, "y": 0.005}),
    "mir_image": ((40, 40), {"x": 0.005, "y": 0.005}),
    "nis_soss": ((96, 2048), {"x": 0.009, "y": 0.005}),
}


@pytest.mark.parametrize(
    "mode",
    [pytest.param(mode, marks=[pytest.mark.slow] if mode == "nis_soss" else []) for mode in PLACES],
)
def test_places_in_every_mode(mode, tmp_path):
    """Shifts are those that were put in; along the dispersion noise leaves them to SOSS alone."""
    shape, least = PLACES[mode]
    made = tso3.simulate(
        mode, tmp_path, nints=20, segments=2, shape=shape, jitter=0.05, cr_rate=1e-3, seed=4
    )
    plan = tso3.plan(made.asn, steps_of(made, {"regressors": {"skip": False}})).modelled
    truth = made.truth()
    for detector in {member.segment.detector for member in plan.members}:
        models = [m.model for m in plan.members if m.segment.detector == detector]
        for axis, error in least.items():
            rows = [m.rows(0, 10) for m in models]
            found = np.concatenate([getattr(row, f"shift_{axis}") for row in rows])
            off = found - truth[f"jitter_{axis}"]
            assert np.std(off) < error
            assert np.std(found) > 0.03


def test_without_outlier_detection_there_are_no_counts(spectra, tmp_path):
    wanted = {"outlier_detection": {"skip": True}, "regressors": {"skip": False}}
    plan = tso3.plan(spectra.asn, steps_of(spectra, wanted))
    table = read_table(plan.run(tmp_path).products["regressors"][0])
    assert "shift_x" in table.colnames
    assert "shift_x" in table.meta["meaning"] and "n_outliers" not in table.meta["meaning"]
    assert list(plan.regressors) == table.colnames
    assert "extract_1d, white_light, regressors\n" in repr(plan)


@pytest.mark.parametrize(("bunit", "unit"), [("mJy", "mJy"), ("furlongs", None), (None, None)])
def test_background_has_the_unit_of_pixels_if_a_column_can_have_it(bunit, unit):
    segment = SimpleNamespace(get={"BUNIT": bunit}.get)
    plan = SimpleNamespace(observation=SimpleNamespace(first=segment))
    assert regressors._unit(plan, "background") == unit
    assert regressors._unit(plan, "shift_x") == "pixel"


def test_not_with_hooks(spectra):
    steps = steps_of(spectra, {"regressors": {"skip": False}})
    steps["extract_1d"]["pre_hooks"] = [lambda dataset: dataset]
    with pytest.raises(NotYetError, match=r"regressors.skip=False: set regressors.skip=True"):
        tso3.plan(spectra.asn, steps)


@pytest.mark.parametrize("kind", ["spectra", "images"])
def test_summary_tells_what_replacement_changed(observations, kind, tmp_path):
    """Without replacement the light curve is that of a run without it."""
    made = observations[kind]
    steps = steps_of(made, {name: WANTED[name] for name in ("outlier_detection", "pixel_replace")})
    replaced = tso3.plan(made.asn, steps).run(tmp_path / "replaced")
    del steps["pixel_replace"]
    plain = tso3.plan(made.asn, steps).run(tmp_path / "plain")
    name, raw = ("white", "raw_white") if kind == "spectra" else ("aperture_sum", "raw_sum")
    for with_it, without in zip(replaced.rows, plain.rows, strict=True):
        if kind == "spectra":
            np.testing.assert_allclose(with_it[raw], without[name], rtol=1e-9)
        assert raw not in without
    assert np.any(np.concatenate([r[name] - r[raw] for r in replaced.rows]) > 0)
    assert "raw_sum" not in replaced.tables.get("phot", {})
    long = replaced.outliers[0]
    assert long["scatter_ppm"] < long["scatter_without_replacement_ppm"]
    assert "scatter_ppm" not in plain.outliers[0]
    first, *lines = closing_text(replaced).splitlines()
    assert first.split("  ")[-1].strip() == "without, ppm"
    assert f"{long['scatter_ppm']:,.0f}" in lines[0]
    last = lines[len(replaced.outliers) - 1]
    assert last.split()[-2:] == ["-", "-"]  # one integration has no scatter
    assert "ppm" not in closing_text(plain)


def test_comparison_is_with_the_plain_sum_whatever_the_extraction(spectra, tmp_path):
    wanted = {name: WANTED[name] for name in ("outlier_detection", "pixel_replace")}
    raw = []
    for kind in ("box", "horne"):
        steps = steps_of(spectra, {**wanted, "extract_1d": {"extraction_type": kind}})
        rows = tso3.plan(spectra.asn, steps).run(tmp_path / kind).rows
        raw.append(np.concatenate([values["raw_white"] for values in rows]))
    np.testing.assert_allclose(raw[0] / np.median(raw[0]), raw[1] / np.median(raw[1]), rtol=2e-3)
