"""Headers and metadata of a calints segment, made through the JWST data models."""

from __future__ import annotations

from typing import Any

import numpy as np

from .geometry import Trace
from .recipe import INT_TIMES_DTYPE, Recipe, Timeline
from .scene import star_centre
from .wcs import ROLL, SOURCE_YPOS, TARGET, build_wcs

__all__ = ["DATE", "build_model", "describe_segment", "exposure_root", "product_name"]

DATE = "2022-07-31T00:00:00.000"
_DONE = (
    "assign_wcs",
    "dq_init",
    "saturation",
    "superbias",
    "linearity",
    "dark_sub",
    "jump",
    "ramp_fit",
    "gain_scale",
    "srctype",
    "flat_field",
)


def exposure_root(recipe: Recipe, exposure: int, detector: str) -> str:
    """Archive-style root of an exposure's files, without the segment."""
    name = detector.replace("LONG", "long").lower()
    return f"jw{recipe.mode.program}007001_04101_{exposure + 1:05d}-seg{{segment:03d}}_{name}"


def product_name(recipe: Recipe) -> str:
    """Archive-style root of the stage-3 products."""
    return f"jw{recipe.mode.program}-o007_t001_{recipe.mode.optics}"


def _int_times(recipe: Recipe, timeline: Timeline, rows: slice, whole: slice) -> np.ndarray | None:
    if recipe.int_times == "absent":
        return None
    if recipe.int_times == "empty":
        return np.zeros(0, INT_TIMES_DTYPE)
    return timeline.times[whole if recipe.int_times == "exposure" else rows]


def _stripe_times(table: np.ndarray, stripes: int) -> np.ndarray:
    """Share the time of each integration among its stripes."""
    names = table.dtype.names or ()
    kinds = [(name, table.dtype[name]) for name in names]
    out = np.zeros(len(table) * stripes, [kinds[0], ("stripe_number", "i4"), *kinds[1:]])
    number = np.arange(len(out)) % stripes
    out["integration_number"] = np.repeat(table["integration_number"], stripes)
    out["stripe_number"] = number + 1
    for scale in ("MJD_UTC", "BJD_TDB"):
        start = np.repeat(table[f"int_start_{scale}"], stripes)
        span = np.repeat(table[f"int_end_{scale}"], stripes) - start
        for when, share in (("start", 0.0), ("mid", 0.5), ("end", 1.0)):
            out[f"int_{when}_{scale}"] = start + span * (number + share) / stripes
    return out


def _exposure_meta(
    recipe: Recipe, timeline: Timeline, exposure: int, segment: int
) -> dict[str, Any]:
    mode = recipe.mode
    whole = timeline.times[exposure * recipe.nints : (exposure + 1) * recipe.nints]
    start, end = whole["int_start_MJD_UTC"][0], whole["int_end_MJD_UTC"][-1]
    first = recipe.starts[segment]
    on_source = recipe.integration_time * recipe.nints
    return {
        "type": mode.exp_type,
        "readpatt": mode.readpatt,
        "start_time": float(start),
        "mid_time": float(0.5 * (start + end)),
        "end_time": float(end),
        "segment_number": segment + 1,
        "total_segments": len(recipe.segments),
        "nints": recipe.nints,
        "integration_start": first + 1,
        "integration_end": first + recipe.segments[segment],
        "ngroups": mode.ngroups,
        "nframes": 1,
        "groupgap": 0,
        "nsamples": 1,
        "sample_time": 10.0,
        "frame_time": mode.frame_time,
        "group_time": mode.frame_time,
        "integration_time": recipe.integration_time,
        "exposure_time": on_source,
        "effective_exposure_time": on_source,
        "measurement_time": on_source,
        "elapsed_exposure_time": float((end - start) * 86400),
        "duration": float((end - start) * 86400),
        "nresets_between_ints": 1,
        "nresets_at_start": 1,
        "zero_frame": False,
        "start_time_mjd": float(start),
    }


