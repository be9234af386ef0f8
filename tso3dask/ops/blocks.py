"""What the compiled kernels need to know of numpy arrays: checked shapes, addresses, scratch."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = [
    "STORED",
    "address",
    "flat_rows",
    "is_stored",
    "require",
    "roomy_empty",
    "row_table",
    "scratch",
    "to_native",
]

Array = npt.NDArray

STORED = {"float": np.dtype(">f4"), "dq": np.dtype(">i4")}
"""Types of pixels as FITS files have them: DQ is less than its value by 2**31."""

_SIGN = np.uint32(0x80000000)
_PIECE = 128 * 1024
"""Words that are gone through while they are in the processor's cache."""

_local = threading.local()

_LARGE = 4 * 2**20
_LINE = 64


def roomy_empty(shape: Sequence[int], dtype: npt.DTypeLike) -> Array:
    """Return an array to be filled, on large pages of memory where the system has them.

    numpy asks for them from 4 MiB on; an array of more than a quarter of that is made the front of
    one of that size, of which the rest is never touched. It begins with a cache line, as vectors
    that lie across two lines take longer.

    Parameters
    ----------
    shape : sequence of int
    dtype : dtype

    Returns
    -------
    array
        Of any content.
    """
    count, itemsize = math.prod(shape), np.dtype(dtype).itemsize
    large = _LARGE // 4 < count * itemsize < _LARGE - _LINE
    more = _LINE // itemsize
    held = np.empty(_LARGE // itemsize if large else count + more, dtype)
    begin = -address(held) % _LINE // itemsize
    return held[begin : begin + count].reshape(shape)


def require(
    name: str, array: Array, dtype: npt.DTypeLike, shape: Sequence[int | None], *, output: bool
) -> Array:
    """Return the array in the form that kernels take, or complain.

    Parameters
    ----------
    name : str
        What the caller calls it.
    array : (integration, y, x) or (y, x)
        To be checked.
    dtype : dtype
        No conversion is made.
    shape : sequence of int or None
        None stands for any length.
    output : bool
        Whether it is to be written to. If not, it is copied where a row (y, x) is not contiguous.

    Returns
    -------
    array
        With contiguous rows (y, x), any distance apart.

    Raises
    ------
    ValueError
        Wrong shape or type, or an output that cannot be written as it is.
    """
    fits = array.shape == shape or (
        array.ndim == len(shape)
        and all(want is None or want == have for want, have in zip(shape, array.shape, strict=True))
    )
    if not fits or array.dtype != dtype:
        wanted = ", ".join("any" if want is None else str(want) for want in shape)
        kind = np.dtype(dtype)
        order = f"{kind} in native byte order" if kind.isnative else kind.str
        raise ValueError(
            f"{name}: expected ({wanted}) {order}, got {array.shape} {array.dtype.str}"
        )
    row = array[0] if array.ndim > 2 and array.shape[0] else array
    ready = row.flags.c_contiguous and row.flags.aligned
    if output and not (ready and array.flags.writeable):
        raise ValueError(f"{name}: to be written to, so it must be writeable with contiguous rows")
    return array if ready else np.ascontiguousarray(array)


def address(array: Array) -> int:
    """Address of the first element."""
    return int(array.ctypes.data)


def flat_rows(array: Array) -> Array:
    """Return an array as contiguous, writeable rows of pixels: (y, x) made one axis.

    A copy only where it is not contiguous or cannot be written to.
    """
    return np.require(array, requirements=["C", "W"]).reshape(len(array), -1)


def row_table(arrays: Sequence[Array | int]) -> npt.NDArray[np.int64]:
    """Addresses, bytes per integration and bytes per pixel of arrays of 4-byte pixels.

    Parameters
    ----------
    arrays : sequence of array or int
        Arrays (integration, y, x) with contiguous rows, as `require` returns them; or an address
        where one tile of a stand-in lies, which every integration and tile shares.

    Returns
    -------
    (array, 3) int64
    """
    lines = [
        (array, 0, 0)
        if isinstance(array, int)
        else (address(array), array.strides[0], array.itemsize)
        for array in arrays
    ]
    return np.array(lines, np.int64)


def scratch(words: int) -> int:
    """Address of at least `words` words of 4 bytes that belong to the calling thread.

    The place lies on a 64-byte boundary and stays valid, with its contents, until the same thread
    asks for more.
    """
    held: Array | None = getattr(_local, "held", None)
    if held is None or held.size < words + 16:
        held = _local.held = np.zeros(words + 16, np.uint32)
    return -(-address(held) // 64) * 64


def is_stored(array: Array) -> bool:
    """Whether pixels are as files have them. On a big-endian machine no array counts as that."""
    return not array.dtype.isnative


def to_native(array: Array) -> Array:
    """Turn pixels that are as files have them into native ones, in the same memory.

    Parameters
    ----------
    array : contiguous, of a type in `STORED`
        Afterwards its content means nothing under that type.

    Returns
    -------
    array
        float32, or DQ as uint32, of the same shape.
    """
    kind = np.float32 if array.dtype.kind == "f" else np.uint32
    flat = array.reshape(-1).view(np.uint32)
    for start in range(0, flat.size, _PIECE):
        piece = flat[start : start + _PIECE]
        np.copyto(piece, piece.view(">u4"))
        if kind == np.uint32:
            np.bitwise_xor(piece, _SIGN, out=piece)
    return array.view(kind)
