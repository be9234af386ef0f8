"""Wavelength grids of SOSS orders: pixel edges, grids of traces, and the adaptive grid.

The adaptive grid follows Darveau-Bernier et al. 2022, PASP 134, 094502, section 2.4: intervals
are halved until the trapezoidal rule integrates an estimate of the spectrum well enough.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from tso3dask.errors import RunError

__all__ = [
    "adaptive_grid",
    "column_grid",
    "combined_grid",
    "decontamination_grid",
    "native_grid",
    "oversample",
    "pixel_edges",
    "trace_grid",
]

Spectrum = Callable[[np.ndarray], np.ndarray]

SMALLEST_STEP = 1e-5  # um, about a hundredth of a pixel
SMALL_ERROR = 1e-6  # intervals whose absolute error is below need no halving


def pixel_edges(wavelength: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Wavelengths at the two edges of each pixel along x.

    Parameters
    ----------
    wavelength : numpy.ndarray
        Wavelengths of the pixel centres (y, x), um. NaN and negative values are left out, as if
        their neighbours touched each other; zero marks pixels without a wavelength.

    Returns
    -------
    upper, lower : numpy.ndarray
        The longer and the shorter edge (y, x), zero for pixels left out.

    Raises
    ------
    RunError
        If the wavelengths neither rise nor fall along x.
    """
    left, right = np.zeros_like(wavelength), np.zeros_like(wavelength)
    with np.errstate(invalid="ignore"):
        valid = np.isfinite(wavelength) & (wavelength >= 0)
    whole = valid.all(axis=1)
    if wavelength.shape[1] < 2:
        whole[:] = False
        valid[:] = False
    left[whole], right[whole] = _edges_of_rows(wavelength[whole])
    for y in np.flatnonzero(~whole & (valid.sum(axis=1) > 1)):
        at = valid[y]
        left[y, at], right[y, at] = _edges_of_rows(wavelength[y, at])
    unused = wavelength == 0
    if ((right >= left) | unused).all():
        return right, left
    if ((right <= left) | unused).all():
        return left, right
    raise RunError("wavelength map: wavelengths should rise or fall along x, they do both")


