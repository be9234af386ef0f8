"""Linear model of the detector: from a spectrum on a grid to the pixels of overlapping orders.

Darveau-Bernier et al. 2022, PASP 134, 094502, section 2.1: a pixel is the sum over orders of
spatial profile x integral over the pixel of (throughput x wavelength x convolved spectrum). Each
factor is a matrix with a few neighbouring grid points per row, and they are kept apart: their
product would have hundreds of values per pixel.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from tso3dask.errors import RunError
from tso3dask.ops.soss.grid import pixel_edges
from tso3dask.ops.soss.integration import integration_weights
from tso3dask.ops.soss.kernels import ResolutionKernel, convolution_matrix
from tso3dask.ops.soss.runs import RunMatrix

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

__all__ = ["Design", "OrderDesign", "OrderMap", "TooFewPixelsError", "build_design"]

FEWEST_PIXELS = 25
THRESHOLD = 1e-3


class TooFewPixelsError(RunError):
    """An order has too few usable pixels to be modelled."""


def _one_row(value: Any) -> Any:
    """First row of an image whose rows are all equal, or what is given."""
    if np.ndim(value) != 2 or not np.array_equal(value[1:], value[:-1], equal_nan=True):
        return value
    return value[:1].copy()


@dataclass(frozen=True)
class OrderMap:
    """One spectral order on the detector.

    Parameters
    ----------
    order : int
        Number of the order, for messages.
    wavelength : numpy.ndarray
        Wavelength of each pixel (y, x), um, zero where the order has none.
    profile : numpy.ndarray
        Spatial profile (y, x).
    upper, lower : numpy.ndarray
        Wavelengths of the pixel edges (y, x), from `pixel_edges` if not given.
    """

    order: int
    wavelength: np.ndarray
    profile: np.ndarray
    upper: np.ndarray = field(default_factory=lambda: np.empty(0))
    lower: np.ndarray = field(default_factory=lambda: np.empty(0))

    def __post_init__(self) -> None:
        for name in ("wavelength", "profile"):
            object.__setattr__(self, name, np.asarray(getattr(self, name), dtype=np.float64))
        if not self.upper.size:
            upper, lower = pixel_edges(self.wavelength)
            object.__setattr__(self, "upper", upper)
            object.__setattr__(self, "lower", lower)

    def __getstate__(self) -> dict[str, Any]:
        """Attributes, with one row in place of many that are equal."""
        return {name: _one_row(value) for name, value in vars(self).items()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take attributes, with rows repeated without copies."""
        for name, value in state.items():
            if name != "order":
                value = np.broadcast_to(value, state["profile"].shape)
            object.__setattr__(self, name, value)


@dataclass(frozen=True)
class OrderDesign:
    """What one order adds to the pixels of a design.

    Parameters
    ----------
    order : int
        Number of the order.
    bounds : tuple of int
        First grid point of the convolved spectrum and the one after its last.
    kernel : RunMatrix or None
        Convolution (point within the bounds, grid point); None is no convolution.
    sensitivity : numpy.ndarray
        Throughput x wavelength at the points within the bounds.
    weights : RunMatrix
        Integration weights (pixel, point within the bounds).
    profile : numpy.ndarray
        Spatial profile (pixel,).
    """

    order: int
    bounds: tuple[int, int]
    kernel: RunMatrix | None
    sensitivity: np.ndarray
    weights: RunMatrix
    profile: np.ndarray

    def convolution(self, size: int) -> RunMatrix:
        """Convolution of a spectrum on a grid of this size, also where there is none."""
        if self.kernel is not None:
            return self.kernel
        first, last = self.bounds
        return RunMatrix(
            np.arange(first, last), np.arange(last - first + 1), np.ones(last - first), size
        )

    def convolved(self, spectrum: np.ndarray) -> np.ndarray:
        """Spectrum (grid point, ...) at the resolution of the order, within the bounds."""
        if self.kernel is None:
            return spectrum[slice(*self.bounds)]
        return self.kernel @ spectrum

    def pixels_of_convolved(self) -> RunMatrix:
        """Matrix from the convolved spectrum to the pixels."""
        return self.weights.scaled(self.profile, self.sensitivity)


