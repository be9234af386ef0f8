"""Where the WCS expects the source across the dispersion.

The WCS is used by its shape only: a callable ``wcs(x, y)`` that gives (ra, dec, wavelength) with
``bounding_box``, ``available_frames``, ``get_transform`` and ``backward_transform``, as gwcs has
them. Rules: JWST documentation of the extract_1d step (source position).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .extract_params import HORIZONTAL

__all__ = [
    "Bounds",
    "SourceLocation",
    "bounds_of",
    "locate_source",
    "middle_across",
    "middle_of_spectrum",
    "nod_place",
    "nominal_trace",
    "source_trace",
]

Bounds = tuple[tuple[float, float], tuple[float, float]]
NIRSPEC_TYPES = frozenset({"NRS_FIXEDSLIT", "NRS_MSASPEC", "NRS_BRIGHTOBJ"})


@dataclass(frozen=True, eq=False)
class SourceLocation:
    """Expected place of the source.

    Attributes
    ----------
    middle : int
        Element along dispersion at which the place is given, 0-based.
    location : float
        Place across the dispersion there, pixels.
    trace : ndarray or None
        Place ``(dispersion,)`` at every element, NaN outside the bounding box.
    wavelength : float
        Wavelength at the middle, micrometres.
    """

    middle: int
    location: float
    trace: NDArray[np.float64] | None = None
    wavelength: float = np.nan


def middle_of_spectrum(wcs: Any, bounds: Bounds, dispaxis: int) -> tuple[float, float]:
    """Middle element along dispersion and its wavelength.

    Parameters
    ----------
    wcs : callable
        ``wcs(x, y)`` gives (ra, dec, wavelength).
    bounds : tuple
        ``((x0, x1), (y0, y1))`` of the usable pixels.
    dispaxis : int
        1 when wavelength runs along x, 2 along y.

    Returns
    -------
    middle : float
        Middle of the bounds along dispersion.
    wavelength : float
        Mean wavelength across the dispersion there; NaN if there is none.
    """
    middle, _, wavelengths = _across_middle(wcs, bounds, dispaxis)
    if not np.isfinite(wavelengths).any():
        return middle, np.nan
    return middle, float(np.nanmean(wavelengths))


def _across_middle(
    wcs: Any, bounds: Bounds, dispaxis: int
) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
    """Middle along dispersion, the pixels across it there, and their wavelengths."""
    along, across = (0, 1) if dispaxis == HORIZONTAL else (1, 0)
    middle = (bounds[along][0] + bounds[along][1]) / 2.0
    index = np.arange(round(bounds[across][1]), dtype=np.float64)
    fixed = np.full(index.size, middle)
    x, y = (fixed, index) if dispaxis == HORIZONTAL else (index, fixed)
    return middle, index, np.asarray(wcs(x, y)[2], dtype=np.float64)


def middle_across(wcs: Any, bounds: Bounds, dispaxis: int) -> float:
    """Place across the dispersion, at the middle along it, that has the mean wavelength there."""
    _, index, wavelengths = _across_middle(wcs, bounds, dispaxis)
    valid = np.isfinite(wavelengths)
    if not valid.any():
        return float(index.mean())
    mean = np.nanmean(wavelengths)
    if np.allclose(wavelengths, mean):
        return float(index.mean())
    order = np.argsort(wavelengths)
    order = order[valid[order]]
    return float(np.interp(mean, wavelengths[order], index[order]))


def source_trace(
    to_wavelength: Callable[..., Any],
    to_detector: Callable[..., Any],
    source: tuple[float, float],
    bounds: Bounds,
    shape: tuple[int, int],
    dispaxis: int,
) -> NDArray[np.float64]:
    """Place of a source across the dispersion at every element along it.

    Parameters
    ----------
    to_wavelength : callable
        ``(x, y)`` to three values, the last a wavelength.
    to_detector : callable
        The way back: (source, source, wavelength) to ``(x, y)``.
    source : tuple of float
        The source's two coordinates in the frame of these two functions.
    bounds : tuple
        ``((x0, x1), (y0, y1))`` of the usable pixels.
    shape : tuple of int
        ``(y, x)`` shape of the image.
    dispaxis : int
        Dispersion direction.

    Returns
    -------
    ndarray
        Trace ``(dispersion,)`` in pixels, NaN outside the bounds. Beyond the projected source
        it is continued as a straight line.
    """
    edges = [(np.floor(lo + 0.5), np.ceil(hi - 0.5)) for lo, hi in bounds]
    y, x = np.mgrid[edges[1][0] : edges[1][1] + 1, edges[0][0] : edges[0][1] + 1]
    wavelengths = np.asarray(to_wavelength(x, y)[2])
    low, high = bounds[0] if dispaxis == HORIZONTAL else bounds[1]
    count = int(high - low)
    grid = np.linspace(np.nanmin(wavelengths), np.nanmax(wavelengths), count)
    placed = to_detector(np.full(count, source[0]), np.full(count, source[1]), grid)
    along, across = placed if dispaxis == HORIZONTAL else placed[::-1]

    from scipy.interpolate import interp1d

    line = interp1d(along, across, fill_value="extrapolate")(np.arange(count))
    trace = np.full(shape[1] if dispaxis == HORIZONTAL else shape[0], np.nan)
    first = int(np.ceil(low))
    trace[first : first + count] = line
    return trace


def locate_source(
    wcs: Any,
    *,
    shape: tuple[int, int],
    dispaxis: int,
    exp_type: str,
    position: tuple[float, float] | None,
) -> tuple[SourceLocation | None, tuple[str, ...]]:
    """Find where the source should be, from the WCS and its planned position.

    Parameters
    ----------
    wcs : gwcs.WCS or alike
        The WCS of the member.
    shape : tuple of int
        ``(y, x)`` shape of the image.
    dispaxis : int
        Dispersion direction.
    exp_type : str
        EXP_TYPE; only NIRSpec slits and the MIRI LRS slit have a known position.
    position : tuple of float or None
        NIRSpec: position in the slit (SRCXPOS, SRCYPOS). MIRI LRS slit: dithered RA and Dec.

    Returns
    -------
    location : SourceLocation or None
        None if it cannot be found.
    notes : tuple of str
        Why not.
    """
    nirspec = exp_type in NIRSPEC_TYPES
    if not nirspec and exp_type != "MIR_LRS-FIXEDSLIT":
        return None, (f"the source position cannot be found for EXP_TYPE {exp_type}",)
    if position is None or any(value is None for value in position):
        return None, ("the planned position of the source is not in the header",)
    bounds = bounds_of(wcs, shape)
    middle, wavelength = middle_of_spectrum(wcs, bounds, dispaxis)
    if nirspec:
        to_wavelength = wcs.get_transform("detector", "slit_frame")
        to_detector = wcs.get_transform("slit_frame", "detector")
        location = _in_slit(wcs, position, wavelength)
    else:
        to_wavelength, to_detector = wcs, wcs.backward_transform
        location = float(to_detector(*position, wavelength)[0])
    if np.isnan(location):
        return None, ("the WCS gives no position for the source",)
    low, high = bounds[1] if dispaxis == HORIZONTAL else bounds[0]
    if location < low or location > high:
        return None, (
            f"the WCS puts the source at {location:.2f}, outside {low:.2f} to {high:.2f}",
        )
    trace = source_trace(to_wavelength, to_detector, position, bounds, shape, dispaxis)
    return SourceLocation(int(np.round(middle)), location, trace, wavelength), ()


def _in_slit(wcs: Any, position: tuple[float, float], wavelength: float) -> float:
    """Row of a place in a NIRSpec slit at a wavelength (micrometres)."""
    scale = 1e-6 if "gwa" in wcs.available_frames else 1.0  # metres before rectification
    return float(wcs.get_transform("slit_frame", "detector")(*position, wavelength * scale)[1])


def bounds_of(wcs: Any, shape: tuple[int, int]) -> Bounds:
    """Bounds ``((x0, x1), (y0, y1))`` of the usable pixels; the whole array if there are none."""
    box = wcs.bounding_box
    if box is None:
        return (-0.5, shape[1] - 0.5), (-0.5, shape[0] - 0.5)
    (x0, x1), (y0, y1) = ((float(box[axis][0]), float(box[axis][1])) for axis in (0, 1))
    return (x0, x1), (y0, y1)


def nominal_trace(
    wcs: Any, *, shape: tuple[int, int], dispaxis: int, exp_type: str, bounds: Bounds
) -> NDArray[np.float64]:
    """Trace of a source in the middle of the usable pixels.

    Parameters
    ----------
    wcs : gwcs.WCS or alike
        The WCS of the member.
    shape : tuple of int
        ``(y, x)`` shape of the image.
    dispaxis : int
        Dispersion direction.
    exp_type : str
        EXP_TYPE. In slits the trace follows the slit's image, otherwise it is straight.
    bounds : tuple
        ``((x0, x1), (y0, y1))`` of the usable pixels.

    Returns
    -------
    ndarray
        Place ``(dispersion,)`` across the dispersion, NaN outside the bounds.
    """
    middle, _ = middle_of_spectrum(wcs, bounds, dispaxis)
    across = middle_across(wcs, bounds, dispaxis)
    pixel = (middle, across) if dispaxis == HORIZONTAL else (across, middle)
    if exp_type.startswith("NRS"):
        to_wavelength = wcs.get_transform("detector", "slit_frame")
        to_detector = wcs.get_transform("slit_frame", "detector")
    elif exp_type == "MIR_LRS-FIXEDSLIT":
        to_wavelength, to_detector = wcs, wcs.backward_transform
    else:
        trace = np.full(shape[1] if dispaxis == HORIZONTAL else shape[0], np.nan)
        low, high = bounds[0] if dispaxis == HORIZONTAL else bounds[1]
        first = int(np.ceil(low))
        trace[first : first + int(high - low)] = across
        return trace
    source = to_wavelength(*pixel)[:2]
    return source_trace(to_wavelength, to_detector, source, bounds, shape, dispaxis)


def nod_place(
    wcs: Any,
    *,
    exp_type: str,
    dispaxis: int,
    wavelength: float,
    slit_position: tuple[float | None, float | None],
    dither: tuple[float | None, float | None],
    ideal: tuple[float | None, float | None, float | None, float | None],
) -> float:
    """Where the negative image of a source is after the subtraction of the other nod.

    Parameters
    ----------
    wcs : gwcs.WCS or alike
        The WCS of the member.
    exp_type : str
        EXP_TYPE; only NIRSpec slits and the MIRI LRS slit have nods.
    dispaxis : int
        Dispersion direction.
    wavelength : float
        Wavelength at the middle of the spectrum, micrometres.
    slit_position : tuple of float
        NIRSpec: place of the source in the slit (SRCXPOS, SRCYPOS).
    dither : tuple of float
        MIRI: offsets of the pointing (XOFFSET, YOFFSET), arcsec.
    ideal : tuple of float
        MIRI: angle (degrees), V2 and V3 (arcsec) of the reference point, and parity of the
        aperture's own frame (V3I_YANG, V2_REF, V3_REF, VPARITY).

    Returns
    -------
    float
        Place across the dispersion, pixels; NaN if it is not known.
    """
    if exp_type.startswith("NRS"):
        x, y = (np.nan if v is None else float(v) for v in slit_position)
        return _in_slit(wcs, (x, -y), wavelength) if np.isfinite(x + y) else np.nan
    if exp_type != "MIR_LRS-FIXEDSLIT" or "v2v3" not in wcs.available_frames:
        return np.nan
    x, y, angle, v2_ref, v3_ref, parity = (
        np.nan if v is None else float(v) for v in (*dither, *ideal)
    )
    if not np.isfinite(x + y + angle + v2_ref + v3_ref + parity):
        return np.nan
    x, y = (x, -y) if dispaxis == HORIZONTAL else (-x, y)
    sine, cosine = np.sin(np.deg2rad(angle)), np.cos(np.deg2rad(angle))
    v2 = v2_ref + parity * x * cosine + y * sine
    v3 = v3_ref - parity * x * sine + y * cosine
    ra, dec = wcs.get_transform("v2v3", "world")(v2, v3, 0.0)[:2]
    pixel = wcs.backward_transform(ra, dec, wavelength)[:2]
    return float(pixel[1] if dispaxis == HORIZONTAL else pixel[0])
