"""Where the light of the target is in an image, and what dead pixels of it would have shown.

The trace is followed from its brightest place outwards, in medians of a few columns, so that hot
pixels and traces of other stars do not matter; its place is the first moment of the light around
it, and a polynomial of the dispersion.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Target", "fill_dead", "find_target"]

Image = npt.NDArray[np.floating]

_BLOCK = 16
"""Columns of a median along the dispersion at most."""

_HALF_WIDTH = 4.0
"""Half width of the window of a first moment, pixels."""

_REACH = (3, 24)
"""Half width of the light of a trace, pixels: least and most."""

_FAINTEST = 0.005
"""Light of a profile, relative to its peak, that still belongs to it."""

_COLUMN_ROWS = 5
"""Rows of a column that tell whether the trace has ended."""

_DETECTED = 5.0
"""Light over noise of a place that has a trace."""


@dataclass(frozen=True, eq=False)
class Target:
    """Place of the target.

    Attributes
    ----------
    level : float
        Level of the background.
    noise : float
        Scatter of the pixels around it.
    region : (y, x) bool
        Pixels with light of the target.
    centre : (dispersion,) or (2,) float64
        Place of the trace across it, NaN where there is none; in images ``(y, x)``.
    """

    level: float
    noise: float
    region: npt.NDArray[np.bool_]
    centre: npt.NDArray[np.float64]


def find_target(image: Image, dispaxis: int) -> Target:
    """Find the light of the target.

    Parameters
    ----------
    image : (y, x)
        Median of some integrations; NaN where nothing is known.
    dispaxis : int
        1 where wavelength runs along x, 2 along y, 0 for images.

    Returns
    -------
    Target
        Without any pixel where nothing is brighter than noise.
    """
    level, noise = _background(image)
    signal = np.asarray(image, np.float64) - level
    if dispaxis == 0:
        region, centre = _star(signal, noise)
    else:
        turned = signal if dispaxis == 1 else signal.T
        region, centre = _trace(turned, noise)
        region = region if dispaxis == 1 else np.ascontiguousarray(region.T)
    return Target(level, noise, region, centre)


def _background(image: Image) -> tuple[float, float]:
    """Level and scatter of the pixels without light, by clipping what is brighter."""
    values = image[np.isfinite(image)].astype(np.float64)
    level, noise = 0.0, 0.0
    for _ in range(8):
        if not values.size:
            break
        level = float(np.median(values))
        below = level - values[values < level]
        noise = 1.4826 * float(np.median(below)) if below.size else 0.0
        kept = values[values <= level + 3 * noise]
        if kept.size == values.size:
            break
        values = kept
    return level, noise


def _trace(
    signal: npt.NDArray[np.float64], noise: float
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float64]]:
    """Light and centre of a trace in (across, dispersion) pixels."""
    across, along = signal.shape
    block = max(1, min(_BLOCK, along // 12))
    edges = np.arange(0, along, block)
    with np.errstate(all="ignore"):
        blocks = _block_medians(signal, block)
    lowest, low, middle = _low_levels(blocks)
    blocks = np.nan_to_num(blocks - low)
    places = edges + (np.minimum(edges + block, along) - 1 - edges) / 2
    dim = np.maximum(1.25 * noise / np.sqrt(block), (middle - lowest) / 1.28)
    rows, lit = _follow(blocks, _DETECTED * dim)
    nothing = np.zeros(signal.shape, bool), np.full(along, np.nan)
    if not lit.any():
        return nothing
    centre, fitted = rows.astype(np.float64), None
    for _ in range(4):
        moments = _moments(blocks, centre)
        fitted = _polynomial(places, moments, lit & np.isfinite(moments), blocks, rows)
        if fitted is None:
            return nothing
        centre = np.clip(fitted(places), 0, across - 1)
    assert fitted is not None
    reach = _reach(blocks[:, lit], centre[lit], float(np.median(dim[lit])))
    x = np.arange(along)
    seen = int(edges[lit][0]), int(min(edges[lit][-1] + block, along))
    least = _DETECTED * float(np.median(dim[lit])) * np.sqrt(block * _COLUMN_ROWS) / 1.25
    low, high = _ends(_column_light(signal, fitted(x)) > least, seen, block)
    path = np.where((x >= low) & (x < high), fitted(x), np.nan)
    with np.errstate(invalid="ignore"):
        region = np.abs(np.arange(across)[:, None] - path) <= reach
    return region, path


def _low_levels(blocks: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Levels of each block below which a tenth, a quarter and half of its rows are.

    Calibration makes background and noise differ along the dispersion.
    """
    values, known = _ordered(blocks, 0)
    place = np.array([0.1, 0.25, 0.5])[:, None] * (known - 1)
    below = place.astype(int)
    one, two = (
        np.take_along_axis(values, np.minimum(at, known - 1), axis=0) for at in (below, below + 1)
    )
    return np.nan_to_num(one + (two - one) * (place - below))


