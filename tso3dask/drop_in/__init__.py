"""Classes that take the place of those of ``jwst``, so that a notebook changes its import alone.

`Tso3Pipeline` runs everything; each step class runs alone on one file or open data model and
returns what its namesake returns: an open data model, or a table.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

_PUBLIC = {
    "AdaptiveTraceModelStep": "steps",
    "Extract1dStep": "steps",
    "LightCurvesStep": "steps",
    "OutlierDetectionStep": "steps",
    "PhotomStep": "steps",
    "PixelReplaceStep": "steps",
    "RegressorsStep": "steps",
    "TSOPhotometryStep": "steps",
    "Tso3Pipeline": "pipeline",
    "WhiteLightStep": "steps",
}

__all__ = [
    "AdaptiveTraceModelStep",
    "Extract1dStep",
    "LightCurvesStep",
    "OutlierDetectionStep",
    "PhotomStep",
    "PixelReplaceStep",
    "RegressorsStep",
    "TSOPhotometryStep",
    "Tso3Pipeline",
    "WhiteLightStep",
]

if TYPE_CHECKING:
    from tso3dask.drop_in.pipeline import Tso3Pipeline
    from tso3dask.drop_in.steps import (
        AdaptiveTraceModelStep,
        Extract1dStep,
        LightCurvesStep,
        OutlierDetectionStep,
        PhotomStep,
        PixelReplaceStep,
        RegressorsStep,
        TSOPhotometryStep,
        WhiteLightStep,
    )


def __getattr__(name: str) -> Any:
    """Import public names when they are first used."""
    if name in _PUBLIC:
        value = getattr(import_module(f"tso3dask.drop_in.{_PUBLIC[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'tso3dask.drop_in' has no attribute {name!r}")
