"""The PSF on the detector: places, normalisation, fit of the trace."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from tso3dask.ops.psf_profile import fit_offsets, place_psf

ALONG, ACROSS = 30, 21
BOUNDS = ((-0.5, ACROSS - 0.5), (-0.5, ALONG - 0.5))
WAVES = np.linspace(5.0, 12.0, ALONG)
SUBPIX = 4


def psf(sigma=1.5, decreasing=False):
    half = 10 * SUBPIX
    offset = (np.arange(2 * half + 1) - half) / SUBPIX
    wave = np.linspace(4.0, 13.0, 20)
    image = np.exp(-0.5 * (offset / (sigma * wave[:, None] / 8.0)) ** 2)
    step = -1 if decreasing else 1
    return SimpleNamespace(
        data=image[::step], wave=wave[::step], subpix=SUBPIX, center_col=half, center_row=0
    )


def turned(one):
    return SimpleNamespace(
        data=one.data.T, wave=one.wave, subpix=one.subpix, center_row=one.center_col, center_col=0
    )


def placed(reference, centre=10.0, dispaxis=2, nod=None):
    image = np.tile(WAVES[:, None], (1, ACROSS))
    bounds = BOUNDS
    if dispaxis == 1:
        image, bounds = image.T, BOUNDS[::-1]
    return place_psf(
        reference,
        shape=image.shape,
        dispaxis=dispaxis,
        bounds=bounds,
        trace=np.full(ALONG, centre),
        wavelengths=image,
        nod=nod,
    )


def centroid(profile):
    return (profile * np.arange(ACROSS)).sum(axis=1) / profile.sum(axis=1)


def test_profiles_are_normalised_and_follow_wavelength():
    (profile,) = placed(psf()).whole()
    np.testing.assert_allclose(profile.sum(axis=1), 1.0)
    assert profile[0].max() > profile[-1].max()


def test_the_place_counts_from_the_edge_of_the_array():
    # the reference counts from the lower bound of the array, half a pixel before pixel 0
    (profile,) = placed(psf(), centre=10.0).whole()
    np.testing.assert_allclose(centroid(profile), 10.5, atol=1e-3)
    (moved,) = placed(psf(), centre=10.0).whole(0.75)
    np.testing.assert_allclose(centroid(moved), 9.75, atol=1e-3)


def test_order_of_wavelengths_does_not_matter():
    one, other = placed(psf()).whole(0.3), placed(psf(decreasing=True)).whole(0.3)
    np.testing.assert_allclose(one, other, atol=1e-12)


def test_both_directions_are_alike():
    one = placed(psf(), centre=9.3).whole(0.1, 4.0)
    other = placed(turned(psf()), centre=9.3, dispaxis=1).whole(0.1, 4.0)
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a, b.T, atol=1e-12)
    assert placed(psf()).limits == (0, ACROSS)


def test_no_wavelength_no_profile():
    image = np.tile(WAVES[:, None], (1, ACROSS))
    image[3] = 20.0
    one = place_psf(
        psf(), shape=image.shape, dispaxis=2, bounds=((-0.5, 17.5), (1.5, ALONG - 0.5)),
        trace=np.full(ALONG, 9.0), wavelengths=image,
    )  # fmt: skip
    assert one.window == (slice(2, ALONG), slice(0, 18))
    (profile,) = one.whole()
    assert profile.shape == image.shape
    assert not profile[:2].any()
    assert not profile[:, 18:].any()


@pytest.mark.parametrize("shift", [-1.3, 0.0, 0.42])
@pytest.mark.parametrize("dispaxis", [1, 2])
def test_the_fit_finds_the_trace(shift, dispaxis):
    reference = psf() if dispaxis == 2 else turned(psf())
    one = placed(reference, dispaxis=dispaxis)
    (truth,) = one.whole(shift)
    image = (300 * truth + 2.0).astype(np.float32)
    image[5, 7] = np.nan
    variance = np.full(image.shape, 2.0, np.float32)
    variance[8, 9] = np.nan
    offset, nod = fit_offsets(one, image, variance)
    assert nod is None
    assert offset == pytest.approx(shift, abs=1e-3)


def test_the_fit_finds_both_nods():
    one = placed(psf(0.8), centre=13.0, nod=6.0)
    first, second = one.whole(0.3, 6.5)
    assert second.min() < 0 <= first.min()
    np.testing.assert_allclose(centroid(-second), 13.5 - 0.3 - 6.5, atol=5e-2)
    image = 300 * first + 200 * second + 2.0
    offset, nod = fit_offsets(one, image, np.ones_like(image))
    assert offset == pytest.approx(0.3, abs=1e-3)
    assert nod == pytest.approx(6.5, abs=1e-3)
