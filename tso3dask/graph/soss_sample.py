"""NIRISS SOSS: spectra of a sample of integrations, which weights of the white light are made of.

They are extracted as all others are, with what is constant for their segment, but from pixels that
were not flagged before: medians over the sample do not mind.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from dask.tokenize import tokenize

from tso3dask.graph.arrays import settled
from tso3dask.graph.execute import task_errors
from tso3dask.graph.shared import shared_object
from tso3dask.graph.soss_fill import pixelwise
from tso3dask.graph.soss_segment import SegmentExtraction
from tso3dask.graph.soss_tasks import SossJob, soss_prologue
from tso3dask.graph.stages import median_prologue

if TYPE_CHECKING:
    from tso3dask.graph.outline import Member, Outline

__all__ = ["sample_tasks"]

Spectra = dict[int, tuple[np.ndarray, np.ndarray]]
"""Fluxes and errors (integration, dispersion) by order."""


def sample_tasks(plan: Outline, member: Member, rows: Sequence[int]) -> tuple[dict[Any, Any], Any]:
    """Tasks that extract some integrations of a member.

    Parameters
    ----------
    plan : Outline
        In a run, what is constant for each segment is known.
    member : Member
        The member.
    rows : sequence of int
        Integrations of the segment.

    Returns
    -------
    tasks : dict
    key : str
        Key of the spectra.
    """
    setup = member.soss
    assert setup is not None
    path = str(member.segment.path)
    label = f"{member.label}-{tokenize(plan.token, rows)[:16]}"
    prepared = "" if setup.prepared is None else setup.prepared.path
    job = SossJob.of(
        setup.orders,
        member.program.until(0),
        member=member.index,
        sub_block=1,
        path=path,
        prepared=prepared,
    )
    key = f"sample-{label}"
    if prepared:
        return {key: (sampled_orders, job, rows)}, key
    tasks, shared = _prologue(member, path, label)
    return {**tasks, key: (sampled_orders, job, rows, shared)}, key


def _prologue(member: Member, path: str, label: str) -> tuple[dict[Any, Any], Any]:
    """Tasks that make what is constant for a segment, as for its lazy spectra."""
    from tso3dask.graph.dataset import program_dataset
    from tso3dask.graph.soss_arrays import array_prologue
    from tso3dask.graph.soss_store import STORED
    from tso3dask.graph.steps import cubes_of

    assert member.soss is not None
    if pixelwise(member.program):
        return soss_prologue(member.program, member.soss, path, label)
    tasks, constants = median_prologue(member.program)
    dataset = program_dataset(member.segment, member.program, member.chunks, tasks, constants)
    found = cubes_of(dataset)
    cubes = {name: settled(found[name].data) for name in STORED}
    prologue, key = array_prologue(cubes, member.soss, path, label)
    graph: dict[Any, Any] = {}
    for array in cubes.values():
        graph |= dict(array.__dask_graph__())
    return {**graph, **prologue}, key


def sampled_orders(
    job: SossJob, rows: Sequence[int], extraction: SegmentExtraction | None = None
) -> Spectra:
    """Task: spectra of some integrations; what they share is given or in the job's file."""
    if extraction is None:
        with shared_object(job.prepared) as shared:
            return sampled_orders(job, rows, shared)
    sizes = {order: wavelength.size for order, wavelength in job.wavelengths.items()}
    names = ("FLUX", "FLUX_ERROR")
    found: dict[tuple[int, str], list[np.ndarray]] = {(o, n): [] for o in sizes for n in names}
    for i in rows:
        with task_errors(job.path, i, i + 1):
            for _, _, block in job.blocks(i, i + 1, [*extraction.constants.items()]):
                columns, _ = extraction.spectra(block.arrays, save=False)
                for (order, name), parts in found.items():
                    empty = np.full((1, sizes[order]), np.nan)
                    parts.append(np.array(columns.get(f"{name}_{order}", empty), float))
    joined = {
        key: np.concatenate([np.empty((0, sizes[key[0]])), *parts]) for key, parts in found.items()
    }
    return {order: (joined[order, names[0]], joined[order, names[1]]) for order in sizes}
