"""What a run will do, known from headers alone: members, chunks, memory, products."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache, cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask
import dask.threaded

from tso3dask.config import (
    PipelineParameters,
    parse_steps,
)
from tso3dask.errors import InputError
from tso3dask.graph.budget import plan_budget
from tso3dask.graph.chunking import chunk_sizes
from tso3dask.graph.curves import check_curves
from tso3dask.graph.hook_limits import check_hooks
from tso3dask.graph.imaging import ImagingSetup, imaging_setup
from tso3dask.graph.integration_times import segment_times
from tso3dask.graph.member_program import member_program
from tso3dask.graph.outline import Member, Outline, mode_of
from tso3dask.graph.relevance import left_out, needed_references
from tso3dask.graph.replacement import member_replacements, trace_model_status
from tso3dask.graph.sizes import held_bytes
from tso3dask.graph.soss import SossSetup, soss_setups
from tso3dask.graph.spectra import SpectraCache, spectrum_setup
from tso3dask.graph.spectrum import SpectrumSetup
from tso3dask.io import reference
from tso3dask.io.asn import dropped_folder, read_association
from tso3dask.io.bestrefs import MemberReferences, find_references
from tso3dask.io.crds_client import context_in_use
from tso3dask.io.crds_parameters import CrdsParameters, over_crds_parameters
from tso3dask.io.naming import product_names
from tso3dask.io.observation import Observation, exposure_name, open_observation
from tso3dask.io.segment import Segment
from tso3dask.recipes import over_recipe, read_recipe
from tso3dask.wording import counted

if TYPE_CHECKING:
    import xarray as xr

    from tso3dask.graph.record import RunResult

__all__ = ["Member", "Plan", "make_plan"]


HOOKED_BYTES = 24 * 10**6
"""Stored bytes of a chunk of a plan with hooks, which holds chunks as a whole."""

HOOKED_ROWS = 4
"""Fewest integrations of such a chunk of NIRISS SOSS, which is filled from those around."""


class Plan(Outline):
    """Everything that a run will do. Made from headers; no pixel has been read.

    `Outline` lists the facts; here is what can be done with them. Where the profile of an optimal
    extraction is fitted, lazy spectra read the first integration of each member when they are
    first asked for.
    """

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

    @cached_property
    def speclc(self) -> xr.Dataset:
        """Light curves of spectroscopic channels, lazy; made by the step ``light_curves``."""
        from tso3dask.graph import lazy

        return lazy.channel_dataset(self)

    @cached_property
    def regressors(self) -> xr.Dataset:
        """Place, width, brightness and background of the target, and numbers of bad pixels.

        Made by the step of this name; the models of the exposures are computed when it is asked
        for.
        """
        from tso3dask.graph import lazy

        return lazy.regressor_dataset(self)

    @cached_property
    def replaced(self) -> xr.DataTree:
        """Pixels as ``pixel_replace`` leaves them, lazy; spectra are extracted from these.

        No product has them: crfints are written before. An InputError if the step is skipped.
        """
        from tso3dask.graph import lazy

        return lazy.replaced(self)

    def check(self) -> None:
        """Refuse names of files that clash, and hooks that return what is of no use.

        Hooks are called on lazy datasets; no pixel is read.
        """
        check_curves(self)
        check_hooks(self)
        _ = self.files
        if self.parameters.hooks:
            from tso3dask.graph import lazy

            lazy.make(self)

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

    @cached_property
    def _collections(self) -> dict[str, Any]:
        from tso3dask.graph import lazy

        return lazy.make(self)

    def __dask_graph__(self) -> dict[Any, Any]:
        from tso3dask.graph import lazy

        graph: dict[Any, Any] = {}
        for dataset in lazy.flatten(self._collections):
            graph.update(dataset.__dask_graph__() or {})
        return graph

    def __dask_keys__(self) -> list[Any]:
        from tso3dask.graph import lazy

        return [dataset.__dask_keys__() for dataset in lazy.flatten(self._collections)]

    def __dask_postcompute__(self) -> tuple[Any, tuple[Any, ...]]:
        from tso3dask.graph import lazy

        flat = lazy.flatten(self._collections)
        steps = [dataset.__dask_postcompute__() for dataset in flat]
        return lazy.finish, (steps, lazy.leaf_paths(self._collections))

    @staticmethod
    def __dask_optimize__(graph: Any, keys: Any, **options: Any) -> Any:
        return graph  # every task of it is needed

    __dask_scheduler__ = staticmethod(dask.threaded.get)

    def __dask_tokenize__(self) -> str:
        return self.token

    def visualize(self, filename: str = "tso3dask.svg", **options: Any) -> Any:
        """Draw the graph of the run; needs graphviz or ipycytoscape, as dask does."""
        from tso3dask.graph.run import run_graph

        graph, _ = run_graph(self)
        return dask.base.visualize_dsk(graph, filename=filename, collapse_outputs=True, **options)

    def destinations(
        self,
        output_dir: str | os.PathLike[str] = ".",
        *,
        overwrite: bool = False,
        resume: bool = False,
    ) -> dict[str, list[Path]]:
        """Tell where a run would put each file; nothing is written.

        Parameters
        ----------
        output_dir : path-like
            Folder for the products.
        overwrite, resume : bool
            As for `run`.

        Returns
        -------
        dict of str to list of Path
            Paths by kind of product.

        Raises
        ------
        InputError
            If the folder holds earlier products or an interrupted run, or cannot be used.
        """
        from tso3dask.graph.run import destinations

        return destinations(self, Path(output_dir), overwrite, resume)

    def left_behind(self, output_dir: str | os.PathLike[str] = ".") -> list[str]:
        """Return a note if only a run of another plan was interrupted there.

        ``resume=True`` cannot go on with it: such a run begins anew.
        """
        from tso3dask.graph.run import left_behind

        return left_behind(self, Path(output_dir))

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


def make_plan(
    source: Any,
    steps: Mapping[str, Mapping[str, Any]] | PipelineParameters | None = None,
    *,
    product_name: str | None = None,
    chunk_integrations: int | None = None,
    memory_limit: str | int | None = None,
    workers: int | None = None,
    separate_processes: bool = False,
    origins: Mapping[str, str] | None = None,
    crds_parameters: bool = False,
    recipe: str | None = None,
) -> Plan:
    """Plan a run from headers alone.

    Parameters
    ----------
    source : path, mapping, list of paths or Association
        Association file or its content, or calints files.
    steps : mapping, optional
        Parameters by step, as ``Tso3Pipeline.call(steps=...)`` takes them.
    product_name : str, optional
        Beginning of the names of the tables and spectra, instead of the association's.
    chunk_integrations : int, optional
        Integrations of a task; chosen by default.
    memory_limit : str or int, optional
        Memory of the whole run, as ``"8GiB"``; 1 GB by default, 1.5 GB for spectra of NIRISS SOSS.
    workers : int, optional
        Tasks at a time; by default the number of cores, as far as memory allows.
    separate_processes : bool
        Count memory for workers that are processes of their own.
    origins : mapping, optional
        Where a ``step.parameter`` of `steps` comes from, for the plan's text.
    crds_parameters : bool
        Look up parameter files of CRDS, over which `steps` go.
    recipe : str, optional
        Name of a recipe or path of its file: parameters over those of CRDS and below `steps`.

    Returns
    -------
    Plan

    Raises
    ------
    InputError
        For anything wrong that headers, parameters and references can tell.
    """
    parameters = parse_steps(steps, origins)
    reference.check_overrides(parameters)
    chosen = None if recipe is None else read_recipe(recipe)
    association = read_association(source)
    if product_name is not None:
        notes_of_name = dropped_folder(product_name, "output_file")
        association = replace(
            association, name=product_name, notes=(*association.notes, *notes_of_name)
        )
    observation = open_observation(association)
    if chosen is not None:
        grating = observation.first.text("GRATING")
        values = chosen.steps(observation.exp_type, grating, imaging=observation.imaging)
        parameters = over_recipe(parameters, chosen, values)
        reference.check_overrides(parameters)
    found_parameters = CrdsParameters()
    if crds_parameters:
        parameters, found_parameters = over_crds_parameters(parameters, observation.first)
    names = product_names(association.name, association.members, association.asn_id)
    kind = mode_of(observation)
    needed, mandatory = needed_references(observation, parameters, kind)
    references = find_references(parameters, observation.segments, needed, mandatory)
    notes = [*association.notes, *parameters.notes, *found_parameters.notes, *observation.notes]
    setups, found = _setups(observation, parameters, kind, references)
    orders: Sequence[SossSetup | None] = [None] * len(observation.segments)
    if kind == "soss":
        orders, found_here = soss_setups(observation.segments, parameters, references)
        found = [*found, *found_here]
    notes += [*found, *left_out(observation, parameters, kind)]
    replaced, found = member_replacements(observation.segments, parameters)
    notes += [*found, *trace_model_status(observation.segments, parameters)[1]]
    untimed: dict[str, list[str]] = {}
    members = []
    for i, segment in enumerate(observation.segments):
        times = segment_times(segment)
        for note in times.notes:
            untimed.setdefault(note, []).append(segment.path.name)
        program = member_program(observation, i, parameters, kind, replaced[i])
        window = parameters.outlier_detection.rolling_window_width
        chunks = chunk_sizes(
            segment.nints,
            segment.bytes_per_integration,
            min(window, segment.nints),
            total=observation.nints,
            requested=_hooked_chunk(parameters, segment)
            if chunk_integrations is None
            else chunk_integrations,
        )
        exposure = exposure_name(segment)
        members.append(
            Member(
                i, segment, exposure, program, chunks, times, *setups[i], references[i], orders[i]
            )
        )
    for note, names_of in untimed.items():
        who = names_of[0] if len(names_of) == 1 else counted(len(names_of), "member")
        notes.append(f"{who}: {note}")
    extracted = any(s is not None for s in (*orders, *(spectrum for _, spectrum in setups)))
    limits = memory_limit, workers, separate_processes
    facts = observation, parameters, extracted, any(replaced)
    budget = plan_budget(*facts, *limits)
    plan = Plan(
        observation,
        parameters,
        tuple(members),
        names,
        budget,
        tuple(dict.fromkeys(notes)),
        _crds_in_use(references, found_parameters),
        found_parameters.summary,
        "" if chosen is None else chosen.name,
    )
    plan = replace(plan, budget=plan_budget(*facts, *limits, held=held_bytes(plan)))
    plan.check()
    return plan


def _hooked_chunk(parameters: PipelineParameters, segment: Segment) -> int | None:
    """Integrations of a chunk that a task with hooks holds as a whole."""
    if not parameters.hooks:
        return None
    fewest = HOOKED_ROWS if segment.exp_type == "NIS_SOSS" else 1
    return max(fewest, HOOKED_BYTES // segment.bytes_per_integration)


def _crds_in_use(
    references: Sequence[MemberReferences], parameters: CrdsParameters
) -> tuple[str, str] | None:
    asked = any(file.from_crds for files in references for file in files.values())
    return context_in_use() if asked or parameters.asked else None


def _setups(
    observation: Observation,
    parameters: PipelineParameters,
    kind: str,
    references: Sequence[MemberReferences],
) -> tuple[list[tuple[ImagingSetup | None, SpectrumSetup | None]], list[str]]:
    """Photometry or extraction of every member, and notes."""
    setups: list[tuple[ImagingSetup | None, SpectrumSetup | None]] = []
    notes: list[str] = []
    if kind == "imaging" and not parameters.tso_photometry.skip:
        for segment, files in zip(observation.segments, references, strict=True):
            path = files["gain"].path if "gain" in files else None
            gain = None if path is None else reference.read_gain(path, segment)
            imaging, found = imaging_setup(segment, parameters, gain)
            setups.append((imaging, None))
            notes += found
    elif kind == "spectroscopy" and not parameters.extract_1d.skip:
        read_regions = cache(reference.read_extract1d)
        read_psf = cache(reference.read_psf)
        read_apcorr = cache(partial(reference.read_apcorr, exp_type=observation.exp_type))
        known: SpectraCache = {}
        for segment, files in zip(observation.segments, references, strict=True):
            paths = {kind: file.path for kind, file in files.items()}
            regions = read_regions(paths.get("extract1d"))
            apcorr = read_apcorr(paths.get("apcorr"))
            psf = read_psf(paths.get("psf"), segment.get("DISPAXIS"))
            spectrum, found = spectrum_setup(segment, parameters, regions, apcorr, known, psf)
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
