"""Compiled kernels of `tso3dask.ops.pixel_replace`. Loaded by functions of that module only."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tso3dask.ops._jit import helper, jit
from tso3dask.ops._simplex_jit import fit_scale
from tso3dask.ops.dq import DO_NOT_USE, FLAG_VALUES

Array = npt.NDArray[Any]
Single = Any
"""A number in single precision."""

_DO_NOT_USE = np.uint32(DO_NOT_USE)
_NON_SCIENCE = np.uint32(FLAG_VALUES["NON_SCIENCE"])
_FLUX_ESTIMATED = np.uint32(FLAG_VALUES["FLUX_ESTIMATED"])

_ONE = np.float32(1)
_TWO = np.float32(2)

_KEEP, _ALONG_X, _ALONG_Y = 0, 1, 2


@helper
def _gradient(one: Single, other: Single) -> Single:
    """Absolute difference, infinite where it is not known."""
    difference = abs(one - other)
    return np.float32(np.inf) if np.isnan(difference) else difference


@helper
def _choose_directions(sci: Array, direction: Array) -> int:
    """Mark pixels of an image that can be replaced, and along which axis."""
    ny, nx = sci.shape
    count = 0
    for y in range(2, ny - 1):
        for x in range(2, nx - 1):
            direction[y, x] = _KEEP
            if np.isfinite(sci[y, x]):
                continue
            along_x = _gradient(sci[y, x - 1], sci[y, x + 1])
            along_y = _gradient(sci[y - 1, x], sci[y + 1, x])
            if np.isinf(along_x) and np.isinf(along_y):
                continue
            direction[y, x] = _ALONG_Y if along_y < along_x else _ALONG_X
            count += 1
    return count


@helper
def _interpolate(cube: Array, i: int, direction: Array, as_variance: bool) -> None:
    """Mean of the two neighbours in the marked direction; of their roots for a variance.

    Neighbours in that direction are never marked themselves, so that none is overwritten
    before it is read.
    """
    if not len(cube):
        return
    image = cube[i]
    ny, nx = image.shape
    for y in range(2, ny - 1):
        for x in range(2, nx - 1):
            way = direction[y, x]
            if way == _KEEP:
                continue
            if way == _ALONG_X:
                one, other = image[y, x - 1], image[y, x + 1]
            else:
                one, other = image[y - 1, x], image[y + 1, x]
            if as_variance:
                root = (np.sqrt(one) + np.sqrt(other)) / _TWO
                image[y, x] = root * root
            else:
                image[y, x] = (one + other) / _TWO


@jit
def mingrad(
    sci: Array, dq: Array, err: Array, var_poisson: Array, var_rnoise: Array, var_flat: Array
) -> Array:
    """Replace pixels that are not finite by the mean of two neighbours, in place.

    Parameters
    ----------
    sci, err : (integration, y, x) float32
    dq : (integration, y, x) uint32
    var_poisson, var_rnoise, var_flat : (integration, y, x) float32
        Empty where the data have no such variance.

    Returns
    -------
    (integration,) int64
        Pixels replaced.
    """
    nints, ny, nx = sci.shape
    replaced = np.zeros(nints, np.int64)
    direction = np.zeros((ny, nx), np.uint8)
    for i in range(nints):
        replaced[i] = _choose_directions(sci[i], direction)
        if replaced[i] == 0:
            continue
        _interpolate(sci, i, direction, False)
        _interpolate(err, i, direction, False)
        _interpolate(var_poisson, i, direction, True)
        _interpolate(var_rnoise, i, direction, True)
        _interpolate(var_flat, i, direction, True)
        for y in range(2, ny - 1):
            for x in range(2, nx - 1):
                if direction[y, x] != _KEEP:
                    flags = dq[i, y, x]
                    if not flags & _NON_SCIENCE:
                        flags &= ~_DO_NOT_USE
                    dq[i, y, x] = flags | _FLUX_ESTIMATED
    return replaced


@helper
def _median(values: Array, count: int) -> Single:
    """Median of the first values, which are sorted in place; NaN of none."""
    if count == 0:
        return np.float32(np.nan)
    for k in range(1, count):
        value = values[k]
        j = k - 1
        while j >= 0 and values[j] > value:
            values[j + 1] = values[j]
            j -= 1
        values[j + 1] = value
    half = count // 2
    if count % 2:
        return values[half]
    return (values[half - 1] + values[half]) / _TWO


@helper
def _larger(one: Single, other: Single) -> Single:
    """Maximum of two numbers, of which a NaN does not count."""
    return one if np.isnan(other) or one > other else other


@helper
def _good_box(dq: Array) -> tuple[int, int, int, int]:
    """First and last + 1 row and column that have a pixel without DO_NOT_USE."""
    rows, columns = dq.shape
    r0, r1, c0, c1 = rows, 0, columns, 0
    for r in range(rows):
        for c in range(columns):
            if not dq[r, c] & _DO_NOT_USE:
                r0, r1 = min(r0, r), max(r1, r + 1)
                c0, c1 = min(c0, c), max(c1, c + 1)
    return r0, r1, c0, c1


@helper
def _survey(
    sci: Array,
    err: Array,
    dq: Array,
    r0: int,
    r1: int,
    c0: int,
    c1: int,
    useful: Array,
    broken: Array,
    peak: Array,
    snr: Array,
) -> None:
    """What each column holds: good pixels, bad pixels, largest |data| and signal to noise."""
    for c in range(c0, c1):
        bad = outside = 0
        peak[c] = snr[c] = np.float32(np.nan)
        for r in range(r0, r1):
            if dq[r, c] & _NON_SCIENCE:
                outside += 1
            elif dq[r, c] & _DO_NOT_USE:
                bad += 1
            if not dq[r, c] & _DO_NOT_USE:
                value = sci[r, c]
                peak[c] = _larger(peak[c], abs(value))
                snr[c] = _larger(snr[c], abs(value / err[r, c]))
        useful[c] = bad + outside < r1 - r0
        broken[c] = useful[c] and bad > 0


@helper
def _profile_median(
    image: Array,
    dq: Array,
    r: int,
    near: Array,
    scales: Array,
    number: int,
    as_variance: bool,
    work: Array,
) -> Single:
    """Median over neighbouring columns of one pixel, each in units of its column's scale."""
    count = 0
    for k in range(number):
        c = near[k]
        if dq[r, c] & _DO_NOT_USE:
            continue
        value = image[r, c]
        if as_variance:
            value = np.sqrt(value)
        value = value / scales[k]
        if not np.isnan(value):
            work[count] = value
            count += 1
    return _median(work, count)


