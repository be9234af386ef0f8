"""What is kept of a run: its result, and a record beside its products."""

from __future__ import annotations

import json
import platform
import resource
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import tso3dask
from tso3dask.config import parse_steps

if TYPE_CHECKING:
    from tso3dask.graph.outline import Member, Outline
    from tso3dask.ops.growth import GrowthCurve

__all__ = [
    "RunResult",
    "_aperture_choices",
    "earlier_result",
    "made_by_another_plan",
    "peak_memory",
    "run_facts",
    "run_record",
    "what_changed",
]


@dataclass(frozen=True, eq=False)
class RunResult:
    """What a run did.

    Attributes
    ----------
    products : dict of str to list of Path
        Files written, by kind.
    integrations : int
        Integrations of all members.
    outliers : list of dict
        ``name``, ``nints``, ``n_outliers`` and ``fraction`` of each member; empty without
        outlier detection.
    seconds : float
        Wall time.
    peak_memory : int
        Peak resident memory of this process, bytes.
    notes : list of str
        What a user should know.
    rows : list of dict
        Rows of each member: flux, outliers and positions per integration. For figures.
    tables : dict
        Columns of the tables written, by kind.
    growth : dict
        Scatter against the width of the aperture by detector, where it was measured.
    """

    products: dict[str, list[Path]]
    integrations: int
    outliers: list[dict[str, Any]]
    seconds: float
    peak_memory: int
    notes: list[str] = field(default_factory=list)
    rows: list[dict[str, np.ndarray]] = field(default_factory=list, repr=False)
    tables: dict[str, Any] = field(default_factory=dict, repr=False)
    growth: dict[str, GrowthCurve] = field(default_factory=dict, repr=False)

    @property
    def paths(self) -> list[Path]:
        """All files written."""
        return [path for paths in self.products.values() for path in paths]


def run_facts(plan: Outline) -> dict[str, Any]:
    """What results depend on: version, input, parameters, references."""
    return {
        "program": f"tso3dask {tso3dask.__version__}",
        "inputs": {m.segment.path.name: m.segment.identity for m in plan.members},
        "parameters": plan.parameters.to_dict(explicit_only=True),
        "references": {m.segment.path.name: _reference_names(m) for m in plan.members},
    }


def what_changed(plan: Outline, description: str) -> str:
    """Tell in what a plan differs from that of an earlier run.

    Parameters
    ----------
    plan : Outline
        The plan.
    description : str
        JSON of `run_facts` of the earlier run; may be damaged or empty.
    """
    try:
        then = json.loads(description)
        now = json.loads(json.dumps(run_facts(plan)))
        if then["inputs"] != now["inputs"]:
            return "of other input"
        differences = _changed_parameters(plan, then["parameters"])
        if differences:
            more = f" and {len(differences) - 3} more" if len(differences) > 3 else ""
            return f"with other parameters ({', '.join(differences[:3])}{more})"
        for key, text in (("references", "other references"), ("program", "another version")):
            if then[key] != now[key]:
                return f"with {text}"
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    return "of other input or with other parameters"


def _changed_parameters(plan: Outline, then: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Parameters that are not as they were, each with what it was and is."""
    now = json.loads(json.dumps(plan.parameters.to_dict()))
    before = json.loads(json.dumps(parse_steps(then).to_dict()))
    names = [(step, name) for step in now for name in {**before[step], **now[step]}]
    found = []
    for step, name in names:
        old, new = (values[step].get(name) for values in (before, now))
        if old != new:
            found.append(f"{step}.{name} was {old}, is {new}")
    return found


def run_record(plan: Outline, result: RunResult) -> dict[str, Any]:
    """Provenance of a run, kept beside its products."""
    facts = run_facts(plan)
    return {
        "program": facts["program"],
        "python": platform.python_version(),
        "plan": plan.token,
        "association": plan.observation.association.table_name,
        "inputs": facts["inputs"],
        "parameters": facts["parameters"],
        "parameter_origins": dict(plan.parameters.origins),
        "recipe": plan.recipe or None,
        "crds": plan.crds and {"version": plan.crds[0], "context": plan.crds[1]},
        "references": facts["references"],
        "products": {
            kind: {p.name: [p.stat().st_size, p.stat().st_mtime_ns] for p in paths}
            for kind, paths in result.products.items()
        },
        "integrations": result.integrations,
        "outliers": result.outliers,
        "apertures": _aperture_choices(plan),
        "notes": result.notes,
        "seconds": round(result.seconds, 3),
    }


def _aperture_choices(plan: Outline) -> dict[str, Any]:
    """Width chosen for each member, pixels, with light and scatter by width; {} if none was."""
    if not plan.parameters.extract_1d.optimize_aperture:
        return {}
    found = {}
    for member in plan.spectra:
        curve = None if member.model is None else member.model.growth
        if curve is None or member.spectrum is None:
            continue
        numbers = {
            name: [float(f"{v:.6g}") if np.isfinite(v) else None for v in getattr(curve, name)]
            for name in ("width", "flux", "scatter")
        }
        found[member.segment.path.name] = {"chosen": member.spectrum.chosen_width, **numbers}
    return found


def _reference_names(member: Member) -> dict[str, str]:
    return {kind: file.recorded for kind, file in member.references.items()}


def made_by_another_plan(manifest: Path, plan: Outline) -> bool:
    """Tell whether the record beside products is missing or that of another plan."""
    try:
        return bool(json.loads(manifest.read_text())["plan"] != plan.token)
    except (OSError, ValueError, KeyError, TypeError):
        return True


def earlier_result(
    manifest: Path, plan: Outline, finals: Mapping[str, list[Path]]
) -> RunResult | None:
    """Return what an earlier run of this plan did if its products are all there, else None."""
    try:
        record = json.loads(manifest.read_text())
        if record["plan"] != plan.token:
            return None
        for kind, paths in finals.items():
            for path in paths:
                stat = path.stat()
                if record["products"][kind][path.name] != [stat.st_size, stat.st_mtime_ns]:
                    return None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    notes = [*record["notes"], "all products of this plan were there already: nothing was done"]
    return RunResult(
        {kind: list(paths) for kind, paths in finals.items()},
        record["integrations"],
        record["outliers"],
        0.0,
        peak_memory(),
        notes,
    )


def peak_memory() -> int:
    """Peak resident memory of this process, bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)
