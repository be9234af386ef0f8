"""Compiled linear algebra for least squares with three parameters.

Vectors of three are tuples. An upper triangular matrix is a tuple of its
elements by row: (r00, r01, r02, r11, r12, r22).

This module imports numba when it is imported: load it inside functions only.
"""

from __future__ import annotations

import math

import numpy as np

from tso3dask.ops._jit import helper

__all__ = ["EPS", "Triangle", "Vector", "dot3", "norm3", "singular", "times3", "triangular"]

EPS = 2.220446049250313e-16
"""Spacing of float64 numbers at 1."""

Vector = tuple[float, float, float]
Triangle = tuple[float, float, float, float, float, float]


@helper
def dot3(a: Vector, b: Vector) -> float:
    """Scalar product."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@helper
def norm3(a: Vector) -> float:
    """Euclidean length."""
    return math.sqrt(a[0] * a[0] + a[1] * a[1] + a[2] * a[2])


@helper
def times3(r: Triangle, a: Vector) -> Vector:
    """Product of a triangular matrix and a vector."""
    return (
        r[0] * a[0] + r[1] * a[1] + r[2] * a[2],
        r[3] * a[1] + r[4] * a[2],
        r[5] * a[2],
    )


@helper(fastmath={"reassoc", "contract", "nsz"})
def triangular(work: np.ndarray, n: int, d: Vector, diagonal: Vector) -> tuple[Triangle, Vector]:
    """QR factor of a scaled Jacobian over a diagonal, and Q^T of the residuals over zeros.

    Modified Gram-Schmidt on the columns and on the residuals as a fourth one.
    Rows 0 to 2 of ``work`` hold the columns of the Jacobian and row 3 the
    residuals, ``n`` of each; rows 4 to 7 are overwritten. ``d`` scales the
    columns, ``diagonal`` holds the squares of the diagonal elements.
    """
    rows = n + 3
    for k in range(n):
        for c in range(3):
            work[4 + c, k] = work[c, k] * d[c]
        work[7, k] = work[3, k]
    for c in range(4):
        for k in range(n, rows):
            work[4 + c, k] = 0.0
    for c in range(3):
        work[4 + c, n + c] = math.sqrt(diagonal[c])
    s00 = s01 = s02 = s03 = 0.0
    for k in range(rows):
        s00 += work[4, k] * work[4, k]
        s01 += work[4, k] * work[5, k]
        s02 += work[4, k] * work[6, k]
        s03 += work[4, k] * work[7, k]
    inverse = 1.0 / s00 if s00 > 0.0 else 0.0
    t1, t2, t3 = s01 * inverse, s02 * inverse, s03 * inverse
    s11 = s12 = s13 = 0.0
    for k in range(rows):
        work[5, k] -= t1 * work[4, k]
        work[6, k] -= t2 * work[4, k]
        work[7, k] -= t3 * work[4, k]
        s11 += work[5, k] * work[5, k]
        s12 += work[5, k] * work[6, k]
        s13 += work[5, k] * work[7, k]
    inverse1 = 1.0 / s11 if s11 > 0.0 else 0.0
    u2, u3 = s12 * inverse1, s13 * inverse1
    s22 = s23 = 0.0
    for k in range(rows):
        third = work[6, k] - u2 * work[5, k]
        s22 += third * third
        s23 += third * (work[7, k] - u3 * work[5, k])
    r00, r11, r22 = math.sqrt(s00), math.sqrt(s11), math.sqrt(s22)
    last = s23 / r22 if r22 > 0.0 else 0.0
    return (r00, t1 * r00, t2 * r00, r11, u2 * r11, r22), (t3 * r00, u3 * r11, last)


@helper
def _rotation(a: Vector, b: Vector) -> tuple[float, float]:
    """Cosine and sine of the rotation that makes two columns orthogonal (one-sided Jacobi)."""
    alpha = dot3(a, a)
    beta = dot3(b, b)
    gamma = dot3(a, b)
    if gamma == 0.0 or abs(gamma) <= EPS * math.sqrt(alpha * beta):
        return 1.0, 0.0
    zeta = (beta - alpha) / (2.0 * gamma)
    t = math.copysign(1.0, zeta) / (abs(zeta) + math.sqrt(1.0 + zeta * zeta))
    cosine = 1.0 / math.sqrt(1.0 + t * t)
    return cosine, cosine * t


@helper
def _mixed(a: Vector, b: Vector, c: float, s: float) -> Vector:
    """Vector c a + s b."""
    return c * a[0] + s * b[0], c * a[1] + s * b[1], c * a[2] + s * b[2]


@helper
def singular(r: Triangle, qtf: Vector) -> tuple[Vector, Vector, Vector, Vector, Vector]:
    """Singular values S and right vectors of a triangular matrix, and S U^T qtf.

    Returns S, S U^T qtf, and the three right singular vectors.
    """
    a, b, c = (r[0], 0.0, 0.0), (r[1], r[3], 0.0), (r[2], r[4], r[5])
    x, y, z = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)
    for _ in range(30):
        cosine, sine = _rotation(a, b)
        turned = abs(sine)
        a, b = _mixed(a, b, cosine, -sine), _mixed(b, a, cosine, sine)
        x, y = _mixed(x, y, cosine, -sine), _mixed(y, x, cosine, sine)
        cosine, sine = _rotation(a, c)
        turned += abs(sine)
        a, c = _mixed(a, c, cosine, -sine), _mixed(c, a, cosine, sine)
        x, z = _mixed(x, z, cosine, -sine), _mixed(z, x, cosine, sine)
        cosine, sine = _rotation(b, c)
        turned += abs(sine)
        b, c = _mixed(b, c, cosine, -sine), _mixed(c, b, cosine, sine)
        y, z = _mixed(y, z, cosine, -sine), _mixed(z, y, cosine, sine)
        if turned == 0.0:
            break
    return (norm3(a), norm3(b), norm3(c)), (dot3(a, qtf), dot3(b, qtf), dot3(c, qtf)), x, y, z
