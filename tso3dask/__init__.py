"""JWST stage-3 time-series processing as a dask graph over lazy xarray data.

>>> import tso3dask as tso3
>>> plan = tso3.plan("jw01366-o002_tso3_asn.json")          # doctest: +SKIP
>>> plan.run(output_dir="out")                              # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_PUBLIC = {
    "Extract1dStep": "tso3dask.drop_in",
    "InputError": "tso3dask.errors",
    "LightCurvesStep": "tso3dask.drop_in",
    "NotYetError": "tso3dask.errors",
    "OutlierDetectionStep": "tso3dask.drop_in",
    "PhotomStep": "tso3dask.drop_in",
    "PixelReplaceStep": "tso3dask.drop_in",
    "RegressorsStep": "tso3dask.drop_in",
    "RunError": "tso3dask.errors",
    "Tso3Error": "tso3dask.errors",
    "TSOPhotometryStep": "tso3dask.drop_in",
    "Tso3Pipeline": "tso3dask.drop_in",
    "WhiteLightStep": "tso3dask.drop_in",
    "open_association": "tso3dask.pipeline",
    "open_segment": "tso3dask.pipeline",
    "plan": "tso3dask.pipeline",
    "run": "tso3dask.pipeline",
    "simulate": "tso3dask.simulation",
    "spectral_light_curves": "tso3dask.pipeline",
}

__all__ = [*_PUBLIC, "__version__"]

if TYPE_CHECKING:
    from tso3dask.drop_in import (
        Extract1dStep,
        LightCurvesStep,
        OutlierDetectionStep,
        PhotomStep,
        PixelReplaceStep,
        RegressorsStep,
        Tso3Pipeline,
        TSOPhotometryStep,
        WhiteLightStep,
    )
    from tso3dask.errors import InputError, NotYetError, RunError, Tso3Error
    from tso3dask.pipeline import open_association, open_segment, plan, run, spectral_light_curves
    from tso3dask.simulation import simulate


def __getattr__(name: str) -> Any:
    """Import public names when they are first used, so that start-up stays quick."""
    if name in _PUBLIC:
        value = getattr(import_module(_PUBLIC[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'tso3dask' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
