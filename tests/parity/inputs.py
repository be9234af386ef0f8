"""Changes of an input before both pipelines see it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from harness import Input

__all__ = [
    "all_of",
    "as_files",
    "as_from_list",
    "damage",
    "edit_asn",
    "edit_member",
    "in_header",
    "in_model",
    "lose",
    "reference",
    "repeat_times",
    "reverse_members",
]

Edit = Callable[[Input], Input]


def all_of(*edits: Edit) -> Edit:
    """Several changes, one after the other."""

    def change(given: Input) -> Input:
        for edit in edits:
            given = edit(given)
        return given

    return change


def edit_asn(change: Callable[[dict[str, Any]], None]) -> Edit:
    """Change the content of the association."""

    def edit(given: Input) -> Input:
        content = json.loads(given.asn.read_text())
        change(content)
        given.asn.write_text(json.dumps(content, indent=4))
        names = [m["expname"] for m in content["products"][0]["members"]]
        return replace(given, members=tuple(given.folder / n for n in names))

    return edit


def edit_member(number: int | None, change: Callable[[Any], None]) -> Edit:
    """Change the HDUs of one member, counted from 0, or of all of them."""

    def edit(given: Input) -> Input:
        paths = given.members if number is None else [given.members[number]]
        for path in paths:
            with fits.open(path, mode="update", memmap=False) as hdus:
                change(hdus)
        return given

    return edit


def in_header(number: int | None, extension: str = "PRIMARY", **cards: Any) -> Edit:
    """Set keywords, in the FITS header alone; the metadata tree keeps the old values."""

    def change(hdus: Any) -> None:
        for keyword, value in cards.items():
            hdus[extension].header[keyword] = value

    return edit_member(number, change)


def in_model(number: int | None, entries: dict[str, Any]) -> Edit:
    """Set entries of the data model, and so keywords; None removes them."""

    def edit(given: Input) -> Input:
        from stdatamodels.jwst import datamodels

        paths = given.members if number is None else [given.members[number]]
        for path in paths:
            with datamodels.open(path) as model:
                for name, value in entries.items():
                    model[name] = value
                model.save(path)
        return given

    return edit


def reference(change: Callable[[dict[str, Any]], None]) -> Edit:
    """Change the apertures of the extract1d reference: each is given to `change`."""

    def edit(given: Input) -> Input:
        path = Path(given.steps["extract_1d"]["override_extract1d"])
        content = json.loads(path.read_text())
        for aperture in content["apertures"]:
            change(aperture)
        path.write_text(json.dumps(content))
        return given

    return edit


def reverse_members(given: Input) -> Input:
    """List the members of the association backwards."""
    return edit_asn(lambda content: content["products"][0]["members"].reverse())(given)


def as_from_list(given: Input) -> Input:
    """Name the association and its product as asn_from_list would."""
    content = json.loads(given.asn.read_text())
    asn = given.folder / "my_targets.json"
    made = {
        "asn_type": "None",
        "asn_rule": "DMS_Level3_Base",
        "version_id": None,
        "code_version": "3.0.0",
        "degraded_status": "No known degraded exposures in association.",
        "program": "noprogram",
        "constraints": "No constraints",
        "asn_id": "a3001",
        "target": "none",
        "asn_pool": "none",
        "products": [
            {
                "name": "my.target-L3",
                "members": [
                    {"expname": m["expname"], "exptype": "science"}
                    for m in content["products"][0]["members"]
                ],
            }
        ],
    }
    asn.write_text(json.dumps(made, indent=4))
    return replace(given, asn=asn)


def as_files(given: Input) -> Input:
    """Give the files, without an association."""
    return replace(given, asn=None)


def lose(number: int, integration: int) -> Edit:
    """Leave no pixel of one integration."""

    def change(hdus: Any) -> None:
        for name in ("SCI", "ERR", "VAR_POISSON", "VAR_RNOISE", "VAR_FLAT"):
            if name in hdus:
                hdus[name].data[integration] = np.nan
        hdus["DQ"].data[integration] |= 1

    return edit_member(number, change)


def damage(given: Input) -> Input:
    """Make pixels whose values, errors and flags do not fit together, in all ways."""
    for number, path in enumerate(given.members):
        rng = np.random.default_rng(100 + number)
        with fits.open(path, mode="update", memmap=False) as hdus:
            shape = hdus["SCI"].data.shape

            def some(shape: tuple[int, ...] = shape, rng: Any = rng) -> np.ndarray:
                return rng.random(shape) < 3e-3

            for name in ("SCI", "ERR", "VAR_POISSON", "VAR_RNOISE", "VAR_FLAT"):
                if name in hdus:
                    hdus[name].data[some()] = np.nan
            hdus["SCI"].data[some()] = np.inf
            hdus["SCI"].data[some()] = -np.inf
            hdus["SCI"].data[some()] *= 50
            hdus["SCI"].data[some()] *= -50
            hdus["ERR"].data[some()] = 0.0
            hdus["ERR"].data[some()] = np.inf
            hdus["DQ"].data[some()] |= 1
            hdus["DQ"].data[some()] |= 4
            hdus["DQ"].data[some()] |= np.uint32(2**31)
            hdus["SCI"].data[:, 3, 4] = np.nan
            hdus["SCI"].data[:, 5, 6] = 7.25
            hdus["DQ"].data[:, 6, 7] = 1
    return given


def repeat_times(number: int, *pairs: tuple[int, int], missing: tuple[int, ...] = ()) -> Edit:
    """Give integrations the mid times of others, or none."""

    def change(hdus: Any) -> None:
        times = hdus["INT_TIMES"].data["int_mid_MJD_UTC"]
        for to, source in pairs:
            times[to] = times[source]
        for row in missing:
            times[row] = np.nan

    return edit_member(number, change)
