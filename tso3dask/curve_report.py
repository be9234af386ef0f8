"""The figure of light curves: before and after replacement, noise, channels, regressors."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tso3dask.curvelook import CurveLook, Curves
from tso3dask.figure_points import axis_note, draw_series, thinned
from tso3dask.ops.allan import allan_deviation, relative_curve
from tso3dask.report import (
    COLOURS,
    TimeAxis,
    limits_of,
    mark_beyond,
    power_of_ten,
    relative_change,
    save_figure,
    time_axis_of,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_curves", "save_curves"]

Array = NDArray[Any]

_GREY = "0.6"
_MOST_CHANNELS = 12
_MARKED_BELOW = 1000
_ROWS = 20_000
_LABELS = {
    "shift_x": "Shift x\n(pixel)",
    "shift_y": "Shift y\n(pixel)",
    "width": "Width²\n(pixel²)",
    "background": "Background",
    "flagged_fraction": "Flagged\n(% of target)",
    "replaced_fraction": "Replaced\n(% of target)",
}


def save_curves(look: CurveLook, path: str | os.PathLike[str]) -> Path:
    """Draw the figure of light curves and write it as PNG; the file appears when it is whole."""
    return save_figure(draw_curves(look), path)


def draw_curves(look: CurveLook) -> Figure:
    """Draw the light curves of a run.

    Parameters
    ----------
    look : CurveLook
        Any number of integrations.

    Returns
    -------
    matplotlib.figure.Figure
        Left from top to bottom: the light curve with and without replacement of pixels,
        light curves of channels, regressors; right: scatter against the size of bins, and
        against the width of the aperture where that was measured.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    time = time_axis_of([curves.channel for curves in look.curves])
    spectral = [curves for curves in look.curves if curves.spectral is not None]
    names = [n for n in _LABELS if any(np.any(_known(curves, n)) for curves in look.curves)]
    heights = [2.6, *[3.4] * len(spectral), *[0.85] * len(names)]
    height = 1.0 + 1.1 * sum(heights)
    figure = Figure(figsize=(13, height), layout="constrained")
    FigureCanvasAgg(figure)
    sides = figure.subfigures(1, 2, width_ratios=(2.2, 1))
    left = sides[0].subplots(
        len(heights), 1, sharex=True, squeeze=False, gridspec_kw={"height_ratios": heights}
    )[:, 0]
    _draw_light_curves(left[0], look.curves, time)
    for axis, curves in zip(left[1:], spectral, strict=False):
        _draw_channels(axis, curves, time)
    for axis, name in zip(left[1 + len(spectral) :], names, strict=True):
        _draw_regressor(axis, name, look.curves, time)
    for axis in left:
        axis.tick_params(which="both", direction="in", top=True, right=True)
        axis.label_outer()
    rows = max((len(curves.channel.flux) for curves in look.curves), default=0)
    left[-1].set_xlabel(time.label + axis_note(rows))
    grown = [curves for curves in look.curves if curves.growth is not None]
    panels = (5.5, 3.5) if grown else (5.5,)
    rest = max(0.01, height - sum(panels))
    right = sides[1].add_gridspec(len(panels) + 1, 1, height_ratios=(*panels, rest))
    _draw_allan(sides[1].add_subplot(right[0, 0]), look.curves)
    if grown:
        _draw_growth(sides[1].add_subplot(right[1, 0]), look.curves)
    sides[0].align_ylabels(left)
    words = [part for part in (look.look.target, look.look.mode) if part]
    figure.suptitle(" · ".join(words) or look.look.product, fontweight="bold", fontsize=13)
    return figure


def _points(axis: Axes, x: Array, y: Array, colour: Any, label: str | None = None) -> None:
    draw_series(axis, thinned(x, y), colour, size=_marker_size(len(x)), label=label)


def _marker_size(count: int) -> float:
    return float(np.clip(80.0 / np.sqrt(max(count, 1)), 0.8, 4.0))


def _mark_few(axis: Axes, drawn: list[tuple[Array, Array, str]]) -> None:
    """Mark points beyond the limits; marks of very many would be a line."""
    for x, y, colour in drawn:
        if len(x) < _MARKED_BELOW:
            mark_beyond(axis, x, y, colour)


def _name(curves: Curves, text: str) -> str:
    return f"{curves.channel.label} {text}".strip()


def _known(curves: Curves, name: str) -> Array:
    """Values of a regressor that are known; none where it was not measured."""
    values = np.asarray(curves.regressors.get(name, ()), float)
    return values[np.isfinite(values)]


def _scatter_of(flux: Array) -> float:
    """Relative scatter between neighbouring integrations, as in the panel of the scatter."""
    known = allan_deviation(relative_curve(flux), np.ones(1, np.int64))
    return float(known.scatter[0]) if known.size.size else np.nan


