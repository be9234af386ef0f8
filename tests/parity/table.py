"""Make docs/parity.md from what the tests of this folder measure.

``python tests/parity/table.py`` runs the tests that compare whole runs and writes the page.
``python tests/parity/table.py FILE`` takes the records of an earlier run, kept in the file that
TSO3DASK_PARITY_TABLE named. ``python tests/parity/table.py --add FILE`` adds the records of cases
that are not on the page yet, and leaves the others as they are. Differences are relative to the
larger of jwst's value and its own error; for quantities that have to be equal, the number of values
that differ counts.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["PAGE", "added", "page", "read"]

HERE = Path(__file__).resolve().parent
PAGE = HERE.parents[1] / "docs" / "parity.md"
PACKAGES = ("jwst", "stdatamodels", "photutils", "numpy", "scipy", "astropy", "numba", "dask")

GROUPS: tuple[tuple[str, str], ...] = (
    (r"(INT_TIMES_STRIPE|INT_TIMES|HDRTAB) .*", r"columns of \1"),
    (r"(MJD|TDB)-\w+|INT_NUM|SEGMENT|N_ALONGDISP", "times and numbers"),
    (r"FLUX\w*", "FLUX, its error and variances"),
    (r"SURF_BRIGHT|SB_\w+", "SURF_BRIGHT, its error and variances"),
    (r"BACKGROUND|BKGD_\w+", "BACKGROUND, its error and variances"),
    (r"SCI|ERR|VAR_\w+", "SCI, ERR, VAR_POISSON, VAR_RNOISE, VAR_FLAT"),
    (r"(MJD|MJD_UTC|BJD_TDB)\w*", "times"),
    (r"(net_)?aperture_(sum|bkg)\w*|annulus_\w+", "sums, background and their errors"),
    (r"(aperture|centroid)_\w+", "places and centroids"),
    (r"psf_\w+", "PSF fits"),
    (r"whitelight_flux\w*", "whitelight_flux"),
)
"""Patterns of quantities, and the names under which they stand together."""

Key = tuple[str, str, float]
"""Product, group of quantities, tolerance."""

HEADING = """\
# Comparison with jwst

Made by `python tests/parity/table.py`, not by hand. Every case is one simulated observation, which
`jwst` and tso3dask process with the same parameters and references; all values of all products are
compared.

{cases} cases; {versions}.

A difference is relative to the larger of jwst's value and its own error. Where the tolerance is
*equal*, the number of values that differ counts. The pattern of NaN, data types, units, the order
of columns, extensions and keywords, and metadata are equal in all cases. What differs on purpose
is not here but in [differences.md](differences.md).

## Summary

