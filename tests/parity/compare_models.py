"""The data models that the files hold: class, validity, metadata tree, coordinates."""

from __future__ import annotations

import hashlib
import io
import struct
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from astropy.io import fits
from compare import Comparison
from compare_fits import label_of
from stated import ENTRIES, KEYWORDS

__all__ = ["compare_models", "compare_trees"]

NUMBERS = {
    "extraction_xstart": 1e-12,
    "extraction_xstop": 1e-12,
    "extraction_ystart": 1e-12,
    "extraction_ystop": 1e-12,
}
"""Entries that are computed: relative tolerance."""

Leaf = tuple[str, str]


def compare_models(result: Comparison, kind: str, ours: Path, theirs: Path) -> None:
    """Open both files as data models and compare what they give."""
    label = label_of(kind, theirs)
    right, known = _open(theirs)
    try:
        left, warned = _open(ours)
    except Exception as error:
        result.find(f"{label} model", f"cannot be opened: {type(error).__name__}: {error}")
        return
    with left, right:
        for text in sorted(warned - known):
            result.find(f"{label} model", f"a warning that jwst's file does not give: {text}")
        if type(left) is not type(right):
            text = f"{type(left).__name__} instead of {type(right).__name__}"
            result.find(f"{label} model", text)
        _compare_meta(result, f"{label} model", left, right)
        for name, one, other in _coordinates(left, right):
            compare_wcs(result, kind, f"{label} {name}", one, other)


def _open(path: Path) -> tuple[Any, set[str]]:
    """Open and validate a model; give the warnings as well."""
    from stdatamodels.jwst import datamodels

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = datamodels.open(path)
        model.validate()
    return model, {str(w.message).splitlines()[0] for w in caught}


def _flat(model: Any) -> dict[str, Any]:
    entries = model.to_flat_dict(include_arrays=False).items()
    return {k: v for k, v in entries if not _ignored(k) and k.split(".")[0] not in ENTRIES}


def _compare_meta(result: Comparison, where: str, left: Any, right: Any) -> None:
    ours, theirs = _flat(left), _flat(right)
    result.same_names(f"{where} entries", sorted(ours), sorted(theirs))
    for key in sorted(ours.keys() & theirs.keys()):
        one, other = ours[key], theirs[key]
        if key.split(".")[-1] in NUMBERS:
            result.number(f"{where} {key}", one, other, NUMBERS[key.split(".")[-1]])
        elif str(one) != str(other) or type(one) is not type(other):
            result.same(f"{where} {key}", one, other)


def _coordinates(left: Any, right: Any) -> Iterator[tuple[str, Any, Any]]:
    """Coordinate systems of the model, and of each of its spectra."""
    yield "wcs", getattr(left.meta, "wcs", None), getattr(right.meta, "wcs", None)
    if hasattr(right, "spec"):
        for i, (one, other) in enumerate(zip(left.spec, right.spec, strict=False)):
            pair = (getattr(s.meta, "wcs", None) for s in (one, other))
            yield f"spectrum {i + 1} wcs", *pair


def compare_wcs(result: Comparison, kind: str, where: str, ours: Any, theirs: Any) -> None:
    """Evaluate two coordinate systems at the same places, inside the array and outside."""
    if ours is None or theirs is None:
        result.same(where, type(ours).__name__, type(theirs).__name__)
        return
    result.same_names(f"{where} frames", ours.available_frames, theirs.available_frames)
    result.same(f"{where} bounding box", repr(ours.bounding_box), repr(theirs.bounding_box))
    along = np.linspace(-3.25, 62.5, 40)
    if theirs.forward_transform.n_inputs == 1:
        places: tuple[Any, ...] = (along,)
    else:
        places = tuple(a.ravel() for a in np.meshgrid(along, along[::2]))
    if theirs.forward_transform.n_inputs == 3 and "order" in theirs.input_frame.axes_names:
        places = (*places, 2)  # of NIRISS SOSS, whose orders have coordinates each
    for name, call in (("inside", {}), ("everywhere", {"with_bounding_box": False})):
        worlds = [np.atleast_2d(w(*places, **call)) for w in (ours, theirs)]
        result.values(kind, f"{where} {name}", "WCS", *worlds)
    if theirs.forward_transform.n_inputs == 1:
        world = np.atleast_2d(theirs(*places))
        back = [_inverse(w, world) for w in (ours, theirs)]
        if any(isinstance(b, str) for b in back):
            result.same(f"{where} inverse", *(str(b) for b in back))
        else:
            result.values(kind, f"{where} inverse", "WCS", *back)


