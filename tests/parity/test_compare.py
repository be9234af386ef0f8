"""The comparator itself: equal runs have no findings, and each small change is found."""

from __future__ import annotations

import re
import shutil

import numpy as np
import pytest

pytest.importorskip("jwst")
pytestmark = pytest.mark.parity

from astropy.io import fits  # noqa: E402
from compare import Comparison, compare_folders  # noqa: E402
from compare_fits import compare_fits  # noqa: E402
from harness import Case, run_case  # noqa: E402
from jwst_oracle import quick, silent  # noqa: E402

WINDOW = {"outlier_detection": {"rolling_window_width": 5}}
CASES = {
    "spectra": Case(
        "changed-spectra",
        "mir_lrs-slitless",
        {"shape": (40, 40), "segments": (6, 7), "seed": 31},
        {**WINDOW, "extract_1d": {"apply_apcorr": False}},
    ),
    "image": Case(
        "changed-image", "nrc_tsimage", {"shape": (32, 40), "segments": (6, 7), "seed": 32}, WINDOW
    ),
}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    return {k: run_case(case, tmp_path_factory.mktemp(k)) for k, case in CASES.items()}


@pytest.fixture
def changed(outcomes, tmp_path):
    """Copy our products, change one, and give the findings."""

    def findings(kind, pattern, change):
        outcome = outcomes[kind]
        assert outcome.comparison.findings == []
        folder = tmp_path / "ours"
        shutil.copytree(outcome.ours, folder)
        (path, *_) = sorted(folder.glob(pattern))
        before = path.read_bytes()
        change(path)
        assert path.read_bytes() != before
        kinds = (path.stem.rsplit("_", 1)[-1],)
        with silent(), quick():
            return compare_folders(folder, outcome.theirs, kind, kinds).findings

    return findings


def in_hdus(change):
    def apply(path):
        with fits.open(path, mode="update", memmap=False) as hdus:
            change(hdus)

    return apply


def in_text(old, new, count=1):
    def apply(path):
        text = path.read_text()
        assert re.search(old, text)
        path.write_text(re.sub(old, new, text, count=count))

    return apply


def in_tree(old, new):
    """Change text of the ASDF extension without changing its length."""

    def apply(path):
        content = path.read_bytes()
        assert len(old) == len(new) and old in content
        at = content.index(old, content.index(b"#ASDF"))
        path.write_bytes(content[:at] + new + content[at + len(old) :])

    return apply


def pixel(name, place, change):
    def apply(hdus):
        hdus[name].data[place] = change(hdus[name].data[place])

    return in_hdus(apply)


def card(name, keyword, value=None, comment=None):
    def apply(hdus):
        if value is not None:
            hdus[name].header[keyword] = value
        if comment is not None:
            hdus[name].header.comments[keyword] = comment

    return in_hdus(apply)


def column(name, field, row, change):
    def apply(hdus):
        values = hdus[name].data[field]
        values[row] = change(values[row])

    return in_hdus(apply)


def swap(hdus):
    hdus.insert(2, hdus.pop(1))


def drop(hdus):
    del hdus["VAR_FLAT"]


def drop_row(path):
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-1]))


def nudge(value):
    return np.nextafter(value, np.inf, dtype=np.asarray(value).dtype)


