"""Files of one data model with a member's metadata and arrays of their own, filled row by row.

Headers and metadata tree are those of a small data model, made with `stdatamodels` from the
member's metadata, whose arrays are then given their real shape.
"""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

from tso3dask.errors import RunError
from tso3dask.io.asdf_edit import edit_asdf
from tso3dask.io.atomic import check_space, laid_out, reserve
from tso3dask.io.blend import schema_attributes, stored_attributes
from tso3dask.io.crfints import CrfintsSink
from tso3dask.io.fits_bytes import (
    asdf_header,
    header_bytes,
    headers_hash,
    history_lines,
    padded,
    pwrite_all,
    quiet_cards,
    software,
    timestamp,
)
from tso3dask.io.pixels import ArraySpec
from tso3dask.io.segment import Segment

__all__ = [
    "add_history",
    "create_model_file",
    "file_metadata",
    "model_file_size",
    "model_template",
    "primary_metadata",
    "reopen_model_file",
]

_ARRAYS = {
    **{"SCI": "data", "ERR": "err", "DQ": "dq"},
    **{f"ORDER{order}": f"order{order}" for order in (1, 2, 3)},
    **{f"APER{order}": f"aperture{order}" for order in (1, 2, 3)},
}
"""Attribute of the data model by extension."""

_EMPTY_DQ = np.array(-(2**31), ">i4").tobytes()


def create_model_file(
    segment: Segment,
    part_path: str | os.PathLike[str],
    *,
    model: str,
    shape: Sequence[int],
    arrays: Sequence[str] = ("sci", "err", "dq"),
    filename: str,
    asn_pool: str | None,
    asn_table: str | None,
    history: Sequence[str] = (),
    primary_only: bool = False,
    attributes: Mapping[str, Any] | None = None,
) -> CrfintsSink:
    """Lay out a file: everything but the arrays is written now; ERR and DQ are 0 until put.

    Parameters
    ----------
    segment : Segment
        The member whose metadata it has.
    part_path : path
        Unfinished file to write; one that exists is replaced.
    model : str
        Class of the data model, as ``CubeModel``.
    shape : sequence of int
        Shape of its arrays.
    arrays : sequence of str
        Its arrays by the names of their extensions, as ``sci``, ``err``, ``dq`` or ``order1``.
    filename : str
        Final base name, for the FILENAME keyword.
    asn_pool, asn_table : str or None
        For ASNPOOL and ASNTABLE.
    history : sequence of str
        Lines on how the file was made, after the one that names this package.
    primary_only : bool
        Take of the member's metadata what its primary header holds, and nothing of its slit.
    attributes : mapping, optional
        More attributes by dotted path.

    Returns
    -------
    CrfintsSink
        Writer of the arrays.

    Raises
    ------
    RunError
        If the folder has too little space or cannot be written.
    """
    shape = tuple(int(n) for n in shape)
    values = primary_metadata(segment) if primary_only else _metadata(segment, model)
    values |= file_metadata(filename, asn_pool, asn_table) | {**(attributes or {})}

    def fill(made: Any) -> None:
        for name in arrays:
            kind = np.uint32 if name == "dq" else np.float32
            setattr(made, _ARRAYS[name.upper()], np.zeros((1,) * len(shape), kind))

    with quiet_cards():
        headers, content = model_template(model, values, fill)
        entries = add_history(headers[0], history)
        for header in headers[1:]:
            for axis, length in enumerate(reversed(shape), start=1):
                header[f"NAXIS{axis}"] = length
        changes: dict[str, Any] = {
            f"{_ARRAYS[h['EXTNAME']]}.shape": list(shape) for h in headers[1:]
        }
        changes["_fits_hash"] = headers_hash(headers)
        content = edit_asdf(
            content, values=changes, history=entries, software=software(), name=filename
        )
    part = Path(part_path)
    check_space(part.parent, model_file_size(shape, len(arrays)), filename)
    with laid_out(part) as target:
        specs, size = _write(target, str(part), headers, content, shape)
    return CrfintsSink(str(part), size, specs)


def reopen_model_file(part_path: str | os.PathLike[str], shape: Sequence[int]) -> CrfintsSink:
    """Return the writer of a file that an earlier run laid out.

    Raises
    ------
    RunError
        If the file is not there or has other arrays.
    """
    shape = tuple(shape)
    try:
        size = Path(part_path).stat().st_size
        with (
            warnings.catch_warnings(action="ignore"),
            fits.open(part_path, lazy_load_hdus=False) as hdus,
        ):
            last = hdus[-1].fileinfo()
            whole = hdus[-1].name == "ASDF" and size == last["datLoc"] + last["datSpan"]
            places = {hdu.name: hdu.fileinfo()["datLoc"] for hdu in hdus if hdu.name in _ARRAYS}
            fitting = all(hdus[name].shape == shape for name in places)
    except (OSError, IndexError, KeyError) as error:
        raise RunError(f"{part_path}: cannot go on with this file ({error})") from error
    if not (whole and places and fitting):
        raise RunError(f"{part_path}: unfinished file of another input; run without resume")
    specs = tuple(_spec(name, str(part_path), place, shape) for name, place in places.items())
    return CrfintsSink(str(part_path), size, specs)


