"""Points of figures: single integrations, or of very many what runs of them span."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tso3dask.quicklook import bin_edges, bin_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["MOST_POINTS", "Series", "axis_note", "draw_series", "thinned"]

Array = NDArray[Any]

MOST_POINTS = 20_000
"""Integrations that are drawn one by one; of more, runs of them are drawn."""

_RUNS = 1000
_RUNS_AT_A_TIME = 20
_RANKS = (0.0, 0.16, 0.84, 1.0)


@dataclass(frozen=True, eq=False)
class Series:
    """What is drawn of a series of integrations, however many there are.

    Attributes
    ----------
    x : ndarray
        ``(point,)`` place of each integration, or mean place of each run.
    levels : ndarray
        ``(1, point)`` values, or ``(4, point)`` least value, limits of the central 68 % and
        greatest value of each run; NaN where it has none.
    """

    x: Array
    levels: Array

    def moved(self, factor: float, offset: float = 0.0) -> Series:
        """The same with values ``factor * (value + offset)``."""
        return Series(self.x, factor * (self.levels + offset))


def thinned(x: Array, y: Array) -> Series:
    """Return what is drawn of integrations at `x` ``(row,)`` with values `y` ``(row,)``."""
    if len(y) <= MOST_POINTS:
        return Series(x, np.asarray(y, float)[None])
    edges = bin_edges(len(y), _RUNS)
    levels = np.full((len(_RANKS), len(edges) - 1), np.nan)
    for first in range(0, len(edges) - 1, _RUNS_AT_A_TIME):
        part = edges[first : first + _RUNS_AT_A_TIME + 1]
        rows = part[:-1, None] + np.arange(np.diff(part).max())
        values = np.array(y[np.minimum(rows, len(y) - 1)], float)
        values[(rows >= part[1:, None]) | ~np.isfinite(values)] = np.nan
        values.sort(axis=1)  # NaN last
        count = np.count_nonzero(np.isfinite(values), axis=1)
        for level, rank in zip(levels, _RANKS, strict=True):
            place = np.rint(rank * np.maximum(count - 1, 0)).astype(np.intp)
            level[first : first + len(count)] = values[np.arange(len(count)), place]
    return Series(bin_rows(x, edges), levels)


def draw_series(
    axis: Axes,
    series: Series,
    colour: Any,
    marker: str = "o",
    size: float = 2.0,
    alpha: float = 1.0,
    label: str | None = None,
) -> None:
    """Draw points, or a faint bar over the values of each run and a darker one over most of them.

    Parameters
    ----------
    axis : Axes
        Where.
    series : Series
        What.
    colour, marker, size, alpha, label
        Of points; bars take colour and label.
    """
    single = len(series.levels) == 1
    axis.plot(
        series.x if single else [],
        series.levels[0] if single else [],
        linestyle="none",
        marker=marker,
        markersize=size if single else 4.0,
        markeredgewidth=0,
        color=colour,
        alpha=alpha if single else 1.0,
        label=label,
        rasterized=True,
    )
    if single:
        return
    known = np.isfinite(series.x) & np.isfinite(series.levels[0])
    low, lower, upper, high = series.levels[:, known]
    for bottom, top, faint in ((low, high, 0.3), (lower, upper, 0.7)):
        axis.vlines(
            series.x[known],
            bottom,
            top,
            colors=[colour],
            alpha=faint,
            linewidth=0.9,
            zorder=1.5,  # below medians
            rasterized=True,
        )


def axis_note(rows: int) -> str:
    """What bars are, for the label of the time axis; empty where points are integrations."""
    if rows <= MOST_POINTS:
        return ""
    return f"\nbars: range and central 68 % of runs of {-(-rows // _RUNS):,} integrations"
