"""Where results differ from jwst's on purpose: what differs, and that nothing else does.

jwst crashes, loses or mislabels data in these cases. Each test states what jwst does (so that a
later jwst that does better is noticed), what is done here, and that the rest is equal.
"""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("jwst")
pytestmark = pytest.mark.parity

from astropy.io import fits  # noqa: E402
from astropy.table import QTable  # noqa: E402
from compare import compare_folders  # noqa: E402
from harness import keep_records, make_input, run_case, run_ours  # noqa: E402
from inputs import (  # noqa: E402
    all_of,
    edit_asn,
    edit_member,
    in_header,
    in_model,
    lose,
    reference,
    repeat_times,
    reverse_members,
)
from jwst_oracle import quick, run_jwst, silent  # noqa: E402
from test_pipeline import BY_WAVELENGTH, extract, image, outliers, photometry, spectrum  # noqa: E402

from tso3dask.errors import InputError  # noqa: E402

LRS = "mir_lrs-slitless"
NO_APCORR = extract(apply_apcorr=False)


def assert_only(outcome, deviations):
    left = outcome.comparison.unexplained(deviations)
    assert not left, "\n".join(left[:40])
    if not deviations:
        keep_records(outcome.comparison)


def assert_equal(ours, theirs, case, kinds, deviations=()):
    with silent(), quick():
        comparison = compare_folders(ours, theirs, case, kinds)
    left = comparison.unexplained(dict.fromkeys(deviations, ""))
    assert not left, "\n".join(left[:40])
    if not deviations:
        keep_records(comparison)


def table(folder, kind):
    (path,) = folder.glob(f"*_{kind}.ecsv")
    return QTable.read(path, format="ascii.ecsv")


def column(rows, name):
    return np.asarray(getattr(rows[name], "value", rows[name]), float)


def spectra(folder):
    with fits.open(next(folder.glob("*_x1dints.fits")), memmap=False) as hdus:
        return [np.array(h.data) for h in hdus if h.name == "EXTRACT1D"], np.array(
            hdus["INT_TIMES"].data
        )


def peer_fails(case, folder, error=Exception, match=None):
    """Give the input on which jwst raises, and the result of ours."""
    given = make_input(case, folder / "input")
    with pytest.raises(error, match=match):
        run_jwst(given.source, folder / "jwst", given.steps)
    return given, run_ours(given, folder / "ours", case.chunk), folder / "ours"


# ---- times and the order of rows


def test_members_out_of_time_order(tmp_path):
    """jwst sorts the times and leaves the fluxes in member order; here both are sorted."""
    case = spectrum("reversed", LRS, NO_APCORR, edit=reverse_members, seed=41)
    outcome = run_case(case, tmp_path / "a")
    assert_only(outcome, {r"^whtlt whitelight_flux: .* values differ": "in time order"})
    ordered = run_case(replace(case, edit=None), tmp_path / "b")
    assert_only(ordered, {})
    for name in ("MJD_UTC", "BJD_TDB", "whitelight_flux"):
        ours = column(table(outcome.ours, "whtlt"), name)
        np.testing.assert_array_equal(ours, column(table(ordered.ours, "whtlt"), name))


@pytest.mark.parametrize("int_times", ["empty", "absent"])
def test_spectra_without_times(int_times, tmp_path):
    """jwst has no row of white light; here each integration has one, without a time."""
    case = spectrum("untimed", LRS, NO_APCORR, int_times=int_times, seed=42)
    given = make_input(case, tmp_path / "input")
    try:
        run_jwst(given.source, tmp_path / "jwst", given.steps)
    except Exception:
        assert int_times == "absent"
    result = run_ours(given, tmp_path / "ours")
    assert_equal(tmp_path / "ours", tmp_path / "jwst", "untimed", ("crfints",))
    rows = table(tmp_path / "ours", "whtlt")
    assert len(rows) == 14
    assert np.isnan(column(rows, "MJD_UTC")).all() and np.isnan(column(rows, "BJD_TDB")).all()
    one, _ = spectra(tmp_path / "ours")
    flux = np.concatenate([np.nansum(s["FLUX"], axis=1) for s in one])
    np.testing.assert_allclose(column(rows, "whitelight_flux"), flux, rtol=1e-12)
    assert all(np.isnan(s["MJD-AVG"]).all() for s in one)
    assert any("times" in note for note in result.notes)
    if int_times == "empty":
        assert_equal(tmp_path / "ours", tmp_path / "jwst", "untimed", ("x1dints",))
        assert len(table(tmp_path / "jwst", "whtlt")) == 0


