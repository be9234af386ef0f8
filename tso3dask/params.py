"""Parameter files: JSON, YAML and the ASDF files of ``strun``, merged below the command line."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tso3dask.config import NOT_APPLICABLE, STEPS, nearest, parameters_of
from tso3dask.errors import InputError

__all__ = ["ParameterFile", "expand_steps", "merge_steps", "read_parameter_file", "refuse_hooks"]

_PIPELINE_DEFAULTS: dict[str, Any] = {
    "pre_hooks": [],
    "post_hooks": [],
}
_PIPELINE_NAMES = ("output_dir", "output_file")
_PIPELINE_IGNORED = frozenset(
    {
        "save_results",
        "skip",
        "output_ext",
        "output_use_model",
        "output_use_index",
        "search_output_file",
        "suffix",
        "input_dir",
        "class",
        "name",
    }
)
_CLASS_STEP = {cls.class_name: step for step, cls in STEPS.items()}


@dataclass(frozen=True)
class ParameterFile:
    """What a parameter file says.

    Attributes
    ----------
    path : Path
        The file.
    steps : dict
        ``{step: {parameter: value}}``, with reference paths made absolute.
    pipeline : dict
        ``output_dir`` and ``output_file`` of the pipeline, if the file names them.
    """

    path: Path
    steps: dict[str, dict[str, Any]] = field(default_factory=dict)
    pipeline: dict[str, str] = field(default_factory=dict)

    @property
    def output_dir(self) -> str | None:
        """Output folder, if the file names one."""
        return self.pipeline.get("output_dir")


def read_parameter_file(path: str | os.PathLike[str]) -> ParameterFile:
    """Read a parameter file.

    Accepted are a dictionary of steps, the same under ``steps`` beside parameters of the pipeline,
    and the layout that ``strun --save-parameters`` writes (``class``, ``name``, ``parameters``,
    ``steps``), of the pipeline or of one step; each in JSON, YAML or ASDF. A relative reference
    path is looked up in the working directory, then in the folder of the file.

    Raises
    ------
    InputError
        If the file is missing or not of such a form, if a reference path leads to no file, or to
        two different ones.
    """
    path = Path(path)
    tree = _load(path)
    if not isinstance(tree, Mapping):
        raise InputError(f"{path}: expected a dictionary of steps, got {type(tree).__name__}")
    steps, pipeline = _split(tree, path)
    refuse_hooks(steps, path)
    steps = expand_steps(steps, path.parent, origin=str(path))
    return ParameterFile(path, steps, _pipeline_parameters(pipeline, path))


def refuse_hooks(steps: Mapping[str, Any], origin: str | Path) -> None:
    """Refuse code that a file names: it comes from the command line or from Python alone.

    Parameters
    ----------
    steps : mapping
        ``{step: {parameter: value}}``.
    origin : str or Path
        What the error calls the file.

    Raises
    ------
    InputError
        If a step has hooks.
    """
    for step, values in steps.items():
        for name in ("pre_hooks", "post_hooks"):
            if isinstance(values, Mapping) and values.get(name) not in (None, "", [], (), "[]"):
                raise InputError(
                    f"{origin}: {step}.{name}: hooks are not taken from files; give them on the "
                    f"command line (--steps.{step}.{name}=module.function) or in Python"
                )


def merge_steps(*layers: Mapping[str, Mapping[str, Any]] | None) -> dict[str, dict[str, Any]]:
    """Merge dictionaries of steps; what comes later wins, parameter by parameter."""
    merged: dict[str, dict[str, Any]] = {}
    for layer in layers:
        for step, values in (layer or {}).items():
            merged.setdefault(step, {}).update(values or {})
    return merged


def expand_steps(
    steps: Mapping[str, Any], folder: Path | None = None, origin: str = "steps"
) -> dict[str, dict[str, Any]]:
    """Resolve reference paths and read a step's ``config_file``, whose values the others replace.

    Parameters
    ----------
    steps : mapping
        ``{step: {parameter: value}}``.
    folder : Path, optional
        Second folder in which relative paths are looked up, after the working directory.
    origin : str
        What errors call the source of the dictionary.
    """
    expanded: dict[str, dict[str, Any]] = {}
    for step, values in steps.items():
        if values is not None and not isinstance(values, Mapping):
            raise InputError(f"{origin}: step '{step}': expected a dictionary, got {values!r}")
        own = {
            name: _resolved(name, value, folder, f"{origin}: {step}.{name}")
            for name, value in (values or {}).items()
        }
        config_file = own.pop("config_file", None)
        if config_file is not None:
            own = {**_step_file(config_file, step), **own}
        expanded[str(step)] = own
    return expanded


def _step_file(path: str, step: str) -> dict[str, Any]:
    """Return the parameters of one step from its own parameter file."""
    file = Path(path)
    tree = _load(file)
    steps = _split(tree, file)[0] if isinstance(tree, Mapping) else {}
    own = steps.get(step)
    if not isinstance(own, Mapping):
        raise InputError(f"{path}: holds no parameters of step '{step}'")
    if "config_file" in own:
        raise InputError(f"{path}: a config_file may not name another one")
    refuse_hooks({step: own}, file)
    return expand_steps({step: own}, file.parent, origin=str(file))[step]


def _resolved(name: str, value: Any, folder: Path | None, where: str) -> Any:
    """Return `value`, as an absolute path if it is a relative file name."""
    if not isinstance(value, str) or not value.strip():
        return value
    text = value.strip()
    if name in ("soss_wave_grid_in", "soss_estimate"):
        base = folder or Path()
        return os.path.normpath((base / Path(text).expanduser()).absolute())
    if not name.startswith("override_") and name != "config_file":
        return value
    if text.upper() == NOT_APPLICABLE or text == "None":
        return value
    given = Path(text).expanduser()
    places = [given.absolute()]
    if not given.is_absolute() and folder is not None:
        places.append((folder / given).absolute())
    found = [p for p in places if p.is_file()]
    if not found:
        looked = " and ".join(str(p.parent) for p in dict.fromkeys(places))
        raise InputError(f"{where}: no file '{text}' (looked in {looked})")
    if len(found) == 2 and not found[0].samefile(found[1]):
        raise InputError(
            f"{where}: '{text}' is in the working directory and beside the parameter file, and "
            f"the two differ ({found[0]}, {found[1]}); give an absolute path"
        )
    return os.path.normpath(found[0])


def _split(tree: Mapping[str, Any], path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split a tree of any accepted form into its steps and the pipeline's own parameters."""
    if "class" in tree:
        return _split_exported(tree, path)
    if "steps" in tree and "steps" not in STEPS:
        steps = tree["steps"] or {}
        if not isinstance(steps, Mapping):
            raise InputError(f"{path}: 'steps': expected a dictionary, got {type(steps).__name__}")
        return dict(steps), {k: v for k, v in tree.items() if k != "steps"}
    return dict(tree), {}


