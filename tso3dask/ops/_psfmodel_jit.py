"""Compiled Gaussian integrated over pixels: profiles, residuals, derivatives.

This module imports numba when it is imported: load it inside functions only.
"""

from __future__ import annotations

import math

import numpy as np

from tso3dask.ops._lsq3_jit import dot
from tso3dask.ops._photometry_jit import EPS, jit

__all__ = ["FWHM_TO_SIGMA", "fractions", "jacobian", "residuals"]

FWHM_TO_SIGMA = 1.0 / (2.0 * math.sqrt(2.0 * math.log(2.0)))
_DIFF_STEP = math.sqrt(EPS)


@jit
def fractions(center: float, first: int, n: int, fwhm: float, out: np.ndarray) -> None:
    """Twice the fraction of a 1-D Gaussian that falls on each of ``n`` pixels."""
    scale = math.sqrt(2.0) * (fwhm * FWHM_TO_SIGMA)
    left = math.erf((first - center - 0.5) / scale)
    for i in range(n):
        right = math.erf((first + i - center + 0.5) / scale)
        out[i] = right - left
        left = right


@jit
def residuals(
    flux: float,
    fx: np.ndarray,
    fy: np.ndarray,
    pixels: np.ndarray,
    values: np.ndarray,
    out: np.ndarray,
) -> float:
    """Model minus data at the valid pixels; returns half the sum of squares."""
    amplitude = flux / 4.0
    for k in range(values.size):
        out[k] = amplitude * (fx[pixels[1, k]] * fy[pixels[0, k]]) - values[k]
    return 0.5 * dot(out, out, values.size)


@jit
def _difference_step(value: float, upper: float) -> float:
    """Forward-difference step of a parameter in [0, upper], turned back at the bound."""
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
    return step


@jit
def jacobian(
    p: np.ndarray,
    upper: float,
    geometry: tuple[float, float, int, int, int, int],
    edges: np.ndarray,
    pixels: np.ndarray,
    n: int,
    jac: np.ndarray,
) -> None:
    """Differentiate the residuals by flux (exact) and both FWHM (forward differences)."""
    x, y, x0, nx, y0, ny = geometry
    fx, fy, gx, gy = edges[0], edges[1], edges[2], edges[3]
    step = _difference_step(p[1], upper)
    moved = p[1] + step
    fractions(x, x0, nx, moved, gx)
    by_x = p[0] / 4.0 / (moved - p[1])
    for i in range(nx):
        gx[i] = (gx[i] - fx[i]) * by_x
    step = _difference_step(p[2], upper)
    moved = p[2] + step
    fractions(y, y0, ny, moved, gy)
    by_y = p[0] / 4.0 / (moved - p[2])
    for i in range(ny):
        gy[i] = (gy[i] - fy[i]) * by_y
    for k in range(n):
        row = pixels[0, k]
        column = pixels[1, k]
        jac[0, k] = 0.25 * (fx[column] * fy[row])
        jac[1, k] = gx[column] * fy[row]
        jac[2, k] = fx[column] * gy[row]
