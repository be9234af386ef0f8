"""Fit of the model of an exposure to each of its integrations.

With ``m`` the image, ``g_y, g_x`` its gradients, ``c`` its curvature and ``s`` the error of a
pixel, the numbers of an integration minimise

    sum over pixels of ((d - b m - B - b y g_y - b x g_x - b w c) / s)^2

over brightness ``b``, background ``B``, shifts ``y, x`` and width ``w``, which is linear in ``b, B,
b y, b x, b w``. The errors are those of the model, the same for all integrations, so that noise
of a pixel does not weigh it. Pixels further off than `CLIP` times the robust scatter of the
residuals are left out, anew in each round, so that hits do not matter; the first round starts from
medians of ratios and allows for light that is elsewhere (`TOLERANCES`). A large change of
brightness is no outlier: it is fitted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tso3dask.ops.dq import FLAG_VALUES
from tso3dask.ops.exposure_model import NUMBERS, ExposureModel

__all__ = [
    "CLIP",
    "MARGIN",
    "FitPlan",
    "fit_integrations",
    "fit_plan",
    "fit_window",
    "grown",
    "sum_labels",
    "useful_numbers",
]

CLIP = 5.0
"""Residuals left out of a fit, in units of their robust scatter."""

TOLERANCES = (0.3, 0.1, 0.02, 0.005)
"""Light of the source, relative to the model, that may be off besides, in each round."""

MARGIN = 6
"""Pixels around the light of the target that tell the background."""

_SOME = 1024
"""Pixels that medians are taken of."""

_LARGEST_ERROR = 0.1
"""Error of a shift or width, pixels and square pixels, above which it is not fitted."""

_NOISE_GAIN = (0.9, 3.2)
"""Variance that noise of an image adds to its gradient and curvature: that of the differences."""

BAD_BITS = FLAG_VALUES["DO_NOT_USE"] | FLAG_VALUES["FLUX_ESTIMATED"]
"""DQ bits of pixels that are not used: an estimate tells nothing of the star."""


@dataclass(frozen=True, eq=False)
class FitPlan:
    """What the fit of integrations needs of a model, cut to the pixels that matter.

    Attributes
    ----------
    window : tuple of slice
        Rows and columns.
    basis : (5, pixel) float32
        Image, 1, gradients and curvature over the error.
    inverse : (pixel,) float32
        1 over the error.
    normal : (5, 5) float64
        Products of the basis.
    free : (5,) bool
        Which numbers are fitted.
    core, sky, some : (n,) int64
        Pixels that the first brightness, the first background and the scatter are taken from.
    plain : (5, pixel) float32
        The basis, not over the error; of no pixel where nothing is summed.
    labels : (group, pixel) int32
        Sums that a pixel is part of; -1 for none.
    n_sums : int
        Number of sums.
    """

    window: tuple[slice, slice]
    basis: npt.NDArray[np.float32]
    inverse: npt.NDArray[np.float32]
    normal: npt.NDArray[np.float64]
    free: npt.NDArray[np.bool_]
    core: npt.NDArray[np.int64]
    sky: npt.NDArray[np.int64]
    some: npt.NDArray[np.int64]
    plain: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int32]
    n_sums: int


def fit_window(region: npt.NDArray[np.bool_]) -> tuple[slice, slice]:
    """Rows and columns of an image (y, x) around the light of the target.

    Parameters
    ----------
    region : (y, x) bool
        Pixels with light; all rows and columns if there are none.
    """
    out = []
    for axis in (0, 1):
        lit = np.flatnonzero(region.any(axis=1 - axis))
        size = region.shape[axis]
        low, high = (lit[0], lit[-1] + 1) if lit.size else (0, size)
        out.append(slice(max(0, int(low) - MARGIN), min(size, int(high) + MARGIN)))
    return out[0], out[1]


def _thinned(indices: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """At most `_SOME` of them, evenly spaced."""
    return np.ascontiguousarray(indices[:: max(1, -(-indices.size // _SOME))])


def _rows(
    model: ExposureModel, window: tuple[slice, slice], names: tuple[str, ...]
) -> npt.NDArray[np.float32]:
    """Basis (5, pixel) of the numbers called `names`; others are 0."""
    images = (
        model.image,
        np.ones_like(model.image),
        model.gradient_y,
        model.gradient_x,
        model.curvature,
    )
    rows = [
        image[window].ravel() if name in names else np.zeros(image[window].size, np.float32)
        for name, image in zip(NUMBERS, images, strict=True)
    ]
    return np.array(rows, np.float32)


def _inverse(model: ExposureModel, window: tuple[slice, slice]) -> npt.NDArray[np.float32]:
    variance = model.variance[window].ravel().astype(np.float64)
    usable = np.isfinite(variance) & (variance > 0) & ~model.dead[window].ravel()
    return np.where(usable, 1 / np.sqrt(np.where(usable, variance, 1)), 0).astype(np.float32)


def fit_plan(model: ExposureModel, labels: npt.NDArray[np.int32] | None = None) -> FitPlan:
    """Arrays that fit integrations with a model.

    Parameters
    ----------
    model : ExposureModel
        Its images; `ExposureModel.fitted` says which numbers are fitted.
    labels : (group, y, x) int32, optional
        Sums of light to take too: number of the sum that a pixel is part of, -1 for none.

    Returns
    -------
    FitPlan
    """
    window = fit_window(model.region)
    inverse = _inverse(model, window)
    plain = _rows(model, window, model.fitted)
    basis = plain * inverse
    region = model.region[window].ravel() & (inverse > 0)
    image = basis[0]
    bright = np.flatnonzero(region)
    if bright.size:
        bright = bright[image[bright] >= np.quantile(image[bright], 0.6)]
    near = np.zeros_like(model.region)
    near[window] = model.region[window]
    dark = np.flatnonzero(~grown(near)[window].ravel() & (inverse > 0))
    if labels is None or not labels.size:
        groups, plain, n_sums = np.empty((0, 0), np.int32), np.empty((5, 0), np.float32), 0
    else:
        groups = labels[(slice(None), *window)].reshape(len(labels), -1).astype(np.int32)
        n_sums = int(labels.max(initial=-1)) + 1
    return FitPlan(
        window=window,
        basis=basis,
        inverse=inverse,
        normal=_products(basis),
        free=np.array([name in model.fitted for name in NUMBERS]),
        core=_thinned(bright),
        sky=_thinned(dark),
        some=_thinned(np.flatnonzero(inverse > 0)),
        plain=plain,
        labels=np.ascontiguousarray(groups),
        n_sums=n_sums,
    )


def sum_labels(model: ExposureModel, growth: bool) -> tuple[npt.NDArray[np.int32], int]:
    """Sums of light that are taken while integrations are fitted.

    Parameters
    ----------
    model : ExposureModel
        Its region and centre.
    growth : bool
        Take sums by distance from the centre too.

    Returns
    -------
    labels : (group, y, x) int32
        For `fit_plan`.
    columns : int
        Sums across the trace, which come first: one per column, 0 for images. Those that follow
        belong to rings, in steps of half a pixel, around the centre of the source or on both
        sides of that of the trace.
    """
    shape = model.image.shape
    y, x = np.indices(shape)
    if model.dispaxis:
        along, across = (x, y) if model.dispaxis == 1 else (y, x)
        columns = shape[2 - model.dispaxis]
        distance = np.abs(across - model.centre[along])
        groups = [np.where(model.region, along, -1)]
    else:
        columns, groups = 0, []
        distance = np.hypot(y - model.centre[0], x - model.centre[1])
    if growth:
        reach = float(np.max(distance[model.region], initial=0.0)) + MARGIN
        with np.errstate(invalid="ignore"):
            rings = np.ceil(2 * distance).astype(np.int64) - 1
            inside = distance <= reach
        groups.append(np.where(inside, columns + np.maximum(rings, 0), -1))
    labels = np.array(groups, np.int32).reshape(-1, *shape)
    return labels, columns


def grown(region: npt.NDArray[np.bool_], by: int = 2) -> npt.NDArray[np.bool_]:
    """Region (y, x) with what is up to `by` pixels beside it."""
    out = region.copy()
    for _ in range(by):
        wider = out.copy()
        wider[1:] |= out[:-1]
        wider[:-1] |= out[1:]
        wider[:, 1:] |= out[:, :-1]
        wider[:, :-1] |= out[:, 1:]
        out = wider
    return out


def _products(basis: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Products of the basis with itself; of one value wherever the arrays lie in memory."""
    from tso3dask.ops._model_fit_jit import products

    out = np.empty((len(basis), len(basis)))
    products(basis, out)
    return out