def _raw_of(curves: Curves) -> Array | None:
    """Light curve without replacement, where it can be told from the light curve."""
    if curves.raw is None:
        return None
    away = np.abs(relative_curve(curves.raw) - relative_curve(curves.channel.flux))
    away = away[np.isfinite(away)]
    seen = 0.1 * np.nan_to_num(_scatter_of(curves.channel.flux))
    return curves.raw if np.any(away > seen) else None


def _draw_light_curves(axis: Axes, found: list[Curves], time: TimeAxis) -> None:
    """Light curves over their medians, one above the other for several detectors."""
    low, high, step = np.inf, -np.inf, 0.0
    pairs = []
    for curves in found:
        light = relative_change(curves.channel.flux)
        limits = limits_of(light)
        step = max(step, limits[1] - limits[0])
        pairs.append((light, limits))
    factor, unit = (100.0, "%") if step > 5e-3 else (1e6, "ppm")
    drawn = []
    for i, (curves, (light, limits)) in enumerate(zip(found, pairs, strict=True)):
        x, offset = time.of(curves.channel), i * step
        raw = _raw_of(curves)
        if raw is not None:
            text = f"not replaced, {1e6 * _scatter_of(raw):,.0f} ppm"
            changed = relative_change(raw) + offset
            _points(axis, x, changed * factor, _GREY, _name(curves, text))
            drawn.append((x, changed * factor, _GREY))
        text = f"{1e6 * _scatter_of(curves.channel.flux):,.0f} ppm"
        colour = COLOURS[i % len(COLOURS)]
        _points(axis, x, (light + offset) * factor, colour, _name(curves, text))
        drawn.append((x, (light + offset) * factor, colour))
        low, high = min(low, limits[0] + offset), max(high, limits[1] + offset)
    axis.set_ylim(low * factor, (high + 0.3 * (high - low)) * factor)
    _mark_few(axis, drawn)
    axis.set_ylabel(f"Relative flux ({unit})")
    axis.legend(
        loc="upper right",
        ncols=2,
        fontsize=8,
        markerscale=1.5,
        framealpha=0.85,
        title=r"1.4826 median |difference of neighbours| / $\sqrt{2}$",
        title_fontsize=7,
    )


def _joined(spectral: Array, first: int, last: int) -> Array:
    """Sum of the channels that are ever known; NaN in integrations in which one is not."""
    known = [k for k in range(first, last) if np.isfinite(spectral[:, k]).any()]
    found = np.full(len(spectral), np.nan)
    for a in range(0, len(spectral) if known else 0, _ROWS):  # without a copy of all channels
        found[a : a + _ROWS] = spectral[a : a + _ROWS, known].sum(axis=1)
    return found


def _draw_channels(axis: Axes, curves: Curves, time: TimeAxis) -> None:
    """Light curves of up to twelve channels, joined where there are more, shifted apart."""
    from matplotlib import colormaps

    assert curves.spectral is not None and curves.edges is not None
    groups = np.array_split(np.arange(len(curves.edges)), min(_MOST_CHANNELS, len(curves.edges)))
    x = time.of(curves.channel)
    spans, drawn = [], []
    for group in groups:
        light = relative_change(_joined(curves.spectral, group[0], group[-1] + 1))
        spans.append(limits_of(light))
        drawn.append(thinned(x, light))
    step = float(np.median([high - low for low, high in spans]))
    colours = colormaps["viridis"](np.linspace(0, 0.9, len(groups)))
    for i, (group, series) in enumerate(zip(groups, drawn, strict=True)):
        draw_series(axis, series.moved(100, i * step), colours[i], size=_marker_size(len(x)))
        low, high = curves.edges[group[0], 0], curves.edges[group[-1], 1]
        axis.annotate(
            f"{low:.2f} to {high:.2f} μm",
            (1.01, 100 * i * step),
            xycoords=axis.get_yaxis_transform(),
            fontsize=7,
            color=colours[i],
            va="center",
            annotation_clip=False,
        )
    axis.set_ylim(
        100 * (spans[0][0] - 0.2 * step), 100 * (spans[-1][1] + (len(groups) - 0.8) * step)
    )
    axis.set_ylabel(
        f"{_name(curves, 'channels') if curves.channel.label else 'Channels'}\n(%, shifted apart)"
    )


def _draw_regressor(axis: Axes, name: str, found: list[Curves], time: TimeAxis) -> None:
    share = name.endswith("fraction")
    power = 0 if share else power_of_ten([_known(curves, name) for curves in found])
    factor = 100.0 if share else 10.0**-power
    drawn: list[tuple[Array, Array, str]] = []
    for i, curves in enumerate(found):
        if name not in curves.regressors:
            continue
        values = factor * np.asarray(curves.regressors[name], float)
        if any(np.array_equal(values, other, equal_nan=True) for _, other, _ in drawn):
            continue  # orders share the regressors of their detector
        drawn.append((time.of(curves.channel), values, COLOURS[i % len(COLOURS)]))
        _points(axis, *drawn[-1])
    if drawn and not share:
        ranges = [limits_of(values[np.isfinite(values)]) for _, values, _ in drawn]
        axis.set_ylim(min(low for low, _ in ranges), max(high for _, high in ranges))
        _mark_few(axis, drawn)
    elif drawn:
        axis.margins(y=0.12)
    label, _, unit = _LABELS[name].partition("\n")
    unit = found[0].background_unit if name == "background" else unit.strip("()")
    scaled = " ".join(part for part in (f"$10^{{{power}}}$" if power else "", unit) if part)
    axis.set_ylabel(f"{label}\n({scaled})" if scaled else label, fontsize=8)
    axis.ticklabel_format(axis="y", useOffset=False, style="plain")
    axis.tick_params(axis="y", labelsize=8)


