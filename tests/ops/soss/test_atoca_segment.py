"""Segments of a small synthetic detector: injected spectra come back, integrations are alone."""

from __future__ import annotations

import dataclasses
import pickle

import numpy as np
import pytest
import soss_scene

from tso3dask.ops.soss.box import extract_box
from tso3dask.ops.soss.engine import TooFewPixelsError
from tso3dask.ops.soss.model import AtocaParameters, prepare_segment, segment_masks

PARAMETERS = AtocaParameters(rtol=1e-2, max_grid_size=2000)


@pytest.fixture(scope="module")
def orders():
    return soss_scene.spectral_orders(soss_scene.references())


@pytest.fixture(scope="module")
def quiet(orders):
    return soss_scene.observation(orders, nints=3, noise=1e-4)


@pytest.fixture(scope="module")
def noisy(orders):
    return soss_scene.observation(orders, nints=21)


def prepared(orders, seen, **changes):
    parameters = dataclasses.replace(PARAMETERS, **changes)
    return prepare_segment(
        orders, seen.typical, seen.median_error, seen.bad, seen.reference, parameters
    )


@pytest.fixture(scope="module")
def model(orders, noisy):
    return prepared(orders, noisy)


def own_light(order, seen):
    """What the aperture would hold of its own order alone."""
    image = np.broadcast_to(seen.parts[order.order], seen.data.shape)
    return extract_box(image, np.ones(seen.data.shape), seen.bad | seen.reference, order.aperture)


def test_injected_spectra_come_back(orders, quiet):
    found = prepared(orders, quiet).solve(quiet.data, quiet.error)
    for order in orders:
        truth = own_light(order, quiet).flux
        everything = np.broadcast_to(sum(quiet.parts.values()), quiet.data.shape)
        bad = quiet.bad | quiet.reference
        mixed = extract_box(everything, np.ones(everything.shape), bad, order.aperture).flux
        cut = (0, slice(6, soss_scene.CUTOFFS[order.order] - 6))
        wrong = np.abs(mixed - truth)[cut].max()
        left = np.abs(found.flux[order.order] - truth)[cut]
        if order.order < 3:
            assert wrong > 100
        assert np.nanmax(left) < 0.02 * wrong + 1e-3 * np.nanmax(truth)
    assert found.notes == []


def test_errors_and_npixels_are_those_of_the_box(orders, noisy, model):
    found = model.solve(noisy.data, noisy.error)
    for order in orders:
        box = extract_box(noisy.data, noisy.error, model.bad, order.aperture)
        np.testing.assert_allclose(found.flux_error[order.order], box.flux_error, rtol=1e-12)
        np.testing.assert_allclose(found.npixels[order.order], box.npixels)


def test_blocks_and_pickles_make_no_difference(noisy, model):
    whole = model.solve(noisy.data, noisy.error)
    again = pickle.loads(pickle.dumps(model))
    for begin, end in ((0, 1), (1, 18), (18, 21)):
        part = again.solve(noisy.data[begin:end], noisy.error[begin:end])
        for order in whole.flux:
            np.testing.assert_array_equal(part.flux[order], whole.flux[order][begin:end])
            np.testing.assert_array_equal(
                part.flux_error[order], whole.flux_error[order][begin:end]
            )


def test_images_give_the_same_as_sums(noisy, model):
    sums = model.solve(noisy.data[:3], noisy.error[:3])
    by_image = model.solve(noisy.data[:3], noisy.error[:3], models=True)
    assert set(by_image.models) == {1, 2, 3}
    for order in sums.flux:
        np.testing.assert_allclose(by_image.flux[order], sums.flux[order], rtol=1e-9, atol=1e-7)
        np.testing.assert_allclose(by_image.flux_error[order], sums.flux_error[order])
        np.testing.assert_allclose(by_image.npixels[order], sums.npixels[order])
        assert np.isfinite(by_image.models[order]).all()


def test_model_looks_like_the_data(orders, noisy, model):
    found = model.solve(noisy.data[:1], noisy.error[:1], models=True)
    total = sum(found.models.values())[0]
    inside = (orders[0].aperture > 0.5) & ~model.bad
    inside[:, :10] = inside[:, -20:] = False
    chi = ((noisy.data[0] - total) / noisy.error[0])[inside]
    assert np.mean(chi**2) < 1.3


