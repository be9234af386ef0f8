"""Whole runs: the same products for any cutting, scheduler and interruption; nothing half done."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import peak_memory
import pytest
from astropy.io import fits
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import tso3dask as tso3
from tso3dask.errors import InputError, RunError
from tso3dask.graph import build
from tso3dask.graph.run import run_graph
from tso3dask.io.crfints import CrfintsSink
from tso3dask.io.pixels import ArraySpec
from tso3dask.io.tables import read_table
from tso3dask.io.x1dints import X1dintsSink

KINDS = ["spectra", "images", "detectors"]


@pytest.fixture(scope="session")
def observations(spectra, images, detectors):
    return {"spectra": spectra, "images": images, "detectors": detectors}


@pytest.fixture(scope="session")
def plans(observations):
    return {kind: tso3.plan(made.asn, made.steps) for kind, made in observations.items()}


def recut(plan, chunks=None, sub_block=None, workers=2):
    """The same plan with other chunks (one function of the length, or a size) and sub-blocks."""
    if isinstance(chunks, int):
        size = chunks

        def chunks(nints):
            return tuple(min(size, nints - a) for a in range(0, nints, size))

    members = plan.members
    if chunks is not None:
        members = tuple(
            dataclasses.replace(m, chunks=chunks(m.segment.nints)) for m in plan.members
        )
    budget = dataclasses.replace(
        plan.budget, workers=workers, sub_block=sub_block or plan.budget.sub_block
    )
    return dataclasses.replace(plan, members=members, budget=budget)


def products(folder):
    """Content of the products by name; what a run writes about itself left out."""
    names = sorted(p.name for p in Path(folder).iterdir())
    assert not [n for n in names if n.startswith(".")], "something is left over"
    return {n: (Path(folder) / n).read_bytes() for n in names if not n.endswith(".json")}


def same_products(found, expected):
    """Every byte of crfints and every flag; sums to rounding."""
    assert found.keys() == expected.keys()
    for name in found:
        if found[name] == expected[name]:
            continue
        assert not name.endswith("crfints.fits"), name
        if name.endswith(".ecsv"):
            same_tables(found[name], expected[name])
        else:
            same_spectra(found[name], expected[name])


def same_tables(found, expected):
    def parse(data):
        lines = [line for line in data.decode().splitlines() if not line.startswith("#")]
        return lines[0], np.array([[float(v) for v in line.split()] for line in lines[1:]])

    (names, a), (others, b) = parse(found), parse(expected)
    assert names == others
    np.testing.assert_allclose(a, b, rtol=1e-12, atol=0)


def same_spectra(found, expected):
    from astropy.io import fits

    with fits.HDUList.fromstring(found) as a, fits.HDUList.fromstring(expected) as b:
        assert [h.name for h in a] == [h.name for h in b]
        for one, two in zip(a, b, strict=True):
            assert one.header == two.header
            if one.name != "EXTRACT1D":
                assert one.data is None or one.data.tobytes() == two.data.tobytes()
                continue
            for column in one.columns.names:
                exact = column in ("DQ", "NPIXELS", "INT_NUM", "WAVELENGTH")
                tolerance = 0 if exact else 1e-12
                np.testing.assert_allclose(
                    one.data[column], two.data[column], rtol=tolerance, atol=0, err_msg=column
                )


@pytest.fixture
def reference(plans, tmp_path, stopped_clock):
    """Products of each observation in one piece: one chunk, one block, one thread."""
    made = {}

    def make(kind):
        if kind not in made:
            folder = tmp_path / f"reference-{kind}"
            plan = recut(plans[kind], 10**6, sub_block=10**6, workers=1)
            plan.run(folder, scheduler="synchronous")
            made[kind] = products(folder)
        return made[kind]

    return make


def partitions(data, nints):
    chunks = []
    while sum(chunks) < nints:
        chunks.append(data.draw(st.integers(1, nints - sum(chunks))))
    return tuple(chunks)


@pytest.mark.parametrize("kind", KINDS)
@settings(
    max_examples=5,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # to make an example smaller takes long
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_results_do_not_depend_on_how_they_are_made(kind, plans, reference, tmp_path_factory, data):
    expected = reference(kind)
    plan = recut(
        plans[kind],
        lambda nints: partitions(data, nints),
        sub_block=data.draw(st.integers(1, 40), label="sub_block"),
        workers=data.draw(st.integers(1, 4), label="workers"),
    )
    scheduler = data.draw(st.sampled_from(["synchronous", "threads"]), label="scheduler")
    folder = tmp_path_factory.mktemp("run")
    plan.run(folder, scheduler=scheduler)
    same_products(products(folder), expected)


@pytest.mark.parametrize("kind", ["spectra", "images"])
def test_one_integration_at_a_time(kind, plans, reference, tmp_path):
    recut(plans[kind], 1, sub_block=1).run(tmp_path / "out")
    same_products(products(tmp_path / "out"), reference(kind))


def test_chunk_length_and_memory_limit_do_not_matter(images, reference, tmp_path):
    options = dict(chunk_integrations=7, memory_limit="600MB", workers=1, scheduler="threads")
    tso3.run(images.asn, tmp_path / "out", images.steps, **options)
    same_products(products(tmp_path / "out"), reference("images"))


def test_with_processes(plans, reference, tmp_path):
    recut(plans["detectors"], 14).run(tmp_path / "out", scheduler="processes")
    same_products(products(tmp_path / "out"), reference("detectors"))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["spectra", "images"])
def test_on_a_cluster(kind, cluster, plans, reference, tmp_path):
    """By address, and by the Client that is current; twice, into two folders."""
    from distributed import Client

    expected = reference(kind)
    seen = []
    plan = recut(plans[kind], 9)
    plan.run(
        tmp_path / "one",
        scheduler=cluster.scheduler_address,
        progress=lambda *state: seen.append(state),
    )
    same_products(products(tmp_path / "one"), expected)
    assert seen[-1][0] == seen[-1][1]
    with Client(cluster.scheduler_address):
        plan.run(tmp_path / "two")
        lazy = plan.compute(*plan.products)
    same_products(products(tmp_path / "two"), expected)
    assert len(lazy) == len(plan.products)


@pytest.mark.slow
def test_a_worker_that_dies_once_costs_its_chunks_only(
    cluster, plans, reference, tmp_path, monkeypatch
):
    died = str(tmp_path / "died")
    real = build.extract_pass

    def extract_pass(job, a, *rest):
        if a == 10 and not Path(died).exists():
            open(died, "w").close()
            os._exit(1)
        return real(job, a, *rest)

    monkeypatch.setattr(build, "extract_pass", extract_pass)
    plan = recut(plans["spectra"], 5)
    plan.run(tmp_path / "out", scheduler=cluster.scheduler_address)
    assert Path(died).exists()
    same_products(products(tmp_path / "out"), reference("spectra"))


@pytest.mark.slow
def test_an_error_on_a_cluster_is_the_tasks_own(cluster, plans, tmp_path):
    """The input is gone when the workers come to read it."""
    plan = plans["images"]
    member = plan.members[0]
    source = dataclasses.replace(
        member.program.source,
        arrays=tuple(
            dataclasses.replace(spec, path="/no/such_calints.fits")
            for spec in member.program.source.arrays
        ),
    )
    program = dataclasses.replace(member.program, source=source)
    members = (dataclasses.replace(member, program=program), *plan.members[1:])
    broken = dataclasses.replace(plan, members=members)
    with pytest.raises(RunError, match=r"/no/such_calints\.fits: cannot be read any more"):
        broken.run(tmp_path / "out", scheduler=cluster.scheduler_address)
    nothing_final(plan, tmp_path / "out")


@pytest.mark.slow
def test_an_address_without_a_cluster_is_told_before_anything_is_written(plans, tmp_path):
    with pytest.raises(InputError, match="cannot be reached"):
        plans["images"].run(tmp_path / "out", scheduler="tcp://127.0.0.1:1")
    assert not (tmp_path / "out").exists()


# --- what travels ------------------------------------------------------------------------------

REAL = ["nrc_tsimage", "mir_lrs-slitless", "nrc_tsgrism", "nrs_prism", "nrs_g395h"]


@pytest.mark.parametrize("mode", REAL)
def test_everything_in_a_graph_pickles_small(mode, made, tmp_path):
    """At the true sizes of the arrays."""
    observation = made(mode, nints=2, segments=1)
    plan = tso3.plan(observation.asn, observation.steps)
    graph, passes = run_graph(plan)
    for key, value in graph.items():
        assert len(pickle.dumps(value)) < 300_000, key
    tasks = [graph[key] for by in passes.values() for keys in by.values() for key in keys]
    assert tasks and all(len(pickle.dumps(task)) < 2000 for task in tasks)


def test_writers_pickle_small(plans, tmp_path):
    from tso3dask.graph.sinks import check_folder, create_sinks
    from tso3dask.io.journal import Journal

    plan = plans["spectra"]
    finals = check_folder(plan, tmp_path, False, False)
    sinks = create_sinks(plan, finals, "x", Journal(str(tmp_path / ".j")))
    for sink in (*sinks.crfints.values(), sinks.x1dints):
        assert len(pickle.dumps(sink)) < 3000


def test_names_of_tasks_tell_chunks_and_places_apart(plans, tmp_path):
    from tso3dask.graph.sinks import check_folder, create_sinks, prepare_folder
    from tso3dask.io.journal import Journal

    def keys(plan, folder=None):
        sinks = None
        if folder is not None:
            finals = check_folder(plan, folder, False, False)
            prepare_folder(folder, finals)
            sinks = create_sinks(plan, finals, "x", Journal(str(folder / ".j")))
        _, passes = run_graph(plan, sinks)
        return {key for group in passes[0].values() for key in group}

    for plan in plans.values():
        found = [keys(plan), keys(recut(plan, 3)), keys(recut(plan, 4))]
        found += [keys(plan, tmp_path / "a"), keys(plan, tmp_path / "b")]
        assert sum(map(len, found)) == len(set().union(*found))
        assert keys(plan) == found[0]


# --- interruptions -----------------------------------------------------------------------------


class Lost(Exception):
    pass


def failing(monkeypatch, cls, name, after, error=Lost):
    """Let a method fail from its ``after``-th call on; returns a switch to mend it."""
    real = getattr(cls, name)
    state = SimpleNamespace(calls=0, broken=True)

    def method(self, *args, **kwargs):
        state.calls += 1
        if state.broken and state.calls > after:
            raise error("the disk is gone")
        return real(self, *args, **kwargs)

    monkeypatch.setattr(cls, name, method)
    return state


def counting(monkeypatch):
    """Count the chunks that are processed, by pass and range."""
    done = []
    for name in ("flag_pass", "centre_pass", "measure_pass", "extract_pass"):
        real = getattr(build, name)

        def task(job, a, b, *rest, real=real, name=name):
            result = real(job, a, b, *rest)
            done.append((name, job.member, a, b))
            return result

        monkeypatch.setattr(build, name, task)
    return done


def finals(plan, folder):
    return [folder / name for names in plan.products.values() for name in names]


def nothing_final(plan, folder):
    assert not [p for p in finals(plan, folder) if p.exists()]
    visible = [p.name for p in folder.iterdir() if not p.name.startswith(".")]
    assert visible == []


@pytest.mark.parametrize("kind", ["spectra", "images"])
@pytest.mark.parametrize("after", [0, 1, 5])
def test_an_interrupted_run_goes_on(kind, after, plans, reference, tmp_path, monkeypatch):
    expected = reference(kind)
    plan = recut(plans[kind], 8, sub_block=100)
    out = tmp_path / "out"
    done = counting(monkeypatch)
    disk = failing(monkeypatch, CrfintsSink, "put", after)
    with pytest.raises(RunError, match=r"_calints\.fits: integrations? [\d-]+ of the segment"):
        plan.run(out, scheduler="synchronous")
    nothing_final(plan, out)
    before = list(done)
    assert len(before) >= after
    disk.broken = False
    done.clear()
    plan.run(out, scheduler="synchronous", resume=True)
    assert not set(done) & set(before), "finished chunks were done again"
    assert len(set(done) | set(before)) == plan.tasks
    same_products(products(out), expected)


@pytest.mark.parametrize(
    ("scheduler", "error"), [("threads", OSError), ("synchronous", KeyboardInterrupt)]
)
def test_spectra_that_cannot_be_written(scheduler, error, plans, reference, tmp_path, monkeypatch):
    plan = recut(plans["spectra"], 5)
    disk = failing(monkeypatch, X1dintsSink, "put", 3, error)
    with pytest.raises((RunError, KeyboardInterrupt)):
        plan.run(tmp_path / "out", scheduler=scheduler)
    nothing_final(plan, tmp_path / "out")
    disk.broken = False
    plan.run(tmp_path / "out", resume=True)
    same_products(products(tmp_path / "out"), reference("spectra"))


@pytest.mark.parametrize(
    ("kind", "step"), [("spectra", 0), ("spectra", 2), ("spectra", 3), ("images", 1), ("images", 4)]
)
def test_stopped_between_two_products(kind, step, plans, reference, tmp_path, monkeypatch):
    """Some products have their names already, others not yet."""
    from tso3dask.graph import run

    expected = reference(kind)
    plan = recut(plans[kind], 12)
    out = tmp_path / "out"
    if step < 3:
        broken = failing(monkeypatch, CrfintsSink, "finish", step)
    elif step == 3 and kind == "spectra":
        broken = failing(monkeypatch, X1dintsSink, "finish", 0)
    else:
        broken = SimpleNamespace(broken=True)
        real = run.write_table

        def write_table(*args):
            if broken.broken:
                raise Lost
            return real(*args)

        monkeypatch.setattr(run, "write_table", write_table)
    with pytest.raises(Lost):
        plan.run(out)
    for path in finals(plan, out):
        if path.exists():
            same_products({path.name: path.read_bytes()}, {path.name: expected[path.name]})
    broken.broken = False
    plan.run(out, resume=True)
    same_products(products(out), expected)


KILLED = """
import os, signal, sys
import tso3dask as tso3
from tso3dask.io.crfints import CrfintsSink

