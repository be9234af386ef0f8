"""Sigma clipping of the background pixels of a spectrum, element by element along dispersion.

With a median, a mean or a constant the centre is the median of the values that are left, with a
polynomial across the dispersion that polynomial. The width is 1.4826 times the median distance from
the centre: with a standard deviation, two hits among the twenty pixels of a region would hide each
other. Both are made anew until nothing is clipped any more, as in `astropy.stats.sigma_clip` with
``stdfunc="mad_std"``. A polynomial is bent by what is to be clipped, so those pixels go first that
are further than half the largest distance, and the width is at most 2.1 times the scatter that
differences of neighbours tell.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .extract_params import HORIZONTAL

__all__ = ["FEWEST", "ITERATIONS", "MAD_TO_SIGMA", "clip_background", "clip_numpy"]

ITERATIONS = 20
FEWEST = 5
"""Fewer values than this are not clipped: they say nothing of their scatter."""
MAD_TO_SIGMA = 1.482602218505602
"""Standard deviation of a normal distribution in units of its median absolute deviation."""

Pixels = NDArray[np.floating]


def clip_background(
    values: Pixels,
    inside: NDArray[np.bool_],
    position: NDArray[np.float64],
    order: int,
    sigma: float,
    dispaxis: int,
) -> Pixels:
    """Put NaN in place of background pixels that lie too far from the others.

    Parameters
    ----------
    values : ndarray
        Values ``(integration, y, x)``; those that are not finite take no part.
    inside : ndarray of bool
        Background pixels ``(across, dispersion)``.
    position : ndarray
        Coordinate ``(across,)`` for polynomials.
    order : int
        Order of the polynomial, 0 for a constant, a mean or a median.
    sigma : float
        Limit in units of the width.
    dispaxis : int
        Dispersion direction.

    Returns
    -------
    ndarray
        A copy, in the dtype of the values.
    """
    out = np.array(values)
    across_first = out if dispaxis == HORIZONTAL else out.transpose(0, 2, 1)
    if out.dtype == np.float32:
        from ._background_clip_jit import clip_columns

        fewest = max(FEWEST, order + 3)
        limit = float(sigma) * MAD_TO_SIGMA
        clip_columns(across_first, inside, position, order, limit, ITERATIONS, fewest)
    else:
        for image in across_first:
            clip_numpy(image, inside, position, order, sigma)
    return out


def clip_numpy(
    image: Pixels,
    inside: NDArray[np.bool_],
    position: NDArray[np.float64],
    order: int,
    sigma: float,
) -> None:
    """Clip one image ``(across, dispersion)`` in place, in plain numpy."""
    for c in range(image.shape[1]):
        kept = np.flatnonzero(inside[:, c] & np.isfinite(image[:, c]))
        for _ in range(ITERATIONS):
            if kept.size < max(FEWEST, order + 3):
                break
            values = image[kept, c].astype(np.float64)
            distance = values - np.median(values)
            if order > 0:
                basis = np.polynomial.legendre.legvander(position[kept], order)
                distance = values - basis @ np.linalg.lstsq(basis, values, rcond=None)[0]
            distance = np.abs(distance)
            width, cut = np.median(distance), 0.0
            if order > 0:
                width = min(width, 1.5 * np.median(np.abs(np.diff(values))))
                cut = 0.5 * distance.max()
            if width == 0 or not (distance > sigma * MAD_TO_SIGMA * width).any():
                break
            far = distance > max(sigma * MAD_TO_SIGMA * width, cut)
            image[kept[far], c] = np.nan
            kept = kept[~far]
