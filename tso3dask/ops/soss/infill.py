"""Pixels without a value: masks of a segment, errors, and medians in time in their place.

What is constant for a segment comes from all its integrations (`summarize`), pixel by pixel, so it
can be made in tiles of rows. Integrations are then filled a few at a time with their neighbours in
time at hand (`fill`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tso3dask.ops.medians import nanmedian_image

__all__ = ["HALO", "Summary", "fill", "filled_errors", "join", "noisy_mean", "summarize"]

DO_NOT_USE = np.uint32(1)
REFERENCE_PIXEL = np.uint32(2**31)
WIDTH = 9
HALO = WIDTH // 2
INFLATION = 10
NOISE_SEED = 42

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Summary:
    """What all integrations of a segment say about each pixel; images ``(y, x)``.

    Attributes
    ----------
    nints : int
        Integrations in the segment.
    median : ndarray float32
        Median of the values; 0 where no integration has a value and an error.
    median_error : ndarray float32
        Median of the errors; infinite for reference pixels and where no integration has a value
        and an error.
    mean : ndarray float32
        Mean over integrations, filled in time; added in order of time in float32.
    unusable : ndarray bool
        DO_NOT_USE in every integration, reference pixel, or never with a value and an error.
    reference : ndarray bool
        REFERENCE_PIXEL in the first integration.
    """

    nints: int
    median: Float32
    median_error: Float32
    mean: Float32
    unusable: Bool
    reference: Bool


def summarize(sci: Float32, err: Float32, dq: npt.NDArray[np.uint32]) -> Summary:
    """Summarise a segment, or a tile of it.

    Parameters
    ----------
    sci, err, dq : (integration, y, x) ndarray
        All integrations of the segment.

    Returns
    -------
    Summary
        Images of the tile; see `join`.
    """
    sci, err = np.ascontiguousarray(sci, np.float32), np.ascontiguousarray(err, np.float32)
    finite = np.isfinite(sci)
    never = ~np.any(finite & np.isfinite(err), axis=0)
    reference = (dq[0] & REFERENCE_PIXEL) != 0
    median, median_error = nanmedian_image(sci), nanmedian_image(err)
    median_error[never | reference] = np.inf
    median[never] = 0
    mean = np.zeros(sci.shape[1:], np.float32)
    nints = len(sci)
    for i in range(nints):
        mean += _filled_row(sci, finite, median, i, 0, nints)
    mean /= np.float32(nints)
    unusable = np.all((dq & DO_NOT_USE) != 0, axis=0) | never | reference
    return Summary(nints, median, median_error, mean, unusable, reference)


def join(tiles: list[Summary]) -> Summary:
    """Put tiles of rows together, in the order of y."""
    names = ("median", "median_error", "mean", "unusable", "reference")
    images = [np.concatenate([getattr(tile, name) for tile in tiles]) for name in names]
    return Summary(tiles[0].nints, *images)


def noisy_mean(summary: Summary) -> Float32:
    """Typical integration: the mean with the noise of one.

    The noise is drawn for the whole image with a fixed seed, so that the same data always give the
    same regularisation. It is not finite where the median error is not.
    """
    rng = np.random.default_rng(NOISE_SEED)
    nints = summary.nints
    with np.errstate(invalid="ignore"):
        spread = summary.median_error * np.sqrt((nints - 1) / nints)
        return (summary.mean + rng.normal(0, spread)).astype(np.float32)


def fill(sci: Float32, start: int, median: Float32, first: int, stop: int, nints: int) -> Float32:
    """Put medians in time in the place of values that are not finite.

    Parameters
    ----------
    sci : (integration, y, x) ndarray float32
        Integrations from `start` on, with those up to `HALO` before `first` and after `stop` as far
        as the segment has them.
    start : int
        Integration of the segment (0-based) that ``sci[0]`` is.
    median : (y, x) ndarray float32
        Median over the whole segment; takes the place of missing values in the windows.
    first, stop : int
        Integrations of the segment to fill.
    nints : int
        Integrations in the segment. Windows are 9 wide, or as wide as the segment; values are
        mirrored at its ends, and the upper of two middle values is taken.

    Returns
    -------
    (integration, y, x) ndarray float32
        ``stop - first`` integrations; finite where `median` is.
    """
    finite = np.isfinite(sci)
    return np.stack([_filled_row(sci, finite, median, i, start, nints) for i in range(first, stop)])


def _filled_row(
    sci: Float32, finite: Bool, median: Float32, i: int, start: int, nints: int
) -> Float32:
    """Fill one integration."""
    row = sci[i - start]
    gaps = np.nonzero(~finite[i - start])
    if gaps[0].size == 0:
        return row
    width = min(nints, WIDTH)
    window = _mirrored(np.arange(i - width // 2, i - width // 2 + width), nints) - start
    values = np.empty((width, gaps[0].size), np.float32)
    for k, j in enumerate(window):
        there = finite[(j, *gaps)]
        values[k] = np.where(there, sci[(j, *gaps)], median[gaps])
    values.partition(width // 2, axis=0)
    out = row.copy()
    out[gaps] = values[width // 2]
    return out


def _mirrored(index: npt.NDArray[np.int64], size: int) -> npt.NDArray[np.int64]:
    """Mirror positions beyond either end; the end itself is repeated."""
    index = index % (2 * size)
    return np.where(index < size, index, 2 * size - 1 - index)


def filled_errors(sci: Float32, err: Float32, median_error: Float32) -> Float64:
    """Errors of filled integrations.

    Parameters
    ----------
    sci, err : (integration, y, x) ndarray float32
        As measured, before values are filled.
    median_error : (y, x) ndarray float32
        Median error of the segment.

    Returns
    -------
    (integration, y, x) ndarray float64
        ``10 * median_error`` where value or error is not finite, so that nobody trusts what was
        filled in; the error elsewhere.
    """
    bad = ~(np.isfinite(sci) & np.isfinite(err))
    return np.where(bad, median_error * np.float32(INFLATION), err).astype(np.float64)
