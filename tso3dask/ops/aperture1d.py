"""The extraction aperture of a spectrum: pixel weights, wavelengths and limits.

Weights are 1 for pixels wholly inside, the covered fraction for pixels that a limit cuts, and 0
outside. Limits count whole pixels and are inclusive, so start 3 and stop 5 are three pixels.
Everything here is made once per member from a wavelength image and parameters; nothing reads
a file. Rules: JWST documentation of the extract_1d step.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .centre_line import centre_line, region_mask
from .extract_params import HORIZONTAL, ExtractParams
from .source_position import SourceLocation

__all__ = [
    "Aperture",
    "PlacedAperture",
    "along_line",
    "aperture_center",
    "box_profile",
    "define_aperture",
    "has_wavelengths",
    "place_aperture",
    "shift",
    "weighted_aperture",
]

Image = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Aperture:
    """An aperture on the detector, ready for extraction.

    Attributes
    ----------
    params : ExtractParams
        Parameters after all shifts.
    profile : ndarray
        Weights ``(y, x)`` of the source, float64.
    bkg_profile : ndarray or None
        Weights ``(y, x)`` of the background; None when no background is taken away.
    wavelength : ndarray
        Wavelength ``(dispersion,)`` in micrometres, weighted mean over the aperture, NaN where
        the aperture has no pixel with a wavelength.
    lower, upper : float
        Mean limits across the dispersion, 0-based, inclusive.
    left, right : int or None
        First and last index along dispersion with any weight; None for an empty aperture.
    center_x, center_y : float
        Weighted centre, 0-based pixels: the place at which to ask the WCS for RA and Dec.
    notes : tuple of str
        Warnings for the user.
    """

    params: ExtractParams
    profile: Image
    bkg_profile: Image | None
    wavelength: Image
    lower: float
    upper: float
    left: int | None
    right: int | None
    center_x: float
    center_y: float
    notes: tuple[str, ...] = ()

    @property
    def dispaxis(self) -> int:
        """Dispersion direction, 1 along x and 2 along y."""
        return self.params.dispaxis

    @property
    def shape(self) -> tuple[int, int]:
        """Shape ``(y, x)`` of the image."""
        return self.profile.shape

    @property
    def valid(self) -> NDArray[np.bool_]:
        """Which elements ``(dispersion,)`` have a wavelength, and so a place in the table."""
        return np.isfinite(self.wavelength)

    @property
    def is_empty(self) -> bool:
        """Whether no element has a wavelength: there is no spectrum."""
        return not self.valid.any()

    def header_limits(self) -> dict[str, float | int | None]:
        """Limits as 1-based pixels: EXTRXSTR, EXTRXSTP, EXTRYSTR and EXTRYSTP."""
        along = tuple(None if v is None else int(v) + 1 for v in (self.left, self.right))
        across = (self.lower + 1, self.upper + 1)
        x, y = (along, across) if self.dispaxis == HORIZONTAL else (across, along)
        return {"EXTRXSTR": x[0], "EXTRXSTP": x[1], "EXTRYSTR": y[0], "EXTRYSTP": y[1]}


def has_wavelengths(image: NDArray[np.floating] | None) -> bool:
    """Whether a WAVELENGTH image can be used: present and not all zero.

    Parameters
    ----------
    image : ndarray or None
        Wavelengths ``(y, x)``.

    Returns
    -------
    bool
        False means that wavelengths have to come from the WCS.
    """
    if image is None or image.size == 0:
        return False
    finite = image[~np.isnan(image)]
    return not (finite.size and finite.min() == 0 and finite.max() == 0)


def box_profile(
    shape: tuple[int, int],
    params: ExtractParams,
    wavelength_image: NDArray[np.floating],
    which: str = "src",
    trace: Image | None = None,
) -> tuple[Image, float, float]:
    """Weights of the pixels in the source or background aperture.

    Limits across the dispersion come from the first of these that is given: polynomials, the
    trace with a width, the middle of the start and stop values with a width, start and stop.

    Parameters
    ----------
    shape : tuple of int
        ``(y, x)`` shape of the image.
    params : ExtractParams
        Parameters of the extraction.
    wavelength_image : ndarray
        Wavelengths ``(y, x)``, for polynomials of wavelength.
    which : {"src", "bkg"}
        Source or background regions. A background that is a median has whole pixels only.
    trace : ndarray, optional
        Place of the source ``(dispersion,)`` across the dispersion.

    Returns
    -------
    profile : ndarray
        Weights ``(y, x)``, float64.
    lower, upper : float
        Mean limits across the dispersion; as the reference has them, so that an integer stays
        one, where they are its start and stop.
    """
    ny, nx = shape
    horizontal = params.dispaxis == HORIZONTAL
    y, x = np.mgrid[:ny, :nx]
    across = y if horizontal else x
    partial = not (which == "bkg" and params.bkg_fit == "median")
    profile = np.zeros(shape)
    coefficients = params.src_coeff if which == "src" else params.bkg_coeff
    if horizontal:
        start, stop = params.ystart, params.ystop
    else:
        start, stop = params.xstart, params.xstop

    lower: float
    upper: float
    if coefficients is not None:
        if params.independent_var.startswith("wavelength"):
            variable = np.asarray(wavelength_image, dtype=np.float64)
        else:
            variable = (x if horizontal else y).astype(np.float64)
        means = []
        for low, high in zip(coefficients[::2], coefficients[1::2], strict=True):
            # a polynomial of zero means the centre of pixel 0, a start value its lower edge
            low_limit = _polynomial(low, variable) + 0.5
            high_limit = _polynomial(high, variable) - 0.5
            _cover(profile, across, low_limit, high_limit, partial)
            means.append((_mean(low_limit), _mean(high_limit)))
        lower, upper = means[0]
        for low_mean, high_mean in means[1:]:
            lower = low_mean if low_mean < lower else lower
            upper = high_mean if high_mean > upper else upper
    elif params.extract_width is not None and trace is not None:
        center = trace[np.newaxis, :] if horizontal else trace[:, np.newaxis]
        low_limit = np.broadcast_to(center - (params.extract_width - 1.0) / 2.0, shape)
        high_limit = low_limit + params.extract_width - 1
        _cover(profile, across, low_limit, high_limit, True)
        lower, upper = float(np.nanmean(low_limit)), float(np.nanmean(high_limit))
    else:
        lower, upper = start, stop
        if params.extract_width is not None:
            lower = (start + stop) / 2.0 - (params.extract_width - 1.0) / 2.0
            upper = lower + params.extract_width - 1
        _cover(profile, across, lower, upper, True)

    first, last = (params.xstart, params.xstop) if horizontal else (params.ystart, params.ystop)
    along = profile if horizontal else profile.T
    along[:, : int(np.ceil(first))] = 0
    along[:, int(np.floor(last)) + 1 :] = 0
    return profile, lower, upper


def _polynomial(coefficients: tuple[float, ...], variable: Image) -> Image:
    """Value of a polynomial with the constant first, by Horner's rule."""
    value = np.full_like(variable, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        value = coefficient + value * variable
    return value


def _mean(limits: Image) -> float:
    """Mean of limits, of those that are known (a pixel without a wavelength has none)."""
    mean = float(limits.mean())
    if np.isnan(mean) and not np.isnan(limits).all():
        mean = float(np.nanmean(limits))
    return mean


def _cover(
    profile: Image,
    index: NDArray[np.integer],
    lower: Image | float,
    upper: Image | float,
    partial: bool,
) -> None:
    """Raise the weights of the pixels between two inclusive limits, in place."""
    profile[(index >= lower) & (index <= upper)] = 1.0
    if not partial:
        return
    for part in (index - lower + 1.0, upper - index + 1.0):
        cut = (part > 0) & (part < 1) & (profile < part)
        profile[cut] = part[cut]


def aperture_center(
    profile: Image, dispaxis: int = HORIZONTAL, middle: int | None = None
) -> tuple[float, float]:
    """Weighted centre of an aperture.

    Parameters
    ----------
    profile : ndarray
        Weights ``(y, x)``; without any positive weight all pixels count alike.
    dispaxis : int
        Dispersion direction.
    middle : int, optional
        Look only at this element along dispersion.

    Returns
    -------
    across, along : float
        Centre across and along dispersion: ``(y, x)`` for `dispaxis` 1.
    """
    weights = np.where(profile > 0, profile, 0.0)
    if dispaxis != HORIZONTAL:
        weights = weights.T
    if middle is not None:
        weights = weights[:, middle : middle + 1]
    if weights.sum() == 0:
        weights = np.ones_like(weights)
    across, along = np.indices(weights.shape)
    center = float(np.average(across, weights=weights))
    if middle is not None:
        return center, middle
    return center, float(np.average(along, weights=weights))


def shift(params: ExtractParams, offset: float) -> ExtractParams:
    """Move source and background limits across the dispersion.

    Parameters
    ----------
    params : ExtractParams
        Parameters before the shift.
    offset : float
        Shift in pixels, positive towards larger indices.

    Returns
    -------
    ExtractParams
        Shifted parameters. A trace is the caller's to shift.
    """

    def moved(limits: tuple[tuple[float, ...], ...] | None) -> tuple[tuple[float, ...], ...] | None:
        if limits is None:
            return None
        return tuple((limit[0] + offset, *limit[1:]) for limit in limits)

    params = replace(params, src_coeff=moved(params.src_coeff), bkg_coeff=moved(params.bkg_coeff))
    if params.dispaxis == HORIZONTAL:
        return replace(params, ystart=params.ystart + offset, ystop=params.ystop + offset)
    return replace(params, xstart=params.xstart + offset, xstop=params.xstop + offset)


def define_aperture(
    params: ExtractParams,
    shape: tuple[int, int],
    wavelength_image: NDArray[np.floating],
    location: SourceLocation | None = None,
) -> Aperture:
    """Place the aperture on the detector.

    Parameters
    ----------
    params : ExtractParams
        Parameters as the reference and the user have them.
    shape : tuple of int
        ``(y, x)`` shape of the image.
    wavelength_image : ndarray
        Wavelength ``(y, x)`` of each pixel, micrometres; a pixel without one gets no weight.
    location : SourceLocation, optional
        Where the WCS expects the source; used if ``params.use_source_posn``. Without it the
        extraction stays at its nominal place.

    Returns
    -------
    Aperture
        Weights, wavelengths and limits. `Aperture.is_empty` tells that there is no spectrum.
    """
    placed = place_aperture(params, shape, wavelength_image, location)
    profile, lower, upper = box_profile(
        wavelength_image.shape, placed.params, wavelength_image, trace=placed.trace
    )
    return weighted_aperture(placed, wavelength_image, profile, (lower, upper))


@dataclass(frozen=True, eq=False)
class PlacedAperture:
    """Parameters of an aperture after all shifts.

    Attributes
    ----------
    params : ExtractParams
        Parameters after all shifts.
    trace : ndarray or None
        Place ``(dispersion,)`` of the source, where it is known.
    notes : tuple of str
        Warnings for the user.
    """

    params: ExtractParams
    trace: Image | None
    notes: tuple[str, ...] = ()


def place_aperture(
    params: ExtractParams,
    shape: tuple[int, int],
    wavelength_image: NDArray[np.floating],
    location: SourceLocation | None = None,
) -> PlacedAperture:
    """Move an aperture to the source, and by the user's offset; see `define_aperture`."""
    shape = (int(shape[0]), int(shape[1]))
    if wavelength_image.shape != shape:
        raise InputError(f"the wavelength image is {wavelength_image.shape}, the data are {shape}")
    notes: list[str] = []
    trace: Image | None = None
    if params.use_source_posn and location is not None:
        nominal, _, _ = box_profile(shape, params, wavelength_image)
        expected, _ = aperture_center(nominal, params.dispaxis, middle=location.middle)
        params = shift(params, location.location - expected)
        trace = location.trace
    elif params.use_source_posn:
        notes.append("the place of the source is not known: extraction at the nominal place")
    if params.position_offset != 0.0:
        params = shift(params, params.position_offset)
        if trace is not None:
            trace = trace + params.position_offset
    return PlacedAperture(params, trace, tuple(notes))


def along_line(
    placed: PlacedAperture,
    wavelength_image: NDArray[np.floating],
    width: float | None = None,
    line: Image | None = None,
) -> PlacedAperture:
    """Give an aperture another width, or lead it along another line.

    Parameters
    ----------
    placed : PlacedAperture
        Aperture where the reference and the source put it.
    wavelength_image : ndarray
        Wavelength ``(y, x)`` of each pixel.
    width : float, optional
        Full width across the dispersion, pixels; by default the mean width that it has.
    line : ndarray, optional
        Centre ``(dispersion,)`` across the dispersion; by default its own.

    Returns
    -------
    PlacedAperture
    """
    shape = wavelength_image.shape
    params = placed.params
    profile, lower, upper = box_profile(shape, params, wavelength_image, trace=placed.trace)
    if line is None:
        line = placed.trace
        if line is None or params.src_coeff is not None:
            line = centre_line(profile, params.dispaxis)
    if width is None:
        width = upper - lower + 1
    params = replace(params, extract_width=width, src_coeff=None)
    return replace(placed, params=params, trace=line)


def weighted_aperture(
    placed: PlacedAperture,
    wavelength_image: NDArray[np.floating],
    profile: Image,
    limits: tuple[float, float],
) -> Aperture:
    """Aperture with given weights.

    Parameters
    ----------
    placed : PlacedAperture
        Its parameters after all shifts.
    wavelength_image : ndarray
        Wavelength ``(y, x)`` of each pixel, micrometres; a pixel without one gets no weight.
    profile : ndarray
        Weights ``(y, x)``; changed in place.
    limits : tuple of float
        Limits across the dispersion.

    Returns
    -------
    Aperture
    """
    params = placed.params
    axis = params.dispaxis - 1
    line = placed.trace
    if line is None and params.bkg_regions is not None:
        line = centre_line(profile, params.dispaxis)
    profile[~np.isfinite(wavelength_image)] = 0.0
    bkg_profile = None
    if params.fits_background and params.bkg_regions is not None and line is not None:
        mask = region_mask(profile.shape, line, params.bkg_regions, params.dispaxis)
        if not mask.any():
            edges = " ".join(f"{edge:g}" for edge in params.bkg_regions)
            raise InputError(
                f"extract_1d.bkg_regions '{edges}' hold no pixel of the array, which has "
                f"{profile.shape[axis]} across the dispersion"
            )
        bkg_profile = mask.astype(np.float64)
    elif params.fits_background:
        bkg_profile, _, _ = box_profile(
            profile.shape, params, wavelength_image, "bkg", trace=placed.trace
        )

    weights = profile.sum(axis=axis)
    lit = np.flatnonzero(weights > 0)
    wavelengths = np.where(profile > 0, wavelength_image, 0.0).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        wavelength = (wavelengths * profile).sum(axis=axis) / weights
    wavelength[~(weights > 0)] = np.nan
    center_y, center_x = aperture_center(profile)
    return Aperture(
        params=params,
        profile=profile,
        bkg_profile=bkg_profile,
        wavelength=wavelength,
        lower=limits[0],
        upper=limits[1],
        left=int(lit[0]) if lit.size else None,
        right=int(lit[-1]) if lit.size else None,
        center_x=center_x,
        center_y=center_y,
        notes=placed.notes,
    )
