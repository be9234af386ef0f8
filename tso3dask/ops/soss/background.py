"""Background of SOSS images, column by column."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tso3dask.errors import RunError

__all__ = ["bright_pixels", "column_background", "subtract_background"]

CLIP_SIGMA = 3.0
TRACE_WIDTH = 40
TRACES_BY_ROWS = {96: 1, 256: 2, 2048: 2}

Bool = npt.NDArray[np.bool_]


def bright_pixels(image: np.ndarray, width: int = TRACE_WIDTH) -> Bool:
    """Mark the share of an image that traces cover, its brightest pixels, and what is not finite.

    Parameters
    ----------
    image : (y, x) ndarray
        One integration of 96, 256 or 2048 rows; one trace is expected on the first, else two.
    width : int
        Rows that a trace covers.
    """
    rows = image.shape[0]
    if rows not in TRACES_BY_ROWS:
        known = ", ".join(map(str, TRACES_BY_ROWS))
        raise RunError(f"background of SOSS: an image has {rows} rows; expected one of {known}")
    share = 100 * (1 - TRACES_BY_ROWS[rows] * width / rows)
    with np.errstate(invalid="ignore"):
        return (image > np.nanpercentile(image, share)) | ~np.isfinite(image)


def column_background(image: np.ndarray, mask: Bool) -> np.ndarray:
    """Mean of each column, outliers clipped at 3 standard deviations until none is left.

    Parameters
    ----------
    image : (y, x) ndarray
        Float32 or float64.
    mask : (y, x) ndarray bool
        Pixels to leave out, besides those that are not finite.

    Returns
    -------
    (x,) ndarray
        0 in columns without a pixel.
    """
    from tso3dask.ops.soss._box_jit import clipped_bounds

    mask = mask | ~np.isfinite(image)
    low, high = np.empty(image.shape[1]), np.empty(image.shape[1])
    clipped_bounds(np.ascontiguousarray(image), mask, CLIP_SIGMA, low, high)
    with np.errstate(invalid="ignore"):
        mask = mask | (image < low.astype(image.dtype)) | (image > high.astype(image.dtype))
    count = np.sum(~mask, axis=0)
    total = np.sum(np.where(mask, image.dtype.type(0), image), axis=0)
    return np.divide(total, count, out=np.zeros(image.shape[1]), where=count > 0)


def subtract_background(image: np.ndarray, mask: Bool) -> tuple[np.ndarray, np.ndarray]:
    """Subtract the background of one integration.

    Parameters
    ----------
    image : (y, x) ndarray
        The integration.
    mask : (y, x) ndarray bool
        Pixels without a trustworthy value.

    Returns
    -------
    image : (y, x) ndarray
        Less the background.
    background : (x,) ndarray
        Per pixel, in each column.
    """
    background = column_background(image, mask | bright_pixels(image))
    return image - background, background
