"""NIRISS SOSS: the tasks of a member.

What is constant for a segment is made once from its summary: traces, weights, and the model of the
overlapping orders. A task then streams its integrations, flags them, writes their rows of
crfints, fills gaps in time, extracts all orders, writes those to x1dints, and returns one flux per
order and integration.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from dask.tokenize import tokenize

from tso3dask.graph.chunking import BASE_MEMORY
from tso3dask.graph.execute import compute, task_errors
from tso3dask.graph.extraction import DynamicSpectrum
from tso3dask.graph.job import Job
from tso3dask.graph.program import Block, Program
from tso3dask.graph.shared import shared_object
from tso3dask.graph.soss import OrderSetup, PreparedSegment, SossSetup
from tso3dask.graph.soss_fill import FillInTime, filled_stream, pixelwise, summary_prologue
from tso3dask.graph.soss_segment import PreparationError, SegmentExtraction, prepare_extraction
from tso3dask.graph.soss_store import program_summary
from tso3dask.graph.stages import median_prologue
from tso3dask.io.journal import ChunkResult, Journal, load_object
from tso3dask.io.soss_references import write_wave_grid
from tso3dask.ops.curves import LightCurves

if TYPE_CHECKING:
    from tso3dask.graph.outline import Outline

__all__ = [
    "SossJob",
    "extract_orders",
    "in_pieces",
    "keep_extraction",
    "prepared_plan",
    "soss_prologue",
    "taken_extraction",
]

PREPARING_BYTES = 5 * 10**8
"""Memory that preparing the model of a segment takes."""

NOTE_LENGTH = 200
"""Letters of a note on an integration at most."""

AnyOutline = TypeVar("AnyOutline", bound="Outline")


@dataclass(frozen=True, eq=False)
class SossJob(Job):
    """One member of a SOSS observation, as tasks see it.

    Attributes
    ----------
    wavelengths : dict of ndarray
        (dispersion,) by order, micrometre.
    curves : dict of LightCurves
        What is summed of the spectra of each order.
    first_row, bin_rows : int
        As in `tso3dask.graph.extraction.SpectrumJob`.
    prepared : str
        File with the `SegmentExtraction`, for the tasks of a run.
    """

    wavelengths: dict[int, np.ndarray] = field(default_factory=dict)
    curves: dict[int, LightCurves] = field(default_factory=dict)
    first_row: int = 0
    bin_rows: int = 0
    prepared: str = ""

    @classmethod
    def of(
        cls, orders: Sequence[OrderSetup], program: Program | None, **attributes: Any
    ) -> SossJob:
        """Make the job of flagged pixels, whose gaps are filled for the extraction."""
        return cls(
            program=None if program is None else program.then(FillInTime(program.source.nints)),
            wavelengths={item.spectral_order: item.wavelength for item in orders},
            **attributes,
        )

    def blocks(
        self,
        a: int,
        b: int,
        constants: Sequence[Any],
        *,
        write: bool = False,
        names: tuple[str, ...] | None = None,
    ) -> Iterator[tuple[int, int, Block]]:
        """Walk the filled integrations ``a:b`` in sub-blocks."""
        if self.program is None:
            yield from super().blocks(a, b, constants, write=write, names=names)
        else:
            taps = [o for o in self.outputs if o.point is not None] if write else []
            yield from filled_stream(self.program, a, b, self.sub_block, dict(constants), taps)


def keep_extraction(extraction: SegmentExtraction, journal: Journal, name: str) -> PreparedSegment:
    """Task: put what the tasks of a segment share to a file that they read."""
    model = extraction.model
    path = journal.keep(name, extraction)
    if model is None:
        return PreparedSegment(path, None, None, extraction.notes)
    return PreparedSegment(path, model.factors[1], model.grid, extraction.notes, extraction.fitted)


def taken_extraction(path: str) -> SegmentExtraction:
    """Task: what `keep_extraction` put to a file."""
    return load_object(path)


def soss_prologue(
    program: Program,
    setup: SossSetup,
    path: str,
    label: str,
    scratch: tuple[str, Sequence[int], int] | None = None,
) -> tuple[dict[Any, Any], Any]:
    """Tasks that come before those of the chunks.

    Parameters
    ----------
    program : Program
        Flagging of the member's pixels.
    setup : SossSetup
        Its extraction.
    path : str
        File that errors name.
    label : str
        Ending of the key.
    scratch : (str, sequence of int, int), optional
        File for pixels that depend on their neighbours, and how they are made: chunks along
        ``integration``, integrations at a time.

    Returns
    -------
    tasks : dict
        Tasks by key.
    key : str
        Key of the `SegmentExtraction`.
    """
    tasks, constants = median_prologue(program)
    if scratch is None or pixelwise(program):
        more, summary = summary_prologue(program, constants)
    else:
        more, summary = program_summary(program, constants, *scratch)
    tasks |= more
    key = f"soss-{label}"
    given = [[name, where] for name, where in {**constants, "summary": summary}.items()]
    tasks[key] = (prepare_extraction, setup, given, path)
    return tasks, key


def extract_orders(job: SossJob, a: int, b: int) -> ChunkResult:
    """Task: flag, write crfints, fill, extract, write x1dints; give back fluxes and notes."""
    rows: dict[str, np.ndarray] = {"n_outliers": np.zeros(b - a, np.int64)}
    notes = np.zeros(b - a, f"U{NOTE_LENGTH}")
    dynamic = {}
    for order, wavelength in job.wavelengths.items():
        empty = job.curves[order].empty(b - a)
        rows |= {f"{name}_{order}": values for name, values in empty.items()}
        if job.bin_rows:
            dynamic[order] = DynamicSpectrum(wavelength.size, job.first_row, job.bin_rows, a, b)
    with task_errors(job.path, a, b), shared_object(job.prepared) as shared:
        rows_of = job.blocks(a, b, [*shared.constants.items()], write=True)
        for first, last, block in in_pieces(rows_of, shared.most):
            here = slice(first - a, last - a)
            job.keep_counts(rows, block.counts, here, b - a)
            columns, found = shared.spectra(block.arrays)
            job.put_measured(first, last, columns)
            for i, text in found:
                before = str(notes[first - a + i])
                notes[first - a + i] = f"{before}; {text}" if before else text
            for order, curves in job.curves.items():
                own = {name: columns[f"{name}_{order}"] for name in ("FLUX", "FLUX_ERROR")}
                for name, values in curves.measure(own).items():
                    rows[f"{name}_{order}"][here] = values
                if curves.errors:
                    name = f"error_counts_{order}"
                    rows[name] = curves.error_counts(own) + rows.get(name, 0)
                if order in dynamic:
                    dynamic[order].add(first, own["FLUX"])
    rows["note"] = notes
    for order, bins in dynamic.items():
        rows |= {f"{name}_{order}": values for name, values in bins.rows().items()}
    return ChunkResult(job.member, a, b, rows)


def in_pieces(
    blocks: Iterable[tuple[int, int, Block]], most: int | None
) -> Iterator[tuple[int, int, Block]]:
    """Blocks in pieces of at most so many integrations."""
    for a, b, block in blocks:
        step = most or b - a
        for first in range(a, b, step):
            part = slice(first - a, min(first + step, b) - a)
            cut = ({n: v[part] for n, v in held.items()} for held in (block.arrays, block.counts))
            yield first, a + part.stop, Block(next(cut), {}, next(cut))


def prepared_plan(
    plan: AnyOutline, journal: Journal, scheduler: Any = None, workers: int | None = None
) -> AnyOutline:
    """Plan in which everything that is constant for a segment is known, and kept with the journal.

    Parameters
    ----------
    plan : Outline
        A plan.
    journal : Journal
        Where it is kept; what an interrupted run left there is taken up.
    scheduler : optional
        Where to compute.
    workers : int, optional
        Tasks at a time.

    Returns
    -------
    Outline
        The plan itself where nothing is to be prepared.

    Raises
    ------
    PreparationError
        If the orders of a member cannot be modelled. The journal is gone then: going on with the
        run would fail in the same way.
    """
    waiting = [m for m in plan.members if m.soss is not None]
    if not waiting:
        return plan
    graph: dict[Any, Any] = {}
    keys: list[Any] = []
    beside = max(1, (plan.budget.limit - BASE_MEMORY) // PREPARING_BYTES)
    for i, member in enumerate(waiting):
        assert member.soss is not None
        label = f"{member.label}-{tokenize(plan.token, 'soss')[:16]}"
        scratch = f"{journal.folder}/pixels-{member.label}.scratch"
        path = str(member.segment.path)
        if plan.hooked:
            from tso3dask.graph.soss_hooked import hooked_prologue

            hooked = plan.hooked[member.index]
            tasks, key = hooked_prologue(hooked, member, scratch, path, label)
        else:
            how = scratch, member.chunks, plan.budget.sub_block
            tasks, key = soss_prologue(member.program, member.soss, path, label, how)
        graph |= tasks
        if member.soss.models and i >= beside:
            graph[key] = (*graph[key], keys[i - beside])
        keys.append(f"kept-{label}")
        graph[keys[-1]] = (keep_extraction, key, journal, f"model-{member.label}")
    options = {"scheduler": scheduler, "workers": workers or plan.budget.workers}
    try:
        prepared = compute(graph, keys, **options)
    except PreparationError:
        journal.remove()
        raise
    members, notes = list(plan.members), list(plan.notes)
    for member, found in zip(waiting, prepared, strict=True):
        assert member.soss is not None
        members[member.index] = replace(member, soss=replace(member.soss, prepared=found))
        notes += [f"{member.segment.path.name}: {note}" for note in found.notes]
        _write_grid(member.soss.parameters.soss_wave_grid_out, found, member.index, len(waiting))
    return replace(plan, members=tuple(members), notes=tuple(dict.fromkeys(notes)))


def _write_grid(name: str | None, found: PreparedSegment, index: int, members: int) -> None:
    """Write the wavelength grid of a member, numbered from 0 if there are several."""
    if name is None or found.grid is None:
        return
    path = Path(name)
    if members > 1:
        path = path.with_name(f"{path.stem}_{index}{path.suffix}")
    write_wave_grid(str(path), found.grid)