@helper
def _scale_column(
    sci: Array,
    dq: Array,
    c: int,
    r0: int,
    r1: int,
    medians: Array,
    fits: bool,
    model: Array,
    current: Array,
    work: Array,
) -> tuple[Single, Single, int]:
    """Factors that bring the median profile to a column: fitted one, and the column's maximum.

    Both are 1 where no fit is wanted, or profiles are not finite or too large. The last number
    tells how many values the column has.
    """
    count = 0
    top = np.float32(np.nan)
    for r in range(r0, r1):
        if dq[r, c] & _DO_NOT_USE or np.isnan(sci[r, c]):
            continue
        model[count] = medians[r]
        current[count] = sci[r, c]
        top = _larger(top, sci[r, c])
        count += 1
    start = largest_model = largest = np.float32(np.nan)
    for k in range(count):
        value = current[k] / top
        start = _larger(start, value)
        current[k] = abs(value)
        model[k] = abs(model[k])
        largest = _larger(largest, current[k])
        largest_model = _larger(largest_model, model[k])
    limit = np.float32(1e20)
    if not (fits and largest_model < limit and largest < limit):
        return _ONE, _ONE, count
    return fit_scale(abs(start), model, current, count, work), top, count


@helper
def _replace_variance(
    cube: Array,
    at: tuple[int, int, int],
    flags: Array,
    near: Array,
    scales: Array,
    number: int,
    factor: Single,
    top: Single,
    work: Array,
) -> None:
    """Replace one pixel of a variance by the square of the scaled median root."""
    if not len(cube):
        return
    i, r, c = at
    root = _profile_median(cube[i], flags, r, near, scales, number, True, work) * factor * top
    cube[i, r, c] = root * root


