"""Choice of a width by the scatter of the light inside."""

from __future__ import annotations

import numpy as np
import pytest

from tso3dask.ops.growth import GrowthCurve, best_width, growth_curve


def light(seed, noise, transit=0.0, count=600):
    """Light within widths 1 to 30 of a Gaussian of 2 pixels, with noise of each pixel."""
    from scipy.special import erf

    rng = np.random.default_rng(seed)
    shape = np.diff(erf(np.arange(31) / 2 / 2 / np.sqrt(2)))
    brightness = np.where(np.arange(count) > count / 2, 1 - transit, 1.0) + 1e-4 * np.arange(count)
    pixels = 1e5 * brightness[:, None] * shape
    pixels += rng.normal(0, 1, pixels.shape) * np.sqrt(pixels + noise**2)
    return np.cumsum(pixels, axis=1), 1e5 * shape


@pytest.mark.parametrize("transit", [0.0, 0.1])
def test_scatter_is_that_of_photons_and_read_noise(transit):
    sums, shape = light(1, 60.0, transit)
    curve = growth_curve(sums)
    flux = np.cumsum(shape)
    expected = np.sqrt(flux + 60.0**2 * curve.width) / flux
    np.testing.assert_allclose(curve.scatter, expected, rtol=0.15)
    best = best_width(curve)
    assert expected[curve.width == best] < 1.06 * expected.min()


def test_less_noise_takes_a_wider_aperture():
    widths = [best_width(growth_curve(light(2, noise)[0])) for noise in (300.0, 60.0, 5.0)]
    assert widths == sorted(widths)
    assert widths[0] < widths[2] - 2


@pytest.mark.parametrize(
    ("integrations", "usual", "expected"),
    [
        (120, 16.0, 16.0),  # 0.463 is within 6.5% of 0.457
        (120, 40.0, 20.0),
        (120, 2.0, 4.0),  # 0.60 is not
        (120, None, 20.0),  # the widest
        (10_000, 16.0, 4.0),  # 0.7%
        (0, 16.0, 4.0),  # no error known: the least
    ],
)
def test_widths_as_good_as_the_best(integrations, usual, expected):
    width = np.array([2.0, 4.0, 8.0, 16.0, 20.0, 30.0])
    scatter = np.array([0.60, 0.457, 0.470, 0.463, 0.48, 0.9])
    curve = GrowthCurve(width, np.ones(6), scatter, integrations)
    assert best_width(curve, usual=usual) == expected


def test_what_fits():
    curve = growth_curve(light(2, 60.0)[0])
    assert best_width(curve, 5.5, usual=5) == 5.0
    assert best_width(curve, 1.0) is None
    assert best_width(growth_curve(light(2, 60.0)[0][:5])) is None


def test_missing_integrations_are_left_out():
    sums, _ = light(3, 60.0)
    whole = growth_curve(sums)
    sums[100:110] = np.nan
    sums[:, -1] = np.nan
    some = growth_curve(sums)
    np.testing.assert_allclose(some.scatter[:-1], whole.scatter[:-1], rtol=0.05)
    assert np.isnan(some.scatter[-1])
    assert best_width(some) is not None
