"""Photometry beyond jwst's: further radii, clipped annuli, smoothed centroids."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.stats import sigma_clip
from photutils.aperture import ApertureStats, CircularAnnulus, CircularAperture, aperture_photometry

from tso3dask.ops.aperture import aperture_sums, aperture_weights
from tso3dask.ops.centroid import running_median
from tso3dask.ops.photometry import photometry_columns

RADII = (3.0, 6.0, 9.0)


def images(seed=0, count=4, hits=12):
    rng = np.random.default_rng(seed)
    sci = rng.normal(10, 1, (count, 30, 34)).astype(np.float32)
    sci[:, rng.integers(0, 30, hits), rng.integers(0, 34, hits)] += 300
    err = rng.uniform(0.5, 1.5, sci.shape).astype(np.float32)
    return sci, err


@pytest.mark.parametrize("moving", [False, True])
def test_further_radii_are_those_of_photutils(moving):
    sci, err = images()
    x = 15.3 + 0.2 * np.arange(4) if moving else 15.3
    found = aperture_sums(sci, err, x, 14.1, *RADII, more_radii=(1.5, 2.25, 20.0))
    for i in range(4):
        place = (float(np.broadcast_to(x, 4)[i]), 14.1)
        for radius, end in ((1.5, "_r1.5"), (2.25, "_r2.25"), (20.0, "_r20")):
            table = aperture_photometry(sci[i].astype(float), CircularAperture(place, radius))
            assert found[f"aperture_sum{end}"][i] == pytest.approx(table["aperture_sum"][0])
    plain = aperture_sums(sci, err, x, 14.1, *RADII)
    for name, values in plain.items():
        np.testing.assert_array_equal(found[name], values)


def test_a_clipped_annulus_is_that_of_photutils():
    """Pixels that touch the annulus are clipped as astropy does it, and the rest is summed."""
    sci, err = images(3)
    sci[:, 14, 23:25] += 300
    sci[1, 5, 15] = np.nan
    found = aperture_sums(sci, err, 16.2, 14.7, *RADII, bkg_clip=4.0)
    weights = aperture_weights(sci.shape[1:], 16.2, 14.7, 9.0, 6.0)
    for i, image in enumerate(sci):
        touched = image.ravel()[weights.index].astype(float)
        kept = np.ma.masked_invalid(touched)
        for _ in range(20):
            kept = sigma_clip(kept, sigma=4.0, maxiters=1, stdfunc="mad_std")
        mask = np.zeros(image.size, bool)
        mask[weights.index[kept.mask]] = True
        assert 1 <= kept.mask.sum() <= 20
        stats = ApertureStats(
            image.astype(float),
            CircularAnnulus((16.2, 14.7), 6.0, 9.0),
            error=err[i].astype(float),
            mask=mask.reshape(image.shape),
        )
        assert found["annulus_sum"][i] == pytest.approx(stats.sum)
        assert found["annulus_area"][i] == pytest.approx(stats.sum_aper_area.value)
    mean = found["annulus_sum"] / found["annulus_area"]
    assert np.abs(mean - 10).max() < 0.3
    plain = aperture_sums(sci, err, 16.2, 14.7, *RADII)
    assert (plain["annulus_sum"] / plain["annulus_area"]).min() > 11
    np.testing.assert_array_equal(found["aperture_sum"], plain["aperture_sum"])


def test_columns_of_further_radii():
    sci, err = images(5)
    sums = aperture_sums(sci, err, 15.0, 15.0, *RADII, more_radii=(2.5,))
    one = np.ones(4)
    columns = photometry_columns(
        sums, unit="Jy", mjd=one, bjd_tdb=one, x=one, y=one, ra=one, dec=one
    )
    assert [name for name in columns if "_r2.5" in name] == [
        "aperture_sum_r2.5",
        "aperture_sum_err_r2.5",
        "aperture_bkg_r2.5",
        "net_aperture_sum_r2.5",
        "net_aperture_sum_err_r2.5",
    ]
    same = aperture_sums(sci, err, 15.0, 15.0, 2.5, *RADII[1:])
    alone = photometry_columns(same, unit="Jy", mjd=one, bjd_tdb=one, x=one, y=one, ra=one, dec=one)
    for name in ("aperture_sum", "aperture_bkg", "net_aperture_sum", "net_aperture_sum_err"):
        np.testing.assert_array_equal(columns[f"{name}_r2.5"].values, alone[name].values)
        assert columns[f"{name}_r2.5"].unit == "Jy"


def test_running_medians():
    rng = np.random.default_rng(1)
    values = rng.normal(size=40)
    values[[3, 20, 21, 22, 23, 24, 25]] = np.nan
    found = running_median(values, 5)
    for i in range(40):
        some = values[max(0, i - 2) : i + 3]
        expected = np.nanmedian(some) if np.isfinite(some).any() else np.nanmedian(values)
        assert found[i] == expected
    np.testing.assert_array_equal(running_median(values, 4), found)
    np.testing.assert_array_equal(running_median(values[:3], 51), np.nanmedian(values[:3]))
    assert np.isnan(running_median(np.full(3, np.nan), 3)).all()
