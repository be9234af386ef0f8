"""Flux calibration of SOSS spectra."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tso3dask.errors import InputError

__all__ = ["conversion_factors", "select_row", "time_corrections"]

METERS_BELOW = 1e-4
DAYS_PER_YEAR = 365.0

Columns = Mapping[str, np.ndarray]


def select_row(table: Columns, filter_name: str, pupil: str, order: int) -> int | None:
    """Find the row of a photometric table; None if there is none.

    Parameters
    ----------
    table : mapping of ndarray
        Columns by lower-case name.
    filter_name, pupil : str
        FILTER and PUPIL of the exposure.
    order : int
        Spectral order.

    Raises
    ------
    InputError
        If more than one row matches.
    """
    match = (
        (np.char.upper(np.char.strip(table["filter"])) == filter_name.upper())
        & (np.char.upper(np.char.strip(table["pupil"])) == pupil.upper())
        & (table["order"] == order)
    )
    rows = np.flatnonzero(match)
    if rows.size > 1:
        raise InputError(
            f"photom reference: {rows.size} rows for FILTER {filter_name}, PUPIL {pupil}, order"
            f" {order}; expected one"
        )
    return int(rows[0]) if rows.size else None


def time_corrections(
    coefficients: Mapping[str, Columns], mid_time: float | None, rows: int
) -> np.ndarray:
    """Relative throughput at a time, for each row of a photometric table.

    Parameters
    ----------
    coefficients : mapping
        Columns of the tables of time dependence: ``linear`` (t0, lossperyear), ``exponential``
        (t0, amplitude, tau, const), ``powerlaw`` (t0, year1value, tsoft, alpha). The factors of all
        tables are multiplied.
    mid_time : float or None
        Middle of the exposure, MJD.
    rows : int
        Rows of the photometric table.

    Returns
    -------
    (row,) ndarray float64
        1 without coefficients.
    """
    out = np.ones(rows)
    if not coefficients:
        return out
    if mid_time is None:
        raise InputError(
            "EXPMID: the header has no middle of the exposure, needed for the time dependence of"
            " the photom reference (photom.apply_time_correction=False does without)"
        )
    for kind, columns in coefficients.items():
        since = mid_time - columns["t0"]
        if kind == "linear":
            out *= 1.0 - columns["lossperyear"] * since / DAYS_PER_YEAR
        elif kind == "exponential":
            out *= columns["amplitude"] * np.exp(-since / columns["tau"]) + columns["const"]
        else:
            norm = (DAYS_PER_YEAR + columns["tsoft"]) ** columns["alpha"] / columns["year1value"]
            out *= (since + columns["tsoft"]) ** columns["alpha"] / norm
    return out


def conversion_factors(
    table: Columns, row: int, wavelength: np.ndarray, time_correction: float = 1.0
) -> np.ndarray:
    """Flux density per count rate, MJy / (DN/s).

    Parameters
    ----------
    table : mapping of ndarray
        Columns of a photometric table.
    row : int
        See `select_row`.
    wavelength : (x,) ndarray
        Micrometre.
    time_correction : float
        See `time_corrections`.

    Returns
    -------
    (x,) ndarray float64
        0 outside the wavelengths of the table.
    """
    scale = table["photmj"][row]
    if time_correction != 1.0:
        scale = scale / np.float64(time_correction)
    waves, response = table["wavelength"][row], table["relresponse"][row]
    if "nelem" in table:
        size = int(table["nelem"][row])
        waves, response = waves[:size], response[:size]
    if not np.all(np.diff(waves) > 0):
        at = np.argsort(waves)
        waves, response = waves[at], response[at]
    if 0.0 < waves.max() < METERS_BELOW:
        waves = waves * waves.dtype.type(1e6)
    factor = scale * np.interp(wavelength, waves, response, left=np.nan, right=np.nan)
    return np.where(np.isnan(factor), 0.0, factor)
