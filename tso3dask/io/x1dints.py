"""Write x1dints products: extracted spectra of all members, filled row by row from any process.

The product is a data model with one table per member and spectral order; a row is an integration
and most columns are vectors along the dispersion. Everything but these vectors is known before
the extraction, so the file is laid out first (`tso3dask.io.x1dints_layout`) and each block of
integrations then goes to its own byte ranges.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tso3dask.errors import RunError
from tso3dask.io.atomic import (
    UnfinishedFile,
    check_space,
    commit,
    laid_out,
    opened,
    reserve,
    whole_part,
)
from tso3dask.io.fits_bytes import pwrite_all, quiet_cards
from tso3dask.io.segment import Segment
from tso3dask.io.spectrum_spec import (
    NUMBER,
    TIMES,
    WAVELENGTH,
    SpectrumSpec,
    record_dtype,
    spectrum_units,
)
from tso3dask.schema import EXTRACTED_COLUMNS

__all__ = ["SpectrumSpec", "X1dintsSink", "record_dtype", "spectrum_units", "x1dints_size"]

_BUFFER = 1 << 20
_SIGN = 2**31


@dataclass(frozen=True)
class _Table:
    """Where one table of spectra is in the file."""

    offset: int
    nrows: int
    width: int


@dataclass(frozen=True)
class X1dintsSink(UnfinishedFile):
    """Writer of the spectra of one x1dints file.

    It holds names and byte offsets only, so that it can be sent to any process that sees the file
    system. `put` may be called in any order and again for the same rows.

    Attributes
    ----------
    path : str
        The unfinished file.
    size : int
        Its size in bytes when whole.
    primary_size : int
        Bytes of the primary header.
    asdf_offset : int
        Place of the header of the ASDF extension, which is the last.
    tables : tuple
        Place, rows and width of each table of spectra.
    """

    primary_size: int
    asdf_offset: int
    tables: tuple[_Table, ...]

    @classmethod
    def create(
        cls,
        part_path: str | os.PathLike[str],
        specs: Sequence[SpectrumSpec],
        *,
        filename: str,
        asn_pool: str | None,
        asn_table: str | None,
        asn_id: str | None = None,
        steps: Mapping[str, str] | None = None,
        attributes: Mapping[str, Any] | None = None,
        int_times: np.ndarray | None = None,
        history: Sequence[str] = (),
        members: Sequence[Segment] = (),
        one_member: bool = False,
    ) -> X1dintsSink:
        """Lay out the file: everything but the extracted columns is written now.

        Parameters
        ----------
        part_path : path
            Unfinished file to write; one that exists is replaced.
        specs : sequence of SpectrumSpec
            Tables in product order: by member, by spectral order within a member.
        filename : str
            Final base name, for the FILENAME keyword.
        asn_pool, asn_table, asn_id : str or None
            Association pool, base name of the association file, and identifier. The identifier is
            taken out of the members' names in the header table.
        steps : mapping
            Step name to status for the cal_step keywords, for all members.
        attributes : mapping
            Attributes of the product by dotted path that the blended members do not give.
        int_times : ndarray, optional
            Table for INT_TIMES; made of the members' tables by default.
        history : sequence of str
            Lines on how the product was made, after the one that names this package.
        members : sequence of Segment
            All members, in order, if some of them have no spectrum: they too are in the header
            table, in INT_TIMES and in the blended keywords.
        one_member : bool
            Lay out the file of a step instead of the product: its INT_TIMES are those of the
            member, and it has no header table and no S_REGION.

        Returns
        -------
        X1dintsSink

        Raises
        ------
        RunError
            If the folder has too little space or cannot be written.
        """
        from tso3dask.io.x1dints_layout import build_layout

        with quiet_cards():
            layout = build_layout(
                specs,
                filename=filename,
                association=(asn_pool, asn_table, asn_id),
                steps=steps or {},
                attributes=attributes or {},
                int_times=int_times,
                history=history,
                members=members,
                one_member=one_member,
            )
        part = Path(part_path)
        check_space(part.parent, layout.size, filename)
        tables = []
        with laid_out(part) as target:
            for piece in layout.pieces:
                pwrite_all(target, piece.header, piece.offset)
                place = piece.offset + len(piece.header)
                if piece.spec is None:
                    pwrite_all(target, piece.data, place)
                    continue
                spec = specs[piece.spec]
                tables.append(_Table(place, spec.nints, spec.width))
                _fill_known(target, place, spec)
            reserve(target, layout.size)
        first, last = layout.pieces[0], layout.pieces[-1]
        return cls(str(part), layout.size, len(first.header), last.offset, tuple(tables))

    @classmethod
    def reopen(
        cls, part_path: str | os.PathLike[str], specs: Sequence[SpectrumSpec]
    ) -> X1dintsSink:
        """Return the writer of a file that an earlier run laid out for the same specs.

        Raises
        ------
        RunError
            If the file is not there or does not fit the specs.
        """
        from astropy.io import fits

        try:
            size = Path(part_path).stat().st_size
            with (
                warnings.catch_warnings(action="ignore"),
                fits.open(part_path, lazy_load_hdus=False) as hdus,
            ):
                places = [hdu.fileinfo() for hdu in hdus]
                tables = tuple(
                    _Table(place["datLoc"], hdu.header["NAXIS2"], hdu.columns.dtype[1].shape[0])
                    for hdu, place in zip(hdus, places, strict=True)
                    if hdu.name == "EXTRACT1D"
                )
                whole = (
                    hdus[-1].name == "ASDF"
                    and size == places[-1]["datLoc"] + (places[-1]["datSpan"])
                )
        except (OSError, IndexError, KeyError) as error:
            raise RunError(f"{part_path}: cannot go on with this product ({error})") from error
        if not whole or [(t.nrows, t.width) for t in tables] != [(s.nints, s.width) for s in specs]:
            raise RunError(f"{part_path}: unfinished product of other input; run without resume")
        return cls(str(part_path), size, places[1]["hdrLoc"], places[-1]["hdrLoc"], tables)

    def put(self, table: int, a: int, b: int, columns: Mapping[str, Any]) -> int:
        """Write the extracted columns of integrations a to b (0-based, b excluded).

        Parameters
        ----------
        table : int
            Index of the table, in the order of the specs.
        a, b : int
            Range of rows.
        columns : mapping of str to ndarray
            (b - a, width) arrays by column name, or what broadcasts to that. Of the vector columns
            those not given are zero; ``WAVELENGTH`` may be given to replace the spec's.

        Returns
        -------
        int
            Bytes written.
        """
        place = self.tables[table]
        unknown = [n for n in columns if n not in (*EXTRACTED_COLUMNS, WAVELENGTH)]
        if unknown:
            raise ValueError(f"{self.path}: {unknown[0]!r} is not an extracted column")
        if not 0 <= a < b <= place.nrows:
            raise ValueError(f"{self.path}: rows {a}..{b} outside 0..{place.nrows}")
        record = record_dtype(place.width)
        names = ((WAVELENGTH,) if WAVELENGTH in columns else ()) + EXTRACTED_COLUMNS
        part = np.dtype([(name, record[name]) for name in names])
        head = 4 if WAVELENGTH in columns else 4 + 8 * place.width
        start = place.offset + head
        arrays = {
            name: np.broadcast_to(values, (b - a, place.width)) for name, values in columns.items()
        }
        step = max(1, _BUFFER // part.itemsize)
        with opened(self.path) as descriptor:
            for first in range(0, b - a, step):
                rows = _records(part, arrays, first, min(first + step, b - a))
                for i, row in enumerate(rows.view((np.uint8, part.itemsize))):
                    at = start + (a + first + i) * record.itemsize
                    pwrite_all(descriptor, row.data, at)
        return (b - a) * part.itemsize

    def finish(
        self, final: str | os.PathLike[str], attributes: Mapping[str, Any] | None = None
    ) -> Path:
        """Give the file, now whole, its final name; an older product of that name is replaced.

        Parameters
        ----------
        final : path
            The final place.
        attributes : mapping
            Attributes of the product by dotted path that became known during the run.
        """
        part = whole_part(self.path, self.size)
        if attributes:  # the file may grow with them
            from tso3dask.io.x1dints_layout import set_attributes

            set_attributes(part, self.primary_size, self.asdf_offset, attributes)
        return commit(part, final)


def x1dints_size(tables: Sequence[tuple[int, int]], nints: int) -> int:
    """Return how many bytes a product will have, rather a little more than less.

    Parameters
    ----------
    tables : sequence of (rows, width)
        Tables of spectra.
    nints : int
        Rows of INT_TIMES.
    """
    fixed = 100_000 + 22_000 * len(tables) + 52 * nints
    return fixed + sum(rows * record_dtype(width).itemsize for rows, width in tables)


def _records(part: np.dtype, arrays: Mapping[str, np.ndarray], first: int, last: int) -> np.ndarray:
    rows = np.zeros(last - first, part)
    if "DQ" not in arrays:
        rows["DQ"] = -_SIGN
    for name, values in arrays.items():
        block = values[first:last]
        rows[name] = block.astype(np.int64) - _SIGN if name == "DQ" else block
    return rows


def _fill_known(target: int, offset: int, spec: SpectrumSpec) -> None:
    """Write the columns before and after the extracted ones, for all rows.

    The end of a row and the beginning of the next are one piece of the file.
    """
    record = record_dtype(spec.width)
    known = np.dtype([(name, record[name]) for name in ("N_ALONGDISP", "SEGMENT", *TIMES)])
    head = np.dtype([(name, record[name]) for name in (NUMBER, WAVELENGTH)])
    joint = np.dtype([("tail", known), ("head", head)])
    nrows = spec.nints
    numbers = spec.times.get(NUMBER, np.arange(1, nrows + 1))
    lengths = spec.width if spec.n_alongdisp is None else np.asarray(spec.n_alongdisp)
    segment = spec.segment.get("EXSEGNUM", 1)
    step = max(1, _BUFFER // joint.itemsize)
    behind = record.itemsize - known.itemsize
    for first in range(-1, nrows, step):
        last = min(first + step, nrows)  # rows first..last-1 by their ends, first+1..last by heads
        rows = np.zeros(last - first, joint)
        ends = slice(max(first, 0), last)
        tail = rows["tail"][ends.start - first :]
        tail["N_ALONGDISP"] = np.broadcast_to(lengths, nrows)[ends].astype(np.int64) - _SIGN
        tail["SEGMENT"] = segment
        for name in TIMES:
            tail[name] = spec.times[name][ends] if name in spec.times else np.nan
        begins = slice(first + 1, min(last + 1, nrows))
        heads = rows["head"][: begins.stop - begins.start]
        heads[NUMBER] = numbers[begins]
        heads[WAVELENGTH] = spec.wavelength
        for i, row in enumerate(rows.view((np.uint8, joint.itemsize))):
            at = offset + (first + i) * record.itemsize + behind
            skip = known.itemsize if first + i < 0 else 0
            stop = known.itemsize if first + i + 1 >= nrows else joint.itemsize
            pwrite_all(target, row[skip:stop].data, at + skip)
