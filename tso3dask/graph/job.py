"""What every task of a member has in common: where its flagged pixels come from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tso3dask.graph.files import Output
from tso3dask.graph.program import Block, Program

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
        self, a: int, b: int, constants: Sequence[Any], *, write: bool = False
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
            yield from self.program.stream(a, b, self.sub_block, constants=values, taps=taps)

    def put_measured(self, a: int, b: int, arrays: Mapping[str, Any]) -> None:
        """Put what was measured of the integrations ``a:b`` to the files that take it."""
        for output in self.outputs:
            if output.point is None:
                output.put(a, b, arrays)
