"""NIRISS SOSS: spectra of pixels that are not those of a file any more.

The graph of such spectra holds a segment's pixels until its summary is known. A run does not: it
keeps them in a scratch file (`tso3dask.graph.soss_store`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dask.array as da
import numpy as np

from tso3dask.graph.program import Block
from tso3dask.graph.soss import SossSetup
from tso3dask.graph.soss_fill import tile_rows
from tso3dask.graph.soss_segment import prepare_extraction
from tso3dask.graph.soss_store import STORED

__all__ = ["Rows", "array_prologue", "filled_rows", "rows_with_neighbours"]

Rows = list[list[Any]]
"""For each cube its name, the rows wanted, the first row of the first block, and the blocks."""


def array_prologue(
    cubes: dict[str, da.Array], setup: SossSetup, path: str, label: str
) -> tuple[dict[Any, Any], Any]:
    """Tasks that come before those of the chunks, see `tso3dask.graph.soss_tasks.soss_prologue`."""
    blocks = [
        [(cubes[name].name, i, 0, 0) for i in range(len(cubes[name].chunks[0]))] for name in STORED
    ]
    summary, key = f"soss-summary-{label}", f"soss-{label}"
    return {
        summary: (whole_summary, *blocks),
        key: (prepare_extraction, setup, [["summary", summary]], path),
    }, key


def whole_summary(sci: list[np.ndarray], err: list[np.ndarray], dq: list[np.ndarray]) -> Any:
    """Task: summary of a segment given in chunks."""
    from tso3dask.ops.soss.infill import join, summarize

    nints = sum(len(block) for block in sci)
    ny, nx = sci[0].shape[1:]
    tiles = [
        summarize(*(np.concatenate([b[:, y0:y1] for b in blocks]) for blocks in (sci, err, dq)))
        for y0, y1 in tile_rows(nints, ny, nx)
    ]
    return join(tiles)


def rows_with_neighbours(
    cubes: dict[str, da.Array], bounds: Sequence[tuple[int, int]], a: int, b: int
) -> Rows:
    """Keys of the blocks that filling the integrations ``a:b`` needs."""
    from tso3dask.ops.soss.infill import HALO

    lo, hi = max(0, a - HALO), min(bounds[-1][1], b + HALO)
    held = [i for i, (first, last) in enumerate(bounds) if first < hi and last > lo]
    return [
        [name, lo, hi, bounds[held[0]][0], [(cubes[name].name, i, 0, 0) for i in held]]
        for name in ("sci", "err")
    ]


def filled_rows(rows: Rows, a: int, b: int, summary: Any) -> Block:
    """Integrations ``a:b`` with their gaps filled, as `FillInTime` gives them."""
    from tso3dask.ops.soss.infill import fill_all

    arrays = {
        name: np.ascontiguousarray(np.concatenate(blocks)[lo - begin : hi - begin])
        for name, lo, hi, begin, blocks in rows
    }
    values = fill_all(arrays["sci"], arrays["err"], rows[0][1], a, b, summary)
    filled = dict(zip(("sci", "err", "mask"), values, strict=True))
    return Block(filled, dict.fromkeys(filled, a), {})
