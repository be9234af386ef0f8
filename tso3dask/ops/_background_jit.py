"""Compiled medians and running means for the background of spectra.

This module imports numba when it is imported: load it inside functions only. They give what
`tso3dask.ops.background1d.column_median` and `tso3dask.ops.background1d.smooth` give.
"""

from __future__ import annotations

import numpy as np

from tso3dask.ops._jit import helper, jit

__all__ = ["MEDIAN_TILE", "median_along_x", "median_along_y", "smooth_along_x", "smooth_along_y"]

TILE = 1024  # as in tso3dask.ops.box
MEDIAN_TILE = 256  # a divisor of TILE
OUTSIDE = 2**31 - 1


@helper
def _ordered(bits):  # type: ignore[no-untyped-def]
    """Integer that sorts as the float32 with these bits does, and the way back."""
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)


@helper
def _missing(bits):  # type: ignore[no-untyped-def]
    """Whether these are the bits of a NaN."""
    return (bits & 0x7FFFFFFF) > 0x7F800000


@helper
def _count_below(keys, trial, below, width):  # type: ignore[no-untyped-def]
    """Count the keys of a row that do not exceed the trial value of their column."""
    for c in range(width):
        below[c] += np.int32(1) if keys[c] <= trial[c] else np.int32(0)


@helper
def _column_medians(  # type: ignore[no-untyped-def] # noqa: C901
    keys, rows, width, count, work, out
):
    """Medians of columns of ordered keys, by bisection of all columns together.

    Keys that do not count are OUTSIDE. The result holds the bits of the two middle values.
    """
    low, high, trial, below = work[0], work[1], work[2], work[3]
    low[:width] = OUTSIDE
    high[:width] = -OUTSIDE - 1
    for r in range(rows):
        for c in range(width):
            low[c] = min(low[c], keys[r, c])
        for c in range(width):
            high[c] = max(high[c], keys[r, c] if keys[r, c] != OUTSIDE else high[c])
    searching = True
    while searching:
        for c in range(width):
            trial[c] = (low[c] & high[c]) + ((low[c] ^ high[c]) >> 1)
            below[c] = 0
        for r in range(rows):
            _count_below(keys[r], trial, below, width)
        searching = False
        for c in range(width):
            if low[c] < high[c]:
                if below[c] > count[c] // 2:
                    high[c] = trial[c]
                else:
                    low[c] = trial[c] + 1
                searching |= low[c] < high[c]
    trial[:width] = -OUTSIDE - 1
    below[:width] = 0
    for r in range(rows):
        for c in range(width):
            trial[c] = max(trial[c], keys[r, c] if keys[r, c] < low[c] else trial[c])
        for c in range(width):
            below[c] += np.int32(1) if keys[r, c] < low[c] else np.int32(0)
    for c in range(width):
        # of an even number, the lower middle value may be the same as the upper one
        other = trial[c] if count[c] % 2 == 0 and below[c] == count[c] // 2 else low[c]
        out[0, c] = _ordered(other)
        out[1, c] = _ordered(low[c])


@helper
def _mean_of_middles(middles, count, level, width):  # type: ignore[no-untyped-def]
    """Mean of the two middle values, in float32; NaN where there is none."""
    for c in range(width):
        lower, upper = middles[0, c], middles[1, c]
        mean = upper if lower == upper else (lower + upper) * np.float32(0.5)
        level[c] = mean if count[c] > 0 else np.float32(np.nan)


@jit
def median_along_x(  # type: ignore[no-untyped-def]
    bits, vy0, vx0, inside, back_rows, back_at, middles, middle_bits, level
):
    """Median background (integration, x) of spectra along x; NaN pixels are left out.

    `bits` are the values seen as integers, `middle_bits` is `middles` (2, column) likewise.
    """
    keys = np.empty((inside.shape[0], MEDIAN_TILE), np.int32)
    work = np.empty((4, MEDIAN_TILE), np.int32)
    count = np.empty(MEDIAN_TILE, np.int32)
    for i in range(bits.shape[0]):
        for begin in range(0, inside.shape[1], MEDIAN_TILE):
            tile = begin // TILE
            width = min(MEDIAN_TILE, inside.shape[1] - begin)
            count[:width] = 0
            rows = back_at[tile + 1] - back_at[tile]
            for k in range(rows):
                r = back_rows[back_at[tile] + k]
                row = bits[i, vy0 + r, vx0 + begin :]
                where = inside[r, begin:]
                for c in range(width):
                    use = where[c] != 0 and not _missing(row[c])
                    keys[k, c] = _ordered(row[c]) if use else OUTSIDE
                    count[c] += np.int32(1) if use else np.int32(0)
            _column_medians(keys, rows, width, count, work, middle_bits)
            _mean_of_middles(middles, count, level[i, begin:], width)


