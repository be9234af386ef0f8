"""Where the source of an imaging time series is in every integration.

The background is the median of all pixels farther than a radius from the
expected position; the centroid is the centre of mass of a box around it. It is
found twice: in a wide box around the planned position, then in a narrow one
around the median of the first centroids of the segment.
"""

from __future__ import annotations

import math
import warnings

import numpy as np

__all__ = [
    "background_median",
    "centroids",
    "invalid_pixels",
    "nanmedian_center",
    "odd_box_width",
    "outside_source",
    "running_median",
]


def invalid_pixels(sci: np.ndarray, dq: np.ndarray) -> np.ndarray:
    """Mark the pixels that take no part in centroids and PSF fits.

    Parameters
    ----------
    sci : (integration, y, x) or (y, x)
        Science pixels; NaN = no value.
    dq : same shape, uint32
        Data quality; bit 0 is DO_NOT_USE.

    Returns
    -------
    ndarray of bool
        True where the pixel is DO_NOT_USE or NaN.
    """
    return ((dq & 1) != 0) | np.isnan(sci)


def odd_box_width(width: int) -> tuple[int, bool]:
    """Round an even box width down to an odd one.

    Parameters
    ----------
    width : int
        Width of a search or fit box, pixels.

    Returns
    -------
    width : int
        The odd width to use.
    changed : bool
        True when ``width`` was even, which deserves a warning.
    """
    return (width - 1, True) if width % 2 == 0 else (width, False)


def outside_source(shape: tuple[int, int], x: float, y: float, radius: float) -> np.ndarray:
    """Mark the pixels used for the background: at ``radius`` or farther from (x, y).

    Parameters
    ----------
    shape : (y, x)
        Size of one image.
    x, y : float
        Expected source position, 0-based pixels.
    radius : float
        Source radius, pixels.

    Returns
    -------
    (y, x) ndarray of bool
    """
    rows = np.arange(shape[0])[:, np.newaxis]
    columns = np.arange(shape[1])[np.newaxis, :]
    return ~(((columns - x) ** 2 + (rows - y) ** 2) < radius**2)


def mask_runs(mask: np.ndarray) -> np.ndarray:
    """List the stretches of True in a flattened mask.

    Parameters
    ----------
    mask : ndarray of bool
        Any shape; flattened in C order.

    Returns
    -------
    (run, 2) int64
        Start and stop of each stretch, ascending.
    """
    padded = np.concatenate(([False], mask.ravel(), [False]))
    return np.flatnonzero(padded[1:] != padded[:-1]).reshape(-1, 2)


def background_median(sci: np.ndarray, x: float, y: float, radius: float) -> np.ndarray:
    """Median of each image outside the source, NaN pixels left out.

    Parameters
    ----------
    sci : (integration, y, x) float32
        Science pixels; NaN = no value. DO_NOT_USE is not consulted.
    x, y, radius : float
        The source, see `outside_source`.

    Returns
    -------
    (integration,) float32
        NaN where no pixel has a value.
    """
    from tso3dask.ops._centroid_jit import background_block

    sci = np.ascontiguousarray(sci, np.float32)
    nints, ny, nx = sci.shape
    background = np.empty(nints, np.float32)
    runs = mask_runs(outside_source((ny, nx), x, y, radius))
    background_block(sci.reshape(nints, ny * nx), runs, background)
    return background


def source_box(
    shape: tuple[int, int], x: float, y: float, width: int
) -> tuple[int, int, int, int] | None:
    """Pixels (y0, y1, x0, x1) of a box around (x, y), cut to the array.

    None when the position is not finite or off the pixel centres of the array,
    or the width is not positive: no centroid can be measured then.
    """
    ny, nx = shape
    if not (math.isfinite(x) and math.isfinite(y)) or width <= 0:
        return None
    if x < 0 or y < 0 or x > nx - 1 or y > ny - 1:
        return None
    y0 = math.ceil(y - width / 2.0)
    x0 = math.ceil(x - width / 2.0)
    return max(0, y0), min(ny, y0 + width), max(0, x0), min(nx, x0 + width)


def centroids(
    sci: np.ndarray,
    dq: np.ndarray,
    x: float,
    y: float,
    box_width: int,
    radius: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Measure the centre of mass of the source in every integration.

    Parameters
    ----------
    sci : (integration, y, x) float32
        Science pixels; NaN and infinite values take no part.
    dq : (integration, y, x) uint32
        Data quality; DO_NOT_USE pixels take no part in the centroid, but do in
        the background when they have a value.
    x, y : float
        Expected position, 0-based pixels.
    box_width : int
        Width of the box, odd, pixels.
    radius : float
        Source radius, left out of the background, pixels.

    Returns
    -------
    centroid_x, centroid_y : (integration,) float64
        0-based pixels. NaN where the box has no valid pixel or its sum is 0,
        where the result lies outside the array, and everywhere when (x, y)
        itself is NaN or outside.
    """
    from tso3dask.ops._centroid_jit import centroid_block

    sci = np.ascontiguousarray(sci, np.float32)
    dq = np.ascontiguousarray(dq, np.uint32)
    nints, ny, nx = sci.shape
    cx = np.full(nints, np.nan)
    cy = np.full(nints, np.nan)
    box = source_box((ny, nx), x, y, box_width)
    if box is not None:
        runs = mask_runs(outside_source((ny, nx), x, y, radius))
        centroid_block(sci, dq, runs, box, np.empty(nints, np.float32), cx, cy)
    return cx, cy


def nanmedian_center(centroid_x: np.ndarray, centroid_y: np.ndarray) -> tuple[float, float]:
    """Reduce the centroids of a segment to one position.

    Parameters
    ----------
    centroid_x, centroid_y : (integration,) float64
        Centroids of all integrations of the segment, NaN = none.

    Returns
    -------
    x, y : float
        Medians without NaN; both NaN when either coordinate has no value at all.
    """
    if not (np.isfinite(centroid_x).any() and np.isfinite(centroid_y).any()):
        return math.nan, math.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return float(np.nanmedian(centroid_x)), float(np.nanmedian(centroid_y))


def running_median(values: np.ndarray, window: int) -> np.ndarray:
    """Smooth one coordinate of the centroids of a segment.

    Parameters
    ----------
    values : (integration,) float64
        Centroids, NaN = none.
    window : int
        Integrations that a median is taken of, centred on each; one more than that for an even
        number. At the ends of the segment there are fewer.

    Returns
    -------
    (integration,) float64
        Medians without NaN; that of all integrations where a window has no value, NaN where none
        has.
    """
    half = window // 2
    padded = np.pad(np.asarray(values, np.float64), half, constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        smooth = np.nanmedian(windows, axis=1)
        return np.where(np.isnan(smooth), np.nanmedian(values), smooth)