@helper
def _neighbours(
    c: int,
    c0: int,
    c1: int,
    reach: int,
    useful: Array,
    peak: Array,
    snr: Array,
    near: Array,
    scales: Array,
) -> tuple[int, bool]:
    """Columns that make the profile of a column, and the scale of each.

    Returns their number, and whether the profile is to be fitted to the column.
    """
    number = 0
    best = np.float32(np.nan)
    for k in range(max(c0, c - reach), min(c1, c + reach + 1)):
        if k != c and useful[k]:
            near[number] = k
            scales[number] = peak[k]
            best = _larger(best, snr[k])
            number += 1
    if best < np.float32(5):
        scales[:number] = _ONE
    known = np.empty(number, np.float32)
    count = 0
    for k in range(number):
        if not np.isnan(scales[k]):
            known[count] = scales[k]
            count += 1
    return number, _median(known, count) != _ONE


@helper
def _fit_image(
    sci: Array,
    dq: Array,
    err: Array,
    i: int,
    var_poisson: Array,
    var_rnoise: Array,
    var_flat: Array,
    reach: int,
    flags: Array,
) -> int:
    """Replace the bad pixels of image ``i``, whose wavelengths run along the second axis."""
    rows, columns = sci.shape
    flags[:] = dq
    r0, r1, c0, c1 = _good_box(flags)
    replaced = 0
    useful = np.zeros(columns, np.bool_)
    broken = np.zeros(columns, np.bool_)
    peak = np.empty(columns, np.float32)
    snr = np.empty(columns, np.float32)
    _survey(sci, err, flags, r0, r1, c0, c1, useful, broken, peak, snr)
    width = max(1, min(2 * reach, columns))
    near = np.empty(width, np.int64)
    scales = np.empty(width, np.float32)
    few = np.empty(width, np.float32)
    medians = np.empty(rows, np.float32)
    model = np.empty(rows, np.float32)
    current = np.empty(rows, np.float32)
    work = np.empty(rows, np.float32)
    for c in range(c0, c1):
        if not broken[c]:
            continue
        number, fits = _neighbours(c, c0, c1, reach, useful, peak, snr, near, scales)
        if number == 0:
            continue
        for r in range(r0, r1):
            medians[r] = _profile_median(sci, flags, r, near, scales, number, False, few)
        factor, top, known = _scale_column(
            sci, flags, c, r0, r1, medians, fits, model, current, work
        )
        if known == 0:
            continue
        for r in range(r0, r1):
            if not flags[r, c] & _DO_NOT_USE:
                continue
            if flags[r, c] & _NON_SCIENCE:
                sci[r, c] = np.float32(np.nan)
                continue
            sci[r, c] = medians[r] * factor * top
            if not np.isnan(sci[r, c]):
                dq[r, c] = flags[r, c] ^ _DO_NOT_USE ^ _FLUX_ESTIMATED
                replaced += 1
            middle = _profile_median(err, flags, r, near, scales, number, False, few)
            err[r, c] = middle * factor * top
            at = (i, r, c)
            _replace_variance(var_poisson, at, flags, near, scales, number, factor, top, few)
            _replace_variance(var_rnoise, at, flags, near, scales, number, factor, top, few)
            _replace_variance(var_flat, at, flags, near, scales, number, factor, top, few)
    return replaced


@jit
def fit_profile(
    sci: Array,
    dq: Array,
    err: Array,
    var_poisson: Array,
    var_rnoise: Array,
    var_flat: Array,
    reach: int,
) -> Array:
    """Replace bad pixels by the scaled profile of neighbouring columns, in place.

    Parameters
    ----------
    sci, err : (integration, across, along) float32
        Wavelength runs along the last axis.
    dq : (integration, across, along) uint32
    var_poisson, var_rnoise, var_flat : (integration, across, along) float32
        Empty where the data have no such variance.
    reach : int
        Neighbours on each side.

    Returns
    -------
    (integration,) int64
        Pixels replaced.
    """
    nints, across, along = sci.shape
    replaced = np.zeros(nints, np.int64)
    flags = np.empty((across, along), np.uint32)
    for i in range(nints):
        replaced[i] = _fit_image(
            sci[i], dq[i], err[i], i, var_poisson, var_rnoise, var_flat, reach, flags
        )
    return replaced
