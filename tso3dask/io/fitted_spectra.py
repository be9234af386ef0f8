"""Files of the spectra that models of light were fitted with: tables of every integration.

An integration has one table per part of the model, all of them of the same sizes, so that its
tables are at a fixed place in the file. Headers and tree are written when the file is laid out,
rows by tasks, a few integrations at a time.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

from tso3dask.errors import RunError
from tso3dask.io.asdf_edit import edit_asdf
from tso3dask.io.atomic import UnfinishedFile, check_space, laid_out, opened, reserve
from tso3dask.io.fits_bytes import (
    asdf_header,
    header_bytes,
    padded,
    pwrite_all,
    quiet_cards,
    software,
    timestamp,
)
from tso3dask.io.model_file import add_history, file_metadata, model_template, primary_metadata
from tso3dask.io.segment import Segment
from tso3dask.io.spectrum_spec import WAVELENGTH
from tso3dask.schema import EXTRACTED_COLUMNS

__all__ = ["FittedSpectraSink", "FittedTable", "fitted_spectra_size"]

_UNITS = {"WAVELENGTH": "um", **dict.fromkeys(("FLUX", "FLUX_ERROR", "BACKGROUND"), "DN/s")}
_RECORD = np.dtype(
    [(WAVELENGTH, ">f8"), *((name, ">i4" if name == "DQ" else ">f8") for name in EXTRACTED_COLUMNS)]
)
_NO_FLAGS = -(2**31)
_ENTRY = re.compile(r"^- ", re.MULTILINE)
_NUMBER, _VERSION = "@number@", "@version@"
_BUFFER = 1 << 20


@dataclass(frozen=True, eq=False)
class FittedTable:
    """One table of an integration.

    Attributes
    ----------
    order : int
        Spectral order.
    wavelength : ndarray
        (column,) micrometre.
    """

    order: int
    wavelength: np.ndarray


@dataclass(frozen=True, eq=False)
class FittedSpectraSink(UnfinishedFile):
    """Writer of fitted spectra. Small and picklable; `put` takes any order of integrations.

    Attributes
    ----------
    path : str
        The unfinished file.
    size : int
        Its size in bytes when whole.
    offset : int
        Place of the first integration.
    head : int
        Bytes of the header of a table.
    nints : int
        Integrations.
    tables : tuple of FittedTable
        Tables of an integration, in order.
    """

    offset: int
    head: int
    nints: int
    tables: tuple[FittedTable, ...]

    @classmethod
    def create(
        cls,
        segment: Segment,
        part_path: str | os.PathLike[str],
        tables: Sequence[FittedTable],
        *,
        filename: str,
        asn_pool: str | None,
        asn_table: str | None,
        history: Sequence[str] = (),
        attributes: Mapping[str, Any] | None = None,
    ) -> FittedSpectraSink:
        """Lay out the file: everything but the rows of the tables is written now.

        Parameters
        ----------
        segment : Segment
            The member whose metadata it has.
        part_path : path
            Unfinished file to write; one that exists is replaced.
        tables : sequence of FittedTable
            Tables of an integration.
        filename : str
            Final base name, for the FILENAME keyword.
        asn_pool, asn_table : str or None
            For ASNPOOL and ASNTABLE.
        history : sequence of str
            Lines on how the file was made.
        attributes : mapping, optional
            More attributes by dotted path.

        Raises
        ------
        RunError
            If the folder has too little space or cannot be written.
        """
        values = primary_metadata(segment) | file_metadata(filename, asn_pool, asn_table)
        values |= {**(attributes or {})}
        with quiet_cards():
            headers, content = model_template("MultiSpecModel", values, lambda m: _fill(m, tables))
            entries = add_history(headers[0], history)
            for header, table in zip(headers[1:], tables, strict=True):
                if header["NAXIS1"] != _RECORD.itemsize:
                    raise RunError("the installed stdatamodels has other columns than known here")
                header["NAXIS2"] = len(table.wavelength)
        content = edit_asdf(content, history=entries, software=software(), name=filename)
        primary, *heads = [header_bytes(header) for header in headers]
        content = edit_asdf(content, values={"_fits_hash": _digest(primary, heads, segment.nints)})
        head = len(heads[0])
        place = len(primary)
        sink = cls(str(part_path), 0, place, head, segment.nints, tuple(tables))
        part = Path(part_path)
        check_space(part.parent, fitted_spectra_size(segment.nints, tables), filename)
        with laid_out(part) as target:
            pwrite_all(target, primary, 0)
            for i in range(segment.nints):
                for j, at in enumerate(sink._places(i)):
                    pwrite_all(target, _numbered(heads[j], i, j, len(heads)), at)
            start = sink._end
            length = 0
            first = len(header_bytes(asdf_header(1)))
            for piece in _tree(content, tables, segment.nints):
                pwrite_all(target, piece, start + first + length)
                length += len(piece)
            pwrite_all(target, header_bytes(asdf_header(length)), start)
            size = start + first + padded(length)
            reserve(target, size)
        return cls(str(part), size, place, head, segment.nints, tuple(tables))

    @classmethod
    def reopen(
        cls, part_path: str | os.PathLike[str], nints: int, tables: Sequence[FittedTable]
    ) -> FittedSpectraSink:
        """Return the writer of a file that an earlier run laid out for the same tables.

        Raises
        ------
        RunError
            If the file is not there or has other tables.
        """
        try:
            size = Path(part_path).stat().st_size
            with open(part_path, "rb") as stream:
                primary = fits.Header.fromfile(stream)
                offset = stream.tell()
                header = fits.Header.fromfile(stream)
                head = stream.tell() - offset
                sink = cls(str(part_path), size, offset, head, nints, tuple(tables))
                found = []
                for at in (*sink._places(0), *sink._places(nints - 1)):
                    stream.seek(at)
                    found.append(fits.Header.fromfile(stream).get("NAXIS2"))
                stream.seek(sink._end)
                header = fits.Header.fromfile(stream)
                whole = header.get("EXTNAME") == "ASDF" and size == stream.tell() + padded(
                    header["NAXIS1"]
                )
        except (OSError, EOFError, KeyError) as error:
            raise RunError(f"{part_path}: cannot go on with this file ({error})") from error
        rows = [len(table.wavelength) for table in tables]
        if not whole or found != rows * 2 or primary.get("DATAMODL") != "MultiSpecModel":
            raise RunError(f"{part_path}: unfinished file of another input; run without resume")
        return sink

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the arrays that `put` takes: fluxes of each table."""
        return tuple(f"flux_{i}" for i in range(len(self.tables)))

    def put(self, a: int, b: int, arrays: Mapping[str, np.ndarray]) -> int:
        """Write the tables of integrations a to b (0-based, b excluded).

        Parameters
        ----------
        a, b : int
            Range of integrations in the segment.
        arrays : mapping of str to ndarray
            Fluxes (b - a, column) of each table, DN/s.

        Returns
        -------
        int
            Bytes written.
        """
        if not 0 <= a < b <= self.nints:
            raise ValueError(f"{self.path}: integrations {a}..{b} outside 0..{self.nints}")
        rows = [_rows(table.wavelength) for table in self.tables]
        total = 0
        with opened(self.path) as descriptor:
            for i in range(a, b):
                for j, at in enumerate(self._places(i)):
                    rows[j]["FLUX"] = arrays[f"flux_{j}"][i - a]
                    pwrite_all(descriptor, rows[j].view(np.uint8).data, at + self.head)
                    total += rows[j].nbytes
        return total

    def _places(self, i: int) -> list[int]:
        """Places of the headers of the tables of an integration."""
        sizes = [self.head + padded(len(t.wavelength) * _RECORD.itemsize) for t in self.tables]
        first = self.offset + i * sum(sizes)
        return [first + at for at in accumulate(sizes[:-1], initial=0)]

    @property
    def _end(self) -> int:
        """Place after the last integration."""
        return self._places(self.nints)[0]


