"""The products of a plan as lazy xarray objects: same programs and kernels, nothing written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dask
import numpy as np
import xarray as xr
from dask.tokenize import tokenize

from tso3dask.errors import InputError
from tso3dask.graph.arrays import picked_arrays, settled
from tso3dask.graph.channels import channel_dataset
from tso3dask.graph.curves import curves_of
from tso3dask.graph.dataset import program_dataset
from tso3dask.graph.extraction import SpectrumJob
from tso3dask.graph.imaging import ImagingJob
from tso3dask.graph.lazy_photometry import in_a_row, photometry_dataset
from tso3dask.graph.lazy_spectra import measured_curves, spectrum_dataset
from tso3dask.graph.program import Program
from tso3dask.graph.regressors import regressor_dataset
from tso3dask.graph.stages import median_prologue

if TYPE_CHECKING:
    from tso3dask.graph.outline import Member, Outline

__all__ = [
    "STAGES",
    "compute",
    "crfints",
    "member_curves",
    "member_datasets",
    "phot",
    "replaced",
    "whtlt",
    "x1dints",
]


def _in_time(plan: Outline) -> list[Member]:
    order = [i for members in plan.observation.exposures.values() for i in members]
    return [plan.members[i] for i in order]


STAGES = ("stored", "flagged", "replaced")
"""States of a member's pixels: as in its file, as in crfints, as `pixel_replace` leaves them."""


def member_datasets(plan: Outline, *, stage: str = "flagged") -> dict[str, xr.Dataset]:
    """Pixels of every member by tree path, in time order within an exposure.

    Parameters
    ----------
    plan : Outline
        Members and parameters.
    stage : str
        ``stored``: as they are in the files; ``flagged``: as crfints will have them;
        ``replaced``: as ``pixel_replace`` leaves them, which is what its own file would have.
        Extraction makes NaN and DO_NOT_USE agree once more after that.

    Raises
    ------
    InputError
        If there is no such stage, or no pixels are replaced.
    """
    if stage not in STAGES:
        raise InputError(f"stage is {stage!r}; expected one of {', '.join(STAGES)}")
    datasets: dict[str, xr.Dataset] = {}
    for member in _in_time(plan if stage == "stored" else plan.modelled):
        if stage == "flagged" and plan.hooked:
            datasets[_free(datasets, member.node)] = plan.hooked[member.index].pixels
            continue
        program = _program_of(member, stage)
        tasks, constants = median_prologue(program)
        datasets[_free(datasets, member.node)] = program_dataset(
            member.segment, program, member.chunks, tasks, constants
        )
    return datasets


def _program_of(member: Member, stage: str) -> Program:
    point = member.program.point_after("pixel_replace")
    if stage == "stored":
        return member.program.until(0)
    if stage == "replaced" and point is None:
        raise InputError(f"{member.segment.path}: pixel_replace is skipped in this plan")
    if point is None:
        return member.program
    return member.program.until(point if stage == "replaced" else point - 1)


def _free(taken: Mapping[str, Any], path: str) -> str:
    """``path``, or with a number behind it where two members would share it."""
    number, free = 2, path
    while free in taken:
        free, number = f"{path}_{number}", number + 1
    return free


def crfints(plan: Outline) -> xr.DataTree:
    """Tree of the flagged pixels."""
    return xr.DataTree.from_dict(member_datasets(plan))


def replaced(plan: Outline) -> xr.DataTree:
    """Tree of the pixels that spectra are extracted from, bad ones replaced."""
    return xr.DataTree.from_dict(member_datasets(plan, stage="replaced"))


def x1dints(plan: Outline) -> xr.DataTree:
    """Tree of the spectra; those of NIRISS SOSS have a node for each order."""
    if "x1dints" not in plan.products:
        raise AttributeError("this plan makes no spectra")
    plan = plan.settled
    datasets: dict[str, xr.Dataset] = {}
    for member in _in_time(plan):
        hooked = plan.hooked[member.index].spectra if plan.hooked else None
        if hooked is not None:
            datasets[_free(datasets, member.node)] = hooked
        elif member.soss is not None:
            from tso3dask.graph.soss_lazy import order_datasets

            made = plan.hooked[member.index].orders if plan.hooked else None
            for order, dataset in (made or order_datasets(plan, member)).items():
                datasets[_free(datasets, f"{member.node}/order{order}")] = dataset
        elif member.spectrum is not None:
            job = SpectrumJob(
                member.index,
                member.program,
                plan.budget.sub_block,
                str(member.segment.path),
                member.spectrum,
            )
            token = f"{tokenize(plan.token, member.chunks)[:16]}-{member.label}"
            dataset = spectrum_dataset(member.segment, job, member.chunks, token)
            datasets[_free(datasets, member.node)] = dataset
    return xr.DataTree.from_dict(datasets)


def phot(plan: Outline) -> xr.Dataset:
    """Photometry table as a dataset, rows in association order."""
    if "phot" not in plan.products:
        raise AttributeError("this plan makes no photometry")
    parts = []
    for member in plan.settled.members:
        setup = member.imaging
        assert setup is not None
        hooked = plan.hooked[member.index].photometry if plan.hooked else None
        if hooked is not None:
            parts.append(hooked)
            continue
        path = str(member.segment.path)
        job = ImagingJob(member.index, member.program, plan.budget.sub_block, path, setup)
        label = f"{member.label}-lazy-{tokenize(plan.token, member.chunks)[:16]}"
        parts.append(photometry_dataset(member.segment, job, member.chunks, label))
    return in_a_row(parts)


