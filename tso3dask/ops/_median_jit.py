"""Compiled exact median of many float32 values by counting instead of sorting.

A small sorted sample brackets the two middle values; the values in the bracket
are copied aside. Counting how many of them lie below two trial values, a loop
without branches that runs in vector registers, narrows the bracket until so
few are left that they can be sorted.

This module imports numba when it is imported: load it inside functions only.
"""

from __future__ import annotations

import numpy as np

from tso3dask.ops._jit import helper

__all__ = ["median_of_runs", "median_scratch"]

# Counters passed to helpers start from `int(np.int64(0))`, not 0: numba compiles a helper once
# more for a literal.

_SAMPLE = 48
_MARGIN = 6
_FEW = 20
_INTERPOLATIONS = 6
_MAGNITUDE = 0x7FFFFFFF


@helper
def median_scratch(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Allocate scratch for the median of up to ``size`` values: values, and one cell."""
    return np.empty(max(size, _SAMPLE) + 1, np.float32), np.empty(1, np.float32)


@helper
def _sort(a: np.ndarray, n: int) -> None:
    """Sort the first ``n`` values in place by insertion."""
    for i in range(1, n):
        value = a[i]
        j = i
        while j > 0 and a[j - 1] > value:
            a[j] = a[j - 1]
            j -= 1
        a[j] = value


@helper
def _sampled(image: np.ndarray, runs: np.ndarray, out: np.ndarray) -> int:
    """Sort about `_SAMPLE` evenly spaced values into ``out``; returns their number."""
    total = 0
    for r in range(runs.shape[0]):
        total += runs[r, 1] - runs[r, 0]
    step = max(1, total // _SAMPLE)
    n = 0
    offset = step // 2
    for r in range(runs.shape[0]):
        length = runs[r, 1] - runs[r, 0]
        while offset < length and n < _SAMPLE:
            value = image[runs[r, 0] + offset]
            if value == value:
                out[n] = value
                n += 1
            offset += step
        offset -= length
    _sort(out, n)
    return n


@helper
def _counts(part: np.ndarray, low: float, high: float) -> tuple[int, int, int]:
    """Count the values that are not NaN, smaller than ``low``, smaller than ``high``."""
    low4 = np.float32(low)
    high4 = np.float32(high)
    valid = np.uint32(0)
    below_low = np.uint32(0)
    below_high = np.uint32(0)
    for k in range(part.size):
        value = part[k]
        valid = np.uint32(valid + np.uint32(value == value))
        below_low = np.uint32(below_low + np.uint32(value < low4))
        below_high = np.uint32(below_high + np.uint32(value < high4))
    return int(valid), int(below_low), int(below_high)


@helper
def _keep(part: np.ndarray, low: float, high: float, out: np.ndarray, n: int) -> int:
    """Append the values in [low, high) to the first ``n`` of ``out``, without branches.

    ``out`` may be ``part`` itself when ``n`` is 0; its element behind the last
    one kept is written to.
    """
    low4 = np.float32(low)
    high4 = np.float32(high)
    for k in range(part.size):
        value = part[k]
        out[n] = value
        n += int(value >= low4) & int(value < high4)
    return n


@helper
def _keep_valid(part: np.ndarray, out: np.ndarray, n: int) -> int:
    """Append the values that are not NaN to the first ``n`` of ``out``."""
    for k in range(part.size):
        value = part[k]
        out[n] = value
        n += int(value == value)
    return n


@helper
def _around(part: np.ndarray, cut: float) -> np.float32:
    """Mean, in float32, of the largest value below ``cut`` and the smallest not below it."""
    lower = np.float32(-np.inf)
    upper = np.float32(np.inf)
    for k in range(part.size):
        value = part[k]
        if value < cut:
            lower = max(lower, value)
        else:
            upper = min(upper, value)
    return (lower + upper) / np.float32(2.0)


@helper
def _key(value: float, cell: np.ndarray) -> int:
    """Integer whose order is that of the float32 values."""
    cell[0] = value
    bits = int(cell.view(np.int32)[0])
    return bits if bits >= 0 else -(bits & _MAGNITUDE)


@helper
def _bisected(low: float, high: float, cell: np.ndarray) -> float:
    """Find the middle of all float32 values from ``low`` to ``high``."""
    key = (_key(low, cell) + _key(high, cell)) // 2
    cell.view(np.int32)[0] = np.int32(key if key >= 0 else -key - _MAGNITUDE - 1)
    return np.float64(cell[0])


@helper
def _interpolated(
    low: float, high: float, below: int, inside: int, rank: int
) -> tuple[float, float]:
    """Two values expected a little below and above the value of rank ``rank``."""
    width = np.float64(high) - np.float64(low)
    fraction = (rank - below + 0.5) / inside
    margin = 1.2 * np.sqrt(fraction * (1.0 - fraction) / inside) + 2.0 / inside
    left = low + width * max(0.0, fraction - margin)
    right = low + width * min(1.0, fraction + margin)
    return np.float64(np.float32(left)), np.float64(np.float32(right))


@helper
def _narrowed(
    a: np.ndarray, n: int, low: float, high: float, first: int, second: int, cell: np.ndarray
) -> np.float32:
    """Mean of ranks ``first`` and ``second`` of ``a[:n]``, all values in [low, high).

    ``a`` is overwritten; ``second`` is ``first`` or the next rank.
    """
    below = 0
    above = n
    rounds = 0
    while above - below > _FEW:
        if _key(high, cell) - _key(low, cell) <= 1:
            return np.float32(low)
        left, right = _interpolated(low, high, below, above - below, second)
        if rounds >= _INTERPOLATIONS or not low < left < right < high:
            left = _bisected(low, high, cell)
            right = left
        rounds += 1
        _, below_left, below_right = _counts(a[:n], left, right)
        for _ in range(2):
            if first < below_left <= second:
                return _around(a[:n], left)
            if below_left <= first and left > low:
                low = left
                below = below_left
            elif below_left > second and left < high:
                high = left
                above = below_left
            left = right
            below_left = below_right
    found = _keep(a[:n], low, high, a, int(np.int64(0)))
    _sort(a, found)
    if first == second:
        return a[first - below]
    return (a[first - below] + a[second - below]) / np.float32(2.0)


@helper
def _all_values(
    image: np.ndarray, runs: np.ndarray, first: int, second: int, a: np.ndarray, cell: np.ndarray
) -> np.float32:
    """Mean of two middle ranks of all values, where the sample did not bracket them."""
    n = int(np.int64(0))
    for r in range(runs.shape[0]):
        n = _keep_valid(image[runs[r, 0] : runs[r, 1]], a, n)
    _, _, finite = _counts(a[:n], np.inf, np.inf)
    if finite <= first:
        return np.float32(np.inf)
    if finite == second:
        return _around(a[:n], np.inf)
    n = _keep(a[:n], -np.inf, np.inf, a, int(np.int64(0)))
    return _narrowed(a, n, -np.inf, np.inf, first, second, cell)


@helper
def median_of_runs(
    image: np.ndarray, runs: np.ndarray, a: np.ndarray, cell: np.ndarray
) -> np.float32:
    """Median of the values of a flat image in the runs (start, stop), NaN left out.

    For an even number of values the mean of the two middle ones is taken in
    float32. NaN when there is no value. ``a`` and ``cell`` come from
    `median_scratch`.
    """
    sampled = _sampled(image, runs, a)
    low = np.float64(0.0)
    high = np.float64(0.0)
    if sampled > 0:
        low = np.float64(a[max(0, sampled // 2 - _MARGIN)])
        high = np.float64(a[min(sampled - 1, sampled // 2 + _MARGIN)])
    n = int(np.int64(0))
    below = 0
    above = 0
    for r in range(runs.shape[0]):
        counts = _counts(image[runs[r, 0] : runs[r, 1]], low, high)
        n += counts[0]
        below += counts[1]
        above += counts[2]
    if n == 0:
        return np.float32(np.nan)
    first = (n - 1) // 2
    second = n // 2
    if below > first or above <= second:
        return _all_values(image, runs, first, second, a, cell)
    n = int(np.int64(0))
    for r in range(runs.shape[0]):
        n = _keep(image[runs[r, 0] : runs[r, 1]], low, high, a, n)
    return _narrowed(a, n, low, high, first - below, second - below, cell)
