"""White light: flux summed over wavelength, one row per integration.

A spectrum here is one order of one member (segment of an exposure on one detector). Members of a
detector are put in time order, orders of a member side by side, detectors in columns of their
own. Column names are those of the JWST whtlt product.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError

__all__ = [
    "NO_RANGE",
    "WhiteLight",
    "repeated_times",
    "wavelength_range",
    "white_light_columns",
    "white_light_meta",
    "white_light_sums",
]

NO_RANGE = (-1.0, 1.0e10)
"""Limits that every wavelength lies within, micrometres."""

META_KEYWORDS = {
    "instrument": "INSTRUME",
    "exp_type": "EXP_TYPE",
    "subarray": "SUBARRAY",
    "filter": "FILTER",
    "pupil": "PUPIL",
    "target_name": "TARGNAME",
}

SERIES = {
    "flux_sum": "whitelight_flux",
    "flux_error": "whitelight_flux_error",
    "weighted": "whitelight_flux_weighted",
    "weighted_error": "whitelight_flux_weighted_error",
}
"""What a spectrum may have for each integration, and the names of the columns made of it."""

Float = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class WhiteLight:
    """Columns of a white-light table.

    Attributes
    ----------
    columns : dict of ndarray
        Columns ``(row,)`` float64 in order; where nothing has to be moved, what was given itself.
    units : dict of str
        Unit of the flux columns, if there is one.
    member, integration : dict of ndarray
        Per detector (key as given, None included) the member and the 0-based integration in
        it of each row, int64.
    notes : tuple of str
        Warnings.
    endings : dict of str
        Per detector the ending of the names of its columns.
    names : dict of str
        Name of the column of each of the `SERIES`, detector and order.
    """

    columns: dict[str, Float]
    units: dict[str, str]
    member: dict[Any, NDArray[np.int64]]
    integration: dict[Any, NDArray[np.int64]]
    notes: tuple[str, ...] = ()
    endings: dict[Any, str] = field(default_factory=dict)
    names: dict[tuple[str, Any, Any], str] = field(default_factory=dict)


def white_light_sums(
    flux: Float, wavelength: Float, min_wave: float = NO_RANGE[0], max_wave: float = NO_RANGE[1]
) -> Float:
    """Sum spectra over a range of wavelengths.

    Parameters
    ----------
    flux : ndarray
        Fluxes ``(integration, dispersion)``; NaN is left out.
    wavelength : ndarray
        Wavelengths ``(dispersion,)`` or ``(integration, dispersion)``, micrometres.
    min_wave, max_wave : float
        Inclusive limits.

    Returns
    -------
    ndarray
        Sums ``(integration,)`` in the unit of `flux`; NaN where no flux in range is left.
    """
    with np.errstate(invalid="ignore"):
        in_range = (wavelength >= min_wave) & (wavelength <= max_wave)
    use = in_range & ~np.isnan(flux)
    # rows in one piece, so that a row's sum does not depend on how many there are beside it
    total = np.ascontiguousarray(np.where(use, flux, 0.0)).sum(axis=1)
    total[~use.any(axis=1)] = np.nan
    return total


def wavelength_range(
    table: Sequence[tuple[int, str, float, float]] | None,
    order: int | None,
    filter_name: str | None,
    min_wave: float | None = None,
    max_wave: float | None = None,
) -> tuple[float, float]:
    """Limits of the sum for one order.

    Parameters
    ----------
    table : sequence or None
        Rows (order, filter, shortest, longest) of a WAVELENGTHRANGE reference, which only
        NIRISS SOSS has; None takes all wavelengths.
    order : int or None
        Order of the spectrum.
    filter_name : str or None
        FILTER.
    min_wave, max_wave : float or None
        The user's limits, which go before the reference.

    Returns
    -------
    tuple of float
        Shortest and longest wavelength, micrometres.

    Raises
    ------
    InputError
        When the reference has not exactly one row for the order and filter.
    """
    low, high = NO_RANGE
    if table is not None:
        rows = [row for row in table if row[0] == order and str(row[1]) == str(filter_name)]
        if len(rows) != 1:
            raise InputError(
                f"the wavelengthrange reference has {len(rows)} rows for order {order} and "
                f"filter {filter_name}; exactly one is needed"
            )
        low, high = float(rows[0][2]), float(rows[0][3])
    return (low if min_wave is None else min_wave, high if max_wave is None else max_wave)


def repeated_times(mid_utc: Float) -> NDArray[np.bool_]:
    """Rows whose mid time repeats that of an earlier row of the same member.

    Parameters
    ----------
    mid_utc : ndarray
        UTC mid times ``(integration,)``.

    Returns
    -------
    ndarray of bool
        True for all but the first of equal times; NaN never counts. MJD-AVG of these rows is
        NaN in the x1dints product, and they have no row in the white-light table.
    """
    if bool((mid_utc[1:] > mid_utc[:-1]).all()):
        return np.zeros(len(mid_utc), dtype=bool)
    _, first = np.unique(mid_utc, return_index=True)
    repeated = np.ones(len(mid_utc), dtype=bool)
    repeated[first] = False
    return repeated & ~np.isnan(mid_utc)


def white_light_meta(header: Mapping[str, Any]) -> dict[str, Any]:
    """Meta of the table from the header of the first member."""
    return {name: header.get(keyword) for name, keyword in META_KEYWORDS.items()}


def white_light_columns(spectra: Sequence[Mapping[str, Any]]) -> WhiteLight:
    """Put the sums of all spectra into one table.

    Parameters
    ----------
    spectra : sequence of mapping
        One per member and order, in the order of the members, with ``mid_utc``, ``mid_tdb`` and
        ``flux_sum`` ``(integration,)`` and, if known, the other `SERIES`, ``order``,
        ``detector``, ``unit`` and ``member`` (any number that tells members apart; without it
        the n-th spectrum of a detector and order is taken for the n-th member).

    Returns
    -------
    WhiteLight
        Rows in time order with their fluxes. Integrations without a time or with one that
        repeats within the member are left out, but a member without any times keeps all its
        rows, with NaN times, after the members before it. Equal times in two members stay.
    """
    notes: list[str] = []
    members = _members(spectra, notes)
    orders = list(dict.fromkeys(spectrum.get("order") for spectrum in spectra))
    detectors = list(dict.fromkeys(key[0] for key in members))
    unit = next((spectrum.get("unit") for spectrum in spectra[:1]), None)
    series = [key for key in SERIES if any(key in spectrum for spectrum in spectra)]
    wanted = [(key, order) for order in orders for key in series]
    tables = {name: _detector_table(name, members, wanted, notes) for name in detectors}
    several = len(detectors) > 1
    endings = {
        name: f"_{name}" if several or str(name).upper() in ("NRS1", "NRS2") else ""
        for name in detectors
    }

    length = max((len(table["mid_utc"]) for table in tables.values()), default=0)
    columns: dict[str, Float] = {}
    units: dict[str, str] = {}
    names: dict[tuple[str, Any, Any], str] = {}
    for name, table in tables.items():
        ending = endings[name]
        columns[f"MJD_UTC{ending}"] = _padded(table["mid_utc"], length)
        columns[f"BJD_TDB{ending}"] = _padded(table["mid_tdb"], length)
        for key, order in wanted:
            label = f"_order_{order}" if len(orders) > 1 else ""
            column = f"{SERIES[key]}{label}{ending}"
            names[key, name, order] = column
            columns[column] = _padded(table[key, order], length)
            if unit:
                units[column] = str(unit)
    return WhiteLight(
        columns,
        units,
        {name: table["member"] for name, table in tables.items()},
        {name: table["integration"] for name, table in tables.items()},
        tuple(notes),
        endings,
        names,
    )


def _members(
    spectra: Sequence[Mapping[str, Any]], notes: list[str]
) -> dict[tuple[Any, Any], dict[Any, Mapping[str, Any]]]:
    """Spectra by (detector, member) and then by order."""
    members: dict[tuple[Any, Any], dict[Any, Mapping[str, Any]]] = {}
    seen: dict[tuple[Any, Any], int] = {}
    for spectrum in spectra:
        detector, order = spectrum.get("detector"), spectrum.get("order")
        count = seen.get((detector, order), 0)
        seen[detector, order] = count + 1
        member = members.setdefault((detector, spectrum.get("member", count)), {})
        if order in member:
            raise InputError(f"two spectra of order {order} belong to one member of {detector}")
        size = {len(s["flux_sum"]) for s in member.values()} | {len(spectrum["flux_sum"])}
        if len(size) > 1:
            raise InputError(f"orders of one member of {detector} have different lengths: {size}")
        member[order] = spectrum
    return members


def _detector_table(
    detector: Any,
    members: Mapping[tuple[Any, Any], Mapping[Any, Mapping[str, Any]]],
    wanted: Sequence[tuple[str, Any]],
    notes: list[str],
) -> dict[Any, NDArray[Any]]:
    """Rows of one detector in time order."""
    parts: dict[Any, list[NDArray[Any]]] = {}
    latest = -np.inf
    number = -1
    for (name, _), by_order in members.items():
        number += 1
        if name != detector:
            continue
        first = next(iter(by_order.values()))
        utc = np.asarray(first["mid_utc"], dtype=np.float64)
        keep = _kept(utc, f"member {number + 1} ({detector})", notes)
        place = utc
        if np.isnan(utc).all():
            place = np.full(len(utc), latest)
        elif keep.any():
            latest = max(latest, float(utc[keep].max()))
        row = {
            "place": place,
            "mid_utc": utc,
            "mid_tdb": np.asarray(first["mid_tdb"], dtype=np.float64),
            "member": np.broadcast_to(np.int64(number), len(utc)),
            "integration": np.arange(len(utc)),
        }
        missing = np.broadcast_to(np.nan, len(utc))
        for key, order in wanted:
            values = by_order.get(order, {}).get(key, missing)
            row[key, order] = np.asarray(values, dtype=np.float64)  # type: ignore[index]
        for key, values in row.items():
            parts.setdefault(key, []).append(values if keep.all() else values[keep])
    table = {k: np.concatenate(v) if len(v) > 1 else v[0] for k, v in parts.items()}
    if not bool((table["place"][1:] >= table["place"][:-1]).all()):
        sequence = np.argsort(table["place"], kind="stable")
        table = {key: values[sequence] for key, values in table.items()}
    shared = int((np.diff(table["mid_utc"]) == 0).sum())
    if shared:
        notes.append(f"{shared} mid times are the same in two members of {detector}: all are kept")
    return table


def _kept(utc: Float, what: str, notes: list[str]) -> NDArray[np.bool_]:
    """Which integrations of a member have a row."""
    missing = np.isnan(utc)
    if missing.all():
        return np.ones(len(utc), dtype=bool)
    keep = ~missing & ~repeated_times(utc)
    lost = int((~keep).sum())
    if lost:
        notes.append(
            f"{what}: {lost} of {len(utc)} integrations have no or a repeated mid time "
            "and no row in the white-light table"
        )
    return keep


def _padded(values: Float, length: int) -> Float:
    if len(values) == length:
        return values
    result = np.full(length, np.nan)
    result[: len(values)] = values
    return result
