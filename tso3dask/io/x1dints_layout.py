"""Headers, small tables and metadata tree of an x1dints product, through its data model.

A small data model with one row per table is made with `stdatamodels`, so that keywords, their
order, units and the metadata tree are those of its schemas. The tables are then given their real
number of rows.
"""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

from tso3dask.errors import RunError
from tso3dask.io.asdf_edit import edit_asdf
from tso3dask.io.asdf_start import load_extensions
from tso3dask.io.blend import (
    blend,
    header_table,
    product_attributes,
    spectrum_keywords,
    stored_attributes,
    summary_status,
)
from tso3dask.io.fits_bytes import (
    asdf_header,
    copy_range,
    header_bytes,
    headers_hash,
    history_lines,
    padded,
    pwrite_all,
    software,
    timestamp,
)
from tso3dask.io.int_times import product_int_times, product_stripe_times
from tso3dask.io.segment import Segment
from tso3dask.io.spectral_wcs import spectral_wcs
from tso3dask.io.spectrum_spec import TIMES, SpectrumSpec, record_dtype

__all__ = ["Layout", "Piece", "build_layout", "set_attributes"]

_TABLE = "EXTRACT1D"
_SUMMARISED = ("meta.cal_step.adaptive_trace_model", "meta.cal_step.pixel_replace")
_ANGLE, _REGION = "meta.aperture.position_angle", "meta.wcsinfo.s_region"
_COPIED = (
    "slitlet_id",
    "source_id",
    "ta_xpos",
    "ta_ypos",
    "source_xpos",
    "source_ypos",
    "source_ra",
    "source_dec",
    "shutter_state",
    "source_name",
    "source_alias",
    "stellarity",
    "quadrant",
    "slit_xscale",
    "slit_yscale",
    "wavelength_corrected",
    "pathloss_correction_type",
    "barshadow_corrected",
)


@dataclass(frozen=True)
class Piece:
    """One HDU of the product: where it starts, its header, and its data or its spec's index."""

    offset: int
    header: bytes
    data: bytes
    spec: int | None


@dataclass(frozen=True)
class Layout:
    """All HDUs of the product in order, and its size in bytes."""

    pieces: tuple[Piece, ...]
    size: int


def build_layout(
    specs: Sequence[SpectrumSpec],
    *,
    filename: str,
    association: tuple[str | None, str | None, str | None],
    steps: Mapping[str, str],
    attributes: Mapping[str, Any],
    int_times: np.ndarray | None,
    history: Sequence[str],
    members: Sequence[Segment] = (),
    one_member: bool = False,
) -> Layout:
    """Return the layout of a product; see `tso3dask.io.x1dints.X1dintsSink.create`."""
    from asdf.exceptions import ValidationError

    load_extensions()
    first: dict[Path, Segment] = {segment.path: segment for segment in members}
    for spec in specs:
        first.setdefault(spec.segment.path, spec.segment)
    segments = list(first.values())
    stored = {segment.path: stored_attributes(segment) for segment in segments}
    metadata = {spec.segment.path: spec.metadata for spec in reversed(specs)}
    shared = specs[0].metadata if specs else {}
    date = timestamp()
    rows = [
        _member(
            segment, stored[segment.path], association, steps,
            metadata.get(segment.path, shared), date,
        )
        for segment in segments
    ]  # fmt: skip
    product = blend(rows)
    product |= {path: summary_status(m.get(path) for m in rows) for path in _SUMMARISED}
    product |= {"meta.filename": filename, "meta.date": date, **attributes}
    if int_times is None and one_member:
        int_times = specs[0].segment.int_times
    if int_times is None:
        int_times = product_int_times(segments)
    stripes = specs[0].segment.int_times_stripe if one_member else product_stripe_times(segments)
    times = {"int_times": int_times, "int_times_stripe": stripes}
    table = None if one_member else rows
    regions = [] if one_member else [a.get(_REGION) for a in stored.values()]
    try:
        hdus, content = _template(specs, product, stored, table, times, regions, check=False)
    except ValidationError:  # leave out what the schema does not allow, as data models do
        hdus, content = _template(specs, product, stored, table, times, regions, check=True)
    name, version = software()
    entries = [f"{name} {version}: calwebb_tso3", *history]
    headers = [header for header, _ in hdus]
    for line in history_lines(entries):
        headers[0].add_history(line)
    values: dict[str, Any] = {}
    order = [i for i, header in enumerate(headers) if header.get("EXTNAME") == _TABLE]
    for i, (place, spec) in enumerate(zip(order, specs, strict=True)):
        if headers[place]["NAXIS1"] != record_dtype(spec.width).itemsize:
            raise RunError("the installed stdatamodels has other x1dints columns than known here")
        headers[place]["NAXIS2"] = spec.nints
        values[f"spec.{i}.spec_table.shape"] = [spec.nints]
    values["_fits_hash"] = headers_hash(headers)
    content = edit_asdf(content, values=values, history=entries, software=software(), name=filename)
    return _place(hdus, order, content)


