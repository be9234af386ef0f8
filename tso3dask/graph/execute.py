"""The one place where graphs are computed: schedulers, progress, failures."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import dask
import dask.multiprocessing
import dask.threaded

from tso3dask.errors import InputError, RunError, Tso3Error
from tso3dask.io.journal import ChunkResult
from tso3dask.wording import numbered

__all__ = ["Progress", "check_script", "compute", "connected", "task_errors"]

Progress = Callable[[int, int, str], None]
"""Called with integrations done, integrations in all, and the phase."""

_LOCAL = ("threads", "processes", "synchronous")


_GUARD = 'if __name__ == "__main__":'


def check_script(scheduler: Any = None) -> None:
    """Refuse processes where each of them would run the user's whole script again.

    A new process imports the script that started it. Python ends it as soon as it tries to start
    processes of its own, and all that the other side knows is that it is gone.

    Parameters
    ----------
    scheduler : str or Client, optional
        As for `compute`, but no address.

    Raises
    ------
    InputError
        If the script does not tell the first process from the others, or if this is such a
        process.
    """
    if _client_of(scheduler) is not None or _local_get(scheduler) is not dask.multiprocessing.get:
        return
    if getattr(multiprocessing.current_process(), "_inheriting", False):  # still importing it
        script: str | None = sys.argv[0]
    else:
        script = _unguarded_script()
    if script is not None:
        raise InputError(
            f"{script}: each worker process would run this script again; put what it does under "
            f"'{_GUARD}', or use threads"
        )


def _unguarded_script() -> str | None:
    """Script that new processes cannot import without running all of it.

    None for what comes with ``-m`` or ``-c``, which they do not import.
    """
    main = sys.modules["__main__"]
    path = getattr(main, "__file__", None)
    if path is None or getattr(main, "__spec__", None) is not None:
        return None
    if dask.config.get("multiprocessing.context", "spawn") == "fork":
        return None
    try:
        text = Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    guards = ("__name__", "parent_process", "current_process")
    return None if any(word in text for word in guards) else str(path)


@contextmanager
def task_errors(path: str, a: int, b: int) -> Any:
    """Name the file and the integrations in the error of a task."""
    try:
        yield
    except Tso3Error:
        raise
    except Exception as error:
        raise RunError(
            f"{path}: {numbered(a + 1, b)} of the segment failed: {type(error).__name__}: {error}"
        ) from error


@contextmanager
def connected(scheduler: Any) -> Any:
    """Yield a Client where ``scheduler`` is an address, else ``scheduler`` itself.

    Raises
    ------
    InputError
        If it is no address, or nobody is there.
    """
    if scheduler is None or scheduler in _LOCAL or hasattr(scheduler, "get"):
        yield scheduler
        return
    if not isinstance(scheduler, str) or ":" not in scheduler:
        raise InputError(
            f"scheduler {scheduler!r} is not known; expected threads, processes, synchronous or "
            "the address of a running dask scheduler, as tcp://host:8786"
        )
    try:
        from distributed import Client
    except ImportError:
        raise InputError(
            f"scheduler {scheduler!r} needs dask.distributed; install tso3dask[cluster], or use "
            "threads, processes or synchronous"
        ) from None
    try:
        client = Client(scheduler, timeout="20s", set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        raise InputError(
            f"scheduler {scheduler!r} cannot be reached ({error}); expected threads, processes, "
            "synchronous or the address of a running dask scheduler"
        ) from None
    with client:
        yield client


def _client_of(scheduler: Any) -> Any:
    """Return the distributed client that is given or current, if any; imports nothing."""
    if scheduler is not None:
        return None if isinstance(scheduler, str) else scheduler
    if "distributed" not in sys.modules:
        return None
    from distributed import default_client

    try:
        return default_client()
    except ValueError:
        return None


def compute(
    graph: Mapping[Any, Any],
    keys: Iterable[Any],
    *,
    scheduler: Any = None,
    workers: int | None = None,
    done: Callable[[ChunkResult], None] | None = None,
) -> list[Any]:
    """Compute keys of a graph with the scheduler asked for, or the active one.

    Parameters
    ----------
    graph : mapping
        Tasks by key.
    keys : iterable
        Keys wanted.
    scheduler : str or Client, optional
        ``threads``, ``processes``, ``synchronous``, the address of a distributed scheduler or a
        Client; by default the current distributed Client, then dask's configuration, then threads.
    workers : int, optional
        Tasks at a time, for local schedulers.
    done : callable, optional
        Called in this process with each `ChunkResult` as it arrives.

    Returns
    -------
    list
        Results in the order of ``keys``.

    Raises
    ------
    RunError
        If a worker was lost for good; errors of tasks as they are.
    """
    wanted = list(keys)
    if not wanted:
        return []
    with connected(scheduler) as place:
        client = _client_of(place)
        if client is not None:
            return _on_cluster(client, graph, wanted, done)
    check_script(scheduler)
    get = _local_get(scheduler)
    options: dict[str, Any] = {} if get is dask.local.get_sync else {"num_workers": workers}
    if get is dask.multiprocessing.get and dask.config.get("pool", None) is None:
        more = dask.config.get("multiprocessing.initializer", None)
        options["initializer"] = partial(end_with_parent, more)
    try:
        with _Listener(done):
            return list(get(dict(graph), wanted, **options))
    except (BrokenExecutor, BrokenPipeError, EOFError) as error:
        raise RunError(f"a worker process was lost ({error}); run again with --resume") from error
    except OSError as error:
        raise RunError(f"{error}; run again with --resume when that is mended") from error


def end_with_parent(more: Callable[[], None] | None = None) -> None:
    """Start of a worker process: it ends when the process that started it does.

    Workers of a process that was killed would otherwise wait for tasks for ever.

    Parameters
    ----------
    more : callable, optional
        Called too, without arguments.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:

        def follow() -> None:
            parent.join()
            os._exit(1)

        threading.Thread(target=follow, name="parent", daemon=True).start()
    if more is not None:
        more()


