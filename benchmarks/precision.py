"""Scatter, depths and flags of light curves, against what the simulator put in.

    python benchmarks/precision.py                                  scatter and flags, all modes
    python benchmarks/precision.py --rates --depths 0.001 0.01 0.1               bias of depths
    python benchmarks/precision.py --modes --join FILE FILE --page docs/light-curves.md

Every observation is simulated twice with the same random noise: with cosmic rays, bad and lost
pixels, a flat field and jitter, and without any of them. The second one, its outlier detection
skipped, shows the noise that nothing can take away: `noise` is what its variances (photons and
read noise within the aperture) imply, `clean` the scatter that its light curve has, and `jitter
alone` that of a third one, with jitter and nothing else, extracted in the same way: light that
leaves the aperture, and the ends of the spectrum, is missing from it. Beside them
stand the defaults, which give the numbers of jwst 3.0.0 (tests/parity), and the recipe `precise`.

Light curves are divided by the injected transit, its depth and level fitted; scatter is the
standard deviation of what is left, in parts per million. Part of the simulated
jitter is a drift, the same in all seeds, so that what it does to a depth is no chance.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from _common import Report, options, put_in_page

OUTLIER = 16
DO_NOT_USE = 1

DEFECTS = ("cr_rate", "lost_rate", "hot_fraction", "dead_fraction")
"""What the twins of an observation have not."""


@dataclass(frozen=True)
class Case:
    """An observation to simulate."""

    mode: str
    nints: int
    shape: tuple[int, int] | None = None
    segments: int = 2
    cr_rate: float = 1e-3
    jitter: float = 0.01
    depth: float = 0.01
    seed: int = 1
    recipe: str = "precise"
    jitter_alone: bool = False

    def __str__(self) -> str:
        return f"{self.mode}, hits {self.cr_rate:.1%}, jitter {self.jitter:g}, depth {self.depth:g}"


CASES = {
    "mir_lrs-slitless": Case("mir_lrs-slitless", 600, (208, 72)),
    "nrc_tsgrism": Case("nrc_tsgrism", 400, (64, 1024)),
    "nrs_g395h": Case("nrs_g395h", 400, (32, 1024)),
    "nrs_prism": Case("nrs_prism", 600, (32, 512)),
    "nrc_tsimage": Case("nrc_tsimage", 1000, (64, 64)),
    "mir_image": Case("mir_image", 1000, (64, 72)),
    "nis_soss": Case("nis_soss", 100, (96, 2048)),
}

DEPTH_SHARE = 5
"""Scatter is measured on so many times more integrations than depths are."""

PAGE_MARKS = ("<!-- tables of benchmarks/precision.py -->\n", "<!-- end of the tables -->\n")

TINY = {
    "mir_lrs-slitless": Case("mir_lrs-slitless", 40, (40, 30)),
    "nrc_tsimage": Case("nrc_tsimage", 40, (40, 40)),
}


def simulate(case: Case, folder: Path, twin_jitter: float | None = None) -> Any:
    """Write the observation of a case, or its twin that has jitter alone, or none."""
    import tso3dask

    more: dict[str, Any] = {"cr_rate": case.cr_rate, "jitter": case.jitter}
    if twin_jitter is not None:
        more = dict.fromkeys(DEFECTS, 0.0) | {"var_flat": False, "jitter": twin_jitter}
    return tso3dask.simulate(
        case.mode,
        folder,
        nints=case.nints,
        segments=case.segments,
        shape=case.shape,
        depth=case.depth,
        seed=case.seed,
        **more,
    )


def light_curves(products: Sequence[Path]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Light curve of each detector and order, and the errors that the products state."""
    from astropy.table import Table

    found: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    by_ending = {path.name.rpartition("_")[2]: path for path in products}
    if "phot.ecsv" in by_ending:
        table = Table.read(by_ending["phot.ecsv"], format="ascii.ecsv")
        values = table["net_aperture_sum"], table["net_aperture_sum_err"]
        return {"": tuple(np.asarray(v, float) for v in values)}  # type: ignore[dict-item]
    table = Table.read(by_ending["whtlt.ecsv"], format="ascii.ecsv")
    beginning = "whitelight_flux"
    for name in table.colnames:
        ending = name.removeprefix(beginning)
        error = f"{beginning}_error{ending}"
        if error in table.colnames:
            pair = np.asarray(table[name], float), np.asarray(table[error], float)
            found[ending.strip("_")] = pair
    return found


