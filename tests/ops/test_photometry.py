"""Units, position and table columns of imaging photometry."""

from __future__ import annotations

import numpy as np
import pytest

from tso3dask.errors import InputError
from tso3dask.ops import photometry
from tso3dask.ops.aperture import aperture_sums, whole_array_sums

WITH_ANNULUS = [
    "MJD",
    "BJD_TDB",
    "aperture_sum",
    "aperture_sum_err",
    "annulus_sum",
    "annulus_sum_err",
    "annulus_mean",
    "annulus_mean_err",
    "aperture_bkg",
    "aperture_bkg_err",
    "net_aperture_sum",
    "net_aperture_sum_err",
    "aperture_x",
    "aperture_y",
    "aperture_ra_icrs",
    "aperture_dec_icrs",
]


def sums(whole=False, nints=3):
    rng = np.random.default_rng(0)
    sci = rng.normal(5, 1, (nints, 16, 16)).astype(np.float32)
    err = np.ones_like(sci)
    return whole_array_sums(sci, err) if whole else aperture_sums(sci, err, 8, 8, 3.0, 4.0, 5.0)


def table(centroids=None, **kwargs):
    return photometry.photometry_columns(
        sums(**kwargs),
        unit="Jy",
        mjd=np.arange(3.0),
        bjd_tdb=np.arange(3.0) + 0.1,
        x=8.0,
        y=8.5,
        ra=10.0,
        dec=-5.0,
        centroids=centroids,
    )


def test_surface_brightness_becomes_jansky_in_float32():
    units = photometry.to_flux_units("MJy/sr", pixel_area_sr=2.1e-14)
    assert units == (np.float32(1e6 * 2.1e-14), "Jy", True)
    assert isinstance(units.factor, np.float32)


def test_count_rate_becomes_electrons_pixel_by_pixel():
    gain = np.array([[1.8, np.nan]], np.float32)
    units = photometry.to_flux_units("DN/s", effinttm=10.7, gain=gain)
    assert units.unit == "electron" and units.expected
    assert units.factor.dtype == np.float32
    np.testing.assert_array_equal(units.factor, np.float32(10.7) * gain)


def test_other_units_stay():
    assert photometry.to_flux_units("mJy") == (None, "mJy", False)


@pytest.mark.parametrize(
    ("arguments", "missing"),
    [
        ({"bunit": "MJy/sr"}, "PIXAR_SR"),
        ({"bunit": "DN/s", "gain": np.ones((1, 1))}, "EFFINTTM"),
        ({"bunit": "DN/s", "effinttm": 1.0}, "gain"),
    ],
)
def test_what_the_unit_needs_must_be_there(arguments, missing):
    with pytest.raises(InputError, match=missing):
        photometry.to_flux_units(**arguments)


def test_only_one_pupil_and_subarray_uses_the_whole_array():
    assert photometry.uses_whole_array("WLP8", "SUB64P")
    assert not photometry.uses_whole_array("WLP8", "SUB160P")
    assert not photometry.uses_whole_array("CLEAR", "SUB64P")
    assert not photometry.uses_whole_array(None, None)


def test_aperture_lies_at_the_median_the_centroids_or_the_plan():
    x, y = np.array([1.0, np.nan, 3.0]), np.array([4.0, np.nan, 8.0])
    nothing = np.full(3, np.nan)
    assert photometry.aperture_center(x, y, 9.0, 9.5) == (2.0, 6.0)
    assert photometry.aperture_center(None, None, 9.0, 9.5) == (9.0, 9.5)
    assert photometry.aperture_center(nothing, nothing, 9.0, 9.5, moving=True) == (9.0, 9.5)
    moving = photometry.aperture_center(x, y, 9.0, 9.5, moving=True)
    assert moving[0] is x and moving[1] is y


def test_columns_and_units():
    columns = table()
    assert list(columns) == WITH_ANNULUS
    assert {n for n, c in columns.items() if c.unit == "Jy"} == set(WITH_ANNULUS[2:12])
    assert columns["MJD"].unit is columns["BJD_TDB"].unit is None
    assert columns["aperture_x"].unit == columns["aperture_y"].unit == "pix"
    assert columns["aperture_ra_icrs"].unit == columns["aperture_dec_icrs"].unit == "deg"
    assert {c.values.dtype for c in columns.values()} == {np.dtype(np.float64)}
    assert {c.values.shape for c in columns.values()} == {(3,)}
    assert columns["aperture_y"].values.tolist() == [8.5] * 3


def test_background_arithmetic():
    columns = {name: column.values for name, column in table().items()}
    mean = columns["annulus_mean"]
    area = sums()["annulus_area"]
    np.testing.assert_array_equal(mean, columns["annulus_sum"] / area)
    background = mean * sums()["aperture_area"]
    np.testing.assert_array_equal(columns["aperture_bkg"], background)
    np.testing.assert_array_equal(columns["net_aperture_sum"], columns["aperture_sum"] - background)
    np.testing.assert_allclose(columns["net_aperture_sum"], 0, atol=20)
    np.testing.assert_array_equal(
        columns["net_aperture_sum_err"],
        np.sqrt(columns["aperture_sum_err"] ** 2 + columns["aperture_bkg_err"] ** 2),
    )


def test_whole_array_has_no_background():
    columns = table(whole=True)
    assert list(columns) == WITH_ANNULUS
    for name in WITH_ANNULUS[4:10]:
        assert columns[name].unit is None
        assert columns[name].values.dtype == np.float64
        assert np.isnan(columns[name].values).all()
    for name in ("aperture_sum", "aperture_sum_err", "net_aperture_sum", "net_aperture_sum_err"):
        assert columns[name].unit == "Jy"
        assert columns[name].values.dtype == np.float32
    np.testing.assert_array_equal(
        columns["net_aperture_sum"].values, columns["aperture_sum"].values
    )


def test_centroid_and_psf_columns_only_when_there_were_such():
    position = {"centroid_x": np.arange(3.0), "centroid_y": np.arange(3.0)}
    psf = {name: np.ones(3) for name in ("psf_width_x", "psf_width_y", "psf_flux")}
    assert list(table(position))[16:] == ["centroid_x", "centroid_y"]
    columns = table(position | psf)
    assert list(columns)[16:] == [*position, *psf]
    assert [columns[n].unit for n in psf] == ["pix", "pix", "Jy"]


def meta(**changes):
    values = {
        "instrument": "NIRCAM",
        "detector": "NRCB1",
        "channel": "SHORT",
        "subarray": "SUB64P",
        "filter": "F210M",
        "pupil": "CLEAR",
        "target_name": "somewhere",
        "radius": 3,
        "radius_inner": 4.5,
        "radius_outer": 12.0,
    }
    return photometry.table_meta(**(values | changes))


def test_meta_of_the_table():
    found = meta(number_of_integrations=7)
    assert list(found) == [
        "instrument",
        "detector",
        "channel",
        "subarray",
        "filter",
        "pupil",
        "target_name",
        "apertures",
        "number_of_integrations",
    ]
    assert "r=3 pixels" in found["apertures"]
    assert "r_inner=4.5 pixels and r_outer=12.0 pixels" in found["apertures"]
    assert "number_of_integrations" not in meta()


def test_meta_of_the_whole_array():
    assert "sum of all values" in meta(pupil="WLP8")["apertures"]
