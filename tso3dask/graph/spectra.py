"""Spectroscopy: aperture, wavelengths and corrections of a member, settled from headers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from tso3dask.config import PipelineParameters
from tso3dask.errors import InputError, NotYetError
from tso3dask.graph.aperture_notes import aperture_notes, check_aperture
from tso3dask.graph.modelled_spectra import settle_by_model
from tso3dask.graph.spectrum import ExtractionImages, ProfileFit, SpectrumSetup
from tso3dask.io.segment import Segment
from tso3dask.io.wcs import wcs_key

if TYPE_CHECKING:
    from tso3dask.ops.aperture1d import Aperture, PlacedAperture
    from tso3dask.ops.psf_profile import PlacedPsf

__all__ = [
    "SpectraCache",
    "pixel_scale",
    "spectrum_setup",
]


SpectraCache = dict[Any, tuple[SpectrumSetup | None, list[str]]]
"""Setups by content, so that segments of one exposure evaluate their WCS once."""


def _cache_key(segment: Segment, wavelengths: np.ndarray | None) -> Any:
    content = segment.asdf_bytes()
    keywords = (
        "EXP_TYPE", "DISPAXIS", "SPORDER", "SLTNAME", "SRCTYPE", "S_PHOTOM", "PIXAR_SR",
        "INSTRUME", "SUBARRAY", "FILTER", "GRATING", "SRCXPOS", "SRCYPOS", "BUNIT", "DETECTOR",
        "DATAMODL", "DITH_RA", "DITH_DEC", "S_BKDSUB", "PATTTYPE", "XOFFSET", "YOFFSET",
        "V3I_YANG", "V2_REF", "V3_REF", "VPARITY",
    )  # fmt: skip
    image = None
    if wavelengths is not None:
        image = hashlib.sha1(wavelengths.tobytes(), usedforsecurity=False).hexdigest()
    values = tuple(str(segment.get(k)) for k in keywords)
    place = None if content is None else wcs_key(content)
    return (place, image, segment.ny, segment.nx, values, segment.replaced_in_time)


def spectrum_setup(
    segment: Segment,
    parameters: PipelineParameters,
    reference: Mapping[str, Any] | None,
    apcorr: Any,
    cache: SpectraCache,
    psf: Any = None,
) -> tuple[SpectrumSetup | None, list[str]]:
    """Settle the extraction of a segment from headers, WCS and references.

    Parameters
    ----------
    segment : Segment
        The member.
    parameters : PipelineParameters
        Steps' parameters.
    reference : mapping or None
        Content of the extract1d reference; None for N/A.
    apcorr : ApcorrReference or None
        Content of the apcorr reference; None for N/A.
    cache : dict
        Setups already made, by content.
    psf : PsfReference, optional
        Content of the psf reference.

    Returns
    -------
    setup : SpectrumSetup or None
        None if the member has no spectrum; the notes say why.
    notes : list of str

    Raises
    ------
    InputError
        If the member has neither WCS nor wavelengths, or a reference does not fit.
    """
    stored = segment.wavelength_image()
    regions = json.dumps(reference, sort_keys=True, default=str)
    key = (
        _cache_key(segment, stored),
        regions,
        getattr(apcorr, "path", None),
        getattr(psf, "path", None),
    )
    if key not in cache:
        try:
            cache[key] = _make_setup(segment, parameters, reference, apcorr, psf, stored)
        except InputError as error:
            raise InputError(f"{segment.path}: {error}") from error
    return cache[key]


def _make_setup(
    segment: Segment,
    parameters: PipelineParameters,
    reference: Mapping[str, Any] | None,
    apcorr: Any,
    psf: Any,
    stored: np.ndarray | None,
) -> tuple[SpectrumSetup | None, list[str]]:
    from tso3dask.ops.aperture1d import along_line, box_profile, place_aperture
    from tso3dask.ops.extract_params import resolve_parameters

    step = parameters.extract_1d
    shape = (segment.ny, segment.nx)
    source_type = _word(segment, "SRCTYPE")
    order = segment.get("SPORDER")
    order = 1 if order is None else int(order)
    if order == 0 and not _is_prism(segment):
        return None, ["spectral order 0 is a direct image: no spectrum"]
    dispaxis = segment.get("DISPAXIS")
    slit = segment.get("SLTNAME") if segment.exp_type == "NRS_BRIGHTOBJ" else segment.exp_type
    resolution = resolve_parameters(
        reference,
        shape=shape,
        dispaxis=None if dispaxis is None else int(dispaxis),
        slit_name=slit,
        spectral_order=order,
        exp_type=segment.exp_type,
        source_type=source_type,
        extraction_type=step.extraction_type,
        psf_available=psf is not None,
        subtract_background=step.subtract_background,
        bkg_fit=step.bkg_fit,
        bkg_order=step.bkg_order,
        smoothing_length=step.smoothing_length,
        use_source_posn=step.use_source_posn,
        position_offset=step.position_offset,
        bkg_regions=step.region_edges,
        bkg_clip=step.bkg_clip,
    )
    notes, params = list(resolution.notes), resolution.params
    found: Sequence[str]
    if params is None:
        return None, notes
    check_aperture(step, params)
    wcs = segment.wcs()
    wavelengths = _wavelengths(stored, wcs, shape)
    location = None
    if params.use_source_posn and wcs is not None:
        location, found = _location(segment, wcs, params.dispaxis)
        notes += found
    placed = place_aperture(params, shape, wavelengths, location)
    notes += placed.notes
    if step.aperture_width is not None:
        placed = along_line(placed, wavelengths, step.aperture_width)
    notes += aperture_notes(step, placed, wavelengths, whole=reference is None)
    if psf is not None and step.extraction_type == "optimal" and apcorr is not None:
        notes.append("optimal extraction has no aperture correction")
        apcorr = None
    complete = segment.text("S_PHOTOM") == "COMPLETE"
    if complete and segment.get("PIXAR_SR") is None:
        notes.append("PIXAR_SR is missing: fluxes are not correct")
    elif not complete:
        notes.append("the photom step has not been run: fluxes are sums in DN/s")
    finish = partial(_finish, segment, parameters, apcorr, slit, order)
    if params.extraction_type == "optimal":
        from tso3dask.graph.optimal import place_profile

        model, found = place_profile(segment, parameters, placed, psf, wavelengths, wcs)
        notes += found
        settle = partial(_settle, partial(finish, placed, wavelengths), model)
        setup, found = settle(0.0, model.nod)
        if step.optimize_psf_location and setup is not None:
            setup = replace(setup, unsettled=ProfileFit(model, settle))
    else:
        profile, *limits = box_profile(shape, placed.params, wavelengths, trace=placed.trace)
        setup, found = finish(placed, wavelengths, [profile], limits)
        if setup is not None and step.needs_model:
            awaiting = partial(settle_by_model, step, partial(finish, wavelengths=wavelengths))
            setup = replace(setup, awaiting=partial(awaiting, placed, wavelengths))
    return setup, [*notes, *found]


def _wavelengths(stored: np.ndarray | None, wcs: Any, shape: tuple[int, int]) -> np.ndarray:
    """Wavelength (y, x) of each pixel, of the file or by its WCS."""
    from tso3dask.ops.aperture1d import has_wavelengths

    if stored is not None and has_wavelengths(stored):
        return stored
    if wcs is None:
        raise InputError(
            "has neither a WCS nor a WAVELENGTH image; extract_1d needs one of them (run "
            "calwebb_spec2's assign_wcs)"
        )
    y, x = np.indices(shape, dtype=float)
    return np.asarray(wcs(x, y)[2])


def _location(segment: Segment, wcs: Any, dispaxis: int) -> tuple[Any, tuple[str, ...]]:
    """Where the target is, by the header and the WCS."""
    from tso3dask.ops.source_position import locate_source

    position = (segment.get("SRCXPOS"), segment.get("SRCYPOS"))
    if segment.exp_type == "MIR_LRS-FIXEDSLIT":
        position = (segment.get("DITH_RA"), segment.get("DITH_DEC"))
    return locate_source(
        wcs,
        shape=(segment.ny, segment.nx),
        dispaxis=dispaxis,
        exp_type=segment.exp_type,
        position=position,
    )


def _settle(
    finish: Any, model: PlacedPsf, offset: float, nod: float | None
) -> tuple[SpectrumSetup | None, list[str]]:
    """Make the setup of a profile that is where it should be."""
    return finish(model.whole(offset, nod), model.limits)


def _finish(
    segment: Segment,
    parameters: PipelineParameters,
    apcorr: Any,
    slit: str | None,
    order: int,
    placed: PlacedAperture,
    wavelengths: np.ndarray,
    profiles: Sequence[np.ndarray],
    limits: Sequence[float],
) -> tuple[SpectrumSetup | None, list[str]]:
    """Make the setup that follows from the weights of the aperture."""
    from tso3dask.ops.aperture1d import weighted_aperture
    from tso3dask.ops.spectrum import column_units

    profile, *others = profiles
    aperture = weighted_aperture(placed, wavelengths, profile, (limits[0], limits[1]))
    if aperture.is_empty:
        return None, ["no element of the aperture has a wavelength: no spectrum"]
    wcs, source_type = segment.wcs(), _word(segment, "SRCTYPE")
    ra = dec = None
    if wcs is not None:
        sky = wcs(aperture.center_x, aperture.center_y)
        if not np.any(np.isnan(np.asarray(sky, float))):
            ra, dec = float(sky[0]), float(sky[1])
    valid = aperture.wavelength[aperture.valid]
    correction, notes = _correction(
        segment, parameters, apcorr, source_type, slit, wcs, (ra, dec), valid
    )
    for other in others:
        other[~np.isfinite(wavelengths)] = 0.0
    edges = aperture.header_limits()
    complete = segment.text("S_PHOTOM") == "COMPLETE"
    plan, images = _plans(parameters, aperture, others)
    setup = SpectrumSetup(
        plan=plan,
        wavelength=valid,
        along=aperture.wavelength,
        limits=(edges["EXTRXSTR"], edges["EXTRXSTP"], edges["EXTRYSTR"], edges["EXTRYSTP"]),
        dispaxis=aperture.dispaxis,
        spectral_order=order,
        slit_name=slit,
        source_type=source_type,
        instrument=segment.instrument,
        ra=ra,
        dec=dec,
        photom_complete=complete,
        pixel_area=segment.get("PIXAR_SR"),
        correction=correction,
        units=column_units(complete),
        images=images,
        whole_aperture=parameters.pixel_replace.needs_model or segment.replaced_in_time,
    )
    return setup, list(notes)


def _plans(
    parameters: PipelineParameters, aperture: Aperture, others: Sequence[np.ndarray]
) -> tuple[Any, ExtractionImages | None]:
    """Plan of the extraction, and what images of it are made of, if they are wanted."""
    from tso3dask.ops.box import box_plan
    from tso3dask.ops.optimal import optimal_plan

    step, params = parameters.extract_1d, aperture.params
    whole: Any = None
    scenes = step.save_scene_model or step.save_residual_image
    if scenes and params.extraction_type == "horne":
        raise NotYetError(
            "save_scene_model and save_residual_image cannot be combined with "
            "extraction_type='horne' yet"
        )
    if params.extraction_type == "optimal":
        plan: Any = optimal_plan(
            [aperture.profile, *others],
            params.dispaxis,
            bkg_profile=aperture.bkg_profile,
            bkg_order=params.bkg_order if params.subtract_background else None,
        )
        whole = plan if scenes else None
    else:
        plan = box_plan(aperture)
        whole = box_plan(aperture, whole=True) if scenes else None
    if not (scenes or step.save_profile):
        return plan, None
    return plan, ExtractionImages(sum(others, start=aperture.profile), whole)


def _correction(
    segment: Segment,
    parameters: PipelineParameters,
    apcorr: Any,
    source_type: str | None,
    slit: str | None,
    wcs: Any,
    position: tuple[float | None, float | None],
    wavelength: np.ndarray,
) -> tuple[Any, tuple[str, ...]]:
    from tso3dask.ops.apcorr import reference_wavelength, select_correction

    if apcorr is None or not parameters.extract_1d.apply_apcorr:
        return None, ()
    scale = None
    ra, dec = position
    in_arcsec = str(apcorr.size_unit).startswith("arcsec")
    if in_arcsec and wcs is not None and ra is not None and dec is not None:
        where = (ra, dec, reference_wavelength(wavelength, segment.instrument))
        scale = pixel_scale(wcs, where, int(segment.get("DISPAXIS")))
    header = {k: segment.get(k) for k in ("INSTRUME", "EXP_TYPE", "SUBARRAY", "FILTER", "GRATING")}
    header["SLTNAME"] = slit
    return select_correction(
        apcorr.table,
        header=header,
        size_unit=apcorr.size_unit,
        source_type=source_type,
        pixel_scale_arcsec=scale,
    )


def pixel_scale(wcs: Any, world: tuple[float, float, float], dispaxis: int) -> float:
    """Sky distance of one pixel across the dispersion, arcseconds.

    Parameters
    ----------
    wcs : gwcs.wcs.WCS
        Spectral WCS: pixels to right ascension, declination (degrees) and wavelength.
    world : tuple of float
        Where to measure it.
    dispaxis : int
        1 where wavelength runs along x, 2 along y.
    """
    from astropy.coordinates import SkyCoord

    x, y = (float(v) for v in wcs.invert(*world, with_bounding_box=False))
    step = (0.0, 1.0) if dispaxis == 1 else (1.0, 0.0)
    ra, dec = wcs(np.array([x, x + step[0]]), np.array([y, y + step[1]]), with_bounding_box=False)[
        :2
    ]
    sky = SkyCoord(ra=ra, dec=dec, unit="deg")
    return float(sky[0].separation(sky[1]).arcsec)


def _word(segment: Segment, keyword: str) -> str | None:
    value = segment.get(keyword)
    return None if value is None else str(value).strip()


def _is_prism(segment: Segment) -> bool:
    if segment.instrument == "MIRI":
        return "P750L" in segment.text("FILTER")
    return segment.instrument == "NIRSPEC" and "PRISM" in segment.text("GRATING")
