"""Optimal extraction with the exposure's own profile: known answers, noise, missing pixels."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tso3dask.ops.aperture1d import define_aperture
from tso3dask.ops.box import box_plan, extract_box
from tso3dask.ops.extract_params import ExtractParams
from tso3dask.ops.horne import Response, extract_horne, horne_plan, smooth_profiles

ACROSS, ALONG = 26, 48
READ = 4.0  # variance


def oriented(image, dispaxis):
    return np.ascontiguousarray(image if dispaxis == 1 else np.swapaxes(image, -1, -2))


def scene(shift=0.0, width=1.3, peak=400.0):
    """A spectrum (across, dispersion) whose pixels are integrals over a Gaussian."""
    from scipy.special import erf

    along = np.arange(ALONG)
    line = 12.3 + 0.02 * along + shift
    edges = np.arange(ACROSS + 1)[:, None] - 0.5
    flux = peak * (1 + 0.5 * np.sin(along / 7))
    return flux * np.diff(0.5 * (1 + erf((edges - line) / width / np.sqrt(2))), axis=0)


def box_of(dispaxis, width=9.5, background=False, along=ALONG):
    shape = (ACROSS, along) if dispaxis == 1 else (along, ACROSS)
    size = {"xstop": shape[1] - 1, "ystop": shape[0] - 1}
    params = ExtractParams(
        dispaxis=dispaxis,
        spectral_order=1,
        xstart=0,
        ystart=0,
        **size,
        src_coeff=((12.8 - width / 2,), (12.8 + width / 2,)),
        bkg_coeff=((0.5,), (4.5,), (20.5,), (25.5,)) if background else None,
        subtract_background=background,
        bkg_fit="poly" if background else None,
        extraction_type="horne",
    )
    return box_plan(define_aperture(params, shape, np.ones(shape)))


def response(image, dispaxis, gain=1.0, **more):
    step = 1e-3
    wide = scene(width=np.sqrt(1.3**2 + step)) - scene()
    numbers = {
        "image": image,
        "variance": READ + gain * image,
        "gradient": (scene(step) - scene(-step)) / (2 * step),
        "curvature": wide / step,
        "samples": 10**6,
    } | more
    return Response(
        **{n: oriented(v, dispaxis) if np.ndim(v) == 2 else v for n, v in numbers.items()}
    )


def plans(dispaxis, background=False, gain=1.0, **more):
    box = box_of(dispaxis, background=background)
    return box, horne_plan(box, response(scene(), dispaxis, gain, **more))


def variances(cube, gain=1.0):
    return np.full_like(cube, READ), (gain * np.broadcast_to(scene(), cube.shape)).astype("f4")


def cubes(images, dispaxis, gain=1.0):
    cube = np.asarray(images, np.float32)
    read, photon = variances(cube, gain)
    return [oriented(c, dispaxis) for c in (cube, read, photon, np.zeros_like(cube))]


@pytest.mark.parametrize("dispaxis", [1, 2])
@pytest.mark.parametrize("background", [False, True])
def test_without_noise_it_is_the_box_sum(dispaxis, background):
    box, plan = plans(dispaxis, background)
    brightness = np.array([1.0, 0.9, 1.3])[:, None, None]
    data = cubes(brightness * scene() + (7.0 if background else 0.0), dispaxis)
    found, summed = extract_horne(*data, plan), extract_box(*data, box)
    np.testing.assert_allclose(found["flux"], summed["flux"], rtol=2e-6)
    np.testing.assert_allclose(found["npixels"], summed["npixels"], rtol=1e-12)
    np.testing.assert_allclose(found["background"], summed["background"], rtol=1e-5, atol=1e-3)
    if background:
        for kind in ("rnoise", "poisson"):
            name = f"b_var_{kind}"
            np.testing.assert_allclose(found[name], summed[name], rtol=1e-5)


@pytest.mark.parametrize("dispaxis", [1, 2])
def test_weights_are_normalised_and_never_negative(dispaxis):
    box, plan = plans(dispaxis)
    assert plan.profile.min() >= 0
    profile = np.divide(
        plan.expected[0], plan.profile, where=plan.profile > 0, out=0 * plan.profile
    )
    np.testing.assert_allclose((box.profile * profile).sum(axis=0), 1.0, rtol=1e-12)
    np.testing.assert_allclose(plan.expected[0].sum(axis=0), 1.0, rtol=1e-12)
    assert not plan.profile[box.profile == 0].any()


@pytest.mark.parametrize("gain", [0.0, 1.0])
def test_errors_are_the_least_possible_and_true(gain):
    """The variance is 1 / sum(p^2 / V), the scatter of many noisy spectra as well."""
    box, plan = plans(1, gain=gain)
    rng = np.random.default_rng(4)
    truth = scene()
    noisy = truth + rng.normal(0, 1, (4000, ACROSS, ALONG)) * np.sqrt(READ + gain * truth)
    data = cubes(noisy, 1, gain)
    found, summed = extract_horne(*data, plan), extract_box(*data, box)
    cut = truth[plan.window]
    profile = cut / (box.profile * cut).sum(axis=0)
    least = 1 / ((profile**2 / (READ + gain * cut)) * (box.profile > 0)).sum(axis=0)
    stated = sum(found[f"f_var_{kind}"][0] for kind in ("rnoise", "poisson", "flat"))
    np.testing.assert_allclose(stated, least, rtol=1e-5)
    ratio = found["flux"].var(axis=0) / least
    assert abs(ratio.mean() - 1) < 0.02
    assert np.abs(ratio - 1).max() < 0.12
    gained = least / summed["flux"].var(axis=0)
    assert gained.max() < (0.7 if gain == 0 else 1.02)
    assert gained.mean() < (0.6 if gain == 0 else 0.985)
    bias = (found["flux"].mean(axis=0) - (box.profile * cut).sum(axis=0)) / np.sqrt(least / 4000)
    assert np.abs(bias).max() < 4.5


@pytest.mark.parametrize("dispaxis", [1, 2])
def test_missing_pixels_do_not_bias(dispaxis):
    box, plan = plans(dispaxis, background=True)
    rng = np.random.default_rng(8)
    image = np.broadcast_to(scene() + 5.0, (40, ACROSS, ALONG)).copy()
    complete = cubes(image, dispaxis)
    image[rng.random(image.shape) < 0.1] = np.nan
    data = cubes(image, dispaxis)
    found, whole = extract_horne(*data, plan), extract_horne(*complete, plan)
    np.testing.assert_allclose(found["flux"], whole["flux"], rtol=3e-5)
    np.testing.assert_array_equal(found["npixels"], whole["npixels"])
    kinds = ("f_var_rnoise", "f_var_poisson")
    alone = plans(dispaxis)[1]
    found_alone, whole_alone = extract_horne(*data, alone), extract_horne(*complete, alone)
    more = sum(found_alone[kind] for kind in kinds) / sum(whole_alone[kind] for kind in kinds)
    assert more.min() > 0.9999
    assert more.max() > 1.2
    assert np.mean(extract_box(*data, box)["flux"] / whole["flux"]) < 0.97  # what is avoided
    gone = [array.copy() for array in data]
    column = (slice(None), slice(None), 9) if dispaxis == 1 else (slice(None), 9)
    gone[0][column] = np.nan
    lost = extract_horne(*gone, plan)
    assert np.isnan(lost["flux"][:, 9]).all()
    assert (lost["npixels"][:, 9] == 0).all()
    assert np.isfinite(lost["flux"][:, 10]).all()


def test_pixels_that_are_of_no_use_have_no_weight():
    variance = READ + scene()
    variance[12, 5] = np.inf
    _, plan = plans(1, variance=variance)
    rows, columns = plan.window
    assert plan.profile[12 - rows.start, 5 - columns.start] == 0
    data = cubes(scene()[None], 1)
    data[0][0, 12, 5] = 1e6
    _, whole = plans(1)
    usual = extract_horne(*cubes(scene()[None], 1), whole)
    np.testing.assert_allclose(extract_horne(*data, plan)["flux"], usual["flux"], rtol=1e-5)


@pytest.mark.parametrize("gain", [0.0, 1.0])
@pytest.mark.parametrize("dispaxis", [1, 2])
def test_jitter_does_not_show(dispaxis, gain):
    """Where shifts and widths are known, what is left of 0.05 pixels is below 20 ppm."""
    _, plan = plans(dispaxis, gain=gain)
    shifts = np.linspace(-0.05, 0.05, 9)
    moved = [scene(s) for s in shifts]
    data = cubes(moved, dispaxis, gain)
    known = extract_horne(*data, plan.moved(shifts, 0 * shifts))["flux"].sum(axis=1)
    blind = extract_horne(*data, plan)["flux"].sum(axis=1)
    assert np.ptp(known) / known.mean() < (1.0e-3 if gain == 0 else 4e-4)
    assert np.ptp(known) < 1.05 * np.ptp(blind)
    second = extract_horne(*data, plan.moved(shifts, shifts**2))["flux"].sum(axis=1)
    assert np.ptp(second) / second.mean() < 2e-5


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 11), st.integers(0, 2**31), st.sampled_from([1, 2]))
def test_blocks_do_not_matter(size, seed, dispaxis):
    _, plan = plans(dispaxis, background=True)
    rng = np.random.default_rng(seed)
    image = rng.normal(scene(), 2.0, (11, ACROSS, ALONG))
    image[rng.random(image.shape) < 0.05] = np.nan
    data = cubes(image, dispaxis)
    plan = plan.moved(rng.normal(0, 0.02, 11), rng.normal(0, 0.01, 11))
    whole = extract_horne(*data, plan)
    plan = pickle.loads(pickle.dumps(plan))
    for a in range(0, 11, size):
        part = extract_horne(*(c[a : a + size] for c in data), plan, a)
        for name, values in part.items():
            np.testing.assert_array_equal(values, whole[name][a : a + size])


def test_the_plain_formula():
    """Fluxes and variances against the sums written out, one column at a time."""
    box, plan = plans(2)
    rng = np.random.default_rng(2)
    image = rng.normal(scene(), 2.0, (3, ACROSS, ALONG))
    image[rng.random(image.shape) < 0.08] = np.nan
    shift, width = rng.normal(0, 0.03, 3), rng.normal(0, 0.02, 3)
    data = cubes(image, 2)
    found = extract_horne(*data, plan.moved(shift, width))
    rows = plan.window[1]
    weights = np.where(box.profile > 0, 1.0, 0.0)
    made = response(scene(), 1)
    total = (box.profile * scene()[rows]).sum(axis=0)
    for i in range(3):
        profile = (made.image + shift[i] * made.gradient + width[i] * made.curvature)[rows] / total
        good = np.isfinite(image[i][rows]) * weights
        share = made.image[rows] / total / made.variance[rows]
        share = share / (weights * share * made.image[rows] / total).sum(axis=0)
        value = (good * share * np.nan_to_num(image[i][rows].astype("f4"))).sum(axis=0)
        norm = (good * share * profile).sum(axis=0)
        np.testing.assert_allclose(found["flux"][i], value / norm, rtol=1e-6)
        noise = (good * share**2 * READ).sum(axis=0) / norm**2
        np.testing.assert_allclose(found["f_var_rnoise"][i], noise, rtol=1e-6)


def test_faint_profiles_are_averaged_along_the_dispersion():
    rng = np.random.default_rng(6)
    count = 400
    across = np.arange(11.0)[:, None]
    shape = np.exp(-0.5 * ((across - 5) / 1.2) ** 2) * np.ones(count)
    flux = np.where(np.arange(count) < 200, 3.0, 3000.0)
    noise = np.full((11, count), 0.05)
    noisy = flux * shape + rng.normal(0, np.sqrt(0.05), shape.shape)
    parts = np.stack([noisy, shape, shape])
    aperture = np.ones((11, count))
    smooth, snr = smooth_profiles(parts, noise, aperture, None)
    profile = smooth[0] / smooth[0].sum(axis=0)
    true = shape / shape.sum(axis=0)
    raw = parts[0] / parts[0].sum(axis=0)
    faint = slice(70, 130)
    assert np.std((profile - true)[:, faint]) < 0.2 * np.std((raw - true)[:, faint])
    np.testing.assert_array_equal(smooth[:, :, 300], parts[:, :, 300])
    assert snr.min() > 50
    bent = np.arange(count) * 0.2
    kept, _ = smooth_profiles(parts, noise, aperture, bent)
    np.testing.assert_array_equal(kept, parts)
    bent[:20] = bent[390:] = np.nan
    kept, _ = smooth_profiles(parts, noise, aperture, bent)
    np.testing.assert_array_equal(kept[:, :, 20:390], parts[:, :, 20:390])
    assert (kept[0][:, 5] != parts[0][:, 5]).any()


def test_columns_without_light_have_the_weights_of_the_box():
    image = scene()
    image[:, 20:] = 0.0
    box = box_of(1)
    plan = horne_plan(box, response(image, 1, variance=READ + 0 * image, trace=np.arange(48.0)))
    np.testing.assert_array_equal(plan.profile[:, 20:], box.profile[:, 20:])
    data = cubes(np.full((2, ACROSS, ALONG), 3.0), 1)
    data[0][1, 12, 30] = np.nan
    found, summed = extract_horne(*data, plan), extract_box(*data, box)
    np.testing.assert_allclose(found["flux"][0, 20:], summed["flux"][0, 20:])
    np.testing.assert_allclose(found["flux"][1, 30], summed["flux"][0, 30])


def test_no_weight_in_a_plan_is_that_of_another_segment():
    _, plan = plans(1)
    other = plan.moved(np.array([0.1, np.nan]), np.array([np.inf, 0.2]))
    np.testing.assert_array_equal(other.shift, [0.1, 0.0])
    np.testing.assert_array_equal(other.width, [0.0, 0.2])
    assert plan.shift.size == 0
    assert replace(other, shift=np.zeros(2)).width is other.width
