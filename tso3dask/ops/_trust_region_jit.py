"""Compiled pieces of the bounded trust-region method for three parameters.

Trust-region reflective least squares after Branch, Coleman & Li (1999, SIAM J.
Sci. Comput. 21, 1) with the damped step of More (1978, Lecture Notes in
Mathematics 630, 105). The parameters are bounded to [0, inf), [0, width] and
[0, width]. "Scaled" vectors are divided by the root of the Coleman-Li scaling.

This module imports numba when it is imported: load it inside functions only.
"""

from __future__ import annotations

import math

import numpy as np

from tso3dask.ops._jit import helper
from tso3dask.ops._lsq3_jit import EPS, Triangle, Vector, dot3, norm3, times3

__all__ = ["bounded_step", "damped_step", "interior", "next_radius", "scaling", "trial_point"]

_INTERIOR = 1.0e-10
_RADIUS_TOLERANCE = 0.01
_DAMPING_ITERATIONS = 10
_SMALLEST = 5.0e-324


# --- step without bounds ----------------------------------------------------------------


@helper
def _phi(suf: Vector, s: Vector, alpha: float, delta: float) -> tuple[float, float]:
    """Length of the damped step minus the radius, and its derivative by the damping."""
    d0, d1, d2 = s[0] * s[0] + alpha, s[1] * s[1] + alpha, s[2] * s[2] + alpha
    length = norm3((suf[0] / d0, suf[1] / d1, suf[2] / d2))
    slope = suf[0] ** 2 / d0**3 + suf[1] ** 2 / d1**3 + suf[2] ** 2 / d2**3
    return length - delta, -slope / length


@helper
def _damping(full_rank: bool, suf: Vector, s: Vector, delta: float, alpha: float) -> float:
    """Damping with which the step is as long as the radius, to 1 %."""
    lower = 0.0
    upper = norm3(suf) / delta
    if full_rank:
        phi, slope = _phi(suf, s, 0.0, delta)
        lower = -phi / slope
    elif alpha == 0.0:
        alpha = 0.001 * upper
    for _ in range(_DAMPING_ITERATIONS):
        if alpha < lower or alpha > upper:
            alpha = max(0.001 * upper, math.sqrt(lower * upper))
        phi, slope = _phi(suf, s, alpha, delta)
        if phi < 0.0:
            upper = alpha
        ratio = phi / slope
        lower = max(lower, alpha - ratio)
        alpha -= (phi + delta) * ratio / delta
        if abs(phi) < _RADIUS_TOLERANCE * delta:
            break
    return alpha


@helper
def damped_step(
    m: int,
    suf: Vector,
    s: Vector,
    v0: Vector,
    v1: Vector,
    v2: Vector,
    delta: float,
    alpha: float,
) -> tuple[Vector, float]:
    """Least-squares step not longer than ``delta``, and its damping.

    ``s`` are the singular values, ``v0`` to ``v2`` the right singular vectors of
    the Jacobian with ``m`` rows, ``suf`` is S U^T of the residuals; ``alpha`` is
    the damping to start from.
    """
    full_rank = min(s[0], s[1], s[2]) > EPS * m * max(s[0], s[1], s[2])
    length = np.inf
    c0 = c1 = c2 = 0.0
    if full_rank:
        c0, c1, c2 = suf[0] / s[0] ** 2, suf[1] / s[1] ** 2, suf[2] / s[2] ** 2
        length = norm3((c0, c1, c2))
    factor = -1.0
    if length <= delta:
        alpha = 0.0
    else:
        alpha = _damping(full_rank, suf, s, delta, alpha)
        c0 = suf[0] / (s[0] * s[0] + alpha)
        c1 = suf[1] / (s[1] * s[1] + alpha)
        c2 = suf[2] / (s[2] * s[2] + alpha)
        factor = -delta / norm3((c0, c1, c2))
    step = (
        factor * (v0[0] * c0 + v1[0] * c1 + v2[0] * c2),
        factor * (v0[1] * c0 + v1[1] * c1 + v2[1] * c2),
        factor * (v0[2] * c0 + v1[2] * c1 + v2[2] * c2),
    )
    return step, alpha


# --- step inside the bounds --------------------------------------------------------------


@helper
def _limit(x: float, step: float, upper: float) -> float:
    """How many times a step of one parameter fits between it and the bound ahead."""
    if step == 0.0:
        return np.inf
    return -x / step if step < 0.0 else (upper - x) / step


@helper
def _stride(x: Vector, d: Vector, hat: Vector, width: float) -> tuple[float, Vector]:
    """How many times a scaled step fits inside the bounds: at all, and by parameter."""
    a = _limit(x[0], d[0] * hat[0], np.inf)
    b = _limit(x[1], d[1] * hat[1], width)
    c = _limit(x[2], d[2] * hat[2], width)
    return min(a, b, c), (a, b, c)


@helper
def _scaled(a: Vector, factor: float) -> Vector:
    """Vector times a number."""
    return a[0] * factor, a[1] * factor, a[2] * factor


@helper
def _quadratic(r: Triangle, g: Vector, a: Vector) -> float:
    """Change of the quadratic model by a scaled step."""
    b = times3(r, a)
    return 0.5 * dot3(b, b) + dot3(g, a)


@helper
def _minimum_on_line(a: float, b: float, low: float, high: float) -> float:
    """Where a t^2 + b t is smallest for t in [low, high]."""
    best = low
    if high * (a * high + b) < low * (a * low + b):
        best = high
    middle = -0.5 * b / a if a != 0.0 else low
    if low < middle < high and middle * (a * middle + b) < best * (a * best + b):
        best = middle
    return best


