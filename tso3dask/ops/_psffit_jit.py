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
from tso3dask.ops._lsq3_jit import dot, norm3, singular, triangular
from tso3dask.ops._median_jit import median_of_runs, median_scratch
from tso3dask.ops._photometry_jit import jit, pairwise_sum_f4
from tso3dask.ops._psfmodel_jit import fractions, jacobian, residuals
from tso3dask.ops._trust_region_jit import (
    bounded_step,
    first_radius,
    interior,
    next_radius,
    scaling,
    step_to,
    trust_region_step,
)

__all__ = ["centroid_fit_block", "fit_block", "fit_one", "work_size"]

_FTOL = 1.0e-8
_XTOL = 1.0e-7
_GTOL = 1.0e-8
_MAX_EVALUATIONS = 100


@jit
def work_size(box: int) -> tuple[int, int]:
    """Shape of the scratch array that `fit_one` needs for a box of this width."""
    return 8, box * box + 3


@jit
def _gradient(jac: np.ndarray, residual: np.ndarray, n: int, out: np.ndarray) -> None:
    """Gradient of half the sum of squared residuals."""
    for k in range(3):
        out[k] = dot(jac[k], residual, n)


@jit
def _minimise(
    p: np.ndarray,
    width: float,
    geometry: tuple[float, float, int, int, int, int],
    pixels: np.ndarray,
    values: np.ndarray,
    edges: np.ndarray,
    work: np.ndarray,
) -> bool:
    """Minimise over ``p`` in place; False when a residual becomes not finite."""
    x, y, x0, nx, y0, ny = geometry
    n = values.size
    jac, residual, a = work[0:3], work[3], work[4:8]
    vectors = np.empty((11, 3))
    gradient, v, dv, d, diag = vectors[0], vectors[1], vectors[2], vectors[3], vectors[4]
    qtf, s, suf, hat, trial = vectors[5], vectors[6], vectors[7], vectors[8], vectors[9]
    upper = vectors[10]
    matrices = np.empty((3, 3, 3))
    r, u, basis = matrices[0], matrices[1], matrices[2]
    upper[0], upper[1], upper[2] = np.inf, width, width
    for k in range(3):
        p[k] = interior(p[k], upper[k])
    fractions(x, x0, nx, p[1], edges[0])
    fractions(y, y0, ny, p[2], edges[1])
    cost = residuals(p[0], edges[0], edges[1], pixels, values, residual)
    delta = 0.0
    alpha = 0.0
    evaluations = 1
    moved = True
    while math.isfinite(cost):
        if moved:
            jacobian(p, width, geometry, edges, pixels, n, jac)
            _gradient(jac, residual, n, gradient)
        largest = scaling(p, gradient, upper, v, dv)
        if evaluations == 1:
            delta = first_radius(p, v)
        if largest < _GTOL or evaluations == _MAX_EVALUATIONS:
            return True
        for k in range(3):
            d[k] = math.sqrt(v[k])
            diag[k] = gradient[k] * dv[k]
            v[k] = d[k] * gradient[k]
        triangular(jac, residual, n, d, diag, a, r, qtf)
        u[:, :] = r
        singular(u, qtf, s, basis, suf)
        theta = max(0.995, 1.0 - largest)
        moved = False
        while not moved and evaluations < _MAX_EVALUATIONS:
            alpha = trust_region_step(n, suf, s, basis, delta, alpha, hat)
            predicted = bounded_step(p, r, v, d, upper, delta, theta, hat)
            step = step_to(p, d, hat, upper, trial)
            fractions(x, x0, nx, trial[1], edges[2])
            fractions(y, y0, ny, trial[2], edges[3])
            new_cost = residuals(trial[0], edges[2], edges[3], pixels, values, a[0])
            evaluations += 1
            new_delta, ratio = next_radius(delta, cost - new_cost, predicted, norm3(hat))
            done = (cost - new_cost < _FTOL * cost and ratio > 0.25) or (
                step < _XTOL * (_XTOL + norm3(p))
            )
            moved = new_cost < cost
            if moved:
                p[:] = trial
            if done:
                return True
            alpha *= delta / new_delta
            delta = new_delta
        cost = _accept(moved, cost, new_cost, n, residual, a[0], edges)
    return False


