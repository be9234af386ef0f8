"""NIRISS SOSS: medians through all time, and the stage that fills gaps with them.

Extraction needs medians of each pixel over all integrations. They are made in tiles of detector
rows that run through all time, by the same stages that the integrations go through later, so that
a segment is never held.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np

from tso3dask.graph.program import Block, Program, Ranges, Source, Tap, rows_asked
from tso3dask.graph.stages import FlagOutliers, Match
from tso3dask.io.pixels import ArraySpec
from tso3dask.ops.blocks import roomy_empty

__all__ = [
    "FLAGGED_AT_A_TIME",
    "TILE_BYTES",
    "FillInTime",
    "filled_stream",
    "join_tiles",
    "pixelwise",
    "summary_prologue",
    "summary_tile",
    "tile_rows",
]

TILE_BYTES = 12 * 10**6
"""Bytes of one cube that a tile through all integrations holds; a task holds about six."""

FLAGGED_AT_A_TIME = 4
"""Integrations that go through the stages before `FillInTime` together, at most."""

Tile = tuple[int, int, int, int]
"""First and last row, first and last column, ends excluded."""


@dataclass(frozen=True)
class FillInTime:
    """Fill values that are not finite with medians in time, and mask what is not to be used.

    It turns SCI and ERR into ``sci``, ``err`` and ``mask`` of the rows asked for, and counts the
    share of pixels that are filled (``filled_fraction``). The constant ``summary`` is that of the
    whole segment.

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

        a, b = rows_asked(ranges)
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

        a, b = rows_asked(ranges)
        first = block.first["sci"]
        if block.first["err"] != first:
            raise AssertionError("SCI and ERR begin at different integrations")
        missing = _share_missing(block.arrays["sci"][a - first : b - first])
        values = fill_all(
            block.arrays["sci"], block.arrays["err"], first, a, b, constants["summary"]
        )
        arrays = dict(zip(("sci", "err", "mask"), values, strict=True))
        counts = {name: rows[a - first :][: b - a] for name, rows in block.counts.items()}
        counts["filled_fraction"] = missing
        return Block(arrays, dict.fromkeys(arrays, a), counts)


def _share_missing(sci: np.ndarray) -> np.ndarray:
    """Share of the pixels of each integration (integration, y, x) that are not finite."""
    return np.count_nonzero(~np.isfinite(sci), axis=(1, 2)) / max(sci[0].size, 1)


@dataclass(frozen=True)
class _Within:
    """A tap that takes the integrations ``a:b`` alone, of a stream that goes beyond them."""

    tap: Tap
    a: int
    b: int

    @property
    def point(self) -> int | None:
        return self.tap.point

    @property
    def takes_stored(self) -> bool:
        return self.tap.takes_stored

    def put(self, a: int, b: int, arrays: Mapping[str, np.ndarray]) -> None:
        first, last = max(a, self.a), min(b, self.b)
        if first < last:
            rows = slice(first - a, last - a)
            self.tap.put(first, last, {name: array[rows] for name, array in arrays.items()})


class _Recent:
    """The last rows of SCI and ERR of a stream."""

    def __init__(self, rows: int, shape: tuple[int, ...], first: int) -> None:
        self.arrays = {name: roomy_empty((rows, *shape), np.float32) for name in ("sci", "err")}
        self.first = self.end = first

    def add(self, block: Block, a: int, b: int, needed: int) -> None:
        """Take the integrations ``a:b``, which come next, and drop those before `needed`."""
        shift = max(0, needed - self.first)
        for name, array in self.arrays.items():
            for i in range(self.end - self.first - shift if shift else 0):
                array[i] = array[i + shift]
            begin = self.end - self.first - shift
            array[begin : begin + b - a] = block.rows(name, a, b)
        self.first, self.end = self.first + shift, b


