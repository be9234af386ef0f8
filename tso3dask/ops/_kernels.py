"""Compiled kernels by name: made on first use, kept in memory and, where possible, on disk.

Importing this module does not import numba.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tso3dask.ops import median_network
from tso3dask.ops.median_network import OUTPUTS

__all__ = ["MAX_NETWORK_WIDTH", "PITCH", "PLANE", "TAIL", "TILE", "kernel", "scratch_words"]

TILE = 1024
"""Pixels in a tile."""

PITCH = TILE + 16
"""Words from row to row of a tile kept in scratch."""

TAIL = 16
"""Words kept for each array when a tile's last pixels do not fill a vector."""

PLANE = 128
"""Neighbouring pixels that are sorted side by side; a multiple of the lanes of a vector."""

MAX_NETWORK_WIDTH = 255
"""Widest window given to a median network; a wider one takes several seconds to compile."""

_ready: dict[tuple[str | int, ...], Callable[..., None]] = {}
_lock = threading.Lock()


def scratch_words(width: int) -> int:
    """Return the words of scratch that a kernel needs: ring and medians of a window, and tails."""
    outputs = OUTPUTS
    groups = -(-(width + outputs - 1) // outputs)
    return (groups * outputs + 2 * outputs) * PITCH + 16 * TAIL


def kernel(name: str, *constants: int) -> Callable[..., None]:
    """Return the compiled kernel of that name for these compile-time constants.

    Parameters
    ----------
    name : str
        ``rolling`` (constants: width, outputs, fused, stored), ``scaled`` (width, outputs,
        networked), ``rows`` (mode, stored), ``wide`` or ``image``.
    *constants : int
        Values that the code is generated for.

    Returns
    -------
    callable
        Releases the GIL, starts no threads, and checks no argument.
    """
    key: tuple[str | int, ...] = (name, *constants)
    if key not in _ready:
        with _lock:
            if key not in _ready:
                _ready[key] = _compile(*_maker(name)(_stamp(), *constants))
    return _ready[key]


def _maker(name: str) -> Callable[..., tuple[Callable[..., None], str]]:
    from tso3dask.ops import _outlier_jit, _scaled_jit, _time_median_jit

    makers: dict[str, Callable[..., tuple[Callable[..., None], str]]] = {
        "rolling": _outlier_jit.make_rolling,
        "rows": _outlier_jit.make_rows,
        "scaled": _scaled_jit.make_scaled,
        "wide": _time_median_jit.make_wide,
        "image": _time_median_jit.make_image,
    }
    return makers[name]


def _stamp() -> int:
    """Return a number that changes with the sources that kernels are made from.

    Numba's disk cache notices a change of the file and the closure of a kernel, not one of the
    helpers it calls or of generated code; so every kernel has this number in its closure.
    """
    from tso3dask.ops import _outlier_jit, _scaled_jit, _time_median_jit, _vector_jit

    digest = hashlib.sha256(str(_vector_jit.LANES).encode())
    for module in (_outlier_jit, _scaled_jit, _time_median_jit, _vector_jit, median_network):
        if module.__file__ is not None and Path(module.__file__).is_file():
            digest.update(Path(module.__file__).read_bytes())
    digest.update(Path(__file__).read_bytes() if Path(__file__).is_file() else b"")
    return int.from_bytes(digest.digest()[:7], "little")


def _compile(function: Callable[..., None], signature: str) -> Callable[..., None]:
    """Compile, with a disk cache if there is a place where one can be written."""
    import numba

    compiled: Any
    try:
        compiled = numba.njit(signature, nogil=True, cache=True)(function)
    except (RuntimeError, OSError):
        compiled = numba.njit(signature, nogil=True)(function)
    return compiled
