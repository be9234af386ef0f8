"""Models of exposures: one for all segments, whatever the chunks, and what members get of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tso3dask.graph import modelled
from tso3dask.graph.modelled import modelled_plan
from tso3dask.graph.outline import Outline
from tso3dask.graph.plan import make_plan
from tso3dask.io.journal import Journal
from tso3dask.ops.exposure_model import NUMBERS


@pytest.fixture
def asked(monkeypatch):
    """Plans that need models, whatever their parameters."""
    monkeypatch.setattr(Outline, "needs_model", True)


def numbers(plan):
    return [
        {name: getattr(m.model, name) for name in NUMBERS} | m.model.extra for m in plan.members
    ]


def assert_same(one, two):
    for a, b in zip(numbers(one), numbers(two), strict=True):
        for name in a:
            np.testing.assert_array_equal(a[name], b[name])
    for a, b in zip(one.members, two.members, strict=True):
        np.testing.assert_array_equal(a.model.image, b.model.image)
        assert a.model.identity == b.model.identity


def test_nothing_is_read_where_no_model_is_needed(spectra):
    plan = make_plan(spectra.asn, spectra.steps)
    assert not plan.needs_model
    assert modelled_plan(plan) is plan and plan.modelled is plan


def test_models_do_not_depend_on_chunks_or_scheduler(asked, spectra):
    whole = make_plan(spectra.asn, spectra.steps).modelled
    other = make_plan(spectra.asn, spectra.steps, chunk_integrations=3)
    assert_same(whole, modelled_plan(other, scheduler="synchronous"))
    assert whole.token == make_plan(spectra.asn, spectra.steps).token


def test_segments_share_images_and_know_their_neighbours(asked, detectors):
    plan = make_plan(detectors.asn, detectors.steps).modelled
    truth = detectors.truth()
    first, second = (m.model for m in plan.members if m.segment.detector == "NRS1")
    assert first.image is second.image
    assert (first.first, first.brightness.size) == (0, 40)  # 28 and all 12 of the next
    assert (second.first, second.brightness.size) == (-25, 37)
    np.testing.assert_array_equal(first.brightness[3:], second.brightness)
    light = truth["light_curve_NRS1"][:40]
    ratio = first.brightness / light
    assert np.std(ratio / np.median(ratio)) < 3e-3
    others = [m.model for m in plan.members if m.segment.detector == "NRS2"]
    assert others[0].identity != first.identity


def test_gaps_between_segments_are_unknown(asked, spectra):
    members = [spectra.members[0], spectra.members[2]]
    plan = make_plan([str(path) for path in members], spectra.steps).modelled
    model = plan.members[1].model
    assert (model.first, model.brightness.size) == (-25, 30)
    assert np.isnan(model.brightness[5:25]).all()
    assert np.isfinite(model.brightness[:5]).all() and np.isfinite(model.brightness[25:]).all()


def test_interrupted_models_are_taken_up(asked, images, tmp_path, monkeypatch):
    plan = make_plan(images.asn, images.steps)
    journal = Journal(str(tmp_path / "journal"))
    first = modelled_plan(plan, journal)

    def never(*args, **kwargs):
        raise AssertionError("computed again")

    monkeypatch.setattr(modelled, "sample_model", never)
    monkeypatch.setattr(modelled, "fit_chunk", never)
    assert_same(first, modelled_plan(plan, journal))


def test_stages_that_ask_for_the_model_get_it(asked, spectra):
    class Asking:
        def __init__(self, model=None):
            self.model = model

        def with_model(self, model):
            return Asking(model)

    plan = make_plan(spectra.asn, spectra.steps)
    members = [replace(m, program=m.program.then(Asking())) for m in plan.members]
    made = modelled_plan(plan.with_members(members))
    for member in made.members:
        assert member.program.stages[-1].model is member.model is not None


def test_progress_of_models_is_told(asked, spectra):
    plan = make_plan(spectra.asn, spectra.steps)
    told = []
    made = modelled_plan(
        plan, progress=lambda done, total, phase: told.append((done, total, phase))
    )
    assert told[-1] == (60, 60, "modelling") and sorted(told) == told
    assert made.notes == plan.notes


@pytest.mark.parametrize(
    ("parameters", "lost", "flags"),
    [
        ({}, "fitted to its integrations, so that no pixel is flagged or replaced", False),
        ({"outlier_detection": {"skip": True}}, "so that no pixel is replaced", False),
        (
            {"outlier_detection": {"scale_brightness": False}, "pixel_replace": {"skip": True}},
            "fitted to its integrations",
            True,
        ),
    ],
)
def test_what_is_lost_without_light_of_the_target_is_told(
    parameters, lost, flags, copy_of, spectra, tmp_path
):
    from astropy.io import fits

    copy = copy_of(spectra)
    rng = np.random.default_rng(1)
    for path in copy.members:
        with fits.open(path, mode="update") as file:
            sci = file["SCI"].data
            file["ERR"].data[:] = file["VAR_RNOISE"].data[:] = 1
            sci[:] = rng.normal(0, 1, sci.shape)
            sci[len(sci) // 2, 5:8, 5] = 1000
    steps = {name: {**copy.steps.get(name, {}), **own} for name, own in parameters.items()}
    plan = make_plan(copy.asn, {**copy.steps, **steps}, recipe="precise")
    result = plan.run(tmp_path / "out", workers=1)
    assert any(note.endswith(lost) for note in result.notes), result.notes
    flagged = sum(member["n_outliers"].sum() for member in result.rows)
    assert (flagged > 0) == flags
    assert not any(member.get("n_replaced", np.zeros(1)).any() for member in result.rows)


def test_pixels_of_no_use_are_told(asked, copy_of, spectra):
    from astropy.io import fits

    copy = copy_of(spectra)
    with fits.open(copy.members[0], mode="update") as file:
        file["SCI"].data[3] = np.nan
    made = make_plan(copy.asn, copy.steps).modelled
    assert any("1 integration has too few usable pixels" in note for note in made.notes)
    assert np.flatnonzero(np.isnan(made.members[0].model.brightness)).tolist() == [3]
    for path in copy.members:
        with fits.open(path, mode="update") as file:
            file["SCI"].data[:] = np.nan
    empty = make_plan(copy.asn, copy.steps).modelled
    assert any(note.endswith("fitted to its integrations") for note in empty.notes)
    assert np.isnan(empty.members[0].model.brightness).all()
    assert np.isfinite(empty.members[0].model.image).all()


@pytest.mark.parametrize("width", [1, -1])
def test_without_a_window_medians_are_of_the_segment(spectra, width):
    steps = {**spectra.steps, "outlier_detection": {"rolling_window_width": width}}
    cut = make_plan(spectra.asn, steps, recipe="precise", chunk_integrations=5)
    steps["outlier_detection"] = {"rolling_window_width": 10**6, "boundary": "segment"}
    whole = make_plan(spectra.asn, steps, recipe="precise")
    for one, two in zip(cut.crfints.leaves, whole.crfints.leaves, strict=True):
        np.testing.assert_array_equal(one["dq"].values, two["dq"].values)
