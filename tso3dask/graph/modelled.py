"""Models of exposures: what a run learns of all integrations before it treats them one by one.

A sample of the integrations of all segments of an exposure makes the images of the model, in one
task; then each chunk's integrations are fitted, which reads only the rows of the target. What
comes back are a few images and a few numbers per integration, and a plan whose members know them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from dask.tokenize import tokenize

import tso3dask
from tso3dask.config import PipelineParameters
from tso3dask.errors import RunError
from tso3dask.graph.build import gather, kept
from tso3dask.graph.chunking import chunk_bounds
from tso3dask.graph.execute import Progress, compute, task_errors
from tso3dask.graph.program import Source
from tso3dask.io.journal import ChunkResult, Journal, load_object
from tso3dask.ops.exposure_model import NUMBERS, ExposureModel

if TYPE_CHECKING:
    from tso3dask.graph.outline import Member, Outline

__all__ = ["Exposure", "modelled_plan", "needs_model"]

AnyOutline = TypeVar("AnyOutline", bound="Outline")


def needs_model(parameters: PipelineParameters, kind: str) -> bool:
    """Tell whether some parameter asks for the model of the exposure.

    Parameters
    ----------
    parameters : PipelineParameters
        Parameters of all steps.
    kind : str
        ``imaging``, ``spectroscopy`` or ``soss``: what is extracted from images matters there
        alone.
    """
    return (
        parameters.outlier_detection.needs_model
        or parameters.pixel_replace.needs_model
        or (kind == "spectroscopy" and parameters.extract_1d.needs_model)
        or not parameters.regressors.skip
    )


@dataclass(frozen=True)
class Exposure:
    """Segments of one exposure and detector, in order of time.

    Attributes
    ----------
    sources : tuple of Source
        Their pixels.
    starts : tuple of int
        Number of the first integration of each in the exposure, from 1.
    dispaxis : int
        1 where wavelength runs along x, 2 along y, 0 for images.
    """

    sources: tuple[Source, ...]
    starts: tuple[int, ...]
    dispaxis: int

    @property
    def identity(self) -> str:
        """Name of its model."""
        return str(tokenize(tso3dask.__version__, self.sources, self.starts, self.dispaxis))

    @property
    def nints(self) -> int:
        """Integrations that there are."""
        return sum(source.nints for source in self.sources)

    def read(self, name: str, picks: np.ndarray, y0: int, y1: int) -> np.ndarray:
        """Rows ``y0:y1`` of some integrations, counted through all segments, in order."""
        edges = np.cumsum([0, *(source.nints for source in self.sources)])
        pieces = []
        for source, low, high in zip(self.sources, edges[:-1], edges[1:], strict=True):
            here = picks[(picks >= low) & (picks < high)] - low
            for run in np.split(here, np.flatnonzero(np.diff(here) != 1) + 1):
                if run.size:
                    spec = source.array(name)
                    pieces.append(spec.read_region(int(run[0]), int(run[-1]) + 1, slice(y0, y1)))
        return np.concatenate(pieces)


def sample_model(exposure: Exposure, journal: Journal | None = None) -> ExposureModel:
    """Task: images of the model of an exposure."""
    from tso3dask.ops.template import SAMPLE, evenly_spaced, make_template

    chosen = evenly_spaced(exposure.nints, SAMPLE)
    first = exposure.sources[0]
    with task_errors(first.path, 0, first.nints):
        model = make_template(
            lambda name, picks, y0, y1: exposure.read(name, chosen[picks], y0, y1),
            first.names,
            first.shape[1:],
            exposure.dispaxis,
            chosen.size,
            exposure.identity,
        )
    if journal is not None:
        journal.keep(f"exposure-{exposure.identity[:16]}", model)
    return model


FIT_BYTES = 8 * 10**6
"""Bytes of SCI that a fit holds at a time."""


def fit_chunk(
    model: ExposureModel, source: Source, growth: bool, member: int, a: int, b: int
) -> ChunkResult:
    """Task: numbers of the integrations ``a:b`` of a segment.

    Beside those of the model, ``scatter`` and ``left_out`` of the fit, ``dispersion_shift``, and
    with `growth` the light within distances from the centre in steps of half a pixel.
    """
    from tso3dask.ops.dispersion import dispersion_shift, shifts_along
    from tso3dask.ops.model_fit import fit_integrations, fit_plan, sum_labels

    with task_errors(source.path, a, b):
        labels, n_columns = sum_labels(model, growth)
        plan = fit_plan(model, labels)
        measure = dispersion_shift(model) if n_columns else None
        rows, columns = plan.window
        step = max(1, FIT_BYTES // (4 * (rows.stop - rows.start) * source.shape[2]))
        found = []
        for first in range(a, b, step):
            last = min(first + step, b)
            sci, dq = (
                np.ascontiguousarray(source.array(n).read_region(first, last, rows, columns))
                for n in ("sci", "dq")
            )
            numbers = fit_integrations(plan, sci, dq)
            sums = numbers.pop("sums", np.empty((last - first, 0)))
            if measure is not None:
                spectra, brightness = sums[:, :n_columns], numbers["brightness"]
                numbers["dispersion_shift"] = shifts_along(measure, spectra, brightness)
            if growth:
                numbers["growth"] = np.cumsum(sums[:, n_columns:], axis=1)
            found.append(numbers)
        numbers = {name: np.concatenate([part[name] for part in found]) for name in found[0]}
    return ChunkResult(member, a, b, numbers)


def exposures_of(plan: Outline) -> list[list[Member]]:
    """Members of each exposure and detector, in order of time."""
    groups: dict[tuple[str, str], list[Member]] = {}
    for member in plan.members:
        groups.setdefault((member.exposure, member.segment.detector), []).append(member)
    return [sorted(group, key=lambda m: m.segment.int_start) for group in groups.values()]


def describe_exposure(members: Sequence[Member], imaging: bool) -> Exposure:
    """Exposure of some members in order of time."""
    axis = 0 if imaging else members[0].segment.get("DISPAXIS")
    if axis not in (0, 1, 2):
        axis = 1
    return Exposure(
        tuple(member.program.source for member in members),
        tuple(member.segment.int_start for member in members),
        int(axis),
    )


def modelled_plan(
    plan: AnyOutline,
    journal: Journal | None = None,
    scheduler: Any = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> AnyOutline:
    """Plan whose members know the model of their exposure.

    Parameters
    ----------
    plan : Outline
        A plan.
    journal : Journal, optional
        Results that need no computing any more, and where new ones go.
    scheduler : optional
        Where to compute.
    workers : int, optional
        Tasks at a time.
    progress : callable, optional
        Called with integrations done, integrations in all, and the phase.

    Returns
    -------
    Outline
        The plan itself where no parameter needs a model, or its members have theirs.
    """
    if not plan.needs_model or all(m.model is not None for m in plan.members):
        return plan
    graph: dict[Any, Any] = {}
    wanted: list[Any] = []
    extract = plan.parameters.extract_1d
    growth = plan.kind == "spectroscopy" and extract.optimize_aperture and not extract.skip
    groups = exposures_of(plan)
    for group in groups:
        exposure = describe_exposure(group, plan.kind == "imaging")
        name = exposure.identity[:16]
        key = f"exposure-{name}"
        known = _kept_model(journal, key)
        graph[key] = (sample_model, exposure, journal) if known is None else known
        wanted.append(key)
        for member in group:
            fits = []
            for a, b in chunk_bounds(member.chunks):
                entry = f"fit{'-growth' * growth}-{member.label}-{name}-{a:07d}-{b:07d}"
                source = member.program.source
                task: Any = (fit_chunk, key, source, growth, member.index, a, b)
                stored = None if journal is None else journal.load(entry)
                if journal is not None:
                    task = stored if stored is not None else (kept, journal, entry, task)
                graph[f"{entry}-numbers"] = task
                fits.append(f"{entry}-numbers")
            graph[f"fitted-{member.label}-{name}"] = (gather, fits)
            wanted.append(f"fitted-{member.label}-{name}")
    workers, done = workers or plan.budget.workers, _reporter(plan, progress)
    found = iter(compute(graph, wanted, scheduler=scheduler, workers=workers, done=done))
    members, notes = list(plan.members), list[str]()
    halo = max(plan.parameters.outlier_detection.rolling_window_width, 0)
    for group in groups:
        model: ExposureModel = next(found)
        found_here = [next(found) for _ in group]
        shared = _shared_numbers(model, group, found_here, halo)
        for member, own in zip(group, shared, strict=True):
            members[member.index] = with_model(member, own)
        notes += _findings(plan, group[0].exposure, model, found_here)
    return plan.with_members(members, notes)


def _reporter(plan: Outline, progress: Progress | None) -> Callable[[ChunkResult], None] | None:
    """Turn finished fits into integrations done."""
    if progress is None:
        return None
    seen: dict[tuple[int, int], int] = {}

    def done(result: ChunkResult) -> None:
        chunks = plan.members[result.member].chunks
        if result.b - result.a in chunks:  # else those of a whole member, gathered
            seen[result.member, result.a] = result.b - result.a
            progress(sum(seen.values()), plan.nints, "modelling")

    return done


def _findings(
    plan: Outline, exposure: str, model: ExposureModel, fits: Sequence[ChunkResult]
) -> Iterator[str]:
    """What a user should know of the model of an exposure."""
    if not model.region.any():
        step, replacement = plan.parameters.outlier_detection, plan.parameters.pixel_replace
        lost = ["flagged"] if plan.flags and step.scale_brightness else []
        lost += ["replaced"] if replacement.needs_model else []
        so = f", so that no pixel is {' or '.join(lost)}" if lost else ""
        yield (
            f"{exposure}: no light of the target was found; nothing is fitted to its "
            f"integrations{so}"
        )
        return
    unknown = sum(int(np.count_nonzero(np.isnan(f.rows["brightness"]))) for f in fits)
    if unknown:
        many = "integration has" if unknown == 1 else "integrations have"
        yield f"{exposure}: {unknown} {many} too few usable pixels for a fit of the model"
    if not 0.7 < model.scatter < 1.4:
        yield (
            f"{exposure}: pixels scatter {model.scatter:.2f} times as much as their variances say"
        )


def _kept_model(journal: Journal | None, name: str) -> ExposureModel | None:
    """Images of a model that an interrupted run left."""
    if journal is None or not (path := Path(journal.folder) / f"{name}.pickle").exists():
        return None
    try:
        found = load_object(str(path))
    except (RunError, EOFError, ValueError):
        return None
    return found if isinstance(found, ExposureModel) else None


def _shared_numbers(
    model: ExposureModel, group: Sequence[Member], fits: Sequence[ChunkResult], halo: int
) -> list[ExposureModel]:
    """Model of each segment, with the numbers of `halo` integrations around it; gaps are NaN."""
    from tso3dask.ops.growth import growth_curve

    begin = group[0].segment.int_start
    total = group[-1].segment.int_end + 1 - begin
    rows: dict[str, np.ndarray] = {
        name: np.full((total, *values.shape[1:]), np.nan) for name, values in fits[0].rows.items()
    }
    for member, fit in zip(group, fits, strict=True):
        at = member.segment.int_start - begin
        for name, values in fit.rows.items():
            rows[name][at : at + len(values)] = values
    numbers: dict[str, Any] = {name: rows.pop(name) for name in NUMBERS}
    curve = growth_curve(rows.pop("growth")) if "growth" in rows else None
    whole = replace(model, extra=rows, growth=curve, **numbers)
    out = []
    for member in group:
        at = member.segment.int_start - begin
        own = replace(whole, first=-at)
        low = max(-at, -halo)
        out.append(own.rows(low, min(total - at, member.segment.nints + halo)))
    return out


def with_model(member: Member, model: ExposureModel) -> Member:
    """Member that knows its model, and whose stages and setups that ask for it have it too.

    Those are the ones that have a method ``with_model``, which gives back the same with the model.
    """
    stages = tuple(_given(stage, model) for stage in member.program.stages)
    program = replace(member.program, stages=stages)
    setups = {
        name: _given(getattr(member, name), model) for name in ("imaging", "spectrum", "soss")
    }
    return replace(member, model=model, program=program, **setups)


def _given(item: Any, model: ExposureModel) -> Any:
    return item.with_model(model) if hasattr(item, "with_model") else item
