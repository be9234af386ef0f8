"""Compiled fit of the model of an exposure to its integrations.

All pixels of the region lie in one row: ``basis`` (5, pixel) float32 holds image, 1, both gradients
and curvature, each over the pixel's error, zeros where the error is infinite and where a number is
not fitted. Integrations are fitted each on its own.

This module imports numba when it is imported: load it inside functions only.
"""

from __future__ import annotations

import numpy as np

from tso3dask.ops._jit import helper, jit

__all__ = ["fit_integrations", "products"]

_FAST = {"reassoc", "contract", "nsz"}
_MAD = 1.4826


@helper  # one order of operations: a compiled loop may be there twice, for arrays that overlap
def _residuals(
    values: np.ndarray,
    basis: np.ndarray,
    p: np.ndarray,
    limit: float,
    tolerance: float,
    out: np.ndarray,
) -> None:
    """Residuals in units of the error, NaN where they are over the limit or not finite.

    The limit grows with the light of the source times `tolerance`.
    """
    a0, a1, a2, a3, a4 = basis[0], basis[1], basis[2], basis[3], basis[4]
    p0, p1, p2, p3, p4 = p[0], p[1], p[2], p[3], p[4]
    most, share = np.float32(limit), np.float32(tolerance)
    for i in range(values.size):
        v = values[i] - (p0 * a0[i] + p1 * a1[i] + p2 * a2[i] + p3 * a3[i] + p4 * a4[i])
        out[i] = v if abs(v) <= most + share * abs(a0[i]) else np.float32(np.nan)


@helper
def _scatter(
    values: np.ndarray, basis: np.ndarray, p: np.ndarray, some: np.ndarray, cell: np.ndarray
) -> float:
    """Robust scatter of the residuals of some pixels."""
    n = 0
    for j in range(some.size):
        i = some[j]
        model = np.float32(0)
        for k in range(5):
            model += p[k] * basis[k, i]
        v = abs(values[i] - model)
        if np.isfinite(v):
            cell[n] = v
            n += 1
    return _MAD * np.median(cell[:n]) if n else np.nan


@helper(fastmath=_FAST)
def _gradient(residuals: np.ndarray, basis: np.ndarray, out: np.ndarray) -> None:
    """Products of the basis with the residuals that are not NaN."""
    a0, a1, a2, a3, a4 = basis[0], basis[1], basis[2], basis[3], basis[4]
    g0 = g1 = g2 = g3 = g4 = 0.0
    for i in range(residuals.size):
        v = residuals[i]
        v = v if v == v else np.float32(0)
        g0 += v * a0[i]
        g1 += v * a1[i]
        g2 += v * a2[i]
        g3 += v * a3[i]
        g4 += v * a4[i]
    out[0], out[1], out[2], out[3], out[4] = g0, g1, g2, g3, g4


@helper
def _without(residuals: np.ndarray, basis: np.ndarray, normal: np.ndarray, out: np.ndarray) -> int:
    """Normal matrix without the pixels that are NaN; returns how many those are."""
    out[:] = normal
    n = 0
    for i in range(residuals.size):
        if residuals[i] != residuals[i] and basis[1, i] != 0:
            n += 1
            for k in range(5):
                for m in range(k + 1):
                    out[k, m] -= np.float64(basis[k, i]) * np.float64(basis[m, i])
    return n


@helper
def _solve(normal: np.ndarray, right: np.ndarray, free: np.ndarray, step: np.ndarray) -> bool:
    """Solve for the free numbers by Cholesky decomposition (lower triangle given)."""
    n = 5
    scale, low = np.zeros(n), np.zeros((n, n))
    for k in range(n):
        if free[k] and not normal[k, k] > 0:
            return False
        scale[k] = 1 / np.sqrt(normal[k, k]) if free[k] else 0.0
    for k in range(n):
        for m in range(k):
            total = normal[k, m] * scale[k] * scale[m]
            for j in range(m):
                total -= low[k, j] * low[m, j]
            low[k, m] = total / low[m, m]
        total = 1 - np.sum(low[k, :k] ** 2)
        if not total > 1e-10:
            return False
        low[k, k] = np.sqrt(total)
    for k in range(n):
        total = right[k] * scale[k]
        for j in range(k):
            total -= low[k, j] * step[j]
        step[k] = total / low[k, k]
    for k in range(n - 1, -1, -1):
        total = step[k]
        for j in range(k + 1, n):
            total -= low[j, k] * step[j]
        step[k] = total / low[k, k]
    for k in range(n):
        step[k] *= scale[k]
    return True


