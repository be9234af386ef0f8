"""What a segment tells without its pixels, and what files are refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from tso3dask.errors import InputError
from tso3dask.io.pixels import ArraySpec
from tso3dask.io.segment import open_segment
from tso3dask.io.wcs import wcs_key


@pytest.fixture
def file(spectra, tmp_path):
    return shutil.copy(spectra.members[0], tmp_path / "one_calints.fits")


def test_headers_without_pixels(spectra, monkeypatch):
    monkeypatch.setattr(ArraySpec, "read", lambda *a, **k: pytest.fail("pixels were read"))
    segment = open_segment(spectra.members[1])
    assert (segment.nints, segment.ny, segment.nx) == (20, 26, 20)
    assert (segment.int_start, segment.int_end) == (35, 54)
    assert segment.exp_type == "MIR_LRS-SLITLESS"
    assert segment.cubes == ("sci", "err", "dq", "var_poisson", "var_rnoise", "var_flat")
    assert segment.bytes_per_integration == 6 * 4 * 26 * 20
    np.testing.assert_array_equal(segment.int_times["integration_number"], np.arange(35, 55))
    assert segment.int_times.dtype["int_mid_MJD_UTC"].isnative
    assert segment.get("NO_SUCH", 3) == 3
    assert segment.text("bunit") == str(segment.get("BUNIT")).upper()


def test_every_array_is_where_it_says(spectra):
    segment = open_segment(spectra.members[0])
    with fits.open(spectra.members[0]) as opened:
        for name, spec in segment.arrays.items():
            np.testing.assert_array_equal(spec.read(), opened[name.upper()].data, err_msg=name)


def test_identity_follows_the_file(file):
    before = open_segment(file).identity
    assert open_segment(file).identity == before
    fits.setval(file, "OBSERVER", value="someone else")
    assert open_segment(file).identity != before


def test_segments_of_one_exposure_share_a_wcs(spectra):
    one, two = (open_segment(m) for m in spectra.members[:2])
    assert one.asdf_bytes() != two.asdf_bytes()
    assert wcs_key(one.asdf_bytes()) == wcs_key(two.asdf_bytes())
    assert one.wcs() is two.wcs()
    ra, dec, wavelength = one.wcs()(10.0, 12.0)
    assert np.isfinite([ra, dec]).all()
    assert 3 < wavelength < 15


def test_a_wcs_that_differs_has_another_key(spectra, images):
    one, two = open_segment(spectra.members[0]), open_segment(images.members[0])
    assert wcs_key(one.asdf_bytes()) != wcs_key(two.asdf_bytes())


def rewrite(path, change):
    with fits.open(path) as opened:
        hdus = fits.HDUList([hdu.copy() for hdu in opened])
    change(hdus)
    hdus.writeto(path, overwrite=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h: h.pop("ERR"), "has no ERR"),
        (lambda h: h.pop("SCI"), "has no SCI"),
        (lambda h: setattr(h["DQ"], "data", h["DQ"].data[:5]), "DQ is 5x26x20, SCI is 34x26x20"),
        (lambda h: setattr(h["SCI"], "data", h["SCI"].data[0]), "SCI is 2-D"),
        (lambda h: setattr(h["WAVELENGTH"], "data", h["WAVELENGTH"].data[:4]), "WAVELENGTH is 4x"),
        (lambda h: setattr(h["SCI"], "data", np.zeros(h["SCI"].data.shape, "i4")), "BITPIX 32"),
        (lambda h: setattr(h["DQ"], "data", h["DQ"].data.astype("f4")), "BITPIX -32"),
    ],
)
def test_files_that_do_not_fit(file, change, message):
    rewrite(file, change)
    with pytest.raises(InputError, match=message) as error:
        open_segment(file)
    assert "one_calints.fits" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "not a FITS"), (b"hello", "not a FITS"), (b"\x1f\x8b\x08" + bytes(99), "gzip")],
)
def test_no_fits(tmp_path, content, message):
    path = tmp_path / "x_calints.fits"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        open_segment(path)


@pytest.mark.parametrize("part", [0.999, 0.6, 0.1])
def test_cut_short(file, part):
    data = Path(file).read_bytes()
    end = open_segment(file).hdus[-1].data_offset + 10
    Path(file).write_bytes(data[: min(end, int(len(data) * part))])
    with pytest.raises(InputError, match=r"truncated|cannot be read|has no"):
        open_segment(file)


def test_missing_and_folder(tmp_path):
    with pytest.raises(InputError, match="cannot be opened"):
        open_segment(tmp_path / "none.fits")
    with pytest.raises(InputError, match="is a folder"):
        open_segment(tmp_path)


def test_keywords_that_headers_have_lost_are_in_the_tree(file):
    whole = open_segment(file)
    expected = {k: whole.get(k) for k in ("SRCTYPE", "PIXAR_SR", "DISPAXIS", "INTSTART")}
    with fits.open(file, mode="update") as opened:
        for hdu in opened:
            for keyword in expected:
                hdu.header.remove(keyword, ignore_missing=True)
    found = open_segment(file)
    assert all(k not in h for h in found.headers for k in expected)
    area = expected.pop("PIXAR_SR")
    assert found.get("PIXAR_SR") == pytest.approx(area, rel=1e-12)  # a card has fewer digits
    assert {k: found.get(k) for k in expected} == expected
    assert found.int_start == whole.int_start
