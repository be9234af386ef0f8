"""Write crfints products: a copy of the segment with flagged pixels, filled from any process.

The layout of the file is fixed before the first pixel is known: headers, static extensions and the
metadata tree are written once, and every block of integrations then goes to its own byte range.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from astropy.io import fits

from tso3dask.errors import InputError, RunError
from tso3dask.io.asdf_edit import edit_asdf, read_scalars
from tso3dask.io.atomic import UnfinishedFile, check_space, laid_out, opened, reserve
from tso3dask.io.fits_bytes import (
    asdf_header,
    copy_range,
    header_bytes,
    headers_hash,
    history_lines,
    padded,
    pwrite_all,
    quiet_cards,
    software,
    timestamp,
    without_checksums,
)
from tso3dask.io.pixels import ArraySpec, scratch_words, swap_into
from tso3dask.io.segment import Segment, open_segment

__all__ = ["CrfintsSink", "crfints_size"]

_BUFFER = 512 * 1024
"""Bytes that are written at a time: large pieces get large pages of the cache, which may cost."""

_STEPS = {
    "outlier_detection": ("S_OUTLIR", "Outlier Detection"),
    "adaptive_trace_model": ("S_TRCMOD", "Adaptive Trace Model"),
    "pixel_replace": ("S_PXREPL", "Pixel Replacement"),
}
_BEFORE_OUTLIER = ("S_MSAFLG", "S_LINEAR", "S_JUMP", "S_GANSCL", "S_FLAT", "S_DQINIT", "S_WCS")


@dataclass(frozen=True)
class CrfintsSink(UnfinishedFile):
    """Writer of the pixels of one crfints file.

    It holds names and byte offsets only, so that it can be sent to any process that sees the file
    system. `put` may be called in any order and again for the same rows.

    Attributes
    ----------
    path : str
        The unfinished file.
    size : int
        Its size in bytes when whole.
    arrays : tuple of ArraySpec
        Where each per-integration array goes.
    """

    arrays: tuple[ArraySpec, ...]

    @classmethod
    def create(
        cls,
        segment: Segment,
        part_path: str | os.PathLike[str],
        *,
        filename: str,
        asn_pool: str | None,
        asn_table: str | None,
        steps: Mapping[str, str] | None = None,
        history: Sequence[str] = (),
        exptype: str | None = "science",
    ) -> CrfintsSink:
        """Lay out the file: everything but the per-integration pixels is written now.

        Parameters
        ----------
        segment : Segment
            The calints file that the product repeats.
        part_path : path
            Unfinished file to write; one that exists is replaced.
        filename : str
            Final base name, for the FILENAME keyword.
        asn_pool, asn_table : str or None
            Association pool and base name of the association file, for ASNPOOL and ASNTABLE.
        steps : mapping
            Step name to status for the cal_step keywords; ``{"outlier_detection": "COMPLETE"}``
            by default.
        history : sequence of str
            Lines on how the product was made, after the one that names this package.
        exptype : str or None
            Role of the member in the association.

        Returns
        -------
        CrfintsSink

        Raises
        ------
        RunError
            If the folder has too little space or cannot be written.
        """
        steps = {"outlier_detection": "COMPLETE"} if steps is None else dict(steps)
        name, version = software()
        labels = _Labels(
            filename,
            timestamp(),
            {"exptype": exptype, "pool_name": asn_pool, "table_name": asn_table},
            steps,
            (f"{name} {version}: calwebb_tso3", *history),
        )
        with quiet_cards():
            pieces, size = _layout(segment, labels)
        part = Path(part_path)
        check_space(part.parent, size, filename)
        with laid_out(part) as target, open(segment.path, "rb") as source:
            specs = _write_static(segment, pieces, source.fileno(), target, str(part))
            reserve(target, size)
        return cls(str(part), size, specs)

    @classmethod
    def reopen(cls, segment: Segment, part_path: str | os.PathLike[str]) -> CrfintsSink:
        """Return the writer of a file that an earlier run laid out for the same segment.

        Raises
        ------
        RunError
            If the file is not there or does not fit the segment.
        """
        try:
            part = open_segment(Path(part_path))
        except InputError as error:
            raise RunError(f"cannot go on with an unfinished product: {error}") from error
        specs = tuple(part.arrays[name] for name in part.cubes)
        if [(s.name, s.shape) for s in specs] != [
            (name, segment.arrays[name].shape) for name in segment.cubes
        ]:
            raise RunError(f"{part_path}: unfinished product of another input; run without resume")
        return cls(str(part_path), part.size, specs)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the arrays that `put` takes, in file order."""
        return tuple(spec.name for spec in self.arrays)

    @property
    def takes_stored(self) -> bool:
        """Whether `put` takes pixels as FITS files usually have them, too."""
        return all(spec.plain for spec in self.arrays)

    @property
    def nints(self) -> int:
        """Integrations in the file."""
        return self.arrays[0].shape[0]

    def put(self, a: int, b: int, arrays: Mapping[str, np.ndarray]) -> int:
        """Write integrations a to b (0-based, b excluded) of some or all arrays.

        Parameters
        ----------
        a, b : int
            Range of integrations in the segment.
        arrays : mapping of str to ndarray
            Native (b - a, y, x) arrays by name, or as the file has them where `takes_stored` says
            so; names that the file does not have are an error.

        Returns
        -------
        int
            Bytes written.
        """
        specs = {spec.name: spec for spec in self.arrays}
        unknown = [name for name in arrays if name not in specs]
        if unknown:
            raise ValueError(f"{self.path}: no array {unknown[0]!r}; has {', '.join(specs)}")
        if not 0 <= a < b <= self.nints:
            raise ValueError(f"{self.path}: integrations {a}..{b} outside 0..{self.nints}")
        with opened(self.path) as descriptor:
            return sum(
                _put_rows(descriptor, specs[name], a, b, values) for name, values in arrays.items()
            )


