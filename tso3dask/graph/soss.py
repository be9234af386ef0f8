"""NIRISS SOSS: what is settled once for a member, and the stage that fills its gaps in time.

Extraction needs medians of each pixel over all integrations. They are made in tiles of detector
rows that run through all time, by the same stages that the integrations go through later, so that
a segment is never held. Everything after that is one fused task per chunk.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np

from tso3dask.config import PipelineParameters
from tso3dask.errors import InputError
from tso3dask.graph.program import Block, Program, Ranges, Source
from tso3dask.graph.stages import FlagOutliers, Match
from tso3dask.io.pixels import ArraySpec
from tso3dask.io.segment import Segment
from tso3dask.io.soss_references import (
    PastasossReference,
    PhotomReference,
    ProfileReference,
)

__all__ = [
    "FillInTime",
    "OrderSetup",
    "SossSetup",
    "join_tiles",
    "soss_setup",
    "summary_prologue",
    "summary_tile",
]

TILE_BYTES = 12 * 10**6
"""Bytes of one cube that a tile through all integrations holds; a task holds about six."""

Tile = tuple[int, int, int, int]
"""First and last row, first and last column, ends excluded."""


@dataclass(frozen=True)
class FillInTime:
    """Fill values that are not finite with medians in time, and mask what is not to be used.

    It turns SCI and ERR into ``sci``, ``err`` and ``mask`` of the rows asked for. The constant
    ``summary`` is that of the whole segment.

    Attributes
    ----------
    nints : int
        Integrations in the segment.
    """

    step: ClassVar[str] = "extract_1d"

    nints: int

    def input_ranges(self, ranges: Ranges, source: Source) -> Ranges:
        """SCI and ERR with a halo, everything else as asked for."""
        from tso3dask.ops.soss.infill import HALO

        a, b = min(first for first, _ in ranges.values()), max(r[1] for r in ranges.values())
        halo = max(0, a - HALO), min(self.nints, b + HALO)
        return {name: halo if name in ("sci", "err") else (a, b) for name in source.names}

    def apply(
        self,
        block: Block,
        ranges: Ranges,
        source: Source,
        constants: Mapping[str, Any],
        scratch: dict[str, Any] | None,
    ) -> Block:
        """Fill the rows asked for."""
        from tso3dask.ops.soss.infill import fill_all

        a, b = min(first for first, _ in ranges.values()), max(r[1] for r in ranges.values())
        first = block.first["sci"]
        if block.first["err"] != first:
            raise AssertionError("SCI and ERR begin at different integrations")
        values = fill_all(
            block.arrays["sci"], block.arrays["err"], first, a, b, constants["summary"]
        )
        arrays = dict(zip(("sci", "err", "mask"), values, strict=True))
        counts = {name: rows[a - first :][: b - a] for name, rows in block.counts.items()}
        return Block(arrays, dict.fromkeys(arrays, a), counts)


# --- medians through all time ---------------------------------------------------------------------


@dataclass(frozen=True)
class _RegionSpec(ArraySpec):
    """A cube of which only a region is read."""

    base: ArraySpec = field(kw_only=True)
    tile: Tile = field(kw_only=True)

    def read(
        self, start: int = 0, stop: int | None = None, out: np.ndarray | None = None
    ) -> np.ndarray:
        """Read the region of the integrations ``start:stop``."""
        y0, y1, x0, x1 = self.tile
        stop = self.shape[0] if stop is None else stop
        region = self.base.read_region(start, stop, slice(y0, y1), slice(x0, x1))
        if out is None:
            return np.ascontiguousarray(region)
        out[...] = region
        return out


def _region(source: Source, tile: Tile) -> Source:
    y0, y1, x0, x1 = tile
    arrays = tuple(
        _RegionSpec(
            **{f: getattr(spec, f) for f in ArraySpec.__dataclass_fields__ if f != "shape"},
            shape=(spec.shape[0], y1 - y0, x1 - x0),
            base=spec,
            tile=tile,
        )
        for spec in (source.array(name) for name in ("sci", "err", "dq"))
    )
    return replace(source, arrays=arrays)


def summary_tile(program: Program, tile: Tile, constants: list[tuple[str, Any]]) -> Any:
    """Task: summary of a tile of a segment, through all integrations.

    Parameters
    ----------
    program : Program
        Stages before `FillInTime`; each pixel's output must depend on that pixel alone.
    tile : tuple of int
        The region.
    constants : list of (name, value)
        What stages need, as the ``median`` image of the whole array.
    """
    from tso3dask.graph.stages import segment_has_good
    from tso3dask.ops.soss.infill import summarize

    y0, y1, x0, x1 = tile
    cut = {name: value[y0:y1, x0:x1] for name, value in constants}
    small = replace(program, source=_region(program.source, tile))
    spans = small.spans(0, small.source.nints)
    arrays = {name: small.source.array(name).read() for name in small.source.names}
    block = Block(arrays, dict.fromkeys(arrays, 0), {})
    for stage, ranges in zip(small.stages, spans[1:], strict=True):
        scratch = None
        if isinstance(stage, FlagOutliers):
            good = segment_has_good(program.source, stage.bad_bits, block.arrays["dq"])
            scratch = {"in_place": False, "any_good": good}
        block = stage.apply(block, ranges, small.source, cut, scratch)
    return summarize(block.arrays["sci"], block.arrays["err"], block.arrays["dq"])


def join_tiles(tiles: list[Any], per_row: int) -> Any:
    """Task: the summary of a segment out of those of its tiles, `per_row` of them side by side."""
    from tso3dask.ops.soss.infill import join

    rows = [tiles[i : i + per_row] for i in range(0, len(tiles), per_row)]
    return join([join(row, axis=1) for row in rows])


def summary_prologue(program: Program, constants: Mapping[str, Any]) -> tuple[dict[Any, Any], Any]:
    """Tasks that summarise a segment.

    Parameters
    ----------
    program : Program
        Stages before `FillInTime`.
    constants : mapping
        Keys of what they need, see `median_prologue`.

    Returns
    -------
    tasks : dict
        Tasks by key.
    key : str
        Key of the summary.
    """
    if not all(isinstance(stage, (FlagOutliers, Match)) for stage in program.stages):
        raise AssertionError("a stage before the summary looks at neighbouring pixels")
    nints, ny, nx = program.source.shape
    rows = int(max(1, min(ny, TILE_BYTES // (4 * nints * nx))))
    columns = int(max(1, min(nx, TILE_BYTES // (4 * nints * rows))))
    across = [(x, min(x + columns, nx)) for x in range(0, nx, columns)]
    tiles = [(y, min(y + rows, ny), *xs) for y in range(0, ny, rows) for xs in across]
    token = program.token
    given = [[name, where] for name, where in constants.items()]
    tasks: dict[Any, Any] = {
        (f"soss-tile-{token}", i): (summary_tile, program, tile, given)
        for i, tile in enumerate(tiles)
    }
    key = f"soss-summary-{token}"
    return {**tasks, key: (join_tiles, list(tasks), len(across))}, key


# --- what headers and references say --------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class OrderSetup:
    """One order of a member.

    Attributes
    ----------
    order : int
        Spectral order.
    trace : OrderTrace
        Where it falls.
    wavelength : ndarray
        (dispersion,) micrometre.
    weights : ndarray
        Box (y, x).
    profile : ndarray or None
        Spatial profile (y, x); None where nothing is modelled.
    factor : ndarray or None
        (dispersion,) MJy / (DN/s); None if spectra are not calibrated.
    """

    order: int
    trace: Any
    wavelength: np.ndarray
    weights: np.ndarray
    profile: np.ndarray | None
    factor: np.ndarray | None

    @property
    def units(self) -> dict[str, str]:
        """Unit by column of x1dints; columns without one are not named."""
        if self.factor is None:
            return {
                "WAVELENGTH": "um",
                **dict.fromkeys(("FLUX", "FLUX_ERROR", "BACKGROUND"), "DN/s"),
            }
        kinds = ("VAR_POISSON", "VAR_RNOISE", "VAR_FLAT")
        units = dict.fromkeys(("FLUX", "FLUX_ERROR", "BACKGROUND", "BKGD_ERROR"), "MJy")
        units |= {f"{of}_{kind}": "MJy^2" for of in ("FLUX", "BKGD") for kind in kinds}
        return {"WAVELENGTH": "um", **units}


@dataclass(frozen=True, eq=False)
class SossSetup:
    """What extraction needs to know of a member beyond its pixels.

    Attributes
    ----------
    layout : str
        ``SUBSTRIP96`` or ``SUBSTRIP256``.
    orders : tuple of OrderSetup
    background : bool
        Whether backgrounds are subtracted.
    """

    layout: str
    orders: tuple[OrderSetup, ...]
    background: bool

    def columns(
        self, arrays: Mapping[str, np.ndarray], model: Any = None
    ) -> dict[int, dict[str, np.ndarray]]:
        """Vector columns of the EXTRACT1D rows of filled integrations, by order.

        Parameters
        ----------
        arrays : mapping
            Cubes that `FillInTime` gives.
        model : object, optional
            Has ``solve(data, error)``, whose answer has dictionaries ``flux``, ``flux_error`` and
            ``npixels`` of ``(integration, x)`` arrays by order; boxes alone without it.

        Returns
        -------
        dict of dict of ndarray
            FLUX, FLUX_ERROR, BACKGROUND and NPIXELS, (integration, dispersion); all other columns
            are 0.
        """
        from tso3dask.ops.soss.prepare import extract_boxes, take_background

        ready = take_background(arrays["sci"], arrays["err"], arrays["mask"], self.background)
        width = {item.order: item.wavelength.size for item in self.orders}
        if model is None:
            weights = {item.order: item.weights for item in self.orders}
            found = {
                order: (spectra.flux, spectra.flux_error, spectra.npixels)
                for order, spectra in extract_boxes(ready, weights, width).items()
            }
        else:
            solved = model.solve(ready.image, ready.error)
            found = {
                order: (solved.flux[order], solved.flux_error[order], solved.npixels[order])
                for order in width
            }
        out = {}
        for item in self.orders:
            size = width[item.order]
            flux, error, npixels = (values[:, :size] for values in found[item.order])
            level = ready.background[:, :size]
            factor = 1.0 if item.factor is None else item.factor
            out[item.order] = {
                "FLUX": flux * factor,
                "FLUX_ERROR": error * factor,
                "BACKGROUND": level * factor,
                "NPIXELS": npixels,
            }
        return out


def soss_setup(
    segment: Segment,
    parameters: PipelineParameters,
    traces: PastasossReference,
    profiles: ProfileReference | None,
    photom: PhotomReference | None,
) -> tuple[SossSetup | None, list[str]]:
    """Settle the extraction of a member from its header and references.

    Parameters
    ----------
    segment : Segment
        The member.
    parameters : PipelineParameters
        Steps' parameters.
    traces, profiles, photom : references
        `profiles` is of use where light is modelled, `photom` where spectra are calibrated.

    Returns
    -------
    setup : SossSetup or None
        None if the member has no spectrum; the notes say why.
    notes : list of str

    Raises
    ------
    InputError
        If header and references do not fit.
    """
    from tso3dask.ops.soss.box import order_weights
    from tso3dask.ops.soss.traces import (
        crop_profile,
        extraction_subarray,
        find_traces,
        select_orders,
    )

    step = parameters.extract_1d
    shape = segment.ny, segment.nx
    layout, reason = extraction_subarray(segment.text("SUBARRAY"), segment.text("FILTER"))
    if layout is None:
        return None, [reason]
    notes = []
    orders, absent = select_orders(traces, layout, step.soss_order_3)
    if absent:
        notes.append(f"{traces.path} has no order {absent[0]}: it is not extracted")
    pwcpos = segment.get("PWCPOS")
    try:
        found = find_traces(
            traces, None if pwcpos is None else float(pwcpos), layout, orders, segment.nx
        )
    except InputError as error:
        raise InputError(f"{segment.path}: {error}") from error
    weights = order_weights(found, float(step.soss_width), shape, layout)
    items = []
    for trace in found:
        profile = None
        if profiles is not None:
            if trace.order not in profiles.profiles:
                raise InputError(
                    f"{profiles.path}: specprofile reference: has no order {trace.order}"
                )
            image = profiles.profiles[trace.order]
            profile = crop_profile(image, shape, profiles.path, trace.order)
        factor, found_notes = _conversion(segment, photom, trace, parameters)
        if found_notes:
            photom = None  # as in the field's pipeline, which stops at an order without a row
        notes += found_notes
        items.append(
            OrderSetup(trace.order, trace, trace.wavelength, weights[trace.order], profile, factor)
        )
    return SossSetup(layout, tuple(items), bool(step.subtract_background)), notes


def _conversion(
    segment: Segment,
    photom: PhotomReference | None,
    trace: Any,
    parameters: PipelineParameters,
) -> tuple[np.ndarray | None, list[str]]:
    """Return factors of one order, or None without calibration."""
    from tso3dask.ops.soss.photom import conversion_factors, select_row, time_corrections

    if photom is None:
        return None, []
    names = segment.text("FILTER"), segment.text("PUPIL")
    row = select_row(photom.table, *names, trace.order)
    if row is None:
        return None, [
            f"{photom.path} has no row for FILTER {names[0]}, PUPIL {names[1]}, order"
            f" {trace.order}: spectra of this and further orders are not calibrated"
        ]
    correction = 1.0
    if parameters.photom.apply_time_correction:
        time = segment.get("EXPMID")
        rows = len(photom.table["order"])
        corrections = time_corrections(
            photom.time_coefficients, None if time is None else float(time), rows
        )
        correction = float(corrections[row])
    return conversion_factors(photom.table, row, trace.wavelength, correction), []
