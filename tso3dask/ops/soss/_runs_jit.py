"""Compiled products of matrices whose rows are runs of adjacent columns.

This module imports numba when it is imported: load it inside functions only. A matrix is given by
the first column of each row, the pointers of its rows into the values, and the values.
"""

from __future__ import annotations

import numpy as np

from tso3dask.ops._jit import helper, jit
from tso3dask.ops.soss._sides_jit import SIDES, STRIDE, add_scaled

__all__ = [
    "gather_ratio",
    "pixel_weights",
    "product",
    "times",
    "times_sides",
    "transposed_product",
    "transposed_times",
    "transposed_times_sides",
]


@helper
def _pixel_row(grid, low, last, below, above, row):  # type: ignore[no-untyped-def]
    """Weights of the grid points of one pixel, see `tso3dask.ops.soss.integration`.

    `low` is the grid point at or before the lower edge, `last` the one before the upper edge.
    Returns the first grid point, which may be -1 for a place outside, and the number of places.
    """
    begin = low if grid[low] == below else low - 1
    places = last - begin + 1
    points = places if begin >= 0 else places - 1
    size = len(grid)
    row[: places + 1] = 0.0
    if points == 1:
        if begin >= 0:  # the pixel is one interval of the grid
            row[0] = row[1] = 0.5 * (above - below)
            return begin, 2
        return begin, places
    # Places count from `begin`; what is outside the grid is taken from its end.
    first, second = (begin + size) % size, begin + 1
    final, before = begin + points - 1, begin + points - 2
    before = (before + size) % size
    row[0] = grid[second] - below
    row[points - 1] = above - grid[before]
    first_step = (
        grid[first + 1] - grid[first] if first < size - 1 else grid[size - 1] - grid[size - 2]
    )
    before_step = (
        grid[before + 1] - grid[before] if before < size - 1 else grid[size - 1] - grid[size - 2]
    )
    if points == 2:
        if begin != low:
            row[1] += below - grid[first]
        if second != last:
            row[0] += grid[second] - above
        scale = (above - below) / first_step
        row[0] *= scale
        row[1] *= scale
    else:
        row[1] = grid[second] - below
        row[points - 2] += above - grid[before]
        if begin != low:
            inner = grid[second] - below
            outer = below - grid[first]
            row[0] *= inner / first_step
            row[1] += inner * outer / first_step
        if final != last:
            inner = above - grid[before]
            outer = grid[final] - above
            row[points - 1] *= inner / before_step
            row[points - 2] += inner * outer / before_step
        if points >= 4:
            row[1] += grid[begin + 2] - grid[second]
            row[points - 2] += grid[before] - grid[before - 1]
        for place in range(2, points - 2):
            at = begin + place
            row[place] = (grid[at] - grid[at - 1]) + (grid[at + 1] - grid[at])
    for place in range(places):
        row[place] *= 0.5
    return begin, places


@jit
def pixel_weights(grid, low, last, below, above, used, first, pointers, values):  # type: ignore[no-untyped-def]
    """Fill the integration weights of all pixels; returns the number of values.

    With no room in `values` only the pointers are made.
    """
    row = np.empty(len(grid) + 3)
    fill = len(values) > 0
    at = 0
    for i in range(len(below)):
        pointers[i] = at
        first[i] = 0
        if used[i]:
            begin, places = _pixel_row(grid, low[i], last[i], below[i], above[i], row)
            skip = 1 if begin < 0 else 0
            first[i] = begin + skip
            if fill:
                values[at : at + places - skip] = row[skip:places]
            at += places - skip
    pointers[len(below)] = at
    return at


@jit
def times(first, pointers, values, x, out):  # type: ignore[no-untyped-def]
    """Product of a matrix with a vector x (column,), into out (row,)."""
    for r in range(len(first)):
        shift = first[r] - pointers[r]
        total = 0.0
        for p in range(pointers[r], pointers[r + 1]):
            total += values[p] * x[p + shift]
        out[r] = total


@jit
def transposed_times(first, pointers, values, x, out):  # type: ignore[no-untyped-def]
    """Add the product of a transposed matrix with a vector x (row,) to out (column,)."""
    for r in range(len(first)):
        shift = first[r] - pointers[r]
        for p in range(pointers[r], pointers[r + 1]):
            out[p + shift] += values[p] * x[r]


