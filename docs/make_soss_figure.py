"""Draw traces over a real SOSS frame: ``python docs/make_soss_figure.py FOLDER``.

FOLDER holds the frame and the reference traces that tests/ops/soss/test_soss_traces.py reads.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
PWCPOS = 245.778671


def helpers():
    """Load the functions with which the tests measure the frame."""
    path = ROOT / "tests" / "ops" / "soss" / "test_soss_traces.py"
    spec = importlib.util.spec_from_file_location("soss_traces", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main(folder: Path) -> None:
    """Write docs/images/soss_traces.png."""
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    from tso3dask.ops.soss.traces import find_traces

    tests = helpers()
    tests.REAL = folder
    frame = np.load(next(folder.glob("*pwcpos_245.778671.npy"))).astype(float)
    traces = find_traces(tests.real_reference(), PWCPOS, "SUBSTRIP256", (1, 2), 2048)
    figure, (top, bottom) = plt.subplots(
        2, 1, figsize=(9, 5.2), sharex=True, height_ratios=(2.2, 1), layout="constrained"
    )
    top.imshow(
        np.log10(np.clip(frame, 2, None)),
        origin="lower",
        aspect="auto",
        cmap="Greys",
        vmin=0.3,
        vmax=3.2,
    )
    colours = {1: "#c1272d", 2: "#0071bc"}
    for trace in traces:
        colour = colours[trace.order]
        inside = trace.rows < 256
        top.plot(trace.columns[inside], trace.rows[inside], color=colour, lw=0.9)
        span = np.arange(20, 2030, 10) if trace.order == 1 else np.arange(900, 1650, 10)
        miss = [
            tests.middle_of_light(np.median(frame[:, max(0, x - 2) : x + 3], axis=1), trace.rows[x])
            - trace.rows[x]
            for x in span
        ]
        bottom.plot(span, miss, ".", ms=3, color=colour, label=f"order {trace.order}")
    top.set(ylim=(0, 255), ylabel="row")
    bottom.axhline(0, color="k", lw=0.6)
    bottom.set(ylim=(-2, 2), xlim=(0, 2047), xlabel="column", ylabel="light - trace, rows")
    bottom.legend(loc="upper right", ncols=2, frameon=False)
    figure.savefig(ROOT / "docs" / "images" / "soss_traces.png", dpi=110)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
