"""Names, dimensions, types and meanings of the variables of a segment; columns of spectra."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CUBES", "EXTENSIONS", "EXTRACTED_COLUMNS", "IMAGES", "VARIABLES", "Variable"]


@dataclass(frozen=True)
class Variable:
    """One variable of a segment: where it is in the file and what it means.

    Attributes
    ----------
    name : str
        Name in the dataset.
    extension : str
        EXTNAME of the image HDU that holds it.
    dims : tuple of str
        Dimensions in array order.
    dtype : str
        Native numpy type after reading.
    meaning : str
        One sentence for ``attrs["long_name"]``.
    """

    name: str
    extension: str
    dims: tuple[str, ...]
    dtype: str
    meaning: str


_CUBE = ("integration", "y", "x")
_IMAGE = ("y", "x")

VARIABLES: dict[str, Variable] = {
    v.name: v
    for v in (
        Variable("sci", "SCI", _CUBE, "float32", "science pixels; NaN = no value"),
        Variable("err", "ERR", _CUBE, "float32", "one-sigma uncertainty of sci"),
        Variable("dq", "DQ", _CUBE, "uint32", "data quality bits"),
        Variable("var_poisson", "VAR_POISSON", _CUBE, "float32", "variance from photon noise"),
        Variable("var_rnoise", "VAR_RNOISE", _CUBE, "float32", "variance from read noise"),
        Variable("var_flat", "VAR_FLAT", _CUBE, "float32", "variance from the flat field"),
        Variable("wavelength", "WAVELENGTH", _IMAGE, "float32", "wavelength of each pixel, um"),
        Variable("area", "AREA", _IMAGE, "float32", "relative pixel area"),
    )
}
"""Every array that a calints or crfints file may hold, by dataset name."""

CUBES: tuple[str, ...] = tuple(v.name for v in VARIABLES.values() if v.dims == _CUBE)
"""Variables with one image per integration, in file order."""

IMAGES: tuple[str, ...] = tuple(v.name for v in VARIABLES.values() if v.dims == _IMAGE)
"""Variables with one image for all integrations."""

EXTENSIONS: dict[str, str] = {v.extension: v.name for v in VARIABLES.values()}
"""Dataset name of each image extension."""

EXTRACTED_COLUMNS: tuple[str, ...] = (
    "FLUX",
    "FLUX_ERROR",
    "FLUX_VAR_POISSON",
    "FLUX_VAR_RNOISE",
    "FLUX_VAR_FLAT",
    "SURF_BRIGHT",
    "SB_ERROR",
    "SB_VAR_POISSON",
    "SB_VAR_RNOISE",
    "SB_VAR_FLAT",
    "DQ",
    "BACKGROUND",
    "BKGD_ERROR",
    "BKGD_VAR_POISSON",
    "BKGD_VAR_RNOISE",
    "BKGD_VAR_FLAT",
    "NPIXELS",
)
"""Columns of an EXTRACT1D table with one value per element along dispersion, in the table's order.

WAVELENGTH, which is known before anything is extracted, comes before them.
"""
