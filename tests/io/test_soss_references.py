"""References of SOSS: what a simulation wrote, and what is wrong with others."""

from __future__ import annotations

import asdf
import numpy as np
import pytest
from astropy.io import fits

from tso3dask.errors import InputError
from tso3dask.io.soss_references import (
    read_pastasoss,
    read_photom,
    read_speckernel,
    read_specprofile,
)


@pytest.fixture
def references(made):
    return made(
        "nis_soss", nints=1, segments=1, subarray="SUBSTRIP256", shape=(256, 512), background=0.0
    ).references


def test_pastasoss_is_read_whole(references):
    read = read_pastasoss(str(references["pastasoss"]))
    assert [item.order for item in read.orders] == [1, 2, 3]
    assert read.orders[0].short_cutoff is None and read.orders[1].short_cutoff == 0.58
    assert read.orders[0].x.shape == (512,) and read.orders[0].cutoff == 512
    assert read.columns == 512 and read.rows == 300 and read.first_row == 256
    assert read.wavelength_grid == (0.5, 5.5, 5001)
    assert read.order2_separation_cutoff == (0.77, 0.95)
    assert read.pwcpos_bounds == pytest.approx((245.51, 246.01))
    assert set(read.throughputs) == {1, 2, 3}
    assert read.throughputs[1].throughput.max() == pytest.approx(0.55, abs=0.03)


def test_profiles_kernels_and_photometry_are_read(references):
    profiles = read_specprofile(str(references["specprofile"])).profiles
    assert set(profiles) == {1, 2, 3} and profiles[1].shape == (296, 552)
    kernels = read_speckernel(str(references["speckernel"]))
    assert kernels.pixels == 21 and kernels.kernels.shape == kernels.wavelengths.shape
    photom = read_photom(str(references["photom"]))
    assert list(photom.table["order"]) == [1, 2, 3] and photom.time_coefficients == {}
    assert photom.table["wavelength"].dtype == np.float32


def change(source, target, edit):
    with asdf.open(source, lazy_load=False, memmap=False) as file:
        tree = {key: value for key, value in file.tree.items() if key not in ("asdf_library",)}
        edit(tree)
        asdf.AsdfFile(tree).write_to(target)
    return str(target)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda tree: tree.pop("traces"), "without traces"),
        (lambda tree: tree["meta"].pop("pwcpos_bounds"), "without pwcpos_bounds"),
        (lambda tree: tree["meta"].pop("soss_xdim"), "without soss_xdim"),
        (lambda tree: tree["wavecal_models"].pop(1), "without wavecal_models of order 2"),
        (lambda tree: tree["traces"][0].update(oversampling=2), "order 1 is oversampled by 2"),
        (
            lambda tree: tree["traces"][0].update(trace=np.full((5, 2), np.nan)),
            "without finite numbers in trace",
        ),
        (
            lambda tree: tree["wavecal_models"][0].update(scale_extents=np.zeros((1, 2))),
            "pairs of numbers",
        ),
    ],
)
def test_incomplete_pastasoss_is_refused(references, tmp_path, edit, words):
    path = change(references["pastasoss"], tmp_path / "bad.asdf", edit)
    with pytest.raises(InputError, match=words) as caught:
        read_pastasoss(path)
    assert "bad.asdf: pastasoss reference" in str(caught.value)


def test_a_separation_that_is_not_given_has_a_default(references, tmp_path):
    path = change(
        references["pastasoss"],
        tmp_path / "old.asdf",
        lambda tree: tree["meta"].pop("order2_separation_cutoff"),
    )
    assert read_pastasoss(path).order2_separation_cutoff == (0.77, 0.95)


def test_other_files_are_refused(references, tmp_path):
    text = tmp_path / "text.fits"
    text.write_text("no reference")
    for read in (read_pastasoss, read_specprofile, read_speckernel, read_photom):
        with pytest.raises(InputError, match=r"text.fits: not readable as"):
            read(str(text))
        with pytest.raises(InputError, match="not readable as"):
            read(str(tmp_path / "absent.fits"))
    other = str(references["gain"])
    with pytest.raises(InputError, match="specprofile reference: without an ORDER"):
        read_specprofile(other)
    with pytest.raises(InputError, match="WAVELENGTHS"):
        read_speckernel(other)
    with pytest.raises(InputError, match="PHOTOM"):
        read_photom(other)


def test_oversampled_profiles_are_refused(references, tmp_path):
    path = tmp_path / "fine.fits"
    with fits.open(references["specprofile"]) as hdus:
        hdus[2].header["OVERSAMP"] = 3
        hdus.writeto(path)
    with pytest.raises(InputError, match="order 2 is oversampled by 3; expected 1"):
        read_specprofile(str(path))


def test_time_dependence_needs_a_row_for_each_order(references, tmp_path):
    path = tmp_path / "times.fits"
    rows = np.zeros(3, [("t0", "f4"), ("lossperyear", "f4")])
    with fits.open(references["photom"]) as hdus:
        hdus.append(fits.BinTableHDU(rows, name="TIMECOEFF_LINEAR"))
        hdus.writeto(path)
        assert set(read_photom(str(path)).time_coefficients) == {"linear"}
        hdus[-1] = fits.BinTableHDU(rows[:2], name="TIMECOEFF_LINEAR")
        hdus.writeto(path, overwrite=True)
    with pytest.raises(InputError, match="one row of TIMECOEFF_LINEAR per row of PHOTOM"):
        read_photom(str(path))
