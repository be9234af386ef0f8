"""Compiled fit of one scale by the method of Nelder and Mead, as SciPy does it. For kernels."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tso3dask.ops._jit import helper
from tso3dask.ops._pairwise_jit import block_sum

Array = npt.NDArray[Any]
Single = Any
"""A number in single precision."""

_HALF = np.float32(0.5)
_TWO = np.float32(2)

_CALLS = 200
"""Evaluations after which a fit ends."""


def _halved(inner: Any) -> Any:
    """Kernel that sums the halves of longer arrays with another kernel, as NumPy does."""

    @helper
    def total(values: Array, first: int, count: int) -> Single:
        if count <= 128:
            return block_sum(values, first, count)
        half = count // 2
        half -= half % 8
        return inner(values, first, half) + inner(values, first + half, count - half)

    return total


_pairwise_sum = block_sum
for _level in range(6):  # up to some 8000 numbers; a kernel that calls itself cannot be cached
    _pairwise_sum = _halved(_pairwise_sum)


@helper
def _mean_square(
    scale: Single, model: Array, current: Array, count: int, known: int, work: Array
) -> Single:
    """Mean squared difference between a profile and a scaled model, NaN terms left out."""
    for k in range(count):
        difference = current[k] - model[k] * scale
        square = difference * difference
        work[k] = np.float32(0) if np.isnan(square) else square
    return np.float64(_pairwise_sum(work, 0, count)) / known


@helper
def _ordered(
    best: Single, worst: Single, f_best: Single, f_worst: Single
) -> tuple[Single, Single, Single, Single]:
    """Both points, the one of the smaller value first; NaN is last."""
    if f_worst < f_best or (np.isnan(f_best) and not np.isnan(f_worst)):
        return worst, best, f_worst, f_best
    return best, worst, f_best, f_worst


@helper
def _moved(
    best: Single,
    worst: Single,
    f_best: Single,
    f_worst: Single,
    calls: int,
    model: Array,
    current: Array,
    count: int,
    known: int,
    work: Array,
) -> tuple[Single, Single, int]:
    """Point that takes the place of the worse one, its value, and the calls made by then."""
    reflected = _TWO * best - worst
    f_reflected = _mean_square(reflected, model, current, count, known, work)
    calls += 1
    if calls >= _CALLS:
        return worst, f_worst, calls
    expands = f_reflected < f_best
    outside = f_reflected < f_worst
    if expands:
        tried = np.float32(3) * best - _TWO * worst
    elif outside:
        tried = np.float32(1.5) * best - _HALF * worst
    else:
        tried = _HALF * best + _HALF * worst
    f_tried = _mean_square(tried, model, current, count, known, work)
    calls += 1
    if expands and not f_tried < f_reflected:
        return reflected, f_reflected, calls
    if expands or (f_tried <= f_reflected if outside else f_tried < f_worst):
        return tried, f_tried, calls
    if calls >= _CALLS:
        return worst, f_worst, calls
    shrunk = best + _HALF * (worst - best)
    return shrunk, _mean_square(shrunk, model, current, count, known, work), calls + 1


@helper
def fit_scale(start: Single, model: Array, current: Array, count: int, work: Array) -> Single:
    """Scale of a model profile by the simplex method of Nelder and Mead in one dimension.

    Arithmetic is in single precision but for the mean, and in the order of
    `scipy.optimize.minimize`, whose tolerances of 1e-4 leave their mark on the result.
    """
    known = count - np.sum(np.isnan(current[:count]))
    other = np.float32(1.05) * start if start != 0 else np.float32(0.00025)
    f_start = _mean_square(start, model, current, count, known, work)
    f_other = _mean_square(other, model, current, count, known, work)
    best, worst, f_best, f_worst = _ordered(start, other, f_start, f_other)
    calls = 2
    while calls < _CALLS:
        if abs(worst - best) <= np.float32(1e-4) and abs(f_best - f_worst) <= 1e-4:
            break
        worst, f_worst, calls = _moved(
            best, worst, f_best, f_worst, calls, model, current, count, known, work
        )
        best, worst, f_best, f_worst = _ordered(best, worst, f_best, f_worst)
    return best
