"""Run a plan: lay out the products, compute the graph that fills them, give them their names."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from dask.tokenize import tokenize

from tso3dask.graph.build import MemberGraph, imaging_graph, orders_graph, spectrum_graph
from tso3dask.graph.curves import curves_of, weighted_plan
from tso3dask.graph.execute import Progress, check_script, compute, connected
from tso3dask.graph.extraction import SpectrumJob
from tso3dask.graph.files import TableFile
from tso3dask.graph.imaging import ImagingJob
from tso3dask.graph.modelled import modelled_plan
from tso3dask.graph.optimal import fitted_plan
from tso3dask.graph.outline import Member, Outline
from tso3dask.graph.record import (
    RunResult,
    earlier_result,
    made_by_another_plan,
    peak_memory,
    run_facts,
    run_record,
    what_changed,
)
from tso3dask.graph.regressors import model_rows
from tso3dask.graph.shared import drop_shared
from tso3dask.graph.sinks import (
    Sinks,
    check_folder,
    create_sinks,
    journal_stem,
    placed_files,
    prepare_folder,
    remove_unfinished,
    unfinished_runs,
)
from tso3dask.graph.soss_tasks import SossJob, prepared_plan
from tso3dask.graph.tables import (
    TABLES,
    collect_rows,
    integration_notes,
    make_tables,
    outlier_counts,
    table_meta,
)
from tso3dask.io.atomic import sole_writer, write_text
from tso3dask.io.journal import ChunkResult, Journal
from tso3dask.io.tables import write_table

__all__ = ["RunResult", "run_graph", "run_plan"]

DYNAMIC_BINS = 400
"""Time bins of the dynamic spectrum that a run keeps for its figure."""


def run_graph(
    plan: Outline, sinks: Sinks | None = None, journal: Journal | None = None
) -> tuple[dict[Any, Any], dict[int, dict[str, list[Any]]]]:
    """Graph of a whole run.

    Parameters
    ----------
    plan : Outline
        What to do.
    sinks : Sinks, optional
        Writers; without them nothing is written.
    journal : Journal, optional
        Finished results, and where new ones go.

    Returns
    -------
    graph : dict
        Tasks by key.
    passes : dict
        Keys of each pass of each member.
    """
    graph: dict[Any, Any] = {}
    passes: dict[int, dict[str, list[Any]]] = {}
    tables, rows_before = 0, dict.fromkeys((_series(m) for m in plan.members), 0)
    totals = {s: sum(m.segment.nints for m in plan.members if _series(m) == s) for s in rows_before}
    for member in plan.members:
        table = tables if member.tables else None
        outputs = () if sinks is None else sinks.outputs(member, table)
        places = [str(Path(output.sink.path).absolute()) for output in outputs]
        label = f"{member.label}-{tokenize(plan.token, member.chunks, places)[:16]}"
        job: SpectrumJob | SossJob | ImagingJob
        series = _series(member)
        common: dict[str, Any] = {
            "member": member.index,
            "program": member.program,
            "sub_block": plan.budget.sub_block,
            "path": str(member.segment.path),
            "outputs": outputs,
        }
        place = rows_before[series], max(1, -(-totals[series] // DYNAMIC_BINS))
        if member.soss is not None:
            job = _soss_job(plan, member, place, common)
        elif member.spectrum is not None:
            curves = curves_of(plan, member, member.spectrum)
            job = SpectrumJob(**common, setup=member.spectrum, curves=curves)
            job = replace(job, first_row=place[0], bin_rows=place[1])
        else:
            job = ImagingJob(**common, setup=member.imaging)
        if member.tables:
            tables += len(member.tables)
            rows_before[series] += member.segment.nints
        part = _graph(plan, member, job, label, journal)
        graph.update(part.tasks)
        passes[member.index] = part.passes
    return graph, passes


def _soss_job(
    plan: Outline, member: Member, place: tuple[int, int], common: dict[str, Any]
) -> SossJob:
    setup = member.soss
    assert setup is not None
    return SossJob.of(
        setup.orders,
        **common,
        curves={order.spectral_order: curves_of(plan, member, order) for order in setup.orders},
        first_row=place[0],
        bin_rows=place[1],
        prepared="" if setup.prepared is None else setup.prepared.path,
    )


def _graph(
    plan: Outline, member: Member, job: Any, label: str, journal: Journal | None
) -> MemberGraph:
    """Tasks of one member: fused, or from the datasets that hooks returned."""
    if plan.hooked:
        from tso3dask.graph.hooked_run import hooked_graph

        return hooked_graph(member, plan.hooked[member.index], job, label, journal)
    if isinstance(job, SossJob):
        return orders_graph(job, member.chunks, label, journal)
    if isinstance(job, SpectrumJob):
        return spectrum_graph(job, member.chunks, label, journal)
    return imaging_graph(job, member.chunks, label, journal)


def _series(member: Member) -> tuple[str, int]:
    """Detector and first order of the spectra of a member."""
    return member.segment.detector, member.tables[0].spectral_order if member.tables else 0


def run_plan(
    plan: Outline,
    output_dir: Path,
    *,
    scheduler: str | None = None,
    workers: int | None = None,
    overwrite: bool = False,
    resume: bool = False,
    progress: Progress | None = None,
) -> RunResult:
    """Write the products of a plan. See `Plan.run`."""
    with connected(scheduler) as place:  # before anything is written
        check_script(place)
        return _run(plan, output_dir, place, workers, overwrite, resume, progress)


def destinations(
    plan: Outline, output_dir: Path, overwrite: bool = False, resume: bool = False
) -> dict[str, list[Path]]:
    """Return the final place of each product. See `Plan.destinations`."""
    lock = _lock(plan, output_dir)
    if lock.exists() and not (overwrite or resume):
        with sole_writer(lock):  # a run that goes on is no interrupted one
            pass
    unfinished = Path(_journal(plan, output_dir).folder).is_dir()
    foreign = not unfinished and made_by_another_plan(_manifest(plan, output_dir), plan)
    return check_folder(plan, output_dir, overwrite, resume, unfinished, foreign)


def left_behind(plan: Outline, output_dir: Path) -> list[str]:
    """Return notes on interrupted runs that this plan cannot go on with. See `Plan.left_behind`."""
    own = _journal(plan, output_dir)
    others = unfinished_runs(plan, output_dir)
    if not others or Path(own.folder).is_dir():
        return []
    changed = what_changed(plan, others[-1].description())
    return [
        f"{output_dir}: an interrupted run {changed} left finished work there, which is not taken "
        "up: this run begins anew, and that work is gone when it is done"
    ]


def _journal(plan: Outline, output_dir: Path) -> Journal:
    return Journal(str(output_dir / f"{journal_stem(plan)}{plan.token[:12]}"))


def _lock(plan: Outline, output_dir: Path) -> Path:
    return output_dir / f".{plan.names.stem}.lock"


def _manifest(plan: Outline, output_dir: Path) -> Path:
    return output_dir / f"{plan.names.stem}_tso3dask.json"


def _run(
    plan: Outline,
    output_dir: Path,
    scheduler: Any,
    workers: int | None,
    overwrite: bool,
    resume: bool,
    progress: Progress | None,
) -> RunResult:
    started = time.perf_counter()
    run_id = plan.token[:12]
    journal, manifest = _journal(plan, output_dir), _manifest(plan, output_dir)
    finals = destinations(plan, output_dir, overwrite, resume)
    notes = left_behind(plan, output_dir) if resume else []
    prepare_folder(output_dir, finals)
    with sole_writer(_lock(plan, output_dir)):
        done = earlier_result(manifest, plan, finals) if resume else None
        if done is None:
            journal = replace(journal, about=json.dumps(run_facts(plan)))
            if not resume:
                remove_unfinished(plan, output_dir, finals)
            plan = modelled_plan(plan, journal, scheduler, workers, progress)
            plan = fitted_plan(plan, scheduler, workers)
            plan = prepared_plan(plan, journal, scheduler, workers)
            plan = weighted_plan(plan, scheduler, workers)
            sinks = create_sinks(plan, finals, run_id, journal)
            done = _fill(plan, finals, sinks, journal, scheduler, workers, progress)
            done = replace(done, notes=[*notes, *done.notes])
            write_text(manifest, json.dumps(run_record(plan, done), indent=2) + "\n")
            remove_unfinished(plan, output_dir, finals)
    return replace(done, seconds=time.perf_counter() - started, peak_memory=peak_memory())


def _fill(
    plan: Outline,
    finals: Mapping[str, list[Path]],
    sinks: Sinks,
    journal: Journal,
    scheduler: Any,
    workers: int | None,
    progress: Progress | None,
) -> RunResult:
    """Compute the graph of a run, finish the products, and tell what was done."""
    started = time.perf_counter()
    graph, passes = run_graph(plan, sinks, journal)
    keys = [key for by_pass in passes.values() for keys in by_pass.values() for key in keys]
    report = _Reporter(plan, len(keys), progress)
    workers = workers or plan.budget.workers
    results = compute(graph, keys, scheduler=scheduler, workers=workers, done=report.chunk)
    drop_shared()
    rows = collect_rows(plan, passes, dict(zip(keys, results, strict=True)))
    del results  # rows are copies
    report.phase("writing products")
    tables = make_tables(plan, rows)
    products = _finish(plan, finals, sinks, tables, rows, plan.token[:12])
    notes = [*plan.notes, *integration_notes(plan, rows), *tables.pop("notes", [])]
    taken = sum(isinstance(graph[key], ChunkResult) for key in keys)
    if taken:
        notes.append(f"resumed: {taken} of {len(keys)} tasks had been done before")
    seconds = time.perf_counter() - started
    outliers = outlier_counts(plan, rows)
    rows = [{**own, **model_rows(m)} for m, own in zip(plan.members, rows, strict=True)]
    growth = {
        m.segment.detector: replace(
            m.model.growth, chosen=None if m.spectrum is None else m.spectrum.chosen_width
        )
        for m in plan.members
        if m.model is not None and m.model.growth is not None
    }
    memory = peak_memory()
    return RunResult(products, plan.nints, outliers, seconds, memory, notes, rows, tables, growth)


def _finish(
    plan: Outline,
    finals: Mapping[str, list[Path]],
    sinks: Sinks,
    tables: Mapping[str, Any],
    rows: list[dict[str, Any]],
    run_id: str,
) -> dict[str, list[Path]]:
    done: dict[Path, Path] = {}
    for sink, final in zip(sinks.crfints.values(), finals.get("crfints", []), strict=True):
        done[final] = sink.finish(final)
    for _, sink, final in sinks.extra:
        done[final] = sink.finish(final)
    for file, final in placed_files(plan, finals):
        if isinstance(file, TableFile):
            done[final] = file.write(final, plan, rows, run_id)
    if sinks.x1dints is not None:
        final = finals["x1dints"][0]
        done[final] = sinks.x1dints.finish(final)
    for kind in TABLES:
        if kind in finals:
            final = finals[kind][0]
            meta = table_meta(plan, kind, columns=tables[kind])
            done[final] = write_table(final, tables[kind], meta, run_id)
    return {kind: [done[final] for final in places] for kind, places in finals.items()}


class _Reporter:
    """Turns finished tasks into integrations done, for a progress display."""

    def __init__(self, plan: Outline, tasks: int, progress: Progress | None) -> None:
        self._progress = progress
        chunks = sum(len(m.chunks) for m in plan.members)
        self._total = plan.nints * max(1, tasks // max(1, chunks))
        self._done = 0

    def chunk(self, result: ChunkResult) -> None:
        if self._progress is not None:
            self._done = min(self._done + result.b - result.a, self._total)
            self._progress(self._done, self._total, "processing")

    def phase(self, name: str) -> None:
        if self._progress is not None:
            self._progress(self._total, self._total, name)