def useful_numbers(
    model: ExposureModel, noise: float, most: float = _LARGEST_ERROR
) -> tuple[str, ...]:
    """Which numbers the pixels of one integration can tell.

    Parameters
    ----------
    model : ExposureModel
        Its images.
    noise : float
        Variance of a pixel of `ExposureModel.image` over that of one integration, which makes
        gradients where there is no structure.
    most : float
        Largest error of a shift or width.

    Returns
    -------
    tuple of str
        Brightness and background, and those of shifts and width whose error, with all others
        fitted too, is below `most`.
    """
    window = fit_window(model.region)
    inverse = _inverse(model, window)
    basis = _rows(model, window, NUMBERS) * inverse
    normal = _products(basis)
    lit = {name: float(np.count_nonzero(basis[i])) for i, name in enumerate(NUMBERS)}
    found = ["brightness", "background"]
    for i, name in enumerate(NUMBERS):
        if i < 2 or normal[i, i] == 0:
            continue
        others = [j for j in range(5) if j != i and normal[j, j] > 0]
        block = normal[np.ix_(others, others)]
        explained = normal[i, others] @ np.linalg.lstsq(block, normal[others, i], rcond=1e-12)[0]
        gain = _NOISE_GAIN[name == "width"]
        if name == ("", "shift_x", "shift_y")[model.dispaxis]:
            gain = 0.0  # made of the smoothed spectrum
        information = normal[i, i] - explained - lit[name] * noise * gain
        if information > 1 / most**2 and information > 0.5 * normal[i, i] - explained:
            found.append(name)
    return tuple(found)


