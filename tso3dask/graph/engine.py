"""The xarray engine: ``xarray.open_dataset(file, engine="tso3dask", chunks={})``."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import xarray as xr
from xarray.backends import BackendEntrypoint
from xarray.core import indexing

from tso3dask.errors import InputError
from tso3dask.graph.chunking import chunk_sizes
from tso3dask.graph.dataset import with_cubes
from tso3dask.io.backend import ColumnArray, PixelArray
from tso3dask.io.segment import open_segment
from tso3dask.io.spectra_tables import SpectrumTable, read_spectrum_tables

__all__ = ["Tso3BackendEntrypoint"]

_ENDINGS = ("_calints.fits", "_crfints.fits", "_x1dints.fits")
_TIMES = {
    "MJD-BEG": "mjd_utc_start",
    "MJD-AVG": "mjd_utc_mid",
    "MJD-END": "mjd_utc_end",
    "TDB-BEG": "bjd_tdb_start",
    "TDB-MID": "bjd_tdb_mid",
    "TDB-END": "bjd_tdb_end",
}


class Tso3BackendEntrypoint(BackendEntrypoint):
    """Opens calints, crfints and x1dints files lazily, by byte offset.

    ``open_dataset`` gives the cubes of a segment, (integration, y, x), or the spectra of an
    x1dints file, (integration, dispersion). Where an x1dints file holds several detectors, orders
    or widths, ``group`` names one of them; ``open_datatree`` gives all.
    """

    description = "JWST time series (calints, crfints, x1dints) by byte offset"
    url = "https://jwst-docs.stsci.edu"
    open_dataset_parameters: ClassVar[Any] = ("filename_or_obj", "drop_variables", "group")
    supports_groups = True

    def open_dataset(
        self,
        filename_or_obj: Any,
        *,
        drop_variables: str | Iterable[str] | None = None,
        group: str | None = None,
    ) -> xr.Dataset:
        """Open one file as a dataset.

        Parameters
        ----------
        filename_or_obj : path-like
            calints, crfints or x1dints file.
        drop_variables : str or iterable of str, optional
            Variables to leave out.
        group : str, optional
            For x1dints: which of several spectra, for instance ``NRS1``.

        Returns
        -------
        xarray.Dataset

        Raises
        ------
        InputError
            If the file cannot be used, or several spectra are there and none is named.
        """
        path = Path(os.fspath(filename_or_obj))
        if _is_spectra(path):
            groups = _spectra(path)
            if group is None and len(groups) > 1:
                raise InputError(
                    f"{path}: holds several spectra; name one with group=, among "
                    f"{', '.join(groups)}, or use open_datatree"
                )
            name = next(iter(groups)) if group is None else group.strip("/")
            if name not in groups:
                raise InputError(f"{path}: has no spectrum {name!r}; there is {', '.join(groups)}")
            dataset = groups[name]
        else:
            dataset = _cubes(path)
        names = [drop_variables] if isinstance(drop_variables, str) else list(drop_variables or ())
        return dataset.drop_vars(names, errors="ignore")

    def open_groups_as_dict(self, filename_or_obj: Any, **options: Any) -> dict[str, xr.Dataset]:
        """Open every spectrum of an x1dints file, or the one dataset of other files."""
        path = Path(os.fspath(filename_or_obj))
        if _is_spectra(path):
            return {"/": xr.Dataset(), **{f"/{k}": v for k, v in _spectra(path).items()}}
        return {"/": self.open_dataset(path, **options)}

    def open_datatree(self, filename_or_obj: Any, **options: Any) -> xr.DataTree:
        """Open a file as a tree."""
        return xr.DataTree.from_dict(self.open_groups_as_dict(filename_or_obj, **options))

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        """Tell from its name whether a file is one of ours."""
        try:
            name = os.fspath(filename_or_obj)
        except TypeError:
            return False
        return isinstance(name, str) and name.lower().endswith(_ENDINGS)


def _is_spectra(path: Path) -> bool:
    from astropy.io import fits

    if path.name.lower().endswith(_ENDINGS[:2]):
        return False
    if path.name.lower().endswith(_ENDINGS[2]):
        return True
    try:
        with fits.open(path) as hdus:
            return "EXTRACT1D" in hdus
    except OSError:
        return False


def _cubes(path: Path) -> xr.Dataset:
    segment = open_segment(path)
    stored = segment.bytes_per_integration
    chunk = chunk_sizes(segment.nints, stored, 25, total=segment.nints)[0]
    cubes = {
        name: indexing.LazilyIndexedArray(PixelArray(segment.arrays[name]))
        for name in segment.cubes
    }
    dataset = with_cubes(segment, cubes)
    for name in cubes:
        dataset[name].encoding["preferred_chunks"] = {
            "integration": chunk,
            "y": segment.ny,
            "x": segment.nx,
        }
    return dataset


def _spectra(path: Path) -> dict[str, xr.Dataset]:
    """Spectra of a file by name: detector and order as far as they differ, then parts."""
    primary, tables = read_spectrum_tables(path)
    if not tables[0].vectors:
        return _one_table_each(path, primary, tables)
    kinds: dict[tuple[str, int, bytes], list[SpectrumTable]] = {}
    for table in tables:
        key = (
            str(table.header.get("DETECTOR", primary.get("DETECTOR", ""))),
            int(table.header.get("SPORDER") or 1),
            table.column("WAVELENGTH", 0, 1).tobytes(),
        )
        kinds.setdefault(key, []).append(table)
    detectors = {key[0] for key in kinds}
    orders = {key[1] for key in kinds}
    groups: dict[str, xr.Dataset] = {}
    for (detector, order, _), members in kinds.items():
        parts = [detector] if len(detectors) > 1 or len(orders) == 1 else []
        parts += [f"order{order}"] if len(orders) > 1 else []
        base = "_".join(p for p in parts if p) or "spectrum"
        name, number = base, 2
        while name in groups:
            name, number = f"{base}_{number}", number + 1
        groups[name] = _rows(path, primary, members)
    return groups


def _attrs(path: Path, primary: Any, table: SpectrumTable) -> dict[str, Any]:
    keys = {
        "detector": "DETECTOR",
        "spectral_order": "SPORDER",
        "source_type": "SRCTYPE",
        "slit_name": "SLTNAME",
    }
    attrs = {k: table.header[v] for k, v in keys.items() if table.header.get(v) is not None}
    more = {"instrument": "INSTRUME", "exp_type": "EXP_TYPE", "target": "TARGNAME"}
    attrs |= {k: primary[v] for k, v in more.items() if primary.get(v) is not None}
    return {"path": str(path), **attrs}


def _rows(path: Path, primary: Any, tables: list[SpectrumTable]) -> xr.Dataset:
    first = tables[0]
    variables: dict[str, Any] = {}
    for column in first.vectors:
        if column == "WAVELENGTH":
            continue
        data = indexing.LazilyIndexedArray(ColumnArray(tables, column))
        attrs = {"long_name": column.lower().replace("_", " ")}
        unit = first.unit(column)
        if unit:
            attrs["units"] = unit
        variables[column.lower()] = xr.Variable(("integration", "dispersion"), data, attrs)
    coords: dict[str, Any] = {
        "integration": (
            "integration",
            np.concatenate([t.column("INT_NUM") for t in tables]).astype(int),
            {"long_name": "integration number in the exposure, 1-based"},
        ),
        "segment": ("integration", np.concatenate([t.column("SEGMENT") for t in tables])),
        "wavelength": ("dispersion", first.column("WAVELENGTH", 0, 1)[0], {"units": "um"}),
    }
    for column, name in _TIMES.items():
        values = np.concatenate([t.column(column) for t in tables])
        coords[name] = ("integration", values, {"units": "d"})
    dataset = xr.Dataset(variables, coords=coords, attrs=_attrs(path, primary, first))
    dataset.encoding["source"] = str(path)
    return dataset


def _one_table_each(path: Path, primary: Any, tables: list[SpectrumTable]) -> dict[str, xr.Dataset]:
    """Spectra of files of older layout, with one table per integration."""
    groups: dict[str, list[SpectrumTable]] = {}
    for table in tables:
        order = table.header.get("SPORDER") or 1
        detector = table.header.get("DETECTOR", primary.get("DETECTOR", "spectrum"))
        groups.setdefault(f"{detector}_order{order}", []).append(table)
    datasets = {}
    for name, members in groups.items():
        width = max(t.rows for t in members)
        columns = [n for n in members[0].dtype.names or () if n != "WAVELENGTH"]
        variables = {}
        for column in columns:
            stacked = np.full((len(members), width), np.nan)
            for row, table in zip(stacked, members, strict=True):
                row[: table.rows] = table.column(column)
            variables[column.lower()] = (("integration", "dispersion"), stacked)
        longest = max(members, key=lambda t: t.rows)
        numbers = [t.header.get("INT_NUM") or i + 1 for i, t in enumerate(members)]
        coords: dict[str, Any] = {
            "integration": ("integration", numbers),
            "wavelength": ("dispersion", longest.column("WAVELENGTH"), {"units": "um"}),
        }
        for column, coordinate in _TIMES.items():
            times = [t.header.get(column, np.nan) for t in members]
            coords[coordinate] = ("integration", np.array(times, float), {"units": "d"})
        datasets[name] = xr.Dataset(variables, coords, _attrs(path, primary, members[0]))
    return datasets
