"""The dask graphs that join files (`tso3dask.io`) and kernels (`tso3dask.ops`).

The steps are functions of datasets here, and so are the writers of the standard products:

>>> import tso3dask as tso3
>>> from tso3dask import graph
>>> segment = tso3.open_segment("jw..._calints.fits")                       # doctest: +SKIP
>>> flagged = graph.outlier_detection(segment, snr="5.0 4.0")               # doctest: +SKIP
>>> spectra = graph.extract_1d(flagged, extract1d="apertures.json")         # doctest: +SKIP
>>> graph.write_crfints(flagged, "out/jw..._crfints.fits")                  # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

_PUBLIC = {
    "extract_1d": "steps",
    "light_curves": "lazy_spectra",
    "outlier_detection": "steps",
    "pixel_replace": "steps",
    "tso_photometry": "steps",
    "white_light": "steps",
    "write_crfints": "write",
    "write_phot": "write",
    "write_whtlt": "write",
    "write_x1dints": "write",
}

__all__ = [
    "extract_1d",
    "light_curves",
    "outlier_detection",
    "pixel_replace",
    "tso_photometry",
    "white_light",
    "write_crfints",
    "write_phot",
    "write_whtlt",
    "write_x1dints",
]

if TYPE_CHECKING:
    from tso3dask.graph.lazy_spectra import light_curves
    from tso3dask.graph.steps import (
        extract_1d,
        outlier_detection,
        pixel_replace,
        tso_photometry,
        white_light,
    )
    from tso3dask.graph.write import write_crfints, write_phot, write_whtlt, write_x1dints


def __getattr__(name: str) -> Any:
    """Import public names when they are first used."""
    if name in _PUBLIC:
        value = getattr(import_module(f"tso3dask.graph.{_PUBLIC[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'tso3dask.graph' has no attribute {name!r}")
