"""NIRISS SOSS: lazy spectra, a dataset per member and order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from dask.tokenize import tokenize

from tso3dask.graph.arrays import picked_arrays
from tso3dask.graph.chunking import chunk_bounds
from tso3dask.graph.dataset import coordinates
from tso3dask.graph.execute import task_errors
from tso3dask.graph.soss_tasks import SegmentExtraction, SossJob, soss_prologue

if TYPE_CHECKING:
    from tso3dask.graph.outline import Member, Outline

__all__ = ["order_datasets", "soss_block"]


def soss_block(
    job: SossJob, a: int, b: int, extraction: SegmentExtraction, names: Sequence[str]
) -> tuple[np.ndarray, ...]:
    """Task: columns of the EXTRACT1D rows of integrations ``a:b``, order after order."""
    sizes = {order: wavelength.size for order, wavelength in job.wavelengths.items()}
    parts: list[list[np.ndarray]] = [[] for _ in sizes for _ in names]
    with task_errors(job.path, a, b):
        for first, last, block in job.blocks(a, b, [*extraction.constants.items()]):
            columns, _ = extraction.spectra(block.arrays)
            place = iter(parts)
            for order, size in sizes.items():
                empty = np.zeros((last - first, size))
                for name in names:
                    values = columns.get(f"{name}_{order}", empty)
                    next(place).append(np.array(values, "u4" if name == "DQ" else "f8"))
    return tuple(np.concatenate(pieces) for pieces in parts)


def order_datasets(plan: Outline, member: Member) -> dict[int, xr.Dataset]:
    """Lazy spectra of a member by order: columns of EXTRACT1D in lower case."""
    from tso3dask.graph.lazy import column_names, label_spectra

    setup = member.soss
    assert setup is not None
    path = str(member.segment.path)
    job = SossJob.of(
        setup.orders,
        member=member.index,
        program=member.program,
        sub_block=plan.budget.sub_block,
        path=path,
    )
    token = f"{tokenize(plan.token, member.chunks)[:16]}-{member.label}"
    prologue, shared = soss_prologue(member.program, setup, path, token)
    key = f"job-{token}"
    names = column_names()
    layer = f"soss-{token}"
    tasks = {
        (layer, i): (soss_block, key, a, b, shared, names)
        for i, (a, b) in enumerate(chunk_bounds(member.chunks))
    }
    outputs: dict[str, Any] = {
        f"{name.lower()}-{item.spectral_order}": (
            (item.wavelength.size,),
            "uint32" if name == "DQ" else "float64",
        )
        for item in setup.orders
        for name in names
    }
    arrays = picked_arrays(
        layer, tasks, outputs, member.chunks, extra={**prologue, key: job}, token=f"spectra-{token}"
    )
    times = coordinates(member.segment)
    return {
        item.spectral_order: label_spectra(
            member.segment,
            item,
            {name.lower(): arrays[f"{name.lower()}-{item.spectral_order}"] for name in names},
            times,
        )
        for item in setup.orders
    }
