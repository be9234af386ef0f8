"""Compiled Gaussian integrated over pixels: profiles, residuals, derivatives.

The pixels of a fit lie in ``values`` (pixel,) with their row and column in the
box in ``pixels`` (2, pixel); profiles lie in rows of ``profiles`` (4, box width).

This module imports numba when it is imported: load it inside functions only.
"""

from __future__ import annotations

import math

import numpy as np

from tso3dask.ops._jit import helper
from tso3dask.ops._lsq3_jit import EPS, Vector

__all__ = ["FWHM_TO_SIGMA", "derivatives", "residuals", "take_profile"]

FWHM_TO_SIGMA = 1.0 / (2.0 * math.sqrt(2.0 * math.log(2.0)))
_DIFF_STEP = math.sqrt(EPS)


@helper
def take_profile(center: float, first: int, n: int, fwhm: float, out: np.ndarray, row: int) -> None:
    """Fill a row with twice the fraction of a 1-D Gaussian that falls on each pixel."""
    scale = math.sqrt(2.0) * (fwhm * FWHM_TO_SIGMA)
    left = math.erf((first - center - 0.5) / scale)
    for i in range(n):
        right = math.erf((first + i - center + 0.5) / scale)
        out[row, i] = right - left
        left = right


@helper(fastmath={"reassoc", "contract", "nsz"})
def residuals(
    flux: float,
    profiles: np.ndarray,
    along_x: int,
    along_y: int,
    pixels: np.ndarray,
    values: np.ndarray,
    n: int,
    out: np.ndarray,
    row: int,
) -> float:
    """Model minus data at the valid pixels, into a row; returns half the sum of squares."""
    amplitude = flux / 4.0
    total = 0.0
    for k in range(n):
        value = (
            amplitude * (profiles[along_x, pixels[1, k]] * profiles[along_y, pixels[0, k]])
            - values[k]
        )
        out[row, k] = value
        total += value * value
    return 0.5 * total


@helper
def _moved(value: float, upper: float) -> float:
    """Forward-difference neighbour of a parameter in [0, upper], turned back at the bound."""
    step = _DIFF_STEP * abs(value)
    if (value + step) - value == 0.0:
        step = _DIFF_STEP * max(1.0, abs(value))
    if value + step > upper:
        if step <= max(value, upper - value):
            step = -step
        elif upper - value >= value:
            step = upper - value
        else:
            step = -value
    return value + step


@helper(fastmath={"reassoc", "contract", "nsz"})
def _columns(profiles: np.ndarray, pixels: np.ndarray, n: int, work: np.ndarray) -> Vector:
    """Columns of the Jacobian from profiles and their derivatives; returns the gradient."""
    g0 = g1 = g2 = 0.0
    for k in range(n):
        y = pixels[0, k]
        x = pixels[1, k]
        by_flux = 0.25 * (profiles[0, x] * profiles[1, y])
        by_x = profiles[2, x] * profiles[1, y]
        by_y = profiles[0, x] * profiles[3, y]
        work[0, k] = by_flux
        work[1, k] = by_x
        work[2, k] = by_y
        residual = work[3, k]
        g0 += by_flux * residual
        g1 += by_x * residual
        g2 += by_y * residual
    return g0, g1, g2


@helper
def derivatives(
    p: Vector,
    width: float,
    geometry: tuple[float, float, int, int, int, int],
    profiles: np.ndarray,
    pixels: np.ndarray,
    n: int,
    work: np.ndarray,
) -> Vector:
    """Fill rows 0 to 2 of ``work`` with the Jacobian; returns the gradient.

    The derivative by flux is exact, those by FWHM are forward differences of the
    profiles in rows 0 (x) and 1 (y). Row 3 of ``work`` holds the residuals.
    """
    x, y, x0, nx, y0, ny = geometry
    at = _moved(p[1], width)
    take_profile(x, x0, nx, at, profiles, 2)
    by_x = p[0] / 4.0 / (at - p[1])
    for i in range(nx):
        profiles[2, i] = (profiles[2, i] - profiles[0, i]) * by_x
    at = _moved(p[2], width)
    take_profile(y, y0, ny, at, profiles, 3)
    by_y = p[0] / 4.0 / (at - p[2])
    for i in range(ny):
        profiles[3, i] = (profiles[3, i] - profiles[1, i]) * by_y
    return _columns(profiles, pixels, n, work)
