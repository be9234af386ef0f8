"""Writing beside the final place under a hidden name, and renaming when the file is whole."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tso3dask.errors import InputError, RunError

__all__ = [
    "UnfinishedFile",
    "atomic_path",
    "check_space",
    "commit",
    "discard",
    "laid_out",
    "new_run_id",
    "opened",
    "part_path",
    "reserve",
    "stale_parts",
    "whole_part",
    "write_text",
]

_SUFFIX = ".part"


def new_run_id() -> str:
    """Return a short random name for one run, used in the names of its unfinished files."""
    return secrets.token_hex(4)


def part_path(final: str | os.PathLike[str], run_id: str) -> Path:
    """Return the hidden name, in the folder of `final`, of a product that is being written.

    Parameters
    ----------
    final : path
        Where the product will be.
    run_id : str
        Name of the run; runs with different names never share an unfinished file.
    """
    final = Path(final)
    return final.with_name(f".{final.name}.{run_id}{_SUFFIX}")


def stale_parts(final: str | os.PathLike[str]) -> list[Path]:
    """Return unfinished files that runs left beside `final`, oldest name first."""
    final = Path(final)
    if not final.parent.is_dir():
        return []
    head = f".{final.name}."
    return sorted(
        entry
        for entry in final.parent.iterdir()
        if entry.name.startswith(head) and entry.name.endswith(_SUFFIX)
    )


def commit(part: str | os.PathLike[str], final: str | os.PathLike[str]) -> Path:
    """Make `part` durable and give it its final name in one step.

    An older file of that name is replaced. Both names must be in one file system.

    Returns
    -------
    pathlib.Path
        The final place.
    """
    part, final = Path(part), Path(final)
    try:
        with open(part, "rb+") as stream:
            os.fsync(stream.fileno())
        part.replace(final)
    except OSError as error:
        raise RunError(f"{final}: could not finish the product ({error.strerror})") from error
    with contextlib.suppress(OSError):  # some file systems do not open folders
        folder = os.open(final.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    return final


def discard(part: str | os.PathLike[str]) -> None:
    """Remove an unfinished file; one that cannot be removed is no error."""
    with contextlib.suppress(OSError):
        Path(part).unlink()


@contextlib.contextmanager
def laid_out(part: str | os.PathLike[str]) -> Iterator[int]:
    """Open a new unfinished file and yield its descriptor; if the block raises, it is removed.

    Raises
    ------
    RunError
        If it cannot be written.
    """
    try:
        with open(part, "wb") as stream:
            yield stream.fileno()
    except OSError as error:
        discard(part)
        raise RunError(f"{part}: cannot be written ({error.strerror})") from error
    except BaseException:
        discard(part)
        raise


@contextlib.contextmanager
def opened(part: str | os.PathLike[str]) -> Iterator[int]:
    """Open an unfinished file that is laid out and yield its descriptor, to write rows to.

    Raises
    ------
    RunError
        If it cannot be written.
    """
    try:
        descriptor = os.open(part, os.O_WRONLY)
        try:
            yield descriptor
        finally:
            os.close(descriptor)
    except OSError as error:
        raise RunError(f"{part}: cannot be written ({error.strerror})") from error


def reserve(descriptor: int, size: int) -> None:
    """Give an open file its size, and blocks on the disk where the file system can set them aside.

    Rows that tasks write in any order then lie together, and take a third less time to write than
    rows of a sparse file. `os.posix_fallocate` writes all blocks where the file system cannot do
    that; the call of Linux that is used here does nothing there.

    Raises
    ------
    OSError
        If the disk is full.
    """
    os.ftruncate(descriptor, size)
    call = _fallocate()
    if call is not None and size and call(descriptor, 0, 0, size) != 0:
        number = ctypes.get_errno()
        if number in (errno.ENOSPC, errno.EDQUOT):
            raise OSError(number, os.strerror(number))


@cache
def _fallocate() -> Any:
    """Return the function ``fallocate`` of the C library, None where it has none."""
    try:
        call = ctypes.CDLL(None, use_errno=True).fallocate
    except (AttributeError, OSError, TypeError):
        return None
    call.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    return call


def whole_part(part: str | os.PathLike[str], size: int) -> Path:
    """Return the path of an unfinished file that has all its bytes.

    Raises
    ------
    RunError
        If it has not.
    """
    path = Path(part)
    found = path.stat().st_size if path.exists() else 0
    if found != size:
        raise RunError(f"{path}: has {found} bytes, expected {size}; run it again")
    return path


@dataclass(frozen=True, eq=False)
class UnfinishedFile:
    """A file that is laid out in full and still to be filled; its writers are made of this.

    Attributes
    ----------
    path : str
        The unfinished file.
    size : int
        Its size in bytes when whole.
    """

    path: str
    size: int

    def finish(self, final: str | os.PathLike[str]) -> Path:
        """Give the file, now whole, its final name; an older one of that name is replaced."""
        return commit(whole_part(self.path, self.size), final)

    def abort(self) -> None:
        """Remove the unfinished file."""
        discard(self.path)


@contextlib.contextmanager
def atomic_path(final: str | os.PathLike[str], run_id: str | None = None) -> Iterator[Path]:
    """Yield a hidden name to write to; it becomes `final` if the block ends well.

    If the block raises, the unfinished file is removed and `final` is as it was before.

    Raises
    ------
    RunError
        If it cannot be written.
    """
    part = part_path(final, run_id or new_run_id())
    try:
        yield part
        commit(part, final)
    except OSError as error:
        discard(part)
        if error.filename not in (None, part, str(part)):
            raise
        raise RunError(f"{final}: cannot be written ({error.strerror or error})") from error
    except BaseException:
        discard(part)
        raise


def write_text(final: str | os.PathLike[str], text: str, run_id: str | None = None) -> Path:
    """Write `text` as UTF-8 to `final`, which is there whole or not at all."""
    with atomic_path(final, run_id) as part:
        part.write_bytes(text.encode("utf-8"))
    return Path(final)


@contextlib.contextmanager
def sole_writer(path: str | os.PathLike[str]) -> Iterator[None]:
    """Hold a lock file for as long as a run writes; it goes with the process, however that ends.

    Raises
    ------
    InputError
        If another process holds it. Where the file system has no locks, nothing is checked.
    """
    path = Path(path)
    with open(path, "a") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"{path.parent}: another run is writing the same products there; wait for it, or "
                "give another folder"
            ) from None
        except OSError:
            pass
        try:
            yield
        finally:
            with contextlib.suppress(FileNotFoundError):
                path.unlink()


def check_space(folder: str | os.PathLike[str], needed: int, what: str) -> None:
    """Raise `RunError` if `folder` has fewer than `needed` free bytes for `what`."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise RunError(
            f"{what}: needs {needed / 1e9:.2f} GB but {folder} has {free / 1e9:.2f} GB free;"
            " give another output folder"
        )
