"""What every task of a member has in common: where its flagged pixels come from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

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
    """

    member: int
    program: Program | None
    sub_block: int
    path: str = ""

    def blocks(self, a: int, b: int, constants: Sequence[Any]) -> Iterator[tuple[int, int, Block]]:
        """Walk the integrations ``a:b`` in sub-blocks.

        Parameters
        ----------
        a, b : int
            Range within the segment.
        constants : sequence of (name, value)
            What stages need; without a program, the cubes of ``a:b`` themselves.

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
            yield from self.program.stream(a, b, self.sub_block, constants=values)
