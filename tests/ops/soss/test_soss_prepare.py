"""Filling in time, backgrounds and masks of SOSS integrations."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.stats import SigmaClip
from scipy import ndimage

from tso3dask.errors import RunError
from tso3dask.ops.soss.background import bright_pixels, column_background, subtract_background
from tso3dask.ops.soss.box import box_weights
from tso3dask.ops.soss.infill import HALO, fill, fill_all, join, noisy_mean, summarize
from tso3dask.ops.soss.prepare import extract_boxes, prepare, prepare_mean

REFERENCE = np.uint32(2**31 | 1)


def segment(nints, shape=(20, 16), seed=3):
    rng = np.random.default_rng(seed)
    sci = rng.normal(10, 2, (nints, *shape)).astype(np.float32)
    err = rng.uniform(1, 2, sci.shape).astype(np.float32)
    dq = np.zeros(sci.shape, np.uint32)
    lost = rng.random(sci.shape) < 0.1
    sci[lost], err[lost], dq[lost] = np.nan, np.nan, 1
    for cube in (sci, err):
        cube[:, 3, 4] = np.nan
        cube[:, :, 0] = np.nan
    dq[:, 3, 4] = 1
    dq[:, :, 0] = REFERENCE
    return sci, err, dq


@pytest.mark.parametrize("nints", [1, 2, 5, 8, 9, 10, 23])
def test_gaps_get_the_median_of_their_neighbours_in_time(nints):
    sci, err, dq = segment(nints)
    summary = summarize(sci, err, dq)
    filled = np.where(np.isfinite(sci), sci, summary.median)
    expected = ndimage.median_filter(filled, size=min(nints, 9), axes=(0,))
    expected = np.where(np.isfinite(sci), sci, expected)
    np.testing.assert_array_equal(fill(sci, 0, summary.median, 0, nints, nints), expected)
    np.testing.assert_array_equal(summary.mean, np.mean(expected, axis=0))


@pytest.mark.parametrize("size", [1, 3, 7])
def test_chunks_with_a_halo_give_the_same(size):
    sci, err, dq = segment(23)
    summary = summarize(sci, err, dq)
    whole = fill(sci, 0, summary.median, 0, 23, 23)
    for first in range(0, 23, size):
        stop = min(23, first + size)
        a, b = max(0, first - HALO), min(23, stop + HALO)
        part = fill(sci[a:b], a, summary.median, first, stop, 23)
        np.testing.assert_array_equal(part, whole[first:stop])


def test_tiles_give_the_same():
    sci, err, dq = segment(11)
    whole = summarize(sci, err, dq)
    cuts = [(0, 3), (3, 4), (4, 20)]
    tiles = join([summarize(sci[:, a:b], err[:, a:b], dq[:, a:b]) for a, b in cuts])
    for name in ("median", "median_error", "mean", "unusable", "reference"):
        np.testing.assert_array_equal(getattr(tiles, name), getattr(whole, name))


def test_summary_knows_what_is_never_there():
    sci, err, dq = segment(6)
    err[:, 5, 5] = np.nan
    summary = summarize(sci, err, dq)
    assert np.isinf(summary.median_error[3, 4]) and np.isinf(summary.median_error[:, 0]).all()
    assert np.isinf(summary.median_error[5, 5]) and summary.median[5, 5] == 0
    assert summary.unusable[3, 4] and summary.unusable[:, 0].all() and summary.unusable[5, 5]
    assert summary.reference[:, 0].all() and not summary.reference[:, 1:].any()
    good = ~summary.unusable
    np.testing.assert_array_equal(summary.median_error[good], np.nanmedian(err[:, good], axis=0))


def test_filled_values_have_ten_times_the_median_error():
    sci, err, dq = segment(6)
    sci[2, 7, 7] = np.nan
    err[2, 7, 7] = 1.0
    summary = summarize(sci, err, dq)
    values, errors, mask = fill_all(sci, err, 0, 0, 6, summary)
    assert errors[2, 7, 7] == 10 * summary.median_error[7, 7]
    good = np.isfinite(sci) & np.isfinite(err)
    np.testing.assert_array_equal(errors[good], err[good])
    assert np.isinf(errors[:, 3, 4]).all() and mask[:, 3, 4].all()
    np.testing.assert_array_equal(values, fill(sci, 0, summary.median, 0, 6, 6))
    np.testing.assert_array_equal(mask, np.broadcast_to(summary.unusable, mask.shape))


def test_noise_of_the_typical_integration_is_always_the_same():
    sci, err, dq = segment(9)
    summary = summarize(sci, err, dq)
    rng = np.random.default_rng(42)
    noise = rng.standard_normal(summary.mean.shape) * summary.median_error * np.sqrt(8 / 9)
    good = np.isfinite(summary.median_error)
    made = noisy_mean(summary)
    np.testing.assert_allclose(made[good], (summary.mean + noise)[good], rtol=1e-6)
    np.testing.assert_array_equal(made, noisy_mean(summary))
    prepared = prepare_mean(summary, background=False)
    assert not np.isfinite(prepared.error[0][~good]).any() and prepared.mask[0][~good].all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_background_is_the_clipped_mean_of_each_column(dtype):
    rng = np.random.default_rng(1)
    image = rng.normal(3, 1, (256, 40)).astype(dtype)
    image[rng.random(image.shape) < 0.05] = 30
    image[:, 7] = np.nan
    mask = rng.random(image.shape) < 0.1
    mask[:, 9] = True
    clip = SigmaClip(sigma=3, maxiters=None, cenfunc="mean")
    kept = np.ma.array(image, mask=mask | ~np.isfinite(image))
    expected = np.where(
        [7 <= x <= 9 and x != 8 for x in range(40)], 0, clip(kept, axis=0).mean(axis=0)
    )
    level = column_background(image, mask)
    np.testing.assert_array_equal(level, expected)
    assert level[7] == level[9] == 0
    assert np.median(level) == pytest.approx(3, abs=0.1)


def test_traces_are_no_background():
    rng = np.random.default_rng(2)
    image = rng.normal(1, 0.1, (256, 30)).astype(np.float32)
    image[60:100] += 50
    image[150:190] += 50
    left, level = subtract_background(image, np.zeros(image.shape, bool))
    np.testing.assert_allclose(level, 1, atol=0.06)
    np.testing.assert_array_equal(left, image - level)
    bright = bright_pixels(image)
    assert bright[60:100].all() and bright.mean() == pytest.approx(80 / 256, abs=0.01)
    with pytest.raises(RunError, match="an image has 40 rows"):
        bright_pixels(image[:40])


def test_prepared_integrations_and_boxes_do_not_depend_on_chunks():
    sci, err, dq = segment(14, shape=(96, 16))
    sci[3, 50, 5], err[3, 50, 5], err[4, 50, 5] = 1.0, 0.0, 1.0
    summary = summarize(sci, err, dq)
    weights = {1: box_weights(np.full(16, 50.0), 20.0, (96, 16), np.arange(16))}
    whole = prepare(sci, err, 0, 0, 14, summary, background=True)
    assert whole.mask[3, 50, 5] and not whole.mask[4, 50, 5]
    spectra = extract_boxes(whole, weights, {1: 16})[1]
    assert np.isnan(spectra.flux[:, 0]).all() and np.isfinite(spectra.flux[:, 1:]).all()
    for i in range(14):
        a, b = max(0, i - HALO), min(14, i + 1 + HALO)
        one = prepare(sci[a:b], err[a:b], a, i, i + 1, summary, background=True)
        np.testing.assert_array_equal(one.image[0], whole.image[i])
        np.testing.assert_array_equal(one.background[0], whole.background[i])
        for made, expected in zip(extract_boxes(one, weights, {1: 16})[1], spectra, strict=True):
            np.testing.assert_array_equal(made[0], expected[i])
    lost = weights[1][:, 5] > 0
    assert spectra.npixels[3, 5] == pytest.approx(
        20 - weights[1][50, 5] - weights[1][lost & summary.unusable[:, 5], 5].sum()
    )
