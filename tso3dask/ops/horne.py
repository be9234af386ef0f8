"""Optimal extraction with the profile of the observation itself (Horne 1986, PASP 98, 609).

With the values ``D`` of a column, free of background, their profile ``p`` and variance ``V``, the
flux of least variance is ``sum(p D / V) / sum(p^2 / V)``. Profile and variance come from the model
of the exposure, so the weights ``w = (p / V) / sum(p^2 / V)`` are the same for all integrations: a
variance of single pixels would be smaller where noise made them fainter, and bias the flux.
A flux is then one weighted sum over a column,

    F = sum(w D) / sum(w p_i),    var(F) = sum(w^2 v) / sum(w p_i)^2

over the pixels that are good, where ``v`` is the variance of the pixels in the file. The profile is
normalised over the box aperture ``a``, ``sum(a p) = 1``, so that fluxes are on the scale of a box
sum. ``p_i`` is the profile where the source is in integration ``i``: the image of the model, its
gradient times the shift across the trace, and its curvature times the change of squared width.
Without missing pixels, shifts and widths the denominator is 1.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from .box import BoxPlan, Pixels, background_of, extract_box
from .extract_params import HORIZONTAL

__all__ = ["HornePlan", "Response", "extract_horne", "horne_plan", "smooth_profiles"]

Image = NDArray[np.float64]

LEAST_SHARE = 0.02
"""Where less than this share of the profile's weight is left, there is no flux."""
WANTED_SNR = 300.0
"""Profiles are averaged along the dispersion until their sum has this ratio of signal to noise."""
WORST_SNR = 3.0
"""Where even that has less, weights are those of the box."""
LONGEST = 64
"""Most elements on either side that a profile is averaged over."""
STRAIGHT = 0.1
"""Largest change of the trace, pixels, within a stretch that is averaged."""
COMPLETE = 1e-9
"""Weight below which missing pixels do not matter."""


@dataclass(frozen=True, eq=False, kw_only=True)
class HornePlan(BoxPlan):
    """Weights of an optimal extraction; `profile` holds them in place of those of a box.

    Attributes
    ----------
    expected : ndarray
        Weight times profile ``(3, across, dispersion)`` in the window: of the image, and its
        change by a shift of one pixel and by a squared width of one.
    box : ndarray
        Weights of the box ``(dispersion,)`` in the window, summed.
    shift, width : ndarray
        Numbers ``(integration,)`` of the segment; 0 where they are not known.
    """

    expected: Image
    box: Image
    shift: Image
    width: Image

    @property
    def spatial(self) -> Image:
        """Profile ``(across, dispersion)`` of the target in the window, 0 without weight."""
        image = np.zeros(self.profile.shape)
        np.divide(self.expected[0], self.profile, out=image, where=self.profile > 0)
        return image

    def moved(self, shift: Image, width: Image) -> HornePlan:
        """Return the plan for the integrations of a segment."""
        own = {f.name: getattr(self, f.name) for f in fields(self)}
        numbers = {"shift": shift, "width": width}
        for name, values in numbers.items():
            own[name] = np.nan_to_num(np.asarray(values, float), posinf=0.0, neginf=0.0)
        return HornePlan(**own)


@dataclass(frozen=True, eq=False)
class Response:
    """Images of an exposure that weights are made of, ``(y, x)``.

    Attributes
    ----------
    image : ndarray
        The target at brightness 1.
    variance : ndarray
        Variance of one integration; infinite for pixels that are of no use.
    gradient, curvature : ndarray
        Change of the image by a shift of one pixel across the trace, and by a squared width of 1.
    trace : ndarray or None
        Place ``(dispersion,)`` of the trace, which tells how far profiles may be averaged.
    samples : int
        Integrations that the image is the median of.
    """

    image: NDArray[np.floating]
    variance: NDArray[np.floating]
    gradient: NDArray[np.floating]
    curvature: NDArray[np.floating]
    trace: Image | None = None
    samples: int = 1


