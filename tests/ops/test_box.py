"""Box extraction: known answers, the numpy twin, and independence of blocks and windows."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tso3dask.errors import InputError, NotYetError
from tso3dask.ops import box
from tso3dask.ops.aperture1d import Aperture, define_aperture
from tso3dask.ops.background1d import column_median, smooth
from tso3dask.ops.box import RESULTS, box_plan, extract_box, needed_rows
from tso3dask.ops.extract_params import ExtractParams

NACROSS, NALONG = 24, 40
BACK = ((-0.5,), (3.5,), (17.5,), (22.5,))


def parameters(dispaxis, fit="none", order=0, smoothing=0, source=((7.2, 0.02), (13.9, 0.02))):
    size = {"xstop": NALONG - 1, "ystop": NACROSS - 1}
    if dispaxis == 2:
        size = {"xstop": NACROSS - 1, "ystop": NALONG - 1}
    return ExtractParams(
        dispaxis=dispaxis,
        spectral_order=1,
        xstart=0,
        ystart=0,
        **size,
        src_coeff=source,
        bkg_coeff=BACK if fit != "none" else None,
        subtract_background=fit != "none",
        bkg_fit=fit if fit != "none" else None,
        bkg_order=order,
        smoothing_length=smoothing,
    )


def shape_of(dispaxis):
    return (NACROSS, NALONG) if dispaxis == 1 else (NALONG, NACROSS)


def aperture_of(dispaxis, fit="none", order=0, smoothing=0, **more) -> Aperture:
    shape = shape_of(dispaxis)
    along = np.arange(NALONG, dtype=float)
    along[:2] = np.nan
    wavelength = np.broadcast_to(along if dispaxis == 1 else along[:, None], shape).copy()
    return define_aperture(parameters(dispaxis, fit, order, smoothing, **more), shape, wavelength)


def oriented(image, dispaxis):
    """An image given as (across, dispersion) the way the detector has it."""
    return np.ascontiguousarray(image if dispaxis == 1 else np.swapaxes(image, -1, -2))


def random_cubes(seed, count, dispaxis, bad=0.05):
    rng = np.random.default_rng(seed)
    full = (count, *shape_of(dispaxis))
    arrays = [rng.normal(4, 1, full).astype(np.float32)]
    arrays += [rng.uniform(0.1, 2, full).astype(np.float32) for _ in range(3)]
    for array in arrays:
        array[rng.random(full) < bad] = np.nan
        array[rng.random(full) < bad / 5] = np.inf
    return arrays


def twin(arrays, aperture):
    """The same in plain numpy."""
    plan = box_plan(aperture)
    result = np.zeros((len(RESULTS), len(arrays[0]), plan.dispersion))
    result[0] = np.nan
    cut = (slice(None), *plan.window)
    columns = slice(plan.first, plan.first + plan.profile.shape[1])
    box._sum_numpy([a[cut] for a in arrays], plan, result[:, :, columns])
    return dict(zip(RESULTS, result, strict=True))


def same(one, other, valid, rtol=1e-10):
    for name in RESULTS:
        a, b = one[name][:, valid], other[name][:, valid]
        np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("dispaxis", [1, 2])
def test_ones_give_the_width(dispaxis):
    aperture = aperture_of(dispaxis)
    ones = np.ones((2, *shape_of(dispaxis)), np.float32)
    found = extract_box(ones, ones, 2 * ones, None, aperture)
    width = aperture.profile.sum(axis=dispaxis - 1)
    squared = (aperture.profile**2).sum(axis=dispaxis - 1)
    valid = aperture.valid
    assert valid.sum() == NALONG - 2
    np.testing.assert_allclose(width[valid], 6.7, rtol=1e-12)  # 13.9 - 7.2
    for i in range(2):
        np.testing.assert_allclose(found["npixels"][i][valid], width[valid])
        np.testing.assert_allclose(found["flux"][i][valid], width[valid])
        np.testing.assert_allclose(found["f_var_rnoise"][i][valid], squared[valid])
        np.testing.assert_allclose(found["f_var_poisson"][i][valid], 2 * squared[valid])
    assert not found["f_var_flat"].any()
    assert not found["background"].any()
    assert np.isnan(found["flux"][:, ~valid]).all()


@pytest.mark.parametrize("smoothing", [0, 5])
@pytest.mark.parametrize(("fit", "order"), [("poly", 0), ("poly", 1), ("poly", 2), ("median", 0)])
@pytest.mark.parametrize("dispaxis", [1, 2])
def test_background_is_removed(dispaxis, fit, order, smoothing):
    aperture = aperture_of(dispaxis, fit, order, smoothing)
    y = np.linspace(-1, 1, NACROSS)[:, None]
    sky = sum((k + 2) * y**k for k in range(order + 1)) * np.ones(NALONG)
    star = np.zeros((NACROSS, NALONG))
    star[9:12] = 7.0
    image = oriented((sky + star)[None], dispaxis).astype(np.float32)
    ones = np.ones_like(image)
    found = extract_box(image, ones, ones, ones, aperture)
    valid = aperture.valid
    np.testing.assert_allclose(found["flux"][0][valid], 21.0, rtol=1e-5)
    profile = aperture.profile if dispaxis == 1 else aperture.profile.T
    np.testing.assert_allclose(
        found["background"][0][valid], (profile * sky).sum(axis=0)[valid], rtol=1e-5
    )
    assert (found["b_var_flat"][0][valid] > 0).all()
    np.testing.assert_allclose(
        found["f_var_flat"][0], found["b_var_flat"][0] + (profile**2).sum(axis=0), rtol=1e-12
    )


def test_mean_background_variance_is_that_of_a_mean():
    aperture = aperture_of(1, "poly")
    ones = np.ones((1, *shape_of(1)), np.float32)
    found = extract_box(ones, ones, None, None, aperture)
    pixels = (aperture.bkg_profile != 0).sum(axis=0)
    width = aperture.profile.sum(axis=0)
    np.testing.assert_allclose(found["b_var_rnoise"][0], width**2 / pixels, rtol=1e-12)
    median = extract_box(ones, ones, None, None, aperture_of(1, "median"))
    whole = (aperture_of(1, "median").bkg_profile != 0).sum(axis=0)
    np.testing.assert_allclose(median["b_var_rnoise"][0], 1.44 * width**2 / whole, rtol=1e-12)


@pytest.mark.parametrize("dispaxis", [1, 2])
def test_lost_pixels_lower_the_sum_and_lost_columns_are_nan(dispaxis):
    aperture = aperture_of(dispaxis, source=((6.5,), (12.5,)))
    image = np.ones((1, NACROSS, NALONG), np.float32)
    image[0, 8:10, 20] = np.nan
    image[0, 10, 21] = np.inf
    image[0, :, 22] = np.nan
    image = oriented(image, dispaxis)
    found = extract_box(image, np.ones_like(image), None, None, aperture)
    assert found["npixels"][0][19:23].tolist() == [6.0, 4.0, 5.0, 0.0]
    assert found["flux"][0][19:22].tolist() == [6.0, 4.0, 5.0]
    assert np.isnan(found["flux"][0][22])
    assert found["f_var_rnoise"][0][22] == 0.0


cases = st.tuples(
    st.integers(0, 2**31),
    st.sampled_from([1, 2]),
    st.sampled_from([("none", 0), ("poly", 0), ("poly", 1), ("poly", 2), ("median", 0)]),
    st.sampled_from([0, 3, 7]),
    st.sampled_from([0.0, 0.03, 0.4, 0.9, 1.0]),
)


@settings(max_examples=60, deadline=None)
@given(cases)
def test_compiled_equals_numpy(case):
    seed, dispaxis, (fit, order), smoothing, bad = case
    aperture = aperture_of(dispaxis, fit, order, smoothing)
    arrays = random_cubes(seed, 3, dispaxis, bad)
    found = extract_box(*arrays, aperture)
    # few pixels left far from the source make a line badly conditioned
    same(found, twin(arrays, aperture), aperture.valid, rtol=1e-10 if bad < 0.1 else 1e-6)


@pytest.mark.parametrize("dispaxis", [1, 2])
@pytest.mark.parametrize(("fit", "order"), [("none", 0), ("poly", 1), ("median", 0), ("poly", 2)])
def test_blocks_and_windows_do_not_matter(dispaxis, fit, order):
    aperture = aperture_of(dispaxis, fit, order, smoothing=3 if fit == "median" else 0)
    arrays = random_cubes(11, 7, dispaxis)
    whole = extract_box(*arrays, aperture)
    plan = pickle.loads(pickle.dumps(box_plan(aperture)))
    parts = [extract_box(*(a[i:j] for a in arrays), plan) for i, j in ((0, 1), (1, 5), (5, 7))]
    for name in RESULTS:
        joined = np.concatenate([part[name] for part in parts])
        np.testing.assert_array_equal(whole[name], joined)
    window = needed_rows(aperture)
    cut = [a[(slice(None), *window)] for a in arrays]
    narrow = extract_box(*cut, plan, window=window)
    for name in RESULTS:
        np.testing.assert_array_equal(whole[name], narrow[name])


def test_needed_rows_are_few():
    assert needed_rows(aperture_of(1)) == (slice(7, 16), slice(2, NALONG))
    assert needed_rows(aperture_of(2)) == (slice(2, NALONG), slice(7, 16))
    assert needed_rows(aperture_of(1, "poly")) == (slice(0, 23), slice(2, NALONG))
    assert needed_rows(aperture_of(1, "poly", smoothing=5)) == (slice(0, 23), slice(0, NALONG))


def test_slanted_apertures_wider_than_a_tile():
    shape = (30, 2 * box.TILE + 37)
    params = ExtractParams(
        1, 1, 5, shape[1] - 3, 0, 29, src_coeff=((5.0, 0.005), (11.0, 0.005)),
        bkg_coeff=((0.0, 0.001), (4.0, 0.001), (20.0,), (27.0,)), subtract_background=True,
        bkg_fit="poly", bkg_order=1,
    )  # fmt: skip
    wavelength = np.broadcast_to(np.linspace(1, 2, shape[1]), shape)
    aperture = define_aperture(params, shape, wavelength)
    rng = np.random.default_rng(4)
    arrays = [rng.uniform(1, 2, (2, *shape)).astype(np.float32) for _ in range(4)]
    arrays[0][rng.random((2, *shape)) < 0.02] = np.nan
    same(extract_box(*arrays, aperture), twin(arrays, aperture), aperture.valid)


def test_kernels_agree_on_tiles():
    from tso3dask.ops import _background_jit, _box_jit

    assert box.TILE == _box_jit.TILE == _background_jit.TILE
    assert box.TILE % _background_jit.MEDIAN_TILE == 0


def test_double_precision_and_strided_input():
    aperture = aperture_of(1, "poly")
    arrays = random_cubes(2, 4, 1)
    expected = extract_box(*arrays, aperture)
    double = extract_box(*(a.astype(float) for a in arrays), aperture)
    same(expected, double, aperture.valid, rtol=1e-9)
    strided = [np.repeat(a, 2, axis=0)[::2] for a in arrays]
    assert not strided[0].flags.c_contiguous
    same(expected, extract_box(*strided, aperture), aperture.valid, rtol=0)


def test_errors_name_the_finding():
    aperture = aperture_of(1)
    with pytest.raises(InputError, match="do not hold rows"):
        extract_box(np.ones((2, 5, 6), np.float32), None, None, None, aperture)
    window = (slice(9, 14), slice(0, NALONG))
    with pytest.raises(InputError, match="needs y 7 to 15"):
        extract_box(np.ones((2, 5, NALONG), np.float32), None, None, None, aperture, window=window)
    empty = define_aperture(parameters(1), shape_of(1), np.full(shape_of(1), np.nan))
    assert empty.is_empty
    with pytest.raises(InputError, match="empty"):
        box_plan(empty)
    optimal = ExtractParams(1, 1, 0, NALONG - 1, 0, NACROSS - 1, extraction_type="optimal")
    with pytest.raises(NotYetError):
        box_plan(define_aperture(optimal, shape_of(1), np.ones(shape_of(1))))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([3, 5, 9]), st.sampled_from([0.0, 0.3, 0.95]))
def test_smoothing_is_astropys_box(seed, length, bad):
    convolution = pytest.importorskip("astropy.convolution")
    rng = np.random.default_rng(seed)
    image = rng.normal(0, 1, (4, 13)).astype(np.float32)
    image[rng.random(image.shape) < bad] = np.nan
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = convolution.convolve(image, np.ones((1, length)) / length, boundary="extend")
    np.testing.assert_allclose(smooth(image, length), expected, rtol=2e-7)


def test_median_of_columns():
    rng = np.random.default_rng(0)
    values = rng.normal(0, 1, (9, 50)).astype(np.float32)
    values[rng.random(values.shape) < 0.4] = np.nan
    values[:, 3] = np.nan
    values[:6, 4] = np.inf
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = np.nanmedian(values, axis=0)
    found = column_median(values)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("dispaxis", [1, 2])
def test_plans_pickle_small_and_whole(dispaxis):
    wide = (200, 1000) if dispaxis == 1 else (1000, 200)
    across, along = ("y", "x") if dispaxis == 1 else ("x", "y")
    limits = {
        f"{across}start": 20.3,
        f"{across}stop": 120.6,
        f"{along}start": 5,
        f"{along}stop": 900,
    }
    params = ExtractParams(
        dispaxis,
        1,
        **limits,
        bkg_coeff=((130.0,), (150.0,)),
        subtract_background=True,
        bkg_fit="poly",
    )
    plan = box_plan(define_aperture(params, wide, np.full(wide, 1.0)))
    plan.tables  # noqa: B018  made when first used, and left behind
    data = pickle.dumps(plan)
    assert len(data) < 20_000
    again = pickle.loads(data)
    np.testing.assert_array_equal(again.profile, plan.profile)
    np.testing.assert_array_equal(again.inside, plan.inside)
    assert again.profile.dtype == np.float64
    assert again.inside.dtype == bool
    assert again.profile.flags.writeable
    cube = np.random.default_rng(0).normal(10, 1, (2, *wide)).astype("f4")
    for one, two in zip(
        extract_box(cube, None, None, None, plan).values(),
        extract_box(cube, None, None, None, again).values(),
        strict=True,
    ):
        np.testing.assert_array_equal(one, two)
