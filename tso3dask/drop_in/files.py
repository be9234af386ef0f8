"""Parameter files of pipelines and steps, read for ``config_file`` and written."""

from __future__ import annotations

import datetime
import os
from pathlib import Path
from typing import Any

from tso3dask.errors import InputError
from tso3dask.params import read_parameter_file

__all__ = ["CLASSES", "read_step_file", "write_parameter_file"]

CLASSES = {
    "outlier_detection": "jwst.outlier_detection.outlier_detection_step.OutlierDetectionStep",
    "tso_photometry": "jwst.tso_photometry.tso_photometry_step.TSOPhotometryStep",
    "adaptive_trace_model": (
        "jwst.adaptive_trace_model.adaptive_trace_model_step.AdaptiveTraceModelStep"
    ),
    "pixel_replace": "jwst.pixel_replace.pixel_replace_step.PixelReplaceStep",
    "extract_1d": "jwst.extract_1d.extract_1d_step.Extract1dStep",
    "photom": "jwst.photom.photom_step.PhotomStep",
    "white_light": "jwst.white_light.white_light_step.WhiteLightStep",
    "light_curves": "tso3dask.drop_in.LightCurvesStep",
    "regressors": "tso3dask.drop_in.RegressorsStep",
    "pipeline": "jwst.pipeline.calwebb_tso3.Tso3Pipeline",
}
"""Names under which parameter files know the classes."""

_TO_FILL_IN = "<SPECIFY>"


def read_step_file(path: str | os.PathLike[str], step: str) -> dict[str, Any]:
    """Return the parameters of one step in a parameter file of the step or of the pipeline.

    Raises
    ------
    InputError
        If the file is none or has no parameters of this step.
    """
    steps = read_parameter_file(path).steps
    if step not in steps:
        raise InputError(f"{path}: holds no parameters of step '{step}'")
    return {k: v for k, v in steps[step].items() if k not in ("class", "name")}


def write_parameter_file(
    path: str | os.PathLike[str], tree: dict[str, Any], include_metadata: bool = False
) -> None:
    """Write a parameter file in ASDF.

    Parameters
    ----------
    path : path-like
        The file.
    tree : dict
        ``class``, ``name``, ``parameters`` and, for a pipeline, ``steps``.
    include_metadata : bool
        Add the fields of reference files, to be filled in by hand.
    """
    import asdf

    if include_metadata:
        now = datetime.datetime.now(datetime.UTC).replace(microsecond=0, tzinfo=None)
        tree = {**tree, "meta": _metadata(tree["class"], now.isoformat())}
    with asdf.AsdfFile(tree) as file:
        file.write_to(Path(path))


def _metadata(class_name: str, date: str) -> dict[str, Any]:
    empty = ("author", "origin", "pedigree", "reftype", "telescope", "useafter")
    return {
        "date": date,
        "description": f"Parameters for calibration step {class_name}",
        "instrument": {"name": _TO_FILL_IN},
        **dict.fromkeys(empty, _TO_FILL_IN),
    }
