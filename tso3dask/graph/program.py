"""A program: which pixels, through which stages. One description, executed two ways.

`Program.block` gives fresh arrays of a range of integrations, for lazy xarray data.
`Program.stream` walks the same range in small sub-blocks through reused buffers, for a run whose
tasks write and measure as they go. Both give the same numbers, for any cutting of the range.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from dask.tokenize import tokenize

import tso3dask
from tso3dask.graph.stored_cubes import StoredCubes
from tso3dask.ops.blocks import roomy_empty

if TYPE_CHECKING:
    from tso3dask.io.pixels import ArraySpec
    from tso3dask.io.segment import Segment

__all__ = ["Block", "Pointwise", "Program", "Ranges", "Source", "Stage", "Tap", "rows_asked"]

Ranges = dict[str, tuple[int, int]]
"""Rows (integrations of the segment, 0-based, end exclusive) needed of each array."""


def rows_asked(ranges: Ranges) -> tuple[int, int]:
    """Return the shortest range of rows that holds those asked of all arrays."""
    return min(a for a, _ in ranges.values()), max(b for _, b in ranges.values())


@dataclass(frozen=True)
class Source:
    """Cubes of one segment file, described by offsets: small, picklable, content-named.

    Attributes
    ----------
    path : str
        The file.
    identity : str
        Digest of the file's headers, size and time.
    arrays : tuple of ArraySpec
        Its cubes.
    before, after : tuple of Source
        Segments that adjoin it, in order of time, for stages that ask for rows beyond its own:
        their integrations have negative numbers, or numbers from `nints` on.
    """

    path: str
    identity: str
    arrays: tuple[ArraySpec, ...]
    before: tuple[Source, ...] = ()
    after: tuple[Source, ...] = ()

    @classmethod
    def from_segment(cls, segment: Segment) -> Source:
        """Describe the cubes of an opened segment."""
        cubes = tuple(segment.arrays[name] for name in segment.cubes)
        return cls(str(segment.path), segment.identity, cubes)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the cubes that the file has."""
        return tuple(spec.name for spec in self.arrays)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(integration, y, x)."""
        n, ny, nx = self.array("sci").shape
        return n, ny, nx

    @property
    def nints(self) -> int:
        """Integrations in the segment."""
        return self.shape[0]

    @property
    def plain(self) -> bool:
        """Whether all pixels, of adjoining segments too, are stored the usual way.

        Stages with ``takes_stored`` then take them without a change of byte order. A big-endian
        machine has no use for that.
        """
        parts = (*self.before, self, *self.after)
        return sys.byteorder == "little" and all(s.plain for part in parts for s in part.arrays)

    @property
    def reach(self) -> tuple[int, int]:
        """First and last integration that can be asked for, end excluded."""
        return -sum(s.nints for s in self.before), self.nints + sum(s.nints for s in self.after)

    def array(self, name: str) -> ArraySpec:
        """Description of one cube."""
        for spec in self.arrays:
            if spec.name == name:
                return spec
        raise KeyError(name)

    def read(
        self, name: str, lo: int, hi: int, rows: slice | None = None, out: np.ndarray | None = None
    ) -> np.ndarray:
        """Read the integrations ``lo:hi`` of one cube, from adjoining segments where they are.

        Parameters
        ----------
        name : str
            The cube.
        lo, hi : int
            Integrations, within `reach`.
        rows : slice, optional
            Detector rows; all by default.
        out : ndarray, optional
            To be read into, as for `ArraySpec.read`; of whole images only.
        """
        pieces = []
        first = self.reach[0]
        for part in (*self.before, self, *self.after):
            a, b = max(lo - first, 0), min(hi - first, part.nints)
            if a < b:
                spec = part.array(name)
                into = None if out is None else out[first + a - lo : first + b - lo]
                pieces.append(
                    spec.read(a, b, out=into) if rows is None else spec.read_region(a, b, rows)
                )
            first += part.nints
        if out is not None:
            return out
        if not pieces:
            return self.array(name).read(0, 0)
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)


@dataclass
class Block:
    """Rows of several cubes in memory.

    Attributes
    ----------
    arrays : mapping of str to ndarray
        (rows, y, x) each.
    first : dict of str to int
        Integration of the segment that row 0 of each array is.
    counts : dict of str to ndarray
        Numbers per integration that stages report, as ``n_outliers``.
    extra : dict of str to ndarray
        Cubes that the last stage gives beside those of the source, as ``median``, for the rows
        asked for; they go to files and to no other stage.
    carried : dict of str to ndarray
        What a stage hands to the one after it, for the rows asked for: ``expected``, what pixels
        should show, and ``number``, how many values say so.
    """

    arrays: Mapping[str, np.ndarray]
    first: dict[str, int]
    counts: dict[str, np.ndarray]
    extra: dict[str, np.ndarray] = field(default_factory=dict)
    carried: dict[str, np.ndarray] = field(default_factory=dict)

    def rows(self, name: str, a: int, b: int) -> np.ndarray:
        """View of the integrations ``a:b`` of one array."""
        begin = a - self.first[name]
        return self.arrays[name][begin : begin + b - a]


class Tap(Protocol):
    """Something that takes rows after a number of stages, and writes them."""

    @property
    def point(self) -> int | None:
        """Stages that rows have gone through."""
        ...

    @property
    def takes_stored(self) -> bool:
        """Whether rows may be as files have them."""
        ...

    def put(self, a: int, b: int, arrays: Mapping[str, np.ndarray]) -> None:
        """Take the integrations ``a:b``."""
        ...


class Stage(Protocol):
    """One numerical step on a block. Stages are frozen dataclasses, so that they name content."""

    def input_ranges(self, ranges: Ranges, source: Source) -> Ranges:
        """Rows of each input array needed to give ``ranges`` of the output."""
        ...

    def apply(
        self,
        block: Block,
        ranges: Ranges,
        source: Source,
        constants: Mapping[str, Any],
        scratch: dict[str, Any] | None,
    ) -> Block:
        """Turn input rows into output rows.

        ``scratch`` is None, or what a stage keeps between the sub-blocks of a stream. Input arrays
        may be written only where ``scratch["in_place"]`` is true, and there only rows that are
        not halo: then no other sub-block asks for them. The first stage of a stream gets pixels
        as files have them if it has ``takes_stored``, true.
        """
        ...


class Pointwise:
    """Base of stages in which no integration knows of another: rows of all cubes are changed."""

    def change(self, arrays: dict[str, np.ndarray]) -> None:
        """Change cubes (integration, y, x) in place."""
        raise NotImplementedError

    def input_ranges(self, ranges: Ranges, source: Source) -> Ranges:
        """All arrays, for the rows asked for."""
        return dict.fromkeys(source.names, rows_asked(ranges))

    def apply(
        self,
        block: Block,
        ranges: Ranges,
        source: Source,
        constants: Mapping[str, Any],
        scratch: dict[str, Any] | None,
    ) -> Block:
        """Change the rows asked for."""
        arrays, a, _ = self.changeable(block, ranges, source, scratch)
        self.change(arrays)
        return Block(arrays, dict.fromkeys(arrays, a), dict(block.counts))

    def changeable(
        self, block: Block, ranges: Ranges, source: Source, scratch: dict[str, Any] | None
    ) -> tuple[dict[str, np.ndarray], int, int]:
        """Rows asked for, in copies where the input must stay as it is, and which they are."""
        a, b = rows_asked(ranges)
        arrays = {name: block.rows(name, a, b) for name in source.names}
        if scratch is None or not scratch["in_place"]:
            arrays = {name: array.copy() for name, array in arrays.items()}
        return arrays, a, b


@dataclass(frozen=True)
class Program:
    """Stages on the cubes of one segment.

    Attributes
    ----------
    source : Source
        Where the pixels are.
    stages : tuple of Stage
        What is done to them, in order.
    """

    source: Source
    stages: tuple[Stage, ...] = ()

    @cached_property
    def token(self) -> str:
        """Name of the result: equal for equal files, stages and version."""
        stages = [(type(s).__module__, type(s).__qualname__, s) for s in self.stages]
        return tokenize(tso3dask.__version__, self.source, stages)

    def then(self, *stages: Stage) -> Program:
        """Return the same program with further stages."""
        return replace(self, stages=self.stages + stages)

    def point_after(self, step: str) -> int | None:
        """Return how many stages rows have gone through after a step; None if it has no stage."""
        found = [i + 1 for i, s in enumerate(self.stages) if getattr(s, "step", None) == step]
        return found[-1] if found else None

    def replaces_in_time(self, point: int | None = None) -> bool:
        """Whether one of the stages, or of the first `point`, replaces pixels in time."""
        return any(getattr(stage, "in_time", False) for stage in self.stages[:point])

    def until(self, point: int) -> Program:
        """Return the program of the first stages, `point` of them."""
        return replace(self, stages=self.stages[:point])

    def spans(self, a: int, b: int, names: tuple[str, ...] | None = None) -> list[Ranges]:
        """Rows needed of each array before each stage, and the rows asked for, in order.

        Parameters
        ----------
        a, b : int
            Integrations wanted.
        names : tuple of str, optional
            Arrays wanted; all by default.

        Returns
        -------
        list of dict
            One entry per stage (its input), then the output itself.
        """
        spans: list[Ranges] = [{name: (a, b) for name in names or self.source.names}]
        for stage in reversed(self.stages):
            spans.append(stage.input_ranges(spans[-1], self.source))
        return spans[::-1]

    def block(
        self,
        a: int,
        b: int,
        names: tuple[str, ...] | None = None,
        constants: Mapping[str, Any] | None = None,
    ) -> Block:
        """Compute the integrations ``a:b`` as fresh arrays.

        Parameters
        ----------
        a, b : int
            Range within the segment.
        names : tuple of str, optional
            Arrays wanted; all by default.
        constants : mapping, optional
            What stages need beyond pixels (for instance ``median``).

        Returns
        -------
        Block
        """
        spans = self.spans(a, b, names)
        arrays = {n: self.source.read(n, lo, hi) for n, (lo, hi) in spans[0].items()}
        block = Block(arrays, {n: lo for n, (lo, _) in spans[0].items()}, {})
        return self._apply(block, spans, constants or {}, None)

    def stream(
        self,
        a: int,
        b: int,
        step: int,
        names: tuple[str, ...] | None = None,
        constants: Mapping[str, Any] | None = None,
        taps: Sequence[Tap] = (),
    ) -> Iterator[tuple[int, int, Block]]:
        """Compute the integrations ``a:b`` in sub-blocks, reusing buffers.

        The arrays of a yielded block are valid until the next one is asked for.

        Parameters
        ----------
        a, b : int
            Range within the segment.
        step : int
            Integrations of a sub-block.
        names, constants
            As for `block`.
        taps : sequence of Tap
            Where rows go from between the stages.

        Yields
        ------
        first, last : int
            Range of the sub-block.
        block : Block
        """
        readers: dict[str, _SlidingReader] = {}
        scratch: dict[str, Any] = {}
        stored = getattr(next(iter(self.stages), None), "takes_stored", False)
        stored = stored and self.source.plain
        for first in range(a, b, step):
            last = min(first + step, b)
            spans = self.spans(first, last, names)
            arrays, begin = {}, {}
            for name, (lo, hi) in spans[0].items():
                if name not in readers:
                    readers[name] = _SlidingReader(self.source, name, hi - lo, step, stored)
                arrays[name] = readers[name].rows(lo, hi)
                begin[name] = lo
            block = Block(arrays, begin, {})
            yield first, last, self._apply(block, spans, constants or {}, scratch, taps)

    def _apply(
        self,
        block: Block,
        spans: list[Ranges],
        constants: Mapping[str, Any],
        scratch: dict[Any, Any] | None,
        taps: Sequence[Tap] = (),
    ) -> Block:
        _put(taps, 0, block, spans[-1])
        for i, (stage, ranges) in enumerate(zip(self.stages, spans[1:], strict=True)):
            own = None
            if scratch is not None:
                own = scratch.setdefault(i, {})
                own["in_place"] = spans[1] == spans[-1]
            block = stage.apply(block, ranges, self.source, constants, own)
            _put(taps, i + 1, block, spans[-1])
        return block


def _put(taps: Sequence[Tap], point: int, block: Block, ranges: Ranges) -> None:
    """Hand the rows asked for to the taps at this point."""
    for tap in taps:
        if tap.point == point:
            rows = block
            if tap.takes_stored and isinstance(block.arrays, StoredCubes):
                rows = replace(block, arrays=block.arrays.as_they_are())
            arrays = {name: rows.rows(name, *ranges[name]) for name in ranges}
            tap.put(*next(iter(ranges.values())), arrays | block.extra)


class _SlidingReader:
    """Rows of one cube for ranges that only move forward; rows already read are kept."""

    def __init__(
        self, source: Source, name: str, width: int, step: int, stored: bool = False
    ) -> None:
        self._source, self._name = source, name
        spec = source.array(name)
        kind = spec.stored if stored else spec.native
        spare = step if width > step else 0
        begin, end = source.reach
        self._capacity = min(width + spare, end - begin)
        self._buffer = roomy_empty((self._capacity, *spec.shape[1:]), kind)
        self._first = 0
        self._filled = 0

    def rows(self, lo: int, hi: int) -> np.ndarray:
        """Rows ``lo:hi`` as a view of the buffer."""
        if hi - lo > self._capacity:
            self._grow(hi - lo)
        if not self._first <= lo <= self._first + self._filled:
            self._first, self._filled = lo, 0
        if hi - self._first > self._capacity:
            keep = self._first + self._filled - lo
            for i in range(keep):
                self._buffer[i] = self._buffer[lo - self._first + i]
            self._first, self._filled = lo, keep
        have = self._first + self._filled
        if hi > have:
            into = self._buffer[self._filled : self._filled + hi - have]
            self._source.read(self._name, have, hi, out=into)
            self._filled += hi - have
        return self._buffer[lo - self._first : hi - self._first]

    def _grow(self, rows: int) -> None:
        old = self._buffer
        self._capacity = rows
        self._buffer = roomy_empty((rows, *old.shape[1:]), old.dtype)
        self._buffer[: self._filled] = old[: self._filled]
