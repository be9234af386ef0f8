"""Joint fit of the overlapping orders 1 and 2.

All integrations of a segment share the median errors, so that the system is factorised once and
every integration is one more right-hand side.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tso3dask.ops.soss.banded import NormalFactor
from tso3dask.ops.soss.engine import Design, OrderMap, build_design
from tso3dask.ops.soss.frontal import FrontalFactor
from tso3dask.ops.soss.kernels import ResolutionKernel
from tso3dask.ops.soss.runs import SIDES
from tso3dask.ops.soss.tikhonov import FactorTests, RegularisedFit, first_guess, search_factor

__all__ = ["JointOrders", "prepare_joint_orders"]

DECADES = (-4.0, 4.0)


@dataclass(frozen=True)
class JointOrders:
    """Fit of orders 1 and 2 to integrations.

    Parameters
    ----------
    fit : Design
        Model of the pixels that are fitted.
    error : numpy.ndarray
        Median errors of the fitted pixels.
    system : FrontalFactor or NormalFactor
        The factorised system.
    traces : tuple of Design
        Model of each order alone in all pixels within any aperture, on the grid of its convolved
        spectrum.
    factor : float
        Regularisation factor.
    columns : tuple of Design
        Model of the spectrum of each order with one pixel per column; empty unless wanted.
    """

    fit: Design
    error: np.ndarray
    system: FrontalFactor | NormalFactor
    traces: tuple[Design, ...]
    factor: float
    columns: tuple[Design, ...] = ()

    def spectra(self, data: np.ndarray) -> np.ndarray:
        """Spectra (grid point, side) of up to `SIDES` flattened images (integration, pixel)."""
        from ._runs_jit import gather_ratio

        pixels = self.fit.pixels
        scaled = np.empty((len(pixels), SIDES))
        gather_ratio(data, self.error, pixels, scaled)
        return self.system.solve(scaled)

    def convolved(self, index: int, spectra: np.ndarray) -> np.ndarray:
        """Spectra at the resolution of an order, on the points that its trace model uses."""
        spectrum = self.fit.orders[index].convolved(spectra)
        return self.traces[index].orders[0].convolved(spectrum)

    def image(self, index: int, spectrum: np.ndarray) -> np.ndarray:
        """Model (y, x) of an order from one spectrum (grid point,), NaN where there is none."""
        return self.traces[index].image(self.fit.orders[index].convolved(spectrum))

    def column_spectrum(self, index: int, spectrum: np.ndarray) -> np.ndarray:
        """Flux (column,) of an order from one spectrum (grid point,), NaN where there is none."""
        return self.columns[index].image(self.fit.orders[index].convolved(spectrum))[0]


def prepare_joint_orders(
    orders: Sequence[OrderMap],
    throughputs: Sequence[Callable[[np.ndarray], np.ndarray]],
    kernels: Sequence[ResolutionKernel | None],
    grid: np.ndarray,
    outside: Sequence[np.ndarray],
    outside_all: np.ndarray,
    bad: np.ndarray,
    threshold: float,
    data: np.ndarray,
    error: np.ndarray,
    estimate: Callable[[np.ndarray], np.ndarray] | None,
    factor: float | None,
    native: Sequence[tuple[np.ndarray, np.ndarray]] = (),
) -> tuple[JointOrders, FactorTests | None, list[str]]:
    """Choose the regularisation factor and factorise the system.

    Parameters
    ----------
    orders, throughputs, kernels : sequence
        Orders 1 and 2.
    grid : numpy.ndarray
        Wavelengths of the spectrum.
    outside, outside_all : numpy.ndarray
        Pixels (y, x) outside the aperture of each order, and outside all apertures.
    bad : numpy.ndarray
        Pixels (y, x) not to be used.
    threshold : float
        Profile above which an order counts as shining on a pixel.
    data, error : numpy.ndarray
        Typical integration (y, x), and the errors that all integrations are weighted with.
    estimate : callable, optional
        Estimate of the spectrum, needed without a factor.
    factor : float, optional
        Regularisation factor; searched for if not given.
    native : sequence of tuple of numpy.ndarray
        Ascending wavelengths of the traces and their columns, if `JointOrders.columns` is wanted.
    """
    fit = build_design(orders, throughputs, kernels, grid, outside, bad, threshold)
    used = ~fit.mask
    scaled = data[used] / error[used]
    tests: FactorTests | None = None
    notes: list[str] = []
    final = RegularisedFit(fit, scaled, error[used], drop_unseen=False)
    if factor is None:
        assert estimate is not None
        search = final
        if (final.right == 0).any():
            search = RegularisedFit(fit, scaled, error[used])
        factor, tests, notes = search_factor(search, first_guess(fit, estimate(fit.grid)), DECADES)
    system = final.system.factorised(factor)
    if system.ill_conditioned:
        notes.append(
            f"regularisation factor {factor:.3e}: the system is ill-conditioned, its solution is"
            " uncertain; give a larger soss_tikfac"
        )
    traces = tuple(
        build_design([order], [throughput], [None], fit.grid_of(i), [outside_all])
        for i, (order, throughput) in enumerate(zip(orders, throughputs, strict=True))
    )
    columns = tuple(
        build_design(
            [OrderMap(order.order, wave[np.newaxis], np.ones((1, len(wave))))],
            [throughputs[i]],
            [kernels[i]],
            fit.grid_of(i),
            [np.all(outside_all, axis=0)[np.newaxis, column]],
        )
        for i, (order, (wave, column)) in enumerate(zip(orders, native, strict=False))
    )
    joint = JointOrders(
        fit=fit,
        error=error[used],
        system=system,
        traces=traces,
        factor=factor,
        columns=columns,
    )
    return joint, tests, [f"orders 1 and 2: {note}" for note in notes]
