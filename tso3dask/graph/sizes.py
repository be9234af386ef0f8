"""Bytes that the products of a plan will have, from headers alone."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from tso3dask.graph.tables import TABLES
from tso3dask.io.crfints import crfints_size
from tso3dask.io.tables import TEXT_BYTES, table_size
from tso3dask.io.x1dints import x1dints_size

if TYPE_CHECKING:
    from tso3dask.graph.outline import Member, Outline
    from tso3dask.ops.curve_axis import TimeAxis

__all__ = ["TableSizes", "held_bytes", "product_sizes"]

_PHOTOMETRY = 21
_CIRCLE = 5
_REGRESSORS = 7
_ENTRY, _MEANING = 200, 65

_NUMBER_BYTES = {"speclc": 10}
"""Bytes in memory by number of a table: in rows and columns, and in what is made of them for notes
and figures; those of channels are there once, and in part twice while they are joined."""

_TIMES_BYTES = 300
"""Bytes of each integration beside tables: INT_TIMES (52) and the times of members (52), twice
while they are put into products and into the order of time, and counts of outliers."""


def product_sizes(plan: Outline) -> dict[str, int]:
    """Bytes that each kind of product will have, about or at most.

    Parameters
    ----------
    plan : Outline
        The plan.

    Returns
    -------
    dict of str to int
    """
    sizes: dict[str, int] = {}
    for file in plan.files:
        sizes[file.kind] = sizes.get(file.kind, 0) + file.size(plan)
    tables = TableSizes(plan)
    for kind in plan.products:
        if kind in sizes:
            continue
        if kind == "crfints":
            sizes[kind] = sum(crfints_size(m.segment) for m in plan.members)
        elif kind == "x1dints":
            spectra = [(m.segment.nints, table.wavelength.size) for m, table in plan.tables]
            sizes[kind] = x1dints_size(spectra, plan.nints)
        else:
            sizes[kind] = getattr(tables, kind)()
    return sizes


def held_bytes(plan: Outline) -> int:
    """Bytes of a run that grow with the number of integrations.

    All numbers of all tables are in memory when they are written; pixels and spectra are not.
    """
    tables = TableSizes(plan)
    sizes = {kind: getattr(tables, kind)() for kind in TABLES if kind in plan.products}
    numbers = {kind: size / TEXT_BYTES for kind, size in sizes.items()}
    held = sum(_NUMBER_BYTES.get(kind, 16) * count for kind, count in numbers.items())
    return int(held + _TIMES_BYTES * plan.nints)


class TableSizes:
    """Bytes of the tables of a plan, by kind; a little more rather than less.

    Parameters
    ----------
    plan : Outline
        The plan.
    """

    def __init__(self, plan: Outline) -> None:
        self._plan = plan

    @cached_property
    def _axis(self) -> TimeAxis:
        from tso3dask.graph.tables import plan_axis

        return plan_axis(self._plan)

    @property
    def _rows(self) -> int:
        """Rows of the tables of a spectroscopic plan; those of two detectors are side by side."""
        return max(map(len, self._axis.times.values()), default=0)

    def phot(self, member: Member | None = None) -> int:
        """Photometry of a member, or of all."""
        more = _CIRCLE * len(self._plan.parameters.tso_photometry.more_radii)
        rows = self._plan.nints if member is None else member.segment.nints
        return table_size(rows, _PHOTOMETRY + more)

    def whtlt(self) -> int:
        """White light: times by detector, fluxes by detector and order."""
        step = self._plan.parameters.white_light
        fluxes = (1 + step.errors) * (1 + step.weighted)
        columns = len(self._axis.times) + len(self._axis.series) * fluxes
        return table_size(self._rows, columns)

    def speclc(self) -> int:
        """Channels: flux and error of each, and what the meta say of it."""
        channels = sum(map(len, self._plan.channels.values()))
        columns = len(self._axis.times) + 2 * channels
        return table_size(self._rows, columns) + _ENTRY * channels

    def regressors(self) -> int:
        """Regressors, by detector."""
        replaced = 2 * self._plan.replaces
        meanings = _MEANING * (_REGRESSORS + replaced)
        if self._plan.kind == "imaging":
            return meanings + table_size(self._plan.nints, 2 + _REGRESSORS + replaced)
        each = 1 + _REGRESSORS + replaced  # with the shift along wavelength
        detectors = len({series.detector for series in self._axis.series})
        columns = len(self._axis.times) + detectors * each
        return meanings + table_size(self._rows, columns)