real, calls = CrfintsSink.put, [0]

def put(self, *args):
    calls[0] += 1
    if calls[0] > int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
    return real(self, *args)

CrfintsSink.put = put
import json
tso3.run(sys.argv[1], sys.argv[2], json.loads(sys.argv[4]), chunk_integrations=6)
"""


def test_a_killed_run_goes_on(spectra, plans, reference, tmp_path, monkeypatch):
    out = tmp_path / "out"
    words = [str(spectra.asn), str(out), "6", json.dumps(spectra.steps)]
    ended = subprocess.run([sys.executable, "-c", KILLED, *words], capture_output=True, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    plan = recut(plans["spectra"], 6)
    nothing_final(plan, out)
    assert list(out.glob(".*.part"))
    done = counting(monkeypatch)
    plan.run(out, resume=True, scheduler="synchronous")
    assert 0 < len(done) < plan.tasks
    found = products(out)
    expected = reference("spectra")
    assert found.keys() == expected.keys()
    same_pixels(found, expected)


def same_pixels(found, expected):
    """Equal but for the date of the unfinished files that were taken up."""
    from astropy.io import fits

    for name in found:
        if name.endswith(".ecsv"):
            same_tables(found[name], expected[name])
            continue
        with (
            fits.HDUList.fromstring(found[name]) as a,
            fits.HDUList.fromstring(expected[name]) as b,
        ):
            assert [h.name for h in a] == [h.name for h in b]
            for one, two in zip(a, b, strict=True):
                first, second = one.header.copy(), two.header.copy()
                for header in (first, second):
                    header.remove("DATE", ignore_missing=True)
                assert first == second
                if one.name in ("HDRTAB", "ASDF") or one.data is None:
                    continue
                assert one.data.tobytes() == two.data.tobytes(), (name, one.name)


def test_bad_usage_harms_no_interrupted_run(plans, reference, tmp_path, monkeypatch):
    plan = recut(plans["images"], 8)
    out = tmp_path / "out"
    interrupted(plan, out, monkeypatch, 3)
    left = {p: p.stat().st_mtime_ns for p in out.rglob("*")}
    with pytest.raises(InputError, match="expected threads"):
        plan.run(out, resume=True, scheduler="thread")
    with pytest.raises(InputError, match="expected threads"):
        plan.run(out, scheduler="thread")
    assert left == {p: p.stat().st_mtime_ns for p in out.rglob("*")}
    plan.run(out, resume=True)
    same_products(products(out), reference("images"))


def interrupted(plan, out, monkeypatch, after=4):
    with monkeypatch.context() as patch:
        failing(patch, CrfintsSink, "put", after)
        with pytest.raises(RunError):
            plan.run(out, scheduler="synchronous")


def test_other_parameters_in_between(spectra, plans, reference, tmp_path, monkeypatch):
    """The run of other parameters takes away what the first one left: there is no going on."""
    plan = recut(plans["spectra"], 8)
    out = tmp_path / "out"
    interrupted(plan, out, monkeypatch)
    steps = {**spectra.steps, "outlier_detection": {"snr": "20"}}
    other = tso3.plan(spectra.asn, steps)
    other.run(out)
    different = products(out)
    assert different != reference("spectra")
    with pytest.raises(InputError, match="nothing to resume; give --overwrite"):
        plan.run(out, resume=True)
    same_products(products(out), different)
    plan.run(out, overwrite=True)
    same_products(products(out), reference("spectra"))


def test_resume_takes_nothing_from_other_parameters(
    spectra, plans, reference, tmp_path, monkeypatch
):
    steps = {**spectra.steps, "outlier_detection": {"snr": "20"}}
    other = tso3.plan(spectra.asn, steps, chunk_integrations=8)
    out = tmp_path / "out"
    interrupted(other, out, monkeypatch)
    assert other.left_behind(out) == []
    (note,) = plans["spectra"].left_behind(out)
    assert "with other parameters (outlier_detection.snr was 20, is 5.0 4.0) left" in note
    next(out.glob(".*_unfinished_run.*/run.json")).write_text("{")
    (vague,) = plans["spectra"].left_behind(out)
    assert "of other input or with other parameters left" in vague
    assert plans["spectra"].run(out, resume=True).notes[0] == vague
    assert plans["spectra"].left_behind(out) == []
    same_products(products(out), reference("spectra"))


def test_resume_takes_nothing_from_a_changed_file(
    spectra, copy_of, tmp_path, monkeypatch, stopped_clock
):
    ours = copy_of(spectra)
    out = tmp_path / "out"
    interrupted(tso3.plan(ours.asn, ours.steps, chunk_integrations=8), out, monkeypatch, 6)
    spec = tso3.plan(ours.asn, ours.steps).members[0].segment.arrays["sci"]
    with ours.members[0].open("r+b") as file:
        file.seek(spec.offset)
        file.write(np.full(400, 7.0, ">f4").tobytes())
    os.utime(ours.members[0], ns=(10**18, 10**18))
    plan = tso3.plan(ours.asn, ours.steps, chunk_integrations=8)
    (note,) = plan.left_behind(out)
    assert "an interrupted run of other input left finished work there" in note
    plan.run(out, resume=True)
    plan.run(tmp_path / "fresh")
    same_products(products(out), products(tmp_path / "fresh"))


def test_a_fresh_start_forgets_an_interrupted_run(plans, reference, tmp_path, monkeypatch):
    plan = recut(plans["images"], 8)
    out = tmp_path / "out"
    interrupted(plan, out, monkeypatch, 3)
    with pytest.raises(InputError, match="interrupted run of the same plan; give --resume"):
        plan.run(out)
    done = counting(monkeypatch)
    plan.run(out, scheduler="synchronous", overwrite=True)
    assert len(done) == plan.tasks
    same_products(products(out), reference("images"))


@pytest.mark.parametrize("damage", ["cut part", "no part", "cut journal", "empty journal"])
def test_what_is_left_may_be_damaged(damage, plans, reference, tmp_path, monkeypatch):
    plan = recut(plans["images"], 8)
    out = tmp_path / "out"
    interrupted(plan, out, monkeypatch, 3)
    parts = sorted(out.glob(".*crfints.fits.*.part"))
    entries = sorted(out.glob(f".{plan.names.stem}_tso3dask_unfinished_run.*/*.npz"))
    assert parts and entries
    if damage == "cut part":
        os.truncate(parts[0], 10_000)
    elif damage == "no part":
        parts[0].unlink()
    else:
        os.truncate(entries[0], 0 if damage == "empty journal" else 200)
    plan.run(out, resume=True)
    same_products(products(out), reference("images"))


def test_resume_without_an_interrupted_run_is_a_run(plans, reference, tmp_path):
    plans["images"].run(tmp_path / "out", resume=True)
    same_products(products(tmp_path / "out"), reference("images"))


def test_resume_of_a_finished_run_does_nothing(plans, tmp_path, monkeypatch):
    plan = plans["images"]
    first = plan.run(tmp_path / "out")
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").iterdir()}
    monkeypatch.setattr(ArraySpec, "read", None)
    again = plan.run(tmp_path / "out", resume=True)
    assert again.paths == first.paths
    assert again.outliers == first.outliers
    assert any("nothing was done" in note for note in again.notes)
    assert before == {p: p.stat().st_mtime_ns for p in (tmp_path / "out").iterdir()}


def test_a_product_that_was_touched_is_made_again(plans, reference, tmp_path):
    plan = plans["images"]
    plan.run(tmp_path / "out")
    table = next((tmp_path / "out").glob("*_phot.ecsv"))
    table.write_text("changed")
    plan.run(tmp_path / "out", resume=True)
    same_products(products(tmp_path / "out"), reference("images"))


def test_earlier_products_are_kept_unless_told_otherwise(plans, reference, tmp_path, monkeypatch):
    plan = plans["images"]
    out = tmp_path / "out"
    plan.run(out)
    before = {p: p.stat().st_mtime_ns for p in out.iterdir()}
    with monkeypatch.context() as patch:
        patch.setattr(ArraySpec, "read", None)
        with pytest.raises(InputError, match=r"holds earlier products.*--overwrite.*--resume"):
            plan.run(out)
    assert before == {p: p.stat().st_mtime_ns for p in out.iterdir()}
    plan.run(out, overwrite=True)
    same_products(products(out), reference("images"))
    assert all(p.stat().st_mtime_ns > before[p] for p in finals(plan, out))


def test_a_failed_overwrite_leaves_the_earlier_products(plans, tmp_path, monkeypatch):
    plan = recut(plans["spectra"], 8)
    out = tmp_path / "out"
    plan.run(out)
    before = products(out)
    failing(monkeypatch, CrfintsSink, "put", 2)
    with pytest.raises(RunError):
        plan.run(out, overwrite=True)
    for name, content in before.items():
        assert (out / name).read_bytes() == content


def test_a_lost_worker_is_told_in_one_line(plans, tmp_path, monkeypatch):
    plan = plans["images"]
    monkeypatch.setattr(build, "flag_pass", _end_of_worker)
    with pytest.raises(RunError, match=r"worker process was lost.*--resume"):
        plan.run(tmp_path / "out", scheduler="processes")
    nothing_final(plan, tmp_path / "out")


def _end_of_worker(*args):
    os._exit(3)


def test_a_full_disk_is_told_as_what_it_is(plans, tmp_path, monkeypatch):
    from tso3dask.io.journal import Journal

    def full(self, name, result):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Journal, "save", full)
    with pytest.raises(RunError, match="No space left") as caught:
        plans["images"].run(tmp_path / "out")
    assert "worker process" not in str(caught.value)
    nothing_final(plans["images"], tmp_path / "out")


def test_space_is_checked_before_anything_is_written(plans, tmp_path, monkeypatch):
    import shutil

    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises((RunError, InputError), match="free"):
        plans["images"].run(tmp_path / "out")
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


# --- what a run tells --------------------------------------------------------------------------


def test_progress_ends_at_the_end(plans, tmp_path):
    seen = []
    recut(plans["spectra"], 9).run(tmp_path / "out", progress=lambda *state: seen.append(state))
    done = [state[0] for state in seen]
    assert done == sorted(done)
    assert seen[-1][0] == seen[-1][1] == 60
    assert {phase for *_, phase in seen} == {"processing", "writing products"}


def test_results_are_told(plans, spectra, tmp_path):
    plan = plans["spectra"]
    result = plan.run(tmp_path / "out")
    assert [row["nints"] for row in result.outliers] == [34, 20, 5, 1]
    assert result.integrations == 60
    assert all(path.is_file() for path in result.paths)
    assert {p.name for p in result.paths} == {n for ns in plan.products.values() for n in ns}
    from astropy.io import fits

    for row, path in zip(result.outliers, result.products["crfints"], strict=True):
        with fits.open(path) as hdus:
            assert row["n_outliers"] == ((hdus["DQ"].data & 16) != 0).sum()
    table = read_table(result.products["whtlt"][0])
    assert len(table) == 60


def test_niriss_soss_without_spectra(made, tmp_path):
    soss = made("nis_soss", nints=30, segments=2, shape=(20, 40))
    skipped = tso3.plan(soss.asn, soss.steps)
    assert set(skipped.run(tmp_path / "other").products) == {"crfints"}


# --- memory ------------------------------------------------------------------------------------

PEAK = (
    peak_memory.PEAK
    + """
