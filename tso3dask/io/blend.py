"""Metadata of a product that is made of several members: blended values and the header table.

Which attribute has which keyword, how it is blended and whether it is a column of the header
table is written in the schemas of `stdatamodels`; nothing of it is repeated here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from astropy.io import fits

from tso3dask.io.asdf_edit import read_scalars
from tso3dask.io.asdf_start import load_extensions
from tso3dask.io.fits_bytes import headers_hash
from tso3dask.io.segment import Segment

__all__ = [
    "Attribute",
    "blend",
    "header_attributes",
    "header_table",
    "keyword_attributes",
    "product_attributes",
    "schema_attributes",
    "spectrum_keywords",
    "stored_attributes",
    "summary_status",
]


@dataclass(frozen=True)
class Attribute:
    """One metadata attribute of the data model.

    Attributes
    ----------
    path : str
        Dotted path, ``meta.exposure.nints``.
    keyword : str or None
        FITS keyword that holds it.
    hdu : str
        EXTNAME of the HDU of that keyword.
    rule : str or None
        How values of several members become one; None takes the first.
    column : str or None
        Its column in the header table.
    """

    path: str
    keyword: str | None
    hdu: str
    rule: str | None
    column: str | None

    @property
    def primary(self) -> bool:
        """Whether a keyword of the primary header holds it."""
        return self.keyword is not None and self.hdu == "PRIMARY"


def product_attributes() -> dict[str, Attribute]:
    """Return the scalar metadata attributes of an x1dints product, in schema order."""
    return schema_attributes("TSOMultiSpecModel")


@lru_cache(maxsize=8)
def schema_attributes(model: str) -> dict[str, Attribute]:
    """Return the scalar metadata attributes of a data model, in schema order."""
    from stdatamodels import schema
    from stdatamodels.jwst import datamodels

    load_extensions()
    found: dict[str, Attribute] = {}

    def visit(node: Mapping, path: list, *_: Any) -> None:
        if len(path) < 2 or path[0] != "meta" or "items" in path or node.get("properties"):
            return
        if node.get("type") == "array":
            return
        while path[-1] in ("anyOf", "oneOf"):
            path = path[:-1]
        name = ".".join(path)
        old = found.get(name, Attribute(name, None, "PRIMARY", None, None))
        keyword = node.get("fits_keyword", old.keyword)
        hdu = node.get("fits_hdu", old.hdu)
        rule = node.get("blend_rule", old.rule)
        column = (keyword or name) if node.get("blend_table") else old.column
        found[name] = Attribute(name, keyword, hdu, rule, column)

    schema.walk_schema(getattr(datamodels, model)().schema, visit)
    return found


@lru_cache(maxsize=1)
def spectrum_keywords() -> dict[str, str]:
    """Return the attributes of one spectrum that have a keyword in its table's header."""
    from stdatamodels import schema
    from stdatamodels.jwst.datamodels import TSOMultiSpecModel

    found: dict[str, str] = {}

    def visit(node: Mapping, path: list, *_: Any) -> None:
        if len(path) == 3 and path[:2] == ["spec", "items"] and "fits_keyword" in node:
            found[path[2]] = node["fits_keyword"]

    schema.walk_schema(TSOMultiSpecModel().schema, visit)
    return found


def stored_attributes(segment: Segment, model: str = "TSOMultiSpecModel") -> dict[str, Any]:
    """Return the metadata attributes of a member as a data model of it would have them.

    They come from the metadata tree if the file's headers are those that were written with it,
    which has the full precision; from the keywords if the headers were changed afterwards or
    there is no tree.

    Parameters
    ----------
    segment : Segment
        The member.
    model : str
        Data model whose keywords are looked up, where keywords count.

    Returns
    -------
    dict
        Value by dotted path. Attributes of the slit (``source_name``, ...) have no ``meta.``;
        those without a value are left out.
    """
    content = segment.asdf_bytes()
    if content is not None:
        tree = read_scalars(content, "", str(segment.path))
        others = [h for i, h in enumerate(segment.headers) if segment.hdus[i].name != "ASDF"]
        if tree.get("_fits_hash") == headers_hash(others):
            return {path: value for path, value in tree.items() if value is not None}
    return keyword_attributes(segment, model)


def keyword_attributes(segment: Segment, model: str = "TSOMultiSpecModel") -> dict[str, Any]:
    """Return the metadata attributes of a member that its keywords hold, by dotted path."""
    return header_attributes(segment.primary, segment.sci_header, model)


def header_attributes(
    primary: fits.Header, sci: fits.Header, model: str = "TSOMultiSpecModel"
) -> dict[str, Any]:
    """Return the metadata attributes that keywords of two headers hold, by dotted path."""
    headers = {"PRIMARY": primary, "SCI": sci}
    places = [(a.path, a.keyword, a.hdu) for a in schema_attributes(model).values() if a.keyword]
    places += [(path, keyword, "SCI") for path, keyword in spectrum_keywords().items()]
    places += [
        ("meta.aperture.position_angle", "PA_APER", "SCI"),
        ("meta.wcsinfo.s_region", "S_REGION", "SCI"),
    ]
    found: dict[str, Any] = {}
    for path, keyword, hdu in places:
        value = headers.get(hdu, fits.Header()).get(keyword)
        if value is not None and not isinstance(value, fits.card.Undefined):
            found[path] = value
    return found


def blend(members: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the metadata of a product made of `members`.

    Parameters
    ----------
    members : sequence of mapping
        Attributes of each member by dotted path.

    Returns
    -------
    dict
        What the first member has, with those attributes blended that have a rule; attributes of
        the data model's schema only.
    """
    blended: dict[str, Any] = {}
    for attribute in product_attributes().values():
        path = attribute.path
        if attribute.rule in (None, "first"):
            if members[0].get(path) is not None:
                blended[path] = members[0][path]
            continue
        values = [member[path] for member in members if member.get(path) is not None]
        if values:
            value = _RULES[attribute.rule](values)
            blended[path] = value.item() if isinstance(value, np.generic) else value
    return blended


def header_table(members: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Return the header table: one row per member, one column per attribute that any member has.

    String columns are as wide as their longest value. A member without a value has NaN there,
    which makes a column of numbers float64 and reads ``nan`` in a column of strings.
    """
    columns, names = [], []
    for attribute in product_attributes().values():
        if attribute.column is None or all(m.get(attribute.path) is None for m in members):
            continue
        values = [np.nan if m.get(attribute.path) is None else m[attribute.path] for m in members]
        columns.append(np.array(values))
        names.append(attribute.column)
    table = np.empty(len(members), [(n, c.dtype) for n, c in zip(names, columns, strict=True)])
    for name, column in zip(names, columns, strict=True):
        table[name] = column
    return table


def summary_status(statuses: Iterable[str | None]) -> str:
    """Return one status for a step that each member went through on its own."""
    present = set(statuses)
    return next((s for s in ("COMPLETE", "FAILED") if s in present), "SKIPPED")


def _common(values: list) -> Any:
    return values[0] if len(set(values)) == 1 else "MULTIPLE"


def _tolerance(values: list) -> str:
    outside = "outside calibration tolerance"
    return outside if outside in values else "within commanded tolerance"


_RULES: dict[str, Callable[[list], Any]] = {
    "multi": _common,
    "mean": np.mean,
    "sum": np.sum,
    "min": np.min,
    "max": np.max,
    "mindate": min,
    "mintime": min,
    "mindatetime": min,
    "maxdate": max,
    "maxtime": max,
    "maxdatetime": max,
    "wheeltol": _tolerance,
}