def fit_depth(flux: np.ndarray, shape: np.ndarray) -> tuple[float, float, np.ndarray]:
    """Fit level and depth of a transit of known shape.

    Returns
    -------
    depth, error : float
        The error from the scatter of what is left.
    left : ndarray
        Light curve over model, minus 1.
    """
    good = np.isfinite(flux)
    design = np.stack([np.ones(good.sum()), -shape[good]], axis=1)
    (level, drop), *_ = np.linalg.lstsq(design, flux[good], rcond=None)
    left = np.full(flux.shape, np.nan)
    left[good] = flux[good] / (level - drop * shape[good]) - 1
    covariance = np.linalg.inv(design.T @ design)
    error = np.nanstd(left) * np.sqrt(covariance[1, 1])
    return drop / level, float(error), left


def robust(values: np.ndarray) -> float:
    """Scatter from the median absolute deviation."""
    return float(1.4826 * np.nanmedian(np.abs(values - np.nanmedian(values))))


PARTS = ("out of transit", "ingress and egress", "in transit")
"""By the depth of the transit: up to 5 %, up to 95 %, and more."""


def flags(made: Any, products: Sequence[Path]) -> dict[str, Any]:
    """How many hits were flagged, and how many other usable pixels, by parts of a transit."""
    from astropy.io import fits

    truth = made.truth()
    rays = truth["cosmic_rays"]
    part = np.digitize(truth["transit"], (0.05, 0.95))
    hits = found = 0
    false, usable = np.zeros(len(PARTS), int), np.zeros(len(PARTS), int)
    detectors: dict[str, int] = {}
    for path in sorted(p for p in products if p.name.endswith("_crfints.fits")):
        with fits.open(path) as hdus:
            dq = np.asarray(hdus["DQ"].data, np.uint32)
            header = hdus[0].header
        name = str(header["DETECTOR"])
        index = detectors.setdefault(name, len(detectors))
        first = int(header["INTSTART"]) - 1
        here = rays[rays["detector"] == index]
        here = here[(here["integration"] > first) & (here["integration"] <= first + len(dq))]
        hit = np.zeros(dq.shape, bool)
        hit[here["integration"] - 1 - first, here["y"], here["x"]] = True
        flagged = (dq & OUTLIER) != 0
        hits += int(hit.sum())
        found += int((flagged & hit).sum())
        good = ~hit & (flagged | ((dq & DO_NOT_USE) == 0))
        for i, count in ((false, flagged & good), (usable, good)):
            by_integration = count.sum(axis=(1, 2))
            i += np.bincount(part[first : first + len(dq)], by_integration, len(PARTS)).astype(int)
    return {
        "hits": hits,
        "found": found / max(1, hits),
        "false": [int(n) for n in false],
        "usable": [int(n) for n in usable],
    }


def excess(results: Iterable[dict[str, Any]], name: str, part: int) -> float:
    """Share of false flags in a part of the transit less that outside, over the uncertainty.

    The uncertainty is that of the difference if both shares were the same.
    """
    counts = [result["flags"][name] for result in results]
    false, usable = (
        np.sum([count[kind] for count in counts], axis=0) for kind in ("false", "usable")
    )
    n, total = false[[0, part]], usable[[0, part]]
    if not n.any() or not total.all():
        return 0.0
    share = n / total
    return float((share[1] - share[0]) / np.sqrt(n.sum() / total.sum() * (1 / total).sum()))


def process(made: Any, folder: Path, **how: Any) -> list[Path]:
    """Run an observation; return its products."""
    import tso3dask

    return tso3dask.run(made.asn, folder, scheduler="synchronous", **how)