def fit_integrations(
    plan: FitPlan,
    sci: npt.NDArray[np.float32],
    dq: npt.NDArray[np.uint32],
    *,
    clip: float = CLIP,
    tolerances: tuple[float, ...] = TOLERANCES,
) -> dict[str, npt.NDArray[np.float64]]:
    """Fit the numbers of each integration on its own.

    Parameters
    ----------
    plan : FitPlan
        What is fitted.
    sci : (integration, y, x) float32
        Pixels of `FitPlan.window`; NaN are left out.
    dq : (integration, y, x) uint32
        Their flags; DO_NOT_USE and FLUX_ESTIMATED are left out.
    clip : float
        Residuals left out, in units of their robust scatter.
    tolerances : tuple of float
        For each round of clipping and fitting the share of the light of the source by which a
        pixel may be off besides, so that a shift is fitted and not clipped.

    Returns
    -------
    dict of ndarray
        (integration,) float64: the numbers by their names in `ExposureModel`; ``scatter`` of the
        residuals in units of the error; ``left_out``, the pixels that were clipped. With labels
        also ``sums`` (integration, sum): light above the background, that of the model where a
        pixel is not usable. All NaN where an integration has too few usable pixels.
    """
    from tso3dask.ops._model_fit_jit import fit_integrations as kernel

    rows, columns = (s.stop - s.start for s in plan.window)
    if sci.shape[1:] != (rows, columns) or dq.shape != sci.shape:
        raise ValueError(f"sci and dq must be (integration, {rows}, {columns}), got {sci.shape}")
    numbers = np.empty((len(sci), 7))
    sums = np.empty((len(sci), plan.n_sums))
    kernel(
        sci,
        dq,
        BAD_BITS,
        plan.inverse,
        plan.basis,
        plan.normal,
        plan.free,
        plan.core,
        plan.sky,
        plan.some,
        float(clip),
        np.array(tolerances),
        plan.plain,
        plan.labels,
        numbers,
        sums,
    )
    names = (*NUMBERS, "scatter", "left_out")
    out = {name: np.ascontiguousarray(numbers[:, i]) for i, name in enumerate(names)}
    if plan.n_sums:
        out["sums"] = sums
    return out
