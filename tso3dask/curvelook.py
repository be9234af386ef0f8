"""What the figure of light curves shows, as plain data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tso3dask.quicklook import Channel, QuickLook, joined

__all__ = ["CurveLook", "Curves", "curve_look"]

Array = NDArray[Any]


@dataclass
class Curves:
    """Light curves of one detector, or of one spectral order of it.

    Attributes
    ----------
    channel : Channel
        Its light curve and times, as in the quick-look figure.
    raw : ndarray or None
        ``(row,)`` the light curve without replacement of pixels.
    error : ndarray or None
        ``(row,)`` error of the light curve.
    spectral : ndarray or None
        ``(row, channel)`` light curves of spectroscopic channels.
    edges : ndarray or None
        ``(channel, 2)`` wavelengths of the channels, micrometres.
    regressors : dict of ndarray
        ``(row,)`` by name.
    background_unit : str
        Unit of the regressor ``background``.
    growth : GrowthCurve or None
        Scatter against the width of the aperture.
    """

    channel: Channel
    raw: Array | None = None
    error: Array | None = None
    spectral: Array | None = None
    edges: Array | None = None
    regressors: dict[str, Array] = field(default_factory=dict)
    background_unit: str = ""
    growth: Any = None


@dataclass
class CurveLook:
    """Everything that the figure of light curves needs.

    Attributes
    ----------
    look : QuickLook
        Names of target, mode and product.
    curves : list of Curves
        One per channel of the quick look.
    """

    look: QuickLook
    curves: list[Curves]


def curve_look(plan: Any, result: Any, look: QuickLook) -> CurveLook | None:
    """Return what the figure of a finished run shows; None if a plain quick look says it all.

    Parameters
    ----------
    plan : Plan
        What was run.
    result : RunResult
        Rows that the run kept.
    look : QuickLook
        Its quick look.
    """
    if not result.rows:
        return None
    found = []
    for channel in look.channels:
        chosen = [plan.members[i] for i in channel.members]
        rows = [result.rows[i] for i in channel.members]
        ending = f"_{channel.order}" if chosen[0].soss is not None else ""
        curves = Curves(
            channel,
            raw=_raw(channel, rows),
            error=_error(plan, result, channel, rows, ending),
            spectral=_joined(rows, f"channels{ending}"),
            growth=result.growth.get(chosen[0].segment.detector),
            background_unit=str(chosen[0].segment.get("BUNIT") or ""),
        )
        if curves.spectral is not None:
            curves.edges = plan.channels[chosen[0].segment.detector, channel.order]
        if not plan.parameters.regressors.skip:
            curves.regressors = _regressors(rows)
        found.append(curves)
    shown = any(c.raw is not None or c.spectral is not None or c.regressors for c in found)
    return CurveLook(look, found) if shown else None


def _joined(rows: list[dict[str, Array]], name: str) -> Array | None:
    """Rows of all members, if they all have them."""
    if any(name not in values for values in rows):
        return None
    return joined([values[name] for values in rows])


def _error(
    plan: Any, result: Any, channel: Channel, rows: list[dict[str, Array]], ending: str
) -> Array | None:
    """Error of the white light, or of the net flux in the aperture."""
    if "net_aperture_sum_err" not in result.tables.get("phot", ()):
        return _joined(rows, f"white_error{ending}")
    error = np.asarray(result.tables["phot"]["net_aperture_sum_err"][0], dtype=float)
    starts = np.cumsum([0, *(member.segment.nints for member in plan.members)])
    return joined([error[starts[i] : starts[i + 1]] for i in channel.members])


def _raw(channel: Channel, rows: list[dict[str, Array]]) -> Array | None:
    """Light curve without replacement: of the white light, or of the net flux in the aperture."""
    raw = _joined(rows, "raw_white")
    if raw is not None:
        return raw
    raw, summed = (_joined(rows, name) for name in ("raw_sum", "aperture_sum"))
    return None if raw is None or summed is None else channel.flux + raw - summed


def _regressors(rows: list[dict[str, Array]]) -> dict[str, Array]:
    """What the model of the exposure says, and shares of flagged and replaced pixels."""
    fitted = {name: f"model_{name}" for name in ("shift_x", "shift_y", "width", "background")}
    shares = {name: name for name in ("flagged_fraction", "replaced_fraction")}
    found = {name: _joined(rows, row) for name, row in {**fitted, **shares}.items()}
    return {name: values for name, values in found.items() if values is not None}