def _wcsinfo(recipe: Recipe, traces: tuple[Trace, ...]) -> dict[str, Any]:
    mode = recipe.mode
    ny, nx = recipe.shape
    yc, xc = star_centre(recipe)
    if traces:
        xc, yc = (nx - 1) / 2, float(traces[0].centre_at(np.array((nx - 1) / 2)))
    ra, dec = TARGET
    half = 0.5 * mode.pixel_scale / 3600 * np.array([nx, ny])
    corners = [(-1, -1), (-1, 1), (1, 1), (1, -1)]
    region = " ".join(f"{ra + i * half[0]:.9f} {dec + j * half[1]:.9f}" for i, j in corners)
    info: dict[str, Any] = {
        "wcsaxes": 2 if mode.imaging else 3,
        "crpix1": xc + 1,
        "crpix2": yc + 1,
        "crval1": ra,
        "crval2": dec,
        "ctype1": "RA---TAN",
        "ctype2": "DEC--TAN",
        "cunit1": "deg",
        "cunit2": "deg",
        "cdelt1": mode.pixel_scale / 3600,
        "cdelt2": mode.pixel_scale / 3600,
        "v2_ref": mode.v2v3[0],
        "v3_ref": mode.v2v3[1],
        "vparity": -1,
        "v3yangle": 0.1,
        "ra_ref": ra,
        "dec_ref": dec,
        "roll_ref": ROLL,
        "s_region": f"POLYGON ICRS  {region}",
        "velosys": -11000.0,
    }
    if mode.imaging or mode.exp_type == "NRC_TSGRISM":
        info["siaf_xref_sci"] = float(np.round(xc) + 1)
        info["siaf_yref_sci"] = float(np.round(yc) + 1)
    if traces:
        info["dispersion_direction"] = mode.dispaxis
        info["specsys"] = "BARYCENT"
        if mode.exp_type != "NIS_SOSS":
            info["spectral_order"] = 1
    return info


def _meta(recipe: Recipe, detector: str, traces: tuple[Trace, ...]) -> dict[str, Any]:
    mode = recipe.mode
    ny, nx = recipe.shape
    ra, dec = TARGET
    program = mode.program
    steps = dict.fromkeys(_DONE, "COMPLETE")
    steps["photom"] = "COMPLETE" if recipe.photom else "SKIPPED"
    if traces and mode.exp_type in ("NRS_BRIGHTOBJ", "NRC_TSGRISM"):
        steps["extract_2d"] = "COMPLETE"
    meta: dict[str, Any] = {
        "telescope": "JWST",
        "origin": "STSCI",
        "date": DATE,
        "filetype": "calibrated",
        "time_sys": "UTC",
        "time_unit": "s",
        "calibration_software_version": "3.0.0",
        "calibration_software_revision": "RELEASE",
        "bunit_data": recipe.unit,
        "bunit_err": recipe.unit,
        "program": {"title": "Simulated time series", "pi_name": "Simulator", "category": "COM"},
        "observation": {
            "date": DATE[:10],
            "time": DATE[11:],
            "obs_id": f"V{program}007001P0000000004101",
            "visit_id": f"{program}007001",
            "program_number": program,
            "observation_number": "007",
            "visit_number": "001",
            "visit_group": "04",
            "sequence_id": "1",
            "activity_id": "01",
        },
        "visit": {"status": "SUCCESSFUL", "tsovisit": True},
        "target": {
            "catalog_name": "SIM-STAR-1",
            "proposer_name": "SIM-STAR-1",
            "type": "FIXED",
            "ra": ra,
            "dec": dec,
            "proposer_ra": ra,
            "proposer_dec": dec,
        },
        "instrument": {
            "name": mode.instrument,
            "detector": detector,
            "filter": mode.filter,
            "pupil": mode.pupil,
            "grating": mode.grating,
            "channel": mode.channel,
            "module": mode.module,
            "fixed_slit": mode.slit,
        },
        "subarray": {
            "name": mode.subarray,
            "xstart": mode.corner[0],
            "ystart": mode.corner[1],
            "xsize": nx,
            "ysize": ny,
            "fastaxis": 1 if mode.instrument == "MIRI" else -1,
            "slowaxis": 2,
        },
        "aperture": {"name": f"{detector}_{mode.subarray}", "position_angle": ROLL + 0.1},
        "pointing": {"ra_v1": ra + 0.1, "dec_v1": dec + 0.1, "pa_v3": ROLL},
        "coordinates": {"reference_frame": "ICRS"},
        "wcsinfo": _wcsinfo(recipe, traces),
        "cal_step": steps,
        "ref_file": {"crds": {"context_used": "N/A", "sw_version": "N/A"}},
    }
    if recipe.photom:
        meta["photometry"] = {
            "pixelarea_steradians": mode.pixel_area,
            "pixelarea_arcsecsq": mode.pixel_scale**2,
        }
        if mode.imaging:
            factor = mode.jy_per_dn * 1e-6 / mode.pixel_area
            meta["photometry"]["conversion_megajanskys"] = factor
    return meta