@dataclass(frozen=True)
class Design:
    """Linear model of the pixels of one or more orders.

    Parameters
    ----------
    grid : numpy.ndarray
        Wavelengths of the spectrum, um.
    mask : numpy.ndarray
        Pixels (y, x) without a model.
    orders : tuple of OrderDesign
        The orders.
    """

    grid: np.ndarray
    mask: np.ndarray
    orders: tuple[OrderDesign, ...]

    @property
    def pixels(self) -> np.ndarray:
        """Places of the modelled pixels in a flattened image."""
        return np.flatnonzero(~self.mask)

    @cached_property
    def _matrices(self) -> list[RunMatrix]:
        return [part.pixels_of_convolved() for part in self.orders]

    def grid_of(self, order: int) -> np.ndarray:
        """Wavelengths of the convolved spectrum of the order at a position in `orders`."""
        return self.grid[slice(*self.orders[order].bounds)]

    def weighted(self, error: np.ndarray) -> list[RunMatrix]:
        """Matrix of each order from its convolved spectrum to pixels over errors (pixel,)."""
        return [part.weights.scaled(part.profile / error, part.sensitivity) for part in self.orders]

    def normal_matrix(self, error: np.ndarray) -> csr_matrix:
        """Lower half of B^T B, B being the model of pixels over their errors (pixel,)."""
        from scipy.sparse import coo_matrix

        size = len(self.grid)
        matrices = self.weighted(error)
        rows, columns, values = [], [], []
        for i, one in enumerate(self.orders):
            for j in range(i, len(self.orders)):
                inner = matrices[i].transposed_product(matrices[j])
                block = inner.product(self.orders[j].convolution(size))
                block = one.convolution(size).transposed_product(block)
                row, column, value = block.triplets()
                if i == j:
                    kept = (column <= row) & (value != 0)
                else:
                    value = np.where(row == column, 2 * value, value)
                    row, column = np.maximum(row, column), np.minimum(row, column)
                    kept = value != 0
                rows.append(row[kept])
                columns.append(column[kept])
                values.append(value[kept])
        places = (np.concatenate(rows), np.concatenate(columns))
        return coo_matrix((np.concatenate(values), places), shape=(size, size)).tocsr()

    def right_side(self, matrices: Sequence[RunMatrix], scaled: np.ndarray) -> np.ndarray:
        """Product B^T y.

        Parameters
        ----------
        matrices : sequence of RunMatrix
            From `weighted`.
        scaled : numpy.ndarray
            Data over errors (pixel, ...).
        """
        total = np.zeros((len(self.grid), *scaled.shape[1:]))
        for part, matrix in zip(self.orders, matrices, strict=True):
            inner = matrix.transposed_times(scaled)
            if part.kernel is None:
                total[slice(*part.bounds)] += inner
            else:
                total += part.kernel.transposed_times(inner)
        return total

    def pixel_model(
        self, spectrum: np.ndarray, matrices: Sequence[RunMatrix] | None = None
    ) -> np.ndarray:
        """Pixels (pixel,) of a spectrum (grid point,), NaN where they need a NaN of it.

        `matrices` are those of `weighted` for pixels over their errors.
        """
        if matrices is None:
            matrices = self._matrices
        total = np.zeros(matrices[0].rows)
        holes = np.isnan(spectrum).any()
        for part, matrix in zip(self.orders, matrices, strict=True):
            if not holes:
                total += matrix @ part.convolved(spectrum)
                continue
            filled = np.nan_to_num(spectrum, nan=0.0)
            value = matrix @ part.convolved(filled)
            missing = np.where(np.isnan(spectrum), np.nan, 0.0)
            if part.kernel is None:
                missing = missing[slice(*part.bounds)]
            else:
                missing = np.where(part.kernel.reaches_nan(missing), np.nan, 0.0)
            missing[part.sensitivity == 0] = 0.0
            value[matrix.reaches_nan(missing)] = np.nan
            total += value
        return total

    def image(self, spectrum: np.ndarray) -> np.ndarray:
        """Model of the detector (y, x), NaN where there is none."""
        model = np.full(self.mask.shape, np.nan)
        model[~self.mask] = self.pixel_model(spectrum)
        return model


