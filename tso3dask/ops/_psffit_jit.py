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

from tso3dask.ops._centroid_jit import background_one, box_edges, centroid_one
from tso3dask.ops._photometry_jit import jit, pairwise_sum_f4

__all__ = ["FWHM_TO_SIGMA", "centroid_fit_block", "fit_block", "fit_one", "work_size"]

FWHM_TO_SIGMA = 1.0 / (2.0 * math.sqrt(2.0 * math.log(2.0)))
_EPS = 2.220446049250313e-16
_DIFF_STEP = math.sqrt(_EPS)
_FTOL = 1.0e-8
_XTOL = 1.0e-7
_GTOL = 1.0e-8
_MAX_EVALUATIONS = 100
_INTERIOR = 1.0e-10
_TR_RTOL = 0.01
_TR_ITERATIONS = 10
_SMALLEST = 5.0e-324
_LARGE = np.inf


@jit
def work_size(box: int) -> tuple[int, int]:
    """Shape of the scratch array that `fit_one` needs for a box of this width."""
    return 8, box * box + 3


# --- the model -------------------------------------------------------------------


@jit
def _fractions(center: float, first: int, n: int, fwhm: float, out: np.ndarray) -> None:
    """Twice the fraction of a 1-D Gaussian that falls on each of ``n`` pixels."""
    scale = math.sqrt(2.0) * (fwhm * FWHM_TO_SIGMA)
    left = math.erf((first - center - 0.5) / scale)
    for i in range(n):
        right = math.erf((first + i - center + 0.5) / scale)
        out[i] = right - left
        left = right


