"""Fit of one order alone: the blue part of order 2, and order 3.

Neither throughput nor resolution matters here: only the light of the pixels has to be reproduced,
and a pixel sees a few neighbouring grid points. Each integration has its own errors.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from tso3dask.ops.soss.banded import smoothness_matrix
from tso3dask.ops.soss.engine import Design, OrderMap, TooFewPixelsError, build_design
from tso3dask.ops.soss.grid import oversample
from tso3dask.ops.soss.runs import SIDES
from tso3dask.ops.soss.throughput import unit_throughput
from tso3dask.ops.soss.tikhonov import FactorTests, RegularisedFit, search_factor

__all__ = ["SingleOrder", "prepare_single_order"]

OVERSAMPLING = 3
DECADES = (-2.0, 8.0)


@dataclass(frozen=True)
class SingleOrder:
    """Fit of one order to integrations.

    Parameters
    ----------
    map : OrderMap
        The order.
    fit : Design
        Model of the pixels that are fitted.
    trace : Design
        Model of all pixels within any aperture, bad ones too.
    columns : Design
        Model of a spectrum with one pixel per column.
    outside : numpy.ndarray
        Pixels (y, x) outside the aperture of the order.
    seen : numpy.ndarray
        Grid points that fitted pixels tell anything of.
    factor : float
        Regularisation factor.
    """

    map: OrderMap
    fit: Design
    trace: Design
    columns: Design
    outside: np.ndarray
    seen: np.ndarray
    factor: float
    loop: tuple[np.ndarray, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        part = self.fit.orders[0]
        weights = part.pixels_of_convolved()
        reach = max(int(np.diff(weights.pointers).max(initial=0)), 2)
        smoothness = smoothness_matrix(self.fit.grid)
        band = np.zeros((len(self.fit.grid), reach))
        band[:, 0] = smoothness.diagonal()
        band[:-1, 1] = smoothness.diagonal(-1)
        first = weights.first + part.bounds[0]
        loop = (first, weights.pointers, weights.values, self.fit.pixels, band * self.factor**2)
        object.__setattr__(self, "loop", loop)

    def spectra(self, data: np.ndarray, error: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Fit integrations whose bad pixels are those of the segment.

        Parameters
        ----------
        data, error : numpy.ndarray
            Up to `SIDES` integrations (integration, pixel) of flattened images.

        Returns
        -------
        spectra : numpy.ndarray
            Spectra (grid point, side).
        status : numpy.ndarray
            0 for a good fit, 1 where other grid points are seen than usual, 2 where the system
            could not be solved (side,).
        """
        from ._atoca_jit import fit_single_order

        spectra = np.empty((len(self.fit.grid), SIDES))
        status = np.zeros(SIDES, np.int64)
        first, pointers, values, pixels, smoothness = self.loop
        fit_single_order(
            first, pointers, values, pixels, data, error, smoothness, self.seen, spectra, status
        )
        return spectra, status

    def spectrum_with_mask(
        self, data: np.ndarray, error: np.ndarray, bad: np.ndarray
    ) -> np.ndarray:
        """Fit one integration (y, x) with other bad pixels (y, x) than those of the segment."""
        design = build_design(
            [self.map], [unit_throughput], [None], self.fit.grid, [self.outside | bad]
        )
        used = ~design.mask
        fit = RegularisedFit(design, data[used] / error[used], error[used])
        return fit.solve(self.factor)[0]

    def valid_pixels(self, spectrum: np.ndarray) -> np.ndarray:
        """Pixels (y, x) that have a model, given which points of a spectrum are NaN."""
        part = self.trace.orders[0]
        valid = ~self.trace.mask
        missing = part.convolved(np.where(np.isnan(spectrum), np.nan, 0.0)).copy()
        missing[part.sensitivity == 0] = 0.0
        valid[valid] = ~part.pixels_of_convolved().reaches_nan(missing)
        return valid


def prepare_single_order(
    order: OrderMap,
    native: tuple[np.ndarray, np.ndarray],
    outside: np.ndarray,
    outside_all: np.ndarray,
    bad: np.ndarray,
    data: np.ndarray,
    error: np.ndarray,
    guess: float,
    cutoff: float | None = None,
) -> tuple[SingleOrder, FactorTests, list[str]]:
    """Choose the regularisation factor of an order and set up its fit.

    Parameters
    ----------
    order : OrderMap
        The order.
    native : tuple of numpy.ndarray
        Ascending wavelengths of the trace and their columns.
    outside, outside_all : numpy.ndarray
        Pixels (y, x) outside the aperture of the order, and outside all apertures.
    bad : numpy.ndarray
        Pixels (y, x) not to be used.
    data, error : numpy.ndarray
        Typical integration (y, x) and its errors.
    guess : float
        First guess of the factor.
    cutoff : float, optional
        Longest wavelength, um.

    Raises
    ------
    TooFewPixelsError
        If too few pixels or columns are left.
    """
    wavelength, columns = native
    if cutoff is not None:
        blue = wavelength < cutoff
        wavelength, columns = wavelength[blue], columns[blue]
    if len(wavelength) < 2:
        raise TooFewPixelsError(f"order {order.order}: its trace has no wavelengths to model")
    grid = oversample(wavelength, OVERSAMPLING)
    alone = ([unit_throughput], [None], grid)
    fit = build_design([order], *alone, [outside | bad])
    used = ~fit.mask
    regularised = RegularisedFit(fit, data[used] / error[used], error[used])
    factor, tests, notes = search_factor(regularised, guess, DECADES)
    row = OrderMap(order.order, wavelength[np.newaxis], np.ones((1, len(wavelength))))
    single = SingleOrder(
        map=order,
        fit=fit,
        trace=build_design([order], *alone, [outside_all]),
        columns=build_design([row], *alone, [np.all(outside_all, axis=0)[np.newaxis, columns]]),
        outside=outside,
        seen=regularised.seen,
        factor=factor,
    )
    return single, tests, [f"order {order.order}: {note}" for note in notes]