def _local_get(scheduler: Any) -> Callable[..., Any]:
    """Return the function of a scheduler in this process.

    dask's own search for it imports distributed where that is installed, 0.3 s that a run on
    threads has no use for; a Client that is active has been found before.
    """
    if (scheduler or dask.config.get("scheduler", None)) in (None, "threads"):
        return dask.threaded.get
    return dask.base.get_scheduler(scheduler=scheduler) or dask.threaded.get


class _Listener(dask.callbacks.Callback):
    """Hand results of finished tasks on as they arrive."""

    def __init__(self, done: Callable[[ChunkResult], None] | None) -> None:
        self._done = done
        super().__init__(posttask=self._post)

    def _post(self, key: Any, result: Any, dsk: Any, state: Any, worker: Any) -> None:
        if self._done is not None and isinstance(result, ChunkResult):
            self._done(result)


def _on_cluster(
    client: Any, graph: Mapping[Any, Any], wanted: list[Any], done: Callable | None
) -> list[Any]:
    from asyncio import CancelledError
    from concurrent.futures import CancelledError as FutureCancelledError

    from distributed import KilledWorker, as_completed

    futures = client.get(dict(graph), wanted, sync=False)
    try:
        if done is not None:
            for _, result in as_completed(list(futures), loop=client.loop, with_results=True):
                if isinstance(result, ChunkResult):
                    done(result)
        return list(client.gather(futures))
    except KilledWorker as error:
        raise RunError(
            f"the cluster lost a worker repeatedly ({error}); run again with --resume"
        ) from error
    except (OSError, CancelledError, FutureCancelledError) as error:
        raise RunError(f"{error or 'the cluster is gone'}; run again with --resume") from error
    finally:
        for future in futures:
            future.release()
