"""Synthetic JWST time-series observations, with the truth that went into them."""

from __future__ import annotations

from .modes import MODES
from .observation import Observation, simulate

__all__ = ["MODES", "Observation", "simulate"]
