"""Estimates for bad pixels of spectral images, from neighbours in the same integration.

Two methods of the JWST pipeline, described in its documentation under "pixel_replace":

- `mingrad` replaces a pixel without a value by the mean of its two neighbours along x or y,
  whichever of the two differ less;
- `fit_profile` replaces the bad pixels of a column by the median profile of the columns beside
  it, scaled to the column's good pixels. ("Columns" are rows where wavelength runs along y.)

Both are made integration by integration: results do not depend on how a series is cut.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["ALGORITHMS", "fit_profile", "mingrad"]

ALGORITHMS = ("mingrad", "fit_profile")
"""Methods by the name that they have as parameters."""

_ORDER = ("sci", "dq", "err", "var_poisson", "var_rnoise", "var_flat")

Cubes = MutableMapping[str, npt.NDArray[Any]]
Counts = npt.NDArray[np.int64]


def mingrad(cubes: Cubes) -> Counts:
    """Replace pixels that are not finite along the direction of the smaller gradient, in place.

    Parameters
    ----------
    cubes : mapping of name to (integration, y, x)
        ``sci`` and ``err`` (float32), ``dq`` (uint32), and the variances ``var_*`` that there
        are. Changed where ``sci`` is NaN or infinite.

    Returns
    -------
    (integration,) int64
        Pixels replaced.

    Notes
    -----
    A direction of which a neighbour has no value is left out; a pixel that has neither direction
    stays as it is. On equal differences the neighbours along x are taken. The first two rows and
    columns and the last ones are never replaced.

    The direction found in ``sci`` holds for all cubes; of variances the roots are averaged. They
    may come out NaN where ``sci`` does not. Replaced pixels get FLUX_ESTIMATED, and lose
    DO_NOT_USE unless they are NON_SCIENCE.
    """
    from tso3dask.ops import _replace_jit

    return _replace_jit.mingrad(*_arguments(cubes))


def fit_profile(cubes: Cubes, dispaxis: int, n_adjacent_cols: int = 3) -> Counts:
    """Replace pixels that are DO_NOT_USE by the scaled profile of their neighbours, in place.

    Parameters
    ----------
    cubes : mapping of name to (integration, y, x)
        As for `mingrad`. Changed where ``dq`` is DO_NOT_USE and not NON_SCIENCE; pixels that are
        both become NaN in ``sci``.
    dispaxis : int
        1 where wavelength runs along x, 2 along y.
    n_adjacent_cols : int
        Columns on each side that make the profile; without any nothing is replaced.

    Returns
    -------
    (integration,) int64
        Pixels replaced.

    Raises
    ------
    ValueError
        If `dispaxis` is neither 1 nor 2.

    Notes
    -----
    Each neighbour is divided by its largest absolute value, unless all of them are fainter than
    5 sigma everywhere; their median, pixel by pixel, is the profile. The column is divided by its
    maximum, and the factor that brings the profile's absolute values to those of the column is
    found by the simplex method from 1, in single precision and to 1e-4, as
    ``scipy.optimize.minimize(method="Nelder-Mead")`` finds it. Errors, and roots of variances, are
    treated with the same scales.

    Replaced pixels have FLUX_ESTIMATED in place of DO_NOT_USE; one that had both has neither.
    """
    from tso3dask.ops import _replace_jit

    if dispaxis not in (1, 2):
        raise ValueError(f"dispaxis is {dispaxis}; expected 1 (along x) or 2 (along y)")
    if dispaxis == 2:
        cubes = {name: cube.transpose(0, 2, 1) for name, cube in cubes.items()}
    return _replace_jit.fit_profile(*_arguments(cubes), n_adjacent_cols)


def _arguments(cubes: Cubes) -> list[npt.NDArray[Any]]:
    """Cubes in the order of the kernels' arguments; empty ones where there is none."""
    shapes = {name: cube.shape for name, cube in cubes.items()}
    if len(set(shapes.values())) > 1:
        raise ValueError(f"cubes differ in shape: {shapes}")
    none = np.empty((0, 0, 0), np.float32)
    return [cubes.get(name, none) for name in _ORDER]