def set_attributes(
    part: Path, primary_size: int, asdf_offset: int, attributes: Mapping[str, Any]
) -> None:
    """Change attributes of a product whose tables are written.

    Parameters
    ----------
    part : Path
        The file.
    primary_size, asdf_offset : int
        Bytes of its primary header; place of the header of its ASDF extension.
    attributes : mapping
        Values by dotted path.
    """
    known = product_attributes()
    with fits.open(part) as hdus:
        headers = [hdu.header.copy() for hdu in hdus]
        content = hdus[-1].data.tobytes()
    for path, value in attributes.items():
        keyword = known[path].keyword if path in known and known[path].primary else None
        if keyword is not None:
            headers[0][keyword] = value
    head = header_bytes(headers[0])
    values = {**attributes, "_fits_hash": headers_hash(headers[:-1])}
    content = edit_asdf(content, values=values, name=str(part))
    tail = header_bytes(asdf_header(len(content), headers[-1]))
    tail += content + bytes(padded(len(content)) - len(content))
    shift = len(head) - primary_size
    with open(part, "r+b") as stream:
        descriptor = stream.fileno()
        if shift:
            _move(descriptor, primary_size, asdf_offset, shift)
        pwrite_all(descriptor, head, 0)
        pwrite_all(descriptor, tail, asdf_offset + shift)
        os.ftruncate(descriptor, asdf_offset + shift + len(tail))


def _move(descriptor: int, start: int, stop: int, shift: int) -> None:
    """Move a range of a file, from its far end so that nothing is overwritten before it is read."""
    step = 1 << 20
    edges = list(range(start, stop, step))
    for first in reversed(edges) if shift > 0 else edges:
        count = min(step, stop - first)
        copy_range(descriptor, descriptor, first, count, first + shift)


def _member(
    segment: Segment,
    stored: Mapping[str, Any],
    association: tuple[str | None, str | None, str | None],
    steps: Mapping[str, str],
    metadata: Mapping[str, Any],
    date: str,
) -> dict[str, Any]:
    """Return the attributes of one member as a row of the header table has them."""
    known = product_attributes()
    pool, table, asn_id = association
    row = {path: value for path, value in stored.items() if path in known and known[path].primary}
    name = segment.path.name
    if asn_id:
        name = name.replace(f"_{asn_id}", "")
    row |= {
        "meta.filename": name,
        "meta.date": date,
        "meta.model_type": "TSOMultiSpecModel",
        "meta.asn.pool_name": pool,
        "meta.asn.table_name": table,
    }
    row |= {f"meta.cal_step.{step}": status for step, status in steps.items()}
    row |= metadata
    return {path: value for path, value in row.items() if value is not None and path in known}


def _template(
    specs: Sequence[SpectrumSpec],
    product: Mapping[str, Any],
    stored: Mapping[Path, Mapping[str, Any]],
    members: Sequence[Mapping[str, Any]] | None,
    times: Mapping[str, np.ndarray | None],
    regions: Sequence[Any],
    check: bool,
) -> tuple[list[tuple[fits.Header, bytes]], bytes]:
    """Return header and data of the HDUs of a data model with one row per table, and its tree.

    With `check` each value is held against the schema when it is assigned, which takes most of
    the time; without it, only the whole.
    """
    from stdatamodels.jwst import datamodels

    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = datamodels.TSOMultiSpecModel(validate_on_assignment=check)
        for path, value in product.items():
            model[path] = value
        for name, rows in times.items():
            if rows is not None:
                model[name] = _with_units(rows, specs[0].segment, name.upper())
        region = next((text for text in regions if text), None)
        for i, spec in enumerate(specs):
            one = _spectrum(spec, stored[spec.segment.path], check)
            if i == 0 and region is not None:
                one.s_region = region
            model.spec.append(one)
        if members is not None:
            _add_header_table(model, members)
        model.to_fits(buffer)
        return _split(buffer.getvalue())


