"""The one doorway to dask arrays: named tasks in, chunked arrays out, under either dask engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from weakref import WeakValueDictionary

import dask.array as da
import numpy as np
from dask.highlevelgraph import HighLevelGraph

from tso3dask.graph.program import Program

__all__ = ["pick", "picked_arrays", "program_of", "settled"]

_programs: WeakValueDictionary[str, Program] = WeakValueDictionary()


def pick(values: Sequence[Any], index: int) -> Any:
    """Select one result of a task that returns several."""
    return values[index]


def picked_arrays(
    layer: str,
    tasks: Mapping[tuple[str, int], tuple[Any, ...]],
    outputs: Mapping[str, tuple[tuple[int, ...], Any]],
    chunks: Sequence[int],
    *,
    extra: Mapping[str, Any] | None = None,
    upstream: Sequence[da.Array] = (),
    token: str,
    program: Program | None = None,
) -> dict[str, da.Array]:
    """Make dask arrays from tasks that each return a tuple with one array per output.

    Parameters
    ----------
    layer : str
        Name of the tasks: their keys are ``(layer, i)``.
    tasks : mapping
        Task for each key: ``(function, *arguments)``, where an argument may be another key.
    outputs : mapping of str to (shape, dtype)
        Name, shape without the chunked first axis, and type of each result, in tuple order.
    chunks : sequence of int
        Lengths along the first axis.
    extra : mapping, optional
        Further tasks that ``tasks`` refer to (prologue).
    upstream : sequence of dask.array.Array
        Arrays whose keys the tasks refer to.
    token : str
        Content name; array names are ``"<output>-<token>"``.
    program : Program, optional
        Remembered for the arrays' names while they are in use (see `program_of`).

    Returns
    -------
    dict of str to dask.array.Array
    """
    arrays = {}
    for index, (name, (shape, dtype)) in enumerate(outputs.items()):
        zeros = (0,) * len(shape)
        full = f"{name}-{token}"
        picks = {(full, i, *zeros): (pick, (layer, i), index) for i in range(len(chunks))}
        sizes = (tuple(chunks), *((n,) for n in shape))
        meta = np.empty((0,) * (1 + len(shape)), dtype)
        arrays[name] = _build(full, picks, layer, tasks, extra or {}, upstream, sizes, meta)
        if program is not None:
            _programs[arrays[name].name] = program
            if expression_engine():  # one of that name may be there already, with another program
                array: Any = arrays[name]
                vars(array.expr)["program"] = program
    return arrays


def expression_engine() -> bool:
    """Whether dask arrays are expressions (``array.query-planning``) instead of graphs."""
    return da.Array.__module__.startswith("dask.array._array_expr")


def settled(array: da.Array) -> da.Array:
    """Return the array in a form whose chunks are found in its graph under its own name."""
    return array.optimize() if expression_engine() else array  # type: ignore[attr-defined]


def _build(
    name: str,
    picks: Mapping[Any, Any],
    layer: str,
    tasks: Mapping[Any, Any],
    extra: Mapping[str, Any],
    upstream: Sequence[da.Array],
    chunks: tuple[tuple[int, ...], ...],
    meta: np.ndarray,
) -> da.Array:
    if expression_engine():
        from dask.array._array_expr._collection import from_graph

        everything = {**extra, **tasks, **picks}
        for array in upstream:
            everything.update(array.__dask_graph__())
        return from_graph(everything, meta, chunks, list(picks), name)
    layers: dict[str, Mapping[Any, Any]] = {name: dict(picks), layer: {**extra, **tasks}}
    dependencies = {name: {layer}, layer: {a.name for a in upstream}}
    for array in upstream:
        layers.update(array.dask.layers)
        dependencies.update(array.dask.dependencies)
    return da.Array(HighLevelGraph(layers, dependencies), name, chunks, meta=meta)


def program_of(array: Any) -> Program | None:
    """Return the program whose untouched output ``array`` is, if it is one.

    Any operation on a dask array gives it another name, so that an array that a user has changed
    is never mistaken for the pixels of a file.
    """
    return _programs.get(getattr(array, "name", ""))
