"""Whole runs on NIRISS SOSS beside jwst: boxes around traces."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from harness import BUSY, Case, keep_records, make_input, run_case, run_ours
from jwst_oracle import run_jwst

pytestmark = pytest.mark.parity
pytest.importorskip("jwst")

SMALL = {"subarray": "SUBSTRIP256", "shape": (256, 400), "nints": 9, "segments": [5, 4]}
EVERYTHING = {"min_wavelength": 0.5, "max_wavelength": 3.0}
"""A range for the white light that does not depend on the order; jwst keeps that of the first."""


def soss(name, extract=None, steps=None, edit=None, **simulate):
    given = {
        "extract_1d": {"soss_atoca": False, **(extract or {})},
        "white_light": EVERYTHING,
        **(steps or {}),
    }
    return Case(name, "nis_soss", {**BUSY, **SMALL, **simulate}, given, edit, chunk=3)


CASES = [
    soss("soss-256"),
    soss("soss-rolling", steps={"outlier_detection": {"rolling_window_width": 3}}),
    soss("soss-not-flagged", steps={"outlier_detection": {"skip": True}}),
    soss("soss-background", {"subtract_background": True}, background=4.0),
    soss("soss-narrow-two-orders", {"soss_width": 21.5, "soss_order_3": False}),
    soss("soss-not-calibrated", steps={"photom": {"skip": True}}),
    soss("soss-stripes", subarray="SUB680STRIPE_SOSS"),
    soss("soss-single", nints=2, segments=[1, 1]),
    replace(
        soss("soss-replaced", steps={"pixel_replace": {"skip": False, "save_results": True}}),
        files=("replace",),
    ),
    soss(
        "soss-replaced-profile",
        {"subtract_background": True},
        {"pixel_replace": {"skip": False, "algorithm": "fit_profile"}},
        nints=3,
        segments=1,
    ),
    soss("soss-96", subarray="SUBSTRIP96", shape=(96, 2048), nints=3, segments=1),
]


def test_each_order_has_its_own_white_light(tmp_path):
    """jwst sums all orders over the wavelengths of the first."""
    case = soss("soss-white", nints=4, segments=1, steps={"white_light": {}})
    given = make_input(replace(case, steps={"extract_1d": {"soss_atoca": False}}), tmp_path / "in")
    run_jwst(given.source, tmp_path / "jwst", given.steps)
    run_ours(given, tmp_path / "ours")
    ours, theirs = (
        Table.read(next((tmp_path / name).glob("*_whtlt.ecsv"))) for name in ("ours", "jwst")
    )
    np.testing.assert_allclose(
        ours["whitelight_flux_order_1"], theirs["whitelight_flux_order_1"], rtol=1e-12
    )
    spectra = next((tmp_path / "ours").glob("*_x1dints.fits"))
    for order, (low, high) in {2: (0.65, 0.95), 3: (0.63, 0.95)}.items():
        table = fits.getdata(spectra, ("EXTRACT1D", order))
        for (first, last), white in (((low, high), ours), ((0.95, 2.7), theirs)):
            used = (table["WAVELENGTH"] >= first) & (table["WAVELENGTH"] <= last)
            expected = np.nansum(np.where(used, table["FLUX"], 0), axis=1)
            np.testing.assert_allclose(white[f"whitelight_flux_order_{order}"], expected, rtol=1e-9)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_products_are_those_of_jwst(case, tmp_path):
    outcome = run_case(case, tmp_path)
    keep_records(outcome.comparison)
    found = outcome.comparison.findings
    assert not found, "\n".join([f"{len(found)} findings", *found[:40]])
    compared = {kind for kind, _ in outcome.comparison.records}
    skipped = case.steps.get("outlier_detection", {}).get("skip")
    files = {"x1dints", "whtlt", *case.files}
    assert compared == files | (set() if skipped else {"crfints"})
