"""Scatter against bin size: white noise falls as one over the root, drifts do not."""

from __future__ import annotations

import numpy as np
import pytest

from tso3dask.ops.allan import allan_deviation, binned_scatter, relative_curve, successive_scatter


def test_white_noise_follows_the_root():
    values = np.random.default_rng(1).normal(0, 2.0, 200_000)
    found = binned_scatter(values)
    assert found.size[0] == 1 and found.size[-1] == 20_000
    assert found.scatter[0] == pytest.approx(2.0, rel=0.01)
    np.testing.assert_allclose(found.white, 2.0 / np.sqrt(found.size), rtol=0.01)
    uncertainty = 1 / np.sqrt(2 * (found.count - 1))
    assert np.all(np.abs(found.scatter / found.white - 1) < 4 * uncertainty)


def test_a_transit_does_not_count_between_neighbours():
    noise = np.random.default_rng(7).normal(0, 2.0, 100_000)
    transit = np.where(np.abs(np.arange(noise.size) - 50_000) < 20_000, -1000.0, 0.0)
    found = allan_deviation(noise + transit, np.array([1, 10, 100, 1000]))
    np.testing.assert_allclose(found.white, 2.0 / np.sqrt(found.size), rtol=0.02)
    np.testing.assert_allclose(found.scatter, found.white, rtol=0.25)
    slow = 5 * np.sin(np.arange(noise.size) / 300)  # what lasts longer than a bin does
    assert allan_deviation(noise + slow).scatter[-1] > 3 * found.scatter[-1]


@pytest.mark.parametrize("count", [60, 150, 600])
def test_how_uncertain_a_first_point_is(count):
    noise = np.random.default_rng(4).normal(size=(2000, count))
    found = np.array([allan_deviation(row, np.array([1])).scatter[0] for row in noise])
    assert found.mean() == pytest.approx(1, abs=0.02)
    assert found.std() == pytest.approx(1.3 / np.sqrt(count), rel=0.08)


def test_a_drift_does_not_average_down():
    drift = np.linspace(-1, 1, 1000)
    found = binned_scatter(drift)
    assert found.scatter[-1] == pytest.approx(found.scatter[0], rel=0.05)


def test_bins_are_means_of_runs():
    found = binned_scatter(np.array([1, 3, np.nan, 5, 9, 2, 2, 7]), np.array([2, 3, 50]))
    np.testing.assert_array_equal(found.size, [2, 3])
    means = np.array([2.0, 7.0, 2.0]), np.array([3.0, 13 / 3])
    np.testing.assert_allclose(found.scatter, [m.std(ddof=1) for m in means])
    np.testing.assert_array_equal(found.count, [3, 2])


def test_too_few_values_have_no_scatter():
    assert binned_scatter(np.array([1.0])).size.size == 0
    assert np.isnan(successive_scatter(np.array([1.0, np.nan, 2.0])))


def test_scatter_of_neighbours_takes_no_notice_of_a_drift():
    noise = np.random.default_rng(2).normal(0, 1e-3, 50_000)
    transit = np.where(np.abs(np.arange(noise.size) - 25_000) < 5000, 0.98, 1.0)
    drift = np.linspace(0, 1, noise.size)
    found = successive_scatter(noise + transit + drift)
    assert found == pytest.approx(1e-3, rel=0.03)


def test_relative_curve():
    np.testing.assert_allclose(relative_curve(np.array([2.0, np.nan, 4, 6])), [0.5, np.nan, 1, 1.5])
    assert np.isnan(relative_curve(np.array([-1.0, -2, 0]))).all()
