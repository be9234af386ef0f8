"""Table of regressors: what may go with the light curve, on its time axis.

Place, width, brightness and background come from the model of the exposure, numbers of flagged
and replaced pixels from the tasks that flagged and replaced them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from dask.tokenize import tokenize

from tso3dask.graph.chunking import chunk_bounds
from tso3dask.graph.execute import task_errors
from tso3dask.graph.job import Job
from tso3dask.graph.stages import median_prologue
from tso3dask.graph.tables import COUNTS, plan_axis
from tso3dask.graph.temporal import FlagInTime, ReplaceInTime
from tso3dask.io.tables import known_unit
from tso3dask.ops.exposure_model import NUMBERS

if TYPE_CHECKING:
    import dask.array as da
    import xarray as xr

    from tso3dask.graph.outline import Member, Outline

__all__ = [
    "Columns",
    "model_rows",
    "regressor_columns",
    "regressor_dataset",
    "regressor_meta",
]

MEANINGS = {
    "shift_x": ("pixel", "place of the target along x, against the median image"),
    "shift_y": ("pixel", "place of the target along y, against the median image"),
    "dispersion_shift": (
        "pixel",
        "shift along wavelength, by cross-correlation of the lines with the mean spectrum",
    ),
    "width": ("pixel2", "squared width of the target, against the median image"),
    "brightness": (None, "brightness of the target over its median"),
    "background": ("SCI", "level added to all pixels"),
    "n_outliers": (None, "pixels flagged as outliers"),
    "flagged_fraction": (None, "share of the target's pixels that are flagged as outliers"),
    "n_replaced": (None, "pixels replaced"),
    "replaced_fraction": (None, "share of the target's pixels that are replaced"),
}
"""Unit and meaning of each column, in order."""

Columns = dict[str, tuple[np.ndarray, str | None]]


def _model_numbers(member: Member) -> dict[str, np.ndarray]:
    """What the model of the exposure says of the integrations of a member."""
    if member.model is None:
        return {}
    model = member.model.rows(0, member.segment.nints)
    numbers = {name: getattr(model, name) for name in NUMBERS if name in model.fitted}
    if member.segment.exp_type == "NIS_SOSS":
        numbers.pop("background", None)  # light of the orders is in all pixels, and so in the level
    shift = model.extra.get("dispersion_shift")
    if shift is not None and np.any(shift):  # all 0 where lines do not tell
        numbers["dispersion_shift"] = shift
    return numbers


def model_rows(member: Member) -> dict[str, np.ndarray]:
    """What the model says of the integrations of a member, under names of rows of a run."""
    return {f"model_{name}": values for name, values in _model_numbers(member).items()}


def _groups(
    plan: Outline,
) -> Iterator[tuple[str, list[Member], Callable[[np.ndarray], np.ndarray]]]:
    """Ending of columns, members, and what puts their integrations in the rows of the table."""
    if plan.kind == "imaging":
        yield "", list(plan.members), np.asarray
        return
    seen = set()
    axis = plan_axis(plan)
    several = len({series.order for series in axis.series}) > 1
    for series in axis.series:
        if series.detector in seen:
            continue
        seen.add(series.detector)
        label = series.label.removeprefix(f"_order_{series.order}") if several else series.label
        own = [plan.tables[i][0] if plan.tables else plan.members[i] for i in series.spectra]
        yield label, own, series.placed


def _times(plan: Outline) -> dict[str, np.ndarray]:
    """Times by the names that the light curve's table has for them."""
    if plan.kind != "imaging":
        return plan_axis(plan).times
    names = {"MJD": "mjd_avg", "BJD_TDB": "tdb_mid"}
    return {
        column: np.concatenate([m.times.times[name] for m in plan.members])
        for column, name in names.items()
    }


def _columns(plan: Outline, members: Sequence[Member], counted: Sequence[str]) -> list[str]:
    """Names of the regressors that some member has."""
    known = set(counted)
    for member in members:
        known |= set(_model_numbers(member))
    return [name for name in MEANINGS if name in known]


def _unit(plan: Outline, name: str) -> str | None:
    unit = MEANINGS[name][0]
    if unit != "SCI":
        return unit
    stored = str(plan.observation.first.get("BUNIT") or "").strip()
    return stored if stored and known_unit(stored) else None


def _values(member: Member, counts: Mapping[str, Any], name: str) -> Any:
    found = {**_model_numbers(member), **counts}.get(name)
    return np.full(member.segment.nints, np.nan) if found is None else found


