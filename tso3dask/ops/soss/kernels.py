"""Spectral resolution: kernels in pixels, and the sparse matrix that convolves a spectrum."""

from __future__ import annotations

import numpy as np

from tso3dask.errors import RunError
from tso3dask.ops.soss.runs import RunMatrix

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

    @property
    def spline(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Cubic spline: knots along pixels and along centres, coefficients (pixel, centre)."""
        pixels, centres, table = self._spline.tck
        return pixels, centres, table.reshape(len(pixels) - 4, len(centres) - 4)

    def line(self, centre: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Slope and level of the wavelength as a function of the pixels around each centre."""
        at = np.clip(np.searchsorted(self.centre, centre) - 1, 0, len(self.centre) - 2)
        width = self.centre[at + 1] - self.centre[at]
        before, after = (self.centre[at + 1] - centre) / width, (centre - self.centre[at]) / width
        slope = before * self.slope[at] + after * self.slope[at + 1]
        return slope, before * self.level[at] + after * self.level[at + 1]

    def pixel(self, wavelength: np.ndarray, centre: np.ndarray) -> np.ndarray:
        """Distance of wavelengths from the centres of kernels, in detector pixels."""
        slope, level = self.line(centre)
        return 1 / slope * wavelength - level / slope

    def reach(self, grid: np.ndarray, centre: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """First point of a grid within each kernel, and the one after the last."""
        slope, level = self.line(centre)
        ends = np.sort([level - self.half * slope, level + self.half * slope], axis=0)
        start = np.clip(np.searchsorted(grid, ends[0]) - 1, 0, len(grid) - 1)
        end = np.clip(np.searchsorted(grid, ends[1], side="right"), 0, len(grid) - 1)
        # the ends again, as the distance in pixels has it
        start = start + (np.abs(self.pixel(grid[start], centre)) > self.half)
        return start, end + (np.abs(self.pixel(grid[end], centre)) <= self.half)

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


def convolution_matrix(
    kernel: ResolutionKernel, grid: np.ndarray, bounds: tuple[int, int]
) -> RunMatrix:
    """Matrix that convolves a spectrum on a grid with kernels normalised on that grid.

    Parameters
    ----------
    kernel : ResolutionKernel
        The line spread function.
    grid : numpy.ndarray
        Ascending wavelengths.
    bounds : tuple of int
        First point, and the one after the last, at which the convolved spectrum is wanted.

    Returns
    -------
    RunMatrix
        Matrix (wanted point, point of the grid).

    Raises
    ------
    RunError
        If a kernel is narrower than the steps of the grid.
    """
    from ._kernels_jit import fill_kernels

    centre = grid[slice(*bounds)]
    start, end = kernel.reach(grid, centre)
    pointers = np.concatenate([[0], np.cumsum(end - start)])
    values = np.empty(pointers[-1])
    line = kernel.line(centre)
    shape = kernel.half, kernel.smallest, *kernel.spline
    failed = fill_kernels(grid, bounds[0], *line, start, pointers, *shape, values)
    if failed >= 0:
        raise RunError(
            f"resolution kernel: no weight on the wavelength grid at {centre[failed]:.4f} um"
        )
    return RunMatrix(start, pointers, values, len(grid))