def horne_plan(box: BoxPlan, response: Response) -> HornePlan:
    """Make the weights of an optimal extraction over the aperture of a box.

    Parameters
    ----------
    box : BoxPlan
        Aperture and background. The background of the image is taken off as that of the pixels.
    response : Response
        Image and variance of the exposure.

    Returns
    -------
    HornePlan
        Without shifts; see `HornePlan.moved`. A column whose profile is not known, even averaged
        along the dispersion, has the weights of the box.
    """
    along_x = box.dispaxis == HORIZONTAL

    def cut(image: NDArray[np.floating]) -> Image:
        part = np.asarray(image[box.window], np.float64)
        return part if along_x else part.T

    image, variance = cut(response.image), cut(response.variance)
    level = background_of(image, (np.zeros_like(image),) * 3, box)
    if level is not None:
        image = image - np.nan_to_num(level.level)
    inside = box.profile > 0
    known = inside & (variance > 0) & np.isfinite(variance)
    parts = np.stack([image, cut(response.gradient), cut(response.curvature)])
    parts = np.where(inside, np.nan_to_num(parts), 0.0)
    noise = np.where(known, variance, 0.0) * (np.pi / 2 / max(response.samples, 1))
    trace = None
    if response.trace is not None:
        trace = response.trace[box.first : box.first + image.shape[1]]
    parts, snr = smooth_profiles(parts, noise, box.profile, trace)
    parts[0] = np.maximum(parts[0], 0.0)
    total = (box.profile * parts[0]).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        parts = parts / total
        share = np.where(known, parts[0] / variance, 0.0)
        sums = (share * parts[0]).sum(axis=0)
        weights = share / sums
    weak = ~((total > 0) & (sums > 0) & (snr >= WORST_SNR) & np.isfinite(weights).all(axis=0))
    whole = box.profile.sum(axis=0)
    expected = np.where(weak, 0.0, np.nan_to_num(weights * parts))
    expected[0][:, weak] = box.profile[:, weak] / np.where(whole > 0, whole, 1.0)[weak]
    weights = np.where(weak, box.profile, np.nan_to_num(weights))
    own = {f.name: getattr(box, f.name) for f in fields(box)} | {"profile": weights}
    nothing = np.zeros(0)
    return HornePlan(**own, expected=expected, box=whole, shift=nothing, width=nothing)


def smooth_profiles(
    parts: Image, noise: Image, aperture: Image, trace: Image | None
) -> tuple[Image, Image]:
    """Average profiles along the dispersion where they are faint.

    Each is the sum over the shortest symmetric stretch (of 1, 3, 5, 9, 17 ... elements) whose flux
    has `WANTED_SNR`, as long as the trace changes by less than `STRAIGHT` pixels in it.

    Parameters
    ----------
    parts : ndarray
        Images ``(part, across, dispersion)``, of which the first tells the flux.
    noise : ndarray
        Variance ``(across, dispersion)`` of the first.
    aperture : ndarray
        Weights ``(across, dispersion)`` of the box.
    trace : ndarray or None
        Place ``(dispersion,)`` across the dispersion, NaN where it is not known.

    Returns
    -------
    parts : ndarray
        Sums over the stretches.
    snr : ndarray
        Signal to noise ``(dispersion,)`` of their flux.
    """
    count = parts.shape[-1]
    flux = (aperture * parts[0]).sum(axis=0)
    variance = (aperture**2 * noise).sum(axis=0)
    place = np.zeros(count)
    if trace is not None and np.isfinite(trace).any():  # beyond its ends it stays where they are
        known = np.flatnonzero(np.isfinite(trace))
        place = np.interp(np.arange(count), known, np.asarray(trace, float)[known])
    sums = np.concatenate([np.zeros((*parts.shape[:2], 1)), np.cumsum(parts, axis=2)], axis=2)
    totals = np.concatenate([np.zeros((2, 1)), np.cumsum([flux, variance], axis=1)], axis=1)
    index = np.arange(count)
    half = np.zeros(count, np.int64)
    snr = _ratio(flux, variance)
    step = 1
    while step <= min(LONGEST, count - 1):
        low, high = np.maximum(index - step, 0), np.minimum(index + step, count - 1)
        bent = np.maximum(np.abs(place[low] - place), np.abs(place[high] - place)) > STRAIGHT
        better = (snr < WANTED_SNR) & ~bent
        wide = _ratio(*(totals[:, high + 1] - totals[:, low]))
        better &= wide > snr
        half[better], snr[better] = step, wide[better]
        step *= 2
    low, high = np.maximum(index - half, 0), np.minimum(index + half, count - 1)
    smoothed = sums[:, :, high + 1] - sums[:, :, low]
    alone = half == 0
    smoothed[:, :, alone] = parts[:, :, alone]
    return smoothed, snr