@jit
def times_sides(first, pointers, values, x, out):  # type: ignore[no-untyped-def]
    """Product of a matrix with SIDES vectors x (column, side), into out (row, side)."""
    out[:] = 0.0
    source, target = x.ctypes.data, out.ctypes.data
    for r in range(len(first)):
        shift = first[r] - pointers[r]
        for p in range(pointers[r], pointers[r + 1]):
            add_scaled(target + STRIDE * r, source + STRIDE * (p + shift), values[p])


@jit
def transposed_times_sides(first, pointers, values, x, out):  # type: ignore[no-untyped-def]
    """Add the product of a transposed matrix with SIDES vectors x (row, side) to out."""
    source, target = x.ctypes.data, out.ctypes.data
    for r in range(len(first)):
        shift = first[r] - pointers[r]
        for p in range(pointers[r], pointers[r + 1]):
            add_scaled(target + STRIDE * (p + shift), source + STRIDE * r, values[p])


@jit
def gather_ratio(data, scale, pixels, out):  # type: ignore[no-untyped-def]
    """Quotient of pixels (side, pixel) and a scale, in the precision of both, to (pixel, side).

    Sides without data are zero.
    """
    for i in range(len(pixels)):
        at = pixels[i]
        for s in range(data.shape[0]):
            out[i, s] = data[s, at] / scale[i]
        for s in range(data.shape[0], SIDES):
            out[i, s] = 0.0


@helper
def _spans(first_a, pointers_a, first_b, pointers_b, columns):  # type: ignore[no-untyped-def]
    """First column of b, and the one after the last, that meets each column of a."""
    begin = np.full(columns, np.iinfo(np.int64).max)
    end = np.zeros(columns, np.int64)
    for r in range(len(first_a)):
        width = pointers_b[r + 1] - pointers_b[r]
        if width == 0:
            continue
        for p in range(pointers_a[r], pointers_a[r + 1]):
            k = first_a[r] + p - pointers_a[r]
            begin[k] = min(begin[k], first_b[r])
            end[k] = max(end[k], first_b[r] + width)
    return begin, end


@jit
def transposed_product(  # type: ignore[no-untyped-def]
    first_a, pointers_a, values_a, first_b, pointers_b, values_b, columns
):
    """Product a^T b of two matrices with the same rows; `columns` is the number of those of a."""
    begin, end = _spans(first_a, pointers_a, first_b, pointers_b, columns)
    first = np.zeros(columns, np.int64)
    pointers = np.zeros(columns + 1, np.int64)
    for k in range(columns):
        if end[k] > 0:
            first[k] = begin[k]
        pointers[k + 1] = pointers[k] + (end[k] - begin[k] if end[k] > 0 else 0)
    values = np.zeros(pointers[columns])
    for r in range(len(first_a)):
        width = pointers_b[r + 1] - pointers_b[r]
        if width == 0:
            continue
        row_b = values_b[pointers_b[r] : pointers_b[r + 1]]
        for p in range(pointers_a[r], pointers_a[r + 1]):
            k = first_a[r] + p - pointers_a[r]
            value = values_a[p]
            at = pointers[k] + first_b[r] - first[k]
            target = values[at : at + width]
            for j in range(width):
                target[j] += value * row_b[j]
    return first, pointers, values


@jit
def product(first_a, pointers_a, values_a, first_b, pointers_b, values_b):  # type: ignore[no-untyped-def]
    """Product of two matrices, its rows as wide as those of b that they are made from."""
    rows = len(first_a)
    first = np.zeros(rows, np.int64)
    pointers = np.zeros(rows + 1, np.int64)
    for r in range(rows):
        begin, end = np.iinfo(np.int64).max, 0
        for p in range(pointers_a[r], pointers_a[r + 1]):
            k = first_a[r] + p - pointers_a[r]
            width = pointers_b[k + 1] - pointers_b[k]
            if width > 0:
                begin = min(begin, first_b[k])
                end = max(end, first_b[k] + width)
        if end > 0:
            first[r] = begin
        pointers[r + 1] = pointers[r] + (end - begin if end > 0 else 0)
    values = np.zeros(pointers[rows])
    for r in range(rows):
        for p in range(pointers_a[r], pointers_a[r + 1]):
            k = first_a[r] + p - pointers_a[r]
            width = pointers_b[k + 1] - pointers_b[k]
            if width == 0:
                continue
            value = values_a[p]
            row_b = values_b[pointers_b[k] : pointers_b[k + 1]]
            at = pointers[r] + first_b[k] - first[r]
            target = values[at : at + width]
            for j in range(width):
                target[j] += value * row_b[j]
    return first, pointers, values
