"""The time axis of light curves: which integration is in which row of their tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .whitelight import SERIES, white_light_columns

__all__ = ["CurveSeries", "TimeAxis", "time_axis"]


@dataclass(frozen=True, eq=False)
class CurveSeries:
    """One detector and order on the time axis.

    Attributes
    ----------
    detector, order : object
        As the spectra have them.
    label : str
        Ending of the names of its columns.
    spectra : tuple of int
        Its spectra (one per member) in the order given.
    rows : ndarray
        ``(row,)`` place of each row of the table among the integrations of its spectra, one after
        the other; -1 where there is none.
    """

    detector: Any
    order: Any
    label: str
    spectra: tuple[int, ...]
    rows: NDArray[np.int64]

    def placed(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Rows of the table from ``values`` ``(integration, ...)``; NaN where there is none.

        The values themselves where all are in place.
        """
        if len(values) == len(self.rows) and np.array_equal(self.rows, np.arange(len(values))):
            return values
        if not len(values):
            return np.full((len(self.rows), *values.shape[1:]), np.nan)
        found = values[self.rows]
        found[self.rows < 0] = np.nan
        return found


@dataclass(frozen=True, eq=False)
class TimeAxis:
    """Rows of the white-light table and where they come from.

    Attributes
    ----------
    times : dict of ndarray
        Columns of times, as in that table.
    series : tuple of CurveSeries
        By detector and order, as in that table.
    detector_times : dict of (ndarray, ndarray)
        UTC and barycentric times ``(row,)`` of each detector.
    """

    times: dict[str, NDArray[np.float64]]
    series: tuple[CurveSeries, ...]
    detector_times: dict[Any, tuple[NDArray[np.float64], NDArray[np.float64]]]


def time_axis(spectra: Sequence[Mapping[str, Any]]) -> TimeAxis:
    """Find the rows of the white-light table.

    Parameters
    ----------
    spectra : sequence of mapping
        As `white_light_columns` takes them; ``nints`` is enough in place of the light curves.
    """
    plain = [
        {k: v for k, v in s.items() if k not in SERIES}
        | {"flux_sum": np.broadcast_to(0.0, s["nints"])}
        for s in spectra
    ]
    white = white_light_columns(plain)
    length = max(map(len, white.columns.values()), default=0)
    numbers: dict[tuple[Any, Any], int] = {}
    seen: dict[tuple[Any, Any], int] = {}
    found: dict[tuple[Any, Any], dict[int, int]] = {}
    for i, spectrum in enumerate(spectra):
        detector, order = spectrum.get("detector"), spectrum.get("order")
        count = seen[detector, order] = seen.get((detector, order), -1) + 1
        key = detector, spectrum.get("member", count)
        found.setdefault((detector, order), {})[numbers.setdefault(key, len(numbers))] = i
    several = len({order for _, order in found}) > 1
    series = []
    for (detector, order), members in found.items():
        lengths = [spectra[i]["nints"] for i in members.values()]
        starts = np.full(len(spectra), -1, dtype=np.int64)
        starts[list(members)] = np.cumsum([0, *lengths[:-1]])
        start = starts[white.member[detector]]
        rows = np.full(length, -1, dtype=np.int64)
        rows[: start.size] = np.where(start < 0, -1, start + white.integration[detector])
        label = (f"_order_{order}" if several else "") + white.endings[detector]
        series.append(CurveSeries(detector, order, label, tuple(members.values()), rows))
    series.sort(key=lambda s: list(white.endings).index(s.detector))
    times = {n: v for n, v in white.columns.items() if not n.startswith("whitelight_flux")}
    each = {
        name: (times[f"MJD_UTC{ending}"], times[f"BJD_TDB{ending}"])
        for name, ending in white.endings.items()
    }
    return TimeAxis(times, tuple(series), each)
