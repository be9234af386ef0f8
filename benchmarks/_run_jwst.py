"""Run jwst's stage-3 pipeline without a reference server: ``_run_jwst.py ASN STEPS OUTPUT_DIR``.

Prints, as its last line, the seconds that its imports and the run itself took, the CPU seconds of
its steps, and jwst's version.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any


def timed(step: Any, name: str, seconds: dict[str, float]) -> None:
    """Add up the CPU time of what a step does to its models, without opening or saving them."""
    process = step.process

    def run(self: Any, *args: Any, **kwargs: Any) -> Any:
        start = time.process_time()
        try:
            return process(self, *args, **kwargs)
        finally:
            seconds[name] += time.process_time() - start

    step.process = run


def main() -> None:
    """Run once."""
    association, steps, output_dir = sys.argv[1:]
    os.environ["STPIPE_DISABLE_CRDS_STEPPARS"] = "true"
    start = time.perf_counter()
    import jwst
    from jwst.pipeline import Tso3Pipeline
    from stpipe import crds_client

    Tso3Pipeline.prefetch_references = False
    crds_client.get_context_used = lambda _: "jwst_0000.pmap"
    by_step: dict[str, float] = defaultdict(float)
    for name, step in Tso3Pipeline.step_defs.items():
        timed(step, name, by_step)
    imported = time.perf_counter()
    Path(output_dir).mkdir(parents=True)
    given = json.loads(Path(steps).read_text())
    Tso3Pipeline.call(association, output_dir=output_dir, steps=given)
    seconds = {"imports": imported - start, "run": time.perf_counter() - imported}
    print(json.dumps({"version": jwst.__version__, "steps_cpu": by_step} | seconds))


if __name__ == "__main__":
    main()
