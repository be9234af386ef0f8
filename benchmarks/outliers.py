"""Time the rolling median and the whole outlier step against copying the same arrays.

    python benchmarks/outliers.py --shape 200 256 2048 --window 25 --jwst 30

Figures are seconds for the whole cube, in one thread, with buffers that were written to before.
The scaled step is that of own parameters, with replacement in time. ``--jwst N`` times jwst's step
on the first N integrations and compares all six arrays bit for bit;
``--beside NINTS NY NX`` gives another shape for that, as a window of 25 has many medians in a long
segment alone. ``--widths`` are windows whose rolling medians are compared with jwst's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from _common import Report, clock, jwst_option, options, ratios

from tso3dask.ops.dq import interpret_good_bits
from tso3dask.ops.exposure_model import ExposureModel
from tso3dask.ops.medians import Window, nanmedian_image, rolling_median
from tso3dask.ops.model_images import ModelImages, number_table
from tso3dask.ops.outliers import flag_block
from tso3dask.ops.scaled_outliers import FlagRules, flag_scaled
from tso3dask.ops.temporal_replace import replace_in_time

VARIANCES = ("var_poisson", "var_rnoise", "var_flat")
NAMES = ("sci", "dq", "err", *VARIANCES)
Cube = dict[str, np.ndarray]


def make_cube(shape: tuple[int, int, int], seed: int = 1) -> Cube:
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


def flag(cube: Cube, out: Cube, window: Window, block: int) -> None:
    """Do the whole step, some integrations at a time."""
    nints = len(cube["sci"])
    image = None if window.rolling else nanmedian_image(cube["sci"])
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
            bad_bits=interpret_good_bits("~DO_NOT_USE"),
            snr=5.0,
            median=image,
            out={name: array[a:b] for name, array in out.items()},
        )


class Scaled:
    """Flagging by scaled medians and the noise of a model, and replacement in time."""

    def __init__(self, cube: Cube, window: Window, block: int) -> None:
        nints, ny, nx = cube["sci"].shape
        image = np.full((ny, nx), 100, np.float32)
        none, zeros = np.zeros((ny, nx), np.float32), np.zeros(nints)
        numbers = {name: zeros for name in ("background", "shift_x", "width")}
        self.model = ExposureModel(
            "benchmark", image, none + np.float32(0.6), none + 1, none, none, none > 0, none == 0,
            1, np.zeros(nx), ("brightness",), 1.0, 0, brightness=zeros + 1, shift_y=zeros + 0.01,
            read_variance=none + np.float32(0.3), **numbers,
        )  # fmt: skip
        self.images = ModelImages.of(self.model, (ny, nx))
        self.rules = FlagRules(5.0, scale=True, nan_aware=True, noise="model")
        self.window, self.block = window, block

    def __call__(self, cube: Cube, out: Cube) -> None:
        """Do the whole step and the replacement, some integrations at a time."""
        nints = len(cube["sci"])
        for a in range(0, nints, self.block):
            b = min(a + self.block, nints)
            low, high = self.window.input_range(a, b)
            table = number_table(self.model, low, high, scale=True)
            cubes = {name: array[a:b] for name, array in out.items()}
            flagged = flag_scaled(
                cube["sci"][low:high],
                cube["dq"][low:high],
                cube["err"][a:b],
                {name: cube[name][a:b] for name in VARIANCES},
                first=low,
                a=a,
                b=b,
                window=self.window,
                bad_bits=interpret_good_bits("~DO_NOT_USE"),
                rules=self.rules,
                numbers=table,
                images=self.images,
                out=cubes,
            )
            more = flagged["expected"], flagged["number"]
            replace_in_time(cubes, table[a - low : b - low], self.images, *more)


def jwst_step(cube: Cube, width: int) -> Callable[[], Cube]:
    """Return a function that does the step with jwst's code, in a copy."""
    from jwst.outlier_detection.tso import detect_outliers
    from stdatamodels.jwst.datamodels import CubeModel

    names = {name: name for name in NAMES} | {"sci": "data"}
    model = CubeModel(**{name: cube[key].copy() for key, name in names.items()})

    def step() -> Cube:
        detect_outliers(model, False, "~DO_NOT_USE", 0.7, width, 5.0, None)
        return {key: getattr(model, name) for key, name in names.items()}

    return step


