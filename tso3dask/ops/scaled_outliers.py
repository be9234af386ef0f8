"""Outliers against medians that follow brightness and place, leave NaN out, and know their noise.

A value of integration k is brought to brightness 1 with the numbers of its integration,

    v_k = (sci_k - background_k) / brightness_k
          - shift_y_k gradient_y - shift_x_k gradient_x - width_k curvature,

and the median m of n such values in the window of integration i says what i should show,

    expected_i = brightness_i (m + shift_y_i gradient_y + ...) + background_i.

Everything is computed in float32 but the comparison with ERR, which is float64.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tso3dask.ops._kernels import MAX_NETWORK_WIDTH, PITCH, kernel
from tso3dask.ops.blocks import flat_rows, require
from tso3dask.ops.median_network import OUTPUTS
from tso3dask.ops.medians import Window, check_rows, nanmedian_image
from tso3dask.ops.model_images import ModelImages
from tso3dask.ops.outliers import flag_block

__all__ = ["FlagRules", "flag_scaled", "scaled_image"]

Array = npt.NDArray
Float32Array = npt.NDArray[np.float32]

_RANDOM = ("var_poisson", "var_rnoise")
"""Variances of what differs from integration to integration."""


@dataclass(frozen=True)
class FlagRules:
    """How outliers are told from noise.

    Attributes
    ----------
    snr : float
        Threshold in sigma.
    scale : bool
        Bring values to brightness 1 before the median.
    nan_aware : bool
        Leave NaN and pixels with a bad bit out of medians; if not, such a median is NaN.
    noise : str
        ``err``: sigma is ERR, as the field's pipeline has it. ``model``: sigma^2 is the sum of the
        integration's variances of photon and read noise (ERR^2 where the file has not both), or
        that of the model at the integration's brightness where the former is not finite, not
        positive or off by more than a factor of 3 in sigma; times 1 + pi / (2 n) for the median;
        plus the square of what the model, which is linear in shifts, may miss of the target's light
        in a pixel: the squared shift in pixels times that light.
    grow : int
        Steps along y or x within which usable pixels beside an outlier are flagged as well.
    """

    snr: float
    scale: bool = False
    nan_aware: bool = False
    noise: str = "err"
    grow: int = 0


def scaled_image(
    sci: Float32Array,
    dq: Array,
    numbers: Float32Array,
    terms: Float32Array,
    bad_bits: int,
) -> Float32Array:
    """Median image at brightness 1 of all integrations, and the number of values behind it.

    Parameters
    ----------
    sci, dq : (integration, y, x) float32 and uint32
        All integrations, of the whole image or of a tile of it.
    numbers : (integration, 7) float32
        As `number_table` gives them.
    terms : (3, y, x) float32
        As in `ModelImages`, of the same pixels.
    bad_bits : int
        Pixels with one of these bits are left out.

    Returns
    -------
    (2, y, x) float32
        Median, NaN where a pixel has no value at all, and number.
    """
    values = np.empty(sci.shape, np.float32)
    for k, (one, zero, dy, dx, width) in enumerate(numbers[:, :5]):
        shift = dy * terms[0] + dx * terms[1] + width * terms[2]
        np.subtract((sci[k] - zero) * one, shift, out=values[k])
        if bad_bits:
            values[k][(dq[k] & np.uint32(bad_bits)) != 0] = np.nan
    number = np.count_nonzero(~np.isnan(values), axis=0)
    return np.stack([nanmedian_image(values), number.astype(np.float32)])


def flag_scaled(
    sci: Float32Array,
    dq: Array,
    err: Float32Array,
    variances: Mapping[str, Float32Array],
    *,
    first: int,
    a: int,
    b: int,
    window: Window,
    bad_bits: int,
    rules: FlagRules,
    numbers: Float32Array,
    images: ModelImages,
    image: Float32Array | None = None,
    out: Mapping[str, Array] | None = None,
) -> dict[str, Array]:
    """Flag the outliers of integrations a to b, then make NaN and DO_NOT_USE agree.

    Parameters
    ----------
    sci, dq : (integration, y, x) float32 and uint32
        Rows from integration `first` on, at least those of ``window.input_range(a, b)``; not
        modified.
    err : (b - a, y, x) float32
        Errors of the integrations a to b.
    variances : mapping of name to (b - a, y, x) float32
        Those that the file has.
    first, a, b : int
        Integrations of the series that the window belongs to, 0-based, b excluded.
    window : Window
        Window of the series.
    bad_bits : int
        Pixels with one of these bits are left out of rolling medians; -1: nothing is flagged.
    rules : FlagRules
        What is an outlier.
    numbers : (integration, 7) float32
        From `number_table`, a line for each row of `sci`.
    images : ModelImages
        Images of the model.
    image : (2, y, x) float32, optional
        From `scaled_image`, needed when the window does not roll.
    out : mapping of name to array, optional
        Arrays to write the results to, as for `tso3dask.ops.outliers.flag_block`, and
        ``expected`` and ``number``.

    Returns
    -------
    dict
        Cubes of the integrations a to b; ``expected`` float32 and ``number`` uint16, what they
        should show and the values in their medians; ``n_outliers`` and ``n_inside`` (b - a,)
        int64, pixels flagged in all and among those of the target.

    Notes
    -----
    Pixels that are DO_NOT_USE are neither compared nor flagged. A median that is NaN flags
    nothing. Where ERR decides, NaN counts as 0.
    """
    from tso3dask.ops import _marking_jit, _scaled_jit

    sci = require("sci", sci, np.float32, (None, None, None), output=False)
    dq = require("dq", dq, np.uint32, sci.shape, output=False)
    check_rows("sci", sci.shape[0], first, a, b, window)
    rows, (ny, nx) = b - a, sci.shape[1:]
    given = dict(out or {})
    made = {
        "expected": given.pop("expected", None),
        "number": given.pop("number", None),
    }
    expected = (
        np.empty((rows, ny, nx), np.float32) if made["expected"] is None else made["expected"]
    )
    number = np.empty((rows, ny, nx), np.uint16) if made["number"] is None else made["number"]
    own = slice(a - first, b - first)
    both = all(name in variances for name in _RANDOM)
    one, two = (variances[name] if both else err for name in _RANDOM)
    cubes = [flat_rows(array) for array in (sci, dq, err, one, two)]
    results = flat_rows(expected), flat_rows(number)
    detect = bad_bits >= 0 and rows > 0
    if detect:
        moved = bool(np.any(numbers[:, 2:5]))
        flags = tuple(int(flag) for flag in (rules.scale, moved, rules.nan_aware))
        if window.rolling:
            span = (first, a, b)
            _rolling(cubes[:2], numbers, images.terms, results, span, window, bad_bits, flags)
        else:
            assert image is not None
            median, count = flat_rows(image)
            _scaled_jit.expect_image(
                numbers[own], images.terms, median, count.astype(np.uint16), flags, *results
            )
    else:
        expected[...] = np.nan
        number[...] = 0
    marked = given.get("dq")
    marked = np.empty((rows, ny, nx), np.uint32) if marked is None else marked
    totals, inside = np.empty(rows, np.int64), np.empty(rows, np.int64)
    places = np.empty(ny * nx if rules.grow else 0, np.int64)
    _marking_jit.mark_outliers(
        *(cube[own] for cube in cubes[:2]), *cubes[2:], *results,
        np.ascontiguousarray(numbers[own]), images.noise, np.float32(rules.snr),
        (int(detect), int(rules.noise == "model"), int(not both)), images.region.view(np.uint8),
        (ny, rules.grow), places, np.empty(ny * nx, np.uint8), flat_rows(marked), totals, inside,
    )  # fmt: skip
    result = flag_block(
        sci[own], marked, err, variances, first=0, a=0, b=rows, window=Window(1, max(rows, 1)),
        bad_bits=0, snr=None, out=given | {"dq": marked},
    )  # fmt: skip
    del result["n_outliers"]
    return result | {
        "expected": expected,
        "number": number,
        "n_outliers": totals,
        "n_inside": inside,
    }


def _rolling(
    cubes: list[Array],
    numbers: Float32Array,
    terms: Float32Array,
    results: tuple[Array, Array],
    span: tuple[int, int, int],
    window: Window,
    bad_bits: int,
    flags: tuple[int, ...],
) -> None:
    """Call the rolling kernel with scratch of its own."""
    from tso3dask.ops._vector_jit import LANES

    width = window.width
    outputs = OUTPUTS
    slots = -(-(width + outputs - 1) // outputs) * outputs
    ring = np.zeros((slots, PITCH), np.float32)
    medians = np.empty((outputs, PITCH), np.float32)
    wide = np.empty((outputs, PITCH), np.float64)
    target = medians if width % 2 else wide
    compact = np.zeros((2, slots, LANES), np.float32)
    pairs = np.empty((2 * outputs, LANES), np.float32)
    kernel("scaled", width, outputs, int(width <= MAX_NETWORK_WIDTH))(
        *cubes, numbers, terms, ring, ring.ctypes.data, medians, target.ctypes.data, wide,
        np.empty((outputs, PITCH), np.uint16), np.empty(width, np.float32),
        np.empty(PITCH, np.uint8), np.empty(PITCH, np.int64),
        np.zeros((slots + 1, LANES), np.int64),
        compact[0], compact[0].ctypes.data, compact[1], compact[1].ctypes.data, pairs,
        pairs.ctypes.data, *results, *span, window.nints, np.uint32(bad_bits), flags,
    )  # fmt: skip
