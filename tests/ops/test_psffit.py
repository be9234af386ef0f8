"""The Gaussian fit against truth, against scipy's optimiser, and in all its failures."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import least_squares
from scipy.special import erf

from tso3dask.ops import centroid, psffit

SIGMA = 1.0 / (2.0 * math.sqrt(2.0 * math.log(2.0)))


def gaussian(shape, x, y, flux, fwhm_x, fwhm_y):
    """Gaussian integrated over the pixels of an image."""

    def profile(center, size, fwhm):
        edges = np.arange(size + 1) - 0.5 - center
        return np.diff(erf(edges / (math.sqrt(2) * fwhm * SIGMA))) / 2

    return flux * np.outer(profile(y, shape[0], fwhm_y), profile(x, shape[1], fwhm_x))


def scipy_fit(image, bad, x, y, width):
    """(flux, FWHM x, FWHM y) by scipy's trust-region reflective method."""
    y0, x0 = math.ceil(y - width / 2), math.ceil(x - width / 2)
    rows = slice(max(0, y0), min(image.shape[0], y0 + width))
    columns = slice(max(0, x0), min(image.shape[1], x0 + width))
    good = ~bad[rows, columns]
    data = image[rows, columns][good]
    flux = np.sum(data)
    if data.size < 3 or not np.isfinite(flux) or flux < 0:
        return np.full(3, np.nan)

    def residual(p):
        return gaussian(image.shape, x, y, *p)[rows, columns][good] - data

    result = least_squares(
        residual,
        [float(flux), width / 2, width / 2],
        bounds=([0, 0, 0], [np.inf, width, width]),
        diff_step=np.sqrt(np.finfo(float).eps),
        xtol=1e-7,
        max_nfev=100,
    )
    return result.x


def observed(nints=3, shape=(24, 27), flux=800.0, fwhm=(2.6, 3.1), noise=0.5, seed=1, scale=1.0):
    """Images of one source on a flat background with noise, and their true centres."""
    rng = np.random.default_rng(seed)
    xs = 13.2 + rng.uniform(-0.3, 0.3, nints)
    ys = 11.7 + rng.uniform(-0.3, 0.3, nints)
    sci = np.array([gaussian(shape, x, y, flux, *fwhm) for x, y in zip(xs, ys, strict=True)])
    sci = (sci + 5.0 + rng.normal(0, noise, sci.shape)) * scale
    return sci.astype(np.float32), np.zeros(sci.shape, np.uint32), xs, ys


def columns(fit):
    return np.array([fit["psf_flux"], fit["psf_width_x"] / SIGMA, fit["psf_width_y"] / SIGMA])


@pytest.mark.parametrize("fwhm", [(2.0, 2.0), (1.3, 4.2), (0.8, 0.9), (6.5, 3.0)])
def test_known_gaussian(fwhm):
    shape = (31, 31)
    x, y = np.array([15.3]), np.array([14.8])
    sci = gaussian(shape, x[0], y[0], 1000.0, *fwhm).astype(np.float32)[np.newaxis]
    fit = columns(psffit.fit_gaussian_prf(sci, np.zeros(sci.shape, np.uint32), x, y, 11))
    np.testing.assert_allclose(fit[:, 0], [1000.0, *fwhm], rtol=1e-5)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(
    ("flux", "fwhm", "noise"),
    [(800.0, (2.6, 3.1), 0.5), (1e5, (1.8, 1.8), 10.0), (300.0, (8.0, 5.0), 0.3)],
)
def test_same_as_scipy(seed, flux, fwhm, noise):
    sci, dq, xs, ys = observed(flux=flux, fwhm=fwhm, noise=noise, seed=seed)
    sci -= 5
    rng = np.random.default_rng(seed)
    dq[rng.random(dq.shape) < 0.05] = 1
    sci[rng.random(dq.shape) < 0.05] = np.nan
    got = columns(psffit.fit_gaussian_prf(sci, dq, xs, ys, 11))
    bad = centroid.invalid_pixels(sci, dq)
    expected = [scipy_fit(sci[i], bad[i], xs[i], ys[i], 11) for i in range(len(xs))]
    np.testing.assert_allclose(got.T, expected, rtol=1e-6)


@pytest.mark.parametrize("scale", [1e-3, 1e-5, 1e-6, 3e-7, 1e-8, 1e-11, 1e-14])
def test_faint_units_end_the_fit_early_as_in_scipy(scale):
    sci, dq, xs, ys = observed(noise=0.05, scale=scale)
    sci -= np.float32(5 * scale)
    got = columns(psffit.fit_gaussian_prf(sci, dq, xs, ys, 11))
    bad = np.zeros(sci.shape[1:], bool)
    expected = [scipy_fit(sci[i], bad, xs[i], ys[i], 11) for i in range(len(xs))]
    np.testing.assert_allclose(got.T, expected, rtol=1e-6)


def test_very_faint_units_leave_the_start_values():
    sci, dq, xs, ys = observed(noise=0.05, scale=1e-11)
    sci -= np.float32(5e-11)
    flux, fwhm_x, fwhm_y = columns(psffit.fit_gaussian_prf(sci, dq, xs, ys, 11))
    assert fwhm_x.tolist() == pytest.approx([5.5] * 3, abs=1e-12)
    assert fwhm_y.tolist() == pytest.approx([5.5] * 3, abs=1e-12)
    box = sci[0, 7:18, 8:19]
    assert flux[0] == np.float64(np.sum(box.ravel()))


