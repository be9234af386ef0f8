"""How many integrations a task takes, how many it holds at a time, and how many workers run.

The range of a task (scheduling) and the sub-block that it holds (memory) are separate: a task
streams through its range a few integrations at a time. Memory wins over chunk size.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from tso3dask.errors import InputError
from tso3dask.values import whole_number

__all__ = ["Budget", "chunk_bounds", "chunk_sizes", "make_budget", "parse_bytes"]

DEFAULT_LIMIT = 10**9
"""Default memory limit of a run, bytes."""

HELD_SHARE = 0.1
"""Share of the default limit that numbers of each integration may take before it is raised."""

BASE_MEMORY = 400 * 10**6
"""Bytes of a process after imports and compilation, figure included."""

TASK_BYTES = 256 * 10**6
"""Stored bytes that a task streams through by default."""

SUB_BLOCK_BYTES = 24 * 10**6
"""Stored bytes of a sub-block by default, as far as `SUB_BLOCK_ROWS` allow."""

NARROW_WINDOW = 3
"""Width of the narrowest rolling median that is advised."""

SUB_BLOCK_ROWS = (8, 1024)
"""Fewest and most integrations of a sub-block by default: each costs a fixed time, and the window
is gone through again for each."""

MAXIMUM_CHUNKS = 1000
"""Chunks that a run is cut into at most, by default."""

_UNITS = {"": 1, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12}


@dataclass(frozen=True)
class Budget:
    """Memory plan of a run.

    Attributes
    ----------
    limit : int
        Bytes allowed for the process tree.
    workers : int
        Tasks that run at a time.
    sub_block : int
        Integrations that a task holds at a time.
    per_task : int
        Projected bytes of a running task.
    projected : int
        Projected peak of the whole run, bytes.
    """

    limit: int
    workers: int
    sub_block: int
    per_task: int
    projected: int


def parse_bytes(text: str | int | float | None) -> int:
    """Turn ``"8GiB"``, ``"800 MB"`` or a number of bytes into an integer.

    Raises
    ------
    InputError
        If the text is not a size.
    """
    if text is None:
        return DEFAULT_LIMIT
    if isinstance(text, int | float) and math.isfinite(text):
        return int(text)
    plain = str(text).strip().lower().removesuffix("b")
    base = plain.removesuffix("i")
    unit = base[-1:] if base[-1:].isalpha() else ""
    try:
        number = float(base.removesuffix(unit))
        factor = _UNITS[unit]
    except (KeyError, ValueError):
        raise InputError(
            f"memory limit {text!r} is not a size; give a number of bytes, or 800MB, 8GiB ..."
        ) from None
    if plain.endswith("i"):
        factor = 1024.0 ** ("kmgt".index(unit) + 1) if unit else 1.0
    return int(number * factor)


def task_memory(
    plane: int,
    stored: int,
    window: int,
    sub_block: int,
    constants: int,
    most: int | None = None,
    kept: int = 0,
) -> int:
    """Projected bytes of one running task.

    Parameters
    ----------
    plane : int
        Bytes of SCI and DQ of one integration.
    stored : int
        Bytes of all cubes of one integration.
    window : int
        Rows of SCI and DQ that the median keeps at hand.
    sub_block : int
        Integrations held at a time.
    constants : int
        Bytes of what is shared by all integrations of a segment.
    most : int, optional
        Integrations whose cubes are held at most, where a sub-block is gathered of fewer at a time.
    kept : int
        Bytes that are gathered of an integration.
    """
    rows = sub_block if most is None else min(sub_block, most)
    ring = (window + 2 * rows) * plane
    return ring + rows * (stored + plane) + sub_block * kept + constants


def make_budget(
    *,
    plane: int,
    stored: int,
    window: int,
    constants: int = 0,
    most: int | None = None,
    kept: int = 0,
    shared: int = 0,
    before: int = 0,
    held: int = 0,
    fewest: int = 1,
    default_limit: int = DEFAULT_LIMIT,
    alternatives: Mapping[str, Mapping[str, int]] | None = None,
    memory_limit: str | int | None = None,
    workers: int | None = None,
    separate_processes: bool = False,
) -> Budget:
    """Choose sub-block and workers for a memory limit.

    Parameters
    ----------
    plane, stored, window, constants, most, kept : int
        As for `task_memory`, for the largest segment.
    shared : int
        Bytes that the tasks of a process share.
    before : int
        Bytes that are needed before there are such tasks.
    held : int
        Bytes that grow with the number of integrations, in the process that the tables are made
        in. Sub-blocks do not change them: where no limit is given and they are more than
        `HELD_SHARE` of the default one, it is raised by what is beyond.
    fewest : int
        Sub-block that fewer workers are better than a smaller one.
    default_limit : int
        Limit where none is given.
    alternatives : mapping, optional
        What a user may do about a limit that is too small, and the arguments `window`,
        `constants`, `shared` and `before` that would be other ones then; told where it is enough.
    memory_limit : str or int, optional
        Limit for the process tree.
    workers : int, optional
        Tasks at a time; the number of cores by default.
    separate_processes : bool
        Count the base memory once for each worker.

    Returns
    -------
    Budget

    Raises
    ------
    InputError
        If even one worker with one integration at a time needs more than the limit.
    """
    beyond = max(0, held - int(HELD_SHARE * default_limit))
    limit = default_limit + beyond if memory_limit is None else parse_bytes(memory_limit)
    wanted = _cores() if workers is None else whole_number("workers", workers)
    least, largest = SUB_BLOCK_ROWS
    sub_block = min(max(least, SUB_BLOCK_BYTES // max(1, stored)), largest)
    while True:
        per_task = task_memory(plane, stored, window, sub_block, constants, most, kept)
        for count in range(wanted, 0, -1):
            projected = held + _run_memory(count, per_task, shared, before, separate_processes)
            if projected <= limit and (count == wanted or sub_block <= fewest):
                return Budget(limit, count, sub_block, per_task, projected)
        if sub_block == 1:
            break
        sub_block //= 2
    if memory_limit is None:
        return Budget(limit, 1, 1, per_task, projected)
    ways = ["raise the limit"]
    narrow = {"lower rolling_window_width": {"window": min(window, NARROW_WINDOW)}}
    for way, changed in {**narrow, **(alternatives or {})}.items():
        usual = {"window": window, "constants": constants, "shared": shared, "before": before}
        other = usual | {**changed}
        task = task_memory(plane, stored, other["window"], 1, other["constants"], most, kept)
        least = _run_memory(1, task, other["shared"], other["before"], separate_processes)
        if held + least <= limit:
            ways.append(way)
    raise InputError(
        f"memory limit {limit / 1e6:.3g} MB is too small: one worker with one integration at a "
        f"time needs {projected / 1e6:.0f} MB; {' or '.join(ways)}"
    )


def _run_memory(workers: int, per_task: int, shared: int, before: int, apart: bool) -> int:
    """Projected bytes of a run with so many tasks at a time, `apart` in processes of their own."""
    running = (workers if apart else 1) * shared + workers * per_task
    return BASE_MEMORY * (workers + 1 if apart else 1) + max(running, before)


def chunk_sizes(
    nints: int, stored: int, window: int, *, total: int, requested: int | None = None
) -> tuple[int, ...]:
    """Cut a segment into chunks along the integration axis.

    Parameters
    ----------
    nints : int
        Integrations in the segment.
    stored : int
        Bytes of one integration.
    window : int
        Width of the rolling median: chunks shorter than a few windows read mostly halo.
    total : int
        Integrations in the whole observation.
    requested : int, optional
        Chunk length asked for.

    Returns
    -------
    tuple of int
        Chunk lengths, as equal as they can be.
    """
    if requested is not None:
        size = whole_number("chunk_integrations", requested)
    else:
        size = max(TASK_BYTES // max(1, stored), 4 * window, -(-total // MAXIMUM_CHUNKS), 1)
        halves = -(-nints // 2)
        if nints > 2 * window and size > halves:
            size = halves
    size = min(size, nints)
    if requested is not None:
        whole, rest = divmod(nints, size)
        return (size,) * whole + ((rest,) if rest else ())
    count = -(-nints // size)
    base, extra = divmod(nints, count)
    return (base + 1,) * extra + (base,) * (count - extra)


def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


def chunk_bounds(chunks: Sequence[int]) -> list[tuple[int, int]]:
    """Start and stop of each chunk along one axis."""
    edges = [0, *accumulate(int(size) for size in chunks)]
    return list(pairwise(edges))
