"""Which files of single steps a plan makes, and how they are called."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tso3dask.errors import InputError
from tso3dask.graph.files import CubesFile, ModelFile, SpectraFile, StepFile, TableFile
from tso3dask.io.naming import product_file

if TYPE_CHECKING:
    from tso3dask.graph.outline import Member, Outline

__all__ = ["member_name", "step_files", "wants_file"]


def step_files(plan: Outline) -> tuple[StepFile, ...]:
    """Return the files of single steps that a plan makes.

    Members that lead to one name get a number, from 0 in member order.

    Raises
    ------
    InputError
        If two files would have one name and may not be numbered, or would replace a member.
    """
    files: list[StepFile] = []
    for make in _MAKERS:
        files += make(plan)
    taken = Counter((file.kind, _place(file)) for file in files)
    files = [f.renamed() if taken[f.kind, _place(f)] > 1 and f.numbered else f for f in files]
    for place, count in Counter(_place(file) for file in files).items():
        if count > 1:
            who = " and ".join(dict.fromkeys(f.kind for f in files if _place(f) == place))
            raise InputError(
                f"{who}: {count} files would be called {Path(place).name}; give them other "
                "suffixes, or leave output_use_index on"
            )
    return tuple(files)


def _place(file: StepFile) -> str:
    return os.path.normpath(file.name)


def wants_file(step: Any) -> bool:
    """Tell whether a step writes its own file: asked for, or given a name."""
    return not step.skip and (step.save_results or step.output_file is not None)


def member_name(plan: Outline, member: Member) -> str:
    """File name of a member as steps after outlier detection know it."""
    name = member.segment.path.name
    asn_id = plan.observation.association.asn_id
    return name.replace(f"_{asn_id}", "") if asn_id and plan.flags else name


def _names(
    plan: Outline, step: Any, base: str, member: Member | None, suffix: str, *, asn_id: bool
) -> dict[str, Any]:
    """Names of a step's file, as keywords of a `StepFile`.

    Parameters
    ----------
    plan : Outline
        For the product's name.
    step : StepParameters
        The step.
    base : str
        Name of the step's input.
    member : Member or None
        The member it belongs to.
    suffix : str
        Last part of the name.
    asn_id : bool
        Whether the step puts the association's identifier into names.
    """
    if not (step.output_use_model or (step.output_file is None and not step.search_output_file)):
        base = step.output_file or plan.observation.association.name
    middle = plan.observation.association.asn_id if asn_id else None
    extension = step.output_ext.removeprefix(".")
    plain = product_file(base, suffix, extension, middle)
    numbered = None
    if member is not None and step.output_use_index:
        numbered = _in(step, product_file(base, suffix, extension, middle, member.index))
    return {"name": _in(step, plain), "numbered": numbered, "member": member}


def _in(step: Any, name: str) -> str:
    """Name in the step's own folder, if it has one."""
    return name if step.output_dir is None else str(Path(step.output_dir) / name)


def _outlier_detection(plan: Outline) -> Iterator[StepFile]:
    step = plan.parameters.outlier_detection
    if step.skip:
        return
    for member in plan.members:
        base = member.segment.path.name
        point = member.program.point_after(step.step)
        assert point is not None
        if wants_file(step):
            names = _names(plan, step, base, member, step.suffix or step.step, asn_id=True)
            if names["name"] not in plan.names.crfints:  # else it is the product, word for word
                status = {step.step: "COMPLETE"}
                yield CubesFile(kind=step.step, point=point, steps=status, **names)
        if step.save_intermediate_results:
            yield _median(plan, step, member, point)


def _median(plan: Outline, step: Any, member: Member, point: int) -> ModelFile:
    segment = member.segment
    base = segment.path.name
    slit = str(segment.get("SLTNAME") or "").lower()
    suffix = f"{slit}_median" if slit and f"_{slit}" not in base else "median"
    extension = step.output_ext.removeprefix(".")
    asn_id = plan.observation.association.asn_id
    return ModelFile(
        kind="median",
        name=_in(step, product_file(base, suffix, extension, asn_id)),
        member=member,
        shape=(segment.nints, segment.ny, segment.nx),
        point=point,
        names=(("median", "sci"),),
    )


