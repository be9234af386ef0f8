"""Rare input with which jwst stops or loses data: what is done, and that the rest is equal."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("jwst")
pytestmark = pytest.mark.parity

from harness import make_input, run_case, run_ours  # noqa: E402
from inputs import edit_asn, edit_member, in_model  # noqa: E402
from jwst_oracle import run_jwst  # noqa: E402
from test_deviations import (  # noqa: E402
    NO_APCORR,
    assert_equal,
    assert_only,
    column,
    peer_fails,
    spectra,
    table,
)
from test_edges import lose_member  # noqa: E402
from test_pipeline import extract, flagged, image, outliers, spectrum  # noqa: E402

from tso3dask.errors import InputError  # noqa: E402

LRS, PRISM, G395H = "mir_lrs-slitless", "nrs_prism", "nrs_g395h"
NAN_FOR_0 = r"^whtlt whitelight_flux\S*: \d+ of \d+ values are NaN .*nan.* instead of .*0\.0"


# ---- times


def drop_first(content):
    del content["products"][0]["members"][0]


@pytest.mark.parametrize("mode", [LRS, G395H])
def test_integrations_that_no_member_covers(mode, tmp_path):
    """INT_TIMES of x1dints: their number and NaN, not the rows of another member or detector."""
    case = spectrum("uncovered", mode, NO_APCORR, segments=(3, 4), edit=edit_asn(drop_first))
    outcome = run_case(replace(case, simulate={**case.simulate, "seed": 701}), tmp_path)
    assert_only(outcome, {r"^x1dints INT_TIMES": ""})
    _, times = spectra(outcome.ours)
    assert times["integration_number"].tolist() == list(range(1, 8))
    assert np.isnan(times["int_mid_MJD_UTC"][:3]).all()
    assert np.isfinite(times["int_mid_MJD_UTC"][3:]).all()


def test_no_last_number(tmp_path):
    """Without INTEND jwst takes NINTS for it, and finds no times for any other segment."""
    edit = in_model(None, {"meta.exposure.integration_end": None})
    case = spectrum("no-intend", LRS, NO_APCORR, edit=edit, segments=(5, 4), seed=702)
    given = make_input(case, tmp_path / "input")
    run_jwst(given.source, tmp_path / "jwst", given.steps)
    run_ours(given, tmp_path / "ours")
    (theirs, _), _ = spectra(tmp_path / "jwst")
    assert np.isnan(theirs["MJD-AVG"]).all(), "jwst finds the times now"
    (one, other), times = spectra(tmp_path / "ours")
    mids = np.concatenate([one["MJD-AVG"], other["MJD-AVG"]])
    np.testing.assert_array_equal(mids, times["int_mid_MJD_UTC"])
    assert len(table(tmp_path / "ours", "whtlt")) == 9
    assert_equal(tmp_path / "ours", tmp_path / "jwst", "no-intend", ("crfints",))


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("mode", ["nrc_tsimage", LRS])
def test_one_member_without_times(mode, number, tmp_path):
    """jwst stops; here that member's rows have no times, the others theirs."""

    def drop(hdus):
        del hdus["INT_TIMES"]

    edit = edit_member(number, drop)
    if mode == LRS:
        case, kind = spectrum("some-times", LRS, NO_APCORR, edit=edit, segments=(4, 5)), "whtlt"
    else:
        case, kind = image("some-times", edit=edit, segments=(4, 5)), "phot"
    case = replace(case, simulate={**case.simulate, "seed": 703})
    given = make_input(case, tmp_path / "input")
    try:
        run_jwst(given.source, tmp_path / "jwst", given.steps)
        stopped = False
    except Exception:
        stopped = True
    assert stopped, "jwst does not stop now"
    result = run_ours(given, tmp_path / "ours")
    rows = table(tmp_path / "ours", kind)
    name = "MJD" if kind == "phot" else "MJD_UTC"
    known = np.isfinite(column(rows, name))
    assert len(rows) == 9 and np.count_nonzero(known) == (5, 4)[number]
    assert any("times" in note for note in result.notes)


def test_rolled_over_numbers_of_images(tmp_path):
    """As for spectra: numbers above 32767 that start again are continued from INTSTART."""
    start = 32765

    def roll(hdus):
        rows = hdus["INT_TIMES"].data
        numbers = np.arange(start, start + len(rows))
        rows["integration_number"] = (numbers - 1) % 32767 + 1

    case = image("rolled-image", segments=(7,), seed=704)
    whole = run_case(case, tmp_path / "a")
    assert_only(whole, {})
    numbers = {
        "meta.exposure.integration_start": start,
        "meta.exposure.integration_end": start + 6,
        "meta.exposure.nints": 40000,
    }
    given = make_input(replace(case, edit=in_model(0, numbers)), tmp_path / "b" / "input")
    edit_member(0, roll)(given)
    run_ours(given, tmp_path / "b" / "ours")
    rows, peer = table(tmp_path / "b" / "ours", "phot"), table(whole.theirs, "phot")
    np.testing.assert_array_equal(column(rows, "MJD"), column(peer, "MJD"))


# ---- pixels


def no_errors(hdus):
    hdus["ERR"].data[2] = np.nan


@pytest.mark.parametrize("mode", [LRS, PRISM])
def test_integration_without_errors(mode, tmp_path):
    """Its pixels are all lost, and so is its white light: 0 in jwst, NaN here."""
    case = spectrum("no-errors", mode, NO_APCORR, segments=(6,), edit=edit_member(0, no_errors))
    outcome = run_case(case, tmp_path)
    assert_only(outcome, {NAN_FOR_0: ""})


