"""Decorators of compiled kernels: no GIL, no threads, kept on disk where possible.

This module imports numba when it is imported: load it inside functions only.
"""

from __future__ import annotations

import functools
import hashlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import CellType, FunctionType
from typing import Any

import numba

from tso3dask.ops._vector_jit import copy_words

__all__ = ["helper", "jit", "source_digest"]

_INTRINSIC = type(copy_words)


@functools.cache
def source_digest(module: str) -> str:
    """Digest of the source of a module and of all modules whose kernels it calls.

    Parameters
    ----------
    module : str
        Name of a loaded module of compiled kernels.
    """
    loaded = sys.modules[module]
    path = Path(loaded.__file__ or "")
    digest = hashlib.sha256(path.read_bytes() if path.is_file() else b"")
    called = {
        value.py_func.__module__ if hasattr(value, "py_func") else value.__module__
        for value in vars(loaded).values()
        if hasattr(value, "py_func") or isinstance(value, _INTRINSIC)
    }
    for name in sorted(called - {module}):
        digest.update(source_digest(name).encode())
    return digest.hexdigest()


def _stamped(function: FunctionType) -> FunctionType:
    """Copy a function with the digest of its sources in its closure.

    The disk cache of numba looks at the file, the bytecode and the closure of a
    kernel, not at the helpers it was compiled with, which may live in another
    file. The value is there for the cache alone, the code does not use it.
    """
    code = function.__code__
    code = code.replace(co_freevars=(*code.co_freevars, "__sources__"))
    closure = (*(function.__closure__ or ()), CellType(source_digest(function.__module__)))
    copy = FunctionType(
        code, function.__globals__, function.__name__, function.__defaults__, closure
    )
    functools.update_wrapper(copy, function)
    return copy


def helper(function: Callable[..., Any] | None = None, **options: Any) -> Any:
    """Compile a function that only compiled kernels call.

    It cannot be called from Python: what that needs takes a quarter of the time of compiling.

    Parameters
    ----------
    function : callable, optional
        The Python function; absent when the decorator is used with options.
    **options
        Further options of `numba.njit`.
    """
    if function is None:
        return lambda f: helper(f, **options)
    return _compiler(function, no_cpython_wrapper=True, no_cfunc_wrapper=True, **options)


def _compiler(function: Callable[..., Any], **options: Any) -> Any:
    compiler: Any = numba.njit
    return compiler(function, **({"nogil": True, "error_model": "numpy"} | options))


def jit(function: Callable[..., Any] | None = None, **options: Any) -> Any:
    """Compile a kernel, cached on disk where a cache can be written.

    Parameters
    ----------
    function : callable, optional
        The Python function; absent when the decorator is used with options. All
        helpers that it calls must be imported before.
    **options
        Further options of `numba.njit`.
    """
    if function is None:
        return lambda f: jit(f, **options)
    assert isinstance(function, FunctionType)
    try:
        return _compiler(_stamped(function), cache=True, **options)
    except (RuntimeError, OSError):  # neither the package nor the home folder can be written
        return _compiler(function, **options)
