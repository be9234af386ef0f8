"""ECSV tables: header, columns, units, meta, rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import QTable
from compare import EXACT, TOLERANCE, Comparison

__all__ = ["compare_tables"]

FIT_TOLERANCE = 1e-4
"""Columns that come from an iterative fit of the PSF."""

ERROR_OF = {
    "aperture_sum": "aperture_sum_err",
    "annulus_sum": "annulus_sum_err",
    "annulus_mean": "annulus_mean_err",
    "aperture_bkg": "aperture_bkg_err",
    "net_aperture_sum": "net_aperture_sum_err",
}
"""Columns whose differences are measured against their errors where those are larger."""

EXACT_COLUMNS = ("MJD", "BJD_TDB")
"""Times are copied, not computed; the beginning of the column's name."""


def compare_tables(result: Comparison, kind: str, ours: Path, theirs: Path) -> None:
    """Compare two tables."""
    left, right = (QTable.read(p, format="ascii.ecsv") for p in (ours, theirs))
    _compare_meta(result, kind, left.meta, right.meta)
    headers = (
        [line for line in p.read_text().splitlines() if line.startswith("#")]
        for p in (ours, theirs)
    )
    result.same_names(f"{kind} header lines", *headers)
    if not result.same_names(f"{kind} columns", left.colnames, right.colnames):
        return
    if len(left) != len(right):
        result.find(kind, f"{len(left)} rows instead of {len(right)}")
        return
    for name in right.colnames:
        one, other = left[name], right[name]
        units = (str(getattr(c, "unit", None)) for c in (one, other))
        result.same(f"{kind} {name} unit", *units)
        for detail in ("description", "format"):
            texts = (str(getattr(c.info, detail)) for c in (one, other))
            result.same(f"{kind} {name} {detail}", *texts)
        error = _plain(right[ERROR_OF[name]]) if ERROR_OF.get(name) in right.colnames else None
        result.values(kind, kind, name, _plain(one), _plain(other), tolerance_of(name), error)


def tolerance_of(name: str) -> float:
    """Tolerance of a column."""
    if name.startswith(EXACT_COLUMNS):
        return EXACT
    return FIT_TOLERANCE if name.startswith("psf_") else TOLERANCE


def _plain(column: Any) -> np.ndarray:
    values = getattr(column, "value", column)
    if hasattr(values, "mask"):
        values = np.ma.filled(values.astype(float), np.nan)
    return np.asarray(values)


def _compare_meta(result: Comparison, kind: str, ours: Any, theirs: Any) -> None:
    result.same_names(f"{kind} meta", list(ours), list(theirs))
    for key in theirs:
        if key in ours:
            result.same(f"{kind} meta {key}", ours[key], theirs[key])
