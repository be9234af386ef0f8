"""Estimates for pixels that cannot be used, from the same pixels at other times."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from tso3dask.ops.blocks import flat_rows, require
from tso3dask.ops.model_images import ModelImages

__all__ = ["replace_in_time"]

Array = npt.NDArray
Float32Array = npt.NDArray[np.float32]

_VARIANCES = ("var_poisson", "var_rnoise", "var_flat")


def replace_in_time(
    cubes: Mapping[str, Array],
    numbers: Float32Array,
    images: ModelImages,
    expected: Float32Array | None = None,
    number: Array | None = None,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Put what is expected where pixels cannot be used, in place.

    Parameters
    ----------
    cubes : mapping of name to (integration, y, x)
        ``sci``, ``err``, ``dq`` and the variances that there are.
    numbers : (integration, 7) float32
        From `number_table`, scaled.
    images : ModelImages
        Images of the model, with variances known everywhere.
    expected, number : (integration, y, x), optional
        From `flag_scaled`. The image of the model takes the place of medians that are NaN, or not
        given.

    Returns
    -------
    n_replaced, n_inside : (integration,) int64
        Pixels replaced in all and among those of the target.

    Notes
    -----
    Replaced are pixels that are DO_NOT_USE or NaN, unless they are NON_SCIENCE or
    REFERENCE_PIXEL. They get FLUX_ESTIMATED in place of DO_NOT_USE and the variances of one
    integration at its brightness b, times 1 + pi / (2 n) for the noise of the median:

        var_poisson = b photon (1 + pi / 2n)    var_rnoise = read (1 + pi / 2n)    var_flat = 0

    and ERR^2 is their sum. So a sum over pixels keeps the error it would have had if the pixel had
    been measured. An integration without a fit keeps its pixels.
    """
    from tso3dask.ops import _marking_jit

    rows = len(cubes["sci"])
    none = np.empty((0, 0), np.float32)
    totals, inside = np.empty(rows, np.int64), np.empty(rows, np.int64)
    for name in cubes:
        require(name, cubes[name], cubes[name].dtype, cubes["sci"].shape, output=True)
    flat = {name: cube.reshape(rows, -1) for name, cube in cubes.items()}
    _marking_jit.replace_pixels(
        flat["sci"], flat["dq"], flat["err"], *(flat.get(name, none) for name in _VARIANCES),
        none if expected is None else flat_rows(expected),
        np.empty((0, 0), np.uint16) if number is None else flat_rows(number),
        numbers, images.image, images.terms, images.noise, images.region, totals, inside,
    )  # fmt: skip
    return totals, inside
