"""Light curves of a plan: what is summed of each spectrum, and on which axis it is put.

Weights of the weighted white light are constant in time, so they have to be known before the
first spectrum is summed. They are made of a bounded sample of integrations of all segments, as
they are in the files: medians over the sample need no outlier detection.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from dask.tokenize import tokenize

from tso3dask.errors import InputError
from tso3dask.graph.execute import compute, task_errors
from tso3dask.graph.extraction import SpectrumJob
from tso3dask.graph.stages import Match
from tso3dask.ops.channels import channel_edges, channel_plan
from tso3dask.ops.curves import LightCurves, Weights, spectrum_weights

if TYPE_CHECKING:
    from tso3dask.config import LightCurveParameters
    from tso3dask.graph.outline import Member, Outline

__all__ = [
    "channels_of",
    "check_curves",
    "curves_of",
    "edges_for",
    "sampled_spectra",
    "spread",
    "weighted_plan",
]

SAMPLE = 32
"""Integrations of which weights are made."""

SAMPLE_TASK = 8
"""Integrations of the sample that a task extracts."""

AnyOutline = TypeVar("AnyOutline", bound="Outline")

Key = tuple[str, int]
"""Detector and order."""


def edges_for(wavelength: np.ndarray, step: LightCurveParameters) -> np.ndarray:
    """Edges ``(channel, 2)`` of the channels that the parameters of ``light_curves`` ask for."""
    return channel_edges(
        wavelength,
        edges=None if step.edges is None else np.array([float(x) for x in step.edges.split()]),
        resolving_power=step.resolving_power,
        pixels_per_channel=step.pixels_per_channel,
        min_wavelength=step.min_wavelength,
        max_wavelength=step.max_wavelength,
    )


def channels_of(plan: Outline) -> dict[Key, np.ndarray]:
    """Edges of the channels of each detector and order, by the columns of its first member.

    Raises
    ------
    InputError
        If there is no channel at all.
    """
    if plan.parameters.light_curves.skip:
        return {}
    found: dict[Key, np.ndarray] = {}
    first: InputError | None = None
    for member, table in plan.tables:
        key = member.segment.detector, table.spectral_order
        if key in found:
            continue
        try:
            found[key] = edges_for(table.wavelength, plan.parameters.light_curves)
        except InputError as error:
            first = first or error
    if first is not None and not found:
        raise first
    return found


def curves_of(
    plan: Outline, member: Member, table: Any, wavelength: np.ndarray | None = None
) -> LightCurves:
    """What is summed of the spectra of a member and order.

    Parameters
    ----------
    plan : Outline
        Parameters, and edges of channels.
    member : Member
        The member.
    table : SpectrumSetup or OrderSetup
        Its table of spectra.
    wavelength : ndarray, optional
        ``(dispersion,)`` micrometres; those of the table by default.
    """
    wavelength = table.wavelength if wavelength is None else wavelength
    edges = plan.channels.get((member.segment.detector, table.spectral_order))
    return LightCurves(
        wavelength,
        getattr(table, "white_range", plan.white_range),
        plan.parameters.white_light.errors,
        member.weights.get(table.spectral_order),
        None if edges is None else channel_plan(wavelength, edges),
    )


def weighted_plan(
    plan: AnyOutline, scheduler: Any = None, workers: int | None = None
) -> AnyOutline:
    """Plan in which the weights of the white light are known; the plan itself if none are wanted.

    Parameters
    ----------
    plan : Outline
        A plan of which all is known that pixels settle.
    scheduler : optional
        Where to compute.
    workers : int, optional
        Tasks at a time.
    """
    step = plan.parameters.white_light
    if step.skip or not step.weighted or not plan.tables or plan.tables[0][0].weights:
        return plan
    groups: dict[tuple[str, int, int], list[tuple[Member, Any]]] = {}
    for member, table in plan.tables:
        key = member.segment.detector, table.spectral_order, table.wavelength.size
        groups.setdefault(key, []).append((member, table))
    graph: dict[Any, Any] = {}
    wanted: dict[int, Any] = {}
    for group in groups.values():
        lengths = [member.segment.nints for member, _ in group]
        for (member, _), rows in zip(group, spread(lengths), strict=True):
            if member.index not in wanted:  # orders have the same integrations
                tasks, wanted[member.index] = _sample(plan, member, rows)
                graph |= tasks
    results = compute(
        graph, list(wanted.values()), scheduler=scheduler, workers=workers or plan.budget.workers
    )
    found = dict(zip(wanted, results, strict=True))
    weights: dict[int, dict[int, Weights]] = {}
    for (_, order, _), group in groups.items():
        parts = [found[member.index][order] for member, _ in group]
        flux, error = (np.concatenate([part[i] for part in parts]) for i in (0, 1))
        table = group[0][1]
        limits = getattr(table, "white_range", plan.white_range)
        shared = spectrum_weights(flux, error, table.wavelength, limits)
        for member, _ in group:
            weights.setdefault(member.index, {})[order] = shared
    members = list(plan.members)
    for index, own in weights.items():
        members[index] = replace(members[index], weights=own)
    return plan.with_members(members)


def _sample(plan: Outline, member: Member, rows: Sequence[int]) -> tuple[dict[Any, Any], Any]:
    """Tasks that extract some integrations of a member, and the key of their spectra."""
    if member.soss is not None:
        from tso3dask.graph.soss_sample import sample_tasks

        return sample_tasks(plan, member, rows)
    name = f"sample-{member.label}-{tokenize(plan.token, rows)[:16]}"
    job = _job(plan, member)
    parts = {
        f"{name}-{first}": (sampled_spectra, job, rows[first : first + SAMPLE_TASK])
        for first in range(0, max(len(rows), 1), SAMPLE_TASK)
    }
    return {**parts, name: (_joined, list(parts))}, name


def _joined(
    parts: Sequence[dict[int, tuple[np.ndarray, np.ndarray]]],
) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Task: what several tasks have extracted, in order."""
    return {
        order: (
            np.concatenate([part[order][0] for part in parts]),
            np.concatenate([part[order][1] for part in parts]),
        )
        for order in parts[0]
    }