@jit
def median_along_y(  # type: ignore[no-untyped-def]
    bits, vy0, vx0, inside, back_span, middles, middle_bits, level
):
    """Median background (integration, y) of spectra along y; as `median_along_x`."""
    keys = np.empty((inside.shape[1], MEDIAN_TILE), np.int32)
    work = np.empty((4, MEDIAN_TILE), np.int32)
    count = np.empty(MEDIAN_TILE, np.int32)
    for i in range(bits.shape[0]):
        for begin in range(0, inside.shape[0], MEDIAN_TILE):
            width = min(MEDIAN_TILE, inside.shape[0] - begin)
            left, right = inside.shape[1], 0
            for k in range(width):
                if back_span[begin + k, 1] > 0:
                    left = min(left, back_span[begin + k, 0])
                    right = max(right, back_span[begin + k, 1])
            rows = max(right - left, 0)
            for k in range(width):
                count[k] = 0
                row = bits[i, vy0 + begin + k, vx0:]
                for c in range(rows):
                    use = inside[begin + k, left + c] != 0 and not _missing(row[left + c])
                    keys[c, k] = _ordered(row[left + c]) if use else OUTSIDE
                    count[k] += np.int32(1) if use else np.int32(0)
            _column_medians(keys, rows, width, count, work, middle_bits)
            _mean_of_middles(middles, count, level[i, begin:], width)


@helper
def _terms(row, kernel, terms, shares, width):  # type: ignore[no-untyped-def]
    """Split a row into its terms of a running mean and their shares, zero for NaN."""
    for c in range(width):
        terms[c] = np.float64(row[c]) * kernel if row[c] == row[c] else 0.0
    for c in range(width):
        shares[c] = kernel if row[c] == row[c] else 0.0


@helper
def _add(total, terms, width):  # type: ignore[no-untyped-def]
    for c in range(width):
        total[c] += terms[c]


@jit
def smooth_along_x(sci, y0, x0, wanted, length, out):  # type: ignore[no-untyped-def]
    """Take the running mean along x of the window's wanted rows, NaN left out, ends continued."""
    half = length // 2
    width = out.shape[2]
    total, weight = np.empty(width), np.empty(width)
    terms, shares = np.empty(width + 2 * half), np.empty(width + 2 * half)
    for i in range(out.shape[0]):
        for r in range(out.shape[1]):
            if not wanted[r]:
                continue
            _terms(sci[i, y0 + r, x0:], 1.0 / length, terms[half:], shares[half:], width)
            terms[:half] = terms[half]
            shares[:half] = shares[half]
            terms[half + width :] = terms[half + width - 1]
            shares[half + width :] = shares[half + width - 1]
            total[:] = 0.0
            weight[:] = 0.0
            for k in range(length):
                _add(total, terms[k:], width)
                _add(weight, shares[k:], width)
            for c in range(width):
                out[i, r, c] = np.float32(total[c] / weight[c])


@jit
def smooth_along_y(sci, y0, x0, length, out):  # type: ignore[no-untyped-def]
    """Take the running mean along y of the window, NaN left out, ends continued."""
    half = length // 2
    height, width = out.shape[1], out.shape[2]
    total, weight = np.empty(width), np.empty(width)
    terms, shares = np.empty((height, width)), np.empty((height, width))
    for i in range(out.shape[0]):
        for r in range(height):
            _terms(sci[i, y0 + r, x0:], 1.0 / length, terms[r], shares[r], width)
        for r in range(height):
            total[:] = 0.0
            weight[:] = 0.0
            for k in range(r - half, r + half + 1):
                near = min(max(k, 0), height - 1)
                _add(total, terms[near], width)
                _add(weight, shares[near], width)
            for c in range(width):
                out[i, r, c] = np.float32(total[c] / weight[c])
