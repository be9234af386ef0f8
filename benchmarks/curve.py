"""Draw the cost of whole runs against the number of integrations: tso3dask, jwst and ``cp``.

    python benchmarks/curve.py --modes nrc_tsimage mir_lrs-slitless --nints 10 30 100 300 1000 \
        --jwst-most 300 --figure docs/images/cost.png

Figures are CPU seconds of whole processes with imports, as in `pipeline.py`, kernels compiled
before; each is one run. Beyond ``--jwst-most`` integrations jwst is left out. ``--results`` draws
what is in the file of results.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from _common import Report, options
from pipeline import Case, first_run, peer, run_case

LINES = {"jwst": ("C3", "o"), "tso3dask": ("C0", "s"), "cp": ("0.5", ".")}


def points(cases: Sequence[dict[str, Any]], mode: str, name: str) -> list[tuple[int, float]]:
    """Integrations and CPU seconds of one line."""
    return [
        (case["integrations"], case["figures"][name]["cpu"])
        for case in cases
        if case["mode"] == mode and name in case["figures"]
    ]


def draw(content: dict[str, Any], path: Path) -> None:
    """Write the figure, one panel for each mode."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    cases = content["cases"]
    modes = list(dict.fromkeys(case["mode"] for case in cases))
    figure, panels = plt.subplots(1, len(modes), figsize=(4.5 * len(modes), 3.6), squeeze=False)
    for panel, mode in zip(panels[0], modes, strict=True):
        for name, (colour, marker) in LINES.items():
            found = points(cases, mode, name)
            if found:
                panel.loglog(*zip(*found, strict=True), color=colour, marker=marker, label=name)
        shape = next(case["shape"] for case in cases if case["mode"] == mode)
        panel.set(title=f"{mode}, {shape}", xlabel="integrations", ylabel="CPU seconds")
        panel.grid(alpha=0.3)
    panels[0][0].legend()
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def main(argv: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = options(__doc__, "curve", repeat=1)
    parser.add_argument("--modes", nargs="+", default=("nrc_tsimage", "mir_lrs-slitless"))
    parser.add_argument("--shape", help="NYxNX, for small trials; the mode's")
    parser.add_argument("--nints", nargs="+", type=int, default=(10, 30, 100, 300, 1000))
    parser.add_argument("--jwst-most", type=int, default=300, help="most integrations for jwst")
    parser.add_argument("--jwst-python", type=Path, help="Python with jwst (this one)")
    parser.add_argument("--no-jwst", action="store_true", help="leave jwst out")
    parser.add_argument("--figure", type=Path, help="file of the figure")
    parser.add_argument("--results", action="store_true", help="run nothing, draw the results")
    args = parser.parse_args(argv)
    if not args.results:
        jwst = peer(args)
        report = Report("curve", args)
        with tempfile.TemporaryDirectory(prefix="tso3dask-benchmark.") as folder:
            for mode in args.modes:
                kernels = Path(folder) / f"kernels-{mode}"
                first_run(Case(mode, 30, args.shape), Path(folder), kernels)
                for nints in args.nints:
                    case = Case(mode, nints, args.shape)
                    their = jwst if nints <= args.jwst_most else None
                    found = run_case(case, Path(folder), args.repeat, their, kernels)
                    report.add(str(case), **found | {"mode": mode, "integrations": nints})
        report.write()
    if args.figure:
        draw(json.loads(args.json.read_text()), args.figure)


if __name__ == "__main__":
    main()
