"""Reference files of NIRISS SOSS that match a simulated observation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from .recipe import Recipe
from .soss import (
    KERNEL_HALFWIDTH,
    ORDERS,
    PWCPOS_COMMANDED,
    SossOptics,
    kernel_samples,
    stellar_flux,
    throughput,
)

__all__ = ["write_soss_references"]

ORDER2_SEPARATION = (0.77, 0.95)
PWCPOS_RANGE = 0.25
OFFSETS = (-0.1, 0.16)
PADDING = 20
KERNEL_OVERSAMPLING = 10
KERNEL_WAVES = np.arange(0.5, 3.2, 0.05)
JANSKY_AT_2_MICRON = 1.0

Describe = Callable[[Any, Recipe, str], None]


def write_soss_references(
    recipe: Recipe, optics: SossOptics, directory: Path, describe: Describe
) -> dict[str, Path]:
    """Write trace, profile, kernel and photometric references.

    The profile is that of the simulated pupil wheel position; traces and wavelengths are given at
    the commanded position and turn with it, as in real references.

    Parameters
    ----------
    recipe : what is simulated.
    optics : where the light falls.
    directory : folder to write to.
    describe : fills in what every reference says about itself.

    Returns
    -------
    Path by reference type.
    """
    root = f"{recipe.mode.name}_sim"
    files = {
        "pastasoss": directory / f"{root}_pastasoss.asdf",
        "specprofile": directory / f"{root}_specprofile.fits",
        "speckernel": directory / f"{root}_speckernel.fits",
        "photom": directory / f"{root}_photom.fits",
    }
    _write_pastasoss(recipe, optics, files["pastasoss"], describe)
    _write_specprofile(recipe, optics, files["specprofile"], describe)
    _write_speckernel(recipe, files["speckernel"], describe)
    _write_photom(recipe, optics, files["photom"], describe)
    return files


def _write_pastasoss(recipe: Recipe, optics: SossOptics, path: Path, describe: Describe) -> None:
    from stdatamodels.jwst.datamodels import PastasossModel

    nx = recipe.shape[1]
    x = np.arange(nx, dtype=np.float64)
    waves = np.linspace(0.5, 3.0, 5001)
    traces, wavecals, throughputs = [], [], []
    for order, item in ORDERS.items():
        pivot_x, pivot_y = optics.pivot(order)
        traces.append(
            {
                "spectral_order": order,
                "pivot_x": pivot_x,
                "pivot_y": pivot_y,
                "trace": np.column_stack([x, optics.commanded_centre(order, x)]),
                "oversampling": 1,
                "cutoff": optics.cutoff(order),
                **({} if item.short_cutoff is None else {"short_cutoff": item.short_cutoff}),
            }
        )
        constant, *powers = item.waves
        low, high = OFFSETS
        coefficients = np.zeros(10)
        coefficients[[1, 3, 6]] = powers
        coefficients[0] = constant + item.wave_shift * low
        coefficients[2] = item.wave_shift * (high - low)
        wavecals.append(
            {
                "spectral_order": order,
                "polynomial_degree": 3,
                "coefficients": coefficients,
                "coefficient_labels": "C00, C10, C01, C20, C11, C02, C30, C21, C12, C03",
                "scale_extents": np.array(
                    [[optics.column(0.0), low], [optics.column(2047.0), high]]
                ),
            }
        )
        throughputs.append(
            {
                "spectral_order": order,
                "wavelength": waves,
                "throughput": throughput(order, waves),
            }
        )
    with PastasossModel() as model:
        describe(model, recipe, "pastasoss")
        model.meta.order2_separation_cutoff = list(ORDER2_SEPARATION)
        model.meta.pwcpos_bounds = [
            PWCPOS_COMMANDED - PWCPOS_RANGE,
            PWCPOS_COMMANDED + PWCPOS_RANGE,
        ]
        model.meta.pwcpos_cmd = PWCPOS_COMMANDED
        model.meta.soss_xdim = nx
        model.meta.soss_ydim = 300
        model.meta.subarray_ymin = nx - 256
        model.meta.wavemap_wlmin = 0.5
        model.meta.wavemap_wlmax = 5.5
        model.meta.wavemap_nwl = 5001
        model.traces = traces
        model.wavecal_models = wavecals
        model.throughputs = throughputs
        model.save(str(path))


def _write_specprofile(recipe: Recipe, optics: SossOptics, path: Path, describe: Describe) -> None:
    from stdatamodels.jwst.datamodels import SpecProfileModel

    with SpecProfileModel() as model:
        describe(model, recipe, "specprofile")
        model.meta.subarray.name = recipe.mode.subarray
        for order in ORDERS:
            profile = optics.profile(order, PADDING)
            model.profile.append(
                {"data": profile, "order": order, "oversampling": 1, "padding": PADDING}
            )
        model.save(str(path))


def _write_speckernel(recipe: Recipe, path: Path, describe: Describe) -> None:
    from stdatamodels.jwst.datamodels import SpecKernelModel

    half = KERNEL_HALFWIDTH
    offset = np.linspace(-half, half, 2 * half * KERNEL_OVERSAMPLING + 1)[:, None]
    kernels = kernel_samples(KERNEL_WAVES, offset)
    kernels /= kernels.sum(axis=0)
    waves = np.broadcast_to(KERNEL_WAVES, kernels.shape)
    with SpecKernelModel(
        wavelengths=waves.astype(np.float32), kernels=kernels.astype(np.float32)
    ) as model:
        describe(model, recipe, "speckernel")
        model.meta.nwave = len(KERNEL_WAVES)
        model.meta.wavemin = float(KERNEL_WAVES[0])
        model.meta.wavemax = float(KERNEL_WAVES[-1])
        model.meta.spectral_oversampling = KERNEL_OVERSAMPLING
        model.meta.halfwidth = half
        model.meta.centroid_index = half * KERNEL_OVERSAMPLING
        model.save(str(path))


def _write_photom(recipe: Recipe, optics: SossOptics, path: Path, describe: Describe) -> None:
    """Count rates to flux densities, without the line spread function."""
    from stdatamodels.jwst.datamodels import NisSossPhotomModel

    mode = recipe.mode
    peak = float(np.max(optics.column_light(1, stellar_flux(optics.fine_wavelengths(1)))))
    megajansky = JANSKY_AT_2_MICRON * 1e-6
    size = 800
    table = np.zeros(
        len(ORDERS),
        dtype=[
            ("filter", "S12"),
            ("pupil", "S15"),
            ("order", "i2"),
            ("photmj", "f4"),
            ("uncertainty", "f4"),
            ("nelem", "i2"),
            ("wavelength", "f4", (size,)),
            ("relresponse", "f4", (size,)),
            ("reluncertainty", "f4", (size,)),
        ],
    )
    table["filter"], table["pupil"] = mode.filter, mode.pupil
    for row, order in zip(table, ORDERS, strict=True):
        wave = optics.fine_wavelengths(order)
        step = np.abs(np.gradient(wave)) * 8
        low, high = (float(w) for w in ORDERS[order].range)
        inside = (wave > low) & (wave < high)
        wave, step = wave[inside], step[inside]
        factor = megajansky * peak * wave / (mode.peak_rate * throughput(order, wave) * step)
        rows = np.linspace(0, len(wave) - 1, size - 50).astype(int)[::-1]
        row["order"], row["nelem"] = order, len(rows)
        row["photmj"] = np.min(factor)
        row["uncertainty"] = 0.01 * row["photmj"]
        row["wavelength"][: len(rows)] = wave[rows]
        row["relresponse"][: len(rows)] = factor[rows] / np.min(factor)
        row["reluncertainty"][: len(rows)] = 0.01
    with NisSossPhotomModel(phot_table=table) as model:
        describe(model, recipe, "photom")
        model.save(str(path))
