"""Compiled loops of medians over time that no network serves: wide windows, and one image.

This module imports numba when it is imported: use `tso3dask.ops._kernels`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tso3dask.ops._jit import helper
from tso3dask.ops._kernels import PLANE
from tso3dask.ops._vector_jit import copy_words, key_value, ordered_key

__all__ = ["make_image", "make_wide"]

Made = tuple[Callable[..., None], str]


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
    for i in range(keys.shape[0]):
        copy_words(at, source + i * step, n)
        row = keys[i]
        for j in range(PLANE):
            row[j] = ordered_key(values[j])
            valid[j] += np.int32(values[j] == values[j])


@helper
def _sort(keys: Any, pairs: Any) -> None:
    """Sort the keys of each pixel of a tile, which puts NaN last."""
    for k in range(pairs.shape[0]):
        low = keys[pairs[k, 0]]
        high = keys[pairs[k, 1]]
        for j in range(PLANE):
            one = low[j]
            two = high[j]
            low[j] = one if one < two else two
            high[j] = two if one < two else one


def make_image(stamp: int) -> Made:
    """Make the kernel of the median over time of the values that are not NaN.

    In the kernel, `source` is the address of the first integration and `step` the bytes from one to
    the next. `keys` is (integration, pixel) of a tile of PLANE pixels and `values` one integration
    of it, `values_at` its address; `pairs` sorts the integrations.
    """

    def image(
        source: int,
        step: int,
        out: Any,
        keys: Any,
        values: Any,
        values_at: int,
        valid: Any,
        pairs: Any,
    ) -> None:
        if stamp < 0:
            return
        for p0 in range(0, out.size, PLANE):
            n = min(PLANE, out.size - p0)
            _load_keys(source + 4 * p0, step, n, keys, values, values_at, valid)
            _sort(keys, pairs)
            for j in range(n):
                count = valid[j]
                if count == 0:
                    out[p0 + j] = np.nan
                    continue
                level = key_value(keys[(count - 1) // 2, j])
                if count % 2 == 0:
                    level = np.float32(level + key_value(keys[count // 2, j])) * np.float32(0.5)
                out[p0 + j] = level

    return image, (
        "void(int64,int64,float32[::1],uint32[:,::1],float32[::1],int64,int32[::1],int64[:,::1])"
    )
