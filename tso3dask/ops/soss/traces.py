"""Where SOSS orders fall: traces and wavelengths from the position of the pupil wheel.

A trace is known at the commanded position of the pupil wheel and turns about a pivot when the wheel
stops elsewhere; wavelengths are a polynomial in the column and that offset (Baines et al. 2023,
technical reports of STScI on GR700XD). Rows are those of SUBSTRIP256 in the reference; SUBSTRIP96
begins ten rows higher.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from tso3dask.errors import InputError

__all__ = [
    "OrderTrace",
    "OrderTraceReference",
    "TraceReference",
    "crop_profile",
    "extraction_subarray",
    "find_traces",
    "follow_trace",
    "rotate_trace",
    "select_orders",
    "trace_wavelengths",
    "wavelengths_of_columns",
]

LAST_ROW = 255.0
SUBSTRIP96_FIRST_ROW = 10
STRIPES = (
    "SUB17STRIPE_SOSS",
    "SUB60STRIPE_SOSS",
    "SUB204STRIPE_SOSS",
    "SUB680STRIPE_SOSS",
)
ITERATIONS = 5
TOLERANCE = 1e-2


class OrderTraceReference(Protocol):
    """What a pastasoss reference says of one order."""

    @property
    def order(self) -> int: ...  # noqa: D102

    @property
    def x(self) -> np.ndarray: ...  # noqa: D102

    @property
    def y(self) -> np.ndarray: ...  # noqa: D102

    @property
    def pivot(self) -> tuple[float, float]: ...  # noqa: D102

    @property
    def cutoff(self) -> int: ...  # noqa: D102

    @property
    def short_cutoff(self) -> float | None: ...  # noqa: D102

    @property
    def coefficients(self) -> np.ndarray: ...  # noqa: D102

    @property
    def scale_extents(self) -> np.ndarray: ...  # noqa: D102


class TraceReference(Protocol):
    """What a pastasoss reference says."""

    @property
    def path(self) -> str: ...  # noqa: D102

    @property
    def orders(self) -> Sequence[OrderTraceReference]: ...  # noqa: D102

    @property
    def pwcpos_commanded(self) -> float: ...  # noqa: D102

    @property
    def pwcpos_bounds(self) -> tuple[float, float]: ...  # noqa: D102

    @property
    def columns(self) -> int: ...  # noqa: D102

    @property
    def wavelength_grid(self) -> tuple[float, float, int]: ...  # noqa: D102


@dataclass(frozen=True, eq=False)
class OrderTrace:
    """One order on the array at hand.

    Attributes
    ----------
    order : int
        Spectral order.
    column_wavelength : ndarray
        Wavelength of every column ``(x,)``, micrometre, NaN outside the reference's grid. All rows
        of a column have the same.
    columns : ndarray
        Columns that are extracted, ``0 .. cutoff - 1``.
    rows, wavelength : ndarray
        Row of the trace's centre and wavelength in each of `columns`.
    short_cutoff : float or None
        Shortest wavelength of use, micrometre.
    """

    order: int
    column_wavelength: np.ndarray
    columns: np.ndarray
    rows: np.ndarray
    wavelength: np.ndarray
    short_cutoff: float | None

    def wavelength_map(self, rows: int) -> np.ndarray:
        """Wavelength of every pixel ``(y, x)``, micrometre; a read-only view."""
        return np.broadcast_to(self.column_wavelength, (rows, self.column_wavelength.size))

    def centre_wavelength(self) -> np.ndarray:
        """Wavelength on the trace in every column ``(x,)``; 0 where nothing is extracted."""
        out = np.zeros(self.column_wavelength.size)
        out[self.columns] = np.where(np.isfinite(self.wavelength), self.wavelength, 0.0)
        return out


def extraction_subarray(subarray: str, filter_name: str) -> tuple[str | None, str]:
    """Tell which of the two layouts an exposure has, if it can be extracted at all.

    Parameters
    ----------
    subarray : str
        SUBARRAY of the exposure. Stripes are taken as the SUBSTRIP256 that they reassemble to.
    filter_name : str
        FILTER of the exposure.

    Returns
    -------
    layout : str or None
        ``SUBSTRIP96``, ``SUBSTRIP256``, or None if spectra cannot be extracted.
    reason : str
        Why not; empty if they can.
    """
    if filter_name != "CLEAR":
        return None, f"SOSS spectra are extracted for FILTER CLEAR only, not {filter_name}"
    if subarray == "SUBSTRIP96":
        return "SUBSTRIP96", ""
    if subarray == "SUBSTRIP256" or subarray in STRIPES:
        return "SUBSTRIP256", ""
    known = ", ".join(("SUBSTRIP96", "SUBSTRIP256", *STRIPES))
    return None, f"SOSS spectra are extracted for SUBARRAY {known} only, not {subarray}"


def select_orders(
    reference: TraceReference, layout: str, third: bool
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Choose the orders to extract.

    Parameters
    ----------
    reference : TraceReference
        Traces.
    layout : str
        ``SUBSTRIP96`` or ``SUBSTRIP256``; the former never has the third order.
    third : bool
        Whether the third order is wanted.

    Returns
    -------
    orders, absent : tuple of int
        Orders that are extracted, and wanted ones that the reference does not have.

    Raises
    ------
    InputError
        If the first or the second order is not in the reference.
    """
    wanted = (1, 2, 3) if third and layout != "SUBSTRIP96" else (1, 2)
    known = {item.order for item in reference.orders}
    for order in (1, 2):
        if order not in known:
            raise InputError(
                f"{reference.path}: pastasoss reference: has no order {order}, but"
                f" {', '.join(map(str, sorted(known))) or 'none'}; give another with"
                " override_pastasoss"
            )
    return (
        tuple(order for order in wanted if order in known),
        tuple(order for order in wanted if order not in known),
    )