CHANGES = {
    "a bit of DQ": ("spectra", "*crfints*", pixel("DQ", (2, 5, 5), lambda v: v ^ 16), "DQ"),
    "a new NaN": ("spectra", "*crfints*", pixel("SCI", (0, 8, 20), lambda v: np.nan), "SCI.*NaN"),
    "the last digit": ("spectra", "*crfints*", pixel("VAR_RNOISE", (1, 8, 20), nudge), "VAR_RN"),
    "the time of an integration": (
        "image", "*crfints*", column("INT_TIMES", "int_mid_MJD_UTC", 1, nudge), "INT_TIMES",
    ),
    "a keyword": ("image", "*crfints*", card("PRIMARY", "S_OUTLIR", "SKIPPED"), "S_OUTLIR"),
    "a keyword's type": ("image", "*crfints*", card("PRIMARY", "NINTS", 13.0), "NINTS"),
    "a comment": ("image", "*crfints*", card("SCI", "BUNIT", comment="other"), "BUNIT comment"),
    "the order of extensions": ("image", "*crfints*", in_hdus(swap), "extensions.*order"),
    "a keyword too many": ("image", "*crfints*", card("ERR", "EXTRA", 1), "extra.*EXTRA"),
    "a missing keyword": (
        "image", "*crfints*", in_hdus(lambda h: h["PRIMARY"].header.remove("ASNPOOL")), "ASNPOOL",
    ),
    "a missing extension": ("image", "*crfints*", in_hdus(drop), "VAR_FL"),
    "the coordinate system": (
        "image", "*crfints*", in_tree(b"name: v2v3", b"name: v2v9"), "v2v9",
    ),
    "a unit of a spectrum": ("spectra", "*x1dints*", card("EXTRACT1D", "TUNIT9", "Jy"), "TUNIT9"),
    "a flux": (
        "spectra", "*x1dints*", column("EXTRACT1D", "FLUX", (3, 7), lambda v: v * 1.001), "FLUX",
    ),
    "a flux that is NaN": (
        "spectra", "*x1dints*", column("EXTRACT1D", "FLUX", (3, 7), lambda v: np.nan), "FLUX",
    ),
    "a flag of a spectrum": (
        "spectra", "*x1dints*", column("EXTRACT1D", "DQ", (3, 7), lambda v: v ^ 1), "DQ",
    ),
    "the time of a spectrum": (
        "spectra", "*x1dints*", column("EXTRACT1D", "TDB-MID", 3, nudge), "TDB-MID",
    ),
    "a number of EXTVER": ("spectra", "*x1dints*", card("EXTRACT1D", "EXTVER", 7), "EXTRACT1D,7"),
    "a limit of the aperture": (
        "spectra", "*x1dints*", card("EXTRACT1D", "EXTRXSTR", 13.5), "EXTRXSTR",
    ),
    "a row of member headers": (
        "spectra", "*x1dints*", column("HDRTAB", "FILENAME", 0, lambda v: v[:-1]), "FILENAME",
    ),
    "an entry of the tree": (
        "spectra", "*x1dints*", in_tree(b"filename: jw", b"filenane: jw"), "filenane",
    ),
    "the dispersion solution": (
        "spectra", "*x1dints*", in_tree(b"name: world", b"name: worle"), "tree|frames",
    ),
    "a photometric value": ("image", "*phot*", in_text(r"(\d\.\d{6})(\d)", r"\g<1>9\2"), "phot"),
    "a unit of a table": ("image", "*phot*", in_text(r"unit: Jy", "unit: mJy"), "unit"),
    "a meta entry": ("image", "*phot*", in_text(r"target_name: ", "target_name: X"), "meta"),
    "a row less": ("image", "*phot*", drop_row, "12 rows instead of 13"),
    "a white-light flux": ("spectra", "*whtlt*", in_text(r"(\d\.\d{5})\d", r"\1"), "whtlt"),
    "another column name": ("spectra", "*whtlt*", in_text(r"MJD_", "MJT_", count=0), "MJT"),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_change_is_found(name, changed):
    kind, pattern, change, expected = CHANGES[name]
    found = changed(kind, pattern, change)
    assert found
    assert re.search(expected, "\n".join(found)), found


def test_ignored_differences_are_not_found(outcomes, tmp_path):
    theirs = next(outcomes["image"].theirs.glob("*crfints*"))
    ours = tmp_path / theirs.name
    shutil.copy(outcomes["image"].ours / theirs.name, ours)
    with fits.open(ours, mode="update", memmap=False) as hdus:
        hdus[0].header["DATE"] = "2000-01-01T00:00:00"
        hdus[0].header["CAL_VER"] = "0"
        hdus[0].header.add_history("more")
    result = Comparison("ignored")
    compare_fits(result, "crfints", ours, theirs)
    assert result.findings == []


def test_missing_product(outcomes, tmp_path):
    folder = tmp_path / "ours"
    shutil.copytree(outcomes["spectra"].ours, folder)
    next(folder.glob("*whtlt*")).unlink()
    findings = compare_folders(folder, outcomes["spectra"].theirs, kinds=("whtlt",)).findings
    assert any("missing" in f and "whtlt" in f for f in findings)


def test_values():
    result = Comparison("values")
    one = np.array([1.0, np.nan, 3.0, np.inf, 0.0])
    result.values("p", "w", "same", one, one.copy())
    result.values("p", "w", "near", one * (1 + 1e-7), one, 1e-6)
    result.values("p", "w", "error", one[:3] + 1e-4, one[:3], 1e-6, error=np.full(3, 1e3))
    assert result.findings == []
    assert result.records["p", "near"].largest == pytest.approx(1e-7, rel=1e-3)
    assert result.records["p", "error"].largest == pytest.approx(1e-7, rel=1e-3)
    for other in (one * (1 + 1e-5), np.roll(one, 1), one.astype("f4"), one[:4], -one):
        before = len(result.findings)
        result.values("p", "w", "x", other, one, 1e-6)
        assert len(result.findings) > before
    result.values("p", "w", "zero", np.array([1e-30]), np.array([0.0]), 1e-6)
    assert "zero" in result.findings[-1]


def test_unexplained():
    result = Comparison("x", ["whtlt rows: 3 instead of 4"])
    assert result.unexplained({}) == result.findings
    assert result.unexplained({r"whtlt rows": "why"}) == []
    assert result.unexplained({r"whtlt": "why", "phot": "why"}) == [
        "stated difference did not show: phot"
    ]
