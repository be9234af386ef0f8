"""The pipeline class."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, ClassVar

from tso3dask.config import StepParameters, nearest
from tso3dask.drop_in.attributes import UnknownAttributeError, WithParameters, table_of
from tso3dask.drop_in.files import CLASSES
from tso3dask.drop_in.inputs import pipeline_source
from tso3dask.drop_in.step import LOG_OPTIONS, Step, folder_of, refuse_hooks, told
from tso3dask.drop_in.steps import STEP_CLASSES
from tso3dask.errors import InputError
from tso3dask.graph.plan import make_plan
from tso3dask.params import expand_steps, merge_steps, read_parameter_file

__all__ = ["Tso3Pipeline"]

RUN_OPTIONS = ("chunk_integrations", "memory_limit", "workers", "scheduler", "recipe")
"""Attributes of our own: how a run is scheduled, which does not change results, and a recipe."""


class Tso3Pipeline(WithParameters):
    """Stage-3 processing of time series, called as the class of this name in ``jwst``.

    Parameters
    ----------
    name : str, optional
        Name of the object.
    parent : object, optional
        Kept as an attribute.
    config_file : path-like, optional
        Kept as an attribute.
    steps : mapping, optional
        ``{step: {parameter: value}}``.
    **parameters
        Parameters of the pipeline, as ``output_dir``, ``output_file`` (name of the products)
        and ``save_results`` (products are always written), and ``chunk_integrations``,
        ``memory_limit``, ``workers``, ``scheduler`` and ``recipe`` of `tso3dask.run`.

    Examples
    --------
    >>> pipeline = Tso3Pipeline()
    >>> pipeline.output_dir = "products"
    >>> pipeline.outlier_detection.skip = True
    >>> pipeline.run("jw01366-o002_tso3_asn.json")                          # doctest: +SKIP
    """

    class_alias: ClassVar[str] = "calwebb_tso3"
    step_defs: ClassVar[Mapping[str, type[Step]]] = STEP_CLASSES
    prefetch_references: ClassVar[bool] = False
    parameter_table = table_of(StepParameters, "Tso3Pipeline")
    other_attributes = WithParameters.other_attributes | {*RUN_OPTIONS, "prefetch_references"}

    def __init__(
        self,
        name: str | None = None,
        parent: Any = None,
        config_file: str | os.PathLike[str] | None = None,
        *,
        steps: Mapping[str, Mapping[str, Any]] | None = None,
        **parameters: Any,
    ) -> None:
        super().__init__()
        self.name = name or type(self).__name__
        self.parent = parent
        self.config_file = config_file
        for option in RUN_OPTIONS:
            setattr(self, option, parameters.pop(option, None))
        made = {step: cls(step, self) for step, cls in self.step_defs.items()}
        object.__setattr__(self, "_steps", made)
        for parameter, value in parameters.items():
            setattr(self, parameter, value)
        for step, values in expand_steps(steps or {}).items():
            target = self._step(step)
            for parameter, value in values.items():
                if parameter not in ("class", "name"):
                    setattr(target, parameter, value)

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("_") and name in self._steps:
            return self._steps[name]
        return super().__getattr__(name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.step_defs:
            raise InputError(f"{name} is a step; set its parameters, as in pipeline.{name}.skip")
        super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self.step_defs, *RUN_OPTIONS})

    def __repr__(self) -> str:
        given = {**self.explicit_parameters(), "steps": self._explicit_steps()}
        return f"Tso3Pipeline({', '.join(f'{k}={v!r}' for k, v in given.items() if v)})"

    def _unknown(self, name: str) -> UnknownAttributeError:
        owners = [step for step, cls in self.step_defs.items() if name in cls.parameter_table]
        if not owners:
            return super()._unknown(name)
        return UnknownAttributeError(
            f"Tso3Pipeline has no parameter '{name}'; step {owners[0]} has it"
        )

    def _step(self, name: str) -> Step:
        if name not in self._steps:
            known = ", ".join(self._steps)
            raise InputError(f"unknown step '{name}'.{nearest(name, self._steps)} Known: {known}")
        return self._steps[name]

    def _explicit_steps(self) -> dict[str, dict[str, Any]]:
        explicit = {name: step.explicit_parameters() for name, step in self._steps.items()}
        return {name: values for name, values in explicit.items() if values}

    @classmethod
    def call(cls, given: Any, **parameters: Any) -> None:
        """Make the pipeline and run it.

        Parameters
        ----------
        given : path, mapping, data model, or list of paths or data models
            As for `run`.
        **parameters
            Those of the class, ``steps`` among them, and ``config_file``: a parameter file whose
            values they replace. Arguments on logging are accepted and have no effect.

        Raises
        ------
        InputError
            For unknown parameters, or anything that headers and references can tell.
        """
        options = {k: v for k, v in parameters.items() if k not in LOG_OPTIONS}
        config_file = options.pop("config_file", None)
        if config_file is None:
            pipeline = cls(**options)
        else:
            pipeline = cls.from_config_file(config_file, **options)
        pipeline._run(given, crds_parameters=True)

    @classmethod
    def from_config_file(
        cls, config_file: str | os.PathLike[str], **parameters: Any
    ) -> Tso3Pipeline:
        """Make the pipeline with the parameters of a file, which `parameters` replace."""
        file = read_parameter_file(config_file)
        given = expand_steps(parameters.pop("steps", None) or {}, file.path.parent)
        steps = merge_steps(file.steps, given)
        return cls(config_file=config_file, steps=steps, **{**file.pipeline, **parameters})

    def run(self, given: Any) -> None:
        """Process an observation and write its products; earlier ones are replaced.

        Parameter files of CRDS do not count here, other than in `call`.

        Parameters
        ----------
        given : path, mapping, data model, or list of paths or data models
            An association or its content, calints files, or open models, which are not changed.

        Raises
        ------
        InputError
            If the input, a parameter or a reference is not usable.
        RunError
            If processing failed.
        """
        self._run(given)

    def _run(self, given: Any, crds_parameters: bool = False) -> None:
        refuse_hooks(self)
        with pipeline_source(given) as source:
            plan = make_plan(
                source,
                self._explicit_steps(),
                product_name=self.output_file,
                chunk_integrations=self.chunk_integrations,
                memory_limit=self.memory_limit,
                workers=self.workers,
                separate_processes=self.scheduler == "processes",
                crds_parameters=crds_parameters,
                recipe=self.recipe,
            )
            folder = folder_of(self.output_dir)
            told(plan.run(folder, scheduler=self.scheduler, overwrite=True).notes)

    def get_pars(self, full_spec: bool = True) -> dict[str, Any]:
        """Return all parameters, those of the steps under ``steps``.

        What ``jwst`` does not have is left out where it is at its default.

        Parameters
        ----------
        full_spec : bool
            Whether parameters that every step has are wanted too.
        """
        pars = self._own_pars() if full_spec else {}
        known = {name: step for name, step in self._steps.items() if step.is_needed()}
        pars["steps"] = {name: step.get_pars(full_spec) for name, step in known.items()}
        return pars

    def update_pars(self, parameters: Mapping[str, Any]) -> None:
        """Set those of some parameters that the pipeline and its steps have."""
        for name, value in parameters.items():
            if name == "steps":
                for step, values in value.items():
                    self._step(step).update_pars(values)
            elif name in self.parameter_table:
                setattr(self, name, value)

    def _exported(self) -> dict[str, Any]:
        return {
            "class": CLASSES["pipeline"],
            "name": self.name,
            "parameters": self._own_pars(),
            "steps": [step._exported() for step in self._steps.values() if step.is_needed()],
        }
