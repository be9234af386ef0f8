"""Compiled loops over integrations: background outside the source, centre of mass.

This module imports numba when it is imported: load it inside functions only.
"""

from __future__ import annotations

import math

import numpy as np

from tso3dask.ops._jit import helper, jit
from tso3dask.ops._median_jit import median_of_runs, median_scratch
from tso3dask.ops._pairwise_jit import pairwise_sum

__all__ = ["background_block", "box_edges", "centroid_block", "centroid_one"]

_EMPTY_SUM = 1.0e-30
"""A box whose pixels sum to less than this has no centre of mass."""


@helper
def box_edges(position: float, width: int, size: int) -> tuple[int, int]:
    """First pixel and one past the last of a box on an axis, cut to the array."""
    first = math.ceil(position - width / 2.0)
    return max(0, first), min(size, first + width)


@jit
def background_block(sci: np.ndarray, runs: np.ndarray, out: np.ndarray) -> None:
    """Fill ``out`` with the background of every integration of ``sci`` (integration, pixel)."""
    scratch, cell = median_scratch(sci.shape[1])
    for i in range(sci.shape[0]):
        out[i] = median_of_runs(sci[i], runs, scratch, cell)


@helper
def centroid_one(
    image: np.ndarray,
    dq: np.ndarray,
    background: np.float32,
    box: tuple[int, int, int, int],
    work: np.ndarray,
) -> tuple[float, float]:
    """Centre of mass of one image in ``box`` (y0, y1, x0, x1); NaN when there is none."""
    y0, y1, x0, x1 = box
    n = int(np.int64(0))
    for y in range(y0, y1):
        for x in range(x0, x1):
            value = float(image[y, x] - background)
            if (dq[y, x] & np.uint32(1)) != 0 or not math.isfinite(value):
                value = 0.0
            work[0, n] = value
            work[1, n] = value * (x - x0)
            work[2, n] = value * (y - y0)
            n += 1
    total = pairwise_sum(work[0], n)
    if n == 0 or abs(total) < _EMPTY_SUM:
        return np.nan, np.nan
    cx = pairwise_sum(work[1], n) / total + x0
    cy = pairwise_sum(work[2], n) / total + y0
    ny, nx = image.shape
    if cx < 0 or cx >= nx or cy < 0 or cy >= ny:
        return np.nan, np.nan
    return cx, cy


@jit
def centroid_block(
    sci: np.ndarray,
    dq: np.ndarray,
    runs: np.ndarray,
    box: tuple[int, int, int, int],
    background: np.ndarray,
    cx: np.ndarray,
    cy: np.ndarray,
) -> None:
    """Background and centre of mass of every integration of ``sci`` (integration, y, x)."""
    nints, ny, nx = sci.shape
    scratch, cell = median_scratch(ny * nx)
    work = np.empty((3, (box[1] - box[0]) * (box[3] - box[2])))
    for i in range(nints):
        background[i] = median_of_runs(sci[i].reshape(ny * nx), runs, scratch, cell)
        cx[i], cy[i] = centroid_one(sci[i], dq[i], background[i], box, work)
