"""Compiled kernels of the medians over time and of outlier flagging.

Kernels take addresses and byte steps of arrays whose rows (y, x) are contiguous; shapes and types
are checked by the callers. `kernel` compiles one on first use and keeps it, on disk too where numba
finds a place to write. They release the GIL and start no threads.

All kernels go through the pixels in tiles of `TILE`. A tile's rows of the image at one
integration are read once, into a ring of padded rows: rows of JWST images lie powers of two apart,
and would otherwise push each other out of the processor's cache.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np

from tso3dask.ops import median_network, vector
from tso3dask.ops.median_network import outputs_for
from tso3dask.ops.vector import (
    LANES,
    copy_words,
    flag_lanes,
    key_value,
    mask_lanes,
    median_lanes,
    ordered_key,
)

__all__ = ["MAX_NETWORK_WIDTH", "TILE", "kernel", "scratch_words"]

TILE = 1024
"""Pixels in a tile."""

PITCH = TILE + 16
"""Words from row to row of a ring."""

TAIL = 16
"""Words kept for each array when a tile's last pixels do not fill a vector."""

MAX_NETWORK_WIDTH = 63
"""Widest window that is given to a median network; compiling a wider one takes too long."""


def _stamp() -> int:
    """Return a number that changes with the sources the compiled code is made from.

    Numba's disk cache looks at the file that a kernel is defined in and at its closure, not at
    the helpers and the generated code; so each kernel has this number in its closure.
    """
    digest = hashlib.sha256(f"{LANES}".encode())
    for source in (__file__, vector.__file__, median_network.__file__):
        try:
            digest.update(Path(source).read_bytes())
        except OSError:
            digest.update(numba.__version__.encode())
    return int.from_bytes(digest.digest()[:7], "little")


