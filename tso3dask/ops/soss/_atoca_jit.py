"""Compiled loops over the pixels of blocks of integrations.

This module imports numba when it is imported: load it inside functions only.
"""

from __future__ import annotations

import numpy as np

from tso3dask.ops._jit import helper, jit
from tso3dask.ops.soss._sides_jit import SIDES, STRIDE, add_scaled

__all__ = ["aperture_sums", "count_positive", "fit_single_order"]


@jit
def aperture_sums(  # type: ignore[no-untyped-def]
    data, error, rows, begins, ends, weights, flux, variance, odd
):
    """Add weighted sums over an aperture to flux and variance (integration, x).

    The aperture is given as stretches of adjacent pixels of a row, with one weight per pixel.
    `odd` (integration,) counts pixels that are not finite or have an error that is not positive.
    """
    for i in range(data.shape[0]):
        at = 0
        strange = np.int32(0)
        for s in range(len(rows)):
            begin, width = begins[s], ends[s] - begins[s]
            values = data[i, rows[s], begin : begin + width]
            errors = error[i, rows[s], begin : begin + width]
            w = weights[at : at + width]
            total, squares = flux[i, begin:], variance[i, begin:]
            for x in range(width):
                total[x] += w[x] * np.float64(values[x])
            for x in range(width):
                sigma = np.float64(errors[x])
                squares[x] += w[x] * (sigma * sigma)
            for x in range(width):
                good = (errors[x] > 0) & (errors[x] < np.inf) & (values[x] - values[x] == 0)
                strange += np.int32(not good)
            at += width
        odd[i] += strange


@jit
def count_positive(error, pixels, odd):  # type: ignore[no-untyped-def]
    """Add to odd (integration,) the number of pixels whose error (integration, pixel) counts."""
    for i in range(error.shape[0]):
        for p in pixels:
            odd[i] += 1 if error[i, p] > 0 else 0


@helper
def _factorise(band, status):  # type: ignore[no-untyped-def]
    """Cholesky factor of SIDES banded matrices (unknown, distance, side) in place.

    The diagonal becomes that of the inverse. `status` is 2 where a matrix is not definite.
    """
    size, reach = band.shape[0], band.shape[1]
    for j in range(size):
        last = min(reach, size - j)
        for s in range(SIDES):
            if not band[j, 0, s] > 0:
                status[s] = 2
                band[j, 0, s] = 1.0
            band[j, 0, s] = 1.0 / np.sqrt(band[j, 0, s])
        for d in range(1, last):
            for s in range(SIDES):
                band[j, d, s] *= band[j, 0, s]
        for d in range(1, last):
            for e in range(d, last):
                for s in range(SIDES):
                    band[j + d, e - d, s] -= band[j, d, s] * band[j, e, s]


@helper
def _substitute(band, right):  # type: ignore[no-untyped-def]
    """Solve for right-hand sides (unknown, side) in place, with the factors of `_factorise`."""
    size, reach = band.shape[0], band.shape[1]
    for j in range(size):
        for s in range(SIDES):
            right[j, s] *= band[j, 0, s]
        for d in range(1, min(reach, size - j)):
            for s in range(SIDES):
                right[j + d, s] -= band[j, d, s] * right[j, s]
    for j in range(size - 1, -1, -1):
        for d in range(1, min(reach, size - j)):
            for s in range(SIDES):
                right[j, s] -= band[j, d, s] * right[j + d, s]
        for s in range(SIDES):
            right[j, s] *= band[j, 0, s]


@helper
def _leave_out(band, right, seen, count, status):  # type: ignore[no-untyped-def]
    """Cut unknowns without data out of the systems; `status` is 1 where others are `seen`."""
    size, reach = band.shape[0], band.shape[1]
    for k in range(size):
        for s in range(SIDES):
            if s < count and (right[k, s] != 0) != seen[k]:
                status[s] = 1
            if right[k, s] == 0:
                for d in range(reach):
                    band[k, d, s] = 0.0
                for d in range(1, min(reach, k + 1)):
                    band[k - d, d, s] = 0.0
                band[k, 0, s] = 1.0


@helper
def _accumulate(  # type: ignore[no-untyped-def]
    first, pointers, values, pixels, data, error, band, right
):
    """Add the pixels of integrations to the normal matrices and their right-hand sides."""
    count, reach = data.shape[0], band.shape[1]
    sigma, value, share = np.ones(SIDES), np.zeros(SIDES), np.zeros(SIDES)
    to_right, to_band = right.ctypes.data, band.ctypes.data
    for r in range(len(first)):
        begin, end = pointers[r], pointers[r + 1]
        if begin == end:
            continue
        at = pixels[r]
        for s in range(count):
            sigma[s] = error[s, at]
            value[s] = data[s, at]
        for s in range(SIDES):
            share[s] = 1.0 / (sigma[s] * sigma[s])
            value[s] *= share[s]
        for s in range(count, SIDES):
            share[s] = 0.0
        for p in range(begin, end):
            k = first[r] + p - begin
            add_scaled(to_right + STRIDE * k, value.ctypes.data, values[p])
            row = to_band + STRIDE * (k * reach)
            for q in range(p, end):
                add_scaled(row + STRIDE * (q - p), share.ctypes.data, values[p] * values[q])


@jit
def fit_single_order(  # type: ignore[no-untyped-def]
    first, pointers, values, pixels, data, error, smoothness, seen, right, status
):
    """Fit the spectrum of one order to up to SIDES integrations (integration, pixel).

    `values` is the model of the pixels in runs, `smoothness` (unknown, distance) what regularises
    it. The spectra `right` (unknown, side) are NaN at unknowns that are not `seen`. `status`
    (side,) is 1 where others are without data, 2 where the system cannot be solved.
    """
    size, reach = smoothness.shape
    band = np.empty((size, reach, SIDES))
    for k in range(size):
        for d in range(reach):
            band[k, d] = smoothness[k, d]
    right[:] = 0.0
    status[:] = 0
    _accumulate(first, pointers, values, pixels, data, error, band, right)
    _leave_out(band, right, seen, data.shape[0], status)
    _factorise(band, status)
    _substitute(band, right)
    for k in range(size):
        for s in range(SIDES):
            if not seen[k] or status[s] == 2:
                right[k, s] = np.nan
