"""Segment files as lazy xarray datasets, and associations as trees of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from dask.tokenize import tokenize

from tso3dask.errors import InputError
from tso3dask.graph.arrays import picked_arrays, program_of
from tso3dask.graph.chunking import chunk_bounds
from tso3dask.graph.integration_times import segment_times
from tso3dask.graph.program import Program, Source
from tso3dask.io.backend import PixelArray
from tso3dask.io.segment import Segment, open_segment
from tso3dask.schema import CUBES, VARIABLES

__all__ = [
    "IN_TIME",
    "common_program",
    "coordinates",
    "describe",
    "program_dataset",
    "replaced_in_time",
    "segment_of",
    "source_dataset",
    "variable_attrs",
    "with_cubes",
]

_TIMES = {
    "mjd_utc_start": ("mjd_beg", "start of the integration, MJD in UTC"),
    "mjd_utc_mid": ("mjd_avg", "middle of the integration, MJD in UTC"),
    "mjd_utc_end": ("mjd_end", "end of the integration, MJD in UTC"),
    "bjd_tdb_start": ("tdb_beg", "start of the integration, barycentric, TDB, as modified JD"),
    "bjd_tdb_mid": ("tdb_mid", "middle of the integration, barycentric, TDB, as modified JD"),
    "bjd_tdb_end": ("tdb_end", "end of the integration, barycentric, TDB, as modified JD"),
}

IN_TIME = {"replacement": "temporal"}
"""Attribute of datasets whose bad pixels were replaced by what other times show."""


def coordinates(segment: Segment) -> dict[str, xr.Variable]:
    """Integration numbers and times of a segment.

    Parameters
    ----------
    segment : Segment
        The opened file.

    Returns
    -------
    dict of str to xarray.Variable
        ``integration`` (1-based number in the exposure) and the six time coordinates, days;
        NaN where INT_TIMES has no row.
    """
    times = segment_times(segment)
    coords = {
        "integration": xr.Variable(
            "integration",
            np.arange(segment.int_start, segment.int_start + segment.nints),
            {"long_name": "integration number in the exposure, 1-based"},
        )
    }
    for name, (key, meaning) in _TIMES.items():
        attrs = {"long_name": meaning, "units": "d"}
        coords[name] = xr.Variable("integration", times.times[key], attrs)
    return coords


def describe(segment: Segment) -> dict[str, Any]:
    """Attributes of a segment's dataset: plain values that survive most operations."""
    attrs = {"path": str(segment.path), "model_type": segment.model_type}
    keys = {
        "instrument": "INSTRUME",
        "exp_type": "EXP_TYPE",
        "detector": "DETECTOR",
        "filter": "FILTER",
        "pupil": "PUPIL",
        "grating": "GRATING",
        "subarray": "SUBARRAY",
        "target": "TARGNAME",
    }
    for name, keyword in keys.items():
        value = segment.get(keyword)
        if value is not None:
            attrs[name] = value
    return attrs


def variable_attrs(segment: Segment, name: str) -> dict[str, Any]:
    """Attributes of a variable: meaning and unit."""
    attrs: dict[str, Any] = {"long_name": VARIABLES[name].meaning}
    unit = segment.get("BUNIT")
    if name in ("sci", "err") and unit:
        attrs["units"] = unit
    elif name.startswith("var_") and unit:
        attrs["units"] = f"({unit})^2"
    elif name == "wavelength":
        attrs["units"] = "um"
    return attrs


def with_cubes(segment: Segment, cubes: Mapping[str, Any]) -> xr.Dataset:
    """Dataset of a segment with given cubes and everything else from the file."""
    variables: dict[str, Any] = {}
    for name in VARIABLES:
        if name in cubes:
            data = cubes[name]
        elif name in segment.arrays and name not in CUBES:
            data = xr.core.indexing.LazilyIndexedArray(PixelArray(segment.arrays[name]))
        else:
            continue
        variables[name] = xr.Variable(VARIABLES[name].dims, data, variable_attrs(segment, name))
    dataset = xr.Dataset(variables, coords=coordinates(segment), attrs=describe(segment))
    dataset.encoding["source"] = str(segment.path)
    return dataset


def program_dataset(
    segment: Segment,
    program: Program,
    chunks: Sequence[int],
    prologue: Mapping[str, Any] | None = None,
    constants: Mapping[str, Any] | None = None,
) -> xr.Dataset:
    """Lazy dataset of a program's output: one task per chunk and one pick per variable.

    Parameters
    ----------
    segment : Segment
        The file that the program reads.
    program : Program
        Stages on its pixels.
    chunks : sequence of int
        Lengths along ``integration``.
    prologue : mapping, optional
        Tasks that must run first, by key.
    constants : mapping, optional
        Name and prologue key of each constant that the stages need.

    Returns
    -------
    xarray.Dataset
    """
    names = program.source.names
    token = tokenize(program.token, tuple(chunks))
    layer = f"segment-{token}"
    pairs = [[name, key] for name, key in (constants or {}).items()]
    tasks = {
        (layer, i): (compute_block, program, a, b, names, pairs)
        for i, (a, b) in enumerate(chunk_bounds(chunks))
    }
    shape = program.source.shape[1:]
    outputs = {n: (shape, program.source.array(n).native) for n in names}
    cubes = picked_arrays(
        layer, tasks, outputs, chunks, extra=prologue, token=token, program=program
    )
    dataset = with_cubes(segment, cubes)
    return dataset.assign_attrs(IN_TIME) if program.replaces_in_time() else dataset


def compute_block(
    program: Program, a: int, b: int, names: tuple[str, ...], constants: Sequence[Any]
) -> tuple[np.ndarray, ...]:
    """Task: the integrations ``a:b`` of a program as fresh arrays, in the order of ``names``."""
    block = program.block(a, b, tuple(names), dict(constants))
    return tuple(block.arrays[name] for name in names)


def source_dataset(segment: Segment, chunks: Sequence[int]) -> xr.Dataset:
    """Lazy dataset of a segment's own pixels."""
    return program_dataset(segment, Program(Source.from_segment(segment)), chunks)


def segment_of(dataset: xr.Dataset) -> Segment:
    """Headers of the file that a dataset came from.

    Raises
    ------
    InputError
        If the dataset does not say where it came from.
    """
    path = dataset.attrs.get("path") or dataset.encoding.get("source")
    if not path:
        raise InputError(
            "the dataset does not name its file: attrs['path'] is gone; keep attributes "
            "(xarray.set_options(keep_attrs=True)) or set it to the calints path"
        )
    return open_segment(path)


def replaced_in_time(dataset: xr.Dataset) -> bool:
    """Whether bad pixels of a dataset were replaced by what other times show."""
    return IN_TIME.items() <= dataset.attrs.items()


def common_program(dataset: xr.Dataset) -> Program | None:
    """Return the program whose untouched output all cubes of a dataset are, if there is one."""
    found = {id(p): p for p in (program_of(dataset[n].data) for n in dataset if n in CUBES)}
    if len(found) != 1:
        return None
    program = next(iter(found.values()))
    if program is None or any(n not in dataset for n in program.source.names):
        return None
    return program if program.source.nints == dataset.sizes["integration"] else None
