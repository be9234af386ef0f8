"""What a run will do, known from headers alone: members, chunks, memory, products."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from dask.tokenize import tokenize

import tso3dask
from tso3dask.config import PipelineParameters, parse_steps
from tso3dask.errors import InputError
from tso3dask.graph.chunking import Budget, chunk_sizes, make_budget
from tso3dask.graph.dataset import segment_times
from tso3dask.graph.imaging import ImagingSetup, imaging_setup
from tso3dask.graph.program import Program, Source
from tso3dask.graph.spectra import SpectraCache, SpectrumSetup, spectrum_setup
from tso3dask.graph.stages import Match, flag_stage
from tso3dask.io import reference
from tso3dask.io.asn import read_association
from tso3dask.io.naming import ProductNames, product_names
from tso3dask.io.observation import Observation, exposure_name, open_observation
from tso3dask.io.segment import Segment
from tso3dask.ops.whitelight import repeated_times

if TYPE_CHECKING:
    import xarray as xr

    from tso3dask.graph.record import RunResult

__all__ = ["Member", "Plan", "make_plan"]


@dataclass(frozen=True, eq=False)
class Member:
    """One member of an observation as a run will treat it.

    Attributes
    ----------
    index : int
        Place in the association.
    segment : Segment
        Its headers.
    exposure : str
        Exposure and detector that it belongs to.
    program : Program
        Flagging of its pixels.
    chunks : tuple of int
        Lengths along ``integration``.
    times : IntegrationTimes
        Numbers and times of its integrations.
    imaging : ImagingSetup or None
        Photometry, for imaging.
    spectrum : SpectrumSetup or None
        Extraction, for spectroscopy.
    """

    index: int
    segment: Segment
    exposure: str
    program: Program
    chunks: tuple[int, ...]
    times: Any
    imaging: ImagingSetup | None = None
    spectrum: SpectrumSetup | None = None

    @property
    def label(self) -> str:
        """Short name in task keys."""
        return f"seg{self.index + 1:03d}"

    @property
    def node(self) -> str:
        """Path in trees: exposure and segment."""
        number = self.segment.get("EXSEGNUM") or self.index + 1
        return f"/{self.exposure}/seg{int(number):03d}"

    @cached_property
    def mid_utc(self) -> np.ndarray:
        """UTC mid times, NaN where they repeat an earlier one of the member."""
        utc = np.array(self.times.times["mjd_avg"])
        utc[repeated_times(utc)] = np.nan
        return utc


@dataclass(frozen=True, eq=False)
class Plan:
    """Everything that a run will do. Made from headers; no pixel has been read.

    Attributes
    ----------
    observation : Observation
        Association and members.
    parameters : PipelineParameters
        Parameters of all steps.
    members : tuple of Member
        Members in association order.
    names : ProductNames
        File names of the products.
    budget : Budget
        Workers, sub-blocks and projected memory.
    references : dict
        Reference file by type; None for N/A.
    notes : tuple of str
        What a user should know before running.
    """

    observation: Observation
    parameters: PipelineParameters
    members: tuple[Member, ...]
    names: ProductNames
    budget: Budget
    references: dict[str, str | None]
    notes: tuple[str, ...] = field(default=())

    @property
    def kind(self) -> str:
        """``imaging``, ``spectroscopy`` or ``soss``."""
        return mode_of(self.observation)

    @property
    def flags(self) -> bool:
        """Whether outlier detection runs, and so crfints are written."""
        return not self.parameters.outlier_detection.skip

    @property
    def products(self) -> dict[str, list[str]]:
        """File names of the products that a run will write, by kind."""
        out: dict[str, list[str]] = {}
        if self.flags:
            out["crfints"] = list(self.names.crfints)
        if self.kind == "imaging" and not self.parameters.tso_photometry.skip:
            out["phot"] = [self.names.phot]
        if self.spectra:
            out["x1dints"] = [self.names.x1dints]
            if not self.parameters.white_light.skip:
                out["whtlt"] = [self.names.whtlt]
        return out

    @property
    def spectra(self) -> list[Member]:
        """Members that have a spectrum."""
        return [m for m in self.members if m.spectrum is not None]

    @cached_property
    def token(self) -> str:
        """Name of the results: files, parameters, references and version."""
        files = {k: None if v is None else _stamp(v) for k, v in self.references.items()}
        programs = [m.program.token for m in self.members]
        return tokenize(tso3dask.__version__, programs, self.parameters, files, self.names.phot)

    @property
    def nints(self) -> int:
        """Integrations of all members."""
        return self.observation.nints

    @property
    def tasks(self) -> int:
        """Chunk tasks of a run."""
        passes = 1
        if "phot" in self.products:
            passes = 3 if self.parameters.tso_photometry.centroid_source else 2
        return passes * sum(len(m.chunks) for m in self.members)

    @property
    def white_range(self) -> tuple[float, float]:
        """Wavelength range of the white light, micrometres."""
        from tso3dask.ops.whitelight import wavelength_range

        step = self.parameters.white_light
        return wavelength_range(None, 1, None, step.min_wavelength, step.max_wavelength)

    @cached_property
    def crfints(self) -> xr.DataTree:
        """Flagged pixels of every member, lazy: ``/<exposure>/seg001`` and so on."""
        from tso3dask.graph import lazy

        return lazy.crfints(self)

    @cached_property
    def x1dints(self) -> xr.DataTree:
        """Spectra of every member, lazy."""
        from tso3dask.graph import lazy

        return lazy.x1dints(self)

    @cached_property
    def phot(self) -> xr.Dataset:
        """Photometry table, lazy."""
        from tso3dask.graph import lazy

        return lazy.phot(self)

    @cached_property
    def whtlt(self) -> xr.Dataset:
        """White-light table, lazy."""
        from tso3dask.graph import lazy

        return lazy.whtlt(self)

    def compute(self, *products: str, **options: Any) -> tuple[Any, ...]:
        """Compute several lazy products at once, sharing their work.

        Parameters
        ----------
        *products : str
            Names among ``crfints``, ``x1dints``, ``phot``, ``whtlt``.
        **options
            Passed to `dask.compute`.

        Returns
        -------
        tuple
            Datasets and trees in memory.
        """
        from tso3dask.graph import lazy

        return lazy.compute(self, products, **options)

    def visualize(self, filename: str = "tso3dask.svg", **options: Any) -> Any:
        """Draw the graph of the run; needs graphviz or ipycytoscape, as dask does."""
        import dask

        from tso3dask.graph.run import run_graph

        graph, _ = run_graph(self)
        return dask.base.visualize_dsk(graph, filename=filename, collapse_outputs=True, **options)

    def run(
        self,
        output_dir: str | os.PathLike[str] = ".",
        *,
        scheduler: str | None = None,
        workers: int | None = None,
        overwrite: bool = False,
        resume: bool = False,
        progress: Any = None,
    ) -> RunResult:
        """Write the products.

        Parameters
        ----------
        output_dir : path-like
            Folder for the products; made if it is not there.
        scheduler : str, optional
            ``threads``, ``processes``, ``synchronous`` or an address; by default the active dask
            scheduler or Client, else threads.
        workers : int, optional
            Tasks at a time on a local scheduler; by default what the memory limit allows.
        overwrite : bool
            Replace products that are there.
        resume : bool
            Go on where an interrupted run of the same plan stopped.
        progress : callable, optional
            Called with integrations done, integrations in all, and the phase.

        Returns
        -------
        RunResult

        Raises
        ------
        InputError
            If the folder holds earlier products, or cannot be used.
        RunError
            If processing failed; nothing half-written is left under a product's name.
        """
        from tso3dask.graph.run import run_plan

        return run_plan(
            self,
            Path(output_dir),
            scheduler=scheduler,
            workers=workers,
            overwrite=overwrite,
            resume=resume,
            progress=progress,
        )

    def __repr__(self) -> str:
        from tso3dask.graph.describe import plan_text

        return plan_text(self)

    def _repr_html_(self) -> str:
        from tso3dask.graph.describe import plan_html

        return plan_html(self)


def mode_of(observation: Observation) -> str:
    """Tell imaging, spectroscopy and NIRISS SOSS apart."""
    if observation.imaging:
        return "imaging"
    return "soss" if observation.exp_type == "NIS_SOSS" else "spectroscopy"


def _stamp(path: str) -> tuple[str, int, int]:
    stat = Path(path).stat()
    return str(Path(path).resolve()), stat.st_size, stat.st_mtime_ns


def make_plan(
    source: Any,
    steps: Mapping[str, Mapping[str, Any]] | PipelineParameters | None = None,
    *,
    chunk_integrations: int | None = None,
    memory_limit: str | int | None = None,
    workers: int | None = None,
    separate_processes: bool = False,
) -> Plan:
    """Plan a run from headers alone.

    Parameters
    ----------
    source : path, mapping or list of paths
        Association file or its content, or calints files.
    steps : mapping, optional
        Parameters by step, as ``Tso3Pipeline.call(steps=...)`` takes them.
    chunk_integrations : int, optional
        Integrations of a task; chosen by default.
    memory_limit : str or int, optional
        Memory of the whole run, as ``"8GiB"``; 1 GB by default.
    workers : int, optional
        Tasks at a time; by default the number of cores, as far as memory allows.
    separate_processes : bool
        Count memory for workers that are processes of their own.

    Returns
    -------
    Plan

    Raises
    ------
    InputError
        For anything wrong that headers, parameters and references can tell.
    """
    parameters = parse_steps(steps)
    reference.check_overrides(parameters)
    association = read_association(source)
    observation = open_observation(association)
    names = product_names(association.name, association.members, association.asn_id)
    kind = mode_of(observation)
    needed, mandatory = _needed_references(observation, parameters, kind)
    references = reference.find_references(parameters, needed, mandatory)
    notes = [*association.notes, *parameters.notes, *observation.notes]
    setups, found = _setups(observation, parameters, kind, references)
    notes += [*found, *_left_out(observation, parameters, kind)]
    untimed: dict[str, list[str]] = {}
    members = []
    for i, segment in enumerate(observation.segments):
        times = segment_times(segment)
        for note in times.notes:
            untimed.setdefault(note, []).append(segment.path.name)
        program = _program(segment, parameters, kind)
        window = parameters.outlier_detection.rolling_window_width
        chunks = chunk_sizes(
            segment.nints,
            segment.bytes_per_integration,
            min(window, segment.nints),
            total=observation.nints,
            requested=chunk_integrations,
        )
        exposure = exposure_name(segment)
        members.append(Member(i, segment, exposure, program, chunks, times, *setups[i]))
    for note, names_of in untimed.items():
        who = names_of[0] if len(names_of) == 1 else f"{len(names_of)} members"
        notes.append(f"{who}: {note}")
    budget = _budget(observation, parameters, setups, memory_limit, workers, separate_processes)
    return Plan(
        observation,
        parameters,
        tuple(members),
        names,
        budget,
        references,
        tuple(dict.fromkeys(notes)),
    )


def _needed_references(
    observation: Observation, parameters: PipelineParameters, kind: str
) -> tuple[list[str], list[str]]:
    first = observation.first
    if kind == "imaging" and not parameters.tso_photometry.skip:
        return (["gain"], ["gain"]) if first.get("BUNIT") == "DN/s" else ([], [])
    if kind == "spectroscopy" and not parameters.extract_1d.skip:
        corrects = parameters.extract_1d.apply_apcorr and any(
            s.instrument in ("MIRI", "NIRSPEC") and s.text("SRCTYPE") == "POINT"
            for s in observation.segments
        )
        return (["extract1d", "apcorr"] if corrects else ["extract1d"]), []
    return [], []


def _left_out(observation: Observation, parameters: PipelineParameters, kind: str) -> Iterable[str]:
    """Notes on references that were given and are of no use here."""
    step = parameters.extract_1d
    given = parameters.override("apcorr") not in (None, "N/A")
    if kind != "spectroscopy" or step.skip or not step.apply_apcorr or not given:
        return
    if observation.first.instrument not in ("MIRI", "NIRSPEC"):
        yield (
            f"override_apcorr: spectra of {observation.exp_type} have no aperture correction; "
            "it is left out"
        )


def _program(segment: Segment, parameters: PipelineParameters, kind: str) -> Program:
    program = Program(Source.from_segment(segment))
    if not parameters.outlier_detection.skip:
        return program.then(flag_stage(parameters, segment.nints))
    return program if kind == "imaging" else program.then(Match())


def _setups(
    observation: Observation,
    parameters: PipelineParameters,
    kind: str,
    references: Mapping[str, str | None],
) -> tuple[list[tuple[ImagingSetup | None, SpectrumSetup | None]], list[str]]:
    """Photometry or extraction of every member, and notes."""
    setups: list[tuple[ImagingSetup | None, SpectrumSetup | None]] = []
    notes: list[str] = []
    if kind == "imaging" and not parameters.tso_photometry.skip:
        path = references.get("gain")
        for segment in observation.segments:
            gain = None if path is None else reference.read_gain(path, segment)
            imaging, found = imaging_setup(segment, parameters, gain)
            setups.append((imaging, None))
            notes += found
    elif kind == "spectroscopy" and not parameters.extract_1d.skip:
        regions = reference.read_extract1d(references.get("extract1d"))
        apcorr = reference.read_apcorr(references.get("apcorr"), observation.exp_type)
        cache: SpectraCache = {}
        for segment in observation.segments:
            spectrum, found = spectrum_setup(segment, parameters, regions, apcorr, cache)
            setups.append((None, spectrum))
            prefix = "" if spectrum is not None else f"{segment.path.name}: no spectrum: "
            notes += [prefix + note for note in found]
        _require_spectrum(setups, notes)
    else:
        setups = [(None, None)] * len(observation.segments)
    return setups, notes


def _require_spectrum(setups: Iterable[tuple[Any, SpectrumSetup | None]], notes: list[str]) -> None:
    if all(spectrum is None for _, spectrum in setups):
        raise InputError(
            "no member has a spectrum to extract: " + ("; ".join(notes) or "nothing matched")
        )


def _budget(
    observation: Observation,
    parameters: PipelineParameters,
    setups: list[tuple[ImagingSetup | None, SpectrumSetup | None]],
    memory_limit: str | int | None,
    workers: int | None,
    separate_processes: bool,
) -> Budget:
    largest = max(observation.segments, key=lambda s: s.bytes_per_integration)
    width = parameters.outlier_detection.rolling_window_width
    window = width if not parameters.outlier_detection.skip and width < largest.nints else 1
    constants = 4 * largest.ny * largest.nx
    for _, spectrum in setups:
        if spectrum is not None:
            constants = max(constants, 32 * largest.ny * largest.nx)
    return make_budget(
        plane=8 * largest.ny * largest.nx,
        stored=largest.bytes_per_integration,
        window=window,
        constants=constants,
        memory_limit=memory_limit,
        workers=workers,
        separate_processes=separate_processes,
    )
