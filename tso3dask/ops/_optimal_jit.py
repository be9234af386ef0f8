"""Compiled sums of the fit of spatial profiles, two passes over the pixels.

This module imports numba when it is imported: load it inside functions only. Both kernels give what
`tso3dask.ops.optimal` gives in plain numpy.
"""

from __future__ import annotations

import numpy as np

from tso3dask.ops._jit import helper, jit

__all__ = ["normal_equations", "spectra"]

INFINITY = np.float32(np.inf)


@helper(inline="always")
def _good(value, rnoise, poisson, flat):  # type: ignore[no-untyped-def]
    """Whether a pixel has a value, and a variance in its own precision."""
    return abs(value) < INFINITY and abs((rnoise + poisson) + flat) < INFINITY


@jit
def normal_equations(  # type: ignore[no-untyped-def]
    sci, rnoise, poisson, flat, used, functions, along_x, matrix, vector
):
    """Add products of functions, and of functions and values, over the good pixels.

    ``matrix`` is (integration, dispersion, function, function), ``vector`` (function, integration,
    dispersion), both 0 before.
    """
    count, ny, nx = functions.shape
    for i in range(len(sci)):
        for y in range(ny):
            for x in range(nx):
                value = sci[i, y, x]
                if not used[y, x] or not _good(
                    value, rnoise[i, y, x], poisson[i, y, x], flat[i, y, x]
                ):
                    continue
                c = x if along_x else y
                for j in range(count):
                    one = functions[j, y, x]
                    vector[j, i, c] += value * one
                    for k in range(j + 1):
                        matrix[i, c, j, k] += one * functions[k, y, x]
        for c in range(matrix.shape[1]):
            for j in range(count):
                for k in range(j):
                    matrix[i, c, k, j] = matrix[i, c, j, k]


@jit
def spectra(  # type: ignore[no-untyped-def]  # noqa: C901
    sci, rnoise, poisson, flat, used, functions, along_x, order, weights, amplitudes, result
):
    """Fill in variances, background and number of pixels, (result, integration, dispersion).

    ``weights`` (function, integration, dispersion) are the covariances of the source's amplitude
    with all others.
    """
    count, ny, nx = functions.shape
    source = order + 1
    elements = result.shape[2]
    for i in range(len(sci)):
        whole, lit = np.zeros(elements), np.zeros(elements)
        for y in range(ny):
            for x in range(nx):
                c = x if along_x else y
                profile = functions[source, y, x]
                whole[c] += profile * profile
                if _good(sci[i, y, x], rnoise[i, y, x], poisson[i, y, x], flat[i, y, x]):
                    result[8, i, c] += profile
                    lit[c] += profile * profile
        for y in range(ny):
            for x in range(nx):
                c = x if along_x else y
                v0, v1, v2 = (
                    np.float64(rnoise[i, y, x]),
                    np.float64(poisson[i, y, x]),
                    np.float64(flat[i, y, x]),
                )
                alone = 0.0
                if _good(sci[i, y, x], rnoise[i, y, x], poisson[i, y, x], flat[i, y, x]):
                    alone = functions[source, y, x] / lit[c]
                    if used[y, x]:
                        share = 0.0
                        for k in range(count):
                            share += weights[k, i, c] * functions[k, y, x]
                        share *= share
                        result[1, i, c] += v0 * share
                        result[2, i, c] += v1 * share
                        result[3, i, c] += v2 * share
                if order >= 0:
                    if alone != 0.0:
                        level = 0.0
                        for k in range(source):
                            level += amplitudes[k, i, c] * functions[k, y, x]
                        result[4, i, c] += alone * level
                    alone *= alone
                    result[5, i, c] += v0 * alone
                    result[6, i, c] += v1 * alone
                    result[7, i, c] += v2 * alone
        for c in range(elements):
            result[8, i, c] /= whole[c]
            if order < 0:
                continue
            if not abs(result[4, i, c]) < np.inf:
                result[4, i, c] = 0.0
            for k in range(3):
                less = result[1 + k, i, c] - result[5 + k, i, c]
                if lit[c] == 0.0:
                    less = np.nan
                result[5 + k, i, c] = 0.0 if less <= 0.0 else less