def test_a_lost_integration_is_nan_and_the_others_stay(noisy, model):
    whole = model.solve(noisy.data, noisy.error)
    data = noisy.data.copy()
    data[4, 20, 30:60] = np.nan
    found = model.solve(data, noisy.error)
    others = np.arange(len(data)) != 4
    for order in whole.flux:
        assert np.isnan(found.flux[order][4]).all()
        np.testing.assert_array_equal(found.flux[order][others], whole.flux[order][others])
    assert [i for i, _ in found.notes] == [4]
    assert "orders 1 and 2" in found.notes[0][1]


def test_a_pixel_bad_in_one_integration_is_left_out_there(orders, noisy, model):
    error = noisy.error.copy()
    y, x = 22, 100
    assert not model.bad[y, x]
    error[2, y, x] = 0
    found, usual = model.solve(noisy.data, error), model.solve(noisy.data, noisy.error)
    weight = orders[0].aperture[y, x]
    assert weight > 0
    assert usual.npixels[1][2, x] - found.npixels[1][2, x] == pytest.approx(weight)
    np.testing.assert_array_equal(found.npixels[1][3], usual.npixels[1][3])
    np.testing.assert_allclose(found.flux[1][2, :80], usual.flux[1][2, :80], rtol=1e-6)
    assert found.notes == []


def test_bad_pixels_are_replaced_by_the_model(orders, quiet):
    found = prepared(orders, quiet, bad_pix="model").solve(quiet.data, quiet.error)
    masked = prepared(orders, quiet).solve(quiet.data, quiet.error)
    truth = quiet.parts[1]
    expected = (truth * orders[0].aperture).sum(axis=0)
    columns = quiet.bad[13:28].any(axis=0)
    columns[:8] = columns[-8:] = False
    assert columns.sum() > 5
    close = np.abs(found.flux[1][0] - expected)[columns]
    far = np.abs(masked.flux[1][0] - expected)[columns]
    assert np.median(close) < 0.05 * np.median(far)


def test_third_order_that_cannot_be_modelled_is_named(orders, noisy):
    few = dataclasses.replace(orders[2], aperture=np.zeros(soss_scene.SHAPE))
    model = prepared([orders[0], orders[1], few], noisy)
    assert model.factors[3] is None
    assert any("order 3" in note for note in model.notes)
    found = model.solve(noisy.data[:2], noisy.error[:2])
    assert np.isnan(found.flux[3]).all()
    assert np.isfinite(found.flux[1][:, 5:250]).all()


def test_first_order_that_cannot_be_modelled_stops_the_segment(orders, noisy):
    nothing = dataclasses.replace(orders[1], wavelength=np.full(soss_scene.SHAPE, 9.0))
    with pytest.raises(TooFewPixelsError, match="order 2"):
        prepared([orders[0], nothing, orders[2]], noisy, wave_grid=np.linspace(0.77, 2.8, 800))


def test_given_grid_factor_and_estimate_are_used(orders, noisy):
    grid = np.linspace(0.78, 2.75, 900)
    model = prepared(orders, noisy, wave_grid=grid, tikfac=1e-9, estimate=soss_scene.spectrum)
    np.testing.assert_array_equal(model.grid, grid)
    assert model.factors[1] == 1e-9
    assert model.factors[2] != 1e-9
    assert 1 not in model.tests


def test_masks_of_a_segment():
    typical, error = np.ones((2, 3)), np.ones((2, 3))
    bad, reference = np.zeros((2, 2, 3), dtype=bool)
    error[0, 0] = error[1, 2] = np.inf
    reference[1, 2] = bad[0, 0] = True
    found_bad, found_reference = segment_masks(typical, error, bad, reference)
    assert found_bad[1, 2]
    assert found_bad[0, 0]
    assert not found_reference.any()
    assert not bad[1, 2], "the masks given stay as they are"
    bad[1, 2] = True
    kept = segment_masks(typical, error, bad, reference)[1]
    assert kept[1, 2]


def test_single_orders_of_many_integrations_are_those_of_one(noisy, model):
    flat = [array[:3].reshape(3, -1) for array in (noisy.data, noisy.error)]
    for single in model.singles.values():
        spectra, status = single.spectra(*flat)
        assert (status[:3] == 0).all()
        for i in range(3):
            alone = single.spectrum_with_mask(
                noisy.data[i], noisy.error[i].astype(float), model.bad
            )
            scale = np.nanmax(np.abs(alone))
            np.testing.assert_allclose(spectra[:, i], alone, rtol=1e-5, atol=1e-6 * scale)
