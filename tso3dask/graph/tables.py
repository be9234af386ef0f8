"""Tables of a run: rows of all members become photometry and white-light columns."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tso3dask.graph.build import gather
from tso3dask.graph.imaging import photometry_table
from tso3dask.io.journal import ChunkResult
from tso3dask.wording import counted, listed

if TYPE_CHECKING:
    from tso3dask.graph.outline import Member, Outline
    from tso3dask.ops.curve_axis import TimeAxis
    from tso3dask.ops.curves import Weights
    from tso3dask.ops.whitelight import WhiteLight

Rows = Mapping[str, np.ndarray]
"""Rows of a member by name; names of orders of NIRISS SOSS end with the order."""

_SERIES = {
    "white": "flux_sum",
    "white_error": "flux_error",
    "white_weighted": "weighted",
    "white_weighted_error": "weighted_error",
}
"""Light curves that tasks measure, and what the white-light table calls them."""

TABLES = ("phot", "whtlt", "speclc", "regressors")
"""Products that are tables, in the order in which they are written."""

COUNTS = ("n_outliers", "flagged_fraction", "n_replaced", "replaced_fraction")
"""Numbers of each integration that come of flagging and replacement; shares are of the target."""

FEW_PIXELS = 0.5
"""Share of its usual pixels below which a column has few of them."""

__all__ = [
    "COUNTS",
    "TABLES",
    "collect_rows",
    "integration_notes",
    "light_curves_of",
    "make_table",
    "make_tables",
    "named_series",
    "outlier_counts",
    "photometry_columns",
    "plan_axis",
    "plan_spectra",
    "table_meta",
    "white_light_table",
]


def collect_rows(
    plan: Outline, passes: Mapping[int, Mapping[str, list[Any]]], results: Mapping[Any, ChunkResult]
) -> list[dict[str, np.ndarray]]:
    """Rows of each member: chunks tile its integrations, all passes side by side.

    They are taken out of the results.
    """
    rows = []
    for member in plan.members:
        merged: dict[str, np.ndarray] = {}
        for keys in passes[member.index].values():
            whole = gather([results[key] for key in keys], take=True)
            if whole.b != member.segment.nints:
                raise AssertionError(f"{member.segment.path}: {whole.b} rows")
            merged |= whole.rows
        rows.append(merged)
    return rows


def outlier_counts(plan: Outline, rows: list[dict[str, np.ndarray]]) -> list[dict[str, Any]]:
    """Outliers found in each member; nothing without outlier detection."""
    if not plan.flags:
        return []
    counts = []
    for member, values in zip(plan.members, rows, strict=True):
        segment = member.segment
        found = int(values["n_outliers"].sum())
        entry = {
            "name": segment.path.name,
            "nints": segment.nints,
            "n_outliers": found,
            "fraction": found / (segment.nints * segment.ny * segment.nx),
        }
        if "flagged_fraction" in values:
            most = int(np.argmax(values["flagged_fraction"]))
            entry["target_fraction"] = float(values["flagged_fraction"].mean())
            entry["most_flagged"] = {
                "integration": most + 1,
                "target_fraction": float(values["flagged_fraction"][most]),
            }
        if "n_replaced" in values:
            entry["n_replaced"] = int(values["n_replaced"].sum())
            entry["target_fraction_replaced"] = float(values["replaced_fraction"].mean())
            entry |= _scatters(values)
        counts.append(entry)
    return counts


def light_curves_of(values: Rows) -> tuple[np.ndarray, np.ndarray] | None:
    """Light curve of a member as it is, and without replacement of pixels, if both are known."""
    for name, raw in (("white", "raw_white"), ("aperture_sum", "raw_sum")):
        if name in values and raw in values:
            return values[name], values[raw]
    return None


def _scatters(values: Rows) -> dict[str, float]:
    """Scatter between neighbouring integrations with and without replacement, in ppm."""
    from tso3dask.ops.allan import relative_curve, successive_scatter

    curves = light_curves_of(values)
    if curves is None:
        return {}
    scatter = [1e6 * successive_scatter(relative_curve(curve)) for curve in curves]
    names = ("scatter_ppm", "scatter_without_replacement_ppm")
    return {n: round(s, 3) for n, s in zip(names, scatter, strict=True) if np.isfinite(s)}


def integration_notes(plan: Outline, rows: Sequence[Mapping[str, np.ndarray]]) -> list[str]:
    """What tasks had to say of single integrations; members with the same trouble in one line."""
    found = []
    for member, values in zip(plan.members, rows, strict=True):
        notes = values.get("note", np.zeros(0, "U1"))
        for text in dict.fromkeys(str(note) for note in notes if note):
            where = np.flatnonzero(notes == text) + 1
            numbers = ", ".join(map(str, where[:5])) + (" ..." if len(where) > 5 else "")
            found.append(f"{member.segment.path.name}: integration {numbers}: {text}")
        found += _excess(plan, member, values)
        found += _mostly_replaced(member, values)
        found += _few_pixels_at_first(member, values)
    return [*found, *_without_flux(plan, rows)]


def _few_pixels_at_first(member: Member, values: Rows) -> list[str]:
    """Say that the aperture correction of all integrations is that of lost pixels."""
    if "first_npixels" not in values:
        return []
    first = values["first_npixels"][0]
    most = np.fmax.reduce(values["most_npixels"], axis=0)
    count = np.count_nonzero(~(first > most * FEW_PIXELS) & (most > 0))
    if not count:
        return []
    return [
        f"{member.segment.path.name}: the first integration has no more than half of the pixels "
        f"that others have in {count} of {first.size} columns; it settles the aperture correction "
        "of all, which is then that of a smaller aperture: fluxes of these columns are too bright "
        "in the whole segment (pixel_replace.algorithm='temporal' corrects for the whole aperture)"
    ]


def _without_flux(plan: Outline, rows: Sequence[Rows]) -> list[str]:
    """Say in how many integrations of a member the light curve is NaN.

    Not of white light that is NaN in all members, as of an order beyond the range of wavelengths.
    """
    endings = dict.fromkeys(table.ending for _, table in plan.tables)
    names = {"aperture_sum": ""} | {f"white{ending}": ending for ending in endings}
    found = []
    for name, ending in names.items():
        curves = [(m, r[name]) for m, r in zip(plan.members, rows, strict=True) if name in r]
        if name != "aperture_sum" and all(np.isnan(values).all() for _, values in curves):
            continue
        where = f" in order {ending.removeprefix('_')}" if ending else ""
        for member, values in curves:
            count = int(np.count_nonzero(np.isnan(values)))
            if count:
                have = "has" if count == 1 else "have"
                text = f"{counted(count, 'integration')} {have} no flux{where}"
                found.append(f"{member.segment.path.name}: {text}")
    return found


def _mostly_replaced(member: Member, values: Mapping[str, np.ndarray]) -> list[str]:
    """Say in which integrations most pixels show the model, or what was around them in time."""
    kinds = {
        "replaced_fraction": (
            "most of the target's pixels are replaced in {}: their flux is that of the model"
        ),
        "filled_fraction": (
            "most pixels are not finite in {}: their flux is made of integrations around them"
        ),
    }
    found = []
    for name, text in kinds.items():
        share = values.get(name, np.zeros(0))
        where = np.flatnonzero(share > 0.5)
        if where.size and not (name == "filled_fraction" and where.size == share.size):
            found.append(f"{member.segment.path.name}: {text.format(listed(where + 1))}")
    return found


def _excess(plan: Outline, member: Member, values: Mapping[str, np.ndarray]) -> list[str]:
    """Say in which integrations more pixels of the target were flagged than expected."""
    limit = plan.parameters.outlier_detection.max_flagged
    share = values.get("flagged_fraction")
    if limit is None or share is None or not (share > limit).any():
        return []
    where = np.flatnonzero(share > limit)
    text = (
        f"{member.segment.path.name}: a share of {share[where].max():.2g} of the target's pixels "
        f"is flagged in {listed(where + 1)}, max_flagged is {limit:g}"
    )
    return [text]


def white_light_table(plan: Outline, rows: Sequence[Rows]) -> Any:
    """White-light columns of a plan from the light curves of each member (and order)."""
    from tso3dask.ops.whitelight import white_light_columns

    spectra = []
    for (member, table), spectrum in zip(plan.tables, plan_spectra(plan), strict=True):
        found = named_series(rows[member.index], table.ending)
        if "flux_sum" in found:
            spectra.append(spectrum | found)
    return white_light_columns(spectra)


def _white_notes(plan: Outline, white: WhiteLight, rows: Sequence[Rows]) -> list[str]:
    """What is wrong with errors and weights of the white light."""
    from tso3dask.ops.curve_notes import error_notes

    weights: dict[Any, Weights] = {}
    counts: dict[Any, Any] = {}
    for member, table in plan.tables:
        key = member.segment.get("DETECTOR"), table.spectral_order
        if table.spectral_order in member.weights:
            weights[key] = member.weights[table.spectral_order]
        counted = rows[member.index].get(f"error_counts{table.ending}")
        if counted is not None:
            counts[key] = counted.sum(axis=0) + counts.get(key, 0)
    return error_notes(white, weights, counts)


def named_series(measured: Rows, ending: str = "") -> dict[str, np.ndarray]:
    """Light curves of the white light by the names that its table knows."""
    return {
        key: measured[f"{name}{ending}"]
        for name, key in _SERIES.items()
        if f"{name}{ending}" in measured
    }


def plan_spectra(plan: Outline) -> list[dict[str, Any]]:
    """What is known of each table of spectra of a plan but the spectra themselves.

    Of each member where nothing is extracted.
    """
    spectra = []
    pairs: list[tuple[Member, Any]] = [*plan.tables] or [(m, None) for m in plan.members]
    for member, table in pairs:
        spectra.append(
            {
                "nints": member.segment.nints,
                "mid_utc": member.times.times["mjd_avg"],
                "mid_tdb": member.times.times["tdb_mid"],
                "order": None if table is None else table.spectral_order,
                "detector": member.segment.get("DETECTOR"),
                "unit": None if table is None else table.units["FLUX"],
                "member": member.index,
            }
        )
    return spectra


def plan_axis(plan: Outline) -> TimeAxis:
    """Rows of the white-light table of a plan: in time order, by detector."""
    from tso3dask.ops.curve_axis import time_axis

    return time_axis(plan_spectra(plan))


def photometry_columns(
    members: Sequence[Member], rows: Sequence[Mapping[str, np.ndarray]]
) -> dict[str, Any]:
    """Columns of the photometry table of members, in the order given."""
    parts = []
    for member, values in zip(members, rows, strict=True):
        assert member.imaging is not None
        found = None
        if member.imaging.centroid:
            found = {k: v for k, v in values.items() if k.startswith(("centroid_", "psf_"))}
        skipped = {*COUNTS, "x", "y", *(found or ())}
        measured = {k: v for k, v in values.items() if k not in skipped}
        table = photometry_table(member.segment, member.imaging, member.times, measured, found)
        parts.append(table)
    names = list(dict.fromkeys(name for part in parts for name in part))
    columns = {}
    for name in names:
        unit = next(part[name].unit for part in parts if name in part)
        pieces = [
            part[name].values if name in part else np.full(len(part["MJD"].values), np.nan)
            for part in parts
        ]
        columns[name] = (np.concatenate(pieces) if len(pieces) > 1 else pieces[0], unit)
    return columns


def _joined(members: Sequence[Member], keyword: str) -> str | None:
    """Header value of the members, joined where they differ."""
    values = dict.fromkeys(m.segment.get(keyword) for m in members)
    known = [str(v) for v in values if v is not None]
    return ",".join(known) if known else None


def table_meta(
    plan: Outline,
    kind: str,
    members: Sequence[Member] | None = None,
    columns: Collection[str] = (),
) -> dict[str, Any]:
    """Meta of a table, of all members by default; that of regressors tells of its columns."""
    members = plan.members if members is None else members
    keys = ["instrument", "subarray", "filter", "pupil", "target_name"]
    words = {"instrument": "INSTRUME", "target_name": "TARGNAME"}
    meta: dict[str, Any] = {key: _joined(members, words.get(key, key.upper())) for key in keys}
    if kind == "regressors":
        from tso3dask.graph.regressors import regressor_meta

        light_curve = "phot" if plan.kind == "imaging" else "whtlt"
        return {**table_meta(plan, light_curve, members), **regressor_meta(plan, columns)}
    if kind == "speclc":
        from tso3dask.graph.channels import channel_meta

        return {**table_meta(plan, "whtlt", members), **channel_meta(plan)}
    if kind == "whtlt":
        from tso3dask.ops.whitelight import white_light_meta

        header = {k: _joined(members, k) for k in ("INSTRUME", "EXP_TYPE", "SUBARRAY")}
        header |= {k: _joined(members, k) for k in ("FILTER", "PUPIL", "TARGNAME")}
        return white_light_meta(header)
    from tso3dask.ops.photometry import table_meta as photometry_meta

    step = plan.parameters.tso_photometry
    return photometry_meta(
        **meta,
        detector=_joined(members, "DETECTOR"),
        channel=_joined(members, "CHANNEL"),
        radius=step.radius,
        radius_inner=step.radius_inner,
        radius_outer=step.radius_outer,
        more_radii=step.more_radii,
        bkg_clip=step.bkg_clip,
    )


def _with_units(white: Any) -> dict[str, Any]:
    return {n: (v, white.units.get(n)) for n, v in white.columns.items()}


def make_table(
    plan: Outline,
    member: Member | None,
    rows: Sequence[Mapping[str, np.ndarray]],
) -> dict[str, Any]:
    """Columns of the photometry of a member, or of the white light."""
    if member is not None:
        if plan.hooked:
            return _hooked_photometry(plan, [member], [rows[member.index]])
        return photometry_columns([member], [rows[member.index]])
    white = white_light_table(plan, rows)
    return _after_hooks(plan, _with_units(white))


def _hooked_photometry(
    plan: Outline, members: Sequence[Member], rows: Sequence[Mapping[str, np.ndarray]]
) -> dict[str, Any]:
    """Photometry that went through hooks: its columns are in the rows, its units in datasets."""
    from tso3dask.graph.hooks import columns_of

    tables = []
    for member, values in zip(members, rows, strict=True):
        table = plan.hooked[member.index].photometry
        assert table is not None
        found = {n: (table[n].dims, values[f"column {n}"], table[n].attrs) for n in table}
        tables.append(table.assign(found))
    return columns_of(tables)


def _after_hooks(plan: Outline, columns: dict[str, Any]) -> dict[str, Any]:
    """White light after the hooks of its step."""
    if not plan.parameters.white_light.post_hooks:
        return columns
    from tso3dask.graph.hooks import columns_of, hook_table, table_of

    own = {name: (np.array(values), unit) for name, (values, unit) in columns.items()}
    return columns_of([hook_table(plan, table_of(own))])


def _why_no_light(plan: Outline, rows: Sequence[Mapping[str, np.ndarray]]) -> str:
    """Say whether there is no flux at all, or none at the wavelengths summed."""
    counts = [v for own in rows for name, v in own.items() if name.startswith("bin_count")]
    if counts and not any(count.any() for count in counts):
        return "no spectrum has any flux"
    step = plan.parameters.white_light
    low, high = step.min_wavelength, step.max_wavelength
    if low is not None and high is not None:
        return f"no flux between {low:g} and {high:g} micrometres"
    if low is not None:
        return f"no flux from {low:g} micrometres on"
    if high is not None:
        return f"no flux up to {high:g} micrometres"
    return "no flux at the wavelengths summed"


def make_tables(plan: Outline, rows: list[dict[str, np.ndarray]]) -> dict[str, Any]:
    """Columns of the tables that a plan writes, by kind, and ``notes`` on them."""
    tables: dict[str, Any] = {}
    if "phot" in plan.products:
        hooked = bool(plan.hooked)
        tables["phot"] = (
            _hooked_photometry(plan, plan.members, rows)
            if hooked
            else photometry_columns(plan.members, rows)
        )
    if "whtlt" in plan.products:
        white = white_light_table(plan, rows)
        tables["whtlt"] = _after_hooks(plan, _with_units(white))
        tables["notes"] = [*white.notes, *_white_notes(plan, white, rows)]
        flux = [v for n, v in white.columns.items() if n.startswith("whitelight_flux")]
        if flux and np.isnan(np.concatenate(flux)).all():
            tables["notes"].append(f"white light is NaN everywhere: {_why_no_light(plan, rows)}")
    if "speclc" in plan.products:
        from tso3dask.graph.channels import channel_table

        tables["speclc"] = channel_table(plan, rows)
    if "regressors" in plan.products:
        from tso3dask.graph.regressors import regressor_columns

        tables["regressors"] = regressor_columns(plan, rows)
    return tables