def _edges_of_rows(centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    half = np.diff(centres, axis=-1) / 2
    left = centres - np.concatenate([half[..., :1], half], axis=-1)
    right = centres + np.concatenate([half, half[..., -1:]], axis=-1)
    return left, right


def oversample(grid: np.ndarray, counts: int | np.ndarray) -> np.ndarray:
    """Divide the intervals of a grid evenly.

    Parameters
    ----------
    grid : numpy.ndarray
        Ascending values.
    counts : int or numpy.ndarray
        Parts of every interval, or of each.

    Returns
    -------
    numpy.ndarray
        The finer grid, sorted, without repetitions.
    """
    parts = np.broadcast_to(np.asarray(counts), (len(grid) - 1,))
    steps = np.concatenate([[0.0], np.repeat(1 / parts, parts)])
    return np.unique(np.interp(np.cumsum(steps), np.arange(grid.size), grid))


def native_grid(columns: np.ndarray, wavelength: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Wavelengths of a trace in ascending order, and the columns they belong to.

    Parameters
    ----------
    columns, wavelength : numpy.ndarray
        The trace, one entry per column; columns without a finite wavelength are left out.
    """
    finite = np.isfinite(wavelength)
    order = np.argsort(wavelength[finite])
    return wavelength[finite][order], columns[finite][order]


def trace_grid(native: np.ndarray, oversampling: int) -> np.ndarray:
    """Grid of the pixel edges along a trace, oversampled.

    Parameters
    ----------
    native : numpy.ndarray
        Wavelengths of the pixel centres in ascending order, um.
    oversampling : int
        Grid intervals per pixel.
    """
    upper, lower = pixel_edges(native[np.newaxis])
    return oversample(np.append(np.sort(lower[0]), upper[0].max()), oversampling)


def column_grid(wavelength: np.ndarray, profile: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Wavelength of each column, the mean of its pixels weighted by the spatial profile.

    Parameters
    ----------
    wavelength, profile : numpy.ndarray
        Maps (y, x) of one order.

    Returns
    -------
    grid : numpy.ndarray
        Ascending wavelengths of the columns that the order reaches.
    cleaned : numpy.ndarray
        The profile as it was used: no negative values, zero where there is no wavelength, and one
        all over columns without any weight.
    """
    with np.errstate(invalid="ignore"):
        cleaned = np.where((profile < 0) | (wavelength <= 0), profile.dtype.type(0), profile)
    empty = cleaned.sum(axis=0) == 0
    cleaned[:, empty] = 1
    grid = np.average(wavelength, weights=cleaned, axis=0)
    grid[empty] = np.nan
    return np.sort(grid[~np.isnan(grid)]), cleaned


def _relative_errors(grid: np.ndarray, spectrum: Spectrum) -> tuple[np.ndarray, np.ndarray]:
    """Absolute and relative error of the trapezoidal rule on each interval.

    The better value is one step of Romberg's method on the interval and its halves.
    """
    step = np.diff(grid)
    heights = 0.5 * (spectrum(grid[:-1]) + spectrum(grid[1:]))
    coarse = step * heights
    fine = step * (heights + spectrum(grid[:-1] + (grid[1:] - grid[:-1]) * 0.5)) / 2
    better = (4.0 * fine - coarse) / 3.0
    absolute = np.abs(better - coarse)
    relative = np.full_like(absolute, np.inf)
    there = better != 0
    relative[there] = np.abs(absolute[there] / better[there])
    return absolute, relative


def _thin_out(grid: np.ndarray) -> np.ndarray:
    """Leave out points that lie too close to the last point kept."""
    if (np.diff(grid) > SMALLEST_STEP).all():
        return grid
    kept = [grid[0]]
    last = float(grid[0])
    for value in grid[1:].tolist():
        if value - last > SMALLEST_STEP:
            kept.append(value)
            last = value
    return np.array(kept)


def adaptive_grid(
    grid: np.ndarray, spectrum: Spectrum, largest: int, iterations: int, rtol: float
) -> tuple[np.ndarray, bool]:
    """Halve the intervals of a grid until a spectrum is integrated within a tolerance.

    Parameters
    ----------
    grid : numpy.ndarray
        Ascending wavelengths to begin with.
    spectrum : callable
        Estimate of the spectrum at given wavelengths.
    largest : int
        Number of points at which no further point is wanted. The intervals of the largest errors
        come first; where nothing is left for them all intervals are halved once more, so that the
        result has at most twice as many points.
    iterations : int
        How often an interval may be halved.
    rtol : float
        Relative error of the integral over an interval at which it is left alone.

    Returns
    -------
    grid : numpy.ndarray
        The finer grid; no two points are closer than 1e-5 um.
    converged : bool
        Whether every interval came within the tolerance.
    """
    full, converged = False, False
    for _ in range(iterations):
        absolute, relative = _relative_errors(grid, spectrum)
        good = (relative < rtol) | (absolute < SMALL_ERROR)
        converged = bool(good.all())
        if full or converged:
            break
        parts = np.where(good, 1, 2)
        if parts.sum() > largest:
            full = True
            worst = np.argsort(relative)[-(largest - grid.size) :]
            parts = np.ones(relative.shape, dtype=int)
            parts[worst] = 2
        grid = _thin_out(oversample(grid, parts))
    return grid, converged


def _trimmed(grids: Sequence[np.ndarray], limits: Sequence[float]) -> list[np.ndarray]:
    """Grids cut to limits and to what no grid before them covers, one point beyond each."""
    kept: list[np.ndarray] = []
    for grid in grids:
        first = max(int(np.searchsorted(grid, limits[0], side="right")) - 1, 0)
        last = min(int(np.searchsorted(grid, limits[1], side="left")), len(grid) - 1)
        part = grid[first : last + 1]
        if kept:
            covered = np.concatenate(kept)
            below, above = part < covered.min(), part > covered.max()
            if not below.any() and not above.any():
                part = np.array([])
            if below.any():
                part = part[: min(int(np.flatnonzero(below)[-1]) + 1, len(part) - 1) + 1]
            if above.any():
                part = part[max(int(np.flatnonzero(above)[0]) - 1, 0) :]
        kept.append(part)
    return kept


def combined_grid(
    grids: Sequence[np.ndarray],
    spectra: Sequence[Spectrum],
    limits: Sequence[float],
    *,
    rtol: float,
    largest: int,
    iterations: int = 30,
) -> tuple[np.ndarray, list[str]]:
    """Refine grids in order of importance and join them.

    Parameters
    ----------
    grids : sequence of numpy.ndarray
        Ascending grids, the most important first. A later grid gives only what no earlier covers.
    spectra : sequence of callable
        Estimate of the spectrum for each grid.
    limits : sequence of float
        Shortest and longest wavelength.
    rtol : float
        Relative tolerance, see `adaptive_grid`.
    largest : int
        Number of points aimed at. No grid is cut below its own number of points, so that the
        result may be larger.
    iterations : int
        How often an interval may be halved.

    Returns
    -------
    grid : numpy.ndarray
        Ascending wavelengths.
    notes : list of str
        A line per grid whose tolerance was not reached.
    """
    parts = _trimmed(grids, limits)
    sizes = [len(part) for part in parts]
    notes: list[str] = []
    for index, part in enumerate(parts):
        if not part.size:
            continue
        room = max(largest - sum(sizes[:index]) - sum(sizes[index + 1 :]), sizes[index])
        parts[index], converged = adaptive_grid(part, spectra[index], room, iterations, rtol)
        sizes[index] = parts[index].size
        if not converged:
            notes.append(
                f"wavelength grid {part[0]:.3f}-{part[-1]:.3f} um: relative tolerance {rtol:g}"
                f" not reached with {sizes[index]} points; soss_max_grid_size bounds them"
            )
    return np.unique(np.concatenate(parts)), notes


def _flat(wavelength: np.ndarray) -> np.ndarray:
    return np.ones_like(wavelength)


def decontamination_grid(
    grid_order1: np.ndarray,
    grid_order2: np.ndarray,
    estimate: Spectrum,
    cutoff: float,
    *,
    rtol: float,
    largest: int,
) -> tuple[np.ndarray, list[str]]:
    """Grid of the joint solution of orders 1 and 2.

    Wavelengths that both orders share come first, on the grid of order 2, then the red part of
    order 1, then the blue part of order 2, for which no estimate is known.

    Parameters
    ----------
    grid_order1, grid_order2 : numpy.ndarray
        Oversampled grids of the traces (`trace_grid`).
    estimate : callable
        Estimate of the spectrum (order 1).
    cutoff : float
        Shortest wavelength: order 2 is alone below.
    rtol, largest
        See `combined_grid`.
    """
    shared = grid_order2 >= grid_order1.min()
    if not shared.any():
        raise RunError("orders 1 and 2: the traces share no wavelength, no joint grid can be made")
    red = grid_order1[grid_order1 > grid_order2[shared].min()]
    return combined_grid(
        [grid_order2[shared], red, grid_order2[~shared]],
        [estimate, estimate, _flat],
        [cutoff, float(red.max())],
        rtol=rtol,
        largest=largest,
    )
