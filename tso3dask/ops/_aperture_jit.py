"""Compiled aperture kernels: exact overlap of circles with pixels, weighted sums.

This module imports numba when it is imported: load it inside functions only.
"""

from __future__ import annotations

import math

import numpy as np

from tso3dask.ops._jit import helper, jit
from tso3dask.ops._photometry_jit import pairwise_sum_f4

__all__ = ["moving_block", "sum_block", "weights_into", "whole_block"]


@helper
def _quadrant(x: float, y: float, r: float) -> float:
    """Area of a circle around the origin between the axes and (x, y), signed by quadrant."""
    sign = math.copysign(1.0, x) * math.copysign(1.0, y)
    x = min(abs(x), r)
    y = min(abs(y), r)
    if x * x + y * y <= r * r:
        return sign * x * y
    edge = math.sqrt((r - y) * (r + y))
    top = math.sqrt((r - x) * (r + x))
    angle = math.atan2(x * y - top * edge, top * y + x * edge)
    return sign * (y * edge + 0.5 * (x * top - edge * y + r * r * angle))


@helper
def _overlap(x0: float, x1: float, y0: float, y1: float, r: float) -> float:
    """Fraction of the unit pixel [x0, x1] x [y0, y1] inside a circle around the origin."""
    near_x = max(x0, -x1, 0.0)
    near_y = max(y0, -y1, 0.0)
    if near_x * near_x + near_y * near_y >= r * r:
        return 0.0
    far_x = max(-x0, x1)
    far_y = max(-y0, y1)
    if far_x * far_x + far_y * far_y <= r * r:
        return 1.0
    area = _quadrant(x1, y1, r) - _quadrant(x0, y1, r) - _quadrant(x1, y0, r) + _quadrant(x0, y0, r)
    return min(1.0, max(0.0, area))


@jit
def weights_into(
    ny: int,
    nx: int,
    x: float,
    y: float,
    outer: float,
    inner: float,
    index: np.ndarray,
    weight: np.ndarray,
    centered: np.ndarray,
) -> int:
    """List the pixels of a circle (``inner`` 0) or annulus; returns their number.

    Fills flat indices, overlap fractions, and whether the pixel's centre is inside.
    """
    first_x = math.floor(x - outer + 0.5)
    stop_x = math.ceil(x + outer + 0.5)
    first_y = math.floor(y - outer + 0.5)
    stop_y = math.ceil(y + outer + 0.5)
    n = 0
    for row in range(max(0, first_y), min(ny, stop_y)):
        y0 = first_y - 0.5 - y + (row - first_y)
        for column in range(max(0, first_x), min(nx, stop_x)):
            x0 = first_x - 0.5 - x + (column - first_x)
            distance = (x0 + 0.5) * (x0 + 0.5) + (y0 + 0.5) * (y0 + 0.5)
            fraction = _overlap(x0, x0 + 1.0, y0, y0 + 1.0, outer)
            inside = distance < outer * outer
            if inner > 0.0:
                fraction -= _overlap(x0, x0 + 1.0, y0, y0 + 1.0, inner)
                inside = inside and not distance < inner * inner
            if fraction > 0.0 or inside:
                index[n] = row * nx + column
                weight[n] = fraction
                centered[n] = inside
                n += 1
    return n


@helper
def _sum_one(
    sci: np.ndarray,
    err: np.ndarray,
    index: np.ndarray,
    weight: np.ndarray,
    centered: np.ndarray,
    out: np.ndarray,
) -> None:
    """Sum, error and area of the weighted pixels of one flat image.

    Errors are squared in float32, everything else is float64.
    """
    total = 0.0
    variance = 0.0
    area = 0.0
    any_pixel = False
    any_center = False
    for k in range(index.size):
        value = np.float64(sci[index[k]])
        if not math.isfinite(value):
            continue
        error = err[index[k]]
        any_center |= centered[k]
        if weight[k] != 0.0:
            any_pixel = True
            total += value * weight[k]
            variance += np.float64(error * error) * weight[k]
            area += weight[k]
    out[0] = total if any_pixel else np.nan
    out[1] = math.sqrt(variance) if any_pixel else np.nan
    out[2] = area if any_center else np.nan


@jit
def sum_block(
    sci: np.ndarray,
    err: np.ndarray,
    index: np.ndarray,
    weight: np.ndarray,
    centered: np.ndarray,
    out: np.ndarray,
) -> None:
    """Sum one aperture in every image of (integration, pixel); ``out`` is (integration, 3)."""
    for i in range(sci.shape[0]):
        _sum_one(sci[i], err[i], index, weight, centered, out[i])


@jit
def moving_block(
    sci: np.ndarray,
    err: np.ndarray,
    shape: tuple[int, int],
    xs: np.ndarray,
    ys: np.ndarray,
    outer: float,
    inner: float,
    out: np.ndarray,
) -> None:
    """Sum an aperture that has its own centre in every image; NaN where there is none."""
    ny, nx = shape
    size = ny * nx
    index = np.empty(size, np.int64)
    weight = np.empty(size)
    centered = np.empty(size, np.bool_)
    for i in range(sci.shape[0]):
        if math.isfinite(xs[i]) and math.isfinite(ys[i]):
            n = weights_into(ny, nx, xs[i], ys[i], outer, inner, index, weight, centered)
            _sum_one(sci[i], err[i], index[:n], weight[:n], centered[:n], out[i])
        else:
            out[i] = np.nan


@jit
def whole_block(sci: np.ndarray, err: np.ndarray, total: np.ndarray, error: np.ndarray) -> None:
    """Sum and error of all pixels of every image, in float32, NaN counting as 0."""
    n = sci.shape[1]
    values = np.empty(n, np.float32)
    zero = np.float32(0.0)
    for i in range(sci.shape[0]):
        for k in range(n):
            value = sci[i, k]
            values[k] = value if value == value else zero
        total[i] = pairwise_sum_f4(values, n)
        for k in range(n):
            square = err[i, k] * err[i, k]
            values[k] = square if square == square else zero
        error[i] = np.sqrt(pairwise_sum_f4(values, n))