def _masks(
    maps: Sequence[OrderMap],
    grid: np.ndarray,
    bounds: Sequence[tuple[int, int]],
    outside: Sequence[np.ndarray],
    bad: np.ndarray | None,
    threshold: float,
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Pixels without a model, and pixels that an order adds nothing to."""
    beyond = [
        (order.lower < grid[first]) | (order.upper > grid[last - 1])
        for order, (first, last) in zip(maps, bounds, strict=True)
    ]
    everywhere = np.ones(maps[0].wavelength.shape, dtype=bool)
    for away, out in zip(beyond, outside, strict=True):
        everywhere &= away | out | (False if bad is None else bad)
    # Where all orders shine but the grid does not cover one of them, no model is right.
    shared = np.logical_and.reduce([order.profile > threshold for order in maps])
    everywhere |= shared & np.logical_or.reduce(beyond)
    return everywhere, [away | everywhere for away in beyond]


def build_design(
    maps: Sequence[OrderMap],
    throughputs: Sequence[Callable[[np.ndarray], np.ndarray]],
    kernels: Sequence[ResolutionKernel | RunMatrix | None],
    grid: np.ndarray,
    outside: Sequence[np.ndarray],
    bad: np.ndarray | None = None,
    threshold: float = THRESHOLD,
) -> Design:
    """Make the linear model of orders on the detector.

    Parameters
    ----------
    maps : sequence of OrderMap
        The orders.
    throughputs : sequence of callable
        Throughput at given wavelengths, per order.
    kernels : sequence of ResolutionKernel, RunMatrix or None
        Spectral resolution, per order; a matrix (point within the bounds, grid point) is used as
        it is.
    grid : numpy.ndarray
        Wavelengths of the spectrum; sorted, repetitions are left out.
    outside : sequence of numpy.ndarray
        Pixels (y, x) outside the aperture of each order.
    bad : numpy.ndarray, optional
        Pixels (y, x) not to be used.
    threshold : float
        Profile above which an order counts as shining on a pixel.

    Raises
    ------
    TooFewPixelsError
        If an order has fewer than 25 pixels.
    """
    grid = np.asarray(grid, dtype=np.float64)
    if not (np.diff(grid) > 0).all():
        grid = np.unique(grid)
    bounds = [(0, len(grid))] * len(maps)
    mask, masks = _masks(maps, grid, bounds, outside, bad, threshold)
    for order, masked in zip(maps, masks, strict=True):
        good = masked.size - np.count_nonzero(masked)
        if good < FEWEST_PIXELS:
            raise TooFewPixelsError(
                f"order {order.order}: {good} usable pixels within the aperture and the"
                f" wavelength grid, at least {FEWEST_PIXELS} needed"
            )
    for i, (order, masked) in enumerate(zip(maps, masks, strict=True)):
        inside = order.wavelength[~masked]
        first = int(np.searchsorted(grid, inside.min(), side="left"))
        last = int(np.searchsorted(grid, inside.max(), side="right"))
        if last - first < 2:
            raise TooFewPixelsError(
                f"order {order.order}: {max(last - first, 0)} points of the wavelength grid lie"
                " between its pixels, at least 2 needed"
            )
        bounds[i] = (first, last)
    mask, masks = _masks(maps, grid, bounds, outside, bad, threshold)
    parts = []
    for order, masked, limits, throughput, kernel in zip(
        maps, masks, bounds, throughputs, kernels, strict=True
    ):
        part_grid = grid[slice(*limits)]
        convolution = kernel
        if isinstance(kernel, ResolutionKernel):
            try:
                convolution = convolution_matrix(kernel, grid, limits)
            except RunError as error:
                raise RunError(f"order {order.order}: {error}") from error
        assert convolution is None or isinstance(convolution, RunMatrix)
        parts.append(
            OrderDesign(
                order=order.order,
                bounds=limits,
                kernel=convolution,
                sensitivity=(throughput(grid) * grid)[slice(*limits)],
                weights=integration_weights(
                    part_grid, order.lower[~mask], order.upper[~mask], ~masked[~mask]
                ),
                profile=order.profile[~mask],
            )
        )
    return Design(grid, mask, tuple(parts))
