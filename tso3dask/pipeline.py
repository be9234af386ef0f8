"""The public way in: open, plan, run, and the classes that take the place of those of ``jwst``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tso3dask.graph.plan import Plan, make_plan

if TYPE_CHECKING:
    import xarray as xr
    from astropy.table import QTable

    from tso3dask.graph.record import RunResult

__all__ = [
    "Plan",
    "make_plan",
    "open_association",
    "open_segment",
    "plan",
    "run",
    "spectral_light_curves",
]


def plan(
    source: Any,
    steps: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    product_name: str | None = None,
    chunk_integrations: int | None = None,
    memory_limit: str | int | None = None,
    workers: int | None = None,
    crds_parameters: bool = True,
    recipe: str | None = None,
) -> Plan:
    """Plan the processing of an association from headers alone.

    Parameters
    ----------
    source : path, mapping or list of paths
        Association file or its content, or calints files.
    steps : mapping, optional
        ``{step: {parameter: value}}``.
    product_name : str, optional
        Beginning of the names of the tables and spectra, instead of the association's.
    chunk_integrations : int, optional
        Integrations of a task; chosen by default.
    memory_limit : str or int, optional
        Memory of a run, as ``"8GiB"``; 1 GB by default, 1.5 GB for spectra of NIRISS SOSS.
    workers : int, optional
        Tasks at a time.
    crds_parameters : bool
        Whether parameter files of CRDS count, where CRDS is set up: over the defaults, below
        `steps`.
    recipe : str, optional
        A ready set of parameters, by name (``precise``, ``jwst``) or path of a ``.toml`` file: over
        the defaults and those of CRDS, below `steps`.

    Returns
    -------
    Plan
        ``plan.crfints``, ``plan.phot``, ``plan.x1dints`` and ``plan.whtlt`` are lazy;
        ``plan.run(output_dir=...)`` writes the products.

    Raises
    ------
    InputError
        If the input, a parameter or a reference is not usable.
    """
    return make_plan(
        source,
        steps,
        product_name=product_name,
        chunk_integrations=chunk_integrations,
        memory_limit=memory_limit,
        workers=workers,
        crds_parameters=crds_parameters,
        recipe=recipe,
    )


def run(
    source: Any,
    output_dir: str | os.PathLike[str] = ".",
    steps: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    product_name: str | None = None,
    chunk_integrations: int | None = None,
    memory_limit: str | int | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    overwrite: bool = False,
    resume: bool = False,
    crds_parameters: bool = True,
    recipe: str | None = None,
) -> list[Path]:
    """Process an association and write its products.

    Parameters
    ----------
    source, steps, product_name, chunk_integrations, memory_limit, workers, crds_parameters, recipe
        As for `plan`.
    output_dir : path-like
        Folder for the products.
    scheduler : str, optional
        ``threads``, ``processes``, ``synchronous`` or the address of a dask scheduler; by default
        the active Client, else threads.
    overwrite, resume : bool
        Replace earlier products, or go on with an interrupted run.

    Returns
    -------
    list of Path
        The products.
    """
    made = make_plan(
        source,
        steps,
        product_name=product_name,
        chunk_integrations=chunk_integrations,
        memory_limit=memory_limit,
        workers=workers,
        separate_processes=scheduler == "processes",
        crds_parameters=crds_parameters,
        recipe=recipe,
    )
    result: RunResult = made.run(
        output_dir, scheduler=scheduler, overwrite=overwrite, resume=resume
    )
    return result.paths


def open_association(source: Any, *, chunks: int | None = None) -> xr.DataTree:
    """Open all members of an association as a lazy tree; no pixel is read.

    Parameters
    ----------
    source : path, mapping or list of paths
        Association file or its content, or calints files.
    chunks : int, optional
        Integrations of a chunk; chosen by default.

    Returns
    -------
    xarray.DataTree
        One node per segment under its exposure, ``/<exposure>/seg001``, in time order.
    """
    import xarray as xr

    from tso3dask.graph.lazy import member_datasets

    made = make_plan(
        source, {"outlier_detection": {"skip": True}, **_ONLY_PIXELS}, chunk_integrations=chunks
    )
    return xr.DataTree.from_dict(member_datasets(made, stage="stored"))


def open_segment(path: str | os.PathLike[str], *, chunks: int | None = None) -> xr.Dataset:
    """Open one calints or crfints file as a lazy dataset that steps recognise as untouched.

    Parameters
    ----------
    path : path-like
        The file.
    chunks : int, optional
        Integrations of a chunk; chosen by default.

    Returns
    -------
    xarray.Dataset
        Dims (integration, y, x).
    """
    from tso3dask.graph.chunking import chunk_sizes
    from tso3dask.graph.dataset import source_dataset
    from tso3dask.io.segment import open_segment as open_headers

    segment = open_headers(path)
    sizes = chunk_sizes(
        segment.nints, segment.bytes_per_integration, 25, total=segment.nints, requested=chunks
    )
    return source_dataset(segment, sizes)


def spectral_light_curves(
    x1dints: str | os.PathLike[str],
    output: str | os.PathLike[str] | None = None,
    **parameters: Any,
) -> QTable:
    """Light curves of spectroscopic channels from an x1dints file.

    Rows are read in blocks, so that memory does not grow with the size of the spectra.

    Parameters
    ----------
    x1dints : path-like
        The file, of this package or of ``jwst``.
    output : path-like, optional
        ECSV file to write; one that is there is replaced.
    **parameters
        Of the step ``light_curves``: one of ``edges`` (um), ``resolving_power`` and
        ``pixels_per_channel``, and ``min_wavelength`` and ``max_wavelength``.

    Returns
    -------
    astropy.table.QTable
        As the product ``_speclc.ecsv``: times, then flux and error of each channel; wavelengths of
        the channels are in ``meta["channels"]``.

    Raises
    ------
    InputError
        If the file has no spectra, or for unknown parameters.
    """
    from tso3dask.graph import spectra_files

    return spectra_files.spectral_light_curves(x1dints, output, **parameters)


_ONLY_PIXELS = {"tso_photometry": {"skip": True}, "extract_1d": {"skip": True}}


def __getattr__(name: str) -> Any:
    """Give the pipeline and step classes here too, where ``jwst`` users look for them."""
    from tso3dask import drop_in

    if name in drop_in.__all__:
        return getattr(drop_in, name)
    raise AttributeError(f"module 'tso3dask.pipeline' has no attribute {name!r}")