@jit
def _residuals(
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
    return 0.5 * _dot(out, out, values.size)


@jit(fastmath={"reassoc", "contract", "nsz"})
def _dot(a: np.ndarray, b: np.ndarray, n: int) -> float:
    """Scalar product of the first ``n`` elements, in any order of additions."""
    total = 0.0
    for k in range(n):
        total += a[k] * b[k]
    return total


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
def _jacobian(
    p: np.ndarray,
    upper: float,
    geometry: tuple[float, float, int, int, int, int],
    edges: np.ndarray,
    pixels: np.ndarray,
    n: int,
    jac: np.ndarray,
) -> None:
    """Derivatives of the residuals by flux (exact) and both FWHM (forward differences)."""
    x, y, x0, nx, y0, ny = geometry
    fx, fy, gx, gy = edges[0], edges[1], edges[2], edges[3]
    step = _difference_step(p[1], upper)
    moved = p[1] + step
    _fractions(x, x0, nx, moved, gx)
    by_x = p[0] / 4.0 / (moved - p[1])
    for i in range(nx):
        gx[i] = (gx[i] - fx[i]) * by_x
    step = _difference_step(p[2], upper)
    moved = p[2] + step
    _fractions(y, y0, ny, moved, gy)
    by_y = p[0] / 4.0 / (moved - p[2])
    for i in range(ny):
        gy[i] = (gy[i] - fy[i]) * by_y
    for k in range(n):
        row = pixels[0, k]
        column = pixels[1, k]
        jac[0, k] = 0.25 * (fx[column] * fy[row])
        jac[1, k] = gx[column] * fy[row]
        jac[2, k] = fx[column] * gy[row]


# --- 3x3 linear algebra ------------------------------------------------------------


@jit
def _triangular(
    jac: np.ndarray,
    residual: np.ndarray,
    n: int,
    d: np.ndarray,
    diag: np.ndarray,
    a: np.ndarray,
    r: np.ndarray,
    qtf: np.ndarray,
) -> None:
    """QR factor of the scaled Jacobian over sqrt(diag), and Q^T of (residual, 0).

    Householder reflections on the ``n + 3`` rows; ``a`` holds the columns (3)
    and the right-hand side (1).
    """
    rows = n + 3
    for c in range(3):
        for k in range(n):
            a[c, k] = jac[c, k] * d[c]
        for k in range(3):
            a[c, n + k] = 0.0
        a[c, n + c] = math.sqrt(diag[c])
    for k in range(n):
        a[3, k] = residual[k]
    for k in range(3):
        a[3, n + k] = 0.0
    for c in range(3):
        _reflect(a, c, rows, r)
    for c in range(3):
        qtf[c] = a[3, c]


@jit
def _reflect(a: np.ndarray, c: int, rows: int, r: np.ndarray) -> None:
    """One Householder reflection: clears column ``c`` below row ``c``, updates the rest."""
    v = a[c, c:rows]
    norm = math.sqrt(_dot(v, v, v.size))
    for j in range(3):
        if j < c:
            r[c, j] = 0.0
    if norm == 0.0:
        r[c, c] = 0.0
        for j in range(c + 1, 3):
            r[c, j] = a[j, c]
        return
    alpha = -norm if v[0] > 0.0 else norm
    v[0] -= alpha
    beta = -1.0 / (alpha * v[0])
    r[c, c] = alpha
    for j in range(c + 1, 4):
        w = a[j, c:rows]
        tau = beta * _dot(v, w, v.size)
        for k in range(v.size):
            w[k] -= tau * v[k]
        if j < 3:
            r[c, j] = w[0]


@jit
def _rotate_columns(u: np.ndarray, v: np.ndarray, i: int, j: int) -> bool:
    """One-sided Jacobi rotation that makes columns ``i`` and ``j`` of ``u`` orthogonal."""
    alpha = u[0, i] * u[0, i] + u[1, i] * u[1, i] + u[2, i] * u[2, i]
    beta = u[0, j] * u[0, j] + u[1, j] * u[1, j] + u[2, j] * u[2, j]
    gamma = u[0, i] * u[0, j] + u[1, i] * u[1, j] + u[2, i] * u[2, j]
    if gamma == 0.0 or abs(gamma) <= _EPS * math.sqrt(alpha * beta):
        return False
    zeta = (beta - alpha) / (2.0 * gamma)
    t = math.copysign(1.0, zeta) / (abs(zeta) + math.hypot(1.0, zeta))
    cosine = 1.0 / math.hypot(1.0, t)
    sine = cosine * t
    for k in range(3):
        ui, uj = u[k, i], u[k, j]
        u[k, i] = cosine * ui - sine * uj
        u[k, j] = sine * ui + cosine * uj
        vi, vj = v[k, i], v[k, j]
        v[k, i] = cosine * vi - sine * vj
        v[k, j] = sine * vi + cosine * vj
    return True


@jit
def _singular(
    r: np.ndarray, qtf: np.ndarray, s: np.ndarray, v: np.ndarray, suf: np.ndarray
) -> None:
    """Singular values and right vectors of ``r`` (overwritten), and S U^T qtf."""
    for i in range(3):
        for j in range(3):
            v[i, j] = 1.0 if i == j else 0.0
    for _ in range(30):
        turned = _rotate_columns(r, v, 0, 1)
        turned = _rotate_columns(r, v, 0, 2) or turned
        turned = _rotate_columns(r, v, 1, 2) or turned
        if not turned:
            break
    for j in range(3):
        s[j] = math.sqrt(r[0, j] ** 2 + r[1, j] ** 2 + r[2, j] ** 2)
        suf[j] = r[0, j] * qtf[0] + r[1, j] * qtf[1] + r[2, j] * qtf[2]


# --- the trust region ---------------------------------------------------------------


@jit
def _norm(a: np.ndarray) -> float:
    """Euclidean length of a vector of three."""
    return math.sqrt(a[0] * a[0] + a[1] * a[1] + a[2] * a[2])


@jit
def _combine(v: np.ndarray, c0: float, c1: float, c2: float, out: np.ndarray) -> None:
    """Minus the sum of the columns of ``v`` with these coefficients."""
    for k in range(3):
        out[k] = -(v[k, 0] * c0 + v[k, 1] * c1 + v[k, 2] * c2)


@jit
def _phi(suf: np.ndarray, s: np.ndarray, alpha: float, delta: float) -> tuple[float, float]:
    """Length of the damped step minus the radius, and its derivative by the damping."""
    length = 0.0
    slope = 0.0
    for k in range(3):
        denominator = s[k] * s[k] + alpha
        length += (suf[k] / denominator) ** 2
        slope += suf[k] ** 2 / denominator**3
    length = math.sqrt(length)
    return length - delta, -slope / length


@jit
def _trust_region_step(
    m: int,
    suf: np.ndarray,
    s: np.ndarray,
    v: np.ndarray,
    delta: float,
    alpha: float,
    step: np.ndarray,
) -> float:
    """Least-squares step no longer than ``delta``; returns its damping parameter."""
    full_rank = min(s[0], s[1], s[2]) > _EPS * m * max(s[0], s[1], s[2])
    lower = 0.0
    if full_rank:
        _combine(v, suf[0] / s[0] ** 2, suf[1] / s[1] ** 2, suf[2] / s[2] ** 2, step)
        if _norm(step) <= delta:
            return 0.0
        phi, slope = _phi(suf, s, 0.0, delta)
        lower = -phi / slope
    upper = _norm(suf) / delta
    if not full_rank and alpha == 0.0:
        alpha = max(0.001 * upper, math.sqrt(lower * upper))
    for _ in range(_TR_ITERATIONS):
        if alpha < lower or alpha > upper:
            alpha = max(0.001 * upper, math.sqrt(lower * upper))
        phi, slope = _phi(suf, s, alpha, delta)
        if phi < 0.0:
            upper = alpha
        ratio = phi / slope
        lower = max(lower, alpha - ratio)
        alpha -= (phi + delta) * ratio / delta
        if abs(phi) < _TR_RTOL * delta:
            break
    c0 = suf[0] / (s[0] * s[0] + alpha)
    c1 = suf[1] / (s[1] * s[1] + alpha)
    c2 = suf[2] / (s[2] * s[2] + alpha)
    _combine(v, c0, c1, c2, step)
    length = _norm(step)
    for k in range(3):
        step[k] *= delta / length
    return alpha


@jit
def _stride_to_bound(x: np.ndarray, step: np.ndarray, upper: np.ndarray) -> float:
    """How many times ``step`` fits between ``x`` and the nearest bound it meets."""
    stride = np.inf
    for k in range(3):
        if step[k] != 0.0:
            stride = min(stride, max(-x[k] / step[k], (upper[k] - x[k]) / step[k]))
    return stride


@jit
def _curvature(r: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    """Quadratic form a^T (J^T J + diag) b, from the triangular factor of both."""
    total = 0.0
    for i in range(3):
        left = 0.0
        right = 0.0
        for j in range(i, 3):
            left += r[i, j] * a[j]
            right += r[i, j] * b[j]
        total += left * right
    return total


@jit
def _dot3(a: np.ndarray, b: np.ndarray) -> float:
    """Scalar product of two vectors of three."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@jit
def _minimum_on_line(a: float, b: float, low: float, high: float) -> float:
    """Where a t^2 + b t is smallest for t in [low, high]."""
    best = low
    if high * (a * high + b) < low * (a * low + b):
        best = high
    if a != 0.0:
        middle = -0.5 * b / a
        if low < middle < high and middle * (a * middle + b) < best * (a * best + b):
            best = middle
    return best


@jit
def _inside(x: np.ndarray, step: np.ndarray, upper: np.ndarray) -> bool:
    """Whether ``x + step`` respects all bounds."""
    for k in range(3):
        if x[k] + step[k] < 0.0 or x[k] + step[k] > upper[k]:
            return False
    return True


@jit
def _reflected(
    x: np.ndarray,
    r: np.ndarray,
    g: np.ndarray,
    d: np.ndarray,
    upper: np.ndarray,
    delta: float,
    theta: float,
    stride: float,
    on_bound: np.ndarray,
    hat: np.ndarray,
    out: np.ndarray,
) -> float:
    """Best step along the direction mirrored at the bound; returns its model value.

    ``on_bound`` is the scaled step that ends on the bound, ``hat`` the mirrored
    direction; the scaled step is left in ``out``. Infinite when there is none.
    """
    real = np.empty(3)
    point = np.empty(3)
    for k in range(3):
        real[k] = d[k] * hat[k]
        point[k] = x[k] + d[k] * on_bound[k]
    a = _dot3(hat, hat)
    b = _dot3(on_bound, hat)
    c = _dot3(on_bound, on_bound) - delta * delta
    root = math.sqrt(b * b - a * c)
    q = -(b + math.copysign(root, b))
    to_region = max(q / a, c / q)
    to_bound = _stride_to_bound(point, real, upper)
    length = min(to_bound, to_region)
    if not length > 0.0:
        return np.inf
    low = (1.0 - theta) * stride / length
    high = theta * to_bound if length == to_bound else to_region
    if low > high:
        return np.inf
    qa = 0.5 * _curvature(r, hat, hat)
    qb = _dot3(g, hat) + _curvature(r, on_bound, hat)
    best = _minimum_on_line(qa, qb, low, high)
    for k in range(3):
        out[k] = on_bound[k] + best * hat[k]
    constant = 0.5 * _curvature(r, on_bound, on_bound) + _dot3(g, on_bound)
    return best * (qa * best + qb) + constant


@jit
def _bounded_step(
    x: np.ndarray,
    r: np.ndarray,
    g: np.ndarray,
    d: np.ndarray,
    upper: np.ndarray,
    delta: float,
    theta: float,
    hat: np.ndarray,
) -> float:
    """Replace the scaled step ``hat`` by the best one inside the bounds.

    Candidates are the step cut short of the bound, the step mirrored at the
    bound and the scaled steepest descent. Returns the predicted reduction.
    """
    step = d * hat
    if _inside(x, step, upper):
        return -(0.5 * _curvature(r, hat, hat) + _dot3(g, hat))
    stride = _stride_to_bound(x, step, upper)
    mirrored = hat.copy()
    for k in range(3):
        if step[k] != 0.0:
            hit = max(-x[k] / step[k], (upper[k] - x[k]) / step[k])
            if hit == stride:
                mirrored[k] = -mirrored[k]
    on_bound = hat * stride
    other = np.empty(3)
    other_value = _reflected(x, r, g, d, upper, delta, theta, stride, on_bound, mirrored, other)
    cut = on_bound * theta
    cut_value = 0.5 * _curvature(r, cut, cut) + _dot3(g, cut)
    descent = -g
    to_bound = _stride_to_bound(x, d * descent, upper)
    to_region = delta / _norm(descent)
    high = theta * to_bound if to_bound < to_region else to_region
    a = 0.5 * _curvature(r, descent, descent)
    b = _dot3(g, descent)
    best = _minimum_on_line(a, b, 0.0, high)
    value = best * (a * best + b)
    if cut_value < other_value and cut_value < value:
        hat[:] = cut
        return -cut_value
    if other_value < cut_value and other_value < value:
        hat[:] = other
        return -other_value
    hat[:] = descent * best
    return -value


@jit
def _scaling(
    x: np.ndarray, gradient: np.ndarray, upper: np.ndarray, v: np.ndarray, dv: np.ndarray
) -> float:
    """Coleman-Li scaling and its derivative; returns the scaled gradient's largest element."""
    largest = 0.0
    for k in range(3):
        v[k] = 1.0
        dv[k] = 0.0
        if gradient[k] < 0.0 and upper[k] < np.inf:
            v[k] = upper[k] - x[k]
            dv[k] = -1.0
        elif gradient[k] > 0.0:
            v[k] = x[k]
            dv[k] = 1.0
        largest = max(largest, abs(gradient[k] * v[k]))
    return largest


@jit
def _interior(x: float, upper: float) -> float:
    """Start value at least 1e-10 away from the bounds 0 and ``upper``."""
    if x <= min(upper - x, _INTERIOR):
        return _INTERIOR
    if upper < np.inf:
        margin = _INTERIOR * max(1.0, upper)
        if upper - x <= min(x, margin):
            return upper - margin
    return x


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
    jac = work[0:3]
    residual = work[3]
    a = work[4:8]
    upper = np.array([_LARGE, width, width])
    gradient = np.empty(3)
    v = np.empty(3)
    dv = np.empty(3)
    d = np.empty(3)
    diag = np.empty(3)
    qtf = np.empty(3)
    s = np.empty(3)
    suf = np.empty(3)
    hat = np.empty(3)
    trial = np.empty(3)
    r = np.empty((3, 3))
    u = np.empty((3, 3))
    basis = np.empty((3, 3))
    delta = 0.0
    alpha = 0.0
    evaluations = 1
    for k in range(3):
        p[k] = _interior(p[k], upper[k])
    _fractions(x, x0, nx, p[1], edges[0])
    _fractions(y, y0, ny, p[2], edges[1])
    cost = _residuals(p[0], edges[0], edges[1], pixels, values, residual)
    moved = True
    while True:
        if not math.isfinite(cost):
            return False
        if moved:
            _jacobian(p, width, geometry, edges, pixels, n, jac)
            for k in range(3):
                gradient[k] = _dot(jac[k], residual, n)
        largest = _scaling(p, gradient, upper, v, dv)
        if evaluations == 1:
            delta = math.sqrt(p[0] ** 2 / v[0] + p[1] ** 2 / v[1] + p[2] ** 2 / v[2])
            if delta == 0.0:
                delta = 1.0
        if largest < _GTOL or evaluations == _MAX_EVALUATIONS:
            return True
        for k in range(3):
            d[k] = math.sqrt(v[k])
            diag[k] = gradient[k] * dv[k]
        _triangular(jac, residual, n, d, diag, a, r, qtf)
        u[:, :] = r
        _singular(u, qtf, s, basis, suf)
        theta = max(0.995, 1.0 - largest)
        g_hat = d * gradient
        moved = False
        while not moved and evaluations < _MAX_EVALUATIONS:
            alpha = _trust_region_step(n, suf, s, basis, delta, alpha, hat)
            predicted = _bounded_step(p, r, g_hat, d, upper, delta, theta, hat)
            for k in range(3):
                trial[k] = p[k] + d[k] * hat[k]
                if trial[k] <= 0.0:
                    trial[k] = _SMALLEST
                elif trial[k] >= upper[k]:
                    trial[k] = np.nextafter(upper[k], 0.0)
            _fractions(x, x0, nx, trial[1], edges[2])
            _fractions(y, y0, ny, trial[2], edges[3])
            new_cost = _residuals(trial[0], edges[2], edges[3], pixels, values, a[0])
            evaluations += 1
            reduction = cost - new_cost
            length = _norm(hat)
            ratio = 0.0
            if predicted > 0.0:
                ratio = reduction / predicted
            elif predicted == 0.0 and reduction == 0.0:
                ratio = 1.0
            new_delta = delta
            if ratio < 0.25:
                new_delta = 0.25 * length
            elif ratio > 0.75 and length > 0.95 * delta:
                new_delta = 2.0 * delta
            moved = reduction > 0.0
            step_norm = _norm(d * hat)
            done = (reduction < _FTOL * cost and ratio > 0.25) or (
                step_norm < _XTOL * (_XTOL + _norm(p))
            )
            if done or not math.isfinite(new_cost):
                if moved:
                    p[:] = trial
                return math.isfinite(new_cost)
            alpha *= delta / new_delta
            delta = new_delta
        if moved:
            p[:] = trial
            cost = new_cost
            for k in range(n):
                residual[k] = a[0, k]
            edges[0, :] = edges[2]
            edges[1, :] = edges[3]


# --- one integration, a block of integrations -----------------------------------------


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
    outside: np.ndarray,
    box: tuple[int, int, int, int],
    width: int,
    cx: np.ndarray,
    cy: np.ndarray,
    fits: np.ndarray,
) -> None:
    """Background, centroid and fit of every integration; ``fits`` is (integration, 3)."""
    nints, ny, nx = sci.shape
    scratch = np.empty(ny * nx + 1, np.float32)
    moments = np.empty((3, (box[1] - box[0]) * (box[3] - box[2])))
    work = np.empty(work_size(width))
    edges = np.empty((4, width))
    pixels = np.empty((2, width * width), np.int64)
    values = np.empty(width * width)
    for i in range(nints):
        background = background_one(sci[i].reshape(ny * nx), outside, scratch)
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
