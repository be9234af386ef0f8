"""Where graphs are computed: scripts that start processes."""

from __future__ import annotations

import subprocess
import sys

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
