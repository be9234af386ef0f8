"""Integration of a spectrum on a grid over detector pixels.

The trapezoidal weights of Darveau-Bernier et al. 2022, appendix A, as the field's pipeline takes
them: the first grid point of a pixel is the one before the interval that its lower edge lies in,
the last is the one before its upper edge. A lower edge within the first interval of the grid has
no point before; its weights are those of the pipeline all the same. A pixel that is exactly one
interval, for which the pipeline has no weights, gets half of it for either end.
"""

from __future__ import annotations

import numpy as np

from tso3dask.ops.soss.runs import RunMatrix

__all__ = ["integration_weights"]


def integration_weights(
    grid: np.ndarray, lower: np.ndarray, upper: np.ndarray, used: np.ndarray
) -> RunMatrix:
    """Weights of the grid points in the integral of a spectrum over each pixel.

    Parameters
    ----------
    grid : numpy.ndarray
        Ascending wavelengths, at least two.
    lower, upper : numpy.ndarray
        Edges of the pixels (pixel,); those of used pixels are within the grid.
    used : numpy.ndarray
        Whether a pixel has any weights (pixel,).

    Returns
    -------
    RunMatrix
        Weights (pixel, grid point), um.
    """
    from ._runs_jit import pixel_weights

    low = np.searchsorted(grid, lower, side="right") - 1
    last = np.searchsorted(grid, upper) - 1
    first = np.zeros(len(lower), np.int64)
    pointers = np.zeros(len(lower) + 1, np.int64)
    arguments = (grid, low, last, lower, upper, used, first, pointers)
    size = pixel_weights(*arguments, np.empty(0))
    values = np.empty(size)
    if size:
        pixel_weights(*arguments, values)
    return RunMatrix(first, pointers, values, len(grid))
