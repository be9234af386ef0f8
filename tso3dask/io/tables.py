"""Photometry and white-light tables (ECSV): written whole or not at all, and read back."""

from __future__ import annotations

import io
import os
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tso3dask.errors import InputError
from tso3dask.io.atomic import atomic_path

if TYPE_CHECKING:
    from astropy.table import QTable

__all__ = [
    "TEXT_BYTES",
    "known_unit",
    "read_table",
    "table_in_memory",
    "table_size",
    "table_text",
    "write_table",
]

_ROWS = 1000
"""Rows made text at a time; text takes several times the memory of numbers."""

TEXT_BYTES = 23
"""Most bytes of a number as text, with the blank behind it, about."""

Columns = Mapping[str, tuple[Any, str | None]]
"""Values and unit by column name, in column order."""


def write_table(
    final: str | os.PathLike[str],
    columns: Columns,
    meta: Mapping[str, Any],
    run_id: str | None = None,
    count: bool = True,
) -> Path:
    """Write a table of one row per integration.

    Parameters
    ----------
    final : path
        Where it goes (``..._phot.ecsv``, ``..._whtlt.ecsv``); an older file is replaced.
    columns : mapping of str to (values, unit)
        One-dimensional numbers of one length; unit is text, or None for plain numbers.
    meta : mapping
        Header entries in order. ``number_of_integrations`` is added if it is missing.
    run_id : str, optional
        Name of the run, for the unfinished file.
    count : bool
        Add ``number_of_integrations``, which products have and files of steps have not.

    Returns
    -------
    pathlib.Path
        `final`.
    """
    with atomic_path(final, run_id) as part, open(part, "wb") as stream:
        for text in _pieces(columns, meta, count):
            stream.write(text.encode())
    return Path(final)


def known_unit(text: str) -> bool:
    """Tell whether a column can have this unit."""
    from astropy import units

    try:
        units.Unit(text)
    except ValueError:
        return False
    return True


def table_in_memory(columns: Columns, meta: Mapping[str, Any]) -> QTable:
    """Return a table as the steps return it: quantities where there is a unit."""
    from astropy import units
    from astropy.table import QTable

    table = QTable(meta=OrderedDict(meta))
    for name, (values, unit) in columns.items():
        table[name] = values if unit is None else values << units.Unit(unit)
    return table


def table_text(columns: Columns, meta: Mapping[str, Any]) -> str:
    """Return a table as ECSV text, blank separated, as `write_table` writes it."""
    return "".join(_pieces(columns, meta))


def _pieces(columns: Columns, meta: Mapping[str, Any], count: bool = True) -> Iterator[str]:
    """Yield header and blocks of rows of a table."""
    values = {name: np.asarray(data) for name, (data, _) in columns.items()}
    lengths = {data.shape for data in values.values()}
    if len(lengths) != 1 or len(next(iter(lengths))) != 1:
        found = ", ".join(f"{name} {data.shape}" for name, data in values.items())
        raise ValueError(f"table columns must be one-dimensional and of one length, got {found}")
    (rows,) = next(iter(lengths))
    entries = OrderedDict(meta)
    if count:
        entries.setdefault("number_of_integrations", rows)
    yield _header(columns, values, entries)
    for first in range(0, rows, _ROWS):
        texts = [_texts(data[first : first + _ROWS]) for data in values.values()]
        yield "".join(" ".join(row) + "\n" for row in zip(*texts, strict=True))


def read_table(path: str | os.PathLike[str]) -> QTable:
    """Read a photometry or white-light table, of this package or of the ``jwst`` pipeline.

    Returns
    -------
    astropy.table.QTable
        Columns with units as quantities; ``meta`` as in the header.
    """
    from astropy.table import QTable

    try:
        return QTable.read(path, format="ascii.ecsv")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    except Exception as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: is not an ECSV table ({reason})") from error


def table_size(rows: int, columns: int) -> int:
    """Return how many bytes a table of numbers will have, rather a little more than less."""
    return 500 + columns * (260 + TEXT_BYTES * rows)


def _header(columns: Columns, values: Mapping[str, np.ndarray], meta: Mapping) -> str:
    """Return header and line of names, as astropy writes them for a table without rows."""
    from astropy import units
    from astropy.table import QTable

    table = QTable(meta=meta)
    for name, (_, unit) in columns.items():
        empty = values[name][:0]
        table[name] = empty if unit is None else empty << units.Unit(unit)
    stream = io.StringIO()
    table.write(stream, format="ascii.ecsv")
    return stream.getvalue()


def _texts(data: np.ndarray) -> list[str]:
    """Return numbers as the shortest text that reads back as the same number."""
    if data.dtype.kind not in "fiu":
        raise ValueError(f"table columns must be numbers, got {data.dtype}")
    native = data.astype(data.dtype.newbyteorder("="), copy=False)
    if native.dtype.kind == "f" and native.itemsize < 8:
        return [str(value) for value in native]
    return [repr(value) for value in native.tolist()]
