"""Tasks of a run with hooks: what they write is taken from lazy datasets, chunk by chunk."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import xarray as xr
from dask.optimization import cull

from tso3dask.graph.arrays import settled
from tso3dask.graph.build import MemberGraph
from tso3dask.graph.chunking import chunk_bounds
from tso3dask.graph.execute import task_errors
from tso3dask.graph.extraction import DynamicSpectrum, SpectrumJob
from tso3dask.graph.files import columns_of_spectra
from tso3dask.graph.soss_segment import COLUMNS
from tso3dask.graph.soss_tasks import SossJob, taken_extraction
from tso3dask.io.journal import ChunkResult, Journal
from tso3dask.ops.dq import OUTLIER

if TYPE_CHECKING:
    from tso3dask.graph.hooks import HookedMember
    from tso3dask.graph.outline import Member

__all__ = ["chunk_keys", "hooked_graph"]


def hooked_graph(
    member: Member, hooked: HookedMember, job: Any, label: str, journal: Journal | None
) -> MemberGraph:
    """Tasks of a member: one per chunk that writes, and one that holds the photometry table.

    Parameters
    ----------
    member : Member
        The member.
    hooked : HookedMember
        Its datasets.
    job : SpectrumJob, SossJob or ImagingJob
        Where rows go.
    label : str
        Ending of all keys.
    journal : Journal, optional
        Results that need no computing any more, and where new ones go.
    """
    graph = MemberGraph()
    key = f"job-{label}"
    graph.tasks[key] = job
    bounds = chunk_bounds(member.chunks)
    groups = [_cubes(graph, hooked.pixels, member)]
    at = member.program.point_after("pixel_replace")
    if hooked.replaced is None or all(output.point != at for output in job.outputs):
        groups.append([[] for _ in bounds])
    else:
        groups.append(_cubes(graph, hooked.replaced, member))
    columns = _columns(hooked)
    kinds = {name: "uint32" if name == "DQ" else "float64" for name in columns}
    groups.append(_pieces(graph, columns, kinds, member.chunks))
    series = hooked.series
    groups.append(_pieces(graph, series, dict.fromkeys(series, "float64"), member.chunks))
    arguments = [[group[i] for group in groups] for i in range(len(bounds))]
    graph.add("hooked", label, hooked_pass, bounds, arguments, journal, key)
    if hooked.photometry is not None:
        table = {str(n): v for n, v in hooked.photometry.data_vars.items()}
        whole = (sum(member.chunks),)
        kinds = {name: str(array.dtype) for name, array in table.items()}
        (pieces,) = _pieces(graph, table, kinds, whole)
        ends = [(0, whole[0])]
        graph.add("table", label, table_pass, ends, [(pieces,)], journal, key)
    if hooked.shared is not None:  # known by now, from pixels in a scratch file
        graph.tasks[hooked.shared] = (taken_extraction, job.prepared)
    wanted = [key for keys in graph.passes.values() for key in keys]
    graph.tasks, _ = cull(graph.tasks, wanted)
    return graph


def _cubes(graph: MemberGraph, dataset: xr.Dataset, member: Member) -> list[list[Any]]:
    """Name and key of each cube for each chunk."""
    cubes = {name: dataset[name] for name in member.segment.cubes}
    kinds = {name: "uint32" if name == "dq" else "float32" for name in cubes}
    return _pieces(graph, cubes, kinds, member.chunks)


def _columns(hooked: HookedMember) -> dict[str, xr.DataArray]:
    """Columns of spectra as tasks name them."""
    found: dict[str, xr.DataArray] = {}
    if hooked.spectra is not None:
        for name in {name for name, _ in columns_of_spectra()}:
            if name.lower() in hooked.spectra:
                found[name] = hooked.spectra[name.lower()]
    for ending, orders in (("_rate", hooked.rates), ("", hooked.orders)):
        for order, spectra in orders.items():
            found |= {f"{name}_{order}{ending}": spectra[name.lower()] for name in COLUMNS}
    return found


def _pieces(
    graph: MemberGraph,
    variables: Mapping[str, xr.DataArray],
    kinds: Mapping[str, str],
    chunks: tuple[int, ...],
) -> list[list[Any]]:
    """Name and key of each variable for each chunk; their graphs are added."""
    tasks, pieces = chunk_keys(variables, kinds, chunks)
    graph.tasks.update(tasks)
    return pieces


def chunk_keys(
    variables: Mapping[str, xr.DataArray], kinds: Mapping[str, str], chunks: tuple[int, ...]
) -> tuple[dict[Any, Any], list[list[Any]]]:
    """Graph of variables, and name and key of each for each chunk.

    Parameters
    ----------
    variables : mapping of DataArray
        Variables with a dimension ``integration``.
    kinds : mapping of str
        Type to give each of them.
    chunks : tuple of int
        Lengths along ``integration``.
    """
    tasks: dict[Any, Any] = {}
    pieces: list[list[Any]] = [[] for _ in chunks]
    for name, variable in variables.items():
        data = variable.transpose("integration", ...).data
        if not isinstance(data, da.Array):
            data = da.from_array(np.asarray(data), chunks=-1)
        rest = dict.fromkeys(range(1, data.ndim), -1)
        array = settled(data.astype(kinds[name]).rechunk({0: chunks, **rest}))
        tasks.update(dict(array.__dask_graph__()))
        for i, piece in enumerate(pieces):
            piece.append([name, (array.name, i, *(0,) * (array.ndim - 1))])
    return tasks, pieces


def hooked_pass(
    job: Any, a: int, b: int, cubes: Any, replaced: Any, columns: Any, series: Any
) -> ChunkResult:
    """Task: write what datasets hold for the integrations ``a:b``; give back light curves."""
    arrays, later = (
        {name: np.ascontiguousarray(values) for name, values in pieces}
        for pieces in (cubes, replaced)
    )
    after = job.program.point_after("pixel_replace") if later else None
    spectra = {name: np.asarray(values) for name, values in columns}
    flagged = np.count_nonzero(arrays["dq"] & np.uint32(OUTLIER), axis=(1, 2))
    rows = {"n_outliers": flagged.astype(np.int64)}
    with task_errors(job.path, a, b):
        for output in job.outputs:
            if output.point is not None:
                output.put(a, b, later if output.point == after else arrays)
        if spectra:
            job.put_measured(a, b, spectra)
    rows |= {name: np.asarray(values) for name, values in series}
    if isinstance(job, SpectrumJob) and job.bin_rows and spectra:
        dynamic = DynamicSpectrum.of(job, a, b)
        dynamic.add(a, spectra["FLUX"])
        rows |= dynamic.rows()
    if isinstance(job, SossJob) and job.bin_rows:
        for order, size in ((o, w.size) for o, w in job.wavelengths.items()):
            dynamic = DynamicSpectrum(size, job.first_row, job.bin_rows, a, b)
            dynamic.add(a, spectra[f"FLUX_{order}"])
            rows |= {f"{name}_{order}": values for name, values in dynamic.rows().items()}
    return ChunkResult(job.member, a, b, rows)


def table_pass(job: Any, a: int, b: int, columns: Any) -> ChunkResult:
    """Task: hold the photometry table of a member."""
    rows = {f"column {name}": np.asarray(values) for name, values in columns}
    return ChunkResult(job.member, a, b, rows)
