"""NIRISS SOSS: lazy spectra, a dataset per member and order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from dask.tokenize import tokenize

from tso3dask.config import PipelineParameters
from tso3dask.errors import InputError, NotYetError
from tso3dask.graph.arrays import picked_arrays
from tso3dask.graph.chunking import chunk_bounds
from tso3dask.graph.dataset import common_program, coordinates
from tso3dask.graph.execute import task_errors
from tso3dask.graph.program import Program
from tso3dask.graph.soss import SossSetup, needed_references, soss_setups
from tso3dask.graph.soss_tasks import SegmentExtraction, SossJob, soss_prologue
from tso3dask.graph.stages import FlagOutliers
from tso3dask.io.bestrefs import find_references
from tso3dask.io.segment import Segment
from tso3dask.schema import EXTRACTED_COLUMNS

if TYPE_CHECKING:
    from tso3dask.graph.outline import Member, Outline

__all__ = ["order_datasets", "soss_block", "spectra_of_orders"]


def soss_block(
    job: SossJob, a: int, b: int, extraction: SegmentExtraction, names: Sequence[str]
) -> tuple[np.ndarray, ...]:
    """Task: columns of the EXTRACT1D rows of integrations ``a:b``, order after order."""
    sizes = {order: wavelength.size for order, wavelength in job.wavelengths.items()}
    parts: list[list[np.ndarray]] = [[] for _ in sizes for _ in names]
    with task_errors(job.path, a, b):
        for first, last, block in job.blocks(a, b, [*extraction.constants.items()]):
            columns, _ = extraction.spectra(block.arrays, save=False)
            place = iter(parts)
            for order, size in sizes.items():
                empty = np.zeros((last - first, size))
                for name in names:
                    values = columns.get(f"{name}_{order}", empty)
                    next(place).append(np.array(values, "u4" if name == "DQ" else "f8"))
    return tuple(np.concatenate(pieces) for pieces in parts)


def order_datasets(plan: Outline, member: Member) -> dict[int, xr.Dataset]:
    """Lazy spectra of a member by order: columns of EXTRACT1D in lower case."""
    setup = member.soss
    assert setup is not None
    token = f"{tokenize(plan.token, member.chunks)[:16]}-{member.label}"
    rows = plan.budget.sub_block
    return _datasets(member.segment, member.program, setup, member.chunks, rows, token)


def spectra_of_orders(
    dataset: xr.Dataset, segment: Segment, parameters: PipelineParameters, rows: int
) -> xr.DataTree:
    """Spectra of a dataset of NIRISS SOSS pixels, a node ``order1`` and so on for each order.

    Parameters
    ----------
    dataset : Dataset
        Untouched or flagged pixels of a file.
    segment : Segment
        That file.
    parameters : PipelineParameters
        Steps' parameters; spectra are calibrated with ``photom.override_photom`` if there is one.
    rows : int
        Integrations that a task holds at a time.

    Raises
    ------
    InputError
        If references are missing or there is no spectrum.
    NotYetError
        If the pixels are not those of a file any more.
    """
    program = common_program(dataset)
    if program is None or any(stage.__class__ is not FlagOutliers for stage in program.stages):
        raise NotYetError(
            f"{segment.path}: extract_1d of NIRISS SOSS needs the pixels of a file, untouched or "
            "after outlier_detection; other datasets are not supported yet"
        )
    needed, mandatory = needed_references([segment], parameters)
    references = find_references(parameters, [segment], needed, mandatory)
    (setup,), notes = soss_setups([segment], parameters, references)
    if setup is None:
        raise InputError("; ".join(notes))
    chunks = tuple(dataset.chunksizes.get("integration") or (dataset.sizes["integration"],))
    token = tokenize(program.token, chunks, parameters.token(), str(references))
    orders = _datasets(segment, program, setup, chunks, rows, token)
    for spectra in orders.values():
        if "outlier_detection" in dataset.attrs:
            spectra.attrs["outlier_detection"] = dataset.attrs["outlier_detection"]
    return xr.DataTree.from_dict({f"/order{order}": found for order, found in orders.items()})


def _datasets(
    segment: Segment,
    program: Program,
    setup: SossSetup,
    chunks: Sequence[int],
    rows: int,
    token: str,
) -> dict[int, xr.Dataset]:
    from tso3dask.graph.lazy_spectra import label_spectra

    path = str(segment.path)
    job = SossJob.of(setup.orders, member=0, program=program, sub_block=rows, path=path)
    prologue, shared = soss_prologue(program, setup, path, token)
    key = f"job-{token}"
    names = list(EXTRACTED_COLUMNS)
    layer = f"soss-orders-{token}"
    tasks = {
        (layer, i): (soss_block, key, a, b, shared, names)
        for i, (a, b) in enumerate(chunk_bounds(chunks))
    }
    outputs: dict[str, Any] = {
        f"{name.lower()}-{item.spectral_order}": (
            (item.wavelength.size,),
            "uint32" if name == "DQ" else "float64",
        )
        for item in setup.orders
        for name in names
    }
    extra = {**prologue, key: job}
    arrays = picked_arrays(layer, tasks, outputs, chunks, extra=extra, token=f"spectra-{token}")
    times = coordinates(segment)
    return {
        item.spectral_order: label_spectra(
            segment,
            item,
            {name.lower(): arrays[f"{name.lower()}-{item.spectral_order}"] for name in names},
            times,
        )
        for item in setup.orders
    }