def test_flux_is_never_started_nearer_to_zero_than_the_margin():
    sci = np.full((1, 15, 15), 1e-15, np.float32)
    at = np.array([7.0])
    fit = psffit.fit_gaussian_prf(sci, np.zeros(sci.shape, np.uint32), at, at, 11)
    assert fit["psf_flux"][0] == 1e-10


def test_source_wider_than_the_box_ends_at_the_bound():
    shape = (41, 41)
    sci = gaussian(shape, 20.1, 19.8, 1e4, 30.0, 25.0).astype(np.float32)[np.newaxis]
    at = np.array([20.1]), np.array([19.8])
    fit = psffit.fit_gaussian_prf(sci, np.zeros(sci.shape, np.uint32), *at, 11)
    assert fit["psf_width_x"][0] == pytest.approx(11 * SIGMA, rel=1e-9)
    assert fit["psf_width_y"][0] == pytest.approx(11 * SIGMA, rel=1e-9)


def test_reflection_at_the_bounds_follows_scipy():
    rng = np.random.default_rng(5)
    shape = (25, 25)
    at = np.array([12.2]), np.array([11.9])
    for fwhm in [(12.0, 3.0), (0.4, 9.0), (25.0, 0.6), (10.9, 10.9)]:
        image = gaussian(shape, 12.2, 11.9, 500.0, *fwhm) + rng.normal(0, 0.1, shape)
        sci = image.astype(np.float32)[np.newaxis]
        got = columns(psffit.fit_gaussian_prf(sci, np.zeros(sci.shape, np.uint32), *at, 11))
        expected = scipy_fit(sci[0], np.zeros(shape, bool), 12.2, 11.9, 11)
        np.testing.assert_allclose(got[:, 0], expected, rtol=1e-5)


def no_fit(sci, dq, x=12.0, y=12.0, width=11):
    fit = psffit.fit_gaussian_prf(sci, dq, np.array([x]), np.array([y]), width)
    return all(np.isnan(values[0]) for values in fit.values())


def test_no_fit_without_position_pixels_or_flux():
    sci = observed(nints=1, seed=3)[0] - 5
    dq = np.zeros(sci.shape, np.uint32)
    assert not no_fit(sci, dq)
    assert no_fit(sci, dq, x=np.nan)
    assert no_fit(-sci, dq)
    few = dq + 1
    few[0, 12, 11:13] = 0
    assert no_fit(sci, few)
    few[0, 12, 11:14] = 0
    assert not no_fit(sci, few)
    infinite = sci.copy()
    infinite[0, 9, 9] = np.inf
    assert no_fit(infinite, dq)
    dq[0, 9, 9] = 1
    assert not no_fit(infinite, dq)
    assert no_fit(sci, dq, width=1)


def test_box_is_cut_at_the_edge_of_the_array():
    shape = (20, 20)
    sci = gaussian(shape, 1.2, 18.7, 700.0, 2.5, 2.5).astype(np.float32)[np.newaxis]
    at = np.array([1.2]), np.array([18.7])
    fit = columns(psffit.fit_gaussian_prf(sci, np.zeros(sci.shape, np.uint32), *at, 11))
    np.testing.assert_allclose(fit[:, 0], [700.0, 2.5, 2.5], rtol=1e-4)


def test_both_passes_together():
    sci, dq, xs, _ = observed(noise=0.01)
    sci[1] = np.nan
    found = psffit.centroids_and_psf(sci, dq, 13.2, 11.7, 11, 6.0)
    assert list(found) == ["centroid_x", "centroid_y", "psf_width_x", "psf_width_y", "psf_flux"]
    for values in found.values():
        assert np.isnan(values).tolist() == [False, True, False]
    alone = centroid.centroids(sci, dq, 13.2, 11.7, 11, 6.0)
    np.testing.assert_array_equal((found["centroid_x"], found["centroid_y"]), alone)
    np.testing.assert_allclose(found["centroid_x"][[0, 2]], xs[[0, 2]], atol=0.02)
    background = centroid.background_median(sci, 13.2, 11.7, 6.0)
    fit = psffit.fit_gaussian_prf(sci - background[:, np.newaxis, np.newaxis], dq, *alone, 11)
    for name, values in fit.items():
        np.testing.assert_array_equal(found[name], values)


def test_nothing_is_found_when_the_source_covers_the_array():
    sci, dq, _, _ = observed()
    found = psffit.centroids_and_psf(sci, dq, 13.2, 11.7, 11, 99.0)
    assert all(np.isnan(values).all() for values in found.values())


def test_integrations_do_not_depend_on_each_other():
    sci, dq, _, _ = observed(nints=6)
    sci[2] = np.nan
    dq[4, 8:12, 9:15] = 1
    whole = psffit.centroids_and_psf(sci, dq, 13.2, 11.7, 11, 4.0)
    for cut in ([0, 1, 6], [0, 3, 4, 6]):
        parts = [
            psffit.centroids_and_psf(sci[a:b], dq[a:b], 13.2, 11.7, 11, 4.0)
            for a, b in zip(cut[:-1], cut[1:], strict=True)
        ]
        for name, values in whole.items():
            np.testing.assert_array_equal(values, np.concatenate([p[name] for p in parts]))
