"""Replacement of bad pixels: scenes whose missing values are known, and twins in plain NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from tso3dask.ops.pixel_replace import fit_profile, mingrad

DO_NOT_USE, NON_SCIENCE, FLUX_ESTIMATED = 1, 512, 1 << 28
VARIANCES = ("var_poisson", "var_rnoise", "var_flat")
VALUES = ("sci", "err", *VARIANCES)


def scene(shape, value):
    """Cubes of which every value follows from `value` (integration, y, x)."""
    sci = np.broadcast_to(value, shape).astype(np.float32)
    cubes = {"sci": sci, "err": (0.01 * np.abs(sci) + 1).astype(np.float32)}
    for k, name in enumerate(VARIANCES):
        cubes[name] = (0.1 * cubes["err"] * (k + 1)).astype(np.float32) ** 2
    cubes["dq"] = np.zeros(shape, np.uint32)
    return cubes


def lose(cubes, *where, flags=DO_NOT_USE):
    for name in VALUES:
        cubes[name][where] = np.nan
    cubes["dq"][where] |= np.uint32(flags)


def copied(cubes):
    return {name: cube.copy() for name, cube in cubes.items()}


def same(one, other):
    for name in one:
        assert one[name].dtype == other[name].dtype
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def rough(seed, shape=(3, 23, 31)):
    """Noise on a trace, with every kind of damage."""
    random = np.random.default_rng(seed)
    y = np.arange(shape[1])[:, None] - shape[1] / 2
    trace = random.choice([0, 3, 1000]) * np.exp(-0.5 * (y / 2) ** 2)
    cubes = scene(shape, trace + random.normal(0, 5, shape))
    for name in VALUES:
        cubes[name][random.random(shape) < 0.02] = np.nan
    cubes["sci"][random.random(shape) < 0.01] = np.inf
    cubes["var_poisson"][random.random(shape) < 0.02] *= -1
    for flags in (1, 4, 512, 513, FLUX_ESTIMATED, FLUX_ESTIMATED | 1):
        cubes["dq"][random.random(shape) < 0.02] |= np.uint32(flags)
    cubes["dq"][:, :, 7] |= np.uint32(1)
    cubes["dq"][1] |= np.uint32(random.integers(2))
    return cubes


# mingrad


@pytest.mark.parametrize(("slope_y", "slope_x", "along"), [(1, 5, "y"), (5, 1, "x"), (2, 2, "x")])
def test_mingrad_takes_the_direction_of_the_smaller_gradient(slope_y, slope_x, along):
    y, x = np.mgrid[:9, :9]
    cubes = scene((2, 9, 9), slope_y * y**2 + slope_x * x**2)
    truth = copied(cubes)
    lose(cubes, 1, 4, 4)
    assert mingrad(cubes).tolist() == [0, 1]
    place = [(1, 3, 4), (1, 5, 4)] if along == "y" else [(1, 4, 3), (1, 4, 5)]
    for name in ("sci", "err"):
        expected = (truth[name][place[0]] + truth[name][place[1]]) / 2
        assert cubes[name][1, 4, 4] == pytest.approx(expected, rel=1e-6)
    for name in VARIANCES:
        root = sum(np.sqrt(truth[name][p]) for p in place) / 2
        assert cubes[name][1, 4, 4] == pytest.approx(root**2, rel=1e-6)
    assert cubes["dq"][1, 4, 4] == FLUX_ESTIMATED
    for name in cubes:
        truth[name][1, 4, 4] = cubes[name][1, 4, 4]
    same(cubes, truth)


def test_mingrad_leaves_a_plane_a_plane():
    y, x = np.mgrid[:12, :15]
    cubes = scene((1, 12, 15), 3 * y + 2 * x)
    truth = cubes["sci"].copy()
    lose(cubes, 0, slice(2, 11, 2), slice(2, 14, 2))
    mingrad(cubes)
    np.testing.assert_array_equal(cubes["sci"], truth)


def test_mingrad_leaves_the_first_two_and_the_last_rows_and_columns():
    cubes = scene((1, 7, 8), np.arange(8.0))
    lose(cubes, 0, [0, 1, 6, 3, 3, 3], [3, 3, 3, 0, 1, 7])
    before = copied(cubes)
    assert mingrad(cubes).tolist() == [0]
    same(cubes, before)


def test_mingrad_goes_round_neighbours_without_a_value():
    cubes = scene((1, 8, 8), np.arange(8.0)[:, None] * 10 + np.arange(8.0))
    lose(cubes, 0, 4, slice(3, 6))
    assert mingrad(cubes).tolist() == [3]
    np.testing.assert_array_equal(cubes["sci"][0, 4, 3:6], [43, 44, 45])
    lose(cubes, 0, slice(3, 6), slice(3, 6))
    assert mingrad(cubes).tolist() == [0]  # every one of them has two neighbours without a value
    assert np.isnan(cubes["sci"][0, 3:6, 3:6]).all()


def test_mingrad_heeds_values_and_not_flags():
    cubes = scene((1, 8, 8), 5.0)
    cubes["dq"][0, 4, 4] = DO_NOT_USE
    cubes["sci"][0, 3, 3] = np.inf
    assert mingrad(cubes).tolist() == [1]
    assert cubes["dq"][0, 4, 4] == DO_NOT_USE
    assert cubes["sci"][0, 3, 3] == 5 and cubes["dq"][0, 3, 3] == FLUX_ESTIMATED


def test_mingrad_keeps_do_not_use_outside_the_detector():
    cubes = scene((1, 8, 8), 5.0)
    lose(cubes, 0, 4, 4, flags=DO_NOT_USE | NON_SCIENCE | 4)
    mingrad(cubes)
    assert cubes["sci"][0, 4, 4] == 5
    assert cubes["dq"][0, 4, 4] == DO_NOT_USE | NON_SCIENCE | FLUX_ESTIMATED | 4


def test_mingrad_gives_no_variance_where_a_neighbour_has_no_root():
    cubes = scene((1, 8, 8), np.arange(8.0)[:, None])
    lose(cubes, 0, 4, 4)
    cubes["var_rnoise"][0, 4, 3] *= -1
    mingrad(cubes)
    assert np.isnan(cubes["var_rnoise"][0, 4, 4])
    assert cubes["sci"][0, 4, 4] == 4


def plain_mingrad(cubes):
    """The same in plain NumPy, pixel by pixel."""
    before = copied(cubes)
    nints, ny, nx = cubes["sci"].shape
    for i in range(nints):
        for y, x in np.argwhere(~np.isfinite(before["sci"][i])):
            if not (1 < y < ny - 1 and 1 < x < nx - 1):
                continue
            pairs = [((i, y, x - 1), (i, y, x + 1)), ((i, y - 1, x), (i, y + 1, x))]
            sizes = [abs(before["sci"][a] - before["sci"][b]) for a, b in pairs]
            sizes = [np.inf if np.isnan(size) else size for size in sizes]
            if min(sizes) == np.inf:
                continue
            a, b = pairs[int(np.argmin(sizes))]
            for name in VALUES:
                values = before[name][a], before[name][b]
                if name.startswith("var"):
                    cubes[name][i, y, x] = ((np.sqrt(values[0]) + np.sqrt(values[1])) / 2) ** 2
                else:
                    cubes[name][i, y, x] = (values[0] + values[1]) / 2
            flags = int(before["dq"][i, y, x])
            flags &= ~DO_NOT_USE if not flags & NON_SCIENCE else ~0
            cubes["dq"][i, y, x] = flags | FLUX_ESTIMATED


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("seed", range(4))
def test_mingrad_is_its_plain_twin(seed):
    ours, plain = rough(seed), rough(seed)
    mingrad(ours)
    plain_mingrad(plain)
    same(ours, plain)


# fit_profile


@pytest.mark.parametrize("dispaxis", [1, 2])
@pytest.mark.parametrize("reach", [2, 3, 100])
def test_a_profile_that_only_changes_in_brightness_is_restored(dispaxis, reach):
    y = np.arange(20)[:, None] - 9.3
    profile = 1e4 * np.exp(-0.5 * (y / 2) ** 2) * (1 + 0.3 * np.sin(np.arange(30) / 4))
    cubes = scene((3, 20, 30), profile)
    cubes["err"] = (cubes["sci"] * 0.01).astype(np.float32)
    for name in VARIANCES:
        cubes[name] = (cubes["sci"] * 0.02) ** 2
    truth = copied(cubes)
    bad = np.random.default_rng(1).random((3, 20, 30)) < 0.05
    bad[:, 9] = False  # the brightest row tells the scale
    lose(cubes, bad)
    turned = {n: c.transpose(0, 2, 1).copy() if dispaxis == 2 else c for n, c in cubes.items()}
    count = fit_profile(turned, dispaxis, reach)
    cubes = {n: c.transpose(0, 2, 1) if dispaxis == 2 else c for n, c in turned.items()}
    assert count.tolist() == bad.sum((1, 2)).tolist()
    for name in VALUES:
        np.testing.assert_allclose(cubes[name], truth[name], rtol=2e-4, atol=1e-12)
    assert (cubes["dq"][bad] == FLUX_ESTIMATED).all() and not cubes["dq"][~bad].any()


def test_faint_profiles_are_not_scaled():
    values = np.random.default_rng(2).normal(0, 1, (1, 10, 9)).astype(np.float32)
    cubes = scene((1, 10, 9), values)
    lose(cubes, 0, 5, 4)
    fit_profile(cubes, 1, 2)
    assert cubes["sci"][0, 5, 4] == np.median(values[0, 5, [2, 3, 5, 6]])


def test_what_fit_profile_leaves_alone():
    clean = scene((1, 10, 9), 100.0)
    for flags in (NON_SCIENCE, 4, 0):
        cubes = copied(clean)
        cubes["dq"][0, 5, 4] = flags
        before = copied(cubes)
        assert fit_profile(cubes, 1, 2).tolist() == [0]
        same(cubes, before)
    cubes = copied(clean)
    lose(cubes, 0, slice(None), 4)  # nothing to scale a profile to
    lose(cubes, 0, 5, 6)
    before = copied(cubes)
    assert fit_profile(cubes, 1, 0).tolist() == [0]  # no neighbours
    assert fit_profile(cubes, 1, -1).tolist() == [0]
    same(cubes, before)
    assert fit_profile(cubes, 1, 1).tolist() == [1]
    assert np.isnan(cubes["sci"][0, :, 4]).all()
    lose(cubes, 0)
    assert fit_profile(cubes, 1, 1).tolist() == [0]


def test_fit_profile_turns_an_estimate_that_was_lost_into_no_estimate():
    cubes = scene((1, 10, 9), 100.0)
    lose(cubes, 0, 5, 4, flags=DO_NOT_USE | FLUX_ESTIMATED)
    lose(cubes, 0, 6, 4, flags=DO_NOT_USE | NON_SCIENCE)
    fit_profile(cubes, 1, 2)
    assert cubes["dq"][0, 5, 4] == 0
    assert cubes["dq"][0, 6, 4] == DO_NOT_USE | NON_SCIENCE and np.isnan(cubes["sci"][0, 6, 4])


def test_no_direction():
    with pytest.raises(ValueError, match="dispaxis is 3"):
        fit_profile(scene((1, 4, 4), 1.0), 3)
    cubes = scene((1, 4, 4), 1.0)
    with pytest.raises(ValueError, match="differ in shape"):
        mingrad({**cubes, "err": cubes["err"][:, 1:]})


def compiled(name):
    """A helper kernel as a function that tests can call."""
    import numba

    from tso3dask.ops import _simplex_jit

    kernel = getattr(_simplex_jit, name)
    return numba.njit(lambda *arguments: kernel(*arguments), error_model="numpy")


def test_sums_are_those_of_numpy_to_the_bit():
    total = compiled("_pairwise_sum")
    random = np.random.default_rng(3)
    for count in [*range(1, 20), 127, 128, 129, 255, 256, 257, 1000, 2048, 5000]:
        values = random.normal(size=count).astype(np.float32)
        assert total(values, 0, count) == values.sum()


@pytest.mark.parametrize("start", [1.0, 0.0, 7.5])
def test_scales_are_those_of_scipy(start):
    def mean_square(scale, model, current):
        return np.float64(np.nansum((current - model * scale) ** 2)) / len(current)

    fit = compiled("fit_scale")
    random = np.random.default_rng(4)
    start = np.float32(start)
    for _ in range(40):
        count = int(random.integers(1, 200))
        model = random.random(count).astype(np.float32)
        current = np.abs(model * 1.3 + random.normal(0, 0.1, count)).astype(np.float32)
        model[random.random(count) < 0.02] = np.nan
        found = minimize(mean_square, start, (model, current), method="Nelder-Mead").x[0]
        assert fit(start, model, current, count, np.empty(count, np.float32)) == found


@pytest.mark.parametrize("replace", [mingrad, lambda cubes: fit_profile(cubes, 1)])
def test_integrations_do_not_know_of_each_other(replace):
    whole = rough(5)
    parts = [{name: cube[i : i + 1].copy() for name, cube in whole.items()} for i in range(3)]
    counts = replace(whole)
    for i, part in enumerate(parts):
        assert replace(part).tolist() == [counts[i]]
        same(part, {name: cube[i : i + 1] for name, cube in whole.items()})


@pytest.mark.parametrize("replace", [mingrad, lambda cubes: fit_profile(cubes, 2)])
def test_missing_variances(replace):
    whole, part = rough(6), rough(6)
    del part["var_flat"]
    replace(whole)
    replace(part)
    same(part, {name: whole[name] for name in part})
