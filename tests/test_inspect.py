import json

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from tso3dask.errors import InputError
from tso3dask.inspect import describe

INT_TIMES = [
    ("integration_number", "i4"),
    ("int_start_MJD_UTC", "f8"),
    ("int_mid_MJD_UTC", "f8"),
    ("int_end_MJD_UTC", "f8"),
    ("int_start_BJD_TDB", "f8"),
    ("int_mid_BJD_TDB", "f8"),
    ("int_end_BJD_TDB", "f8"),
]


def calints(path, start=1, nints=5, times=True, **keywords):
    primary = fits.PrimaryHDU()
    values = {
        "TELESCOP": "JWST",
        "INSTRUME": "NIRCAM",
        "DETECTOR": "NRCA3",
        "EXP_TYPE": "NRC_TSIMAGE",
        "FILTER": "F210M",
        "TSOVISIT": True,
        "TARGPROP": "WASP-39",
        "DATAMODL": "CubeModel",
        "NINTS": 10,
        "INTSTART": start,
        "EXSEGNUM": 1,
        "EXSEGTOT": 2,
        "S_PHOTOM": "COMPLETE",
        "EXPSTART": 59791.0,
        **keywords,
    }
    primary.header.update(values)
    cube = np.zeros((nints, 4, 6), np.float32)
    hdus = [primary]
    for name in ("SCI", "ERR"):
        hdus.append(fits.ImageHDU(cube, name=name))
        hdus[-1].header["BUNIT"] = "MJy/sr"
    hdus.append(fits.ImageHDU(cube.astype(np.uint32), name="DQ"))
    if times:
        table = np.zeros(nints, INT_TIMES)
        table["integration_number"] = np.arange(start, start + nints)
        table["int_start_MJD_UTC"] = 59791.5
        table["int_mid_MJD_UTC"] = 59791.5 + np.arange(nints) * 0.01
        hdus.append(fits.BinTableHDU(table, name="INT_TIMES"))
    fits.HDUList(hdus).writeto(path)
    return path


def test_segment(tmp_path):
    text = describe(calints(tmp_path / "a_calints.fits"))
    for words in (
        "calibrated integrations (calints)",
        "WASP-39",
        "NRC_TSIMAGE F210M",
        "1 of 2",
        "5: 1 to 5 of 10 in the exposure",
        "4 rows x 6 columns",
        "MJy/sr",
        "photom COMPLETE",
        "5 rows, integrations 1 to 5",
        "59791.500000 to 59791.540000",
        "all zero",
        "none: no ASDF extension",
        "5 x 4 x 6",
    ):
        assert words in text


def test_segment_without_times_and_crfints(tmp_path):
    path = calints(tmp_path / "a.fits", times=False, S_OUTLIR="COMPLETE", TSOVISIT=False)
    text = describe(path)
    assert "there is no such table" in text
    assert "(crfints)" in text
    assert "TSOVISIT is not set" in text


def association(tmp_path, *names):
    path = tmp_path / "x_asn.json"
    members = [{"expname": name, "exptype": "science"} for name in names]
    path.write_text(
        json.dumps({"asn_id": "o001", "products": [{"name": "prod", "members": members}]})
    )
    return path


def test_association_with_a_gap_and_with_an_overlap(tmp_path):
    calints(tmp_path / "jw1_1-seg001_nrca3_calints.fits")
    second = calints(tmp_path / "jw1_1-seg002_nrca3_calints.fits", start=8, nints=3)
    path = association(tmp_path, *(f"jw1_1-seg00{k}_nrca3_calints.fits" for k in (1, 2)))
    text = describe(path)
    assert "association of 2 members" in text
    assert "1-5" in text and "8-10" in text
    assert "note: jw1_1_nrca3: integrations 6-7 are in no member" in text
    second.unlink()
    calints(second, start=7, nints=4)
    assert "note: jw1_1_nrca3: integration 6 is in no member" in describe(path)
    second.unlink()
    calints(second, start=4, nints=3)
    assert "cannot be processed" in describe(path)
    second.write_text("not fits")
    assert "member 2" in describe(path)


