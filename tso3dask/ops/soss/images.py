"""Extraction of one integration from images of the models.

The general way, for integrations with bad pixels of their own, for bad pixels that are replaced by
the model, and where the models themselves are wanted.
"""

from __future__ import annotations

import numpy as np

__all__ = ["error_of_nearest_value", "joined_order", "sum_aperture", "without_other_orders"]


def joined_order(red: np.ndarray, blue: np.ndarray) -> np.ndarray:
    """Model of an order (y, x) from two parts; the second counts where the first is NaN."""
    return np.where(np.isfinite(red), red, blue)


def without_other_orders(data: np.ndarray, models: dict[int, np.ndarray], order: int) -> np.ndarray:
    """Image (y, x) less the models of all orders but one; NaN of a model counts as zero."""
    result = data.copy()
    for other, model in models.items():
        if other != order:
            result = result - np.where(np.isfinite(model), model, 0.0)
    return result


def error_of_nearest_value(
    error: np.ndarray, data: np.ndarray, wanted: np.ndarray, valid: np.ndarray
) -> np.ndarray:
    """Give pixels the error of the valid pixel whose value is nearest to theirs.

    Parameters
    ----------
    error, data : numpy.ndarray
        Images (y, x).
    wanted, valid : numpy.ndarray
        Pixels (y, x) that get an error, and pixels that errors are taken from.

    Returns
    -------
    numpy.ndarray
        Errors (y, x) with the wanted ones replaced; NaN if no pixel is valid.
    """
    result = error.copy()
    if not wanted.any():
        return result
    if not valid.any():
        result[wanted] = np.nan
        return result
    values, errors = data[valid], error[valid]
    order = np.argsort(values)
    values, errors = values[order], errors[order]
    targets = data[wanted]
    above = np.clip(np.searchsorted(values, targets), 0, values.size - 1)
    below = np.clip(above - 1, 0, values.size - 1)
    nearer = np.abs(values[above] - targets) < np.abs(values[below] - targets)
    result[wanted] = errors[np.where(nearer, above, below)]
    return result


def sum_aperture(
    data: np.ndarray, error: np.ndarray, bad: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sum an image over an aperture.

    Parameters
    ----------
    data, error, bad, weights : numpy.ndarray
        Images (y, x).

    Returns
    -------
    flux, flux_error, npixels : numpy.ndarray
        Per column (x,); fluxes and errors are NaN where no pixel is left.
    """
    used = np.where(bad, 0.0, weights)
    counted = used > 0
    npixels = used.sum(axis=0)
    flux = np.where(counted, used * np.where(counted, data, 0.0), 0.0).sum(axis=0)
    sigma = np.where(counted, error, 0.0).astype(np.float64)
    flux_error = np.sqrt((used * sigma**2).sum(axis=0))
    empty = ~(npixels > 0)
    flux[empty] = np.nan
    flux_error[empty] = np.nan
    return flux, flux_error, npixels
