"""Flagging with scaled medians that leave NaN out, and replacement in time."""

import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tso3dask.ops import model_images
from tso3dask.ops.exposure_model import ExposureModel
from tso3dask.ops.medians import Window
from tso3dask.ops.model_images import ModelImages, number_table
from tso3dask.ops.outliers import flag_block
from tso3dask.ops.scaled_outliers import FlagRules, flag_scaled, scaled_image
from tso3dask.ops.temporal_replace import replace_in_time

VARIANCES = ("var_poisson", "var_rnoise", "var_flat")
FLUX_ESTIMATED = 1 << 28


def exposure_model(seed, nints, shape, **changes):
    """A model with all terms, and a read variance."""
    rng = np.random.default_rng(seed)

    def image(low, high):
        return rng.uniform(low, high, shape).astype(np.float32)

    def numbers(middle, spread):
        return middle + spread * rng.standard_normal(nints)

    read = image(0.2, 0.4)
    values = {
        "identity": f"{seed}",
        "image": image(50, 150),
        "variance": read + image(0.4, 0.6),
        "gradient_y": image(-5, 5),
        "gradient_x": image(-5, 5),
        "curvature": image(-5, 5),
        "dead": np.zeros(shape, bool),
        "region": rng.random(shape) < 0.6,
        "dispaxis": 1,
        "centre": np.zeros(shape[1]),
        "fitted": ("brightness",),
        "scatter": 1.0,
        "first": 0,
        "brightness": numbers(1, 0.05),
        "background": numbers(0.3, 0.1),
        "shift_y": numbers(0, 0.05),
        "shift_x": numbers(0, 0.05),
        "width": numbers(0, 0.02),
        "read_variance": read,
    }
    return ExposureModel(**(values | changes))


def series(seed, model, *, lost=0.02, hits=0.01, sigmas=(6, 60)):
    """Cubes as the model has them, with noise of its variance, hits, and pixels without values."""
    rng = np.random.default_rng(seed)
    nints = model.brightness.size
    truth = np.stack([model.expected(i) for i in range(nints)])
    photon = model.brightness[:, None, None] * (model.variance - model.read_variance)
    cube = {
        "var_poisson": photon.astype(np.float32),
        "var_rnoise": np.broadcast_to(model.read_variance, truth.shape).copy(),
        "var_flat": np.zeros(truth.shape, np.float32),
    }
    sigma = np.sqrt(cube["var_poisson"] + cube["var_rnoise"])
    cube["err"] = sigma.astype(np.float32)
    cube["sci"] = (truth + sigma * rng.standard_normal(truth.shape)).astype(np.float32)
    cube["dq"] = np.zeros(truth.shape, np.uint32)
    hit = rng.random(truth.shape) < hits
    cube["sci"][hit] += (sigma * rng.uniform(*sigmas, truth.shape))[hit].astype(np.float32)
    gone = rng.random(truth.shape) < lost
    gone |= rng.random(truth.shape[1:]) < lost / 2
    for name in ("sci", "err", *VARIANCES):
        cube[name][gone] = np.nan
    cube["dq"][gone] |= 1
    return cube, SimpleNamespace(truth=truth, hit=hit & ~gone, gone=gone, sigma=sigma)


