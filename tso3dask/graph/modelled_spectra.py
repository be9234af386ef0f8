"""Extraction by the model of an exposure: where the aperture goes, and its weights.

Wavelengths of columns are means over the aperture, so that this is settled before products are
laid out. Until then a setup is that of a box where headers have it, and knows in ``awaiting`` what
comes of a model.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tso3dask.config import Extract1d
from tso3dask.errors import InputError

if TYPE_CHECKING:
    from tso3dask.graph.spectrum import SpectrumSetup
    from tso3dask.ops.aperture1d import PlacedAperture
    from tso3dask.ops.exposure_model import ExposureModel

__all__ = ["settle_by_model"]


def settle_by_model(
    step: Extract1d,
    finish: Any,
    placed: PlacedAperture,
    wavelengths: np.ndarray,
    model: ExposureModel,
) -> tuple[SpectrumSetup | None, list[str]]:
    """Make the setup that follows from a model.

    Parameters
    ----------
    step : Extract1d
        Parameters of the step.
    finish : callable
        Makes a setup of a placed aperture, its weights in a list and its limits.
    placed : PlacedAperture
        The aperture where headers and references have it.
    wavelengths : ndarray
        Wavelength (y, x) of each pixel.
    model : ExposureModel
        With the numbers of all integrations of the segment.

    Returns
    -------
    setup : SpectrumSetup or None
        None if no element of the aperture has a wavelength.
    notes : list of str
    """
    from tso3dask.ops.aperture1d import along_line, box_profile
    from tso3dask.ops.horne import Response, horne_plan

    dispaxis, shape = placed.params.dispaxis, wavelengths.shape
    line = _trace(model, placed) if step.follow_trace else None
    width = step.aperture_width
    if line is not None:
        placed = along_line(placed, wavelengths, width, line)
    if step.optimize_aperture:
        width = _best_width(model, placed, wavelengths)
        placed = along_line(placed, wavelengths, width)
    profile, *limits = box_profile(shape, placed.params, wavelengths, trace=placed.trace)
    setup, notes = finish(placed, profiles=[profile], limits=limits)
    if setup is not None:
        setup = replace(setup, chosen_width=width)
    if setup is None or step.extraction_type != "horne":
        return setup, notes
    horizontal = dispaxis == 1
    response = Response(
        model.image,
        np.where(model.dead, np.inf, model.variance),
        model.gradient_y if horizontal else model.gradient_x,
        model.curvature,
        model.centre,
    )
    plan = horne_plan(setup.plan, response)
    begin = -model.first  # integrations of the segment before it are known too
    shift = model.shift_y if horizontal else model.shift_x
    # where the width was not fitted, the second order of the shift is known all the same
    spread = model.width if "width" in model.fitted else shift**2
    plan = plan.moved(shift[begin:], spread[begin:])
    images = setup.images
    if images is not None:
        images = replace(images, profile=_whole(plan.spatial, plan.window, shape, dispaxis))
    return replace(setup, plan=plan, images=images), notes


def _trace(model: ExposureModel, placed: PlacedAperture) -> np.ndarray:
    from tso3dask.ops.centre_line import trace_of

    params = placed.params
    line = trace_of(model.image, model.region, params.dispaxis, start=model.centre)
    if line is None:
        raise InputError("the model of the exposure shows no trace to follow: follow_trace=False")
    return line + params.position_offset


def _best_width(
    model: ExposureModel, placed: PlacedAperture, wavelengths: np.ndarray
) -> float | None:
    """Width of least scatter that fits into the array and between the background regions.

    Of widths that are as good the one nearest to that of the aperture as it is.
    None, which leaves the width as it is, where scatter is not known.
    """
    from tso3dask.ops.aperture1d import box_profile, weighted_aperture
    from tso3dask.ops.centre_line import centre_line
    from tso3dask.ops.growth import best_width

    if model.growth is None:
        raise InputError("optimize_aperture: the model of the exposure has no growth curve")
    shape, params = wavelengths.shape, placed.params
    profile, *limits = box_profile(shape, params, wavelengths, trace=placed.trace)
    line = placed.trace
    if line is None or params.src_coeff is not None:
        line = centre_line(profile, params.dispaxis)
    aperture = weighted_aperture(placed, wavelengths, profile, (limits[0], limits[1]))
    lit = aperture.valid & np.isfinite(line)
    count = shape[0] if params.dispaxis == 1 else shape[1]
    if not lit.any():
        return None
    largest = 1 + 2 * min(line[lit].min(), count - 1 - line[lit].max())
    if aperture.bkg_profile is not None:
        across = np.arange(count)[:, np.newaxis]
        inside = aperture.bkg_profile if params.dispaxis == 1 else aperture.bkg_profile.T
        away = np.abs(across - line)[(inside != 0) & lit]
        if away.size and away.min() >= 1.5:  # else the regions hold the source itself
            largest = min(largest, 2 * float(away.min()) - 1)
    usual = float(np.median(profile.sum(axis=0 if params.dispaxis == 1 else 1)[lit]))
    return best_width(model.growth, largest, usual)


def _whole(part: np.ndarray, window: Any, shape: tuple[int, int], dispaxis: int) -> np.ndarray:
    """Profile (y, x) of the whole image from that of a window, (across, dispersion)."""
    image = np.zeros(shape)
    image[window] = part if dispaxis == 1 else part.T
    return image
