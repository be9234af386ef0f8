"""Light curves of spectra that are in a file: white light and channels."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tso3dask.config import PipelineParameters, parse_steps
from tso3dask.errors import InputError
from tso3dask.io.spectra_tables import SpectrumTable, read_spectrum_tables

if TYPE_CHECKING:
    from astropy.table import QTable

    from tso3dask.ops.curves import LightCurves, Weights

__all__ = ["spectral_light_curves", "white_light_of_file"]

Limits = Callable[[int | None], tuple[float, float]]
"""Shortest and longest wavelength of the sum for an order, micrometre."""

_ROWS = 256
"""Integrations read at a time."""

_VECTORS = ("WAVELENGTH", "FLUX", "FLUX_ERROR")


@dataclass(frozen=True, eq=False)
class _Spectra:
    """Spectra of one detector and order in a file.

    Attributes
    ----------
    tables : tuple of SpectrumTable
        One table with a row per integration, or, as older files have it, one per integration.
    detector, order, unit : object
        From the headers.
    nints, width : int
        Integrations, and elements along the dispersion.
    """

    tables: tuple[SpectrumTable, ...]
    detector: Any
    order: Any
    unit: str | None
    nints: int
    width: int

    @property
    def times(self) -> dict[str, np.ndarray]:
        """UTC and barycentric mid times."""
        names = {"mid_utc": "MJD-AVG", "mid_tdb": "TDB-MID"}
        if self.tables[0].vectors:
            return {key: self.tables[0].column(name) for key, name in names.items()}
        headers = [table.header for table in self.tables]
        return {k: np.array([h.get(n, np.nan) for h in headers], float) for k, n in names.items()}

    @property
    def facts(self) -> dict[str, Any]:
        """What tables of light curves need to know of it."""
        known = {"order": self.order, "detector": self.detector, "unit": self.unit}
        return known | self.times | {"nints": self.nints}

    def block(self, first: int, last: int) -> dict[str, np.ndarray]:
        """Wavelength, flux and error (integration, dispersion); NaN where a table has none."""
        one = self.tables[0]
        if one.vectors:
            known = [name for name in _VECTORS if name in one.vectors]
            found = {name: one.column(name, first, last) for name in known}
        else:
            known = [name for name in _VECTORS if name in (one.dtype.names or ())]
            found = {name: np.full((last - first, self.width), np.nan) for name in known}
            for row, table in enumerate(self.tables[first:last]):
                for name, values in found.items():
                    values[row, : table.rows] = table.column(name)
        if "FLUX_ERROR" not in found:
            found["FLUX_ERROR"] = np.full(found["FLUX"].shape, np.nan)
        return found

    def blocks(self) -> Iterator[tuple[slice, dict[str, np.ndarray]]]:
        """All integrations in blocks."""
        for first in range(0, self.nints, _ROWS):
            last = min(first + _ROWS, self.nints)
            yield slice(first, last), self.block(first, last)

    def wavelength(self) -> np.ndarray:
        """Wavelengths (dispersion,) of the first integration."""
        return self.block(0, 1)["WAVELENGTH"][0]


def _spectra(path: Path) -> tuple[Any, list[_Spectra]]:
    """Primary header of a file and its spectra by table, or by detector and order."""
    primary, tables = read_spectrum_tables(path)

    def key(table: SpectrumTable) -> tuple[Any, Any]:
        detector = table.header.get("DETECTOR", primary.get("DETECTOR"))
        return detector, table.header.get("SPORDER")

    if tables[0].vectors:
        groups = [(key(table), [table]) for table in tables]
    else:
        by_key: dict[tuple[Any, Any], list[SpectrumTable]] = {}
        for table in tables:
            by_key.setdefault(key(table), []).append(table)
        groups = list(by_key.items())
    found = []
    for (detector, order), own in groups:
        nints = own[0].rows if own[0].vectors else len(own)
        width = max(table.width for table in own)
        found.append(_Spectra(tuple(own), detector, order, own[0].unit("FLUX"), nints, width))
    return primary, found


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
    from tso3dask.graph.tables import named_series
    from tso3dask.ops.curve_notes import error_notes
    from tso3dask.ops.curves import LightCurves
    from tso3dask.ops.whitelight import white_light_columns, white_light_meta

    primary, spectra = _spectra(path)
    limits = _limits(path, primary, parameters)
    step = parameters.white_light
    weights = _weights(spectra, limits) if step.weighted else {}
    entries = []
    counts: dict[Any, Any] = {}
    for one in spectra:
        known = weights.get((one.detector, one.order, one.width))
        curves = LightCurves(one.wavelength(), limits(one.order), step.errors, known)
        entries.append(one.facts | named_series(_measured(one, curves)))
        if step.errors:
            key = one.detector, one.order
            counted = sum(curves.error_counts(block)[0] for _, block in one.blocks())
            counts[key] = counted + counts.get(key, 0)
    white = white_light_columns(entries)
    by_order = {(detector, order): known for (detector, order, _), known in weights.items()}
    columns = {name: (values, white.units.get(name)) for name, values in white.columns.items()}
    return columns, white_light_meta(primary), [*white.notes, *error_notes(white, by_order, counts)]


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


def _measured(spectra: _Spectra, curves: LightCurves) -> dict[str, np.ndarray]:
    """Light curves of all integrations; the white light by the wavelengths of each of them."""
    from tso3dask.ops.curves import white_light_errors
    from tso3dask.ops.whitelight import white_light_sums

    found = curves.empty(spectra.nints)
    for rows, block in spectra.blocks():
        for name, values in curves.measure(block).items():
            found[name][rows] = values
        wavelength = block["WAVELENGTH"]
        found["white"][rows] = white_light_sums(block["FLUX"], wavelength, *curves.limits)
        if curves.errors:
            columns = block["FLUX"], block["FLUX_ERROR"], wavelength
            found["white_error"][rows] = white_light_errors(*columns, *curves.limits)
    return found


def _weights(spectra: Sequence[_Spectra], limits: Limits) -> dict[tuple[Any, Any, int], Weights]:
    """Weights of the weighted white light by detector, order and width, from a sample."""
    from tso3dask.graph.curves import spread
    from tso3dask.ops.curves import spectrum_weights

    groups: dict[tuple[Any, Any, int], list[_Spectra]] = {}
    for one in spectra:
        groups.setdefault((one.detector, one.order, one.width), []).append(one)
    found = {}
    for key, group in groups.items():
        chosen = spread([one.nints for one in group])
        blocks = [
            one.block(i, i + 1) for one, rows in zip(group, chosen, strict=True) for i in rows
        ]
        flux, error = (np.concatenate([b[name] for b in blocks]) for name in _VECTORS[1:])
        found[key] = spectrum_weights(flux, error, group[0].wavelength(), limits(key[1]))
    return found


def spectral_light_curves(
    x1dints: str | os.PathLike[str],
    output: str | os.PathLike[str] | None = None,
    **parameters: Any,
) -> QTable:
    """Light curves of channels from an x1dints file. See `tso3dask.spectral_light_curves`."""
    from tso3dask.graph.channels import channel_columns, described_channels
    from tso3dask.graph.curves import edges_for
    from tso3dask.io.tables import table_in_memory, write_table
    from tso3dask.ops.channels import channel_plan
    from tso3dask.ops.curve_axis import time_axis
    from tso3dask.ops.curves import LightCurves
    from tso3dask.ops.whitelight import white_light_meta

    if output is not None and Path(output).suffix != ".ecsv":
        raise InputError(f"{output}: expected the name of a table, which ends with .ecsv")
    if output is not None and not Path(output).parent.is_dir():
        raise InputError(f"{output}: there is no folder {Path(output).parent}; make it first")
    given = {"skip": False, **parameters}
    step = parse_steps({"light_curves": given}).light_curves
    path = Path(x1dints)
    primary, spectra = _spectra(path)
    axis = time_axis([one.facts for one in spectra])
    columns: dict[str, tuple[Any, str | None]] = {n: (v, None) for n, v in axis.times.items()}
    channels: list[Mapping[str, Any]] = []
    failed: InputError | None = None
    for series in axis.series:
        own = [spectra[i] for i in series.spectra]
        try:
            edges = edges_for(own[0].wavelength(), step)
        except InputError as error:
            failed = failed or error
            continue
        parts = []
        for one in own:
            wavelength = one.wavelength()
            curves = LightCurves(wavelength, channels=channel_plan(wavelength, edges))
            parts.append(_measured(one, curves))
        both = ("channels", "channels_error")
        measured = {name: np.concatenate([part[name] for part in parts]) for name in both}
        columns |= dict(channel_columns(series, measured, own[0].unit))
        channels += described_channels(series, edges)
    if failed is not None and not channels:
        raise InputError(f"{path}: {failed}")
    meta = {**white_light_meta(primary), "wavelength_unit": "um", "channels": channels}
    if output is not None:
        write_table(output, columns, meta)
    meta["number_of_integrations"] = len(next(iter(axis.times.values())))
    return table_in_memory(columns, meta)
