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

from numba import literally

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
def _load_row(
    sci: int, dq: int, target: int, n: int, bad_bits: int, tail: int, stored: int
) -> None:
    """Copy n pixels of one row to the ring, bad ones as NaN; the ring's row is filled up."""
    turned = literally(stored)
    whole = n // LANES * LANES
    for j in range(0, 4 * whole, 4 * LANES):
        mask_lanes(sci + j, dq + j, target + j, bad_bits, turned, LANES)
    if whole < n:
        copy_words(tail, sci + 4 * whole, n - whole)
        copy_words(tail + 4 * TAIL, dq + 4 * whole, n - whole)
        mask_lanes(tail, tail + 4 * TAIL, target + 4 * whole, bad_bits, turned, LANES)


@helper
def _flag_row(
    source: Six,
    target: Six,
    n: int,
    median: int,
    snr: Any,
    full: int,
    tail: int,
    mode: int,
    stored: int,
) -> int:
    """Flag and match n pixels of one row; return the number of outliers."""
    how, turned = literally(mode), literally(stored)
    size = 4 * TAIL
    words = (how + 1) // 2  # of 4 bytes, in a median
    count = 0
    whole = n // LANES * LANES
    stop = 4 * whole
    every = (1 << LANES) - 1
    for j in range(0, stop, 4 * LANES):
        level = median + words * j
        count += flag_lanes(source, target, j, level, snr, full, every, how, turned, LANES)
    rest = n - whole
    if rest == 0:
        return count
    # The last pixels go through a place of their own, where a whole vector may be read.
    held = (tail, tail + size, tail + 2 * size, tail + 3 * size, tail + 4 * size, tail + 5 * size)
    level = tail + 6 * size
    _copy_six(held, 0, source, stop, rest)
    copy_words(level, median + words * stop, words * rest)
    keep = (1 << rest) - 1
    count += flag_lanes(held, held, 0, level, snr, 1, keep, how, turned, LANES)
    _copy_six(target, stop, held, 0, rest)
    return count


@helper
def _copy_six(target: Six, to: int, source: Six, start: int, n: int) -> None:
    """Copy n words of each of six arrays, from and to some bytes after their addresses."""
    copy_words(target[0] + to, source[0] + start, n)
    copy_words(target[1] + to, source[1] + start, n)
    copy_words(target[2] + to, source[2] + start, n)
    copy_words(target[3] + to, source[3] + start, n)
    copy_words(target[4] + to, source[4] + start, n)
    copy_words(target[5] + to, source[5] + start, n)


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
    stamp: int, width: int, outputs: int, fused: int, stored: int
) -> Made:
    """Make the kernel of rolling medians, that flags with them (fused) or stores them.

    If `stored`, cubes are as files have them, before and after.

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
                    _load_row(sci, dq, ring + slot * pitch_bytes, n, bad_bits, tail, stored)
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
                        old, new = _place(source, i - a, p0), _place(target, i - a, p0)
                        counts[i - a] += _flag_row(
                            old, new, n, median, snr, full, tail, mode, stored
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


def make_rows(stamp: int, mode: int, stored: int) -> Made:
    """Make the kernel that flags with given medians, `step` bytes from row to row."""
    size = 8 if mode == 3 else 4

    def rows(
        source: Any,
        target: Any,
        npix: int,
        nrows: int,
        median: int,
        step: int,
        snr: Any,
        full: int,
        scratch: int,
        counts: Any,
    ) -> None:
        if stamp < 0:
            return
        lead = _lead(target[0, 0], target[0, 2], npix)
        for i in range(nrows):
            p0 = 0
            while p0 < npix:
                n = lead if p0 < lead else min(TILE, npix - p0)
                old, new = _place(source, i, p0), _place(target, i, p0)
                level = median + i * step + p0 * size
                counts[i] += _flag_row(old, new, n, level, snr, full, scratch, mode, stored)
                p0 += n

    table = "int64[:,::1]"
    return rows, (f"void({table},{table},int64,int64,int64,int64,float32,int64,int64,int64[::1])")
