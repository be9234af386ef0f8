"""What is in a file or association, as text: headers, times and layout, no pixels of cubes."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tso3dask.errors import InputError
from tso3dask.wording import counted, format_bytes

__all__ = ["describe"]

_STEPS = {
    "S_PHOTOM": "photom",
    "S_OUTLIR": "outlier_detection",
    "S_EXTR1D": "extract_1d",
    "S_WHTLIT": "white_light",
}
_TIME_COLUMNS = {
    "mid times, MJD UTC": "int_mid_MJD_UTC",
    "mid times, MJD TDB (barycentric)": "int_mid_BJD_TDB",
}


def describe(path: str | os.PathLike[str]) -> str:
    """Return a description of a FITS product, a table in ECSV, or an association.

    Parameters
    ----------
    path : path-like
        ``.fits`` (calints, crfints, x1dints, or any other), ``.ecsv``, or ``.json``.

    Raises
    ------
    InputError
        If there is no such file or it is of no such kind.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        raise InputError(f"{path}: is a folder; give files, as {path}/*.fits")
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    suffix = path.suffix.lower()
    if path.name.endswith("_tso3dask.json"):
        return _run_record(path)
    if suffix == ".json":
        return _association(path)
    if suffix == ".ecsv":
        return _table(path)
    if suffix in (".fits", ".fit"):
        return _fits(path)
    raise InputError(f"{path}: expected .fits, .ecsv or an association (.json)")


