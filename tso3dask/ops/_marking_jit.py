"""Compiled loops that flag what was found to be outliers, and put estimates in their place.

This module imports numba when it is imported: load it inside functions only.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from tso3dask.ops._jit import jit
from tso3dask.ops.dq import FLAG_VALUES

__all__ = ["grow_and_mark", "replace_pixels"]

_HALF_PI = np.float32(np.pi / 2)
_NAN = np.float32(np.nan)
_PIECE = 32
"""Pixels that are looked at together."""

_DO_NOT_USE = np.uint32(FLAG_VALUES["DO_NOT_USE"])
_OUTLIER = np.uint32(FLAG_VALUES["OUTLIER"])
_FLUX_ESTIMATED = np.uint32(FLAG_VALUES["FLUX_ESTIMATED"])
_WITHOUT_LIGHT = np.uint32(FLAG_VALUES["NON_SCIENCE"] | FLAG_VALUES["REFERENCE_PIXEL"])


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
def grow_and_mark(
    found: Any,
    dq: Any,
    marked: Any,
    region: Any,
    ny: int,
    grow: int,
    places: Any,
    totals: Any,
    inside: Any,
) -> None:
    """Flag what was found and usable pixels within `grow` steps of it; count by integration.

    `dq` is copied to `marked`, with OUTLIER and DO_NOT_USE where pixels are flagged.
    """
    for k in range(found.shape[0]):
        row, bits, out = found[k], dq[k], marked[k]
        if grow:
            _grow(row, bits, ny, grow, places)
        total = 0
        within = 0
        for j in range(row.size):
            flag = row[j]
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
