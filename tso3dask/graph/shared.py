"""What the tasks of one segment share, in memory once for the threads of a process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition
from typing import Any

from tso3dask.io.journal import load_object

__all__ = ["drop_shared", "shared_object"]


class _Shared:
    """The object of the file that was used last, and how many use it."""

    def __init__(self) -> None:
        self.changed = Condition()
        self.path, self.users = "", 0
        self.value: Any = None


_SHARED = _Shared()


@contextmanager
def shared_object(path: str) -> Iterator[Any]:
    """Yield what `Journal.keep` put into a file, read once for all threads.

    Who asks for another file waits until those who use this one are done with it, so that there
    are never two of these objects in a process. A thread must not ask for a second one.
    """
    held = _SHARED
    with held.changed:
        held.changed.wait_for(lambda: held.path == path or not held.users)
        if held.path != path or held.value is None:
            held.path, held.value = path, None  # before the next is read
            held.value = load_object(path)
        value = held.value
        held.users += 1
    try:
        yield value
    finally:
        with held.changed:
            held.users -= 1
            held.changed.notify_all()


def drop_shared() -> None:
    """Forget what was read last, if nobody uses it."""
    with _SHARED.changed:
        if not _SHARED.users:
            _SHARED.path, _SHARED.value = "", None
