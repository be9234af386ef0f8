"""Images of the model of an exposure, from a bounded sample of its integrations.

A first median of a few integrations shows where the light of the target is. Integrations of the
sample are then fitted with what is known (`tso3dask.ops.model_fit`), brought to brightness 1 and
to one place, and the median of them is the next image, a few times; at last this is done for the
whole array, in tiles, so that memory is bounded.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from tso3dask.ops.centre_line import trace_of
from tso3dask.ops.dispersion import dispersion_shift
from tso3dask.ops.exposure_model import NUMBERS, ExposureModel
from tso3dask.ops.gradients import derivatives
from tso3dask.ops.medians import nanmedian_image
from tso3dask.ops.model_fit import (
    BAD_BITS,
    fit_integrations,
    fit_plan,
    fit_window,
    grown,
    useful_numbers,
)
from tso3dask.ops.trace_region import Target, fill_dead, find_target

__all__ = ["SAMPLE", "Reader", "evenly_spaced", "make_template"]

SAMPLE = 64
"""Integrations of the sample at most."""

FIRST_SAMPLE = 11
"""Integrations of the first median at most."""

SAMPLE_BYTES = 12 * 10**6
"""Bytes of SCI of the sample that are held at a time."""

_SURE = 3.0
"""Light of a pixel of the median, over its error, of which derivatives are taken."""

FEW_ROWS = 4
"""Rows of which one is compared with what files say of its variance."""

TRACE_COLUMNS = 64
"""Columns of a trace for each degree of the polynomial that it follows, up to the seventh."""

STENCIL = 8
"""Pixels on each side that derivatives may depend on."""

FEWEST = 4
"""Integrations that a scatter in time is taken of at least."""

ITERATIONS = 3

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


def _with_gradients(model: ExposureModel, count: int) -> ExposureModel:
    """Model with gradients and curvature of its image, of `count` integrations, near the target."""
    near = grown(model.region, 2)
    variance = np.where(np.isfinite(model.variance), model.variance, np.nan)
    typical = float(np.nanmedian(variance)) if np.isfinite(variance).any() else 0.0
    error = np.sqrt(np.nan_to_num(variance, nan=typical) * (np.pi / 2 / count))
    floor = np.maximum(_SURE * error, np.finfo(np.float32).tiny)
    cut = tuple(_surroundings(np.asarray(near.any(axis=1 - axis))) for axis in (0, 1))
    images: dict[str, Any] = {"curvature": np.zeros(model.image.shape)}
    for axis, name in enumerate(("gradient_y", "gradient_x")):
        if model.dispaxis != 2 - axis:
            first, second = derivatives(model.image[cut], floor[cut], axis)
            images[name] = np.zeros(model.image.shape)
            images[name][cut] = -first
            images["curvature"][cut] += second / 2
    if model.dispaxis:
        images |= _along_dispersion(model, images)
    images = {name: np.where(near, v, 0).astype(np.float32) for name, v in images.items()}
    return replace(model, **images)


def _surroundings(wanted: npt.NDArray[np.bool_]) -> slice:
    """Slice of an axis with what is wanted and what derivatives there depend on."""
    found = np.flatnonzero(wanted)
    if not found.size:
        return slice(0, 0)
    return slice(max(0, int(found[0]) - STENCIL), int(found[-1]) + STENCIL + 1)


def _along_dispersion(model: ExposureModel, across: dict[str, Any]) -> dict[str, Any]:
    """Gradient along the dispersion: lines move with the star, and so does a curved trace.

    The mean slope of a trace is left out: it moves the trace as a shift across it does.
    """
    derivative = dispersion_shift(model).derivative
    order = min(7, int(np.count_nonzero(np.isfinite(model.centre))) // TRACE_COLUMNS + 1)
    trace = trace_of(model.image, model.region, model.dispaxis, start=model.centre, order=order)
    name, other = (
        ("gradient_x", "gradient_y") if model.dispaxis == 1 else ("gradient_y", "gradient_x")
    )
    axis = 2 - model.dispaxis
    lines = np.expand_dims(derivative, 1 - axis)
    if trace is None:
        return {name: -model.image * lines}
    slope = np.gradient(trace)
    known = np.where(np.isfinite(model.variance), across[other] ** 2 / model.variance, 0)
    weight = np.where(model.region, known, 0).sum(axis=1 - axis)
    total = float(weight.sum())
    slope -= float(np.sum(weight * slope)) / total if total > 0 else 0.0
    return {name: -model.image * lines - np.expand_dims(slope, 1 - axis) * across[other]}


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
    sample = _Sample(read, names, shape, count)
    model, target, known = _first_model(sample, dispaxis, identity)
    model = _refined(sample, model, target)
    numbers = _numbers(sample, model)
    if not numbers["picks"].size:
        return model
    model = _final_images(sample, model, target, known, numbers)
    return _with_gradients(model, numbers["picks"].size)


@dataclass(frozen=True, eq=False)
class _Sample:
    """Pixels of the sample; see `make_template`."""

    read: Reader
    names: tuple[str, ...]
    shape: tuple[int, int]
    count: int

    def usable(self, picks: npt.NDArray[np.int64], y0: int, y1: int) -> Image:
        """SCI of some integrations, NaN where a flag forbids the use."""
        return _valid(self.read("sci", picks, y0, y1), self.read("dq", picks, y0, y1))

    def window(
        self, picks: npt.NDArray[np.int64], window: tuple[slice, slice]
    ) -> tuple[Image, npt.NDArray[np.uint32]]:
        """SCI and DQ of some integrations in a window."""
        rows, columns = window
        sci, dq = (
            np.ascontiguousarray(self.read(name, picks, rows.start, rows.stop)[..., columns])
            for name in ("sci", "dq")
        )
        return sci, dq

    def held(self, window: tuple[slice, slice]) -> int:
        """Integrations of a window that are held at a time."""
        rows = window[0].stop - window[0].start
        return max(1, SAMPLE_BYTES // (4 * rows * self.shape[1]))


def _first_model(
    sample: _Sample, dispaxis: int, identity: str
) -> tuple[ExposureModel, Target, dict[str, Image]]:
    """Model by the median of a few integrations, the target, and what files say of variances."""
    shape = sample.shape
    picks = evenly_spaced(sample.count, FIRST_SAMPLE)
    image = np.empty(shape, np.float32)
    stated = {name: np.full(shape, np.nan, np.float32) for name in ("read", "photon", "both")}
    for y0, y1 in _tiles(shape, picks.size):
        image[y0:y1] = nanmedian_image(sample.usable(picks, y0, y1))
        for name, values in _stated_variances(sample, picks, y0, y1).items():
            stated[name][y0:y1] = values
    both = stated["both"]
    both[~np.isfinite(both) | (both <= 0)] = np.nan
    target = find_target(image, dispaxis)
    dead = ~np.isfinite(image)
    stated["read"] += _sky_share(image, target.level) * stated["photon"]
    variance = both
    if not np.isfinite(both[~dead]).any():
        variance = np.full(shape, target.noise**2 * picks.size, np.float32)
    none, empty = np.zeros(shape, np.float32), np.empty(0)
    model = ExposureModel(
        identity=identity,
        image=fill_dead(image - np.float32(target.level), dead, target, dispaxis),
        variance=np.where(np.isfinite(variance), variance, np.inf).astype(np.float32),
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
        brightness=empty,
        background=empty,
        shift_y=empty,
        shift_x=empty,
        width=empty,
        read_variance=stated["read"] if np.isfinite(stated["read"]).any() else None,
    )
    return model, target, stated


def _sky_share(image: Image, level: float) -> Image:
    """Share of the light of each pixel that is background."""
    with np.errstate(all="ignore"):
        share = np.where(image > level, np.maximum(level, 0) / image, 1)
    return np.nan_to_num(share, nan=1.0).astype(np.float32)


def _refined(sample: _Sample, model: ExposureModel, target: Target) -> ExposureModel:
    """Model by the median of fitted integrations, near the target."""
    window = fit_window(model.region)
    picks = evenly_spaced(sample.count, max(sample.held(window), FIRST_SAMPLE))
    sci, dq = sample.window(picks, window)
    for turn in range(ITERATIONS):
        numbers = fit_integrations(fit_plan(model), sci, dq)
        model = _next_image(model, _valid(sci, dq), numbers, window, target)
        if turn == 0:
            noise = np.pi / 2 / picks.size  # of a median, over that of one value
            model = replace(model, fitted=NUMBERS)
            model = replace(model, fitted=useful_numbers(model, noise))
    return model


def _numbers(sample: _Sample, model: ExposureModel) -> dict[str, npt.NDArray[Any]]:
    """Numbers of the sample that have a fit, brightness relative to their median."""
    plan = fit_plan(model)
    held = sample.held(plan.window)
    batches = np.split(np.arange(sample.count), range(held, sample.count, held))
    fits = [fit_integrations(plan, *sample.window(batch, plan.window)) for batch in batches]
    numbers = {name: np.concatenate([fit[name] for fit in fits]) for name in fits[0]}
    seen = np.flatnonzero(np.isfinite(numbers["brightness"]))
    numbers = {name: values[seen] for name, values in numbers.items()}
    if seen.size:
        numbers["brightness"] /= np.median(numbers["brightness"])
    return numbers | {"picks": seen}


def _final_images(
    sample: _Sample,
    model: ExposureModel,
    target: Target,
    stated: dict[str, Image],
    numbers: dict[str, npt.NDArray[Any]],
) -> ExposureModel:
    """Model by the median of the whole sample, with the variances that files do not have."""
    picks, shape = numbers["picks"], sample.shape
    variance, ratios = stated["both"].copy(), []
    image, dead = np.empty(shape, np.float32), np.empty(shape, bool)
    for y0, y1 in _tiles(shape, picks.size):
        cut = slice(y0, y1)
        scaled = _brought_to_one(sample.usable(picks, y0, y1), model, numbers, cut)
        image[cut] = nanmedian_image(scaled)
        dead[cut] = ~np.isfinite(image[cut])
        if picks.size < FEWEST:
            continue
        unknown = ~np.isfinite(variance[cut]) & ~dead[cut]
        some = slice(y0, y1, 1 if unknown.any() else FEW_ROWS)
        off = np.abs(scaled[:, :: some.step] - image[some])
        measured = (1.4826 * nanmedian_image(off)) ** 2 * (picks.size / (picks.size - 1))
        ratios.append((measured / variance[some]).ravel())
        if unknown.any():
            variance[cut][unknown] = measured[unknown]
    if not np.isfinite(variance[~dead]).any():
        variance[:] = target.noise**2 * min(sample.count, FIRST_SAMPLE)
    ratio = np.concatenate([np.ones(0), *ratios])
    ratio = ratio[np.isfinite(ratio) & (ratio > 0)]
    variance[~np.isfinite(variance) | (variance <= 0)] = np.inf
    return replace(
        model,
        image=fill_dead(image, dead, target, model.dispaxis),
        dead=dead,
        variance=variance,
        scatter=float(np.sqrt(np.median(ratio))) if ratio.size else 1.0,
    )


def _tiles(shape: tuple[int, int], count: int) -> list[tuple[int, int]]:
    """Rows of tiles of which `count` integrations are held."""
    rows = max(1, SAMPLE_BYTES // (4 * count * shape[1]))
    return [(y, min(y + rows, shape[0])) for y in range(0, shape[0], rows)]


def _stated_variances(
    sample: _Sample, picks: npt.NDArray[np.int64], y0: int, y1: int
) -> dict[str, Image]:
    """Median variances by the file: of read noise and photons, else the square of ERR."""
    if "var_rnoise" in sample.names and "var_poisson" in sample.names:
        read, photon = (
            nanmedian_image(sample.read(name, picks, y0, y1))
            for name in ("var_rnoise", "var_poisson")
        )
        return {"read": read, "photon": photon, "both": read + photon}
    if "err" in sample.names:
        return {"both": nanmedian_image(sample.read("err", picks, y0, y1)) ** 2}
    return {}


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
    return _with_gradients(replace(model, image=image, dead=dead), int(seen.sum()))