def crfints_size(segment: Segment) -> int:
    """Return about how many bytes the crfints of a segment will have (headers grow a little)."""
    return segment.size


def _put_rows(descriptor: int, spec: ArraySpec, a: int, b: int, values: np.ndarray) -> int:
    shape = (b - a, *spec.shape[1:])
    if values.shape != shape:
        raise ValueError(f"{spec.name}: expected shape {shape}, got {values.shape}")
    stored = spec.stored
    position = spec.offset + a * spec.row_bytes
    if values.dtype == stored and values.flags.c_contiguous:
        raw = values.reshape(-1).view(np.uint8).data
        for first in range(0, values.nbytes, _BUFFER):
            pwrite_all(descriptor, raw[first : first + _BUFFER], position + first)
        return values.nbytes
    direct = stored.itemsize == 4 and values.dtype == spec.native
    step = _BUFFER // max(stored.itemsize, values.dtype.itemsize)
    scratch = scratch_words(step) if direct else None
    # A non-contiguous array is made whole one integration at a time.
    pieces = [values] if values.flags.c_contiguous else values
    for piece in pieces:
        flat = np.ascontiguousarray(piece).reshape(-1)
        for first in range(0, flat.size, step):
            part = flat[first : first + step]
            if scratch is not None:
                data = swap_into(part, scratch, spec.bzero)
            else:
                data = _to_stored(part, stored, spec.bzero)
            pwrite_all(descriptor, data.view(np.uint8).data, position)
            position += data.nbytes
    return position - spec.offset - a * spec.row_bytes


def _to_stored(part: np.ndarray, stored: np.dtype, bzero: int) -> np.ndarray:
    """Convert native values to the stored type the general way."""
    if bzero:
        part = part.astype(np.int64) - bzero
    return part.astype(stored)


@dataclass(frozen=True)
class _Labels:
    """What the metadata of a product say differently from those of its input."""

    filename: str
    date: str
    association: Mapping[str, str | None]
    steps: Mapping[str, str]
    history: tuple[str, ...]


def _layout(segment: Segment, labels: _Labels) -> tuple[list[tuple[bytes, bytes | None]], int]:
    """Return header bytes and, for the ASDF extension, content of each HDU; and the file's size."""
    headers = [without_checksums(header) for header in segment.headers]
    _edit_primary(headers[0], labels)
    content = segment.asdf_bytes()
    place = segment.index("ASDF") if content is not None else -1
    if content is not None:
        content = _edit_tree(segment, content, headers, place, labels)
        headers[place] = asdf_header(len(content), headers[place])
    pieces: list[tuple[bytes, bytes | None]] = []
    size = 0
    for i, header in enumerate(headers):
        head = header_bytes(header)
        body = content if i == place else None
        pieces.append((head, body))
        size += len(head) + (padded(len(body)) if body is not None else segment.hdus[i].data_size)
    return pieces, size


