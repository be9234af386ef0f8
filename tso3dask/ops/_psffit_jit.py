"""Compiled bounded least-squares fit of a pixel-integrated Gaussian, one per integration.

The free parameters are (flux, FWHM along x, FWHM along y); the centre is fixed.
The optimiser is the trust-region reflective method for bounded least squares
(Branch, Coleman & Li 1999, SIAM J. Sci. Comput. 21, 1) with the step of
More (1978, Lecture Notes in Mathematics 630, 105). Its start, stopping rules
and forward-difference Jacobian are those that the field's pipeline uses
through `scipy.optimize.least_squares`, because they decide the result wherever
the fit stops before it has converged: the gradient test is absolute, hence
data in units that make the numbers small (Jy) end the fit early.

This module imports numba when it is imported: load it inside functions only.
"""

from __future__ import annotations

import math

import numpy as np

from tso3dask.ops._centroid_jit import box_edges, centroid_one
from tso3dask.ops._jit import helper, jit
from tso3dask.ops._lsq3_jit import Vector, norm3, singular, triangular
from tso3dask.ops._median_jit import median_of_runs, median_scratch
from tso3dask.ops._pairwise_jit import pairwise_sum
from tso3dask.ops._psfmodel_jit import derivatives, residuals, take_profile
from tso3dask.ops._trust_region_jit import (
    bounded_step,
    damped_step,
    interior,
    next_radius,
    scaling,
    trial_point,
)

__all__ = ["centroid_fit_block"]

_FTOL = 1.0e-8
_XTOL = 1.0e-7
_GTOL = 1.0e-8
_MAX_EVALUATIONS = 100


@helper
def _minimum(
    p: Vector,
    width: float,
    geometry: tuple[float, float, int, int, int, int],
    pixels: np.ndarray,
    values: np.ndarray,
    n: int,
    profiles: np.ndarray,
    work: np.ndarray,
) -> tuple[bool, Vector]:
    """Fitted parameters; False with them when a residual becomes not finite."""
    x, y, x0, nx, y0, ny = geometry
    p = interior(p[0], np.inf), interior(p[1], width), interior(p[2], width)
    take_profile(x, x0, nx, p[1], profiles, 0)
    take_profile(y, y0, ny, p[2], profiles, 1)
    cost = residuals(p[0], profiles, 0, 1, pixels, values, n, work, 3)
    gradient = (0.0, 0.0, 0.0)
    delta = 0.0
    alpha = 0.0
    evaluations = 1
    moved = True
    while math.isfinite(cost):
        if moved:
            gradient = derivatives(p, width, geometry, profiles, pixels, n, work)
        v, diagonal, optimality = scaling(p, gradient, width)
        if not math.isfinite(optimality):
            break
        d = math.sqrt(v[0]), math.sqrt(v[1]), math.sqrt(v[2])
        if evaluations == 1:
            delta = norm3((p[0] / d[0], p[1] / d[1], p[2] / d[2]))
        if optimality < _GTOL or evaluations == _MAX_EVALUATIONS:
            return True, p
        r, qtf = triangular(work, n, d, diagonal)
        s, suf, v0, v1, v2 = singular(r, qtf)
        g = d[0] * gradient[0], d[1] * gradient[1], d[2] * gradient[2]
        theta = max(0.995, 1.0 - optimality)
        moved = False
        while not moved and evaluations < _MAX_EVALUATIONS:
            hat, alpha = damped_step(n, suf, s, v0, v1, v2, delta, alpha)
            hat, predicted = bounded_step(p, r, g, d, width, delta, theta, hat)
            step = d[0] * hat[0], d[1] * hat[1], d[2] * hat[2]
            trial = trial_point(p, step, width)
            take_profile(x, x0, nx, trial[1], profiles, 2)
            take_profile(y, y0, ny, trial[2], profiles, 3)
            new_cost = residuals(trial[0], profiles, 2, 3, pixels, values, n, work, 4)
            evaluations += 1
            new_delta, ratio = next_radius(delta, cost - new_cost, predicted, norm3(hat))
            done = (cost - new_cost < _FTOL * cost and ratio > 0.25) or (
                norm3(step) < _XTOL * (_XTOL + norm3(p))
            )
            moved = new_cost < cost
            if moved:
                p = trial
            if done:
                return True, p
            alpha *= delta / new_delta
            delta = new_delta
        cost = _accepted(moved, cost, new_cost, n, max(nx, ny), profiles, work)
    return False, p