def merged(*layers: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Dictionaries of steps put together."""
    out: dict[str, dict[str, Any]] = {}
    for layer in layers:
        for step, values in layer.items():
            out.setdefault(step, {}).update(values)
    return out


def measure(case: Case) -> dict[str, Any]:
    """Simulate a case and its twin, run all variants, and compare."""
    work = Path(tempfile.mkdtemp(prefix="precision-"))
    try:
        made = simulate(case, work / "input")
        skip = {"outlier_detection": {"skip": True}}
        errors = {"white_light": {"errors": True}}
        twins = {"clean": 0.0} | ({"jitter alone": case.jitter} if case.jitter_alone else {})
        series = {}
        for name, jitter in twins.items():
            twin = simulate(case, work / f"{name} twin", twin_jitter=jitter)
            how = merged(twin.steps, skip, errors)
            series[name] = process(twin, work / name, steps=how)
        jwst = process(made, work / "jwst", steps=merged(made.steps, errors))
        ours = process(made, work / "precise", steps=made.steps, recipe=case.recipe)
        shape = made.truth()["transit"]
        series |= {"jwst": jwst, "precise": ours}
        curves = {name: light_curves(products) for name, products in series.items()}
        rows = []
        for label, (flux, error) in curves["clean"].items():
            row: dict[str, Any] = {"label": label, "noise": 1e6 * float(np.nanmedian(error / flux))}
            for name, by_label in curves.items():
                depth, uncertainty, left = fit_depth(by_label[label][0], shape)
                row[name] = 1e6 * float(np.nanstd(left))
                row[f"{name} robust"] = 1e6 * robust(left)
                row[f"{name} depth"] = depth
                row[f"{name} depth error"] = uncertainty
            rows.append(row)
        return {
            "case": str(case),
            "settings": asdict(case),
            "curves": rows,
            "flags": {"jwst": flags(made, jwst), "precise": flags(made, ours)},
        }
    finally:
        shutil.rmtree(work)


def bias(results: Iterable[dict[str, Any]], name: str, label: str) -> tuple[float, float]:
    """Mean error of depths over seeds, in units of the uncertainty of one, and its own error.

    Depths are compared with those of the clean twins, which have the same noise.
    """
    off = [
        (row[f"{name} depth"] - row["clean depth"]) / row["clean depth error"]
        for result in results
        for row in result["curves"]
        if f"{name} depth" in row and row["label"] == label
    ]
    if not off:
        return np.nan, np.nan
    return float(np.mean(off)), float(np.std(off) / np.sqrt(len(off)))


def scatter_table(results: Sequence[dict[str, Any]]) -> list[str]:
    """Rows of the table of scatter, Markdown."""
    lines = [
        "| mode | hits | jitter, px | noise | clean | jitter alone | defaults, rms (robust) "
        "| precise | precise / noise | precise / clean |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for result in results:
        case = Case(**result["settings"])
        for row in result["curves"]:
            mode = f"{case.mode} {row['label']}".strip()
            alone = f"{row['jitter alone']:.0f}" if "jitter alone" in row else ""
            lines.append(
                f"| {mode} | {case.cr_rate:.1%} | {case.jitter:g} | {row['noise']:.0f} "
                f"| {row['clean']:.0f} | {alone} | {row['jwst']:.0f} ({row['jwst robust']:.0f}) "
                f"| {row['precise']:.0f} | {row['precise'] / row['noise']:.3f} "
                f"| {row['precise'] / row['clean']:.3f} |"
            )
    return lines


def flag_table(results: Sequence[dict[str, Any]]) -> list[str]:
    """Rows of the table of flags, Markdown."""
    lines = [
        "| mode | hits | jitter, px | hits found: defaults, precise "
        "| false flags: defaults, precise | excess of precise in ingress and egress, in transit, "
        "sigma |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for result in results:
        case = Case(**result["settings"])
        both = [result["flags"][name] for name in ("jwst", "precise")]
        found = ", ".join(f"{flag['found']:.2%}" for flag in both)
        false = ", ".join(f"{sum(flag['false']) / sum(flag['usable']):.1e}" for flag in both)
        more = ", ".join(f"{excess([result], 'precise', part):+.1f}" for part in (1, 2))
        lines.append(
            f"| {case.mode} | {case.cr_rate:.1%} | {case.jitter:g} | {found} | {false} | {more} |"
        )
    return lines


def depth_table(results: Sequence[dict[str, Any]]) -> list[str]:
    """Rows of the table of depths, Markdown."""
    lines = [
        "| mode | jitter, px | depth | seeds | bias, sigma: defaults | jitter alone | precise "
        "| excess of flags in ingress and egress, in transit, sigma |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    groups: dict[tuple[str, float, float], list[dict[str, Any]]] = {}
    for result in results:
        mode, jitter, depth = (result["settings"][key] for key in ("mode", "jitter", "depth"))
        groups.setdefault((mode, jitter, depth), []).append(result)
    modes = [*dict.fromkeys(mode for mode, _, _ in groups)]
    for mode, jitter, depth in sorted(groups, key=lambda key: (modes.index(key[0]), *key[1:])):
        members = groups[mode, jitter, depth]
        more = ", ".join(f"{excess(members, 'precise', part):+.1f}" for part in (1, 2))
        for label in dict.fromkeys(row["label"] for member in members for row in member["curves"]):
            numbers = [bias(members, n, label) for n in ("jwst", "jitter alone", "precise")]
            told = ["" if np.isnan(one) else f"{one:+.2f} ± {two:.2f}" for one, two in numbers]
            lines.append(
                f"| {f'{mode} {label}'.strip()} | {jitter:g} | {depth:.1%} | {len(members)} "
                f"| {' | '.join(told)} | {more} |"
            )
    return lines


def run_all(cases: Sequence[Case], processes: int) -> list[dict[str, Any]]:
    """Measure all cases, several at a time."""
    done = []
    if processes < 2:
        for case in cases:
            done.append(measure(case))
            print(f"{len(done)}/{len(cases)} {case}", flush=True)
        return done
    with ProcessPoolExecutor(processes) as pool:
        for result in pool.map(measure, cases):
            done.append(result)
            print(f"{len(done)}/{len(cases)} {result['case']}", flush=True)
    return done


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print tables and write results."""
    parser = options(__doc__ or "", "precision")
    parser.add_argument("--modes", nargs="*", choices=[*CASES, "tiny"], default=list(CASES))
    parser.add_argument("--rates", nargs="*", type=float, default=[1e-3, 1e-2])
    parser.add_argument("--jitters", nargs="+", type=float, default=[0.0, 0.01])
    parser.add_argument("--depths", nargs="*", type=float, default=[])
    parser.add_argument("--seeds", type=int, default=50, help="observations of one depth (50)")
    parser.add_argument("--recipe", default="precise", help="name or .toml file (precise)")
    parser.add_argument("--join", nargs="*", type=Path, default=[], help="earlier results to add")
    parser.add_argument("--page", type=Path, help="page of the documentation to put the tables in")
    parser.add_argument("--processes", type=int, default=1)
    args = parser.parse_args(arguments)
    chosen = list(TINY.values()) if "tiny" in args.modes else [CASES[m] for m in args.modes]
    chosen = [replace(case, recipe=args.recipe) for case in chosen]
    report = Report("precision", args)
    scatter = run_all(
        [
            replace(case, cr_rate=rate, jitter=jitter, jitter_alone=jitter > 0)
            for case in chosen
            for rate in args.rates
            for jitter in args.jitters
        ],
        args.processes,
    )
    depths = run_all(
        [
            replace(
                case,
                jitter=jitter,
                depth=depth,
                seed=100 + seed,
                nints=case.nints // DEPTH_SHARE,
                jitter_alone=jitter > 0,
            )
            for case in chosen
            for jitter in args.jitters
            for depth in args.depths
            for seed in range(args.seeds)
        ],
        args.processes,
    )
    for path in args.join:
        earlier = json.loads(path.read_text(encoding="utf-8"))
        scatter += earlier["cases"]
        depths += earlier["depths"]
    report.content |= {"cases": scatter, "depths": depths}
    tables = [scatter_table(scatter), flag_table(scatter)] if scatter else []
    if depths:
        tables.append(depth_table(depths))
    for lines in tables:
        print("\n" + "\n".join(lines))
    if args.page:
        text = "\n\n".join("\n".join(lines) for lines in tables)
        put_in_page(args.page, PAGE_MARKS, f"\n{text}\n\n")
    report.content["tables"] = ["\n".join(lines) for lines in tables]
    report.write()
    return 0


if __name__ == "__main__":
    sys.exit(main())
