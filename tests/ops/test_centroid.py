"""Background and centre of mass against numpy, analytic cases, every failure."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tso3dask.ops import centroid


def plain_background(sci, x, y, radius):
    """Median outside the source, by numpy."""
    outside = centroid.outside_source(sci.shape[1:], x, y, radius)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.array([np.nanmedian(image[outside]) for image in sci], np.float32)


def plain_centroids(sci, dq, x, y, width, radius):
    """Centre of mass in a box, by numpy, one integration at a time."""
    nints, ny, nx = sci.shape
    out = np.full((2, nints), np.nan)
    if not (0 <= x <= nx - 1 and 0 <= y <= ny - 1) or width <= 0:
        return out[0], out[1]
    y0, x0 = math.ceil(y - width / 2), math.ceil(x - width / 2)
    rows = slice(max(0, y0), min(ny, y0 + width))
    columns = slice(max(0, x0), min(nx, x0 + width))
    background = plain_background(sci, x, y, radius)
    for i in range(nints):
        with np.errstate(invalid="ignore"):
            image = (sci[i] - background[i])[rows, columns].astype(np.float64)
        bad = ((dq[i][rows, columns] & 1) != 0) | ~np.isfinite(image)
        image[bad] = 0.0
        total = image.sum()
        if abs(total) < 1e-30:
            continue
        cx = np.sum(np.arange(image.shape[1]) * image) / total + columns.start
        cy = np.sum(np.arange(image.shape[0])[:, np.newaxis] * image) / total + rows.start
        if 0 <= cx < nx and 0 <= cy < ny:
            out[:, i] = cx, cy
    return out[0], out[1]


def star(nints=3, shape=(24, 27), x=13.3, y=11.6, sigma=1.4, flux=500.0, noise=1.0, seed=0):
    """Images of one source on a flat background with noise."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    image = np.exp(-0.5 * ((columns - x) ** 2 + (rows - y) ** 2) / sigma**2)
    image *= flux / (2 * np.pi * sigma**2)
    return (image + 7.0 + rng.normal(0, noise, (nints, *shape))).astype(np.float32)


def no_flags(sci):
    return np.zeros(sci.shape, np.uint32)


# --- masks and boxes ---------------------------------------------------------------------


def test_invalid_pixels_are_nan_or_do_not_use():
    sci = np.array([[[1.0, np.nan, 3.0, np.inf]]], np.float32)
    dq = np.array([[[0, 0, 1, 6]]], np.uint32)
    assert centroid.invalid_pixels(sci, dq).tolist() == [[[False, True, True, False]]]


@pytest.mark.parametrize(
    ("width", "odd"), [(41, (41, False)), (40, (39, True)), (0, (-1, True)), (1, (1, False))]
)
def test_even_box_widths_are_rounded_down(width, odd):
    assert centroid.odd_box_width(width) == odd


def test_outside_source_is_everything_at_the_radius_or_farther():
    outside = centroid.outside_source((5, 7), 3.0, 2.0, 2.0)
    assert not outside[2, 2:5].any()
    assert outside[2, [1, 5]].all()
    assert outside[[0, 4], 3].all()


def test_runs_of_a_mask():
    mask = np.array([[True, True, False], [False, True, True], [True, False, True]])
    assert centroid.mask_runs(mask).tolist() == [[0, 2], [4, 7], [8, 9]]
    assert centroid.mask_runs(np.zeros((2, 2), bool)).shape == (0, 2)


# --- background ----------------------------------------------------------------------------


@st.composite
def images(draw):
    """Images of many sizes and kinds of values: noise, ties, extremes, NaN, infinities."""
    seed = draw(st.integers(0, 2**32 - 1))
    shape = draw(st.tuples(st.integers(1, 2), st.integers(1, 60), st.integers(1, 60)))
    kind = draw(st.sampled_from(["noise", "ties", "tiny", "huge", "skew", "equal", "sorted"]))
    rng = np.random.default_rng(seed)
    values = rng.normal(size=shape)
    if kind == "ties":
        values = np.round(2 * values)
    elif kind == "tiny":
        values *= 1e-41
    elif kind == "huge":
        values *= 3e37
    elif kind == "skew":
        values = np.exp(20 * values)
    elif kind == "equal":
        values[:] = -2.5
    elif kind == "sorted":
        values = np.sort(values.reshape(shape[0], -1), axis=1).reshape(shape)
    values = values.astype(np.float32)
    for extreme in (np.inf, -np.inf, np.nan):
        fraction = draw(st.sampled_from([0.0, 0.0, 0.01, 0.4, 0.9]))
        values[rng.random(shape) < fraction] = extreme
    return values


@settings(max_examples=150, deadline=None)
@given(images(), st.floats(-3, 62), st.floats(-3, 62), st.sampled_from([0.0, 1.0, 4.0, 9.5, 99.0]))
def test_background_is_the_nanmedian_to_the_bit(sci, x, y, radius):
    got = centroid.background_median(sci, x, y, radius)
    with np.errstate(over="ignore", invalid="ignore"):
        expected = plain_background(sci, x, y, radius)
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, expected)


