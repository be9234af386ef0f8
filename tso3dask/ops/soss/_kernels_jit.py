"""Compiled values of resolution kernels on a grid. Load inside functions only."""

from __future__ import annotations

import numpy as np

from tso3dask.ops._jit import helper, jit

__all__ = ["fill_kernels"]


@helper
def _cubic(knots, at, x, shares):  # type: ignore[no-untyped-def]
    """Values at x of the four cubic B-splines of the interval that begins with the knot `at`."""
    shares[0] = 1.0
    for degree in range(1, 4):
        carried = 0.0
        for i in range(degree):
            above, below = knots[at + 1 + i], knots[at + 1 + i - degree]
            share = shares[i] / (above - below)
            shares[i] = carried + share * (above - x)
            carried = share * (x - below)
        shares[degree] = carried


@helper
def _interval(knots, x, at):  # type: ignore[no-untyped-def]
    """Interval of cubic knots that x is in, from the one before on, with x within the knots."""
    x = min(max(x, knots[3]), knots[len(knots) - 4])
    while at > 3 and x < knots[at]:
        at -= 1
    while at < len(knots) - 5 and x >= knots[at + 1]:
        at += 1
    return at, x


@jit
def fill_kernels(  # type: ignore[no-untyped-def]
    grid, first, slope, level, start, pointers, half, smallest, knots, centre_knots, table, values
):
    """Fill rows of a convolution matrix, each with a sum of one; returns the first row without.

    Parameters
    ----------
    grid : (point,) wavelengths.
    first : point that is the centre of the first kernel.
    slope, level : (row,) straight line from pixels to wavelengths at each centre.
    start, pointers : (row,) first point of each row, and where its values are.
    half : half width of the kernels in pixels.
    smallest : smallest value of a kernel.
    knots, centre_knots, table : knots along pixels and along centres of a cubic spline, and
        its coefficients (pixel, centre).
    values : out.
    """
    widest = 0
    for r in range(len(start)):
        begin = start[r] - first - r
        widest = max(widest, abs(begin), abs(begin + pointers[r + 1] - pointers[r] - 1))
    shares, profile = np.empty(4), np.empty(table.shape[0])
    column, place = 3, 3
    for r in range(len(start)):
        column, centre = _interval(centre_knots, grid[first + r], column)
        _cubic(centre_knots, column, centre, shares)
        for i in range(table.shape[0]):
            profile[i] = 0.0
            for j in range(4):
                profile[i] += shares[j] * table[i, column - 3 + j]
        total = 0.0
        for p in range(pointers[r], pointers[r + 1]):
            at = start[r] + p - pointers[r]
            pixel = 1.0 / slope[r] * grid[at] - level[r] / slope[r]
            value = 0.0
            if -half <= pixel <= half:
                place, pixel = _interval(knots, pixel, place)
                _cubic(knots, place, pixel, shares)
                for i in range(4):
                    value += shares[i] * profile[place - 3 + i]
                value = max(value, smallest)
            # trapezoidal rule: half an interval on either side, but for the outermost samples
            step, offset = 0.0, at - first - r
            if offset > -widest and at > 0:
                step += grid[at] - grid[at - 1]
            if offset < widest and at < len(grid) - 1:
                step += grid[at + 1] - grid[at]
            values[p] = 0.5 * step * value
            total += values[p]
        if not total > 0.0:
            return r
        for p in range(pointers[r], pointers[r + 1]):
            values[p] /= total
    return -1
