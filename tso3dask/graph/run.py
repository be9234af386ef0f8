"""Run a plan: make the products' files, compute the graph that fills them, name them."""

from __future__ import annotations

import glob
import json
import platform
import resource
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

import tso3dask
from tso3dask.errors import InputError, NotYetError, RunError
from tso3dask.graph.build import MemberGraph, gather, imaging_graph, spectrum_graph
from tso3dask.graph.execute import ChunkResult, Journal, Progress, compute
from tso3dask.graph.imaging import ImagingJob, photometry_table
from tso3dask.graph.plan import Member, Plan
from tso3dask.graph.spectra import SpectrumJob
from tso3dask.io.atomic import part_path, stale_parts, write_text
from tso3dask.io.crfints import CrfintsSink
from tso3dask.io.tables import write_table
from tso3dask.io.x1dints import SpectrumSpec, X1dintsSink

__all__ = ["RunResult", "run_graph", "run_plan", "spectrum_specs", "white_light_table"]

Sink = TypeVar("Sink")

DYNAMIC_BINS = 400
"""Time bins of the dynamic spectrum that a run keeps for its figure."""

_TIME_COLUMNS = {
    "MJD-BEG": "mjd_beg",
    "MJD-AVG": "mjd_avg",
    "MJD-END": "mjd_end",
    "TDB-BEG": "tdb_beg",
    "TDB-MID": "tdb_mid",
    "TDB-END": "tdb_end",
}


@dataclass(frozen=True, eq=False)
class RunResult:
    """What a run did.

    Attributes
    ----------
    products : dict of str to list of Path
        Files written, by kind.
    integrations : int
        Integrations of all members.
    outliers : list of dict
        ``name``, ``nints``, ``n_outliers`` and ``fraction`` of each member; empty without
        outlier detection.
    seconds : float
        Wall time.
    peak_memory : int
        Peak resident memory of this process, bytes.
    notes : list of str
        What a user should know.
    rows : list of dict
        Rows of each member: flux, outliers and positions per integration. For figures.
    tables : dict
        Columns of the tables written, by kind.
    """

    products: dict[str, list[Path]]
    integrations: int
    outliers: list[dict[str, Any]]
    seconds: float
    peak_memory: int
    notes: list[str] = field(default_factory=list)
    rows: list[dict[str, np.ndarray]] = field(default_factory=list)
    tables: dict[str, Any] = field(default_factory=dict)

    @property
    def paths(self) -> list[Path]:
        """All files written."""
        return [path for paths in self.products.values() for path in paths]