import json, sys
import tso3dask as tso3
tso3.run(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]), workers=2)
print(peak())
"""
)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_observation(tmp_path):
    peaks = []
    for factor in (1, 8):
        made = tso3.simulate(
            "mir_lrs-slitless",
            tmp_path / f"in{factor}",
            nints=150 * factor,
            segments=1,
            shape=(256, 32),
        )
        words = [str(made.asn), str(tmp_path / f"out{factor}"), json.dumps(made.steps)]
        done = subprocess.run(
            [sys.executable, "-c", PEAK, *words], capture_output=True, text=True, check=True
        )
        peaks.append(int(done.stdout.split()[-1]))
    one, eight = peaks
    assert eight < 1.15 * one + 30e6, f"{one / 1e6:.0f} MB, then {eight / 1e6:.0f} MB"
    assert eight < 10**9


def test_one_run_at_a_time_in_a_folder(plans, reference, tmp_path):
    import fcntl

    plan = plans["images"]
    out = tmp_path / "out"
    out.mkdir()
    lock = out / ".jw09001-o007_t001_nircam_f210m-clear-sub64p.lock"
    with lock.open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="another run is writing the same products"):
            plan.run(out)
        assert [p.name for p in out.iterdir()] == [lock.name]
        begun = out / f".{lock.name[1:-5]}_tso3dask_unfinished_run.{plan.token[:12]}"
        begun.mkdir()  # that run has begun; nothing tells to go on with it
        with pytest.raises(InputError, match="another run is writing the same products"):
            plan.run(out)
        begun.rmdir()
    plan.run(out)
    assert not lock.exists()
    same_products(products(out), reference("images"))


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        ({"min_wavelength": 40, "max_wavelength": 50}, "no flux between 40 and 50 micrometres"),
        ({"min_wavelength": 40}, "no flux from 40 micrometres on"),
        ({"max_wavelength": 0.1}, "no flux up to 0.1 micrometres"),
        ({}, "no spectrum has any flux"),
    ],
)
def test_white_light_of_no_wavelength_is_told(spectra, copy_of, limits, told, tmp_path):
    observation = spectra if limits else copy_of(spectra)
    for path in () if limits else observation.members:
        with fits.open(path, mode="update") as hdus:
            hdus["SCI"].data[:] = np.nan
    steps = {**observation.steps, "white_light": limits}
    result = tso3.plan(observation.asn, steps).run(tmp_path / "out")
    assert f"white light is NaN everywhere: {told}" in result.notes
    assert "rows" not in repr(result)


@pytest.mark.parametrize("recipe", ["jwst", "precise"])
@pytest.mark.parametrize("kind", ["spectra", "images"])
def test_a_segment_without_any_flux_is_told(kind, recipe, request, copy_of, tmp_path):
    copied = copy_of(request.getfixturevalue(kind))
    with fits.open(copied.members[1], mode="update") as hdus:
        hdus["SCI"].data[:] = np.nan
        hdus["DQ"].data[:] |= 1
        count = len(hdus["SCI"].data)
    result = tso3.plan(copied.asn, copied.steps, recipe=recipe).run(tmp_path / "out")
    found = [note for note in result.notes if "no flux" in note]
    assert found == [f"{copied.members[1].name}: {count} integrations have no flux"]


def test_call_as_notebooks_do(images, tmp_path):
    for _ in range(2):  # earlier products are replaced
        tso3.Tso3Pipeline.call(
            str(images.asn), output_dir=tmp_path, steps=images.steps, save_results=True, logcfg="x"
        )
    assert list(tmp_path.glob("*_phot.ecsv"))
    with pytest.raises(InputError, match="no parameter 'radius'; step tso_photometry has it"):
        tso3.Tso3Pipeline.call(str(images.asn), output_dir=tmp_path, radius=3)


def test_integrations_that_show_the_model_alone_are_told(images, copy_of, tmp_path):
    copied = copy_of(images)
    with fits.open(copied.members[0], mode="update") as hdus:
        hdus["ERR"].data[2:4] = np.nan
    result = tso3.plan(copied.asn, copied.steps, recipe="precise").run(tmp_path / "out")
    told = [note for note in result.notes if "is that of the model" in note]
    assert len(told) == 1
    assert told[0].startswith(f"{copied.members[0].name}: most of the target's pixels are replaced")
    assert "integrations 3, 4:" in told[0]