def median_beside_jwst(report: Report, sci: np.ndarray, width: int) -> None:
    """Time rolling medians of one width with jwst's code and ours."""
    from jwst.outlier_detection.tso import moving_median_over_zeroth_axis

    window = Window(width, len(sci))
    medians = np.zeros(sci.shape, window.dtype)
    report.add_beside_jwst(
        f"rolling median, window {width}",
        sci.shape,
        lambda: moving_median_over_zeroth_axis(sci, width),
        lambda: rolling_median(sci, 0, 0, len(sci), window, out=medians),
        lambda theirs, ours: {"identical": bool(np.array_equal(theirs, ours, equal_nan=True))},
    )


def compare(theirs: Cube, ours: Cube) -> dict[str, Any]:
    """Whether arrays are the same, bit for bit but for the kind of NaN."""
    same = {
        name: np.array_equal(theirs[name], ours[name], equal_nan=name != "dq") for name in NAMES
    }
    return {"identical": same, "outliers": int(np.sum((ours["dq"] & 16) > 0))}


def main(argv: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = options(__doc__, "outliers")
    parser.add_argument("--shape", nargs=3, type=int, default=(64, 256, 512))
    parser.add_argument("--window", type=int, default=25)
    parser.add_argument("--block", type=int, default=0, help="integrations per call; 0: all")
    jwst_option(parser)
    parser.add_argument("--beside", nargs=3, type=int, help="shape beside jwst")
    parser.add_argument("--widths", nargs="*", type=int, default=(), help="windows beside jwst")
    args = parser.parse_args(argv)
    report = Report("outliers", args)

    shape = tuple(args.shape)
    cube = make_cube(shape)
    nints = shape[0]
    window, block = Window(args.window, nints), args.block or nints
    part = {name: array[: args.jwst].copy() for name, array in cube.items()}
    if args.beside:
        part = make_cube(tuple(args.beside))
    out = {name: np.zeros_like(cube[name]) for name in NAMES}

    def copy() -> None:
        for name in NAMES:
            np.copyto(out[name], cube[name])

    runs: dict[str, Callable[[], Any]] = {
        "copy of sci": lambda: np.copyto(out["sci"], cube["sci"]),
        "median image": lambda: nanmedian_image(cube["sci"]),
        "copy": copy,
        "whole step": lambda: flag(cube, out, window, block),
    }
    if window.rolling:
        medians = np.zeros(shape, window.dtype)
        runs["rolling median"] = lambda: rolling_median(
            cube["sci"], 0, 0, nints, window, out=medians
        )
        scaled = Scaled(cube, window, block)
        runs["scaled step, with replacement"] = lambda: scaled(cube, out)
    figures = {name: clock(run, args.repeat) for name, run in runs.items()}
    in_place = {name: cube[name] if name not in ("sci", "dq") else out[name] for name in NAMES}
    figures["whole step, in place"] = clock(
        lambda: flag(cube, in_place, window, block), args.repeat
    )
    pairs = [("rolling median", "copy of sci"), ("whole step", "copy")]
    pairs += [("whole step, in place", "copy")]
    if window.rolling:
        pairs += [("scaled step, with replacement", "whole step")]
    case = "x".join(map(str, shape)) + f", window {args.window}"
    report.add(case, figures, shape=shape, ratios=ratios(figures, pairs))
    if args.jwst:
        n = len(part["sci"])
        found = {name: np.zeros_like(array) for name, array in part.items()}
        few = Window(args.window, n)

        def ours() -> Cube:
            flag(part, found, few, n)
            return found

        report.add_beside_jwst(
            f"{n} integrations", part["sci"].shape, jwst_step(part, args.window), ours, compare
        )
        for width in args.widths:
            median_beside_jwst(report, part["sci"][:80], width)
    report.write()


if __name__ == "__main__":
    main()
