"""Compiled sums with the bits of numpy's.

This module imports numba when it is imported: load it inside functions only.
"""

from __future__ import annotations

import numpy as np

from tso3dask.ops._jit import helper, jit

__all__ = ["jit", "pairwise_sum_f4", "pairwise_sum_f8"]


@helper
def _leaf_f8(a: np.ndarray, lo: int, n: int) -> float:
    """Sum of at most 128 float64 values in eight interleaved partial sums."""
    if n < 8:
        total = 0.0
        for i in range(lo, lo + n):
            total += a[i]
        return total
    r0, r1, r2, r3 = a[lo], a[lo + 1], a[lo + 2], a[lo + 3]
    r4, r5, r6, r7 = a[lo + 4], a[lo + 5], a[lo + 6], a[lo + 7]
    i = 8
    while i < n - n % 8:
        k = lo + i
        r0 += a[k]
        r1 += a[k + 1]
        r2 += a[k + 2]
        r3 += a[k + 3]
        r4 += a[k + 4]
        r5 += a[k + 5]
        r6 += a[k + 6]
        r7 += a[k + 7]
        i += 8
    total = ((r0 + r1) + (r2 + r3)) + ((r4 + r5) + (r6 + r7))
    while i < n:
        total += a[lo + i]
        i += 1
    return total


@helper
def pairwise_sum_f8(a: np.ndarray, n: int) -> float:
    """Sum the first ``n`` values (float64) in numpy's pairwise order.

    The order of additions is that of `numpy.sum` over a contiguous array, so
    that the result has the same bits: a range of more than 128 values is split
    near its middle, and the parts are added when both are complete.
    """
    lo = int(np.int64(0))
    if n <= 128:
        return _leaf_f8(a, lo, n)
    sizes = np.empty(64, np.int64)
    levels = np.empty(64, np.int64)
    done = np.empty(64, np.float64)
    done_levels = np.empty(64, np.int64)
    waiting = 1
    complete = 0
    sizes[0] = n
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
        total = _leaf_f8(a, lo, size)
        lo += size
        while complete > 0 and done_levels[complete - 1] == level:
            complete -= 1
            total = done[complete] + total
            level -= 1
        done[complete] = total
        done_levels[complete] = level
        complete += 1
    return done[0]


@helper
def _leaf_f4(a: np.ndarray, lo: int, n: int) -> np.float32:
    """Sum of at most 128 float32 values in eight interleaved partial sums."""
    if n < 8:
        total = np.float32(0.0)
        for i in range(lo, lo + n):
            total += a[i]
        return total
    r0, r1, r2, r3 = a[lo], a[lo + 1], a[lo + 2], a[lo + 3]
    r4, r5, r6, r7 = a[lo + 4], a[lo + 5], a[lo + 6], a[lo + 7]
    i = 8
    while i < n - n % 8:
        k = lo + i
        r0 += a[k]
        r1 += a[k + 1]
        r2 += a[k + 2]
        r3 += a[k + 3]
        r4 += a[k + 4]
        r5 += a[k + 5]
        r6 += a[k + 6]
        r7 += a[k + 7]
        i += 8
    total = ((r0 + r1) + (r2 + r3)) + ((r4 + r5) + (r6 + r7))
    while i < n:
        total += a[lo + i]
        i += 1
    return total


@helper
def pairwise_sum_f4(a: np.ndarray, n: int) -> np.float32:
    """Sum the first ``n`` values (float32) in numpy's pairwise order, in float32.

    The order of additions is that of `numpy.sum` over a contiguous array, so
    that the result has the same bits: a range of more than 128 values is split
    near its middle, and the parts are added when both are complete.
    """
    lo = int(np.int64(0))
    if n <= 128:
        return _leaf_f4(a, lo, n)
    sizes = np.empty(64, np.int64)
    levels = np.empty(64, np.int64)
    done = np.empty(64, np.float32)
    done_levels = np.empty(64, np.int64)
    waiting = 1
    complete = 0
    sizes[0] = n
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
        total = _leaf_f4(a, lo, size)
        lo += size
        while complete > 0 and done_levels[complete - 1] == level:
            complete -= 1
            total = done[complete] + total
            level -= 1
        done[complete] = total
        done_levels[complete] = level
        complete += 1
    return done[0]