def spread(lengths: Sequence[int]) -> list[tuple[int, ...]]:
    """Integrations of each member in an evenly spaced sample of all of them."""
    total = sum(lengths)
    chosen = np.unique(np.linspace(0, total - 1, min(SAMPLE, total)).round().astype(int))
    starts = np.cumsum([0, *lengths])
    return [
        tuple(int(i - a) for i in chosen if a <= i < b)
        for a, b in zip(starts[:-1], starts[1:], strict=True)
    ]


def _job(plan: Outline, member: Member) -> SpectrumJob:
    """Job of a member on the pixels of its file, as they are there."""
    program = member.program.until(0).then(Match())
    return SpectrumJob(member.index, program, 1, str(member.segment.path), member.spectrum)


def sampled_spectra(
    job: SpectrumJob, rows: Sequence[int]
) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Task: fluxes and errors ``(integration, dispersion)`` of some integrations, by order."""
    setup = job.setup
    assert setup is not None
    found: dict[str, list[np.ndarray]] = {"FLUX": [], "FLUX_ERROR": []}
    for i in rows:
        with task_errors(job.path, i, i + 1):
            for _, _, block in job.blocks(i, i + 1, []):
                columns = setup.corrected(block.arrays, i)
                for name, parts in found.items():
                    parts.append(np.array(columns[name]))
    size = setup.wavelength.size
    flux, error = (np.concatenate([np.empty((0, size)), *parts]) for parts in found.values())
    return {setup.spectral_order: (flux, error)}


def check_curves(plan: Outline) -> None:
    """Refuse light curves that cannot be made, before any pixel is read."""
    _ = plan.channels
