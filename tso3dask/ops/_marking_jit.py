"""Compiled loops that flag what was found to be outliers, and put estimates in their place.

This module imports numba when it is imported: load it inside functions only.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from tso3dask.ops._jit import jit
from tso3dask.ops.dq import FLAG_VALUES

__all__ = ["mark_outliers", "replace_pixels"]

_HALF_PI = np.float32(np.pi / 2)
_NAN = np.float32(np.nan)
_PIECE = 32
"""Pixels that are looked at together."""

_DO_NOT_USE = np.uint32(FLAG_VALUES["DO_NOT_USE"])
_OUTLIER = np.uint32(FLAG_VALUES["OUTLIER"])
_FLUX_ESTIMATED = np.uint32(FLAG_VALUES["FLUX_ESTIMATED"])
_WITHOUT_LIGHT = np.uint32(FLAG_VALUES["NON_SCIENCE"] | FLAG_VALUES["REFERENCE_PIXEL"])


@numba.njit(nogil=True, error_model="numpy")
def _compare_errors(sci: Any, dq: Any, err: Any, level: Any, snr: Any, found: Any) -> None:
    """Mark usable pixels that differ from their level by more than `snr` times their error."""
    for j in range(found.size):
        size = err[j] if err[j] == err[j] else np.float32(0)
        away = abs(np.float64(sci[j]) - np.float64(level[j])) > np.float64(snr * size)
        found[j] = np.uint8(1) if away and not dq[j] & _DO_NOT_USE else np.uint8(0)


@numba.njit(nogil=True, error_model="numpy")
def _compare_noise(
    sci: Any,
    dq: Any,
    stated: Any,
    more: Any,
    squared: int,
    level: Any,
    number: Any,
    read: Any,
    photon: Any,
    numbers: Any,
    snr: Any,
    found: Any,
) -> None:
    """Mark usable pixels that differ from their level by more than the noise allows.

    `stated` and `more` are the two variances of the integration, or its error twice (squared).
    """
    limit = snr * snr
    zero, brightness, bend = numbers[1], numbers[5], numbers[6]
    for j in range(found.size):
        own = stated[j] * more[j] if squared else stated[j] + more[j]
        modelled = read[j] + brightness * photon[j]
        known = modelled < np.float32(np.inf)
        sane = own > 0 and own < np.float32(np.inf)
        near = own < np.float32(9) * modelled and np.float32(9) * own > modelled
        variance = own if sane and (near or not known) else modelled
        variance *= np.float32(1) + _HALF_PI / np.float32(number[j])
        missed = bend * (level[j] - zero)
        variance += missed * missed
        away = sci[j] - level[j]
        far = away * away > limit * variance
        found[j] = np.uint8(1) if far and not dq[j] & _DO_NOT_USE else np.uint8(0)


@numba.njit(nogil=True, error_model="numpy")
def _mark(
    sci: Any,
    dq: Any,
    err: Any,
    one: Any,
    two: Any,
    level: Any,
    number: Any,
    read: Any,
    photon: Any,
    numbers: Any,
    snr: Any,
    by_noise: int,
    squared: int,
    found: Any,
) -> None:
    """Mark outliers by error or by noise."""
    if by_noise and squared:
        _compare_noise(sci, dq, err, err, squared, level, number, read, photon, numbers, snr, found)
    elif by_noise:
        _compare_noise(sci, dq, one, two, squared, level, number, read, photon, numbers, snr, found)
    else:
        _compare_errors(sci, dq, err, level, snr, found)


@numba.njit(nogil=True)
def _list_marked(row: Any, places: Any) -> int:
    """List the places of the pixels that are not 0; return how many."""
    count = 0
    for start in range(0, row.size, _PIECE):
        piece = row[start : start + _PIECE]
        some = np.uint8(0)
        for j in range(piece.size):
            some |= piece[j]
        if some:
            for j in range(piece.size):
                if piece[j]:
                    places[count] = start + j
                    count += 1
    return count


@numba.njit(nogil=True)
def _grow(row: Any, dq: Any, ny: int, steps: int, places: Any) -> None:
    """Add usable pixels within some steps along y or x to those found in one image."""
    nx = row.size // ny
    count = _list_marked(row, places)
    done = 0
    for _ in range(steps):
        end = count
        for p in range(done, end):
            j = places[p]
            y, x = j // nx, j % nx
            sides = (
                (x > 0, j - 1), (x + 1 < nx, j + 1), (y > 0, j - nx), (y + 1 < ny, j + nx)
            )  # fmt: skip
            for inside, other in sides:
                if inside and not row[other] and not dq[other] & _DO_NOT_USE:
                    row[other] = 1
                    places[count] = other
                    count += 1
        done = end


@jit
def mark_outliers(
    sci: Any,
    dq: Any,
    err: Any,
    one: Any,
    two: Any,
    expected: Any,
    number: Any,
    numbers: Any,
    noise: Any,
    snr: Any,
    flags: Any,
    region: Any,
    shape: Any,
    places: Any,
    found: Any,
    marked: Any,
    totals: Any,
    inside: Any,
) -> None:
    """Flag outliers and usable pixels within some steps of them; count by integration.

    `dq` is copied to `marked`, with OUTLIER and DO_NOT_USE where pixels are flagged. `found` is
    scratch of one row, `places` too. Without `detect` among the flags nothing is compared.
    """
    ny, grow = shape
    detect, by_noise, squared = flags
    found[:] = 0
    for k in range(sci.shape[0]):
        bits, out = dq[k], marked[k]
        if detect:
            _mark(
                sci[k], bits, err[k], one[k], two[k], expected[k], number[k], noise[0], noise[1],
                numbers[k], snr, by_noise, squared, found,
            )  # fmt: skip
        if grow:
            _grow(found, bits, ny, grow, places)
        total = 0
        within = 0
        for j in range(found.size):
            flag = found[j]
            out[j] = bits[j] | (_OUTLIER | _DO_NOT_USE if flag else np.uint32(0))
            total += flag
            within += flag & region[j]
        totals[k] = total
        inside[k] = within


@numba.njit(nogil=True)
def _any_bad(sci: Any, dq: Any) -> bool:
    """Whether a few pixels have one that cannot be used."""
    found = np.uint32(0)
    for j in range(sci.size):
        found |= (dq[j] & _DO_NOT_USE) | np.uint32(sci[j] != sci[j])
    return found != 0


@numba.njit(nogil=True)
def _modelled(numbers: Any, image: Any, terms: Any) -> Any:
    """Value of one pixel as the model of the exposure has it."""
    shift = numbers[2] * terms[0] + numbers[3] * terms[1] + numbers[4] * terms[2]
    return numbers[5] * (image + shift) + numbers[1]


@jit
def replace_pixels(
    sci: Any,
    dq: Any,
    err: Any,
    poisson: Any,
    rnoise: Any,
    flat: Any,
    expected: Any,
    number: Any,
    numbers: Any,
    image: Any,
    terms: Any,
    noise: Any,
    region: Any,
    totals: Any,
    inside: Any,
) -> None:
    """Put expected values and their variances where pixels cannot be used, in place.

    `expected` has no rows where there are no medians; the image of the model takes their place, as
    it does where a median is NaN. Arrays of variances that there are not have no rows either.
    """
    for k in range(sci.shape[0]):
        total = 0
        within = 0
        stop = 0
        for j in range(sci.shape[1]):
            if j == stop:
                stop = min(j + _PIECE, sci.shape[1])
                some = _any_bad(sci[k, j:stop], dq[k, j:stop])
            if not some:
                continue
            bits = dq[k, j]
            unusable = bits & _DO_NOT_USE or sci[k, j] != sci[k, j]
            if not unusable or bits & _WITHOUT_LIGHT:
                continue
            value = _NAN
            factor = np.float32(1)
            if expected.shape[0]:
                value = expected[k, j]
                factor += _HALF_PI / np.float32(number[k, j])
            if value != value:
                value = _modelled(numbers[k], image[j], terms[:, j])
                factor = np.float32(1)
            if value != value:  # no fit: the pixel stays as it is
                continue
            photon = numbers[k, 5] * noise[1, j] * factor
            read = noise[0, j] * factor
            sci[k, j] = value
            err[k, j] = np.sqrt(photon + read)
            if poisson.shape[0]:
                poisson[k, j] = photon
            if rnoise.shape[0]:
                rnoise[k, j] = read
            if flat.shape[0]:
                flat[k, j] = np.float32(0)
            dq[k, j] = (bits & ~_DO_NOT_USE) | _FLUX_ESTIMATED
            total += 1
            within += region[j]
        totals[k] = total
        inside[k] = within
