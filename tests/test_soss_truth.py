"""NIRISS SOSS spectra and transit depths are those that were put in, order by order."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from astropy.io import fits

import tso3dask as tso3
from tso3dask.simulation.soss import SossOptics

SHAPE = (256, 400)
WIDTH = 40.0
DEPTHS = {1: 0.02, 2: 0.01, 3: 0.015}
RED = (1.1, 1.35)
"""Wavelengths of order 2, um, among which order 1 shines as brightly or more."""


@pytest.fixture(scope="module")
def truth(made, tmp_path_factory):
    """A transit of another depth in each order, extracted with boxes alone and with the model."""
    from tso3dask.simulation import simulate

    folder = tmp_path_factory.mktemp("soss_truth")
    # No flat: its error stays the same in all integrations, as if it were part of the spectrum.
    plain = {"var_flat": False, "background": 0.0, "jitter": 0.0, "cr_rate": 0.0}
    observation = simulate(
        "nis_soss",
        folder / "input",
        nints=24,
        segments=1,
        subarray="SUBSTRIP256",
        shape=SHAPE,
        depth=0.0,
        seed=11,
        lost_rate=0.0,
        hot_fraction=0.0,
        dead_fraction=0.0,
        **plain,
    )
    held = observation.truth()
    images = {order: held[f"image_order{order}_NIS"].astype(float) for order in DEPTHS}
    missing = sum(DEPTHS[order] * image for order, image in images.items())
    with fits.open(observation.members[0], mode="update") as hdus:
        hdus["SCI"].data -= (held["transit"][:, None, None] * missing).astype(np.float32)
        optics = SossOptics(SHAPE, hdus[0].header["PWCPOS"])
    spectra = {}
    for name, atoca in (("boxes", False), ("model", True)):
        steps = {step: dict(values) for step, values in observation.steps.items()}
        steps["photom"] = {"skip": True}
        steps["outlier_detection"] = {"skip": True}  # it takes so sudden an ingress for outliers
        steps["extract_1d"] |= {"soss_atoca": atoca, "soss_rtol": 1e-2, "soss_tikfac": 6e-10}
        tso3.run(observation.asn, folder / name, steps)
        with fits.open(next((folder / name).glob("*_x1dints.fits"))) as hdus:
            for order in DEPTHS:
                table = hdus["EXTRACT1D", order].data
                spectra[name, order] = tuple(
                    np.array(table[column], float)
                    for column in ("WAVELENGTH", "FLUX", "FLUX_ERROR")
                )
    rates = {order: light_in_box(image, optics, order) for order, image in images.items()}
    return SimpleNamespace(transit=held["transit"], rates=rates, spectra=spectra)


def light_in_box(image, optics, order):
    """Light of an order alone within the box around its centre, (x,)."""
    below = np.vstack([np.zeros(image.shape[1]), np.cumsum(image, axis=0)])
    edges = np.arange(len(image) + 1) - 0.5
    rows = optics.centre(order, np.arange(image.shape[1]))
    ends = (rows - WIDTH / 2, rows + WIDTH / 2)
    low, high = (
        np.array([np.interp(row, edges, below[:, x]) for x, row in enumerate(end)]) for end in ends
    )
    return high - low


def part(truth, name, order, low, high):
    """Injected light (x,), fluxes and errors (integration, x) between two wavelengths."""
    wave, flux, error = truth.spectra[name, order]
    used = (wave[0] > low) & (wave[0] < high) & np.isfinite(flux).all(axis=0)
    return truth.rates[order][: used.size][used], flux[:, used], error[:, used]


def misses(truth, name, order, low, high):
    """Mean spectrum outside the transit less what was put in, in units of its error."""
    rate, flux, error = part(truth, name, order, low, high)
    outside = truth.transit == 0
    noise = np.sqrt((error[outside] ** 2).sum(axis=0)) / outside.sum()
    return (flux[outside].mean(axis=0) - rate) / noise


def depth_bias(truth, name, order, low, high):
    """Fitted less injected depth in units of its error: level and drop by least squares."""
    _, flux, error = part(truth, name, order, low, high)
    white, noise = flux.sum(axis=1), np.sqrt((error**2).sum(axis=1))
    design = np.stack([np.ones_like(truth.transit), -truth.transit], axis=1) / noise[:, None]
    covariance = np.linalg.inv(design.T @ design)
    level, drop = covariance @ design.T @ (white / noise)
    slope = np.array([-drop / level, 1.0]) / level
    return (drop / level - DEPTHS[order]) / np.sqrt(slope @ covariance @ slope)


RANGES = [(1, 0.9, 1.5), (1, 1.5, 2.75), (2, 0.62, 0.77), (2, 0.77, 1.1), (2, *RED)]


@pytest.mark.parametrize(("order", "low", "high"), RANGES)
def test_spectra_with_the_model_are_those_put_in(truth, order, low, high):
    off = misses(truth, "model", order, low, high)
    assert np.abs(off).max() < 4.5
    assert np.mean(off**2) < 1 + 5 * np.sqrt(2 / off.size)
    assert abs(off.mean()) < 4 / np.sqrt(off.size)


@pytest.mark.parametrize(("order", "low", "high"), RANGES)
def test_depths_with_the_model_are_those_put_in(truth, order, low, high):
    assert abs(depth_bias(truth, "model", order, low, high)) < 3


def test_boxes_alone_have_the_light_and_the_depth_of_other_orders(truth):
    assert np.mean(misses(truth, "boxes", 2, *RED) ** 2) > 1e4
    assert depth_bias(truth, "boxes", 2, *RED) > 10
    assert np.mean(misses(truth, "boxes", 1, 1.5, 2.75) ** 2) > 5
