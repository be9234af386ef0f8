"""Compiled aperture kernels: weighted sums.

This module imports numba when it is imported: load it inside functions only.
"""

from __future__ import annotations

import math

import numpy as np

from tso3dask.ops._jit import helper, jit
from tso3dask.ops._pairwise_jit import pairwise_sum

__all__ = ["sum_block", "whole_block"]


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
        total[i] = pairwise_sum(values, n)
        for k in range(n):
            square = err[i, k] * err[i, k]
            values[k] = square if square == square else zero
        error[i] = np.sqrt(pairwise_sum(values, n))