def whtlt(plan: Outline) -> xr.Dataset:
    """White-light table as a dataset, rows in time order."""
    from tso3dask.graph.tables import white_light_table

    if "whtlt" not in plan.products:
        raise AttributeError("this plan makes no white light")
    plan = plan.weighted
    curves = member_curves(plan)
    places: list[dict[str, np.ndarray]] = [{} for _ in plan.members]
    position, stacked = 0.0, []
    for member, spectrum in plan.tables:
        for name, values in curves[member.index, spectrum.spectral_order].items():
            if values.ndim == 1:
                rows_here = position + np.arange(member.segment.nints)
                places[member.index][f"{name}{spectrum.ending}"] = rows_here
                position += member.segment.nints
                stacked.append(settled(values.data))
    table = white_light_table(plan, places)
    rows = {
        name: np.where(np.isnan(values), position, values).astype(int)
        for name, values in table.columns.items()
        if name.startswith("whitelight_flux")
    }
    blocks = [(a.name, i) for a in stacked for i in range(a.numblocks[0])]
    token = f"whtlt-{tokenize([a.name for a in stacked], list(rows.items()))}"
    length = len(next(iter(table.columns.values())))
    arrays = picked_arrays(
        token,
        {(token, 0): (placed_rows, blocks, list(rows.values()))},
        dict.fromkeys(rows, ((), "float64")),
        [length],
        upstream=stacked,
        token=token,
    )
    variables: dict[str, Any] = {}
    for name, values in table.columns.items():
        if name in arrays:
            attrs = {"units": table.units.get(name), "long_name": "flux summed over wavelength"}
            variables[name] = xr.Variable("integration", arrays[name], attrs)
        else:
            variables[name] = xr.Variable("integration", values, {"units": "d"})
    made = xr.Dataset(variables)
    if plan.parameters.white_light.post_hooks:
        from tso3dask.graph.hooks import hook_table

        return hook_table(plan, made)
    return made


def member_curves(plan: Outline) -> dict[tuple[int, int], dict[str, xr.DataArray]]:
    """Lazy light curves of each member and order, by name; weights must be known."""
    tree = x1dints(plan)
    nodes = [node for node in tree.leaves if node.has_data]
    tables = [(member, table) for member in _in_time(plan) for table in member.tables]
    found = {}
    for (member, table), node in zip(tables, nodes, strict=True):
        if plan.hooked:
            series = plan.hooked[member.index].series_of(table.ending)
        else:
            series = measured_curves(node.to_dataset(), curves_of(plan, member, table))
        found[member.index, table.spectral_order] = series
    return found


def placed_rows(blocks: list[np.ndarray], rows: list[np.ndarray]) -> tuple[np.ndarray, ...]:
    """Task: columns made of rows of all blocks in a row; the place after the last one is NaN."""
    series = np.concatenate([*blocks, [np.nan]])
    return tuple(series[places] for places in rows)


_MAKERS = {
    "crfints": crfints,
    "x1dints": x1dints,
    "phot": phot,
    "whtlt": whtlt,
    "speclc": channel_dataset,
    "regressors": regressor_dataset,
}


def make(plan: Outline, products: Sequence[str] = ()) -> dict[str, Any]:
    """Lazy products of a plan by name; all that it has by default.

    Raises
    ------
    InputError
        If a name is not that of a product.
    """
    unknown = [name for name in products if name not in _MAKERS]
    if unknown:
        raise InputError(f"{unknown[0]!r} is no product; there are {', '.join(_MAKERS)}")
    return {
        name: _MAKERS[name](plan) for name in products or [n for n in plan.products if n in _MAKERS]
    }


def flatten(made: Mapping[str, Any]) -> list[xr.Dataset]:
    """Datasets of lazy products in order, trees leaf by leaf."""
    flat: list[xr.Dataset] = []
    for item in made.values():
        if isinstance(item, xr.DataTree):
            flat += [leaf.to_dataset() for leaf in item.leaves]
        else:
            flat.append(item)
    return flat


def leaf_paths(made: Mapping[str, Any]) -> dict[str, list[str] | None]:
    """Paths of the leaves of each product that is a tree."""
    return {
        name: [leaf.path for leaf in item.leaves] if isinstance(item, xr.DataTree) else None
        for name, item in made.items()
    }


def restore(
    datasets: Sequence[xr.Dataset], paths: Mapping[str, Sequence[str] | None]
) -> dict[str, Any]:
    """Put datasets back into products: undo `flatten`."""
    rest = iter(datasets)
    return {
        name: next(rest)
        if leaves is None
        else xr.DataTree.from_dict({path: next(rest) for path in leaves})
        for name, leaves in paths.items()
    }


def compute(plan: Outline, products: Sequence[str], **options: Any) -> tuple[Any, ...]:
    """Compute several products of a plan in one go."""
    made = make(plan, products)
    computed = dask.compute(*flatten(made), **options)
    return tuple(restore(computed, leaf_paths(made)).values())


def finish(
    results: Sequence[Any], steps: Sequence[Any], paths: Mapping[str, Sequence[str] | None]
) -> dict[str, Any]:
    """Make the products of a plan that dask has computed as a collection."""
    datasets = [
        function(values, *arguments)
        for values, (function, arguments) in zip(results, steps, strict=True)
    ]
    return restore(datasets, paths)
