"""ATOCA for a segment: prepared once from a typical integration.

Algorithm to Treat Order ContAmination: Darveau-Bernier et al. 2022, PASP 134, 094502. Orders 1 and
2 are fitted together where they overlap, the blue part of order 2 and order 3 alone. Each order is
then summed over its aperture without the light of the others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tso3dask.ops.soss.aperture import ApertureStretches, contamination
from tso3dask.ops.soss.engine import OrderMap, TooFewPixelsError
from tso3dask.ops.soss.estimate import estimate_order1
from tso3dask.ops.soss.grid import decontamination_grid, native_grid, trace_grid
from tso3dask.ops.soss.joint import JointOrders, prepare_joint_orders
from tso3dask.ops.soss.kernels import ResolutionKernel
from tso3dask.ops.soss.runs import RunMatrix
from tso3dask.ops.soss.segment import SegmentModel
from tso3dask.ops.soss.single_order import SingleOrder, prepare_single_order

__all__ = ["AtocaParameters", "SpectralOrder", "prepare_segment", "segment_masks"]

Spectrum = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class SpectralOrder:
    """What the references say of one order in a subarray.

    Parameters
    ----------
    order : int
        1, 2 or 3.
    wavelength, profile : numpy.ndarray
        Wavelength (um, zero for none) and spatial profile of each pixel (y, x).
    throughput : callable
        Throughput at given wavelengths.
    kernel : ResolutionKernel
        Spectral resolution; only that of orders 1 and 2 is used.
    columns, trace_wavelength : numpy.ndarray
        The trace: columns and the wavelength at each.
    aperture : numpy.ndarray
        Weights of the box aperture (y, x).
    """

    order: int
    wavelength: np.ndarray
    profile: np.ndarray
    throughput: Spectrum
    kernel: ResolutionKernel | None
    columns: np.ndarray
    trace_wavelength: np.ndarray
    aperture: np.ndarray


@dataclass(frozen=True)
class AtocaParameters:
    """Parameters of the decontamination, named as those of the step without ``soss_``.

    Parameters
    ----------
    threshold : float
        Profile above which an order counts as shining on a pixel.
    n_os : int
        Grid intervals per pixel.
    rtol : float
        Relative tolerance of the wavelength grid.
    max_grid_size : int
        Number of grid points aimed at.
    wave_grid : numpy.ndarray, optional
        Wavelength grid to use.
    estimate : callable, optional
        Estimate of the spectrum.
    tikfac : float, optional
        Regularisation factor of orders 1 and 2.
    bad_pix : str
        ``masking`` or ``model``.
    cutoffs : tuple of float
        Order 2 is fitted with order 1 above the first wavelength, alone below the second, um.
    fitted : bool
        Whether the fitted spectra themselves are wanted beside the extracted ones.
    blue_order2 : bool
        Whether the blue part of order 2 and order 3 are fitted; not so in SUBSTRIP96.
    """

    threshold: float = 1e-2
    n_os: int = 2
    rtol: float = 1e-4
    max_grid_size: int = 20000
    wave_grid: np.ndarray | None = None
    estimate: Spectrum | None = None
    tikfac: float | None = None
    bad_pix: str = "masking"
    cutoffs: tuple[float, float] = (0.77, 0.95)
    fitted: bool = False
    blue_order2: bool = True


def segment_masks(
    typical: np.ndarray, median_error: np.ndarray, bad: np.ndarray, reference: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Bad pixels and reference pixels of a segment, in agreement with its typical integration.

    Parameters
    ----------
    typical, median_error : numpy.ndarray
        Images (y, x), not finite where all integrations are bad.
    bad : numpy.ndarray
        Pixels (y, x) flagged in all integrations.
    reference : numpy.ndarray
        Reference pixels (y, x).

    Returns
    -------
    bad, reference : numpy.ndarray
        If some pixel is not finite though not flagged, all such pixels are bad, and none of them
        counts as a reference pixel.
    """
    missing = ~(np.isfinite(typical) & np.isfinite(median_error))
    if not (missing & ~bad).any():
        return bad.copy(), reference.copy()
    return bad | missing, reference & ~missing


