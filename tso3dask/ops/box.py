"""Box extraction: weighted sums across the dispersion, for blocks of integrations.

The sum over an aperture leaves out pixels whose value is not finite; nothing is put in their
place, and ``npixels`` says how much weight was left. Variances are summed with squared weights.
A background is fitted to each integration on its own, so results do not depend on how the
integrations are divided into blocks.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, NotYetError
from .aperture1d import Aperture
from .background1d import Background, fit_median, fit_polynomial, smooth
from .background_clip import clip_background, clip_numpy
from .extract_params import HORIZONTAL

__all__ = ["RESULTS", "BoxPlan", "background_of", "box_plan", "extract_box", "needed_rows"]

RESULTS = (
    "flux",
    "f_var_rnoise",
    "f_var_poisson",
    "f_var_flat",
    "background",
    "b_var_rnoise",
    "b_var_poisson",
    "b_var_flat",
    "npixels",
)
"""Names of what `extract_box` gives, in order."""

TILE = 1024
"""Columns that the compiled kernels do together."""

Pixels = NDArray[np.floating]
Window = tuple[slice, slice]


@dataclass(frozen=True, eq=False)
class BoxPlan:
    """What `extract_box` needs of an aperture, cut to the pixels that matter.

    Attributes
    ----------
    shape : tuple of int
        ``(y, x)`` shape of the whole image.
    dispaxis : int
        Dispersion direction.
    window : tuple of slice
        Rows and columns of the image that are needed.
    profile : ndarray
        Source weights ``(across, dispersion)`` in the window.
    inside : ndarray of bool or None
        Background pixels ``(across, dispersion)`` in the window; None without a background.
    position : ndarray
        Coordinate ``(across,)`` for polynomials, -1 to 1 over the whole image.
    fit : str or None
        ``"poly"`` or ``"median"``.
    order : int
        Order of the polynomial.
    smoothing : int
        Odd length of the background's running mean, 0 for none.
    clip : float or None
        Background pixels further than this from the others, in sigma, are left out.
    """

    _packed: ClassVar[tuple[str, ...]] = ("profile", "inside")

    shape: tuple[int, int]
    dispaxis: int
    window: Window
    profile: NDArray[np.float64]
    inside: NDArray[np.bool_] | None
    position: NDArray[np.float64]
    fit: str | None
    order: int
    smoothing: int
    clip: float | None = None

    @property
    def dispersion(self) -> int:
        """Number of elements along dispersion of the whole image."""
        return self.shape[1] if self.dispaxis == HORIZONTAL else self.shape[0]

    @property
    def clip_order(self) -> int:
        """Order of the polynomial that clipping is about; 0 is the median."""
        return self.order if self.fit == "poly" else 0

    @property
    def first(self) -> int:
        """First element along dispersion in the window."""
        return self.window[1 if self.dispaxis == HORIZONTAL else 0].start

    @cached_property
    def tables(self) -> Tables:
        """Tables for the compiled kernels, made when first asked for."""
        return _tables(self)

    def __getstate__(self) -> dict[str, Any]:
        """State for pickle: small, for weights are mostly 0 and 1 and tables can be made again."""
        state = {name: value for name, value in vars(self).items() if name != "tables"}
        for name in self._packed:
            if state[name] is not None:
                values = np.ascontiguousarray(state[name])
                packed = zlib.compress(values.view(np.uint8).reshape(-1).data, 1)
                state[name] = (packed, values.dtype.str, values.shape)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name in self._packed:
            if state[name] is not None:
                packed, dtype, shape = state[name]
                raw = bytearray(zlib.decompress(packed))
                state = state | {name: np.frombuffer(raw, dtype).reshape(shape)}
        vars(self).update(state)


@dataclass(frozen=True, eq=False)
class Tables:
    """A plan in the form that the compiled kernels take.

    Attributes
    ----------
    profile : ndarray
        Source weights ``(y, x)`` of the window.
    inside : ndarray
        Background pixels ``(y, x)`` as 0 and 1, float32.
    source, back : tuple of ndarray
        Rows by tile (values and where each tile's begin) for spectra along x; one array of
        first and last column by row for spectra along y.
    wanted : ndarray of bool
        Rows (columns for spectra along y) with background pixels.
    sums : tuple of ndarray
        Sums ``(dispersion,)`` of the weights, and of the weights times the position.
    """

    profile: NDArray[np.float64]
    inside: NDArray[np.float32]
    source: tuple[NDArray[np.int64], ...]
    back: tuple[NDArray[np.int64], ...]
    wanted: NDArray[np.bool_]
    sums: tuple[NDArray[np.float64], NDArray[np.float64]]


def box_plan(aperture: Aperture, *, whole: bool = False) -> BoxPlan:
    """Cut an aperture to what the extraction touches.

    Parameters
    ----------
    aperture : Aperture
        The aperture.
    whole : bool
        Do not cut it, for what is wanted of the whole image.

    Returns
    -------
    BoxPlan
        Small and picklable; make it once per member and use it for all blocks.
    """
    params = aperture.params
    if params.extraction_type not in ("box", "horne"):
        raise NotYetError(f"extraction_type {params.extraction_type!r} is not a box extraction")
    profile = aperture.profile
    inside = None if aperture.bkg_profile is None else aperture.bkg_profile != 0
    smoothing = params.smoothing_length if inside is not None else 0
    if aperture.dispaxis != HORIZONTAL:
        profile = profile.T
        inside = None if inside is None else inside.T
    across, along = profile.shape
    first, last = aperture.left, aperture.right
    if first is None or last is None:
        raise InputError("the extraction aperture is empty: no pixel in it has a wavelength")
    touched = profile != 0
    if inside is not None:
        touched = touched.copy()
        touched[:, first : last + 1] |= inside[:, first : last + 1]
    rows = np.flatnonzero(touched.any(axis=1))
    half = smoothing // 2
    cut = (
        slice(int(rows[0]), int(rows[-1]) + 1),
        slice(max(first - half, 0), min(last + half + 1, along)),
    )
    if whole:
        cut = (slice(0, across), slice(0, along))
    return BoxPlan(
        shape=aperture.shape,
        dispaxis=aperture.dispaxis,
        window=cut if aperture.dispaxis == HORIZONTAL else cut[::-1],
        profile=np.ascontiguousarray(profile[cut]),
        inside=None if inside is None else np.ascontiguousarray(inside[cut]),
        position=np.linspace(-1, 1, across)[cut[0]],
        fit=params.bkg_fit if inside is not None else None,
        order=params.bkg_order,
        smoothing=smoothing if smoothing > 1 else 0,
        clip=params.bkg_clip if inside is not None else None,
    )


def needed_rows(aperture: Aperture | BoxPlan) -> Window:
    """Pixels that a caller has to read.

    Parameters
    ----------
    aperture : Aperture or BoxPlan
        The aperture.

    Returns
    -------
    tuple of slice
        Along y and along x. Arrays given to `extract_box` may hold just these, or more.
    """
    plan = aperture if isinstance(aperture, BoxPlan) else box_plan(aperture)
    return plan.window


def extract_box(
    sci: Pixels,
    var_rnoise: Pixels | None,
    var_poisson: Pixels | None,
    var_flat: Pixels | None,
    aperture: Aperture | BoxPlan,
    *,
    window: Window | None = None,
) -> dict[str, NDArray[np.float64]]:
    """Sum spectra over a box.

    Parameters
    ----------
    sci : ndarray
        Values ``(integration, y, x)``, NaN for bad pixels.
    var_rnoise, var_poisson, var_flat : ndarray or None
        Variances of the same shape; None or another shape counts as zero.
    aperture : Aperture or BoxPlan
        The aperture; a plan made beforehand saves time.
    window : tuple of slice, optional
        Part of the image along y and x that the arrays hold; the whole image by default.

    Returns
    -------
    dict of ndarray
        Arrays ``(integration, dispersion)`` float64 over the whole dispersion axis, in the order
        of `RESULTS`: the sum with the background taken off, its variances (background's
        included), the sum of the background over the aperture and its variances, and the
        summed weight. An element without any pixel has a NaN flux and zero elsewhere.

    Raises
    ------
    InputError
        When the arrays do not hold the pixels that the aperture needs.
    """
    plan = aperture if isinstance(aperture, BoxPlan) else box_plan(aperture)
    cut = _cut(sci.shape, plan, window)
    variances = [
        v if v is not None and v.shape == sci.shape else None
        for v in (var_rnoise, var_poisson, var_flat)
    ]
    result = np.zeros((len(RESULTS), len(sci), plan.dispersion))
    result[0] = np.nan
    given = [image for image in (sci, *variances) if image is not None]
    compiled = plan.fit != "poly" or plan.order <= 1
    if compiled and all(image.dtype == np.float32 for image in given):
        _sum_compiled(sci, variances, cut, plan, result)
    else:
        zero = np.broadcast_to(sci.dtype.type(0), sci[cut].shape)
        images = [sci[cut]] + [zero if v is None else v[cut] for v in variances]
        columns = slice(plan.first, plan.first + plan.profile.shape[1])
        _sum_numpy(images, plan, result[:, :, columns])
    return dict(zip(RESULTS, result, strict=True))


def _cut(
    shape: tuple[int, ...], plan: BoxPlan, window: Window | None
) -> tuple[slice, slice, slice]:
    """Where the plan's window lies inside the arrays given."""
    held = window if window is not None else (slice(0, plan.shape[0]), slice(0, plan.shape[1]))
    bounds = [part.indices(size)[:2] for part, size in zip(held, plan.shape, strict=True)]
    if len(shape) != 3 or tuple(shape[1:]) != tuple(stop - start for start, stop in bounds):
        raise InputError(
            f"arrays of shape {tuple(shape)} do not hold rows {bounds[0]} and columns {bounds[1]}"
        )
    cuts = []
    for need, (start, stop), name in zip(plan.window, bounds, "yx", strict=True):
        if need.start < start or need.stop > stop:
            raise InputError(
                f"the extraction needs {name} {need.start} to {need.stop - 1}; "
                f"the arrays hold {start} to {stop - 1}"
            )
        cuts.append(slice(need.start - start, need.stop - start))
    return (slice(None), cuts[0], cuts[1])


def _tables(plan: BoxPlan) -> Tables:
    """List the rows or columns that matter."""
    along_x = plan.dispaxis == HORIZONTAL
    inside = np.zeros(plan.profile.shape, bool) if plan.inside is None else plan.inside
    wanted = np.asarray(inside.any(axis=1))
    sums = (plan.profile.sum(axis=0), (plan.profile * plan.position[:, np.newaxis]).sum(axis=0))
    # background counts only where there is a spectrum
    needed = inside & (plan.profile != 0).any(axis=0)
    if along_x:
        rows = _rows_by_tile(plan.profile != 0), _rows_by_tile(needed)
        return Tables(plan.profile, inside.astype(np.float32), *rows, wanted, sums)
    spans = (_span(plan.profile != 0),), (_span(needed),)
    profile = np.ascontiguousarray(plan.profile.T)
    flags = np.ascontiguousarray(inside.T, dtype=np.float32)
    return Tables(profile, flags, *spans, wanted, sums)


def _rows_by_tile(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows with any pixel in each tile of columns."""
    rows = [
        np.flatnonzero(mask[:, begin : begin + TILE].any(axis=1))
        for begin in range(0, mask.shape[1], TILE)
    ]
    ends = np.cumsum([0] + [len(part) for part in rows])
    return np.concatenate(rows).astype(np.int64), ends.astype(np.int64)


def _span(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """First and last pixel (one past it) across the dispersion, by element along it."""
    some = mask.any(axis=0)
    begin = np.where(some, mask.argmax(axis=0), 0)
    end = np.where(some, len(mask) - mask[::-1].argmax(axis=0), 0)
    return np.stack([begin, end], axis=1).astype(np.int64)


def _sum_compiled(
    sci: Pixels,
    variances: list[Pixels | None],
    cut: tuple[slice, slice, slice],
    plan: BoxPlan,
    result: NDArray[np.float64],
) -> None:
    """Extract all integrations into `result` with the compiled kernels."""
    from . import _background_jit
    from . import _box_jit as jit

    given = [sci, *(v for v in variances if v is not None)]
    if len(given) < 4 or not all(image.flags.c_contiguous for image in given):
        window = sci[cut].shape
        variances = [
            np.zeros(window, np.float32) if v is None else np.ascontiguousarray(v[cut])
            for v in variances
        ]
        sci, cut = np.ascontiguousarray(sci[cut]), (cut[0], slice(0, None), slice(0, None))
    y0, x0 = cut[1].start, cut[2].start
    tables, along_x = plan.tables, plan.dispaxis == HORIZONTAL
    mode, order = jit.NO_BACKGROUND, 0
    values, vy0, vx0 = sci, y0, x0
    level = np.zeros((1, 1), np.float32)
    if plan.inside is not None:
        if plan.clip is not None:
            values = clip_background(
                sci[cut], plan.inside, plan.position, plan.clip_order, plan.clip, plan.dispaxis
            )
            vy0 = vx0 = 0
        valid, wy0, wx0 = values, vy0, vx0
        if plan.smoothing:
            values = np.empty((len(sci), *tables.profile.shape), np.float32)
            if along_x:
                smooth_kernel = _background_jit.smooth_along_x
                smooth_kernel(valid, wy0, wx0, tables.wanted, plan.smoothing, values)
            else:
                _background_jit.smooth_along_y(valid, wy0, wx0, plan.smoothing, values)
            vy0 = vx0 = 0
        if plan.fit == "median":
            mode = jit.LEVEL
            level = np.empty((len(sci), plan.profile.shape[1]), np.float32)
            median_kernel = (
                _background_jit.median_along_x if along_x else _background_jit.median_along_y
            )
            middles = np.empty((2, _background_jit.MEDIAN_TILE), np.float32)
            median_kernel(
                values.view(np.int32), vy0, vx0, tables.inside, *tables.back,
                middles, middles.view(np.int32), level,
            )  # fmt: skip
            values, vy0, vx0 = valid, wy0, wx0
        else:
            mode, order = jit.POLYNOMIAL, plan.order
    kernel = jit.along_x if along_x else jit.along_y
    kernel(
        sci, *variances, y0, x0, values, vy0, vx0, level,
        tables.profile, tables.inside, plan.position, *tables.source, *tables.back, *tables.sums,
        mode, order, result, plan.first,
    )  # fmt: skip


def _sum_numpy(images: list[Pixels], plan: BoxPlan, result: NDArray[np.float64]) -> None:
    """Extract integration by integration into `result`, in plain numpy."""
    if plan.dispaxis != HORIZONTAL:
        images = [image.transpose(0, 2, 1) for image in images]
    for i in range(images[0].shape[0]):
        image, *variances = (block[i] for block in images)
        _sum_one(image, tuple(variances), plan, result[:, i])


def _sum_one(
    image: Pixels, variances: tuple[Pixels, ...], plan: BoxPlan, result: NDArray[np.float64]
) -> None:
    """Extract one integration, ``(across, dispersion)``."""
    background = background_of(image, variances, plan)
    if background is not None:
        with np.errstate(invalid="ignore"):
            image = image - background.level
    profile = np.where(np.isfinite(image), plan.profile, 0.0)
    result[0] = (np.where(profile != 0, image, 0) * profile).sum(axis=0)
    squared = profile**2
    with np.errstate(invalid="ignore", over="ignore"):
        for k, variance in enumerate(variances):
            result[1 + k] = np.nansum(variance * squared, axis=0)
        if background is not None:
            total = (background.level * profile).sum(axis=0)
            result[4] = np.where(np.isfinite(total), total, 0.0)
            for k, variance in enumerate(background.variances):
                result[1 + k] += variance
                result[5 + k] = variance
    result[8] = profile.sum(axis=0)
    result[0, np.isclose(result[8], 0)] = np.nan


def background_of(image: Pixels, variances: tuple[Pixels, ...], plan: BoxPlan) -> Background | None:
    """Background of one integration, or None."""
    if plan.inside is None:
        return None
    with np.errstate(invalid="ignore", over="ignore"):
        finite = np.isfinite(variances[0] + variances[1] + variances[2]) & np.isfinite(image)
    used = plan.inside & finite
    valid = image
    if plan.clip is not None:
        valid = np.array(image)
        clip_numpy(valid, plan.inside, plan.position, plan.clip_order, plan.clip)
    values = smooth(valid, plan.smoothing) if plan.smoothing else valid
    if plan.fit == "median":
        used &= np.isfinite(valid)
        return fit_median(values, plan.inside, used, plan.profile, variances)
    used &= np.isfinite(values)
    return fit_polynomial(values, used, plan.profile, variances, plan.position, plan.order)
