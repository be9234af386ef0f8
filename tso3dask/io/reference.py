"""Reference files: their content as plain Python and numpy."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tso3dask.config import NOT_APPLICABLE, PipelineParameters
from tso3dask.errors import InputError
from tso3dask.io.asdf_start import load_extensions

if TYPE_CHECKING:
    from tso3dask.io.segment import Segment

__all__ = [
    "ApcorrReference",
    "PsfAperture",
    "PsfReference",
    "check_overrides",
    "check_regions",
    "read_apcorr",
    "read_extract1d",
    "read_gain",
    "read_psf",
    "read_wavelength_ranges",
]

_LRS_APCORR = {
    "subarray": "U17",
    "wavelength": "f4",
    "nelem_wl": "i2",
    "size": "u1",
    "nelem_size": "i2",
    "apcorr": "f4",
    "apcorr_err": "f4",
}
_NRS_APCORR = {
    "filter": "U12",
    "grating": "U15",
    "slit": "U15",
    "wavelength": "f4",
    "nelem_wl": "i2",
    "size": "f4",
    "nelem_size": "i2",
    "pixphase": "f4",
    "apcorr": "f4",
    "apcorr_err": "f4",
}
_APCORR_COLUMNS = {
    "MIR_LRS-SLITLESS": _LRS_APCORR,
    "MIR_LRS-FIXEDSLIT": _LRS_APCORR,
    "NRS_BRIGHTOBJ": _NRS_APCORR,
    "NRS_FIXEDSLIT": _NRS_APCORR,
}
"""Columns of aperture corrections and their types, by the schemas of JWST reference files.

The files are read without their data models: these take half a second of a run's start to load."""

_REGION_NUMBERS = frozenset(
    {"xstart", "xstop", "ystart", "ystop", "extract_width", "bkg_order", "smoothing_length"}
)
_REGION_POLYNOMIALS = frozenset({"src_coeff", "bkg_coeff"})
_FULL_FRAMES = {"MIRI": (1024, 1032)}
_FULL_FRAME = (2048, 2048)


@dataclass(frozen=True, eq=False)
class ApcorrReference:
    """An aperture correction table.

    Attributes
    ----------
    path : str
        The file.
    table : dict of ndarray
        Columns by lower-case name, native byte order, one row each along the first axis; empty
        for an exposure type that has no such correction.
    size_unit : str
        Unit of the ``size`` column, ``pixels`` or ``arcsec``.
    """

    path: str
    table: dict[str, np.ndarray]
    size_unit: str


@dataclass(frozen=True, eq=False)
class PsfAperture:
    """A PSF across the dispersion at a series of wavelengths.

    Attributes
    ----------
    name : str
        Slit that it is for; ``ANY`` or ``NONE`` for all.
    data : ndarray
        Image, float64; wavelength runs along the axis along which spectra do.
    wave : ndarray
        Wavelength of each sample along that axis, micrometres.
    subpix : float
        Samples per pixel.
    center_row, center_col : float or None
        Place of the source, for spectra along x and along y.
    """

    name: str
    data: np.ndarray
    wave: np.ndarray
    subpix: float
    center_row: float | None
    center_col: float | None


@dataclass(frozen=True, eq=False)
class PsfReference:
    """The apertures of a PSF reference file."""

    path: str
    apertures: tuple[PsfAperture, ...]

    def aperture(self, slit: str | None) -> PsfAperture:
        """Return the first aperture for a slit, or for all."""
        wanted = str(slit).upper()
        for one in self.apertures:
            if one.name.upper() in ("NONE", "ANY", wanted):
                return one
        names = ", ".join(a.name for a in self.apertures) or "none"
        raise InputError(f"{self.path}: psf reference: has no aperture for {slit}, but {names}")


def check_overrides(parameters: PipelineParameters) -> None:
    """Refuse a run in which an override names a file that is not there."""
    for name, path in parameters.overrides().items():
        if path != NOT_APPLICABLE and not Path(path).is_file():
            raise InputError(f"{name}: no such file: {path}")


def read_extract1d(path: str | None) -> dict[str, Any] | None:
    """Read the extraction regions.

    Parameters
    ----------
    path : str or None
        A JSON file; None or ``N/A`` for no reference.

    Returns
    -------
    dict or None
        Its content; ``apertures`` is a list of dictionaries.
    """
    if path is None or path == NOT_APPLICABLE:
        return None
    if not path.lower().endswith("json"):
        raise InputError(f"{path}: the extract1d reference must be a JSON file")
    try:
        tree = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise _unreadable(path, "extract1d", error) from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: extract1d reference: not a text file") from None
    except json.JSONDecodeError as error:
        raise InputError(
            f"{path}: extract1d reference: not valid JSON: {error.msg} at line {error.lineno} "
            f"column {error.colno}"
        ) from None
    check_regions(tree, path)
    return tree


