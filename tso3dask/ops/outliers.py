"""Outlier detection in time series, and agreement of NaN and DO_NOT_USE.

A pixel of an integration is an outlier where it differs from the median over time by more than
`snr` times its own error. Everything is pointwise in (y, x); along the integrations a block needs
the rows of ``Window.input_range``.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from tso3dask.ops.dq import DO_NOT_USE, OUTLIER
from tso3dask.ops.medians import Window, check_rows, rolling_median

__all__ = ["flag_block", "mask_bad", "match_nans_and_flags"]

Float32Array = npt.NDArray[np.float32]
DQArray = npt.NDArray[np.uint32]


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


def _masks(bad_bits: int, maskpt: float, any_good: bool) -> int:
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
    """
    rows = slice(a - first, b - first)
    check_rows("sci", sci.shape[0], first, a, b, window)
    result: dict[str, npt.NDArray] = {"sci": sci[rows].copy()}
    result["dq"] = (
        np.zeros(result["sci"].shape, np.uint32) if dq is None else dq[rows].copy()
    )
    if err is not None:
        result["err"] = err.copy()
    for name, array in (variances or {}).items():
        if array is not None:
            result[name] = array.copy()
    n_outliers = np.zeros(b - a, np.int64)
    if snr is not None and b > a:
        if window.rolling:
            mask = _masks(bad_bits, maskpt, any_good)
            masked = np.full_like(sci, np.nan) if mask < 0 else mask_bad(sci, dq, mask)
            level = rolling_median(masked, first, a, b, window).astype(np.float64)
        else:
            assert median is not None
            level = median[np.newaxis]
        with np.errstate(invalid="ignore", over="ignore"):
            limit = np.float32(snr) * np.nan_to_num(
                np.zeros_like(result["sci"]) if err is None else err
            )
            outlier = np.abs(result["sci"] - level) > limit
        result["dq"][outlier] |= np.uint32(DO_NOT_USE | OUTLIER)
        n_outliers[:] = outlier.sum(axis=(1, 2))
    floats = {name: array for name, array in result.items() if name != "dq"}
    match_nans_and_flags(floats, result["dq"])
    if out is not None:
        for name, array in result.items():
            if name in out:
                out[name][...] = array
                result[name] = out[name]
    result["n_outliers"] = n_outliers
    return result
