"""Times of integrations, matched from the INT_TIMES table of a segment."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["TIME_COLUMNS", "IntegrationTimes", "match_int_times"]

TIME_COLUMNS = {
    "mjd_beg": "int_start_MJD_UTC",
    "mjd_avg": "int_mid_MJD_UTC",
    "mjd_end": "int_end_MJD_UTC",
    "tdb_beg": "int_start_BJD_TDB",
    "tdb_mid": "int_mid_BJD_TDB",
    "tdb_end": "int_end_BJD_TDB",
}
"""Our names and the columns of INT_TIMES."""

ROLL_OVER = 32767


@dataclass(frozen=True, eq=False)
class IntegrationTimes:
    """Numbers and times of a segment's integrations.

    Attributes
    ----------
    int_num : ndarray
        Number ``(integration,)`` in the exposure, 1-based, int32; 1, 2, ... in the segment
        when the table cannot be used.
    times : dict of ndarray
        The six columns of `TIME_COLUMNS`, ``(integration,)`` float64 days, NaN if unknown.
    matched : bool
        Whether the table was used.
    notes : tuple of str
        Warnings.
    """

    int_num: NDArray[np.int32]
    times: dict[str, NDArray[np.float64]]
    matched: bool
    notes: tuple[str, ...] = ()

    def columns(self) -> dict[str, NDArray[np.generic]]:
        """Numbers and times in one dict, ``int_num`` first."""
        return {"int_num": self.int_num, **self.times}


def match_int_times(
    int_times: NDArray[np.void] | None,
    int_start: int | None,
    int_end: int | None,
    nints_in_segment: int,
    nints_total: int | None = None,
) -> IntegrationTimes:
    """Find the rows of INT_TIMES that belong to a segment.

    The table holds the segment's own rows or those of the whole exposure; the number in its
    first row and INTSTART tell which.

    Parameters
    ----------
    int_times : structured array or None
        Table with ``integration_number`` and the columns of `TIME_COLUMNS`.
    int_start, int_end : int or None
        INTSTART and INTEND, 1-based; without the first 1 is assumed.
    nints_in_segment : int
        Integrations in the segment.
    nints_total : int, optional
        NINTS of the exposure, for a sanity check only.

    Returns
    -------
    IntegrationTimes
        One value per integration.
    """
    notes: list[str] = []
    count = int(nints_in_segment)
    if int_times is None or len(int_times) == 0:
        what = "is absent" if int_times is None else "has no rows"
        return _unknown(count, [f"the INT_TIMES table {what}: times are NaN"])
    if int_start is None:
        int_start = 1
        notes.append("INTSTART is not given; 1 is assumed")
    last = int_start + count - 1
    if int_end is not None and int_end != last:
        notes.append(f"INTSTART {int_start} and INTEND {int_end} do not fit {count} integrations")
    if nints_total is not None and last > nints_total:
        notes.append(f"integrations go up to {last}, but NINTS is {nints_total}")

    raw = np.asarray(int_times["integration_number"]).astype(np.int64)
    numbers, rolled = _unwrap(raw, int_start, count)
    if rolled:
        notes.append(
            f"integration numbers of INT_TIMES roll over at {ROLL_OVER}: they are continued "
            f"from INTSTART {int_start}"
        )
    expected = np.arange(int_start, int_start + count)
    offset = int_start - numbers[0]
    covered = offset >= 0 and last <= numbers[-1] and offset + count <= len(numbers)
    rows = np.arange(count) + offset
    if not covered or not np.array_equal(numbers[rows], expected):
        found = _look_up(numbers, expected)
        if found is not None:
            rows = found
            notes.append("the rows of INT_TIMES are not in order: they are matched by number")
        elif not covered:
            notes.append(
                f"INT_TIMES covers integrations {raw[0]} to {raw[-1]}, not all of {int_start} "
                f"to {last}: times are NaN"
            )
            return _unknown(count, notes)
        else:
            notes.append(
                "the integration numbers of INT_TIMES have gaps or repeat: rows are taken in order"
            )
    times = {ours: _column(int_times, name, rows, notes) for ours, name in TIME_COLUMNS.items()}
    if any("BJD" in note for note in notes):
        notes = [note for note in notes if "BJD" not in note]
        notes.append("barycentric times of INT_TIMES are all zero: they are NaN")
    if np.isnan(times["mjd_avg"]).all():
        notes.append("the mid times (UTC) of INT_TIMES are all NaN")
    return IntegrationTimes(numbers[rows].astype(np.int32), times, True, tuple(notes))


def _unknown(count: int, notes: list[str]) -> IntegrationTimes:
    times = {name: np.full(count, np.nan) for name in TIME_COLUMNS}
    return IntegrationTimes(np.arange(1, count + 1, dtype=np.int32), times, False, tuple(notes))


def _unwrap(
    numbers: NDArray[np.int64], int_start: int, count: int
) -> tuple[NDArray[np.int64], bool]:
    """Undo a roll-over of 16-bit integration numbers."""
    steps = np.diff(numbers)
    falls = steps < 0
    first = numbers[0]
    own_rows = len(numbers) == count and first != int_start
    wrapped_start = own_rows and any(
        (int_start - first) % period == 0 for period in (65536, 32768, ROLL_OVER)
    )
    in_one_piece = bool((falls | (steps == 1)).all())
    at_limit = bool((numbers[:-1][falls] == ROLL_OVER).all())
    if in_one_piece and at_limit and (falls.any() or wrapped_start):
        base = int_start if wrapped_start else first
        return base + np.arange(len(numbers)), True
    return numbers, False


def _look_up(numbers: NDArray[np.int64], expected: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """Row of each expected number, if each is there exactly once."""
    order = np.argsort(numbers, kind="stable")
    left = np.searchsorted(numbers, expected, sorter=order, side="left")
    right = np.searchsorted(numbers, expected, sorter=order, side="right")
    if np.any(right - left != 1):
        return None
    return order[left]


def _column(
    int_times: NDArray[np.void], name: str, rows: NDArray[np.int64], notes: list[str]
) -> NDArray[np.float64]:
    names = int_times.dtype.names or ()
    if name not in names:
        notes.append(f"INT_TIMES has no column {name}: it is NaN")
        return np.full(len(rows), np.nan)
    values = np.asarray(int_times[name])[rows].astype(np.float64)
    if "BJD" in name and len(values) and not values.any():
        notes.append(f"{name} is all zero (BJD)")
        return np.full(len(rows), np.nan)
    return values
