"""NIRISS SOSS: the tasks of a member.

What is constant for a segment is made once from its summary: traces, weights, and the model of the
overlapping orders. A task then streams its integrations, flags them, writes their rows of
crfints, fills gaps in time, extracts all orders, writes those to x1dints, and returns one flux per
order and integration.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from dask.tokenize import tokenize

from tso3dask.errors import RunError
from tso3dask.graph.chunking import BASE_MEMORY
from tso3dask.graph.execute import compute, task_errors
from tso3dask.graph.extraction import DynamicSpectrum
from tso3dask.graph.job import Job
from tso3dask.graph.program import Block, Program
from tso3dask.graph.shared import shared_object
from tso3dask.graph.soss import OrderSetup, PreparedSegment, SossSetup
from tso3dask.graph.soss_fill import FillInTime, filled_stream, pixelwise, summary_prologue
from tso3dask.graph.soss_store import program_summary
from tso3dask.graph.stages import median_prologue
from tso3dask.io.fitted_spectra import FittedTable
from tso3dask.io.journal import ChunkResult, Journal, load_object
from tso3dask.io.soss_references import write_wave_grid
from tso3dask.ops.curves import LightCurves

if TYPE_CHECKING:
    from tso3dask.graph.outline import Outline

__all__ = [
    "COLUMNS",
    "PreparationError",
    "SegmentExtraction",
    "SossJob",
    "extract_orders",
    "in_pieces",
    "keep_extraction",
    "prepare_extraction",
    "prepared_plan",
    "soss_prologue",
    "taken_extraction",
]

COLUMNS = ("FLUX", "FLUX_ERROR", "BACKGROUND", "NPIXELS")
"""Columns of x1dints that have values; all others are 0."""

PREPARING_BYTES = 5 * 10**8
"""Memory that preparing the model of a segment takes."""

MODELS_AT_A_TIME = 4
"""Integrations of which images of models are held at a time."""

NOTE_LENGTH = 200
"""Letters of a note on an integration at most."""

AnyOutline = TypeVar("AnyOutline", bound="Outline")


class PreparationError(RunError):
    """The orders of a segment cannot be modelled, however often it is tried."""


@dataclass(frozen=True, eq=False)
class SegmentExtraction:
    """What the tasks of a segment share.

    Attributes
    ----------
    factors : dict of (int, ndarray or None)
        Columns and calibration of each order.
    background : bool
        Whether backgrounds are subtracted.
    weights : dict of ndarray
        Box (y, x) by order, where nothing is modelled.
    model : SegmentModel or None
        Model of the orders.
    constants : dict
        What the stages of the program need, as ``summary`` and ``median``.
    saves : bool
        Whether images of models and fitted spectra are wanted beside the extracted ones.
    empty : bool
        Whether no pixel of the boxes is usable: nothing is modelled, and all spectra are NaN.
    """

    factors: dict[int, tuple[int, np.ndarray | None]]
    background: bool
    constants: dict[str, Any]
    weights: dict[int, np.ndarray] = field(default_factory=dict)
    model: Any = None
    saves: bool = False
    empty: bool = False

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know."""
        if self.empty:
            return ("no usable pixel within the boxes of its orders: its spectra are NaN",)
        return () if self.model is None else self.model.notes

    @property
    def most(self) -> int | None:
        """Integrations to extract at a time at most, for images of models take memory."""
        return MODELS_AT_A_TIME if self.saves else None

    @property
    def fitted(self) -> tuple[FittedTable, ...]:
        """Tables of the spectra that are fitted to an integration, if they are wanted."""
        columns = self.model.fitted_columns() if self.saves and not self.empty else {}
        return tuple(
            FittedTable(order, wave[there]) for (order, _), (wave, there) in columns.items()
        )

    def spectra(
        self, arrays: Mapping[str, np.ndarray], *, save: bool = True
    ) -> tuple[dict[str, np.ndarray], list[tuple[int, str]]]:
        """Columns of the EXTRACT1D rows of filled integrations.

        Parameters
        ----------
        arrays : mapping
            Cubes that `FillInTime` gives.
        save : bool
            Whether models can be put to files here.

        Returns
        -------
        columns : dict of ndarray
            (integration, dispersion): `COLUMNS` of each order, as ``FLUX_1``, and the same
            before calibration, as ``FLUX_1_rate``. If models are wanted, images of those
            (integration, y, x) as ``model_1``, of the boxes as ``aperture_1``, and fitted spectra
            (integration, column), DN/s, as ``flux_0``.
        notes : list of (int, str)
            Integration among those given, and what is the matter with it.
        """
        from tso3dask.ops.soss.prepare import extract_boxes, take_background

        ready = take_background(arrays["sci"], arrays["err"], arrays["mask"], self.background)
        notes: list[tuple[int, str]] = []
        saved: dict[str, np.ndarray] = {}
        if self.model is None:
            sizes = {order: size for order, (size, _) in self.factors.items()}
            boxes = extract_boxes(ready, self.weights, sizes)
            found = {o: (s.flux, s.flux_error, s.npixels) for o, s in boxes.items()}
            if self.saves and save:
                nothing = np.zeros(ready.image.shape)
                saved = self._images(dict.fromkeys(self.factors, nothing), self.weights)
                for i, (size, _) in enumerate(self.factors.values()):
                    saved[f"flux_{i}"] = np.full((len(nothing), size), np.nan)
        else:
            solved = self.model.solve(ready.image, ready.error, models=self.saves and save)
            notes = list(solved.notes)
            saved = self._saved(solved)
            found = {
                order: (solved.flux[order], solved.flux_error[order], solved.npixels[order])
                for order in self.factors
            }
        out = saved
        for order, (size, factor) in self.factors.items():
            flux, error, npixels = (values[:, :size] for values in found[order])
            values = dict(zip(COLUMNS, (flux, error, ready.background[:, :size]), strict=False))
            for name, rate in values.items():
                out[f"{name}_{order}_rate"] = rate
                out[f"{name}_{order}"] = rate if factor is None else rate * factor
            out[f"NPIXELS_{order}"] = out[f"NPIXELS_{order}_rate"] = npixels
            if not self.empty:
                dark = np.flatnonzero(~np.isfinite(flux).any(axis=1))
                notes += [(int(one), f"order {order}: no flux at all") for one in dark]
        return out, notes

    @staticmethod
    def _images(
        models: Mapping[int, np.ndarray], boxes: Mapping[int, np.ndarray]
    ) -> dict[str, np.ndarray]:
        out = {}
        for order, images in models.items():
            out[f"model_{order}"] = images
            weights = boxes[order].astype(np.float32)
            out[f"aperture_{order}"] = np.broadcast_to(weights, images.shape)
        return out

    def _saved(self, solved: Any) -> dict[str, np.ndarray]:
        """Models, boxes and fitted spectra, as files of them are given."""
        out = self._images(solved.models, self.model.apertures)
        columns = self.model.fitted_columns() if solved.fitted else {}
        for i, (part, (_, fluxes)) in enumerate(solved.fitted.items()):
            out[f"flux_{i}"] = fluxes[:, columns[part][1]]
        return out


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


