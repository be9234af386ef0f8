"""What all benchmarks share: options, clocks, the machine, and the file of results."""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import json
import os
import platform
import statistics
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"

PACKAGES = ("tso3dask", "numpy", "scipy", "numba", "astropy", "dask", "xarray", "jwst")

NAMES_OF_RATIOS = {"min": "wall", "cpu": "CPU", "peak_mb": "peak"}

Figure = dict[str, float]
"""Seconds of one thing that was timed; see `clock`."""


def options(doc: str, name: str, repeat: int = 5) -> argparse.ArgumentParser:
    """Return a parser with the options that all scripts have."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=repeat, help=f"timed runs ({repeat})")
    default = RESULTS / f"{name}.json"
    parser.add_argument("--json", type=Path, default=default, help=f"results ({default.name})")
    return parser


def jwst_option(parser: argparse.ArgumentParser) -> None:
    """Add the option of scripts that call functions of jwst."""
    parser.add_argument(
        "--jwst",
        type=int,
        default=0,
        metavar="N",
        help="also run jwst's own code, once, on the first N integrations, and compare",
    )


def clock(run: Callable[[], Any], repeat: int) -> Figure:
    """Time a function that runs in this thread.

    Returns
    -------
    dict
        ``min``, ``median`` and ``cpu`` (of the quickest run) of `repeat` runs, and ``first``, the
        run before them, which may compile or load a kernel and touches its memory first; seconds.
    """
    first, *runs = (once(run) for _ in range(repeat + 1))
    return summary(runs) | {"first": first[0]}


def once(run: Callable[[], Any]) -> tuple[float, float]:
    """Wall and CPU seconds of one run in this thread."""
    wall, cpu = time.perf_counter(), time.thread_time()
    run()
    return time.perf_counter() - wall, time.thread_time() - cpu


def summary(runs: Sequence[tuple[float, float]]) -> Figure:
    """Least and median wall, and CPU of the quickest, of pairs of wall and CPU seconds."""
    least, cpu = min(runs)
    return {"min": least, "median": statistics.median(wall for wall, _ in runs), "cpu": cpu}


def ratios(
    figures: Mapping[str, Figure], pairs: Sequence[tuple[str, str]], key: str = "cpu"
) -> dict[str, float]:
    """Figures of the first of each pair over those of the second.

    By default CPU times: where others use the machine, long runs wait for a core and runs of
    milliseconds do not, so that wall times of the two do not compare.
    """
    return {
        f"{a} / {b}, {NAMES_OF_RATIOS[key]}": figures[a][key] / figures[b][key]
        for a, b in pairs
        if a in figures and b in figures
    }


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that matter, as far as they are installed."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def machine() -> dict[str, Any]:
    """Processor, cores, memory and system."""
    processor = platform.processor() or platform.machine()
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = next(line for line in lines if line.startswith("model name")).split(": ")[1]
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "processor": processor,
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "memory_gb": round(memory / 1e9, 1),
        "system": f"{platform.system()} {platform.machine()}",
    }


def load() -> dict[str, float]:
    """Return load average, and the share of a minute in which something waited for a core."""
    found = {"average_1min": round(os.getloadavg()[0], 2)}
    with contextlib.suppress(OSError, IndexError):
        words = Path("/proc/pressure/cpu").read_text().split()
        found["waiting_percent"] = float(words[2].removeprefix("avg60="))
    return found


def put_in_page(page: Path, marks: tuple[str, str], text: str) -> None:
    """Replace what is between two marks in a page of the documentation."""
    before, rest = page.read_text(encoding="utf-8").split(marks[0])
    after = rest.split(marks[1])[1]
    page.write_text(before + marks[0] + text + marks[1] + after, encoding="utf-8")


class Report:
    """The results of one script.

    Parameters
    ----------
    name : str
        Name of the benchmark.
    args : Namespace
        What it was asked for.
    """

    def __init__(self, name: str, args: argparse.Namespace) -> None:
        given = {key: str(v) if isinstance(v, Path) else v for key, v in vars(args).items()}
        self.path: Path = args.json
        given.pop("json")
        self.content: dict[str, Any] = {
            "benchmark": name,
            "arguments": given,
            "date": time.strftime("%Y-%m-%d"),
            "versions": versions(),
            "machine": machine(),
            "load": {"before": load()},
            "cases": [],
        }

    def add(self, case: str, figures: Mapping[str, Figure], **more: Any) -> None:
        """Add a case, and print it."""
        self.content["cases"].append({"case": case, "figures": figures, **more})
        print(case)
        for name, figure in figures.items():
            rest = "  ".join(f"{k} {v:.4g}" for k, v in figure.items() if k != "min")
            print(f"  {name:28s} {figure['min']:10.6f} s  {rest}")
        for name, ratio in more.get("ratios", {}).items():
            print(f"  {name:42s} {ratio:10.4g}")
        if "agreement" in more:
            print(f"  agreement: {json.dumps(more['agreement'])}")

    def add_beside_jwst(
        self,
        case: str,
        shape: Sequence[int],
        theirs: Callable[[], Any],
        ours: Callable[[], Any],
        agreement: Callable[[Any, Any], dict[str, Any]],
    ) -> None:
        """Time jwst's own code once and ours a few times on the same arrays; compare results."""
        found: dict[str, Any] = {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            figures = {"jwst": summary([once(lambda: found.update(jwst=theirs()))])}
        figures["tso3dask"] = clock(lambda: found.update(tso3dask=ours()), 3)
        self.add(
            f"{case}, beside jwst",
            figures,
            shape=tuple(shape),
            ratios=ratios(figures, [("jwst", "tso3dask")]),
            agreement=agreement(found["jwst"], found["tso3dask"]),
        )

    def write(self) -> None:
        """Write the file of results."""
        self.content["load"]["after"] = load()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(
            json.dumps(self.content, indent=1, default=str) + "\n", encoding="utf-8"
        )
        print(f"results in {self.path}")
