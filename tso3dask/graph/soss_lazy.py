"""NIRISS SOSS: lazy spectra, a dataset per member and order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import xarray as xr
from dask.tokenize import tokenize

from tso3dask.config import PipelineParameters
from tso3dask.errors import InputError
from tso3dask.graph.arrays import picked_arrays
from tso3dask.graph.chunking import chunk_bounds
from tso3dask.graph.dataset import common_program, coordinates, program_dataset
from tso3dask.graph.execute import task_errors
from tso3dask.graph.program import Program
from tso3dask.graph.soss import SossSetup, needed_references, soss_setups
from tso3dask.graph.soss_arrays import array_prologue, filled_rows, rows_with_neighbours
from tso3dask.graph.soss_fill import pixelwise
from tso3dask.graph.soss_segment import SegmentExtraction
from tso3dask.graph.soss_tasks import SossJob, in_pieces, soss_prologue
from tso3dask.graph.stages import median_prologue
from tso3dask.io.bestrefs import find_references
from tso3dask.io.segment import Segment
from tso3dask.schema import EXTRACTED_COLUMNS

if TYPE_CHECKING:
    from tso3dask.graph.outline import Member, Outline

__all__ = ["calibrated_orders", "order_datasets", "orders_of", "soss_block", "spectra_of_orders"]


def soss_block(
    job: SossJob,
    a: int,
    b: int,
    extraction: SegmentExtraction,
    names: Sequence[str],
    rows: Any = None,
) -> tuple[np.ndarray, ...]:
    """Task: columns of the EXTRACT1D rows of integrations ``a:b``, order after order.

    Without a program, `rows` has the pixels, see `rows_with_neighbours`.
    """
    sizes = {order: wavelength.size for order, wavelength in job.wavelengths.items()}
    parts: list[list[np.ndarray]] = [[] for _ in sizes for _ in names]
    with task_errors(job.path, a, b):
        if rows is None:
            blocks = job.blocks(a, b, [*extraction.constants.items()])
        else:
            whole = a, b, filled_rows(rows, a, b, extraction.constants["summary"])
            blocks = in_pieces([whole], job.sub_block)
        for first, last, block in blocks:
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
    if pixelwise(member.program):
        return _of_program(member.segment, member.program, setup, member.chunks, rows, token)
    tasks, constants = median_prologue(member.program)
    dataset = program_dataset(member.segment, member.program, member.chunks, tasks, constants)
    return orders_of(dataset, member.segment, setup, rows, token)[0]


def spectra_of_orders(
    dataset: xr.Dataset, segment: Segment, parameters: PipelineParameters, rows: int
) -> xr.DataTree:
    """Spectra of a dataset of NIRISS SOSS pixels, a node ``order1`` and so on for each order.

    Parameters
    ----------
    dataset : Dataset
        Pixels. Of those that are not, or not any more, the pixels of a file or flagged ones, the
        graph holds SCI, ERR and DQ of all integrations while what they share is made.
    segment : Segment
        Their file.
    parameters : PipelineParameters
        Steps' parameters; spectra are calibrated with ``photom.override_photom`` if there is one.
    rows : int
        Integrations that a task holds at a time.

    Raises
    ------
    InputError
        If references are missing or there is no spectrum.
    """
    program = common_program(dataset)
    needed, mandatory = needed_references([segment], parameters)
    references = find_references(parameters, [segment], needed, mandatory)
    (setup,), notes = soss_setups([segment], parameters, references)
    if setup is None:
        raise InputError("; ".join(notes))
    content = parameters.token(), str(references)
    if program is not None and pixelwise(program):
        chunks = tuple(dataset.chunksizes.get("integration") or (dataset.sizes["integration"],))
        token = tokenize(program.token, chunks, content)
        orders = _of_program(segment, program, setup, chunks, rows, token)
    else:
        orders, _ = orders_of(dataset, segment, setup, rows, content)
    for spectra in orders.values():
        for step in ("outlier_detection", "pixel_replace"):
            if step in dataset.attrs:
                spectra.attrs[step] = dataset.attrs[step]
    return xr.DataTree.from_dict({f"/order{order}": found for order, found in orders.items()})


def orders_of(
    dataset: xr.Dataset, segment: Segment, setup: SossSetup, rows: int, content: Any
) -> tuple[dict[int, xr.Dataset], str]:
    """Spectra of arrays, whatever they are.

    Parameters
    ----------
    dataset : Dataset
        Pixels.
    segment : Segment
        Their file.
    setup : SossSetup
        Extraction.
    rows : int
        Integrations that a task extracts at a time.
    content : object
        Names the parameters, with all that the setup was made of.

    Returns
    -------
    orders : dict of int to Dataset
    shared : str
        Key of the `SegmentExtraction` in their graph.
    """
    from tso3dask.graph.soss_store import STORED
    from tso3dask.graph.steps import cubes_of

    found = cubes_of(dataset)
    cubes = {name: found[name].data for name in STORED}
    chunks = cubes["sci"].chunks[0]
    token = tokenize([array.name for array in cubes.values()], content)
    path = str(segment.path)
    job = SossJob.of(setup.orders, None, member=0, sub_block=rows, path=path)
    bounds = chunk_bounds(chunks)
    prologue, shared = array_prologue(cubes, setup, path, token)
    pixels = [rows_with_neighbours(cubes, bounds, a, b) for a, b in bounds]
    times = {str(k): v for k, v in dataset.coords.items() if v.dims == ("integration",)}
    made = _datasets(segment, job, setup, chunks, token, (prologue, shared), times, pixels, cubes)
    return made, shared


def calibrated_orders(tree: xr.DataTree, setup: SossSetup) -> xr.DataTree:
    """Calibrate the spectra of all orders.

    Parameters
    ----------
    tree : DataTree
        Spectra in DN/s, a node for each order.
    setup : SossSetup
        Extraction, with the factors of the orders.
    """
    orders = {}
    for item in setup.orders:
        spectra = tree[f"order{item.spectral_order}"].to_dataset()
        if item.factor is not None:
            factor = xr.DataArray(item.factor, dims="dispersion")
            changed = {}
            for column, unit in item.units.items():
                name = column.lower()
                if name == "wavelength" or name not in spectra:
                    continue
                scale = factor**2 if unit.endswith("^2") else factor
                attrs = {**spectra[name].attrs, "units": unit}
                changed[name] = (spectra[name] * scale).assign_attrs(attrs)
            spectra = spectra.assign(changed)
        orders[f"/order{item.spectral_order}"] = spectra
    return xr.DataTree.from_dict(orders)


def _of_program(
    segment: Segment,
    program: Program,
    setup: SossSetup,
    chunks: Sequence[int],
    rows: int,
    token: str,
) -> dict[int, xr.Dataset]:
    """Spectra of the pixels of a file, whose tasks read them there."""
    path = str(segment.path)
    job = SossJob.of(setup.orders, member=0, program=program, sub_block=rows, path=path)
    prologue = soss_prologue(program, setup, path, token)
    return _datasets(segment, job, setup, chunks, token, prologue, coordinates(segment))


def _datasets(
    segment: Segment,
    job: SossJob,
    setup: SossSetup,
    chunks: Sequence[int],
    token: str,
    prologue: tuple[dict[Any, Any], Any],
    times: Mapping[str, Any],
    pixels: Sequence[Any] | None = None,
    cubes: Mapping[str, da.Array] | None = None,
) -> dict[int, xr.Dataset]:
    from tso3dask.graph.lazy_spectra import label_spectra

    before, shared = prologue
    key = f"job-{token}"
    names = list(EXTRACTED_COLUMNS)
    layer = f"soss-orders-{token}"
    tasks = {
        (layer, i): (soss_block, key, a, b, shared, names, *([pixels[i]] if pixels else []))
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
    arrays = picked_arrays(
        layer,
        tasks,
        outputs,
        chunks,
        extra={**before, key: job},
        upstream=list((cubes or {}).values()),
        token=f"spectra-{token}",
    )
    return {
        item.spectral_order: label_spectra(
            segment,
            item,
            {name.lower(): arrays[f"{name.lower()}-{item.spectral_order}"] for name in names},
            times,
        )
        for item in setup.orders
    }
