"""Programs of minima and maxima that give several neighbouring rolling medians at once.

The windows of `outputs` consecutive medians share a core of rows. The core is sorted once; of its
values only those that can still turn out to be a median are kept. Then a binary tree of outputs is
walked: each half merges in the few rows that its windows have in common beyond the core, and drops
again what can no longer be a median, until one window is left. Sorting and merging are Batcher's
odd-even networks (K. E. Batcher, "Sorting networks and their applications", AFIPS Spring Joint
Computer Conference 32, 1968, p. 307), so that there is no branch, and any number of pixels can go
through side by side.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

__all__ = ["OUTPUTS", "Node", "Program", "median_program", "sorting_pairs"]

OUTPUTS = 8
"""Windows whose medians kernels compute together, of any width."""


@dataclass(frozen=True)
class Node:
    """One value: a row of the input (``kind`` "row") or the "min" or "max" of two values."""

    kind: str
    left: int
    right: int


@dataclass(frozen=True)
class Program:
    """Values in an order in which each is computed after those it needs.

    Attributes
    ----------
    width, outputs : int
        Rows in a window, and windows; window k holds rows k to k + width - 1.
    nodes : tuple of Node
        Only those that the results need.
    results : tuple of (int, int)
        For each window the two middle values, as indices of `nodes`; equal for odd widths.
    additions : tuple of tuple of tuple of int
        For each window the rows it holds, in the groups in which windows share them.
    """

    width: int
    outputs: int
    nodes: tuple[Node, ...]
    results: tuple[tuple[int, int], ...]
    additions: tuple[tuple[tuple[int, ...], ...], ...]

    @property
    def rows(self) -> int:
        """Rows of input that all windows together hold."""
        return self.width + self.outputs - 1

    @property
    def cost(self) -> int:
        """Number of minima and maxima."""
        return sum(node.kind != "row" for node in self.nodes)


class _Builder:
    """Collects values, each one once."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.known: dict[Node, int] = {}

    def add(self, kind: str, left: int, right: int = -1) -> int:
        node = Node(kind, left, right)
        if node not in self.known:
            self.known[node] = len(self.nodes)
            self.nodes.append(node)
        return self.known[node]

    def exchange(self, left: int, right: int) -> tuple[int, int]:
        low, high = sorted((left, right))
        return self.add("min", low, high), self.add("max", low, high)

    def merge(self, one: list[int], two: list[int]) -> list[int]:
        """Merge two sorted lists."""
        if not one or not two:
            return one or two
        if len(one) == len(two) == 1:
            return list(self.exchange(one[0], two[0]))
        odd = self.merge(one[0::2], two[0::2])
        even = self.merge(one[1::2], two[1::2])
        merged = [odd[0]]
        for i in range(max(len(even), len(odd) - 1)):
            if i < len(even) and i + 1 < len(odd):
                merged.extend(self.exchange(even[i], odd[i + 1]))
            else:
                merged.append(even[i] if i < len(even) else odd[i + 1])
        return merged

    def sort(self, values: list[int]) -> list[int]:
        """Sort a list of values."""
        if len(values) < 2:
            return values
        half = 1 << ((len(values) - 1).bit_length() - 1)
        return self.merge(self.sort(values[:half]), self.sort(values[half:]))


@lru_cache(maxsize=32)
def median_program(width: int, outputs: int) -> Program:
    """Program for the medians of `outputs` consecutive windows of `width` rows.

    Parameters
    ----------
    width : int
        Rows in a window.
    outputs : int
        Windows, a power of two. Where there are more of them than rows, only part of them share.

    Returns
    -------
    Program
        Free of values that no result needs.
    """
    if width < 1 or outputs & (outputs - 1):
        raise ValueError(f"no median program for {outputs} windows of {width} rows")
    builder = _Builder()
    results: list[tuple[int, int]] = [(-1, -1)] * outputs
    additions: list[tuple[tuple[int, ...], ...]] = [()] * outputs
    middle = ((width - 1) // 2, width // 2)

    def descend(
        begin: int,
        end: int,
        known: list[int],
        new: range,
        wanted: tuple[int, int],
        seen: tuple[tuple[int, ...], ...],
    ) -> None:
        """Go on with windows begin to end, given the sorted values kept and the rows they add."""
        seen = (*seen, tuple(new)) if len(new) else seen
        values = builder.merge(known, builder.sort([builder.add("row", row) for row in new]))
        missing = end - begin - 1
        dropped = max(0, wanted[0] - missing)
        values = values[dropped : wanted[1] + 1]
        wanted = (wanted[0] - dropped, wanted[1] - dropped)
        if end - begin == 1:
            results[begin] = (values[wanted[0]], values[wanted[1]])
            additions[begin] = seen
            return
        half = (begin + end) // 2
        descend(begin, half, values, range(half - 1, end - 1), wanted, seen)
        descend(half, end, values, range(begin + width, half + width), wanted, seen)

    sharing = min(outputs, 1 << (width.bit_length() - 1))
    for begin in range(0, outputs, sharing):
        end = begin + sharing
        descend(begin, end, [], range(end - 1, begin + width), middle, ())
    nodes, moved = _needed(builder.nodes, [index for pair in results for index in pair])
    pairs = tuple((moved[low], moved[high]) for low, high in results)
    return Program(width, outputs, nodes, pairs, tuple(additions))


def _needed(nodes: list[Node], results: list[int]) -> tuple[tuple[Node, ...], dict[int, int]]:
    """Drop the nodes that no result needs; also give each remaining node's new index."""
    alive = set(results)
    for index in range(len(nodes) - 1, -1, -1):
        if index in alive and nodes[index].kind != "row":
            alive.update((nodes[index].left, nodes[index].right))
    moved: dict[int, int] = {}
    kept: list[Node] = []
    for index, node in enumerate(nodes):
        if index not in alive:
            continue
        moved[index] = len(kept)
        row = node.kind == "row"
        kept.append(node if row else Node(node.kind, moved[node.left], moved[node.right]))
    return tuple(kept), moved


@lru_cache(maxsize=32)
def sorting_pairs(count: int) -> npt.NDArray[np.int64]:
    """Places to be compared, and exchanged if need be, one pair after the other, to sort.

    This is Batcher's exchange of merges for any number of values (D. E. Knuth, "The Art of Computer
    Programming", volume 3, section 5.2.2, algorithm M).

    Parameters
    ----------
    count : int
        Number of values.

    Returns
    -------
    (pair, 2) ndarray
        The smaller place first, which takes the smaller value.
    """
    pairs = [np.empty((0, 2), np.int64)]
    highest = 1 << max(count - 1, 1).bit_length() - 1
    length = highest
    while count > 1 and length:
        step, rest, distance = highest, 0, length
        while True:
            first = np.arange(count - distance)
            first = first[first & length == rest]
            pairs.append(np.stack([first, first + distance], axis=1))
            if step == length:
                break
            distance, step, rest = step - length, step >> 1, length
        length >>= 1
    return np.concatenate(pairs)