def model_file_size(shape: Sequence[int], count: int = 3) -> int:
    """Return about how many bytes a file with `count` arrays of this shape will have."""
    return 60_000 + 4 * count * prod(shape)


def _metadata(segment: Segment, model: str) -> dict[str, Any]:
    """Metadata of a member that the data model has a place for, and those of its slit."""
    known = {*schema_attributes(model), *_slit_attributes(segment.model_type)}
    known.discard("meta.model_type")
    stored = stored_attributes(segment, model)
    return {path: value for path, value in stored.items() if path in known}


def primary_metadata(segment: Segment) -> dict[str, Any]:
    """Metadata of a member that its primary header holds."""
    known = {a.path for a in schema_attributes(segment.model_type).values() if a.primary}
    stored = stored_attributes(segment, segment.model_type)
    return {p: v for p, v in stored.items() if p in known and p != "meta.model_type"}


@lru_cache(maxsize=8)
def _slit_attributes(model: str) -> frozenset[str]:
    """Attributes of a data model that have a keyword and are not under ``meta``."""
    from stdatamodels import schema
    from stdatamodels.jwst import datamodels

    found = set()

    def visit(node: Mapping, path: list, *_: Any) -> None:
        if len(path) == 1 and "fits_keyword" in node:
            found.add(path[0])

    if hasattr(datamodels, model):
        schema.walk_schema(getattr(datamodels, model)().schema, visit)
    return frozenset(found)


def file_metadata(filename: str, asn_pool: str | None, asn_table: str | None) -> dict[str, Any]:
    """Return what a file says of itself and of the association, by attribute."""
    return {
        "meta.filename": filename,
        "meta.date": timestamp(),
        "meta.asn.pool_name": asn_pool,
        "meta.asn.table_name": asn_table,
    }


def add_history(primary: fits.Header, history: Sequence[str]) -> list[str]:
    """Add lines on how a file was made to its header; return them as entries of the tree."""
    name, version = software()
    entries = [f"{name} {version}: calwebb_tso3", *history]
    for line in history_lines(entries):
        primary.add_history(line)
    return entries


def model_template(
    model: str, values: Mapping[str, Any], fill: Callable[[Any], None]
) -> tuple[list[fits.Header], bytes]:
    """Return the headers of a small data model, and its metadata tree.

    Parameters
    ----------
    model : str
        Its class.
    values : mapping
        Attributes by dotted path; those that are None are left out.
    fill : callable
        Gives the model its arrays or tables, of one pixel or row each.
    """
    from stdatamodels.jwst import datamodels

    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # values that the schema does not allow are left out
        made = getattr(datamodels, model)()
        fill(made)
        for path, value in values.items():
            if value is not None:
                made[path] = value
        made.to_fits(buffer)
        content = buffer.getvalue()
    with fits.open(io.BytesIO(content)) as hdus:
        return [hdu.header.copy() for hdu in hdus[:-1]], hdus[-1].data.tobytes()


def _write(
    target: int, part: str, headers: Sequence[fits.Header], content: bytes, shape: tuple[int, ...]
) -> tuple[tuple[ArraySpec, ...], int]:
    """Write headers, zeros and tree; return where the arrays are, and the file's size."""
    specs = []
    position = 0
    for header in headers:
        head = header_bytes(header)
        pwrite_all(target, head, position)
        position += len(head)
        if "EXTNAME" not in header:
            continue
        spec = _spec(header["EXTNAME"], part, position, shape)
        specs.append(spec)
        if spec.bzero:
            _fill(target, position, spec.nbytes)
        position += padded(spec.nbytes)
    tail = header_bytes(asdf_header(len(content))) + content
    pwrite_all(target, tail, position)
    size = position + padded(len(tail))
    reserve(target, size)
    return tuple(specs), size


def _spec(name: str, path: str, offset: int, shape: tuple[int, ...]) -> ArraySpec:
    stored, bzero = (">i4", 2**31) if name == "DQ" else (">f4", 0)
    return ArraySpec(name.lower(), path, offset, stored, bzero, shape)


def _fill(target: int, position: int, count: int) -> None:
    """Write flags of 0 the FITS way."""
    piece = _EMPTY_DQ * (1 << 16)
    for first in range(0, count, len(piece)):
        pwrite_all(target, piece[: count - first], position + first)
