"""Compiled sums of the box extraction, one pass over the pixels of an aperture.

This module imports numba when it is imported: load it inside functions only. Spectra along x are
done in tiles of columns, row by row, in short loops that vectorise; spectra along y one row at
a time. Both give what `tso3dask.ops.box._sum_numpy` gives.
"""

from __future__ import annotations

import math

import numpy as np

from tso3dask.ops._jit import helper, jit
from tso3dask.ops._moments_jit import moment_lanes
from tso3dask.ops._vector_jit import LANES, copy_words, prefetch

__all__ = ["TILE", "along_x", "along_y"]

TILE = 1024  # as in tso3dask.ops.box
PITCH = TILE + 16  # rows a power of two apart push each other out of the cache
NO_BACKGROUND, POLYNOMIAL, LEVEL = 0, 1, 2
INFINITY = np.float32(np.inf)
EMPTY = 1e-8
AHEAD = 16  # rows
CONDITION_LIMIT = 1e10
MEDIAN_VARIANCE = 1.44


@helper
def _accumulate(total, value, weight, width):  # type: ignore[no-untyped-def]
    """Add weighted variances; those that are NaN, or infinite without weight, add nothing."""
    for c in range(width):
        term = value[c] * (weight[c] * weight[c])
        total[c] += term if term == term else 0.0


@helper
def _solve(count, m1, m2, s0, s1, b0, b1, order):  # type: ignore[no-untyped-def]
    """Coefficients of a constant or a line, and those of its sum over the aperture."""
    if order == 0:
        if count > 0.0:
            return s0 / count, 0.0, b0 / count, 0.0
        return 0.0, 0.0, 0.0, 0.0
    determinant = count * m2 - m1 * m1
    largest = 0.5 * (count + m2 + math.sqrt((count - m2) ** 2 + 4.0 * m1 * m1))
    if not determinant * CONDITION_LIMIT > largest * largest:
        return 0.0, 0.0, 0.0, 0.0
    return (
        (m2 * s0 - m1 * s1) / determinant,
        (count * s1 - m1 * s0) / determinant,
        (m2 * b0 - m1 * b1) / determinant,
        (count * b1 - m1 * b0) / determinant,
    )


@helper
def _background_rows(  # type: ignore[no-untyped-def]
    i, cubes, y0, left, values, vy0, vleft, rows, inside, begin,
    position, tail, moments, order, width,
):  # fmt: skip
    """Sum what the fit of a tile needs over its background rows.

    `moments` holds by row: the count, the sums of y and y^2, of the values and the values times
    y, and for y^0, y^1 and y^2 the sums of the three variances. A pixel counts where its data,
    value and summed variance are finite. The last columns of a tile, fewer than a vector, go
    through `tail`.
    """
    sci, v0, v1, v2 = cubes
    moments[:, :width] = 0.0
    whole = width // LANES * LANES
    rest = width - whole
    size = 4 * LANES
    held = np.int64(tail.ctypes.data)
    spare = (held, held + size, held + 2 * size, held + 3 * size, held + 4 * size, held + 5 * size)
    target, pitch = moments.ctypes.data, moments.strides[0]
    for r in rows:
        y = position[r]
        source = (
            sci[i, y0 + r, left:].ctypes.data,
            values[i, vy0 + r, vleft:].ctypes.data,
            v0[i, y0 + r, left:].ctypes.data,
            v1[i, y0 + r, left:].ctypes.data,
            v2[i, y0 + r, left:].ctypes.data,
            inside[r, begin:].ctypes.data,
        )
        if order == 0:
            for j in range(0, 4 * whole, size):
                moment_lanes(source, j, target + 2 * j, pitch, y, 0, LANES)
        else:
            for j in range(0, 4 * whole, size):
                moment_lanes(source, j, target + 2 * j, pitch, y, 1, LANES)
        if rest:
            stop = 4 * whole
            copy_words(spare[0], source[0] + stop, rest)
            copy_words(spare[1], source[1] + stop, rest)
            copy_words(spare[2], source[2] + stop, rest)
            copy_words(spare[3], source[3] + stop, rest)
            copy_words(spare[4], source[4] + stop, rest)
            copy_words(spare[5], source[5] + stop, rest)
            if order == 0:
                moment_lanes(spare, 0, target + 2 * stop, pitch, y, 0, LANES)
            else:
                moment_lanes(spare, 0, target + 2 * stop, pitch, y, 1, LANES)


