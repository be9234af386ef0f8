"""The files that a run fills: where they go, how they are laid out, and taken up again."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

import tso3dask
from tso3dask.errors import InputError, RunError
from tso3dask.graph.files import Labels, Output, StepFile, TableFile, columns_of_spectra
from tso3dask.graph.replacement import trace_model_status
from tso3dask.graph.sizes import product_sizes
from tso3dask.graph.soss import OrderSetup
from tso3dask.io.atomic import check_space, part_path, stale_parts
from tso3dask.io.crfints import CrfintsSink
from tso3dask.io.journal import Journal
from tso3dask.io.naming import product_names
from tso3dask.io.x1dints import SpectrumSpec, X1dintsSink

if TYPE_CHECKING:
    from tso3dask.graph.outline import Member, Outline
    from tso3dask.ops.times import IntegrationTimes

__all__ = [
    "Sinks",
    "check_folder",
    "create_sinks",
    "journal_stem",
    "member_specs",
    "pixel_status",
    "placed_files",
    "prepare_folder",
    "remove_unfinished",
    "spectrum_specs",
    "step_status",
    "time_columns",
    "unfinished_runs",
]

Sink = TypeVar("Sink")

_TIME_COLUMNS = {
    "MJD-BEG": "mjd_beg",
    "MJD-AVG": "mjd_avg",
    "MJD-END": "mjd_end",
    "TDB-BEG": "tdb_beg",
    "TDB-MID": "tdb_mid",
    "TDB-END": "tdb_end",
}


def check_folder(
    plan: Outline,
    output_dir: Path,
    overwrite: bool,
    resume: bool,
    unfinished: bool = False,
    foreign: bool = False,
) -> dict[str, list[Path]]:
    """Check the output folder and give the final place of each product; nothing is written.

    Parameters
    ----------
    plan : Outline
        What will be run.
    output_dir : Path
        Folder for the products.
    overwrite, resume : bool
        What the user wants of what is there.
    unfinished : bool
        Whether an interrupted run of the same plan left finished work.
    foreign : bool
        Whether products that are there were not made by the same plan.

    Returns
    -------
    dict of str to list of Path

    Raises
    ------
    InputError
        If the folder holds something that the user did not give up.
    """
    association = plan.observation.association
    product_names(association.name, association.members, association.asn_id, output_dir)
    if output_dir.exists() and not output_dir.is_dir():
        raise InputError(f"{output_dir}: is a file, expected a folder for the products")
    finals = _final_places(plan, output_dir)
    _keep_members(plan, finals)
    there = [p for paths in finals.values() for p in paths if p.exists()]
    if there and not (overwrite or resume):
        more = f" and {len(there) - 1} more" if len(there) > 1 else ""
        raise InputError(
            f"{output_dir}: holds earlier products ({there[0].name}{more}); give --overwrite to "
            "replace them, --resume to go on with an interrupted run, or another folder"
        )
    if there and resume and foreign:
        raise InputError(
            f"{output_dir}: its products ({there[0].name} ...) were made of other input or with "
            "other parameters, there is nothing to resume; give --overwrite to replace them, or "
            "another folder"
        )
    if unfinished and not (overwrite or resume):
        raise InputError(
            f"{output_dir}: holds an interrupted run of the same plan; give --resume to go on "
            "with it, or --overwrite to start anew"
        )
    return finals


def prepare_folder(output_dir: Path, finals: Mapping[str, list[Path]]) -> None:
    """Make the folders of all products.

    Raises
    ------
    InputError
        If one cannot be made or written to.
    """
    for folder in dict.fromkeys([output_dir, *(p.parent for ps in finals.values() for p in ps)]):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{folder}: cannot be made ({error.strerror})") from None
        if not os.access(folder, os.W_OK | os.X_OK):
            raise InputError(f"{folder}: cannot be written to; give another folder")


def _final_places(plan: Outline, output_dir: Path) -> dict[str, list[Path]]:
    """Place of every file by kind. Where a step's file would be a product, the product stays."""
    steps = {file.kind for file in plan.files}
    finals: dict[str, list[Path]] = {}
    taken: dict[Path, str] = {}
    kinds = sorted(plan.products, key=lambda kind: kind in steps)
    for kind in kinds:
        for name in plan.products[kind]:
            path = output_dir / name
            owner = taken.setdefault(path.resolve(), kind)
            if owner == kind:
                finals.setdefault(kind, []).append(path)
            elif owner in steps:
                raise InputError(f"{owner} and {kind}: both would write {path}")
    return {kind: finals[kind] for kind in plan.products if kind in finals}


def _keep_members(plan: Outline, finals: Mapping[str, list[Path]]) -> None:
    """Refuse files of steps that would replace a member."""
    members = {m.segment.path.resolve() for m in plan.members}
    for file, final in placed_files(plan, finals):
        if final.resolve() in members:
            raise InputError(
                f"{file.kind}: {final} is an input; give the step another suffix or output_dir"
            )