def _block_medians(signal: npt.NDArray[np.float64], block: int) -> npt.NDArray[np.float64]:
    """Medians of the values that are known, row by row, of blocks of columns, (row, block)."""
    rows, columns = signal.shape
    missing = ((0, 0), (0, -columns % block))
    padded = np.pad(signal, missing, constant_values=np.nan)
    return _nanmedian(padded.reshape(rows, -1, block))


def _column_light(
    signal: npt.NDArray[np.float64], centre: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Light of each column in `_COLUMN_ROWS` rows around the trace, above that of its dark rows."""
    first = np.rint(centre).astype(int) - _COLUMN_ROWS // 2
    rows = np.clip(first + np.arange(_COLUMN_ROWS)[:, None], 0, len(signal) - 1)
    dark = _low_levels(signal)[1]
    return np.nan_to_num(np.take_along_axis(signal, rows, axis=0) - dark).sum(axis=0)


def _ends(bright: npt.NDArray[np.bool_], seen: tuple[int, int], block: int) -> tuple[int, int]:
    """First and last column of a trace, which may end within the blocks beside those seen."""
    low, high = seen
    for x in range(low - 1, max(-1, low - block - 1), -1):
        low = x if bright[x] else low
    for x in range(high, min(bright.size, high + block)):
        high = x + 1 if bright[x] else high
    return low, high


def _ordered(
    values: npt.NDArray[np.float64], axis: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Values in rising order along an axis, NaN last, and how many are none, at least 1."""
    known = np.count_nonzero(~np.isnan(values), axis=axis, keepdims=True)
    return np.sort(values, axis=axis), np.maximum(known, 1)


def _nanmedian(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Medians along the last axis of the values that are known, NaN where there is none."""
    ordered, known = _ordered(values, -1)
    low, high = (
        np.take_along_axis(ordered, at, axis=-1)[..., 0] for at in ((known - 1) // 2, known // 2)
    )
    return np.asarray(np.where(low == high, low, (low + high) / 2))


def _follow(
    blocks: npt.NDArray[np.float64], least: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Row of the trace in each block, from the brightest outwards, and where it is seen."""
    padded = np.pad(blocks, ((1, 1), (0, 0)), mode="edge")
    smooth = (padded[:-2] + padded[1:-1] + padded[2:]) / 3
    count = blocks.shape[1]
    begin = int(np.argmax(smooth.max(axis=0)))
    rows = np.zeros(count, np.int64)
    rows[begin] = int(np.argmax(smooth[:, begin]))
    for step in (1, -1):
        last = rows[begin]
        for k in range(begin + step, count if step > 0 else -1, step):
            low = max(0, int(last) - 4)
            near = smooth[low : last + 5, k]
            if near.max() > least[k]:
                last = low + int(np.argmax(near))
            rows[k] = last
    return rows, smooth[rows, np.arange(count)] > least


def _moments(
    blocks: npt.NDArray[np.float64], centre: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """First moment of the light of each block around `centre`, pixels at the edge in part."""
    distance = np.arange(len(blocks))[:, None] - centre
    weight = np.clip(_HALF_WIDTH + 0.5 - np.abs(distance), 0, 1) * blocks
    with np.errstate(all="ignore"):
        moved = (weight * distance).sum(axis=0) / weight.sum(axis=0)
    return np.where(np.abs(moved) < 3, centre + moved, np.nan)


def _polynomial(
    places: npt.NDArray[np.float64],
    values: npt.NDArray[np.float64],
    use: npt.NDArray[np.bool_],
    blocks: npt.NDArray[np.float64],
    rows: npt.NDArray[np.int64],
) -> np.polynomial.Chebyshev | None:
    """Centre as a polynomial, brighter places weigh more, with clipping."""
    fit = None
    for _ in range(4):
        count = int(use.sum())
        if not count:
            return fit
        degree = min(4 if count >= 24 else 2, max(0, count // 3))
        light = np.clip(blocks[rows, np.arange(rows.size)][use], 0, None)
        weight = np.sqrt(light / max(float(light.max()), 1e-300)) + 1e-3
        ends = (float(places[use].min()) - 0.5, float(places[use].max()) + 0.5)
        fit = np.polynomial.Chebyshev.fit(places[use], values[use], degree, domain=ends, w=weight)
        off = np.abs(values - fit(places))
        limit = 5 * 1.4826 * float(np.median(off[use])) + 1e-3
        kept = use & (off <= limit)
        if kept.sum() == count or kept.sum() < 2 * degree + 1:
            break
        use = kept
    return fit


def _reach(blocks: npt.NDArray[np.float64], centre: npt.NDArray[np.float64], dim: float) -> float:
    """Half width of the light of the trace: where its mean profile falls below what is sure."""
    distance = np.abs(np.arange(len(blocks))[:, None] - centre)
    least, most = _REACH
    profile = [blocks[(distance >= r - 0.5) & (distance < r + 0.5)] for r in range(most + 1)]
    peak = max(float(np.mean(profile[0])) if profile[0].size else 0.0, float(blocks.max()) * 1e-3)
    reach = least
    for r in range(1, most + 1):
        values = profile[r]
        if not values.size:
            break
        mean = float(np.mean(values))
        if mean < max(_FAINTEST * peak, 3 * dim / np.sqrt(values.size)):
            break
        reach = max(least, r)
    return reach + 0.5


def _star(
    signal: npt.NDArray[np.float64], noise: float
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float64]]:
    """Light and centre ``(y, x)`` of the brightest source of an image."""
    from scipy.ndimage import label, uniform_filter

    padded = np.pad(signal, 1, constant_values=np.nan)
    ny, nx = signal.shape
    stack = [padded[dy : dy + ny, dx : dx + nx] for dy in range(3) for dx in range(3)]
    smooth = np.nan_to_num(_nanmedian(np.stack(stack, axis=-1)))
    top = uniform_filter(smooth, 3, mode="constant")
    place = np.unravel_index(int(np.argmax(top)), top.shape)
    peak = float(smooth[place])
    nothing = np.zeros(signal.shape, bool), np.full(2, np.nan)
    if not peak > _DETECTED * noise:
        return nothing
    parts, _ = label(smooth > max(_DETECTED * noise, 0.02 * peak))
    light = np.where(parts == parts[place], np.where(np.isfinite(signal), signal, smooth), 0)
    light = np.clip(light, 0, None)
    y, x = np.indices(signal.shape)
    centre = np.array([(light * y).sum(), (light * x).sum()]) / light.sum()
    filled = np.where(np.isfinite(signal), signal, smooth)
    radius = np.sqrt(np.count_nonzero(parts == parts[place]) / np.pi) + 1
    for _ in range(6):
        weight = np.clip(radius + 0.5 - np.hypot(y - centre[0], x - centre[1]), 0, 1) * filled
        total = weight.sum()
        if not total > 0:
            break
        centre = np.array([(weight * y).sum(), (weight * x).sum()]) / total
    distance = np.hypot(y - centre[0], x - centre[1])
    profile = _radial(signal, distance)
    counts = np.bincount(np.rint(distance).astype(int).ravel(), minlength=profile.size)
    with np.errstate(invalid="ignore", divide="ignore"):
        sure = profile > np.maximum(
            _FAINTEST * np.nanmax(profile), 3 * noise / np.sqrt(counts[: profile.size])
        )
    most = min(int(np.flatnonzero(sure).max(initial=_REACH[0])), min(ny, nx) // 2)
    return distance <= max(_REACH[0], most) + 0.5, centre


def _radial(
    image: npt.NDArray[np.float64], distance: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Median of an image by rounded distance."""
    bins = np.rint(distance).astype(int).ravel()
    values = image.ravel()
    out = np.full(bins.max() + 1, np.nan)
    for r in range(out.size):
        here = values[bins == r]
        here = here[np.isfinite(here)]
        if here.size:
            out[r] = np.median(here)
    return out


def fill_dead(
    image: Image, dead: npt.NDArray[np.bool_], target: Target, dispaxis: int
) -> npt.NDArray[np.float32]:
    """Fill pixels by the spatial profile.

    Parameters
    ----------
    image : (y, x)
        Freed of its background.
    dead : (y, x) bool
        Pixels to fill.
    target : Target
        Where the light is.
    dispaxis : int
        As for `find_target`.

    Returns
    -------
    (y, x) float32
        In the light of a trace the median of the columns around, three on each side, each scaled
        by what both have in common; in that of a star by a parabola through the logarithm of the
        pixels around, which a Gaussian is; elsewhere the median of the pixels around, 0 if
        there are none.
    """
    out = np.array(image, np.float64)
    out[dead] = np.nan
    filled = _from_around(out, dead)
    inside = dead & target.region
    if inside.any():
        if dispaxis == 0:
            better = _by_parabola(out, inside)
        elif dispaxis == 1:
            better = _by_columns(out, target.region, inside)
        else:
            better = _by_columns(out.T, target.region.T, inside.T).T
        use = inside & np.isfinite(better)
        filled[use] = better[use]
    return np.nan_to_num(filled, posinf=0, neginf=0).astype(np.float32)


def _around(
    image: npt.NDArray[np.float64], where: npt.NDArray[np.bool_], reach: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Values and places of the pixels around each of some pixels, NaN beyond the edge."""
    y, x = (v[:, None] for v in np.nonzero(where))
    dy, dx = (v.ravel()[None] for v in np.mgrid[-reach : reach + 1, -reach : reach + 1])
    ny, nx = image.shape
    yy, xx = y + dy, x + dx
    valid = (yy >= 0) & (yy < ny) & (xx >= 0) & (xx < nx)
    yy, xx = np.clip(yy, 0, ny - 1), np.clip(xx, 0, nx - 1)
    return np.where(valid, image[yy, xx], np.nan), yy, xx


def _from_around(
    image: npt.NDArray[np.float64], dead: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    out = image.copy()
    if dead.any():
        out[dead] = np.nan_to_num(_nanmedian(_around(image, dead, 2)[0]))
    return out


def _by_columns(
    image: npt.NDArray[np.float64],
    region: npt.NDArray[np.bool_],
    dead: npt.NDArray[np.bool_],
) -> npt.NDArray[np.float64]:
    """Dead pixels of a trace along x from the columns around, NaN where none helps."""
    y, x = np.nonzero(dead)
    columns, which = np.unique(x, return_inverse=True)
    nx = image.shape[1]
    found = []
    for step in (-3, -2, -1, 1, 2, 3):
        other = columns + step
        inside = (other >= 0) & (other < nx)
        other = np.clip(other, 0, nx - 1)
        here, there = image[:, columns], image[:, other]
        both = np.isfinite(here) & np.isfinite(there) & region[:, columns] & region[:, other]
        here_sum, there_sum = (np.where(both, v, 0).sum(axis=0) for v in (here, there))
        with np.errstate(all="ignore"):
            ratio = np.where(
                inside & (there_sum > 0) & (here_sum > 0), here_sum / there_sum, np.nan
            )
        found.append(image[y, np.clip(x + step, 0, nx - 1)] * ratio[which])
    out = np.full(image.shape, np.nan)
    out[y, x] = _nanmedian(np.stack(found, axis=-1))
    return out


def _by_parabola(
    image: npt.NDArray[np.float64], dead: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    """Estimates of dead pixels of a star from the pixels around, NaN where there are too few."""
    out = np.full(image.shape, np.nan)
    dy, dx = (v.ravel().astype(float) for v in np.mgrid[-2:3, -2:3])
    basis = np.stack([np.ones(dy.size), dy, dx, dy**2, dx**2, dy * dx], axis=1)
    near = np.exp(-(dy**2 + dx**2) / 4)
    around = _around(image, dead, 2)[0]
    for y, x, values in zip(*np.nonzero(dead), around, strict=True):
        use = np.isfinite(values) & (values > 0)
        if np.count_nonzero(use & (np.abs(dy) < 2) & (np.abs(dx) < 2)) < 5 or use.sum() < 12:
            continue
        root = np.sqrt(near[use] * values[use])
        found = np.linalg.lstsq(basis[use] * root[:, None], np.log(values[use]) * root, rcond=None)
        out[y, x] = np.exp(found[0][0])
    return out
