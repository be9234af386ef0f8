"""Graphs of the members of an observation: passes over chunks, and what lies between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tso3dask.graph.chunking import chunk_bounds
from tso3dask.graph.extraction import SpectrumJob, extract_pass, first_correction
from tso3dask.graph.imaging import (
    ImagingJob,
    centre_pass,
    flag_pass,
    join_centres,
    measure_pass,
    smooth_centres,
    whole_pass,
)
from tso3dask.graph.soss_tasks import SossJob, extract_orders
from tso3dask.graph.stages import median_prologue
from tso3dask.io.journal import ChunkResult, Journal

__all__ = [
    "MemberGraph",
    "gather",
    "imaging_graph",
    "kept",
    "orders_graph",
    "spectrum_graph",
    "spectrum_prologue",
]


@dataclass
class MemberGraph:
    """Tasks of one member.

    Attributes
    ----------
    tasks : dict
        Tasks and constants by key.
    passes : dict of str to list
        Keys of each pass, in order of integration.
    """

    tasks: dict[Any, Any] = field(default_factory=dict)
    passes: dict[str, list[Any]] = field(default_factory=dict)

    def add(
        self,
        name: str,
        label: str,
        function: Any,
        bounds: Sequence[tuple[int, int]],
        arguments: Sequence[Sequence[Any]],
        journal: Journal | None,
        job: Any,
    ) -> list[Any]:
        """Add one task per chunk, or its journaled result."""
        keys = []
        for i, ((a, b), more) in enumerate(zip(bounds, arguments, strict=True)):
            key = (f"{name}-{label}", i)
            task: Any = (function, job, a, b, *more)
            if journal is not None:
                entry = f"{name}-{label}-{a:07d}-{b:07d}"
                stored = journal.load(entry)
                task = stored if stored is not None else (kept, journal, entry, task)
            self.tasks[key] = task
            keys.append(key)
        self.passes[name] = keys
        return keys


def kept(journal: Journal, entry: str, result: ChunkResult) -> ChunkResult:
    """Task: put a result to the journal."""
    return journal.save(entry, result)


def gather(results: list[ChunkResult], take: bool = False) -> ChunkResult:
    """Task: rows of all chunks of a member, in order of integration.

    Parameters
    ----------
    results : list of ChunkResult
        In any order.
    take : bool
        Take the rows out of the results, which are empty afterwards, so that not all rows are in
        memory twice. Only for results that nobody needs any more.
    """
    ordered = sorted(results, key=lambda r: r.a)
    position = 0
    for result in ordered:
        if result.a != position:
            raise AssertionError(f"integrations {position}:{result.a} are missing")
        position = result.b
    rows = {name: _joined(ordered, name, take) for name in [*ordered[0].rows]}
    return ChunkResult(ordered[0].member, 0, position, rows)


def _joined(ordered: list[ChunkResult], name: str, take: bool) -> np.ndarray:
    """Rows of one name."""
    pieces = [r.rows.pop(name) if take else r.rows[name] for r in ordered]
    if len(pieces) == 1:
        return pieces[0]
    if not take or pieces[0].dtype.kind not in "fiub":
        return np.concatenate(pieces)
    length = sum(map(len, pieces))
    whole = np.empty((length, *pieces[0].shape[1:]), np.result_type(*{p.dtype for p in pieces}))
    end = length
    while pieces:  # memory of a piece is free as soon as it has its place
        piece = pieces.pop()
        whole[end - len(piece) : end] = piece
        end -= len(piece)
    return whole


Pieces = Sequence[Sequence[Any]]
"""For each chunk the name and key of each cube, where tasks are given their arrays."""


def _start(
    job: Any, label: str, count: int, pieces: Pieces | None
) -> tuple[MemberGraph, Any, list[list[Any]]]:
    """Graph with the job itself and its prologue, and each chunk's constants, name and key."""
    graph = MemberGraph()
    key = f"job-{label}"
    graph.tasks[key] = job
    if job.program is None:
        return graph, key, [list(piece) for piece in pieces or ()]
    prologue, constants = median_prologue(job.program)
    graph.tasks.update(prologue)
    return graph, key, [[[name, where] for name, where in constants.items()]] * count