def filled_stream(
    program: Program,
    a: int,
    b: int,
    most: int,
    constants: Mapping[str, Any],
    taps: Sequence[Tap] = (),
) -> Iterator[tuple[int, int, Block]]:
    """Compute the integrations ``a:b`` of a program that ends with `FillInTime`.

    As `Program.stream`, but each integration goes through the stages before once, a few at a time,
    whereas `most` of them are given together.

    Parameters
    ----------
    program : Program
        The program.
    a, b : int
        Range within the segment.
    most : int
        Integrations of a block.
    constants : mapping
        What stages need.
    taps : sequence of Tap
        Where rows go from between the stages.

    Yields
    ------
    first, last : int
        Range of the block.
    block : Block
        Its arrays are valid until the next one is asked for.
    """
    from tso3dask.ops.soss.infill import HALO, fill_all

    nints, *image = program.source.shape
    lo, hi = max(0, a - HALO), min(nints, b + HALO)
    step = min(most, FLAGGED_AT_A_TIME)
    recent = _Recent(min(step + 2 * HALO, hi - lo), tuple(image), lo)
    kinds = {"sci": np.float32, "err": np.float32, "mask": np.bool_}
    held = {name: roomy_empty((min(most, b - a), *image), kind) for name, kind in kinds.items()}
    counts: dict[str, np.ndarray] = {}
    begin = done = a
    inner = [_Within(tap, a, b) for tap in taps]
    before = program.until(len(program.stages) - 1)
    for first, last, block in before.stream(lo, hi, step, constants=constants, taps=inner):
        recent.add(block, first, last, max(lo, done - HALO))
        missing = _share_missing(block.rows("sci", first, last))
        for name, values in {**block.counts, "filled_fraction": missing}.items():
            counts.setdefault(name, np.zeros(hi - lo, values.dtype))[first - lo : last - lo] = (
                values
            )
        ready = b if last == hi else min(b, last - HALO)
        while done < ready:
            stop = min(ready, begin + most)
            out = [array[done - begin : stop - begin] for array in held.values()]
            sci, err = (recent.arrays[name] for name in ("sci", "err"))
            fill_all(
                sci, err, recent.first, done, stop, constants["summary"], (out[0], out[1], out[2])
            )
            done = stop
            if done == min(b, begin + most):
                arrays = {name: array[: done - begin] for name, array in held.items()}
                own = {name: rows[begin - lo : done - lo] for name, rows in counts.items()}
                yield begin, done, Block(arrays, dict.fromkeys(arrays, begin), own)
                begin = done


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


def pixelwise(program: Program) -> bool:
    """Whether each pixel after the stages of a program depends on that pixel of the file alone."""
    return all(isinstance(stage, (FlagOutliers, Match)) for stage in program.stages)


def tile_rows(nints: int, ny: int, nx: int) -> list[tuple[int, int]]:
    """First row and end of tiles of detector rows through all integrations."""
    rows = int(max(1, min(ny, TILE_BYTES // (4 * nints * nx))))
    return [(y, min(y + rows, ny)) for y in range(0, ny, rows)]


def summary_tile(
    program: Program, tile: Tile, constants: list[tuple[str, Any]], after: Any = None
) -> Any:
    """Task: summary of a tile of a segment, through all integrations.

    Parameters
    ----------
    program : Program
        Stages before `FillInTime`; each pixel's output must depend on that pixel alone.
    tile : tuple of int
        The region.
    constants : list of (name, value)
        What stages need, as the ``median`` image of the whole array.
    after : optional
        Results of tasks that put the pixels to the file.
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


def summary_prologue(
    program: Program, constants: Mapping[str, Any], after: Sequence[Any] = ()
) -> tuple[dict[Any, Any], Any]:
    """Tasks that summarise a segment.

    Parameters
    ----------
    program : Program
        Stages before `FillInTime`.
    constants : mapping
        Keys of what they need, see `median_prologue`.
    after : sequence, optional
        Keys of tasks that put the pixels to the file.

    Returns
    -------
    tasks : dict
        Tasks by key.
    key : str
        Key of the summary.
    """
    if not pixelwise(program):
        raise AssertionError("a stage before the summary looks at neighbouring pixels")
    nints, ny, nx = program.source.shape
    rows = tile_rows(nints, ny, nx)
    columns = int(max(1, min(nx, TILE_BYTES // (4 * nints * rows[0][1]))))
    across = [(x, min(x + columns, nx)) for x in range(0, nx, columns)]
    tiles = [(*ys, *xs) for ys in rows for xs in across]
    token = program.token
    given = [[name, where] for name, where in constants.items()]
    tasks: dict[Any, Any] = {
        (f"soss-tile-{token}", i): (summary_tile, program, tile, given, list(after))
        for i, tile in enumerate(tiles)
    }
    key = f"soss-summary-{token}"
    return {**tasks, key: (join_tiles, list(tasks), len(across))}, key