def journal_stem(plan: Outline) -> str:
    """Beginning of the names of the journals of all runs that write these products."""
    return f".{plan.names.stem}_tso3dask_unfinished_run."


def unfinished_runs(plan: Outline, output_dir: Path) -> list[Journal]:
    """Journals that interrupted runs of any parameters left, the newest last."""
    folders = output_dir.glob(f"{glob.escape(journal_stem(plan))}*")
    return [Journal(str(f)) for f in sorted(folders, key=lambda f: f.stat().st_mtime_ns)]


def remove_unfinished(plan: Outline, output_dir: Path, finals: Mapping[str, list[Path]]) -> None:
    """Remove what interrupted runs of any parameters left: parts, and journals that tell of them.

    The two go together, for a journal whose parts are gone tells of rows that no file has.
    """
    for journal in unfinished_runs(plan, output_dir):
        journal.remove()
    for path in (p for paths in finals.values() for p in paths):
        for stale in stale_parts(path):
            stale.unlink(missing_ok=True)


@dataclass(frozen=True)
class Sinks:
    """Writers of everything that tasks fill.

    Attributes
    ----------
    crfints : dict of int to CrfintsSink
        By member.
    x1dints : X1dintsSink or None
        Spectra of all members.
    extra : list of (StepFile, writer, Path)
        Files of single steps and their final places, in the order of the plan.
    """

    crfints: dict[int, CrfintsSink] = field(default_factory=dict)
    x1dints: X1dintsSink | None = None
    extra: list[tuple[StepFile, Any, Path]] = field(default_factory=list)

    def outputs(self, member: Member, spectrum: int | None = None) -> tuple[Output, ...]:
        """Where the tasks of a member put rows; `spectrum` is its first table in x1dints."""
        found = []
        if member.index in self.crfints:
            point = member.program.point_after("outlier_detection")
            found.append(Output(self.crfints[member.index], point))
        if self.x1dints is not None and spectrum is not None:
            found += [
                Output(self.x1dints, None, (spectrum + i,), columns_of_spectra(one))
                for i, one in enumerate(member.tables)
            ]
        own = [(file, sink) for file, sink, _ in self.extra if file.member_index == member.index]
        return (*found, *(output for file, sink in own for output in file.outputs(sink)))


def create_sinks(
    plan: Outline, finals: Mapping[str, list[Path]], run_id: str, journal: Journal
) -> Sinks:
    """Take up the files of an interrupted run, or lay out new ones.

    Results in the journal count only while the files that their rows went to are there.
    """
    _check_spaces(plan, finals, Path(journal.folder).parent)
    made = Sinks()
    created: list[Path] = []
    try:
        if "x1dints" in finals:
            final = finals["x1dints"][0]
            part = part_path(final, run_id)
            specs = spectrum_specs(plan)
            x1dints = _taken_up(journal, part, lambda: X1dintsSink.reopen(part, specs))
            if x1dints is None:
                journal.forget_all()
                created.append(part)
                x1dints = _new_x1dints(plan, part, final.name, specs, run_id)
            made = replace(made, x1dints=x1dints)
        for member, final in zip(plan.members, finals.get("crfints", []), strict=False):
            part = part_path(final, run_id)
            sink = _taken_up(journal, part, partial(CrfintsSink.reopen, member.segment, part))
            if sink is None:
                journal.forget(member.label)
                created.append(part)
                sink = _new_crfints(plan, member, part, final.name, run_id)
            made.crfints[member.index] = sink
        for file, final in placed_files(plan, finals):
            if isinstance(file, TableFile):
                continue
            part = part_path(final, run_id)
            sink = _taken_up(journal, part, partial(file.reopen, part))
            if sink is None:
                journal.forget(file.member.label)
                created.append(part)
                sink = file.create(part, _labels(plan, final.name, run_id))
            made.extra.append((file, sink, final))
    except BaseException:
        for part in created:
            part.unlink(missing_ok=True)
        raise
    return made


def placed_files(
    plan: Outline, finals: Mapping[str, list[Path]]
) -> Iterator[tuple[StepFile, Path]]:
    """Files of single steps with their final places; those of which a product has the place not."""
    places = {kind: {p.name: p for p in paths} for kind, paths in finals.items()}
    for file in plan.files:
        final = places.get(file.kind, {}).get(Path(file.name).name)
        if final is not None:
            yield file, final


def _check_spaces(plan: Outline, finals: Mapping[str, list[Path]], folder: Path) -> None:
    """Check that every folder has room for what goes there."""
    needed = {folder: 0}
    for kind, size in product_sizes(plan).items():
        paths = finals.get(kind, [])
        for path in paths:
            needed[path.parent] = needed.get(path.parent, 0) + size // len(paths)
    for place, size in needed.items():
        check_space(place, size, "the products")


def _labels(plan: Outline, filename: str, run_id: str) -> Labels:
    association = plan.observation.association
    return Labels(
        filename,
        association.member_pool,
        association.table_name if association.asn_id else None,
        association.asn_id,
        _history(run_id),
    )


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


