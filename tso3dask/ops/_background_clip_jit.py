"""Compiled sigma clipping of background pixels.

This module imports numba when it is imported: load it inside functions only. It gives what
`tso3dask.ops.background_clip.clip_numpy` gives.
"""

from __future__ import annotations

import math

import numpy as np

from tso3dask.ops._jit import helper, jit

__all__ = ["clip_columns", "clip_values"]

TILE = 64
FEW = 48  # values that are put in order faster one by one


@helper
def _median(values):  # type: ignore[no-untyped-def]
    """Median; the values are put in order."""
    n = values.size
    if n > FEW:
        values.sort()
    else:
        for k in range(1, n):
            value = values[k]
            j = k - 1
            while j >= 0 and values[j] > value:
                values[j + 1] = values[j]
                j -= 1
            values[j + 1] = value
    return 0.5 * (values[(n - 1) // 2] + values[n // 2])


@helper
def _polynomial_residuals(  # type: ignore[no-untyped-def]
    values, places, count, order, residual, now, before
):
    """Residuals of a least-squares polynomial.

    The polynomials are orthogonal over the places, by their recurrence (Forsythe 1957, J. SIAM
    5, 74), so that no matrix is solved.
    """
    for k in range(count):
        residual[k] = values[k]
        now[k] = 1.0
        before[k] = 0.0
    norm_before = 1.0
    for degree in range(order + 1):
        norm, product, moment = 0.0, 0.0, 0.0
        for k in range(count):
            square = now[k] * now[k]
            norm += square
            product += now[k] * residual[k]
            moment += places[k] * square
        if norm <= 0.0:
            return
        alpha, beta = moment / norm, 0.0 if degree == 0 else norm / norm_before
        for k in range(count):
            residual[k] -= product / norm * now[k]
            later = (places[k] - alpha) * now[k] - beta * before[k]
            before[k] = now[k]
            now[k] = later
        norm_before = norm


@helper
def clip_values(  # type: ignore[no-untyped-def] # noqa: C901
    values, places, rows, count, order, limit, iterations, fewest, residual, spare, before
):
    """Clip values; those that are left, with their places and rows, move to the front.

    Returns how many are left.
    """
    for _ in range(iterations):
        if count < fewest:
            break
        if order == 0:
            for k in range(count):
                spare[k] = values[k]
            centre = _median(spare[:count])
            for k in range(count):
                residual[k] = values[k] - centre
        else:
            _polynomial_residuals(values, places, count, order, residual, spare, before)
        for k in range(count):
            spare[k] = abs(residual[k])
        width, cut = _median(spare[:count]), 0.0
        if order > 0:
            cut = 0.5 * spare[count - 1]
            for k in range(count - 1):
                spare[k] = abs(values[k + 1] - values[k])
            width = min(width, 1.5 * _median(spare[: count - 1]))
            if 2.0 * cut <= limit * width:
                break
        if width == 0.0:
            break
        left = 0
        for k in range(count):
            if abs(residual[k]) <= max(limit * width, cut):
                values[left], places[left], rows[left] = values[k], places[k], rows[k]
                left += 1
        if left == count:
            break
        count = left
    return count


@jit
def clip_columns(  # type: ignore[no-untyped-def]
    values, inside, position, order, limit, iterations, fewest
):
    """Clip the background pixels of images (integration, across, dispersion) in place."""
    across, along = inside.shape
    held = np.empty((TILE, across))
    places = np.empty((TILE, across))
    rows = np.empty((TILE, across), np.int64)
    count = np.empty(TILE, np.int64)
    residual, spare, before = np.empty(across), np.empty(across), np.empty(across)
    keep = np.zeros(across, np.bool_)
    for i in range(values.shape[0]):
        for begin in range(0, along, TILE):
            width = min(TILE, along - begin)
            count[:width] = 0
            for r in range(across):
                for c in range(width):
                    value = values[i, r, begin + c]
                    if inside[r, begin + c] and math.isfinite(value):
                        k = count[c]
                        held[c, k] = value
                        places[c, k] = position[r]
                        rows[c, k] = r
                        count[c] = k + 1
            for c in range(width):
                left = clip_values(
                    held[c], places[c], rows[c], count[c], order, limit, iterations, fewest,
                    residual, spare, before,
                )  # fmt: skip
                if left == count[c]:
                    continue
                keep[:] = False
                for k in range(left):
                    keep[rows[c, k]] = True
                for r in range(across):
                    value = values[i, r, begin + c]
                    if inside[r, begin + c] and not keep[r] and math.isfinite(value):
                        values[i, r, begin + c] = np.nan