@pytest.mark.parametrize("int_times", ["empty", "absent"])
def test_images_without_times(int_times, tmp_path):
    """All photometry is as jwst has it with times; the times are NaN."""
    case = image("untimed-image", int_times="segment", seed=43)
    timed = run_case(case, tmp_path / "a")
    assert_only(timed, {})
    untimed = image("untimed-image", int_times=int_times, seed=43)
    given = make_input(untimed, tmp_path / "b" / "input")
    result = run_ours(given, tmp_path / "b" / "ours")
    ours, theirs = table(tmp_path / "b" / "ours", "phot"), table(timed.theirs, "phot")
    assert ours.colnames == theirs.colnames and len(ours) == len(theirs)
    for name in ours.colnames:
        if name in ("MJD", "BJD_TDB"):
            assert np.isnan(column(ours, name)).all()
        elif not name.startswith("psf_"):
            np.testing.assert_allclose(column(ours, name), column(theirs, name), rtol=1e-6)
    assert any("times" in note for note in result.notes)


def test_image_with_a_lost_time(tmp_path):
    """jwst stops at a NaN time; here the row stays, with NaN."""
    case = image("lost-time", edit=repeat_times(1, missing=(3,)), seed=44)
    _, _, ours = peer_fails(case, tmp_path / "a")
    whole = run_case(replace(case, edit=None), tmp_path / "b")
    rows, peer = table(ours, "phot"), table(whole.theirs, "phot")
    expected = column(peer, "MJD")
    expected[12 + 3] = np.nan
    np.testing.assert_array_equal(column(rows, "MJD"), expected)
    np.testing.assert_array_equal(column(rows, "BJD_TDB"), column(peer, "BJD_TDB"))
    np.testing.assert_allclose(
        column(rows, "net_aperture_sum"), column(peer, "net_aperture_sum"), rtol=1e-6
    )


def test_no_barycentric_times(tmp_path):
    """BJD columns of zeros are unknown times, not times at zero."""

    def zero(hdus):
        for name in ("int_start_BJD_TDB", "int_mid_BJD_TDB", "int_end_BJD_TDB"):
            hdus["INT_TIMES"].data[name] = 0.0

    case = spectrum("no-bjd", LRS, NO_APCORR, edit=edit_member(None, zero), seed=45)
    outcome = run_case(case, tmp_path)
    expected = {
        r"^x1dints EXTRACT1D(,2)? TDB-(BEG|MID|END): .*NaN": "",
        "^whtlt BJD_TDB: .*NaN": "",
    }
    assert_only(outcome, expected)
    assert np.isnan(column(table(outcome.ours, "whtlt"), "BJD_TDB")).all()
    assert any("barycentric" in note for note in outcome.notes)


def test_equal_times_in_two_members(tmp_path):
    """jwst stops; here all integrations are kept, and the user is told."""
    times = {}

    def keep(hdus):
        times["last"] = hdus["INT_TIMES"].data["int_mid_MJD_UTC"][-1]

    def repeat(hdus):
        hdus["INT_TIMES"].data["int_mid_MJD_UTC"][0] = times["last"]

    edit = all_of(edit_member(0, keep), edit_member(1, repeat))
    case = spectrum("equal-times", LRS, NO_APCORR, edit=edit, seed=46)
    _, result, ours = peer_fails(case, tmp_path, ValueError)
    assert len(table(ours, "whtlt")) == 14
    assert any("same in two members" in note for note in result.notes)
    assert_equal(ours, tmp_path / "jwst", "equal-times", ("crfints",))


def test_rolled_over_numbers(tmp_path):
    """Numbers of integrations that start again above 32767 are continued from INTSTART."""
    start = 32765

    def shift(first):
        def change(hdus):
            numbers = np.arange(start + first, start + first + len(hdus["INT_TIMES"].data))
            hdus["INT_TIMES"].data["integration_number"] = (numbers - 1) % 32767 + 1

        return change

    def numbered(member, first, count):
        return in_model(
            member,
            {
                "meta.exposure.integration_start": start + first,
                "meta.exposure.integration_end": start + first + count - 1,
                "meta.exposure.nints": 40000,
            },
        )

    edit = all_of(
        numbered(0, 0, 6),
        numbered(1, 6, 8),
        edit_member(0, shift(0)),
        edit_member(1, shift(6)),
    )
    case = spectrum("rolled", LRS, NO_APCORR, edit=edit, seed=47)
    given = make_input(case, tmp_path / "input")
    result = run_ours(given, tmp_path / "ours")
    one, _ = spectra(tmp_path / "ours")
    assert np.concatenate([s["INT_NUM"] for s in one]).tolist() == list(range(start, start + 14))
    assert np.isfinite(np.concatenate([s["MJD-AVG"] for s in one])).all()
    assert any("roll over" in note for note in result.notes)
    run_jwst(given.source, tmp_path / "jwst", given.steps)
    (_, theirs), _ = spectra(tmp_path / "jwst")
    assert np.isnan(theirs["MJD-AVG"]).all(), "jwst finds the times now"


