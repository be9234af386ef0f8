"""Shifts of `_regressors.ecsv` against the jitter that the simulator put in.

    python benchmarks/regressors.py
    python benchmarks/regressors.py --modes --join FILE --page docs/light-curves.md

Observations have hits, bad and lost pixels, a flat field and noise, and are processed with the
recipe `precise`. Tables tell the root mean square of what is found minus what was put in, medians
taken off, in pixels. Beside it stands the least error that noise allows (Cramer-Rao) for an
integration whose picture is known, and only brightness, background and both shifts are not; and
the same for a spectrum whose colour is not known either (polynomials along the dispersion), which
changes in a transit. What smooth colours cannot tell, lines must.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from _common import Report, options, put_in_page

AIM = 0.005
"""Error of a shift that is aimed at, pixels."""

COLUMNS_OF_COLOUR = 48
"""Columns for each degree of the polynomials that colours are, as in `ops.dispersion`."""

PAGE_MARKS = ("<!-- table of benchmarks/regressors.py -->\n", "<!-- end of this table -->\n")


@dataclass(frozen=True)
class Case:
    """An observation to simulate."""

    mode: str
    nints: int = 200
    shape: tuple[int, int] | None = None
    jitter: float = 0.05
    cr_rate: float = 1e-3
    seed: int = 1

    @property
    def arguments(self) -> dict[str, Any]:
        """Arguments of `simulate`."""
        names = ("nints", "shape", "jitter", "cr_rate", "seed")
        return {name: getattr(self, name) for name in names} | {"segments": 2}


CASES = {
    "mir_lrs-slitless": Case("mir_lrs-slitless"),
    "nrc_tsgrism": Case("nrc_tsgrism", 100, (64, 2048)),
    "nrs_g395h": Case("nrs_g395h", 100),
    "nrs_prism": Case("nrs_prism"),
    "nrc_tsimage": Case("nrc_tsimage", 500),
    "mir_image": Case("mir_image", 500),
    "nis_soss": Case("nis_soss", 60),
}

TINY = {"mir_image": Case("mir_image", 30, (40, 40)), "nrs_prism": Case("nrs_prism", 30, (24, 80))}


def found_and_true(case: Case, folder: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Simulate and process a case; shifts that are found and put in, by column, medians off."""
    from astropy.table import Table

    import tso3dask

    made = tso3dask.simulate(case.mode, folder / "input", **case.arguments)
    steps = {name: dict(values) for name, values in made.steps.items()}
    steps["regressors"] = {"skip": False}
    products = tso3dask.run(
        made.asn, folder / "products", steps, recipe="precise", scheduler="synchronous"
    )
    path = next(path for path in products if path.name.endswith("regressors.ecsv"))
    table = Table.read(path, format="ascii.ecsv")
    truth = made.truth()
    found = {}
    for name in table.colnames:
        axis = name[6:7]
        if name.startswith("dispersion_shift"):
            axis = table.meta["dispersion_axis"]
        elif not name.startswith("shift_"):
            continue
        pair = np.asarray(table[name], float), truth[f"jitter_{axis}"]
        found[name] = tuple(values - np.median(values) for values in pair)
    return found


