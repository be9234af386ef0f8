"""Flux calibration of SOSS spectra."""

from __future__ import annotations

import numpy as np
import pytest

from tso3dask.errors import InputError
from tso3dask.ops.soss.photom import conversion_factors, select_row, time_corrections

WAVES = np.array([[0.9, 1.0, 2.0, 0.0], [0.5, 0.7, 0.9, 1.1]], np.float32)
TABLE = {
    "filter": np.array(["CLEAR", "CLEAR"]),
    "pupil": np.array(["GR700XD", "gr700xd "]),
    "order": np.array([1, 2], np.int16),
    "photmj": np.array([2.0, 3.0], np.float32),
    "nelem": np.array([3, 4], np.int16),
    "wavelength": WAVES,
    "relresponse": np.array([[1, 2, 4, 0], [1, 1, 1, 1]], np.float32),
}


def test_rows_are_found_by_filter_pupil_and_order():
    assert select_row(TABLE, "clear", "GR700XD", 1) == 0
    assert select_row(TABLE, "CLEAR", "GR700XD", 2) == 1
    assert select_row(TABLE, "CLEAR", "GR700XD", 3) is None
    twice = {**TABLE, "order": np.array([1, 1])}
    with pytest.raises(InputError, match=r"2 rows for FILTER CLEAR, PUPIL GR700XD, order 1"):
        select_row(twice, "CLEAR", "GR700XD", 1)


def test_response_is_linear_between_wavelengths_and_zero_outside():
    factors = conversion_factors(TABLE, 0, np.array([2.5, 1.5, 1.0, 0.95, 0.8]))
    np.testing.assert_allclose(factors, [0, 6, 4, 3, 0], rtol=1e-6)
    halved = conversion_factors(TABLE, 0, np.array([1.5]), time_correction=0.5)
    assert halved[0] == pytest.approx(12)


def test_wavelengths_may_fall_and_be_in_meters():
    table = {
        **TABLE,
        "wavelength": WAVES[:, ::-1] * np.float32(1e-6),
        "relresponse": TABLE["relresponse"][:, ::-1],
        "nelem": np.array([4, 4]),
    }
    np.testing.assert_allclose(conversion_factors(table, 1, np.array([0.6, 1.0])), 3, rtol=1e-6)


def test_throughput_changes_with_time():
    t0 = np.array([59000.0, 59365.0], np.float32)
    linear = {"t0": t0, "lossperyear": np.array([0.1, 0.1], np.float32)}
    decay = {
        "t0": t0,
        "amplitude": np.array([0.2, 0.2], np.float32),
        "tau": np.array([365.0, 365.0], np.float32),
        "const": np.array([0.8, 0.8], np.float32),
    }
    power = {
        "t0": t0,
        "year1value": np.array([0.9, 0.9], np.float32),
        "tsoft": np.array([1.0, 1.0], np.float32),
        "alpha": np.array([-0.01, -0.01], np.float32),
    }
    np.testing.assert_allclose(time_corrections({"linear": linear}, 59365.0, 2), [0.9, 1.0])
    np.testing.assert_allclose(
        time_corrections({"exponential": decay}, 59365.0, 2), [0.8 + 0.2 / np.e, 1.0], rtol=1e-6
    )
    np.testing.assert_allclose(time_corrections({"powerlaw": power}, 59365.0, 2)[0], 0.9, rtol=1e-6)
    both = time_corrections({"linear": linear, "exponential": decay}, 59365.0, 2)
    np.testing.assert_allclose(both, [0.9 * (0.8 + 0.2 / np.e), 1.0], rtol=1e-6)
    np.testing.assert_array_equal(time_corrections({}, None, 2), 1)
    with pytest.raises(InputError, match="EXPMID"):
        time_corrections({"linear": linear}, None, 2)