# ---- several exposures and detectors


def test_two_exposures(tmp_path):
    """INT_TIMES of x1dints: jwst overwrites the first exposure's rows with the second's."""
    case = spectrum("two-exposures", LRS, NO_APCORR, exposures=2, segments=(4, 3), seed=48)
    outcome = run_case(case, tmp_path)
    assert_only(
        outcome, {r"^x1dints.*(INT_TIMES|int_times)": "rows of further exposures are appended"}
    )
    _, times = spectra(outcome.ours)
    members = [fits.getdata(p, "INT_TIMES") for p in outcome.input.members]
    for name in times.dtype.names:
        np.testing.assert_array_equal(times[name], np.concatenate([m[name] for m in members]))


def test_two_detectors(tmp_path):
    """INT_TIMES of x1dints: jwst has the last detector's times; here the first one's."""

    def later(hdus):
        hdus["INT_TIMES"].data["int_mid_MJD_UTC"] += 1e-4

    def shift_nrs2(given):
        for number, path in enumerate(given.members):
            if "nrs2" in path.name:
                edit_member(number, later)(given)
        return given

    case = spectrum(
        "two-detectors", "nrs_g395h", NO_APCORR, edit=shift_nrs2, segments=(3, 4), seed=49
    )
    outcome = run_case(case, tmp_path)
    assert_only(outcome, {r"^x1dints INT_TIMES int_mid_MJD_UTC": "times of the first detector"})
    _, times = spectra(outcome.ours)
    first = [fits.getdata(p, "INT_TIMES") for p in outcome.input.members if "nrs1" in p.name]
    expected = np.concatenate([t["int_mid_MJD_UTC"] for t in first])
    np.testing.assert_array_equal(times["int_mid_MJD_UTC"], expected)


def test_longer_second_exposure(tmp_path):
    """jwst stops with an IndexError after the crfints."""

    def drop(content):
        del content["products"][0]["members"][1]

    edit = all_of(edit_asn(drop), in_model(0, {"meta.exposure.nints": 4}))
    case = spectrum("longer", LRS, NO_APCORR, edit=edit, exposures=2, segments=(4, 3), seed=50)
    _, _, ours = peer_fails(case, tmp_path, IndexError)
    assert_equal(ours, tmp_path / "jwst", "longer", ("crfints",))
    one, times = spectra(ours)
    assert [len(s) for s in one] == [4, 4, 3]
    assert len(times) == 4 + 7
    assert len(table(ours, "whtlt")) == 11


def test_detectors_are_all_named(tmp_path):
    """Meta of the photometry: jwst names the last member's detector for all rows."""
    edit = in_model(1, {"meta.instrument.detector": "NRCB2"})
    outcome = run_case(image("detectors", edit=edit, seed=51), tmp_path)
    assert_only(
        outcome, {r"^phot meta detector": "", r"^phot header lines": "the same line of the header"}
    )
    assert table(outcome.ours, "phot").meta["detector"] == "NRCB1,NRCB2"
    assert table(outcome.theirs, "phot").meta["detector"] == "NRCB2"


def test_targets_are_all_named(tmp_path):
    """Meta of the white light: jwst names the first member's target for all rows."""
    edit = in_model(1, {"meta.target.catalog_name": "SECOND"})
    outcome = run_case(spectrum("targets", LRS, NO_APCORR, edit=edit, seed=64), tmp_path)
    assert_only(outcome, {r"^whtlt meta target_name": "", r"^whtlt header lines": "the same line"})
    assert table(outcome.ours, "whtlt").meta["target_name"] == "SIM-STAR-1,SECOND"
    assert table(outcome.theirs, "whtlt").meta["target_name"] == "SIM-STAR-1"


# ---- pixels


