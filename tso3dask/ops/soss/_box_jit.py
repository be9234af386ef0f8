"""Compiled sums over rows: boxes and clipped means. Load inside functions only."""

from __future__ import annotations

import numpy as np

from tso3dask.ops._jit import jit

__all__ = ["clipped_bounds", "sums"]


@jit
def sums(  # type: ignore[no-untyped-def]
    data, error, mask, weights, rows, begin, end, flux, variance, npixels
):
    """Add weighted values, variances and weights row after row; outputs begin at zero.

    Parameters
    ----------
    data, error : (integration, y, x)
    mask : (integration or 1, y, x)
    weights : (y, x)
    rows : rows with any weight; in row y, weights are not zero from column begin[y] to end[y].
    flux, variance, npixels : (integration, x)
    """
    for i in range(data.shape[0]):
        left_out = mask[i if mask.shape[0] > 1 else 0]
        for y in rows:
            a, b = begin[y], end[y]
            values, sigmas, off = data[i, y, a:b], error[i, y, a:b], left_out[y, a:b]
            shares = weights[y, a:b]
            f, v, n = flux[i, a:b], variance[i, a:b], npixels[i, a:b]
            for x in range(b - a):
                value, sigma = np.float64(values[x]), np.float64(sigmas[x])
                # A difference with itself is zero for finite numbers alone.
                used = (value - value == 0.0) & (sigma - sigma == 0.0) & (sigma > 0.0)
                w = shares[x] if used & (not off[x]) else 0.0
                f[x] += w * value if w > 0.0 else 0.0
                v[x] += w * (sigma * sigma) if w > 0.0 else 0.0
                n[x] += w


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
