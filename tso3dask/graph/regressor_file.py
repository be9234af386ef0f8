"""Regressors of one file alone: a model of its integrations, and the flags that it has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tso3dask.graph.chunking import chunk_bounds
from tso3dask.graph.regressors import Columns, regressor_columns
from tso3dask.graph.tables import COUNTS, table_meta
from tso3dask.ops.dq import FLAG_VALUES

if TYPE_CHECKING:
    from tso3dask.graph.outline import Member, Outline

__all__ = ["regressors_of_plan"]

_STEPS = {
    "S_OUTLIR": ("OUTLIER", "n_outliers", "flagged_fraction"),
    "S_PXREPL": ("FLUX_ESTIMATED", "n_replaced", "replaced_fraction"),
}
"""Flag that a step leaves, and columns that count it, by the keyword that tells of the step."""


def regressors_of_plan(plan: Outline) -> tuple[Columns, dict[str, Any], tuple[str, ...]]:
    """Table of regressors of a plan of one file, of which nothing is extracted.

    Parameters
    ----------
    plan : Outline
        Its model is made here.

    Returns
    -------
    columns : dict
        Values and unit by column. Flagged and replaced pixels are counted where the header says
        that outlier detection or pixel replacement was done.
    meta : dict
        Meta of the table.
    notes : tuple of str
        What the model has to say.
    """
    modelled = plan.modelled
    counts = [_counts(member) for member in modelled.members]
    columns = regressor_columns(modelled, counts, COUNTS)
    notes = tuple(note for note in modelled.notes if note not in plan.notes)
    return columns, table_meta(modelled, "regressors", columns=columns), notes


def _counts(member: Member) -> dict[str, np.ndarray]:
    """Pixels of each integration that have a flag of a step that was done."""
    assert member.model is not None
    segment, source = member.segment, member.program.source
    region = member.model.region
    size = max(1, int(np.count_nonzero(region)))
    done = {k: names for k, names in _STEPS.items() if segment.get(k) == "COMPLETE"}
    found = {name: np.zeros(segment.nints) for _, *names in done.values() for name in names}
    for a, b in chunk_bounds(member.chunks if done else ()):
        dq = source.array("dq").read(a, b)
        for flag, count, share in done.values():
            flagged = (dq & np.uint32(FLAG_VALUES[flag])) != 0
            found[count][a:b] = np.count_nonzero(flagged, axis=(1, 2))
            found[share][a:b] = np.count_nonzero(flagged & region, axis=(1, 2)) / size
    return found