def _extraction_images(plan: Outline) -> Iterator[StepFile]:
    from tso3dask.graph.extraction_images import PROFILE, SCENES, images_file
    from tso3dask.graph.sinks import step_status

    step = plan.parameters.extract_1d
    association = plan.observation.association
    base = step.output_file or association.name
    if not step.search_output_file:
        base = association.table_name or base
    extension = step.output_ext.removeprefix(".")
    wanted = {
        PROFILE: step.save_profile,
        **dict(zip(SCENES, (step.save_scene_model, step.save_residual_image), strict=True)),
    }
    for member in plan.spectra:
        for kind in (kind for kind, save in wanted.items() if save):
            yield images_file(
                kind,
                step_status(plan),
                name=_in(step, product_file(base, kind, extension)),
                numbered=_in(step, product_file(base, kind, extension, None, member.index)),
                member=member,
            )


def _pixel_replace(plan: Outline) -> Iterator[StepFile]:
    from tso3dask.graph.sinks import pixel_status

    step = plan.parameters.pixel_replace
    if not wants_file(step):
        return
    status = pixel_status(plan)
    for member in plan.members:
        point = member.program.point_after(step.step)
        if point is None:
            continue
        base = member_name(plan, member)
        names = _names(plan, step, base, member, step.suffix or step.step, asn_id=True)
        yield CubesFile(kind=step.step, point=point, steps=status, **names)


def _soss_models(plan: Outline) -> Iterator[StepFile]:
    from tso3dask.graph.soss_files import FITTED, MODELS, fitted_file, models_file

    step = plan.parameters.extract_1d
    if step.soss_modelname is None:
        return
    for member in plan.members:
        if member.soss is None:
            continue
        if not member.soss.models:
            raise InputError(
                "extract_1d.soss_modelname: nothing is modelled with soss_atoca=False and "
                "soss_bad_pix='masking'; change one of them, or remove it"
            )
        extension = step.output_ext.removeprefix(".")
        for suffix, make in ((MODELS, models_file), (FITTED, fitted_file)):
            plain, numbered = (
                _in(step, product_file(step.soss_modelname, suffix, extension, None, index))
                for index in (None, member.index)
            )
            yield make(plan, member, name=plain, numbered=numbered)


def _extract_1d(plan: Outline) -> Iterator[StepFile]:
    from tso3dask.graph.sinks import step_status

    yield from _spectra(plan, plan.parameters.extract_1d, step_status(plan), calibrated=False)


def _photom(plan: Outline) -> Iterator[StepFile]:
    from tso3dask.graph.sinks import step_status

    step = plan.parameters.photom
    if plan.kind == "soss":
        yield from _spectra(plan, step, step_status(plan), calibrated=True)


def _spectra(
    plan: Outline, step: Any, status: dict[str, str], *, calibrated: bool
) -> Iterator[StepFile]:
    """Files of spectra of each member, before or after their calibration."""
    from tso3dask.graph.sinks import member_specs

    if not wants_file(step):
        return
    for member in (m for m in plan.members if m.tables):
        base = member_name(plan, member)
        names = _names(plan, step, base, member, step.suffix or step.step, asn_id=False)
        specs = member_specs(plan, member, product=False, calibrated=calibrated)
        yield SpectraFile(
            kind=step.step, specs=tuple(specs), steps=status, calibrated=calibrated, **names
        )


def _catalogs(plan: Outline) -> Iterator[StepFile]:
    step = plan.parameters.tso_photometry
    if plan.kind != "imaging" or step.skip or not step.save_catalog:
        return
    for member in plan.members:
        stem = Path(member_name(plan, member)).stem
        stem = stem.removesuffix("_calints").removesuffix("_crfints")
        yield TableFile(kind=step.step, name=_in(step, f"{stem}_phot.ecsv"), member=member)


def _white_light(plan: Outline) -> Iterator[StepFile]:
    step = plan.parameters.white_light
    if not plan.tables or not wants_file(step):
        return
    base = plan.observation.association.name
    if not step.search_output_file:
        base = plan.observation.association.table_name or base
    elif step.output_file is not None:
        base = step.output_file
    name = product_file(base, step.suffix or step.step, step.output_ext.removeprefix("."))
    if step.output_dir is not None or name != plan.names.whtlt:
        yield TableFile(kind=step.step, name=_in(step, name))


_MAKERS = (
    _outlier_detection,
    _catalogs,
    _pixel_replace,
    _extraction_images,
    _soss_models,
    _extract_1d,
    _photom,
    _white_light,
)
"""One function per step, in the order of the steps; each yields files of a plan."""