@helper
def _accepted(
    moved: bool,
    cost: float,
    new_cost: float,
    n: int,
    width: int,
    profiles: np.ndarray,
    work: np.ndarray,
) -> float:
    """Take over residuals and profiles of a step that was made; returns the cost."""
    if moved:
        for k in range(n):
            work[3, k] = work[4, k]
        for k in range(width):
            profiles[0, k] = profiles[2, k]
            profiles[1, k] = profiles[3, k]
    return cost if new_cost >= cost else new_cost


@helper
def _fitted(
    image: np.ndarray,
    dq: np.ndarray,
    background: np.float32,
    x: float,
    y: float,
    width: int,
    pixels: np.ndarray,
    valid: np.ndarray,
    values: np.ndarray,
    profiles: np.ndarray,
    work: np.ndarray,
) -> Vector:
    """Flux and both FWHM fitted in a box around (x, y); NaN where there is no fit."""
    nothing = (np.nan, np.nan, np.nan)
    if not (math.isfinite(x) and math.isfinite(y)):
        return nothing
    y0, y1 = box_edges(y, width, image.shape[0])
    x0, x1 = box_edges(x, width, image.shape[1])
    n = int(np.int64(0))  # not a literal, for which numba would compile the helpers once more
    for row in range(y0, y1):
        for column in range(x0, x1):
            value = image[row, column] - background
            pixels[0, n] = row - y0
            pixels[1, n] = column - x0
            valid[n] = value
            values[n] = value
            n += int((dq[row, column] & np.uint32(1)) == 0) & int(value == value)
    flux = np.float64(pairwise_sum(valid, n))
    if n < 3 or not math.isfinite(flux) or flux < 0.0:
        return nothing
    geometry = (x, y, x0, x1 - x0, y0, y1 - y0)
    start = (flux, width / 2.0, width / 2.0)
    good, fit = _minimum(start, float(width), geometry, pixels, values, n, profiles, work)
    return fit if good else nothing


@jit
def centroid_fit_block(
    sci: np.ndarray,
    dq: np.ndarray,
    runs: np.ndarray,
    box: tuple[int, int, int, int],
    width: int,
    cx: np.ndarray,
    cy: np.ndarray,
    fits: np.ndarray,
) -> None:
    """Background, centroid and fit of every integration; ``fits`` is (integration, 3).

    Without ``runs`` (no row) the data have no background and the centres in
    ``cx``, ``cy`` are used as they are.
    """
    nints, ny, nx = sci.shape
    scratch, cell = median_scratch(ny * nx)
    moments = np.empty((3, (box[1] - box[0]) * (box[3] - box[2])))
    size = width * width + 3
    work = np.empty((8, size))
    profiles = np.empty((4, width))
    pixels = np.empty((2, size), np.int64)
    valid = np.empty(size, np.float32)
    values = np.empty(size)
    for i in range(nints):
        background = np.float32(0.0)
        if runs.shape[0] > 0:
            background = median_of_runs(sci[i].reshape(ny * nx), runs, scratch, cell)
            cx[i], cy[i] = centroid_one(sci[i], dq[i], background, box, moments)
        flux, fwhm_x, fwhm_y = _fitted(
            sci[i], dq[i], background, cx[i], cy[i], width, pixels, valid, values, profiles, work
        )
        fits[i, 0] = flux
        fits[i, 1] = fwhm_x
        fits[i, 2] = fwhm_y
