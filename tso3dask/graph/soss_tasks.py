"""NIRISS SOSS: the tasks of a member.

Tiles through all time make the summary of a segment; then each chunk is one fused task that flags,
writes crfints, fills gaps, extracts all orders, writes x1dints, and returns one flux per
integration and order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tso3dask.graph.build import MemberGraph
from tso3dask.graph.chunking import chunk_bounds
from tso3dask.graph.execute import task_errors
from tso3dask.graph.files import Output
from tso3dask.graph.job import Job
from tso3dask.graph.soss import SossSetup
from tso3dask.graph.soss_fill import FillInTime, summary_prologue
from tso3dask.graph.stages import median_prologue
from tso3dask.io.journal import ChunkResult, Journal

__all__ = ["SossJob", "soss_graph", "soss_pass", "soss_prologue"]


@dataclass(frozen=True, eq=False)
class SossJob(Job):
    """One SOSS member, as tasks see it.

    Attributes
    ----------
    setup : SossSetup
        Orders and boxes.
    tables : tuple of Output
        Where the rows of each order go, in the order of the setup; empty if nowhere.
    """

    setup: SossSetup = None  # type: ignore[assignment]
    tables: tuple[Output, ...] = ()

    def filled(self) -> SossJob:
        """Give the same job with gaps filled at the end of the program."""
        assert self.program is not None
        filling = FillInTime(self.program.source.nints)
        return replace(self, program=self.program.then(filling))


def soss_pass(job: SossJob, a: int, b: int, constants: Sequence[Any]) -> ChunkResult:
    """Task: flag, write crfints, extract, write x1dints; give back fluxes by order."""
    from tso3dask.ops.whitelight import white_light_sums

    setup = job.setup
    rows: dict[str, np.ndarray] = {"n_outliers": np.zeros(b - a, np.int64)}
    rows |= {f"white_{item.order}": np.full(b - a, np.nan) for item in setup.orders}
    with task_errors(job.path, a, b):
        for first, last, block in job.filled().blocks(a, b, constants, write=True):
            here = slice(first - a, last - a)
            if "n_outliers" in block.counts:
                rows["n_outliers"][here] = block.counts["n_outliers"]
            columns = setup.columns(block.arrays)
            for table, item in enumerate(setup.orders):
                if job.tables:
                    job.tables[table].put(first, last, columns[item.order])
                rows[f"white_{item.order}"][here] = white_light_sums(
                    columns[item.order]["FLUX"], item.wavelength, *item.white_range
                )
    return ChunkResult(job.member, a, b, rows)


def soss_prologue(job: SossJob, label: str) -> tuple[MemberGraph, Any, list[list[Any]]]:
    """Start of a SOSS member.

    Returns
    -------
    graph : MemberGraph
        With the job, the median image where one is needed, and the summary.
    key : object
        Key of the job.
    constants : list
        Name and key of each constant that chunks need.
    """
    assert job.program is not None
    graph = MemberGraph()
    key = f"job-{label}"
    medians, constants = median_prologue(job.program)
    tiles, summary = summary_prologue(job.program, constants)
    graph.tasks = {key: job, **medians, **tiles}
    values = {**constants, "summary": summary}
    return graph, key, [[name, where] for name, where in values.items()]


def soss_graph(
    job: SossJob, chunks: Sequence[int], label: str, journal: Journal | None = None
) -> MemberGraph:
    """Tasks of a SOSS member: its summary, then one task per chunk, pass ``extract``."""
    bounds = chunk_bounds(chunks)
    graph, key, constants = soss_prologue(job, label)
    graph.add("extract", label, soss_pass, bounds, [(constants,)] * len(bounds), journal, key)
    return graph
