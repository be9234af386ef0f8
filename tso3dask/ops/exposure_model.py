"""What an exposure looks like: one image, and how each integration differs from it.

The model of a pixel of integration ``i`` is

    brightness[i] * (image + shift_y[i] * gradient_y + shift_x[i] * gradient_x
                     + width[i] * curvature) + background[i]

Transits and flares are in ``brightness``, jitter is in the shifts, changes of focus and jitter to
second order in ``width``, and levels that all pixels share in ``background``; what is left are
noise and outliers.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from tso3dask.ops.growth import GrowthCurve

__all__ = ["NUMBERS", "ExposureModel"]

NUMBERS = ("brightness", "background", "shift_y", "shift_x", "width")
"""Names of what is fitted to each integration."""

Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ExposureModel:
    """Image of an exposure at brightness 1, and the numbers of its integrations.

    Attributes
    ----------
    identity : str
        Name of the content: made of the files and parameters that it comes from.
    image : (y, x) float32
        Median over a bounded, evenly spaced sample of integrations, each scaled to brightness 1
        and freed of its background; in the unit of SCI. Pixels that are dead in all of them are
        filled by the spatial profile. No NaN.
    variance : (y, x) float32
        Variance of one integration at brightness 1, read noise and photon noise. No NaN; infinite
        where nothing is known.
    gradient_y, gradient_x : (y, x) float32
        Change of `image` when the source moves by +1 pixel along that axis; 0 away from the
        target.
    curvature : (y, x) float32
        Change of `image` when the squared width of the source grows by 1: half the second
        derivative across the trace, in images half the sum of both. 0 away from the target.
    dead : (y, x) bool
        Pixels without any valid value in the sample.
    region : (y, x) bool
        Pixels with enough light of the target to say something of it.
    dispaxis : int
        1 where wavelength runs along x, 2 along y, 0 for images.
    centre : float64
        (dispersion,) place of the trace across it, NaN outside the spectrum; in images ``(y, x)``
        of the source.
    fitted : tuple of str
        Which of the numbers below were fitted; others are 0 (brightness 1).
    scatter : float
        Scatter of the sample around the model in units of what `variance` says: about 1.
    first : int
        Integration of the segment, 0-based, that entry 0 of the numbers below is; negative where
        integrations of the segment before it are known.
    brightness, background, shift_y, shift_x, width : (integration,) float64
        Brightness relative to the median; level added to all pixels, in the unit of SCI; place
        relative to the image, pixels; change of the squared width of the source across the trace,
        square pixels (0 where it is not fitted). NaN where an integration has no fit.
    extra : dict of ndarray
        Further numbers of each integration, (integration, ...), in the same order.
    read_variance : (y, x) float32 or None
        Part of `variance` that does not depend on brightness; None where it is not known.
    growth : GrowthCurve or None
        Light and its scatter by width of the aperture, over the whole exposure; None where it was
        not asked for.
    """

    identity: str
    image: Float32Array
    variance: Float32Array
    gradient_y: Float32Array
    gradient_x: Float32Array
    curvature: Float32Array
    dead: npt.NDArray[np.bool_]
    region: npt.NDArray[np.bool_]
    dispaxis: int
    centre: Float64Array
    fitted: tuple[str, ...]
    scatter: float
    first: int
    brightness: Float64Array
    background: Float64Array
    shift_y: Float64Array
    shift_x: Float64Array
    width: Float64Array
    extra: dict[str, npt.NDArray[np.floating]] = field(default_factory=dict)
    read_variance: Float32Array | None = None
    growth: GrowthCurve | None = None

    def __dask_tokenize__(self) -> tuple[str, str, int, int]:
        return ("tso3dask.ExposureModel", self.identity, self.first, self.brightness.size)

    def rows(self, a: int, b: int) -> ExposureModel:
        """Model with the numbers of the integrations ``a:b`` of the segment alone."""
        here = slice(a - self.first, b - self.first)
        numbers = {name: getattr(self, name)[here] for name in NUMBERS}
        extra = {name: values[here] for name, values in self.extra.items()}
        return replace(self, first=a, extra=extra, **numbers)

    def expected(self, i: int) -> Float32Array:
        """Image (y, x) of integration ``i`` of the segment as the model has it, float32."""
        k = i - self.first
        moved = self.image + self.shift_y[k] * self.gradient_y + self.shift_x[k] * self.gradient_x
        moved += self.width[k] * self.curvature
        return np.asarray(self.brightness[k] * moved + self.background[k], np.float32)
