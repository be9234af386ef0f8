"""Channels: edges, parts of columns, sums and errors."""

from __future__ import annotations

import numpy as np
import pytest

from tso3dask.errors import InputError
from tso3dask.ops.channels import channel_edges, channel_plan, column_edges, sum_channels

WAVELENGTH = np.linspace(5.0, 3.0, 21)  # falls along the detector: columns are 0.1 um wide


def twin(flux, error, plan):
    """The sums in plain numpy."""
    total = np.full((len(flux), plan.count), np.nan)
    uncertainty = total.copy()
    for c in range(plan.count):
        part = slice(plan.starts[c], plan.starts[c + 1])
        f = flux[:, plan.columns[part]] * plan.shares[part]
        e = error[:, plan.columns[part]] * plan.shares[part]
        known = ~np.isnan(f)
        total[:, c] = np.where(known.any(1), np.nansum(f, 1), np.nan)
        variance = np.nansum(np.where(known, e, np.nan) ** 2, 1)
        uncertainty[:, c] = np.where(variance > 0, np.sqrt(variance), np.nan)
    return total, uncertainty


def test_edges_of_columns():
    order, edges = column_edges(np.array([3.0, np.nan, 1.0, 2.0]))
    np.testing.assert_array_equal(order, [2, 3, 0])
    np.testing.assert_allclose(edges, [0.5, 1.5, 2.5, 3.5])


def test_groups_of_columns_are_whole():
    edges = channel_edges(WAVELENGTH, pixels_per_channel=4)
    plan = channel_plan(WAVELENGTH, edges)
    assert plan.count == 5  # the 21st column is left over
    np.testing.assert_array_equal(np.diff(plan.starts), 4)
    np.testing.assert_array_equal(plan.shares, 1.0)
    assert set(plan.columns) == set(range(1, 21))


def test_resolving_power_of_channels():
    edges = channel_edges(WAVELENGTH, resolving_power=20)
    np.testing.assert_allclose(edges.mean(1) / np.diff(edges)[:, 0], 20)
    np.testing.assert_allclose(edges[1:, 0], edges[:-1, 1])
    assert edges[0, 0] == pytest.approx(2.95)
    assert edges[-1, 1] <= 5.05 < edges[-1, 1] * 41 / 39
    assert len(channel_edges(np.linspace(1, 5, 2000))) == 161  # R = 100 where nothing is said


def test_given_edges_are_cut_to_the_spectrum():
    edges = channel_edges(WAVELENGTH, edges=np.array([1.0, 2.0, 3.2, 4.0, 9.0, 10.0]))
    np.testing.assert_allclose(edges, [[2.95, 3.2], [3.2, 4.0], [4.0, 5.05]])
    narrow = channel_edges(
        WAVELENGTH, edges=np.array([3.0, 4, 5]), min_wavelength=3.5, max_wavelength=4.5
    )
    np.testing.assert_allclose(narrow, [[3.5, 4], [4, 4.5]])


def test_neighbouring_channels_share_columns_without_loss():
    rng = np.random.default_rng(3)
    flux, error = rng.uniform(1, 2, (5, 21)), rng.uniform(0.1, 0.2, (5, 21))
    cuts = np.array([2.95, 3.3, 3.48, 3.999, 5.05])
    plan = channel_plan(WAVELENGTH, channel_edges(WAVELENGTH, edges=cuts))
    total, _ = sum_channels(flux, error, plan)
    np.testing.assert_allclose(total.sum(1), flux.sum(1))
    even, _ = sum_channels(np.ones((1, 21)), np.ones((1, 21)), plan)
    np.testing.assert_allclose(even[0], np.diff(cuts) / 0.1)


def test_sums_are_those_of_plain_numpy():
    rng = np.random.default_rng(4)
    flux, error = rng.normal(5, 1, (30, 21)), rng.uniform(0.1, 1, (30, 21))
    flux[rng.random(flux.shape) < 0.2] = np.nan
    error[rng.random(error.shape) < 0.1] = np.nan
    flux[3] = error[4] = np.nan
    plan = channel_plan(WAVELENGTH, channel_edges(WAVELENGTH, resolving_power=13))
    found, expected = sum_channels(flux, error, plan), twin(flux, error, plan)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-13)
    assert np.isnan(found[0][3]).all() and np.isnan(found[1][4]).all()


def test_error_is_the_scatter_of_whole_channels():
    rng = np.random.default_rng(5)
    flux = rng.normal(10, 0.3, (20_000, 21))
    plan = channel_plan(WAVELENGTH, channel_edges(WAVELENGTH, edges=np.array([3.0, 3.52, 4.0])))
    total, uncertainty = sum_channels(flux, np.full(flux.shape, 0.3), plan)
    np.testing.assert_allclose(total.std(0), uncertainty[0], rtol=0.02)


def test_what_makes_no_channel_is_refused():
    with pytest.raises(InputError, match="one of edges, resolving_power and pixels_per_channel"):
        channel_edges(WAVELENGTH, resolving_power=10, pixels_per_channel=3)
    with pytest.raises(InputError, match="no channel lies within"):
        channel_edges(WAVELENGTH, edges=np.array([7.0, 8.0]))
    with pytest.raises(InputError, match="no channel lies within"):
        channel_edges(WAVELENGTH, pixels_per_channel=50)
    with pytest.raises(InputError, match=r"um, and within min_wavelength 800$") as told:
        channel_edges(WAVELENGTH, min_wavelength=800)
    low, high = column_edges(WAVELENGTH)[1][[0, -1]]
    assert f"the spectrum, {low:.4g} to {high:.4g} um" in str(told.value)
    narrow = r"within min_wavelength 3 and max_wavelength 3.001; at 3 um a channel is 0.03 um wide$"
    with pytest.raises(InputError, match=narrow):
        channel_edges(WAVELENGTH, min_wavelength=3, max_wavelength=3.001)
    for power, told in ((1e9, "1e[+]09 makes 5.38e[+]08"), (1e17, "1e[+]17"), (1e308, "1e[+]308")):
        with pytest.raises(InputError, match=f"resolving_power: {told} .*no more than 10000"):
            channel_edges(WAVELENGTH, resolving_power=power)