def prepare_segment(
    orders: Sequence[SpectralOrder],
    typical: np.ndarray,
    median_error: np.ndarray,
    bad: np.ndarray,
    reference: np.ndarray,
    parameters: AtocaParameters,
) -> SegmentModel:
    """Prepare the extraction of a segment.

    Parameters
    ----------
    orders : sequence of SpectralOrder
        Orders 1, 2 and perhaps 3.
    typical : numpy.ndarray
        Typical integration (y, x) without background, see
        `tso3dask.ops.soss.infill.noisy_mean`.
    median_error : numpy.ndarray
        Median error (y, x), infinite where no integration is good.
    bad, reference : numpy.ndarray
        Pixels (y, x) flagged in all integrations, and reference pixels.
    parameters : AtocaParameters
        The parameters.

    Raises
    ------
    RunError
        If orders 1 and 2 cannot be modelled.
    """
    bad, reference = segment_masks(typical, median_error, bad, reference)
    unusable = bad | ~(median_error > 0)
    apertures = {order.order: np.asarray(order.aperture, dtype=np.float64) for order in orders}
    outside = {number: ~(weights > 0) | reference for number, weights in apertures.items()}
    outside_all = np.logical_and.reduce(list(outside.values()))
    maps = {order.order: OrderMap(order.order, order.wavelength, order.profile) for order in orders}
    first, second = orders[0], orders[1]
    native = {o.order: native_grid(o.columns, o.trace_wavelength) for o in orders}
    notes: list[str] = []

    estimate, grid = parameters.estimate, parameters.wave_grid
    if (parameters.tikfac is None or grid is None) and estimate is None:
        estimate, cleaned = estimate_order1(
            maps[1],
            np.asarray(first.profile),
            np.asarray(second.profile),
            first.throughput,
            outside[1],
            unusable,
            typical,
            median_error,
        )
        maps[1] = OrderMap(1, first.wavelength, cleaned, maps[1].upper, maps[1].lower)
    if grid is None:
        assert estimate is not None
        grid, remarks = decontamination_grid(
            trace_grid(native[1][0], parameters.n_os),
            trace_grid(native[2][0], parameters.n_os),
            estimate,
            parameters.cutoffs[0],
            rtol=parameters.rtol,
            largest=parameters.max_grid_size,
        )
        notes += remarks
    joint, joint_tests, remarks = prepare_joint_orders(
        [maps[1], maps[2]],
        [first.throughput, second.throughput],
        [first.kernel, second.kernel],
        grid,
        [outside[1], outside[2]],
        outside_all,
        unusable,
        parameters.threshold,
        typical,
        median_error,
        estimate,
        parameters.tikfac,
        [native[1], native[2]] if parameters.fitted else [],
    )
    notes += remarks
    factors: dict[int, float | None] = {1: joint.factor}
    tests = {1: joint_tests} if joint_tests is not None else {}
    singles: dict[int, SingleOrder] = {}
    for number in [n for n in apertures if n > 1]:
        factors[number] = None
        if not parameters.blue_order2:
            continue
        try:
            singles[number], tests[number], remarks = prepare_single_order(
                maps[number],
                native[number],
                outside[number],
                outside_all,
                unusable,
                typical,
                median_error,
                joint.factor,
                parameters.cutoffs[1] if number == 2 else None,
            )
            factors[number] = singles[number].factor
            notes += remarks
        except TooFewPixelsError as failure:
            notes.append(f"{failure}; that part is not modelled")
    weights = {number: np.where(unusable, 0.0, image) for number, image in apertures.items()}
    return SegmentModel(
        apertures=apertures,
        bad=bad,
        without_error=~bad & unusable,
        npixels={number: image.sum(axis=0) for number, image in weights.items()},
        native={number: grid for number, (grid, _) in native.items()},
        cutoff=parameters.cutoffs[1],
        blue_order2=parameters.blue_order2,
        replace=parameters.bad_pix == "model",
        joint=joint,
        singles=singles,
        grid=joint.fit.grid,
        factors=factors,
        tests=tests,
        notes=tuple(notes),
        stretches={n: ApertureStretches.of_image(image) for n, image in weights.items()},
        shares=_shares(weights, joint, singles),
    )


def _shares(
    weights: dict[int, np.ndarray], joint: JointOrders, singles: dict[int, SingleOrder]
) -> dict[tuple[int, int], RunMatrix]:
    """What each part of the model adds to the apertures of the other orders."""
    shares = {}
    for target, aperture in weights.items():
        for part in (1, 2):
            if part != target:
                trace = joint.traces[part - 1]
                shares[target, part] = contamination(aperture, trace, ~trace.mask)
        for number, single in singles.items():
            if number == target:
                continue
            alone = single.valid_pixels(np.where(single.seen, 0.0, np.nan))
            if number <= 2:
                alone &= joint.traces[number - 1].mask
            shares[target, -number] = contamination(aperture, single.trace, alone)
    return shares
