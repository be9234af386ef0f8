"""Time the rolling median and the whole outlier step against copying the same arrays.

    python benchmarks/outliers.py --shape 200 256 2048 --window 25 --repeat 5 --json out.json

Where jwst can be imported, ``--jwst`` times its step once on the same cube (tens of seconds for a
large one) and compares all arrays bit for bit.  Every figure is the least of the repeats, with
buffers that were written to before.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tso3dask.ops.dq import interpret_good_bits
from tso3dask.ops.medians import Window, nanmedian_image, rolling_median
from tso3dask.ops.outliers import flag_block

VARIANCES = ("var_poisson", "var_rnoise", "var_flat")


def make_cube(shape: tuple[int, int, int], seed: int = 1) -> dict[str, np.ndarray]:
    """Return normal noise with scattered spikes, NaN and bad pixels, some of them bad for good."""
    rng = np.random.default_rng(seed)
    cube = {"sci": rng.standard_normal(shape, np.float32) + np.float32(100)}
    cube["err"] = np.full(shape, 1, np.float32)
    cube |= {name: np.full(shape, 0.3, np.float32) for name in VARIANCES}
    cube["dq"] = np.zeros(shape, np.uint32)
    spots = rng.integers(0, cube["sci"].size, cube["sci"].size // 400)
    cube["sci"].reshape(-1)[spots[::2]] += 50
    cube["dq"].reshape(-1)[spots[1::2]] = 1
    cube["sci"].reshape(-1)[spots[::5]] = np.nan
    cube["dq"][:, rng.random(shape[1:]) < 0.005] |= 1025
    return cube


def least(run: Callable[[], Any], repeat: int) -> tuple[float, float]:
    """Wall and CPU seconds of the quickest of several runs."""
    best = (float("inf"), 0.0)
    for _ in range(repeat):
        wall, cpu = time.perf_counter(), time.thread_time()
        run()
        best = min(best, (time.perf_counter() - wall, time.thread_time() - cpu))
    return best


def time_jwst(cube: dict[str, np.ndarray], width: int, ours: dict[str, np.ndarray]) -> dict:
    """Run jwst's step once on a copy, and compare."""
    from jwst.outlier_detection.tso import detect_outliers
    from stdatamodels.jwst.datamodels import CubeModel

    names = {"data": "sci", "dq": "dq", "err": "err"} | {name: name for name in VARIANCES}
    model = CubeModel(**{name: cube[key].copy() for name, key in names.items()})
    start = time.perf_counter()
    detect_outliers(model, False, "~DO_NOT_USE", 0.7, width, 5.0, None)
    seconds = time.perf_counter() - start
    same = all(
        np.array_equal(getattr(model, name), ours[key], equal_nan=key != "dq")
        for name, key in names.items()
    )
    return {"seconds": seconds, "identical": same}


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", nargs=3, type=int, default=(64, 256, 512))
    parser.add_argument("--window", type=int, default=25)
    parser.add_argument("--block", type=int, default=0, help="integrations per call; 0: all")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--jwst", action="store_true", help="also time jwst, once")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    args = parser.parse_args()

    shape = tuple(args.shape)
    cube = make_cube(shape)
    nints = shape[0]
    window = Window(args.window, nints)
    bad_bits = interpret_good_bits("~DO_NOT_USE")
    names = ("sci", "dq", "err", *VARIANCES)
    out = {name: np.zeros_like(cube[name]) for name in names}
    block = args.block or nints
    image = None if window.rolling else nanmedian_image(cube["sci"])

    def flag(target: dict[str, np.ndarray]) -> None:
        for a in range(0, nints, block):
            b = min(a + block, nints)
            low, high = window.input_range(a, b)
            flag_block(
                cube["sci"][low:high],
                cube["dq"][low:high],
                cube["err"][a:b],
                {name: cube[name][a:b] for name in VARIANCES},
                first=low,
                a=a,
                b=b,
                window=window,
                bad_bits=bad_bits,
                snr=5.0,
                median=image,
                out={name: array[a:b] for name, array in target.items()},
            )

    def copy() -> None:
        for name in names:
            np.copyto(out[name], cube[name])

    runs: dict[str, Callable[[], Any]] = {"copy sci": lambda: np.copyto(out["sci"], cube["sci"])}
    if window.rolling:
        medians = np.zeros(shape, window.dtype)
        runs["rolling median"] = lambda: rolling_median(
            cube["sci"], 0, 0, nints, window, out=medians
        )
    runs["median image"] = lambda: nanmedian_image(cube["sci"])
    runs["copy all"] = copy
    runs["whole step"] = lambda: flag(out)
    figures: dict[str, Any] = {}
    for name, run in runs.items():
        start = time.perf_counter()
        run()
        first = time.perf_counter() - start
        wall, cpu = least(run, args.repeat)
        figures[name] = {"seconds": wall, "cpu": cpu, "first": first}
    if args.jwst:
        figures["jwst"] = time_jwst(cube, args.window, out)
    in_place = {name: cube[name] if name not in ("sci", "dq") else out[name] for name in names}
    flag(in_place)
    wall, cpu = least(lambda: flag(in_place), args.repeat)
    figures["whole step, err and variances in place"] = {"seconds": wall, "cpu": cpu}

    report = {
        "shape": shape,
        "window": args.window,
        "block": block,
        "figures": figures,
        "machine": platform.machine(),
        "processor": _processor(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "numba": __import__("numba").__version__,
    }
    text = json.dumps(report, indent=1)
    print(text)
    if args.json:
        args.json.write_text(text + "\n", encoding="utf-8")


def _processor() -> str:
    from tso3dask.ops._vector_jit import LANES

    return f"{platform.processor() or 'unknown'}, {LANES} lanes"


if __name__ == "__main__":
    main()
