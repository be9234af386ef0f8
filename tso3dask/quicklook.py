"""What the quick-look figure shows, as plain data: one channel per detector and order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Channel", "QuickLook", "bin_edges", "bin_rows", "joined"]

Array = NDArray[Any]


@dataclass
class Channel:
    """The time series of one detector, or of one spectral order of it, over all its segments.

    Rows are integrations, in time order.

    Attributes
    ----------
    label : str
        What distinguishes it, as ``NRS1`` or ``order 2``; empty if there is only one.
    integration : ndarray
        ``(row,)`` integration number, 1-based.
    flux : ndarray
        ``(row,)`` white-light or net aperture flux; NaN = none.
    unit : str
        Unit of `flux`.
    flux_name : str
        What `flux` is, for the axis label.
    bjd, mjd : ndarray or None
        ``(row,)`` mid times in days, modified: barycentric (TDB) and UTC; NaN = unknown.
    flagged : ndarray or None
        ``(row,)`` share, 0 to 1, of the pixels that outlier detection flagged.
    centroid_x, centroid_y : ndarray or None
        ``(row,)`` pixels, imaging.
    segment_starts : sequence of int
        Row at which each segment begins.
    wavelength : ndarray or None
        ``(dispersion,)`` micrometre, of the columns of `spectra`.
    spectra : ndarray or None
        ``(bin, dispersion)`` flux, averaged over the rows of each bin.
    spectra_edges : ndarray or None
        ``(bin + 1,)`` first row of each bin and the end of the last; None if bins are rows.
    members : tuple of int
        Members of the observation that it is made of.
    order : int
        Spectral order, 0 for imaging.
    """

    label: str
    integration: Array
    flux: Array
    unit: str = ""
    flux_name: str = "Flux"
    bjd: Array | None = None
    mjd: Array | None = None
    flagged: Array | None = None
    centroid_x: Array | None = None
    centroid_y: Array | None = None
    segment_starts: tuple[int, ...] = (0,)
    wavelength: Array | None = None
    spectra: Array | None = None
    spectra_edges: Array | None = None
    members: tuple[int, ...] = ()
    order: int = 0


@dataclass
class QuickLook:
    """Everything about one observation that its quick-look figure needs.

    Attributes
    ----------
    product : str
        Product name.
    target : str
        Name of the target; may be empty.
    mode : str
        Instrument, exposure type, filter, subarray, as they should be read in the title.
    channels : list of Channel
        At least one.
    """

    product: str
    target: str = ""
    mode: str = ""
    channels: list[Channel] = field(default_factory=list)


def bin_edges(rows: int, most: int) -> Array:
    """Return the edges ``(bin + 1,)`` of at most `most` bins of nearly equal length."""
    return np.unique(np.linspace(0, rows, min(rows, most) + 1).round().astype(np.intp))


def bin_rows(values: Array, edges: Array) -> Array:
    """Return the mean of `values` over the rows of each bin, NaN left out.

    Parameters
    ----------
    values : ndarray
        ``(row, ...)``.
    edges : ndarray
        ``(bin + 1,)`` as `bin_edges` makes them; no bin is empty.

    Returns
    -------
    ndarray
        ``(bin, ...)`` float64; NaN where a bin has no value.
    """
    finite = np.isfinite(values)
    total = np.add.reduceat(np.where(finite, values, 0.0).astype(np.float64), edges[:-1], axis=0)
    count = np.add.reduceat(finite.astype(np.int64), edges[:-1], axis=0)
    out = np.full(total.shape, np.nan)
    np.divide(total, count, out=out, where=count > 0)
    return out


def joined(parts: Sequence[Array]) -> Array:
    """Arrays one after the other; a single one as it is, for it may be large."""
    return np.concatenate(parts) if len(parts) > 1 else parts[0]


def quicklook_of(plan: Any, result: Any) -> QuickLook | None:
    """Return what the figure of a finished run shows, or None if there is nothing to draw.

    Parameters
    ----------
    plan : Plan
        What was run: members, their headers and times.
    result : RunResult
        Rows and tables that the run kept.
    """
    if not result.rows or not any(kind in plan.products for kind in ("phot", "x1dints")):
        return None
    groups: dict[tuple[str, int], list[int]] = {}
    for member in plan.members:
        orders_of = [s.spectral_order for s in member.tables]
        for order in orders_of or ([0] if member.imaging is not None else []):
            groups.setdefault((str(member.segment.detector), order), []).append(member.index)
    if not groups:
        return None
    orders = {order for _, order in groups}
    channels = []
    for (detector, order), members in groups.items():
        words = [detector] if len({name for name, _ in groups}) > 1 else []
        words += [f"order {order}"] if len(orders) > 1 else []
        channels.append(_channel(" ".join(words), plan, result, members, order))
    first = plan.members[0].segment
    keywords = ("INSTRUME", "EXP_TYPE", "FILTER", "GRATING", "PUPIL", "SUBARRAY")
    values = dict.fromkeys(str(first.get(keyword) or "").strip() for keyword in keywords)
    return QuickLook(
        product=plan.observation.association.name,
        target=str(first.get("TARGPROP") or first.get("TARGNAME") or "").strip(),
        mode=" ".join(value for value in values if value and value not in ("N/A", "CLEAR")),
        channels=channels,
    )


def _numbers(member: Any) -> Array:
    """Numbers of a member's integrations, counted from INTSTART where times are not known."""
    if member.times.matched:
        return member.times.int_num
    return member.segment.int_start + np.arange(member.segment.nints)


