"""Saved profiles, scene models and residuals."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from astropy.io import fits

import tso3dask as tso3
from tso3dask.errors import InputError
from tso3dask.graph import extraction

SAVED = {"save_profile": True, "save_scene_model": True, "save_residual_image": True}
KINDS = ("profile", "scene_model", "residual")


@pytest.fixture(scope="module")
def small(made):
    return made("mir_lrs-slitless", nints=17, segments=[12, 4, 1], shape=(26, 20), cr_rate=2e-3)


def plan_of(observation, chunk=4, **parameters):
    steps = copy.deepcopy(observation.steps)
    steps["outlier_detection"] = {"rolling_window_width": 5}
    steps["extract_1d"] |= {**SAVED, **parameters}
    return tso3.plan(observation.asn, steps, chunk_integrations=chunk)


def images(result):
    return {
        kind: [fits.getdata(path).astype(float) for path in result.products[kind]] for kind in KINDS
    }


@pytest.mark.parametrize("kind", ["box", "optimal"])
def test_what_they_hold(small, tmp_path, kind):
    result = plan_of(small, extraction_type=kind).run(tmp_path)
    assert [p.name.rsplit("_", 2)[1:] for p in result.products["profile"]] == [
        [str(i), "profile.fits"] for i in range(3)
    ]
    found = images(result)
    for i, path in enumerate(result.products["crfints"]):
        pixels = fits.getdata(path, "SCI").astype(float)
        if i == 2:  # one integration is a plain image
            pixels = pixels[0]
        total = found["scene_model"][i] + found["residual"][i]
        np.testing.assert_allclose(total, pixels, rtol=1e-5)
        assert not np.isnan(found["scene_model"][i]).any()
        assert found["profile"][i].shape == (26, 20)
        sums = found["profile"][i].sum(axis=1)
        np.testing.assert_allclose(sums[sums > 0], sums.max(), rtol=1e-6)
    for path in result.products["scene_model"][:2]:
        with fits.open(path) as hdus:
            assert [h.name for h in hdus] == ["PRIMARY", "SCI", "DQ", "ERR", "ASDF"]
            assert not hdus["DQ"].data.any()
            assert not hdus["ERR"].data.any()
            assert "S_EXTR1D" not in hdus[0].header
            assert hdus[0].header["S_OUTLIR"] == "COMPLETE"


@pytest.mark.parametrize("kind", ["box", "optimal"])
def test_chunks_do_not_matter(small, tmp_path, kind):
    one = images(plan_of(small, 2, extraction_type=kind).run(tmp_path / "a"))
    other = images(plan_of(small, 9, extraction_type=kind).run(tmp_path / "b"))
    for name in KINDS:
        for a, b in zip(one[name], other[name], strict=True):
            np.testing.assert_array_equal(a, b)


def test_single_files_have_no_number(made, tmp_path):
    observation = made("nrs_prism", nints=6, segments=[6], shape=(24, 40))
    plan = plan_of(observation)
    names = [name for kind in KINDS for name in plan.products[kind]]
    assert names == [plan.names.x1dints.replace("x1dints", kind) for kind in KINDS]
    plan.run(tmp_path)
    with pytest.raises(InputError, match="holds earlier products"):
        plan.run(tmp_path)
    assert not list(tmp_path.glob(".*"))


def test_resumed_runs_fill_the_rest(small, tmp_path, monkeypatch):
    whole = images(plan_of(small, extraction_type="optimal").run(tmp_path / "whole"))
    plan = plan_of(small, extraction_type="optimal")
    task, done = extraction.extract_pass, []

    def failing(job, a, b, *rest):
        if len(done) == 2:
            raise OSError("the disk is gone")
        done.append(a)
        return task(job, a, b, *rest)

    folder = tmp_path / "again"
    with monkeypatch.context() as patch:
        patch.setattr("tso3dask.graph.build.extract_pass", failing)
        with pytest.raises(Exception, match="disk is gone"):
            plan.run(folder, scheduler="synchronous")
    assert not list(folder.glob("[a-z]*.fits"))
    result = plan.run(folder, resume=True)
    assert any("2 of 5 tasks" in note for note in result.notes)
    for name, parts in images(result).items():
        for a, b in zip(parts, whole[name], strict=True):
            np.testing.assert_array_equal(a, b)
