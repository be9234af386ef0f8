"""The public way in: open, plan, run, and a stand-in for the field's pipeline class."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tso3dask.errors import InputError
from tso3dask.graph.plan import Plan, make_plan

if TYPE_CHECKING:
    import xarray as xr

    from tso3dask.graph.record import RunResult

__all__ = ["Plan", "Tso3Pipeline", "make_plan", "open_association", "open_segment", "plan", "run"]


def plan(
    source: Any,
    steps: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    chunk_integrations: int | None = None,
    memory_limit: str | int | None = None,
    workers: int | None = None,
) -> Plan:
    """Plan the processing of an association from headers alone.

    Parameters
    ----------
    source : path, mapping or list of paths
        Association file or its content, or calints files.
    steps : mapping, optional
        ``{step: {parameter: value}}``.
    chunk_integrations : int, optional
        Integrations of a task; chosen by default.
    memory_limit : str or int, optional
        Memory of a run, as ``"8GiB"``; 1 GB by default.
    workers : int, optional
        Tasks at a time.

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
        chunk_integrations=chunk_integrations,
        memory_limit=memory_limit,
        workers=workers,
    )


def run(
    source: Any,
    output_dir: str | os.PathLike[str] = ".",
    steps: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    chunk_integrations: int | None = None,
    memory_limit: str | int | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    overwrite: bool = False,
    resume: bool = False,
) -> list[Path]:
    """Process an association and write its products.

    Parameters
    ----------
    source, steps, chunk_integrations, memory_limit, workers
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
        chunk_integrations=chunk_integrations,
        memory_limit=memory_limit,
        workers=workers,
        separate_processes=scheduler == "processes",
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
    return xr.DataTree.from_dict(member_datasets(made, flagged=False))


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


_ONLY_PIXELS = {"tso_photometry": {"skip": True}, "extract_1d": {"skip": True}}


class Tso3Pipeline:
    """Stand-in for the field's stage-3 time-series pipeline class.

    Only the call that notebooks use is here; parameters are those of `run`.
    """

    @classmethod
    def call(
        cls,
        source: Any,
        *,
        output_dir: str | os.PathLike[str] | None = None,
        steps: Mapping[str, Mapping[str, Any]] | None = None,
        save_results: bool = True,
        **options: Any,
    ) -> None:
        """Process an association; earlier products of the same names are replaced.

        Parameters
        ----------
        source : path, mapping or list of paths
            Association file or its content, or calints files.
        output_dir : path-like, optional
            Folder for the products; the working directory by default.
        steps : mapping, optional
            ``{step: {parameter: value}}``.
        save_results : bool
            Accepted for compatibility: products are always written.
        **options
            More parameters of `run`. ``logcfg``, ``configure_log`` and ``log_level`` are accepted
            and have no effect.

        Raises
        ------
        InputError
            If an option is not known, or for anything that `run` refuses.
        """
        known = {"chunk_integrations", "memory_limit", "workers", "scheduler"}
        unknown = set(options) - known - {"logcfg", "configure_log", "log_level"}
        if unknown:
            raise InputError(
                f"Tso3Pipeline.call: unknown option {sorted(unknown)[0]!r}; parameters of steps "
                "go into steps={...}"
            )
        chosen = {name: value for name, value in options.items() if name in known}
        run(source, output_dir or ".", steps, overwrite=True, **chosen)
