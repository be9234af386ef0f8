"""Changes of an input before both pipelines see it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from astropy.io import fits
from harness import Input

__all__ = ["as_from_list", "reverse_members", "rewrite"]


def reverse_members(given: Input) -> Input:
    """List the members of the association backwards."""
    content = json.loads(given.asn.read_text())
    content["products"][0]["members"].reverse()
    given.asn.write_text(json.dumps(content, indent=4))
    return replace(given, members=given.members[::-1])


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


def rewrite(path: Path, change) -> None:
    """Open a member, let `change` work on its HDUs, and write it back."""
    with fits.open(path, memmap=False) as hdus:
        change(hdus)
        hdus.writeto(path, overwrite=True)
