"""NIRISS SOSS: pixels of a segment in a scratch file while its summary is made.

A summary takes each pixel through all integrations. Tiles of a file can be led through stages
that look at one pixel at a time; where pixels depend on their neighbours, or are the arrays of a
user, they are made integration by integration, kept in a scratch file, and read from there in
tiles. Memory does not grow with the number of integrations.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tso3dask.errors import RunError
from tso3dask.graph.chunking import chunk_bounds
from tso3dask.graph.program import Program, Source
from tso3dask.graph.soss_fill import summary_prologue
from tso3dask.io.crfints import CrfintsSink
from tso3dask.io.pixels import ArraySpec

__all__ = ["STORED", "program_summary", "stored_summary"]

STORED = ("sci", "err", "dq")
"""Cubes that a summary is made of."""


def program_summary(
    program: Program,
    constants: Mapping[str, Any],
    path: str,
    chunks: Sequence[int],
    sub_block: int,
) -> tuple[dict[Any, Any], Any]:
    """Tasks that summarise the pixels of a program, whatever its stages are.

    Parameters
    ----------
    program : Program
        Stages before gaps are filled.
    constants : mapping
        Keys of what they need.
    path : str
        Scratch file, removed when the summary is known.
    chunks : sequence of int
        Lengths along ``integration``.
    sub_block : int
        Integrations that a task holds at a time.

    Returns
    -------
    tasks : dict
        Tasks by key.
    key : str
        Key of the summary.
    """
    given = [[name, where] for name, where in constants.items()]
    rows = [(store_rows, program, sub_block, given)] * len(chunks)
    return stored_summary(rows, program.source.shape, path, chunks, program.token)


def stored_summary(
    rows: Sequence[tuple[Any, ...]],
    shape: tuple[int, ...],
    path: str,
    chunks: Sequence[int],
    token: str,
) -> tuple[dict[Any, Any], Any]:
    """Tasks that summarise pixels through a scratch file.

    Parameters
    ----------
    rows : sequence of tuple
        For each chunk a function and its arguments, that puts the pixels of the integrations
        ``a:b`` to a writer; these three come after the arguments.
    shape : tuple of int
        Shape of the cubes.
    path : str
        Scratch file.
    chunks : sequence of int
        Lengths along ``integration``.
    token : str
        Content name.
    """
    sink = _scratch(path, shape)
    begun = f"soss-store-{token}"
    tasks: dict[Any, Any] = {begun: (_begin, sink)}
    stored = [(f"soss-stored-{token}", i) for i in range(len(chunks))]
    for key, bounds, task in zip(stored, chunk_bounds(chunks), rows, strict=True):
        tasks[key] = (*task, sink, *bounds, begun)
    source = Source(path, token, sink.arrays)
    more, summary = summary_prologue(Program(source), {}, after=stored)
    end = f"soss-kept-summary-{token}"
    return {**tasks, **more, end: (_end, sink, summary)}, end


def _scratch(path: str, shape: tuple[int, ...]) -> CrfintsSink:
    """Writer of a file of bare cubes."""
    specs: list[ArraySpec] = []
    offset = 0
    for name in STORED:
        kind, bzero = (">i4", 2**31) if name == "dq" else (">f4", 0)
        specs.append(ArraySpec(name, path, offset, kind, bzero, tuple(shape)))
        offset += specs[-1].nbytes
    return CrfintsSink(path, offset, tuple(specs))


def _begin(sink: CrfintsSink) -> None:
    """Task: make room for the pixels."""
    try:
        Path(sink.path).parent.mkdir(parents=True, exist_ok=True)
        with open(sink.path, "wb") as stream:
            os.ftruncate(stream.fileno(), sink.size)
    except OSError as error:
        raise RunError(f"{sink.path}: cannot be written ({error.strerror})") from error


def _end(sink: CrfintsSink, summary: Any) -> Any:
    """Task: remove the pixels, and give the summary."""
    sink.abort()
    return summary


def store_rows(
    program: Program,
    sub_block: int,
    constants: list[tuple[str, Any]],
    sink: CrfintsSink,
    a: int,
    b: int,
    begun: Any,
) -> None:
    """Task: keep the rows of a program."""
    for first, last, block in program.stream(a, b, sub_block, constants=dict(constants)):
        sink.put(first, last, {name: block.rows(name, first, last) for name in STORED})


def store_arrays(
    pieces: list[tuple[str, np.ndarray]], sink: CrfintsSink, a: int, b: int, begun: Any
) -> None:
    """Task: keep a chunk of arrays."""
    sink.put(a, b, {name: np.ascontiguousarray(values) for name, values in pieces})