def _inverse(wcs: Any, world: np.ndarray) -> np.ndarray | str:
    """Pixels of world coordinates, or why there is no inverse (as for repeated wavelengths)."""
    try:
        return np.atleast_2d(wcs.invert(*world))
    except (NotImplementedError, ValueError) as error:
        return f"{type(error).__name__}: {error}"


def compare_trees(result: Comparison, label: str, ours: Path, theirs: Path) -> None:
    """Compare the text of the ASDF extensions node by node, tags included, and binary blocks.

    Where an array refers to a block, the block's content takes its place: the order of blocks
    and sharing of equal ones are free.
    """
    left, right = _tree(ours), _tree(theirs)
    where = f"{label} tree"
    for name in sorted(right.keys() - left.keys()):
        result.find(where, f"missing {name} = {right[name]}")
    for name in sorted(left.keys() - right.keys()):
        result.find(where, f"extra {name} = {left[name]}")
    for key in sorted(left.keys() & right.keys()):
        if left[key] != right[key] and not _same_number(key, left[key], right[key]):
            result.find(f"{where} {key}", f"{left[key]} instead of {right[key]}")


def _same_number(key: str, ours: Leaf, theirs: Leaf) -> bool:
    tolerance = next((t for name, t in NUMBERS.items() if key.endswith(name)), None)
    if tolerance is None:
        return False
    close = abs(float(ours[1]) - float(theirs[1])) <= tolerance * abs(float(theirs[1]))
    return close and ours[0] == theirs[0]


def _tree(path: Path) -> dict[str, Leaf]:
    with fits.open(path, memmap=False) as hdus:
        content = hdus["ASDF"].data.tobytes() if "ASDF" in hdus else b""
    text, _, rest = content.partition(b"\n...\n")
    root = yaml.compose(io.BytesIO(text), Loader=yaml.CSafeLoader)
    widths = _free_widths(root)
    leaves = _leaves(root, "", _blocks(rest))
    return {k: v for k, v in leaves if not k.startswith(widths)}


def _free_widths(root: Any) -> tuple[str, ...]:
    """Places of the widths of those columns of the table of headers that may differ."""
    for key, node in root.value:
        if key.value == "hdrtab":
            columns = dict((k.value, v) for k, v in node.value)["datatype"].value
            names = [dict((k.value, v.value) for k, v in c.value)["name"] for c in columns]
            return tuple(
                f"hdrtab.datatype[{i}].datatype" for i, n in enumerate(names) if n in KEYWORDS
            )
    return ("hdrtab.datatype[-]",)


def _blocks(content: bytes) -> list[str]:
    """Digest of each internal block: magic word, size of the header, flags, sizes, data."""
    digests, place = [], 0
    while content[place : place + 4] == b"\xd3BLK":
        (size,) = struct.unpack(">H", content[place + 4 : place + 6])
        allocated, used = struct.unpack(">QQ", content[place + 14 : place + 30])
        start = place + 6 + size
        digests.append(hashlib.sha1(content[start : start + used]).hexdigest()[:12])
        place = start + allocated
    return digests


def _ignored(path: str) -> bool:
    return any(path == name or path.endswith(f".{name}") for name in ENTRIES)


def _leaves(node: Any, path: str, blocks: list[str]) -> Iterator[tuple[str, Leaf]]:
    if _ignored(path):
        return
    if isinstance(node, yaml.MappingNode):
        names = [str(k.value) for k, _ in node.value]
        names = [n for n in names if not _ignored(f"{path}.{n}".lstrip("."))]
        yield f"{path} {{}}", (node.tag, ", ".join(names))
        for key, value in node.value:
            yield from _leaves(value, f"{path}.{key.value}".lstrip("."), blocks)
    elif isinstance(node, yaml.SequenceNode):
        yield f"{path} []", (node.tag, str(len(node.value)))
        for i, value in enumerate(node.value):
            yield from _leaves(value, f"{path}[{i}]", blocks)
    elif path.endswith(".source") and node.value.isdigit():
        yield path, ("block", blocks[int(node.value)])
    else:
        yield path, (node.tag, node.value)