def _assign(node: Any, values: dict[str, Any]) -> None:
    """Set metadata, leaving out what has no value."""
    for key, value in values.items():
        if isinstance(value, dict):
            _assign(getattr(node, key), value)
        elif value is not None:
            setattr(node, key, value)


def _set_slit(model: Any, recipe: Recipe, traces: tuple[Trace, ...]) -> None:
    ny, nx = recipe.shape
    mode = recipe.mode
    model.xstart, model.ystart = (1, 1) if mode.slit else mode.corner
    model.xsize, model.ysize = nx, ny
    model.source_type = recipe.srctype
    if mode.exp_type == "MIR_LRS-SLITLESS":
        return
    model.source_id = 1
    model.source_name = model.source_alias = "SIM-STAR-1"
    if mode.slit:
        model.name = mode.slit
        model.source_xpos, model.source_ypos = 0.0, SOURCE_YPOS
        model.source_ra, model.source_dec = TARGET
        model.slit_xscale = model.slit_yscale = mode.pixel_scale
        model.wavelength_corrected = True
    else:
        model.name = "1"
        model.source_xpos = 0.23 * nx
        model.source_ypos = float(traces[0].centre_at(np.array(nx / 2)))


def build_model(recipe: Recipe, detector: str, traces: tuple[Trace, ...]) -> Any:
    """Make the data model of a detector's segments, with one blank integration.

    Its file is the pattern to fill; `describe_segment` completes it.

    Returns
    -------
    stdatamodels CubeModel or SlitModel, every image of the final file present.
    """
    from stdatamodels.jwst import datamodels

    ny, nx = recipe.shape
    kind = getattr(datamodels, recipe.model)
    model = kind((1, ny, nx), validate_on_assignment=False)
    for name in ("dq", "err", "var_poisson", "var_rnoise", *(["var_flat"] * recipe.var_flat)):
        setattr(model, name, np.zeros((1, ny, nx), np.uint32 if name == "dq" else np.float32))
    if recipe.wavelength and traces:
        model.wavelength = traces[0].wavelength_image(recipe.shape)
    if recipe.area:
        y, x = np.indices((ny, nx)) / max(ny, nx) - 0.5
        model.area = (1 + 0.01 * x + 0.005 * y).astype(np.float32)
    _assign(model.meta, _meta(recipe, detector, traces))
    for path, value in recipe.mode.extra.items():
        model[path] = value
    if recipe.model == "SlitModel":
        _set_slit(model, recipe, traces)
    else:
        model.meta.target.source_type = recipe.srctype
    model.meta.wcs = build_wcs(recipe, traces)
    return model


def describe_segment(
    model: Any, recipe: Recipe, timeline: Timeline, exposure: int, segment: int
) -> None:
    """Set in `model` what differs between exposures and segments."""
    begin = exposure * recipe.nints
    first = begin + recipe.starts[segment]
    rows = slice(first, first + recipe.segments[segment])
    table = _int_times(recipe, timeline, rows, slice(begin, begin + recipe.nints))
    if table is not None:
        model.int_times = table
        if recipe.mode.stripes:
            model.int_times_stripe = _stripe_times(table, recipe.mode.stripes)
    model.meta.observation.exposure_number = str(exposure + 1)
    _assign(model.meta.exposure, _exposure_meta(recipe, timeline, exposure, segment))