def rotate_trace(
    x: np.ndarray, y: np.ndarray, angle: float, pivot: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Turn a trace and read it at its old columns.

    Parameters
    ----------
    x, y : ndarray
        Columns and rows ``(sample,)``, pixels of SUBSTRIP256.
    angle : float
        Degrees, from x to y.
    pivot : (float, float)
        Fixed point ``(x, y)``.

    Returns
    -------
    x, y : ndarray
        Columns whose row is not above that of the last row of the array, and the rows there,
        linear between samples and beyond them.
    """
    cosine, sine = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    dx, dy = x - pivot[0], y - pivot[1]
    turned_x = (cosine * dx - sine * dy) + pivot[0]
    turned_y = (sine * dx + cosine * dy) + pivot[1]
    at = np.argsort(turned_x, kind="stable")
    turned_x, turned_y = turned_x[at], turned_y[at]
    upper = np.clip(np.searchsorted(turned_x, x), 1, len(turned_x) - 1)
    lower = upper - 1
    slope = (turned_y[upper] - turned_y[lower]) / (turned_x[upper] - turned_x[lower])
    rows = slope * (x - turned_x[lower]) + turned_y[lower]
    inside = rows <= LAST_ROW
    return x[inside], rows[inside]


def trace_wavelengths(
    x: np.ndarray, offset: float, coefficients: np.ndarray, scale_extents: np.ndarray
) -> np.ndarray:
    """Evaluate the wavelength solution.

    Parameters
    ----------
    x : ndarray
        Columns.
    offset : float
        Pupil wheel position minus the commanded one, degrees.
    coefficients : ndarray
        Of the powers of column and offset: 1, x, o, x^2, x o, o^2, x^3, ...
    scale_extents : (2, 2) ndarray
        Column and offset that are scaled to 0, and those that are scaled to 1.

    Returns
    -------
    ndarray
        Micrometre, shape of `x`.
    """
    (x_low, o_low), (x_high, o_high) = scale_extents
    s = (x - x_low) / (x_high - x_low)
    t = (offset - o_low) / (o_high - o_low)
    degree = int(np.sqrt(2 * len(coefficients))) - 1
    out = np.zeros_like(s)
    for power in range(degree, -1, -1):  # Horner in s; a polynomial in t for each power
        inner = 0.0
        for other in range(degree - power, -1, -1):
            total = power + other
            inner = inner * t + coefficients[total * (total + 1) // 2 + other]
        out = out * s + inner
    return out


def follow_trace(grid: np.ndarray, wavelength: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Interpolate a quantity along a trace, with straight lines beyond its ends.

    Parameters
    ----------
    grid : ndarray
        Wavelengths wanted, increasing.
    wavelength, values : ndarray
        The trace, in any order.
    """
    at = np.argsort(wavelength)
    w, v = wavelength[at], values[at]
    out = np.interp(grid, w, v)
    above, below = grid > w[-1], grid < w[0]
    out[above] = v[-1] + (grid[above] - w[-1]) * ((v[-1] - v[-2]) / (w[-1] - w[-2]))
    out[below] = v[0] + (grid[below] - w[0]) * ((v[1] - v[0]) / (w[1] - w[0]))
    return out


def wavelengths_of_columns(columns: int, grid_x: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Invert columns of wavelengths to wavelengths of columns.

    Parameters
    ----------
    columns : int
        Columns of the array.
    grid_x : ndarray
        Column of each wavelength of `grid`, decreasing.
    grid : ndarray
        Wavelengths, increasing.

    Returns
    -------
    ndarray
        ``(x,)``, micrometre, NaN outside the grid. The few iterations of the field's pipeline are
        followed, so that residuals of its tolerance (0.01 pixel) are the same.
    """
    target = np.arange(columns, dtype=np.float64)
    shift = np.zeros(columns)
    for _ in range(ITERATIONS):
        wave = np.interp(target - shift, grid_x[::-1], grid[::-1])
        miss = np.interp(wave, grid, grid_x) - target
        shift = shift + miss
        if np.all(np.abs(miss) < TOLERANCE):
            break
    return np.interp(target - shift, grid_x[::-1], grid[::-1], left=np.nan, right=np.nan)


def find_traces(
    reference: TraceReference,
    pwcpos: float | None,
    layout: str,
    orders: Sequence[int],
    columns: int,
) -> tuple[OrderTrace, ...]:
    """Find traces and wavelengths of an exposure.

    Parameters
    ----------
    reference : TraceReference
        A pastasoss reference.
    pwcpos : float or None
        Position of the pupil wheel, degrees (PWCPOS).
    layout : str
        ``SUBSTRIP96`` or ``SUBSTRIP256`` (see `extraction_subarray`), or ``FULL``.
    orders : sequence of int
        Orders wanted, all of them in the reference.
    columns : int
        Columns of the data.

    Returns
    -------
    tuple of OrderTrace

    Raises
    ------
    InputError
        PWCPOS absent or outside the reference's bounds, or a reference for another array.
    """
    offset = _wheel_offset(reference, pwcpos)
    if reference.columns != columns:
        raise InputError(
            f"{reference.path}: pastasoss reference: is for {reference.columns} columns, the data"
            f" have {columns}"
        )
    low, high, size = reference.wavelength_grid
    grid = np.linspace(low, high, size)
    by_number = {item.order: item for item in reference.orders}
    return tuple(
        _find_trace(by_number[order], reference.path, offset, layout, grid, columns)
        for order in orders
    )


def _wheel_offset(reference: TraceReference, pwcpos: float | None) -> float:
    low, high = reference.pwcpos_bounds
    if pwcpos is None:
        raise InputError("PWCPOS: the header has no position of the pupil wheel, needed for SOSS")
    if not low <= pwcpos <= high:
        raise InputError(
            f"PWCPOS: {pwcpos} degrees is outside the range of {reference.path}, {low} to {high}"
        )
    return pwcpos - reference.pwcpos_commanded


def _find_trace(
    item: OrderTraceReference,
    path: str,
    offset: float,
    layout: str,
    grid: np.ndarray,
    columns: int,
) -> OrderTrace:
    from scipy.interpolate import CubicSpline

    if not 0 < item.cutoff <= columns:
        raise InputError(
            f"{path}: pastasoss reference: cutoff {item.cutoff} of order {item.order} must be"
            f" between 1 and the number of columns, {columns}"
        )
    y = item.y - SUBSTRIP96_FIRST_ROW if layout == "SUBSTRIP96" else item.y
    x, y = rotate_trace(item.x, y, offset, item.pivot)
    if x.size < 2:
        raise InputError(f"{path}: pastasoss reference: order {item.order} misses the array")
    wave = trace_wavelengths(x, offset, item.coefficients, item.scale_extents)
    grid_x, grid_y = follow_trace(grid, wave, x), follow_trace(grid, wave, y)
    along = slice(None, None, -1) if grid_x[0] > grid_x[1] else slice(None)
    if not np.all(np.diff(grid_x[along]) > 0):
        raise InputError(
            f"{path}: pastasoss reference: wavelengths of order {item.order} do not change"
            " steadily along its trace"
        )
    wanted = np.arange(item.cutoff)
    return OrderTrace(
        order=item.order,
        column_wavelength=wavelengths_of_columns(columns, grid_x, grid),
        columns=wanted,
        rows=CubicSpline(grid_x[along], grid_y[along])(wanted),
        wavelength=CubicSpline(grid_x[along], grid[along])(wanted),
        short_cutoff=item.short_cutoff,
    )


def crop_profile(profile: np.ndarray, shape: tuple[int, int], path: str, order: int) -> np.ndarray:
    """Take the padding off a reference profile.

    Parameters
    ----------
    profile : (y, x) ndarray
        With the same number of extra pixels on opposite sides.
    shape : (int, int)
        Rows and columns of the data.
    path, order : str, int
        For messages.

    Returns
    -------
    (y, x) ndarray
        A view.
    """
    extra = [have - want for have, want in zip(profile.shape, shape, strict=True)]
    if min(extra) < 0 or any(size % 2 for size in extra):
        raise InputError(
            f"{path}: specprofile reference: profile of order {order} has {profile.shape[0]} x"
            f" {profile.shape[1]} pixels, the data {shape[0]} x {shape[1]}; expected the same,"
            " padded equally on opposite sides"
        )
    pad_y, pad_x = extra[0] // 2, extra[1] // 2
    return profile[pad_y : pad_y + shape[0], pad_x : pad_x + shape[1]]