def check_regions(tree: Any, where: str) -> None:
    """Refuse extraction regions with entries of another type than they must have.

    Parameters
    ----------
    tree : object
        Content of an extract1d reference.
    where : str
        What errors call it.
    """
    apertures = tree.get("apertures") if isinstance(tree, Mapping) else None
    if not isinstance(apertures, list) or not all(isinstance(a, Mapping) for a in apertures):
        raise InputError(f"{where}: extract1d reference: expected a list 'apertures'")
    for aperture in apertures:
        for name, value in aperture.items():
            expected = None
            if value is None:
                continue
            if name in _REGION_NUMBERS and not _is_number(value):
                expected = "a number"
            elif name in _REGION_POLYNOMIALS and not _is_polynomials(value):
                expected = "lists of numbers"
            if expected:
                raise InputError(
                    f"{where}: extract1d reference: {name} of aperture "
                    f"{aperture.get('id')!r}: expected {expected}, got {value!r}"
                )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_polynomials(value: Any) -> bool:
    return isinstance(value, Sequence) and all(
        isinstance(one, Sequence) and not isinstance(one, str) and all(map(_is_number, one))
        for one in value
    )


def read_apcorr(path: str | None, exp_type: str) -> ApcorrReference | None:
    """Read an aperture correction table.

    Parameters
    ----------
    path : str or None
        A FITS file; None or ``N/A`` for no reference.
    exp_type : str
        EXP_TYPE of the data. It decides the types of the columns, as the data models declare
        them; for a type without a correction the table is empty.
    """
    if path is None or path == NOT_APPLICABLE:
        return None
    columns = _APCORR_COLUMNS.get(exp_type.upper())
    if columns is None:
        return ApcorrReference(path, {}, "")
    from astropy.io import fits

    _check_extension(path, "apcorr", "APCORR")
    try:
        with fits.open(path, memmap=False) as hdus:
            rows, header = hdus["APCORR"].data, hdus["APCORR"].header
            stored = {name.lower(): name for name in rows.dtype.names or ()}
            table = {
                name: np.array(rows[stored[name]]).astype(kind)
                for name, kind in columns.items()
                if name in stored
            }
            size_unit = str(header.get("SIZEUNIT") or "")
    except Exception as error:  # a wrong table raises many kinds
        raise _unreadable(path, "apcorr", error) from None
    for name in columns:
        if name not in table:
            raise InputError(f"{path}: apcorr reference: the APCORR table has no column {name}")
    return ApcorrReference(path, table, size_unit)


def read_psf(path: str | None, dispaxis: int | None) -> PsfReference | None:
    """Read a PSF across the dispersion.

    Parameters
    ----------
    path : str or None
        A FITS file; None or ``N/A`` for no reference.
    dispaxis : int or None
        1 for spectra along x, 2 along y: which entries must be there.

    Raises
    ------
    InputError
        If the file is no PSF reference, or does not fit.
    """
    if path is None or path == NOT_APPLICABLE:
        return None
    from astropy.io import fits

    for name in ("PSF", "WAVE"):
        _check_extension(path, "psf", name)
    try:
        with fits.open(path, memmap=False) as hdus:
            apertures = tuple(
                PsfAperture(
                    str(image.header.get("APERTURE")),
                    _native(np.array(image.data, np.float64)),
                    _native(np.array(wave.data, np.float64)),
                    *(image.header.get(k) for k in ("SUBPIX", "CENTROW", "CENTCOL")),
                )
                for image, wave in zip(_named(hdus, "PSF"), _named(hdus, "WAVE"), strict=True)
            )
    except Exception as error:  # a wrong file raises many kinds
        raise _unreadable(path, "psf", error) from None
    axis, centre = (1, "center_row") if dispaxis == 1 else (0, "center_col")
    for one in apertures:
        where = f"{path}: psf reference: aperture {one.name}"
        if one.data.ndim != 2 or one.wave.shape != (one.data.shape[axis],):
            raise InputError(
                f"{where}: image {one.data.shape} and wavelengths {one.wave.shape} do not fit: "
                f"expected one wavelength for each {'column' if axis else 'row'}"
            )
        keyword = {"center_row": "CENTROW", "center_col": "CENTCOL"}[centre]
        for name, value in (("SUBPIX", one.subpix), (keyword, getattr(one, centre))):
            if not _is_number(value):
                raise InputError(f"{where}: {name} is {value!r}, expected a number")
    return PsfReference(path, apertures)


