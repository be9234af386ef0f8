"""A table of extracted spectra: its columns and units, and what is known of it beforehand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tso3dask.io.segment import Segment
from tso3dask.schema import EXTRACTED_COLUMNS

__all__ = [
    "NUMBER",
    "TIMES",
    "WAVELENGTH",
    "SpectrumSpec",
    "record_dtype",
    "spectrum_units",
]

NUMBER = "INT_NUM"
"""Column of integration numbers."""
WAVELENGTH = "WAVELENGTH"
"""Column of wavelengths."""
TIMES = ("MJD-BEG", "MJD-AVG", "MJD-END", "TDB-BEG", "TDB-MID", "TDB-END")
"""Columns of times, days."""


@dataclass(frozen=True, eq=False)
class SpectrumSpec:
    """What is known of one table of spectra before the extraction.

    Attributes
    ----------
    segment : Segment
        The member it is extracted from.
    wavelength : ndarray
        (dispersion,) um, of the elements that the table has.
    units : mapping of str to str
        Unit of each column that has one (see `spectrum_units`).
    times : mapping of str to ndarray
        (integration,) arrays ``INT_NUM``, ``MJD-BEG``, ``MJD-AVG``, ``MJD-END``, ``TDB-BEG``,
        ``TDB-MID``, ``TDB-END`` as they go into the table. Without them integrations are numbered
        from 1 and their times are NaN.
    spectral_order : int
        Spectral order.
    dispaxis : int or None
        1 if dispersed along x, 2 along y.
    name : str or None
        Slit name.
    source_type : str or None
        POINT, EXTENDED or UNKNOWN; None takes it from the member.
    ra, dec : float or None
        Position of the aperture in degrees; None where the mode defines none, which then has no
        coordinate system either.
    limits : (xstart, xstop, ystart, ystop) or None
        1-based limits of the aperture.
    n_alongdisp : ndarray or None
        (integration,) number of valid elements; the table's width by default.
    slit : bool
        Whether detector, aperture angle and source attributes of the member are repeated in the
        table's header.
    attributes : mapping
        More attributes of the spectrum by schema name (``source_xpos``, ``s_region``, ...).
    metadata : mapping
        Attributes of the member by dotted path that differ from its file: cal_step status,
        reference files.
    """

    segment: Segment
    wavelength: np.ndarray
    units: Mapping[str, str]
    times: Mapping[str, np.ndarray] = field(default_factory=dict)
    spectral_order: int = 1
    dispaxis: int | None = None
    name: str | None = None
    source_type: str | None = None
    ra: float | None = None
    dec: float | None = None
    limits: tuple[float, float, float, float] | None = None
    n_alongdisp: np.ndarray | None = None
    slit: bool = True
    attributes: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def width(self) -> int:
        """Elements along the dispersion."""
        return len(self.wavelength)

    @property
    def nints(self) -> int:
        """Rows of the table."""
        return self.segment.nints


def record_dtype(width: int) -> np.dtype:
    """Return the stored type of one row of a table of spectra of `width` elements.

    Unsigned integers are stored as signed ones with an offset, as FITS tables do.
    """
    fields: list[tuple] = [(NUMBER, ">i4"), (WAVELENGTH, ">f8", (width,))]
    fields += [(name, ">i4" if name == "DQ" else ">f8", (width,)) for name in EXTRACTED_COLUMNS]
    fields += [("N_ALONGDISP", ">i4"), ("SEGMENT", ">i4")]
    fields += [(name, ">f8") for name in TIMES]
    return np.dtype(fields)


def spectrum_units(flux: str, surface_brightness: str) -> dict[str, str]:
    """Return the units of the columns of a table of spectra.

    Parameters
    ----------
    flux, surface_brightness : str
        ``"Jy"`` and ``"MJy/sr"`` if the data were flux calibrated, ``"DN/s"`` for both if not.
    """
    squares = {"Jy": "Jy^2", "MJy/sr": "MJy^2 / sr^2", "DN/s": "DN^2 / s^2"}
    units = {WAVELENGTH: "um"}
    for name in EXTRACTED_COLUMNS:
        if name in ("DQ", "NPIXELS"):
            continue
        unit = flux if name.startswith("FLUX") else surface_brightness
        units[name] = squares[unit] if "_VAR_" in name else unit
    return units
