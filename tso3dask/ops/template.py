"""Images of the model of an exposure, from a bounded sample of its integrations.

A first median of a few integrations shows where the light of the target is. Integrations of the
sample are then fitted with what is known (`tso3dask.ops.model_fit`), brought to brightness 1 and
to one place, and the median of them is the next image, a few times; at last this is done for the
whole array, in tiles, so that memory is bounded.

Gradients are central differences of eighth order (Fornberg 1988, Math. Comp. 51, 699). Those of
second order give 0.7 of the change of a source with a sigma of 0.7 pixels, these 0.98.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from tso3dask.ops.exposure_model import NUMBERS, ExposureModel
from tso3dask.ops.medians import nanmedian_image
from tso3dask.ops.model_fit import (
    BAD_BITS,
    fit_integrations,
    fit_plan,
    fit_window,
    useful_numbers,
)
from tso3dask.ops.trace_region import Target, fill_dead, find_target

__all__ = ["SAMPLE", "STENCIL_NOISE", "Reader", "evenly_spaced", "make_template"]

SAMPLE = 64
"""Integrations of the sample at most."""

FIRST_SAMPLE = 11
"""Integrations of the first median at most."""

SAMPLE_BYTES = 24 * 10**6
"""Bytes of SCI of the sample that are held at a time."""

ITERATIONS = 3

_FIRST = np.array([1 / 280, -4 / 105, 1 / 5, -4 / 5, 0, 4 / 5, -1 / 5, 4 / 105, -1 / 280])
_SECOND = np.array([-1 / 560, 8 / 315, -1 / 5, 8 / 5, -205 / 72, 8 / 5, -1 / 5, 8 / 315, -1 / 560])

STENCIL_NOISE = {
    "shift_y": float(np.sum(_FIRST**2)),
    "shift_x": float(np.sum(_FIRST**2)),
    "width": float(np.sum(_SECOND**2) / 4),
}
"""Variance of a gradient or curvature over that of the pixels that it is made of."""

Image = npt.NDArray[np.float32]


Pixels = npt.NDArray[Any]


class Reader(Protocol):
    """Pixels of the sample."""

    def __call__(self, name: str, picks: npt.NDArray[np.int64], y0: int, y1: int) -> Pixels:
        """Rows ``y0:y1`` of the integrations `picks` of the sample, (integration, y, x)."""
        ...


def evenly_spaced(total: int, most: int) -> npt.NDArray[np.int64]:
    """Pick at most `most` of `total` things, evenly spaced."""
    count = min(total, most)
    return ((2 * np.arange(count) + 1) * total // (2 * count)).astype(np.int64)


def _differences(image: Image, weights: npt.NDArray[np.float64], axis: int) -> Image:
    from scipy.ndimage import correlate1d

    return np.asarray(correlate1d(image.astype(np.float64), weights, axis=axis, mode="nearest"))


def _with_gradients(model: ExposureModel) -> ExposureModel:
    """The same with gradients and curvature of its image, near the target."""
    from tso3dask.ops.model_fit import grown

    near = grown(model.region, 2)
    axes = {0: (0, 1), 1: (0,), 2: (1,)}[model.dispaxis]
    curvature = sum(_differences(model.image, _SECOND / 2, axis) for axis in axes)
    images = {
        "gradient_y": -_differences(model.image, _FIRST, 0),
        "gradient_x": -_differences(model.image, _FIRST, 1),
        "curvature": curvature,
    }
    cut: dict[str, Any] = {
        name: np.where(near, value, 0).astype(np.float32) for name, value in images.items()
    }
    return replace(model, **cut)


def _valid(sci: Image, dq: npt.NDArray[np.uint32]) -> Image:
    """SCI with NaN where a flag forbids the use."""
    out = sci.astype(np.float32, copy=True)
    out[(dq & BAD_BITS) != 0] = np.nan
    return out


def _brought_to_one(
    sci: Image, model: ExposureModel, numbers: dict[str, npt.NDArray[np.float64]], cut: slice
) -> Image:
    """Integrations freed of their background, at brightness 1 and in one place; in place."""
    images = {"shift_y": model.gradient_y, "shift_x": model.gradient_x, "width": model.curvature}
    moves = [n for n in images if n in model.fitted and images[n][cut].any()]
    for k in range(len(sci)):
        sci[k] -= np.float32(numbers["background"][k])
        sci[k] /= np.float32(numbers["brightness"][k])
        for name in moves:
            sci[k] -= np.float32(numbers[name][k]) * images[name][cut]
    return sci


def make_template(
    read: Reader,
    names: tuple[str, ...],
    shape: tuple[int, int],
    dispaxis: int,
    count: int,
    identity: str,
) -> ExposureModel:
    """Make the images of the model of an exposure.

    Parameters
    ----------
    read : Reader
        Pixels of the sample.
    names : tuple of str
        Cubes that there are: ``sci``, ``dq``, ``err``, ``var_poisson``, ``var_rnoise``.
    shape : tuple of int
        Rows and columns.
    dispaxis : int
        1 where wavelength runs along x, 2 along y, 0 for images.
    count : int
        Integrations of the sample.
    identity : str
        Name of the model.

    Returns
    -------
    ExposureModel
        Without numbers of integrations.
    """
    whole = np.arange(count)
    first = evenly_spaced(count, FIRST_SAMPLE)

    def usable(picks: npt.NDArray[np.int64], y0: int, y1: int) -> Image:
        return _valid(read("sci", picks, y0, y1), read("dq", picks, y0, y1))

    empty: dict[str, Any] = {name: np.empty(0) for name in NUMBERS}
    image = np.empty(shape, np.float32)
    stated = np.empty(shape, np.float32)
    for y0, y1 in _tiles(shape, first.size):
        image[y0:y1] = nanmedian_image(usable(first, y0, y1))
        stated[y0:y1] = _stated_variance(read, names, first, y0, y1)
    target = find_target(image, dispaxis)
    image, dead = image - np.float32(target.level), ~np.isfinite(image)
    known = np.where(np.isfinite(stated) & (stated > 0), stated, np.nan).astype(np.float32)
    guess = known
    if not np.isfinite(known[~dead]).any():
        guess = np.full(shape, target.noise**2 * first.size, np.float32)
    none = np.zeros(shape, np.float32)
    model = ExposureModel(
        identity=identity,
        image=fill_dead(image, dead, target, dispaxis),
        variance=np.where(np.isfinite(guess), guess, np.inf).astype(np.float32),
        gradient_y=none,
        gradient_x=none,
        curvature=none,
        dead=dead,
        region=target.region,
        dispaxis=dispaxis,
        centre=target.centre,
        fitted=("brightness", "background"),
        scatter=1.0,
        first=0,
        **empty,
    )
    rows, columns = fit_window(model.region)
    per = max(1, SAMPLE_BYTES // (4 * (rows.stop - rows.start) * shape[1]))
    inner = whole[evenly_spaced(count, max(per, FIRST_SAMPLE))]

    def window(picks: npt.NDArray[np.int64]) -> tuple[Image, npt.NDArray[np.uint32]]:
        sci = read("sci", picks, rows.start, rows.stop)[..., columns]
        dq = read("dq", picks, rows.start, rows.stop)[..., columns]
        return np.ascontiguousarray(sci), np.ascontiguousarray(dq).astype(np.uint32)

    sci, dq = window(inner)
    for turn in range(ITERATIONS):
        numbers = fit_integrations(fit_plan(model), sci, dq)
        model = _next_image(model, _valid(sci, dq), numbers, (rows, columns), target)
        if turn == 0:
            noise = np.pi / 2 / inner.size
            model = replace(model, fitted=NUMBERS)
            model = replace(model, fitted=useful_numbers(model, noise))
    del sci, dq
    plan = fit_plan(model)
    batches = [whole[i : i + per] for i in range(0, count, per)]
    fits = [fit_integrations(plan, *window(batch)) for batch in batches]
    numbers = {name: np.concatenate([fit[name] for fit in fits]) for name in fits[0]}
    seen = np.flatnonzero(np.isfinite(numbers["brightness"]))
    if not seen.size:
        return model
    norm = float(np.median(numbers["brightness"][seen]))
    numbers["brightness"] = numbers["brightness"] / norm
    numbers = {name: values[seen] for name, values in numbers.items()}
    ratios = []
    variance = np.empty(shape, np.float32)
    out, dead = np.empty(shape, np.float32), np.empty(shape, bool)
    for y0, y1 in _tiles(shape, seen.size):
        cut = slice(y0, y1)
        scaled = _brought_to_one(usable(whole[seen], y0, y1), model, numbers, cut)
        out[cut] = nanmedian_image(scaled)
        dead[cut] = ~np.isfinite(out[cut])
        scaled -= out[cut]
        measured = (1.4826 * nanmedian_image(np.abs(scaled, out=scaled))) ** 2
        ratios.append(measured / known[cut])
        variance[cut] = np.where(np.isfinite(known[cut]), known[cut], measured)
    together = np.concatenate([r[np.isfinite(r)] for r in ratios])
    variance[~np.isfinite(variance) | (variance <= 0)] = np.inf
    model = replace(
        model,
        image=fill_dead(out, dead, target, dispaxis),
        dead=dead,
        variance=variance,
        scatter=float(np.sqrt(np.median(together))) if together.size else 1.0,
    )
    return _with_gradients(model)


def _tiles(shape: tuple[int, int], count: int) -> list[tuple[int, int]]:
    """Rows of tiles of which `count` integrations are held."""
    rows = max(1, SAMPLE_BYTES // (4 * count * shape[1]))
    return [(y, min(y + rows, shape[0])) for y in range(0, shape[0], rows)]


def _stated_variance(
    read: Reader, names: tuple[str, ...], picks: npt.NDArray[np.int64], y0: int, y1: int
) -> Image:
    """Median variance by the file: read noise and photon noise, else the square of ERR."""
    parts = [name for name in ("var_rnoise", "var_poisson") if name in names]
    if len(parts) == 2:
        return np.sum([nanmedian_image(read(name, picks, y0, y1)) for name in parts], axis=0)
    if "err" in names:
        return nanmedian_image(read("err", picks, y0, y1)) ** 2
    return np.full(read("sci", picks[:1], y0, y1).shape[1:], np.nan, np.float32)


def _next_image(
    model: ExposureModel,
    sci: Image,
    numbers: dict[str, npt.NDArray[np.float64]],
    window: tuple[slice, slice],
    target: Target,
) -> ExposureModel:
    """Model with the median of fitted integrations (integration, y, x) of a window as its image."""
    seen = np.isfinite(numbers["brightness"])
    if not seen.any():
        return model
    known = {name: values[seen] for name, values in numbers.items()}
    cut = replace(
        model,
        **{n: getattr(model, n)[window] for n in ("gradient_y", "gradient_x", "curvature")},
    )
    scaled = _brought_to_one(sci[seen], cut, known, slice(None))
    image, dead = model.image.copy(), model.dead.copy()
    image[window] = nanmedian_image(scaled)
    dead[window] = ~np.isfinite(image[window])
    image = fill_dead(image, dead, target, model.dispaxis)
    return _with_gradients(replace(model, image=image, dead=dead))
