"""docs/parity.md lists every case of the suite."""

from __future__ import annotations

import importlib
from collections import Counter
from pathlib import Path

import pytest

pytest.importorskip("jwst")
pytestmark = pytest.mark.parity

from harness import Case  # noqa: E402
from table import PAGE, added, layout, page, parse, read  # noqa: E402

HERE = Path(__file__).resolve().parent


def cases_of(module):
    """Cases in the lists and tables of a module, by the module that made them first."""
    for value in vars(module).values():
        items = value.values() if isinstance(value, dict) else value
        if isinstance(items, (list, tuple, type({}.values()))):
            yield from (item for item in items if isinstance(item, Case))


def all_cases():
    """Give the different cases of all modules of the suite, each with the first that has it."""
    found = {}
    modules = {path for path in HERE.glob("test_*.py") if path.stem != "test_compare"}
    for path in sorted(modules):  # that one changes products to see whether it is noticed
        for case in cases_of(importlib.import_module(path.stem)):
            found.setdefault(id(case), (path.stem, case))
    return [(stem, case.name) for stem, case in found.values()]


def test_names_of_cases_differ():
    names = Counter(all_cases())
    assert len(names) > 300
    assert [name for name, count in names.items() if count > 1] == []


def test_all_cases_are_on_the_page():
    text = PAGE.read_text()
    names = {name for _, name in all_cases()}
    missing = sorted(name for name in names if f"| {name} |" not in text)
    assert missing == [], "run python tests/parity/table.py"


def test_a_page_can_be_read_and_added_to():
    text = PAGE.read_text()
    assert layout(parse(text)) == text
    more = [
        f'{{"test": "test_zz", "case": "{case}", "product": "x1dints", "quantity": "FLUX", '
        f'"largest": {largest}, "tolerance": 1e-06, "values": 10}}'
        for case, largest in (("one", 2e-7), ("two", 3e-12))
    ]
    before, after = parse(text), parse(added(text, read(more)))
    key = ("x1dints", "FLUX, its error and variances", 1e-6)
    assert after.whole[key].values == before.whole[key].values + 20
    assert len(after.whole[key].cases) == len(before.whole[key].cases) + 2
    assert after.tests["test_zz"]["one"][key].largest == 2e-7
    assert added(added(text, read(more[:1])), read(more[1:])) == added(text, read(more))
    with pytest.raises(SystemExit, match="test_zz one"):
        added(added(text, read(more)), read(more))


def test_page_is_laid_out_alike():
    lines = [
        '{"test": "test_b", "case": "one", "product": "x1dints", "quantity": "FLUX", '
        '"largest": 2.5e-12, "tolerance": 1e-06, "values": 10}',
        '{"test": "test_a", "case": "two", "product": "x1dints", "quantity": "FLUX_ERROR", '
        '"largest": 5e-13, "tolerance": 1e-06, "values": 10}',
        '{"test": "test_a", "case": "two", "product": "crfints", "quantity": "DQ", '
        '"largest": 0.0, "tolerance": 0.0, "values": 1000}',
    ]
    text = page(read(lines), {"jwst": "3.0.0"})
    assert text == page(read(lines[::-1]), {"jwst": "3.0.0"})
    assert "2 cases; jwst 3.0.0." in text
    assert "| x1dints | FLUX, its error and variances | 2e-12 | 1e-06 | 20 | 2 |" in text
    assert "| two | crfints | all that has to be equal | 0 | equal |" in text
    assert text.index("test_a: 1 cases") < text.index("test_b: 1 cases")
