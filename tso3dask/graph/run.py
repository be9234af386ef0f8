"""Run a plan: lay out the products, compute the graph that fills them, give them their names."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from dask.tokenize import tokenize

from tso3dask.errors import NotYetError
from tso3dask.graph.build import MemberGraph, imaging_graph, spectrum_graph
from tso3dask.graph.execute import Progress, compute, connected
from tso3dask.graph.extraction import SpectrumJob
from tso3dask.graph.imaging import ImagingJob
from tso3dask.graph.outline import Member, Outline
from tso3dask.graph.record import (
    RunResult,
    earlier_result,
    made_by_another_plan,
    peak_memory,
    run_record,
)
from tso3dask.graph.sinks import create_sinks, journal_stem, prepare_folder, remove_unfinished
from tso3dask.graph.tables import collect_rows, make_tables, outlier_counts, table_meta
from tso3dask.io.atomic import sole_writer, write_text
from tso3dask.io.crfints import CrfintsSink
from tso3dask.io.journal import ChunkResult, Journal
from tso3dask.io.tables import write_table
from tso3dask.io.x1dints import X1dintsSink

__all__ = ["RunResult", "run_graph", "run_plan"]

DYNAMIC_BINS = 400
"""Time bins of the dynamic spectrum that a run keeps for its figure."""


def run_graph(
    plan: Outline,
    crfints: Mapping[int, CrfintsSink] | None = None,
    x1dints: X1dintsSink | None = None,
    journal: Journal | None = None,
) -> tuple[dict[Any, Any], dict[int, dict[str, list[Any]]]]:
    """Graph of a whole run.

    Parameters
    ----------
    plan : Outline
        What to do.
    crfints : mapping of int to CrfintsSink, optional
        Writers by member; without them pixels are not written.
    x1dints : X1dintsSink, optional
        Writer of spectra.
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
    spectrum, rows_before = 0, dict.fromkeys((_series(m) for m in plan.members), 0)
    totals = {s: sum(m.segment.nints for m in plan.members if _series(m) == s) for s in rows_before}
    for member in plan.members:
        sink = (crfints or {}).get(member.index)
        places = [str(Path(s.path).absolute()) for s in (sink, x1dints) if s is not None]
        label = f"{member.label}-{tokenize(plan.token, member.chunks, places)[:16]}"
        part: MemberGraph
        if plan.kind == "spectroscopy" and member.spectrum is not None:
            series = _series(member)
            job = SpectrumJob(
                member.index,
                member.program,
                plan.budget.sub_block,
                str(member.segment.path),
                member.spectrum,
                plan.white_range,
                spectrum,
                sink,
                x1dints,
                rows_before[series],
                max(1, -(-totals[series] // DYNAMIC_BINS)),
            )
            part = spectrum_graph(job, member.chunks, label, journal)
            spectrum += 1
            rows_before[series] += member.segment.nints
        else:
            image_job = ImagingJob(
                member.index,
                member.program,
                plan.budget.sub_block,
                str(member.segment.path),
                member.imaging,
                sink,
            )
            part = imaging_graph(image_job, member.chunks, label, journal)
        graph.update(part.tasks)
        passes[member.index] = part.passes
    return graph, passes


def _series(member: Member) -> tuple[str, int]:
    order = member.spectrum.spectral_order if member.spectrum is not None else 0
    return member.segment.detector, order


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
        return _run(plan, output_dir, place, workers, overwrite, resume, progress)


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
    journal = Journal(str(output_dir / f"{journal_stem(plan)}{run_id}.run"))
    manifest = output_dir / f"{_stem(plan)}_tso3dask.json"
    unfinished = Path(journal.folder).is_dir()
    foreign = not unfinished and made_by_another_plan(manifest, plan)
    finals = prepare_folder(plan, output_dir, overwrite, resume, unfinished, foreign)
    with sole_writer(output_dir / f".{_stem(plan)}.lock"):
        done = earlier_result(manifest, plan, finals) if resume else None
        if done is None:
            if not resume:
                remove_unfinished(plan, output_dir, finals)
            crfints, x1dints = create_sinks(plan, finals, run_id, journal)
            done = _fill(plan, finals, crfints, x1dints, journal, scheduler, workers, progress)
            write_text(manifest, json.dumps(run_record(plan, done), indent=2) + "\n")
            remove_unfinished(plan, output_dir, finals)
    _refuse_soss_spectra(plan, output_dir)
    return replace(done, seconds=time.perf_counter() - started, peak_memory=peak_memory())


def _fill(
    plan: Outline,
    finals: Mapping[str, list[Path]],
    crfints: Mapping[int, CrfintsSink],
    x1dints: X1dintsSink | None,
    journal: Journal,
    scheduler: Any,
    workers: int | None,
    progress: Progress | None,
) -> RunResult:
    """Compute the graph of a run, finish the products, and tell what was done."""
    started = time.perf_counter()
    graph, passes = run_graph(plan, crfints, x1dints, journal)
    keys = [key for by_pass in passes.values() for keys in by_pass.values() for key in keys]
    report = _Reporter(plan, len(keys), progress)
    workers = workers or plan.budget.workers
    results = compute(graph, keys, scheduler=scheduler, workers=workers, done=report.chunk)
    rows = collect_rows(plan, passes, dict(zip(keys, results, strict=True)))
    report.phase("writing products")
    tables = make_tables(plan, rows)
    products = _finish(plan, finals, crfints, x1dints, tables, plan.token[:12])
    notes = [*plan.notes, *tables.pop("notes", [])]
    taken = sum(isinstance(graph[key], ChunkResult) for key in keys)
    if taken:
        notes.append(f"resumed: {taken} of {len(keys)} tasks had been done before")
    seconds = time.perf_counter() - started
    outliers = outlier_counts(plan, rows)
    return RunResult(products, plan.nints, outliers, seconds, peak_memory(), notes, rows, tables)


def _refuse_soss_spectra(plan: Outline, output_dir: Path) -> None:
    if plan.kind == "soss" and not plan.parameters.extract_1d.skip:
        raise NotYetError(
            f"NIRISS SOSS extraction is not supported yet: outlier detection is done, "
            f"{len(plan.products.get('crfints', []))} crfints are in {output_dir}, and there are "
            "no spectra; skip extract_1d to end without this message"
        )


def _stem(plan: Outline) -> str:
    return plan.names.phot.removesuffix("_phot.ecsv")


def _finish(
    plan: Outline,
    finals: Mapping[str, list[Path]],
    crfints: Mapping[int, CrfintsSink],
    x1dints: X1dintsSink | None,
    tables: Mapping[str, Any],
    run_id: str,
) -> dict[str, list[Path]]:
    products: dict[str, list[Path]] = {}
    for (_, sink), final in zip(sorted(crfints.items()), finals.get("crfints", []), strict=True):
        products.setdefault("crfints", []).append(sink.finish(final))
    if x1dints is not None:
        products["x1dints"] = [x1dints.finish(finals["x1dints"][0])]
    for kind in ("phot", "whtlt"):
        if kind in finals:
            meta = table_meta(plan, kind)
            products[kind] = [write_table(finals[kind][0], tables[kind], meta, run_id)]
    return products


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
