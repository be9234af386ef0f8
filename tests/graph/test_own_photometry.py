"""Photometry beyond jwst's in runs, lazily and as a function."""

from __future__ import annotations

import copy
import re

import numpy as np
import pytest
from astropy.table import Table

import tso3dask as tso3
from tso3dask.errors import InputError
from tso3dask.graph import steps as functions
from tso3dask.ops.centroid import running_median

CHOSEN = {"smooth_centroid": 7, "radii": "2.5 3.5", "bkg_clip": 4.0}


def chosen(observation, **parameters):
    steps = copy.deepcopy(observation.steps)
    steps.setdefault("tso_photometry", {}).update(parameters)
    return steps


def test_runs_lazy_tables_and_functions_agree(images, tmp_path):
    given = chosen(images, **CHOSEN)
    plan = tso3.plan(images.asn, given)
    table = Table.read(plan.run(tmp_path / "a").products["phot"][0])
    cut = tso3.plan(images.asn, given, chunk_integrations=4)
    again = Table.read(cut.run(tmp_path / "b", scheduler="synchronous").products["phot"][0])
    lazy = plan.phot.compute(scheduler="synchronous")
    parts = [
        functions.tso_photometry(
            functions.outlier_detection(tso3.open_segment(path, chunks=5)),
            **given["tso_photometry"],
        ).compute(scheduler="synchronous")
        for path in images.members
    ]
    assert "net_aperture_sum_err_r3.5" in table.colnames
    for name in table.colnames:
        np.testing.assert_array_equal(again[name], table[name])
        np.testing.assert_array_equal(lazy[name].values, table[name])
        joined = np.concatenate([part[name].values for part in parts])
        np.testing.assert_array_equal(joined, table[name])
    for n, (begin, end) in enumerate(((0, 31), (31, 56))):
        here = table[begin:end]
        expected = running_median(np.asarray(here["centroid_x"]), 7)
        np.testing.assert_array_equal(here["aperture_x"], expected, err_msg=str(n))
    assert "Further apertures: r=2.5, r=3.5 pixels" in table.meta["apertures"]
    assert "clipped at 4 sigma" in table.meta["apertures"]


def test_by_default_nothing_changes(images):
    plan = tso3.plan(images.asn, chosen(images))
    assert not any(re.search("_r[0-9]", str(name)) for name in plan.phot)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"radii": "2 2"}, "radii must be different and above 0"),
        ({"radii": "0 1"}, "radii must be different and above 0"),
        ({"bkg_clip": 0}, "bkg_clip must be above 0"),
        ({"smooth_centroid": 5, "centroid_source": False}, "smooth_centroid needs centroids"),
    ],
)
def test_what_makes_no_sense_is_refused(parameters, words):
    with pytest.raises(InputError, match=words):
        tso3.config.parse_steps({"tso_photometry": parameters})


@pytest.fixture(scope="module")
def jittery(made):
    return made("nrc_tsimage", nints=40, segments=[30, 10], shape=(32, 34), jitter=0.05)


@pytest.mark.parametrize("parameters", [{}, {"smooth_centroid": 5}, {"moving_centroid": True}])
def test_one_pass_where_the_model_tells_the_places(jittery, tmp_path, parameters):
    given = chosen(jittery, radii="2.5", **parameters)
    given["outlier_detection"] = {"scale_brightness": True, "noise": "model"}
    given["pixel_replace"] = {"skip": False, "algorithm": "temporal"}
    plan = tso3.plan(jittery.asn, given)
    assert plan.tasks == sum(len(m.chunks) for m in plan.members)
    table = Table.read(plan.run(tmp_path / "a").products["phot"][0])
    cut = tso3.plan(jittery.asn, given, chunk_integrations=4)
    again = Table.read(cut.run(tmp_path / "b", scheduler="synchronous").products["phot"][0])
    lazy = plan.phot.compute(scheduler="synchronous")
    for name in table.colnames:
        np.testing.assert_array_equal(again[name], table[name])
        np.testing.assert_array_equal(lazy[name].values, table[name])
    truth = np.load(jittery.truth_path)
    moved = table["aperture_x"] - np.median(table["aperture_x"])
    if not parameters:
        assert np.ptp(table["aperture_x"]) == 0
    else:
        assert np.std(moved) > 0.01
    if "moving_centroid" in parameters:
        shift = truth["jitter_x"] - np.median(truth["jitter_x"])
        assert np.std(moved - shift) < 0.02
    offset = np.median(table["aperture_x"]) - np.median(table["centroid_x"])
    assert abs(offset) < 0.1
    assert np.isfinite(table["psf_flux"]).all()
    member = plan.modelled.members[1]
    flagged = functions.outlier_detection(
        tso3.open_segment(jittery.members[1]), model=member.model, **given["outlier_detection"]
    )
    replaced = functions.pixel_replace(flagged, model=member.model, algorithm="temporal")
    part = functions.tso_photometry(replaced, model=member.model, **given["tso_photometry"])
    for name in ("aperture_x", "net_aperture_sum", "net_aperture_sum_r2.5", "centroid_x"):
        np.testing.assert_array_equal(part[name].values, table[name][30:])