@pytest.mark.parametrize("mode", [LRS, PRISM])
@pytest.mark.parametrize("number", [0, 1])
def test_member_without_data(mode, number, tmp_path):
    """All pixels unusable: spectra of NaN as in jwst, white light NaN instead of 0."""
    case = spectrum("no-data", mode, edit=lose_member(number), segments=(4, 3), seed=705)
    outcome = run_case(case, tmp_path)
    assert_only(outcome, {NAN_FOR_0: ""})


@pytest.mark.parametrize("number", [0, 1])
def test_images_without_data(number, tmp_path):
    """All pixels of a member unusable: it has no centroid, and no photometry."""
    case = image("no-data", edit=lose_member(number), segments=(4, 3), seed=706)
    outcome = run_case(case, tmp_path)
    assert_only(outcome, {r"^phot header lines": "columns without masks"})


def test_wavelengths_that_no_spectrum_has(tmp_path):
    steps = {"white_light": {"min_wavelength": 20.0, "max_wavelength": 30.0}}
    case = spectrum("nowhere", LRS, {**steps, **NO_APCORR}, segments=(5,), seed=707)
    outcome = run_case(case, tmp_path)
    assert_only(outcome, {NAN_FOR_0: ""})
    assert any("white light is NaN" in note for note in outcome.notes), outcome.notes


@pytest.mark.parametrize("mode", ["nrc_tsimage", LRS])
def test_nothing_flagged(mode, tmp_path):
    """A threshold that nothing reaches."""
    steps = outliers(snr="1e30 4", rolling_window_width=3)
    make = image("high", steps, segments=(6,)) if mode != LRS else None
    case = make or spectrum("high", LRS, {**steps, **NO_APCORR}, segments=(5,))
    outcome = run_case(case, tmp_path)
    assert_only(outcome, {})
    assert flagged(outcome.ours) == 0


def test_types_of_pixels_stay(tmp_path):
    """Pixels of 64 bits and signed flags stay what they are; jwst converts them in crfints."""

    def widen(hdus):
        for name in ("SCI", "ERR", "VAR_POISSON", "VAR_RNOISE"):
            hdus[name].data = hdus[name].data.astype(">f8")
        hdus["DQ"].data = hdus["DQ"].data.astype(np.int32)

    edit = edit_member(None, widen)
    outcome = run_case(spectrum("doubles", LRS, edit=edit, segments=(6,), seed=708), tmp_path / "a")
    stored = "types of the file stay"
    assert_only(
        outcome,
        {
            r"^crfints.* (BITPIX|dtype)|: dtype >": stored,
            r"^crfints.* DQ (section titles|keywords)": stored,
            r"^crfints.*(SCI keywords| tree)": "the header was edited by hand",
        },
    )


# ---- keywords


def test_bright_object_as_a_cube(tmp_path):
    """A cube has no slit's name: jwst stops; here its only aperture is taken."""
    case = spectrum("nrs-cube", PRISM, NO_APCORR, model="CubeModel", segments=(5,), seed=709)
    _, _, ours = peer_fails(case, tmp_path, ValueError, "extraction parameters")
    assert_equal(ours, tmp_path / "jwst", "nrs-cube", ("crfints",))
    (one,), _ = spectra(ours)
    assert np.isfinite(one["FLUX"]).any(axis=1).all()


def test_no_position_in_the_slit(tmp_path):
    """jwst stops without SRCYPOS; here the nominal place is used, with a note."""
    edit = in_model(None, {"source_xpos": None, "source_ypos": None})
    case = spectrum("no-position", PRISM, edit=edit, segments=(5,), seed=710)
    given = make_input(case, tmp_path / "input")
    try:
        run_jwst(given.source, tmp_path / "jwst", given.steps)
    except Exception:
        result = run_ours(given, tmp_path / "ours")
        assert any("position" in note for note in result.notes), result.notes
    else:
        run_ours(given, tmp_path / "ours")
        assert_equal(tmp_path / "ours", tmp_path / "jwst", "no-position", ("crfints", "x1dints"))


def test_no_unit_of_errors(tmp_path):
    """jwst stops without BUNIT of the errors; here that of the pixels is enough."""
    case = image("no-unit", edit=in_model(None, {"meta.bunit_err": None}), segments=(5,), seed=712)
    _, _, ours = peer_fails(case, tmp_path / "a", ValueError)
    whole = run_case(image("no-unit", segments=(5,), seed=712), tmp_path / "b")
    assert_equal(ours, whole.theirs, "no-unit", ("phot",))


REFUSED = {
    "no dispersion axis": (
        LRS,
        in_model(None, {"meta.wcsinfo.dispersion_direction": None}),
        "spectrum",
    ),
    "no planned place": ("nrc_tsimage", in_model(0, {"meta.wcsinfo.siaf_xref_sci": None}), "XREF"),
    "no unit": ("nrc_tsimage", in_model(None, {"meta.bunit_data": None}), "BUNIT"),
    "one integration": (
        LRS,
        in_model(None, {"meta.exposure.nints": 1}),
        "time series",
    ),
    "an aperture outside": (LRS, None, "spectrum"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name, tmp_path):
    """jwst finds out after the crfints, or writes nothing; here one line before any pixel."""
    mode, edit, word = REFUSED[name]
    if mode == LRS:
        steps = extract(position_offset=200.0) if edit is None else {}
        case = spectrum("refused", LRS, {**NO_APCORR, **steps}, edit=edit, segments=(5,), seed=711)
    else:
        case = image("refused", edit=edit, segments=(5,), seed=711)
    given = make_input(case, tmp_path / "input")
    with pytest.raises(InputError, match=word) as caught:
        run_ours(given, tmp_path / "ours")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "ours").exists() or not any((tmp_path / "ours").iterdir())
