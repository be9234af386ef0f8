"""Time whole runs in new processes: tso3dask, a copy of the input, and jwst where there is one.

    python benchmarks/pipeline.py --cases mir_lrs-slitless:300 --memory-case nrs_prism:160
    python benchmarks/pipeline.py --no-jwst --recipe precise --page docs/light-curves.md

A case is a mode of the simulator, the number of integrations and, for small trials, the size of
the array: ``MODE:INTEGRATIONS[:NYxNX]``. Observations and products are written to a temporary
folder (``--folder``: where) and removed. Figures are seconds of whole processes, imports included.
Each case has a cache of compiled kernels of its own, empty at first: the small run of the same kind
that fills it (``first run``) is the first run of all on a machine.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _common import Figure, Report, options, put_in_page, ratios, summary

HERE = Path(__file__).parent
TSO3DASK = (sys.executable, "-m", "tso3dask")
PAGE_MARKS = ("<!-- table of benchmarks/pipeline.py -->\n", "<!-- end of what it costs -->\n")
CASES = ("mir_lrs-slitless:300", "nrc_tsimage:2000", "nrc_tsgrism:32")


@dataclass(frozen=True)
class Case:
    """What is simulated."""

    mode: str
    nints: int
    shape: str | None = None

    @classmethod
    def parse(cls, text: str) -> Case:
        """Read ``MODE:INTEGRATIONS[:NYxNX]``."""
        mode, nints, *shape = text.split(":")
        return cls(mode, int(nints), *shape)

    def times(self, factor: int) -> Case:
        """The same with more integrations."""
        return Case(self.mode, self.nints * factor, self.shape)

    def __str__(self) -> str:
        shape = f" of {self.shape}" if self.shape else ""
        return f"{self.mode}, {self.nints} integrations{shape}"


class ProcessError(RuntimeError):
    """A process that did not do what it should."""


def environment(kernels: Path | None) -> dict[str, str]:
    """Variables of a process: compiled kernels in that folder, modules compiled once."""
    found = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return found | ({"NUMBA_CACHE_DIR": str(kernels)} if kernels else {})


def process(
    command: Sequence[str | Path], log: Path, kernels: Path | None = None
) -> tuple[float, float, float]:
    """Run a command; return wall and CPU seconds and its peak resident memory in MB.

    The peak that the system reports of a child is at least that of its parent when it started, so
    nothing large is imported here.
    """
    os.sync()  # what was written before shall not be paid for now
    with log.open("w") as stream:
        start = time.perf_counter()
        words = [str(word) for word in command]
        child = subprocess.Popen(words, stdout=stream, stderr=stream, env=environment(kernels))
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.perf_counter() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        tail = "\n".join(log.read_text().splitlines()[-15:])
        raise ProcessError(f"exit {child.returncode} of {' '.join(map(str, command))}\n{tail}")
    unit = 1 if sys.platform == "darwin" else 1024
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit / 1e6


def simulate(case: Case, folder: Path) -> tuple[Path, Path, list[Path]]:
    """Write an observation in one segment; return association, parameters and members."""
    words: list[str | Path] = [
        *TSO3DASK,
        "simulate",
        case.mode,
        "-o",
        folder,
        "--nints",
        str(case.nints),
    ]
    words += ["--segments", "1"] + (["--shape", case.shape] if case.shape else [])
    process(words, folder.with_suffix(".log"))
    (association,) = folder.glob("*_asn.json")
    return association, folder / "steps.json", sorted(folder.glob("*_calints.fits"))


def measure(runs: Sequence[tuple[float, float, float]]) -> Figure:
    """Times and the largest peak of several runs."""
    peak = max(mb for _, _, mb in runs)
    return summary([(wall, cpu) for wall, cpu, _ in runs]) | {"peak_mb": round(peak, 1)}


def array_shape(path: Path) -> str:
    """Rows and columns of a calints file, as NYxNX."""
    with path.open("rb") as stream:
        text = stream.read(10**6).decode("ascii", "replace")
    found = {key: re.search(rf"{key} *= *(\d+)", text) for key in ("NAXIS2", "NAXIS1")}
    return "x".join(match.group(1) if match else "?" for match in found.values())


def size(paths: Sequence[Path]) -> float:
    """Size of files in MB."""
    return sum(path.stat().st_size for path in paths) / 1e6


def run_case(
    case: Case,
    work: Path,
    repeat: int,
    jwst: Path | None,
    kernels: Path | None = None,
    recipe: str | None = None,
) -> dict[str, Any]:
    """Simulate, run everything, and return what to report."""
    association, steps, members = simulate(case, work / "input")
    log, out = work / "run.log", work / "products"
    copies = []
    for _ in range(repeat):
        (work / "copy").mkdir()
        copies.append(process(["cp", *members, work / "copy"], log))
        shutil.rmtree(work / "copy")
    given: list[str | Path] = [association, "--params", steps]
    plans = [process([*TSO3DASK, "plan", *given], log, kernels) for _ in range(repeat)]
    runs = []
    for _ in range(repeat):
        shutil.rmtree(out, ignore_errors=True)
        runs.append(process([*TSO3DASK, "run", *given, "-o", out, "--no-plots"], log, kernels))
    products = sorted(path for path in out.iterdir() if path.suffix in (".fits", ".ecsv"))
    found: dict[str, Any] = {
        "input_mb": round(size(members), 3),
        "products_mb": round(size(products), 3),
        "products": [path.name for path in products],
        "shape": case.shape or array_shape(members[0]),
    }
    figures = {"cp": measure(copies), "plan": measure(plans), "tso3dask": measure(runs)}
    shutil.rmtree(out)
    if recipe:
        words = [*TSO3DASK, "run", *given, "-o", out, "--no-plots", "--recipe", recipe]
        with_recipe = []
        for _ in range(repeat + 1):
            with_recipe.append(process(words, log, kernels))
            shutil.rmtree(out)
        figures["recipe"] = measure(with_recipe[1:])  # the first one compiles
        found["recipe"] = recipe
    words = [TSO3DASK[0], HERE / "_run_parts.py", association, steps, out, str(repeat)]
    process(words, log, kernels)
    parts = json.loads(log.read_text().splitlines()[-1])
    figures |= {name: summary(seconds) for name, seconds in parts.items()}
    if jwst:
        script = HERE / "_run_jwst.py"
        figures["jwst"] = measure([process([jwst, script, association, steps, out], log)])
        found["jwst"] = json.loads(log.read_text().splitlines()[-1])
        seconds = found["jwst"].get("steps_cpu", {}).get("extract_1d")
        if seconds:
            figures["jwst, extract_1d"] = summary([(seconds, seconds)])
        shutil.rmtree(out)
    shutil.rmtree(work / "input")
    return found | {"figures": figures, "ratios": run_ratios(figures)}


def run_ratios(figures: dict[str, Figure]) -> dict[str, float]:
    """Ratios of wall, CPU and memory."""
    peer = ("jwst", "tso3dask")
    floor = [("tso3dask", "cp"), ("jwst", "cp")]
    written = ("flag and write", "cp")
    recipe = ("recipe", "tso3dask")
    extracted = ("jwst, extract_1d", "extract and write")
    by_worker = ("flag and write, one worker", "flag and write")
    return (
        ratios(figures, [*floor, written, by_worker, recipe, peer], "min")
        | ratios(
            figures,
            [("tso3dask", "cp"), written, extracted, recipe, peer],
            "cpu",
        )
        | ratios(figures, [recipe, peer], "peak_mb")
    )


def recipe_table(cases: Sequence[dict[str, Any]]) -> str:
    """What a recipe costs beside the defaults, as a table of a page."""
    lines = [
        "",
        "| observation | input, GB | defaults, s | recipe, s | wall | CPU | peaks, MB |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for case in cases:
        plain, recipe = case["figures"]["tso3dask"], case["figures"]["recipe"]
        wall, cpu = (case["ratios"][f"recipe / tso3dask, {kind}"] for kind in ("wall", "CPU"))
        lines.append(
            f"| {case['case']} | {case['input_mb'] / 1000:.2f} | {plain['min']:.1f}"
            f" | {recipe['min']:.1f} | {wall:.2f} | {cpu:.2f}"
            f" | {plain['peak_mb']:.0f}, {recipe['peak_mb']:.0f} |"
        )
    return "\n".join([*lines, "", ""])


def memory(case: Case, work: Path, kernels: Path | None) -> dict[str, Any]:
    """Peaks of runs of one and of eight times the integrations."""
    figures = {}
    for factor in (1, 8):
        association, steps, members = simulate(case.times(factor), work / "input")
        words = [*TSO3DASK, "run", association, "--params", steps, "-o", work / "products"]
        figure = measure([process([*words, "--no-plots"], work / "run.log", kernels)])
        figures[f"{factor}x"] = figure | {"input_mb": round(size(members), 3)}
        for folder in ("input", "products"):
            shutil.rmtree(work / folder)
    return {"figures": figures, "ratios": ratios(figures, [("8x", "1x")], "peak_mb")}


def peer(args: argparse.Namespace) -> Path | None:
    """Python with jwst, if any."""
    if args.no_jwst:
        return None
    if args.jwst_python:
        return args.jwst_python
    return Path(sys.executable) if importlib.util.find_spec("jwst") else None


def main(argv: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = options(__doc__, "pipeline", repeat=3)
    parser.add_argument("--cases", nargs="*", type=Case.parse, default=[*map(Case.parse, CASES)])
    parser.add_argument(
        "--alone", nargs="*", type=Case.parse, default=[], help="cases that jwst is left out of"
    )
    parser.add_argument("--recipe", help="also run each case with this recipe")
    parser.add_argument("--page", type=Path, help="page for a table of what the recipe costs")
    parser.add_argument("--memory-case", type=Case.parse, help="also run it at 1x and 8x")
    parser.add_argument("--jwst-python", type=Path, help="Python that has jwst (this one)")
    parser.add_argument("--no-jwst", action="store_true", help="leave jwst out")
    parser.add_argument("--no-warm-up", action="store_true", help="kernels are compiled already")
    parser.add_argument("--folder", type=Path, help="where to make the temporary folder")
    args = parser.parse_args(argv)
    jwst = peer(args)
    shown = argparse.Namespace(**vars(args))
    shown.cases, shown.memory_case = [*map(str, args.cases)], str(args.memory_case)
    shown.alone = [*map(str, args.alone)]
    report = Report("pipeline", shown)
    with tempfile.TemporaryDirectory(prefix="tso3dask-benchmark.", dir=args.folder) as folder:
        work = Path(folder)
        for case in [*args.cases, *args.alone]:
            kernels = None if args.no_warm_up else work / f"kernels-{len(report.content['cases'])}"
            first = first_run(case, work, kernels) if kernels else {}
            their = jwst if case in args.cases else None
            found = run_case(case, work, args.repeat, their, kernels, args.recipe)
            found["figures"] |= first
            report.add(str(case), **found)
        if args.memory_case:
            kernels = None if args.no_warm_up else work / "kernels-memory"
            if kernels:
                first_run(args.memory_case, work, kernels)
            found = memory(args.memory_case, work, kernels)
            report.add(f"memory, {args.memory_case}", **found)
    report.write()
    if args.page and args.recipe:
        put_in_page(args.page, PAGE_MARKS, recipe_table(report.content["cases"]))


def first_run(case: Case, work: Path, kernels: Path) -> dict[str, Figure]:
    """Time a small run of the same kind that compiles its kernels, and keeps them."""
    few = Case(case.mode, min(case.nints, 30), case.shape)
    association, steps, _ = simulate(few, work / "input")
    words = [*TSO3DASK, "run", association, "--params", steps, "-o", work / "first", "--no-plots"]
    figure = measure([process(words, work / "run.log", kernels)])
    for folder in ("input", "first"):
        shutil.rmtree(work / folder)
    return {"first run": figure}


if __name__ == "__main__":
    main()
