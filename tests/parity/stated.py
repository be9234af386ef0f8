"""What may differ between our products and jwst's, in one place, each with its reason.

docs/differences.md has the same list for readers; a test compares the two.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ENTRIES", "IN_EXTENSION", "KEYWORDS", "STATED", "Stated"]

BOTH = ("crfints", "x1dints")


@dataclass(frozen=True)
class Stated:
    """One thing that differs.

    Attributes
    ----------
    entry : str
        Place in the data model, without the number of a spectrum.
    keyword : str or None
        FITS keyword, in any header and as a column of the table of member headers.
    reason : str
        Why.
    products : tuple of str
        Products in which it always differs if members were calibrated by an older jwst.
    """

    entry: str
    keyword: str | None
    reason: str
    products: tuple[str, ...] = BOTH


STATED = (
    Stated("meta.date", "DATE", "when the file was written"),
    Stated(
        "meta.calibration_software_version", "CAL_VER", "version that calibrated the pixels: kept"
    ),
    Stated(
        "meta.calibration_software_revision", "CAL_VCS", "revision that calibrated the pixels: kept"
    ),
    Stated(
        "meta.ref_file.crds.sw_version",
        "CRDS_VER",
        "kept where a run asks nothing of CRDS",
        ("x1dints",),
    ),
    Stated(
        "meta.ref_file.crds.context_used",
        "CRDS_CTX",
        "kept where a run asks nothing of CRDS",
        ("x1dints",),
    ),
    Stated("history", "HISTORY", "programs name themselves and their versions"),
    Stated("cal_logs", None, "messages of jwst's own run", ()),  # the tests run it silently
    Stated("_fits_hash", None, "a digest of the header, with its date"),
    Stated("asdf_library", None, "version of the library that wrote the tree", ()),
)

KEYWORDS = {item.keyword: item.reason for item in STATED if item.keyword}
ENTRIES = {item.entry: item.reason for item in STATED}

IN_EXTENSION = {"ASDF": {"NAXIS1": "length of the tree as text", "TFORM1": "the same"}}
"""Keywords that may differ in one extension."""
