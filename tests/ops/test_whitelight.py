"""White light: sums and the order of rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tso3dask.errors import InputError
from tso3dask.ops.whitelight import (
    repeated_times,
    wavelength_range,
    white_light_columns,
    white_light_meta,
    white_light_sums,
)

NAN = np.nan


def spectrum(times, start=0.0, **more):
    times = np.asarray(times, dtype=float)
    return {
        "mid_utc": times,
        "mid_tdb": times + 0.5,
        "flux_sum": start + np.arange(len(times), dtype=float),
        "order": 1,
        "detector": "MIRIMAGE",
        "unit": "Jy",
    } | more


def same(values, expected):
    np.testing.assert_array_equal(values, np.asarray(expected, dtype=float))


def test_sums_over_a_range():
    wavelength = np.array([1.0, 2.0, 3.0, 4.0])
    flux = np.array([[1.0, 2.0, 4.0, 8.0], [NAN, 2.0, NAN, 8.0], [NAN] * 4, [1, NAN, NAN, 1]])
    same(white_light_sums(flux, wavelength), [15, 10, NAN, 2])
    same(white_light_sums(flux, wavelength, 2.0, 3.0), [6, 2, NAN, NAN])
    same(white_light_sums(flux, np.broadcast_to(wavelength, flux.shape), 9, 10), [NAN] * 4)


def test_ranges():
    rows = [(1, "CLEAR", 0.9, 2.8), (2, "CLEAR", 0.6, 1.4), (1, "F277W", 2.4, 2.8)]
    assert wavelength_range(None, 1, "CLEAR") == (-1.0, 1e10)
    assert wavelength_range(rows, 2, "CLEAR") == (0.6, 1.4)
    assert wavelength_range(rows, 2, "CLEAR", 0.7, None) == (0.7, 1.4)
    with pytest.raises(InputError, match="0 rows for order 3"):
        wavelength_range(rows, 3, "CLEAR")


def test_repeats():
    assert repeated_times(np.array([1, 1, NAN, 2, 1, NAN])).tolist() == [
        False, True, False, False, True, False,
    ]  # fmt: skip


def test_members_are_put_in_time_order_with_their_fluxes():
    found = white_light_columns([spectrum([5, 6, 7], 10), spectrum([1, 2, 3], 20)])
    assert list(found.columns) == ["MJD_UTC", "BJD_TDB", "whitelight_flux"]
    same(found.columns["MJD_UTC"], [1, 2, 3, 5, 6, 7])
    same(found.columns["BJD_TDB"], [1.5, 2.5, 3.5, 5.5, 6.5, 7.5])
    same(found.columns["whitelight_flux"], [20, 21, 22, 10, 11, 12])
    assert found.units == {"whitelight_flux": "Jy"} and found.notes == ()
    assert found.member["MIRIMAGE"].tolist() == [1, 1, 1, 0, 0, 0]
    assert found.integration["MIRIMAGE"].tolist() == [0, 1, 2, 0, 1, 2]


def test_equal_times_of_two_members_stay():
    found = white_light_columns([spectrum([1, 2], 10), spectrum([2, 3], 20)])
    same(found.columns["MJD_UTC"], [1, 2, 2, 3])
    same(found.columns["whitelight_flux"], [10, 11, 20, 21])
    assert "same in two members" in found.notes[0]


def test_repeated_and_missing_times_within_a_member_have_no_row():
    found = white_light_columns([spectrum([1, 1, NAN, 2], 10)])
    same(found.columns["MJD_UTC"], [1, 2])
    same(found.columns["whitelight_flux"], [10, 13])
    assert "2 of 4" in found.notes[0]


def test_members_without_times_keep_their_rows_in_file_order():
    found = white_light_columns([spectrum([NAN, NAN], 10), spectrum([NAN], 20)])
    same(found.columns["whitelight_flux"], [10, 11, 20])
    same(found.columns["MJD_UTC"], [NAN] * 3)
    assert not found.notes  # the times themselves come with a note
    found = white_light_columns(
        [spectrum([1, 2], 10), spectrum([NAN, NAN], 20), spectrum([3, 4], 30)]
    )
    same(found.columns["MJD_UTC"], [1, 2, NAN, NAN, 3, 4])
    same(found.columns["whitelight_flux"], [10, 11, 20, 21, 30, 31])


def test_orders_side_by_side():
    times = [[1, 2], [3, 4]]
    spectra = [
        spectrum(times[0], 10, detector=None, order=1),
        spectrum(times[0], 20, detector=None, order=2),
        spectrum(times[1], 30, detector=None, order=1),
    ]
    found = white_light_columns(spectra)
    assert list(found.columns)[2:] == ["whitelight_flux_order_1", "whitelight_flux_order_2"]
    same(found.columns["whitelight_flux_order_1"], [10, 11, 30, 31])
    same(found.columns["whitelight_flux_order_2"], [20, 21, NAN, NAN])
    # with members named, an order that only the second member has lands there
    spectra = [
        spectrum(times[0], 10, order=1, member=0),
        spectrum(times[1], 30, order=1, member=1),
        spectrum(times[1], 40, order=2, member=1),
    ]
    found = white_light_columns(spectra)
    same(found.columns["whitelight_flux_order_2"], [NAN, NAN, 40, 41])


def test_detectors_in_columns_of_their_own():
    spectra = [
        spectrum([1, 2, 3], 10, detector="NRS1"),
        spectrum([1.1, 2.1], 20, detector="NRS2"),
    ]
    found = white_light_columns(spectra)
    assert list(found.columns) == [
        "MJD_UTC_NRS1", "BJD_TDB_NRS1", "whitelight_flux_NRS1",
        "MJD_UTC_NRS2", "BJD_TDB_NRS2", "whitelight_flux_NRS2",
    ]  # fmt: skip
    same(found.columns["MJD_UTC_NRS2"], [1.1, 2.1, NAN])
    same(found.columns["whitelight_flux_NRS2"], [20, 21, NAN])
    only = white_light_columns([spectrum([1], detector="NRS1")])
    assert next(iter(only.columns)) == "MJD_UTC_NRS1"


def test_contradictions_are_refused():
    with pytest.raises(InputError, match="two spectra"):
        white_light_columns([spectrum([1], member=0), spectrum([2], member=0)])
    with pytest.raises(InputError, match="different lengths"):
        white_light_columns([spectrum([1], member=0), spectrum([2, 3], member=0, order=2)])
    assert white_light_columns([]).columns == {}


def test_meta():
    meta = white_light_meta({"INSTRUME": "MIRI", "TARGNAME": "WASP-107"})
    assert list(meta) == ["instrument", "exp_type", "subarray", "filter", "pupil", "target_name"]
    assert meta["target_name"] == "WASP-107" and meta["pupil"] is None


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=5), st.randoms(use_true_random=False))
def test_order_of_members_does_not_matter(sizes, random):
    first = 0
    spectra = []
    for size in sizes:
        times = np.arange(first, first + size, dtype=float)
        spectra.append(spectrum(times, float(first)))
        first += size
    random.shuffle(spectra)
    found = white_light_columns(spectra)
    same(found.columns["MJD_UTC"], np.arange(first))
    same(found.columns["whitelight_flux"], np.arange(first))
