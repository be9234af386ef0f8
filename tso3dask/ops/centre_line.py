"""Lines along a spectrum: the middle of an aperture, and regions at a distance from it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .extract_params import HORIZONTAL

__all__ = ["centre_line", "region_mask", "trace_of"]

Image = NDArray[np.float64]

TRACE_ORDER = 3
"""Order of the polynomial that a trace follows."""
TRACE_CLIP = 4.0
"""Centroids further than this from the polynomial, in robust sigma, are left out."""


def centre_line(profile: NDArray[np.floating], dispaxis: int) -> Image:
    """Weighted middle of an aperture for each element along dispersion.

    Parameters
    ----------
    profile : ndarray
        Weights ``(y, x)``.
    dispaxis : int
        Dispersion direction.

    Returns
    -------
    ndarray
        Place ``(dispersion,)`` across the dispersion, 0-based; NaN without any positive weight.
    """
    weights = np.where(profile > 0, profile, 0.0)
    if dispaxis != HORIZONTAL:
        weights = weights.T
    across = np.arange(weights.shape[0], dtype=float)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((across @ weights) / weights.sum(axis=0))


def region_mask(
    shape: tuple[int, int], line: Image, edges: tuple[float, ...], dispaxis: int
) -> NDArray[np.bool_]:
    """Pixels whose centre lies in regions at a distance from a line.

    Parameters
    ----------
    shape : tuple of int
        ``(y, x)`` shape of the image.
    line : ndarray
        Place ``(dispersion,)`` across the dispersion.
    edges : tuple of float
        Lower and upper edges in turn, pixels from the line, both included.
    dispaxis : int
        Dispersion direction.

    Returns
    -------
    ndarray of bool
        ``(y, x)``; nothing where the line is NaN.
    """
    across = np.arange(shape[0] if dispaxis == HORIZONTAL else shape[1], dtype=float)
    distance = across[:, np.newaxis] - line[np.newaxis, :]
    inside = np.zeros(distance.shape, bool)
    for low, high in zip(edges[::2], edges[1::2], strict=True):
        inside |= (distance >= low) & (distance <= high)
    return inside if dispaxis == HORIZONTAL else inside.T


def trace_of(
    image: NDArray[np.floating],
    region: NDArray[np.bool_],
    dispaxis: int,
    *,
    start: Image | None = None,
    order: int = TRACE_ORDER,
) -> Image | None:
    """Trace of a spectrum: a polynomial through the centroids of an image.

    Centroids are first moments over a window that follows the last polynomial, three times; each
    counts by the square root of its light. Those far from the polynomial are left out.

    Parameters
    ----------
    image : ndarray
        Image ``(y, x)``, free of background.
    region : ndarray of bool
        Pixels ``(y, x)`` with light of the target.
    dispaxis : int
        Dispersion direction.
    start : ndarray, optional
        Where to look first, ``(dispersion,)``; by default the centroid over the region.
    order : int
        Order of the polynomial.

    Returns
    -------
    ndarray or None
        Place ``(dispersion,)`` across the dispersion, 0-based. Beyond the first and the last
        centroid it stays at its value there. None with fewer than ``order + 2`` centroids.
    """
    light = np.where(region & np.isfinite(image), np.maximum(image, 0.0), 0.0).astype(float)
    if dispaxis != HORIZONTAL:
        light = light.T
    bright = np.flatnonzero(light.any(axis=1))
    if not bright.size:
        return None
    rows = slice(bright[0], bright[-1] + 1)
    across = np.arange(light.shape[0], dtype=float)[rows, np.newaxis]
    along = np.arange(light.shape[1], dtype=float)
    light = light[rows]
    total = light.sum(axis=0)
    lit = total > 0
    if lit.sum() < order + 2:
        return None
    with np.errstate(invalid="ignore", divide="ignore"):
        place = (across * light).sum(axis=0) / total
        spread = np.sqrt(np.maximum(((across - place) ** 2 * light).sum(axis=0) / total, 0.0))
    half = max(3.0, 2.5 * float(np.median(spread[lit])))
    line = _polynomial(along, place if start is None else start, total, order)
    for _ in range(3):
        if line is None:
            return None
        share = np.clip(half + 0.5 - np.abs(across - line), 0.0, 1.0) * light
        total = share.sum(axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            place = (across * share).sum(axis=0) / total
        line = _polynomial(along, place, total, order)
    return line


def _polynomial(along: Image, place: Image, total: Image, order: int) -> Image | None:
    """Weighted polynomial through places, without those that are far from it."""
    used = np.isfinite(place) & (total > 0)
    weight = np.sqrt(np.where(used, total, 0.0))
    middle, half = along.mean(), max(1.0, float(np.ptp(along)) / 2)
    scaled = (along - middle) / half
    for _ in range(5):
        if used.sum() < order + 2:
            return None
        terms = np.polynomial.polynomial.polyfit(scaled[used], place[used], order, w=weight[used])
        residual = place - np.polynomial.polynomial.polyval(scaled, terms)
        sigma = 1.4826 * np.median(np.abs(residual[used]))
        kept = used & (np.abs(residual) <= TRACE_CLIP * max(sigma, 1e-6))
        if kept.sum() == used.sum():
            break
        used = kept
    found = np.flatnonzero(used)
    inside = np.clip(scaled, scaled[found[0]], scaled[found[-1]])
    return np.asarray(np.polynomial.polynomial.polyval(inside, terms))
