"""Tables of spectra (EXTRACT1D extensions) read by byte offset, column by column."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

from tso3dask.errors import InputError, RunError

__all__ = ["SpectrumTable", "read_spectrum_tables"]


@dataclass(frozen=True)
class SpectrumTable:
    """Place and layout of one EXTRACT1D table.

    Attributes
    ----------
    path : str
        The file.
    offset : int
        Byte offset of its first row.
    rows : int
        Number of rows.
    dtype : numpy.dtype
        Stored record type, big-endian.
    header : astropy.io.fits.Header
        The extension's header.
    """

    path: str
    offset: int
    rows: int
    dtype: np.dtype
    header: Any

    @property
    def vectors(self) -> tuple[str, ...]:
        """Names of the columns with one value per element along dispersion."""
        names = self.dtype.names or ()
        return tuple(n for n in names if self.dtype[n].shape)

    @property
    def width(self) -> int:
        """Elements along dispersion; the number of rows in tables of one spectrum each."""
        vectors = self.vectors
        return self.dtype[vectors[0]].shape[0] if vectors else self.rows

    def unit(self, column: str) -> str | None:
        """TUNIT of a column."""
        names = list(self.dtype.names or ())
        return self.header.get(f"TUNIT{names.index(column) + 1}")

    def column(self, name: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Read rows of one column, native byte order.

        Parameters
        ----------
        name : str
            Column.
        start, stop : int
            Range of rows.

        Returns
        -------
        ndarray
            (row,) or (row, dispersion).
        """
        stop = self.rows if stop is None else stop
        kind, place = self.dtype.fields[name][:2]  # type: ignore[index]
        base, shape = kind.subdtype or (kind, ())
        out = np.empty((stop - start, *shape), base)
        view = out.reshape(stop - start, -1).view(np.uint8)
        try:
            with open(self.path, "rb", buffering=0) as handle:
                for i in range(stop - start):
                    where = self.offset + (start + i) * self.dtype.itemsize + place
                    if os.preadv(handle.fileno(), [view[i].data], where) != view.shape[1]:
                        raise RunError(f"{self.path}: ends inside a table of spectra")
        except OSError as error:
            raise RunError(f"{self.path}: cannot be read ({error.strerror})") from error
        values = out.astype(base.newbyteorder("="))
        if name == "DQ" and self.header.get(self._key("TZERO", name)) == 2**31:
            values = (values.view(np.uint32)) ^ np.uint32(0x80000000)
        return values

    def _key(self, prefix: str, column: str) -> str:
        return f"{prefix}{list(self.dtype.names or ()).index(column) + 1}"


def read_spectrum_tables(path: str | Path) -> tuple[fits.Header, list[SpectrumTable]]:
    """Layout of all tables of spectra of an x1dints file.

    Parameters
    ----------
    path : path-like
        The file: one row per integration (one table per member, order and detector), or, as
        older versions wrote it, one table per integration.

    Returns
    -------
    primary : astropy.io.fits.Header
    tables : list of SpectrumTable

    Raises
    ------
    InputError
        If the file cannot be read or has no EXTRACT1D extension.
    """
    tables = []
    try:
        with open(path, "rb") as file:
            if file.read(6) != b"SIMPLE":
                raise InputError(f"{path}: is no FITS file; expected an x1dints file")
        with fits.open(path, memmap=True) as hdus:
            primary = hdus[0].header.copy()
            for hdu in hdus:
                if hdu.name != "EXTRACT1D":
                    continue
                dtype = np.dtype(hdu.columns.dtype).newbyteorder(">")
                offset = hdu.fileinfo()["datLoc"]
                rows = hdu.header["NAXIS2"]
                tables.append(SpectrumTable(str(path), offset, rows, dtype, hdu.header.copy()))
    except OSError as error:
        raise InputError(f"{path}: cannot be read as FITS ({error})") from None
    if not tables:
        raise InputError(f"{path}: has no EXTRACT1D extension; expected an x1dints file")
    return primary, tables
