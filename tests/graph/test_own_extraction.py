"""Parameters of the extraction that jwst does not have: in runs, lazily and as functions."""

from __future__ import annotations

import numpy as np
import pytest
from extraction_runs import COLUMNS, agreeing_runs, chosen

import tso3dask as tso3
from tso3dask.errors import InputError
from tso3dask.graph import steps as functions

CHOSEN = {"aperture_width": 6.5, "bkg_regions": "-9 -5 5 14", "bkg_clip": 4.0}


@pytest.fixture(scope="module", params=["mir_lrs-slitless", "nrc_tsgrism"])
def small(made, request):
    """One segment whose window rolls and one whose does not."""
    return made(request.param, nints=17, segments=[13, 4], shape=(26, 24), cr_rate=2e-3)


@pytest.mark.parametrize("fit", ["median", "poly"])
def test_runs_lazy_spectra_and_functions_agree(small, tmp_path, fit):
    given = chosen(small, **CHOSEN, bkg_fit=fit, bkg_order=1)
    _, expected = agreeing_runs(small, given, tmp_path)
    for path, table in zip(small.members, expected, strict=True):
        flagged = functions.outlier_detection(
            tso3.open_segment(path, chunks=4), **given["outlier_detection"]
        )
        spectra = functions.extract_1d(flagged, **given["extract_1d"]).compute()
        for name in COLUMNS:
            np.testing.assert_array_equal(spectra[name.lower()].values, table[name])
        whole = table["NPIXELS"].max(axis=0)
        assert np.median(whole) == pytest.approx(6.5)
        assert np.median(table["BACKGROUND"]) != 0


def test_each_has_an_effect(small):
    def flux(**parameters):
        plan = tso3.plan(small.asn, chosen(small, **parameters))
        return plan.x1dints.leaves[0].to_dataset()["flux"].compute(scheduler="synchronous").values

    usual = flux(bkg_regions="-9 -5 5 14")
    for changed in (
        {"bkg_regions": "-8 -5 5 12"},
        {"bkg_clip": 3.0},
        {"aperture_width": 3.5},
    ):
        assert not np.array_equal(flux(**{"bkg_regions": "-9 -5 5 14"} | changed), usual)


def test_a_width_that_is_cut_or_overlaps_the_background_is_told(small):
    def notes(width):
        plan = tso3.plan(
            small.asn, chosen(small, aperture_width=width, bkg_regions="-9 -3.5 3.5 9")
        )
        return " ".join(note for note in plan.notes if "aperture_width" in note)

    assert notes(5.5) == ""
    assert "aperture_width=8 overlaps the background regions" in notes(8)
    assert "beyond the array" not in notes(8)
    assert "aperture_width=24 reaches beyond the array" in notes(24)
    with pytest.raises(InputError, match=r"aperture_width=300: the array has \d+ pixels across"):
        notes(300)


def notes_on(observation, **parameters):
    plan = tso3.plan(observation.asn, chosen(observation, **parameters))
    return [note for note in plan.notes if "bkg_" in note]


def test_regions_that_hold_the_source_are_told(small):
    (note,) = notes_on(small, bkg_regions="-9 -5 -5 5")
    assert "bkg_regions '-9 -5 -5 5' overlap the aperture, and then hold light" in note
    assert notes_on(small, bkg_regions="-12 -9 9 12") == []
    everything = {"override_extract1d": "N/A", "bkg_regions": "-9 -5 5 9"}
    assert notes_on(small, **everything) == []
    (note,) = notes_on(small, **everything | {"bkg_regions": "-5 5"})
    assert "bkg_regions '-5 5' overlap the aperture" in note


def test_a_background_that_is_not_subtracted_is_told(small):
    given = {"bkg_regions": "-12 -9 9 12", "bkg_clip": 4.0}
    assert notes_on(small, **given) == []
    assert notes_on(small, **given, subtract_background=False) == [
        "extract_1d.bkg_regions, extract_1d.bkg_clip left out: extract_1d.subtract_background=False"
    ]
    assert notes_on(small, bkg_clip=4.0, override_extract1d="N/A") == [
        "extract_1d.bkg_clip left out: there are no background regions"
    ]


def test_an_optimal_extraction_refuses_apertures_and_regions(spectra):
    given = {"extraction_type": "optimal", "follow_trace": True, "bkg_regions": "-9 -5 5 9"}
    steps = chosen(spectra, **given)
    words = r"calints\.fits: extract_1d\.follow_trace, extract_1d\.bkg_regions: an optimal"
    with pytest.raises(InputError, match=words):
        tso3.plan(spectra.asn, steps)
    with pytest.raises(InputError, match=words):
        functions.extract_1d(tso3.open_segment(spectra.members[0]), **steps["extract_1d"])
    boxed = tso3.plan(spectra.asn, chosen(spectra, **given, override_psf="N/A"))  # as a note says
    assert boxed.needs_model


def test_background_regions_off_the_array_are_refused(small):
    with pytest.raises(InputError, match=r"calints\.fits.*bkg_regions '-90 -80' hold no pixel"):
        tso3.plan(small.asn, chosen(small, bkg_regions="-90 -80"))


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"aperture_width": 0}, "aperture_width must be above 0"),
        ({"bkg_clip": -1}, "bkg_clip must be above 0"),
        ({"bkg_regions": "-5 5 8"}, "pairs of a lower and a higher edge"),
        ({"bkg_regions": "-5 -8"}, "pairs of a lower and a higher edge"),
    ],
)
def test_what_makes_no_sense_is_refused(parameters, words):
    with pytest.raises(InputError, match=words):
        tso3.config.parse_steps({"extract_1d": parameters})


def test_soss_has_apertures_of_its_own(made):
    soss = made("nis_soss", nints=3, shape=(256, 64))
    steps = chosen(soss, extraction_type="horne", bkg_clip=4.0)
    plan = tso3.plan(soss.asn, steps)
    assert not plan.needs_model
    assert any("extract_1d.extraction_type, extract_1d.bkg_clip" in note for note in plan.notes)