def test_window_of_two(tmp_path):
    """jwst's edge rule gives all integrations the last median; here the nearest window's."""
    case = image("window-of-2", outliers(rolling_window_width=2), seed=52, segments=(5, 6))
    outcome = run_case(case, tmp_path)
    for path in outcome.input.members:
        with fits.open(path, memmap=False) as hdus:
            sci, err = (hdus[n].data.astype(np.float32) for n in ("SCI", "ERR"))
            dq = hdus["DQ"].data
        masked = np.where(dq & 1, np.nan, sci)
        pairs = (masked[1:].astype(float) + masked[:-1]) / 2
        median = np.concatenate([pairs[:1], pairs])
        with np.errstate(invalid="ignore"):
            expected = np.abs(sci - median) > np.float32(5) * np.nan_to_num(err)
        (ours,) = outcome.ours.glob(path.name.replace("_calints.fits", "*_crfints.fits"))
        found = fits.getdata(ours, "DQ") & 16 > 0
        np.testing.assert_array_equal(found, expected)
    assert any(f.startswith("crfints") for f in outcome.comparison.findings)


def test_integration_without_data(tmp_path):
    """White light of an integration without a single value: 0 in jwst, NaN here."""
    case = spectrum("lost-spectrum", LRS, NO_APCORR, edit=lose(1, 2), seed=53)
    outcome = run_case(case, tmp_path)
    assert_only(outcome, {r"^whtlt whitelight_flux: 1 of 14 .*NaN.*nan.* instead of .*0\.0": ""})


def test_moving_aperture_with_a_lost_integration(tmp_path):
    """jwst stops where one integration has no centroid; here that one has no photometry."""
    moving = photometry(moving_centroid=True)
    case = image("moving-lost", moving, edit=lose(0, 5), seed=54, jitter=0.3)
    _, _, ours = peer_fails(case, tmp_path / "a", ValueError)
    assert_equal(ours, tmp_path / "a" / "jwst", "moving-lost", ("crfints",))
    rows = table(ours, "phot")
    measured = ("aperture_sum", "annulus_mean", "net_aperture_sum", "centroid_x", "psf_flux")
    for name in measured:
        assert np.flatnonzero(np.isnan(column(rows, name))).tolist() == [5], name
    fixed = run_case(image("fixed-lost", edit=lose(0, 5), seed=54, jitter=0.3), tmp_path / "b")
    assert_only(fixed, {})
    peer = table(fixed.theirs, "phot")
    for name in ("centroid_x", "centroid_y", "MJD"):
        np.testing.assert_allclose(column(rows, name), column(peer, name), rtol=1e-6)
    rest = np.arange(len(rows)) != 5
    np.testing.assert_array_equal(
        column(rows, "aperture_x")[rest], column(rows, "centroid_x")[rest]
    )


# ---- references and parameters


def test_gain_is_needed_for_counts_alone(tmp_path):
    """jwst opens the gain file for calibrated data too, and stops at N/A."""
    case = image("no-gain", photometry(override_gain="N/A"), seed=55)
    _, _, ours = peer_fails(case, tmp_path / "a", ValueError)
    whole = run_case(image("no-gain", seed=55), tmp_path / "b")
    assert_equal(ours, whole.theirs, "no-gain", ("crfints", "phot"))


def test_correction_that_does_not_fit_the_mode(tmp_path):
    """jwst stops at a file of aperture corrections for NIRCam; here it is left out."""
    other = make_input(spectrum("other", LRS, seed=56), tmp_path / "other")
    apcorr = other.steps["extract_1d"]["override_apcorr"]
    case = spectrum("apcorr", "nrc_tsgrism", extract(override_apcorr=apcorr), seed=56)
    _, result, ours = peer_fails(case, tmp_path / "a", KeyError)
    assert any("apcorr" in n or "aperture correction" in n for n in result.notes), result.notes
    whole = run_case(spectrum("apcorr", "nrc_tsgrism", seed=56), tmp_path / "b")
    differ = [r"R_EXTR1D|extract1d|NAXIS1|TFORM|datatype"]
    assert_equal(ours, whole.theirs, "apcorr", ("crfints", "whtlt"))
    assert_equal(ours, whole.theirs, "apcorr", ("x1dints",), differ)


def test_source_position_of_a_grism(tmp_path):
    """jwst cannot take the grism's coordinates and stops; here the nominal place is used."""
    case = spectrum("grism-source", "nrc_tsgrism", extract(use_source_posn=True), seed=57)
    _, result, ours = peer_fails(case, tmp_path / "a", ValueError)
    assert any("place" in note for note in result.notes), result.notes
    whole = run_case(spectrum("grism-source", "nrc_tsgrism", seed=57), tmp_path / "b")
    assert_equal(ours, whole.theirs, "grism-source", ("crfints", "whtlt"))


