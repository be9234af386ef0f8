"""What the quick-look figure shows, as plain data: one channel per detector and order."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Channel", "QuickLook", "bin_edges", "bin_rows"]

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
