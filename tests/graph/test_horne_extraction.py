"""Extraction by the model of the exposure: in runs and lazily."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits
from extraction_runs import COLUMNS, agreeing_runs, chosen

import tso3dask as tso3
from tso3dask.errors import InputError, NotYetError
from tso3dask.graph import steps as functions
from tso3dask.ops.horne import HornePlan


@pytest.fixture(scope="module", params=["mir_lrs-slitless", "nrs_prism"])
def small(made, request):
    """One segment whose window rolls and one whose does not."""
    shape = (40, 26) if request.param == "mir_lrs-slitless" else (26, 40)
    return made(request.param, nints=30, segments=[22, 8], shape=shape, cr_rate=1e-3)


@pytest.mark.parametrize(
    "parameters",
    [
        {"extraction_type": "horne"},
        {"extraction_type": "horne", "follow_trace": True, "bkg_clip": 4.0, "aperture_width": 7.5},
        pytest.param({"follow_trace": True, "bkg_regions": "-9 -6 6 9"}, marks=pytest.mark.slow),
    ],
    ids="-".join,
)
def test_runs_chunks_and_lazy_spectra_agree(small, tmp_path, parameters):
    given = chosen(small, **parameters)
    plan, expected = agreeing_runs(small, given, tmp_path)
    for path, member, table in zip(small.members, plan.modelled.members, expected, strict=True):
        flagged = functions.outlier_detection(
            tso3.open_segment(path, chunks=4), **given["outlier_detection"]
        )
        for cubes in (flagged, flagged.assign(sci=flagged["sci"] + np.float32(0))):
            spectra = functions.extract_1d(cubes, model=member.model, **given["extract_1d"])
            for name in COLUMNS:
                values = spectra[name.lower()].compute(scheduler="synchronous").values
                np.testing.assert_array_equal(values, table[name])
        with pytest.raises(InputError, match="need the model of the exposure; give model="):
            functions.extract_1d(flagged, **given["extract_1d"])
    horne = parameters.get("extraction_type") == "horne"
    for member in plan.settled.members:
        assert isinstance(member.spectrum.plan, HornePlan) == horne
        assert member.spectrum.awaiting is None


def test_it_is_less_noisy_than_a_box(small, tmp_path):
    """Flagged pixels are missing from a box; the weights do without them."""

    def scatter(**parameters):
        plan = tso3.plan(small.asn, chosen(small, **parameters))
        flux = plan.x1dints.leaves[0].to_dataset()["flux"].compute(scheduler="synchronous").values
        steps = np.diff(flux / np.nanmedian(flux, axis=0), axis=0)
        return np.nanmean(np.nanstd(steps, axis=0))

    assert scatter(extraction_type="horne") < 0.9 * scatter()


def test_fluxes_are_on_the_scale_of_the_box(small):
    def flux(**parameters):
        plan = tso3.plan(small.asn, chosen(small, **parameters))
        return np.nanmedian(plan.x1dints.leaves[0].to_dataset()["flux"].values, axis=0)

    box, horne = flux(), flux(extraction_type="horne")
    bright = box > 0.2 * np.nanmax(box)
    assert np.median(np.abs(horne / box - 1)[bright]) < 0.02


def test_hooks_are_refused(small):
    steps = chosen(small, extraction_type="horne", post_hooks=[lambda spectra: None])
    with pytest.raises(
        NotYetError, match=r"extraction_type=horne: set extract_1d.extraction_type=box"
    ):
        tso3.plan(small.asn, steps)


def test_a_profile_file_holds_the_profile(small, tmp_path):
    plan = tso3.plan(small.asn, chosen(small, extraction_type="horne", save_profile=True))
    done = plan.run(tmp_path)
    with fits.open(done.products["profile"][0]) as hdus:
        profile = hdus["SCI"].data
    setup = plan.settled.members[0].spectrum
    axis = setup.dispaxis - 1
    sums = profile.sum(axis=axis)
    lit = sums > 0
    assert lit.sum() > 20
    assert np.abs(sums[lit] - 1).max() < 0.3  # 1 over the box with pixels cut at its edges
    assert profile.min() >= 0


def test_the_width_of_least_scatter(small, tmp_path):
    given = chosen(small, optimize_aperture=True, follow_trace=True)
    _, expected = agreeing_runs(small, given, tmp_path)
    record = json.loads(next((tmp_path / "a").glob("*_tso3dask.json")).read_text())
    first, second = record["apertures"].values()
    assert first == second  # one choice for the exposure
    best = first["width"].index(first["chosen"])
    known = [s for s in first["scatter"] if s is not None]
    assert first["scatter"][best] <= 1.5 * min(known)
    assert np.median(expected[0]["NPIXELS"]) == pytest.approx(first["chosen"])
    result = tso3.plan(small.asn, given).run(tmp_path / "c", workers=1)
    assert [curve.chosen for curve in result.growth.values()] == [first["chosen"]]


def test_through_the_slit_and_without_a_reference(made, copy_of):
    """The whole array of MIRI's fixed slit; what is far from the trace has next to no weight."""
    given = copy_of(made("mir_lrs-slitless", nints=30, segments=[22, 8], shape=(40, 26)))
    for path in given.members:
        with fits.open(path, mode="update") as hdus:
            hdus[0].header["EXP_TYPE"] = "MIR_LRS-FIXEDSLIT"
    references = {"override_extract1d": "N/A", "override_apcorr": "N/A"}
    plan = tso3.plan(given.asn, chosen(given, extraction_type="horne", **references)).settled
    setup = plan.members[0].spectrum
    assert isinstance(setup.plan, HornePlan)
    middle = setup.plan.profile[:, 20]
    assert middle[:2].max() < 0.2 * middle.max()
    flux = plan.x1dints.leaves[0].to_dataset()["flux"].values
    assert np.isfinite(flux).mean() > 0.95


def test_the_second_order_of_shifts_where_widths_are_not_fitted(small):
    plan = tso3.plan(small.asn, chosen(small, extraction_type="horne"))
    model = plan.modelled.members[1].model
    axis = plan.members[1].spectrum.dispaxis
    shift = model.shift_y if axis == 1 else model.shift_x
    own = shift[-model.first :]
    assert own.size >= 8
    setup = plan.members[1].spectrum
    without = setup.with_model(replace(model, fitted=("brightness", "background"), width=0 * shift))
    np.testing.assert_array_equal(without.plan.width, own**2)
    fitted = setup.with_model(replace(model, fitted=("width",), width=0 * shift + 0.5))
    np.testing.assert_array_equal(fitted.plan.width, 0.5)
    np.testing.assert_array_equal(fitted.plan.shift, own)
