"""Turn what a user wrote for a parameter, text or Python value, into the type it must have."""

from __future__ import annotations

import math
import numbers
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from importlib import import_module
from pathlib import Path
from typing import Any

from tso3dask.errors import InputError

__all__ = ["NOT_APPLICABLE", "Parameter", "Support", "hook_name", "parse_value", "whole_number"]

NOT_APPLICABLE = "N/A"

_TRUE = frozenset({"true", "on", "yes", "1"})
_FALSE = frozenset({"false", "off", "no", "0"})


def whole_number(name: str, value: Any, low: int = 1) -> int:
    """Return an argument that has to be a whole number.

    Parameters
    ----------
    name : str
        The argument, as the error calls it.
    value : object
        What was given; numpy's integers are taken, booleans are not.
    low : int
        Least that is allowed.

    Raises
    ------
    InputError
        If it is none, or below `low`.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < low:
        raise InputError(f"{name} must be a whole number of at least {low}, got {value!r}")
    return int(value)


class Support(Enum):
    """What this version does with a parameter."""

    FULL = "supported"
    NO_EFFECT = "no effect on time series"
    SOSS = "no effect outside NIRISS SOSS"
    NOT_YET = "not supported yet"


@dataclass(frozen=True)
class Parameter:
    """One parameter of one step: its name, type, default, bounds, support and a help sentence.

    ``kind`` is one of boolean, integer, float, string, option, numbers, hooks, reference, file.
    ``size`` bounds the length of a ``numbers`` value. ``optional`` says that None is a value though
    it is not the default. ``added`` and ``added_choices`` are what ``jwst`` does not know.
    """

    step: str
    name: str
    kind: str
    default: Any
    help: str
    support: Support = Support.FULL
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    size: tuple[int, int] = (1, 2)
    optional: bool = False
    added: bool = False
    added_choices: tuple[str, ...] = ()

    @property
    def all_choices(self) -> tuple[str, ...]:
        """Values of an option: those of ``jwst`` and our own."""
        return self.choices + self.added_choices

    @property
    def full_name(self) -> str:
        """``step.name``, as errors and the command line write it."""
        return f"{self.step}.{self.name}"

    @property
    def type_text(self) -> str:
        """The type in words, for help and errors."""
        if self.kind == "option":
            text = "one of " + ", ".join(self.all_choices)
        elif self.kind == "numbers":
            low, high = self.size
            text = f"{low} numbers" if low == high else f"{low} to {high} numbers"
        else:
            text = {
                "boolean": "True or False",
                "integer": "an integer",
                "float": "a number",
                "string": "text",
                "hooks": "functions or their dotted names",
                "reference": "a file path or N/A",
                "file": "a file path",
            }[self.kind]
        if self.minimum is not None:
            text += f" >= {self.minimum:g}"
        return text + (", or None" if self.default is None or self.optional else "")


def parse_value(parameter: Parameter, raw: Any) -> Any:
    """Return `raw` as the value that `parameter` takes.

    Text is read as on a command line or in a parameter file: ``True``, ``None``, numbers, lists
    separated by commas or blanks, with or without quotes around the whole. Python values keep
    their meaning. Numbers of NumPy count as numbers.

    Raises
    ------
    InputError
        If the value has another type, is not among the choices or is below the minimum.
    """
    value = _unquote(raw) if isinstance(raw, str) else raw
    optional = parameter.support is Support.NO_EFFECT or parameter.kind == "file"
    if optional and parameter.default is None and value == "":
        return None
    if value is None or (isinstance(value, str) and value.strip() == "None"):
        if parameter.default is None or parameter.optional:
            return None
        if parameter.support is Support.NO_EFFECT:
            return None
        raise _wrong(parameter, raw)
    try:
        result = _PARSERS[parameter.kind](parameter, value)
    except InputError:
        raise
    except (TypeError, ValueError):
        raise _wrong(parameter, raw) from None
    if parameter.minimum is not None and result < parameter.minimum:
        raise _wrong(parameter, raw)
    return result


def _wrong(parameter: Parameter, raw: Any) -> InputError:
    return InputError(f"{parameter.full_name}: expected {parameter.type_text}, got {raw!r}")


def _unquote(text: str) -> str:
    stripped = text.strip()
    if len(stripped) >= 2 and stripped[0] == stripped[-1] and stripped[0] in "'\"":
        return stripped[1:-1]
    return text


def _boolean(_: Parameter, value: Any) -> bool:
    if isinstance(value, str):
        word = value.strip().lower()
        if word in _TRUE | _FALSE:
            return word in _TRUE
        raise ValueError
    if isinstance(value, bool) or type(value).__name__ in {"bool", "bool_"} or value in (0, 1):
        return bool(value)
    raise ValueError


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (str, numbers.Real)):
        raise TypeError
    number = float(value)
    if math.isnan(number):
        raise ValueError
    return number


def _float(_: Parameter, value: Any) -> float:
    """Read a number; a Python integer stays one, as tables that quote it should show it."""
    number = _number(value)
    return value if type(value) is int else number


def _integer(_: Parameter, value: Any) -> int:
    if isinstance(value, bool):
        raise TypeError
    if isinstance(value, str):
        return int(value)
    if isinstance(value, numbers.Real) and float(value).is_integer():
        return int(float(value))
    raise TypeError


def _string(_: Parameter, value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, numbers.Real)):
        raise TypeError
    return value if isinstance(value, str) else str(value)


def _option(parameter: Parameter, value: Any) -> str:
    if not isinstance(value, str) or value.strip() not in parameter.all_choices:
        raise ValueError
    return value.strip()


def _items(value: Any) -> list[Any]:
    if isinstance(value, str):
        return value.strip("[]() ").replace(",", " ").split()
    if isinstance(value, numbers.Real):
        return [value]
    if isinstance(value, Sequence) or hasattr(value, "tolist"):
        return list(value)
    raise TypeError


def _numbers(parameter: Parameter, value: Any) -> str:
    parts = _items(value)
    low, high = parameter.size
    if not low <= len(parts) <= high:
        raise ValueError
    for part in parts:
        if not math.isfinite(_number(part)):
            raise ValueError
    return " ".join(str(part) for part in parts)


def _hooks(parameter: Parameter, value: Any) -> tuple[Callable[..., Any], ...]:
    given = [value] if callable(value) else _items(value)
    return tuple(_hook(parameter, item) for item in given)


def _hook(parameter: Parameter, item: Any) -> Callable[..., Any]:
    """Return a function, imported if it is named ``package.module.function``."""
    if isinstance(item, str):
        item = _imported(parameter, item.strip().strip("'\""))
    if not callable(item):
        raise TypeError
    return item


def _imported(parameter: Parameter, name: str) -> Any:
    module, _, attribute = name.rpartition(".")
    if not module or not all(part.isidentifier() for part in name.split(".")):
        raise InputError(
            f"{parameter.full_name}: {name!r} is not the dotted name of a function, as "
            "package.module.function"
        )
    try:
        found = getattr(import_module(module), attribute)
    except AttributeError:
        raise InputError(f"{parameter.full_name}: {module} has no {attribute!r}") from None
    except Exception as error:  # whatever the module does when it is imported
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(
            f"{parameter.full_name}: {module} cannot be imported ({reason})"
        ) from error
    if not callable(found):
        raise InputError(f"{parameter.full_name}: {name} is not a function")
    return found


def hook_name(hook: Any) -> str:
    """Return what a hook is called in records: module and name of the function."""
    hook = getattr(hook, "func", hook)  # a partial function
    name = getattr(hook, "__qualname__", type(hook).__qualname__)
    return f"{getattr(hook, '__module__', type(hook).__module__)}.{name}"


def _path_text(value: Any) -> str:
    if not isinstance(value, (str, os.PathLike)):
        raise TypeError
    text = os.fspath(value)
    if not isinstance(text, str) or not text.strip() or "\0" in text:
        raise ValueError
    return text.strip()


def _file(_: Parameter, value: Any) -> str:
    text = os.path.expandvars(_path_text(value))
    return os.path.normpath(Path(text).expanduser().absolute())


def _reference(parameter: Parameter, value: Any) -> str:
    text = _path_text(value)
    if text.upper() == NOT_APPLICABLE:
        return NOT_APPLICABLE
    return _file(parameter, text)


_PARSERS: dict[str, Callable[[Parameter, Any], Any]] = {
    "boolean": _boolean,
    "integer": _integer,
    "float": _float,
    "string": _string,
    "option": _option,
    "numbers": _numbers,
    "hooks": _hooks,
    "reference": _reference,
    "file": _file,
}
