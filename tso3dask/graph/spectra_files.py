"""White light of spectra that are in a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tso3dask.config import PipelineParameters
from tso3dask.io.spectra_tables import SpectrumTable, read_spectrum_tables

__all__ = ["white_light_of_file"]

Limits = Callable[[int | None], tuple[float, float]]
"""Shortest and longest wavelength of the sum for an order, micrometre."""

_ROWS = 256
"""Integrations read at a time."""


def white_light_of_file(
    path: Path, parameters: PipelineParameters
) -> tuple[dict[str, tuple[np.ndarray, str | None]], dict[str, Any], list[str]]:
    """Sum the spectra of an x1dints file over wavelength.

    Parameters
    ----------
    path : Path
        An x1dints file, with one row per integration or, as older ones, one table.
    parameters : PipelineParameters
        Parameters of the step. The wavelengths summed for an order of NIRISS SOSS are those of the
        wavelengthrange reference.

    Returns
    -------
    columns : dict
        Values and unit of each column of the white-light table.
    meta : dict
        Its meta.
    notes : list of str
        What a user should know.

    Raises
    ------
    InputError
        If the file has no spectra, or the reference is missing.
    """
    from tso3dask.ops.whitelight import white_light_columns, white_light_meta

    primary, tables = read_spectrum_tables(path)
    limits = _limits(path, primary, parameters)
    if tables[0].vectors:
        spectra = [_sums(table, limits) for table in tables]
    else:
        spectra = _sums_of_single_tables(primary, tables, limits)
    white = white_light_columns(spectra)
    columns = {name: (values, white.units.get(name)) for name, values in white.columns.items()}
    return columns, white_light_meta(primary), list(white.notes)


def _limits(path: Path, primary: Any, parameters: PipelineParameters) -> Limits:
    """Wavelengths summed for each order."""
    from astropy.io.fits import Header

    from tso3dask.io.bestrefs import find_reference
    from tso3dask.io.blend import header_attributes
    from tso3dask.io.reference import read_wavelength_ranges
    from tso3dask.ops.whitelight import wavelength_range

    step = parameters.white_light
    low, high = step.min_wavelength, step.max_wavelength
    ranges = None
    if primary.get("EXP_TYPE") == "NIS_SOSS":
        attributes = header_attributes(primary, Header())
        file = find_reference(parameters, "wavelengthrange", attributes, path.name)
        ranges = read_wavelength_ranges(file.path)
    return lambda order: wavelength_range(ranges, order, primary.get("FILTER"), low, high)


def _sums(table: SpectrumTable, limits: Limits) -> dict[str, Any]:
    """White light of all rows of one table."""
    from tso3dask.ops.whitelight import white_light_sums

    order = table.header.get("SPORDER")
    flux = [
        white_light_sums(
            table.column("FLUX", first, min(first + _ROWS, table.rows)),
            table.column("WAVELENGTH", first, min(first + _ROWS, table.rows)),
            *limits(order),
        )
        for first in range(0, table.rows, _ROWS)
    ]
    return {
        "mid_utc": table.column("MJD-AVG"),
        "mid_tdb": table.column("TDB-MID"),
        "flux_sum": np.concatenate(flux) if flux else np.empty(0),
        "order": order,
        "detector": table.header.get("DETECTOR"),
        "unit": table.unit("FLUX"),
    }


def _sums_of_single_tables(
    primary: Any, tables: list[SpectrumTable], limits: Limits
) -> list[dict[str, Any]]:
    """White light of files with one table per integration, put together by order and detector."""
    from tso3dask.ops.whitelight import white_light_sums

    groups: dict[tuple[Any, Any], list[SpectrumTable]] = {}
    for table in tables:
        detector = table.header.get("DETECTOR", primary.get("DETECTOR"))
        groups.setdefault((detector, table.header.get("SPORDER")), []).append(table)
    spectra = []
    for (detector, order), members in groups.items():
        sums = [
            white_light_sums(t.column("FLUX")[None], t.column("WAVELENGTH")[None], *limits(order))
            for t in members
        ]
        spectra.append(
            {
                "mid_utc": np.array([t.header.get("MJD-AVG", np.nan) for t in members], float),
                "mid_tdb": np.array([t.header.get("TDB-MID", np.nan) for t in members], float),
                "flux_sum": np.concatenate(sums),
                "order": order,
                "detector": detector,
                "unit": members[0].unit("FLUX"),
            }
        )
    return spectra
