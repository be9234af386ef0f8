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

__all__ = ["settle_by_model", "waits_for_model"]


def waits_for_model(step: Extract1d) -> bool:
    """Whether an extraction needs the model of its exposure."""
    return step.extraction_type == "horne" or step.follow_trace


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
    if step.follow_trace:
        placed = along_line(placed, wavelengths, step.aperture_width, _trace(model, placed))
    profile, *limits = box_profile(shape, placed.params, wavelengths, trace=placed.trace)
    setup, notes = finish(placed, profiles=[profile], limits=limits)
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
    plan = plan.moved(shift[begin:], model.width[begin:])
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


def _whole(part: np.ndarray, window: Any, shape: tuple[int, int], dispaxis: int) -> np.ndarray:
    """Profile (y, x) of the whole image from that of a window, (across, dispersion)."""
    image = np.zeros(shape)
    image[window] = part if dispaxis == 1 else part.T
    return image