@helper
def _fit_tile(  # type: ignore[no-untyped-def]
    moments, sums0, sums1, begin, mode, order, c0, c1, var_b, width
):
    """Solve the columns of a tile for level, slope and the variances of the aperture's sum."""
    factor = MEDIAN_VARIANCE if mode == LEVEL else 1.0
    for c in range(width):
        c0[c], c1[c], u0, u1 = _solve(
            moments[0, c], moments[1, c], moments[2, c], moments[3, c], moments[4, c],
            sums0[begin + c], sums1[begin + c], order,
        )  # fmt: skip
        for k in range(3):
            square = u0 * u0 * moments[5 + k, c]
            if order > 0:
                square += 2.0 * u0 * u1 * moments[8 + k, c] + u1 * u1 * moments[11 + k, c]
            var_b[k, c] = factor * square


@helper
def _source_row(  # type: ignore[no-untyped-def]
    row, share, weight, shifted, c0, c1, level, y, mode, flux, total, width
):
    """Add one row to the sums of a tile and leave in `weight` what counted."""
    if mode == NO_BACKGROUND:
        for c in range(width):
            weight[c] = share[c] if abs(row[c]) < INFINITY else 0.0
        for c in range(width):
            flux[c] += np.float64(row[c]) * weight[c] if abs(row[c]) < INFINITY else 0.0
        return
    if mode == POLYNOMIAL:
        for c in range(width):
            shifted[c] = np.float64(row[c]) - (c0[c] + c1[c] * y)
    else:
        for c in range(width):
            shifted[c] = np.float64(row[c] - level[c])
    for c in range(width):
        weight[c] = share[c] if abs(shifted[c]) < np.inf else 0.0
    for c in range(width):
        flux[c] += shifted[c] * weight[c] if abs(shifted[c]) < np.inf else 0.0
    if mode == POLYNOMIAL:
        for c in range(width):
            total[c] += (c0[c] + c1[c] * y) * weight[c]
    else:
        for c in range(width):
            total[c] += np.float64(level[c]) * weight[c]


@jit
def along_x(  # type: ignore[no-untyped-def]
    sci, v0, v1, v2, y0, x0, values, vy0, vx0, level,
    profile, inside, position, source_rows, source_at, back_rows, back_at, sums0, sums1,
    mode, order, result, first,
):  # fmt: skip
    """Extract spectra whose wavelength runs along x.

    Cubes are (integration, y, x); the window begins at (y0, x0) in them and at (vy0, vx0) in
    `values`, the image that the background is made of. `level` (integration, x) is used in mode
    LEVEL. `source_rows[source_at[t]:source_at[t + 1]]` are the window's rows that tile t
    needs for the source, likewise for the background.
    """
    tail = np.zeros((6, LANES), np.float32)
    weight, shifted, c0, c1 = np.empty(TILE), np.empty(TILE), np.zeros(TILE), np.zeros(TILE)
    flux, npix, total = np.empty(TILE), np.empty(TILE), np.empty(TILE)
    var, var_b, moments = np.empty((3, TILE)), np.zeros((3, TILE)), np.empty((14, PITCH))
    for i in range(sci.shape[0]):
        for tile in range(source_at.size - 1):
            begin = tile * TILE
            width = min(TILE, profile.shape[1] - begin)
            left = x0 + begin
            flux[:width] = 0.0
            npix[:width] = 0.0
            total[:width] = 0.0
            var[:, :width] = 0.0
            if mode != NO_BACKGROUND:
                _background_rows(
                    i, (sci, v0, v1, v2), y0, left, values, vy0, vx0 + begin,
                    back_rows[back_at[tile] : back_at[tile + 1]], inside, begin,
                    position, tail, moments, order, width,
                )  # fmt: skip
                _fit_tile(moments, sums0, sums1, begin, mode, order, c0, c1, var_b, width)
            at_level = level[min(i, level.shape[0] - 1), min(begin, level.shape[1] - 1) :]
            for k in range(source_at[tile], source_at[tile + 1]):
                r = source_rows[k]
                _source_row(
                    sci[i, y0 + r, left:], profile[r, begin:], weight, shifted, c0, c1,
                    at_level, position[r], mode, flux, total, width,
                )  # fmt: skip
                for c in range(width):
                    npix[c] += weight[c]
                _accumulate(var[0], v0[i, y0 + r, left:], weight, width)
                _accumulate(var[1], v1[i, y0 + r, left:], weight, width)
                _accumulate(var[2], v2[i, y0 + r, left:], weight, width)
            at = first + begin
            for c in range(width):
                result[0, i, at + c] = flux[c] if npix[c] > EMPTY else np.nan
                result[4, i, at + c] = total[c] if abs(total[c]) < np.inf else 0.0
                result[8, i, at + c] = npix[c]
            for k in range(3):
                for c in range(width):
                    result[1 + k, i, at + c] = var[k, c] + var_b[k, c]
                    result[5 + k, i, at + c] = var_b[k, c]