def _new_crfints(
    plan: Outline, member: Member, part: Path, filename: str, run_id: str
) -> CrfintsSink:
    labels = _labels(plan, filename, run_id)
    return CrfintsSink.create(
        member.segment, part, exptype="science" if labels.asn_id else None, **labels.shared
    )


def _new_x1dints(
    plan: Outline, part: Path, filename: str, specs: list[SpectrumSpec], run_id: str
) -> X1dintsSink:
    association = plan.observation.association
    attributes: dict[str, Any] = {}
    if plan.parameters.white_light.skip:
        attributes["meta.cal_step.white_light"] = "SKIPPED"
    # Not all of them are keywords, which are blended; a segment without pixels has fewer.
    known = [member.soss.metadata for member, _ in plan.tables if member.soss is not None]
    if known:
        fullest: dict[str, Any] = max(known, key=len)
        attributes |= fullest
    if not association.asn_id:
        attributes["meta.asn.table_name"] = association.table_name
    elif association.table_name is None:
        attributes["meta.asn.pool_name"] = association.pool
    return X1dintsSink.create(
        part,
        specs,
        asn_id=association.asn_id,
        steps=step_status(plan),
        attributes=attributes,
        members=[member.segment for member in plan.members],
        **_labels(plan, filename, run_id).shared,
    )


def step_status(plan: Outline) -> dict[str, str]:
    """Status of the steps that spectra have gone through."""
    segments = plan.observation.segments
    calibration = {"photom": "COMPLETE" if plan.calibrates else "SKIPPED"}
    return {
        **(calibration if plan.kind == "soss" else {}),
        "outlier_detection": "COMPLETE" if plan.flags else "SKIPPED",
        "adaptive_trace_model": trace_model_status(segments, plan.parameters)[0],
        "pixel_replace": "COMPLETE" if plan.replaces else "SKIPPED",
        "extract_1d": "COMPLETE",
    }


def pixel_status(plan: Outline) -> dict[str, str]:
    """Status of the steps that pixels have gone through before the extraction."""
    after = ("extract_1d", "photom")
    return {step: status for step, status in step_status(plan).items() if step not in after}


def time_columns(times: IntegrationTimes) -> dict[str, np.ndarray]:
    """Numbers and times as the columns of an EXTRACT1D table."""
    columns: dict[str, np.ndarray] = {"INT_NUM": times.int_num}
    for column, name in _TIME_COLUMNS.items():
        columns[column] = times.times[name]
    return columns


def spectrum_specs(plan: Outline) -> list[SpectrumSpec]:
    """Tables of the x1dints product: one per member and spectral order."""
    return [spec for member in plan.members for spec in member_specs(plan, member)]


def member_specs(
    plan: Outline, member: Member, *, product: bool = True, calibrated: bool = True
) -> list[SpectrumSpec]:
    """Tables of one member's spectra, in the product or in the file of its step.

    White light takes times that are repeated out of the product's table; the step's own file is
    older than that, and that of `extract_1d` older than the calibration of NIRISS SOSS.
    """
    metadata = _reference_metadata(plan, member)
    if product:  # members are known under the name that was last written
        for file in plan.files:
            if file.kind == "extract_1d" and file.member is member:
                metadata["meta.filename"] = Path(file.name).name
    times = time_columns(member.times)
    if product and not plan.parameters.white_light.skip:
        times["MJD-AVG"] = member.mid_utc
    hooked = plan.hooked[member.index] if plan.hooked else None
    if member.soss is not None:
        metadata |= member.soss.metadata
    specs = []
    for spectrum in member.tables:
        units = spectrum.units
        if isinstance(spectrum, OrderSetup) and not calibrated:
            units = spectrum.rate_units
        changed = None if hooked is None else hooked.spectra_of(spectrum.spectral_order, calibrated)
        wavelength = spectrum.wavelength if changed is None else changed["wavelength"].values
        specs.append(
            SpectrumSpec(
                segment=member.segment,
                wavelength=np.asarray(wavelength),
                units=units,
                times=times,
                spectral_order=spectrum.spectral_order,
                dispaxis=spectrum.dispaxis,
                name=spectrum.slit_name,
                source_type=spectrum.source_type,
                ra=spectrum.ra,
                dec=spectrum.dec,
                limits=spectrum.limits,
                slit=member.soss is None,
                metadata=metadata,
            )
        )
    return specs


def _reference_metadata(plan: Outline, member: Member) -> dict[str, str]:
    """Names of the references of a member, and the rules by which they were chosen."""
    names = {
        f"meta.ref_file.{kind}.name": file.recorded
        for kind, file in member.references.items()
        if kind != "wavelengthrange"  # of the white light, which comes later
    }
    if plan.crds is not None:
        version, context = plan.crds
        names |= {
            "meta.ref_file.crds.sw_version": version,
            "meta.ref_file.crds.context_used": context,
        }
    return names