def imaging_graph(
    job: ImagingJob,
    chunks: Sequence[int],
    label: str,
    journal: Journal | None = None,
    pieces: Pieces | None = None,
) -> MemberGraph:
    """Tasks of an imaging member: flag, centre, measure.

    Parameters
    ----------
    job : ImagingJob
        The member.
    chunks : sequence of int
        Lengths along ``integration``.
    label : str
        Ending of all keys: member and content name.
    journal : Journal, optional
        Results that need no computing any more, and where new ones go.
    pieces : sequence, optional
        Cubes of each chunk, for a job without a program.

    Returns
    -------
    MemberGraph
        Passes ``flag`` and, with photometry, ``centre`` (where the source is looked for) and
        ``measure``; the last alone where places are known beforehand.
    """
    bounds = chunk_bounds(chunks)
    graph, key, constants = _start(job, label, len(bounds), pieces)
    plain = [(values,) for values in constants]
    if job.setup is not None and job.setup.places is not None:
        graph.add("measure", label, whole_pass, bounds, plain, journal, key)
        return graph
    flagged = graph.add("flag", label, flag_pass, bounds, plain, journal, key)
    if job.setup is None:
        return graph
    centre: Any = None
    found: list[Any] = [None] * len(bounds)
    if job.setup.centroid:
        start = f"start-{label}"
        graph.tasks[start] = (join_centres, flagged, "x", "y")
        arguments = [(values, start) for values in constants]
        centred = graph.add("centre", label, centre_pass, bounds, arguments, journal, key)
        centre = f"position-{label}"
        graph.tasks[centre] = (join_centres, centred, "centroid_x", "centroid_y")
        if job.setup.smooth:
            smooth = f"smooth-{label}"
            graph.tasks[smooth] = (smooth_centres, centred, job.setup.smooth)
            found = [smooth] * len(bounds)
        elif job.setup.moving:
            found = centred
    elif job.written is not job:  # rows are read back from the file: after they have been put there
        found = flagged
    each = [(values, centre, keys) for values, keys in zip(constants, found, strict=True)]
    graph.add("measure", label, measure_pass, bounds, each, journal, key)
    return graph


def spectrum_prologue(
    job: SpectrumJob, label: str, count: int, pieces: Pieces | None = None
) -> tuple[MemberGraph, Any, list[list[Any]], Any]:
    """Start of a spectroscopic member.

    Returns
    -------
    graph : MemberGraph
        With the job and the prologue.
    key : object
        Key of the job.
    constants : list
        Constants of each chunk.
    factor : object
        Key of the aperture correction that the first integration settles, or None.
    """
    graph, key, constants = _start(job, label, count, pieces)
    factor = None
    setup = job.setup
    if setup is not None and setup.shares_factor:
        factor = f"apcorr-{label}"
        graph.tasks[factor] = (first_correction, key, constants[0])
    return graph, key, constants, factor


def spectrum_graph(
    job: SpectrumJob, chunks: Sequence[int], label: str, journal: Journal | None = None
) -> MemberGraph:
    """Tasks of a spectroscopic member: one fused task per chunk, pass ``extract``."""
    bounds = chunk_bounds(chunks)
    graph, key, constants, factor = spectrum_prologue(job, label, len(bounds))
    arguments = [(values, factor) for values in constants]
    graph.add("extract", label, extract_pass, bounds, arguments, journal, key)
    return graph


def orders_graph(
    job: SossJob, chunks: Sequence[int], label: str, journal: Journal | None = None
) -> MemberGraph:
    """Tasks of a SOSS member, of which the model is made: pass ``extract``."""
    graph = MemberGraph()
    bounds = chunk_bounds(chunks)
    key = f"job-{label}"
    graph.tasks[key] = job
    graph.add("extract", label, extract_orders, bounds, [()] * len(bounds), journal, key)
    return graph