def regressor_columns(
    plan: Outline, rows: Sequence[Mapping[str, np.ndarray]], counted: Sequence[str] | None = None
) -> Columns:
    """Columns of the table of a run: times, then regressors, by detector.

    Parameters
    ----------
    plan : Outline
        With the models of its exposures.
    rows : sequence of mapping
        Rows of each member.
    counted : sequence of str, optional
        Which of `COUNTS` are asked of the rows; by default those of the steps that are run.
    """
    if counted is None:
        counted = [name for name in COUNTS if plan.flags or name != "n_outliers"]
    columns: Columns = {name: (values, None) for name, values in _times(plan).items()}
    for ending, members, placed in _groups(plan):
        counts = [{n: rows[m.index][n] for n in counted if n in rows[m.index]} for m in members]
        names = _columns(plan, members, [name for found in counts for name in found])
        for name in names:
            parts = [_values(m, c, name) for m, c in zip(members, counts, strict=True)]
            values = placed(np.concatenate(parts).astype(np.float64))
            columns[f"{name}{ending}"] = values, _unit(plan, name)
    return columns


def regressor_meta(plan: Outline, columns: Collection[str]) -> dict[str, Any]:
    """Meta of the table: the direction of wavelength, and what its columns are."""
    axes = {m.model.dispaxis for m in plan.members if m.model is not None} - {0}
    meta: dict[str, Any] = {}
    if len(axes) == 1:
        meta["dispersion_axis"] = "x" if axes == {1} else "y"
    there = {name.removesuffix(ending) for ending, *_ in _groups(plan) for name in columns}
    meanings = {name: meaning for name, (_, meaning) in MEANINGS.items() if name in there}
    return {**meta, "meaning": meanings}


def regressor_dataset(plan: Outline) -> xr.Dataset:
    """Table of regressors as a dataset; numbers of flagged pixels are lazy.

    Models of the exposures are computed when it is asked for.
    """
    import dask.array as da
    import xarray as xr

    if "regressors" not in plan.products:
        raise AttributeError("this plan makes no regressors")
    plan = plan.settled
    variables: dict[str, Any] = {
        name: xr.Variable("integration", values, {"units": "d"})
        for name, values in _times(plan).items()
    }
    for ending, members, placed in _groups(plan):
        counts = [_lazy_counts(plan, member) for member in members]
        names = _columns(plan, members, [name for found in counts for name in found])
        for name in names:
            parts = [da.asarray(_values(m, c, name)) for m, c in zip(members, counts, strict=True)]
            array = da.concatenate(parts).astype(np.float64).rechunk(-1)
            rows = len(next(iter(variables.values())))
            array = array.map_blocks(_put, placed, dtype=np.float64, chunks=((rows,),))
            attrs = {"units": _unit(plan, name) or "", "long_name": MEANINGS[name][1]}
            variables[f"{name}{ending}"] = xr.Variable("integration", array, attrs)
    return xr.Dataset(variables)


def _put(values: np.ndarray, placed: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    return placed(values)


def _lazy_counts(plan: Outline, member: Member) -> dict[str, da.Array]:
    """Numbers of flagged and replaced pixels of a member, lazy."""
    from tso3dask.graph.arrays import picked_arrays

    names = _counted(plan, member)
    if not names:
        return {}
    tasks, constants = median_prologue(member.program)
    job = Job(member.index, member.program, plan.budget.sub_block, str(member.segment.path))
    token = f"counts-{tokenize(member.program.token, names, member.chunks)}"
    given = [[name, where] for name, where in constants.items()]
    blocks = {
        (token, i): (count_block, job, a, b, given, names)
        for i, (a, b) in enumerate(chunk_bounds(member.chunks))
    }
    outputs: dict[str, Any] = {name: ((), "float64") for name in names}
    return picked_arrays(token, blocks, outputs, member.chunks, extra=tasks, token=token)


def _counted(plan: Outline, member: Member) -> tuple[str, ...]:
    """What the stages of a member count."""
    if not member.program.stages:
        return ()
    names = ["n_outliers"] if plan.flags else []
    for stage in member.program.stages:
        if isinstance(stage, FlagInTime):
            names.append("flagged_fraction")
        if isinstance(stage, ReplaceInTime):
            names += ["n_replaced", "replaced_fraction"]
    return tuple(names)


def count_block(
    job: Job, a: int, b: int, constants: Sequence[Any], names: Sequence[str]
) -> tuple[np.ndarray, ...]:
    """Task: numbers of flagged and replaced pixels of the integrations ``a:b``."""
    out = {name: np.zeros(b - a) for name in names}
    with task_errors(job.path, a, b):
        for first, last, block in job.blocks(a, b, constants):
            for name, values in out.items():
                values[first - a : last - a] = block.counts[name]
    return tuple(out.values())
