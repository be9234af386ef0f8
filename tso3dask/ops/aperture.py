"""Sums over a circular aperture and an annulus, with the exact pixel overlaps of photutils."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tso3dask.errors import InputError

__all__ = [
    "ApertureWeights",
    "aperture_sums",
    "aperture_weights",
    "radius_suffix",
    "whole_array_sums",
]


@dataclass(frozen=True)
class ApertureWeights:
    """Overlap of one aperture with the pixels of an image.

    Attributes
    ----------
    index : (pixel,) int64
        Flat indices of the pixels that the aperture touches, ascending.
    weight : (pixel,) float64
        Fraction of each pixel inside the aperture.
    centered : (pixel,) bool
        Whether the centre of the pixel is inside the aperture.
    """

    index: np.ndarray
    weight: np.ndarray
    centered: np.ndarray


def _check_radii(radius: float, radius_inner: float, radius_outer: float) -> None:
    """Refuse radii that make no aperture or no annulus."""
    if not radius > 0:
        raise InputError(f"aperture photometry: radius must be positive, got {radius}")
    if not 0 < radius_inner < radius_outer:
        raise InputError(
            "aperture photometry: radius_inner must be positive and smaller than radius_outer, "
            f"got {radius_inner} and {radius_outer}"
        )


def aperture_weights(
    shape: tuple[int, int], x: float, y: float, outer: float, inner: float = 0.0
) -> ApertureWeights:
    """Compute the exact overlap of a circle or an annulus with every pixel.

    Parameters
    ----------
    shape : (y, x)
        Size of one image.
    x, y : float
        Centre, finite, 0-based pixels; may lie outside the array.
    outer : float
        Radius of the circle, or outer radius of the annulus, pixels.
    inner : float, optional
        Inner radius of the annulus, pixels; 0 for a circle.
    """
    from photutils.geometry import circular_overlap_grid

    ny, nx = shape
    x0, x1 = math.floor(x - outer + 0.5), math.ceil(x + outer + 0.5)
    y0, y1 = math.floor(y - outer + 0.5), math.ceil(y + outer + 0.5)
    grid = (x0 - 0.5 - x, x1 - 0.5 - x, y0 - 0.5 - y, y1 - 0.5 - y, x1 - x0, y1 - y0)
    exact = circular_overlap_grid(*grid, float(outer), 1, 1)
    center = circular_overlap_grid(*grid, float(outer), 0, 1)
    if inner > 0:
        exact -= circular_overlap_grid(*grid, float(inner), 1, 1)
        center -= circular_overlap_grid(*grid, float(inner), 0, 1)
    held = slice(max(0, -y0), max(0, ny - y0)), slice(max(0, -x0), max(0, nx - x0))
    exact, center = exact[held], center[held] != 0
    row, column = np.nonzero((exact > 0) | center)
    index = (row + max(0, y0)) * nx + column + max(0, x0)
    return ApertureWeights(index.astype(np.int64), exact[row, column], center[row, column])


def _summed(
    sci: np.ndarray,
    err: np.ndarray,
    shape: tuple[int, int],
    x: float | np.ndarray,
    y: float | np.ndarray,
    outer: float,
    inner: float = 0.0,
    clip: float | None = None,
) -> np.ndarray:
    """Sum, error and area (integration, 3) of one circle or annulus, fixed or moving."""
    from tso3dask.ops._aperture_jit import sum_block, sum_clipped_block
    from tso3dask.ops.background_clip import FEWEST, ITERATIONS, MAD_TO_SIGMA

    nints = sci.shape[0]
    out = np.full((nints, 3), np.nan)
    moving = bool(np.ndim(x) or np.ndim(y))
    xs = np.broadcast_to(np.asarray(x, np.float64), (nints,))
    ys = np.broadcast_to(np.asarray(y, np.float64), (nints,))
    for i in range(nints if moving else min(nints, 1)):
        if np.isfinite(xs[i]) and np.isfinite(ys[i]):
            found = aperture_weights(shape, float(xs[i]), float(ys[i]), outer, inner)
            rows = slice(i, i + 1) if moving else slice(None)
            weights = (found.index, found.weight, found.centered)
            if clip is None:
                sum_block(sci[rows], err[rows], *weights, out[rows])
            else:
                rule = (float(clip) * MAD_TO_SIGMA, ITERATIONS, FEWEST)
                sum_clipped_block(sci[rows], err[rows], *weights, rule, out[rows])
    return out


def aperture_sums(
    sci: np.ndarray,
    err: np.ndarray,
    x: float | np.ndarray,
    y: float | np.ndarray,
    radius: float,
    radius_inner: float,
    radius_outer: float,
    *,
    more_radii: Sequence[float] = (),
    bkg_clip: float | None = None,
) -> dict[str, np.ndarray]:
    """Sum source aperture and background annulus in every integration.

    Parameters
    ----------
    sci, err : (integration, y, x) float32
        Science pixels and one-sigma errors, same unit; NaN or infinite ``sci`` =
        no value: such pixels are left out and the areas shrink.
    x, y : float or (integration,) float64
        Centre, 0-based pixels: fixed, or one for each integration. A centre that
        is NaN gives a row of NaN.
    radius : float
        Radius of the aperture, pixels.
    radius_inner, radius_outer : float
        Radii of the annulus, pixels.
    more_radii : sequence of float, optional
        Radii of further apertures around the same place.
    bkg_clip : float, optional
        Pixels of the annulus further than this from the median of the others, in units of 1.4826
        times the median distance from it, are left out; sums and areas are without them.

    Returns
    -------
    dict of (integration,) float64
        ``aperture_sum``, ``aperture_sum_err``, ``aperture_area``, ``annulus_sum``,
        ``annulus_sum_err``, ``annulus_area``; areas in pixels, the others in the
        unit of ``sci``; for a further radius of 2.5 ``aperture_sum_r2.5`` and so on. Sums are NaN
        when no pixel with a value is touched, areas when no such pixel has its centre inside.

    Raises
    ------
    InputError
        When the radii make no aperture or no annulus.
    """
    _check_radii(radius, radius_inner, radius_outer)
    nints, ny, nx = sci.shape
    sci = np.ascontiguousarray(sci, np.float32).reshape(nints, ny * nx)
    err = np.ascontiguousarray(err, np.float32).reshape(nints, ny * nx)
    where = (sci, err, (ny, nx), x, y)
    measured = {
        "aperture_{}": _summed(*where, radius),
        "annulus_{}": _summed(*where, radius_outer, radius_inner, bkg_clip),
    }
    for other in more_radii:
        measured["aperture_{}" + radius_suffix(other)] = _summed(*where, float(other))
    return {
        name.format(what): values[:, k]
        for name, values in measured.items()
        for k, what in enumerate(("sum", "sum_err", "area"))
    }


def radius_suffix(radius: float) -> str:
    """What names of columns of a further aperture end with."""
    return f"_r{radius:g}"


def whole_array_sums(sci: np.ndarray, err: np.ndarray) -> dict[str, np.ndarray]:
    """Sum all pixels of every integration, without a background.

    Used where the source fills the array (weak lens and smallest subarray).

    Parameters
    ----------
    sci, err : (integration, y, x) float32
        Science pixels and one-sigma errors, same unit; NaN counts as 0.

    Returns
    -------
    dict of (integration,) float32
        ``aperture_sum`` and ``aperture_sum_err``, in the unit of ``sci``. An
        integration without any value gives 0, not NaN.
    """
    from tso3dask.ops._aperture_jit import whole_block

    nints, ny, nx = sci.shape
    sci = np.ascontiguousarray(sci, np.float32).reshape(nints, ny * nx)
    err = np.ascontiguousarray(err, np.float32).reshape(nints, ny * nx)
    total = np.empty(nints, np.float32)
    error = np.empty(nints, np.float32)
    whole_block(sci, err, total, error)
    return {"aperture_sum": total, "aperture_sum_err": error}