def run_graph(
    plan: Plan,
    crfints: Mapping[int, CrfintsSink] | None = None,
    x1dints: X1dintsSink | None = None,
    journal: Journal | None = None,
) -> tuple[dict[Any, Any], dict[int, dict[str, list[Any]]]]:
    """Graph of a whole run.

    Parameters
    ----------
    plan : Plan
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
        label = f"{member.label}-{plan.token[:16]}"
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


def spectrum_specs(plan: Plan) -> list[SpectrumSpec]:
    """Tables of the x1dints product, one per member that has a spectrum."""
    specs = []
    overrides = {
        kind: plan.parameters.override(kind)
        for kind in ("extract1d", "psf")
        if plan.parameters.override(kind) is not None
    }
    for member in plan.spectra:
        setup = member.spectrum
        assert setup is not None
        times: dict[str, np.ndarray] = {"INT_NUM": member.times.int_num}
        for column, name in _TIME_COLUMNS.items():
            times[column] = member.times.times[name]
        if "whtlt" in plan.products:
            times["MJD-AVG"] = member.mid_utc
        specs.append(
            SpectrumSpec(
                segment=member.segment,
                wavelength=setup.wavelength,
                units=setup.units,
                times=times,
                spectral_order=setup.spectral_order,
                dispaxis=setup.dispaxis,
                name=setup.slit_name,
                source_type=setup.source_type,
                ra=setup.ra,
                dec=setup.dec,
                limits=setup.limits,
                metadata={f"meta.ref_file.{k}.name": _absolute(v) for k, v in overrides.items()},
            )
        )
    return specs


def _absolute(path: str | None) -> str | None:
    return path if path in (None, "N/A") else str(Path(str(path)).absolute())


def run_plan(
    plan: Plan,
    output_dir: Path,
    *,
    scheduler: str | None = None,
    workers: int | None = None,
    overwrite: bool = False,
    resume: bool = False,
    progress: Progress | None = None,
) -> RunResult:
    """Write the products of a plan. See `Plan.run`."""
    started = time.perf_counter()
    finals = _prepare(plan, output_dir, overwrite, resume)
    run_id = plan.token[:12]
    journal = Journal(str(output_dir / f"{_journal_stem(plan)}{run_id}.run"))
    manifest = output_dir / f"{_stem(plan)}_tso3dask.json"
    done = _finished(manifest, plan, finals) if resume else None
    if done is not None:
        _refuse_soss_spectra(plan, output_dir)
        return replace(done, seconds=time.perf_counter() - started)
    crfints, x1dints = _create_sinks(plan, finals, run_id, journal)
    parts = [Path(s.path) for s in crfints.values()] + ([Path(x1dints.path)] if x1dints else [])
    try:
        graph, passes = run_graph(plan, crfints, x1dints, journal)
        keys = [key for by_pass in passes.values() for keys in by_pass.values() for key in keys]
        report = _Reporter(plan, len(keys), progress)
        results = compute(
            graph,
            keys,
            scheduler=scheduler,
            workers=workers or plan.budget.workers,
            done=report.chunk,
        )
    except (KeyboardInterrupt, Exception) as error:
        if not _keeps_parts(error):
            for part in parts:
                part.unlink(missing_ok=True)
            journal.remove()
        raise
    rows = _collect(plan, passes, dict(zip(keys, results, strict=True)))
    report.phase("writing products")
    tables = _tables(plan, rows)
    outliers = _outlier_counts(plan, rows)
    products = _finish(plan, finals, crfints, x1dints, tables, run_id)
    _remove_unfinished(plan, output_dir, finals)
    seconds = time.perf_counter() - started
    notes = [*plan.notes, *tables.pop("notes", [])]
    result = RunResult(products, plan.nints, outliers, seconds, peak_memory(), notes, rows, tables)
    write_text(manifest, json.dumps(_record(plan, result), indent=2) + "\n")
    _refuse_soss_spectra(plan, output_dir)
    return result


def _refuse_soss_spectra(plan: Plan, output_dir: Path) -> None:
    if plan.kind == "soss" and not plan.parameters.extract_1d.skip:
        raise NotYetError(
            f"NIRISS SOSS extraction is not supported yet: outlier detection is done, "
            f"{len(plan.products.get('crfints', []))} crfints are in {output_dir}, and there are "
            "no spectra; skip extract_1d to end without this message"
        )


def _keeps_parts(error: BaseException) -> bool:
    """Whether finished work stays on disk for --resume: after anything but bad input."""
    return not isinstance(error, InputError)


def _stem(plan: Plan) -> str:
    return plan.names.phot.removesuffix("_phot.ecsv")


def _journal_stem(plan: Plan) -> str:
    """Beginning of the names of the journals of all runs that write these products."""
    return f".{plan.names.phot.removesuffix('.ecsv')}."


def _remove_unfinished(plan: Plan, output_dir: Path, finals: Mapping[str, list[Path]]) -> None:
    """Remove what interrupted runs of any parameters left: parts, and journals that tell of them.

    The two go together, for a journal whose parts are gone tells of rows that no file has.
    """
    for folder in output_dir.glob(f"{glob.escape(_journal_stem(plan))}*.run"):
        Journal(str(folder)).remove()
    for path in (p for paths in finals.values() for p in paths):
        for stale in stale_parts(path):
            stale.unlink(missing_ok=True)


def _prepare(plan: Plan, output_dir: Path, overwrite: bool, resume: bool) -> dict[str, list[Path]]:
    """Check the output folder and give the final place of each product."""
    from tso3dask.io.naming import product_names

    association = plan.observation.association
    product_names(association.name, association.members, association.asn_id, output_dir)
    if output_dir.exists() and not output_dir.is_dir():
        raise InputError(f"{output_dir}: is a file, expected a folder for the products")
    finals = {kind: [output_dir / n for n in names] for kind, names in plan.products.items()}
    there = [p for paths in finals.values() for p in paths if p.exists()]
    if there and not (overwrite or resume):
        more = f" and {len(there) - 1} more" if len(there) > 1 else ""
        raise InputError(
            f"{output_dir}: holds earlier products ({there[0].name}{more}); give --overwrite to "
            "replace them, --resume to go on with an interrupted run, or another folder"
        )
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{output_dir}: cannot be made ({error.strerror})") from None
    if not resume:
        _remove_unfinished(plan, output_dir, finals)
    return finals


def _create_sinks(
    plan: Plan, finals: Mapping[str, list[Path]], run_id: str, journal: Journal
) -> tuple[dict[int, CrfintsSink], X1dintsSink | None]:
    """Take up the files of an interrupted run, or lay out new ones.

    Results in the journal count only while the files that their rows went to are there.
    """
    crfints: dict[int, CrfintsSink] = {}
    x1dints = None
    created: list[Path] = []
    try:
        if "x1dints" in finals:
            final = finals["x1dints"][0]
            part = part_path(final, run_id)
            specs = spectrum_specs(plan)
            x1dints = _taken_up(journal, part, lambda: X1dintsSink.reopen(part, specs))
            if x1dints is None:
                journal.remove()
                created.append(part)
                x1dints = _new_x1dints(plan, part, final.name, specs, run_id)
        for member, final in zip(plan.members, finals.get("crfints", []), strict=False):
            part = part_path(final, run_id)
            sink = _taken_up(journal, part, partial(CrfintsSink.reopen, member.segment, part))
            if sink is None:
                journal.forget(member.label)
                created.append(part)
                sink = _new_crfints(plan, member, part, final.name, run_id)
            crfints[member.index] = sink
    except BaseException:
        for part in created:
            part.unlink(missing_ok=True)
        raise
    return crfints, x1dints


def _taken_up(journal: Journal, part: Path, reopen: Callable[[], Sink]) -> Sink | None:
    """Writer of a file that an interrupted run left whole, with results worth keeping."""
    if not (part.exists() and Path(journal.folder).is_dir()):
        return None
    try:
        return reopen()
    except RunError:
        return None


def _history(run_id: str) -> list[str]:
    return [f"tso3dask {tso3dask.__version__} run {run_id}"]


def _new_crfints(plan: Plan, member: Member, part: Path, filename: str, run_id: str) -> CrfintsSink:
    association = plan.observation.association
    return CrfintsSink.create(
        member.segment,
        part,
        filename=filename,
        asn_pool=association.pool,
        asn_table=association.table_name,
        history=_history(run_id),
    )


def _new_x1dints(
    plan: Plan, part: Path, filename: str, specs: list[SpectrumSpec], run_id: str
) -> X1dintsSink:
    association = plan.observation.association
    return X1dintsSink.create(
        part,
        specs,
        filename=filename,
        asn_pool=association.pool,
        asn_table=association.table_name,
        asn_id=association.asn_id,
        steps=_step_status(plan),
        history=_history(run_id),
    )


def _step_status(plan: Plan) -> dict[str, str]:
    return {
        "outlier_detection": "COMPLETE" if plan.flags else "SKIPPED",
        "adaptive_trace_model": "SKIPPED",
        "pixel_replace": "SKIPPED",
        "extract_1d": "COMPLETE",
    }


def _collect(
    plan: Plan, passes: Mapping[int, Mapping[str, list[Any]]], results: Mapping[Any, ChunkResult]
) -> list[dict[str, np.ndarray]]:
    """Rows of each member: chunks tile its integrations, all passes side by side."""
    rows = []
    for member in plan.members:
        merged: dict[str, np.ndarray] = {}
        for keys in passes[member.index].values():
            whole = gather([results[key] for key in keys])
            if whole.b != member.segment.nints:
                raise AssertionError(f"{member.segment.path}: {whole.b} rows")
            merged |= whole.rows
        rows.append(merged)
    return rows


def _outlier_counts(plan: Plan, rows: list[dict[str, np.ndarray]]) -> list[dict[str, Any]]:
    if not plan.flags:
        return []
    counts = []
    for member, values in zip(plan.members, rows, strict=True):
        segment = member.segment
        found = int(values["n_outliers"].sum())
        counts.append(
            {
                "name": segment.path.name,
                "nints": segment.nints,
                "n_outliers": found,
                "fraction": found / (segment.nints * segment.ny * segment.nx),
            }
        )
    return counts


def white_light_table(plan: Plan, sums: list[np.ndarray | None]) -> Any:
    """White-light columns of a plan from one flux per integration of each member."""
    from tso3dask.ops.whitelight import white_light_columns

    spectra = []
    for member, flux in zip(plan.members, sums, strict=True):
        if member.spectrum is None or flux is None:
            continue
        spectra.append(
            {
                "mid_utc": member.times.times["mjd_avg"],
                "mid_tdb": member.times.times["tdb_mid"],
                "flux_sum": flux,
                "order": member.spectrum.spectral_order,
                "detector": member.segment.get("DETECTOR"),
                "unit": member.spectrum.units["FLUX"],
                "member": member.index,
            }
        )
    return white_light_columns(spectra)


def photometry_columns(plan: Plan, rows: list[dict[str, np.ndarray]]) -> dict[str, Any]:
    """Columns of the photometry table of all members, in association order."""
    parts = []
    for member, values in zip(plan.members, rows, strict=True):
        assert member.imaging is not None
        found = None
        if member.imaging.centroid:
            found = {k: v for k, v in values.items() if k.startswith(("centroid_", "psf_"))}
        skipped = {"n_outliers", "x", "y", *(found or ())}
        measured = {k: v for k, v in values.items() if k not in skipped}
        table = photometry_table(member.segment, member.imaging, member.times, measured, found)
        parts.append(table)
    names = list(dict.fromkeys(name for part in parts for name in part))
    columns = {}
    for name in names:
        unit = next(part[name].unit for part in parts if name in part)
        pieces = [
            part[name].values if name in part else np.full(len(part["MJD"].values), np.nan)
            for part in parts
        ]
        columns[name] = (np.concatenate(pieces), unit)
    return columns


def _joined(plan: Plan, keyword: str) -> str | None:
    """Header value of the members, joined where they differ."""
    values = dict.fromkeys(m.segment.get(keyword) for m in plan.members)
    known = [str(v) for v in values if v is not None]
    return ",".join(known) if known else None


def table_meta(plan: Plan, kind: str) -> dict[str, Any]:
    """Meta of the photometry or the white-light table."""
    keys = ["instrument", "subarray", "filter", "pupil", "target_name"]
    words = {"instrument": "INSTRUME", "target_name": "TARGNAME"}
    meta = {key: _joined(plan, words.get(key, key.upper())) for key in keys}
    if kind == "whtlt":
        from tso3dask.ops.whitelight import white_light_meta

        header = {k: _joined(plan, k) for k in ("INSTRUME", "EXP_TYPE", "SUBARRAY")}
        header |= {k: _joined(plan, k) for k in ("FILTER", "PUPIL", "TARGNAME")}
        return white_light_meta(header)
    from tso3dask.ops.photometry import table_meta as photometry_meta

    step = plan.parameters.tso_photometry
    return photometry_meta(
        **meta,
        detector=_joined(plan, "DETECTOR"),
        channel=_joined(plan, "CHANNEL"),
        radius=step.radius,
        radius_inner=step.radius_inner,
        radius_outer=step.radius_outer,
    )


def _tables(plan: Plan, rows: list[dict[str, np.ndarray]]) -> dict[str, Any]:
    tables: dict[str, Any] = {}
    if "phot" in plan.products:
        tables["phot"] = photometry_columns(plan, rows)
    if "whtlt" in plan.products:
        white = white_light_table(plan, [values.get("white") for values in rows])
        tables["whtlt"] = {n: (v, white.units.get(n)) for n, v in white.columns.items()}
        tables["notes"] = list(white.notes)
    return tables


def _finish(
    plan: Plan,
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


def _record(plan: Plan, result: RunResult) -> dict[str, Any]:
    """Provenance of a run, kept beside its products."""
    return {
        "program": f"tso3dask {tso3dask.__version__}",
        "python": platform.python_version(),
        "plan": plan.token,
        "association": plan.observation.association.table_name,
        "inputs": {m.segment.path.name: m.segment.identity for m in plan.members},
        "parameters": plan.parameters.to_dict(explicit_only=True),
        "references": plan.references,
        "products": {
            kind: {p.name: [p.stat().st_size, p.stat().st_mtime_ns] for p in paths}
            for kind, paths in result.products.items()
        },
        "integrations": result.integrations,
        "outliers": result.outliers,
        "notes": result.notes,
        "seconds": round(result.seconds, 3),
    }


def _finished(manifest: Path, plan: Plan, finals: Mapping[str, list[Path]]) -> RunResult | None:
    """Return what an earlier run of this plan did if its products are all there, else None."""
    try:
        record = json.loads(manifest.read_text())
        if record["plan"] != plan.token:
            return None
        for kind, paths in finals.items():
            for path in paths:
                stat = path.stat()
                if record["products"][kind][path.name] != [stat.st_size, stat.st_mtime_ns]:
                    return None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    notes = [*record["notes"], "all products of this plan were there already: nothing was done"]
    return RunResult(
        {kind: list(paths) for kind, paths in finals.items()},
        record["integrations"],
        record["outliers"],
        0.0,
        peak_memory(),
        notes,
    )


def peak_memory() -> int:
    """Peak resident memory of this process, bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)


class _Reporter:
    """Turns finished tasks into integrations done, for a progress display."""

    def __init__(self, plan: Plan, tasks: int, progress: Progress | None) -> None:
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
