"""Hooks: functions of a user on the datasets of one segment, between the steps.

A plan with hooks does not fuse reading, flagging and extraction into one task: each step works on
the lazy dataset that the step or the hook before it returned (`tso3dask.graph.steps`), and what a
run writes is taken from these datasets chunk by chunk. Hooks are called when the plan is made, so
that what cannot be used is refused before any pixel is read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from dask.tokenize import tokenize

from tso3dask.config import hook_name
from tso3dask.errors import InputError, NotYetError, Tso3Error
from tso3dask.graph import steps
from tso3dask.graph.curves import curves_of
from tso3dask.graph.dataset import source_dataset
from tso3dask.graph.files import CubesFile, SpectraFile, StepFile, TableFile
from tso3dask.graph.lazy_photometry import in_a_row
from tso3dask.graph.lazy_spectra import measured_curves
from tso3dask.graph.stages import flag_stage

if TYPE_CHECKING:
    from tso3dask.graph.outline import Member, Outline

__all__ = ["HookedMember", "check_files", "hook_table", "hooked_members"]


@dataclass(frozen=True, eq=False)
class HookedMember:
    """Lazy datasets of one member, hooks included.

    Attributes
    ----------
    pixels : Dataset
        As crfints have them.
    photometry : Dataset or None
        Rows of the photometry table.
    spectra : Dataset or None
        As x1dints has them.
    extracted : Dataset or None
        Pixels of NIRISS SOSS that spectra are extracted from.
    shared : str or None
        Key of what their tasks share, a `tso3dask.graph.soss_segment.SegmentExtraction`.
    rates, orders : mapping of int to Dataset
        Spectra of NIRISS SOSS by order, before and after their calibration.
    series : mapping of DataArray
        White light and other light curves by name; names of orders of NIRISS SOSS end with the
        order, as ``white_1``.
    replaced : Dataset or None
        Pixels as ``pixel_replace`` and its hooks leave them; None where it is skipped.
    """

    pixels: xr.Dataset
    photometry: xr.Dataset | None = None
    spectra: xr.Dataset | None = None
    extracted: xr.Dataset | None = None
    shared: str | None = None
    rates: Mapping[int, xr.Dataset] = field(default_factory=dict)
    orders: Mapping[int, xr.Dataset] = field(default_factory=dict)
    series: Mapping[str, xr.DataArray] = field(default_factory=dict)
    replaced: xr.Dataset | None = None

    def series_of(self, ending: str) -> dict[str, xr.DataArray]:
        """Light curves of an order, or of the one that there is, without the ending of names."""
        named = {name: s for name, s in self.series.items() if name.endswith(ending)}
        return {name.removesuffix(ending): found for name, found in named.items()}

    def spectra_of(self, order: int, calibrated: bool = True) -> xr.Dataset | None:
        """Spectra of an order, or the one spectrum that there is."""
        return (self.orders if calibrated else self.rates).get(order, self.spectra)


def hooked_members(plan: Outline) -> dict[int, HookedMember]:
    """Datasets of every member by its place in the association.

    Raises
    ------
    InputError
        If a hook fails or returns something that the next step cannot use.
    """
    return {member.index: _hooked(plan, member) for member in plan.members}


def check_files(files: Sequence[StepFile]) -> None:
    """Refuse files of single steps that a run with hooks cannot write yet."""
    for file in files:
        if not isinstance(file, (SpectraFile, TableFile)) and not (
            isinstance(file, CubesFile) and file.kind in ("outlier_detection", "pixel_replace")
        ):
            raise NotYetError(f"{file.kind} files are not written yet by a run with hooks")


def _hooked(plan: Outline, member: Member) -> HookedMember:
    parameters, segment = plan.parameters, member.segment
    dataset = source_dataset(segment, member.chunks)
    dataset = _through(plan, "outlier_detection", "pre_hooks", dataset)
    if plan.flags:
        dataset = steps.with_stage(dataset, flag_stage(parameters, segment.nints))
        dataset = dataset.assign_attrs(outlier_detection="COMPLETE")
    pixels = dataset = _through(plan, "outlier_detection", "post_hooks", dataset)
    if member.imaging is not None:
        dataset = _through(plan, "tso_photometry", "pre_hooks", dataset)
        table = steps.photometry_of(dataset, segment, member.imaging, plan.token)
        return HookedMember(pixels, _through(plan, "tso_photometry", "post_hooks", table))
    if not member.tables:
        return HookedMember(pixels)
    for step in ("adaptive_trace_model", "pixel_replace"):
        dataset = _through(plan, step, "pre_hooks", dataset)
        point = member.program.point_after(step)
        if point is not None:
            dataset = steps.with_stage(dataset, member.program.stages[point - 1])
        dataset = _through(plan, step, "post_hooks", dataset)
    replaced = None if member.program.point_after("pixel_replace") is None else dataset
    dataset = _through(plan, "extract_1d", "pre_hooks", dataset)
    if member.soss is not None:
        return replace(_hooked_orders(plan, member, pixels, dataset), replaced=replaced)
    assert member.spectrum is not None
    spectra = steps.spectra_of(dataset, segment, member.spectrum, plan.token)
    spectra = _through(plan, "extract_1d", "post_hooks", spectra)
    summed = _through(plan, "white_light", "pre_hooks", spectra)
    curves = _measured(plan, member, member.spectrum, summed)
    return HookedMember(pixels, None, spectra, series=curves, replaced=replaced)


def _measured(
    plan: Outline, member: Member, table: Any, spectra: xr.Dataset
) -> dict[str, xr.DataArray]:
    """Light curves of spectra that have gone through hooks, by the names of rows of tasks."""
    wavelength = np.asarray(spectra["wavelength"].values)
    found = measured_curves(spectra, curves_of(plan, member, table, wavelength))
    return {f"{name}{table.ending}": values for name, values in found.items()}


def _hooked_orders(
    plan: Outline, member: Member, pixels: xr.Dataset, dataset: xr.Dataset
) -> HookedMember:
    """Spectra of all orders of a member, calibrated, and their white light."""
    from tso3dask.graph.soss_lazy import calibrated_orders, orders_of

    setup = member.soss
    assert setup is not None
    token = tokenize(plan.token, member.index)
    rows = plan.budget.sub_block
    made, shared = orders_of(dataset, member.segment, setup.uncalibrated, rows, token)
    rates = _through(plan, "extract_1d", "post_hooks", _tree(made))
    tree = _through(plan, "photom", "pre_hooks", rates)
    tree = calibrated_orders(tree, setup)
    tree = _through(plan, "photom", "post_hooks", tree)
    summed = _by_order(_through(plan, "white_light", "pre_hooks", tree))
    series: dict[str, xr.DataArray] = {}
    for order in setup.orders:
        if order.spectral_order in summed:
            series |= _measured(plan, member, order, summed[order.spectral_order])
    return HookedMember(
        pixels,
        extracted=dataset,
        shared=shared,
        rates=_by_order(rates),
        orders=_by_order(tree),
        series=series,
    )


def _tree(orders: Mapping[int, xr.Dataset]) -> xr.DataTree:
    return xr.DataTree.from_dict({f"/order{order}": found for order, found in orders.items()})


def _by_order(tree: xr.DataTree) -> dict[int, xr.Dataset]:
    return {int(name.removeprefix("order")): tree[name].to_dataset() for name in tree.children}


def hook_table(plan: Outline, table: xr.Dataset) -> xr.Dataset:
    """White-light table after the hooks of its step."""
    return _through(plan, "white_light", "post_hooks", table)


def _through(plan: Outline, step: str, when: str, dataset: Any) -> Any:
    """Result of the hooks before or after a step, one after the other.

    Spectra of NIRISS SOSS are a tree with a node for each order.
    """
    for hook in getattr(plan.parameters.step(step), when):
        where = f"{step}.{when}: {hook_name(hook)}"
        try:
            result = hook(dataset)
        except Tso3Error:
            raise
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise InputError(f"{where} failed ({reason})") from error
        if result is not None:
            usable = _usable_tree if isinstance(dataset, xr.DataTree) else _usable
            dataset = usable(where, dataset, result)
    return dataset


def _usable_tree(where: str, given: xr.DataTree, result: Any) -> xr.DataTree:
    """Check that the next step can work with spectra of all orders that a hook returned."""
    if not isinstance(result, xr.DataTree):
        raise InputError(
            f"{where} returned {type(result).__name__}; expected an xarray DataTree with a node "
            "for each order, or None to leave it unchanged"
        )
    if set(result.children) != set(given.children):
        raise InputError(
            f"{where} returned the nodes {sorted(result.children)}, expected "
            f"{sorted(given.children)}"
        )
    for name, node in given.children.items():
        _usable(f"{where}: {name}", node.to_dataset(), result[name].to_dataset())
    return result


def _usable(where: str, given: xr.Dataset, result: Any) -> xr.Dataset:
    """Check that the next step can work with what a hook returned."""
    if not isinstance(result, xr.Dataset):
        raise InputError(
            f"{where} returned {type(result).__name__}; expected an xarray Dataset, or None to "
            "leave it unchanged"
        )
    for name, variable in given.data_vars.items():
        if name not in result:
            raise InputError(f"{where} returned a dataset without {name!r}; keep all variables")
        found, expected = result[name].dims, variable.dims
        if set(found) != set(expected):
            raise InputError(f"{where}: {name!r} has dims {found}, expected {expected}")
        sizes = {dim: result.sizes[dim] for dim in expected}
        wanted = {dim: given.sizes[dim] for dim in expected}
        if sizes != wanted:
            raise InputError(f"{where}: {name!r} has sizes {sizes}, expected {wanted}")
        if result[name].dtype.kind not in "biuf":
            raise InputError(f"{where}: {name!r} is {result[name].dtype}, expected numbers")
    if "wavelength" in given.coords and "wavelength" not in result.coords:
        raise InputError(f"{where} returned spectra without the coordinate 'wavelength'; keep it")
    path = given.attrs.get("path")
    if path is not None and result.attrs.get("path") != path:
        raise InputError(
            f"{where}: attrs['path'] is {result.attrs.get('path')!r}, expected {path!r}; keep "
            "attributes (xarray.set_options(keep_attrs=True))"
        )
    return result


def table_of(columns: dict[str, tuple[Any, str | None]]) -> xr.Dataset:
    """Dataset of the columns of a table."""
    return xr.Dataset(
        {
            name: xr.Variable("integration", np.asarray(values), {"units": unit} if unit else {})
            for name, (values, unit) in columns.items()
        }
    )


def columns_of(tables: Sequence[xr.Dataset]) -> dict[str, tuple[Any, str | None]]:
    """Columns of tables in a row; NaN where one of them has no such column.

    Raises
    ------
    InputError
        If a variable is not one number per row.
    """
    joined = tables[0] if len(tables) == 1 else in_a_row(tables)
    columns = {}
    for name, variable in joined.compute(scheduler="synchronous").data_vars.items():
        if variable.dims != ("integration",):
            raise InputError(f"the table has {name!r} with dims {variable.dims}, expected rows")
        columns[str(name)] = (variable.values, _unit(str(name), variable.attrs.get("units")))
    return columns


def _unit(name: str, unit: str | None) -> str | None:
    """Times have no unit in the tables that are written."""
    time = name in ("MJD", "BJD_TDB") or name.startswith(("MJD_", "BJD_"))
    return None if time else unit
