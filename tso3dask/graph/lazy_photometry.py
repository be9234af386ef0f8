"""Photometry of one segment as a lazy dataset, and tables of several joined."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr

from tso3dask.graph.arrays import picked_arrays
from tso3dask.graph.build import Pieces, gather, imaging_graph
from tso3dask.graph.dataset import coordinates
from tso3dask.graph.imaging import ImagingJob, ImagingSetup, photometry_table
from tso3dask.io.journal import ChunkResult
from tso3dask.io.segment import Segment, open_segment

__all__ = ["in_a_row", "photometry_dataset"]


def photometry_dataset(
    segment: Segment,
    job: ImagingJob,
    chunks: Sequence[int],
    label: str,
    pieces: Pieces | None = None,
    upstream: Sequence[da.Array] = (),
) -> xr.Dataset:
    """Lazy photometry of one segment; its rows are one chunk."""
    setup = job.setup
    assert setup is not None
    graph = imaging_graph(job, chunks, label, pieces=pieces)
    layer = f"photometry-{label}"
    centres = graph.passes.get("centre", [])
    if setup.places is not None:
        centres = graph.passes["measure"]
    columns = photometry_units(setup)
    tasks = {
        (layer, 0): (
            member_photometry,
            str(segment.path),
            setup,
            graph.passes["measure"],
            centres,
            list(columns),
        )
    }
    outputs: dict[str, tuple[tuple[int, ...], Any]] = {n: ((), "float64") for n in columns}
    arrays = picked_arrays(
        layer,
        tasks,
        outputs,
        [sum(chunks)],
        extra=graph.tasks,
        upstream=upstream,
        token=layer,
    )
    variables = {
        name: xr.Variable("integration", arrays[name], {} if unit is None else {"units": unit})
        for name, unit in columns.items()
    }
    dataset = xr.Dataset(variables, coords=coordinates(segment))
    names = ("radius", "radius_inner", "radius_outer")
    dataset.attrs |= {"path": str(segment.path), "exp_type": segment.exp_type}
    dataset.attrs |= dict(zip(names, setup.radii, strict=True))
    return dataset


def photometry_units(setup: ImagingSetup) -> dict[str, str | None]:
    """Columns of the photometry table that a setup gives, with units, without measuring."""
    from tso3dask.ops.aperture import radius_suffix
    from tso3dask.ops.photometry import photometry_columns

    names = ["aperture_sum", "aperture_sum_err"]
    if not setup.whole_array:
        names += ["aperture_area", "annulus_sum", "annulus_sum_err", "annulus_area"]
        for radius in setup.more_radii:
            end = radius_suffix(radius)
            names += [f"aperture_{kind}{end}" for kind in ("sum", "sum_err", "area")]
    one = np.ones(1)
    found = None
    if setup.centroid:
        keys = ("centroid_x", "centroid_y", "psf_width_x", "psf_width_y", "psf_flux")
        found = dict.fromkeys(keys, one)
    columns = photometry_columns(
        dict.fromkeys(names, one),
        unit=setup.unit,
        mjd=one, bjd_tdb=one, x=one, y=one, ra=one, dec=one,
        centroids=found,
    )  # fmt: skip
    return {name: column.unit for name, column in columns.items()}


def member_photometry(
    path: str,
    setup: ImagingSetup,
    measured: list[ChunkResult],
    centres: list[ChunkResult],
    names: Sequence[str],
) -> tuple[np.ndarray, ...]:
    """Task: columns of the photometry table of one segment."""
    from tso3dask.graph.integration_times import segment_times

    segment = open_segment(path)
    found = gather(centres).rows if centres else None
    times = segment_times(segment)
    table = photometry_table(segment, setup, times, gather(measured).rows, found)
    missing = np.full(segment.nints, np.nan)
    return tuple(
        np.asarray(table[name].values if name in table else missing, float) for name in names
    )


def in_a_row(parts: Sequence[xr.Dataset]) -> xr.Dataset:
    """Join tables of one column per variable; NaN where a part has no such column."""
    first = parts[0]
    variables = {}
    for name in dict.fromkeys(name for part in parts for name in part):
        pieces = [
            part[name].data if name in part else da.full(part.sizes["integration"], np.nan)
            for part in parts
        ]
        attrs = next(part[name].attrs for part in parts if name in part)
        variables[name] = xr.Variable("integration", da.concatenate(pieces), attrs)
    coords = {
        name: xr.Variable("integration", np.concatenate([p[name].values for p in parts]), c.attrs)
        for name, c in first.coords.items()
    }
    return xr.Dataset(variables, coords=coords, attrs=first.attrs)
