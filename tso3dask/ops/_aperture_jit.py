"""Compiled aperture kernels: weighted sums.

This module imports numba when it is imported: load it inside functions only.
"""

from __future__ import annotations

import math

import numpy as np

from tso3dask.ops._background_clip_jit import clip_values
from tso3dask.ops._jit import helper, jit
from tso3dask.ops._pairwise_jit import pairwise_sum

__all__ = ["sum_block", "sum_clipped_block", "whole_block"]


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
def sum_clipped_block(
    sci: np.ndarray,
    err: np.ndarray,
    index: np.ndarray,
    weight: np.ndarray,
    centered: np.ndarray,
    rule: tuple[float, int, int],
    out: np.ndarray,
) -> None:
    """Sum one aperture without the pixels whose value is far from the others'.

    ``rule`` is the limit in median absolute deviations, the largest number of rounds, and the
    fewest values that are clipped. All pixels that are touched count alike for the clipping.
    """
    limit, rounds, fewest = rule
    size = index.size
    values, places = np.empty(size), np.zeros(size)
    residual, spare = np.empty(size), np.empty(size)
    rows = np.empty(size, np.int64)
    for i in range(sci.shape[0]):
        count = 0
        for k in range(size):
            value = np.float64(sci[i, index[k]])
            if math.isfinite(value) and weight[k] != 0.0:
                values[count] = value
                rows[count] = k
                count += 1
        left = clip_values(
            values, places, rows, count, 0, limit, rounds, fewest, residual, spare, places
        )
        kept = rows[:left]
        _sum_one(sci[i], err[i], index[kept], weight[kept], centered[kept], out[i])


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
        total[i] = pairwise_sum(values, n)
        for k in range(n):
            square = err[i, k] * err[i, k]
            values[k] = square if square == square else zero
        error[i] = np.sqrt(pairwise_sum(values, n))
