"""The quick-look figure of an observation."""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tso3dask.figure_points import axis_note, draw_series, thinned
from tso3dask.quicklook import Channel, QuickLook, bin_edges, bin_rows
from tso3dask.wording import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "COLOURS",
    "TimeAxis",
    "draw_quicklook",
    "limits_of",
    "mark_beyond",
    "power_of_ten",
    "relative_change",
    "save_figure",
    "save_quicklook",
    "time_axis_of",
]

Array = NDArray[Any]

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Colours of detectors and orders, told apart by readers who see few colours."""

_MARKERS = ("o", "s", "^", "D", "v", "P")
_MOST_TIME_BINS = 300
_MOST_WAVELENGTH_BINS = 150
_CURVE_BINS = 120
_BINNED_FROM = 8 * _CURVE_BINS


@dataclass(frozen=True)
class TimeAxis:
    """How the times of all channels are drawn: ``(time - zero) * scale``, or by number."""

    label: str
    source: str
    zero: float = 0.0
    scale: float = 1.0

    def of(self, channel: Channel) -> Array:
        """Return the position ``(row,)`` of each integration of a channel on the axis."""
        if self.source == "integration":
            return channel.integration.astype(float)
        return (np.asarray(getattr(channel, self.source), dtype=float) - self.zero) * self.scale


def save_quicklook(look: QuickLook, path: str | os.PathLike[str]) -> Path:
    """Draw the quick-look figure and write it as PNG; the file appears when it is whole."""
    return save_figure(draw_quicklook(look), path)


def save_figure(figure: Figure, path: str | os.PathLike[str]) -> Path:
    """Write a figure as PNG; the file appears when it is whole."""
    path = Path(path)
    part = path.with_name(f".{path.name}.part")
    try:
        figure.savefig(part, format="png", dpi=150)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path


def draw_quicklook(look: QuickLook) -> Figure:
    """Draw light curves, dynamic spectra, flagged pixels and centroids on one time axis.

    Parameters
    ----------
    look : QuickLook
        Any number of integrations; long series are binned for the figure.

    Returns
    -------
    matplotlib.figure.Figure
        Not registered with pyplot, so nothing needs to be closed.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    channels = [c for c in look.channels if len(c.flux)]
    time = time_axis_of(channels)
    panels = _panels(channels)
    heights = [height for _, height, _ in panels]
    figure = Figure(figsize=(10, 1.6 + 1.05 * sum(heights)), layout="constrained")
    FigureCanvasAgg(figure)
    figure.get_layout_engine().set(h_pad=0.03, hspace=0.03)  # type: ignore[union-attr]
    axes = figure.subplots(
        len(panels), 1, sharex=True, squeeze=False, gridspec_kw={"height_ratios": heights}
    )[:, 0]
    colour = {id(c): i for i, c in enumerate(channels)}
    for axis, (draw, _, members) in zip(axes, panels, strict=True):
        draw(axis, members, time, [colour[id(c)] for c in members])
        _mark_segments(axis, members, time)
        axis.tick_params(which="both", direction="in", top=True, right=True)
    axes[-1].set_xlabel(time.label + axis_note(max((len(c.flux) for c in channels), default=0)))
    _set_time_limits(axes[-1], channels, time)
    figure.align_ylabels(axes)
    title = " · ".join(part for part in (look.target, look.mode) if part) or look.product
    axes[0].set_title(title + "\n", loc="left", fontsize=13, fontweight="bold")
    axes[0].text(
        0.0, 1.05, _subtitle(look, channels), transform=axes[0].transAxes, fontsize=9, color="0.35"
    )
    return figure


def _subtitle(look: QuickLook, channels: list[Channel]) -> str:
    count = sum(len(c.flux) for c in channels[:1])
    segments = len(channels[0].segment_starts) if channels else 0
    parts = counted(max(segments, 1), "segment") + (" (dashed)" if segments > 1 else "")
    return f"{look.product} · {counted(count, 'integration')} · {parts}"


