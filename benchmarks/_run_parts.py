"""Time parts of a run in a process that has everything loaded.

``_run_parts.py ASN STEPS OUTPUT_DIR REPEAT`` prints, in its last line, pairs of wall and CPU
seconds of the repeats of each part, by name; a first time does not count. Extraction is from the
input as it is, and only where the mode has spectra.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

AFTER = ("pixel_replace", "extract_1d", "white_light", "tso_photometry")
BESIDE = ("outlier_detection", "pixel_replace", "white_light")
PARTS = {
    "flag and write": (AFTER, None),
    "flag and write, one worker": (AFTER, 1),
    "extract and write": (BESIDE, None),
}


def main() -> None:
    """Run each part once more than asked for."""
    import tso3dask

    association, steps, output_dir, repeat = sys.argv[1:]
    found: dict[str, list[tuple[float, float]]] = {}
    for part, (skipped, workers) in PARTS.items():
        given: dict[str, Any] = json.loads(Path(steps).read_text())
        given |= {name: given.get(name, {}) | {"skip": True} for name in skipped}
        found[part] = []
        for _ in range(int(repeat) + 1):
            plan = tso3dask.plan(association, given)
            start = time.perf_counter(), time.process_time()
            products = plan.run(Path(output_dir), workers=workers).products
            found[part].append((time.perf_counter() - start[0], time.process_time() - start[1]))
            shutil.rmtree(output_dir)
        if skipped == BESIDE and not products.get("x1dints"):
            del found[part]
    print(json.dumps({part: seconds[1:] for part, seconds in found.items()}))


if __name__ == "__main__":
    main()
