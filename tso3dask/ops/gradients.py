"""Derivatives of an image of which a source is hardly resolved.

Differences of the image itself fail where the PSF is about a pixel wide: they ring in its wings,
where weights are large, and shifts fitted with those of eighth order come out 8 % too small for
a sigma of 0.75 pixels. The logarithm of a PSF is much smoother, that of a Gaussian is a parabola,
for which differences are exact:

    I' = I l',   I'' = I (l'' + l'^2),   l = ln I

with differences of fourth order where the four neighbours have light, of second order elsewhere.
For Gaussians with a sigma of 0.65 to 2 pixels, integrated over pixels, with or without 12 % of
the light in a halo three times as wide, shifts fitted with them are right to 1 %, for a sigma of
0.55 to 3 % (``tests/ops/test_template.py``).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["derivatives"]

Image = npt.NDArray[np.floating]


def derivatives(
    image: Image, floor: Image | float, axis: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """First and second derivative of an image along an axis.

    Parameters
    ----------
    image : (y, x)
        Freed of its background; no NaN.
    floor : (y, x) or float
        Light below which nothing is known, positive; derivatives are 0 there.
    axis : int
        Axis.

    Returns
    -------
    first, second : (y, x) float64
        Per pixel and per square pixel.
    """
    light = np.moveaxis(np.asarray(image, np.float64), axis, 0)
    least = np.moveaxis(np.broadcast_to(np.asarray(floor, np.float64), image.shape), axis, 0)
    known = light > least
    with np.errstate(divide="ignore"):
        logs = np.log(np.maximum(light, least))
    pad = ((2, 2), (0, 0))
    lit = np.pad(known, pad, mode="edge")
    l = np.pad(logs, pad, mode="edge")  # noqa: E741
    near, far = l[3:-1] - l[1:-3], l[4:] - l[:-4]
    beside, beyond = l[3:-1] + l[1:-3] - 2 * logs, l[4:] + l[:-4] - 2 * logs
    whole = lit[:-4] & lit[1:-3] & lit[3:-1] & lit[4:]
    first = np.where(whole, (8 * near - far) / 12, near / 2)
    second = np.where(whole, (16 * beside - beyond) / 12, beside)
    out = (np.where(known, light * value, 0) for value in (first, second + first**2))
    one, two = (np.moveaxis(value, 0, axis) for value in out)
    return one, two
