from __future__ import annotations

import gc
import pickle
from collections import Counter

import dask
import dask.array as da
import numpy as np
import pytest

import tso3dask as tso3
from tso3dask.graph import dataset as dataset_module
from tso3dask.graph import steps
from tso3dask.graph.arrays import (
    expression_engine,
    picked_arrays,
    program_of,
)
from tso3dask.graph.program import Program
from tso3dask.io.pixels import ArraySpec
from tso3dask.io.segment import open_segment

CUBES = ("sci", "err", "dq", "var_poisson", "var_rnoise", "var_flat")


graphs_only = pytest.mark.skipif(
    expression_engine(), reason="dask arrays as expressions have no such function or task count"
)


def refuse(*args, **kwargs):
    raise AssertionError("computed while the graph was built")


@pytest.fixture
def no_compute(monkeypatch):
    """Any computation or read of pixels fails until the test says otherwise."""
    patches = pytest.MonkeyPatch()
    real = ArraySpec.read
    patches.setattr(
        ArraySpec,
        "read",
        lambda self, *args: refuse() if self.name in CUBES else real(self, *args),
    )
    patches.setattr(ArraySpec, "read_region", refuse)
    with dask.config.set(scheduler=refuse):
        yield
    patches.undo()


@pytest.fixture
def member(spectra):
    return spectra.members[0]


def test_opening_and_flagging_compute_nothing(member, no_compute):
    dataset = tso3.open_segment(member, chunks=5)
    flagged = steps.outlier_detection(dataset)
    assert flagged.sizes == {"integration": 34, "y": 26, "x": 20}
    for name in CUBES:
        assert flagged[name].chunks == ((5,) * 6 + (4,), (26,), (20,))
    changed = dataset.assign(sci=dataset.sci * 2)
    steps.outlier_detection(changed, rolling_window_width=100)
    repr(flagged)
    flagged._repr_html_()


def test_trees_and_plans_compute_nothing(spectra, images, no_compute):
    tso3.open_association(spectra.asn, chunks=5)
    plan = tso3.plan(spectra.asn, spectra.steps, chunk_integrations=5)
    assert plan.crfints is not None and plan.x1dints is not None and plan.whtlt is not None
    plan = tso3.plan(images.asn, images.steps)
    assert plan.phot is not None
    repr(plan)


def test_the_same_call_gives_the_same_names(member):
    a, b = (steps.outlier_detection(tso3.open_segment(member, chunks=5)) for _ in range(2))
    assert [a[n].data.name for n in CUBES] == [b[n].data.name for n in CUBES]
    c = steps.outlier_detection(tso3.open_segment(member, chunks=5), snr="6")
    assert a.sci.data.name != c.sci.data.name
    first = a.sci * 2
    assert steps.outlier_detection(a.assign(sci=first)).sci.data.name != a.sci.data.name


def test_other_chunks_have_other_names(member):
    a, b = (tso3.open_segment(member, chunks=n) for n in (4, 9))
    keys = [set(dict(ds.sci.data.__dask_graph__())) for ds in (a, b)]
    assert not keys[0] & keys[1]
    one, two = dask.compute(a.sci.data, b.sci.data)
    np.testing.assert_array_equal(one, two)
    one, two = dask.compute(*(steps.outlier_detection(ds).dq.data for ds in (a, b)))
    np.testing.assert_array_equal(one, two)


def test_files_of_other_chunks_meet_in_one_computation(spectra):
    trees = [tso3.plan(spectra.asn, spectra.steps, chunk_integrations=n).x1dints for n in (4, 9)]
    nodes = [tree.leaves[0].to_dataset() for tree in trees]
    assert not keys_of([nodes[0].flux.data]) & keys_of([nodes[1].flux.data])
    a, b = dask.compute(*nodes, scheduler="synchronous")
    assert a.identical(b)


# --- how much is done --------------------------------------------------------------------------


def calls(monkeypatch, holder, name):
    counts = Counter()
    real = getattr(holder, name)

    def note(*args, **kwargs):
        counts[args[1:3]] += 1
        return real(*args, **kwargs)

    monkeypatch.setattr(holder, name, note)
    return counts


@pytest.mark.parametrize("scheduler", ["synchronous", "threads"])
def test_each_kernel_runs_once_per_chunk(member, monkeypatch, scheduler):
    counts = calls(monkeypatch, dataset_module, "compute_block")
    flagged = steps.outlier_detection(tso3.open_segment(member, chunks=10))
    flagged.compute(scheduler=scheduler)
    assert counts == {(0, 10): 1, (10, 20): 1, (20, 30): 1, (30, 34): 1}


def test_each_stage_runs_once_per_chunk_on_other_arrays(member, monkeypatch):
    counts = Counter()
    real = steps.staged_block

    def note(stage, source, a, b, *args):
        counts[a, b] += 1
        return real(stage, source, a, b, *args)

    monkeypatch.setattr(steps, "staged_block", note)
    dataset = tso3.open_segment(member, chunks=10)
    steps.outlier_detection(dataset.assign(sci=dataset.sci * 1)).compute(scheduler="synchronous")
    assert counts == {(0, 10): 1, (10, 20): 1, (20, 30): 1, (30, 34): 1}


def test_only_what_is_asked_for_is_computed(member, monkeypatch):
    counts = calls(monkeypatch, dataset_module, "compute_block")
    flagged = steps.outlier_detection(tso3.open_segment(member, chunks=10))
    flagged.sci[12:14].compute(scheduler="synchronous")
    assert counts == {(10, 20): 1}


