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

__all__ = ["HALO", "Summary", "fill", "fill_all", "join", "noisy_mean", "summarize"]

REFERENCE_PIXEL = np.uint32(2**31)
HALO = 4
NOISE_SEED = 42

Float32 = npt.NDArray[np.float32]
Bool = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Summary:
    """What all integrations of a segment say about each pixel; images ``(y, x)``.

    Attributes
    ----------
    nints : int
        Integrations in the segment.
    median : ndarray float32
        Median of the values where some integration has none; 0 elsewhere, and where no integration
        has a value and an error.
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
    from tso3dask.ops.soss._infill_jit import count, mean_row

    nints, shape = len(sci), sci.shape[1:]
    values, errors, flags = _flat(sci), _flat(err), _flat(dq, np.uint32)
    gaps, known, refused = np.zeros((3, values.shape[1]), np.int32)
    count(values, errors, flags, gaps, known, refused)
    never = known == 0
    reference = (flags[0] & REFERENCE_PIXEL) != 0
    median_error = nanmedian_image(np.ascontiguousarray(err, np.float32)).reshape(-1)
    median_error[never | reference] = np.inf
    median = np.zeros(values.shape[1], np.float32)
    wanted = np.flatnonzero((gaps > 0) & ~never)
    if wanted.size:
        median[wanted] = nanmedian_image(np.ascontiguousarray(values[:, None, wanted]))[0]
    mean = np.zeros(values.shape[1], np.float32)
    mean_row(values, median, mean)
    unusable = (refused == nints) | never | reference
    return Summary(
        nints,
        median.reshape(shape),
        median_error.reshape(shape),
        mean.reshape(shape),
        unusable.reshape(shape),
        reference.reshape(shape),
    )


def _flat(cube: np.ndarray, dtype: type = np.float32) -> np.ndarray:
    """Return a cube as (integration, pixel)."""
    return np.ascontiguousarray(cube, dtype).reshape(len(cube), -1)


def join(tiles: list[Summary], axis: int = 0) -> Summary:
    """Put tiles together: of rows, in the order of y, or of columns (``axis=1``)."""
    names = ("median", "median_error", "mean", "unusable", "reference")
    images = [np.concatenate([getattr(tile, name) for tile in tiles], axis) for name in names]
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
    from tso3dask.ops.soss._infill_jit import fill_rows

    out = np.empty((stop - first, *sci.shape[1:]), np.float32)
    fill_rows(_flat(sci), start, median.reshape(-1), first, nints, out.reshape(len(out), -1))
    return out


def fill_all(
    sci: Float32,
    err: Float32,
    start: int,
    first: int,
    stop: int,
    summary: Summary,
    out: tuple[Float32, Float32, Bool] | None = None,
) -> tuple[Float32, Float32, Bool]:
    """Fill values and errors, and tell which not to use.

    Parameters
    ----------
    sci, err : (integration, y, x) ndarray float32
        As in `fill`.
    start, first, stop : int
        As in `fill`.
    summary : Summary
        Of the whole segment.
    out : tuple of ndarray, optional
        Contiguous arrays to put the results to.

    Returns
    -------
    values, errors : (integration, y, x) ndarray float32
        Values as `fill` gives them. The error is ``10 * median_error`` where value or error is not
        finite, so that nobody trusts what was filled in.
    mask : (integration, y, x) ndarray bool
        Pixels that are unusable in the whole segment, or have no finite positive error.
    """
    from tso3dask.ops.soss._infill_jit import prepare_rows

    shape = (stop - first, *sci.shape[1:])
    if out is None:
        out = np.empty(shape, np.float32), np.empty(shape, np.float32), np.empty(shape, np.bool_)
    values, errors, mask = out
    prepare_rows(
        _flat(sci),
        _flat(err),
        start,
        summary.median.reshape(-1),
        summary.median_error.reshape(-1),
        summary.unusable.reshape(-1),
        first,
        summary.nints,
        values.reshape(len(values), -1),
        errors.reshape(len(values), -1),
        mask.reshape(len(values), -1),
    )
    return values, errors, mask
