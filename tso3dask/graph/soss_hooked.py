"""NIRISS SOSS: spectra of pixels that hooks returned."""

from __future__ import annotations

from typing import Any

from tso3dask.graph.hooked_run import chunk_keys
from tso3dask.graph.hooks import HookedMember
from tso3dask.graph.outline import Member
from tso3dask.graph.soss_segment import prepare_extraction
from tso3dask.graph.soss_store import STORED, store_arrays, stored_summary

__all__ = ["hooked_prologue"]


def hooked_prologue(
    hooked: HookedMember, member: Member, scratch: str, path: str, label: str
) -> tuple[dict[Any, Any], Any]:
    """Tasks that come before those of the chunks, for pixels that hooks returned."""
    assert member.soss is not None and hooked.extracted is not None
    cubes = {name: hooked.extracted[name] for name in STORED}
    kinds = {name: "uint32" if name == "dq" else "float32" for name in cubes}
    tasks, pieces = chunk_keys(cubes, kinds, member.chunks)
    rows = [(store_arrays, piece) for piece in pieces]
    shape = hooked.extracted["sci"].transpose("integration", "y", "x").shape
    more, summary = stored_summary(rows, shape, scratch, member.chunks, label)
    key = f"soss-{label}"
    task = (prepare_extraction, member.soss.uncalibrated, [["summary", summary]], path)
    return {**tasks, **more, key: task}, key
