"""FITS files: extensions, header cards, pixels, table columns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from compare import EXACT, TOLERANCE, Comparison
from stated import IN_EXTENSION, KEYWORDS

__all__ = ["compare_fits"]

ERROR_OF = {
    "FLUX": "FLUX_ERROR",
    "SURF_BRIGHT": "SB_ERROR",
    "BACKGROUND": "BKGD_ERROR",
}
"""Columns whose differences are measured against their errors where those are larger."""

NUMBERS = {
    "EXTRXSTR": 1e-12,
    "EXTRXSTP": 1e-12,
    "EXTRYSTR": 1e-12,
    "EXTRYSTP": 1e-12,
}
"""Keywords that are computed: relative tolerance."""

COMPUTED_IMAGES = {"profile", "model", "residual", "SossExtractModel"}
"""Endings of files whose images are computed, not copied."""

EXACT_COLUMNS = {"INT_NUM", "MJD-BEG", "MJD-AVG", "MJD-END", "TDB-BEG", "TDB-MID", "TDB-END"}
"""Times are copied, not computed."""


def compare_fits(result: Comparison, kind: str, ours: Path, theirs: Path) -> None:
    """Compare two files extension by extension, except what the ASDF extension says."""
    label = label_of(kind, theirs)
    with fits.open(ours, memmap=False) as left, fits.open(theirs, memmap=False) as right:
        left.verify("exception")
        names = ([f"{h.name},{h.ver}" for h in hdus] for hdus in (left, right))
        result.same_names(f"{label} extensions", *names)
        for one, other in _pairs(left, right):
            where = f"{label} {other.name}{f',{other.ver}' if other.ver > 1 else ''}"
            if type(one) is not type(other):
                result.find(where, f"{type(one).__name__} instead of {type(other).__name__}")
                continue
            compare_headers(result, where, other.name, one.header, other.header)
            if other.name == "ASDF" or (one.data is None and other.data is None):
                continue
            if other.is_image:
                tolerance = TOLERANCE if kind in COMPUTED_IMAGES else EXACT
                result.values(kind, where, other.name, one.data, other.data, tolerance)
            else:
                compare_columns(result, kind, where, one, other)


def label_of(kind: str, path: Path) -> str:
    """Kind of product, with the segment and detector for crfints."""
    if kind != "crfints":
        return kind
    parts = [p for p in path.stem.split("_") if p != kind]
    return f"{kind}[{'_'.join(parts[2:-1])}]" if len(parts) > 3 else f"{kind}[{path.stem}]"


def _pairs(left: fits.HDUList, right: fits.HDUList) -> list[tuple[Any, Any]]:
    """Extensions of the same name and version."""
    ours = {(h.name, h.ver): h for h in left}
    return [(ours[(h.name, h.ver)], h) for h in right if (h.name, h.ver) in ours]


def _cards(header: fits.Header, name: str) -> list[fits.card.Card]:
    skipped = KEYWORDS.keys() | IN_EXTENSION.get(name, {}).keys()
    return [card for card in header.cards if card.keyword not in skipped]


def _without_widths(cards: list[fits.card.Card]) -> list[fits.card.Card]:
    """Leave out the widths of columns that may differ, and of the row with them."""
    free = {c.keyword[5:] for c in cards if c.keyword.startswith("TTYPE") and c.value in KEYWORDS}
    return [c for c in cards if c.keyword not in {"NAXIS1", *(f"TFORM{n}" for n in free)}]


def compare_headers(
    result: Comparison, where: str, name: str, ours: fits.Header, theirs: fits.Header
) -> None:
    """Compare cards: order, values with their types, comments; section titles as well."""
    left, right = _cards(ours, name), _cards(theirs, name)
    if name == "HDRTAB":
        left, right = _without_widths(left), _without_widths(right)
    titles = (
        [str(c.value) for c in cards if c.keyword in ("", "COMMENT")] for cards in (left, right)
    )
    result.same_names(f"{where} section titles", *titles)
    left, right = (
        [c for c in cards if c.keyword not in ("", "COMMENT")] for cards in (left, right)
    )
    result.same_names(f"{where} keywords", [c.keyword for c in left], [c.keyword for c in right])
    found = {c.keyword: c for c in left}
    for card in right:
        if (mine := found.get(card.keyword)) is not None:
            if card.keyword in NUMBERS and None not in (mine.value, card.value):
                tolerance = NUMBERS[card.keyword]
                result.number(f"{where} {card.keyword}", mine.value, card.value, tolerance)
            else:
                result.same(f"{where} {card.keyword}", mine.value, card.value)
            result.same(f"{where} {card.keyword} comment", mine.comment, card.comment)


def compare_columns(result: Comparison, kind: str, where: str, ours: Any, theirs: Any) -> None:
    """Compare the columns of two tables."""
    if not result.same_names(f"{where} columns", ours.columns.names, theirs.columns.names):
        return
    if len(ours.data) != len(theirs.data):
        result.find(where, f"{len(ours.data)} rows instead of {len(theirs.data)}")
        return
    for name in theirs.columns.names:
        if theirs.name == "HDRTAB" and name in KEYWORDS:
            continue
        mine, column = np.asarray(ours.data[name]), np.asarray(theirs.data[name])
        exact = theirs.name != "EXTRACT1D" or name in EXACT_COLUMNS
        error = None
        if theirs.name == "EXTRACT1D" and name in ERROR_OF:
            error = theirs.data[ERROR_OF[name]]
        quantity = name if theirs.name == "EXTRACT1D" else f"{theirs.name} {name}"
        tolerance = EXACT if exact else TOLERANCE
        label = where if theirs.name == "EXTRACT1D" else where.removesuffix(theirs.name).rstrip()
        result.values(kind, label, quantity, mine, column, tolerance, error)
