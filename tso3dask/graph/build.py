"""Graphs of the members of an observation: passes over chunks, and what lies between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tso3dask.graph.arrays import chunk_bounds
from tso3dask.graph.execute import ChunkResult, Journal
from tso3dask.graph.imaging import (
    ImagingJob,
    centre_pass,
    flag_pass,
    join_centres,
    measure_pass,
)
from tso3dask.graph.spectra import SpectrumJob, extract_pass, first_correction
from tso3dask.graph.stages import median_prologue

__all__ = ["MemberGraph", "gather", "imaging_graph", "spectrum_graph", "spectrum_prologue"]


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
                task = stored if stored is not None else (_kept, journal, entry, task)
            self.tasks[key] = task
            keys.append(key)
        self.passes[name] = keys
        return keys


def _kept(journal: Journal, entry: str, result: ChunkResult) -> ChunkResult:
    return journal.save(entry, result)


def gather(results: list[ChunkResult]) -> ChunkResult:
    """Task: rows of all chunks of a member, in order of integration."""
    ordered = sorted(results, key=lambda r: r.a)
    position = 0
    for result in ordered:
        if result.a != position:
            raise AssertionError(f"integrations {position}:{result.a} are missing")
        position = result.b
    names = ordered[0].rows
    rows = {name: np.concatenate([r.rows[name] for r in ordered]) for name in names}
    return ChunkResult(ordered[0].member, 0, position, rows)


def _start(job: Any, label: str) -> tuple[MemberGraph, Any, list[Any]]:
    """Graph with the job itself and its prologue, and the constants' names and keys."""
    graph = MemberGraph()
    key = f"job-{label}"
    graph.tasks[key] = job
    prologue, constants = median_prologue(job.program)
    graph.tasks.update(prologue)
    return graph, key, [[name, where] for name, where in constants.items()]


def imaging_graph(
    job: ImagingJob, chunks: Sequence[int], label: str, journal: Journal | None = None
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

    Returns
    -------
    MemberGraph
        Passes ``flag`` and, with photometry, ``centre`` (where the source is looked for) and
        ``measure``.
    """
    graph, key, constants = _start(job, label)
    bounds = chunk_bounds(chunks)
    plain = [(constants,)] * len(bounds)
    flagged = graph.add("flag", label, flag_pass, bounds, plain, journal, key)
    if job.setup is None:
        return graph
    centre: Any = None
    found: list[Any] = [None] * len(bounds)
    if job.setup.centroid:
        start = f"start-{label}"
        graph.tasks[start] = (join_centres, flagged, "x", "y")
        centred = graph.add(
            "centre", label, centre_pass, bounds, [(constants, start)] * len(bounds), journal, key
        )
        centre = f"position-{label}"
        graph.tasks[centre] = (join_centres, centred, "centroid_x", "centroid_y")
        if job.setup.moving:
            found = centred
    graph.add(
        "measure",
        label,
        measure_pass,
        bounds,
        [(constants, centre, keys) for keys in found],
        journal,
        key,
    )
    return graph


def spectrum_prologue(job: SpectrumJob, label: str) -> tuple[MemberGraph, Any, list[Any], Any]:
    """Start of a spectroscopic member: job key, constants, and key of a settled correction."""
    graph, key, constants = _start(job, label)
    factor = None
    setup = job.setup
    if setup is not None and setup.correction is not None:
        if setup.correction.needs_first_integration:
            factor = f"apcorr-{label}"
            graph.tasks[factor] = (first_correction, key, constants)
    return graph, key, constants, factor


def spectrum_graph(
    job: SpectrumJob, chunks: Sequence[int], label: str, journal: Journal | None = None
) -> MemberGraph:
    """Tasks of a spectroscopic member: one fused task per chunk, pass ``extract``."""
    graph, key, constants, factor = spectrum_prologue(job, label)
    bounds = chunk_bounds(chunks)
    arguments = [(constants, factor)] * len(bounds)
    graph.add("extract", label, extract_pass, bounds, arguments, journal, key)
    return graph
