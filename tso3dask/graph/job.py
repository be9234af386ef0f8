"""What every task of a member has in common: where its flagged pixels come from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from tso3dask.graph.files import Output
from tso3dask.graph.program import Block, Program, Source

__all__ = ["Job"]


@dataclass(frozen=True, eq=False)
class Job:
    """One member, as tasks see it.

    Attributes
    ----------
    member : int
        Place in the association.
    program : Program or None
        Pixels of a file and what is done to them; None where a task is given its arrays.
    sub_block : int
        Integrations held at a time.
    path : str
        File that errors name.
    outputs : tuple of Output
        Files that rows go to.
    """

    member: int
    program: Program | None
    sub_block: int
    path: str = ""
    outputs: tuple[Output, ...] = field(default=(), kw_only=True)

    def blocks(
        self,
        a: int,
        b: int,
        constants: Sequence[Any],
        *,
        write: bool = False,
        names: tuple[str, ...] | None = None,
    ) -> Iterator[tuple[int, int, Block]]:
        """Walk the integrations ``a:b`` in sub-blocks.

        Parameters
        ----------
        a, b : int
            Range within the segment.
        constants : sequence of (name, value)
            What stages need; without a program, the cubes of ``a:b`` themselves.
        write : bool
            Put rows to the files that take them from the program.
        names : tuple of str, optional
            Cubes that are needed; all by default.

        Yields
        ------
        first, last : int
            Range of the sub-block.
        block : Block
            Its arrays are valid until the next sub-block.
        """
        values = dict(constants)
        if self.program is None:
            yield a, b, Block(values, dict.fromkeys(values, a), {})
        else:
            taps = [o for o in self.outputs if o.point is not None] if write else []
            yield from self.program.stream(a, b, self.sub_block, names, values, taps)

    @cached_property
    def written(self) -> Job:
        """The same job with its pixels from the file that an earlier pass has put them to.

        Results of a program are read from there where some output takes all of its cubes as they
        are after the last stage, and stores them without loss; else this is the job itself.
        """
        if self.program is None or not self.program.stages:
            return self
        source = self.program.source
        for output in self.outputs:
            arrays = getattr(output.sink, "arrays", ())
            if (
                output.point == len(self.program.stages)
                and not output.names
                and {spec.name for spec in arrays} == set(source.names)
                and all(np.dtype(s.dtype).itemsize == s.native.itemsize for s in arrays)
            ):
                there = Source(output.sink.path, source.identity, tuple(arrays))
                return replace(self, program=Program(there), outputs=())
        return self

    @property
    def replaces(self) -> bool:
        """Whether pixels are replaced in time, so that light curves can tell what that changed."""
        return self.program is not None and self.program.replaces_in_time()

    @staticmethod
    def keep_counts(
        rows: dict[str, np.ndarray], counts: Mapping[str, np.ndarray], here: slice, length: int
    ) -> None:
        """Put what stages counted in a sub-block among the rows of a chunk of that length."""
        for name, values in counts.items():
            rows.setdefault(name, np.zeros(length, values.dtype))[here] = values

    def put_measured(self, a: int, b: int, arrays: Mapping[str, Any]) -> None:
        """Put what was measured of the integrations ``a:b`` to the files that take it."""
        for output in self.outputs:
            if output.point is None:
                output.put(a, b, arrays)