def _write_static(
    segment: Segment,
    pieces: Sequence[tuple[bytes, bytes | None]],
    source: int,
    target: int,
    part: str,
) -> tuple[ArraySpec, ...]:
    """Write headers and unchanging data; return where the per-integration arrays belong."""
    cubes = {segment.arrays[name].offset: segment.arrays[name] for name in segment.cubes}
    specs = []
    position = 0
    for hdu, (head, content) in zip(segment.hdus, pieces, strict=True):
        pwrite_all(target, head, position)
        position += len(head)
        cube = cubes.get(hdu.data_offset) if hdu.data_size else None
        if cube is not None:
            specs.append(replace(cube, path=part, offset=position))
            position += hdu.data_size
        elif content is not None:
            pwrite_all(target, content, position)
            position += padded(len(content))
        else:
            copy_range(source, target, hdu.data_offset, hdu.data_size, position)
            position += hdu.data_size
    return tuple(specs)


def _edit_tree(
    segment: Segment,
    content: bytes,
    headers: Sequence[fits.Header],
    place: int,
    labels: _Labels,
) -> bytes:
    """Return the content of the ASDF extension that says the same as the new headers."""
    values: dict[str, object] = {"meta.filename": labels.filename, "meta.date": labels.date}
    values |= {f"meta.asn.{k}": v for k, v in labels.association.items() if v is not None}
    values |= {f"meta.cal_step.{step}": status for step, status in labels.steps.items()}
    others = [h for i, h in enumerate(segment.headers) if i != place]
    stored = read_scalars(content, "_fits_hash", str(segment.path)).get("_fits_hash")
    drop = []
    if stored == headers_hash(others):
        values["_fits_hash"] = headers_hash(h for i, h in enumerate(headers) if i != place)
    else:  # keywords were changed after the tree was written: readers must take the keywords
        drop = ["_fits_hash"]
    return edit_asdf(
        content,
        values=values,
        drop=drop,
        history=labels.history,
        software=software(),
        name=str(segment.path),
    )


def _edit_primary(primary: fits.Header, labels: _Labels) -> None:
    _set(primary, "DATE", labels.date, "UTC date file created")
    _set(primary, "FILENAME", labels.filename, "Name of the file")
    _set_association(primary, labels.association["pool_name"], labels.association["table_name"])
    for step, status in labels.steps.items():
        _set_step(primary, step, status)
    for line in history_lines(labels.history):
        primary.add_history(line)


def _set(header: fits.Header, keyword: str, value: str, comment: str) -> None:
    """Set a keyword that every product has, with the comment of its schema."""
    if keyword in header:
        header[keyword] = (value, comment)
    else:
        header.append((keyword, value, comment), end=True)


def _set_association(header: fits.Header, pool: str | None, table: str | None) -> None:
    """Set the keywords of the association; a section for them precedes all other sections."""
    wanted = [
        ("ASNPOOL", pool, "Name of the ASN pool"),
        ("ASNTABLE", table, "Name of the ASN table"),
    ]
    wanted = [card for card in wanted if card[1] is not None]
    present = [keyword for keyword, _, _ in wanted if keyword in header]
    for keyword, value, comment in wanted:
        if keyword in header:
            header[keyword] = value
        elif present:
            header.insert(present[0], (keyword, value, comment), after=keyword > present[0])
    if wanted and not present:
        keywords = list(header)
        at = keywords.index("") if "" in keywords else len(keywords)
        titles = [("", ""), ("", "Association information"), ("", "")]
        for card in reversed([*titles, *wanted]):
            header.insert(at, card)


def _set_step(header: fits.Header, step: str, status: str) -> None:
    keyword, comment = _STEPS[step]
    if keyword in header:
        header[keyword] = status
        return
    before = _BEFORE_OUTLIER if step == "outlier_detection" else _status_keywords(keyword)
    after = next((k for k in before if k in header), None)
    if after is not None:
        header.insert(after, (keyword, status, comment), after=True)
        return
    following = next((k for k in header if k.startswith("S_")), None)
    if following is None:
        header.append((keyword, status, comment), end=True)
    else:
        header.insert(following, (keyword, status, comment))


def _status_keywords(keyword: str) -> list[str]:
    """Keywords of steps that stand before one, nearest first."""
    from tso3dask.io.blend import schema_attributes

    steps = [a for a in schema_attributes("CubeModel").values() if ".cal_step." in a.path]
    known = [a.keyword for a in steps if a.keyword]
    return known[: known.index(keyword)][::-1]