def mark_beyond(axis: Axes, x: Array, y: Array, colour: str) -> None:
    """Mark the integrations that lie above or below the limits by triangles at the edge."""
    low, high = axis.get_ylim()
    for beyond, edge, marker in ((y > high, high, "^"), (y < low, low, "v")):
        (line,) = axis.plot(
            x[beyond],
            np.full(np.count_nonzero(beyond), edge),
            linestyle="none",
            marker=marker,
            markersize=5,
            markeredgewidth=0,
            color=colour,
            clip_on=False,
            zorder=3,
        )
        line.set_in_layout(False)


def _panels(channels: list[Channel]) -> list[tuple[Any, float, list[Channel]]]:
    """Return what is drawn from top to bottom: function, relative height, channels."""
    panels: list[tuple[Any, float, list[Channel]]] = [
        (_draw_raw, 1.3, channels),
        (_draw_normalised, 2.4, channels),
    ]
    for channel in channels:
        if channel.spectra is not None and np.size(channel.spectra):
            panels.append((_draw_spectra, 2.2, [channel]))  # noqa: PERF401
    tracked = [c for c in channels if c.centroid_x is not None and c.centroid_y is not None]
    if tracked:
        panels.append((_draw_centroid, 1.5, tracked))
    flagged = [c for c in channels if c.flagged is not None]
    if flagged:
        panels.append((_draw_flagged, 1.1, flagged))
    return panels


def time_axis_of(channels: list[Channel]) -> TimeAxis:
    """Choose barycentric times, else UTC, else integration numbers, for all channels alike."""
    for source, name in (("bjd", "BMJD(TDB)"), ("mjd", "MJD(UTC)")):
        times = [
            np.asarray(getattr(c, source), dtype=float)
            for c in channels
            if getattr(c, source) is not None
        ]
        if len(times) < len(channels) or not channels:
            continue
        if not all(np.isfinite(t).any() and np.nanmax(t) > 0 for t in times):
            continue
        low = min(np.nanmin(t) for t in times)
        span = max(np.nanmax(t) for t in times) - low
        unit, scale = ("days", 1.0) if span > 4 else ("hours", 24.0)
        if span < 1.5 / 24:
            unit, scale = "minutes", 1440.0
        zero = np.floor(low * 1e5) / 1e5
        return TimeAxis(f"Time since {name} {zero:.5f} ({unit})", source, zero, scale)
    return TimeAxis("Integration number", "integration")


def _set_time_limits(axis: Axes, channels: list[Channel], time: TimeAxis) -> None:
    positions = [time.of(c) for c in channels]
    low = min(np.nanmin(p) for p in positions)
    high = max(np.nanmax(p) for p in positions)
    steps = [np.nanmedian(d) for d in map(np.diff, positions) if np.isfinite(d).any()]
    margin = max([0.01 * (high - low), *(0.6 * abs(step) for step in steps)]) or 0.5
    axis.set_xlim(low - margin, high + margin)
    if time.source == "integration":
        axis.xaxis.get_major_locator().set_params(integer=True)


def _mark_segments(axis: Axes, channels: list[Channel], time: TimeAxis) -> None:
    for channel in channels[:1]:
        position = time.of(channel)
        for start in channel.segment_starts[1:]:
            if 0 < start < len(position):
                middle = 0.5 * (position[start - 1] + position[start])
                axis.axvline(middle, color="0.75", linewidth=0.8, linestyle=(0, (4, 3)), zorder=0.5)


