"""Compiled sums over rows: boxes and clipped means. Load inside functions only."""

from __future__ import annotations

import numpy as np

from tso3dask.ops._jit import jit

__all__ = ["clipped_bounds", "sums"]


@jit
def sums(data, error, weights, flux, variance, npixels):  # type: ignore[no-untyped-def]
    """Add weighted values, variances and weights row after row; outputs begin at zero."""
    for i in range(data.shape[0]):
        for y in range(data.shape[1]):
            for x in range(data.shape[2]):
                w = weights[y, x]
                value = np.float64(data[i, y, x])
                sigma = np.float64(error[i, y, x])
                # A difference with itself is zero for finite numbers alone.
                used = w > 0.0 and value - value == 0.0 and sigma - sigma == 0.0 and sigma > 0.0
                if used:
                    flux[i, x] += w * value
                    variance[i, x] += w * (sigma * sigma)
                    npixels[i, x] += w


@jit
def clipped_bounds(data, masked, sigma, low, high):  # type: ignore[no-untyped-def]
    """Bounds, per column, outside of which values lie `sigma` deviations from the mean.

    Values outside the bounds are dropped and new bounds are made until none is dropped.
    """
    rows, columns = data.shape
    kept = np.empty(rows)
    for x in range(columns):
        count = 0
        for y in range(rows):
            if not masked[y, x]:
                kept[count] = data[y, x]
                count += 1
        low[x] = high[x] = np.nan
        while count > 0:
            mean = 0.0
            for k in range(count):
                mean += kept[k]
            mean /= count
            square = 0.0
            for k in range(count):
                square += (mean - kept[k]) ** 2
            deviation = np.sqrt(square / count)
            low[x] = mean - sigma * deviation
            high[x] = mean + sigma * deviation
            left = 0
            for k in range(count):
                if low[x] <= kept[k] <= high[x]:
                    kept[left] = kept[k]
                    left += 1
            if left == count:
                break
            count = left