def fitted_spectra_size(nints: int, tables: Sequence[FittedTable]) -> int:
    """Return about how many bytes a file will have."""
    each = sum(7500 + padded(len(t.wavelength) * _RECORD.itemsize) for t in tables)
    return 30_000 + nints * each


def _rows(wavelength: np.ndarray) -> np.ndarray:
    rows = np.zeros(len(wavelength), _RECORD)
    rows["WAVELENGTH"] = wavelength
    rows["DQ"] = _NO_FLAGS
    return rows


def _fill(made: Any, tables: Sequence[FittedTable]) -> None:
    """Give a model the tables of one integration, of one row each."""
    from stdatamodels.jwst.datamodels import SpecModel

    for table in tables:
        kind = SpecModel().get_dtype("spec_table")
        one = SpecModel(spec_table=np.zeros(1, kind))
        one.spectral_order = table.order
        one.int_num = 1
        one.meta.date = timestamp()
        for name, unit in _UNITS.items():
            one.spec_table.columns[name].unit = unit
        made.spec.append(one)


def _numbered(head: bytes, i: int, j: int, count: int) -> bytes:
    """Header of table `j` of integration `i`, out of that of the first."""
    for keyword, number in (("EXTVER", i * count + j + 1), ("INT_NUM", i + 1)):
        at = head.index(f"{keyword:<8}= ".encode()) + 10
        head = head[:at] + f"{number:>20}".encode() + head[at + 20 :]
    return head


def _digest(primary: bytes, heads: Sequence[bytes], nints: int) -> str:
    """Digest of all headers, see `tso3dask.io.fits_bytes.headers_hash`."""
    digest = hashlib.sha256(primary)
    for i in range(nints):
        for j, head in enumerate(heads):
            digest.update(_numbered(head, i, j, len(heads)))
    return digest.hexdigest()


def _tree(content: bytes, tables: Sequence[FittedTable], nints: int) -> Iterator[bytes]:
    """ASDF file with the entries of all integrations, out of one with those of the first."""
    text = content.decode()
    start = text.index("\nspec:\n") + len("\nspec:\n")
    end = text.index("\n...\n", start) + 1
    begins = [start + m.start() for m in _ENTRY.finditer(text[start:end])]
    entries = []
    for table, (first, last) in zip(
        tables, zip(begins, [*begins[1:], end], strict=True), strict=True
    ):
        entry = re.sub(r"shape: \[1\]", f"shape: [{len(table.wavelength)}]", text[first:last])
        entry = re.sub(r"int_num: \d+", f"int_num: {_NUMBER}", entry)
        entries.append(re.sub(r"EXTRACT1D,\d+", f"EXTRACT1D,{_VERSION}", entry))
    yield text[:start].encode()
    pieces: list[str] = []
    for i in range(nints):
        for j, entry in enumerate(entries):
            version = i * len(entries) + j + 1
            pieces.append(entry.replace(_NUMBER, str(i + 1)).replace(_VERSION, str(version)))
        if len(pieces) * len(entries[0]) > _BUFFER:
            yield "".join(pieces).encode()
            pieces = []
    yield "".join([*pieces, text[end:]]).encode()
