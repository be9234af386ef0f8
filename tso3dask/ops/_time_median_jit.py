"""Compiled loops of medians over time that no network serves: wide windows, and one image.

This module imports numba when it is imported: use `tso3dask.ops._kernels`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tso3dask.ops._jit import helper
from tso3dask.ops._vector_jit import LANES, copy_words, count_below, key_value, ordered_key

__all__ = ["PLANE", "make_image", "make_wide"]

Made = tuple[Callable[..., None], str]

PLANE = 16
"""Neighbouring pixels whose keys lie together; a multiple of the lanes of a vector."""


@helper
def _insert(held: Any, k: int, new: Any, carry: Any, nans: Any) -> None:
    """Insert a row into the k rows that are sorted so far; NaN goes in as infinity."""
    n = new.size
    for j in range(n):
        nans[j] += np.int32(new[j] != new[j])
        carry[j] = np.float32(np.inf) if new[j] != new[j] else new[j]
    for row in range(k):
        here = held[row]
        for j in range(n):
            value = here[j]
            here[j] = value if value < carry[j] else carry[j]
            carry[j] = carry[j] if value < carry[j] else value
    held[k, :n] = carry[:n]


@helper
def _remove(held: Any, old: Any, carry: Any, nans: Any) -> None:
    """Take a row out of the sorted rows; the last row is free afterwards."""
    n = old.size
    for j in range(n):
        nans[j] -= np.int32(old[j] != old[j])
        carry[j] = np.float32(np.inf) if old[j] != old[j] else old[j]
    for row in range(held.shape[0] - 1):
        here = held[row]
        above = held[row + 1]
        for j in range(n):
            here[j] = here[j] if here[j] < carry[j] else above[j]


@helper
def _middle(held: Any, nans: Any, result: Any) -> None:
    """Store the mean of the two middle rows, or NaN."""
    low = held[(held.shape[0] - 1) // 2]
    high = held[held.shape[0] // 2]
    for j in range(result.size):
        level = (np.float64(low[j]) + np.float64(high[j])) * 0.5
        result[j] = level if nans[j] == 0 else np.nan


def make_wide(stamp: int) -> Made:
    """Make the kernel of rolling medians by a sorted window per pixel, for any width.

    In the kernel, `sci` and `out` are (integration, pixel); row 0 of `sci` is integration `first`.
    A tile's sorted windows lie in `held`, (width, pixel); its NaN are counted in `nans`.
    """

    def wide(
        sci: Any,
        out: Any,
        first: int,
        a: int,
        b: int,
        nints: int,
        held: Any,
        carry: Any,
        nans: Any,
    ) -> None:
        if stamp < 0:
            return
        width, tile = held.shape
        start = min(max(a - width // 2, 0), nints - width)
        for p0 in range(0, sci.shape[1], tile):
            p1 = min(p0 + tile, sci.shape[1])
            nans[:] = 0
            for k in range(width):
                _insert(held, k, sci[start + k - first, p0:p1], carry, nans)
            position = start
            for i in range(a, b):
                while position < min(max(i - width // 2, 0), nints - width):
                    _remove(held, sci[position - first, p0:p1], carry, nans)
                    new = sci[position + width - first, p0:p1]
                    _insert(held, width - 1, new, carry, nans)
                    position += 1
                _middle(held, nans, out[i - a, p0:p1])

    floats = "float32[:,::1]"
    return wide, (
        f"void({floats},float64[:,::1],int64,int64,int64,int64,{floats},float32[::1],int32[::1])"
    )


@helper
def _load_keys(source: int, step: int, n: int, keys: Any, values: Any, at: int, valid: Any) -> None:
    """Fill the keys of a tile, and count the values that are not NaN."""
    valid[:] = 0
    for i in range(keys.shape[1]):
        copy_words(at, source + i * step, n)
        for plane in range(keys.shape[0]):
            for j in range(PLANE):
                value = values[plane * PLANE + j]
                keys[plane, i, j] = ordered_key(value)
                valid[plane * PLANE + j] += np.int32(value == value)


@helper
def _bisect(keys: Any, keys_at: int, valid: Any, found: Any, trial: Any, trial_at: int) -> None:
    """Build the lower middle key of each pixel of a plane from its highest bit down.

    A bit is set if no more keys are smaller than the value that has it than the rank allows. At
    the end the counts behind `trial` are those of the keys up to and with the one found.
    """
    found[:] = 0
    for bit in range(31, -1, -1):
        for j in range(PLANE):
            trial[j] = found[j] | np.uint32(1 << bit)
        count_below(keys_at, keys.shape[0], trial_at, PLANE, LANES)
        for j in range(PLANE):
            if np.int64(trial[PLANE + j]) <= (valid[j] - 1) // 2:
                found[j] = trial[j]
    for j in range(PLANE):
        trial[j] = found[j] + np.uint32(1)
    count_below(keys_at, keys.shape[0], trial_at, PLANE, LANES)


@helper
def _image_values(keys: Any, valid: Any, found: Any, trial: Any, out: Any) -> None:
    """Turn the lower middle keys of a plane into medians, averaging two middle values.

    `trial` has the number of keys up to and with the lower middle one as `_bisect` leaves it.
    """
    after = trial[:PLANE]
    after[:] = np.uint32(0xFFFFFFFF)
    for i in range(keys.shape[0]):
        row = keys[i]
        for j in range(PLANE):
            after[j] = row[j] if found[j] < row[j] < after[j] else after[j]
    for j in range(out.size):
        low = key_value(found[j])
        if valid[j] == 0:
            out[j] = np.nan
        elif valid[j] % 2 == 1 or np.int64(trial[PLANE + j]) > valid[j] // 2:
            out[j] = low
        else:
            out[j] = np.float32(low + key_value(after[j])) * np.float32(0.5)


def make_image(stamp: int) -> Made:
    """Make the kernel of the median over time of the values that are not NaN.

    In the kernel, `keys` is (plane, integration, pixel) of a tile and `values` (pixel) of one
    integration of it; arguments ending in ``_at`` are addresses of the arrays before them. `trial`
    has PLANE values to try, and then as many counts.
    """

    def image(
        source: int,
        step: int,
        out: Any,
        keys: Any,
        keys_at: int,
        values: Any,
        values_at: int,
        trial: Any,
        trial_at: int,
        valid: Any,
        found: Any,
    ) -> None:
        if stamp < 0:
            return
        tile = keys.shape[0] * PLANE
        for p0 in range(0, out.size, tile):
            n = min(tile, out.size - p0)
            _load_keys(source + 4 * p0, step, n, keys, values, values_at, valid)
            for plane in range(-(-n // PLANE)):
                q0 = plane * PLANE
                count = valid[q0 : q0 + PLANE]
                at = keys_at + 4 * q0 * keys.shape[1]
                _bisect(keys[plane], at, count, found, trial, trial_at)
                part = out[p0 + q0 : p0 + min(q0 + PLANE, n)]
                _image_values(keys[plane], count, found, trial, part)

    return image, (
        "void(int64,int64,float32[::1],uint32[:,:,::1],int64,float32[::1],int64,uint32[::1],int64,"
        "int32[::1],uint32[::1])"
    )
