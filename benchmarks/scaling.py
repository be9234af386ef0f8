"""Time two threads against one, and the plan of a long observation.

    python benchmarks/scaling.py --shape 64 256 2048 --plan-integrations 1000000 --tasks 20000

Two threads flag two halves of a cube in memory. How much of two cores the machine gave is told by a
control, a loop of plain arithmetic in two threads. The plan is of 24 segments of small images that
are simulated for it; its graph is built, and nothing is computed. ``--tasks`` flags a segment of
that many integrations of 32 x 32 pixels by a dask graph, and by one call of the kernel.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba
import numpy as np
from _common import Figure, Report, options, ratios, summary
from outliers import NAMES, make_cube

import tso3dask
from tso3dask.ops.aperture import aperture_sums
from tso3dask.ops.dq import interpret_good_bits
from tso3dask.ops.medians import Window
from tso3dask.ops.outliers import flag_block
from tso3dask.ops.psffit import centroids_and_psf

SEGMENTS = 24
PLAN = """
import time
start = time.perf_counter(), time.process_time()
import tso3dask
plan = tso3dask.plan({asn!r})
ready = time.perf_counter(), time.process_time()
from tso3dask.graph.run import run_graph
graph, _ = run_graph(plan)
end = time.perf_counter(), time.process_time()
print(*(b - a for b, a in zip(ready, start)), *(b - a for b, a in zip(end, ready)), len(graph))
"""


@numba.njit(nogil=True)
def arithmetic(rounds: int) -> float:
    """Nothing but arithmetic."""
    value = 1.0
    for i in range(rounds):
        value = value * 1.0000001 + 1e-9 * (i & 3)
    return value


def in_threads(pieces: Sequence[Callable[[], Any]], repeat: int) -> dict[str, Figure]:
    """Time pieces of work one after the other, and each in a thread of its own."""
    for piece in pieces:
        piece()
    found: dict[str, list[tuple[float, float]]] = {"one thread": [], "two threads": []}
    with ThreadPoolExecutor(len(pieces)) as pool:
        for _ in range(repeat):
            for name, workers in (("one thread", map), ("two threads", pool.map)):
                wall, cpu = time.perf_counter(), time.process_time()
                list(workers(lambda piece: piece(), pieces))
                times = time.perf_counter() - wall, time.process_time() - cpu
                found[name].append(times)
    return {name: summary(runs) for name, runs in found.items()}


def flagging(shape: tuple[int, int, int]) -> list[Callable[[], Any]]:
    """Whole outlier step of two cubes."""
    nints = shape[0]
    window = Window(25, nints)
    bits = interpret_good_bits("~DO_NOT_USE")

    def step(seed: int) -> Callable[[], Any]:
        cube = make_cube(shape, seed)
        out = {name: np.zeros_like(cube[name]) for name in NAMES}
        variances = {name: cube[name] for name in NAMES if name.startswith("var_")}
        return lambda: flag_block(
            cube["sci"], cube["dq"], cube["err"], variances,
            first=0, a=0, b=nints, window=window, bad_bits=bits, snr=5.0, out=out,
        )  # fmt: skip

    return [step(1), step(2)]


def photometry(nints: int) -> list[Callable[[], Any]]:
    """Centroids, PSF fits and apertures of two cubes."""
    y, x = np.indices((64, 64)) - 31.5
    star = 1000 * np.exp(-(x**2 + y**2) / 8)
    noise = np.random.default_rng(1).standard_normal((nints, 64, 64))
    sci = (star + noise).astype(np.float32)
    err, dq = np.ones_like(sci), np.zeros(sci.shape, np.uint32)

    def step() -> None:
        centroids_and_psf(sci, dq, 31.5, 31.5, 11, 20.0)
        aperture_sums(sci, err, 31.5, 31.5, 6.0, 20.0, 28.0)

    return [step, step]


def plan_of(nints: int, shape: str) -> dict[str, Any]:
    """Plan and graph of a long observation in a new process."""
    with tempfile.TemporaryDirectory(prefix="tso3dask-benchmark.") as folder:
        size = tuple(map(int, shape.split("x")))
        made = tso3dask.simulate("nrc_tsimage", folder, nints=nints, segments=SEGMENTS, shape=size)
        code = PLAN.format(asn=str(made.asn))
        out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    wall, cpu, graph_wall, graph_cpu, tasks = map(float, out.stdout.split()[-5:])
    figures = {
        "plan, with imports": summary([(wall, cpu)]),
        "graph": summary([(graph_wall, graph_cpu)]),
    }
    return {"figures": figures, "ratios": {}, "tasks": int(tasks), "integrations": nints}


def tasks_of(nints: int) -> dict[str, Any]:
    """Read and flag a segment of small images: lazily, as dask tasks, and by direct calls."""
    from tso3dask.graph.steps import outlier_detection
    from tso3dask.io.segment import open_segment

    with tempfile.TemporaryDirectory(prefix="tso3dask-benchmark.") as folder:
        made = tso3dask.simulate("nrc_tsimage", folder, nints=nints, segments=1, shape=(32, 32))
        (path,) = made.members
        dataset = tso3dask.open_segment(path)
        flagged = outlier_detection(dataset)
        names = [str(name) for name in flagged.data_vars if flagged[name].ndim == 3]
        arrays = open_segment(path).arrays
        window, bits = Window(25, nints), interpret_good_bits("~DO_NOT_USE")

        def direct() -> None:
            cube = {name: arrays[name].read() for name in names}
            variances = {name: cube[name] for name in names if name.startswith("var_")}
            flag_block(
                cube["sci"], cube["dq"], cube["err"], variances,
                first=0, a=0, b=nints, window=window, bad_bits=bits, snr=5.0,
            )  # fmt: skip

        def lazily() -> None:
            flagged[names].compute(scheduler="threads", num_workers=2)

        figures = {}
        for name, work in (("direct calls", direct), ("dask tasks", lazily)):
            runs = []
            for _ in range(4):
                start = time.perf_counter(), time.process_time()
                work()
                runs.append((time.perf_counter() - start[0], time.process_time() - start[1]))
            figures[name] = summary(runs[1:])
    pairs = [("dask tasks", "direct calls")]
    count = len(flagged[names].__dask_graph__())
    return {"figures": figures, "ratios": ratios(figures, pairs), "tasks": count}


def main(argv: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = options(__doc__, "scaling")
    parser.add_argument("--shape", nargs=3, type=int, default=(64, 256, 512))
    parser.add_argument("--photometry", type=int, default=2000, help="integrations (2000)")
    parser.add_argument("--rounds", type=int, default=10**8, help="rounds of the control")
    parser.add_argument("--plan-integrations", type=int, default=0, help="0: no plan")
    parser.add_argument("--plan-shape", default="8x8")
    parser.add_argument("--tasks", type=int, default=0, help="integrations of 32 x 32; 0: none")
    args = parser.parse_args(argv)
    report = Report("scaling", args)
    cases = {
        "control, arithmetic": [lambda: arithmetic(args.rounds)] * 2,
        "outlier step": flagging(tuple(args.shape)),
        "photometry": photometry(args.photometry),
    }
    for name, pieces in cases.items():
        figures = in_threads(pieces, args.repeat)
        pairs = [("one thread", "two threads")]
        report.add(f"threads, {name}", figures, ratios=ratios(figures, pairs, "min"))
    if args.plan_integrations:
        found = plan_of(args.plan_integrations, args.plan_shape)
        report.add(f"plan of {args.plan_integrations} integrations", **found)
    if args.tasks:
        report.add(f"{args.tasks} integrations of 32 x 32", **tasks_of(args.tasks))
    report.write()


if __name__ == "__main__":
    main()
