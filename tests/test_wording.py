"""Numbers in messages."""

import pytest

from tso3dask.wording import counted, format_bytes, format_seconds, listed, numbered


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (11_880_000, "11.9 MB"), (2.5e12, "2.5 TB")],
)
def test_sizes(count, text):
    assert format_bytes(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (42.4, "42 s"), (151, "2 min 31 s"), (3900, "1 h 05 min")],
)
def test_durations(seconds, text):
    assert format_seconds(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 members"), (1, "1 member"), (2, "2 members"), (4000, "4,000 members")],
)
def test_counts(count, text):
    assert counted(count, "member") == text


def test_lists():
    assert listed([3]) == "integration 3"
    assert listed((1, 2, 7), "row") == "rows 1, 2, 7"
    assert listed(range(4, 40, 4)) == "integrations 4, 8, 12, 16, 20 ..."


def test_ranges():
    assert numbered(2, 5) == "integrations 2-5"
    assert numbered(2, 2) == "integration 2"
