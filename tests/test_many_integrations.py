"""Memory of runs of very many integrations: what grows, and whether plans say so."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import peak_memory
import pytest

import tso3dask as tso3
from tso3dask.graph.build import gather
from tso3dask.graph.channels import _joined
from tso3dask.graph.sizes import held_bytes
from tso3dask.io.journal import ChunkResult
from tso3dask.ops.curve_axis import CurveSeries

PEAK = (
    peak_memory.PEAK
    + """
import sys
from tso3dask.cli import main
assert main(sys.argv[1:]) in (0, None)
print("PEAK", peak())
"""
)


@pytest.mark.parametrize("take", [False, True])
def test_rows_of_chunks_are_joined_in_order(take):
    rng = np.random.default_rng(4)
    whole = {"flux": rng.normal(size=(70, 3)), "count": np.arange(70), "note": np.array(["a"] * 70)}
    results = [
        ChunkResult(0, a, min(a + 20, 70), {n: v[a : a + 20].copy() for n, v in whole.items()})
        for a in (40, 0, 60, 20)
    ]
    found = gather(results, take=take)
    assert (found.a, found.b) == (0, 70)
    for name, values in whole.items():
        assert found.rows[name].dtype == values.dtype
        np.testing.assert_array_equal(found.rows[name], values)
    assert all(bool(result.rows) != take for result in results)


def test_rows_of_members_become_parts_of_the_whole():
    members = [{"channels": np.full((n, 2), float(n))} for n in (3, 5)]
    whole = _joined([(rows, "channels") for rows in members])
    np.testing.assert_array_equal(whole[:, 0], [3.0] * 3 + [5.0] * 5)
    assert all(rows["channels"].base is whole for rows in members)
    assert _joined([(members[0], "channels")]) is members[0]["channels"]


def test_values_in_place_are_not_copied():
    values = np.arange(6.0).reshape(3, 2)
    assert CurveSeries("A", 1, "", (0,), np.arange(3)).placed(values) is values
    moved = CurveSeries("A", 1, "", (0,), np.array([2, -1, 0])).placed(values)
    np.testing.assert_array_equal(moved, [[4, 5], [np.nan, np.nan], [0, 1]])
    empty = CurveSeries("A", 1, "", (), np.array([-1, -1])).placed(values[:0])
    assert empty.shape == (2, 2) and np.isnan(empty).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "shape"), [("nrc_tsimage", (8, 8)), ("mir_lrs-slitless", (16, 8))]
)
def test_memory_grows_as_projected(mode, shape, tmp_path):
    """With the tables of channels and regressors, and both figures."""
    peaks, plans, counts = [], [], (5_000, 200_000)
    for count in counts:
        folder = tmp_path / str(count)
        made = tso3.simulate(mode, folder, nints=count, segments=1, shape=shape)
        steps = folder / "steps.json"
        plans.append(tso3.plan(made.asn, json.loads(steps.read_text()), recipe="precise"))
        words = ["run", made.asn, "--params", steps, "--recipe", "precise", "-o", tmp_path / "out"]
        command = [sys.executable, "-c", PEAK, *map(str, [*words, "--overwrite"])]
        if not peaks:  # a run that compiles kernels needs more
            subprocess.run(command, capture_output=True, check=True)
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout.split("PEAK")[1]))
        assert peaks[-1] < plans[-1].budget.projected, f"{peaks[-1] / 1e6:.0f} MB"
    projected = held_bytes(plans[1]) - held_bytes(plans[0])
    growth = peaks[1] - peaks[0]
    per = f"{growth / 195e3:.0f} bytes per integration, projected {projected / 195e3:.0f}"
    assert 0.5 * projected < growth < 1.05 * projected, per
