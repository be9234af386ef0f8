"""Flag and write the crfints of an observation: ``_run_crfints.py ASN STEPS OUTPUT_DIR REPEAT``.

Prints, as its last line, wall and CPU seconds of each run after the first, which loads kernels.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path

LATER = ("pixel_replace", "extract_1d", "white_light", "tso_photometry")


def main() -> None:
    """Run once more than asked for."""
    import tso3dask

    association, steps, output_dir, repeat = sys.argv[1:]
    given = json.loads(Path(steps).read_text()) | {name: {"skip": True} for name in LATER}
    seconds = []
    for _ in range(int(repeat) + 1):
        plan = tso3dask.plan(association, given)
        start = time.perf_counter(), time.process_time()
        plan.run(Path(output_dir))
        seconds.append((time.perf_counter() - start[0], time.process_time() - start[1]))
        shutil.rmtree(output_dir)
    print(json.dumps(seconds[1:]))


if __name__ == "__main__":
    main()