def _draw_allan(axis: Axes, found: list[Curves]) -> None:
    """Scatter between neighbouring bins against their size, with the line of white noise."""
    for i, curves in enumerate(found):
        colour = COLOURS[i % len(COLOURS)]
        unreplaced = _raw_of(curves)
        if unreplaced is not None:
            raw = allan_deviation(relative_curve(unreplaced))
            style = {"color": _GREY, "marker": ".", "lw": 1}  # one colour for all
            _add_line(axis, raw.size, 1e6 * raw.scatter, "not replaced", **style)
        binned = allan_deviation(relative_curve(curves.channel.flux))
        if not binned.size.size:
            continue
        style = {"color": colour, "marker": "o", "ms": 4, "lw": 1}
        _add_line(axis, binned.size, 1e6 * binned.scatter, _name(curves, "light curve"), **style)
        white = 1e6 * binned.white
        _add_line(axis, binned.size, white, r"$1/\sqrt{N}$", color=colour, ls="--", lw=1)
        if curves.error is not None:
            noise = 1e6 * np.nanmedian(curves.error) / np.nanmedian(curves.channel.flux)
            noise = noise / np.sqrt(binned.size)
            _add_line(axis, binned.size, noise, "errors", color=colour, ls=":")
    axis.set_xlabel("Integrations in a bin, N")
    axis.set_ylabel("Scatter between neighbouring bins (ppm)")
    if axis.lines:
        axis.set_xscale("log")
        axis.set_yscale("log")
        _keep_single_sizes_in_view(axis)
        _plain_numbers(axis)
        axis.legend(fontsize=8, framealpha=0.85)
    axis.grid(which="both", color="0.9", lw=0.5)


def _add_line(axis: Axes, x: Array, y: Array, label: str, **style: Any) -> None:
    """Draw a line of which something is seen, with its label unless another line has that."""
    seen = np.count_nonzero(np.isfinite(y) & (y > 0))
    if seen >= (1 if "marker" in style else 2):
        known = [line.get_label() for line in axis.lines]
        axis.plot(x, y, label=None if label in known else label, **style)


def _keep_single_sizes_in_view(axis: Axes) -> None:
    """Set limits around points of one size of bins; by itself an axis gives them two decades."""
    sizes, values = (
        np.concatenate([np.asarray(data, float) for data in each])
        for each in zip(*(line.get_data() for line in axis.lines), strict=True)
    )
    if np.ptp(sizes) == 0:
        values = values[values > 0]
        axis.set_xlim(sizes[0] / 1.25, sizes[0] * 1.25)
        axis.set_ylim(values.min() / 2, values.max() * 2)


def _plain_numbers(axis: Axes) -> None:
    """Label logarithmic axes with numbers rather than powers, and only where there is room."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    for side, (low, high) in ((axis.xaxis, axis.get_xlim()), (axis.yaxis, axis.get_ylim())):
        decades = np.log10(high / low)
        if decades < 0.5:
            subs = (
                (1.0, 2.0, 3.0)
                if side is axis.xaxis
                else (1.0, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9)
            )
        elif decades < 1:
            subs = (1.0, 2.0, 3.0, 4.0, 6.0)
        else:
            subs = (1.0, 2.0, 5.0) if decades < 2.5 else (1.0,)
        side.set_major_locator(LogLocator(subs=subs))
        side.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        side.set_minor_formatter(NullFormatter())


def _draw_growth(axis: Axes, found: list[Curves]) -> None:
    """Scatter of the light within apertures of several widths, and the width that was chosen."""
    for i, curves in enumerate(found):
        growth, colour = curves.growth, COLOURS[i % len(COLOURS)]
        if growth is None:
            continue
        style = {"color": colour, "lw": 1}
        label = curves.channel.label or None
        axis.plot(growth.width, 1e6 * growth.scatter, marker="o", ms=4, label=label, **style)
        if growth.chosen is not None:
            axis.axvline(
                growth.chosen, ls="--", label=_name(curves, f"chosen, {growth.chosen:g}"), **style
            )
    axis.set_xlabel("Width of the aperture (pixels)")
    axis.set_ylabel("Scatter (ppm)")
    if any(not str(line.get_label()).startswith("_") for line in axis.lines):
        axis.legend(fontsize=8, framealpha=0.85)
    axis.grid(color="0.9", lw=0.5)