def _ratio(flux: Image, variance: Image) -> Image:
    """Signal to noise; 0 where there is no signal, infinite without noise."""
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = flux / np.sqrt(np.maximum(variance, 0.0))
    return np.where(flux > 0, np.nan_to_num(ratio, nan=0.0, posinf=np.inf), 0.0)


def extract_horne(
    sci: Pixels,
    var_rnoise: Pixels | None,
    var_poisson: Pixels | None,
    var_flat: Pixels | None,
    plan: HornePlan,
    first: int = 0,
) -> dict[str, NDArray[np.float64]]:
    """Extract spectra with the weights of a plan.

    Parameters
    ----------
    sci : ndarray
        Values ``(integration, y, x)``, NaN for bad pixels.
    var_rnoise, var_poisson, var_flat : ndarray or None
        Variances of the same shape; None or another shape counts as zero.
    plan : HornePlan
        Weights and background.
    first : int
        Integration of the segment that row 0 is.

    Returns
    -------
    dict of ndarray
        As `tso3dask.ops.box.extract_box` gives it. ``npixels`` is the summed weight of the whole
        box, also where pixels are missing: their flux is not. Flux is NaN where less than a
        fiftieth of the profile's weight is left.
    """
    found = extract_box(sci, var_rnoise, var_poisson, var_flat, plan)
    columns = slice(plan.first, plan.first + plan.profile.shape[1])
    result = {name: values[:, columns] for name, values in found.items()}
    whole = plan.profile.sum(axis=0)
    left = result["npixels"]
    share = _share(sci, plan, left < whole * (1 - COMPLETE), first)
    with np.errstate(invalid="ignore", divide="ignore"):
        lost = ~(share >= LEAST_SHARE) | ~(left > 0)
        squared = (left / share / whole) ** 2
        per_pixel = plan.box / left
        result["flux"] /= share
        for kind in ("rnoise", "poisson", "flat"):
            of_flux, of_level = result[f"f_var_{kind}"], result[f"b_var_{kind}"]
            of_flux[...] = np.where(lost, 0.0, (of_flux - of_level) / share**2 + of_level * squared)
            of_level *= np.where(lost, 0.0, (plan.box / whole) ** 2)
        result["background"] *= np.where(lost, 0.0, per_pixel)
    result["flux"][lost] = np.nan
    left[...] = np.where(lost, 0.0, plan.box)
    return found


def _share(sci: Pixels, plan: HornePlan, missing: NDArray[np.bool_], first: int) -> Image:
    """Sum ``(integration, dispersion)`` of weight times profile over the good pixels."""
    count = len(sci)
    shift, width = (
        values[first : first + count] if values.size else np.zeros(count)
        for values in (plan.shift, plan.width)
    )
    moments = plan.expected.sum(axis=1)
    share = moments[0] + shift[:, np.newaxis] * moments[1] + width[:, np.newaxis] * moments[2]
    rows, columns = np.nonzero(missing)
    if rows.size:
        values = sci[(slice(None), *plan.window)]
        values = values if plan.dispaxis == HORIZONTAL else values.transpose(0, 2, 1)
        good = np.isfinite(values[rows, :, columns]).T
        parts = (np.where(good, part[:, columns], 0.0).sum(axis=0) for part in plan.expected)
        image, change, spread = parts
        share[rows, columns] = image + shift[rows] * change + width[rows] * spread
    return share
