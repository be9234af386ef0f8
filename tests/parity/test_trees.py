"""Products as data models: equal trees but for the stated entries, and what tables read as."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("jwst")
pytestmark = pytest.mark.parity

from astropy.io import fits  # noqa: E402
from astropy.table import QTable, Table  # noqa: E402
from fixed_slit import in_slit  # noqa: E402
from harness import keep_records, run_case  # noqa: E402
from inputs import all_of, in_model  # noqa: E402
from stated import ENTRIES, STATED  # noqa: E402
from test_pipeline import image, photometry, spectrum  # noqa: E402

OLDER = {
    "meta.calibration_software_version": "1.15.1",
    "meta.calibration_software_revision": "OLDER",
    "meta.ref_file.crds.sw_version": "11.0.1",
    "meta.ref_file.crds.context_used": "jwst_1150.pmap",
}
"""Members come from another version than the one that runs, as they mostly do."""

LRS = "mir_lrs-slitless"
FEW = {"segments": (4, 3), "edit": in_model(None, OLDER)}
CASES = {
    "nircam-image": image("tree-nircam-image", seed=801, **FEW),
    "miri-image": image("tree-miri-image", photometry(radius=4), "mir_image", seed=802, **FEW),
    "lrs": spectrum("tree-lrs", LRS, seed=803, **FEW),
    "lrs-slit": spectrum(
        "tree-lrs-slit", LRS, seed=804, segments=(4, 3), edit=all_of(in_slit(), FEW["edit"])
    ),
    "lrs-cube": spectrum("tree-lrs-cube", LRS, seed=805, model="CubeModel", **FEW),
    "grism": spectrum("tree-grism", "nrc_tsgrism", seed=806, **FEW),
    "prism": spectrum("tree-prism", "nrs_prism", seed=807, **FEW),
    "g395h": spectrum("tree-g395h", "nrs_g395h", seed=808, **FEW),
}
SPECTRAL = [name for name in CASES if "image" not in name]

ALWAYS = ("SPORDER", "DISPAXIS", "EXTRXSTR", "EXTRXSTP", "EXTRYSTR", "EXTRYSTP", "SLTNAME")
ALWAYS = (*ALWAYS, "SLIT_RA", "SLIT_DEC", "DETECTOR", "PA_APER", "EXTNAME", "EXTVER")
OF_SLITS = ("SRCTYPE",)
OF_NIRSPEC = ("SOURCEID", "SRCNAME", "SRCXPOS", "SRCYPOS")
"""Keywords of each spectrum: in all modes, of SlitModels, and of NIRSpec."""


@pytest.fixture(scope="module", params=CASES)
def run(request, tmp_path_factory):
    """Name, products of both, and the comparison of one mode."""
    outcome = run_case(
        replace(CASES[request.param], models=True), tmp_path_factory.mktemp(request.param)
    )
    keep_records(outcome.comparison)
    return request.param, outcome


def pairs(outcome, *patterns):
    """Ours and theirs of each file."""
    for pattern in patterns:
        found = sorted(outcome.theirs.glob(pattern))
        for path in found:
            yield outcome.ours / path.name, path


def stated_entry(key):
    """Name by which an entry of a tree is stated, or the entry itself."""
    plain = re.sub(r"^spec\.\d+\.", "", key)
    for entry in ENTRIES:
        if plain == entry or plain.startswith(f"{entry}."):
            return entry
    return key


def same(ours, theirs):
    """Compare two values of a tree; of arrays type and shape, of tables the columns as well."""
    if isinstance(theirs, np.ndarray):
        one, other = np.asarray(ours), np.asarray(theirs)
        return one.shape == other.shape and np.dtype(one.dtype) == np.dtype(other.dtype)
    if isinstance(theirs, float) and isinstance(ours, float):
        return ours == pytest.approx(theirs, rel=1e-12, nan_ok=True)
    return type(ours) is type(theirs) and (ours == theirs or str(ours) == str(theirs))


def differences(ours, theirs):
    """Entries of two trees that differ or are in one alone."""
    left, right = (m.to_flat_dict(include_arrays=True) for m in (ours, theirs))
    found = left.keys() ^ right.keys()
    shared = (k for k in left.keys() & right.keys() if not k.endswith(("wcs", "hdrtab")))
    return found | {k for k in shared if not same(left[k], right[k])}


def test_nothing_else_differs(run):
    assert run[1].comparison.findings == []


def test_trees(run):
    """Entries that differ are those that are stated, and all that are stated do differ."""
    from stdatamodels.jwst import datamodels

    for kind in ("crfints", "x1dints"):
        for ours, theirs in pairs(run[1], f"*_{kind}.fits"):
            with datamodels.open(ours) as one, datamodels.open(theirs) as other:
                assert type(one) is type(other)
                found = {stated_entry(key) for key in differences(one, other)}
            assert found == {item.entry for item in STATED if kind in item.products}, ours.name


def test_each_spectrum_has_its_keywords(run):
    name, outcome = run
    for ours, theirs in pairs(outcome, "*_x1dints.fits"):
        with fits.open(ours) as left, fits.open(theirs) as right:
            tables = [(a, b) for a, b in zip(left, right, strict=True) if b.name == "EXTRACT1D"]
            assert len(tables) == len(outcome.input.members)
            for version, (one, other) in enumerate(tables, 1):
                assert one.ver == other.ver == version
                words = ALWAYS if name == "lrs-cube" else ALWAYS + OF_SLITS
                words += OF_NIRSPEC if name in ("prism", "g395h") else ()
                for word in words:
                    assert word in other.header, word
                    mine, peer = one.header[word], other.header[word]
                    if isinstance(peer, float):
                        mine = pytest.approx(mine, rel=1e-12)
                    assert peer == mine, word
                assert ("S_REGION" in one.header) == (version == 1)
            assert left["HDRTAB"].columns.dtype.names == right["HDRTAB"].columns.dtype.names
            assert "SRCTYPE" not in left[0].header
            assert "S_REGION" not in left[0].header


def test_history_names_the_program(run):
    for ours, _ in pairs(run[1], "*_crfints.fits", "*_x1dints.fits"):
        lines = [str(line) for line in fits.getheader(ours)["HISTORY"]]
        assert any(line.startswith("tso3dask") for line in lines)


def test_tables_are_read_by_everyone(run):
    """The same rows through astropy, as plain and as unit-aware table, and through pandas."""
    pandas = pytest.importorskip("pandas")
    for ours, theirs in pairs(run[1], "*_phot.ecsv", "*_whtlt.ecsv"):
        plain = Table.read(ours, format="ascii.ecsv")
        guessed = QTable.read(ours)
        assert plain.meta == Table.read(theirs, format="ascii.ecsv").meta
        frame = pandas.read_csv(ours, comment="#", sep=r"\s+")
        peer = pandas.read_csv(theirs, comment="#", sep=r"\s+")
        assert list(frame.columns) == list(peer.columns) == plain.colnames == guessed.colnames
        assert list(frame.dtypes) == list(peer.dtypes)
        for column in plain.colnames:
            values = np.ma.filled(np.ma.asarray(plain[column], dtype=float), np.nan)
            np.testing.assert_array_equal(frame[column].to_numpy(float), values)


def test_differences_are_documented():
    page = (Path(__file__).resolve().parents[2] / "docs" / "differences.md").read_text()
    for item in STATED:
        assert f"`{item.entry}`" in page, item.entry
        assert item.keyword is None or f"`{item.keyword}`" in page, item.keyword
        assert item.reason in page, item.reason