def test_background_mean_of_the_middle_values_is_float32():
    low = np.float32(1.0)
    high = np.nextafter(low, np.float32(2.0))
    sci = np.array([[[low, high]]], np.float32)
    assert centroid.background_median(sci, 50.0, 50.0, 1.0)[0] == np.median(sci)


def test_background_ignores_flags_but_centroid_does_not():
    sci = star()
    dq = no_flags(sci)
    dq[:, 0] = 1
    x, y = centroid.centroids(sci, dq, 13, 11, 11, 4.0)
    np.testing.assert_array_equal((x, y), centroid.centroids(sci, no_flags(sci), 13, 11, 11, 4.0))


# --- centroid ---------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(
    images(),
    st.floats(-3, 62),
    st.floats(-3, 62),
    st.sampled_from([-1, 1, 3, 11, 41]),
    st.sampled_from([0.0, 4.0, 99.0]),
    st.integers(0, 2**32 - 1),
)
def test_centroid_is_that_of_numpy_to_the_bit(sci, x, y, width, radius, seed):
    rng = np.random.default_rng(seed)
    dq = rng.integers(0, 4, sci.shape).astype(np.uint32)
    with np.errstate(over="ignore", invalid="ignore"):
        expected = plain_centroids(sci, dq, x, y, width, radius)
        got = centroid.centroids(sci, dq, x, y, width, radius)
    np.testing.assert_array_equal(got, expected)


def test_single_pixel_is_its_own_centroid():
    sci = np.zeros((1, 15, 20), np.float32)
    sci[0, 6, 9] = 3.0
    x, y = centroid.centroids(sci, no_flags(sci), 8, 7, 11, 4.0)
    assert (x[0], y[0]) == (9.0, 6.0)


def test_two_pixels_balance():
    sci = np.zeros((1, 15, 20), np.float32)
    sci[0, 6, 8] = 1.0
    sci[0, 6, 10] = 3.0
    x, y = centroid.centroids(sci, no_flags(sci), 8, 7, 11, 4.0)
    assert (x[0], y[0]) == (9.5, 6.0)


def test_centroid_of_a_source_in_a_wide_enough_box():
    sci = star(noise=0.0)
    x, y = centroid.centroids(sci, no_flags(sci), 13, 12, 21, 8.0)
    np.testing.assert_allclose(x, 13.3, atol=1e-3)
    np.testing.assert_allclose(y, 11.6, atol=1e-3)


@pytest.mark.parametrize(
    ("x", "y", "width"),
    [(-0.01, 5, 11), (26.01, 5, 11), (5, -1, 11), (5, 23.5, 11), (np.nan, 5, 11), (5, 5, -1)],
)
def test_no_centroid_from_outside(x, y, width):
    sci = star()
    assert np.isnan(centroid.centroids(sci, no_flags(sci), x, y, width, 4.0)).all()


def test_no_centroid_without_valid_pixels():
    sci = star()
    dq = no_flags(sci)
    dq[1, 6:18, 7:20] = 1
    sci[2] = np.nan
    x, y = centroid.centroids(sci, dq, 13, 12, 11, 4.0)
    assert np.isnan(x).tolist() == np.isnan(y).tolist() == [False, True, True]


def test_no_centroid_when_the_box_sums_to_nothing():
    sci = np.full((1, 15, 15), 4.0, np.float32)
    assert np.isnan(centroid.centroids(sci, no_flags(sci), 7, 7, 11, 4.0)).all()


def test_no_centroid_when_the_source_covers_the_array():
    sci = star()
    assert np.isnan(centroid.centroids(sci, no_flags(sci), 13, 12, 11, 99.0)).all()


def test_centroid_that_lands_outside_the_array_is_none():
    sci = np.zeros((1, 15, 15), np.float32)
    sci[0, 7, 2] = -0.9
    sci[0, 7, 12] = 1.0
    x, y = centroid.centroids(sci, no_flags(sci), 7, 7, 15, 1.0)
    assert np.isnan(x[0]) and np.isnan(y[0])


def test_integrations_do_not_depend_on_each_other():
    sci = star(nints=7)
    sci[3] = np.nan
    sci[5, 2:9, 3:14] = np.inf
    dq = no_flags(sci)
    whole = centroid.centroids(sci, dq, 13, 12, 11, 4.0)
    parts = [centroid.centroids(sci[i : i + 1], dq[i : i + 1], 13, 12, 11, 4.0) for i in range(7)]
    np.testing.assert_array_equal(whole, np.concatenate(parts, axis=1))


def test_inputs_stay_as_they_are():
    sci = star()
    before = sci.copy()
    centroid.centroids(sci, no_flags(sci), 13, 12, 11, 4.0)
    np.testing.assert_array_equal(sci, before)


# --- one position for a segment ------------------------------------------------------------


def test_median_position_leaves_nan_out():
    x = np.array([1.0, np.nan, 2.0, 4.0])
    y = np.array([3.0, np.nan, 5.0, 4.0])
    assert centroid.nanmedian_center(x, y) == (2.0, 4.0)


def test_median_position_of_nothing_is_nan_and_silent():
    nothing = np.full(3, np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(centroid.nanmedian_center(nothing, np.ones(3))).all()
        assert np.isnan(centroid.nanmedian_center(nothing[:0], nothing[:0])).all()