def _split_exported(tree: Mapping[str, Any], path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split a tree with ``class``, ``name``, ``parameters`` and, for a pipeline, ``steps``."""
    class_name = str(tree["class"]).rpartition(".")[2]
    parameters = dict(tree.get("parameters") or {})
    if class_name in _CLASS_STEP:
        return {_CLASS_STEP[class_name]: parameters}, {}
    if class_name != "Tso3Pipeline":
        raise InputError(
            f"{path}: parameters of {class_name}, expected Tso3Pipeline or one of its steps"
        )
    listed = tree.get("steps") or parameters.pop("steps", None) or []
    if isinstance(listed, Mapping):
        return dict(listed), parameters
    steps: dict[str, Any] = {}
    for entry in listed:
        if not isinstance(entry, Mapping) or not {"name", "class"} & set(entry):
            raise InputError(f"{path}: an entry of 'steps' has neither a name nor a class")
        name = str(entry.get("name"))
        if name not in STEPS:
            name = _CLASS_STEP.get(str(entry.get("class")).rpartition(".")[2], name)
        steps[name] = dict(entry.get("parameters") or {})
    return steps, parameters


def _pipeline_parameters(parameters: Mapping[str, Any], path: Path) -> dict[str, str]:
    """Check the pipeline's own parameters; return those that have an effect."""
    for name, value in parameters.items():
        if name in _PIPELINE_NAMES or name in _PIPELINE_IGNORED:
            continue
        if name not in _PIPELINE_DEFAULTS:
            known = [*STEPS, *_PIPELINE_DEFAULTS, *_PIPELINE_NAMES]
            owner = next((s for s in STEPS if name in parameters_of(s)), None)
            hint = f" It belongs to step '{owner}'." if owner else nearest(str(name), known)
            raise InputError(f"{path}: the pipeline has no parameter '{name}'.{hint}")
        default = _PIPELINE_DEFAULTS[name]
        if value != default and not (not value and not default):
            raise InputError(f"{path}: {name}={value!r} for the pipeline is not supported yet")
    return {name: str(parameters[name]) for name in _PIPELINE_NAMES if parameters.get(name)}


def _load(path: Path) -> Any:
    """Return the tree of a JSON, YAML or ASDF file, told by its name, else by its beginning."""
    if not path.is_file():
        raise InputError(f"{path}: no such parameter file")
    with path.open("rb") as file:
        beginning = file.read(5)
    suffix = path.suffix.lower()
    if suffix in (".cfg", ".ini"):
        raise InputError(f"{path}: old ConfigObj files are not read; save it as JSON, YAML or ASDF")
    if suffix == ".asdf" or beginning == b"#ASDF":
        return _load_asdf(path)
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise InputError(f"{path}: not a text file in JSON or YAML") from None
    if suffix == ".json" or (suffix not in (".yaml", ".yml") and text.lstrip().startswith("{")):
        return _load_json(path, text)
    return _load_yaml(path, text)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"'{twice}' is given twice")
    return out


def _load_json(path: Path, text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        raise InputError(
            f"{path}: not valid JSON: {error.msg} at line {error.lineno} column {error.colno}"
        ) from None
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _load_yaml(path: Path, text: str) -> Any:
    import yaml

    try:
        tree = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    return {} if tree is None else tree


def _load_asdf(path: Path) -> Any:
    import asdf

    try:
        with asdf.open(path, lazy_load=True, memmap=False) as file:
            return {k: v for k, v in file.tree.items() if k not in ("asdf_library", "history")}
    except Exception as error:  # the library raises many kinds for a damaged file
        raise InputError(f"{path}: not readable as ASDF: {' '.join(str(error).split())}") from None
