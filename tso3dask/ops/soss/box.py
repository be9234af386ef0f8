"""Box extraction of SOSS orders from images of any number of integrations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tso3dask.ops.soss.traces import OrderTrace

__all__ = [
    "BoxSpectra",
    "box_weights",
    "extract_box",
    "nearest_value_errors",
    "order_weights",
    "replace_with_model",
]

Float64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]


class BoxSpectra(NamedTuple):
    """Spectra of one order, each ``(integration, x)`` float64.

    Attributes
    ----------
    flux : ndarray
        Weighted sum; NaN in columns without a usable pixel.
    flux_error : ndarray
        Square root of the weighted sum of variances; NaN as `flux`.
    npixels : ndarray
        Sum of the weights of usable pixels.
    """

    flux: Float64
    flux_error: Float64
    npixels: Float64


def box_weights(
    centre: npt.ArrayLike, width: float, shape: tuple[int, int], columns: npt.ArrayLike
) -> Float64:
    """Share of each pixel in a box around a trace.

    Parameters
    ----------
    centre : array_like
        Row of the centre in each of `columns`.
    width : float
        Height of the box, pixels.
    shape : (int, int)
        Rows and columns of the image.
    columns : array_like of int
        Columns that have a box; the others are 0.

    Returns
    -------
    (y, x) ndarray float64
        1 inside, fractions at both edges, 0 outside. Each edge's fraction is measured on its own,
        which for boxes narrower than a pixel gives the lower edge's.
    """
    centre = np.asarray(centre, dtype=np.float64)
    rows = np.arange(shape[0])[:, None]
    top, bottom = centre + width / 2, centre - width / 2
    weights = np.zeros((shape[0], centre.size))
    inside = (rows <= centre - 0.5 + width / 2) & (centre + 0.5 - width / 2 <= rows)
    weights[inside] = 1.0
    upper = (centre - 0.5 + width / 2 < rows) & (rows < centre + 0.5 + width / 2)
    weights[upper] = (top - (rows - 0.5))[upper]
    lower = (rows < centre + 0.5 - width / 2) & (centre - 0.5 - width / 2 < rows)
    weights[lower] = (rows + 0.5 - bottom)[lower]
    out = np.zeros(shape)
    out[:, np.asarray(columns)] = weights
    return out


def order_weights(
    traces: Sequence[OrderTrace], width: float, shape: tuple[int, int], layout: str
) -> dict[int, Float64]:
    """Box weights of each order, ``(y, x)`` float64 by order.

    On SUBSTRIP96, which the second order leaves, the whole array counts for that order, as in the
    field's pipeline.
    """
    weights = {
        trace.order: box_weights(trace.rows, width, shape, trace.columns) for trace in traces
    }
    if layout == "SUBSTRIP96" and 2 in weights:
        weights[2] = np.ones(shape)
    return weights


def extract_box(
    data: np.ndarray, error: np.ndarray, mask: Bool, weights: Float64, columns: int | None = None
) -> BoxSpectra:
    """Sum pixels in a box.

    Parameters
    ----------
    data, error : (integration, y, x) ndarray
        Values and errors, float32 or float64.
    mask : (y, x) or (integration, y, x) ndarray bool
        Pixels to leave out. So are, in any case, pixels of an integration without a finite value
        or without a finite positive error.
    weights : (y, x) ndarray float64
        From `box_weights`.
    columns : int, optional
        Give only this many columns; all by default.

    Returns
    -------
    BoxSpectra
    """
    from tso3dask.ops.soss._box_jit import sums

    size = data.shape[2] if columns is None else columns
    lit = weights[:, :size] > 0
    rows = np.flatnonzero(lit.any(axis=1))
    begin = lit.argmax(axis=1)
    end = size - lit[:, ::-1].argmax(axis=1)
    out = np.zeros((3, len(data), size))
    mask = np.broadcast_to(mask, (len(mask) if mask.ndim == 3 else 1, *mask.shape[-2:]))
    sums(data, error, mask, weights, rows, begin, end, out[0], out[1], out[2])
    flux, variance, npixels = out
    np.sqrt(variance, out=variance)
    empty = ~(npixels > 0)
    flux[empty] = np.nan
    variance[empty] = np.nan
    return BoxSpectra(flux, variance, npixels)


def replace_with_model(
    data: np.ndarray, error: np.ndarray, mask: Bool, weights: Float64, model: np.ndarray
) -> tuple[np.ndarray, np.ndarray, Bool]:
    """Put a model in the place of masked pixels of one integration.

    Parameters
    ----------
    data, error : (y, x) ndarray
        Values without other orders, and errors.
    mask : (y, x) ndarray bool
        Masked pixels.
    weights : (y, x) ndarray
        Box of the order.
    model : (y, x) ndarray
        Light of the order; NaN where it is not modelled.

    Returns
    -------
    data, error, mask : (y, x) ndarray
        With modelled pixels filled and no longer masked; their errors are those of the unmasked
        pixels in the box whose values are nearest.
    """
    modelled = np.isfinite(model)
    filled = np.where(mask & modelled, model, data)
    box = weights > 0
    errors = nearest_value_errors(error, filled, box & mask & modelled, box & ~mask)
    return filled, errors, mask & ~modelled


def nearest_value_errors(
    error: np.ndarray, data: np.ndarray, wanted: Bool, valid: Bool
) -> np.ndarray:
    """Give pixels the error of the valid pixel whose value is nearest to theirs.

    Parameters
    ----------
    error, data : (y, x) ndarray
        Errors and values.
    wanted, valid : (y, x) ndarray bool
        Pixels to give an error to, and pixels to take errors from.

    Returns
    -------
    (y, x) ndarray
        A copy of `error`. Without any valid pixel the wanted ones are NaN.
    """
    out = error.copy()
    known, known_errors = data[valid], error[valid]
    if known.size == 0:
        out[wanted] = np.nan
        return out
    at = np.argsort(known)
    known, known_errors = known[at], known_errors[at]
    values = data[wanted]
    above = np.clip(np.searchsorted(known, values), 0, known.size - 1)
    below = np.clip(above - 1, 0, known.size - 1)
    nearer = np.abs(known[above] - values) < np.abs(known[below] - values)
    out[wanted] = known_errors[np.where(nearer, above, below)]
    return out
