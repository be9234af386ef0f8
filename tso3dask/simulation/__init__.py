"""Synthetic JWST time-series observations, with the truth that went into them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .modes import MODES

__all__ = ["MODES", "Observation", "simulate"]

if TYPE_CHECKING:
    from .observation import Observation, simulate


def __getattr__(name: str) -> Any:
    """Import the working part when it is first used, so that a command line starts quickly."""
    if name in ("Observation", "simulate"):
        from . import observation

        return getattr(observation, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
