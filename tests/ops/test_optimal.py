"""Fits of spatial profiles: truth, bad pixels, errors."""

from __future__ import annotations

import numpy as np
import pytest

from tso3dask.errors import InputError
from tso3dask.ops import optimal
from tso3dask.ops.optimal import extract_optimal, fit_profiles, optimal_plan
from tso3dask.ops.scene import scene_images

NINTS, ACROSS, ALONG = 5, 15, 12


def gaussian(centre=7.2, sigma=1.6, across=ACROSS):
    profile = np.exp(-0.5 * ((np.arange(across) - centre) / sigma) ** 2)
    return np.tile((profile / profile.sum())[:, None], (1, ALONG))


@pytest.fixture
def rng():
    return np.random.default_rng(11)


def cubes(rng, profiles, fluxes, background=None):
    sci = sum(f[:, None, :] * p for f, p in zip(fluxes, profiles, strict=True))
    if background is not None:
        sci = sci + background
    variances = [rng.uniform(0.5, 2.0, sci.shape).astype(np.float32) for _ in range(3)]
    return sci, variances


def test_a_scaled_profile_gives_its_flux(rng):
    profile, flux = gaussian(), rng.uniform(10, 20, (NINTS, ALONG))
    sci, variances = cubes(rng, [profile], [flux])
    found = extract_optimal(sci, *variances, optimal_plan([profile], 1))
    np.testing.assert_allclose(found["flux"], flux, rtol=1e-12)
    weight = profile / (profile**2).sum(axis=0)
    for name, variance in zip(("rnoise", "poisson", "flat"), variances, strict=True):
        expected = (variance * weight**2).sum(axis=1)
        np.testing.assert_allclose(found[f"f_var_{name}"], expected, rtol=1e-12)
    np.testing.assert_allclose(found["npixels"][0], weight.sum(axis=0))
    assert not found["background"].any()
    assert not found["b_var_flat"].any()


@pytest.mark.parametrize("order", [0, 1, 2, 3])
def test_background_polynomials(rng, order):
    profile, flux = gaussian(), rng.uniform(10, 20, (NINTS, ALONG))
    y = np.linspace(-1, 1, ACROSS)
    powers = rng.normal(0, 3, (order + 1, NINTS, ALONG))
    background = sum(c[:, None, :] * (y**k)[:, None] for k, c in enumerate(powers))
    sci, variances = cubes(rng, [profile], [flux], background)
    plan = optimal_plan([profile], 1, bkg_profile=np.ones_like(profile), bkg_order=order)
    found = extract_optimal(sci, *variances, plan)
    np.testing.assert_allclose(found["flux"], flux, rtol=1e-9)
    weight = profile / (profile**2).sum(axis=0)
    np.testing.assert_allclose(found["background"], (weight * background).sum(axis=1), atol=1e-9)
    scene = scene_images(sci, *variances, plan)
    np.testing.assert_allclose(scene, sci, atol=1e-9)


def test_two_sources_do_not_mix(rng):
    profiles = [gaussian(4.0), -gaussian(10.0)]
    fluxes = [rng.uniform(10, 20, (NINTS, ALONG)) for _ in range(2)]
    sci, variances = cubes(rng, profiles, fluxes)
    found = extract_optimal(sci, *variances, optimal_plan(profiles, 1, bkg_order=0))
    np.testing.assert_allclose(found["flux"], fluxes[0], rtol=1e-10)


def test_bad_pixels_are_left_out(rng):
    profile, flux = gaussian(), rng.uniform(10, 20, (NINTS, ALONG))
    sci, variances = cubes(rng, [profile], [flux], 3.0)
    whole = sci.copy()
    sci[rng.random(sci.shape) < 0.1] = np.nan
    sci[0, 6, 3] = np.inf
    variances[1][1, 7, 4] = np.nan
    plan = optimal_plan([profile], 1, bkg_order=0)
    found = extract_optimal(sci, *variances, plan)
    np.testing.assert_allclose(found["flux"], flux, rtol=1e-9)
    # values under bad variances do not count, and the share of the background is not known there
    assert np.isnan(found["b_var_poisson"][1, 4])
    assert np.isfinite(found["f_var_poisson"]).all()
    good = np.isfinite(sci[0])
    expected = (profile * good).sum(axis=0) / (profile**2).sum(axis=0)
    np.testing.assert_allclose(found["npixels"][0], expected)
    assert np.isfinite(whole).all()


def test_no_pixel_and_no_solution(rng):
    profile, flux = gaussian(), rng.uniform(10, 20, (NINTS, ALONG))
    sci, variances = cubes(rng, [profile], [flux], 3.0)
    sci[0, :, 2] = np.nan
    sci[1, :, 5] = np.nan
    sci[1, 7, 5] = 4.0  # one pixel for two unknowns
    found = extract_optimal(sci, *variances, optimal_plan([profile], 1, bkg_order=0))
    assert np.isnan(found["flux"][0, 2])
    assert found["flux"][1, 5] == 0
    assert found["f_var_rnoise"][1, 5] == 0
    rest = np.ones(found["flux"].shape, bool)
    rest[0, 2] = rest[1, 5] = False
    np.testing.assert_allclose(found["flux"][rest], flux[rest], rtol=1e-9)


