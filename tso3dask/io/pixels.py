"""Pixels of one image HDU, read and written by byte offset.

An `ArraySpec` is all that a task needs to reach the pixels of a file: it is small, picklable and
opens the file only while it reads, so that it travels to any thread, process or machine that sees
the same path.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from math import prod
from typing import BinaryIO, cast

import numpy as np

from tso3dask.errors import RunError

__all__ = ["ArraySpec", "scratch_words", "swap_into"]

_BLOCK = 512 * 1024
"""Bytes that are read and byte-swapped at a time, so that they are swapped while in cache."""

_SIGN = np.uint32(0x80000000)

_kept = threading.local()


@dataclass(frozen=True)
class ArraySpec:
    """Where the pixels of one image are and how they are stored.

    Attributes
    ----------
    name : str
        Dataset name: ``sci``, ``err``, ``dq``, ...
    path : str
        File that holds them.
    offset : int
        Byte offset of the first pixel.
    dtype : str
        Stored numpy type, big-endian (``">f4"``, ``">i4"``).
    bzero : int
        ``2**31`` for unsigned integers stored the FITS way, else 0.
    shape : tuple of int
        Array shape, slowest axis first: (integration, y, x) or (y, x).
    """

    name: str
    path: str
    offset: int
    dtype: str
    bzero: int
    shape: tuple[int, ...]

    @property
    def native(self) -> np.dtype:
        """Type of the array after reading."""
        if self.bzero:
            return np.dtype("uint32")
        kind = np.dtype(self.dtype).newbyteorder("=")
        if kind == np.float64 or (kind.kind in "iu" and self.name != "dq"):
            return np.dtype("float32")
        return np.dtype("uint32") if kind.kind in "iu" else kind

    @property
    def stored(self) -> np.dtype:
        """Type of the array as the file has it."""
        return np.dtype(self.dtype)

    @property
    def plain(self) -> bool:
        """Whether the file has 4-byte floats, or 4-byte DQ less 2**31."""
        return (self.dtype, self.bzero) == ((">i4", 2**31) if self.name == "dq" else (">f4", 0))

    @property
    def row_bytes(self) -> int:
        """Stored bytes of one row of the first axis."""
        return prod(self.shape[1:]) * np.dtype(self.dtype).itemsize

    @property
    def nbytes(self) -> int:
        """Stored bytes of the whole array, without padding."""
        return self.row_bytes * self.shape[0]

    def read(
        self, start: int = 0, stop: int | None = None, out: np.ndarray | None = None
    ) -> np.ndarray:
        """Read rows ``start:stop`` of the first axis.

        Parameters
        ----------
        start, stop : int
            Range of the first axis; the whole array by default.
        out : ndarray, optional
            C-contiguous buffer of the right shape to read into: native, or of the type `stored`,
            which then holds the bytes of the file.

        Returns
        -------
        ndarray
            (stop - start, ...) in native byte order, DQ as uint32; or as `out` asks for it.

        Raises
        ------
        RunError
            If the file ends early or cannot be read.
        """
        stop = self.shape[0] if stop is None else stop
        if not 0 <= start <= stop <= self.shape[0]:
            raise IndexError(f"rows {start}:{stop} of {self.name} with {self.shape[0]} rows")
        shape = (stop - start, *self.shape[1:])
        if out is None:
            out = np.empty(shape, self.native)
        stored = self.stored
        fits = out.shape == shape and out.dtype in (self.native, stored)
        if not (fits and out.flags.c_contiguous):
            raise ValueError(f"out must be a contiguous {self.native} array of shape {shape}")
        with self._open() as handle:
            position = self.offset + start * self.row_bytes
            if out.dtype == stored:
                self._fill(handle.fileno(), _bytes(out), position)
            elif stored.itemsize == out.dtype.itemsize and stored.kind in "iuf":
                self._read_swapped(handle.fileno(), position, out)
            else:
                raw = np.empty(out.size, stored)
                self._fill(handle.fileno(), _bytes(raw), position)
                out[...] = raw.reshape(shape)
        return out

    def read_region(
        self, start: int, stop: int, rows: slice, columns: slice = slice(None)
    ) -> np.ndarray:
        """Read a (y, x) region of the integrations ``start:stop``.

        Only whole detector rows are fetched from the file; columns are cut in memory.

        Parameters
        ----------
        start, stop : int
            Range of integrations.
        rows, columns : slice
            Range along y and along x, with step 1.

        Returns
        -------
        ndarray
            (integration, y, x), native byte order.
        """
        n_y, n_x = self.shape[-2:]
        y0, y1, _ = rows.indices(n_y)
        x0, x1, _ = columns.indices(n_x)
        if (y0, y1) == (0, n_y):
            return self.read(start, stop)[..., x0:x1]
        line = n_x * np.dtype(self.dtype).itemsize
        out = np.empty((stop - start, y1 - y0, n_x), self.native)
        stored = np.dtype(self.dtype)
        with self._open() as handle:
            for i in range(start, stop):
                position = self.offset + i * self.row_bytes + y0 * line
                if stored.itemsize == out.dtype.itemsize:
                    self._read_swapped(handle.fileno(), position, out[i - start])
                else:
                    raw = np.empty((y1 - y0, n_x), stored)
                    self._fill(handle.fileno(), _bytes(raw), position)
                    out[i - start] = raw
        return out[..., x0:x1]

    def _open(self) -> BinaryIO:
        try:
            return cast(BinaryIO, open(self.path, "rb", buffering=0))
        except OSError as error:
            raise RunError(f"{self.path}: cannot be read any more ({error.strerror})") from error

    def _fill(self, descriptor: int, view: memoryview, position: int) -> None:
        while view:
            got = os.preadv(descriptor, [view], position)
            if got == 0:
                raise RunError(
                    f"{self.path}: ends inside {self.name.upper()} although its size was right "
                    "when the run was planned; it changed on disk"
                )
            view = view[got:]
            position += got

    def _read_swapped(self, descriptor: int, position: int, out: np.ndarray) -> None:
        flat = out.reshape(-1)
        if not flat.size:
            return
        step = min(_BLOCK // flat.dtype.itemsize, flat.size)
        scratch = scratch_words(_BLOCK // 4).view(self.dtype)
        stored = scratch[:step]
        raw = _bytes(stored)
        for first in range(0, flat.size, step):
            piece = flat[first : first + step]
            begin = first * flat.dtype.itemsize
            self._fill(descriptor, raw[: piece.nbytes], position + begin)
            np.copyto(piece, stored[: piece.size], casting="unsafe")
            if self.bzero:
                np.bitwise_xor(piece, _SIGN, out=piece)


def scratch_words(size: int) -> np.ndarray:
    """Return memory of this thread that is used again at each call, as new memory is slow at first.

    Parameters
    ----------
    size : int
        4-byte words wanted.

    Returns
    -------
    ndarray
        (size,) uint32, of any content.
    """
    words = getattr(_kept, "words", None)
    if words is None or words.size < size:
        words = _kept.words = np.empty(size, np.uint32)
    return words[:size]


def _bytes(array: np.ndarray) -> memoryview:
    """Memory of a contiguous array."""
    return memoryview(array.reshape(-1).view(np.uint8))  # type: ignore[arg-type]


def swap_into(values: np.ndarray, buffer: np.ndarray, bzero: int) -> np.ndarray:
    """Store native ``values`` big-endian in ``buffer``, unsigned integers the FITS way.

    Parameters
    ----------
    values : ndarray
        Contiguous 1-D native array, 4 bytes an element.
    buffer : ndarray
        1-D uint32 scratch, at least as long.
    bzero : int
        ``2**31`` where the file stores unsigned integers as signed ones.

    Returns
    -------
    ndarray
        The part of ``buffer`` that now holds the bytes to write.
    """
    out = buffer[: values.size]
    stored = out.view(">u4")
    if bzero:
        np.bitwise_xor(values.view(np.uint32), _SIGN, out=stored)
    else:
        np.copyto(stored, values.view(np.uint32))
    return out
