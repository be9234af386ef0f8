"""Traces and wavelengths: analytic references, the simulated optics, and a real frame."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tso3dask.errors import InputError
from tso3dask.io.soss_references import OrderTraceReference, PastasossReference
from tso3dask.ops.soss.traces import (
    crop_profile,
    extraction_subarray,
    find_traces,
    follow_trace,
    rotate_trace,
    select_orders,
    trace_wavelengths,
    wavelengths_of_columns,
)

REAL = next(
    (
        folder / "shared" / "data" / "niriss_soss"
        for folder in Path(__file__).resolve().parents
        if (folder / "shared" / "data" / "niriss_soss").is_dir()
    ),
    None,
)


def order(number=1, **changes):
    """Give a straight trace that rises by 0.02 rows per column, 2.8 to 0.8 um."""
    x = np.arange(400.0)
    item = OrderTraceReference(
        order=number,
        x=x,
        y=40 + 0.02 * x,
        pivot=(200.0, 44.0),
        cutoff=390,
        short_cutoff=None,
        coefficients=np.array([2.8, -2.0, 0.01]),
        scale_extents=np.array([[0.0, 0.0], [400.0, 0.1]]),
    )
    return replace(item, **changes)


def reference(*orders, **changes):
    given = PastasossReference(
        path="traces.asdf",
        orders=orders or (order(1), order(2), order(3)),
        throughputs={},
        pwcpos_commanded=245.76,
        pwcpos_bounds=(245.5, 246.0),
        columns=400,
        rows=300,
        first_row=144,
        wavelength_grid=(0.5, 5.5, 5001),
        order2_separation_cutoff=(0.77, 0.95),
    )
    return replace(given, **changes)


def test_a_straight_trace_turns_about_its_pivot():
    x = np.arange(0.0, 400.0)
    turned_x, turned_y = rotate_trace(x, 40 + 0.02 * x, 0.5, (200.0, 44.0))
    np.testing.assert_array_equal(turned_x, x)
    slope = np.tan(np.arctan(0.02) + np.radians(0.5))
    np.testing.assert_allclose(turned_y, 44 + slope * (x - 200), atol=1e-11)


def test_rows_above_the_array_are_dropped():
    x = np.arange(0.0, 400.0)
    turned_x, turned_y = rotate_trace(x, x, 0.0, (0.0, 0.0))
    assert turned_x[-1] == 255 and turned_y[-1] == 255


def test_wavelengths_are_the_polynomial_in_scaled_variables():
    x = np.linspace(0, 400, 7)
    coefficients = np.arange(1.0, 11.0)
    extents = np.array([[10.0, -0.1], [390.0, 0.2]])
    s, t = (x - 10) / 380, (0.05 + 0.1) / 0.3
    terms = [s**0, s, t, s**2, s * t, t**2, s**3, s**2 * t, s * t**2, t**3]
    expected = sum(c * term for c, term in zip(coefficients, terms, strict=True))
    np.testing.assert_allclose(trace_wavelengths(x, 0.05, coefficients, extents), expected)


def test_traces_go_on_in_straight_lines():
    wavelength = np.array([3.0, 2.0, 1.0])
    values = np.array([0.0, 10.0, 30.0])
    grid = np.array([0.5, 1.0, 1.5, 2.5, 4.0])
    np.testing.assert_allclose(
        follow_trace(grid, wavelength, values), [40.0, 30.0, 20.0, 5.0, -10.0]
    )


def test_wavelengths_of_columns_invert_columns_of_wavelengths():
    grid = np.linspace(0.5, 5.5, 5001)
    columns = 2500 - 1000 * grid + 20 * grid**2
    waves = wavelengths_of_columns(2100, columns, grid)
    x = np.arange(2100.0)
    ok = np.isfinite(waves)
    np.testing.assert_allclose(np.interp(waves[ok], grid, columns), x[ok], atol=1e-6)
    assert not ok[-1] and ok[0]


def test_found_trace_is_that_of_the_reference_where_the_wheel_is_as_commanded():
    trace = find_traces(reference(), 245.76, "SUBSTRIP256", (1,), 400)[0]
    assert trace.columns.size == 390
    np.testing.assert_allclose(trace.rows, 40 + 0.02 * trace.columns, atol=1e-9)
    np.testing.assert_allclose(trace.wavelength, 2.8 - 2 * trace.columns / 400, atol=1e-9)
    np.testing.assert_allclose(trace.column_wavelength, 2.8 - 2 * np.arange(400) / 400, atol=1e-9)
    assert trace.wavelength_map(5).shape == (5, 400)
    centre = trace.centre_wavelength()
    assert np.all(centre[390:] == 0) and centre[0] == pytest.approx(2.8)


def test_substrip96_begins_ten_rows_higher():
    wide = find_traces(reference(), 245.76, "SUBSTRIP256", (1,), 400)[0]
    narrow = find_traces(reference(), 245.76, "SUBSTRIP96", (1,), 400)[0]
    np.testing.assert_allclose(wide.rows - narrow.rows, 10)


def test_simulated_observations_are_found(made):
    from tso3dask.io.soss_references import read_pastasoss
    from tso3dask.simulation.soss import SossOptics

    simulated = made(
        "nis_soss", nints=1, segments=1, subarray="SUBSTRIP256", shape=(256, 512), background=0.0
    )
    given = read_pastasoss(str(simulated.references["pastasoss"]))
    optics = SossOptics((256, 512), 245.778671)
    for trace in find_traces(given, 245.778671, "SUBSTRIP256", (1, 2, 3), 512):
        x = trace.columns
        np.testing.assert_allclose(trace.rows, optics.centre(trace.order, x), atol=1e-2)
        np.testing.assert_allclose(trace.wavelength, optics.wavelength(trace.order, x), atol=1e-6)


def test_what_cannot_be_found_is_said():
    with pytest.raises(InputError, match="no position of the pupil wheel"):
        find_traces(reference(), None, "SUBSTRIP256", (1,), 400)
    with pytest.raises(InputError, match=r"247.0 degrees is outside .*245.5 to 246"):
        find_traces(reference(), 247.0, "SUBSTRIP256", (1,), 400)
    with pytest.raises(InputError, match="for 400 columns, the data have 2048"):
        find_traces(reference(), 245.76, "SUBSTRIP256", (1,), 2048)
    with pytest.raises(InputError, match="cutoff 500 of order 1"):
        find_traces(reference(order(cutoff=500)), 245.76, "SUBSTRIP256", (1,), 400)
    with pytest.raises(InputError, match="order 1 misses the array"):
        find_traces(reference(order(y=np.full(400, 900.0))), 245.76, "SUBSTRIP256", (1,), 400)
    with pytest.raises(InputError, match="do not change steadily"):
        bent = order(coefficients=np.array([2.8, -2.0, 0.0, 3.0, 0.0, 0.0]))
        find_traces(reference(bent), 245.76, "SUBSTRIP256", (1,), 400)


def test_orders_depend_on_the_array_and_the_reference():
    assert select_orders(reference(), "SUBSTRIP256", True) == ((1, 2, 3), ())
    assert select_orders(reference(), "SUBSTRIP256", False) == ((1, 2), ())
    assert select_orders(reference(), "SUBSTRIP96", True) == ((1, 2), ())
    two = reference(order(1), order(2))
    assert select_orders(two, "SUBSTRIP256", True) == ((1, 2), (3,))
    with pytest.raises(InputError, match="has no order 2, but 1; give another"):
        select_orders(reference(order(1)), "SUBSTRIP256", True)


@pytest.mark.parametrize(
    ("subarray", "filter_name", "layout"),
    [
        ("SUBSTRIP96", "CLEAR", "SUBSTRIP96"),
        ("SUBSTRIP256", "CLEAR", "SUBSTRIP256"),
        ("SUB204STRIPE_SOSS", "CLEAR", "SUBSTRIP256"),
        ("FULL", "CLEAR", None),
        ("SUBSTRIP256", "F277W", None),
    ],
)
def test_some_exposures_have_no_spectra(subarray, filter_name, layout):
    found, reason = extraction_subarray(subarray, filter_name)
    assert found == layout
    assert bool(reason) == (layout is None)


def test_profiles_lose_their_padding():
    profile = np.arange(8 * 10.0).reshape(8, 10)
    np.testing.assert_array_equal(crop_profile(profile, (4, 8), "p", 1), profile[2:6, 1:9])
    assert crop_profile(profile, (8, 10), "p", 1).shape == (8, 10)
    for shape in ((9, 10), (7, 10)):
        with pytest.raises(InputError, match="profile of order 1 has 8 x 10 pixels"):
            crop_profile(profile, shape, "p", 1)


# --- a real frame --------------------------------------------------------------------------------


def real_reference():
    """Build a reference from the public reference traces."""
    orders = []
    for number, name in (
        (1, "jwst_niriss_gr700xd_order1_trace_refmodel.txt"),
        (2, "jwst_niriss_gr700xd_order2_trace_refmodel_002.txt"),
    ):
        table = np.loadtxt(REAL / name)
        suffix = "order1" if number == 1 else "order2_002"
        model = json.loads(
            (REAL / f"jwst_niriss_gr700xd_wavelength_model_{suffix}.json").read_text()
        )["model"]
        low, high = (np.array(model["scaler"][f"data_{end}_"]) for end in ("min", "max"))
        if low[1] > 100:
            low[1], high[1] = low[1] - 245.76, high[1] - 245.76
        orders.append(
            OrderTraceReference(
                order=number,
                x=table[1:, 0],
                y=table[1:, 1],
                pivot=(float(table[0, 0]), float(table[0, 1])),
                cutoff=2048 if number == 1 else 1783,
                short_cutoff=None,
                coefficients=np.array([model["intercept"], *model["coef"]]),
                scale_extents=np.array([low, high]),
            )
        )
    return replace(reference(*orders), columns=2048, first_row=1792)


def middle_of_light(column, guess, reach=22, smooth=5):
    """Give the point halfway between the outer edges of the light, at half of its level.

    The SOSS profile is a plateau with two horns, so that its edges say more than its centroid.
    """
    low, high = max(0, round(guess) - reach), min(column.size, round(guess) + reach + 1)
    part = np.convolve(column, np.ones(smooth) / smooth, mode="same")[low:high]
    part = part - min(part[0], part[-1])
    level = 0.5 * np.median(part[reach - 6 : reach + 7])
    lit = np.flatnonzero(part > level)
    a, b = lit[0], lit[-1]
    if a == 0 or b == part.size - 1:
        return np.nan
    left = a - (part[a] - level) / (part[a] - part[a - 1])
    right = b + (part[b] - level) / (part[b] - part[b + 1])
    return low + 0.5 * (left + right)


@pytest.mark.skipif(REAL is None, reason="no ../shared/data/niriss_soss: real SOSS frame absent")
def test_traces_lie_on_the_light_of_a_real_frame():
    frame = np.load(next(REAL.glob("*pwcpos_245.778671.npy"))).astype(float)
    for trace in find_traces(real_reference(), 245.778671, "SUBSTRIP256", (1, 2), 2048):
        columns = np.arange(20, 2030, 10) if trace.order == 1 else np.arange(1000, 1640, 10)
        miss = []
        for x in columns:
            column = np.median(frame[:, max(0, x - 2) : x + 3], axis=1)
            miss.append(middle_of_light(column, trace.rows[x]) - trace.rows[x])
        miss = np.array(miss)
        assert np.isfinite(miss).mean() > 0.9
        assert abs(np.nanmedian(miss)) < 0.5
        assert np.nanpercentile(np.abs(miss), 90) < 1.5
