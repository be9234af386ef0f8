"""Compiled linear algebra for least squares with three parameters.

This module imports numba when it is imported: load it inside functions only.
"""

from __future__ import annotations

import math

import numpy as np

from tso3dask.ops._photometry_jit import EPS, jit

__all__ = ["combine3", "dot", "dot3", "norm3", "singular", "triangular"]


@jit(fastmath={"reassoc", "contract", "nsz"})
def dot(a: np.ndarray, b: np.ndarray, n: int) -> float:
    """Scalar product of the first ``n`` elements, in any order of additions."""
    total = 0.0
    for k in range(n):
        total += a[k] * b[k]
    return total


@jit
def norm3(a: np.ndarray) -> float:
    """Euclidean length of a vector of three."""
    return math.sqrt(a[0] * a[0] + a[1] * a[1] + a[2] * a[2])


@jit
def combine3(v: np.ndarray, c0: float, c1: float, c2: float, out: np.ndarray) -> None:
    """Minus the sum of the columns of ``v`` with these coefficients."""
    for k in range(3):
        out[k] = -(v[k, 0] * c0 + v[k, 1] * c1 + v[k, 2] * c2)


@jit
def dot3(a: np.ndarray, b: np.ndarray) -> float:
    """Scalar product of two vectors of three."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@jit
def triangular(
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
    norm = math.sqrt(dot(v, v, v.size))
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
        tau = beta * dot(v, w, v.size)
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
    if gamma == 0.0 or abs(gamma) <= EPS * math.sqrt(alpha * beta):
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
def singular(r: np.ndarray, qtf: np.ndarray, s: np.ndarray, v: np.ndarray, suf: np.ndarray) -> None:
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