def read_gain(path: str, segment: Segment) -> np.ndarray:
    """Read the gain of the pixels of a segment.

    Parameters
    ----------
    path : str
        A gain reference file.
    segment : Segment
        Its subarray keywords say which part of the detector is needed.

    Returns
    -------
    ndarray
        ``(y, x)`` float32, electron/DN, native byte order.

    Raises
    ------
    InputError
        If the file is no gain reference or does not cover the segment.
    """
    from astropy.io import fits

    _check_extension(path, "gain", "SCI")
    with fits.open(path, memmap=False) as hdus:
        header, data = hdus[0].header, hdus["SCI"].data
        if data is None or data.ndim != 2:
            raise InputError(f"{path}: gain reference: SCI must be an image, y by x")
        data = _native(np.asarray(data)).astype(np.float32, copy=False)
    x_ref, y_ref = _reference_corner(path, header, data.shape)
    corner = segment.get("SUBSTRT1"), segment.get("SUBSTRT2")
    if corner[0] is None or corner[1] is None:
        raise InputError(f"{segment.path}: has no SUBSTRT1 or SUBSTRT2, so its gain is unknown")
    x, y = int(corner[0]) - x_ref, int(corner[1]) - y_ref
    part = data[y : y + segment.ny, x : x + segment.nx] if x >= 0 and y >= 0 else data[:0]
    if part.shape != (segment.ny, segment.nx):
        raise InputError(
            f"{path}: gain reference: covers {data.shape[1]} x {data.shape[0]} pixels from "
            f"({x_ref}, {y_ref}), not the subarray of {segment.path.name}: {segment.nx} x "
            f"{segment.ny} from ({int(corner[0])}, {int(corner[1])})"
        )
    return np.ascontiguousarray(part)


def read_wavelength_ranges(path: str | None) -> tuple[tuple[int, str, float, float], ...] | None:
    """Read the wavelength range of each spectral order and filter.

    Parameters
    ----------
    path : str or None
        A wavelengthrange reference in ASDF; None or ``N/A`` for no reference.

    Returns
    -------
    tuple of (order, filter, shortest, longest), micrometre; or None
    """
    if path is None or path == NOT_APPLICABLE:
        return None
    import asdf

    load_extensions()
    try:
        with asdf.open(path, lazy_load=True, memmap=False) as file:
            rows = file.tree["wavelengthrange"]
            return tuple((int(o), str(f), float(low), float(high)) for o, f, low, high in rows)
    except Exception as error:  # damaged files raise many kinds
        raise _unreadable(path, "wavelengthrange", error) from None


def _named(hdus: Any, name: str) -> list[Any]:
    """Extensions of that name in order of their version."""
    return sorted((hdu for hdu in hdus if hdu.name == name), key=lambda hdu: hdu.ver)


def _reference_corner(path: str, header: Any, shape: tuple[int, ...]) -> tuple[int, int]:
    """Return the first pixel of a reference image on the detector, 1-based (x, y)."""
    corner = header.get("SUBSTRT1"), header.get("SUBSTRT2")
    sizes = header.get("SUBSIZE1"), header.get("SUBSIZE2")
    if None in corner + sizes:
        instrument = str(header.get("INSTRUME", "")).upper()
        if shape != _FULL_FRAMES.get(instrument, _FULL_FRAME):
            raise InputError(f"{path}: gain reference: has no subarray keywords (SUBSTRT1 ...)")
        return 1, 1
    return int(corner[0]), int(corner[1])


def _check_extension(path: str, kind: str, name: str) -> None:
    """Refuse a file that is not FITS or has no such extension."""
    from astropy.io import fits

    try:
        with fits.open(path, memmap=False) as hdus:
            names = [hdu.name for hdu in hdus]
    except OSError as error:
        raise _unreadable(path, kind, error) from None
    if name not in names:
        raise InputError(
            f"{path}: {kind} reference: has no {name} extension, but {', '.join(names)}"
        )


def _unreadable(path: str, kind: str, error: Exception) -> InputError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return InputError(f"{path}: not readable as {kind} reference: {reason}")


def _native(array: np.ndarray) -> np.ndarray:
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))
