"""What all step classes share: parameters, where results are saved and under what name."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any, ClassVar

from tso3dask.config import STEPS, StepParameters, hook_name
from tso3dask.drop_in.attributes import WithParameters, table_of
from tso3dask.drop_in.files import CLASSES, read_step_file
from tso3dask.drop_in.inputs import is_model, metadata_of
from tso3dask.errors import InputError, NotYetError
from tso3dask.io.naming import product_file

__all__ = ["LOG_OPTIONS", "Step", "folder_of", "refuse_hooks", "told"]

LOG_OPTIONS = frozenset({"configure_log", "logcfg", "log_level"})
"""Arguments of ``call`` that are accepted and have no effect."""

SAVING = frozenset(
    {
        *("skip", "save_results", "output_file", "output_dir", "output_ext", "output_use_model"),
        *("output_use_index", "search_output_file", "suffix", "input_dir"),
    }
)
"""Parameters that say what becomes of the results, not how they are made."""

log = logging.getLogger("tso3dask")


class Step(WithParameters):
    """One step, alone or as a part of `Tso3Pipeline`.

    Parameters
    ----------
    name : str, optional
        Name of the object, which is the suffix of what it saves.
    parent : Tso3Pipeline, optional
        The pipeline that it belongs to.
    config_file : path-like, optional
        Kept as an attribute.
    **parameters
        Parameters of the step.
    """

    step: ClassVar[str] = ""
    class_alias: ClassVar[str] = ""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if cls.step:
            cls.class_alias = cls.step
            cls.parameter_table = table_of(STEPS[cls.step], cls.step)

    def __init__(
        self,
        name: str | None = None,
        parent: Any = None,
        config_file: str | os.PathLike[str] | None = None,
        **parameters: Any,
    ) -> None:
        super().__init__()
        self.name = name or type(self).__name__
        self.parent = parent
        self.config_file = config_file
        for parameter, value in parameters.items():
            setattr(self, parameter, value)

    def __repr__(self) -> str:
        given = ", ".join(f"{k}={v!r}" for k, v in self.explicit_parameters().items())
        return f"{type(self).__name__}({given})"

    @classmethod
    def call(cls, given: Any, **parameters: Any) -> Any:
        """Make the step and run it, on parameters of CRDS where the user gives none.

        Parameters
        ----------
        given : path or data model
            A file or an open model.
        **parameters
            Parameters of the step; ``config_file``, a parameter file whose values they replace;
            ``name``. Arguments on logging are accepted and have no effect.

        Returns
        -------
        data model or QTable
            As `run`.
        """
        options = {k: v for k, v in parameters.items() if k not in LOG_OPTIONS}
        made = cls._configured(**options)
        made._take_crds_parameters(given)
        return made.run(given)

    def _take_crds_parameters(self, given: Any) -> None:
        """Set what the parameter file of CRDS says and the user does not."""
        from tso3dask.io.crds_client import is_configured
        from tso3dask.io.crds_parameters import crds_steps

        if not is_configured():
            return
        found = crds_steps(metadata_of(given, self.input_dir), self.step)
        told(found.notes)
        mine = self.explicit_parameters()
        for parameter, value in found.steps.get(self.step, {}).items():
            if parameter not in mine:
                setattr(self, parameter, value)

    @classmethod
    def from_config_file(
        cls, config_file: str | os.PathLike[str], parent: Any = None, name: str | None = None
    ) -> Step:
        """Make the step with the parameters of a file."""
        return cls(name, parent, config_file, **read_step_file(config_file, cls.step))

    @classmethod
    def _configured(
        cls,
        config_file: str | os.PathLike[str] | None = None,
        name: str | None = None,
        **parameters: Any,
    ) -> Step:
        from_file = {} if config_file is None else read_step_file(config_file, cls.step)
        return cls(name, None, config_file, **{**from_file, **parameters})

    def run(self, given: Any) -> Any:
        """Run the step on one file or open model, whether ``skip`` is set or not.

        Parameters
        ----------
        given : path or data model
            A model is not changed.

        Returns
        -------
        data model or QTable
            What the step of this name in ``jwst`` returns. Nothing of it is on disk unless
            ``save_results`` or ``output_file`` is set.

        Raises
        ------
        InputError
            If the input or a parameter is not usable.
        """
        if self.output_file is not None:
            self.save_results = True
        if self.output_dir:
            folder_of(self.output_dir).mkdir(parents=True, exist_ok=True)
        result = self._process(given)
        if self.save_results and is_model(result):
            result.save(str(self._output_path(given, result)))
        return result

    def _process(self, given: Any) -> Any:
        raise NotImplementedError

    def _output_path(self, given: Any, result: Any = None) -> Path:
        """Where a result is saved."""
        named: str | None = self.output_file
        if result is not None and (
            self.output_use_model or (named is None and not self.search_output_file)
        ):
            named = result.meta.filename
        if named is None and self.search_output_file:
            named = self.output_file
        if named is None:
            named = given.meta.filename if is_model(given) else os.fspath(given)
        named = named or f"step_{self.name}{self.output_ext}"
        suffix = self.suffix or self.name.lower()
        name = product_file(named, suffix, self.output_ext.removeprefix("."))
        return folder_of(self.output_dir) / name

    def _making(self) -> dict[str, Any]:
        """Parameters that were set and say how the result is made."""
        return {k: v for k, v in self.explicit_parameters().items() if k not in SAVING}

    def get_pars(self, full_spec: bool = True) -> dict[str, Any]:
        """Return all parameters and their values.

        Parameters
        ----------
        full_spec : bool
            Whether parameters that every step has are wanted too.
        """
        pars = self._own_pars()
        if full_spec:
            return pars
        common = table_of(StepParameters, "")
        special = {
            name
            for name, parameter in self.parameter_table.items()
            if name not in common or parameter.default != common[name].default
        }
        return {name: value for name, value in pars.items() if name in special}

    def update_pars(self, parameters: dict[str, Any]) -> None:
        """Set those of some parameters that the step has."""
        for name, value in parameters.items():
            if name in self.parameter_table:
                setattr(self, name, value)

    def is_needed(self) -> bool:
        """Whether a parameter file needs the step: ``jwst`` has it, or something is changed."""
        table = self.parameter_table
        changed = any(value != table[name].default for name, value in self._set.items())
        return changed or not STEPS[self.step].added

    def _exported(self) -> dict[str, Any]:
        return {
            "class": CLASSES[self.step],
            "name": self.name,
            "parameters": _with_names(self.get_pars()) | self._overrides(),
        }


def _with_names(pars: dict[str, Any]) -> dict[str, Any]:
    """Parameters with the names of hooks in place of functions, for files."""
    hooks = ("pre_hooks", "post_hooks")
    return {k: [hook_name(h) for h in v] if k in hooks else v for k, v in pars.items()}


def folder_of(text: str | None) -> Path:
    """Return an output folder, with variables and ``~`` filled in."""
    return Path(os.path.expandvars(text or ".")).expanduser()


def refuse_hooks(owner: WithParameters) -> None:
    """Refuse hooks where they would have no effect."""
    for name in ("pre_hooks", "post_hooks"):
        if getattr(owner, name):
            raise NotYetError(
                f"{type(owner).__name__} takes no {name}; give them to a pipeline's step"
            )


def told(notes: Any) -> None:
    """Send notes of a run to the log."""
    for note in notes:
        log.warning("%s", note)


def single_kind(kind: str, wanted: str, path: Path, step: str) -> None:
    """Refuse data that a step is not for."""
    if kind != wanted:
        raise InputError(f"{path}: is {kind} data, but {step} is for {wanted}")
