"""The tables of integration times of a product, put together from those of its members."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tso3dask.io.segment import Segment

__all__ = [
    "INT_TIMES_DTYPE",
    "STRIPE_TIMES_DTYPE",
    "integration_numbers",
    "product_int_times",
    "product_stripe_times",
]

_TIMES = (
    "int_start_MJD_UTC",
    "int_mid_MJD_UTC",
    "int_end_MJD_UTC",
    "int_start_BJD_TDB",
    "int_mid_BJD_TDB",
    "int_end_BJD_TDB",
)
INT_TIMES_DTYPE = np.dtype([("integration_number", "i4"), *((name, "f8") for name in _TIMES)])
"""Columns of INT_TIMES."""
STRIPE_TIMES_DTYPE = np.dtype(
    [
        ("integration_number", "i4"),
        ("stripe_number", "i4"),
        *((name, "f8") for name in _TIMES),
    ]
)
"""Columns of INT_TIMES_STRIPE."""


def product_int_times(segments: Sequence[Segment]) -> np.ndarray:
    """Return one table of integration times for all members of an observation.

    Each exposure has one row per integration. Detectors that took it together share the rows, and
    the times are those of the detector that comes first. Rows of further exposures follow those of
    the first. An integration of an exposure that no member covers, or whose member has no table,
    has its number and NaN times. Where no member of an exposure has a table, the rows are all
    zero, as the ``jwst`` pipeline writes them.

    Parameters
    ----------
    segments : sequence of Segment
        Members in association order.

    Returns
    -------
    ndarray
        Structured (integration,), with `INT_TIMES_DTYPE`.
    """
    return np.concatenate([_exposure_table(members) for members in _exposures(segments)])


def product_stripe_times(segments: Sequence[Segment]) -> np.ndarray | None:
    """Return one table of the times of stripes for all members of an observation.

    Where an integration was put together from stripes that were read one after the other, each
    has a row: integrations x stripes rows per exposure, laid out as those of `product_int_times`.

    Parameters
    ----------
    segments : sequence of Segment
        Members in association order.

    Returns
    -------
    ndarray or None
        Structured (row,), with `STRIPE_TIMES_DTYPE`; None if no member has such a table.
    """
    if all(_no_rows(segment.int_times_stripe) for segment in segments):
        return None
    return np.concatenate([_stripe_table(members) for members in _exposures(segments)])


def _exposures(segments: Sequence[Segment]) -> list[list[Segment]]:
    """Return the members of each exposure, those of its first detector."""
    from tso3dask.io.observation import exposure_name

    exposures: dict[str, dict[str, list[Segment]]] = {}
    for segment in segments:
        name = exposure_name(segment)
        detector = segment.detector.lower()
        shared = name[: -len(detector)] if detector and name.lower().endswith(detector) else name
        exposures.setdefault(shared, {}).setdefault(detector, []).append(segment)
    return [next(iter(detectors.values())) for detectors in exposures.values()]


def _no_rows(table: np.ndarray | None) -> bool:
    return table is None or len(table) == 0


def _stripe_table(segments: Sequence[Segment]) -> np.ndarray:
    """Return the rows of one exposure."""
    tables = [segment.int_times_stripe for segment in segments]
    filled = [table for table in tables if table is not None and len(table)]
    stripes = max((int(table["stripe_number"].max()) for table in filled), default=0)
    numbers = np.repeat(_exposure_numbers(segments), stripes)
    out = np.zeros(len(numbers), STRIPE_TIMES_DTYPE)
    out["integration_number"] = numbers
    out["stripe_number"] = np.arange(len(numbers)) % max(stripes, 1) + 1
    for name in _TIMES:
        out[name] = np.nan
    for segment, source in zip(segments, tables, strict=True):
        if source is None or len(source) == 0:
            continue
        given = source["integration_number"].astype(np.int64)
        if len(given) == segment.nints * stripes and given[0] != segment.int_start:
            given = segment.int_start + np.arange(len(given)) // stripes
        place = np.searchsorted(numbers, given) + source["stripe_number"] - 1
        known = place < len(numbers)
        known[known] = numbers[place[known]] == given[known]
        for name in _TIMES:
            out[name][place[known]] = source[name][known]
    return out


def integration_numbers(table: np.ndarray, segment: Segment) -> np.ndarray:
    """Return the integration numbers of a member's INT_TIMES table, counted without a break.

    Numbers that start again in the middle (they are kept in 16 bits on their way) are unwrapped;
    a table of the member's own rows starts at INTSTART.
    """
    count = len(table)
    numbers = table["integration_number"].astype(np.int64)
    if count and np.any(np.diff(numbers) < 0):
        numbers = numbers[0] + np.arange(count)
    if count == segment.nints and count and numbers[0] != segment.int_start:
        numbers = segment.int_start + np.arange(count)
    return numbers


def _exposure_numbers(segments: Sequence[Segment]) -> np.ndarray:
    """Return the integration numbers of an exposure: all of them, if their number is known."""
    covered = [(s.int_start, s.int_end) for s in segments]
    last = max(end for _, end in covered)
    nints = int(segments[0].get("NINTS", 0) or 0)
    if nints >= last:
        return np.arange(1, nints + 1)
    return np.unique(np.concatenate([np.arange(a, b + 1) for a, b in covered]))


def _exposure_table(segments: Sequence[Segment]) -> np.ndarray:
    numbers = _exposure_numbers(segments)
    table = np.zeros(len(numbers), INT_TIMES_DTYPE)
    if all(s.int_times is None or len(s.int_times) == 0 for s in segments):
        return table
    table["integration_number"] = numbers
    for name in _TIMES:
        table[name] = np.nan
    for segment in segments:
        source = segment.int_times
        if source is None or len(source) == 0:
            continue
        given = integration_numbers(source, segment)
        place = np.searchsorted(numbers, given)
        known = place < len(numbers)
        known[known] = numbers[place[known]] == given[known]
        for name in _TIMES:
            if name in (source.dtype.names or ()):
                table[name][place[known]] = source[name][known]
    return table