def keys_of(arrays):
    return {key for array in arrays for key in dict(array.__dask_graph__())}


@graphs_only
def test_number_of_tasks(member):
    """One task per chunk, and one pick per chunk and variable; nothing more."""
    flagged = steps.outlier_detection(tso3.open_segment(member, chunks=5))
    keys = keys_of(flagged[name].data for name in CUBES)
    assert len(keys) == 7 * (1 + len(CUBES))


@graphs_only
def test_prologue_is_shared(spectra):
    """A segment shorter than the window: its median is made once, in tiles."""
    flagged = steps.outlier_detection(tso3.open_segment(spectra.members[1], chunks=5))
    keys = keys_of(flagged[name].data for name in CUBES)
    assert len(keys) == 4 * (1 + len(CUBES)) + 2


def test_chunks_pickle_small(member):
    chunks = [steps.outlier_detection(tso3.open_segment(member, chunks=n)) for n in (1, 34)]
    sizes = [len(pickle.dumps(dict(c.sci.data.__dask_graph__()))) for c in chunks]
    assert sizes[1] < 4000
    assert (sizes[0] - sizes[1]) / 33 < 600


# --- whose pixels they are ---------------------------------------------------------------------


def test_untouched_pixels_are_recognised(member):
    dataset = tso3.open_segment(member, chunks=5)
    program = program_of(dataset.sci.data)
    assert isinstance(program, Program)
    assert program.stages == ()
    flagged = steps.outlier_detection(dataset)
    assert len(program_of(flagged.dq.data).stages) == 1
    assert program_of(dataset.persist(scheduler="synchronous").sci.data) in (program, None)


def test_pixels_are_recognised_where_the_same_arrays_are_there_already(member):
    """The engine of expressions has one array of a name, that of the first who asked."""
    first, second = (steps.outlier_detection(tso3.open_segment(member, chunks=5)) for _ in "ab")
    gc.collect()
    for dataset in (first, second):
        assert len(program_of(dataset.dq.data).stages) == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d + 1,
        lambda d: d[2:],
        lambda d: d[:, 2:],
        lambda d: d.rechunk((3, -1, -1)),
        lambda d: d.map_blocks(np.abs),
        pytest.param(lambda d: da.where(d > 0, d, 0), marks=graphs_only),
        lambda d: d.astype("f8"),
        lambda d: da.from_array(d.compute(scheduler="synchronous")),
        lambda d: d[::-1],
    ],
)
def test_changed_pixels_are_not(member, change):
    assert program_of(change(tso3.open_segment(member, chunks=5).sci.data)) is None


def test_other_things_have_no_program():
    assert program_of(np.ones(3)) is None
    assert program_of(da.ones(3)) is None
    assert program_of(None) is None


def test_pixels_of_two_files_are_not_one_program(spectra):
    first, second = (tso3.open_segment(m) for m in spectra.members[:2])
    err = second.err.isel(integration=slice(0, 5)).drop_vars(second.err.coords)
    mixed = first.isel(integration=slice(0, 5)).assign(err=err)
    assert dataset_module.common_program(mixed) is None
    assert dataset_module.common_program(first.drop_vars("err")) is None
    assert dataset_module.common_program(first.isel(integration=slice(0, 5))) is None
    assert dataset_module.common_program(first) is not None


# --- the one helper ----------------------------------------------------------------------------


def pair(a, b):
    return np.arange(a, b), np.ones((b - a, 3), "f4")


def test_arrays_of_tasks_with_several_results():
    table = {("pairs-x", i): (pair, a, b) for i, (a, b) in enumerate([(0, 4), (4, 6)])}
    outputs = {"n": ((), "int64"), "z": ((3,), "float32")}
    arrays = picked_arrays("pairs-x", table, outputs, (4, 2), token="x")
    assert arrays["n"].chunks == ((4, 2),)
    assert arrays["z"].chunks == ((4, 2), (3,))
    assert arrays["z"].dtype == "float32"
    n, z = dask.compute(arrays["n"], arrays["z"], scheduler="synchronous")
    np.testing.assert_array_equal(n, range(6))
    np.testing.assert_array_equal(z, np.ones((6, 3)))
    assert float((arrays["n"] + arrays["z"].sum(axis=1)).sum().compute()) == 15 + 18
    double = arrays["n"] * 2
    more = {
        ("more-y", 0): (first_of, (double.name, 0), "start"),
        ("more-y", 1): (first_of, (double.name, 1), "start"),
    }
    after = picked_arrays(
        "more-y",
        more,
        {"m": ((), "int64")},
        (4, 2),
        extra={"start": (int, 1)},
        upstream=[double],
        token="y",
    )
    np.testing.assert_array_equal(after["m"].compute(), 2 * np.arange(6) + 1)


def first_of(values, plus):
    return (values + plus,)


def test_headers_are_all_that_is_read_to_open(member, no_compute):
    segment = open_segment(member)
    chunks = (34,)
    dataset = dataset_module.source_dataset(segment, chunks)
    assert dataset.attrs["path"] == str(member)
    assert set(dataset.coords) >= {"integration", "mjd_utc_mid", "bjd_tdb_mid"}
    assert dataset.integration.values.tolist() == list(range(1, 35))
