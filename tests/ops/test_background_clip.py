"""Clipped backgrounds of spectra: astropy, the numpy twin, regions that follow a line."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from astropy.stats import sigma_clip

from tso3dask.ops.aperture1d import along_line, box_profile, define_aperture, place_aperture
from tso3dask.ops.background_clip import clip_background, clip_numpy
from tso3dask.ops.box import box_plan, extract_box
from tso3dask.ops.centre_line import centre_line, region_mask, trace_of
from tso3dask.ops.extract_params import ExtractParams, resolve_parameters

ACROSS, ALONG = 30, 70


def noisy(seed, count=3):
    rng = np.random.default_rng(seed)
    values = rng.normal(5, 1, (count, ACROSS, ALONG)).astype(np.float32)
    hits = rng.random(values.shape) < 0.06
    values[hits] += rng.uniform(5, 500, hits.sum()).astype(np.float32)
    values[rng.random(values.shape) < 0.05] = np.nan
    values[rng.random(values.shape) < 0.01] = np.inf
    inside = np.zeros((ACROSS, ALONG), bool)
    inside[1:9] = inside[20:28] = True
    inside[:, 4] = False
    return values, inside, np.linspace(-1, 1, ACROSS)


def oriented(values, dispaxis):
    return np.ascontiguousarray(values if dispaxis == 1 else values.swapaxes(1, 2))


@pytest.mark.filterwarnings("ignore:Input data contains invalid values")
@pytest.mark.parametrize("sigma", [3.0, 4.0, 6.0])
def test_a_constant_is_clipped_as_astropy_does(sigma):
    values, inside, position = noisy(1)
    found = clip_background(values, inside, position, 0, sigma, 1)
    some = np.where(inside, values, np.nan).astype(float)
    expected = np.ma.masked_invalid(some)
    for _ in range(20):  # with more than one, astropy takes back what the last limits allow
        expected = sigma_clip(expected, sigma=sigma, axis=1, maxiters=1, stdfunc="mad_std")
    assert (np.isfinite(some).sum(axis=1)[:, np.arange(ALONG) != 4] > 5).all()
    clipped = np.isnan(found) & np.isfinite(values)
    np.testing.assert_array_equal(clipped, expected.mask & np.isfinite(values) & inside)
    assert 20 < clipped.sum() < 0.3 * values.size
    outside = ~np.broadcast_to(inside, values.shape)
    np.testing.assert_array_equal(found[outside], values[outside])


@pytest.mark.parametrize("dispaxis", [1, 2])
@pytest.mark.parametrize("order", [0, 1, 3])
def test_the_numpy_twin(dispaxis, order):
    values, inside, position = noisy(order)
    found = clip_background(oriented(values, dispaxis), inside, position, order, 2.5, dispaxis)
    for one, image in zip(values, oriented(found, dispaxis), strict=True):
        expected = one.copy()
        clip_numpy(expected, inside, position, order, 2.5)
        np.testing.assert_array_equal(image, expected)


def test_a_slope_is_not_clipped_away():
    rng = np.random.default_rng(3)
    inside, position = np.ones((ACROSS, ALONG), bool), np.linspace(-1, 1, ACROSS)
    values = (100 * position[:, None] + rng.normal(0, 0.1, (1, ACROSS, ALONG))).astype(np.float32)
    values[0, 7, :] += 5
    kept = np.isfinite(clip_background(values, inside, position, 1, 4.0, 1)[0])
    assert not kept[7].any()
    assert kept.sum() > kept.size - ALONG - 20


def parameters(dispaxis, fit, order, smoothing):
    size = {"xstop": ALONG - 1, "ystop": ACROSS - 1}
    if dispaxis == 2:
        size = {"xstop": ACROSS - 1, "ystop": ALONG - 1}
    return ExtractParams(
        dispaxis=dispaxis,
        spectral_order=1,
        xstart=0,
        ystart=0,
        **size,
        src_coeff=((11.0,), (18.0,)),
        bkg_coeff=((0.5,), (8.5,), (19.5,), (27.5,)),
        subtract_background=True,
        bkg_fit=fit,
        bkg_order=order,
        smoothing_length=smoothing,
        bkg_clip=3.0,
    )


@pytest.mark.parametrize("dispaxis", [1, 2])
@pytest.mark.parametrize(("fit", "order"), [("median", 0), ("poly", 0), ("poly", 1)])
@pytest.mark.parametrize("smoothing", [0, 5])
def test_extraction_with_clipping(dispaxis, fit, order, smoothing):
    """Compiled and plain, and the same as with clipped pixels taken out beforehand."""
    values = noisy(9)[0]
    values = oriented(values, dispaxis)
    shape = values.shape[1:]
    wavelength = np.ones(shape)
    aperture = define_aperture(parameters(dispaxis, fit, order, smoothing), shape, wavelength)
    variances = [np.full(values.shape, v, np.float32) for v in (0.5, 0.3, 0.2)]
    found = extract_box(values, *variances, aperture)
    twin = extract_box(values.astype(float), *(v.astype(float) for v in variances), aperture)
    for name in found:
        np.testing.assert_allclose(found[name], twin[name], rtol=3e-5, atol=1e-5, err_msg=name)
    plan = box_plan(aperture)
    clip_order = order if fit == "poly" else 0
    cleaned = clip_background(
        values[(slice(None), *plan.window)], plan.inside, plan.position, clip_order, 3.0, dispaxis
    )
    before = values.copy()
    before[(slice(None), *plan.window)] = cleaned
    unclipped = replace(plan, clip=None)
    expected = extract_box(before, *variances, unclipped)
    for name in found:
        if smoothing:
            continue  # which fills what was clipped
        np.testing.assert_allclose(found[name], expected[name], rtol=2e-5, atol=1e-5)
    plain = extract_box(values, *variances, unclipped)
    if fit == "poly" and not smoothing:
        off = [np.mean(np.abs(some["background"] - 35) > 15) for some in (found, plain)]
        assert off[0] < 0.05 < 5 * off[0] + 0.3 < off[1]


@pytest.mark.parametrize("dispaxis", [1, 2])
def test_regions_follow_a_line(dispaxis):
    line = 12.25 + 0.05 * np.arange(ALONG)
    line[3] = np.nan
    shape = (ACROSS, ALONG) if dispaxis == 1 else (ALONG, ACROSS)
    mask = region_mask(shape, line, (-6.0, -3.0, 4.0, 7.5), dispaxis)
    mask = mask if dispaxis == 1 else mask.T
    for c in range(ALONG):
        expected = [y for y in range(ACROSS) if -6 <= y - line[c] <= -3 or 4 <= y - line[c] <= 7.5]
        assert np.flatnonzero(mask[:, c]).tolist() == expected
    params = replace(
        parameters(dispaxis, "poly", 0, 0), bkg_regions=(-6.0, -3.0), src_coeff=((9.0,), (14.0,))
    )
    aperture = define_aperture(params, shape, np.ones(shape))
    profile = aperture.bkg_profile if dispaxis == 1 else aperture.bkg_profile.T
    assert np.flatnonzero(profile[:, 5]).tolist() == [6, 7, 8]  # limits 9.5 to 13.5 are 12 +- 2.5


@pytest.mark.parametrize("dispaxis", [1, 2])
def test_a_width_of_one_s_own(dispaxis):
    shape = (ACROSS, ALONG) if dispaxis == 1 else (ALONG, ACROSS)
    wavelength = np.ones(shape)
    params = replace(parameters(dispaxis, "poly", 0, 0), src_coeff=((9.0, 0.1), (14.0, 0.1)))
    placed = place_aperture(params, shape, wavelength)
    wide = along_line(placed, wavelength, 6.5)
    profile, lower, upper = box_profile(shape, wide.params, wavelength, trace=wide.trace)
    across = profile if dispaxis == 1 else profile.T
    np.testing.assert_allclose(across.sum(axis=0), 6.5)
    assert upper - lower + 1 == pytest.approx(6.5)
    nominal, _, _ = box_profile(shape, params, wavelength)
    np.testing.assert_allclose(
        centre_line(profile, dispaxis), centre_line(nominal, dispaxis), atol=0.02
    )  # a pixel that is cut counts at its centre
    again = along_line(placed, wavelength)
    same, _, _ = box_profile(shape, again.params, wavelength, trace=again.trace)
    np.testing.assert_allclose(same, nominal, atol=1e-12)


@pytest.mark.parametrize("dispaxis", [1, 2])
def test_the_trace_of_an_image(dispaxis):
    rng = np.random.default_rng(5)
    along = np.arange(300.0)
    line = 15.3 + 2.0 * np.sin((along - 150) / 220) + 0.003 * (along - 150)
    across = np.arange(34.0)[:, None]
    flux = 500 * np.exp(-(((along - 140) / 90) ** 2))
    image = flux * np.exp(-0.5 * ((across - line) / 1.1) ** 2) + rng.normal(0, 1.0, (34, 300))
    image[20:24, 50:56] += 900  # a defect
    region = np.abs(across - line) < 9
    if dispaxis == 2:
        image, region = image.T, region.T
    found = trace_of(image, region, dispaxis)
    bright = flux > 25
    assert np.abs(found - line)[bright].max() < 0.03
    assert trace_of(image * np.nan, region, dispaxis) is None


def test_regions_without_a_reference():
    common = {"shape": (20, 30), "dispaxis": 1, "slit_name": None, "spectral_order": 1}
    plain = resolve_parameters(None, **common, exp_type="X").params
    assert not plain.fits_background
    given = resolve_parameters(
        None, **common, exp_type="X", bkg_regions=(-9.0, -5.0), bkg_clip=3.0
    ).params
    assert given.fits_background
    assert (given.bkg_fit, given.bkg_order, given.bkg_clip) == ("poly", 0, 3.0)
    off = resolve_parameters(
        None, **common, exp_type="X", bkg_regions=(-9.0, -5.0), subtract_background=False
    ).params
    assert not off.fits_background
