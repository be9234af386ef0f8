"""Points of figures: bounded however many integrations there are, and what they stand for."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

from tso3dask.figure_points import MOST_POINTS, axis_note, draw_series, thinned


def test_few_integrations_are_drawn_one_by_one():
    x, y = np.arange(MOST_POINTS), np.random.default_rng(1).normal(size=MOST_POINTS)
    series = thinned(x, y)
    np.testing.assert_array_equal(series.x, x)
    np.testing.assert_array_equal(series.levels, y[None])
    assert axis_note(MOST_POINTS) == ""


@pytest.mark.parametrize("count", [MOST_POINTS + 1, 123_457])
def test_runs_of_many_integrations_span_their_values(count):
    rng = np.random.default_rng(2)
    y = rng.normal(size=count)
    y[rng.random(count) < 0.1] = np.nan
    y[:1500] = np.nan
    y[count // 2] = 50.0
    series = thinned(np.arange(count), y)
    assert series.x.shape == (1000,) and series.levels.shape == (4, 1000)
    assert np.isnan(series.levels[:, 0]).all()
    edges = np.linspace(0, count, 1001).round().astype(int)
    for k in (*range(15, 20), 500, 998, 999):
        run = y[edges[k] : edges[k + 1]]
        known = np.sort(run[np.isfinite(run)])
        if known.size:
            ranks = np.rint(np.array([0, 0.16, 0.84, 1]) * (known.size - 1)).astype(int)
            np.testing.assert_array_equal(series.levels[:, k], known[ranks])
        assert series.x[k] == pytest.approx(np.arange(edges[k], edges[k + 1]).mean())
    assert np.nanmax(series.levels) == 50.0  # a single outlier is still seen
    np.testing.assert_array_equal(series.moved(3, 1).levels, 3 * (series.levels + 1))
    assert f"{-(-count // 1000):,} integrations" in axis_note(count)


def test_what_is_drawn_does_not_grow():
    axis = Figure().subplots()
    count = 300_000
    y = np.random.default_rng(3).normal(size=count)
    draw_series(axis, thinned(np.arange(count) / 60, y), "C0", label="star")
    drawn = sum(len(line.get_xdata()) for line in axis.lines)
    assert drawn + sum(len(bars.get_segments()) for bars in axis.collections) == 2000
    assert axis.get_legend_handles_labels()[1] == ["star"]
    low, high = axis.get_ylim()
    assert low <= y.min() and high >= y.max()
