"""Columns of the spectra, and aperture corrections."""

from __future__ import annotations

import numpy as np
import pytest

from tso3dask.errors import InputError
from tso3dask.ops.apcorr import (
    CORRECTED_FLUXES,
    CORRECTED_VARIANCES,
    PhaseCorrection,
    SizeCorrection,
    apply_correction,
    reference_wavelength,
    select_correction,
)
from tso3dask.ops.box import RESULTS
from tso3dask.ops.spectrum import VECTOR_COLUMNS, column_units, spectral_columns

WAVELENGTH = np.array([np.nan, 1.0, 1.1, 1.2])


def sums():
    values = {name: np.full((2, 4), k + 1.0) for k, name in enumerate(RESULTS)}
    values["npixels"][:] = 4.0
    values["npixels"][1, 2] = 0.0
    values["flux"][1, 2] = np.nan
    return values


def columns(**changes):
    given = {
        "photom_complete": True,
        "source_type": "POINT",
        "instrument": "MIRI",
        "pixel_area_sr": 2e-13,
    } | changes
    return spectral_columns(sums(), WAVELENGTH, **given)


def test_flux_from_surface_brightness():
    found = columns()
    c = found.columns
    assert tuple(c) == VECTOR_COLUMNS and not found.notes
    assert c["WAVELENGTH"].tolist() == [[1.0, 1.1, 1.2]] * 2
    np.testing.assert_allclose(c["FLUX"][0], 1.0 * 2e-13 * 1e6)
    np.testing.assert_allclose(c["FLUX_VAR_POISSON"][0], 3.0 * (2e-7) ** 2)
    np.testing.assert_allclose(c["FLUX_ERROR"][0], np.sqrt(2 + 3 + 4) * 2e-7)
    np.testing.assert_allclose(c["SURF_BRIGHT"][0], 0.25)
    np.testing.assert_allclose(c["SB_VAR_RNOISE"][0], 2.0 / 16)
    np.testing.assert_allclose(c["BACKGROUND"][0], 5.0 / 4)
    np.testing.assert_allclose(c["BKGD_ERROR"][0], np.sqrt(6 + 7 + 8) / 4)
    assert c["DQ"].dtype == np.uint32 and c["DQ"].tolist() == [[0, 0, 0], [0, 1, 0]]
    assert np.isnan(c["FLUX"][1, 1]) and c["NPIXELS"][1, 1] == 0
    assert all(v.dtype == np.float64 for name, v in c.items() if name != "DQ")


def test_nirspec_point_source_is_not_per_steradian():
    c = columns(instrument="NIRSPEC").columns
    np.testing.assert_allclose(c["FLUX"][0], 1e6)
    np.testing.assert_allclose(c["FLUX_VAR_FLAT"][0], 4e12)
    assert not c["SURF_BRIGHT"].any() and not c["SB_ERROR"].any()
    np.testing.assert_allclose(c["BACKGROUND"][0], 5.0 / 4 / 2e-13)
    extended = columns(instrument="NIRSPEC", source_type="EXTENDED").columns
    np.testing.assert_allclose(extended["FLUX"][0], 2e-7)


def test_without_photom_or_pixel_area():
    found = columns(photom_complete=False)
    np.testing.assert_allclose(found.columns["FLUX"][0], 1.0)
    assert found.units["FLUX"] == "DN/s" and "photom" in found.notes[0]
    found = columns(pixel_area_sr=None)
    np.testing.assert_allclose(found.columns["FLUX"][0], 1e6)
    assert "PIXAR_SR" in found.notes[0]


def test_units():
    units = column_units(True)
    assert units["FLUX_ERROR"] == "Jy" and units["FLUX_VAR_FLAT"] == "Jy^2"
    assert units["BKGD_ERROR"] == "MJy/sr" and units["SB_VAR_FLAT"] == "MJy^2 / sr^2"
    assert "DQ" not in units and "NPIXELS" not in units and units["WAVELENGTH"] == "um"


def test_input_is_left_alone():
    given = sums()
    before = {name: values.copy() for name, values in given.items()}
    for photom in (True, False):
        found = spectral_columns(
            given, np.array([1.0, 2, 3, 4]), photom_complete=photom, source_type="POINT",
            instrument="MIRI", pixel_area_sr=1e-12,
        )  # fmt: skip
        apply_correction(found.columns, np.full((2, 4), 3.0))
    for name, values in given.items():
        np.testing.assert_array_equal(values, before[name])


def miri_table():
    dtype = [
        ("subarray", "S17"), ("wavelength", "f4", 6), ("nelem_wl", "i2"), ("size", "u1", 5),
        ("nelem_size", "i2"), ("apcorr", "f4", (6, 5)),
    ]  # fmt: skip
    table = np.zeros(2, dtype)
    table["subarray"] = ["FULL", "SLITLESSPRISM"]
    table["nelem_wl"], table["nelem_size"] = 4, 3
    table["wavelength"][1, :4] = [8.0, 6.0, 4.0, 2.0]
    table["size"][1, :3] = [2, 4, 8]
    # linear in both, so that interpolation is exact
    table["apcorr"][1] = 1 + 0.1 * table["wavelength"][1][:, None] + 0.05 * table["size"][1]
    return table


MIRI = {"INSTRUME": "MIRI", "EXP_TYPE": "MIR_LRS-SLITLESS", "SUBARRAY": "SLITLESSPRISM"}


