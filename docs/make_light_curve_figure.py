"""Write docs/images/light_curves.png: the light-curve figure of a simulated observation.

python docs/make_light_curve_figure.py      (about 20 s)
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import tso3dask
from tso3dask.curve_report import draw_curves
from tso3dask.curvelook import curve_look
from tso3dask.quicklook import quicklook_of

TARGET = Path(__file__).with_name("images") / "light_curves.png"


def main() -> int:
    """Simulate MIRI LRS with hits and jitter, process it with the recipe, draw the figure."""
    with tempfile.TemporaryDirectory() as folder:
        made = tso3dask.simulate(
            "mir_lrs-slitless",
            Path(folder) / "input",
            nints=400,
            segments=2,
            shape=(200, 48),
            jitter=0.03,
            cr_rate=1e-3,
            seed=3,
        )
        plan = tso3dask.plan(made.asn, made.steps, recipe="precise")
        result = plan.run(Path(folder) / "products")
        look = quicklook_of(plan, result)
        curves = None if look is None else curve_look(plan, result, look)
    if curves is None:
        return 1
    draw_curves(curves).savefig(TARGET, dpi=75, pil_kwargs={"optimize": True})
    return 0


if __name__ == "__main__":
    sys.exit(main())
