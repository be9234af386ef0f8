"""Spectral resolution: kernels in pixels, and the sparse matrix that convolves a spectrum."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tso3dask.errors import RunError

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

__all__ = ["ResolutionKernel", "convolution_matrix"]


class ResolutionKernel:
    """Line spread function of an order at any wavelength.

    The reference gives kernels on a grid of detector pixels at some wavelengths. What a pixel is
    in wavelength follows from the trace: at each of these wavelengths a straight line through the
    wavelengths of the pixels around.

    Parameters
    ----------
    wavelength : numpy.ndarray
        Wavelengths (sample, kernel) of the reference; the first sample of each kernel counts.
    kernels : numpy.ndarray
        Values (sample, kernel) on samples that span `pixels` pixels around the centre.
    trace : numpy.ndarray
        Wavelength of each detector column on the trace, um; zero where there is no trace.
    pixels : int
        Number of detector pixels, odd, that a kernel spans.
    """

    def __init__(
        self, wavelength: np.ndarray, kernels: np.ndarray, trace: np.ndarray, pixels: int
    ) -> None:
        from scipy.interpolate import RectBivariateSpline

        half = pixels // 2
        known = np.asarray(trace) != 0
        reached = np.asarray(trace)[known & (np.asarray(trace) > 0)]
        steps = np.diff(trace)[known[1:] & known[:-1]]
        if steps.mean() < 0:
            trace, known = trace[::-1], known[::-1]
        centre = np.asarray(wavelength)[0]
        first = int(np.searchsorted(centre, reached.min()))
        last = int(np.searchsorted(centre, reached.max())) - 1
        limits = [
            None,
            None,
            centre[max(first - 1, 0)],
            centre[min(last + 1, len(centre) - 1)],
        ]
        values = np.asarray(kernels)[:, first : last + 1]
        offsets = np.arange(-half, half + 1)
        columns = np.flatnonzero(known)
        nearest, slope, level = [], [], []
        for wave in centre[first : last + 1]:
            column = int(columns[np.argmin(np.abs(trace[columns] - wave))])
            around = column + offsets
            there = (around >= 0) & (around < trace.size)
            there[there] &= known[around[there]]
            line = np.polynomial.Polynomial.fit(offsets[there], trace[around[there]], 1).convert()
            nearest.append(trace[column])
            slope.append(line.coef[1])
            level.append(line.coef[0])
        self.half = half
        self.smallest = float(values[values > 0.0].min())
        self.centre = np.array(nearest)
        self.slope = np.array(slope)
        self.level = np.array(level)
        samples = np.linspace(-half, half, np.shape(wavelength)[0])
        self._spline = RectBivariateSpline(samples, self.centre, values, bbox=limits)

    def pixel(self, wavelength: np.ndarray, centre: np.ndarray) -> np.ndarray:
        """Distance of wavelengths from the centres of kernels, in detector pixels."""
        at = np.clip(np.searchsorted(self.centre, centre) - 1, 0, len(self.centre) - 2)
        width = self.centre[at + 1] - self.centre[at]
        before = (self.centre[at + 1] - centre) / width
        after = (centre - self.centre[at]) / width
        slope = before * self.slope[at] + after * self.slope[at + 1]
        level = before * self.level[at] + after * self.level[at + 1]
        return 1 / slope * wavelength - level / slope

    def __call__(self, wavelength: np.ndarray, centre: np.ndarray) -> np.ndarray:
        """Kernel values.

        Parameters
        ----------
        wavelength : numpy.ndarray
            Where the kernels are wanted, um.
        centre : numpy.ndarray
            Wavelengths of the kernels' centres, one for each of `wavelength`.
        """
        pixel = self.pixel(wavelength, centre)
        value = np.zeros(np.shape(pixel))
        inside = (pixel <= self.half) & (pixel >= -self.half)
        value[inside] = self._spline(pixel[inside], centre[inside], grid=False)
        value[inside] = np.maximum(value[inside], self.smallest)
        return value


def _half_length(kernel: ResolutionKernel, grid: np.ndarray, first: int, last: int) -> int:
    """Largest distance, in grid points, at which some kernel is not zero."""
    points, length = len(grid), 0
    centre = np.arange(first, last)
    while True:
        step = length + 1
        seen = False
        for at in (centre - step, centre + step):
            inside = (at >= 0) & (at < points)
            pixel = kernel.pixel(grid[at[inside]], grid[centre[inside]])
            seen |= bool((np.abs(pixel) <= kernel.half).any())
        if not seen:
            return length
        length = step


def convolution_matrix(
    kernel: ResolutionKernel | None, grid: np.ndarray, bounds: tuple[int, int]
) -> csr_matrix:
    """Matrix that convolves a spectrum on a grid with kernels normalised on that grid.

    Parameters
    ----------
    kernel : ResolutionKernel or None
        The line spread function; None for no convolution.
    grid : numpy.ndarray
        Ascending wavelengths.
    bounds : tuple of int
        First point, and the one after the last, at which the convolved spectrum is wanted.

    Returns
    -------
    scipy.sparse.csr_matrix
        Matrix (wanted point, point of the grid).
    """
    from scipy.sparse import csr_matrix

    first, last = bounds
    rows = last - first
    if kernel is None:
        shape = (rows, len(grid))
        return csr_matrix((np.ones(rows), np.arange(first, last), np.arange(rows + 1)), shape)
    half = _half_length(kernel, grid, first, last)
    at = np.arange(first, last)[:, np.newaxis] + np.arange(-half, half + 1)
    inside = (at >= 0) & (at < len(grid))
    row = np.broadcast_to(np.arange(rows)[:, np.newaxis], at.shape)[inside]
    value = kernel(grid[at[inside]], grid[first + row])
    # trapezoidal rule over the samples of a kernel: half an interval on either side of each
    weight = np.zeros(at.shape)
    pair = inside[:, :-1] & inside[:, 1:]
    share = np.zeros(pair.shape)
    share[pair] = 0.5 * np.diff(grid)[at[:, :-1][pair]]
    weight[:, :-1] += share
    weight[:, 1:] += share
    table = np.zeros(at.shape)
    table[inside] = value
    table *= weight
    total = table.sum(axis=1)
    if not (total > 0).all():
        where = grid[first:last][~(total > 0)][0]
        raise RunError(f"resolution kernel: no weight on the wavelength grid at {where:.4f} um")
    table /= total[:, np.newaxis]
    kept = table != 0
    pointers = np.concatenate([[0], np.cumsum(kept.sum(axis=1))])
    return csr_matrix((table[kept], at[kept], pointers), shape=(rows, len(grid)))
