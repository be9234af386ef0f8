"""Compiled pieces of the bounded trust-region method for three parameters.

Trust-region reflective least squares after Branch, Coleman & Li (1999, SIAM J.
Sci. Comput. 21, 1) with the damped step of More (1978, Lecture Notes in
Mathematics 630, 105). All parameters have the lower bound 0; ``upper`` holds the
upper bounds. "Scaled" vectors are divided by the square root of the Coleman-Li
scaling.

This module imports numba when it is imported: load it inside functions only.
"""

from __future__ import annotations

import math

import numpy as np

from tso3dask.ops._lsq3_jit import combine3, dot3, norm3
from tso3dask.ops._photometry_jit import EPS, jit

__all__ = [
    "bounded_step",
    "first_radius",
    "interior",
    "next_radius",
    "scaling",
    "step_to",
    "trust_region_step",
]

_INTERIOR = 1.0e-10
_TR_RTOL = 0.01
_TR_ITERATIONS = 10
_SMALLEST = 5.0e-324


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
def trust_region_step(
    m: int,
    suf: np.ndarray,
    s: np.ndarray,
    v: np.ndarray,
    delta: float,
    alpha: float,
    step: np.ndarray,
) -> float:
    """Least-squares step no longer than ``delta``; returns its damping parameter."""
    full_rank = min(s[0], s[1], s[2]) > EPS * m * max(s[0], s[1], s[2])
    lower = 0.0
    if full_rank:
        combine3(v, suf[0] / s[0] ** 2, suf[1] / s[1] ** 2, suf[2] / s[2] ** 2, step)
        if norm3(step) <= delta:
            return 0.0
        phi, slope = _phi(suf, s, 0.0, delta)
        lower = -phi / slope
    upper = norm3(suf) / delta
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
    combine3(v, c0, c1, c2, step)
    length = norm3(step)
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
    inside = True
    for k in range(3):
        inside = inside and 0.0 <= x[k] + step[k] <= upper[k]
    return inside


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
    a = dot3(hat, hat)
    b = dot3(on_bound, hat)
    c = dot3(on_bound, on_bound) - delta * delta
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
    qb = dot3(g, hat) + _curvature(r, on_bound, hat)
    best = _minimum_on_line(qa, qb, low, high)
    for k in range(3):
        out[k] = on_bound[k] + best * hat[k]
    constant = 0.5 * _curvature(r, on_bound, on_bound) + dot3(g, on_bound)
    return best * (qa * best + qb) + constant


@jit
def bounded_step(
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
        return -(0.5 * _curvature(r, hat, hat) + dot3(g, hat))
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
    cut_value = 0.5 * _curvature(r, cut, cut) + dot3(g, cut)
    descent = -g
    to_bound = _stride_to_bound(x, d * descent, upper)
    to_region = delta / norm3(descent)
    high = theta * to_bound if to_bound < to_region else to_region
    a = 0.5 * _curvature(r, descent, descent)
    b = dot3(g, descent)
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
def scaling(
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
def interior(x: float, upper: float) -> float:
    """Start value at least 1e-10 away from the bounds 0 and ``upper``."""
    if x <= min(upper - x, _INTERIOR):
        return _INTERIOR
    if upper < np.inf:
        margin = _INTERIOR * max(1.0, upper)
        if upper - x <= min(x, margin):
            return upper - margin
    return x


@jit
def first_radius(p: np.ndarray, v: np.ndarray) -> float:
    """Radius of the first trust region: length of the scaled start values."""
    radius = math.sqrt(p[0] ** 2 / v[0] + p[1] ** 2 / v[1] + p[2] ** 2 / v[2])
    return radius if radius != 0.0 else 1.0


@jit
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


@jit
def step_to(
    p: np.ndarray, d: np.ndarray, hat: np.ndarray, upper: np.ndarray, trial: np.ndarray
) -> float:
    """Trial point of a scaled step, kept off the bounds; returns the length of the step."""
    length = 0.0
    for k in range(3):
        step = d[k] * hat[k]
        length += step * step
        trial[k] = p[k] + step
        if trial[k] <= 0.0:
            trial[k] = _SMALLEST
        elif trial[k] >= upper[k]:
            trial[k] = np.nextafter(upper[k], 0.0)
    return math.sqrt(length)
