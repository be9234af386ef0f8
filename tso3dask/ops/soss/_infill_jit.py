"""Compiled passes over integrations with gaps. Load inside functions only."""

from __future__ import annotations

import numpy as np

from tso3dask.ops._jit import helper, jit

__all__ = ["count", "fill_rows", "mean_row", "prepare_rows"]

WIDTH = 9
INFLATION = np.float32(10)


@helper
def _finite(value):  # type: ignore[no-untyped-def]
    """Whether a number is finite; the difference with itself is zero for those alone."""
    return value - value == 0.0


@helper
def _window_median(sci, pixel, i, start, nints, median, held):  # type: ignore[no-untyped-def]
    """Upper median of the values of a pixel around integration `i` of the segment.

    The window is mirrored at the ends of the segment; `median` stands for missing values.
    """
    width = min(nints, WIDTH)
    for k in range(width):
        j = (i - width // 2 + k) % (2 * nints)
        if j >= nints:
            j = 2 * nints - 1 - j
        value = sci[j - start, pixel]
        if not _finite(value):
            value = median
        at = k
        while at > 0 and held[at - 1] > value:
            held[at] = held[at - 1]
            at -= 1
        held[at] = value
    return held[width // 2]


@jit
def count(sci, err, dq, gaps, known, refused):  # type: ignore[no-untyped-def]
    """Count, per pixel, missing values, values with an error, and DO_NOT_USE flags."""
    for i in range(sci.shape[0]):
        for p in range(sci.shape[1]):
            there = _finite(sci[i, p])
            gaps[p] += np.int32(not there)
            known[p] += np.int32(there and _finite(err[i, p]))
            refused[p] += np.int32(dq[i, p] & np.uint32(1))


@jit
def fill_rows(sci, start, median, first, nints, out):  # type: ignore[no-untyped-def]
    """Copy integrations from `first` on, with medians in time for missing values."""
    held = np.empty(WIDTH, np.float32)
    for row in range(out.shape[0]):
        i = first + row
        for p in range(out.shape[1]):
            value = sci[i - start, p]
            if not _finite(value):
                value = _window_median(sci, p, i, start, nints, median[p], held)
            out[row, p] = value


@jit
def mean_row(sci, median, out):  # type: ignore[no-untyped-def]
    """Mean of all integrations, filled in time, added in their order."""
    held = np.empty(WIDTH, np.float32)
    nints = sci.shape[0]
    for i in range(nints):
        for p in range(out.size):
            value = sci[i, p]
            if not _finite(value):
                value = _window_median(sci, p, i, 0, nints, median[p], held)
            out[p] += value
    for p in range(out.size):
        out[p] /= np.float32(nints)


@jit
def prepare_rows(  # type: ignore[no-untyped-def]
    sci, err, start, median, median_error, unusable, first, nints, image, error, mask
):
    """Fill values and errors of integrations from `first` on, and mask what is not to be used."""
    held = np.empty(WIDTH, np.float32)
    for row in range(image.shape[0]):
        i = first + row
        for p in range(image.shape[1]):
            value, sigma = sci[i - start, p], err[i - start, p]
            there = _finite(value)
            if not there:
                value = _window_median(sci, p, i, start, nints, median[p], held)
            if not (there and _finite(sigma)):
                sigma = median_error[p] * INFLATION
            image[row, p] = value
            error[row, p] = sigma
            mask[row, p] = unusable[p] or not (sigma > 0.0 and _finite(sigma)) or not _finite(value)