def prepare_extraction(
    setup: SossSetup, constants: Sequence[tuple[str, Any]], path: str, after: Any = None
) -> SegmentExtraction:
    """Task: everything that is constant for a segment, from its summary among the `constants`.

    `after` is the result of a task that must have ended before, for the sake of memory.

    Raises
    ------
    PreparationError
        If the orders cannot be modelled; it names the segment.
    """
    factors = {o.spectral_order: (o.wavelength.size, o.factor) for o in setup.orders}
    background = bool(setup.parameters.subtract_background)
    known = dict(constants)
    summary = known["summary"]
    weights = {item.spectral_order: item.weights for item in setup.orders}
    inside = np.logical_or.reduce([image > 0 for image in weights.values()])
    empty = not (inside & ~summary.unusable).any()
    if empty or not setup.models:
        saves = setup.saves and empty
        return SegmentExtraction(factors, background, known, weights, saves=saves, empty=empty)
    from tso3dask.ops.soss.prepare import prepare_mean

    typical = prepare_mean(summary, background)
    try:
        model = _model(setup, typical.image[0], summary)
    except RunError as error:
        raise PreparationError(f"{path}: {error}") from error
    return SegmentExtraction(factors, background, known, model=model, saves=setup.saves)


def _model(setup: SossSetup, typical: np.ndarray, summary: Any) -> Any:
    """Model of the orders of a segment."""
    from tso3dask.ops.soss.estimate import flux_spline
    from tso3dask.ops.soss.kernels import ResolutionKernel
    from tso3dask.ops.soss.model import AtocaParameters, SpectralOrder, prepare_segment
    from tso3dask.ops.soss.throughput import Throughput

    step, references = setup.parameters, setup.references
    kernels = references.kernels
    assert kernels is not None
    orders = []
    for item in setup.orders:
        trace = item.trace
        assert item.profile is not None
        centre = trace.centre_wavelength()
        orders.append(
            SpectralOrder(
                order=item.spectral_order,
                wavelength=trace.wavelength_map(len(item.weights)),
                profile=item.profile,
                throughput=Throughput(item.throughput.wavelength, item.throughput.throughput),
                kernel=ResolutionKernel(
                    kernels.wavelengths, kernels.kernels, centre, kernels.pixels
                ),
                columns=trace.columns,
                trace_wavelength=trace.wavelength,
                aperture=item.weights,
            )
        )
    estimate = None if references.estimate is None else flux_spline(*references.estimate)
    parameters = AtocaParameters(
        threshold=float(step.soss_threshold),
        n_os=int(step.soss_n_os),
        rtol=float(step.soss_rtol),
        max_grid_size=int(step.soss_max_grid_size),
        wave_grid=references.grid,
        estimate=estimate,
        tikfac=None if step.soss_tikfac is None else float(step.soss_tikfac),
        bad_pix=step.soss_bad_pix,
        cutoffs=setup.cutoffs,
        fitted=setup.saves,
        blue_order2=setup.layout != "SUBSTRIP96",
    )
    bad, reference = summary.unusable, summary.reference
    return prepare_segment(orders, typical, summary.median_error, bad, reference, parameters)


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
