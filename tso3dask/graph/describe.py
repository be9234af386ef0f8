"""A plan in words: for the terminal and for notebooks."""

from __future__ import annotations

from collections import Counter
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from tso3dask.config import hook_name, parameters_of
from tso3dask.graph.sizes import product_sizes
from tso3dask.wording import counted, format_bytes

if TYPE_CHECKING:
    from tso3dask.graph.outline import Member, Outline

__all__ = ["plan_html", "plan_rows", "plan_text"]

_MODES = {
    "imaging": "imaging: outlier_detection, tso_photometry",
    "spectroscopy": "spectroscopy: outlier_detection, extract_1d, white_light",
    "soss": "NIRISS SOSS: outlier_detection, extract_1d, photom, white_light",
}


def _mode_text(plan: Outline) -> str:
    text = _MODES[plan.kind]
    for measuring in ("extract_1d", "tso_photometry"):
        if plan.replaces:
            text = text.replace(measuring, f"pixel_replace, {measuring}")
    own = {"speclc": "light_curves", "regressors": "regressors"}
    return ", ".join([text, *(step for product, step in own.items() if product in plan.products)])


def _by_detector(plan: Outline) -> str:
    """Return how many integrations each detector has, where there are several."""
    found: Counter[str] = Counter()
    for member in plan.members:
        found[member.segment.detector] += member.segment.nints
    return f" ({', '.join(f'{n:,} {name}' for name, n in found.items())})" if len(found) > 1 else ""


def plan_rows(plan: Outline) -> list[tuple[str, str]]:
    """Facts about a plan as (label, text)."""
    first = plan.observation.first
    element = "/".join(
        str(first.get(k)) for k in ("FILTER", "PUPIL", "GRATING") if first.get(k) is not None
    )
    stored = sum(m.segment.nints * m.segment.bytes_per_integration for m in plan.members)
    products = plan.products
    sizes = product_sizes(plan)
    budget = plan.budget
    lengths = sorted({c for m in plan.members for c in m.chunks})
    chunks = counted(lengths[-1], "integration")
    if len(lengths) > 1:
        chunks = f"{lengths[0]:,} to {chunks}"
    total = sum(len(m.chunks) for m in plan.members)
    rows = [
        ("target", f"{first.get('TARGNAME', 'unknown')}, {first.instrument} {element}".strip()),
        ("mode", f"{plan.observation.exp_type}, {_mode_text(plan)}"),
        (
            "input",
            f"{counted(len(plan.members), 'member')}, {counted(plan.nints, 'integration')}"
            f"{_by_detector(plan)} of {first.ny}x{first.nx}, "
            f"{format_bytes(stored)} of pixels",
        ),
    ]
    for kind, names in products.items():
        more = "" if len(names) == 1 else f" and {len(names) - 1} more"
        rows.append((kind, f"{names[0]}{more}, {format_bytes(sizes[kind])}"))
    if not products:
        rows.append(("products", "none: every step that writes one is skipped"))
    rows += [
        (
            "tasks",
            f"{plan.tasks:,} in {counted(total, 'chunk')} of {chunks}, "
            f"{min(budget.sub_block, lengths[-1])} held at a time",
        ),
        (
            "memory",
            f"{format_bytes(budget.projected)} projected with "
            f"{counted(budget.workers, 'worker')} "
            f"({format_bytes(budget.per_task)} each), limit {format_bytes(budget.limit)}",
        ),
    ]
    for kind, users in plan.references.items():
        for path, members in users.items():
            more = f" and {len(members) - 1} more" if len(members) > 1 else ""
            only = "" if len(users) == 1 else f" for {members[0]}{more}"
            rows.append((f"{kind} reference", path + only))
    if plan.recipe:
        rows.append(("recipe", plan.recipe))
    if plan.crds_parameters:
        rows.append(("CRDS parameters", plan.crds_parameters))
    changed = plan.parameters.to_dict(explicit_only=True)
    for step, values in changed.items():
        given = [k for k in values if not k.startswith("override_")]
        if given:
            rows.append((step, ", ".join(_parameter_texts(plan, step, given))))
    return rows


def _parameter_texts(plan: Outline, step: str, names: list[str]) -> list[str]:
    """Values of parameters; of the defaults in a file, as exported ones hold, how many."""
    table, values = parameters_of(step), plan.parameters.step(step)
    texts, defaults = [], Counter[str]()
    for name in names:
        origin = plan.parameters.origins.get(f"{step}.{name}")
        if origin in (None, "command line") or getattr(values, name) != table[name].default:
            texts.append(_parameter_text(plan, step, name))
        else:
            defaults[origin] += 1
    return texts + [f"{number} at their default ({origin})" for origin, number in defaults.items()]


def _parameter_text(plan: Outline, step: str, name: str) -> str:
    """Value of a parameter, and where it comes from if not from the call itself."""
    origin = plan.parameters.origins.get(f"{step}.{name}")
    value = getattr(plan.parameters.step(step), name)
    if isinstance(value, tuple):
        value = ", ".join(hook_name(hook) for hook in value)
    return f"{name}={value}" + (f" ({origin})" if origin else "")


def _member_rows(plan: Outline) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("member", "integrations", "first mid time, MJD UTC", "chunks")]
    for member in plan.members:
        segment = member.segment
        rows.append(
            (
                segment.path.name,
                f"{segment.int_start}-{segment.int_end}",
                _first_time(member),
                str(len(member.chunks)),
            )
        )
    return rows


def _first_time(member: Member) -> str:
    times = member.times.times["mjd_avg"]
    known = times[np.isfinite(times)]
    return f"{known[0]:.6f}" if known.size else "unknown"


def plan_text(plan: Outline) -> str:
    """Text of a plan, as ``print(plan)`` and ``tso3dask plan`` show it."""
    rows = plan_rows(plan)
    width = max(len(label) for label, _ in rows)
    lines = [f"Plan for {plan.observation.association.name}"]
    lines += [f"  {label:<{width}}  {text}" for label, text in rows]
    table = _member_rows(plan)
    columns = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    lines.append("")
    lines += [
        "  " + "  ".join(f"{cell:<{w}}" for cell, w in zip(row, columns, strict=True)).rstrip()
        for row in table
    ]
    lines += [f"  note: {note}" for note in plan.notes]
    return "\n".join(lines)


def plan_html(plan: Outline) -> str:
    """Markup of a plan for notebooks."""
    facts = "".join(
        f"<tr><th style='text-align:left'>{escape(label)}</th>"
        f"<td style='text-align:left'>{escape(text)}</td></tr>"
        for label, text in plan_rows(plan)
    )
    head, *rows = _member_rows(plan)
    header = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    notes = "".join(f"<li>{escape(note)}</li>" for note in plan.notes)
    return (
        f"<div><b>tso3dask plan: {escape(plan.observation.association.name)}</b>"
        f"<table>{facts}</table>"
        f"<details><summary>{counted(len(rows), 'member')}</summary>"
        f"<table><tr>{header}</tr>{body}</table></details>"
        + (f"<ul>{notes}</ul>" if notes else "")
        + "</div>"
    )
