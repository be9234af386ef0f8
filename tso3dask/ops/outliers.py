"""Outlier detection in time series, and agreement of NaN and DO_NOT_USE.

A pixel of an integration is an outlier where it differs from the median over time by more than
`snr` times its own error. Everything is pointwise in (y, x); along the integrations a block needs
the rows of ``Window.input_range``.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from tso3dask.ops._kernels import MAX_NETWORK_WIDTH, PITCH, kernel, scratch_words
from tso3dask.ops.blocks import (
    STORED,
    address,
    is_stored,
    require,
    row_table,
    scratch,
    to_native,
)
from tso3dask.ops.dq import DO_NOT_USE
from tso3dask.ops.median_network import OUTPUTS
from tso3dask.ops.medians import Window, check_rows, rolling_median, wide_median

__all__ = ["compared_medians", "flag_block", "mask_bad", "match_nans_and_flags"]

Float32Array = npt.NDArray[np.float32]
DQArray = npt.NDArray[np.uint32]

_MAX_VARIANCES = 3
_ZEROS = np.zeros(PITCH, np.float32)
"""Stands in for one tile of an array that a file does not have."""


def mask_bad(
    sci: Float32Array, dq: DQArray | None, bad_bits: int, out: Float32Array | None = None
) -> Float32Array:
    """Copy of the data with NaN at pixels that have a bad DQ bit.

    Parameters
    ----------
    sci : (integration, y, x) float32
        Data; not modified unless it is also `out`.
    dq : (integration, y, x) uint32 or None
        Data quality; None means no bit is set.
    bad_bits : int
        Mask from `tso3dask.ops.dq.interpret_good_bits`.
    out : (integration, y, x) float32, optional
        Written to and returned.

    Returns
    -------
    (integration, y, x) float32
    """
    if out is None:
        out = np.empty_like(sci)
    np.copyto(out, sci)
    if dq is not None and bad_bits:
        np.copyto(out, np.float32(np.nan), where=(dq & np.uint32(bad_bits)) != 0)
    return out


def match_nans_and_flags(arrays: Mapping[str, Float32Array], dq: DQArray | None) -> None:
    """Make NaN and DO_NOT_USE agree, in place.

    Parameters
    ----------
    arrays : mapping of name to (integration, y, x) float32
        Data, error and variances. A pixel that is NaN in any of them, or is DO_NOT_USE, becomes
        NaN in all.
    dq : (integration, y, x) uint32 or None
        Data quality; gets DO_NOT_USE at the same pixels, other bits stay.

    Raises
    ------
    ValueError
        If shapes differ.
    """
    invalid: npt.NDArray[np.bool_] | None = None
    shapes = {name: array.shape for name, array in arrays.items()}
    if dq is not None:
        shapes["dq"] = dq.shape
        invalid = (dq & np.uint32(DO_NOT_USE)) != 0
    if len(set(shapes.values())) > 1:
        raise ValueError(f"arrays to be matched differ in shape: {shapes}")
    for array in arrays.values():
        invalid = np.isnan(array) if invalid is None else invalid | np.isnan(array)
    if invalid is None:
        return
    for array in arrays.values():
        array[invalid] = np.nan
    if dq is not None:
        dq[invalid] |= np.uint32(DO_NOT_USE)


def _mask(bad_bits: int, maskpt: float, any_good: bool) -> int:
    """Bad bits after the weight threshold; -1 when every pixel is masked.

    Weights are 1 (good) and 0 (bad), so the threshold, `maskpt` times the mean of those that are
    not 0, is `maskpt` itself; it is NaN, and masks nothing, when there is no good pixel.
    """
    if not any_good:
        return 0
    if maskpt > 1.0:
        return -1
    return bad_bits if maskpt > 0.0 else 0


def flag_block(
    sci: Float32Array,
    dq: DQArray | None,
    err: Float32Array | None,
    variances: Mapping[str, Float32Array | None] | None,
    *,
    first: int,
    a: int,
    b: int,
    window: Window,
    bad_bits: int,
    snr: float | None,
    maskpt: float = 0.7,
    any_good: bool = True,
    median: Float32Array | None = None,
    out: Mapping[str, npt.NDArray] | None = None,
) -> dict[str, npt.NDArray]:
    """Flag the outliers of integrations a to b, then make NaN and DO_NOT_USE agree.

    Parameters
    ----------
    sci, dq : (integration, y, x) float32 and uint32
        Rows from integration `first` on, at least those of ``window.input_range(a, b)``; not
        modified. `dq` None means no bit is set.
    err : (b - a, y, x) float32 or None
        Errors of the integrations a to b; NaN counts as 0, as does None.
    variances : mapping of name to (b - a, y, x) float32
        Those the file has; None values are ignored.
    first, a, b : int
        Integrations of the segment, 0-based, b excluded.
    window : Window
        The segment's window.
    bad_bits : int
        Mask from `tso3dask.ops.dq.interpret_good_bits`; pixels with one of these bits are left out
        of rolling medians (never out of a median image).
    snr : float or None
        Threshold in units of the error; None skips the detection and matches only.
    maskpt : float
        Weight threshold relative to the mean weight. Weights are 0 or 1: above 1 all pixels are
        masked, at or below 0 none.
    any_good : bool
        Whether the segment has any pixel without a bad bit; if not, nothing is masked.
    median : (y, x) float32
        Median image of the segment, needed when the window does not roll.
    out : mapping of name to array, optional
        Arrays to write the results to.

    Returns
    -------
    dict
        ``sci``, ``dq``, ``err`` (if given) and the variances of integrations a to b, and
        ``n_outliers`` (b - a,) int64, the number of pixels found discrepant in each integration.

    Raises
    ------
    ValueError
        If rows are missing or shapes or types do not fit.

    Notes
    -----
    Outliers get DO_NOT_USE and OUTLIER. The difference from a rolling median is taken in float64,
    that from a median image in float32, and the threshold is float32 in both cases: on borderline
    pixels this decides. An infinite error counts as the largest float32.

    All cubes may instead be as files have them, of the types in `tso3dask.ops.blocks.STORED`; so
    are the results then. Nothing goes through memory to have its bytes turned round.

    Arrays of `out` may be rows a to b of the inputs themselves (in place): always for `err` and
    variances, and for `sci` and `dq` if no other call still needs those rows as its halo.
    """
    real: npt.DTypeLike = STORED["float"] if is_stored(sci) else np.float32
    words: npt.DTypeLike = STORED["dq"] if is_stored(sci) else np.uint32
    sci = require("sci", sci, real, (None, None, None), output=False)
    check_rows("sci", sci.shape[0], first, a, b, window)
    if dq is not None:
        dq = require("dq", dq, words, sci.shape, output=False)
    elif is_stored(sci):
        raise ValueError("dq: pixels as files have them need it")
    shape = (b - a, *sci.shape[1:])
    floats = {name: array for name, array in (variances or {}).items() if array is not None}
    if err is not None:
        floats = {"err": err, **floats}
    if len(floats) - ("err" in floats) > _MAX_VARIANCES:
        raise ValueError(f"variances: at most {_MAX_VARIANCES}, got {sorted(floats)}")
    for name, array in floats.items():
        floats[name] = require(name, array, real, shape, output=False)
    given = dict(out or {})
    result: dict[str, npt.NDArray] = {
        name: _output(name, given, shape, words if name == "dq" else real)
        for name in ("sci", "dq", *floats)
    }
    result["n_outliers"] = counts = _output("n_outliers", given, (b - a,), np.int64)
    counts[...] = 0
    if 0 in shape:
        return result
    mask = _mask(bad_bits, maskpt, any_good) if window.rolling else 0
    detect = snr is not None and mask >= 0
    if detect and not window.rolling:
        if median is None:
            raise ValueError("median: the window does not roll, so a median image is needed")
        median = require("median", median, np.float32, shape[1:], output=False)
    _run(sci, dq, floats, result, (first, a, b), window, mask, snr if detect else None, median)
    return result


def compared_medians(
    sci: Float32Array,
    dq: DQArray | None,
    *,
    first: int,
    a: int,
    b: int,
    window: Window,
    bad_bits: int,
    maskpt: float = 0.7,
    any_good: bool = True,
) -> Float32Array:
    """Rolling medians that `flag_block` compares the integrations a to b with.

    Parameters
    ----------
    sci, dq, first, a, b, window, bad_bits, maskpt, any_good
        As for `flag_block`.

    Returns
    -------
    (b - a, y, x) float32
        NaN where the window holds a NaN or a masked pixel.
    """
    check_rows("sci", sci.shape[0], first, a, b, window)
    mask = _mask(bad_bits, maskpt, any_good)
    if mask < 0:
        return np.full((b - a, *sci.shape[1:]), np.nan, np.float32)
    masked = mask_bad(sci, dq, mask)
    return rolling_median(masked, first, a, b, window).astype(np.float32, copy=False)


def _output(
    name: str, given: dict[str, npt.NDArray], shape: tuple[int, ...], dtype: npt.DTypeLike
) -> npt.NDArray:
    if name not in given:
        return np.empty(shape, dtype)
    return require(f"out[{name!r}]", given[name], dtype, shape, output=True)


def _native(array: npt.NDArray) -> npt.NDArray:
    """Return native pixels: a copy where they are as files have them."""
    return to_native(array.copy()) if is_stored(array) else array


def _run(
    sci: Float32Array,
    dq: DQArray | None,
    floats: dict[str, Float32Array],
    result: dict[str, npt.NDArray],
    span: tuple[int, int, int],
    window: Window,
    mask: int,
    snr: float | None,
    median: Float32Array | None,
) -> None:
    """Call the kernel that fits, with the addresses of checked arrays."""
    first, a, b = span
    networked = window.rolling and window.width <= MAX_NETWORK_WIDTH
    place = scratch(scratch_words(window.width if networked else 1) + PITCH)
    unused, place = place, place + 4 * PITCH
    names = [name for name in floats if name != "err"]
    slots = ["err" if "err" in floats else "", *names, *[""] * (_MAX_VARIANCES - len(names))]
    zeros = address(_ZEROS)
    rows = slice(a - first, b - first)
    source = row_table(
        [sci[rows], zeros if dq is None else dq[rows], *(floats.get(name, zeros) for name in slots)]
    )
    target = row_table([result["sci"], result["dq"], *(result.get(name, unused) for name in slots)])
    used = [2 + k for k, name in enumerate(slots) if name]
    full = int((source[used] != target[used]).any())
    npix = sci.shape[1] * sci.shape[2]
    counts = result["n_outliers"]
    stored = int(is_stored(sci))
    if snr is not None and networked:
        origin = row_table([sci, zeros if dq is None else dq])
        run = kernel("rolling", window.width, OUTPUTS, 1, stored)
        bits = 0 if dq is None else mask
        run(
            origin,
            source,
            target,
            npix,
            first,
            a,
            b,
            window.nints,
            bits,
            np.float32(snr),
            full,
            place,
            counts,
        )
        return
    mode, level, step = 0, 0, 0
    if snr is not None and window.rolling:
        masked = mask_bad(_native(sci), None if dq is None else _native(dq), mask)
        medians = wide_median(masked, first, a, b, window)
        mode, level, step = 3, address(medians), medians.strides[0]
    elif snr is not None and median is not None:
        mode, level = 1, address(median)
    limit = np.float32(0.0 if snr is None else snr)
    run = kernel("rows", mode, stored)
    run(source, target, npix, b - a, level, step, limit, full, place, counts)