def test_aperture_by_wavelength_without_wavelengths(tmp_path):
    """jwst stops at NaN limits of the aperture; here they are not in the header."""
    edit = reference(lambda aperture: aperture.update(BY_WAVELENGTH))
    case = spectrum("by-wavelength", "nrs_prism", edit=edit, seed=58)
    _, _, ours = peer_fails(case, tmp_path, ValueError, "nan values")
    one, _ = spectra(ours)
    assert all(np.isfinite(s["FLUX"]).any(axis=1).all() for s in one)


def test_one_threshold(tmp_path):
    """jwst asks for two numbers, and uses the first."""
    case = image("one-number", outliers(snr="4"), seed=59)
    _, _, ours = peer_fails(case, tmp_path / "a")
    whole = run_case(image("one-number", outliers(snr="4 3"), seed=59), tmp_path / "b")
    assert_equal(ours, whole.theirs, "one-number", ("crfints", "phot"))


def test_header_that_was_edited(tmp_path):
    """The FITS header counts; jwst brings the copy in the tree up to date as well."""
    edit = in_header(None, FILTER="F212N", TARGNAME="X")
    outcome = run_case(image("edited", edit=edit, seed=60), tmp_path)
    assert_only(outcome, {r"^crfints\[.*\] tree meta\.": "the copy of the header in the tree"})


@pytest.mark.parametrize(
    "step, mode, kinds",
    [
        ("tso_photometry", "nrc_tsimage", {"crfints"}),
        ("white_light", LRS, {"crfints", "x1dints"}),
    ],
)
def test_last_step_skipped(step, mode, kinds, tmp_path):
    """jwst stops when it joins tables that are not there; here there is no table."""
    name = f"skip-{step}"
    made = image(name, seed=61) if mode == "nrc_tsimage" else spectrum(name, mode, seed=61)
    case = replace(made, steps={**made.steps, step: {"skip": True}})
    _, result, ours = peer_fails(case, tmp_path)
    assert {k for k, paths in result.products.items() if paths} == kinds
    assert_equal(ours, tmp_path / "jwst", case.name, tuple(kinds))


def test_extraction_skipped(tmp_path):
    """Nothing after the crfints, in jwst as well."""
    case = spectrum("skip-extract_1d", LRS, extract(skip=True), seed=61)
    outcome = run_case(case, tmp_path)
    assert_only(outcome, {})
    assert {product for product, _ in outcome.comparison.records} == {"crfints"}


# ---- input that is refused


def two_dimensions(hdus):
    for hdu in hdus:
        if hdu.is_image and hdu.data is not None and hdu.data.ndim == 3:
            hdu.data = hdu.data[0]


REFUSED = {
    "a member of two dimensions": (edit_member(1, two_dimensions), "seg002"),
    "not a time series": (in_header(None, TSOVISIT=False), "time series"),
    "mixed modes": (in_header(1, EXP_TYPE="NRC_TSGRISM"), "EXP_TYPE"),
    "mixed instruments": (in_header(1, INSTRUME="NIRCAM"), "INSTRUME"),
    "mixed units": (in_header(1, "SCI", BUNIT="DN/s"), "BUNIT"),
    "mixed calibration": (in_header(1, S_PHOTOM="SKIPPED"), "S_PHOTOM"),
    "integrations that overlap": (in_header(1, INTSTART=5, INTEND=12), "overlap"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name, tmp_path):
    """jwst goes on in silence, or stops with nothing said; here one line says what is wrong."""
    edit, word = REFUSED[name]
    given = make_input(spectrum("refused", LRS, NO_APCORR, edit=edit, seed=62), tmp_path / "input")
    with pytest.raises(InputError, match=word) as caught:
        run_ours(given, tmp_path / "ours")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "ours").exists() or not any((tmp_path / "ours").iterdir())


def test_no_science_members(tmp_path):
    def none(content):
        for member in content["products"][0]["members"]:
            member["exptype"] = "background"

    case = spectrum("no-science", LRS, edit=edit_asn(none), seed=63)
    given = make_input(case, tmp_path / "input")
    with pytest.raises(InputError):
        run_ours(given, tmp_path / "ours")
    assert json.loads(given.asn.read_text())