@helper
def _fit_element(  # type: ignore[no-untyped-def]
    sci, v0, v1, v2, value, inside, position, lo, hi, sum0, sum1, mode, order
):
    """Background level, slope and variances of one element of a spectrum along y."""
    count, m1, m2, s0, s1 = 0.0, 0.0, 0.0, 0.0, 0.0
    p0, p1, p2, q0, q1, q2 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    t0, t1, t2 = 0.0, 0.0, 0.0
    for c in range(lo, hi):
        a0, a1, a2 = v0[c], v1[c], v2[c]
        if (
            inside[c] != 0
            and abs(value[c]) < INFINITY
            and abs(sci[c]) < INFINITY
            and abs((a0 + a1) + a2) < INFINITY
        ):
            count += 1.0
            s0 += value[c]
            p0 += a0
            p1 += a1
            p2 += a2
            if order > 0:
                x = position[c]
                m1 += x
                m2 += x * x
                s1 += value[c] * x
                q0 += a0 * x
                q1 += a1 * x
                q2 += a2 * x
                t0 += a0 * (x * x)
                t1 += a1 * (x * x)
                t2 += a2 * (x * x)
    c0, c1, u0, u1 = _solve(count, m1, m2, s0, s1, sum0, sum1, order)
    factor = MEDIAN_VARIANCE if mode == LEVEL else 1.0
    square, mixed, other = factor * u0 * u0, factor * 2.0 * u0 * u1, factor * u1 * u1
    return (
        c0,
        c1,
        square * p0 + mixed * q0 + other * t0,
        square * p1 + mixed * q1 + other * t1,
        square * p2 + mixed * q2 + other * t2,
    )


@jit
def along_y(  # type: ignore[no-untyped-def]
    sci, v0, v1, v2, y0, x0, values, vy0, vx0, level,
    profile, inside, position, source_span, back_span, sums0, sums1,
    mode, order, result, first,
):  # fmt: skip
    """Extract spectra whose wavelength runs along y.

    As `along_x`; `profile` and `inside` are (y, x) of the window, and `source_span` and
    `back_span` (y, 2) give the columns of each row that matter.
    """
    for i in range(sci.shape[0]):
        for r in range(profile.shape[0]):
            y = y0 + r
            c0, c1, b_0, b_1, b_2 = 0.0, 0.0, 0.0, 0.0, 0.0
            if mode != NO_BACKGROUND:
                c0, c1, b_0, b_1, b_2 = _fit_element(
                    sci[i, y, x0:], v0[i, y, x0:], v1[i, y, x0:], v2[i, y, x0:],
                    values[i, vy0 + r, vx0:], inside[r], position,
                    back_span[r, 0], back_span[r, 1], sums0[r], sums1[r], mode, order,
                )  # fmt: skip
            else:  # rows are too far apart for the processor to foresee them
                x = x0 + source_span[r, 0]
                ahead = 4 * ((i * sci.shape[1] + y + AHEAD) * sci.shape[2] + x)
                for j in range(0, 4 * (source_span[r, 1] - source_span[r, 0]) + 60, 64):
                    prefetch(sci.ctypes.data + ahead + j)
                    prefetch(v0.ctypes.data + ahead + j)
                    prefetch(v1.ctypes.data + ahead + j)
                    prefetch(v2.ctypes.data + ahead + j)
            flux, npix, total = 0.0, 0.0, 0.0
            f_0, f_1, f_2 = 0.0, 0.0, 0.0
            for c in range(source_span[r, 0], source_span[r, 1]):
                value = sci[i, y, x0 + c]
                background = 0.0
                if mode == LEVEL:
                    background = np.float64(level[i, r])
                    shifted = np.float64(value - level[i, r])
                else:
                    background = c0 + c1 * position[c]
                    shifted = np.float64(value) - background
                weight = profile[r, c]
                if weight != 0.0 and abs(shifted) < np.inf:
                    flux += shifted * weight
                    npix += weight
                    total += background * weight
                    square = weight * weight
                    term = v0[i, y, x0 + c] * square
                    f_0 += term if term == term else 0.0
                    term = v1[i, y, x0 + c] * square
                    f_1 += term if term == term else 0.0
                    term = v2[i, y, x0 + c] * square
                    f_2 += term if term == term else 0.0
            at = first + r
            result[0, i, at] = flux if npix > EMPTY else np.nan
            result[1, i, at] = f_0 + b_0
            result[2, i, at] = f_1 + b_1
            result[3, i, at] = f_2 + b_2
            result[4, i, at] = total if abs(total) < np.inf else 0.0
            result[5, i, at] = b_0
            result[6, i, at] = b_1
            result[7, i, at] = b_2
            result[8, i, at] = npix
