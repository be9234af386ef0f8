"""What is said of apertures and backgrounds that jwst does not have, before pixels are read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tso3dask.config import Extract1d, parameters_of
from tso3dask.errors import InputError

if TYPE_CHECKING:
    from tso3dask.ops.aperture1d import PlacedAperture
    from tso3dask.ops.extract_params import ExtractParams

__all__ = ["aperture_notes", "check_aperture"]


def aperture_notes(
    step: Extract1d, placed: PlacedAperture, wavelengths: np.ndarray, whole: bool
) -> list[str]:
    """Say what is wrong with the width of an aperture and with its background.

    Parameters
    ----------
    step : Extract1d
        Parameters of the step.
    placed : PlacedAperture
        The aperture where headers and references have it, of the width that is asked for.
    wavelengths : ndarray
        Wavelength (y, x) of each pixel.
    whole : bool
        Whether the aperture is the whole array, if no width is asked for.

    Raises
    ------
    InputError
        If the aperture is wider than the array.
    """
    notes = _unused_background(step, placed.params)
    if step.aperture_width is not None:
        notes += _width_notes(placed, wavelengths, step.aperture_width)
    elif step.bkg_regions is not None and placed.params.fits_background:
        notes += _region_notes(step, placed, wavelengths, whole)
    return notes


def _own_set(step: Extract1d) -> list[str]:
    """Full names of parameters that jwst does not have and that are not as they are by default."""
    table = parameters_of("extract_1d")
    own = [n for n in table if table[n].added and getattr(step, n) != table[n].default]
    return [f"extract_1d.{name}" for name in own]


def check_aperture(step: Extract1d, params: ExtractParams) -> None:
    """Refuse parameters that an optimal extraction has no use for.

    Parameters
    ----------
    step : Extract1d
        Parameters of the step.
    params : ExtractParams
        What follows from them and the reference.

    Raises
    ------
    InputError
        With their names.
    """
    named = _own_set(step)
    if named and params.extraction_type == "optimal":
        raise InputError(
            f"{', '.join(named)}: an optimal extraction with a PSF has no aperture and fits the "
            "background along with it; leave that out, or choose extraction_type box or horne"
        )


def _unused_background(step: Extract1d, params: ExtractParams) -> list[str]:
    """Say which parameters of the background have no part, because there is none."""
    named = [n for n in _own_set(step) if n.startswith("extract_1d.bkg_")]
    if params.fits_background or not named:
        return []
    cause = "extract_1d.subtract_background=False"
    if step.subtract_background is not False:
        cause = "there are no background regions"
    return [f"{', '.join(named)} left out: {cause}"]


def _region_notes(
    step: Extract1d, placed: PlacedAperture, wavelengths: np.ndarray, whole: bool
) -> list[str]:
    """Say that background regions hold the source; where the whole array is summed, its middle."""
    edges = step.region_edges or ()
    held = any(low < 0 < high for low, high in zip(edges[::2], edges[1::2], strict=True))
    if not (held if whole else _overlap(placed, wavelengths)):
        return []
    return [
        f"extract_1d.bkg_regions '{step.bkg_regions}' overlap the aperture, and then hold light of "
        "the source"
    ]


def _overlap(placed: PlacedAperture, wavelengths: np.ndarray) -> bool:
    """Whether a pixel counts both to the aperture and to the background."""
    from tso3dask.ops.aperture1d import box_profile, weighted_aperture

    trace, shape = placed.trace, wavelengths.shape
    profile, *limits = box_profile(shape, placed.params, wavelengths, trace=trace)
    made = weighted_aperture(placed, wavelengths, profile.copy(), (limits[0], limits[1]))
    return made.bkg_profile is not None and bool(np.any((profile > 0) & (made.bkg_profile != 0)))


def _width_notes(placed: PlacedAperture, wavelengths: np.ndarray, width: float) -> list[str]:
    """Say what is wrong with the width of an aperture; one that fits nowhere is refused."""
    from tso3dask.ops.aperture1d import box_profile

    shape, axis = wavelengths.shape, placed.params.dispaxis - 1
    if width > shape[axis]:
        raise InputError(
            f"extract_1d.aperture_width={width:g}: the array has {shape[axis]} pixels across the "
            "dispersion; give fewer"
        )
    profile, *_ = box_profile(shape, placed.params, wavelengths, trace=placed.trace)
    covered = profile.sum(axis=axis)
    least = covered[covered > 0].min(initial=width)
    notes = []
    if least < width - 0.01:
        notes.append(
            f"extract_1d.aperture_width={width:g} reaches beyond the array: "
            f"{least:.3g} pixels are summed where it is cut most"
        )
    if _overlap(placed, wavelengths):
        notes.append(
            f"extract_1d.aperture_width={width:g} overlaps the background regions, which then "
            "hold light of the source"
        )
    return notes
