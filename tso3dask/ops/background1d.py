"""Background of a spectrum, fitted element by element along dispersion (plain numpy).

Images here have axes ``(across, dispersion)``. Fits are unweighted: a pixel takes part when it
lies in a background region and its value and the sum of its variances are finite.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["CONDITION_LIMIT", "Background", "fit_median", "fit_polynomial", "smooth"]

Real = NDArray[np.floating]

CONDITION_LIMIT = 1e10
MEDIAN_ERROR = 1.2
"""Error of a median in units of the error of the mean, as the field's pipeline has it."""


@dataclass(frozen=True, eq=False)
class Background:
    """Background of one image.

    Attributes
    ----------
    level : ndarray
        Value ``(across, dispersion)`` at each pixel, or ``(1, dispersion)``.
    variances : tuple of ndarray
        Variance ``(dispersion,)`` of its sum over the aperture, one per variance given.
    """

    level: Real
    variances: tuple[Real, ...]


def smooth(image: Real, length: int) -> Real:
    """Take a running mean along dispersion that leaves NaN pixels out.

    Parameters
    ----------
    image : ndarray
        Values ``(across, dispersion)``; the end values continue beyond the ends.
    length : int
        Odd number of elements.

    Returns
    -------
    ndarray
        Smoothed values in the dtype of `image`; NaN only where the whole window is NaN.
    """
    half = length // 2
    padded = np.pad(image.astype(np.float64), ((0, 0), (half, half)), mode="edge")
    missing = np.isnan(padded)
    padded[missing] = 0.0
    kernel = 1.0 / length
    count = image.shape[-1]
    total = np.zeros(image.shape)
    weight = np.zeros(image.shape)
    for i in range(length):
        total += padded[:, i : i + count] * kernel
        weight += np.where(missing[:, i : i + count], 0.0, kernel)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (total / weight).astype(image.dtype)


def fit_polynomial(
    image: Real,
    used: NDArray[np.bool_],
    profile: Real,
    variances: tuple[Real, ...],
    position: Real,
    order: int,
) -> Background:
    """Least-squares polynomial across the dispersion, one for each element along it.

    Parameters
    ----------
    image : ndarray
        Values ``(across, dispersion)``.
    used : ndarray of bool
        Pixels that take part.
    profile : ndarray
        Weights of the source aperture, for the variances.
    variances : tuple of ndarray
        Variance images.
    position : ndarray
        Coordinate ``(across,)`` of each pixel, -1 to 1 over the whole array.
    order : int
        Order of the polynomial.

    Returns
    -------
    Background
        Zero where the normal matrix has a condition number of `CONDITION_LIMIT` or more.
    """
    basis = np.ones((position.size, order + 1))
    for k in range(1, order + 1):
        basis[:, k] = basis[:, k - 1] * position
    mask = used.astype(np.float64)
    target = np.where(used, image, 0).astype(np.float64)
    masked = basis * mask.T[:, :, np.newaxis]
    matrix = np.einsum("dck,dcl->dkl", masked, masked)
    vector = np.einsum("dck,dc->dk", masked, target.T)
    with np.errstate(invalid="ignore", divide="ignore"):
        solvable = np.linalg.cond(matrix) < CONDITION_LIMIT
    inverse = np.zeros_like(matrix)
    inverse[solvable] = np.linalg.inv(matrix[solvable])
    coefficients = np.einsum("dkl,dl->dk", inverse, vector)
    level = basis @ coefficients.T
    combined = np.einsum("dk,dkl->dl", profile.T @ basis, inverse)
    weight = mask * (basis @ combined.T)
    return Background(level, _weighted(variances, weight, 1.0))


def fit_median(
    image: Real,
    inside: NDArray[np.bool_],
    used: NDArray[np.bool_],
    profile: Real,
    variances: tuple[Real, ...],
) -> Background:
    """Median over the background pixels of each element along dispersion.

    Parameters
    ----------
    image : ndarray
        Values ``(across, dispersion)``.
    inside : ndarray of bool
        Pixels in a background region; those that are not NaN make the median.
    used : ndarray of bool
        Pixels that count for the variance.
    profile : ndarray
        Weights of the source aperture.
    variances : tuple of ndarray
        Variance images.

    Returns
    -------
    Background
        Level NaN where no pixel is left.
    """
    level = column_median(np.where(inside, image, image.dtype.type(np.nan)))
    count = used.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        weight = profile.sum(axis=0) * (used / count)
    return Background(level[np.newaxis, :], _weighted(variances, weight, MEDIAN_ERROR**2))


def column_median(values: Real) -> Real:
    """Median down the first axis without NaN, in the dtype of the values; all NaN gives NaN."""
    ordered = np.sort(values, axis=0)  # NaN last
    count = (~np.isnan(ordered)).sum(axis=0)
    low = np.take_along_axis(ordered, np.maximum(count - 1, 0)[np.newaxis] // 2, axis=0)[0]
    high = np.take_along_axis(ordered, np.minimum(count // 2, len(values) - 1)[np.newaxis], axis=0)[
        0
    ]
    with np.errstate(invalid="ignore", over="ignore"):
        middle = (low + high) / values.dtype.type(2)
    return np.where(low == high, low, middle)


def _weighted(variances: tuple[Real, ...], weight: Real, factor: float) -> tuple[Real, ...]:
    squared = weight**2
    sums = []
    with np.errstate(invalid="ignore", over="ignore"):
        for variance in variances:
            terms = variance * squared
            sums.append(factor * np.where(np.isnan(terms), 0.0, terms).sum(axis=0))
    return tuple(sums)
