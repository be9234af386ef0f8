"""The model of an exposure in the form that compiled loops take."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tso3dask.ops.exposure_model import ExposureModel

__all__ = ["ModelImages", "number_table"]

Float32Array = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class ModelImages:
    """Images of a model in the form that kernels take.

    Attributes
    ----------
    image : (pixel,) float32
        At brightness 1.
    terms : (3, pixel) float32
        What belongs to the shifts along y and x and to the width.
    noise : (2, pixel) float32
        Variance of read noise, and of photon noise at brightness 1; infinite where unknown.
    region : (pixel,) bool
        Pixels of the target; all where there is no model.
    """

    image: Float32Array
    terms: Float32Array
    noise: Float32Array
    region: npt.NDArray[np.bool_]

    @property
    def target(self) -> int:
        """Number of pixels of the target, at least 1."""
        return max(1, int(np.count_nonzero(self.region)))

    @classmethod
    def of(cls, model: ExposureModel | None, shape: tuple[int, int]) -> ModelImages:
        """Take the images of a model; without one nothing is known of (y, x) pixels."""
        npix = shape[0] * shape[1]
        if model is None:
            zeros = np.zeros((3, npix), np.float32)
            unknown = np.full((2, npix), np.inf, np.float32)
            return cls(zeros[0], zeros, unknown, np.ones(npix, bool))
        terms = np.stack([model.gradient_y, model.gradient_x, model.curvature])
        read = np.zeros(shape) if model.read_variance is None else model.read_variance
        read = np.minimum(read, model.variance)
        photon = np.where(np.isinf(model.variance), np.inf, model.variance - read)
        noise = np.stack([read, photon]).astype(np.float32)
        return cls(
            np.ascontiguousarray(model.image, np.float32).reshape(-1),
            terms.astype(np.float32).reshape(3, npix),
            noise.reshape(2, npix),
            model.region.reshape(-1),
        )

    def with_known_noise(self, shape: tuple[int, int]) -> ModelImages:
        """Return the same with the variances of the nearest pixel where none are known."""
        unknown = ~np.isfinite(self.noise).all(axis=0).reshape(shape)
        if not unknown.any() or unknown.all():
            return self
        from scipy.ndimage import distance_transform_edt

        nearest = distance_transform_edt(unknown, return_distances=False, return_indices=True)
        flat = np.ravel_multi_index(tuple(nearest), shape).reshape(-1)
        return ModelImages(self.image, self.terms, self.noise[:, flat], self.region)


def number_table(model: ExposureModel | None, a: int, b: int, *, scale: bool) -> Float32Array:
    """Numbers of the integrations ``a:b`` of a segment as kernels take them.

    Parameters
    ----------
    model : ExposureModel or None
        Model whose numbers include these integrations; None: all are alike.
    a, b : int
        Integrations of the segment, b excluded.
    scale : bool
        Whether values are brought to brightness 1.

    Returns
    -------
    (b - a, 7) float32
        1 / brightness, background, shifts along y and x, width, brightness, and the square of the
        shift, in spectra that across the dispersion. All of an integration without a fit are NaN.

    Raises
    ------
    ValueError
        If the model does not cover the integrations.
    """
    table = np.zeros((b - a, 7), np.float32)
    table[:, 0] = table[:, 5] = 1
    if model is None:
        return table
    low, high = model.first, model.first + model.brightness.size
    if a < low or b > high:
        raise ValueError(f"integrations {a}:{b} are asked of a model of {low}:{high}")
    here = slice(a - low, b - low)
    brightness = np.where(model.brightness[here] > 0, model.brightness[here], np.nan)
    if not scale:
        table[:, 5] = np.where(np.isnan(brightness), 1, brightness)
        return table
    numbers = (model.background, model.shift_y, model.shift_x, model.width)
    bend = sum(
        np.square(shift[here])
        for shift, along in ((model.shift_y, 2), (model.shift_x, 1))
        if model.dispaxis != along
    )
    columns = np.array([1 / brightness, *(n[here] for n in numbers), brightness, bend])
    columns[:, ~np.isfinite(columns).all(axis=0)] = np.nan
    table[:] = columns.T
    return table
