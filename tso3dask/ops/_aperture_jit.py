"""Compiled aperture kernels: overlaps of circles with pixels, and weighted sums.

This module imports numba when it is imported: load it inside functions only.
"""

from __future__ import annotations

import math

import numpy as np

from tso3dask.ops._jit import helper, jit
from tso3dask.ops._photometry_jit import pairwise_sum_f4

__all__ = ["add_circle", "sum_block", "whole_block"]


@helper
def _under_arc(a: float, b: float, r2: float) -> float:
    """Area between the x axis and a circle around the origin, from x = a to b inside it.

    A triangle pair and a sector between two neighbouring points of the circle: no term is much
    larger than the area itself.
    """
    height_a, height_b = math.sqrt(max(r2 - a * a, 0.0)), math.sqrt(max(r2 - b * b, 0.0))
    angle = math.atan2(b * height_a - a * height_b, a * b + height_a * height_b)
    return 0.5 * (b * height_b - a * height_a + r2 * angle)


@helper
def _half_overlap(x0: float, x1: float, y0: float, y1: float, r2: float) -> float:
    """Area of the part of a rectangle at y >= 0 that a circle around the origin covers."""
    y0, y1 = max(y0, 0.0), max(y1, 0.0)
    if y1 <= y0 or y0 * y0 >= r2:
        return 0.0
    wide = math.sqrt(r2 - y0 * y0)  # here the circle leaves the lower edge
    full = math.sqrt(max(r2 - y1 * y1, 0.0))  # and here the upper one
    x0, x1 = max(x0, -wide), min(x1, wide)
    if x1 <= x0:
        return 0.0
    left, right = min(max(-full, x0), x1), min(max(full, x0), x1)
    area = (right - left) * (y1 - y0) if y1 * y1 < r2 else 0.0
    if y1 * y1 >= r2:
        return _under_arc(x0, x1, r2) - (x1 - x0) * y0
    if left > x0:
        area += _under_arc(x0, left, r2) - (left - x0) * y0
    if x1 > right:
        area += _under_arc(right, x1, r2) - (x1 - right) * y0
    return area


@jit
def add_circle(
    left: float, bottom: float, radius: float, sign: float, exact: np.ndarray, center: np.ndarray
) -> None:
    """Add the overlaps of a circle with a grid of pixels.

    Parameters
    ----------
    left, bottom : float
        Place of the corner of the grid, seen from the centre of the circle.
    radius : float
        Radius, pixels.
    sign : float
        1 to add, -1 to take away.
    exact : (y, x) float64
        Gets the covered fraction of each pixel.
    center : (y, x) float64
        Gets 1 where the centre of a pixel is inside the circle.
    """
    r2 = radius * radius
    for i in range(exact.shape[0]):
        y0, y1 = bottom + i, bottom + i + 1.0
        far_y, near_y = max(abs(y0), abs(y1)), max(max(y0, -y1), 0.0)
        y = y0 + 0.5
        for j in range(exact.shape[1]):
            x0, x1 = left + j, left + j + 1.0
            far_x, near_x = max(abs(x0), abs(x1)), max(max(x0, -x1), 0.0)
            x = x0 + 0.5
            if x * x + y * y < r2:
                center[i, j] += sign
            if near_x * near_x + near_y * near_y >= r2:
                continue
            if far_x * far_x + far_y * far_y <= r2:
                exact[i, j] += sign
            else:
                area = _half_overlap(x0, x1, y0, y1, r2) + _half_overlap(x0, x1, -y1, -y0, r2)
                exact[i, j] += sign * min(max(area, 0.0), 1.0)


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
