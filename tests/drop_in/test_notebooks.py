"""Calls as the public time-series notebooks make them, on simulated observations.

Only the import is another. The parameters are those that the notebooks set.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from astropy.io import ascii as text_tables
from astropy.table import Table

from tso3dask import Tso3Pipeline


@pytest.fixture
def stage2(made, tmp_path):
    """Files of the second stage with an association of absolute paths, as made with a list."""

    def make(mode, product_name, **simulated):
        observation = made(mode, **simulated)
        members = [{"expname": str(m), "exptype": "science"} for m in observation.members]
        asn = {
            "asn_type": "tso3",
            "asn_rule": "DMS_Level3_Base",
            "asn_id": "a3001",
            "asn_pool": "none",
            "program": "09999",
            "products": [{"name": product_name, "members": members}],
        }
        path = tmp_path / "stage3" / "level3_09999_asn.json"
        path.parent.mkdir()
        path.write_text(json.dumps(asn, indent=4))
        return observation, str(path), str(tmp_path / "stage3")

    return make


def products(folder, ending):
    return sorted(Path(folder).glob(f"*_{ending}"))


def referenced(observation):
    """Parameters of steps with the references that a server would give."""
    steps = defaultdict(dict)
    for step, values in observation.steps.items():
        steps[step].update(values)
    return steps


SMALL = {"segments": [6, 5], "cr_rate": 2e-3}


def test_mid_infrared_imaging(stage2):
    observation, asn_file, folder = stage2("mir_image", "Stage3", shape=(24, 26), **SMALL)
    assert (
        Tso3Pipeline.call(
            asn_file, output_dir=folder, steps=referenced(observation), save_results=True
        )
        is None
    )
    (phot,) = products(folder, "phot.ecsv")
    assert phot.name == "Stage3_phot.ecsv"
    data = text_tables.read(phot, comment="#", delimiter=" ")
    assert len(data["MJD"]) == len(data["aperture_sum"]) == 11
    assert np.all(np.diff(data["MJD"]) > 0)
    assert len(products(folder, "crfints.fits")) == 2


def test_near_infrared_imaging(stage2):
    observation, asn_file, folder = stage2("nrc_tsimage", "star", shape=(24, 26), **SMALL)
    steps = referenced(observation)
    steps["outlier_detection"]["rolling_window_width"] = 35
    Tso3Pipeline.call(asn_file, output_dir=folder, steps=steps, save_results=True)
    table = Table.read(products(folder, "phot.ecsv")[0], format="ascii.ecsv")
    assert table["aperture_sum"].unit == "Jy"
    assert table.meta["number_of_integrations"] == 11


def test_grism(stage2):
    import pandas

    observation, asn_file, folder = stage2("nrc_tsgrism", "SIM-STAR", shape=(40, 60), **SMALL)
    steps = {"outlier_detection": {}, "extract_1d": {}, "white_light": {}, "pixel_replace": {}}
    steps["outlier_detection"]["skip"] = True
    steps["extract_1d"]["subtract_background"] = True
    given = observation.steps["extract_1d"]
    steps["extract_1d"]["override_extract1d"] = given["override_extract1d"]
    result = Tso3Pipeline.call(asn_file, steps=steps, save_results=True, output_dir=folder)
    assert result is None
    assert products(folder, "crfints.fits") == []
    data = pandas.read_csv(products(folder, "whtlt.ecsv")[0], comment="#", delimiter=" ")
    assert len(data["BJD_TDB"]) == len(data["whitelight_flux"]) == 11
    from stdatamodels.jwst import datamodels

    with datamodels.open(products(folder, "x1dints.fits")[0]) as spectra:
        flux = np.vstack([spec.spec_table["FLUX"] for spec in spectra.spec])
        assert flux.shape[0] == len(spectra.int_times.int_mid_BJD_TDB) == 11
        assert spectra.spec[0].spec_table.columns["FLUX"].unit == "DN/s"
        assert spectra.meta.cal_step.instance["extract_1d"] == "COMPLETE"
        assert spectra.meta.ref_file.instance["extract1d"]["name"]


def test_bright_object_spectra(stage2):
    import pandas

    observation, asn_file, folder = stage2("nrs_g395h", "f290lp_g395h", shape=(12, 40), **SMALL)
    steps = {"outlier_detection": {}, "pixel_replace": {}, "white_light": {}}
    steps["extract_1d"] = dict(observation.steps["extract_1d"])
    steps["outlier_detection"]["skip"] = True
    steps["pixel_replace"]["skip"] = False
    steps["pixel_replace"]["n_adjacent_cols"] = 5
    steps["pixel_replace"]["algorithm"] = "fit_profile"
    Tso3Pipeline.call(asn_file, save_results=True, steps=steps, output_dir=folder)
    (white,) = products(folder, "whtlt.ecsv")
    assert white.name == "f290lp_g395h_whtlt.ecsv"
    data = pandas.read_csv(white, comment="#", sep=r"\s+")
    assert {"MJD_UTC_NRS1", "whitelight_flux_NRS2"} <= set(data.columns)
    assert len(data) == 11
    from stdatamodels.jwst import datamodels

    with datamodels.open(products(folder, "x1dints.fits")[0]) as spectra:
        rows, width = spectra.spec[0].spec_table.WAVELENGTH.shape
        assert (rows, width) == spectra.spec[0].spec_table.FLUX.shape
        assert len(spectra.spec) == 4
        assert spectra.meta.cal_step.pixel_replace == "COMPLETE"


def test_low_resolution_spectra(stage2):
    import pandas

    observation, asn_file, folder = stage2(
        "mir_lrs-slitless", "SIM-STAR_lrs", shape=(26, 20), **SMALL
    )
    steps = referenced(observation)
    steps["outlier_detection"]["rolling_window_width"] = 25
    steps["extract_1d"]["subtract_background"] = False
    Tso3Pipeline.call(asn_file, steps=steps, save_results=True, output_dir=folder)
    data = pandas.read_csv(products(folder, "whtlt.ecsv")[0], comment="#", sep=r"\s+")
    assert list(data.columns) == ["MJD_UTC", "BJD_TDB", "whitelight_flux"]
    assert len(products(folder, "crfints.fits")) == 2


def test_single_object_slitless_spectra(stage2):
    import pandas

    observation, asn_file, folder = stage2(
        "nis_soss", "SIM-STAR", segments=[3, 3], shape=(256, 512)
    )
    steps = referenced(observation)
    steps["extract_1d"]["save_results"] = True
    steps["extract_1d"]["soss_rtol"] = 1e-2  # a grid that is quickly made
    steps["white_light"]["save_results"] = True
    Tso3Pipeline.call(asn_file, save_results=True, output_dir=folder, steps=steps)
    data = pandas.read_csv(
        products(folder, "whtlt.ecsv")[0], on_bad_lines="skip", comment="#", sep=r"\s+"
    )
    assert {"BJD_TDB", "whitelight_flux_order_1"} <= set(data.columns)
