"""Throughput of a spectral order as a function of wavelength."""

from __future__ import annotations

import numpy as np

__all__ = ["Throughput", "unit_throughput"]


class Throughput:
    """Cubic spline through a table of throughputs.

    The curve falls to zero, with zero slope, at both ends of the table and is zero beyond.

    Parameters
    ----------
    wavelength, throughput : numpy.ndarray
        The table, ascending in wavelength, um. Its first and last throughput are taken as zero.
    """

    def __init__(self, wavelength: np.ndarray, throughput: np.ndarray) -> None:
        from scipy.interpolate import make_interp_spline

        knots = np.sort(np.asarray(wavelength))
        values = np.array(throughput)
        values[[0, -1]] = 0.0
        self.limits = (knots.min(), knots.max())
        self._spline = make_interp_spline(knots, values, k=3, bc_type=("clamped", "clamped"))

    def __call__(self, wavelength: np.ndarray) -> np.ndarray:
        """Throughput at the given wavelengths."""
        return self._spline(np.clip(wavelength, *self.limits))


def unit_throughput(wavelength: np.ndarray) -> np.ndarray:
    """Throughput of one at every wavelength."""
    return np.ones_like(wavelength)
