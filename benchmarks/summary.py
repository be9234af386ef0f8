"""Print results of benchmarks as Markdown tables, and keep them in one file.

    python benchmarks/summary.py benchmarks/results/outliers.json benchmarks/results/pipeline.json

Without files: those of all scripts that are in ``benchmarks/results``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from _common import RESULTS

SCRIPTS = ("outliers", "photometry", "extraction", "soss", "pipeline")


def table(result: dict[str, Any]) -> str:
    """Return one script's results as text and a table."""
    load = result["load"]
    when = ", ".join(
        f"{name} {load[name]['average_1min']}" for name in ("before", "after") if name in load
    )
    machine, versions = result["machine"], result["versions"]
    lines = [
        f"### {result['benchmark']}.py",
        "",
        f"{result['date']}, {machine['processor']}, {machine['cores']} cores, load average {when};"
        f" numpy {versions['numpy']}, numba {versions['numba']},"
        f" jwst {versions.get('jwst', 'absent')}.",
        "",
        "| case | what | least, s | median, s | CPU, s | peak, MB |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for case in result["cases"]:
        for name, figure in case["figures"].items():
            values = [f"{figure[key]:.3g}" for key in ("min", "median", "cpu")]
            peak = f"{figure['peak_mb']:.0f}" if "peak_mb" in figure else ""
            lines.append(f"| {case['case']} | {name} | {' | '.join(values)} | {peak} |")
    lines += ["", "| case | ratio | |", "| --- | --- | ---: |"]
    for case in result["cases"]:
        for name, ratio in case["ratios"].items():
            lines.append(f"| {case['case']} | {name} | {ratio:.3g} |")
    return "\n".join(lines) + "\n"


def main(argv: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", nargs="*", type=Path)
    parser.add_argument("--json", type=Path, help="file to keep all results in")
    args = parser.parse_args(argv)
    paths = args.results or [p for n in SCRIPTS if (p := RESULTS / f"{n}.json").exists()]
    found: list[Any] = []
    for path in paths:
        content = json.loads(path.read_text(encoding="utf-8"))
        found += content if isinstance(content, list) else [content]
    print("\n".join(table(result) for result in found))
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
