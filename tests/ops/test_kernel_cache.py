"""The disk cache of compiled kernels follows all the sources they are made from."""

from __future__ import annotations

import os
import subprocess
import sys

HELPER = """
from tso3dask.ops._jit import helper
@helper
def add(x):
    return x + {0}
"""
KERNEL = """
from tso3dask.ops._jit import jit
from cached_helper import add
@jit
def double(x):
    return 2 * add(x)
"""
RUN = "import cached_kernel as k; print(k.double(1), sum(k.double.stats.cache_hits.values()))"


def run(folder):
    environment = dict(os.environ, NUMBA_CACHE_DIR=str(folder / "cache"), PYTHONPATH=str(folder))
    environment["PYTHONDONTWRITEBYTECODE"] = "1"  # it would be taken for the one of a file as old
    done = subprocess.run(
        [sys.executable, "-c", RUN], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.split()


def test_kernel_is_compiled_again_when_a_helper_in_another_file_changes(tmp_path):
    (tmp_path / "cached_kernel.py").write_text(KERNEL)
    helper = tmp_path / "cached_helper.py"
    helper.write_text(HELPER.format(1))
    assert run(tmp_path) == ["4", "0"]
    assert run(tmp_path) == ["4", "1"]
    times = helper.stat()
    helper.write_text(HELPER.format(3))
    os.utime(helper, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert run(tmp_path) == ["8", "0"]
