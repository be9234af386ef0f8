"""What stages that flag outliers ask of a block: rows beside SCI and DQ, and room for results."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tso3dask.graph.program import Block, Ranges, Source, rows_asked
from tso3dask.ops.blocks import roomy_empty

__all__ = ["RowsToFlag", "rows_to_flag"]


class RowsToFlag(NamedTuple):
    """Rows of a block that are asked for, without their halo.

    Attributes
    ----------
    a, b : int
        Integrations of the segment, b excluded.
    err : ndarray
        ERR ``(integration, y, x)``.
    variances : dict of str to ndarray
        The variances that the source has, of the same shape.
    out : dict of str to ndarray
        Where results go, by name; empty where they are to be new arrays.
    """

    a: int
    b: int
    err: np.ndarray
    variances: dict[str, np.ndarray]
    out: dict[str, np.ndarray]


def rows_to_flag(
    block: Block,
    ranges: Ranges,
    source: Source,
    scratch: dict[str, Any] | None,
    more: Mapping[str, npt.DTypeLike] | None = None,
) -> RowsToFlag:
    """Take the rows that a stage is to flag, and reuse arrays of the sub-blocks before.

    SCI and DQ go to arrays of their own, because the halo of the next sub-block must stay as it
    was read; ERR and variances are changed where they are, if the input may be written.

    Parameters
    ----------
    block, ranges, source, scratch
        As for `tso3dask.graph.program.Stage.apply`.
    more : mapping of str to dtype, optional
        Further results that the stage gives.
    """
    a, b = rows_asked(ranges)
    err = block.rows("err", a, b)
    variances = {n: block.rows(n, a, b) for n in source.names if n.startswith("var_")}
    out: dict[str, np.ndarray] = {}
    if scratch is not None:
        out = _kept(scratch, block, b - a, more or {})
        if scratch["in_place"]:
            out |= {"err": err, **variances}
    return RowsToFlag(a, b, err, variances, out)


def _kept(
    scratch: dict[str, Any], block: Block, rows: int, more: Mapping[str, npt.DTypeLike]
) -> dict[str, np.ndarray]:
    """Arrays that one task uses again for each sub-block."""
    kept = scratch.get("flagged")
    if kept is None or len(kept["sci"]) < rows:
        names = ("sci", "dq") if scratch["in_place"] else tuple(block.arrays)
        kinds = {name: block.arrays[name].dtype for name in names} | {**more}
        shape = (rows, *block.arrays["sci"].shape[1:])
        kept = {name: roomy_empty(shape, kind) for name, kind in kinds.items()}
        scratch["flagged"] = kept
    return {name: array[:rows] for name, array in kept.items()}
