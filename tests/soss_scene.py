"""A small SOSS detector with three overlapping orders, and integrations of known spectra."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from tso3dask.ops.soss.box import box_weights
from tso3dask.ops.soss.engine import OrderMap, build_design
from tso3dask.ops.soss.kernels import ResolutionKernel
from tso3dask.ops.soss.model import SpectralOrder
from tso3dask.ops.soss.throughput import Throughput

SHAPE = (96, 260)
WIDTH = 24.0
CUTOFFS = {1: 260, 2: 220, 3: 120}
PIXELS = 7


def spectrum(wavelength):
    """Flux of the star, with lines and a planet's absorption."""
    w = np.asarray(wavelength)
    lines = 1 - 0.2 * np.exp(-0.5 * ((w - 1.28) / 0.02) ** 2)
    return 6e6 / w**1.5 * lines * (1 + 0.05 * np.sin(20 * w))


def references(orders=(1, 2, 3), tilt=2e-5, wobble=0.0):
    """Wavelengths, profiles, traces, throughputs and kernels of the orders.

    `tilt` is the change of wavelength from row to row, `wobble` how far the wavelengths of the
    trace are from those of the map, um.
    """
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]].astype(float)
    columns = x[0]
    wavelength = {
        1: 2.8 - 1.95 * columns / 259,
        2: 1.42 - 0.82 * columns / 219,
        3: 0.95 - 0.35 * columns / 119,
    }
    rows = {
        1: 20 + 4 * ((columns - 130) / 130) ** 2,
        2: 34 + 34 * (columns / 220) ** 1.5,
        3: 58 + 16 * columns / 120,
    }
    table = np.linspace(0.4, 3.0, 300)
    throughput = {
        1: 0.4 * np.exp(-0.5 * ((table - 1.6) / 0.6) ** 2) + 0.01,
        2: 0.2 * np.exp(-0.5 * ((table - 0.95) / 0.25) ** 2) + 0.005,
        3: 0.05 * np.exp(-0.5 * ((table - 0.75) / 0.12) ** 2) + 0.002,
    }
    centres = np.linspace(0.5, 3.0, 40)
    offsets = np.linspace(-(PIXELS // 2), PIXELS // 2, 5 * PIXELS - 4)
    kernels = np.exp(-0.5 * (offsets[:, None] / (1.0 + 0.1 * centres)) ** 2)
    result = []
    for number in orders:
        profile = np.exp(-0.5 * ((y - rows[number]) / 4.0) ** 2)
        profile = (profile / profile.sum(axis=0)).astype(np.float32)
        wave = wavelength[number] + tilt * (y - SHAPE[0] / 2 + 0.5)
        wave[:, CUTOFFS[number] :] = 0.0
        profile[:, CUTOFFS[number] :] = 0.0
        result.append(
            SimpleNamespace(
                order=number,
                wavelength=wave,
                profile=profile,
                columns=np.arange(CUTOFFS[number]),
                trace_rows=rows[number],
                trace_wavelength=wavelength[number] + wobble * np.sin(columns / 9),
                table=(table, throughput[number]),
                kernel=(np.tile(centres, (len(offsets), 1)), kernels / kernels.sum(axis=0)),
            )
        )
    return result


def centre_wavelength(reference):
    centre = np.zeros(SHAPE[1])
    centre[reference.columns] = reference.trace_wavelength[reference.columns]
    return centre


def spectral_orders(found, whole_order2=False):
    """The references as the package takes them."""
    result = []
    for ref in found:
        aperture = box_weights(ref.trace_rows[ref.columns], WIDTH, SHAPE, ref.columns)
        if whole_order2 and ref.order == 2:
            aperture = np.ones(SHAPE)
        result.append(
            SpectralOrder(
                order=ref.order,
                wavelength=ref.wavelength.copy(),
                profile=ref.profile.copy(),
                throughput=Throughput(*ref.table),
                kernel=ResolutionKernel(*ref.kernel, centre_wavelength(ref), PIXELS),
                columns=ref.columns,
                trace_wavelength=ref.trace_wavelength[ref.columns],
                aperture=aperture,
            )
        )
    return result


def images(orders, flux=spectrum):
    """Image of each order without noise, from a fine grid; zero where it has no light."""
    grid = np.linspace(0.5, 2.95, 4000)
    everywhere = [np.zeros(SHAPE, dtype=bool)]
    result = {}
    for order in orders:
        design = build_design(
            [OrderMap(order.order, order.wavelength, order.profile)],
            [order.throughput],
            [order.kernel],
            grid,
            everywhere,
        )
        result[order.order] = np.nan_to_num(design.image(flux(grid)))
    return result


def observation(orders, nints=5, noise=1.0, seed=3):
    """Integrations with noise and the summaries that a segment is prepared from."""
    rng = np.random.default_rng(seed)
    parts = images(orders)
    total = sum(parts.values())
    error = np.sqrt(4.0 + total).astype(np.float32)
    data = (total + noise * error * rng.normal(size=(nints, *SHAPE))).astype(np.float32)
    errors = (error * rng.uniform(0.9, 1.1, data.shape)).astype(np.float32)
    bad = rng.random(SHAPE) < 5e-3
    reference = np.zeros(SHAPE, dtype=bool)
    reference[-2:] = True
    reference[:, -2:] = True
    median = np.median(errors, axis=0)
    median[bad | reference] = np.inf
    mean = np.mean(data, axis=0)
    typical = mean.copy()
    with np.errstate(invalid="ignore"):
        typical += np.random.default_rng(42).normal(0, median * np.sqrt((nints - 1) / nints))
    return SimpleNamespace(
        parts=parts,
        data=data,
        error=errors,
        typical=typical,
        median_error=median,
        bad=bad,
        reference=reference,
    )
