"""Spectroscopic channels: ranges of wavelength over which spectra are summed.

A column reaches from half way to the one before it to half way to the one after it. A channel
takes the part of each column that lies within its edges, as if the flux were even over a column,
so that neighbouring channels share a column without losing or doubling any of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError

__all__ = [
    "ChannelPlan",
    "channel_edges",
    "channel_plan",
    "column_edges",
    "sum_channels",
]

Float = NDArray[np.float64]
Int = NDArray[np.int64]

DEFAULT_RESOLVING_POWER = 100.0
"""Resolving power of channels where nothing is said of them."""

MOST_CHANNELS = 10_000
"""Resolving powers that make more channels are refused."""


@dataclass(frozen=True, eq=False)
class ChannelPlan:
    """Columns that make each channel.

    Attributes
    ----------
    edges : (channel, 2) float64
        Shortest and longest wavelength of each channel, micrometres.
    columns, shares : (part,) int64, float64
        Columns, channel after channel, and the part taken of each.
    starts : (channel + 1,) int64
        First part of each channel.
    """

    edges: Float
    columns: Int
    shares: Float
    starts: Int

    @property
    def count(self) -> int:
        """Number of channels."""
        return len(self.edges)


def column_edges(wavelength: Float) -> tuple[Int, Float]:
    """Return the columns in order of wavelength and the edges between them.

    Parameters
    ----------
    wavelength : ndarray
        ``(dispersion,)`` micrometres; columns without a finite one are left out.

    Returns
    -------
    columns : ndarray
        ``(column,)`` in order of wavelength.
    edges : ndarray
        ``(column + 1,)``, half way between columns; columns at the ends are as wide as the
        distance to their neighbour.
    """
    wavelength = np.asarray(wavelength, dtype=np.float64)
    known = np.flatnonzero(np.isfinite(wavelength))
    columns = known[np.argsort(wavelength[known], kind="stable")].astype(np.int64)
    centre = wavelength[columns]
    if centre.size < 2:
        return columns, np.repeat(centre, 2)
    middle = 0.5 * (centre[1:] + centre[:-1])
    ends = [2 * centre[0] - middle[0]], [2 * centre[-1] - middle[-1]]
    return columns, np.concatenate([ends[0], middle, ends[1]])


def channel_edges(
    wavelength: Float,
    *,
    edges: Float | None = None,
    resolving_power: float | None = None,
    pixels_per_channel: int | None = None,
    min_wavelength: float | None = None,
    max_wavelength: float | None = None,
) -> Float:
    """Return the edges of channels for the columns of a spectrum.

    Parameters
    ----------
    wavelength : ndarray
        ``(dispersion,)`` micrometres.
    edges : ndarray, optional
        ``(channel + 1,)`` edges in rising order. Channels that no column reaches are left out,
        others are cut to what the columns cover.
    resolving_power : float, optional
        Each channel is its central wavelength over this number wide, from the shortest wavelength
        on; what is left at the longest and narrower than a channel is left out.
    pixels_per_channel : int, optional
        Each channel has so many columns, from the shortest wavelength on; the rest is left out.
    min_wavelength, max_wavelength : float, optional
        Limits of all channels, micrometres.

    Returns
    -------
    ndarray
        ``(channel, 2)`` shortest and longest wavelength of each.

    Raises
    ------
    InputError
        If more than one of the three is given, or there is no channel, or more than 10,000.
    """
    given = [edges is not None, resolving_power is not None, pixels_per_channel is not None]
    if sum(given) > 1:
        raise InputError(
            "light_curves: give one of edges, resolving_power and pixels_per_channel, not several"
        )
    _, limits = column_edges(wavelength)
    low = limits[0] if min_wavelength is None else max(limits[0], min_wavelength)
    high = limits[-1] if max_wavelength is None else min(limits[-1], max_wavelength)
    if edges is not None:
        made = np.clip(np.asarray(edges, dtype=np.float64), low, max(low, high))
    elif pixels_per_channel is not None:
        inside = limits[(limits >= low) & (limits <= high)]
        made = inside[::pixels_per_channel]
    else:
        power = resolving_power or DEFAULT_RESOLVING_POWER
        ratio = (2 * power + 1) / (2 * power - 1)
        with np.errstate(divide="ignore"):
            pieces = np.log(high / low) / np.log1p(2 / (2 * power - 1)) if 0 < low < high else 0
        if pieces > MOST_CHANNELS:
            raise InputError(
                f"light_curves.resolving_power: {power:g} makes {pieces:.3g} channels; expected "
                f"no more than {MOST_CHANNELS}"
            )
        count = int(pieces + 1e-9)
        made = low * ratio ** np.arange(count + 1)
    pairs = np.stack([made[:-1], made[1:]], axis=1)
    pairs = pairs[pairs[:, 1] > pairs[:, 0]]
    if not len(pairs):
        text = f"light_curves: no channel lies within the spectrum, {limits[0]:.4g} to "
        text += f"{limits[-1]:.4g} um"
        asked = {"min_wavelength": min_wavelength, "max_wavelength": max_wavelength}
        within = [f"{name} {value:g}" for name, value in asked.items() if value is not None]
        if within:
            text += f", and within {' and '.join(within)}"
        if edges is None and pixels_per_channel is None and low < high:
            text += f"; at {low:.4g} um a channel is {low * (ratio - 1):.2g} um wide"
        raise InputError(text)
    return pairs


def channel_plan(wavelength: Float, edges: Float) -> ChannelPlan:
    """Find the columns of each channel.

    Parameters
    ----------
    wavelength : ndarray
        ``(dispersion,)`` micrometres.
    edges : ndarray
        ``(channel, 2)`` as `channel_edges` gives them.
    """
    order, limits = column_edges(wavelength)
    low, high = limits[:-1], limits[1:]
    columns, shares, starts = [], [], [0]
    for first, last in edges:
        covered = np.minimum(high, last) - np.maximum(low, first)
        with np.errstate(invalid="ignore", divide="ignore"):
            share = np.where(high > low, covered / (high - low), 0.0)
        share[np.abs(share - 1) < 1e-9] = 1.0  # whole but for rounding of the edges
        taken = np.flatnonzero(share > 1e-9)
        columns.append(order[taken])
        shares.append(share[taken])
        starts.append(starts[-1] + taken.size)
    return ChannelPlan(
        np.asarray(edges, dtype=np.float64),
        np.concatenate(columns),
        np.concatenate(shares),
        np.array(starts, dtype=np.int64),
    )


def sum_channels(flux: Float, error: Float, plan: ChannelPlan) -> tuple[Float, Float]:
    """Sum spectra over channels.

    Parameters
    ----------
    flux, error : ndarray
        Spectra and their errors ``(integration, dispersion)``.
    plan : ChannelPlan
        Columns of each channel.

    Returns
    -------
    total, uncertainty : ndarray
        Sums ``(integration, channel)`` and their errors, in the unit of `flux`: a column counts
        by the part of it that lies in the channel, its variance by the square of that. Columns
        whose flux is NaN are left out; NaN where none is left. Columns without an error are left
        out of the errors.
    """
    from ._channels_jit import channel_sums

    shape = flux.shape[0], plan.count
    total, uncertainty = np.empty(shape), np.empty(shape)
    rows = (np.ascontiguousarray(a, dtype=np.float64) for a in (flux, error))
    channel_sums(*rows, plan.columns, plan.shares, plan.starts, total, uncertainty)
    return total, uncertainty
