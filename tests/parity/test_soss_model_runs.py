"""Whole runs on NIRISS SOSS beside jwst: overlapping orders modelled."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
from harness import BUSY, Case, keep_records, run_case
from jwst_oracle import quick, silent

pytestmark = pytest.mark.parity
pytest.importorskip("jwst")

TOLERANCE = 1e-5
SMALL = {"subarray": "SUBSTRIP256", "shape": (256, 400), "nints": 5, "segments": [3, 2]}
EVERYTHING = {"min_wavelength": 0.5, "max_wavelength": 3.0}
"""A range for the white light that does not depend on the order; jwst keeps that of the first."""
COARSE = {"soss_rtol": 1e-2, "soss_max_grid_size": 1000}
FIXED = {**COARSE, "soss_tikfac": 1e-9}


def with_grid(given):
    """Give both a coarse grid of wavelengths that order 1 covers, which is well conditioned."""
    from tso3dask.io.soss_references import write_wave_grid

    path = given.folder / "grid.fits"
    write_wave_grid(
        str(path), np.append(np.linspace(0.87, 1.41, 200), np.linspace(1.42, 2.82, 200))
    )
    extract = {**given.steps["extract_1d"], "soss_wave_grid_in": str(path)}
    return replace(given, steps={**given.steps, "extract_1d": extract})


def with_estimate(given):
    """Give both an estimate of the spectrum as well."""
    from stdatamodels.jwst.datamodels import SpecModel

    given = with_grid(given)
    path = given.folder / "estimate.fits"
    wave = np.linspace(0.8, 2.9, 300)
    table = np.zeros(wave.size, SpecModel().get_dtype("spec_table"))
    table["WAVELENGTH"], table["FLUX"] = wave, 1e4 * np.exp(-((wave - 1) ** 2))
    with SpecModel(spec_table=table) as model:
        model.save(path)
    extract = {**given.steps["extract_1d"], "soss_estimate": str(path)}
    return replace(given, steps={**given.steps, "extract_1d": extract})


def soss(name, extract, edit=None, files=(), **simulate):
    steps = {"extract_1d": extract, "white_light": EVERYTHING}
    given = {**BUSY, **SMALL, **simulate}
    return Case(name, "nis_soss", given, steps, edit, chunk=2, files=files, models=bool(files))


FILES = ("SossExtractModel", "AtocaSpectra")
WHOLE_WIDTH = soss(
    "soss-model-2048",
    {**FIXED, "soss_modelname": "traces"},
    shape=(256, 2048),
    nints=2,
    segments=1,
    files=FILES,
)
"""The array as it is, also in files of models; most of its time is that of jwst's inverse."""

BAD_PIXELS = soss("soss-model-bad-pixels", {**FIXED, "soss_bad_pix": "model"})
TAKEN_ELSEWHERE = "FLUX_ERROR: 1 of "
"""A bad pixel has the error of the good one that is nearest in value: of two that are as near,
models that agree to 1e-6 may take either. That is one column in an extension."""

CASES = [
    WHOLE_WIDTH,
    soss("soss-model", FIXED),
    soss("soss-model-background", {**FIXED, "subtract_background": True}, background=4.0),
    BAD_PIXELS,
    soss("soss-model-two-orders", {**FIXED, "soss_order_3": False, "soss_width": 30.0}),
    soss("soss-model-estimate", {}, with_estimate),
    soss(
        "soss-model-96",
        {"soss_tikfac": 1e-9},
        with_grid,
        subarray="SUBSTRIP96",
        shape=(96, 2048),
        nints=2,
        segments=1,
    ),
]


@contextlib.contextmanager
def as_near_as(tolerance):
    """Compare all that is computed to a tolerance."""
    import compare_ecsv
    import compare_fits
    import compare_models

    factor = {"TIKFACTR": tolerance}
    with (
        mock.patch.object(compare_fits, "TOLERANCE", tolerance),
        mock.patch.object(compare_ecsv, "tolerance_of", lambda name: tolerance),
        mock.patch.dict(compare_fits.NUMBERS, factor),
        mock.patch.dict(compare_models.NUMBERS, {"tikhonov_factor": tolerance}),
    ):
        yield


def compared(case, folder, tolerance):
    with as_near_as(tolerance):
        outcome = run_case(case, folder)
    left = outcome.comparison.findings
    return outcome, [text for text in left if "HDRTAB TIKFACTR" not in text]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_products_are_those_of_jwst(case, tmp_path):
    outcome, found = compared(case, tmp_path, TOLERANCE)
    keep_records(outcome.comparison)
    found = [text for text in found if not (case is BAD_PIXELS and TAKEN_ELSEWHERE in text)]
    assert not found, "\n".join([f"{len(found)} findings", *found[:40]])


def test_files_of_models(tmp_path):
    """jwst writes the files of all members to one name, so that those of the last are left."""
    from compare import compare_folders

    case = soss("soss-model-files", {**FIXED, "soss_modelname": "traces.fits"}, with_grid)
    outcome, _ = compared(case, tmp_path, TOLERANCE)
    folders = []
    for source, ending in ((outcome.ours, "_1"), (outcome.theirs, "")):
        folders.append(source / "models")
        folders[-1].mkdir()
        for kind in FILES:
            path = source / f"traces{ending}_{kind}.fits"
            path.rename(folders[-1] / f"traces_{kind}.fits")
    assert all((outcome.ours / f"traces_0_{kind}.fits").exists() for kind in FILES)
    with silent(), quick(), as_near_as(3e-4):  # the red end of order 2, where it is faint
        comparison = compare_folders(*folders, "files", FILES)
    found = [
        text
        for text in comparison.findings
        if "FILENAME" not in text and "meta.filename" not in text
    ]
    assert not found, "\n".join([f"{len(found)} findings", *found[:40]])


CLEAN = {"cr_rate": 0.0, "lost_rate": 0.0, "hot_fraction": 0.0, "dead_fraction": 0.0}


@pytest.mark.parametrize("given", [CLEAN, {}], ids=["clean", "bad-pixels"])
def test_automatic_factor(given, tmp_path):
    """All numbers of the search are those of jwst; its dense inverse is less exact."""
    case = soss("soss-model-automatic", {}, with_grid, nints=4, segments=1, **given)
    _, found = compared(case, tmp_path, TOLERANCE)
    assert not found, "\n".join([f"{len(found)} findings", *found[:40]])
