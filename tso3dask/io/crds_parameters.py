"""Parameters of the steps from CRDS: the ``pars-*`` files of the first member."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tso3dask.config import STEPS, PipelineParameters, parse_steps
from tso3dask.errors import InputError
from tso3dask.io import crds_client
from tso3dask.io.blend import keyword_attributes
from tso3dask.io.segment import Segment
from tso3dask.params import merge_steps, read_parameter_file

__all__ = ["CrdsParameters", "crds_steps", "over_crds_parameters"]

_SWITCH = "STPIPE_DISABLE_CRDS_STEPPARS"


@dataclass(frozen=True)
class CrdsParameters:
    """What CRDS says of the steps' parameters.

    Attributes
    ----------
    steps : dict
        ``{step: {parameter: value}}``; the pipeline's file goes before those of its steps.
    origins : dict of str
        Where each ``step.parameter`` comes from, as ``crds://NAME``.
    asked : bool
        Whether rules were consulted.
    summary : str
        What was used, or why nothing was.
    notes : tuple of str
        What a user should know.
    """

    steps: dict[str, dict[str, Any]] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    asked: bool = False
    summary: str = ""
    notes: tuple[str, ...] = ()


def crds_steps(first: Segment | Mapping[str, Any], step: str | None = None) -> CrdsParameters:
    """Look up the parameter files of CRDS.

    Nothing is looked up where CRDS is not set up or STPIPE_DISABLE_CRDS_STEPPARS is true.

    Parameters
    ----------
    first : Segment or mapping
        The first member, whose keywords choose the files, or its metadata by dotted path.
    step : str, optional
        A step that runs alone: its own file is looked up, not those of the pipeline.

    Returns
    -------
    CrdsParameters
        Without steps, and with a note, if CRDS cannot be asked.

    Raises
    ------
    InputError
        If a parameter file is damaged or holds what is no parameter.
    """
    if os.environ.get(_SWITCH, "").lower() in ("1", "true", "t", "yes", "y"):
        return CrdsParameters(summary=f"not looked up ({_SWITCH} is set)")
    if not crds_client.is_configured():
        return CrdsParameters(summary="not looked up (CRDS is not set up)")
    header = keyword_attributes(first) if isinstance(first, Segment) else first
    names_of = (
        [STEPS[step].class_name] if step else [c.class_name for c in STEPS.values() if not c.added]
    )
    kinds = [f"pars-{name.lower()}" for name in (*names_of, *(() if step else ("Tso3Pipeline",)))]
    files = {}
    try:
        context = crds_client.context_in_use()[1]
        for kind in kinds:
            try:
                files[kind] = crds_client.best_reference(header, kind)
            except crds_client.NoRuleError:
                continue
    except crds_client.CrdsError as error:
        note = f"parameter files of CRDS were not looked up, defaults hold: {error}"
        return CrdsParameters(summary="not looked up (see note)", notes=(note,))
    layers = [(Path(path).name, _steps_of(path)) for path in files.values() if path is not None]
    origins: dict[str, str] = {}
    for name, steps in layers:
        origins |= {f"{s}.{p}": f"crds://{name}" for s, values in steps.items() for p in values}
    names = ", ".join(name for name, _ in layers)
    return CrdsParameters(
        merge_steps(*(steps for _, steps in layers)),
        origins,
        True,
        f"{names} ({context})" if names else f"none in {context}",
    )


def _steps_of(path: str) -> dict[str, dict[str, Any]]:
    """Return the steps of a file, after checking that they can be used."""
    steps = read_parameter_file(path).steps
    try:
        parse_steps(steps)
    except InputError as error:
        raise type(error)(
            f"{path}, chosen by CRDS: {error}; {_SWITCH}=true does without parameter files of CRDS"
        ) from None
    return steps


def over_crds_parameters(
    given: Mapping[str, Mapping[str, Any]] | PipelineParameters | None, first: Segment
) -> tuple[PipelineParameters, CrdsParameters]:
    """Return the parameters that a user gave over those of CRDS, and what CRDS said.

    Parameters
    ----------
    given : mapping or PipelineParameters, optional
        What the user set.
    first : Segment
        The first member.
    """
    found = crds_steps(first)
    parameters = parse_steps(given)
    if not found.steps:
        return parameters, found
    origins = {k: v for k, v in found.origins.items() if k not in parameters.explicit}
    steps = merge_steps(found.steps, parameters.given())
    return parse_steps(steps, {**origins, **parameters.origins}), found
