"""Write lazy datasets as standard products, whatever steps made them.

A run (`Plan.run`) fuses reading, flagging, extraction and writing into one task per chunk. These
functions write datasets that a program has put together itself, one task per chunk as well.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
from dask.tokenize import tokenize

from tso3dask.errors import InputError
from tso3dask.graph.arrays import settled
from tso3dask.graph.chunking import chunk_bounds
from tso3dask.graph.dataset import replaced_in_time, segment_of
from tso3dask.graph.execute import compute
from tso3dask.graph.integration_times import segment_times
from tso3dask.graph.sinks import time_columns
from tso3dask.io.atomic import new_run_id, part_path
from tso3dask.io.crfints import CrfintsSink
from tso3dask.io.segment import REPLACED_IN_TIME, Segment
from tso3dask.io.tables import write_table
from tso3dask.io.x1dints import SpectrumSpec, X1dintsSink
from tso3dask.schema import CUBES

__all__ = ["write_crfints", "write_phot", "write_whtlt", "write_x1dints"]

Pathlike = str | os.PathLike[str]


def _final(path: Pathlike, overwrite: bool) -> Path:
    final = Path(path)
    if final.exists() and not overwrite:
        raise InputError(f"{final}: is there already; give overwrite=True to replace it")
    if not final.parent.is_dir():
        raise InputError(f"{final.parent}: is no folder; make it first")
    return final


def _put_all(
    arrays: Mapping[str, da.Array], put: Callable[..., Any], *fixed: Any, scheduler: str | None
) -> None:
    """Compute arrays chunk by chunk and hand each chunk to a writer."""
    settled_arrays = {name: settled(array) for name, array in arrays.items()}
    first = next(iter(settled_arrays.values()))
    graph: dict[Any, Any] = {}
    for array in settled_arrays.values():
        graph.update(dict(array.__dask_graph__()))
    layer = f"write-{tokenize([a.name for a in settled_arrays.values()], new_run_id())}"
    keys = []
    for i, (a, b) in enumerate(chunk_bounds(first.chunks[0])):
        pieces = [
            [name, (array.name, i, *(0,) * (array.ndim - 1))]
            for name, array in settled_arrays.items()
        ]
        key = (layer, i)
        graph[key] = (put_chunk, put, list(fixed), a, b, pieces)
        keys.append(key)
    compute(graph, keys, scheduler=scheduler)


def put_chunk(put: Any, fixed: list[Any], a: int, b: int, pieces: list[Any]) -> int:
    """Task: write one chunk."""
    arrays = {name: np.ascontiguousarray(values) for name, values in pieces}
    put(*fixed, a, b, arrays)
    return b - a


def _chunked(dataset: xr.Dataset, names: Iterable[str], kinds: Mapping[str, Any]) -> dict[str, Any]:
    """Variables as dask arrays with equal chunks along ``integration`` only."""
    arrays: dict[str, da.Array] = {}
    chunks = None
    for name in names:
        variable = dataset[name].transpose("integration", ...)
        data = variable.data
        if not isinstance(data, da.Array):
            data = da.from_array(np.asarray(data), chunks=-1)
        rest = dict.fromkeys(range(1, data.ndim), -1)
        data = data.astype(kinds[name]).rechunk({0: chunks or data.chunks[0], **rest})
        chunks = data.chunks[0]
        arrays[name] = data
    return arrays


def write_crfints(
    dataset: xr.Dataset,
    path: Pathlike,
    *,
    asn_table: str | None = None,
    asn_pool: str | None = None,
    overwrite: bool = False,
    scheduler: str | None = None,
) -> Path:
    """Write the cubes of one segment as a crfints product.

    Parameters
    ----------
    dataset : Dataset
        Cubes (integration, y, x) of all integrations of the file that ``attrs["path"]`` names;
        everything else of the product is taken from that file.
    path : path-like
        The product.
    asn_table, asn_pool : str, optional
        Association file and pool, for ASNTABLE and ASNPOOL.
    overwrite : bool
        Replace a file that is there.
    scheduler : str, optional
        As for `Plan.run`.

    Returns
    -------
    Path

    Raises
    ------
    InputError
        If cubes are missing or do not have the file's shape, or the product is there.
    """
    final = _final(path, overwrite)
    segment = segment_of(dataset)
    missing = [name for name in segment.cubes if name not in dataset]
    if missing:
        raise InputError(f"{segment.path}: has {missing[0]!r}, the dataset has not; keep all cubes")
    shape = tuple(dataset.sizes[d] for d in ("integration", "y", "x"))
    expected = (segment.nints, segment.ny, segment.nx)
    if shape != expected:
        raise InputError(f"{segment.path}: cubes are {expected}, in the dataset they are {shape}")
    kinds = {n: np.uint32 if n == "dq" else np.float32 for n in CUBES}
    sink = CrfintsSink.create(
        segment,
        part_path(final, new_run_id()),
        filename=final.name,
        asn_pool=asn_pool,
        asn_table=asn_table,
        history=[REPLACED_IN_TIME] if replaced_in_time(dataset) else (),
    )
    try:
        _put_all(_chunked(dataset, segment.cubes, kinds), sink.put, scheduler=scheduler)
        return sink.finish(final)
    except BaseException:
        sink.abort()
        raise


def write_x1dints(
    spectra: xr.Dataset | xr.DataTree | Iterable[xr.Dataset],
    path: Pathlike,
    *,
    asn_table: str | None = None,
    asn_pool: str | None = None,
    overwrite: bool = False,
    scheduler: str | None = None,
) -> Path:
    """Write spectra as an x1dints product.

    Parameters
    ----------
    spectra : Dataset, DataTree or iterable of Dataset
        Results of `extract_1d`, one per segment, in the order of the product's tables.
    path, asn_table, asn_pool, overwrite, scheduler
        As for `write_crfints`.

    Returns
    -------
    Path

    Raises
    ------
    InputError
        If a dataset is not the result of `extract_1d` for all integrations of its file.
    """
    final = _final(path, overwrite)
    parts = _datasets(spectra)
    specs = [_spec(part, segment_of(part)) for part in parts]
    sink = X1dintsSink.create(
        part_path(final, new_run_id()),
        specs,
        filename=final.name,
        asn_pool=asn_pool,
        asn_table=asn_table,
        steps={
            "outlier_detection": _status(parts, "outlier_detection"),
            "pixel_replace": _status(parts, "pixel_replace"),
            "extract_1d": "COMPLETE",
        },
    )
    try:
        for table, part in enumerate(parts):
            names = [str(n) for n in part if part[n].dims == ("integration", "dispersion")]
            kinds = {n: np.uint32 if n == "dq" else np.float64 for n in names}
            arrays = {n.upper(): a for n, a in _chunked(part, names, kinds).items()}
            _put_all(arrays, sink.put, table, scheduler=scheduler)
        return sink.finish(final)
    except BaseException:
        sink.abort()
        raise


def _status(parts: Iterable[xr.Dataset], step: str) -> str:
    done = any(part.attrs.get(step) == "COMPLETE" for part in parts)
    return "COMPLETE" if done else "SKIPPED"


def _datasets(spectra: Any) -> list[xr.Dataset]:
    if isinstance(spectra, xr.Dataset):
        return [spectra]
    if isinstance(spectra, xr.DataTree):
        return [leaf.to_dataset() for leaf in spectra.leaves if leaf.has_data]
    return list(spectra)


def _spec(dataset: xr.Dataset, segment: Segment) -> SpectrumSpec:
    if "flux" not in dataset or dataset["flux"].dims != ("integration", "dispersion"):
        raise InputError(f"{segment.path}: the dataset has no flux (integration, dispersion)")
    if dataset.sizes["integration"] != segment.nints:
        raise InputError(
            f"{segment.path}: has {segment.nints} integrations, the spectra "
            f"{dataset.sizes['integration']}; write all of them"
        )
    attrs = dataset.attrs
    units = {str(n).upper(): v.attrs["units"] for n, v in dataset.items() if "units" in v.attrs}
    return SpectrumSpec(
        segment=segment,
        wavelength=np.asarray(dataset["wavelength"].values),
        units={"WAVELENGTH": "um", **units},
        times=time_columns(segment_times(segment)),
        spectral_order=int(attrs.get("spectral_order", 1)),
        dispaxis=attrs.get("dispaxis"),
        name=attrs.get("slit_name") or None,
        source_type=attrs.get("source_type") or None,
        ra=attrs.get("ra"),
        dec=attrs.get("dec"),
        limits=tuple(attrs["limits"]) if attrs.get("limits") is not None else None,
        slit=segment.exp_type != "NIS_SOSS",
    )


def _write(dataset: xr.Dataset, final: Path, meta: Mapping[str, Any]) -> Path:
    computed = dataset.compute()
    names = [str(n) for n in computed.data_vars if computed[n].ndim == 1]
    columns = {}
    for name in names:
        unit = computed[name].attrs.get("units")
        time = name in ("MJD", "BJD_TDB") or name.startswith(("MJD_", "BJD_"))
        columns[name] = (computed[name].values, None if time else unit)
    return write_table(final, columns, meta)


def _header(dataset: xr.Dataset) -> Segment | None:
    return segment_of(dataset) if dataset.attrs.get("path") else None


def write_phot(dataset: xr.Dataset, path: Pathlike, *, overwrite: bool = False) -> Path:
    """Write the result of `tso_photometry` as a phot table.

    Parameters
    ----------
    dataset : Dataset
        Columns (integration,), as `tso_photometry` or ``plan.phot`` give them.
    path : path-like
        The table, ``..._phot.ecsv``.
    overwrite : bool
        Replace a file that is there.

    Returns
    -------
    Path
    """
    from tso3dask.ops.photometry import table_meta

    final = _final(path, overwrite)
    segment = _header(dataset)
    keys = ["instrument", "detector", "channel", "subarray", "filter", "pupil", "target_name"]
    words = {"instrument": "INSTRUME", "target_name": "TARGNAME"}
    get = (lambda k: None) if segment is None else segment.get
    meta: dict[str, Any] = {key: get(words.get(key, key.upper())) for key in keys}
    radii = {
        name: dataset.attrs.get(name, default)
        for name, default in (("radius", 3.0), ("radius_inner", 4.0), ("radius_outer", 5.0))
    }
    return _write(dataset, final, table_meta(**meta, **radii))


def write_whtlt(
    dataset: xr.Dataset | xr.DataArray, path: Pathlike, *, overwrite: bool = False
) -> Path:
    """Write a white-light table.

    Parameters
    ----------
    dataset : Dataset or DataArray
        ``plan.whtlt``, or the result of `white_light`, whose time coordinates become columns.
    path : path-like
        The table, ``..._whtlt.ecsv``.
    overwrite : bool
        Replace a file that is there.

    Returns
    -------
    Path
    """
    from tso3dask.ops.whitelight import META_KEYWORDS

    final = _final(path, overwrite)
    if isinstance(dataset, xr.DataArray):
        flux = dataset
        dataset = xr.Dataset(
            {
                "MJD_UTC": ("integration", flux["mjd_utc_mid"].values),
                "BJD_TDB": ("integration", flux["bjd_tdb_mid"].values),
                "whitelight_flux": ("integration", flux.data, {"units": flux.attrs.get("units")}),
            },
            attrs=flux.attrs,
        )
    segment = _header(dataset)
    meta = {k: None if segment is None else segment.get(v) for k, v in META_KEYWORDS.items()}
    return _write(dataset, final, meta)