def scratch_words(width: int) -> int:
    """Words of scratch that the rolling kernels of a window need: ring, medians and tail."""
    outputs = outputs_for(width)
    groups = -(-(width + outputs - 1) // outputs)
    return (groups * outputs + 2 * outputs) * PITCH + 16 * TAIL


@numba.njit(nogil=True)
def _load_row(sci, dq, target, n, bad_bits, tail):  # type: ignore[no-untyped-def]
    """Copy n pixels of one row to the ring, bad ones as NaN; the ring's row is filled up."""
    whole = n // LANES * LANES
    if bad_bits == 0:
        copy_words(target, sci, n)
        return
    for j in range(0, 4 * whole, 4 * LANES):
        mask_lanes(sci + j, dq + j, target + j, bad_bits, LANES)
    if whole < n:
        copy_words(tail, sci + 4 * whole, n - whole)
        copy_words(tail + 4 * TAIL, dq + 4 * whole, n - whole)
        mask_lanes(tail, tail + 4 * TAIL, target + 4 * whole, bad_bits, LANES)


@numba.njit(nogil=True)
def _flag_row(source, target, n, median, mode, snr, full, tail):  # type: ignore[no-untyped-def]
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


@numba.njit(nogil=True)
def _place(table, row, p0):  # type: ignore[no-untyped-def]
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


def _rolling(stamp: int, width: int, outputs: int, fused: int) -> tuple[Callable[..., Any], str]:
    """Rolling medians of integrations a to b; flags with them (fused), or stores them.

    `source` and `target` are tables as in `_place`, for row a; `target` is one row of a table,
    that of the medians, if not fused. The array of row `first` begins at `origin[0]` (SCI) and
    `origin[1]` (DQ).
    """
    lanes = LANES
    pitch = PITCH
    pitch_bytes = 4 * PITCH
    groups = -(-(width + outputs - 1) // outputs)
    half = width // 2
    wide = 2 - width % 2
    mode = 1 + wide

    def rolling(  # type: ignore[no-untyped-def]
        origin, source, target, npix, first, a, b, nints, bad_bits, snr, full, scratch, counts
    ):
        if stamp < 0:
            return
        ring = scratch
        medians = ring + 4 * groups * outputs * pitch
        tail = medians + 8 * outputs * pitch
        start = min(max(a - half, 0), nints - width)
        last = min(max(b - 1 - half, 0), nints - width)
        for p0 in range(0, npix, TILE):
            n = min(TILE, npix - p0)
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
                for j in range(0, 4 * n, 4 * lanes):
                    median_lanes(
                        ring + j, phase, medians + wide * j, width, outputs, pitch_bytes, lanes
                    )
                while i < b:
                    used = min(max(i - half, 0), nints - width)
                    if used > final:
                        break
                    level = medians + (used - begin) * wide * pitch_bytes
                    if fused:
                        counts[i - a] += _flag_row(
                            _place(source, i - a, p0),
                            _place(target, i - a, p0),
                            n,
                            level,
                            mode,
                            snr,
                            full,
                            tail,
                        )
                    else:
                        copy_words(
                            target[0, 0] + (i - a) * target[0, 1] + p0 * target[0, 2],
                            level,
                            wide * n,
                        )
                    i += 1

    table = "int64[:,::1]"
    return rolling, (
        f"void({table},{table},{table},int64,int64,int64,int64,int64,int64,float32,int64,int64,"
        "int64[::1])"
    )


def _rows(stamp: int) -> tuple[Callable[..., Any], str]:
    """Flag and match rows with given medians: at `median`, `step` bytes from row to row."""

    def rows(  # type: ignore[no-untyped-def]
        source, target, npix, nrows, median, step, mode, snr, full, scratch, counts
    ):
        if stamp < 0:
            return
        size = 8 if mode == 3 else 4
        for i in range(nrows):
            for p0 in range(0, npix, TILE):
                counts[i] += _flag_row(
                    _place(source, i, p0),
                    _place(target, i, p0),
                    min(TILE, npix - p0),
                    median + i * step + p0 * size,
                    mode,
                    snr,
                    full,
                    scratch,
                )

    table = "int64[:,::1]"
    return rows, (
        f"void({table},{table},int64,int64,int64,int64,int64,float32,int64,int64,int64[::1])"
    )


def _wide(stamp: int) -> tuple[Callable[..., Any], str]:
    """Rolling medians by a sorted window per pixel, for windows of any width.

    `sci` and `out` are (integration, pixel); row 0 of `sci` is integration `first`. A tile's sorted
    windows lie in `held`, (width, pixel); NaN is held as infinity and counted in `nans`.
    """

    def wide(  # type: ignore[no-untyped-def]
        sci, out, width, first, a, b, nints, held, carry, nans
    ):
        if stamp < 0:
            return
        half = width // 2
        tile = held.shape[1]
        start = min(max(a - half, 0), nints - width)
        for p0 in range(0, sci.shape[1], tile):
            n = min(tile, sci.shape[1] - p0)
            nans[:] = 0
            position = start - 1
            for i in range(a, b):
                used = min(max(i - half, 0), nints - width)
                if used == position:
                    out[i - a, p0 : p0 + n] = out[i - a - 1, p0 : p0 + n]
                    continue
                fresh = width if position < start else 1
                position = used
                for k in range(width - fresh, width):
                    if fresh == 1:
                        old = sci[used - 1 - first, p0 : p0 + n]
                        for j in range(n):
                            nans[j] -= np.int32(old[j] != old[j])
                            carry[j] = np.float32(np.inf) if old[j] != old[j] else old[j]
                        for row in range(width - 1):
                            here = held[row]
                            above = held[row + 1]
                            for j in range(n):
                                here[j] = here[j] if here[j] < carry[j] else above[j]
                    new = sci[used + k - first, p0 : p0 + n]
                    for j in range(n):
                        nans[j] += np.int32(new[j] != new[j])
                        carry[j] = np.float32(np.inf) if new[j] != new[j] else new[j]
                    for row in range(k):
                        here = held[row]
                        for j in range(n):
                            value = here[j]
                            low = value if value < carry[j] else carry[j]
                            carry[j] = carry[j] if value < carry[j] else value
                            here[j] = low
                    held[k, :n] = carry[:n]
                low_row = held[(width - 1) // 2]
                high_row = held[half]
                result = out[i - a, p0 : p0 + n]
                for j in range(n):
                    level = (np.float64(low_row[j]) + np.float64(high_row[j])) * 0.5
                    result[j] = level if nans[j] == 0 else np.nan

    floats = "float32[:,::1]"
    return wide, (
        f"void({floats},float64[:,::1],int64,int64,int64,int64,int64,{floats},float32[::1],"
        "int32[::1])"
    )


def _image(stamp: int) -> tuple[Callable[..., Any], str]:
    """Median over time of the values that are not NaN, by bisection of ordered integers.

    For a tile of pixels at a time, the key of rank k is built from its highest bit down: a bit is
    set if no more than k keys are smaller than the value that has it. `keys` is (integration,
    pixel) of a tile; `values_at` is the address of `values`.
    """

    def image(  # type: ignore[no-untyped-def]
        source, step, npix, nints, out, keys, values, values_at, valid, found, trial, below
    ):
        if stamp < 0:
            return
        tile = keys.shape[1]
        for p0 in range(0, npix, tile):
            n = min(tile, npix - p0)
            valid[:] = 0
            found[:] = 0
            for i in range(nints):
                copy_words(values_at, source + i * step + 4 * p0, n)
                row = keys[i]
                for j in range(tile):
                    row[j] = ordered_key(values[j])
                    valid[j] += np.int32(values[j] == values[j])
            for bit in range(31, -1, -1):
                for j in range(tile):
                    trial[j] = found[j] | np.uint32(1 << bit)
                below[:] = 0
                for i in range(nints):
                    row = keys[i]
                    for j in range(tile):
                        below[j] += np.int32(row[j] < trial[j])
                for j in range(tile):
                    if below[j] <= (valid[j] - 1) // 2:
                        found[j] = trial[j]
            # The other middle value of an even number: the next key, unless the same is repeated.
            below[:] = 0
            trial[:] = np.uint32(0xFFFFFFFF)
            for i in range(nints):
                row = keys[i]
                for j in range(tile):
                    below[j] += np.int32(row[j] <= found[j])
                    trial[j] = row[j] if found[j] < row[j] < trial[j] else trial[j]
            for j in range(n):
                low = key_value(found[j])
                high = key_value(trial[j])
                if valid[j] == 0:
                    out[p0 + j] = np.nan
                elif valid[j] % 2 == 1 or below[j] > valid[j] // 2:
                    out[p0 + j] = low
                else:
                    out[p0 + j] = np.float32(low + high) * np.float32(0.5)

    return image, (
        "void(int64,int64,int64,int64,float32[::1],uint32[:,::1],float32[::1],int64,int32[::1],"
        "uint32[::1],uint32[::1],int32[::1])"
    )


_kernels: dict[tuple[Any, ...], Callable[..., Any]] = {}
_lock = threading.Lock()
_makers: dict[str, Callable[..., tuple[Callable[..., Any], str]]] = {
    "rolling": _rolling,
    "rows": _rows,
    "wide": _wide,
    "image": _image,
}


def kernel(name: str, *constants: int) -> Callable[..., Any]:
    """Return the compiled kernel of that name for these compile-time constants."""
    key = (name, *constants)
    if key not in _kernels:
        with _lock:
            if key not in _kernels:
                function, signature = _makers[name](_stamp(), *constants)
                _kernels[key] = _compile(function, signature)
    return _kernels[key]


def _compile(function: Callable[..., Any], signature: str) -> Callable[..., Any]:
    """Compile, with a disk cache if there is a place where it can be written."""
    try:
        return numba.njit(signature, nogil=True, cache=True)(function)
    except (RuntimeError, OSError):
        return numba.njit(signature, nogil=True)(function)
