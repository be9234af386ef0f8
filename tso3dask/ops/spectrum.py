"""From sums over an aperture to the columns of an EXTRACT1D table.

Column names, order and units are those of the JWST x1dints product.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tso3dask.schema import EXTRACTED_COLUMNS

__all__ = ["DO_NOT_USE", "VECTOR_COLUMNS", "Spectra", "column_units", "spectral_columns"]

DO_NOT_USE = 1

VECTOR_COLUMNS = ("WAVELENGTH", *EXTRACTED_COLUMNS)
"""Names of the columns with one value per element along dispersion, in the table's order."""

Columns = dict[str, NDArray[np.generic]]


@dataclass(frozen=True, eq=False)
class Spectra:
    """Spectra of a block of integrations.

    Attributes
    ----------
    columns : dict of ndarray
        `VECTOR_COLUMNS`, each ``(integration, dispersion)``; float64, DQ uint32.
    units : dict of str
        Unit per column; those without one are absent.
    notes : tuple of str
        Warnings.
    """

    columns: Columns
    units: dict[str, str]
    notes: tuple[str, ...] = ()


def column_units(photom_complete: bool) -> dict[str, str]:
    """Units of the spectral columns.

    Parameters
    ----------
    photom_complete : bool
        Whether the data are flux calibrated (S_PHOTOM is COMPLETE).

    Returns
    -------
    dict of str
        Unit by column name; DQ and NPIXELS have none.
    """
    if photom_complete:
        flux, flux_var, bright, bright_var = "Jy", "Jy^2", "MJy/sr", "MJy^2 / sr^2"
    else:
        flux, flux_var, bright, bright_var = "DN/s", "DN^2 / s^2", "DN/s", "DN^2 / s^2"
    units = {"WAVELENGTH": "um"}
    for name in VECTOR_COLUMNS:
        if name.startswith("FLUX"):
            units[name] = flux_var if "_VAR_" in name else flux
        elif name.startswith(("SURF", "SB_", "BACK", "BKGD")):
            units[name] = bright_var if "_VAR_" in name else bright
    return units


def spectral_columns(
    extracted: Mapping[str, NDArray[np.float64]],
    wavelength: NDArray[np.float64],
    *,
    photom_complete: bool,
    source_type: str | None,
    instrument: str | None,
    pixel_area_sr: float | None,
    surface_brightness: bool = True,
) -> Spectra:
    """Convert sums to flux, surface brightness and background, with errors.

    Parameters
    ----------
    extracted : mapping of ndarray
        Result of `tso3dask.ops.box.extract_box`, ``(integration, dispersion)``.
    wavelength : ndarray
        Wavelength ``(dispersion,)``; elements that are not finite are left out of the table.
    photom_complete : bool
        Whether S_PHOTOM is COMPLETE; if not, flux is the sum in DN/s.
    source_type : str or None
        SRCTYPE. NIRSpec point sources are in MJy per pixel, all else in MJy/sr.
    instrument : str or None
        INSTRUME.
    pixel_area_sr : float or None
        PIXAR_SR, steradians; None counts as 1 with a warning.
    surface_brightness : bool
        False for a fit of profiles, which has none: those columns are zero.

    Returns
    -------
    Spectra
        Columns, units and notes. A NaN flux has DQ 1 and zero errors; surface brightness is
        the flux per pixel that took part; background columns are per pixel.
    """
    notes: list[str] = []
    area = 1.0
    if not photom_complete:
        notes.append("the photom step was not run: fluxes are sums in DN/s")
    elif pixel_area_sr is None:
        notes.append("PIXAR_SR is missing: fluxes are not correct")
    else:
        area = float(pixel_area_sr)
    in_megajansky = (
        photom_complete and source_type == "POINT" and str(instrument).upper() == "NIRSPEC"
    )

    keep = np.isfinite(wavelength)
    pick = slice(None) if keep.all() else keep
    sums = {name: values[:, pick] for name, values in extracted.items()}
    npixels = sums["npixels"]
    count = np.where(npixels > 0.0, npixels, 1.0)
    squared = count**2

    total = sums["flux"]
    columns: Columns = {}
    columns["WAVELENGTH"] = np.broadcast_to(wavelength[pick], total.shape)
    if in_megajansky:
        flux, variance_scale, background_area = total * 1.0e6, 1.0e12, area
    elif photom_complete:
        flux, variance_scale, background_area = total * area * 1.0e6, area**2 * 1.0e12, 1.0
    else:
        flux, variance_scale, background_area = total.copy(), 1.0, 1.0
    kinds = ("poisson", "rnoise", "flat")
    flux_var = [sums[f"f_var_{kind}"] * variance_scale for kind in kinds]
    columns["FLUX"] = flux
    columns["FLUX_ERROR"] = _error(flux_var)
    columns.update(_named("FLUX_VAR_", kinds, flux_var))
    if in_megajansky or not surface_brightness:
        zero = np.zeros_like(total)
        bright_var = [zero.copy() for _ in kinds]
        columns["SURF_BRIGHT"] = zero
    else:
        bright_var = [sums[f"f_var_{kind}"] / squared for kind in kinds]
        columns["SURF_BRIGHT"] = total / count
    columns["SB_ERROR"] = _error(bright_var)
    columns.update(_named("SB_VAR_", kinds, bright_var))
    columns["DQ"] = np.where(np.isnan(flux), np.uint32(DO_NOT_USE), np.uint32(0))
    columns["BACKGROUND"] = sums["background"] / count / background_area
    level_var = [sums[f"b_var_{kind}"] / squared / background_area**2 for kind in kinds]
    columns["BKGD_ERROR"] = _error(level_var)
    columns.update(_named("BKGD_VAR_", kinds, level_var))
    columns["NPIXELS"] = np.array(npixels)
    return Spectra(columns, column_units(photom_complete), tuple(notes))


def _error(variances: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Error from Poisson, read noise and flat variances, added in this order."""
    with np.errstate(invalid="ignore", over="ignore"):
        return np.sqrt(variances[0] + variances[1] + variances[2])


def _named(
    prefix: str, kinds: tuple[str, ...], values: list[NDArray[np.float64]]
) -> dict[str, NDArray[np.float64]]:
    return {prefix + kind.upper(): value for kind, value in zip(kinds, values, strict=True)}