| product | quantity | largest difference | tolerance | values | cases |
| --- | --- | --- | --- | --- | --- |"""


@dataclass
class Entry:
    """Largest difference of a group of quantities."""

    largest: float = 0.0
    tolerance: float = 0.0
    values: int = 0
    cases: set[str] = field(default_factory=set)

    def add(self, record: dict[str, Any]) -> None:
        """Take one more record in."""
        self.largest = max(self.largest, record["largest"])
        self.tolerance = record["tolerance"]
        self.values += record["values"]
        self.cases.add(f"{record['test']} {record['case']}")

    @classmethod
    def of_cells(cls, cells: list[str]) -> Entry:
        """Entry of a row of the page, from its last cells."""
        largest, tolerance, *more = cells
        values, count = (int(cell.replace(",", "")) for cell in more or ("0", "0"))
        entry = cls(float(largest.split()[0]), 0.0 if tolerance == "equal" else float(tolerance))
        entry.values, entry.cases = values, {f"earlier {i}" for i in range(count)}
        return entry

    @property
    def text(self) -> str:
        """Largest difference and tolerance, as cells of a table."""
        if self.tolerance:
            largest = f"{self.largest:.0e}" if self.largest else "0"
            return f"{largest} | {self.tolerance:.0e}"
        return f"{f'{self.largest:.0f} differ' if self.largest else '0'} | equal"


def read(lines: Iterable[str]) -> list[dict[str, Any]]:
    """Parse records, one JSON object per line."""
    return [json.loads(line) for line in lines if line.strip()]


def group(quantity: str) -> str:
    """Name of the group that a quantity belongs to."""
    for pattern, name in GROUPS:
        if found := re.fullmatch(pattern, quantity):
            return found.expand(name)
    return quantity


@dataclass
class Page:
    """What is on the page: groups of quantities in all cases, and in each case of each test."""

    versions: str
    whole: dict[Key, Entry] = field(default_factory=lambda: defaultdict(Entry))
    tests: dict[str, dict[str, dict[Key, Entry]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(lambda: defaultdict(Entry)))
    )

    def take(self, records: list[dict[str, Any]]) -> None:
        """Take records in."""
        for record in records:
            product, tolerance = record["product"], record["tolerance"]
            key = (product, group(record["quantity"]), tolerance)
            self.whole[key].add(record)
            short = key if tolerance else (product, "all that has to be equal", tolerance)
            self.tests[record["test"]][record["case"]][short].add(record)


def page(records: list[dict[str, Any]], versions: dict[str, str]) -> str:
    """Lay out the page: a summary, then a folded table per test."""
    made = Page(", ".join(f"{name} {version}" for name, version in versions.items()))
    made.take(records)
    return layout(made)


def added(text: str, records: list[dict[str, Any]]) -> str:
    """Add the records of further cases to a page."""
    made = parse(text)
    for test, case in sorted({(record["test"], record["case"]) for record in records}):
        if case in made.tests.get(test, {}):
            raise SystemExit(f"{test} {case} is on the page: measure the whole of it anew")
    made.take(records)
    return layout(made)


def parse(text: str) -> Page:
    """Read a page."""
    made = Page(re.findall(r"^\d+ cases; (.*)\.$", text, re.MULTILINE)[0])
    test = ""
    for line in text.splitlines():
        if found := re.match(r"<details><summary>(\w+): ", line):
            test = found[1]
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if not line.startswith("| ") or cells[0] in ("product", "case", "---"):
            continue
        first = 1 if test else 0
        entry = Entry.of_cells(cells[first + 2 :])
        key = (cells[first], cells[first + 1], entry.tolerance)
        if test:
            made.tests[test][cells[0]][key] = entry
        else:
            made.whole[key] = entry
    return made


def layout(made: Page) -> str:
    """Write a page."""
    tests = made.tests
    count = sum(len(cases) for cases in tests.values())
    lines = [HEADING.format(cases=count, versions=made.versions)]
    lines += [
        f"| {product} | {name} | {entry.text} | {entry.values:,} | {len(entry.cases)} |"
        for (product, name, _), entry in sorted(made.whole.items())
    ]
    lines += ["", "## Cases", ""]
    for test in sorted(tests):
        lines += [f"<details><summary>{test}: {len(tests[test])} cases</summary>", ""]
        lines += ["| case | product | quantity | largest difference | tolerance |"]
        lines += ["| --- | --- | --- | --- | --- |"]
        for case in sorted(tests[test]):
            lines += [
                f"| {case} | {product} | {name} | {entry.text} |"
                for (product, name, _), entry in sorted(tests[test][case].items())
            ]
        lines += ["", "</details>", ""]
    return "\n".join(lines).rstrip() + "\n"


def measure() -> list[dict[str, Any]]:
    """Run the tests and give their records."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "records.jsonl"
        command = [sys.executable, "-m", "pytest", "-q", "-m", "parity", str(HERE)]
        if importlib.util.find_spec("xdist"):
            command += ["-n", "2"]
        environment = {**os.environ, "TSO3DASK_PARITY_TABLE": str(path), "OMP_NUM_THREADS": "1"}
        if subprocess.run(command, env=environment, check=False).returncode:
            raise SystemExit("tests failed: docs/parity.md is left as it was")
        return read(path.read_text().splitlines())


def main(arguments: list[str]) -> None:
    """Write the page."""
    if arguments[:1] == ["--add"]:
        PAGE.write_text(added(PAGE.read_text(), read(Path(arguments[1]).read_text().splitlines())))
        return
    records = read(Path(arguments[0]).read_text().splitlines()) if arguments else measure()
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    PAGE.write_text(page(records, versions))


if __name__ == "__main__":
    main(sys.argv[1:])
