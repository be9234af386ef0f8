"""First estimate of the spectrum, from order 1 where it is alone."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np

from tso3dask.errors import RunError
from tso3dask.ops.soss.engine import OrderMap, build_design
from tso3dask.ops.soss.grid import column_grid

__all__ = ["estimate_order1", "flux_spline"]

CONTAMINATED = 1e-4  # profile of order 2 from which on a pixel is left out of the estimate


def flux_spline(wavelength: np.ndarray, flux: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Cubic spline through the finite values of a spectrum, continued beyond its ends."""
    from scipy.interpolate import UnivariateSpline

    finite = np.isfinite(flux)
    if np.count_nonzero(finite) < 4:
        raise RunError("estimate of the spectrum: fewer than four finite values")
    return UnivariateSpline(wavelength[finite], flux[finite], k=3, s=0, ext=0)


def estimate_order1(
    order1: OrderMap,
    profile1: np.ndarray,
    profile2: np.ndarray,
    throughput: Callable[[np.ndarray], np.ndarray],
    outside: np.ndarray,
    bad: np.ndarray,
    data: np.ndarray,
    error: np.ndarray,
) -> tuple[Callable[[np.ndarray], np.ndarray], np.ndarray]:
    """Estimate the spectrum from the pixels of order 1 that order 2 does not reach.

    Parameters
    ----------
    order1 : OrderMap
        Order 1.
    profile1, profile2 : numpy.ndarray
        Spatial profiles of orders 1 and 2 as in the reference.
    throughput : callable
        Throughput of order 1.
    outside : numpy.ndarray
        Pixels (y, x) outside the aperture of order 1.
    bad : numpy.ndarray
        Pixels (y, x) not to be used.
    data, error : numpy.ndarray
        One integration (y, x).

    Returns
    -------
    spectrum : callable
        Flux at given wavelengths.
    cleaned : numpy.ndarray
        Profile of order 1 without negative values, see `tso3dask.ops.soss.grid.column_grid`.
    """
    from scipy.sparse import csr_matrix
    from scipy.sparse.linalg import MatrixRankWarning, lsqr, spsolve

    grid, cleaned = column_grid(order1.wavelength, profile1)
    contaminated = (profile2 >= CONTAMINATED) | outside
    order = OrderMap(1, order1.wavelength, cleaned, order1.upper, order1.lower)
    design = build_design([order], [throughput], [None], grid, [contaminated], bad)
    used = ~design.mask
    part = design.orders[0]
    model = part.weights.scaled(columns=part.sensitivity).scaled(rows=part.profile / error[used])
    matrix = model.to_csr()
    right = csr_matrix(data[used] / error[used]).dot(matrix).toarray()[0]
    seen = np.flatnonzero(right)
    normal = matrix.T.dot(matrix)[seen, :][:, seen]
    spectrum = np.full(model.columns, np.nan)
    # Nothing regularises this system, and next to pixels left out it may be singular: the same
    # operations as in the field's pipeline, so that rounding gives the same answer.
    # The warning is of no use: other threads may change at any time what becomes of warnings.
    if seen.size:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", MatrixRankWarning)
            spectrum[seen] = spsolve(normal, right[seen])
        if np.isnan(spectrum[seen]).all():
            spectrum[seen] = lsqr(normal, right[seen])[0]
    try:
        return flux_spline(design.grid_of(0), spectrum), cleaned
    except RunError as error:
        raise RunError(f"order 1: {error}") from error
