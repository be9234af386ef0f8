"""Optimal extraction: where the PSF is on the detector, by headers and by the first integration.

The profile has to be known before a product is laid out, because the wavelengths of its columns
are means over the profile. Where it is fitted to the pixels, that is done at the beginning of a
run, one small task per member, and a plan with the fitted profiles takes the plan's place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from dask.tokenize import tokenize

from tso3dask.config import PipelineParameters
from tso3dask.errors import InputError
from tso3dask.graph.execute import compute, task_errors
from tso3dask.graph.job import Job
from tso3dask.graph.spectrum import SpectrumSetup
from tso3dask.graph.stages import median_prologue
from tso3dask.io.segment import Segment

if TYPE_CHECKING:
    from tso3dask.graph.outline import Outline
    from tso3dask.io.reference import PsfReference
    from tso3dask.ops.aperture1d import PlacedAperture
    from tso3dask.ops.psf_profile import PlacedPsf

__all__ = ["fit_image", "fit_profile", "fitted_plan", "place_profile", "settled_setup"]

_TWO_NODS = ("ALONG-SLIT-NOD", "2-POINT-NOD")

AnyOutline = TypeVar("AnyOutline", bound="Outline")


def place_profile(
    segment: Segment,
    parameters: PipelineParameters,
    aperture: PlacedAperture,
    psf: PsfReference,
    wavelengths: np.ndarray,
    wcs: Any,
) -> tuple[PlacedPsf, list[str]]:
    """Put the PSF where headers say that the source is.

    Parameters
    ----------
    segment : Segment
        The member.
    parameters : PipelineParameters
        Steps' parameters.
    aperture : PlacedAperture
        Its trace is that of the source, if it is known.
    psf : PsfReference
        The PSF.
    wavelengths : ndarray
        Wavelength (y, x) of each pixel.
    wcs : gwcs.wcs.WCS or None
        The member's.

    Returns
    -------
    placed : PlacedPsf
    notes : list of str
    """
    from tso3dask.ops.psf_profile import place_psf
    from tso3dask.ops.source_position import bounds_of, nominal_trace

    step, shape = parameters.extract_1d, (segment.ny, segment.nx)
    if wcs is None:
        raise InputError(
            "has no WCS, which optimal extraction needs; extraction_type='box' does not"
        )
    if step.optimize_psf_location and "var_rnoise" not in segment.arrays:
        raise InputError("has no VAR_RNOISE, which optimize_psf_location needs; set it to False")
    dispaxis = aperture.params.dispaxis
    bounds = bounds_of(wcs, shape)
    name = segment.get("SLTNAME") if segment.model_type == "SlitModel" else None
    trace, nod = aperture.trace, None
    notes: list[str] = []
    if trace is None:
        trace = nominal_trace(
            wcs, shape=shape, dispaxis=dispaxis, exp_type=segment.exp_type, bounds=bounds
        )
    elif step.model_nod_pair:
        nod, notes = _nod(segment, wcs, bounds, dispaxis, trace)
    placed = place_psf(
        psf.aperture(name),
        shape=shape,
        dispaxis=dispaxis,
        bounds=bounds,
        trace=trace,
        wavelengths=wavelengths,
        nod=nod,
    )
    return placed, notes


def _nod(
    segment: Segment, wcs: Any, bounds: Any, dispaxis: int, trace: np.ndarray
) -> tuple[float | None, list[str]]:
    """Distance of the negative source of a nod pair, None where there is none."""
    from tso3dask.ops.source_position import middle_of_spectrum, nod_place

    if segment.text("S_BKDSUB") != "COMPLETE" or segment.text("PATTTYPE") not in _TWO_NODS:
        return None, []

    def values(*keywords: str) -> Any:
        return tuple(segment.get(keyword) for keyword in keywords)

    middle, wavelength = middle_of_spectrum(wcs, bounds, dispaxis)
    location = float(trace[int(np.round(middle))])
    other = nod_place(
        wcs,
        exp_type=segment.exp_type,
        dispaxis=dispaxis,
        wavelength=wavelength,
        slit_position=values("SRCXPOS", "SRCYPOS"),
        dither=values("XOFFSET", "YOFFSET"),
        ideal=values("V3I_YANG", "V2_REF", "V3_REF", "VPARITY"),
    )
    if np.isnan(other) or abs(location - other) < 2:
        return None, ["the place of the other nod is not known: its negative image is left out"]
    return location - other, []


def fit_profile(
    job: Job, placed: PlacedPsf, constants: Sequence[Any]
) -> tuple[float, float | None]:
    """Task: fit the place of a profile to the flagged first integration of a segment."""
    with task_errors(job.path, 0, 1):
        _, _, block = next(iter(job.blocks(0, 1, constants)))
        return fit_image(placed, block.arrays)


def fit_image(placed: PlacedPsf, arrays: Mapping[str, np.ndarray]) -> tuple[float, float | None]:
    """Fit the place of a profile to the first integration of a block."""
    from tso3dask.ops.psf_profile import fit_offsets

    return fit_offsets(placed, arrays["sci"][0], arrays["var_rnoise"][0])


def settled_setup(
    setup: SpectrumSetup, offsets: tuple[float, float | None]
) -> tuple[SpectrumSetup, list[str]]:
    """Setup with the profile where it was fitted, and notes."""
    assert setup.unsettled is not None
    made, notes = setup.unsettled.settle(*offsets)
    if made is None:
        raise InputError("; ".join(notes))
    return made, notes


def fitted_plan(plan: AnyOutline, scheduler: Any = None, workers: int | None = None) -> AnyOutline:
    """Plan in which every profile is where it belongs.

    Parameters
    ----------
    plan : Outline
        A plan.
    scheduler : optional
        Where to compute.
    workers : int, optional
        Tasks at a time.

    Returns
    -------
    Outline
        The plan itself where nothing is to be fitted.
    """
    waiting = [m for m in plan.members if m.spectrum is not None and m.spectrum.unsettled]
    if not waiting:
        return plan
    graph: dict[Any, Any] = {}
    keys = []
    for member in waiting:
        assert member.spectrum is not None and member.spectrum.unsettled is not None
        label = f"{member.label}-{tokenize(plan.token, 'profile')[:16]}"
        prologue, constants = median_prologue(member.program)
        graph.update(prologue)
        job = Job(member.index, member.program, 1, str(member.segment.path))
        needed = [[name, where] for name, where in constants.items()]
        key = f"profile-{label}"
        graph[key] = (fit_profile, job, member.spectrum.unsettled.placed, needed)
        keys.append(key)
    offsets = compute(graph, keys, scheduler=scheduler, workers=workers or plan.budget.workers)
    members, notes = list(plan.members), list[str]()
    for member, found in zip(waiting, offsets, strict=True):
        assert member.spectrum is not None
        try:
            setup, more = settled_setup(member.spectrum, found)
        except InputError as error:
            raise InputError(f"{member.segment.path}: {error}") from error
        members[member.index] = replace(member, spectrum=setup)
        notes += more
    return plan.with_members(members, notes)