def _add_header_table(model: Any, members: Sequence[Mapping[str, Any]]) -> None:
    table = header_table(members)
    schema: dict[str, Any] = {"fits_hdu": "HDRTAB", "title": "Combined header table"}
    schema["datatype"] = [
        {"name": name, "datatype": _schema_type(table.dtype[name])}
        for name in table.dtype.names or ()
    ]
    model.add_schema_entry("hdrtab", schema)
    model.hdrtab = fits.BinTableHDU(table).data


def _split(content: bytes) -> tuple[list[tuple[fits.Header, bytes]], bytes]:
    """Return header and data bytes of each HDU of a FITS file but the last, and the last's data."""
    found = []
    with fits.open(io.BytesIO(content)) as hdus:
        for hdu in hdus:
            start = hdu.fileinfo()["datLoc"]
            found.append((hdu.header.copy(), content[start : start + hdu.size]))
    return found[:-1], found[-1][1]


def _schema_type(kind: np.dtype) -> Any:
    if kind.kind == "U":
        return ["ascii", kind.itemsize // 4]
    return "int8" if kind.kind == "b" else kind.name


def _with_units(table: np.ndarray, segment: Segment, name: str) -> Any:
    """Return a table of times with the units that the first member's table has."""
    hdu = fits.BinTableHDU(table)
    if segment.has(name):
        header = segment.headers[segment.index(name)]
        for i in range(1, header.get("TFIELDS", 0) + 1):
            column, unit = header.get(f"TTYPE{i}"), header.get(f"TUNIT{i}")
            if unit and column in hdu.columns.names:
                hdu.columns[column].unit = unit
    return hdu.data


def _spectrum(spec: SpectrumSpec, stored: Mapping[str, Any], check: bool) -> Any:
    """Return the data model of one table of spectra, with one row."""
    from stdatamodels.jwst import datamodels

    unsigned = {"DQ": "u4", "N_ALONGDISP": "u4"}
    stored_types = record_dtype(spec.width)
    row = np.zeros(
        1,
        [
            (name, (unsigned.get(name, kind.base.str[1:]), kind.shape))
            for name, kind in ((n, stored_types[n]) for n in stored_types.names or ())
        ],
    )
    one = datamodels.TSOSpecModel(validate_on_assignment=check)
    one.spec_table = row
    for name, unit in spec.units.items():
        one.spec_table.columns[name].unit = unit
    for name in TIMES:
        one.spec_table.columns[name].unit = "d"
    for name, value in _spectrum_attributes(spec, stored).items():
        one[name] = value
    if any(np.isfinite(v).any() for name, v in spec.times.items() if name != "INT_NUM"):
        one.time_scale = "UTC"
    if spec.ra is not None and spec.dec is not None:
        one.meta.wcs = spectral_wcs(spec.ra, spec.dec, spec.wavelength)
    return one


def _spectrum_attributes(spec: SpectrumSpec, stored: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"spectral_order": spec.spectral_order}
    if spec.slit:
        if "name" in stored or spec.segment.model_type == "SlitModel":
            found |= {name: stored.get(name) for name in _COPIED}
            found["source_type"] = spec.source_type or stored.get("source_type")
        found["detector"] = spec.segment.get("DETECTOR")
        found["position_angle"] = stored.get(_ANGLE)
    found |= {"name": spec.name, "dispersion_direction": spec.dispaxis}
    found |= {"slit_ra": spec.ra, "slit_dec": spec.dec}
    if spec.limits is not None:
        edges = ("xstart", "xstop", "ystart", "ystop")
        found |= {f"extraction_{e}": v for e, v in zip(edges, spec.limits, strict=True)}
    found |= spec.attributes
    known = spectrum_keywords()
    return {
        name: value.item() if isinstance(value, np.generic) else value
        for name, value in found.items()
        if value is not None and (name in known or name in spec.attributes)
    }


def _place(
    hdus: Sequence[tuple[fits.Header, bytes]], order: Sequence[int], content: bytes
) -> Layout:
    """Return the layout of HDUs of which those in `order` are the tables of spectra."""
    pieces = []
    offset = 0
    for number, (header, data) in enumerate(hdus):
        head = header_bytes(header)
        index = order.index(number) if number in order else None
        size = len(data) if index is None else header["NAXIS1"] * header["NAXIS2"]
        pieces.append(Piece(offset, head, b"" if index is not None else data, index))
        offset += len(head) + padded(size)
    head = header_bytes(asdf_header(len(content)))
    pieces.append(Piece(offset, head, content, None))
    return Layout(tuple(pieces), offset + len(head) + padded(len(content)))
