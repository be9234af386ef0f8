"""Write docs/parameters.md from the table of steps and parameters of the package.

python docs/make_parameters.py           writes the file
python docs/make_parameters.py --check   fails if the file is not what would be written
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tso3dask.config import STEPS, Parameter, StepParameters, Support

TARGET = Path(__file__).with_name("parameters.md")

_INTRODUCTION = """\
# Parameters of the steps

<!-- Written by docs/make_parameters.py from tso3dask/step_table.py: do not edit. -->

Steps and parameters have the names, types, defaults and meaning that they have in `jwst` 3.0.0. Set
them

- on the command line: `--steps.outlier_detection.snr="4.0 3.0"`, and for references
  `--override_extract1d=FILE`, short for `--steps.extract_1d.override_extract1d=FILE`;
- in a parameter file, `--params FILE` (see [usage.md](usage.md#parameter-files));
- in Python: `steps={"outlier_detection": {"snr": "4.0 3.0"}}`.

`tso3dask run --steps-help` prints the same table. An unknown step or parameter is an error that
names the nearest known one. In the tables *own* marks what `jwst` does not have: by default it
changes nothing, and a parameter file with it is of no use to `jwst`; *not yet* means that `jwst`
knows the parameter and this version refuses any value but the default; *SOSS* means that it acts on
NIRISS SOSS data only. Parameters of `jwst` that do nothing for time series are listed below each
table: setting them gives one note, no error, because exported parameter files hold them all.
"""

_STATUS = {Support.FULL: "", Support.SOSS: "SOSS", Support.NOT_YET: "not yet"}

Row = tuple[Parameter, str]
"""A parameter and what the table says about its support."""


def parameters_text() -> str:
    """Return the content of docs/parameters.md."""
    return "\n".join([_INTRODUCTION, _section("Every step", StepParameters, {}), *_step_sections()])


def _step_sections() -> list[str]:
    common = {f.name: (f.default, f.metadata) for f in dataclasses.fields(StepParameters)}
    return [_section(step, cls, common) for step, cls in STEPS.items()]


def _section(title: str, cls: type[StepParameters], common: Mapping[str, Any]) -> str:
    """Return the section of one step: what it has beyond, or other than, every step."""
    rows: list[Row] = []
    for f in dataclasses.fields(cls):
        if common.get(f.name) == (f.default, f.metadata):
            continue
        more = dict(f.metadata)
        only = more.pop("only", None)
        row = Parameter(step=cls.step, name=f.name, default=f.default, **more)
        status = _STATUS.get(row.support, "")
        if row.added:
            status = ", ".join(filter(None, ["own", status]))
        if only is not None:
            status = "not yet: " + ", ".join(c for c in row.choices if c not in only)
        rows.append((row, status))
    parts = [f"## {title}\n"]
    if title in STEPS:
        parts.append(" ".join((cls.__doc__ or "").split()) + "\n")
    shown = [row for row in rows if row[0].support is not Support.NO_EFFECT]
    hidden = [row[0] for row in rows if row[0].support is Support.NO_EFFECT]
    if shown:
        parts.append(_table(shown))
    if hidden:
        names = ", ".join(f"`{p.name}`" for p in hidden)
        parts.append(f"Without effect on time series: {names}.\n")
    return "\n".join(parts)


def _table(rows: list[Row]) -> str:
    lines = ["| parameter | type | default | meaning | state |", "| --- | --- | --- | --- | --- |"]
    lines += [
        f"| `{p.name}` | {p.type_text} | `{_shown(p.default)}` | {p.help} | {status} |"
        for p, status in rows
    ]
    return "\n".join(lines) + "\n"


def _shown(value: object) -> str:
    return "[]" if value == () else str(value)


def main(arguments: list[str]) -> int:
    """Write or check the file."""
    text = parameters_text()
    if "--check" in arguments:
        if TARGET.read_text(encoding="utf-8") == text:
            return 0
        print(f"{TARGET} is not up to date: run python docs/make_parameters.py", file=sys.stderr)
        return 1
    TARGET.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
