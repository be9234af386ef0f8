"""Compiled loops over the pixels of blocks of integrations.

This module imports numba when it is imported: load it inside functions only.
"""

from __future__ import annotations

import numpy as np

from tso3dask.ops._jit import helper, jit

__all__ = ["aperture_sums", "count_positive", "fit_single_order"]


@jit
def aperture_sums(  # type: ignore[no-untyped-def]
    data, error, rows, begins, ends, weights, flux, variance, odd
):
    """Add weighted sums over an aperture to flux and variance (integration, x).

    The aperture is given as stretches of adjacent pixels of a row, with one weight per pixel.
    Pixels of weight zero are left out whatever they hold. `odd` (integration,) counts others that
    are not finite or have an error that is not positive.
    """
    for i in range(data.shape[0]):
        at = 0
        strange = 0
        for s in range(len(rows)):
            begin, width = begins[s], ends[s] - begins[s]
            values = data[i, rows[s], begin : begin + width]
            errors = error[i, rows[s], begin : begin + width]
            w = weights[at : at + width]
            total, squares = flux[i, begin:], variance[i, begin:]
            for x in range(width):
                value = np.float64(values[x])
                sigma = np.float64(errors[x])
                used = w[x] > 0
                good = (sigma > 0) & (sigma < np.inf) & (value - value == 0)
                total[x] += w[x] * value if used else 0.0
                squares[x] += w[x] * (sigma * sigma) if used else 0.0
                strange += 1 if used & (not good) else 0
            at += width
        odd[i] += strange


@jit
def count_positive(error, pixels, odd):  # type: ignore[no-untyped-def]
    """Add to odd (integration,) the number of pixels whose error (integration, pixel) counts."""
    for i in range(error.shape[0]):
        for p in pixels:
            odd[i] += 1 if error[i, p] > 0 else 0


@helper
def _solve_band(band, right):  # type: ignore[no-untyped-def]
    """Solve a symmetric banded system (unknown, distance) in place; False if not definite."""
    size, reach = band.shape
    for j in range(size):
        if not band[j, 0] > 0:
            return False
        pivot = np.sqrt(band[j, 0])
        last = min(reach, size - j)
        for d in range(1, last):
            band[j, d] /= pivot
        band[j, 0] = pivot
        for d in range(1, last):
            value = band[j, d]
            if value != 0:
                for e in range(d, last):
                    band[j + d, e - d] -= value * band[j, e]
    for j in range(size):
        value = right[j] / band[j, 0]
        right[j] = value
        for d in range(1, min(reach, size - j)):
            right[j + d] -= band[j, d] * value
    for j in range(size - 1, -1, -1):
        value = right[j]
        for d in range(1, min(reach, size - j)):
            value -= band[j, d] * right[j + d]
        right[j] = value / band[j, 0]
    return True


@jit
def fit_single_order(  # type: ignore[no-untyped-def]
    first, pointers, values, pixels, data, error, smoothness, seen, solutions, status
):
    """Fit the spectrum of one order to each integration.

    `values` is the model of the pixels in runs, `smoothness` (unknown, distance) what regularises
    it. Unknowns without data are NaN. `status` (integration,) is 1 where they are not those of
    `seen`, 2 where the system cannot be solved.
    """
    size, reach = smoothness.shape
    band = np.empty((size, reach))
    for i in range(data.shape[0]):
        band[:] = smoothness
        right = solutions[i]
        right[:] = 0.0
        for r in range(len(first)):
            sigma = np.float64(error[i, pixels[r]])
            scaled = np.float64(data[i, pixels[r]]) / sigma
            begin, end = pointers[r], pointers[r + 1]
            k = first[r]
            for p in range(begin, end):
                value = values[p] / sigma
                right[k + p - begin] += value * scaled
                share = value / sigma
                for q in range(p, end):
                    band[k + p - begin, q - p] += share * values[q]
        status[i] = 0
        for k in range(size):
            if (right[k] != 0) != seen[k]:
                status[i] = 1
            if right[k] == 0:
                band[k] = 0.0
                band[k, 0] = 1.0
                for d in range(1, min(reach, k + 1)):
                    band[k - d, d] = 0.0
        if not _solve_band(band, right):
            right[:] = np.nan
            status[i] = 2
        for k in range(size):
            if not seen[k]:
                right[k] = np.nan
