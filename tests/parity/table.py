"""Make a table of the largest differences from the file that TSO3DASK_PARITY_TABLE names.

``python tests/parity/table.py FILE`` prints Markdown: one line per product and quantity, over all
cases. Differences are relative to the larger of jwst's value and its own error; for quantities that
have to be equal, the number of values that differ.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

__all__ = ["markdown", "read"]


def read(path: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """Largest difference, values and cases by product and quantity."""
    found: dict[tuple[str, str], dict[str, Any]] = defaultdict(
        lambda: {"largest": 0.0, "tolerance": 0.0, "values": 0, "cases": set()}
    )
    for line in path.read_text().splitlines():
        record = json.loads(line)
        entry = found[record["product"], record["quantity"]]
        entry["tolerance"] = record["tolerance"]
        entry["largest"] = max(entry["largest"], record["largest"])
        entry["values"] += record["values"]
        entry["cases"].add(record["case"])
    return dict(found)


def markdown(found: dict[tuple[str, str], dict[str, Any]]) -> str:
    """Lay out the table."""
    lines = [
        "| product | quantity | largest difference | tolerance | values | cases |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for (product, quantity), entry in sorted(found.items()):
        exact = not entry["tolerance"]
        largest = f"{entry['largest']:.0f} differ" if exact else f"{entry['largest']:.1e}"
        tolerance = "equal" if exact else f"{entry['tolerance']:.0e}"
        cases = len(entry["cases"])
        lines.append(
            f"| {product} | {quantity} | {largest} | {tolerance} | {entry['values']:,} | {cases} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    print(markdown(read(Path(sys.argv[1]))))