@helper
def _reflected(
    x: Vector,
    r: Triangle,
    g: Vector,
    d: Vector,
    width: float,
    delta: float,
    theta: float,
    stride: float,
    on_bound: Vector,
    hat: Vector,
) -> tuple[Vector, float]:
    """Best scaled step by ``on_bound`` and along the mirrored direction ``hat``, and its value.

    The value of the model is infinite when there is no room for such a step.
    """
    point = x[0] + d[0] * on_bound[0], x[1] + d[1] * on_bound[1], x[2] + d[2] * on_bound[2]
    a = dot3(hat, hat)
    b = dot3(on_bound, hat)
    c = dot3(on_bound, on_bound) - delta * delta
    q = -(b + math.copysign(math.sqrt(b * b - a * c), b))
    to_region = max(q / a, c / q)
    to_bound, _ = _stride(point, d, hat, width)
    length = min(to_bound, to_region)
    low = (1.0 - theta) * stride / length
    high = theta * to_bound if length == to_bound else to_region
    if not length > 0.0 or low > high:
        return hat, np.inf
    moved = times3(r, hat)
    base = times3(r, on_bound)
    best = _minimum_on_line(0.5 * dot3(moved, moved), dot3(g, hat) + dot3(base, moved), low, high)
    step = (
        on_bound[0] + best * hat[0],
        on_bound[1] + best * hat[1],
        on_bound[2] + best * hat[2],
    )
    return step, _quadratic(r, g, step)


@helper
def _inside(x: Vector, d: Vector, hat: Vector, width: float) -> bool:
    """Whether a scaled step ends inside the bounds."""
    a, b, c = x[0] + d[0] * hat[0], x[1] + d[1] * hat[1], x[2] + d[2] * hat[2]
    return a >= 0.0 and min(b, c) >= 0.0 and max(b, c) <= width


@helper
def bounded_step(
    x: Vector,
    r: Triangle,
    g: Vector,
    d: Vector,
    width: float,
    delta: float,
    theta: float,
    hat: Vector,
) -> tuple[Vector, float]:
    """Scaled step inside the bounds instead of ``hat``, and the reduction it promises.

    Candidates are the step cut short of the bound, the step mirrored at the
    bound and the scaled steepest descent. ``g`` is the scaled gradient, ``r`` the
    triangular factor of the scaled Jacobian, ``d`` the scaling.
    """
    if _inside(x, d, hat, width):
        return hat, -_quadratic(r, g, hat)
    stride, limits = _stride(x, d, hat, width)
    mirrored = (
        -hat[0] if limits[0] == stride else hat[0],
        -hat[1] if limits[1] == stride else hat[1],
        -hat[2] if limits[2] == stride else hat[2],
    )
    on_bound = _scaled(hat, stride)
    other, other_value = _reflected(x, r, g, d, width, delta, theta, stride, on_bound, mirrored)
    cut = _scaled(on_bound, theta)
    cut_value = _quadratic(r, g, cut)
    descent = _scaled(g, -1.0)
    to_bound, _ = _stride(x, d, descent, width)
    to_region = delta / norm3(descent)
    high = theta * to_bound if to_bound < to_region else to_region
    steep = times3(r, descent)
    best = _minimum_on_line(0.5 * dot3(steep, steep), dot3(g, descent), 0.0, high)
    descent = _scaled(descent, best)
    value = _quadratic(r, g, descent)
    if cut_value < other_value and cut_value < value:
        return cut, -cut_value
    if other_value < cut_value and other_value < value:
        return other, -other_value
    return descent, -value


@helper
def _scaling_of(x: float, gradient: float, upper: float) -> tuple[float, float]:
    """Coleman-Li scaling of one parameter and its derivative."""
    if gradient < 0.0 and upper < np.inf:
        return upper - x, -1.0
    if gradient > 0.0:
        return x, 1.0
    return 1.0, 0.0


@helper
def scaling(x: Vector, gradient: Vector, width: float) -> tuple[Vector, Vector, float]:
    """Coleman-Li scaling, its derivative times the gradient, and the optimality.

    The optimality is the largest element of the gradient times the scaling.
    """
    v0, dv0 = _scaling_of(x[0], gradient[0], np.inf)
    v1, dv1 = _scaling_of(x[1], gradient[1], width)
    v2, dv2 = _scaling_of(x[2], gradient[2], width)
    largest = max(abs(gradient[0] * v0), abs(gradient[1] * v1), abs(gradient[2] * v2))
    return (v0, v1, v2), (gradient[0] * dv0, gradient[1] * dv1, gradient[2] * dv2), largest


@helper
def interior(x: float, upper: float) -> float:
    """Start value at least 1e-10 away from the bounds 0 and ``upper``."""
    if x <= min(upper - x, _INTERIOR):
        return _INTERIOR
    if upper < np.inf:
        margin = _INTERIOR * max(1.0, upper)
        if upper - x <= min(x, margin):
            return upper - margin
    return x


@helper
def next_radius(
    delta: float, reduction: float, predicted: float, length: float
) -> tuple[float, float]:
    """Radius after a step of this length, and how well the model predicted it."""
    ratio = 0.0
    if predicted > 0.0:
        ratio = reduction / predicted
    elif predicted == 0.0 and reduction == 0.0:
        ratio = 1.0
    if ratio < 0.25:
        delta = 0.25 * length
    elif ratio > 0.75 and length > 0.95 * delta:
        delta = 2.0 * delta
    return delta, ratio


@helper
def trial_point(x: Vector, step: Vector, width: float) -> Vector:
    """Point after a step, kept off the bounds."""
    below = np.nextafter(width, 0.0)
    return (
        max(x[0] + step[0], _SMALLEST),
        min(max(x[1] + step[1], _SMALLEST), below),
        min(max(x[2] + step[2], _SMALLEST), below),
    )