def _run_record(path: Path) -> str:
    """Describe the record that a run leaves beside its products."""
    try:
        record = json.loads(path.read_text())
        products = [name for names in record["products"].values() for name in names]
        steps = [
            f"{step}.{name} = {value}"
            for step, values in record["parameters"].items()
            for name, value in values.items()
        ]
        rows = [
            ("made by", record["program"]),
            ("association", record["association"]),
            ("integrations", record["integrations"]),
            ("outliers", sum(entry["n_outliers"] for entry in record["outliers"])),
            ("seconds", record["seconds"]),
            *(("parameter", text) for text in steps),
            *(("product", name) for name in products),
            *(("input", name) for name in record["inputs"]),
            *(("note", note) for note in record["notes"]),
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: is no record of a run ({error})") from None
    return "\n".join([f"{path.name}: record of a run", *_rows(rows)])


def _rows(pairs: Iterable[tuple[str, Any]]) -> list[str]:
    """Return aligned ``name  value`` lines, those without a value left out."""
    kept = [(name, str(value)) for name, value in pairs if value not in (None, "")]
    width = max((len(name) for name, _ in kept), default=0)
    return [f"  {name:<{width}}  {value}" for name, value in kept]


def _columns(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    """Return lines of a table; text is set left, numbers right."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(name), *(len(row[i]) for row in cells)) for i, name in enumerate(header)]
    left = [all(isinstance(row[i], str) for row in rows) for i in range(len(header))]

    def line(row: Sequence[str]) -> str:
        parts = [
            f"{cell:<{width}}" if is_left else f"{cell:>{width}}"
            for cell, width, is_left in zip(row, widths, left, strict=True)
        ]
        return ("  " + "  ".join(parts)).rstrip()

    return [line(header), *(line(row) for row in cells)]


def _words(get: Any, *keywords: str) -> str:
    values = dict.fromkeys(str(get(keyword) or "").strip() for keyword in keywords)
    return " ".join(value for value in values if value and value != "N/A")


def _mode_rows(get: Any) -> list[tuple[str, Any]]:
    steps = [f"{name} {get(keyword)}" for keyword, name in _STEPS.items() if get(keyword)]
    made = " ".join(str(v) for v in (get("CAL_VER"), get("CRDS_CTX")) if v and v != "N/A")
    return [
        ("target", _words(get, "TARGPROP", "TARGNAME")),
        ("instrument", _words(get, "INSTRUME", "DETECTOR", "CHANNEL")),
        ("mode", _words(get, "EXP_TYPE", "FILTER", "GRATING", "PUPIL", "SUBARRAY")),
        ("time series", "yes" if get("TSOVISIT") else "TSOVISIT is not set"),
        ("data model", get("DATAMODL")),
        ("pipeline version", made),
        ("steps", ", ".join(steps)),
    ]


def _range(values: np.ndarray, form: str = ".6f") -> str:
    finite = values[np.isfinite(values)]
    if not finite.size:
        return "none is known (NaN)"
    text = f"{finite.min():{form}} to {finite.max():{form}}"
    lost = values.size - finite.size
    return text + (f", {lost} of {values.size} unknown (NaN)" if lost else "")


def _fits(path: Path) -> str:
    from astropy.io import fits

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with fits.open(path, memmap=True) as hdus:
                names = [hdu.name for hdu in hdus]
                if "EXTRACT1D" in names:
                    return _spectra(path, hdus)
                if "SCI" not in names or hdus["SCI"].header.get("NAXIS") != 3:
                    return _other_fits(path, hdus)
    except (OSError, TypeError) as error:
        text = " ".join(str(error).split())
        raise InputError(f"{path}: not readable as FITS: {text}") from None
    return _segment(path)


def _size_line(path: Path, kind: str) -> str:
    return f"{path.name}: {kind}, {format_bytes(path.stat().st_size)}"


def _layout(hdus: Any) -> list[str]:
    rows = []
    for index, hdu in enumerate(hdus):
        header = hdu.header
        count = header.get("NAXIS", 0)
        shape = " x ".join(str(header[f"NAXIS{k}"]) for k in range(count, 0, -1))
        if header.get("XTENSION", "").strip() == "BINTABLE":
            rows_text = counted(header["NAXIS2"], "row")
            shape = f"{rows_text}, {counted(header['TFIELDS'], 'column')}"
        name = hdu.name or "PRIMARY"
        rows.append(
            (index, name, int(header.get("EXTVER", 1)), shape or "-", header.get("BUNIT", ""))
        )
    return ["", *_columns(("HDU", "name", "ver", "shape", "unit"), rows)]


def _other_fits(path: Path, hdus: Any) -> str:
    lines = [_size_line(path, "FITS file"), *_rows(_mode_rows(hdus[0].header.get))]
    return "\n".join(lines + _layout(hdus))


def _segment(path: Path) -> str:
    from astropy.io import fits

    from tso3dask.io.segment import open_segment

    segment = open_segment(path)
    number, total = segment.get("EXSEGNUM"), segment.get("EXSEGTOT")
    nints = segment.get("NINTS")
    flagged = segment.text("S_OUTLIR") == "COMPLETE"
    rows = [
        *_mode_rows(segment.get),
        ("segment", f"{number} of {total}" if number and total else number),
        (
            "integrations",
            f"{segment.nints}: {segment.int_start} to {segment.int_end}"
            + (f" of {nints} in the exposure" if nints and nints >= segment.int_end else ""),
        ),
        ("images", f"{segment.ny} rows x {segment.nx} columns"),
        ("unit", segment.get("BUNIT", "BUNIT is missing")),
        ("dispersion", {1: "along x", 2: "along y"}.get(segment.get("DISPAXIS"))),
        ("integration time", _seconds(segment.get("EFFINTTM"))),
        *_time_rows(segment),
        ("wavelengths", _wavelengths(segment)),
        ("WCS", "in the ASDF extension" if segment.has("ASDF") else "none: no ASDF extension"),
        ("per integration", format_bytes(segment.bytes_per_integration)),
    ]
    kind = "flagged integrations (crfints)" if flagged else "calibrated integrations (calints)"
    with fits.open(path, memmap=True) as hdus:
        layout = _layout(hdus)
    return "\n".join([_size_line(path, kind), *_rows(rows), *layout])


def _seconds(value: Any) -> str | None:
    return None if value is None else f"{float(value):g} s"


def _time_rows(segment: Any) -> list[tuple[str, Any]]:
    table = segment.int_times
    if table is None:
        return [("INT_TIMES", "there is no such table")]
    if not len(table):
        return [("INT_TIMES", "no rows")]
    numbers = table["integration_number"]
    whole = " (the whole exposure)" if len(table) > segment.nints else ""
    rows: list[tuple[str, Any]] = [
        (
            "INT_TIMES",
            f"{counted(len(table), 'row')}, integrations {numbers[0]} to {numbers[-1]}{whole}",
        )
    ]
    for name, column in _TIME_COLUMNS.items():
        if column in (table.dtype.names or ()):
            values = np.asarray(table[column], dtype=float)
            rows.append((name, "all zero" if not values.any() else _range(values)))
    return rows


def _wavelengths(segment: Any) -> str | None:
    image = segment.wavelength_image()
    if image is None:
        return None
    if not np.nan_to_num(image).any():
        return "WAVELENGTH is all zero"
    return f"{_image_range(image)} um (WAVELENGTH)"


def _image_range(values: np.ndarray) -> str:
    finite = values[np.isfinite(values) & (values != 0)]
    return f"{finite.min():.4g} to {finite.max():.4g}"


def _spectra(path: Path, hdus: Any) -> str:
    lines = [_size_line(path, "spectra (x1dints)"), *_rows(_mode_rows(hdus[0].header.get)), ""]
    rows = []
    for hdu in hdus:
        if hdu.name != "EXTRACT1D":
            continue
        header, data = hdu.header, hdu.data
        names = data.dtype.names or ()
        wave = np.asarray(data["WAVELENGTH"][:1] if len(data) else [], dtype=float)
        times = np.asarray(data["TDB-MID"], dtype=float) if "TDB-MID" in names else np.zeros(0)
        width = wave.shape[-1] if wave.ndim == 2 else len(data)
        rows.append(
            (
                int(header.get("EXTVER", 1)),
                str(header.get("DETECTOR", "")),
                int(header.get("SPORDER", 1)),
                int(data["SEGMENT"][0]) if "SEGMENT" in names and len(data) else "-",
                len(data) if wave.ndim == 2 else 1,
                width,
                _image_range(wave) if np.isfinite(wave).any() else "none",
                _unit(data, "FLUX"),
                _range(times) if times.size else "-",
            )
        )
    header = ("ver", "detector", "order", "segment", "integrations", "columns")
    header += ("wavelength (um)", "flux unit", "mid times, MJD TDB")
    return "\n".join(lines + _columns(header, rows) + _layout(hdus))


def _unit(data: Any, column: str) -> str:
    names = [name.upper() for name in data.columns.names]
    return str(data.columns[names.index(column)].unit or "") if column in names else ""


def _table(path: Path) -> str:
    from astropy.table import Table

    try:
        table = Table.read(path, format="ascii.ecsv")
    except Exception as error:  # the reader raises many kinds
        raise InputError(f"{path}: not readable as ECSV: {' '.join(str(error).split())}") from None
    lines = [_size_line(path, f"table of {counted(len(table), 'row')}")]
    lines += _rows(_told(table.meta))
    meanings = _meanings(table.meta)
    rows = []
    for name in table.colnames:
        column = table[name]
        values = np.ma.filled(np.ma.asarray(column), np.nan) if column.dtype.kind == "f" else column
        text = _range(np.asarray(values, dtype=float), ".10g") if column.dtype.kind in "fiu" else ""
        rows.append((name, str(column.unit or ""), text, meanings(name)))
    shown = 4 if any(row[3] for row in rows) else 3
    header = ("column", "unit", "values", "meaning")[:shown]
    return "\n".join([*lines, "", *_columns(header, [row[:shown] for row in rows])])


def _told(meta: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Meta of a table, without what is told of each column."""
    for name, value in meta.items():
        if isinstance(value, list):
            yield name, len(value)
        elif not isinstance(value, dict) and not name.startswith("__"):
            yield name, value


def _meanings(meta: Mapping[str, Any]) -> Callable[[str], str]:
    """What the meta of a table tells of a column, with or without a detector in its name."""
    meaning, channels = meta.get("meaning"), meta.get("channels")
    known = dict(meaning) if isinstance(meaning, dict) else {}
    unit = meta.get("wavelength_unit", "")
    for channel in channels if isinstance(channels, list) else ():
        low, high = channel["wavelength_low"], channel["wavelength_high"]
        known[channel["column"]] = f"{low:.4f} to {high:.4f} {unit}"

    def of(column: str) -> str:
        names = [n for n in known if column == n or column.startswith(f"{n}_")]
        return known[max(names, key=len)] if names else ""

    return of


def _association(path: Path) -> str:
    from tso3dask.io.asn import read_association
    from tso3dask.io.observation import open_observation

    association = read_association(path)
    problem, notes = "", list(association.notes)
    try:
        notes += open_observation(association).notes
    except InputError as error:
        problem = str(error)
    lines = [
        f"{path.name}: association of {counted(len(association.members), 'member')}",
        *_rows(
            [
                ("product", association.name),
                ("id", association.asn_id),
                ("pool", association.pool),
                *_first_mode(association.members),
            ]
        ),
        "",
        *_members(association.members),
    ]
    if notes or problem:
        lines.append("")
    lines += [f"  note: {note}" for note in notes]
    lines += [f"  cannot be processed: {problem}"] if problem else []
    return "\n".join(lines)


def _open(path: Path) -> Any:
    """Return an opened segment, or the error that opening it gave."""
    from tso3dask.io.segment import open_segment

    try:
        return open_segment(path)
    except InputError as error:
        return error


def _first_mode(members: Sequence[Path]) -> list[tuple[str, Any]]:
    first = _open(members[0])
    return [] if isinstance(first, InputError) else _mode_rows(first.get)[:4]


def _members(members: Sequence[Path]) -> list[str]:
    rows: list[tuple[Any, ...]] = []
    bad = []
    for number, path in enumerate(members, start=1):
        segment = _open(path)
        if isinstance(segment, InputError):
            bad.append(f"  member {number}: {segment}")
            continue
        rows.append(
            (
                number,
                path.name,
                segment.detector,
                segment.nints,
                f"{segment.int_start}-{segment.int_end}",
                f"{segment.ny}x{segment.nx}",
                _start(segment),
                format_bytes(segment.size),
            )
        )
    header = ("#", "member", "detector", "ints", "range", "images", "start, MJD UTC", "size")
    return (_columns(header, rows) if rows else []) + bad


def _start(segment: Any) -> str:
    table = segment.int_times
    if table is not None and len(table):
        match = table[table["integration_number"] == segment.int_start]
        row = match[0] if len(match) else table[0]
        if np.isfinite(row["int_start_MJD_UTC"]) and row["int_start_MJD_UTC"] > 0:
            return f"{row['int_start_MJD_UTC']:.6f}"
    start = segment.get("EXPSTART")
    return f"{float(start):.6f} (exposure)" if start is not None else "unknown"
