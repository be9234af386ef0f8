"""Where graphs are computed: scripts that start processes, and processes left alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PLAN = """
import sys
import tso3dask as tso3
plan = tso3.plan({members!r}, {steps!r})
"""
RUN = 'plan.run({out!r}, scheduler="processes", workers=1)\n'


@pytest.mark.parametrize("guard", [None, "after", pytest.param("around", marks=pytest.mark.slow)])
def test_scripts_that_start_processes(images, tmp_path, guard):
    values = {
        "members": [str(images.members[-1])],  # one integration
        "steps": images.steps,
        "out": str(tmp_path / "out"),
    }
    script = tmp_path / "script.py"
    run = {
        None: RUN,
        "after": RUN + 'if __name__ == "__main__":\n    print("done")\n',
        "around": 'if __name__ == "__main__":\n    ' + RUN,
    }
    script.write_text((PLAN + run[guard]).format(**values))
    ended = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=False
    )
    if guard == "around":
        assert ended.returncode == 0, ended.stderr
        assert list((tmp_path / "out").glob("*_phot.ecsv"))
        return
    assert ended.returncode != 0
    told = f"{script}: each worker process would run this script again; put what it does under"
    assert told in ended.stderr
    if guard is None:
        assert ended.stderr.count("Traceback") == 1, "a process was started"
        assert not (tmp_path / "out").exists()


ORPHAN = """
import os, sys, time
from pathlib import Path
from tso3dask.graph.execute import compute

def work(path):
    Path(path).write_text(str(os.getpid()))
    time.sleep(120)

if __name__ == "__main__":
    tasks = {k: (work, f"{sys.argv[1]}/{k}.pid") for k in "ab"}
    compute(tasks, tasks, scheduler="processes", workers=2)
"""


def test_worker_processes_end_with_the_process_that_started_them(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(ORPHAN)
    with subprocess.Popen([sys.executable, str(script), str(tmp_path)]) as started:
        pids = _wait_for(lambda: [int(p.read_text() or 0) for p in tmp_path.glob("*.pid")], 1)
        started.kill()
    try:
        assert _wait_for(lambda: [not any(map(_runs, pids))], True)
    finally:
        for pid in filter(_runs, pids):
            os.kill(pid, signal.SIGKILL)


def _wait_for(found, least):
    """Call ``found`` until its first value is at least so much, for half a minute at most."""
    for _ in range(300):
        values = found()
        if values and values[0] >= least:
            return values
        time.sleep(0.1)
    raise AssertionError(f"waited in vain for {found}")


def _runs(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")  # a dead child of nobody who waits is still listed
    return not state.exists() or state.read_text().rpartition(")")[2].split()[0] != "Z"
