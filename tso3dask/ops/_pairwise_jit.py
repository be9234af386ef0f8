"""Compiled sums with the bits of numpy's, in the type of the values.

This module imports numba when it is imported: load it inside functions only.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tso3dask.ops._jit import helper

__all__ = ["block_sum", "pairwise_sum"]


@helper
def block_sum(values: npt.NDArray[Any], first: int, count: int) -> Any:
    """Sum of up to 128 values in the order in which NumPy adds a contiguous array."""
    if count < 8:
        total = values.dtype.type(-0.0)
        for k in range(first, first + count):
            total += values[k]
        return total
    r0, r1, r2, r3 = values[first], values[first + 1], values[first + 2], values[first + 3]
    r4, r5, r6, r7 = values[first + 4], values[first + 5], values[first + 6], values[first + 7]
    whole = count - count % 8
    for k in range(first + 8, first + whole, 8):
        r0 += values[k]
        r1 += values[k + 1]
        r2 += values[k + 2]
        r3 += values[k + 3]
        r4 += values[k + 4]
        r5 += values[k + 5]
        r6 += values[k + 6]
        r7 += values[k + 7]
    total = ((r0 + r1) + (r2 + r3)) + ((r4 + r5) + (r6 + r7))
    for k in range(first + whole, first + count):
        total += values[k]
    return total


@helper
def pairwise_sum(values: npt.NDArray[Any], count: int) -> Any:
    """Sum the first ``count`` values (float32 or float64) in numpy's pairwise order.

    The order of additions is that of `numpy.sum` over a contiguous array, so
    that the result has the same bits: a range of more than 128 values is split
    near its middle, and the parts are added when both are complete.
    """
    first = int(np.int64(0))
    if count == 0:
        return values.dtype.type(0.0)
    if count <= 128:
        return block_sum(values, first, count)
    sizes = np.empty(64, np.int64)
    levels = np.empty(64, np.int64)
    done = np.empty(64, values.dtype)
    done_levels = np.empty(64, np.int64)
    waiting = 1
    complete = 0
    sizes[0] = count
    levels[0] = 0
    while waiting > 0:
        size = sizes[waiting - 1]
        level = levels[waiting - 1]
        if size > 128:
            half = size // 2
            half -= half % 8
            sizes[waiting - 1] = size - half
            levels[waiting - 1] = level + 1
            sizes[waiting] = half
            levels[waiting] = level + 1
            waiting += 1
            continue
        waiting -= 1
        total = block_sum(values, first, size)
        first += size
        while complete > 0 and done_levels[complete - 1] == level:
            complete -= 1
            total = done[complete] + total
            level -= 1
        done[complete] = total
        done_levels[complete] = level
        complete += 1
    return done[0]
