"""Bytes of FITS files: header blocks, padding, and copying between open files."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import os
import textwrap
import warnings
from collections.abc import Iterable, Iterator, Sequence
from importlib import metadata

from astropy.io import fits
from astropy.io.fits.verify import VerifyWarning

from tso3dask.errors import RunError

__all__ = [
    "BLOCK",
    "asdf_header",
    "copy_range",
    "header_bytes",
    "headers_hash",
    "history_lines",
    "padded",
    "pwrite_all",
    "quiet_cards",
    "software",
    "timestamp",
    "without_checksums",
]

BLOCK = 2880
"""FITS files are made of blocks of this many bytes."""

_COPY = 1 << 20
_CHECKSUMS = ("CHECKSUM", "DATASUM")


@contextlib.contextmanager
def quiet_cards() -> Iterator[None]:
    """Let long values push the comments of their cards out without a word, as FITS allows."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", VerifyWarning)
        yield


def padded(size: int) -> int:
    """Return `size` rounded up to whole FITS blocks."""
    return -(-size // BLOCK) * BLOCK


def header_bytes(header: fits.Header) -> bytes:
    """Return a header as it is in a file, END card and padding included."""
    return header.tostring().encode("ascii", "replace")


def without_checksums(header: fits.Header) -> fits.Header:
    """Return a copy of `header` without CHECKSUM and DATASUM, which no longer hold."""
    header = header.copy()
    for keyword in _CHECKSUMS:
        header.remove(keyword, ignore_missing=True, remove_all=True)
    return header


def headers_hash(headers: Iterable[fits.Header]) -> str:
    """Return the digest by which data models know that headers and ASDF tree say the same.

    Parameters
    ----------
    headers : iterable of Header
        All headers of the file in order, the one of the ASDF extension left out.
    """
    digest = hashlib.sha256()
    for header in headers:
        digest.update(header.tostring().encode())
    return digest.hexdigest()


def asdf_header(nbytes: int, base: fits.Header | None = None) -> fits.Header:
    """Return the header of the one-cell table that holds an ASDF file of `nbytes` bytes."""
    if base is None:
        column = fits.Column(name="ASDF_METADATA", format=f"{nbytes}B")
        header = fits.BinTableHDU.from_columns([column], nrows=1, name="ASDF").header
        return header.copy()
    header = without_checksums(base)
    header["NAXIS1"] = nbytes
    header["NAXIS2"] = 1
    header["TFORM1"] = f"{nbytes}B"
    return header


def copy_range(source: int, target: int, start: int, count: int, to: int) -> None:
    """Copy `count` bytes from place `start` of one open file to place `to` of another."""
    done = 0
    while done < count:
        piece = os.pread(source, min(_COPY, count - done), start + done)
        if not piece:
            raise RunError(f"input ended {count - done} bytes early while it was copied")
        pwrite_all(target, piece, to + done)
        done += len(piece)


def pwrite_all(target: int, data: bytes | memoryview, offset: int) -> None:
    """Write all of `data` at `offset` of an open file."""
    view = memoryview(data)
    while view:
        count = os.pwrite(target, view, offset)
        view = view[count:]
        offset += count


def software() -> tuple[str, str]:
    """Return the name and version of this package."""
    try:
        return "tso3dask", metadata.version("tso3dask")
    except metadata.PackageNotFoundError:
        return "tso3dask", "unknown"


def history_lines(entries: Sequence[str]) -> list[str]:
    """Return history entries cut into lines that fit a HISTORY card."""
    lines: list[str] = []
    for entry in entries:
        text = entry.encode("ascii", "replace").decode()
        lines += textwrap.wrap(text, 72, subsequent_indent="  ") or [""]
    return lines


def timestamp() -> str:
    """Return the present time (UTC) as products write it in DATE."""
    now = datetime.datetime.now(datetime.UTC).replace(tzinfo=None)
    return now.isoformat(timespec="milliseconds")
