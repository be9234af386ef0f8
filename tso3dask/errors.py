"""The errors that tso3dask raises on purpose, and what each means to a caller."""

from __future__ import annotations

__all__ = ["GuardError", "InputError", "NotYetError", "RunError", "Tso3Error"]


class Tso3Error(Exception):
    """Base of all errors raised on purpose; its text is one line for a person to read."""

    exit_status = 1


class InputError(Tso3Error, ValueError):
    """Bad usage or bad input, found before any pixel was read and with nothing written."""

    exit_status = 2


class RunError(Tso3Error, RuntimeError):
    """Something failed while pixels were being processed."""

    exit_status = 1


class GuardError(RunError):
    """A limit that the user set was passed; the same command would end in the same way."""


class NotYetError(RunError):
    """A mode or parameter of the field's pipeline that is known here but not supported yet."""
