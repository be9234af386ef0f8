from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np

from tso3dask.io.int_times import INT_TIMES_DTYPE, integration_numbers, product_int_times


def times(numbers, shift=0.0):
    table = np.zeros(len(numbers), INT_TIMES_DTYPE)
    table["integration_number"] = numbers
    for i, name in enumerate(INT_TIMES_DTYPE.names[1:]):
        table[name] = 59000 + shift + np.asarray(numbers) + 0.1 * i
    return table


def member(start, nints, table, detector="NRS1", exposure=1, total=10, seg=1):
    name = f"jw1_1_0000{exposure}-seg00{seg}_{detector.lower()}_calints.fits"
    return SimpleNamespace(
        path=Path(name),
        detector=detector,
        int_start=start,
        int_end=start + nints - 1,
        nints=nints,
        int_times=table,
        get=lambda key, default=None: {"NINTS": total}.get(key, default),
    )


def test_segments_fill_one_table():
    first, second = times(range(1, 5)), times(range(5, 11))
    table = product_int_times([member(5, 6, second, seg=2), member(1, 4, first)])
    np.testing.assert_array_equal(table, times(range(1, 11)))


def test_a_table_of_the_whole_exposure_in_each_segment():
    whole = times(range(1, 11))
    table = product_int_times([member(1, 4, whole), member(5, 6, whole, seg=2)])
    np.testing.assert_array_equal(table, whole)


def test_the_first_detector_gives_the_times():
    one, two = times(range(1, 11)), times(range(1, 11), shift=0.5)
    table = product_int_times([member(1, 10, one), member(1, 10, two, "NRS2")])
    np.testing.assert_array_equal(table, one)
    table = product_int_times([member(1, 10, two, "NRS2"), member(1, 10, one)])
    np.testing.assert_array_equal(table, two)


def test_further_exposures_are_appended():
    one, two = times(range(1, 11)), times(range(1, 13), shift=100)
    table = product_int_times([member(1, 10, one), member(1, 12, two, exposure=2, total=12)])
    np.testing.assert_array_equal(table, np.concatenate([one, two]))


def test_what_no_member_covers_is_nan():
    table = product_int_times([member(5, 4, times(range(5, 9)))])
    np.testing.assert_array_equal(table["integration_number"], np.arange(1, 11))
    mid = table["int_mid_MJD_UTC"]
    np.testing.assert_array_equal(
        np.isfinite(mid), (np.arange(1, 11) >= 5) & (np.arange(1, 11) < 9)
    )


def test_without_times():
    empty = times([])
    for nothing in (None, empty):
        table = product_int_times([member(1847, 4, nothing, total=4)])
        np.testing.assert_array_equal(table, np.zeros(4, table.dtype))


def test_numbers_that_roll_over_go_on():
    rolled = times([32766, 32767, -32768, -32767])
    np.testing.assert_array_equal(
        integration_numbers(rolled, member(32766, 4, rolled)), 32766 + np.arange(4)
    )
    later = times([-32766, -32765])
    np.testing.assert_array_equal(
        integration_numbers(later, member(32770, 2, later)), [32770, 32771]
    )
    table = product_int_times(
        [member(32766, 4, rolled, total=32771), member(32770, 2, later, total=32771, seg=2)]
    )
    assert len(table) == 32771
    np.testing.assert_array_equal(table["int_mid_MJD_UTC"][32765:32769], rolled["int_mid_MJD_UTC"])
    np.testing.assert_array_equal(table["int_mid_MJD_UTC"][32769:], later["int_mid_MJD_UTC"])
