"""What a user should know of errors and weights of the white light."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .curves import Weights
from .whitelight import WhiteLight

__all__ = ["error_notes"]

FEW = 0.5
"""Share of the summed columns with errors below which the error of the sum is too small."""

_NO_ERRORS = "the variances of their pixels are 0 or NaN (replaced ones aside)"


def error_notes(
    white: WhiteLight,
    weights: Mapping[Any, Weights],
    counts: Mapping[Any, NDArray[np.int64]],
) -> list[str]:
    """Say why weighted white light is NaN everywhere, and which errors mean little.

    Parameters
    ----------
    white : WhiteLight
        Columns of the table.
    weights : mapping
        Weights by detector and order.
    counts : mapping
        By detector and order, of the columns in all spectra: those with an error above 0 and
        all that are summed.
    """
    notes = []
    for (series, *rest), name in white.names.items():
        key = tuple(rest)
        empty = np.isnan(white.columns[name]).all()
        if series == "flux_error" and key in counts:
            notes += _few_errors(name, *(int(n) for n in counts[key]))
        plain = white.names.get(("flux_sum", *key))
        if series != "weighted" or not empty or plain is None or key not in weights:
            continue
        if not np.isnan(white.columns[plain]).all():
            notes.append(f"{name} is NaN everywhere: {_no_weights(weights[key])}")
    return notes


def _no_weights(weights: Weights) -> str:
    """Say why no column has a weight."""
    if weights.level > 0:
        return f"no column has an error above 0: {_NO_ERRORS}"
    if weights.level < 0:
        return "the typical white light is below 0"
    return "the spectra have no flux but that of replaced pixels, or it is 0"


def _few_errors(name: str, known: int, summed: int) -> list[str]:
    """Say of how many columns an error is made, if of few of those that are summed."""
    if known >= FEW * summed:  # also where there is no column
        return []
    if not known:
        return [f"{name} tells nothing, no column has an error above 0: {_NO_ERRORS}"]
    return [
        f"{name} is made of {known / summed:.1%} of the columns and too small; the others have no "
        f"error above 0: {_NO_ERRORS}"
    ]