def test_size_correction_is_linear_and_clamped():
    found, notes = select_correction(
        miri_table(), header=MIRI, size_unit="pixels", source_type="POINT"
    )
    assert isinstance(found, SizeCorrection) and notes == ()
    wavelength = np.array([1.0, 2.0, 3.3, 7.9, 8.0, 9.0])
    npixels = np.array([[1.0, 2.0, 3.0, 4.0, 7.5, 8.0], [9.0, 8.0, 5.0, 2.0, 0.0, 20.0]])
    expected = 1 + 0.1 * np.clip(wavelength, 2, 8) + 0.05 * np.clip(npixels, 2, 8)
    np.testing.assert_allclose(found.evaluate(npixels, wavelength), expected, rtol=1e-6)


def test_size_in_arcseconds():
    table = miri_table()
    found, _ = select_correction(
        table, header=MIRI, size_unit="arcseconds", source_type="POINT", pixel_scale_arcsec=0.5
    )
    assert found.size.tolist() == [4.0, 8.0, 16.0]
    with pytest.raises(InputError, match="pixel scale"):
        select_correction(table, header=MIRI, size_unit="arcsec", source_type="POINT")


def nirspec_table():
    dtype = [
        ("filter", "S12"), ("grating", "S15"), ("slit", "S15"), ("wavelength", "f4", 4),
        ("size", "f4", (3, 4)), ("pixphase", "f4", 3), ("apcorr", "f4", (3, 4, 3)),
    ]  # fmt: skip
    table = np.zeros(1, dtype)
    table["filter"], table["grating"], table["slit"] = "F290LP", "G395H", "S1600A1"
    table["wavelength"] = [5.0, 4.0, 3.0, 2.0]
    table["size"] = np.array([2.0, 4.0, 8.0])[:, None] + 0 * table["wavelength"]
    table["pixphase"] = [0.0, 0.25, 1.0]
    table["apcorr"] = (
        1 + 0.1 * table["wavelength"][..., None, :, None] + 0.05 * table["size"][..., None]
        + table["pixphase"][:, None, None]
    )  # fmt: skip
    return table


NIRSPEC = {
    "INSTRUME": "NIRSPEC",
    "EXP_TYPE": "NRS_BRIGHTOBJ",
    "FILTER": "F290LP",
    "GRATING": "g395h",
    "SLTNAME": "S1600A1",
}


def test_phase_correction_is_one_out_of_range():
    found, _ = select_correction(
        nirspec_table(), header=NIRSPEC, size_unit="pixels", source_type="POINT"
    )
    assert isinstance(found, PhaseCorrection) and found.needs_first_integration
    wavelength = np.array([1.9, 2.0, 3.5, 5.0, 5.1])
    npixels = np.array([5.0, 1.0, 3.0, 9.0, 5.0])
    expected = 1 + 0.1 * wavelength + 0.05 * np.clip(npixels, 2, 8) + 0.5
    expected[[0, 4]] = 1.0
    np.testing.assert_allclose(found.evaluate(npixels, wavelength), expected, rtol=1e-6)


@pytest.mark.parametrize("spoil", ["phase", "wavelength", "size"])
def test_tables_that_cannot_tell_give_one(spoil):
    table = nirspec_table()
    if spoil == "phase":
        table["pixphase"] = [0.6, 0.7, 1.0]
    elif spoil == "wavelength":
        table["wavelength"][0, 2:] = 0.0  # padding
    else:
        table["size"] = 4.0
    found, _ = select_correction(table, header=NIRSPEC, size_unit="pixels", source_type="POINT")
    assert found.evaluate(np.full(3, 3.0), np.array([2.5, 3.5, 4.5])).tolist() == [1, 1, 1]


def test_selection():
    keys = {"size_unit": "pixels", "source_type": "POINT"}
    assert select_correction(None, header=MIRI, **keys) == (None, ())
    extended = keys | {"source_type": "EXTENDED"}
    assert select_correction(miri_table(), header=MIRI, **extended) == (None, ())
    grism = {"INSTRUME": "NIRCAM", "EXP_TYPE": "NRC_TSGRISM"}
    found, notes = select_correction(miri_table(), header=grism, **keys)
    assert found is None and "NRC_TSGRISM" in notes[0]
    with pytest.raises(InputError, match="0 rows for subarray=SUB64"):
        select_correction(miri_table(), header=MIRI | {"SUBARRAY": "SUB64"}, **keys)
    table = miri_table()
    table["size"][1, :3] = [2, 2, 8]
    with pytest.raises(InputError, match="size axis"):
        select_correction(table, header=MIRI, **keys)
    assert reference_wavelength(np.array([np.nan, 3.0, 1.0, 2.0]), "NIRSPEC") == 2.0
    assert reference_wavelength(np.array([np.nan, 3.0, 1.0, 2.0]), "MIRI") == 1.0


def test_background_is_not_corrected():
    found = columns().columns
    before = {name: np.array(values) for name, values in found.items()}
    apply_correction(found, np.array([2.0, 3.0, 4.0]))
    for name in VECTOR_COLUMNS:
        power = 1 if name in CORRECTED_FLUXES else 2 if name in CORRECTED_VARIANCES else 0
        expected = before[name] * np.array([2.0, 3.0, 4.0]) ** power
        np.testing.assert_allclose(found[name], expected, rtol=1e-14)
