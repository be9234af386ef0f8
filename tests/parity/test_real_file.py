"""A real calints file: as jwst leaves it, but with a row of white light per integration.

The file (MIRI LRS slitless, segment 41) has no VAR_FLAT, an INT_TIMES table without rows, and is
not flux calibrated. It is not part of the project; without it these tests are skipped.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("jwst")
pytestmark = pytest.mark.parity

from astropy.table import QTable  # noqa: E402
from compare import compare_folders  # noqa: E402
from harness import Input, keep_records, run_ours  # noqa: E402
from jwst_oracle import quick, run_jwst, silent  # noqa: E402

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "data" / "miri_lrs_slitless"
ASN = FOLDER / "ngts10_tso3_asn.json"
APERTURE = {
    "id": "MIR_LRS-SLITLESS",
    "region_type": "target",
    "bkg_order": 0,
    "dispaxis": 2,
    "xstart": 30,
    "xstop": 41,
    "ystart": 7,
    "ystop": 395,
}
STEPS = {
    "outlier_detection": {},
    "extract_1d": {"override_apcorr": "N/A", "override_psf": "N/A"},
}
DEVIATIONS = {
    "S_BARSHA comment": "comments stay as in the file, which an older jwst wrote",
    r"INT_TIMES keywords: other order": "headers of untouched extensions stay as in the file",
}
VARIANTS = {
    "plain": (APERTURE, {}),
    "background": (
        {**APERTURE, "bkg_coeff": [[12.5], [22.5], [48.5], [58.5]]},
        {"bkg_fit": "median", "smoothing_length": 7},
    ),
}


@pytest.fixture(scope="module", params=VARIANTS)
def runs(request, tmp_path_factory):
    """Both runs of the file."""
    if not ASN.exists():
        pytest.skip(f"{ASN} is not there")
    folder = tmp_path_factory.mktemp("real")
    aperture, parameters = VARIANTS[request.param]
    reference = folder / "extract1d.json"
    reference.write_text(json.dumps({"reftype": "EXTRACT1D", "apertures": [aperture]}))
    steps = {k: dict(v) for k, v in STEPS.items()}
    steps["extract_1d"].update(parameters, override_extract1d=str(reference))
    given = Input(folder, ASN, tuple(FOLDER.glob("*_calints.fits")), steps)
    run_jwst(ASN, folder / "jwst", steps)
    result = run_ours(given, folder / "ours", chunk=3)
    return given, folder / "ours", folder / "jwst", result


def test_products(runs):
    _, ours, theirs, _ = runs
    with silent(), quick():
        comparison = compare_folders(ours, theirs, "real-lrs", ("crfints", "x1dints"))
    keep_records(comparison)
    assert comparison.unexplained(DEVIATIONS) == []
    assert {"crfints", "x1dints"} == {product for product, _ in comparison.records}


def test_white_light_keeps_its_rows(runs):
    _, ours, theirs, result = runs
    (path,) = ours.glob("*_whtlt.ecsv")
    table = QTable.read(path, format="ascii.ecsv")
    assert len(table) == 4
    flux = np.asarray(getattr(table["whitelight_flux"], "value", table["whitelight_flux"]))
    from astropy.io import fits

    spectra = fits.getdata(next(theirs.glob("*_x1dints.fits")), "EXTRACT1D")
    np.testing.assert_allclose(flux, np.nansum(spectra["FLUX"], axis=1), rtol=1e-6)
    for name in ("MJD_UTC", "BJD_TDB"):
        assert np.isnan(np.asarray(getattr(table[name], "value", table[name]), float)).all()
    assert sum("times" in note for note in result.notes) == 1, result.notes
    peers = list(theirs.glob("*_whtlt.ecsv"))
    assert all(len(QTable.read(p, format="ascii.ecsv")) == 0 for p in peers)


def test_white_light_has_the_usual_header(runs):
    """Columns, units and meta as in the table that jwst writes without rows."""
    _, ours, theirs, _ = runs
    peers = list(theirs.glob("*_whtlt.ecsv"))
    if not peers:
        pytest.skip("jwst writes no table")
    left, right = (
        QTable.read(p, format="ascii.ecsv") for p in (next(ours.glob("*_whtlt.ecsv")), peers[0])
    )
    assert left.colnames == right.colnames
    assert list(left.meta) == list(right.meta)
    rows = "number_of_integrations"
    assert (left.meta.pop(rows), right.meta.pop(rows)) == (4, 0)
    assert left.meta == right.meta


def test_repeatable(runs, tmp_path):
    """Chunks make no difference to the bytes of pixels and spectra."""
    given, ours, _, _ = runs
    run_ours(replace(given), tmp_path, chunk=1)
    with silent(), quick():
        comparison = compare_folders(tmp_path, ours, "chunks")
    assert comparison.findings == []