def _points(axis: Axes, x: Array, y: Array, index: int, medians: bool = True) -> None:
    """Draw single integrations; of very many, a faint cloud with the medians of runs on top."""
    many = len(x) >= _BINNED_FROM
    marker, colour = _MARKERS[index % len(_MARKERS)], COLOURS[index % len(COLOURS)]
    size = float(np.clip(90.0 / np.sqrt(max(len(x), 1)), 0.8, 4.5))
    faint = float(np.clip(30.0 / np.sqrt(len(x)), 0.15, 0.5)) if many and medians else 0.85
    draw_series(axis, thinned(x, y), colour, marker, size, faint)
    if many and medians:
        axis.plot(
            _medians(x, _CURVE_BINS),
            _medians(y, _CURVE_BINS),
            linestyle="none",
            marker=marker,
            markersize=4.2,
            color=colour,
            markeredgecolor="white",
            markeredgewidth=0.5,
        )


def _legend(axis: Axes, entries: list[tuple[int, str]], location: str, columns: int = 1) -> None:
    """Add a legend with one clear marker for each (colour index, text)."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D(
            [],
            [],
            linestyle="none",
            markersize=5.5,
            markeredgewidth=0,
            label=text,
            marker=_MARKERS[index % len(_MARKERS)],
            color=COLOURS[index % len(COLOURS)],
        )
        for index, text in entries
    ]
    axis.legend(
        handles=handles,
        loc=location,
        fontsize=8,
        framealpha=0.85,
        edgecolor="none",
        handletextpad=0.1,
        borderaxespad=0.3,
        ncols=columns,
        columnspacing=1.2,
    )


def _scatter(values: Array) -> float:
    """Return the robust scatter from one integration to the next, in units of `values`."""
    steps = np.diff(values)
    steps = steps[np.isfinite(steps)]
    if steps.size < 10:
        return float("nan")
    return float(1.4826 * np.median(np.abs(steps - np.median(steps))) / np.sqrt(2.0))


def _medians(values: Array, bins: int) -> Array:
    """Return the median of each of `bins` runs of rows, NaN left out."""
    edges = bin_edges(len(values), bins)
    out = np.full(len(edges) - 1, np.nan)
    for k, (a, b) in enumerate(pairwise(edges)):
        finite = values[a:b][np.isfinite(values[a:b])]
        if finite.size:
            out[k] = np.median(finite)
    return out


def limits_of(values: Array) -> tuple[float, float]:
    """Return limits that show what lasts (a transit, a drift), not single outliers.

    The range of medians of neighbours, widened by the scatter between integrations.
    """
    finite = values[np.isfinite(values)]
    if finite.size < 12:
        low, high = (finite.min(), finite.max()) if finite.size else (-1.0, 1.0)
        pad = 0.12 * (high - low) or abs(high) * 1e-3 or 1.0
        return float(low - pad), float(high + pad)
    trend = _medians(
        finite, max(len(finite) // 4, 3) if len(finite) < _BINNED_FROM else _CURVE_BINS
    )
    low, high = float(trend.min()), float(trend.max())
    noise = _scatter(finite) * (4.0 if len(finite) < _BINNED_FROM else 2.5)
    pad = max(np.nan_to_num(noise), 0.1 * (high - low)) or abs(high) * 1e-3 or 1.0
    return low - pad, high + pad


def power_of_ten(fluxes: list[Array]) -> int:
    """Power of ten that fluxes are shown in: 0 for numbers of a few digits, else a third one."""
    finite = np.concatenate([flux[np.isfinite(flux)] for flux in fluxes])
    largest = np.abs(finite).max() if finite.size else 0.0
    if not 0 < largest < np.inf or 1e-2 <= largest < 1e4:
        return 0
    return int(3 * np.floor(np.log10(largest) / 3))


def _draw_raw(axis: Axes, channels: list[Channel], time: TimeAxis, indices: list[int]) -> None:
    power = power_of_ten([channel.flux for channel in channels])
    for channel, index in zip(channels, indices, strict=True):
        _points(axis, time.of(channel), channel.flux / 10.0**power, index, medians=False)
    first = channels[0]
    scale = f"$10^{{{power}}}$ " if power else ""
    unit = f"\n({scale}{first.unit})" if scale or first.unit else ""
    axis.set_ylabel(f"{first.flux_name}{unit}")
    low, high = axis.get_ylim()
    if len(channels) > 1 and low > 0 and high / low > 8:
        axis.set_yscale("log")
    else:
        axis.ticklabel_format(axis="y", useOffset=False, style="plain")


def relative_change(flux: Array) -> Array:
    """Return the change against the level outside a transit in the middle of the series.

    That level is the median of the first and the last sixth; NaN if it is not positive.
    """
    edge = max(len(flux) // 6, 1)
    level = np.concatenate([flux[:edge], flux[-edge:]])
    for values in (level, flux):
        finite = values[np.isfinite(values)]
        if finite.size and np.median(finite) > 0:
            return flux / np.median(finite) - 1.0
    return np.full(len(flux), np.nan)


def _draw_normalised(
    axis: Axes, channels: list[Channel], time: TimeAxis, indices: list[int]
) -> None:
    curves = [relative_change(c.flux) for c in channels]
    limits = [limits_of(curve) for curve in curves]
    low, high = min(a for a, _ in limits), max(b for _, b in limits)
    factor, unit = (100.0, "%") if high - low > 5e-3 else (1e6, "ppm")
    entries = []
    for channel, curve, index in zip(channels, curves, indices, strict=True):
        _points(axis, time.of(channel), curve * factor, index)
        noise = _scatter(curve) * 1e6
        text = f"scatter {noise:,.0f} ppm per integration" if np.isfinite(noise) else ""
        entries.append((index, ": ".join(part for part in (channel.label, text) if part)))
    axis.axhline(0, color="0.4", linewidth=0.7, zorder=0.6)
    axis.set_ylim(low * factor, high * factor)
    axis.set_ylabel(f"Relative flux\n(change, {unit})")
    for channel, curve, index in zip(channels, curves, indices, strict=True):
        if len(curve) < _BINNED_FROM:
            mark_beyond(axis, time.of(channel), curve * factor, COLOURS[index % len(COLOURS)])
    entries = [entry for entry in entries if entry[1]]
    if entries:
        _legend(axis, entries, "lower right")


def _draw_flagged(axis: Axes, channels: list[Channel], time: TimeAxis, indices: list[int]) -> None:
    top, drawn = 0.0, []
    for channel, index in zip(channels, indices, strict=True):
        values = 100.0 * np.asarray(channel.flagged, dtype=float)
        if any(np.array_equal(values, other, equal_nan=True) for other in drawn):
            continue  # orders share the flags of their detector
        drawn.append(values)
        top = max(top, np.nanmax(values) if np.isfinite(values).any() else 0.0)
        _points(axis, time.of(channel), values, index)
    axis.set_ylim(-0.04 * top, top * 1.12 or 1.0)
    axis.set_ylabel("Outlier pixels\n(%)")


def _draw_centroid(axis: Axes, channels: list[Channel], time: TimeAxis, indices: list[int]) -> None:
    entries, limits = [], []
    for channel, index in zip(channels, indices, strict=True):
        for k, name in enumerate(("x", "y")):
            values = np.asarray(getattr(channel, f"centroid_{name}"), dtype=float)
            middle = np.median(values[np.isfinite(values)]) if np.isfinite(values).any() else np.nan
            offset = values - middle
            limits.append(limits_of(offset))
            entries.append((2 * index + k, f"{channel.label} {name} − {middle:.3f}".strip()))
            _points(axis, time.of(channel), offset, 2 * index + k)
    low, high = min(a for a, _ in limits), max(b for _, b in limits)
    axis.axhline(0, color="0.4", linewidth=0.7, zorder=0.6)
    axis.set_ylim(low, high + 0.22 * (high - low))
    axis.set_ylabel("Centroid\n(pixel)")
    _legend(axis, entries, "upper right", columns=len(entries))


def _centres_to_edges(centres: Array) -> Array:
    """Return the edges ``(n + 1,)`` between centres, with end cells as wide as their neighbours."""
    if len(centres) == 1:
        return np.array([centres[0] - 0.5, centres[0] + 0.5])
    middle = 0.5 * (centres[1:] + centres[:-1])
    return np.concatenate(
        [
            [centres[0] - (middle[0] - centres[0])],
            middle,
            [centres[-1] + (centres[-1] - middle[-1])],
        ]
    )


def _binned_spectra(channel: Channel) -> tuple[Array, Array, Array]:
    """Return time-bin row edges, wavelengths and spectra, small enough to draw."""
    spectra = np.asarray(channel.spectra, dtype=float)
    rows = channel.spectra_edges
    edges = np.arange(len(spectra) + 1) if rows is None else np.asarray(rows)
    if len(spectra) > _MOST_TIME_BINS:
        coarse = bin_edges(len(spectra), _MOST_TIME_BINS)
        spectra, edges = bin_rows(spectra, coarse), edges[coarse]
    wavelength = np.asarray(
        np.arange(spectra.shape[1]) if channel.wavelength is None else channel.wavelength,
        dtype=float,
    )
    usable = np.isfinite(wavelength) & np.isfinite(spectra).any(axis=0)
    order = np.flatnonzero(usable)[np.argsort(wavelength[usable], kind="stable")]
    wavelength, spectra = wavelength[order], spectra[:, order]
    if len(wavelength) > _MOST_WAVELENGTH_BINS:
        coarse = bin_edges(len(wavelength), _MOST_WAVELENGTH_BINS)
        spectra = bin_rows(spectra.T, coarse).T
        wavelength = bin_rows(wavelength, coarse)
    return edges, wavelength, spectra


def _draw_spectra(axis: Axes, channels: list[Channel], time: TimeAxis, _: list[int]) -> None:
    (channel,) = channels
    edges, wavelength, spectra = _binned_spectra(channel)
    name = "Wavelength (μm)" if channel.wavelength is not None else "Column"
    axis.set_ylabel(f"{channel.label}\n{name}" if channel.label else name)
    if not len(wavelength):
        return
    middle = np.nanmedian(spectra, axis=0)
    seen = middle > 0
    if not seen.any():
        return
    wavelength, spectra, middle = wavelength[seen], spectra[:, seen], middle[seen]
    change = 100.0 * (spectra / middle - 1.0)
    bright = change[:, middle >= 0.1 * np.percentile(middle, 95)]  # faint ends are noise
    low, high = np.percentile(bright[np.isfinite(bright)], [2, 98])
    position = time.of(channel)
    starts = position[edges[:-1]]
    steps = np.diff(position)
    step = np.nanmedian(steps) if np.isfinite(steps).any() else 1.0
    ends = position[edges[1:] - 1]
    mesh = None
    for block in _contiguous(starts, ends, step):
        x = np.append(starts[block] - step / 2, ends[block][-1] + step / 2)
        mesh = axis.pcolormesh(
            x,
            _centres_to_edges(wavelength),
            change[block].T,
            cmap="cividis",
            vmin=low,
            vmax=high,
            rasterized=True,
            shading="flat",
        )
    if mesh is not None:
        bar = axis.figure.colorbar(mesh, ax=axis, pad=0.01, aspect=18, extend="both")
        bar.set_label("Change against\nmedian spectrum (%)", fontsize=8)
        bar.ax.tick_params(labelsize=8)


def _contiguous(starts: Array, ends: Array, step: float) -> list[slice]:
    """Return runs of time bins with neither a gap of three integrations nor a step back in them."""
    pauses = starts[1:] - ends[:-1]
    gaps = np.flatnonzero(~((pauses > 0) & (pauses <= 3 * step))) + 1
    bounds = [0, *gaps.tolist(), len(starts)]
    return [
        slice(a, b)
        for a, b in pairwise(bounds)
        if np.isfinite(starts[a:b]).all() and np.isfinite(ends[a:b]).all()
    ]
