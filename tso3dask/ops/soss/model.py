"""ATOCA for a segment: prepared once from a typical integration, then applied to blocks.

Algorithm to Treat Order ContAmination: Darveau-Bernier et al. 2022, PASP 134, 094502. Orders 1 and
2 are fitted together where they overlap, the blue part of order 2 and order 3 alone. Each order is
then summed over its aperture without the light of the others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from tso3dask.ops.soss.aperture import ApertureStretches, contamination
from tso3dask.ops.soss.engine import OrderMap, TooFewPixelsError
from tso3dask.ops.soss.estimate import estimate_order1
from tso3dask.ops.soss.grid import decontamination_grid, native_grid, trace_grid
from tso3dask.ops.soss.images import (
    error_of_nearest_value,
    joined_order,
    sum_aperture,
    without_other_orders,
)
from tso3dask.ops.soss.joint import JointOrders, prepare_joint_orders
from tso3dask.ops.soss.kernels import ResolutionKernel
from tso3dask.ops.soss.runs import SIDES, RunMatrix
from tso3dask.ops.soss.single_order import SingleOrder, prepare_single_order
from tso3dask.ops.soss.tikhonov import FactorTests

__all__ = [
    "AtocaParameters",
    "SegmentModel",
    "SolvedBlock",
    "SpectralOrder",
    "prepare",
    "segment_masks",
]

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
    blue_order2: bool = True


@dataclass(frozen=True)
class SolvedBlock:
    """Spectra of a block of integrations.

    Parameters
    ----------
    flux, flux_error, npixels : dict of numpy.ndarray
        Per order (integration, x).
    models : dict of numpy.ndarray
        Per order, images (integration, y, x), zero where there is no model; empty unless wanted.
    notes : list of tuple
        Integration within the block, and what is the matter with it.
    """

    flux: dict[int, np.ndarray]
    flux_error: dict[int, np.ndarray]
    npixels: dict[int, np.ndarray]
    models: dict[int, np.ndarray] = field(default_factory=dict)
    notes: list[tuple[int, str]] = field(default_factory=list)


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


@dataclass(frozen=True)
class SegmentModel:
    """Everything that is constant for the integrations of a segment; made by `prepare`.

    Parameters
    ----------
    apertures : dict of numpy.ndarray
        Weights of the box aperture (y, x) per order.
    bad : numpy.ndarray
        Pixels (y, x) bad in all integrations.
    reference : numpy.ndarray
        Reference pixels (y, x).
    without_error : numpy.ndarray
        Good pixels (y, x) whose median error is not positive.
    replace : bool
        Whether bad pixels are replaced by the model.
    joint : JointOrders
        Fit of orders 1 and 2.
    singles : dict
        Fits of single orders: the blue part of order 2, order 3.
    grid : numpy.ndarray
        Wavelength grid of orders 1 and 2, um.
    factors : dict
        Regularisation factors: 1 for orders 1 and 2 together, 2 for the blue part of order 2,
        3; None where nothing was fitted.
    tests : dict of FactorTests
        The tests of factors, with the same keys.
    notes : tuple of str
        What a user should know of the preparation.
    stretches : dict of ApertureStretches
        Apertures without bad pixels.
    shares : dict of RunMatrix
        Contamination by order and part: (target, part), the part being 1 or 2 for the joint fit
        and -2 or -3 for a fit alone.
    """

    apertures: dict[int, np.ndarray]
    bad: np.ndarray
    reference: np.ndarray
    without_error: np.ndarray
    replace: bool
    joint: JointOrders
    singles: dict[int, SingleOrder]
    grid: np.ndarray
    factors: dict[int, float | None]
    tests: dict[int, FactorTests]
    notes: tuple[str, ...]
    stretches: dict[int, ApertureStretches]
    shares: dict[tuple[int, int], RunMatrix]

    def solve(self, data: np.ndarray, error: np.ndarray, models: bool = False) -> SolvedBlock:
        """Extract integrations.

        Parameters
        ----------
        data : numpy.ndarray
            Images (integration, y, x) with missing values filled in, and without background.
        error : numpy.ndarray
            Their errors, those of values filled in enlarged.
        models : bool
            Whether images of the models are wanted.

        Returns
        -------
        SolvedBlock
            An integration that cannot be solved is NaN, with a note.
        """
        count, _, width = data.shape
        flux = {order: np.zeros((count, width)) for order in self.apertures}
        variance = {order: np.zeros((count, width)) for order in self.apertures}
        npixels = {order: np.empty((count, width)) for order in self.apertures}
        odd = self._sum_apertures(data, error, flux, variance)
        by_image = (odd > 0) | models | self.replace
        result = SolvedBlock(flux, variance, npixels)
        if models:
            for order in self.apertures:
                result.models[order] = np.zeros(data.shape)
        for begin in range(0, count, SIDES):
            block = slice(begin, min(begin + SIDES, count))
            self._solve_sides(data[block], error[block], by_image[block], begin, result)
        for order in self.apertures:
            plain = ~by_image
            used = np.where(self._unusable(), 0.0, self.apertures[order]).sum(axis=0)
            npixels[order][plain] = used
            flux[order][np.ix_(plain, used == 0)] = np.nan
            spread = np.sqrt(variance[order][plain])
            spread[:, used == 0] = np.nan
            variance[order][plain] = spread
        for i, note in [*result.notes]:
            if note.startswith("orders 1 and 2"):
                for values in (flux, variance):
                    for order in self.apertures:
                        values[order][i] = np.nan
        return result

    def _unusable(self) -> np.ndarray:
        return self.bad | self.without_error

    def _sum_apertures(
        self,
        data: np.ndarray,
        error: np.ndarray,
        flux: dict[int, np.ndarray],
        variance: dict[int, np.ndarray],
    ) -> np.ndarray:
        from ._atoca_jit import count_positive

        odd = np.zeros(len(data), np.int64)
        for order, stretches in self.stretches.items():
            stretches.add_sums(data, error, flux[order], variance[order], odd)
        returned = np.flatnonzero(self.without_error)
        if returned.size:
            count_positive(error.reshape(len(error), -1), returned, odd)
        return odd

    def _solve_sides(
        self,
        data: np.ndarray,
        error: np.ndarray,
        by_image: np.ndarray,
        begin: int,
        result: SolvedBlock,
    ) -> None:
        """Take the contamination off the sums of a few integrations, or extract from images."""
        flat, flat_error = (a.reshape(len(a), -1) for a in (data, error))
        spectra = self.joint.spectra(flat)
        solved = np.isfinite(spectra).all(axis=0)
        parts = {1: self.joint.convolved(0, spectra), 2: self.joint.convolved(1, spectra)}
        by_image = by_image.copy()
        for order, single in self.singles.items():
            found, status = single.spectra(flat, flat_error)
            by_image |= status[: len(data)] > 0
            parts[-order] = single.trace.orders[0].convolved(found)
            parts[-order] = np.nan_to_num(parts[-order], nan=0.0)
        for (target, part), share in self.shares.items():
            result.flux[target][begin : begin + len(data)] -= (share @ parts[part]).T[: len(data)]
        for i in range(len(data)):
            if not solved[i]:
                result.notes.append(
                    (begin + i, "orders 1 and 2: the fit has no solution, the spectra are NaN")
                )
            if by_image[i]:
                self._extract_image(data[i], error[i], spectra[:, i], begin + i, result)

    def _models(
        self, data: np.ndarray, error: np.ndarray, bad: np.ndarray, spectrum: np.ndarray
    ) -> tuple[dict[int, np.ndarray], list[str]]:
        """Images of the models of all orders, and what went wrong."""
        models = {i + 1: self.joint.image(i, spectrum) for i in range(2)}
        notes = []
        usual = not (bad ^ self._unusable()).any()
        for order in self.apertures:
            if order > 2:
                models[order] = np.full(data.shape, np.nan)
        for order, single in self.singles.items():
            if usual:
                flat = (data.reshape(1, -1), error.reshape(1, -1))
                found, status = single.spectra(*flat)
                alone, failed = found[:, 0], status[0] != 0
            if not usual or failed:
                try:
                    alone = single.spectrum_with_mask(data, error, bad)
                except TooFewPixelsError as failure:
                    alone = np.full(len(single.fit.grid), np.nan)
                    notes.append(f"{failure}; it is not modelled in this integration")
            models[order] = joined_order(models[order], single.trace.image(alone))
        return models, notes

    def _extract_image(
        self,
        data: np.ndarray,
        error: np.ndarray,
        spectrum: np.ndarray,
        index: int,
        result: SolvedBlock,
    ) -> None:
        """Extract one integration (y, x) from images."""
        bad = self.bad | ~(np.isfinite(data) & np.isfinite(error)) | ~(error > 0)
        models, notes = self._models(data, error, bad, spectrum)
        result.notes.extend((index, note) for note in notes)
        for order, weights in self.apertures.items():
            image = without_other_orders(data, models, order)
            sigma, masked = error, bad
            if self.replace:
                modelled = np.isfinite(models[order])
                image = np.where(bad & modelled, models[order], image)
                inside = weights > 0
                sigma = error_of_nearest_value(error, image, inside & bad & modelled, inside & ~bad)
                masked = bad & ~modelled
            flux, spread, npixels = sum_aperture(image, sigma, masked, weights)
            result.flux[order][index] = flux
            result.flux_error[order][index] = spread
            result.npixels[order][index] = npixels
            if result.models:
                result.models[order][index] = np.nan_to_num(
                    models[order], nan=0.0, posinf=0.0, neginf=0.0
                )


def prepare(
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
        `tso3dask.ops.soss.estimate.typical_integration`.
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
        reference=reference,
        without_error=~bad & unusable,
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