def limits(case: Case) -> list[dict[str, tuple[float, float]]]:
    """Least errors of shifts along x and y for each detector, with known and unknown colour."""
    from tso3dask.simulation.noise import DO_NOT_USE, Detector
    from tso3dask.simulation.recipe import make_recipe

    recipe = make_recipe(case.mode, **case.arguments)
    out = []
    for index in range(len(recipe.mode.detectors)):
        detector = Detector(recipe, index)
        scene, step = detector.scene, 0.02
        moves = np.array([[0, step, -step, 0, 0], [0, 0, 0, step, -step]])
        rates = scene.rates(np.zeros(5), *moves).astype(np.float64) * scene.conversion
        image = rates[0] - scene.background * scene.conversion
        slopes = (rates[1] - rates[2]) / (2 * step), (rates[3] - rates[4]) / (2 * step)
        electrons = recipe.mode.gain * recipe.integration_time
        variance = rates[0] * scene.conversion / electrons + detector.var_rnoise
        weight = np.where(detector.dq & DO_NOT_USE, 0, 1 / variance).ravel()
        axis = recipe.mode.dispaxis
        colours = [image]
        if axis is not None:
            size = image.shape[2 - axis]
            terms = np.polynomial.legendre.legvander(
                np.linspace(-1, 1, size), max(3, size // COLUMNS_OF_COLOUR)
            )
            colours = [image * (t if axis == 1 else t[:, None]) for t in terms.T]
        errors = []
        for light in ([image], colours):
            basis = np.array([*light, np.ones_like(image), *slopes]).reshape(len(light) + 3, -1)
            normal = (basis * weight) @ basis.T
            scale = 1 / np.sqrt(np.diag(normal))
            covariance = np.linalg.pinv(normal * scale * scale[:, None], rcond=1e-12)
            errors.append(np.sqrt(np.diag(covariance)) * scale)
        out.append({name: (errors[0][k], errors[1][k]) for name, k in (("x", -2), ("y", -1))})
    return out


def measure(case: Case) -> dict[str, Any]:
    """Process a case and compare."""
    from tso3dask.simulation.modes import MODES

    work = Path(tempfile.mkdtemp(prefix="regressors-"))
    try:
        found = found_and_true(case, work)
    finally:
        shutil.rmtree(work)
    mode = MODES[case.mode]
    along = {1: "x", 2: "y"}.get(mode.dispaxis or 0, "")
    rows = []
    for detector, least in zip(mode.detectors, limits(case), strict=True):
        for name, (values, truth) in found.items():
            several = len(mode.detectors) > 1
            if several and not name.endswith(detector):
                continue
            axis = along if name.startswith("dispersion") else name[6:7]
            rows.append(
                {
                    "column": name,
                    "direction": "" if not along else "along" if axis == along else "across",
                    "rms": float(np.sqrt(np.nanmean((values - truth) ** 2))),
                    "slope": float(np.polyfit(truth, values, 1)[0]),
                    "limit": float(least[axis][0]),
                    "limit, colour free": float(least[axis][1]),
                }
            )
    return {"case": case.mode, "jitter": case.jitter, "nints": case.nints, "columns": rows}


def table(results: Sequence[dict[str, Any]]) -> list[str]:
    """Rows of the table, Markdown."""
    lines = [
        "| mode | column | direction | jitter, px | rms of error, px | least, px "
        "| least, colour unknown, px | slope |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for result in results:
        for row in result["columns"]:
            free = f"{row['limit, colour free']:.5f}" if row["direction"] else ""
            lines.append(
                f"| {result['case']} | `{row['column']}` | {row['direction']} "
                f"| {result['jitter']:g} | {row['rms']:.5f} | {row['limit']:.5f} | {free} "
                f"| {row['slope']:.3f} |"
            )
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table and write results."""
    parser = options(__doc__ or "", "regressors")
    parser.add_argument("--modes", nargs="*", choices=[*CASES, "tiny"], default=list(CASES))
    parser.add_argument("--jitters", nargs="+", type=float, default=[0.05])
    parser.add_argument("--join", nargs="*", type=Path, default=[], help="earlier results to add")
    parser.add_argument("--page", type=Path, help="page of the documentation to put the table in")
    args = parser.parse_args(arguments)
    chosen = list(TINY.values()) if "tiny" in args.modes else [CASES[m] for m in args.modes]
    report = Report("regressors", args)
    results: list[dict[str, Any]] = []
    for case in chosen:
        for jitter in args.jitters:
            results.append(measure(Case(**{**vars(case), "jitter": jitter})))
            print(f"{case.mode}, jitter {jitter:g}", flush=True)
    for path in args.join:
        results += json.loads(path.read_text(encoding="utf-8"))["cases"]
    report.content["cases"] = results
    lines = table(results)
    print("\n" + "\n".join(lines))
    if args.page:
        put_in_page(args.page, PAGE_MARKS, "\n" + "\n".join(lines) + "\n\n")
    report.write()
    return 0


if __name__ == "__main__":
    sys.exit(main())
