"""Compiled loops of outlier flagging: mask, rolling median, compare, match, in one pass.

They take addresses and byte steps of arrays whose rows (y, x) are contiguous; shapes and types are
checked by the callers. Pixels are gone through in tiles. A tile's pixels of each integration are
read once, into a ring of padded rows: rows of JWST images lie powers of two apart, and would
otherwise push each other out of the processor's cache.

This module imports numba when it is imported: use `tso3dask.ops._kernels`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tso3dask.ops._jit import helper
from tso3dask.ops._kernels import PITCH, TAIL, TILE
from tso3dask.ops._vector_jit import (
    LANES,
    copy_words,
    flag_lanes,
    mask_lanes,
    median_lanes,
    prefetch,
)

__all__ = ["make_rolling", "make_rows"]

Made = tuple[Callable[..., None], str]
Six = tuple[int, int, int, int, int, int]

_LINE = 64
_LARGE = 4 * TILE


@helper
def _load_row(sci: int, dq: int, target: int, n: int, bad_bits: int, tail: int) -> None:
    """Copy n pixels of one row to the ring, bad ones as NaN; the ring's row is filled up."""
    whole = n // LANES * LANES
    for j in range(0, 4 * whole, 4 * LANES):
        mask_lanes(sci + j, dq + j, target + j, bad_bits, LANES)
    if whole < n:
        copy_words(tail, sci + 4 * whole, n - whole)
        copy_words(tail + 4 * TAIL, dq + 4 * whole, n - whole)
        mask_lanes(tail, tail + 4 * TAIL, target + 4 * whole, bad_bits, LANES)


@helper
def _flag_row(
    source: Six, target: Six, n: int, median: int, mode: int, snr: Any, full: int, tail: int
) -> int:
    """Flag and match n pixels of one row; return the number of outliers."""
    count = 0
    whole = n // LANES * LANES
    stop = 4 * whole
    step = 4 * LANES
    every = (1 << LANES) - 1
    if mode == 0:
        for j in range(0, stop, step):
            flag_lanes(source, target, j, median, snr, full, every, 0, LANES)
    elif mode == 1:
        for j in range(0, stop, step):
            count += flag_lanes(source, target, j, median + j, snr, full, every, 1, LANES)
    elif mode == 2:
        for j in range(0, stop, step):
            count += flag_lanes(source, target, j, median + j, snr, full, every, 2, LANES)
    else:
        for j in range(0, stop, step):
            count += flag_lanes(source, target, j, median + 2 * j, snr, full, every, 3, LANES)
    rest = n - whole
    if rest == 0:
        return count
    # The last pixels go through a place of their own, where a whole vector may be read.
    size = 4 * TAIL
    copy_words(tail, source[0] + stop, rest)
    copy_words(tail + size, source[1] + stop, rest)
    copy_words(tail + 2 * size, source[2] + stop, rest)
    copy_words(tail + 3 * size, source[3] + stop, rest)
    copy_words(tail + 4 * size, source[4] + stop, rest)
    copy_words(tail + 5 * size, source[5] + stop, rest)
    held = (tail, tail + size, tail + 2 * size, tail + 3 * size, tail + 4 * size, tail + 5 * size)
    level = tail + 6 * size
    keep = (1 << rest) - 1
    if mode == 0:
        flag_lanes(held, held, 0, level, snr, 1, keep, 0, LANES)
    elif mode == 1:
        copy_words(level, median + stop, rest)
        count += flag_lanes(held, held, 0, level, snr, 1, keep, 1, LANES)
    elif mode == 2:
        copy_words(level, median + stop, rest)
        count += flag_lanes(held, held, 0, level, snr, 1, keep, 2, LANES)
    else:
        copy_words(level, median + 2 * stop, 2 * rest)
        count += flag_lanes(held, held, 0, level, snr, 1, keep, 3, LANES)
    copy_words(target[0] + stop, held[0], rest)
    copy_words(target[1] + stop, held[1], rest)
    copy_words(target[2] + stop, held[2], rest)
    copy_words(target[3] + stop, held[3], rest)
    copy_words(target[4] + stop, held[4], rest)
    copy_words(target[5] + stop, held[5], rest)
    return count


@helper
def _lead(address: int, size: int, npix: int) -> int:
    """Pixels before the first whole cache line of a row, where a tile of their own pays.

    Vectors that lie across two lines take twice as long, and large numpy arrays begin 16 bytes
    behind a line.
    """
    return (-address) % _LINE // size if npix > _LARGE and address % size == 0 else 0


@helper
def _place(table: Any, row: int, p0: int) -> Six:
    """Return the addresses of the six arrays at one row and pixel.

    A table holds for each array its address, its bytes per row and its bytes per pixel; the
    latter two are 0 for the stand-in of an array that is absent.
    """
    return (
        table[0, 0] + row * table[0, 1] + p0 * table[0, 2],
        table[1, 0] + row * table[1, 1] + p0 * table[1, 2],
        table[2, 0] + row * table[2, 1] + p0 * table[2, 2],
        table[3, 0] + row * table[3, 1] + p0 * table[3, 2],
        table[4, 0] + row * table[4, 1] + p0 * table[4, 2],
        table[5, 0] + row * table[5, 1] + p0 * table[5, 2],
    )