def flag_parts(cube, model, window, rules, cuts=(), bad_bits=1):
    """Flag a series in parts that end at `cuts`, and put the results together."""
    n, ny, nx = cube["sci"].shape
    images = ModelImages.of(model, (ny, nx))
    image = None
    if not window.rolling:
        table = number_table(model, 0, n, scale=rules.scale)
        masked = bad_bits if rules.nan_aware else 0
        terms = images.terms.reshape(3, ny, nx)
        image = scaled_image(cube["sci"], cube["dq"], table, terms, masked)
    parts = []
    for a, b in zip([0, *cuts], [*cuts, n], strict=True):
        low, high = window.input_range(a, b)
        parts.append(
            flag_scaled(
                cube["sci"][low:high],
                cube["dq"][low:high],
                cube["err"][a:b].copy(),
                {name: cube[name][a:b].copy() for name in VARIANCES if name in cube},
                first=low,
                a=a,
                b=b,
                window=window,
                bad_bits=bad_bits,
                rules=rules,
                numbers=number_table(model, low, high, scale=rules.scale),
                images=images,
                image=image,
            )
        )
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def twin(cube, model, width, rules, bad_bits=1):
    """The same in plain numpy: `np.nanmedian` in float64, and loops over integrations."""
    n, ny, nx = cube["sci"].shape
    rolling = 1 < width < n
    table = number_table(model, 0, n, scale=rules.scale).astype("f8")
    images = ModelImages.of(model, (ny, nx))
    terms = images.terms.reshape(3, ny, nx).astype("f8")
    shift = np.tensordot(table[:, 2:5], terms, 1) if rules.scale else np.zeros(cube["sci"].shape)
    one, zero, brightness = (table[:, k, None, None] for k in (0, 1, 5))
    values = (cube["sci"].astype("f8") - zero) * one - shift
    if rolling or rules.nan_aware:
        values[cube["dq"] & np.uint32(bad_bits) != 0] = np.nan
    expected = np.empty((n, ny, nx))
    number = np.empty((n, ny, nx), int)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        for i in range(n):
            start = max(0, min(i - width // 2, n - width)) if rolling else 0
            held = values[start : start + width] if rolling else values
            median = np.nanmedian(held, axis=0)
            number[i] = (~np.isnan(held)).sum(axis=0)
            if rolling and not rules.nan_aware:
                median[np.isnan(held).any(axis=0)] = np.nan
            expected[i] = median
    if rules.scale:
        expected = brightness * (expected + shift) + zero
    if rules.noise == "model":
        own = (cube["var_poisson"] + cube["var_rnoise"]).astype("f8")
        read, photon = (v.reshape(ny, nx).astype("f8") for v in images.noise)
        modelled = read + brightness * photon
        with np.errstate(all="ignore"):
            good = np.isfinite(own) & (own > 0)
            near = (own < 9 * modelled) & (9 * own > modelled)
            variance = np.where(good & (near | np.isinf(modelled)), own, modelled)
            missed = table[:, 6, None, None] * (expected - zero)
            sigma = np.sqrt(variance * (1 + np.pi / 2 / number) + missed**2)
    else:
        sigma = np.nan_to_num(cube["err"]).astype("f8")
    with np.errstate(all="ignore"):
        away = np.abs(cube["sci"] - expected) / sigma
    usable = cube["dq"] & np.uint32(1) == 0
    found = (away > rules.snr) & usable
    close = np.abs(away - rules.snr) < 1e-4
    for _ in range(rules.grow):
        near = found.copy()
        near[:, 1:] |= found[:, :-1]
        near[:, :-1] |= found[:, 1:]
        near[..., 1:] |= found[..., :-1]
        near[..., :-1] |= found[..., 1:]
        found = near & usable
    return SimpleNamespace(expected=expected, number=number, found=found, close=close)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    width=st.sampled_from((1, 4, 9, 25)),
    scale=st.booleans(),
    nan_aware=st.booleans(),
    noise=st.sampled_from(("err", "model")),
    grow=st.integers(0, 2),
    lost=st.sampled_from((0.0, 0.02, 0.3)),
    data=st.data(),
)
def test_kernels_equal_numpy(seed, width, scale, nan_aware, noise, grow, lost, data):
    nints = data.draw(st.integers(1, 31))
    shape = data.draw(st.sampled_from(((1, 1), (3, 5), (4, 19))))
    model = exposure_model(seed, nints, shape)
    cube, _ = series(seed + 1, model, lost=lost, hits=0.05)
    rules = FlagRules(5.0, scale, nan_aware, noise, grow)
    window = Window(width, nints)
    cuts = sorted(data.draw(st.sets(st.integers(1, max(1, nints - 1)), max_size=3)) - {nints})
    before = {name: array.copy() for name, array in cube.items()}
    result = flag_parts(cube, model, window, rules, cuts)
    for name, array in before.items():
        np.testing.assert_array_equal(cube[name], array, err_msg=f"{name} was changed")
    expected = twin(cube, model, width, rules)
    if window.rolling and not nan_aware:
        known = expected.number == width
        assert not np.isfinite(result["expected"][~known]).any()
    else:
        known = np.ones(expected.number.shape, bool)
        np.testing.assert_array_equal(result["number"], expected.number)
    np.testing.assert_allclose(
        result["expected"][known], expected.expected[known], rtol=2e-6, atol=1e-5
    )
    assume(not expected.close.any())
    flagged = result["dq"] & 16 != 0
    np.testing.assert_array_equal(flagged, expected.found)
    np.testing.assert_array_equal(result["n_outliers"], flagged.sum(axis=(1, 2)))
    np.testing.assert_array_equal(result["n_inside"], (flagged & model.region).sum(axis=(1, 2)))
    lost = flagged | (cube["dq"] & 1 != 0)
    np.testing.assert_array_equal(result["dq"] & 1 != 0, lost)
    for name in ("sci", "err", *VARIANCES):
        np.testing.assert_array_equal(result[name], np.where(lost, np.float32(np.nan), cube[name]))


def test_without_own_rules_flags_are_those_of_the_default_kernel():
    model = exposure_model(3, 60, (7, 23))
    cube, _ = series(4, model, lost=0.004)
    rules = FlagRules(3.0)
    window = Window(25, 60)
    result = flag_parts(cube, None, window, rules, [20, 33])
    expected = flag_block(
        cube["sci"], cube["dq"], cube["err"], {name: cube[name] for name in VARIANCES}, first=0,
        a=0, b=60, window=window, bad_bits=1, snr=3.0,
    )  # fmt: skip
    assert expected["n_outliers"].sum() > 100
    for name, array in expected.items():
        np.testing.assert_array_equal(result[name], array, err_msg=name)


def test_windows_wider_than_a_network_give_the_same():
    model = exposure_model(5, 300, (2, 3))
    cube, _ = series(6, model)
    rules = FlagRules(5.0, True, True, "model")
    result = flag_parts(cube, model, Window(261, 300), rules, [100])
    expected = twin(cube, model, 261, rules)
    np.testing.assert_allclose(result["expected"], expected.expected, rtol=2e-6)
    np.testing.assert_array_equal(result["dq"] & 16 != 0, expected.found)


@pytest.mark.parametrize("noise", ["err", "model"])
@pytest.mark.parametrize("width", [25, 300])
def test_no_transit_and_no_flare_is_flagged(noise, width):
    """Ten per cent in and out within a few integrations, and a flare that doubles the light."""
    n = 120
    time = np.arange(n)
    brightness = np.ones(n)
    brightness[(time > 30) & (time < 60)] = 0.9
    brightness += np.exp(-(time - 80) / 6) * (time >= 80)
    still = dict.fromkeys(("shift_y", "shift_x", "width"), np.zeros(n))
    model = exposure_model(7, n, (40, 50), brightness=brightness, **still)
    cube, _ = series(8, model, lost=0, hits=0)
    plain = flag_parts(cube, model, Window(width, n), FlagRules(5.0))
    scaled = flag_parts(cube, model, Window(width, n), FlagRules(5.0, True, True, noise))
    assert plain["n_outliers"].sum() > 1000
    assert scaled["n_outliers"].sum() <= 2


def moving_trace(seed, nints, jitter):
    """A narrow trace that moves by more than its derivatives can tell, its noise, and its model."""
    rng = np.random.default_rng(seed)
    shape, sigma, light = (21, 60), 0.75, 4e5
    shift = jitter * rng.standard_normal(nints)
    y = np.arange(shape[0])[:, None] - 10.2 - np.linspace(0, 0.6, shape[1])

    def image(dy):
        return light / sigma / 2.5 * np.exp(-(((y - dy) / sigma) ** 2) / 2)

    slope, bend = y / sigma**2 * image(0), (y**2 / sigma**2 - 1) / sigma**2 / 2 * image(0)
    shown = np.stack([image(dy) for dy in shift])
    still = dict.fromkeys(("background", "shift_x"), np.zeros(nints))
    model = exposure_model(
        seed,
        nints,
        shape,
        image=image(0).astype(np.float32),
        gradient_y=slope.astype(np.float32),
        gradient_x=np.zeros(shape, np.float32),
        curvature=bend.astype(np.float32),
        variance=(image(0) + 100).astype(np.float32),
        read_variance=np.full(shape, 100, np.float32),
        brightness=np.ones(nints),
        shift_y=shift,
        width=shift**2,
        **still,
    )
    cube = {
        "var_poisson": shown.astype(np.float32),
        "var_rnoise": np.full(shown.shape, 100, np.float32),
        "dq": np.zeros(shown.shape, np.uint32),
    }
    noise = np.sqrt(shown + 100)
    cube["sci"] = (shown + noise * rng.standard_normal(shown.shape)).astype(np.float32)
    cube["err"] = noise.astype(np.float32)
    return cube, model, noise


def test_a_source_that_moves_far_is_no_outlier(monkeypatch):
    cube, model, noise = moving_trace(17, 60, 0.1)
    arguments = model, Window(25, 60), FlagRules(5.0, True, True, "model")
    assert flag_parts(cube, *arguments)["n_outliers"].sum() == 0
    cube["sci"][30, 3:18:7, 5:50] += 20 * noise[30, 3:18:7, 5:50].astype(np.float32)
    dim = flag_parts(cube, *arguments)["dq"][30, 3:18:14] & 16 != 0
    assert dim[:, 5:50].all()  # beside the trace nothing is lost

    def linear(*given, **more):
        table = model_images.number_table(*given, **more)
        table[:, 6] = 0
        return table

    monkeypatch.setitem(globals(), "number_table", linear)
    assert flag_parts(moving_trace(17, 60, 0.1)[0], *arguments)["n_outliers"].sum() > 100


def test_hits_are_found_and_noise_is_not():
    model = exposure_model(9, 100, (60, 50), region=np.ones((60, 50), bool))
    cube, made = series(10, model, lost=0.001, hits=0.004, sigmas=(6.6, 100))
    result = flag_parts(cube, model, Window(25, 100), FlagRules(4.5, True, True, "model"))
    flagged = result["dq"] & 16 != 0
    assert flagged[made.hit].mean() >= 0.99
    assert (flagged & ~made.hit).mean() <= 1e-5


@pytest.mark.parametrize("wrong", [0.0, np.nan, 1e-6, 1e6, -1.0, np.inf])
def test_errors_that_are_wrong_do_not_matter_with_the_noise_of_the_model(wrong):
    model = exposure_model(11, 50, (20, 30), shift_y=np.zeros(50))
    cube, made = series(12, model, lost=0, hits=0.01, sigmas=(8, 9))
    for name in ("var_poisson", "var_rnoise"):
        cube[name][:] = wrong
    result = flag_parts(cube, model, Window(25, 50), FlagRules(5.0, True, True, "model"))
    flagged = result["dq"] & 16 != 0
    assert flagged[made.hit].mean() > 0.99
    assert (flagged & ~made.hit).mean() < 1e-4


def test_variances_of_the_integration_are_used_where_they_are_sane():
    """A pixel twice as noisy as the model has it: its own variance is believed."""
    model = exposure_model(13, 40, (30, 30))
    cube, _ = series(14, model, lost=0, hits=0)
    for name in ("var_poisson", "var_rnoise"):
        cube[name] *= 4
    truth = np.stack([model.expected(i) for i in range(40)])
    cube["sci"] = truth + 2 * (cube["sci"] - truth)
    result = flag_parts(cube, model, Window(25, 40), FlagRules(5.0, True, True, "model"))
    assert result["n_outliers"].sum() <= 1


def test_integrations_without_a_fit_are_left_out():
    model = exposure_model(15, 40, (4, 5))
    model.brightness[7] = np.nan
    cube, _ = series(16, exposure_model(15, 40, (4, 5)), lost=0, hits=0)
    cube["sci"][7] += 1e4
    result = flag_parts(cube, model, Window(9, 40), FlagRules(5.0, True, True))
    assert result["n_outliers"][7] == 0
    assert (result["number"][3:12] == 8).all()
    assert np.isnan(result["expected"][7]).all()


def test_growth_is_along_rows_and_columns_and_not_over_unusable_pixels():
    cube = {
        "sci": np.zeros((30, 7, 7), np.float32),
        "err": np.ones((30, 7, 7), np.float32),
        "dq": np.zeros((30, 7, 7), np.uint32),
    }
    cube["sci"][4, 3, 3] = 10
    cube["sci"][9, 0, 6] = 10
    cube["dq"][4, 3, 4] = 1
    result = flag_parts(cube, None, Window(9, 30), FlagRules(5.0, grow=2))
    outlier = result["dq"] & 16 != 0
    y, x = np.indices((7, 7))
    expected = np.abs(y - 3) + np.abs(x - 3) <= 2
    expected[3, 4:] = False
    np.testing.assert_array_equal(outlier[4], expected)
    np.testing.assert_array_equal(outlier[9], y + 6 - x <= 2)
    assert result["n_outliers"].tolist() == [
        11 if i == 4 else 6 if i == 9 else 0 for i in range(30)
    ]


def replaced(model, cube, flagged):
    """Cubes after replacement with the medians of the flagging, and its counts."""
    shape = cube["sci"].shape[1:]
    cubes = {name: flagged[name].copy() for name in cube}
    images = ModelImages.of(model, shape).with_known_noise(shape)
    table = number_table(model, 0, len(cube["sci"]), scale=True)
    counts = replace_in_time(cubes, table, images, flagged["expected"], flagged["number"])
    return cubes, counts


def test_replaced_pixels_and_their_noise():
    model = exposure_model(17, 60, (30, 20))
    cube, made = series(18, model, sigmas=(10, 60))
    flagged = flag_parts(cube, model, Window(25, 60), FlagRules(5.0, True, True, "model"))
    cubes, (total, inside) = replaced(model, cube, flagged)
    bad = np.isnan(flagged["sci"])
    assert bad.sum() > 1000
    np.testing.assert_array_equal(total, bad.sum(axis=(1, 2)))
    np.testing.assert_array_equal(inside, (bad & model.region).sum(axis=(1, 2)))
    np.testing.assert_array_equal(cubes["sci"][~bad], cube["sci"][~bad])
    np.testing.assert_array_equal(cubes["dq"] & 1, 0)
    np.testing.assert_array_equal(cubes["dq"] & FLUX_ESTIMATED != 0, bad)
    median = bad & (flagged["number"] > 0)
    off = ((cubes["sci"] - made.truth) / made.sigma)[median]
    assert abs(off.mean()) < 0.04  # hits shift a median by 0.01
    assert off.std() == pytest.approx(np.sqrt(np.pi / 2 / 24), rel=0.1)
    more = 1 + np.pi / 2 / flagged["number"][median]
    photon = model.brightness[:, None, None] * (model.variance - model.read_variance)
    read = np.broadcast_to(model.read_variance, bad.shape)
    np.testing.assert_allclose(cubes["var_poisson"][median], photon[median] * more, rtol=1e-5)
    np.testing.assert_allclose(cubes["var_rnoise"][median], read[median] * more, rtol=1e-5)
    np.testing.assert_array_equal(cubes["var_flat"][bad], 0)
    np.testing.assert_allclose(
        cubes["err"] ** 2, cubes["var_poisson"] + cubes["var_rnoise"], rtol=1e-5
    )


def test_dead_pixels_take_the_image_of_the_model_and_the_noise_of_their_neighbours():
    model = exposure_model(19, 30, (5, 6))
    model.variance[2, 3] = np.inf
    cube, made = series(20, model, lost=0, hits=0)
    for name in ("sci", "err", *VARIANCES):
        cube[name][:, 2, 3] = np.nan
    cube["dq"][:, 2, 3] = 1 | 1024
    flagged = flag_parts(cube, model, Window(25, 30), FlagRules(5.0, True, True, "model"))
    cubes, (total, _) = replaced(model, cube, flagged)
    assert (total >= 1).all()
    np.testing.assert_allclose(cubes["sci"][:, 2, 3], made.truth[:, 2, 3], rtol=1e-6)
    beside = [(1, 3), (3, 3), (2, 2), (2, 4)]
    known = {round(float(model.read_variance[p]), 6) for p in beside}
    assert round(float(cubes["var_rnoise"][0, 2, 3]), 6) in known
    assert (cubes["dq"][:, 2, 3] == 1024 | FLUX_ESTIMATED).all()


def test_pixels_that_see_no_light_are_not_replaced():
    model = exposure_model(21, 30, (3, 4))
    cube, _ = series(22, model, lost=0, hits=0)
    for y, bit in ((0, 512), (1, 1 << 31)):
        cube["sci"][:, y, 0] = np.nan
        cube["dq"][:, y, 0] = 1 | bit
    flagged = flag_parts(cube, model, Window(9, 30), FlagRules(5.0, True, True))
    cubes, (total, _) = replaced(model, cube, flagged)
    assert np.isnan(cubes["sci"][:, :2, 0]).all()
    assert total.sum() == 0


def test_a_sum_with_replaced_pixels_keeps_its_error():
    """Scatter of a sum of which 2 per cent are replaced, against what its error says."""
    model = exposure_model(23, 400, (20, 20))
    cube, made = series(24, model, lost=0, hits=0.02, sigmas=(30, 60))
    flagged = flag_parts(cube, model, Window(25, 400), FlagRules(5.0, True, True, "model"))
    cubes, _ = replaced(model, cube, flagged)
    off = (cubes["sci"] - made.truth).sum(axis=(1, 2))
    stated = np.sqrt((cubes["var_poisson"] + cubes["var_rnoise"]).sum(axis=(1, 2)))
    assert np.std(off / stated) == pytest.approx(1, abs=0.1)


def test_a_model_of_other_integrations_is_refused():
    with pytest.raises(ValueError, match="20:31 are asked of a model of 0:30"):
        number_table(exposure_model(25, 30, (2, 2)), 20, 31, scale=True)
