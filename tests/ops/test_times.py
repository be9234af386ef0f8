"""Matching of integration times."""

from __future__ import annotations

import numpy as np
import pytest

from tso3dask.ops.times import TIME_COLUMNS, match_int_times

DTYPE = [("integration_number", "i4"), *((name, "f8") for name in TIME_COLUMNS.values())]


def table(numbers):
    rows = np.zeros(len(numbers), DTYPE)
    rows["integration_number"] = numbers
    for k, name in enumerate(TIME_COLUMNS.values()):
        rows[name] = 59000 + 0.1 * k + np.arange(len(numbers))
    return rows


def test_whole_exposure_and_own_rows():
    whole = match_int_times(table(range(1, 31)), 11, 15, 5, 30)
    assert whole.int_num.tolist() == [11, 12, 13, 14, 15]
    assert whole.times["mjd_beg"].tolist() == [59010, 59011, 59012, 59013, 59014]
    assert whole.matched and whole.notes == ()
    own = match_int_times(table(range(11, 16)), 11, 15, 5, 30)
    assert own.int_num.tolist() == [11, 12, 13, 14, 15]
    assert own.times["mjd_beg"][0] == 59000 and own.times["tdb_end"][0] == 59000.5
    assert list(own.columns()) == ["int_num", *TIME_COLUMNS]


@pytest.mark.parametrize("rows", [None, table([])])
def test_no_table(rows):
    found = match_int_times(rows, 11, 15, 5)
    assert found.int_num.tolist() == [1, 2, 3, 4, 5] and not found.matched
    assert all(np.isnan(values).all() for values in found.times.values())
    assert len(found.notes) == 1


def test_a_table_that_does_not_reach():
    for start, rows in ((11, range(1, 13)), (1, range(3, 30)), (40, range(1, 31))):
        found = match_int_times(table(rows), start, start + 4, 5)
        assert not found.matched and found.int_num.tolist() == [1, 2, 3, 4, 5]
        assert "covers" in found.notes[0]


def test_start_not_given():
    found = match_int_times(table(range(1, 6)), None, None, 5)
    assert found.int_num.tolist() == [1, 2, 3, 4, 5] and "INTSTART" in found.notes[0]


@pytest.mark.parametrize("after", [-32768, 0, 1])
def test_roll_over_within_the_table(after):
    numbers = [32765, 32766, 32767, *range(after, after + 4)]
    found = match_int_times(table(numbers), 32765, 32771, 7)
    assert found.int_num.tolist() == list(range(32765, 32772))
    assert "roll over" in found.notes[0]
    whole = [*range(1, 32768), *range(after, after + 40)]
    found = match_int_times(table(whole), 32780, 32789, 10)
    assert found.int_num.tolist() == list(range(32780, 32790))
    assert found.times["mjd_beg"][0] == 59000 + 32779


@pytest.mark.parametrize("period", [65536, 32768, 32767])
def test_roll_over_before_the_table(period):
    numbers = np.arange(40000, 40005) - period
    found = match_int_times(table(numbers), 40000, 40004, 5)
    assert found.int_num.tolist() == list(range(40000, 40005)) and found.matched


def test_rows_out_of_order_are_found_by_number():
    found = match_int_times(table([3, 1, 2, 5, 4]), 2, 4, 3)
    assert found.int_num.tolist() == [2, 3, 4]
    assert found.times["mjd_beg"].tolist() == [59002, 59000, 59004]
    assert "by number" in found.notes[0]


def test_repeated_numbers_keep_the_order():
    found = match_int_times(table([1, 2, 2, 4, 5]), 1, 5, 5)
    assert found.int_num.tolist() == [1, 2, 2, 4, 5]
    assert found.times["mjd_beg"].tolist() == [59000, 59001, 59002, 59003, 59004]
    assert "repeat" in found.notes[0]


def test_zero_barycentric_times_are_unknown():
    rows = table(range(1, 6))
    for name in TIME_COLUMNS.values():
        if "BJD" in name:
            rows[name] = 0
    found = match_int_times(rows, 1, 5, 5)
    assert np.isnan(found.times["tdb_mid"]).all() and np.isfinite(found.times["mjd_avg"]).all()
    assert len(found.notes) == 1 and "barycentric" in found.notes[0]


def test_numbers_that_do_not_fit_are_told():
    found = match_int_times(table(range(1, 11)), 3, 9, 5, 6)
    assert found.int_num.tolist() == [3, 4, 5, 6, 7]
    assert "INTEND" in found.notes[0] and "NINTS" in found.notes[1]
    assert np.isnan(
        match_int_times(table([1, 2])[["integration_number"]], 1, 2, 2).times["mjd_avg"]
    ).all()
