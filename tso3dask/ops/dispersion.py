"""Shift of a spectrum along its dispersion, and the gradient of an image along it.

A spectrum that moves by ``d`` pixels changes by ``-d S'``. Lines tell ``d`` and a smooth continuum
does not; pixel-to-pixel errors of the flat field look like lines that never move, and a plain
difference of the mean spectrum is mostly made of them. So ``S'`` is taken from the spectrum
smoothed with a Gaussian, of the width with which

    d = -<g, S_i / b_i - S> / A

has the least error: ``g`` is the derivative of the smoothed spectrum S, freed of polynomials times
S (changes of brightness and colour, and of throughput, which does not move), products weigh columns
by their variance, and ``A`` is the product of ``g`` with the plain derivative of S, less what white
noise contributes to it. White noise is measured by fourth differences of S. This is the peak of the
cross-correlation of both spectra, to first order in ``d``, and is calibrated for any smoothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tso3dask.ops.exposure_model import ExposureModel

__all__ = ["DispersionShift", "collapsed", "dispersion_shift", "shifts_along"]

Vector = npt.NDArray[np.float64]

FIRST_DIFFERENCE = np.array([1 / 280, -4 / 105, 1 / 5, -4 / 5, 0, 4 / 5, -1 / 5, 4 / 105, -1 / 280])
"""Weights of the derivative of eighth order, for the pixels -4 to 4 around."""

_SMOOTHING = (0.0, 1.0, 2.0, 4.0, 8.0)
_END = 16
"""Columns at each end of a spectrum that are left out: the edge of a detector does not move."""

_SCALE = 48
"""Columns over which a change is slow: one degree of the polynomials for each."""
_MEDIAN_OF_SQUARES = 0.4549
_LARGEST_ERROR = 0.1


@dataclass(frozen=True, eq=False)
class DispersionShift:
    """How shifts along the dispersion are measured.

    Attributes
    ----------
    weights : (dispersion,) float64
        Their sum with a spectrum at brightness 1 is minus its shift, in pixels, 0 for the mean
        spectrum; all 0 where the spectrum does not tell.
    derivative : (dispersion,) float64
        Change of the mean spectrum per pixel by its lines, over the spectrum.
    zero : float
        Shift that `weights` give for the mean spectrum, to be taken off.
    error : float
        Standard error of a shift by photon and read noise, pixels; infinite where there is none.
    """

    weights: Vector
    derivative: Vector
    zero: float
    error: float


def collapsed(model: ExposureModel) -> tuple[Vector, Vector]:
    """Sum over the light of the trace of a model, and its variance in one integration.

    Returns
    -------
    spectrum, variance : (dispersion,) float64
        NaN outside the trace.
    """
    across = 0 if model.dispaxis == 1 else 1
    inside = model.region
    known = inside & np.isfinite(model.variance)
    spectrum = np.where(inside, model.image, 0).sum(axis=across, dtype=np.float64)
    variance = np.where(known, model.variance, 0).sum(axis=across, dtype=np.float64)
    lit = np.isfinite(model.centre) & (spectrum > 0) & (variance > 0)
    return np.where(lit, spectrum, np.nan), np.where(lit, variance, np.nan)


def dispersion_shift(model: ExposureModel) -> DispersionShift:
    """Find how the shift of an integration's spectrum is measured best.

    Parameters
    ----------
    model : ExposureModel
        Its image, variance and region.

    Returns
    -------
    DispersionShift
    """
    spectrum, variance = collapsed(model)
    size = spectrum.size
    nothing = DispersionShift(np.zeros(size), np.zeros(size), 0.0, np.inf)
    lit = np.flatnonzero(np.isfinite(spectrum))
    if lit.size < 12:
        return nothing
    inner = slice(int(lit[0]), int(lit[-1]) + 1)
    x = np.arange(inner.start, inner.stop)
    s = np.interp(x, lit, spectrum[lit])
    weight = np.where(np.isfinite(spectrum[inner]), 1 / np.interp(x, lit, variance[lit]), 0.0)
    white = _white_noise(s, weight)
    best = max(
        (_measure(s, weight, white, width) for width in _SMOOTHING), key=lambda found: found[0]
    )
    quality, vector, slope = best
    if not quality > 1 / _LARGEST_ERROR**2:
        return nothing
    weights, derivative = np.zeros(size), np.zeros(size)
    weights[inner], derivative[inner] = vector, slope / s
    zero = float(np.sum(weights[inner] * s))
    return DispersionShift(weights, derivative, zero, float(1 / np.sqrt(quality)))


def _white_noise(spectrum: Vector, weight: Vector) -> float:
    """Variance of what differs from column to column, over that of one integration."""
    fourth = np.convolve(spectrum, (1, -4, 6, -4, 1), mode="valid")
    squares = fourth**2 * weight[2:-2] / 70
    seen = squares[weight[2:-2] > 0]
    return float(np.median(seen)) / _MEDIAN_OF_SQUARES if seen.size else 0.0


def _derivative(spectrum: Vector, width: float) -> Vector:
    from scipy.ndimage import correlate1d, gaussian_filter1d

    if width == 0:
        return np.asarray(correlate1d(spectrum, FIRST_DIFFERENCE, mode="nearest"))
    return np.asarray(gaussian_filter1d(spectrum, width, order=1, mode="nearest"))


def _measure(
    spectrum: Vector, weight: Vector, white: float, width: float
) -> tuple[float, Vector, Vector]:
    """Information on a shift, the vector that measures it, and the calibrated derivative."""
    size = spectrum.size
    degree = max(3, size // _SCALE)
    margin = 4 + int(np.ceil(3 * width))
    ends = margin + min(_END, size // 12)
    use = weight.copy()
    use[:ends] = use[max(0, size - ends) :] = 0
    impulse = np.zeros(2 * margin + 1)
    impulse[margin] = 1
    gain = float(np.sum(_derivative(impulse, width) * _derivative(impulse, 0)))
    smooth, plain = _derivative(spectrum, width), _derivative(spectrum, 0)
    along = np.linspace(-1, 1, size)
    slow = np.polynomial.legendre.legvander(along, degree) * spectrum[:, None]
    root = np.sqrt(use)
    q, _ = np.linalg.qr(slow * root[:, None])
    free = smooth * root
    for _ in range(2):
        free = free - q @ (q.T @ free)
    norm = float(np.sum(free**2))
    common = float(np.sum(free * plain * root)) - white * gain * np.count_nonzero(use)
    if not (norm > 0 and common > 0):
        return 0.0, np.zeros(size), np.zeros(size)
    lines = np.divide(free, root, out=np.zeros(size), where=root > 0)
    return common**2 / norm, free * root / common, lines * common / norm


def shifts_along(
    measure: DispersionShift, spectra: Vector, brightness: Vector
) -> npt.NDArray[np.float64]:
    """Shift of each integration's spectrum.

    Parameters
    ----------
    measure : DispersionShift
        How.
    spectra : (integration, dispersion)
        Sums across the trace, freed of background and outliers.
    brightness : (integration,)
        Relative brightness.

    Returns
    -------
    (integration,) float64
        Pixels, positive towards larger indices; 0 where the spectrum does not tell.
    """
    if not np.isfinite(measure.error):
        return np.where(np.isfinite(brightness), 0.0, np.nan)
    used = np.flatnonzero(measure.weights)
    total = np.sum(np.ascontiguousarray(spectra[:, used]) * measure.weights[used], axis=1)
    return np.asarray(measure.zero - total / brightness)
