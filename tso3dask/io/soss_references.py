"""Reference files of NIRISS SOSS as plain arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tso3dask.errors import InputError

__all__ = [
    "KernelReference",
    "OrderTraceReference",
    "PastasossReference",
    "PhotomReference",
    "ProfileReference",
    "ThroughputReference",
    "read_estimate",
    "read_pastasoss",
    "read_photom",
    "read_speckernel",
    "read_specprofile",
    "read_wave_grid",
    "write_wave_grid",
]

SEPARATION_CUTOFF = (0.77, 0.95)


@dataclass(frozen=True, eq=False)
class OrderTraceReference:
    """Trace and wavelength solution of one order.

    Attributes
    ----------
    order : int
        Spectral order.
    x, y : ndarray
        Columns and rows of SUBSTRIP256 ``(sample,)`` at the commanded pupil wheel position, pixels.
    pivot : (float, float)
        Pixel ``(x, y)`` about which the trace turns.
    cutoff : int
        Number of columns extracted.
    short_cutoff : float or None
        Shortest wavelength of use, micrometre.
    coefficients : ndarray
        Wavelength solution, powers of (column, offset): 1, x, o, x^2, x o, o^2, ...
    scale_extents : (2, 2) ndarray
        Column and offset scaled to 0, and those scaled to 1.
    """

    order: int
    x: np.ndarray
    y: np.ndarray
    pivot: tuple[float, float]
    cutoff: int
    short_cutoff: float | None
    coefficients: np.ndarray
    scale_extents: np.ndarray


@dataclass(frozen=True, eq=False)
class ThroughputReference:
    """Throughput of one order: fraction ``(wavelength,)`` at wavelengths in micrometre."""

    order: int
    wavelength: np.ndarray
    throughput: np.ndarray


@dataclass(frozen=True, eq=False)
class PastasossReference:
    """A pastasoss reference.

    Attributes
    ----------
    path : str
        The file.
    orders : tuple of OrderTraceReference
    throughputs : dict of ThroughputReference by order
    pwcpos_commanded : float
        Commanded position of the pupil wheel, degrees.
    pwcpos_bounds : (float, float)
        Positions for which the reference holds.
    columns, rows : int
        Size of the area that wavelengths are mapped on.
    first_row : int
        Row of the full frame at which the subarray begins.
    wavelength_grid : (float, float, int)
        Shortest and longest wavelength, micrometre, and number of points.
    order2_separation_cutoff : (float, float)
        Wavelengths, micrometre, at which the joint solution of orders 1 and 2 ends and below
        which order 2 is solved alone.
    """

    path: str
    orders: tuple[OrderTraceReference, ...]
    throughputs: dict[int, ThroughputReference]
    pwcpos_commanded: float
    pwcpos_bounds: tuple[float, float]
    columns: int
    rows: int
    first_row: int
    wavelength_grid: tuple[float, float, int]
    order2_separation_cutoff: tuple[float, float]


@dataclass(frozen=True, eq=False)
class ProfileReference:
    """Spatial profiles: float32 images ``(y, x)``, padded, by order."""

    path: str
    profiles: dict[int, np.ndarray]


@dataclass(frozen=True, eq=False)
class KernelReference:
    """Line spread functions.

    Attributes
    ----------
    path : str
        The file.
    wavelengths : (sample, kernel) ndarray float32
        Central wavelength of each kernel, micrometre, repeated for each sample.
    kernels : (sample, kernel) ndarray float32
        Samples along the dispersion.
    halfwidth : int
        Half of the kernels' width, native pixels.
    """

    path: str
    wavelengths: np.ndarray
    kernels: np.ndarray
    halfwidth: int

    @property
    def pixels(self) -> int:
        """Native pixels that a kernel spans."""
        return 2 * self.halfwidth + 1


@dataclass(frozen=True, eq=False)
class PhotomReference:
    """A photometric reference of SOSS.

    Attributes
    ----------
    path : str
        The file.
    table : dict of ndarray
        Columns by lower-case name, one row each along the first axis.
    time_coefficients : dict of dict of ndarray
        Columns of the tables of time dependence that the file has, by kind: ``linear``,
        ``exponential``, ``powerlaw``.
    """

    path: str
    table: dict[str, np.ndarray]
    time_coefficients: dict[str, dict[str, np.ndarray]]


def read_pastasoss(path: str) -> PastasossReference:
    """Read traces, wavelength solutions and throughputs.

    Parameters
    ----------
    path : str
        A pastasoss reference in ASDF.

    Raises
    ------
    InputError
        If the file is no pastasoss reference, naming what is missing.
    """
    import asdf

    try:
        with asdf.open(path, lazy_load=False, memmap=False) as file:
            return _pastasoss(path, file.tree)
    except InputError:
        raise
    except Exception as error:  # damaged files raise many kinds
        raise _unreadable(path, "pastasoss", error) from None


def _pastasoss(path: str, tree: Any) -> PastasossReference:
    kind = "pastasoss"
    meta = _entry(tree, "meta", path, kind)
    wavecals = {
        int(_entry(item, "spectral_order", path, kind)): item
        for item in _entry(tree, "wavecal_models", path, kind)
    }
    throughputs = {
        int(_entry(item, "spectral_order", path, kind)): item
        for item in _entry(tree, "throughputs", path, kind)
    }
    orders = []
    for item in _entry(tree, "traces", path, kind):
        number = int(_entry(item, "spectral_order", path, kind))
        for name, there in (("wavecal_models", wavecals), ("throughputs", throughputs)):
            if number not in there:
                raise _lacks(path, kind, f"{name} of order {number}")
        orders.append(_order(path, item, wavecals[number], number))

    def number_of(name: str, convert: Callable[[Any], Any] = float) -> Any:
        return convert(_entry(meta, name, path, kind))

    def pair_of(value: Any, name: str) -> tuple[float, float]:
        if len(value) != 2:
            raise _lacks(path, kind, f"two values of meta.{name}")
        return float(value[0]), float(value[1])

    return PastasossReference(
        path=path,
        orders=tuple(orders),
        throughputs={
            number: ThroughputReference(
                number,
                _array(item, "wavelength", path, kind, 1),
                _array(item, "throughput", path, kind, 1),
            )
            for number, item in throughputs.items()
        },
        pwcpos_commanded=number_of("pwcpos_cmd"),
        pwcpos_bounds=pair_of(_entry(meta, "pwcpos_bounds", path, kind), "pwcpos_bounds"),
        columns=number_of("soss_xdim", int),
        rows=number_of("soss_ydim", int),
        first_row=number_of("subarray_ymin", int),
        wavelength_grid=(
            number_of("wavemap_wlmin"),
            number_of("wavemap_wlmax"),
            number_of("wavemap_nwl", int),
        ),
        order2_separation_cutoff=pair_of(
            meta.get("order2_separation_cutoff") or SEPARATION_CUTOFF, "order2_separation_cutoff"
        ),
    )


def _order(path: str, trace: Any, wavecal: Any, number: int) -> OrderTraceReference:
    kind = "pastasoss"
    samples = _array(trace, "trace", path, kind, 2)
    coefficients = _array(wavecal, "coefficients", path, kind, 1)
    extents = _array(wavecal, "scale_extents", path, kind, 2)
    if samples.shape[1] != 2 or extents.shape != (2, 2):
        raise _lacks(path, kind, f"pairs of numbers in the trace and extents of order {number}")
    degree = int(np.sqrt(2 * coefficients.size)) - 1
    if (degree + 1) * (degree + 2) // 2 > coefficients.size or degree < 0:
        raise _lacks(path, kind, f"coefficients of a polynomial in two variables, order {number}")
    oversampling = int(trace.get("oversampling") or 1)
    if oversampling != 1:
        raise InputError(
            f"{path}: pastasoss reference: trace of order {number} is oversampled by"
            f" {oversampling}; expected 1"
        )
    short = trace.get("short_cutoff")
    return OrderTraceReference(
        order=number,
        x=np.ascontiguousarray(samples[:, 0]),
        y=np.ascontiguousarray(samples[:, 1]),
        pivot=(
            float(_entry(trace, "pivot_x", path, kind)),
            float(_entry(trace, "pivot_y", path, kind)),
        ),
        cutoff=int(_entry(trace, "cutoff", path, kind)),
        short_cutoff=None if short is None else float(short),
        coefficients=coefficients,
        scale_extents=extents,
    )


def read_specprofile(path: str) -> ProfileReference:
    """Read spatial profiles, native sampling.

    Parameters
    ----------
    path : str
        A specprofile reference in FITS: ORDER extensions, one per order.

    Raises
    ------
    InputError
        If the file is no such reference, or oversampled.
    """
    from astropy.io import fits

    kind = "specprofile"
    profiles: dict[int, np.ndarray] = {}
    try:
        with fits.open(path, memmap=False) as hdus:
            for position, hdu in enumerate(h for h in hdus if h.name == "ORDER"):
                if hdu.data is None or hdu.data.ndim != 2:
                    raise _lacks(path, kind, "an image in each ORDER extension")
                order = int(hdu.header.get("ORDER", position + 1))
                oversampling = int(hdu.header.get("OVERSAMP", 1))
                if oversampling != 1:
                    raise InputError(
                        f"{path}: specprofile reference: profile of order {order} is oversampled"
                        f" by {oversampling}; expected 1"
                    )
                profiles[order] = np.ascontiguousarray(hdu.data, dtype=np.float32)
    except OSError as error:
        raise _unreadable(path, kind, error) from None
    if not profiles:
        raise _lacks(path, kind, "an ORDER extension")
    return ProfileReference(path, profiles)


def read_speckernel(path: str) -> KernelReference:
    """Read line spread functions.

    Parameters
    ----------
    path : str
        A speckernel reference in FITS, with WAVELENGTHS and KERNELS.
    """
    from astropy.io import fits

    kind = "speckernel"
    try:
        with fits.open(path, memmap=False) as hdus:
            names = [hdu.name for hdu in hdus]
            for name in ("WAVELENGTHS", "KERNELS"):
                if name not in names:
                    raise _lacks(path, kind, f"a {name} extension")
            wavelengths = np.ascontiguousarray(hdus["WAVELENGTHS"].data, dtype=np.float32)
            kernels = np.ascontiguousarray(hdus["KERNELS"].data, dtype=np.float32)
            halfwidth = hdus["KERNELS"].header.get("HALFWIDT")
    except OSError as error:
        raise _unreadable(path, kind, error) from None
    if halfwidth is None:
        raise _lacks(path, kind, "HALFWIDT in the header of KERNELS")
    if kernels.ndim != 2 or kernels.shape != wavelengths.shape:
        raise _lacks(path, kind, "WAVELENGTHS and KERNELS of the same two-dimensional shape")
    return KernelReference(path, wavelengths, kernels, int(halfwidth))


def read_photom(path: str) -> PhotomReference:
    """Read the photometric calibration.

    Parameters
    ----------
    path : str
        A photom reference in FITS.

    Raises
    ------
    InputError
        If there is no PHOTOM table with the columns of SOSS, or a table of time dependence does
        not have its rows.
    """
    from astropy.io import fits

    kind = "photom"
    try:
        with fits.open(path, memmap=False) as hdus:
            tables = {hdu.name: hdu.data for hdu in hdus if hdu.data is not None}
            columns = {
                name: {
                    column.lower(): _native(np.array(data[column]))
                    for column in data.dtype.names or ()
                }
                for name, data in tables.items()
                if getattr(data, "dtype", None) is not None and data.dtype.names
            }
    except OSError as error:
        raise _unreadable(path, kind, error) from None
    if "PHOTOM" not in columns:
        raise _lacks(path, kind, "a PHOTOM table")
    table = columns["PHOTOM"]
    for name in ("filter", "pupil", "order", "photmj", "wavelength", "relresponse"):
        if name not in table:
            raise _lacks(path, kind, f"a column {name} in its PHOTOM table")
    rows = len(table["order"])
    times = {}
    for name in ("linear", "exponential", "powerlaw"):
        coefficients = columns.get(f"TIMECOEFF_{name.upper()}")
        if coefficients is None:
            continue
        if len(coefficients.get("t0", ())) != rows:
            raise _lacks(path, kind, f"one row of TIMECOEFF_{name.upper()} per row of PHOTOM")
        times[name] = coefficients
    return PhotomReference(path, table, times)


def read_wave_grid(path: str) -> np.ndarray:
    """Read a wavelength grid, micrometre, as `write_wave_grid` and ``soss_wave_grid_out`` make it.

    Raises
    ------
    InputError
        If the file has no ascending WAVEGRID.
    """
    from astropy.io import fits

    try:
        with fits.open(path, memmap=False) as hdus:
            found = [hdu.data for hdu in hdus if hdu.name == "WAVEGRID"]
    except OSError as error:
        raise InputError(f"soss_wave_grid_in: {path}: not readable as FITS ({error})") from None
    grid = np.ascontiguousarray(found[0], np.float64) if found and found[0] is not None else None
    if grid is None or grid.ndim != 1 or grid.size < 4 or not (np.diff(grid) > 0).all():
        raise InputError(
            f"soss_wave_grid_in: {path}: expected an ascending WAVEGRID of wavelengths, um"
        )
    return grid


def write_wave_grid(path: str, grid: np.ndarray) -> None:
    """Write a wavelength grid, micrometre, as a SossWaveGridModel."""
    from stdatamodels.jwst.datamodels import SossWaveGridModel

    with SossWaveGridModel(wavegrid=np.asarray(grid, np.float64)) as model:
        model.save(path)


def read_estimate(path: str) -> tuple[np.ndarray, np.ndarray]:
    """Read an estimate of the spectrum: wavelength, micrometre, and flux of an EXTRACT1D table.

    Raises
    ------
    InputError
        If there is no such table.
    """
    from astropy.io import fits

    try:
        with fits.open(path, memmap=False) as hdus:
            tables = [hdu.data for hdu in hdus if hdu.name == "EXTRACT1D"]
            table = tables[0]
            wavelength, flux = (
                np.array(table[name], np.float64) for name in ("WAVELENGTH", "FLUX")
            )
    except (OSError, IndexError, KeyError, TypeError) as error:
        raise InputError(
            f"soss_estimate: {path}: expected a spectrum, an EXTRACT1D table with WAVELENGTH and "
            f"FLUX ({type(error).__name__})"
        ) from None
    if wavelength.ndim != 1:
        raise InputError(f"soss_estimate: {path}: expected one spectrum, a SpecModel")
    return wavelength, flux


def _entry(tree: Any, name: str, path: str, kind: str) -> Any:
    value = tree.get(name) if hasattr(tree, "get") else None
    if value is None:
        raise _lacks(path, kind, name)
    return value


def _array(tree: Any, name: str, path: str, kind: str, ndim: int) -> np.ndarray:
    values = np.ascontiguousarray(_entry(tree, name, path, kind), dtype=np.float64)
    if values.ndim != ndim or values.size == 0 or not np.all(np.isfinite(values)):
        raise _lacks(path, kind, f"finite numbers in {name} ({ndim}-dimensional)")
    return values


def _lacks(path: str, kind: str, what: str) -> InputError:
    return InputError(f"{path}: {kind} reference: without {what}")


def _unreadable(path: str, kind: str, error: Exception) -> InputError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return InputError(f"{path}: not readable as {kind} reference: {reason}")


def _native(array: np.ndarray) -> np.ndarray:
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))