def test_table(tmp_path):
    table = Table({"MJD": [1.0, 2.0, np.nan], "name": ["a", "b", "c"]}, meta={"filter": "F210M"})
    table["MJD"].unit = "d"
    table.write(tmp_path / "t.ecsv")
    text = describe(tmp_path / "t.ecsv")
    assert "table of 3 rows" in text
    assert "filter  F210M" in text
    assert "1 to 2, 1 of 3 unknown (NaN)" in text


def test_meanings_of_columns_stand_beside_them(tmp_path):
    table = Table({"shift_x_NRS1": [0.1, 0.2], "flux_001_NRS1": [1.0, 2.0], "other": [1, 2]})
    channel = {"column": "flux_001_NRS1", "wavelength_low": 3.0, "wavelength_high": 3.5}
    table.meta = {
        "meaning": {"shift": "no column", "shift_x": "place along x"},
        "wavelength_unit": "um",
        "channels": [channel],
    }
    table.write(tmp_path / "t.ecsv")
    text = describe(tmp_path / "t.ecsv")
    found = {line.split()[0]: line for line in text.splitlines() if line.split()}
    assert found["shift_x_NRS1"].endswith("  place along x")
    assert found["flux_001_NRS1"].endswith("  3.0000 to 3.5000 um")
    assert found["other"].endswith(" 1 to 2")
    assert found["channels"].split() == ["channels", "1"]
    assert "{" not in text and "[" not in text


def test_spectra(tmp_path):
    rows = np.zeros(
        3, [("INT_NUM", "i4"), ("WAVELENGTH", "f8", (4,)), ("SEGMENT", "i4"), ("TDB-MID", "f8")]
    )
    rows["WAVELENGTH"] = [1.0, 2.0, 3.0, np.nan]
    rows["SEGMENT"] = 2
    rows["TDB-MID"] = 59791.5
    table = fits.BinTableHDU(rows, name="EXTRACT1D")
    table.header["DETECTOR"] = "NRS1"
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(tmp_path / "x.fits")
    text = describe(tmp_path / "x.fits")
    assert "spectra (x1dints)" in text
    assert "NRS1" in text
    assert "1 to 3" in text


def test_other_fits_and_errors(tmp_path):
    fits.PrimaryHDU(np.zeros((3, 4))).writeto(tmp_path / "o.fits")
    assert "3 x 4" in describe(tmp_path / "o.fits")
    (tmp_path / "bad.fits").write_text("hello")
    (tmp_path / "bad.ecsv").write_text("hello world\nno\n")
    (tmp_path / "x.txt").touch()
    for name, words in (
        ("bad.fits", "not readable as FITS"),
        ("bad.ecsv", "not readable as ECSV"),
        ("x.txt", "expected .fits"),
        ("gone.fits", "no such file"),
    ):
        with pytest.raises(InputError, match=words):
            describe(tmp_path / name)


def test_the_record_of_a_run(tmp_path):
    record = {
        "program": "tso3dask 0.1.0",
        "association": "a_asn.json",
        "integrations": 12,
        "outliers": [{"n_outliers": 3}, {"n_outliers": 4}],
        "seconds": 1.5,
        "parameters": {"outlier_detection": {"snr": "5.0"}},
        "products": {"phot": {"a_phot.ecsv": [1, 2]}},
        "inputs": {"a_calints.fits": "0"},
        "notes": ["all is well"],
    }
    path = tmp_path / "a_tso3dask.json"
    path.write_text(json.dumps(record))
    text = describe(path)
    parts = ("record of a run", "outliers      7", "outlier_detection.snr = 5.0", "a_phot.ecsv")
    for part in parts:
        assert part in text
    path.write_text("{}")
    with pytest.raises(InputError, match="no record of a run"):
        describe(path)


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(InputError, match="is a folder"):
        describe(tmp_path)
