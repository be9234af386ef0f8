"""Parameters as attributes of an object, checked when they are set."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Any, ClassVar

from tso3dask.config import Parameter, StepParameters, nearest
from tso3dask.drop_in.files import write_parameter_file
from tso3dask.errors import InputError
from tso3dask.values import parse_value

__all__ = ["PLACES", "UnknownAttributeError", "WithParameters", "table_of"]

PLACES = ("output_file", "output_dir", "input_dir")
"""Parameters that name files and folders, kept as they were written."""


class UnknownAttributeError(InputError, AttributeError):
    """An attribute that the class does not have was read or set."""


def table_of(
    cls: type[StepParameters], owner: str, defaults: Mapping[str, Any] | None = None
) -> dict[str, Parameter]:
    """Return the parameters of a dataclass of the step table by name.

    Parameters
    ----------
    cls : type
        A step's dataclass, or their common base for the parameters of a pipeline.
    owner : str
        Name of the step or pipeline in errors.
    defaults : mapping, optional
        Defaults that differ from those in the table.
    """
    return {
        f.name: Parameter(
            step=owner,
            name=f.name,
            default=(defaults or {}).get(f.name, f.default),
            **{k: v for k, v in f.metadata.items() if k != "only"},
        )
        for f in dataclasses.fields(cls)
    }


class WithParameters:
    """Base of objects with parameters as attributes.

    A value is checked when it is set, and an unknown name is an error that says which known one
    is nearest.
    """

    parameter_table: ClassVar[Mapping[str, Parameter]] = {}
    other_attributes: ClassVar[frozenset[str]] = frozenset({"name", "parent", "config_file"})

    def __init__(self) -> None:
        object.__setattr__(self, "_set", {})

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        if name in self.parameter_table:
            return self._set.get(name, self.parameter_table[name].default)
        raise self._unknown(name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.parameter_table:
            self._set[name] = _checked(self.parameter_table[name], value)
        elif name.startswith("_") or name in self.other_attributes:
            object.__setattr__(self, name, value)
        else:
            raise self._unknown(name)

    def __delattr__(self, name: str) -> None:
        if self._set.pop(name, None) is None:
            object.__delattr__(self, name)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self.parameter_table})

    def _unknown(self, name: str) -> UnknownAttributeError:
        known = [n for n in dir(self) if not n.startswith("_")]
        owner = type(self).__name__
        return UnknownAttributeError(f"{owner} has no parameter '{name}'.{nearest(name, known)}")

    def explicit_parameters(self) -> dict[str, Any]:
        """Return the parameters that were set, default or not."""
        return dict(self._set)

    def export_config(
        self, filename: str | os.PathLike[str], include_metadata: bool = False
    ) -> None:
        """Write all parameters to a file that ``config_file`` and ``strun`` take.

        Parameters
        ----------
        filename : path-like
            The ASDF file to write.
        include_metadata : bool
            Add the fields that a reference file must have.
        """
        write_parameter_file(filename, self._exported(), include_metadata)

    def _exported(self) -> dict[str, Any]:
        """Content of the parameter file."""
        raise NotImplementedError

    def _own_pars(self) -> dict[str, Any]:
        """All parameters but overrides, in the order of the table.

        Those that ``jwst`` does not have are there if they are not at their default.
        """
        values = {
            name: getattr(self, name)
            for name, row in self.parameter_table.items()
            if not _is_override(name) and not (row.added and getattr(self, name) == row.default)
        }
        values["input_dir"] = values["input_dir"] or ""
        return {n: list(v) if isinstance(v, tuple) else v for n, v in values.items()}

    def _overrides(self) -> dict[str, Any]:
        return {n: v for n, v in self._set.items() if _is_override(n) and v is not None}


def _is_override(name: str) -> bool:
    return name.startswith("override_")


def _checked(parameter: Parameter, value: Any) -> Any:
    if parameter.name in PLACES:
        if value is None or isinstance(value, (str, os.PathLike)):
            return None if value is None else os.fspath(value)
        raise InputError(f"{parameter.full_name}: expected {parameter.type_text}, got {value!r}")
    return parse_value(parameter, value)