def make_rolling(  # noqa: C901
    stamp: int, width: int, outputs: int, fused: int
) -> Made:
    """Make the kernel of rolling medians, that flags with them (fused) or stores them.

    In the kernel, `source` and `target` are tables as in `_place`, whose first row is integration
    a; if not fused, `target` has one line, that of the medians. Lines 0 and 1 of `origin` are those
    of SCI and DQ with their halo, whose first row is integration `first`.
    """
    lanes = LANES
    pitch = PITCH
    pitch_bytes = 4 * PITCH
    groups = -(-(width + outputs - 1) // outputs)
    half = width // 2
    wide = 2 - width % 2
    mode = 1 + wide

    def rolling(
        origin: Any,
        source: Any,
        target: Any,
        npix: int,
        first: int,
        a: int,
        b: int,
        nints: int,
        bad_bits: int,
        snr: Any,
        full: int,
        scratch: int,
        counts: Any,
    ) -> None:
        if stamp < 0:
            return
        ring = scratch
        medians = ring + 4 * groups * outputs * pitch
        tail = medians + 8 * outputs * pitch
        start = min(max(a - half, 0), nints - width)
        last = min(max(b - 1 - half, 0), nints - width)
        lead = _lead(target[0, 0], target[0, 2], npix)
        p0 = 0
        while p0 < npix:
            n = lead if p0 < lead else min(TILE, npix - p0)
            loaded = start
            i = a
            for begin in range(start, last + 1, outputs):
                final = min(begin + outputs - 1, last)
                while loaded < final + width:
                    slot = (loaded - start) % (groups * outputs)
                    sci = origin[0, 0] + (loaded - first) * origin[0, 1] + p0 * origin[0, 2]
                    dq = origin[1, 0] + (loaded - first) * origin[1, 1] + p0 * origin[1, 2]
                    _load_row(sci, dq, ring + slot * pitch_bytes, n, bad_bits, tail)
                    loaded += 1
                phase = (begin - start) // outputs % groups
                # Medians go straight to their place where that takes whole vectors of whole groups.
                direct = (
                    not fused
                    and begin + half >= a
                    and begin + half + outputs <= b
                    and final == begin + outputs - 1
                    and n % lanes == 0
                )
                level = medians
                apart = wide * pitch_bytes
                if direct:
                    level = target[0, 0] + (begin + half - a) * target[0, 1] + p0 * target[0, 2]
                    apart = target[0, 1]
                # The rows of the next group lie too far apart for the processor to foresee them.
                next_row = min(loaded, last + width - outputs) - first
                next_sci = origin[0, 0] + next_row * origin[0, 1] + p0 * origin[0, 2]
                next_dq = origin[1, 0] + next_row * origin[1, 1] + p0 * origin[1, 2]
                for j in range(0, 4 * n, 4 * lanes):
                    for k in range(outputs):
                        prefetch(next_sci + k * origin[0, 1] + j)
                        prefetch(next_dq + k * origin[1, 1] + j)
                    median_lanes(
                        ring + j, phase, level + wide * j, apart, width, outputs, pitch_bytes, lanes
                    )
                while i < b:
                    used = min(max(i - half, 0), nints - width)
                    if used > final:
                        break
                    median = level + (used - begin) * apart
                    if fused:
                        counts[i - a] += _flag_row(
                            _place(source, i - a, p0),
                            _place(target, i - a, p0),
                            n,
                            median,
                            mode,
                            snr,
                            full,
                            tail,
                        )
                    elif not direct or i != used + half:
                        copy_words(
                            target[0, 0] + (i - a) * target[0, 1] + p0 * target[0, 2],
                            median,
                            wide * n,
                        )
                    i += 1
            p0 += n

    table = "int64[:,::1]"
    return rolling, (
        f"void({table},{table},{table},int64,int64,int64,int64,int64,int64,float32,int64,int64,"
        "int64[::1])"
    )


def make_rows(stamp: int) -> Made:
    """Make the kernel that flags with given medians, `step` bytes from row to row."""

    def rows(
        source: Any,
        target: Any,
        npix: int,
        nrows: int,
        median: int,
        step: int,
        mode: int,
        snr: Any,
        full: int,
        scratch: int,
        counts: Any,
    ) -> None:
        if stamp < 0:
            return
        size = 8 if mode == 3 else 4
        lead = _lead(target[0, 0], target[0, 2], npix)
        for i in range(nrows):
            p0 = 0
            while p0 < npix:
                n = lead if p0 < lead else min(TILE, npix - p0)
                counts[i] += _flag_row(
                    _place(source, i, p0),
                    _place(target, i, p0),
                    n,
                    median + i * step + p0 * size,
                    mode,
                    snr,
                    full,
                    scratch,
                )
                p0 += n

    table = "int64[:,::1]"
    return rows, (
        f"void({table},{table},int64,int64,int64,int64,int64,float32,int64,int64,int64[::1])"
    )
