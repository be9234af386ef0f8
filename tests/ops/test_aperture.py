"""Circle and annulus sums against geometry, photutils and numpy."""

from __future__ import annotations

import math
import warnings
from importlib import metadata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tso3dask.errors import InputError
from tso3dask.ops.aperture import aperture_sums, aperture_weights, whole_array_sums

RADII = (3.0, 4.0, 5.0)


def noise(nints=3, shape=(21, 24), seed=0):
    rng = np.random.default_rng(seed)
    sci = rng.normal(3.0, 1.0, (nints, *shape)).astype(np.float32)
    err = rng.uniform(0.1, 2.0, (nints, *shape)).astype(np.float32)
    return sci, err


def weight_image(shape, weights):
    image = np.zeros(shape)
    image.ravel()[weights.index] = weights.weight
    return image


@pytest.mark.parametrize("radius", [0.3, 1.0, 2.5, 3.0, 7.7, 12.0])
@pytest.mark.parametrize("center", [(15.0, 16.0), (15.5, 14.5), (14.83, 16.21)])
def test_area_of_a_circle_and_of_an_annulus(radius, center):
    ones = np.ones((1, 31, 31), np.float32)
    got = aperture_sums(ones, ones, *center, radius, radius / 2, radius)
    assert got["aperture_sum"][0] == pytest.approx(math.pi * radius**2, rel=1e-12)
    assert got["annulus_sum"][0] == pytest.approx(0.75 * math.pi * radius**2, rel=1e-12)
    assert got["aperture_sum_err"][0] == pytest.approx(math.sqrt(math.pi) * radius, rel=1e-12)


def test_half_circle_at_the_edge():
    ones = np.ones((1, 31, 31), np.float32)
    got = aperture_sums(ones, ones, -0.5, 15.0, 3.0, 4.0, 5.0)
    assert got["aperture_sum"][0] == pytest.approx(math.pi * 4.5, rel=1e-12)
    assert got["annulus_area"][0] == pytest.approx(math.pi * 4.5, rel=1e-12)


@settings(max_examples=100, deadline=None)
@given(
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.floats(-8, 48),
    st.floats(-8, 48),
    st.floats(0.05, 30),
    st.sampled_from([0.0, 0.2, 0.8, 0.99]),
    st.sampled_from([1, 2, 1000]),
)
def test_weights_are_those_of_photutils(shape, x, y, outer, part, steps):
    photutils = pytest.importorskip("photutils.aperture")
    x, y = round(x * steps) / steps, round(y * steps) / steps
    inner = outer * part
    aperture = photutils.CircularAperture((x, y), r=outer)
    if inner > 0:
        aperture = photutils.CircularAnnulus((x, y), r_in=inner, r_out=outer)
    weights = aperture_weights(shape, x, y, outer, inner)
    exact = aperture.to_mask(method="exact").to_image(shape)
    if exact is None:
        assert weights.index.size == 0
        return
    center = aperture.to_mask(method="center").to_image(shape)
    np.testing.assert_allclose(weight_image(shape, weights), exact, atol=1e-12)
    assert weights.index[weights.centered].tolist() == np.flatnonzero(center).tolist()


def later_photutils():
    """Tell of 3.1 or later: variances by squared weights, areas that hold no pixel's centre."""
    return tuple(int(v) for v in metadata.version("photutils").split(".")[:2]) >= (3, 1)


