"""Run all benchmarks and print what was aimed at beside what was measured.

    python benchmarks/targets.py --jwst-python PYTHON_WITH_JWST
    python benchmarks/targets.py --results          # of the files there, without running anything

Results go to ``benchmarks/results``, the table to ``targets.json`` there and, as Markdown, to
standard output and with ``--page docs/performance.md`` to that page. Sizes: ``--size tiny``
(seconds, to try it), ``small`` (0.4 GB) or ``full`` (2 GB).
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _common import RESULTS, load, machine, put_in_page, versions

SIZES: dict[str, dict[str, list[str]]] = {
    "tiny": {
        "outliers": ["--shape", "30", "8", "16", "--repeat", "1"],
        "photometry": ["--shape", "6", "32", "32", "--repeat", "1"],
        "extraction": ["--modes", "tiny", "--integrations", "2", "--repeat", "1"],
        "scaling": ["--shape", "30", "8", "16", "--photometry", "4", "--rounds", "1000",
                    "--repeat", "1"],
        "pipeline": ["--cases", "mir_lrs-slitless:30:26x20", "--no-warm-up", "--repeat", "1"],
        "soss": ["--modes", "tiny", "--integrations", "2", "--repeat", "1"],
    },
    "small": {
        "outliers": ["--shape", "64", "256", "2048"],
        "photometry": ["--shape", "2000", "64", "64"],
        "extraction": ["--modes", "grism", "lrs", "--fits", "none", "poly0", "poly1"],
        "scaling": ["--shape", "64", "256", "2048", "--plan-integrations", "100000",
                    "--tasks", "5000"],
        "pipeline": ["--cases", "mir_lrs-slitless:50", "nrc_tsimage:400", "mir_lrs-slitless:200",
                     "--alone", "mir_lrs-slitless:560", "nrc_tsimage:4000", "nrc_tsgrism:32",
                     "--memory-case", "nrs_prism:160", "--repeat", "2"],
        "soss": ["--integrations", "32", "--repeat", "3", "--whole", "30"],
    },
    "full": {
        "outliers": ["--shape", "160", "256", "2048"],
        "photometry": ["--shape", "10000", "64", "64"],
        "extraction": ["--integrations", "20"],
        "scaling": ["--shape", "160", "256", "2048", "--plan-integrations", "1000000",
                    "--tasks", "20000"],
        "pipeline": ["--cases", "mir_lrs-slitless:50", "nrc_tsimage:400", "nrs_prism:100",
                     "mir_lrs-slitless:800", "nrc_tsimage:8000", "nrc_tsgrism:80",
                     "--alone", "mir_lrs-slitless:2900", "nrc_tsimage:21000", "nrc_tsgrism:165",
                     "--memory-case", "nrs_prism:300", "--repeat", "2"],
        "soss": ["--integrations", "32", "--repeat", "3", "--whole", "200", "--rtol", "1e-4"],
    },
}  # fmt: skip
BESIDE_JWST = {
    "tiny": {"outliers": ["--jwst", "30"], "photometry": ["--jwst", "6"],
             "extraction": ["--jwst", "2"], "soss": ["--jwst", "2"]},
    "small": {
        "outliers": ["--jwst", "1", "--beside", "200", "16", "2048", "--widths", "5", "24", "25"],
        "photometry": ["--jwst", "100"],
        "extraction": ["--jwst", "2"],
        "soss": ["--jwst", "3"],
    },
    "full": {
        "outliers": ["--jwst", "1", "--beside", "200", "64", "2048",
                     "--widths", "5", "15", "24", "25", "49", "75"],
        "photometry": ["--jwst", "300"],
        "extraction": ["--jwst", "5"],
        "soss": ["--jwst", "3"],
    },
}  # fmt: skip
PAGE_MARKS = ("<!-- table of targets -->\n", "<!-- end of the table -->\n")
SMALL_MB = 60


@dataclass(frozen=True)
class Target:
    """One line of the table.

    Attributes
    ----------
    what : str
        What is measured.
    wanted : str
        Bound, as ``>= 150`` or ``<= 3``.
    measured : list of (str, float)
        Case and value.
    """

    what: str
    wanted: str
    measured: list[tuple[str, float]]

    @property
    def met(self) -> bool | None:
        """Whether all values keep the bound; None without values."""
        sign, bound = self.wanted.split()[:2]
        if not self.measured:
            return None
        values = [value for _, value in self.measured]
        return min(values) >= float(bound) if sign == ">=" else max(values) <= float(bound)


Results = dict[str, Any]
Case = dict[str, Any]


def ratio(
    results: Results, script: str, name: str, wanted: Callable[[Case], bool] = lambda case: True
) -> list[tuple[str, float]]:
    """Values of one ratio of the cases of a script."""
    cases = results.get(script, {}).get("cases", [])
    return [(c["case"], c["ratios"][name]) for c in cases if wanted(c) and name in c["ratios"]]


def figure(
    results: Results, script: str, name: str, key: str, wanted: Callable[[Case], bool]
) -> list[tuple[str, float]]:
    """One time, or memory, of the cases of a script."""
    cases = results.get(script, {}).get("cases", [])
    return [
        (c["case"], c["figures"][name][key]) for c in cases if wanted(c) and name in c["figures"]
    ]


def is_small(case: Case) -> bool:
    """Whether a run is of little data, where the start counts."""
    return case.get("input_mb", 1e9) < SMALL_MB


def is_large(case: Case) -> bool:
    """Whether a run is of much data."""
    return case.get("input_mb", 0) >= SMALL_MB


def targets(results: Results) -> list[Target]:
    """All lines of the table. Ratios are of CPU time but where a name says otherwise."""
    peer, copy = "jwst / tso3dask, CPU", "tso3dask / cp"

    def poly(case: Case) -> bool:
        return "poly" in case["case"]

    def soss(*words: str) -> Callable[[Case], bool]:
        return lambda case: all(word in case["case"] for word in words)

    def median(case: Case) -> bool:
        return case["case"].startswith("rolling median")

    def usual(case: Case) -> bool:
        return median(case) and "window 25" in case["case"]

    def step(case: Case) -> bool:
        return not median(case)

    return [
        Target("rolling median, window 25, jwst / tso3dask", ">= 300",
               ratio(results, "outliers", peer, usual)),
        Target("rolling median, other windows, jwst / tso3dask", ">= 100",
               ratio(results, "outliers", peer, lambda case: median(case) and not usual(case))),
        Target("rolling median / copy of SCI", "<= 5",
               ratio(results, "outliers", "rolling median / copy of sci, CPU")),
        Target("outlier step / copy of six arrays", "<= 3",
               ratio(results, "outliers", "whole step / copy, CPU")),
        Target("outlier step, jwst / tso3dask", ">= 150", ratio(results, "outliers", peer, step)),
        Target("flag and write crfints / cp, wall", "<= 2.5",
               ratio(results, "pipeline", "flag and write / cp, wall", is_large)),
        Target("flag and write crfints / cp", "<= 2.5",
               ratio(results, "pipeline", "flag and write / cp, CPU", is_large)),
        Target("photometry with centroids and fit, jwst / tso3dask", ">= 150",
               ratio(results, "photometry", peer)),
        Target("extraction with its table, jwst's step / tso3dask from file to file", ">= 100",
               ratio(results, "pipeline", "jwst, extract_1d / extract and write, CPU", is_large)),
        Target("box sums without background, jwst / tso3dask, no table", ">= 200",
               ratio(results, "extraction", peer, lambda case: "none" in case["case"])),
        Target("box sums with polynomial background, jwst / tso3dask, no table", ">= 100",
               ratio(results, "extraction", peer, poly)),
        Target("whole run, jwst / tso3dask", ">= 50", ratio(results, "pipeline", peer, is_large)),
        Target("whole run / cp, wall", "<= 4",
               ratio(results, "pipeline", f"{copy}, wall", is_large)),
        Target("whole run / cp", "<= 4", ratio(results, "pipeline", f"{copy}, CPU", is_large)),
        Target("small run, jwst / tso3dask", ">= 5", ratio(results, "pipeline", peer, is_small)),
        Target("small run, s of CPU", "<= 2",
               figure(results, "pipeline", "tso3dask", "cpu", is_small)),
        Target("first run of all, with compilation, s of CPU", "<= 15",
               figure(results, "pipeline", "first run", "cpu", lambda case: True)),
        Target("tso3dask --help, s of CPU", "<= 0.3", results.get("help", [])),
        Target("peak memory of a run, MB", "<= 1000",
               figure(results, "pipeline", "tso3dask", "peak_mb", lambda case: True)),
        Target("peak memory, 8x / 1x integrations", "<= 1.1",
               ratio(results, "pipeline", "8x / 1x, peak")),
        Target("SOSS, preparation of a segment, jwst / tso3dask", ">= 10",
               ratio(results, "soss", peer, soss("SUBSTRIP", "preparation"))),
        Target("SOSS, an integration of SUBSTRIP96, jwst / tso3dask", ">= 30",
               ratio(results, "soss", peer, soss("SUBSTRIP96", "one integration"))),
        Target("SOSS, an integration of SUBSTRIP256, jwst / tso3dask", ">= 80",
               ratio(results, "soss", peer, soss("SUBSTRIP256", "one integration"))),
        Target("SOSS, whole run, model of jwst alone, extrapolated / tso3dask", ">= 30",
               ratio(results, "soss", "jwst, extrapolated / tso3dask, CPU")),
        Target("SOSS, peak memory of a whole run, MB", "<= 1500",
               figure(results, "soss", "tso3dask", "peak_mb", soss("whole run"))),
        Target("plan of many integrations, s of CPU, with imports", "<= 2",
               figure(results, "scaling", "plan, with imports", "cpu", lambda case: True)),
        Target("dask tasks / direct calls, small images", "<= 2",
               ratio(results, "scaling", "dask tasks / direct calls, CPU")),
        Target("one / two threads, wall, kernels in memory", ">= 1.6",
               ratio(results, "scaling", "one thread / two threads, wall",
                     lambda case: "control" not in case["case"])),
        Target("one / two workers, wall, flag and write crfints", ">= 1.25",
               ratio(results, "pipeline", "flag and write, one worker / flag and write, wall",
                     is_large)),
        Target("one / two threads, wall, control: what the machine gave", ">= 1.6",
               ratio(results, "scaling", "one thread / two threads, wall",
                     lambda case: "control" in case["case"])),
    ]  # fmt: skip


def table(lines: Sequence[Target]) -> str:
    """Return the lines as a Markdown table."""
    words = {True: "yes", False: "no", None: "not measured"}
    text = ["| what | target | measured | met |", "| --- | --- | --- | --- |"]
    for line in lines:
        measured = "; ".join(f"{case}: {value:.3g}" for case, value in line.measured)
        text.append(f"| {line.what} | {line.wanted} | {measured} | {words[line.met]} |")
    return "\n".join(text) + "\n"


def write_page(lines: Sequence[Target], found: dict[str, Any], page: Path) -> None:
    """Put the table between its marks in a page of the documentation."""
    names = ("numpy", "numba", "dask", "jwst")
    known = ", ".join(f"{n} {found['versions'][n]}" for n in names if n in found["versions"])
    place = found["machine"]
    text = f"Measured {found['date']}: {place['processor']}, {place['cores']} cores; {known}.\n\n"
    put_in_page(page, PAGE_MARKS, text + table(lines))


def run_all(size: str, folder: Path, jwst_python: Path | None) -> None:
    """Run the scripts one after the other, each in a process of its own."""
    for name, words in SIZES[size].items():
        more = ["--json", str(folder / f"{name}.json")]
        if name == "pipeline":
            more += ["--jwst-python", str(jwst_python)] if jwst_python else ["--no-jwst"]
        here = name in BESIDE_JWST[size] and jwst_python and importlib.util.find_spec("jwst")
        if here:
            more += BESIDE_JWST[size][name]
        script = Path(__file__).parent / f"{name}.py"
        print(f"{name} ...", file=sys.stderr)
        log = folder / f"{name}.log"
        with log.open("w") as stream:
            subprocess.run([sys.executable, "-u", script, *words, *more], check=True, stdout=stream)


def start_of_help(repeat: int) -> list[tuple[str, float]]:
    """CPU seconds of ``tso3dask --help``."""
    pipeline = importlib.import_module("pipeline")
    log = RESULTS.parent / "help.log"
    runs = [pipeline.process([*pipeline.TSO3DASK, "--help"], log) for _ in range(repeat)]
    log.unlink()
    return [("help", min(cpu for _, cpu, _ in runs))]


def main(argv: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--results", action="store_true", help="run nothing")
    parser.add_argument("--folder", type=Path, default=RESULTS, help="folder of results")
    parser.add_argument("--jwst-python", type=Path, help="Python that has jwst")
    parser.add_argument("--page", type=Path, help="page whose table is replaced by this one")
    args = parser.parse_args(argv)
    args.folder.mkdir(parents=True, exist_ok=True)
    if not args.results:
        run_all(args.size, args.folder, args.jwst_python)
    names = [name for name in SIZES["small"] if (args.folder / f"{name}.json").exists()]
    results: Results = {n: json.loads((args.folder / f"{n}.json").read_text()) for n in names}
    results["help"] = start_of_help(5)
    lines = targets(results)
    content = {
        "date": time.strftime("%Y-%m-%d"),
        "versions": versions(),
        "machine": machine(),
        "load": load(),
        "targets": [vars(line) | {"met": line.met} for line in lines],
    }
    path = args.folder / "targets.json"
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    if args.page:
        write_page(lines, content, args.page)
    print(table(lines))


if __name__ == "__main__":
    main()