@jit
def _accept(
    moved: bool,
    cost: float,
    new_cost: float,
    n: int,
    residual: np.ndarray,
    new_residual: np.ndarray,
    edges: np.ndarray,
) -> float:
    """Take over residuals and profiles of a step that was made; returns the cost."""
    if math.isnan(new_cost):
        return new_cost
    if not moved:
        return cost
    for k in range(n):
        residual[k] = new_residual[k]
    edges[0, :] = edges[2]
    edges[1, :] = edges[3]
    return new_cost


@jit
def fit_one(
    image: np.ndarray,
    dq: np.ndarray,
    background: np.float32,
    x: float,
    y: float,
    width: int,
    pixels: np.ndarray,
    values: np.ndarray,
    edges: np.ndarray,
    work: np.ndarray,
    fit: np.ndarray,
) -> None:
    """Fit flux and both FWHM in a box around (x, y); ``fit`` is NaN where it cannot be."""
    fit[:] = np.nan
    ny, nx = image.shape
    y0, y1 = box_edges(y, width, ny)
    x0, x1 = box_edges(x, width, nx)
    n = 0
    valid = work[4].view(np.float32)
    for row in range(y0, y1):
        for column in range(x0, x1):
            value = image[row, column] - background
            if (dq[row, column] & np.uint32(1)) != 0 or math.isnan(value):
                continue
            pixels[0, n] = row - y0
            pixels[1, n] = column - x0
            valid[n] = value
            values[n] = value
            n += 1
    flux = pairwise_sum_f4(valid, 0, n)
    if n < 3 or not math.isfinite(flux) or flux < 0.0:
        return
    fit[0] = flux
    fit[1] = width / 2.0
    fit[2] = width / 2.0
    geometry = (x, y, x0, x1 - x0, y0, y1 - y0)
    if not _minimise(fit, float(width), geometry, pixels[:, :n], values[:n], edges, work):
        fit[:] = np.nan


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
    """Background, centroid and fit of every integration; ``fits`` is (integration, 3)."""
    nints, ny, nx = sci.shape
    scratch, cell = median_scratch(ny * nx)
    moments = np.empty((3, (box[1] - box[0]) * (box[3] - box[2])))
    work = np.empty(work_size(width))
    edges = np.empty((4, width))
    pixels = np.empty((2, width * width), np.int64)
    values = np.empty(width * width)
    for i in range(nints):
        background = median_of_runs(sci[i].reshape(ny * nx), runs, scratch, cell)
        cx[i], cy[i] = centroid_one(sci[i], dq[i], background, box, moments)
        fits[i] = np.nan
        if math.isfinite(cx[i]) and math.isfinite(cy[i]):
            fit_one(
                sci[i],
                dq[i],
                background,
                cx[i],
                cy[i],
                width,
                pixels,
                values,
                edges,
                work,
                fits[i],
            )


@jit
def fit_block(
    sci: np.ndarray,
    dq: np.ndarray,
    cx: np.ndarray,
    cy: np.ndarray,
    width: int,
    fits: np.ndarray,
) -> None:
    """Fit every background-subtracted integration at its own centre."""
    work = np.empty(work_size(width))
    edges = np.empty((4, width))
    pixels = np.empty((2, width * width), np.int64)
    values = np.empty(width * width)
    for i in range(sci.shape[0]):
        fits[i] = np.nan
        if math.isfinite(cx[i]) and math.isfinite(cy[i]):
            fit_one(
                sci[i],
                dq[i],
                np.float32(0.0),
                cx[i],
                cy[i],
                width,
                pixels,
                values,
                edges,
                work,
                fits[i],
            )
