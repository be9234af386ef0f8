"""Medians over time: a rolling window, or one image.

Two rules of the field's pipeline are kept. A window that holds a NaN has a NaN median, and the
integrations near either end of a segment, whose window would reach beyond it, take the median of
the nearest full window.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tso3dask.errors import InputError
from tso3dask.ops._kernels import MAX_NETWORK_WIDTH, PITCH, PLANE, kernel, scratch_words
from tso3dask.ops.blocks import address, require, row_table, scratch
from tso3dask.ops.median_network import OUTPUTS, sorting_pairs

__all__ = ["Window", "check_rows", "nanmedian_image", "rolling_median", "wide_median"]

FloatArray = npt.NDArray[np.floating]

_NO_FLAGS = np.zeros(PITCH, np.uint32)
"""Stands in for one tile of DQ."""


@dataclass(frozen=True)
class Window:
    """The rolling window of a segment: which integrations make the median of which.

    Attributes
    ----------
    width : int
        Integrations in a window.
    nints : int
        Integrations in the segment.
    """

    width: int
    nints: int

    def __post_init__(self) -> None:
        if self.nints < 1:
            raise InputError(f"window: a segment has at least 1 integration, got {self.nints}")

    @property
    def rolling(self) -> bool:
        """Whether the window rolls at all; if not, one median image serves the whole segment."""
        return 1 < self.width < self.nints

    @property
    def dtype(self) -> np.dtype:
        """Type of rolling medians: float64 for even widths (mean of two values), else float32."""
        return np.dtype(np.float64 if self.width % 2 == 0 else np.float32)

    def starts(self, a: int, b: int) -> npt.NDArray[np.int64]:
        """First integration of the window used for each of the integrations a to b.

        Parameters
        ----------
        a, b : int
            Integrations of the segment, 0-based, b excluded.

        Returns
        -------
        (b - a,) int64
            0-based in the segment, never decreasing.
        """
        self._check(a, b)
        if not self.rolling:
            raise ValueError(f"window {self.width} does not roll over {self.nints} integrations")
        nominal = np.arange(a, b, dtype=np.int64) - self.width // 2
        return np.clip(nominal, 0, self.nints - self.width)

    def input_range(self, a: int, b: int) -> tuple[int, int]:
        """Range of integrations that must be read to have the medians of a to b.

        Parameters
        ----------
        a, b : int
            Integrations of the segment, 0-based, b excluded.

        Returns
        -------
        (int, int)
            0-based, end excluded; holds a to b, and always a full window when the window rolls.
        """
        self._check(a, b)
        if not self.rolling or a == b:
            return a, b
        last = self.nints - self.width
        low, high = (min(max(i - self.width // 2, 0), last) for i in (a, b - 1))
        return low, high + self.width

    def _check(self, a: int, b: int) -> None:
        if not 0 <= a <= b <= self.nints:
            raise ValueError(f"integrations {a}:{b} are not within a segment of {self.nints}")


def check_rows(name: str, rows: int, first: int, a: int, b: int, window: Window) -> None:
    """Check that an array starting at integration `first` covers what the medians of a:b need.

    Parameters
    ----------
    name : str
        The array's name, for the message.
    rows : int
        Its length along the integrations.
    first : int
        Integration of the segment that its first row is.
    a, b : int
        Integrations wanted.
    window : Window
        The segment's window.

    Raises
    ------
    ValueError
        Naming the rows at hand and the rows needed.
    """
    low, high = window.input_range(a, b)
    if first > low or first + rows < high:
        raise ValueError(
            f"{name}: rows {first}:{first + rows} given, but integrations {a}:{b} of "
            f"{window.nints} with window {window.width} need rows {low}:{high}"
        )


def rolling_median(
    sci: npt.NDArray[np.float32],
    first: int,
    a: int,
    b: int,
    window: Window,
    out: FloatArray | None = None,
) -> FloatArray:
    """Compute the rolling median over time of the integrations a to b of a segment.

    Parameters
    ----------
    sci : (integration, y, x) float32
        Rows from integration `first` on, at least those of ``window.input_range(a, b)``; bad
        pixels NaN.
    first : int
        Integration of the segment, 0-based, that row 0 of `sci` is.
    a, b : int
        Integrations wanted, 0-based, b excluded.
    window : Window
        The segment's window; it must roll.
    out : (b - a, y, x), optional
        Written to and returned; of type ``window.dtype``.

    Returns
    -------
    (integration, y, x)
        Medians, same unit; NaN where the window holds a NaN. Odd widths: float32. Even widths:
        the mean of the two middle values, taken and kept in float64.

    Raises
    ------
    ValueError
        If the window does not roll, rows are missing, or shapes or types do not fit.
    """
    if not window.rolling:
        raise ValueError(f"window {window.width} does not roll over {window.nints} integrations")
    sci = require("sci", sci, np.float32, (None, None, None), output=False)
    check_rows("sci", sci.shape[0], first, a, b, window)
    shape = (b - a, *sci.shape[1:])
    if out is None:
        out = np.empty(shape, window.dtype)
    out = require("out", out, window.dtype, shape, output=True)
    if out.size == 0:
        return out
    if window.width > MAX_NETWORK_WIDTH:
        out[...] = wide_median(sci, first, a, b, window)
        return out
    origin = row_table([sci, address(_NO_FLAGS)])
    target = row_table([out])
    place = scratch(scratch_words(window.width))
    run = kernel("rolling", window.width, OUTPUTS, 0, 0)
    npix = sci.shape[1] * sci.shape[2]
    none = np.zeros(1, np.int64)
    run(origin, origin, target, npix, first, a, b, window.nints, 0, np.float32(0), 1, place, none)
    return out


def wide_median(
    sci: npt.NDArray[np.float32], first: int, a: int, b: int, window: Window
) -> npt.NDArray[np.float64]:
    """Compute rolling medians of any width by keeping a sorted window for each pixel.

    Arguments are those of `rolling_median`, already checked; the result is float64 for any width.
    """
    out = np.empty((b - a, *sci.shape[1:]), np.float64)
    lanes = 64
    kernel("wide")(
        np.require(sci, requirements=["C", "W"]).reshape(sci.shape[0], -1),
        out.reshape(b - a, -1),
        first,
        a,
        b,
        window.nints,
        np.empty((window.width, lanes), np.float32),
        np.empty(lanes, np.float32),
        np.empty(lanes, np.int32),
    )
    return out


def nanmedian_image(
    sci: npt.NDArray[np.float32], out: npt.NDArray[np.float32] | None = None
) -> npt.NDArray[np.float32]:
    """Compute the median over time of the values that are not NaN.

    Parameters
    ----------
    sci : (integration, y, x) float32
        All integrations of a segment, of the whole image or of any tile of it.
    out : (y, x) float32, optional
        Written to and returned.

    Returns
    -------
    (y, x) float32
        NaN where a pixel has no value at all. For an even number of values the two middle ones
        are averaged in float32.
    """
    sci = require("sci", sci, np.float32, (None, None, None), output=False)
    if sci.shape[0] == 0:
        raise ValueError("sci: a median over time needs at least one integration")
    if out is None:
        out = np.empty(sci.shape[1:], np.float32)
    out = require("out", out, np.float32, sci.shape[1:], output=True)
    if out.size == 0:
        return out
    values = np.zeros(PLANE, np.float32)
    kernel("image")(
        address(sci),
        sci.strides[0],
        out.reshape(-1),
        np.empty((sci.shape[0], PLANE), np.uint32),
        values,
        address(values),
        np.empty(PLANE, np.int32),
        sorting_pairs(sci.shape[0]),
    )
    return out