@helper
def _start(
    values: np.ndarray,
    basis: np.ndarray,
    core: np.ndarray,
    sky: np.ndarray,
    cell: np.ndarray,
    p: np.ndarray,
) -> bool:
    """First brightness and background from medians; False where too little is usable."""
    p[:] = 0
    n = 0
    for j in range(sky.size):
        v = values[sky[j]] / basis[1, sky[j]]
        if np.isfinite(v):
            cell[n] = v
            n += 1
    if 4 * n > sky.size:
        p[1] = np.median(cell[:n])
    n = 0
    for j in range(core.size):
        i = core[j]
        v = (values[i] - p[1] * basis[1, i]) / basis[0, i]
        if np.isfinite(v):
            cell[n] = v
            n += 1
    if n == 0 or 10 * n < core.size:
        return False
    p[0] = np.median(cell[:n])
    return True


@helper
def _weighted(
    sci: np.ndarray, dq: np.ndarray, bad_bits: int, inverse: np.ndarray, out: np.ndarray
) -> None:
    """Pixels over their error in one row, NaN where a flag forbids their use."""
    i = 0
    for y in range(sci.shape[0]):
        for x in range(sci.shape[1]):
            out[i] = np.float32(np.nan) if dq[y, x] & bad_bits else sci[y, x] * inverse[i]
            i += 1


@helper
def _sums(
    sci: np.ndarray,
    residuals: np.ndarray,
    plain: np.ndarray,
    p: np.ndarray,
    labels: np.ndarray,
    out: np.ndarray,
) -> None:
    """Light above the background by label, that of the model where a pixel is not usable."""
    p0, p2, p3, p4 = p[0], p[2], p[3], p[4]
    i = 0
    for y in range(sci.shape[0]):
        for x in range(sci.shape[1]):
            if residuals[i] == residuals[i]:
                v = np.float64(sci[y, x]) - p[1]
            else:
                v = p0 * plain[0, i] + p2 * plain[2, i] + p3 * plain[3, i] + p4 * plain[4, i]
            for g in range(labels.shape[0]):
                label = labels[g, i]
                if label >= 0:
                    out[label] += v
            i += 1


@jit
def products(basis: np.ndarray, out: np.ndarray) -> None:
    """Products (k, k) of the rows of ``basis`` (k, pixel), summed in one fixed order."""
    for k in range(basis.shape[0]):
        for m in range(k + 1):
            total = 0.0
            for i in range(basis.shape[1]):
                total += np.float64(basis[k, i]) * np.float64(basis[m, i])
            out[k, m] = total
            out[m, k] = total


@jit
def fit_integrations(
    sci: np.ndarray,
    dq: np.ndarray,
    bad_bits: int,
    inverse: np.ndarray,
    basis: np.ndarray,
    normal: np.ndarray,
    free: np.ndarray,
    core: np.ndarray,
    sky: np.ndarray,
    some: np.ndarray,
    clip: float,
    tolerances: np.ndarray,
    plain: np.ndarray,
    labels: np.ndarray,
    numbers: np.ndarray,
    sums: np.ndarray,
) -> None:
    """Fit (integration, y, x) pixels; see `tso3dask.ops.model_fit.fit_integrations`.

    ``numbers`` (integration, 7) takes brightness, background, shifts, width, scatter and the number
    of pixels that were left out by clipping; ``sums`` (integration, label) sums by label.
    """
    size = inverse.size
    values, residuals = np.empty(size, np.float32), np.empty(size, np.float32)
    cell = np.empty(max(some.size, core.size, sky.size, 1), np.float32)
    p, right, step, matrix = np.zeros(5), np.zeros(5), np.zeros(5), np.zeros((5, 5))
    single = np.zeros(5, np.float32)
    for n in range(sci.shape[0]):
        numbers[n] = np.nan
        sums[n] = np.nan
        _weighted(sci[n], dq[n], bad_bits, inverse, values)
        if not _start(values, basis, core, sky, cell, p):
            continue
        unusable, left_out, scatter = 0, 0, np.nan
        for i in range(size):
            unusable += not np.isfinite(values[i]) and basis[1, i] != 0
        good = True
        for tolerance in tolerances:
            single[:] = p
            scatter = _scatter(values, basis, single, some, cell)
            _residuals(values, basis, single, clip * scatter, tolerance, residuals)
            _gradient(residuals, basis, right)
            left_out = _without(residuals, basis, normal, matrix)
            good = matrix[0, 0] > 0.02 * normal[0, 0] and _solve(matrix, right, free, step)
            if not good:
                break
            for k in range(5):
                p[k] = single[k] + step[k]
        if not good or not p[0] > 0:
            continue
        numbers[n, 0] = p[0]
        numbers[n, 1] = p[1]
        for k in range(2, 5):
            numbers[n, k] = p[k] / p[0]
        numbers[n, 5] = scatter
        numbers[n, 6] = left_out - unusable
        if labels.shape[0]:
            sums[n] = 0
            single[:] = p
            _residuals(values, basis, single, clip * scatter, tolerances[-1], residuals)
            _sums(sci[n], residuals, plain, p, labels, sums[n])
