"""Aperture correction of point source spectra.

The table of an APCORR reference comes as a structured array (or a mapping of columns). MIRI's
correction depends on size and wavelength and is looked up for every integration and element;
NIRSpec's depends on pixel phase too, and the one made for the first integration serves all.
Rules: JWST documentation of the aperture correction in extract_1d. Corrections are linear
between table points.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError

__all__ = [
    "CORRECTED_FLUXES",
    "CORRECTED_VARIANCES",
    "PhaseCorrection",
    "SizeCorrection",
    "apply_correction",
    "reference_wavelength",
    "select_correction",
]

CORRECTED_FLUXES = ("FLUX", "FLUX_ERROR", "SURF_BRIGHT", "SB_ERROR")
CORRECTED_VARIANCES = (
    "FLUX_VAR_POISSON",
    "FLUX_VAR_RNOISE",
    "FLUX_VAR_FLAT",
    "SB_VAR_POISSON",
    "SB_VAR_RNOISE",
    "SB_VAR_FLAT",
)

MATCHES: dict[str, dict[str, tuple[tuple[str, str], ...]]] = {
    "MIRI": {"LRS": (("subarray", "SUBARRAY"),)},
    "NIRSPEC": {
        "MSASPEC": (("filter", "FILTER"), ("grating", "GRATING")),
        "FIXEDSLIT": (("filter", "FILTER"), ("grating", "GRATING"), ("slit", "SLTNAME")),
        "BRIGHTOBJ": (("filter", "FILTER"), ("grating", "GRATING"), ("slit", "SLTNAME")),
    },
}
"""Table columns and the header keywords they must equal, by instrument and part of EXP_TYPE."""

PIXEL_PHASE = 0.5

Real = NDArray[np.floating]
Float = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SizeCorrection:
    """Correction on a grid of size and wavelength, constant beyond the grid's edges.

    Attributes
    ----------
    size : ndarray
        Aperture sizes ``(size,)`` in pixels, increasing.
    wavelength : ndarray
        Wavelengths ``(wavelength,)``, micrometres, increasing.
    factor : ndarray
        Factors ``(wavelength, size)``.
    """

    size: Float
    wavelength: Float
    factor: Float

    needs_first_integration = False

    def evaluate(self, npixels: Float, wavelength: Float) -> Float:
        """Look factors up.

        Parameters
        ----------
        npixels : ndarray
            Summed weights ``(integration, dispersion)``.
        wavelength : ndarray
            Wavelengths ``(dispersion,)``.

        Returns
        -------
        ndarray
            Factors ``(integration, dispersion)``.
        """
        low, part = _bracket(self.wavelength, wavelength)
        along = _mix(self.factor[low], self.factor[low + 1], part[:, np.newaxis])
        size_low, size_part = _bracket(self.size, npixels)
        column = np.broadcast_to(np.arange(wavelength.size), npixels.shape)
        return _mix(along[column, size_low], along[column, size_low + 1], size_part)


@dataclass(frozen=True, eq=False)
class PhaseCorrection:
    """Correction that also depends on pixel phase; 1 where the table cannot tell.

    Attributes
    ----------
    wavelength : ndarray
        Wavelengths ``(wavelength,)`` as tabulated.
    size : ndarray
        Sizes ``(size, wavelength)`` in pixels.
    factor : ndarray
        Factors ``(size, wavelength)`` at the pixel phase; None outside the phases tabulated.
    """

    wavelength: Real
    size: Real
    factor: Float | None

    needs_first_integration = True

    def evaluate(self, npixels: Float, wavelength: Float) -> Float:
        """Tabulate the factors of one integration.

        Parameters
        ----------
        npixels : ndarray
            Summed weights ``(dispersion,)`` of the exposure segment's first integration.
        wavelength : ndarray
            Wavelengths ``(dispersion,)``.

        Returns
        -------
        ndarray
            Factors ``(dispersion,)``, to be used for all integrations.
        """
        result = np.ones(wavelength.size)
        order = np.argsort(self.wavelength)
        grid = self.wavelength[order]
        if self.factor is None or len(grid) < 2 or len(self.size) < 2 or (np.diff(grid) <= 0).any():
            return result
        inside = (wavelength >= grid[0]) & (wavelength <= grid[-1])
        sizes = _linear(grid, self.size[:, order], wavelength[inside])
        low, part = _bracket(grid.astype(np.float64), wavelength[inside])
        factor = self.factor[:, order]
        factors = _mix(factor[:, low], factor[:, low + 1], part)
        usable = (np.diff(sizes, axis=0) > 0).all(axis=0)
        values = np.ones(sizes.shape[1])
        wanted = npixels[inside]
        for k in np.flatnonzero(usable):
            values[k] = np.interp(wanted[k], sizes[:, k], factors[:, k])
        result[inside] = np.where(values == 0, 1.0, values)
        return result


Correction = SizeCorrection | PhaseCorrection


def reference_wavelength(wavelength: Float, instrument: str) -> float:
    """Wavelength at which the pixel scale is asked of the WCS.

    Parameters
    ----------
    wavelength : ndarray
        Wavelengths of the spectrum; those that are not finite are left out.
    instrument : str
        INSTRUME.

    Returns
    -------
    float
        The median for NIRSpec, else the shortest.
    """
    finite = wavelength[np.isfinite(wavelength)]
    return float(np.median(finite) if instrument.upper() == "NIRSPEC" else finite.min())


def select_correction(
    table: Any,
    *,
    header: Mapping[str, Any],
    size_unit: str,
    source_type: str | None,
    pixel_scale_arcsec: float | None = None,
) -> tuple[Correction | None, tuple[str, ...]]:
    """Find the table row of a mode and make the correction of it.

    Parameters
    ----------
    table : structured array, mapping of columns, or None
        APCORR table; None for "N/A".
    header : mapping
        INSTRUME, EXP_TYPE and, as the mode asks, SUBARRAY, FILTER, GRATING, SLTNAME.
    size_unit : str
        Unit of the sizes; arcseconds are converted with `pixel_scale_arcsec`.
    source_type : str or None
        SRCTYPE; only ``"POINT"`` is corrected.
    pixel_scale_arcsec : float, optional
        Arcseconds per pixel across the dispersion.

    Returns
    -------
    correction : SizeCorrection, PhaseCorrection or None
        None when there is nothing to correct.
    notes : tuple of str
        A warning if a table is given for a mode that has no correction.

    Raises
    ------
    InputError
        When not exactly one row fits, or the pixel scale is missing.
    """
    if table is None or str(source_type).upper() != "POINT":
        return None, ()
    instrument = str(header.get("INSTRUME", "")).upper()
    exp_type = str(header.get("EXP_TYPE", "")).upper()
    keys = next(
        (keys for part, keys in MATCHES.get(instrument, {}).items() if part in exp_type), None
    )
    if keys is None:
        return None, (f"the apcorr reference is ignored: {exp_type} has no aperture correction",)
    row = _match_row(table, keys, header)
    size = np.asarray(row["size"])
    if str(size_unit).startswith("arcsec"):
        if pixel_scale_arcsec is None:
            raise InputError("the apcorr sizes are in arcseconds and no pixel scale is known")
        size = size / float(pixel_scale_arcsec)
    wavelength, factor = np.asarray(row["wavelength"]), np.asarray(row["apcorr"])
    if instrument == "NIRSPEC":
        at_phase = _at_phase(np.asarray(row["pixphase"]), factor)
        return PhaseCorrection(wavelength, size, at_phase), ()
    nwave, nsize = int(row["nelem_wl"]), int(row["nelem_size"])
    wavelength, size = wavelength[:nwave].astype(np.float64), size[:nsize].astype(np.float64)
    factor = factor[:nwave, :nsize].astype(np.float64)
    order = np.argsort(wavelength)
    wavelength, factor = wavelength[order], factor[order]
    for name, axis in (("wavelength", wavelength), ("size", size)):
        if axis.size < 2 or (np.diff(axis) <= 0).any():
            raise InputError(f"the {name} axis of the apcorr reference is not increasing: {axis}")
    return SizeCorrection(size, wavelength, factor), ()


def apply_correction(columns: dict[str, Any], factor: Float) -> None:
    """Multiply fluxes by the factor and their variances by its square, in place.

    Parameters
    ----------
    columns : dict of ndarray
        Columns of `tso3dask.ops.spectrum.spectral_columns`; background columns stay.
    factor : ndarray
        ``(integration, dispersion)`` or ``(dispersion,)``.
    """
    for name in CORRECTED_FLUXES:
        columns[name] *= factor
    squared = factor**2
    for name in CORRECTED_VARIANCES:
        columns[name] *= squared


def _match_row(
    table: Any, keys: tuple[tuple[str, str], ...], header: Mapping[str, Any]
) -> dict[str, Any]:
    names = table.dtype.names if hasattr(table, "dtype") else list(table)
    columns = {str(name).lower(): np.asarray(table[name]) for name in names}
    fits = np.ones(len(next(iter(columns.values()))), dtype=bool)
    wanted = []
    for column, keyword in keys:
        value = str(header.get(keyword)).strip().upper()
        wanted.append(f"{column}={value}")
        fits &= np.array([_text(entry) == value for entry in columns[column]], dtype=bool)
    if fits.sum() != 1:
        raise InputError(
            f"the apcorr reference has {int(fits.sum())} rows for {', '.join(wanted)}; "
            "exactly one is needed"
        )
    index = int(np.flatnonzero(fits)[0])
    return {name: values[index] for name, values in columns.items()}


def _text(value: Any) -> str:
    text = value.decode("ascii", "replace") if isinstance(value, bytes) else str(value)
    return text.strip().upper()


def _at_phase(phases: Real, factor: Real) -> Float | None:
    """Factors ``(size, wavelength)`` at the middle pixel phase, from ``(..., phase)``."""
    order = np.argsort(phases, kind="stable")
    phases = phases[order]
    if not phases[0] <= PIXEL_PHASE <= phases[-1]:
        return None
    return _linear(phases, factor[..., order], np.array([PIXEL_PHASE]))[..., 0]


def _linear(grid: Real, values: Real, wanted: Float) -> Float:
    """Interpolate the last axis; slopes are taken in the precision of the table."""
    high = np.clip(np.searchsorted(grid, wanted), 1, grid.size - 1)
    low = high - 1
    slope = (values[..., high] - values[..., low]) / (grid[high] - grid[low])
    return slope * (wanted - grid[low]) + values[..., low]


def _bracket(grid: Float, value: Float) -> tuple[NDArray[np.intp], Float]:
    """Index of the grid interval of each value and the part of it, within the grid."""
    low = np.clip(np.searchsorted(grid, value, side="right") - 1, 0, grid.size - 2)
    part = (value - grid[low]) / (grid[low + 1] - grid[low])
    return low, np.clip(part, 0.0, 1.0)


def _mix(low: Any, high: Any, part: Any) -> Any:
    return (1.0 - part) * low + part * high
