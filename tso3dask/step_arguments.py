"""Arguments of the command line that set parameters of steps, and the list of these."""

from __future__ import annotations

import sys
from os import PathLike
from pathlib import Path
from typing import Any

from tso3dask.errors import InputError

__all__ = ["all_steps", "steps_text", "take_steps"]

Steps = dict[str, dict[str, Any]]


def take_steps(words: list[str]) -> tuple[list[str], Steps]:
    """Take ``--steps.STEP.PARAM=VALUE`` and ``--override_TYPE=FILE`` out of the arguments."""
    rest: list[str] = []
    steps: Steps = {}
    queue = list(words)
    while queue:
        word = queue.pop(0)
        if not word.startswith(("--steps.", "--override_", "--override-")):
            rest.append(word)
            continue
        name, separator, value = word.partition("=")
        if not separator:
            if not queue or queue[0].startswith("--"):
                raise InputError(f"{name}: a value is missing, as in {name}=VALUE")
            value = queue.pop(0)
        for step, parameter in _targets(name):
            steps.setdefault(step, {})[parameter] = value
    return rest, steps


def _targets(name: str) -> list[tuple[str, str]]:
    """Return the (step, parameter) pairs that an argument sets."""
    from tso3dask.config import STEPS, nearest, parameters_of, steps_with_reference

    if name.startswith("--steps."):
        step, _, parameter = name.removeprefix("--steps.").partition(".")
        if not step or not parameter:
            raise InputError(f"{name}: expected --steps.STEP.PARAMETER=VALUE")
        return [(step, parameter)]
    kind = name[len("--override_") :]
    owners = steps_with_reference(kind)
    if owners:
        return [(owner, f"override_{kind}") for owner in owners]
    known = [
        parameter.removeprefix("override_")
        for step in STEPS
        for parameter in parameters_of(step)
        if parameter.startswith("override_")
    ]
    raise InputError(
        f"{name}: no step reads a reference of type '{kind}'.{nearest(kind, known)} "
        f"Known: {', '.join(known)}"
    )


def all_steps(
    given_steps: Steps, params: str | PathLike[str] | None
) -> tuple[Steps, dict[str, str], dict[str, str]]:
    """Return the steps of the command line over those of the parameter file.

    With them come the file's pipeline parameters, and where each parameter comes from.
    """
    from tso3dask.params import expand_steps, merge_steps, read_parameter_file

    given = expand_steps(given_steps, origin="command line")
    if any(name.endswith("_hooks") for values in given.values() for name in values):
        sys.path.append(str(Path.cwd()))  # where a user's own module is, as for python -m
    origins = {f"{step}.{name}": "command line" for step in given for name in given[step]}
    if params is None:
        return given, {}, origins
    file = read_parameter_file(params)
    in_file = {f"{s}.{name}": str(params) for s in file.steps for name in file.steps[s]}
    return merge_steps(file.steps, given), file.pipeline, {**in_file, **origins}


def steps_text() -> str:
    """List of the steps and their parameters."""
    from tso3dask.config import STEPS, Support, parameters_of

    lines = []
    for step, cls in STEPS.items():
        lines.append(f"{step}: {(cls.__doc__ or '').strip()}")
        for name, row in parameters_of(step).items():
            if row.support is Support.NO_EFFECT:
                continue
            status = "" if row.support is Support.FULL else f" [{row.support.value}]"
            lines.append(f"  {name:<26} {row.help} ({row.type_text}; {row.default}){status}")
    return "\n".join(lines)
