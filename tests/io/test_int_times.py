from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np

from tso3dask.io.int_times import (
    INT_TIMES_DTYPE,
    STRIPE_TIMES_DTYPE,
    integration_numbers,
    product_int_times,
    product_stripe_times,
)


def times(numbers, shift=0.0):
    table = np.zeros(len(numbers), INT_TIMES_DTYPE)
    table["integration_number"] = numbers
    for i, name in enumerate(INT_TIMES_DTYPE.names[1:]):
        table[name] = 59000 + shift + np.asarray(numbers) + 0.1 * i
    return table


def member(start, nints, table, detector="NRS1", exposure=1, total=10, seg=1, stripes=None):
    name = f"jw1_1_0000{exposure}-seg00{seg}_{detector.lower()}_calints.fits"
    return SimpleNamespace(
        path=Path(name),
        detector=detector,
        int_start=start,
        int_end=start + nints - 1,
        nints=nints,
        int_times=table,
        int_times_stripe=stripes,
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


def stripe_times(numbers, stripes=3, shift=0.0):
    table = np.zeros(len(numbers) * stripes, STRIPE_TIMES_DTYPE)
    table["integration_number"] = np.repeat(numbers, stripes)
    table["stripe_number"] = np.tile(np.arange(stripes) + 1, len(numbers))
    for i, name in enumerate(STRIPE_TIMES_DTYPE.names[2:]):
        table[name] = shift + np.arange(len(table)) / stripes + 0.1 * i + min(numbers)
    return table


def test_stripes_have_a_row_each_in_every_integration():
    first, second = stripe_times(range(1, 5)), stripe_times(range(5, 11))
    members = [
        member(5, 6, times(range(5, 11)), seg=2, stripes=second),
        member(1, 4, times(range(1, 5)), stripes=first),
    ]
    table = product_stripe_times(members)
    np.testing.assert_array_equal(table, np.concatenate([first, second]))


def test_stripes_of_uncovered_integrations_and_further_exposures():
    one, two = stripe_times(range(3, 6)), stripe_times(range(1, 4), shift=9)
    members = [
        member(3, 3, times(range(3, 6)), total=6, stripes=one),
        member(1, 3, times(range(1, 4)), exposure=2, total=3, stripes=two),
    ]
    table = product_stripe_times(members)
    assert len(table) == 6 * 3 + 3 * 3
    np.testing.assert_array_equal(table["integration_number"][:18], np.repeat(range(1, 7), 3))
    np.testing.assert_array_equal(table["stripe_number"][:6], [1, 2, 3, 1, 2, 3])
    assert np.isnan(table["int_mid_MJD_UTC"][:6]).all()
    np.testing.assert_array_equal(table[6:15], one)
    assert np.isnan(table["int_mid_MJD_UTC"][15:18]).all()
    np.testing.assert_array_equal(table[18:], two)


def test_no_stripes_no_table():
    assert product_stripe_times([member(1, 4, times(range(1, 5)))]) is None