def test_missing_variances_count_as_zero(rng):
    profile = gaussian()
    sci, variances = cubes(rng, [profile], [np.full((NINTS, ALONG), 5.0)])
    plan = optimal_plan([profile], 1, bkg_order=0)
    zero = [np.zeros_like(v) for v in variances]
    for given in ([None] * 3, [v[:, :3] for v in variances]):
        found, expected = extract_optimal(sci, *given, plan), extract_optimal(sci, *zero, plan)
        for name, values in expected.items():
            np.testing.assert_array_equal(found[name], values)


@pytest.mark.parametrize("order", [-1, 0, 1, 2])
def test_turned_arrays_give_the_same(rng, order):
    profiles = [gaussian(4.0), -gaussian(10.0)]
    sci, variances = cubes(rng, profiles, [rng.normal(5, 2, (NINTS, ALONG)) for _ in range(2)])
    sci[rng.random(sci.shape) < 0.1] = np.nan
    inside = gaussian(1.0) > 0.1
    wanted = None if order < 0 else order
    along_x = optimal_plan(profiles, 1, bkg_profile=inside, bkg_order=wanted)
    along_y = optimal_plan([p.T for p in profiles], 2, bkg_profile=inside.T, bkg_order=wanted)
    one = extract_optimal(sci, *variances, along_x)
    other = extract_optimal(
        sci.transpose(0, 2, 1), *(v.transpose(0, 2, 1) for v in variances), along_y
    )
    for name, values in one.items():
        np.testing.assert_allclose(other[name], values, rtol=1e-10, atol=1e-12)


def test_integrations_are_independent(rng, monkeypatch):
    profile = gaussian()
    sci, variances = cubes(rng, [profile], [rng.normal(5, 2, (NINTS, ALONG))], 1.0)
    sci[rng.random(sci.shape) < 0.1] = np.nan
    plan = optimal_plan([profile], 1, bkg_order=1)
    whole = extract_optimal(sci, *variances, plan)
    monkeypatch.setattr(optimal, "BATCH", 2 * ACROSS * ALONG)
    for a, b in ((0, 2), (2, 3), (3, 5), (0, 5)):
        part = extract_optimal(sci[a:b], *(v[a:b] for v in variances), plan)
        for name, values in part.items():
            np.testing.assert_array_equal(values, whole[name][a:b])


def test_normal_equations_are_those_of_least_squares(rng):
    profiles = [gaussian(4.0), -gaussian(10.0)]
    sci = rng.normal(0, 1, (2, ACROSS, ALONG))
    sci[rng.random(sci.shape) < 0.2] = np.nan
    plan = optimal_plan(profiles, 1, bkg_profile=np.ones((ACROSS, ALONG)), bkg_order=1)
    fit = fit_profiles(sci, np.ones_like(sci), plan)
    functions = np.array(plan.functions)
    for i, x in ((0, 0), (1, 5), (1, 11)):
        good = np.isfinite(sci[i, :, x])
        expected = np.linalg.lstsq(functions[:, good, x].T, sci[i, good, x], rcond=None)[0]
        np.testing.assert_allclose(fit.amplitudes[:, i, x], expected, rtol=1e-9)


def test_an_order_must_be_whole():
    with pytest.raises(InputError, match=r"bkg_order is 1\.5"):
        optimal_plan([gaussian()], 1, bkg_order=1.5)


@pytest.mark.parametrize("dispaxis", [1, 2])
@pytest.mark.parametrize("order", [-1, 0, 1, 2])
def test_compiled_sums_are_those_of_numpy(rng, order, dispaxis, monkeypatch):
    profiles = [gaussian(4.0), -gaussian(10.0)]
    sci, variances = cubes(rng, profiles, [rng.normal(5, 2, (NINTS, ALONG)) for _ in range(2)], 2.0)
    sci[rng.random(sci.shape) < 0.1] = np.nan
    sci[0, :, 3] = np.nan
    sci[1, 3, 4] = np.inf
    variances[0][2, 5, 5] = np.inf
    variances[2][rng.random(sci.shape) < 0.02] = np.nan
    arrays = [sci.astype(np.float32), *variances]
    arrays[3] = None if order == 0 else arrays[3]
    inside = gaussian(1.0) > 0.1
    if dispaxis == 2:
        profiles, inside = [p.T for p in profiles], inside.T
        arrays = [a if a is None else a.transpose(0, 2, 1) for a in arrays]
    wanted = None if order < 0 else order
    plan = optimal_plan(profiles, dispaxis, bkg_profile=inside, bkg_order=wanted)
    found = extract_optimal(*arrays, plan)
    monkeypatch.setattr(optimal, "_extract_compiled", optimal._extract_batch)
    expected = extract_optimal(*arrays, plan)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-9, atol=1e-12, err_msg=name)
