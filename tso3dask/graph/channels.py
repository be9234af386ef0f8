"""Light curves of spectroscopic channels: the table of a run and the lazy dataset."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import xarray as xr
from dask.tokenize import tokenize

from tso3dask.graph.arrays import picked_arrays, settled
from tso3dask.graph.tables import plan_axis
from tso3dask.ops.curve_axis import CurveSeries, TimeAxis

if TYPE_CHECKING:
    from tso3dask.graph.outline import Outline

__all__ = [
    "channel_columns",
    "channel_dataset",
    "channel_meta",
    "channel_table",
    "described_channels",
]

_SERIES = {"channels": "flux", "channels_error": "flux_error"}

Columns = dict[str, tuple[np.ndarray, str | None]]


def _edges(plan: Outline, series: CurveSeries) -> np.ndarray | None:
    return plan.channels.get((plan.tables[series.spectra[0]][0].segment.detector, series.order))


def channel_columns(
    series: CurveSeries, measured: Mapping[str, np.ndarray], unit: str | None
) -> Iterator[tuple[str, tuple[np.ndarray, str | None]]]:
    """Columns of the channels of a detector and order: flux and error of each.

    Parameters
    ----------
    series : CurveSeries
        Where its rows are.
    measured : mapping
        ``channels`` and ``channels_error`` (integration, channel) of all its spectra.
    unit : str or None
        Unit of the flux.
    """
    placed = {column: series.placed(measured[name]) for name, column in _SERIES.items()}
    for k in range(placed["flux"].shape[1]):
        for column, values in placed.items():
            yield f"{column}_{k + 1:03d}{series.label}", (values[:, k], unit)


def described_channels(series: CurveSeries, edges: np.ndarray) -> list[dict[str, Any]]:
    """Meta of the channels of a detector and order: wavelengths and widths in micrometres."""
    found = []
    for k, (low, high) in enumerate(edges.tolist()):
        numbers = {
            "wavelength": 0.5 * (low + high),
            "width": high - low,
            "wavelength_low": low,
            "wavelength_high": high,
        }
        entry = {"column": f"flux_{k + 1:03d}{series.label}", "detector": series.detector}
        entry["order"] = series.order
        found.append(entry | {name: round(value, 9) for name, value in numbers.items()})
    return found


def _joined(parts: Sequence[tuple[dict[str, np.ndarray], str]]) -> np.ndarray:
    """Join rows of members, which become parts of the whole: there is one copy of them."""
    if len(parts) == 1:
        return parts[0][0][parts[0][1]]
    width = parts[0][0][parts[0][1]].shape[1:]
    whole = np.empty((sum(len(rows[name]) for rows, name in parts), *width))
    start = 0
    for rows, name in parts:
        stop = start + len(rows[name])
        whole[start:stop] = rows[name]
        rows[name] = whole[start:stop]
        start = stop
    return whole


def channel_table(plan: Outline, rows: Sequence[dict[str, np.ndarray]]) -> Columns:
    """Columns of the table of channels: times, then flux and error of each channel."""
    axis = plan_axis(plan)
    columns: Columns = {name: (values, None) for name, values in axis.times.items()}
    for series in axis.series:
        if _edges(plan, series) is None:
            continue
        own = [plan.tables[i] for i in series.spectra]
        measured = {
            name: _joined([(rows[m.index], f"{name}{table.ending}") for m, table in own])
            for name in _SERIES
        }
        columns |= dict(channel_columns(series, measured, own[0][1].units.get("FLUX")))
    return columns


def channel_meta(plan: Outline) -> dict[str, Any]:
    """Meta of the table of channels: their centres, widths and edges in micrometres."""
    channels: list[dict] = []
    for series in plan_axis(plan).series:
        edges = _edges(plan, series)
        channels += [] if edges is None else described_channels(series, edges)
    return {"wavelength_unit": "um", "channels": channels}


def channel_dataset(plan: Outline) -> xr.Dataset:
    """Table of channels as a lazy dataset, rows in time order.

    Returns
    -------
    xarray.Dataset
        ``flux`` and ``flux_error`` (integration, channel), with ``wavelength``, ``width``,
        ``wavelength_low``, ``wavelength_high`` (um), ``detector`` and ``order`` of each channel,
        and ``mjd_utc`` and ``bjd_tdb`` of each integration (of each integration and channel where
        detectors have times of their own).
    """
    from tso3dask.graph.lazy import member_curves

    if "speclc" not in plan.products:
        raise AttributeError("this plan makes no light curves of channels")
    plan = plan.weighted
    measured = member_curves(plan)
    axis = plan_axis(plan)
    blocks: dict[str, list[da.Array]] = {name: [] for name in _SERIES.values()}
    channels: list[dict] = []
    for series in axis.series:
        edges = _edges(plan, series)
        if edges is None:
            continue
        channels += described_channels(series, edges)
        own = [plan.tables[i] for i in series.spectra]
        curves = [measured[member.index, table.spectral_order] for member, table in own]
        for name, column in _SERIES.items():
            blocks[column].append(_placed([c[name].data for c in curves], series, len(edges)))
    unit = {"units": plan.tables[0][1].units.get("FLUX", "")}
    variables = {
        column: xr.Variable(("integration", "channel"), da.concatenate(arrays, axis=1), unit)
        for column, arrays in blocks.items()
    }
    return xr.Dataset(variables, coords=_coordinates(axis, channels))


def _coordinates(axis: TimeAxis, channels: Sequence[Mapping[str, Any]]) -> dict[str, xr.Variable]:
    coords = {
        name: xr.Variable("channel", [c[name] for c in channels], {"units": "um"})
        for name in ("wavelength", "width", "wavelength_low", "wavelength_high")
    }
    for name in ("detector", "order"):
        coords[name] = xr.Variable("channel", [c[name] for c in channels])
    for i, name in enumerate(("mjd_utc", "bjd_tdb")):
        each = [axis.detector_times[channel["detector"]][i] for channel in channels]
        if all(np.array_equal(each[0], times, equal_nan=True) for times in each):
            coords[name] = xr.Variable("integration", each[0], {"units": "d"})
        else:
            both = ("integration", "channel")
            coords[name] = xr.Variable(both, np.stack(each, axis=1), {"units": "d"})
    return coords


def _placed(parts: Sequence[da.Array], series: CurveSeries, width: int) -> da.Array:
    """Rows of the members of a series at their places in the table."""
    stacked = [settled(part) for part in parts]
    blocks = [(a.name, i, 0) for a in stacked for i in range(a.numblocks[0])]
    token = f"speclc-{tokenize([a.name for a in stacked], series.rows)}"
    made = picked_arrays(
        token,
        {(token, 0): (placed_block, blocks, series)},
        {"series": ((width,), "float64")},
        [series.rows.size],
        upstream=stacked,
        token=token,
    )
    return made["series"]


def placed_block(blocks: list[np.ndarray], series: CurveSeries) -> tuple[np.ndarray]:
    """Task: rows of all blocks at their places in the table."""
    return (series.placed(np.concatenate(blocks)),)
