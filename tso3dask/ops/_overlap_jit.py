"""Exact overlap of a circle with square pixels.

This module imports numba when it is imported: load it inside functions only.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tso3dask.ops._jit import helper, jit

__all__ = ["overlaps"]

_HALF_DIAGONAL = 0.7072
"""Of a pixel, rounded up."""


@helper
def _under_arc(left: float, right: float, radius: float) -> float:
    """Area between the x axis and the circle around the origin, for 0 <= left <= right <= radius.

    A trapezoid under the chord and the segment above it: no large numbers are subtracted.
    """
    one = math.sqrt(max(0.0, (radius - left) * (radius + left)))
    two = math.sqrt(max(0.0, (radius - right) * (radius + right)))
    half = min(1.0, math.hypot(right - left, one - two) / (2.0 * radius))
    angle = 2.0 * math.asin(half)
    segment = 0.5 * radius * radius * (angle - math.sin(angle))
    return 0.5 * (one + two) * (right - left) + segment


@helper
def _in_quadrant(a: float, b: float, c: float, d: float, radius: float) -> float:
    """Area of a circle around the origin in the rectangle a <= x <= b, c <= y <= d, all >= 0."""
    if a >= b or c >= d or a * a + c * c >= radius * radius:
        return 0.0
    if b * b + d * d <= radius * radius:
        return (b - a) * (d - c)
    # From `high` on the circle is below the upper side, from `low` on below the lower one.
    high = math.sqrt((radius - d) * (radius + d)) if d < radius else 0.0
    low = math.sqrt((radius - c) * (radius + c))
    area = max(0.0, min(b, high) - a) * (d - c)
    left, right = max(a, high), min(b, low)
    if left < right:
        area += _under_arc(left, right, radius) - c * (right - left)
    return area


@helper
def _overlap(x: float, y: float, radius: float) -> float:
    """Area of a circle around the origin in the unit square around (x, y)."""
    away = math.sqrt(x * x + y * y)
    if away >= radius + _HALF_DIAGONAL:
        return 0.0
    if away <= radius - _HALF_DIAGONAL:
        return 1.0
    x0, x1, y0, y1 = x - 0.5, x + 0.5, y - 0.5, y + 0.5
    left, right = max(0.0, -x0), max(0.0, x1)
    down, up = max(0.0, -y0), max(0.0, y1)
    l0, r0, d0, u0 = max(0.0, -x1), max(0.0, x0), max(0.0, -y1), max(0.0, y0)
    return (
        _in_quadrant(r0, right, u0, up, radius)
        + _in_quadrant(l0, left, u0, up, radius)
        + _in_quadrant(r0, right, d0, down, radius)
        + _in_quadrant(l0, left, d0, down, radius)
    )


@jit
def overlaps(ny: int, nx: int, x: float, y: float, radius: float) -> Any:
    """Share of each pixel in a circle around the origin, and whether its centre is inside.

    Pixel (0, 0) of the (ny, nx) has its centre at (x, y).
    """
    share = np.empty((ny, nx))
    inside = np.empty((ny, nx), np.bool_)
    for j in range(ny):
        for i in range(nx):
            share[j, i] = _overlap(x + i, y + j, radius)
            inside[j, i] = (x + i) ** 2 + (y + j) ** 2 < radius * radius
    return share, inside
