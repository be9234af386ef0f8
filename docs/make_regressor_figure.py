"""Write docs/images/regressors.png: shifts that are found, against those that were put in.

python docs/make_regressor_figure.py      (about a minute)
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from regressors import Case, found_and_true

TARGET = Path(__file__).with_name("images") / "regressors.png"

PANELS = {
    "nrc_tsimage": ("shift_x", "shift_y"),
    "nis_soss": ("shift_x", "shift_y"),
    "mir_lrs-slitless": ("shift_x", "dispersion_shift"),
}
CASES = {
    "nrc_tsimage": Case("nrc_tsimage", 300),
    "nis_soss": Case("nis_soss", 60),
    "mir_lrs-slitless": Case("mir_lrs-slitless", 200),
}
INK, FIT, TRUTH = "#24405c", "#c2572b", "#9a9a9a"


def main() -> int:
    """Simulate, process and draw."""
    pairs = {}
    for mode, names in PANELS.items():
        with tempfile.TemporaryDirectory() as folder:
            found = found_and_true(CASES[mode], Path(folder))
        pairs |= {(mode, name): found[name] for name in names}
    figure, axes = plt.subplots(
        2,
        len(pairs),
        figsize=(2.4 * len(pairs), 4.6),
        sharex="col",
        height_ratios=(2, 1),
        layout="constrained",
    )
    for column, ((mode, name), (found, true)) in zip(axes.T, pairs.items(), strict=True):
        above, below = column
        off = 1000 * (found - true)
        above.axline((0, 0), slope=1, color=TRUTH, lw=1, zorder=0)
        above.plot(true, found, ".", color=INK, ms=4, alpha=0.7)
        above.set_title(f"{mode}\n{name}", fontsize=10)
        below.axhline(0, color=TRUTH, lw=1, zorder=0)
        below.plot(true, off, ".", color=FIT, ms=4, alpha=0.7)
        rms = float((off**2).mean() ** 0.5)
        below.set_title(f"rms {rms / 1000:.4f} pixel", fontsize=9)
        largest = 1.15 * abs(off).max()
        below.set_ylim(-largest, largest)
        below.set_xlabel("put in, pixel")
        for axis in column:
            axis.spines[["top", "right"]].set_visible(False)
            axis.tick_params(labelsize=8)
    axes[0, 0].set_ylabel("found, pixel")
    axes[1, 0].set_ylabel("error, 0.001 pixel")
    figure.savefig(TARGET, dpi=90, pil_kwargs={"optimize": True})
    return 0


if __name__ == "__main__":
    sys.exit(main())
