"""Products of a run as the open data models and tables that steps return."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tso3dask.drop_in.inputs import is_model
from tso3dask.io.asdf_edit import read_scalars
from tso3dask.io.segment import Segment

if TYPE_CHECKING:
    pass

__all__ = ["detached_model", "step_spectra", "with_pixels"]


def detached_model(path: Path, segment: Segment, date: str | None = None) -> Any:
    """Open a product so that it needs its file no more, named as the step's input.

    Parameters
    ----------
    path : Path
        The product, which may be removed afterwards.
    segment : Segment
        The input.
    date : str, optional
        Its date; by default that of the product.

    Returns
    -------
    JwstDataModel
    """
    from stdatamodels.jwst import datamodels

    known = _metadata(segment)
    model = datamodels.open(str(path))
    model.meta.filename = known.get("meta.filename")
    if date is not None:
        model.meta.date = date
    return model


def step_spectra(path: Path, segment: Segment) -> Any:
    """Open an x1dints product as the extraction alone gives it.

    What the pipeline adds for several members is taken away, and states of other steps and the
    association are those of the input.
    """
    model = detached_model(path, segment)
    known = _metadata(segment)
    meta = model.meta.instance
    for group in ("cal_step", "asn"):
        start = f"meta.{group}."
        own = {k.removeprefix(start): v for k, v in known.items() if k.startswith(start)}
        if group == "cal_step":
            own["extract_1d"] = meta["cal_step"]["extract_1d"]
        meta.pop(group, None)
        if own:
            meta[group] = own
    model.hdrtab = None
    for spectrum in model.spec:
        spectrum.s_region = None
    model.int_times = segment.int_times
    return model


def with_pixels(
    given: Any, path: Path, cubes: Mapping[str, Any], step: str, history: str | None = None
) -> Any:
    """Return the input of a step as an open model with other pixels.

    Parameters
    ----------
    given : path or data model
        The input; a model is copied.
    path : Path
        Its file.
    cubes : mapping of str to array
        Pixels by the names of datasets, ``sci``, ``err`` and so on.
    step : str
        The step, which is then COMPLETE.
    history : str, optional
        What its history tells of the step.
    """
    from stdatamodels.jwst import datamodels

    model = given.copy() if is_model(given) else datamodels.open(str(path))
    for name, values in cubes.items():
        setattr(model, "data" if name == "sci" else name, values)
    setattr(model.meta.cal_step, step, "COMPLETE")
    if history is not None:
        model.add_history_entry(history)
    return model


def _metadata(segment: Segment) -> dict[str, Any]:
    content = segment.asdf_bytes()
    return {} if content is None else read_scalars(content, name=str(segment.path))
