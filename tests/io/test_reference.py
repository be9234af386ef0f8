import json
from types import SimpleNamespace

import numpy as np
import pytest
from astropy.io import fits

from tso3dask.errors import InputError
from tso3dask.io.reference import (
    read_apcorr,
    read_extract1d,
    read_gain,
    read_wavelength_ranges,
)


def write_gain(path, shape=(2048, 2048), corner=(1, 1), keywords=True, instrument="NIRCAM"):
    y, x = np.mgrid[: shape[0], : shape[1]]
    primary = fits.PrimaryHDU()
    primary.header["INSTRUME"] = instrument
    if keywords:
        primary.header["SUBSTRT1"], primary.header["SUBSTRT2"] = corner
        primary.header["SUBSIZE1"], primary.header["SUBSIZE2"] = shape[::-1]
    image = fits.ImageHDU((y + 0.001 * x).astype(">f4"), name="SCI")
    fits.HDUList([primary, image]).writeto(path)
    return str(path)


def segment(nx, ny, x, y):
    values = {"SUBSTRT1": x, "SUBSTRT2": y}
    return SimpleNamespace(nx=nx, ny=ny, get=values.get, path=SimpleNamespace(name="s.fits"))


@pytest.mark.parametrize(("corner", "keywords"), [((1, 1), True), ((1, 1), False)])
def test_gain_is_cut_to_the_subarray(tmp_path, corner, keywords):
    path = write_gain(tmp_path / "g.fits", corner=corner, keywords=keywords)
    gain = read_gain(path, segment(8, 4, 101, 51))
    assert gain.shape == (4, 8)
    assert gain.dtype == np.dtype("float32")
    assert gain.dtype.isnative
    np.testing.assert_allclose(gain[0, 0], 50 + 0.1, rtol=1e-6)


def test_gain_of_the_same_subarray_and_of_another(tmp_path):
    path = write_gain(tmp_path / "g.fits", shape=(4, 8), corner=(101, 51))
    assert read_gain(path, segment(8, 4, 101, 51))[0, 0] == 0
    with pytest.raises(InputError, match=r"covers 8 x 4 pixels from \(101, 51\)"):
        read_gain(path, segment(8, 4, 100, 51))
    with pytest.raises(InputError, match="SUBSTRT1"):
        read_gain(path, segment(8, 4, None, 51))


def test_bad_gain_files(tmp_path):
    small = write_gain(tmp_path / "small.fits", shape=(4, 8), keywords=False)
    with pytest.raises(InputError, match="subarray keywords"):
        read_gain(small, segment(8, 4, 1, 1))
    other = tmp_path / "other.fits"
    fits.PrimaryHDU().writeto(other)
    with pytest.raises(InputError, match="no SCI extension"):
        read_gain(str(other), segment(8, 4, 1, 1))
    text = tmp_path / "text.fits"
    text.write_text("hello")
    with pytest.raises(InputError, match="not readable as gain"):
        read_gain(str(text), segment(8, 4, 1, 1))


def test_extract1d(tmp_path):
    path = tmp_path / "e.json"
    content = {"apertures": [{"id": "NRS_BRIGHTOBJ", "dispaxis": 1}]}
    path.write_text(json.dumps(content))
    assert read_extract1d(str(path)) == content
    assert read_extract1d(None) is None
    assert read_extract1d("N/A") is None


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("e.asdf", "{}", "must be a JSON"),
        ("e.json", "{'a'}", "not valid JSON.*line 1"),
        ("e.json", "{}", "expected a list 'apertures'"),
        ("e.json", "[]", "expected a list 'apertures'"),
        ("e.json", b"\xff\xfe", "not a text file"),
    ],
)
def test_bad_extract1d(tmp_path, name, content, words):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=words) as error:
        read_extract1d(str(path))
    assert str(path) in str(error.value)


def write_apcorr(path):
    rows = np.zeros(
        2,
        dtype=[
            ("subarray", "S17"),
            ("wavelength", ">f8", (4,)),
            ("nelem_wl", ">i4"),
            ("size", ">f8", (3,)),
            ("nelem_size", ">i4"),
            ("apcorr", ">f8", (4, 3)),
            ("apcorr_err", ">f8", (4, 3)),
        ],
    )
    rows["subarray"] = ["FULL", "SLITLESSPRISM"]
    rows["size"] = [2, 4, 6]
    rows["apcorr"] = 1.25
    table = fits.BinTableHDU(rows, name="APCORR")
    table.header["SIZEUNIT"] = "pixels"
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(path)
    return str(path)


def test_apcorr_has_the_types_of_the_data_model(tmp_path):
    path = write_apcorr(tmp_path / "a.fits")
    found = read_apcorr(path, "MIR_LRS-SLITLESS")
    assert found.size_unit == "pixels"
    assert found.table["size"].dtype == np.uint8
    assert found.table["apcorr"].dtype == np.float32
    assert found.table["apcorr"].shape == (2, 4, 3)
    assert [str(name).strip() for name in found.table["subarray"]] == ["FULL", "SLITLESSPRISM"]
    assert read_apcorr("N/A", "MIR_LRS-SLITLESS") is None
    assert read_apcorr(path, "NRC_TSGRISM").table == {}
    empty = tmp_path / "empty.fits"
    fits.PrimaryHDU().writeto(empty)
    with pytest.raises(InputError, match="no APCORR extension"):
        read_apcorr(str(empty), "NRS_BRIGHTOBJ")


def test_wavelength_ranges(tmp_path):
    import asdf

    path = tmp_path / "w.asdf"
    asdf.AsdfFile({"wavelengthrange": [[1, "CLEAR", 0.85, 2.8]]}).write_to(path)
    assert read_wavelength_ranges(str(path)) == ((1, "CLEAR", 0.85, 2.8),)
    assert read_wavelength_ranges("N/A") is None
    path.write_text("no")
    with pytest.raises(InputError, match="wavelengthrange"):
        read_wavelength_ranges(str(path))
