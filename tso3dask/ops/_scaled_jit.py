"""Compiled loops of scaled medians that leave NaN out, and of what they let expect.

Pixels are gone through in tiles, as in `tso3dask.ops._outlier_jit`. Each value is scaled once, when
it is put into the ring of its tile. Windows without NaN go through a network, side by side; the
few pixels with NaN in their window are sorted one by one.

This module imports numba when it is imported: use `tso3dask.ops._kernels` for its makers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from tso3dask.ops._jit import jit
from tso3dask.ops._kernels import PITCH, TILE
from tso3dask.ops._vector_jit import LANES, median_lanes

__all__ = ["expect_image", "make_scaled"]

Made = tuple[Callable[..., None], str]

_NAN = np.float32(np.nan)


@numba.njit(nogil=True, error_model="numpy")
def _load_scaled(
    sci: Any, dq: Any, numbers: Any, terms: Any, bits: Any, moved: int, target: Any
) -> None:
    """Put values of one row as they would be at brightness 1 into a row of the ring."""
    one, zero = numbers[0], numbers[1]
    dy, dx, dw = numbers[2], numbers[3], numbers[4]
    if moved:
        ty, tx, tw = terms[0], terms[1], terms[2]
        for j in range(target.size):
            value = (sci[j] - zero) * one - (dy * ty[j] + dx * tx[j] + dw * tw[j])
            target[j] = _NAN if dq[j] & bits else value
    else:
        for j in range(target.size):
            value = (sci[j] - zero) * one
            target[j] = _NAN if dq[j] & bits else value


@numba.njit(nogil=True, error_model="numpy")
def _sorted_median(
    ring: Any, slot: int, slots: int, width: int, j: int, values: Any, aware: int
) -> tuple[Any, int]:
    """Return the median of a window of one pixel and the number of values; NaN is left out."""
    n = int(np.int64(0))
    for _ in range(width):
        value = ring[slot, j]
        slot += 1
        if slot == slots:
            slot = 0
        if value != value:
            continue
        place = n
        while place > 0 and values[place - 1] > value:
            values[place] = values[place - 1]
            place -= 1
        values[place] = value
        n += 1
    if n == 0 or (n < width and not aware):
        return np.float64(np.nan), n
    return (np.float64(values[(n - 1) // 2]) + np.float64(values[n // 2])) * 0.5, n


@numba.njit(nogil=True, error_model="numpy")
def _expect(median: Any, numbers: Any, terms: Any, moved: int, scaled: int, expected: Any) -> None:
    """Turn medians at brightness 1 into what one integration should show."""
    zero, brightness = numbers[1], numbers[5]
    dy, dx, dw = numbers[2], numbers[3], numbers[4]
    if not scaled:
        for j in range(expected.size):
            expected[j] = median[j]
    elif moved:
        ty, tx, tw = terms[0], terms[1], terms[2]
        for j in range(expected.size):
            shift = dy * ty[j] + dx * tx[j] + dw * tw[j]
            expected[j] = brightness * (np.float32(median[j]) + shift) + zero
    else:
        for j in range(expected.size):
            expected[j] = brightness * np.float32(median[j]) + zero


@numba.njit(nogil=True)
def _bad_pixels(medians: Any, windows: int, n: int, marks: Any, places: Any) -> int:
    """List the pixels of a tile that have no median in some window; return how many."""
    marks[:n] = 0
    for k in range(windows):
        row = medians[k]
        for j in range(n):
            marks[j] |= np.uint8(row[j] != row[j])
    count = 0
    for j in range(n):
        if marks[j]:
            places[count] = j
            count += 1
    return count


@numba.njit(nogil=True)
def _fill_gaps(
    ring: Any, slot: int, slots: int, rows: int, j: int, low: Any, high: Any, lane: int, gaps: Any
) -> None:
    """Copy one pixel's values to two rings, with NaN as infinities of alternating sign.

    Whatever window is taken, as many lie above its values as below them, or one more, and in the
    two rings on opposite sides: the mean of the two medians is that of the values alone.
    """
    sign = np.float32(np.inf)
    missing = 0
    for k in range(rows):
        value = ring[slot, j]
        slot += 1
        if slot == slots:
            slot = 0
        if value != value:
            low[k, lane] = -sign
            high[k, lane] = sign
            sign = -sign
            missing += 1
        else:
            low[k, lane] = value
            high[k, lane] = value
        gaps[k + 1, lane] = missing


@numba.njit(nogil=True)
def _join_pairs(
    pairs: Any, gaps: Any, width: int, places: Any, windows: int, medians: Any, counts: Any
) -> None:
    """Put the means of the medians of both rings to their pixels, and the numbers of values."""
    outputs = pairs.shape[0] // 2
    for k in range(windows):
        for lane in range(places.size):
            level = np.float64(pairs[k, lane]) + np.float64(pairs[outputs + k, lane])
            medians[k, places[lane]] = level * 0.5
            counts[k, places[lane]] = width - (gaps[k + width, lane] - gaps[k, lane])


def make_scaled(  # noqa: C901
    stamp: int, width: int, outputs: int, networked: int
) -> Made:
    """Make the kernel of scaled medians that marks outliers.

    In the kernel, row 0 of `sci` and `dq` is row `first` of the series that the window belongs to,
    which has `nints` rows, and row 0 of all other cubes is row `a` of it. `numbers` has a line
    (1 / brightness, background, shift along y and x, width, brightness) for each row of `sci`,
    `terms` the images that belong to shifts and width, and `noise` the read and photon variances.
    """
    lanes = LANES
    pitch_bytes = 4 * PITCH
    groups = -(-(width + outputs - 1) // outputs)
    slots = groups * outputs
    half = width // 2
    even = 1 - width % 2
    wide = 1 + even
    compact_bytes = 4 * LANES

    def scaled(  # noqa: C901
        sci: Any,
        dq: Any,
        numbers: Any,
        terms: Any,
        ring: Any,
        ring_address: int,
        medians: Any,
        medians_address: int,
        wide_medians: Any,
        counts: Any,
        values: Any,
        marks: Any,
        places: Any,
        gaps: Any,
        low: Any,
        low_address: int,
        high: Any,
        high_address: int,
        pairs: Any,
        pairs_address: int,
        expected: Any,
        number: Any,
        first: int,
        a: int,
        b: int,
        nints: int,
        bits: Any,
        flags: Any,
    ) -> None:
        if stamp < 0:
            return
        is_scaled, moved, aware = flags
        npix = sci.shape[1]
        start = min(max(a - half, 0), nints - width)
        last = min(max(b - 1 - half, 0), nints - width)
        for p0 in range(0, npix, TILE):
            n = min(TILE, npix - p0)
            here = slice(p0, p0 + n)
            # contiguous rows, over which loops are vectorised
            tile_terms = (terms[0, here], terms[1, here], terms[2, here])
            loaded = start
            i = a
            for begin in range(start, last + 1, outputs):
                final = min(begin + outputs - 1, last)
                while loaded < final + width:
                    row = loaded - first
                    _load_scaled(
                        sci[row, here],
                        dq[row, here],
                        numbers[row],
                        tile_terms,
                        bits,
                        moved,
                        ring[(loaded - start) % slots, :n],
                    )
                    loaded += 1
                if networked:
                    phase = (begin - start) // outputs % groups
                    for j in range(0, 4 * n, 4 * lanes):
                        median_lanes(
                            ring_address + j,
                            phase,
                            medians_address + wide * j,
                            wide * pitch_bytes,
                            width,
                            outputs,
                            pitch_bytes,
                            lanes,
                        )
                windows = final - begin + 1
                counts[:windows, :n] = width
                slot = (begin - start) % slots
                if not networked:
                    bad = n
                    for j in range(n):
                        places[j] = j
                elif not aware:
                    bad = 0
                elif even:
                    bad = _bad_pixels(wide_medians, windows, n, marks, places)
                else:
                    bad = _bad_pixels(medians, windows, n, marks, places)
                if networked and not even:
                    rows = windows + width - 1
                    for batch in range(0, bad, lanes):
                        held = min(lanes, bad - batch)
                        for lane in range(held):
                            place = places[batch + lane]
                            _fill_gaps(ring, slot, slots, rows, place, low, high, lane, gaps)
                        for pair in range(2):
                            median_lanes(
                                low_address if pair == 0 else high_address,
                                0,
                                pairs_address + pair * outputs * compact_bytes,
                                compact_bytes,
                                width,
                                outputs,
                                compact_bytes,
                                lanes,
                            )
                        _join_pairs(
                            pairs, gaps, width, places[batch : batch + held], windows,
                            medians, counts,
                        )  # fmt: skip
                else:
                    for k in range(windows):
                        for p in range(bad):
                            j = places[p]
                            m, valid = _sorted_median(
                                ring, (slot + k) % slots, slots, width, j, values, aware
                            )
                            counts[k, j] = valid
                            if even:
                                wide_medians[k, j] = m
                            else:
                                medians[k, j] = m
                while i < b:
                    used = min(max(i - half, 0), nints - width)
                    if used > final:
                        break
                    k = i - a
                    own = i - first
                    out = expected[k, here]
                    if even:
                        _expect(
                            wide_medians[used - begin, :n],
                            numbers[own],
                            tile_terms,
                            moved,
                            is_scaled,
                            out,
                        )
                    else:
                        _expect(
                            medians[used - begin, :n],
                            numbers[own],
                            tile_terms,
                            moved,
                            is_scaled,
                            out,
                        )
                    number[k, here] = counts[used - begin, :n]
                    i += 1

    return scaled, (
        "void(float32[:,::1],uint32[:,::1],float32[:,::1],float32[:,::1],"
        "float32[:,::1],int64,float32[:,::1],int64,"
        "float64[:,::1],uint16[:,::1],float32[::1],uint8[::1],int64[::1],int64[:,::1],"
        "float32[:,::1],int64,float32[:,::1],int64,float32[:,::1],int64,"
        "float32[:,::1],uint16[:,::1],"
        "int64,int64,int64,int64,uint32,UniTuple(int64,3))"
    )


@jit
def expect_image(
    numbers: Any, terms: Any, image: Any, counts: Any, flags: Any, expected: Any, number: Any
) -> None:
    """Turn one median image at brightness 1 into what each integration should show."""
    is_scaled, moved, _ = flags
    for k in range(expected.shape[0]):
        _expect(image, numbers[k], terms, moved, is_scaled, expected[k])
        number[k] = counts