@pytest.mark.parametrize(
    ("x", "y", "radii"),
    [
        (11.3, 9.8, RADII),
        (0.2, 20.4, RADII),
        (-4.0, 3.0, (3.0, 4.0, 9.0)),
        (-40.0, 3.0, RADII),
        (11.5, 9.5, (0.3, 0.4, 0.5)),
        (11.0, 9.0, (0.3, 0.45, 6.0)),
    ],
)
def test_sums_are_those_of_photutils(x, y, radii):
    photutils = pytest.importorskip("photutils.aperture")
    sci, err = noise(4)
    sci[1, 8:12, 9:14] = np.nan
    sci[2] = np.nan
    sci[3, 9, 11] = np.inf
    err[0, 9, 11] = np.nan
    got = aperture_sums(sci, err, x, y, *radii)
    circle = photutils.CircularAperture((x, y), r=radii[0])
    ring = photutils.CircularAnnulus((x, y), r_in=radii[1], r_out=radii[2])
    for prefix, aperture in (("aperture", circle), ("annulus", ring)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            stats = [
                photutils.ApertureStats(s, aperture, error=e) for s, e in zip(sci, err, strict=True)
            ]
            rows = [(s.sum, s.sum_err, s.sum_aper_area.value) for s in stats]
        for name, expected in zip(("sum", "sum_err", "area"), np.array(rows).T, strict=True):
            if later_photutils() and name == "sum_err":
                continue
            if later_photutils() and name == "area":
                expected = np.where(np.isnan(got[f"{prefix}_area"]), np.nan, expected)
            np.testing.assert_allclose(got[f"{prefix}_{name}"], expected, rtol=1e-12)


def test_missing_pixels_shrink_the_area():
    ones = np.ones((1, 21, 21), np.float32)
    sci = ones.copy()
    sci[0, 10, 10] = np.nan
    got = aperture_sums(sci, ones, 10.0, 10.0, *RADII)
    assert got["aperture_area"][0] == pytest.approx(math.pi * 9 - 1)
    assert got["aperture_sum"][0] == got["aperture_area"][0]
    assert got["annulus_area"][0] == pytest.approx(math.pi * 9)


def test_lost_integration_is_nan_and_keeps_its_row():
    sci, err = noise(3)
    sci[1] = np.nan
    for values in aperture_sums(sci, err, 11.0, 9.0, *RADII).values():
        assert np.isnan(values).tolist() == [False, True, False]


def test_area_needs_a_pixel_centre_but_the_sum_does_not():
    ones = np.ones((1, 9, 9), np.float32)
    got = aperture_sums(ones, ones, 4.5, 4.5, 0.2, 0.3, 0.4)
    assert got["aperture_sum"][0] == pytest.approx(math.pi * 0.04)
    assert np.isnan(got["aperture_area"][0])


def test_error_is_squared_in_float32():
    sci = np.zeros((1, 9, 9), np.float32)
    err = np.full((1, 9, 9), 1e25, np.float32)
    assert np.isinf(aperture_sums(sci, err, 4.0, 4.0, 1.0, 2.0, 3.0)["aperture_sum_err"][0])


def test_moving_apertures_are_fixed_ones_row_by_row():
    sci, err = noise(5)
    x = np.array([11.0, 11.4, np.nan, 12.3, 0.1])
    y = np.array([9.0, 9.5, 9.0, np.nan, 20.0])
    moving = aperture_sums(sci, err, x, y, *RADII)
    for i in range(5):
        fixed = aperture_sums(sci[i : i + 1], err[i : i + 1], x[i], y[i], *RADII)
        for name, values in fixed.items():
            np.testing.assert_array_equal(values[0], moving[name][i])
    assert all(np.isnan(values[[2, 3]]).all() for values in moving.values())


def test_fixed_centre_that_is_nan_gives_nan():
    sci, err = noise()
    assert all(np.isnan(v).all() for v in aperture_sums(sci, err, np.nan, 3.0, *RADII).values())


def test_integrations_do_not_depend_on_each_other():
    sci, err = noise(6)
    sci[np.random.default_rng(1).random(sci.shape) < 0.1] = np.nan
    whole = aperture_sums(sci, err, 11.2, 9.7, *RADII)
    parts = [aperture_sums(sci[a:b], err[a:b], 11.2, 9.7, *RADII) for a, b in [(0, 1), (1, 6)]]
    for name, values in whole.items():
        np.testing.assert_array_equal(values, np.concatenate([p[name] for p in parts]))


@pytest.mark.parametrize("radii", [(0.0, 4.0, 5.0), (-1.0, 4.0, 5.0), (3.0, 5.0, 5.0), (3, 0, 5)])
def test_impossible_radii_are_refused(radii):
    sci, err = noise(1)
    with pytest.raises(InputError, match="radius"):
        aperture_sums(sci, err, 5.0, 5.0, *radii)


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (8, 16), (11, 13), (64, 64), (160, 171)])
def test_whole_array_sums_are_numpy_s_to_the_bit(shape):
    sci, err = noise(3, shape)
    sci[1, 0] = np.nan
    err[1, 0] = np.nan
    sci[2] = np.nan
    got = whole_array_sums(sci, err)
    assert {v.dtype for v in got.values()} == {np.dtype(np.float32)}
    before = np.lib.NumpyVersion(np.__version__) < "2.3.0"  # sums in another order
    sums = np.array([np.nansum(image) for image in sci])
    np.testing.assert_array_max_ulp(got["aperture_sum"], sums, maxulp=int(before))
    errors = np.array([np.sqrt(np.nansum(image**2)) for image in err])
    np.testing.assert_array_max_ulp(got["aperture_sum_err"], errors, maxulp=int(before))
    assert got["aperture_sum"][2] == 0.0
