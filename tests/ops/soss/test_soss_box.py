"""Box sums, errors and replaced pixels against sums written out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tso3dask.ops.soss.box import (
    box_weights,
    extract_box,
    nearest_value_errors,
    order_weights,
    replace_with_model,
)
from tso3dask.ops.soss.traces import OrderTrace


def trace(order, rows, columns=12):
    return OrderTrace(
        order=order,
        column_wavelength=np.linspace(2, 1, columns),
        columns=np.arange(len(rows)),
        rows=np.asarray(rows, dtype=float),
        wavelength=np.linspace(2, 1, len(rows)),
        short_cutoff=None,
    )


@given(
    centre=st.floats(20, 40, allow_nan=False),
    width=st.floats(1.0, 25.0, allow_nan=False),
)
@settings(max_examples=60, deadline=None)
def test_weights_are_overlaps_of_pixels_and_box(centre, width):
    weights = box_weights([centre], width, (64, 3), [1])
    rows = np.arange(64)
    overlap = np.minimum(rows + 0.5, centre + width / 2) - np.maximum(
        rows - 0.5, centre - width / 2
    )
    np.testing.assert_allclose(weights[:, 1], np.clip(overlap, 0, 1), atol=1e-12)
    assert not weights[:, [0, 2]].any()
    assert weights.sum() == pytest.approx(width)


def test_boxes_are_cut_at_the_edge_of_the_array():
    weights = box_weights([1.0], 6.0, (10, 1), [0])
    np.testing.assert_allclose(weights[:, 0], [1, 1, 1, 1, 0.5, 0, 0, 0, 0, 0])


def test_second_order_of_substrip96_takes_the_whole_array():
    traces = [trace(1, [5.0] * 12), trace(2, [8.0] * 7)]
    assert np.all(order_weights(traces, 4.0, (96, 12), "SUBSTRIP96")[2] == 1)
    wide = order_weights(traces, 4.0, (256, 12), "SUBSTRIP256")
    assert wide[2].sum() == pytest.approx(4 * 7)
    assert wide[1].sum() == pytest.approx(4 * 12)


def plain(data, error, mask, weights):
    """Sum one integration, numpy only."""
    used = ~mask & np.isfinite(data) & np.isfinite(error) & (error > 0) & (weights > 0)
    w = np.where(used, weights, 0.0)
    npixels = w.sum(axis=0)
    flux = np.sum(np.where(used, w * np.nan_to_num(data), 0), axis=0)
    variance = np.sum(np.where(used, w * np.where(used, error, 0).astype(float) ** 2, 0), axis=0)
    none = npixels == 0
    return np.where(none, np.nan, flux), np.where(none, np.nan, np.sqrt(variance)), npixels


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sums_are_weighted_and_heed_masks(dtype):
    rng = np.random.default_rng(4)
    data = rng.normal(5, 1, (3, 30, 20)).astype(dtype)
    error = rng.uniform(0.5, 1, data.shape).astype(dtype)
    data[0, 10, 3] = np.nan
    error[1, 11, 4] = np.inf
    error[1, 12, 5] = 0.0
    mask = rng.random((30, 20)) < 0.1
    mask[:, 7] = True
    weights = box_weights(np.linspace(8, 18, 20), 9.3, (30, 20), np.arange(20))
    spectra = extract_box(data, error, mask, weights)
    for i in range(3):
        for made, expected in zip(spectra, plain(data[i], error[i], mask, weights), strict=True):
            np.testing.assert_allclose(made[i], expected, rtol=1e-12)
    assert np.isnan(spectra.flux[:, 7]).all() and np.all(spectra.npixels[:, 7] == 0)
    part = extract_box(data, error, mask, weights, columns=6)
    for made, whole in zip(part, spectra, strict=True):
        np.testing.assert_array_equal(made, whole[:, :6])


def test_integrations_do_not_see_each_other():
    rng = np.random.default_rng(5)
    data = rng.normal(5, 1, (4, 20, 10))
    error = np.ones_like(data)
    weights = box_weights(np.full(10, 9.0), 8.0, (20, 10), np.arange(10))
    mask = np.zeros((20, 10), bool)
    alone = extract_box(data[2:3], error[2:3], mask, weights)
    data[1] = np.nan
    together = extract_box(data, error, mask, weights)
    np.testing.assert_array_equal(together.flux[2], alone.flux[0])
    assert np.isnan(together.flux[1]).all()
    assert not mask.any()


def test_nothing_to_sum():
    nothing = extract_box(
        np.ones((2, 4, 3)), np.ones((2, 4, 3)), np.ones((4, 3), bool), np.ones((4, 3))
    )
    assert np.isnan(nothing.flux).all() and not nothing.npixels.any()


def test_errors_come_from_the_nearest_value():
    data = np.array([[1.0, 2.0, 3.0, 2.9]])
    error = np.array([[0.1, 0.2, 0.3, np.nan]])
    wanted = np.array([[False, False, False, True]])
    found = nearest_value_errors(error, data, wanted, ~wanted)
    assert found[0, 3] == 0.3
    assert np.isnan(error[0, 3])
    assert np.isnan(nearest_value_errors(error, data, wanted, np.zeros_like(wanted))[0, 3])


def test_a_model_takes_the_place_of_masked_pixels():
    data = np.array([[1.0, np.nan, np.nan], [5.0, 6.0, 7.0]])
    error = np.full((2, 3), 0.5)
    error[1] = 0.7
    mask = ~np.isfinite(data)
    model = np.array([[1.0, 5.9, np.nan], [5.0, 6.0, 7.0]])
    filled, errors, left = replace_with_model(data, error, mask, np.ones((2, 3)), model)
    assert filled[0, 1] == 5.9 and np.isnan(filled[0, 2])
    assert errors[0, 1] == 0.7
    np.testing.assert_array_equal(left, [[False, False, True], [False] * 3])
    assert filled[0, 0] == 1.0