def _channel(label: str, plan: Any, result: Any, members: list[int], order: int) -> Channel:
    """Join the rows of the members of one detector and order."""
    chosen = [plan.members[index] for index in members]
    rows = [result.rows[index] for index in members]
    sizes = [member.segment.nints for member in chosen]
    channel = Channel(
        label=label,
        integration=joined([_numbers(member) for member in chosen]),
        flux=np.full(sum(sizes), np.nan),
        bjd=joined([member.times.times["tdb_mid"] for member in chosen]),
        mjd=joined([member.times.times["mjd_avg"] for member in chosen]),
        segment_starts=tuple(int(n) for n in np.cumsum([0, *sizes[:-1]])),
        members=tuple(members),
        order=order,
    )
    if plan.flags:
        channel.flagged = joined(
            [
                r["n_outliers"] / (m.segment.ny * m.segment.nx)
                for m, r in zip(chosen, rows, strict=True)
            ]
        )
    spectra = [s for m in chosen for s in m.tables if s.spectral_order == order]
    if spectra:
        channel.flux_name = "White-light flux"
        channel.unit = spectra[0].units["FLUX"]
        channel.flux = joined([r[f"white{spectra[0].ending}"] for r in rows])
        _add_spectra(channel, spectra, rows)
        return channel
    starts = np.cumsum([0, *(member.segment.nints for member in plan.members)])
    table = result.tables["phot"]

    def own(name: str) -> Array:
        values = np.asarray(table[name][0], dtype=float)
        return joined([values[starts[i] : starts[i + 1]] for i in members])

    channel.flux_name = "Net aperture flux"
    channel.unit = str(table["net_aperture_sum"][1] or "")
    channel.flux = own("net_aperture_sum")
    if "centroid_x" in table:
        channel.centroid_x, channel.centroid_y = own("centroid_x"), own("centroid_y")
    return channel


def _add_spectra(channel: Channel, spectra: list[Any], rows: list[dict[str, Array]]) -> None:
    """Put the binned spectra of the members, made while they were extracted, side by side."""
    wavelength, ending = spectra[0].wavelength, spectra[0].ending
    kept = [
        {name: row[f"{name}{ending}"] for name in ("bins", "bin_sum", "bin_count")}
        for row, spectrum in zip(rows, spectra, strict=True)
        if f"bin_sum{ending}" in row and spectrum.wavelength.size == wavelength.size
    ]
    if not kept or not wavelength.size:
        return
    bins = np.concatenate([row["bins"] for row in kept])
    total = np.zeros((int(bins.max()) + 1, kept[0]["bin_sum"].shape[1]))
    count = np.zeros(total.shape, np.int64)
    for row in kept:
        np.add.at(count, row["bins"], row["bin_count"])
        np.add.at(total, row["bins"], row["bin_sum"])
    from tso3dask.graph.run import DYNAMIC_BINS

    rows_of_bin = max(1, -(-len(channel.flux) // DYNAMIC_BINS))
    edges = np.minimum(np.arange(len(count) + 1) * rows_of_bin, len(channel.flux))
    spectra = np.full(total.shape, np.nan)
    np.divide(total, count, out=spectra, where=count > 0)
    columns = np.linspace(0, wavelength.size, total.shape[1] + 1).astype(int)
    channel.spectra, channel.spectra_edges = spectra, edges
    channel.wavelength = bin_rows(np.asarray(wavelength, dtype=float), columns)
