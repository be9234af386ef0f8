from __future__ import annotations

import ctypes
import errno
import os
import sys

import pytest

from tso3dask.errors import RunError
from tso3dask.io import atomic


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_part_is_hidden_beside_the_product_and_named_by_run(tmp_path):
    final = tmp_path / "a_crfints.fits"
    one, other = (atomic.part_path(final, atomic.new_run_id()) for _ in range(2))
    assert one.parent == tmp_path
    assert one.name.startswith(".a_crfints.fits.")
    assert one != other
    one.write_bytes(b"x")
    assert atomic.stale_parts(final) == [one]
    assert atomic.stale_parts(tmp_path / "crfints.fits") == []
    assert atomic.stale_parts(tmp_path / "none" / "a.fits") == []


def test_commit_replaces_and_discard_forgives(tmp_path):
    final = tmp_path / "a"
    final.write_bytes(b"old")
    part = atomic.part_path(final, "r")
    part.write_bytes(b"new")
    assert atomic.commit(part, final) == final
    assert final.read_bytes() == b"new"
    assert names(tmp_path) == ["a"]
    atomic.discard(part)
    with pytest.raises(RunError, match="could not finish"):
        atomic.commit(part, final)
    assert final.read_bytes() == b"new"


def test_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    final = tmp_path / "a.ecsv"
    atomic.write_text(final, "one\n")
    with pytest.raises(KeyError), atomic.atomic_path(final) as part:
        part.write_text("two")
        raise KeyError("stop")
    assert final.read_text() == "one\n"
    assert names(tmp_path) == ["a.ecsv"]


def test_space_is_checked_before_writing(tmp_path):
    atomic.check_space(tmp_path, 1, "a")
    with pytest.raises(RunError, match=r"a_crfints.*GB free; give another"):
        atomic.check_space(tmp_path, 10**18, "a_crfints.fits")


def test_a_file_that_is_laid_out_is_filled_finished_or_removed(tmp_path):
    part, final = tmp_path / ".a.run.part", tmp_path / "a"
    with atomic.laid_out(part) as descriptor:
        os.ftruncate(descriptor, 4)
    for place in (2, 0):
        with atomic.opened(part) as descriptor:
            os.pwrite(descriptor, b"xy", place)
    with pytest.raises(OSError, match="descriptor"):
        os.fstat(descriptor)
    with pytest.raises(RunError, match="has 4 bytes, expected 5; run it again"):
        atomic.UnfinishedFile(str(part), 5).finish(final)
    assert atomic.UnfinishedFile(str(part), 4).finish(final) == final
    assert final.read_bytes() == b"xyxy"
    with pytest.raises(RunError, match="cannot be written"), atomic.opened(part):
        pass
    atomic.UnfinishedFile(str(final), 4).abort()
    assert names(tmp_path) == []


def test_errors_of_the_disk_are_told_with_the_file(tmp_path):
    part = tmp_path / ".a.run.part"
    part.write_bytes(b"1234")
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    told = r"a\.run\.part: cannot be written \(No space"
    with pytest.raises(RunError, match=told), atomic.opened(part):
        raise full
    assert part.read_bytes() == b"1234"
    with pytest.raises(RunError, match=told), atomic.laid_out(part):
        raise full
    assert names(tmp_path) == []


def test_room_for_a_file_is_set_aside_where_that_can_be_done(tmp_path, monkeypatch):
    sparse, whole = tmp_path / "sparse", tmp_path / "whole"
    size = 1_000_001
    with atomic.laid_out(whole) as descriptor:
        os.pwrite(descriptor, b"head", 0)
        atomic.reserve(descriptor, size)
    assert whole.read_bytes() == b"head" + bytes(size - 4)
    monkeypatch.setattr(atomic, "_fallocate", lambda: None)
    with atomic.laid_out(sparse) as descriptor:
        atomic.reserve(descriptor, size)
    assert sparse.read_bytes() == bytes(size)


def test_what_cannot_be_written_is_told_by_its_own_name(tmp_path):
    with pytest.raises(RunError, match=r"no/a.txt: cannot be written \(No such file"):
        atomic.write_text(tmp_path / "no" / "a.txt", "a")
    with pytest.raises(RunError, match=r"a.txt: cannot be written \(No space left"):  # noqa: SIM117
        with atomic.atomic_path(tmp_path / "a.txt"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(FileNotFoundError), atomic.atomic_path(tmp_path / "a.txt"):
        (tmp_path / "other").read_bytes()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EOPNOTSUPP])
def test_only_a_full_disk_is_an_error_of_setting_room_aside(tmp_path, monkeypatch, number):
    def refuse(*_):
        ctypes.set_errno(number)
        return -1

    monkeypatch.setattr(atomic, "_fallocate", lambda: refuse)
    part = tmp_path / "a.part"
    if number == errno.ENOSPC:
        with pytest.raises(RunError, match="No space left"), atomic.laid_out(part) as descriptor:
            atomic.reserve(descriptor, 10)
        assert not part.exists()
    else:
        with atomic.laid_out(part) as descriptor:
            atomic.reserve(descriptor, 10)
        assert part.stat().st_size == 10


@pytest.mark.skipif(sys.platform != "linux", reason="fallocate is a call of Linux")
def test_reserved_blocks_are_on_the_disk(tmp_path):
    probe = tmp_path / "probe"
    size = 2**20
    with probe.open("wb") as stream:
        call = atomic._fallocate()
        if call is None or call(stream.fileno(), 0, 0, size):
            pytest.skip("this file system cannot set blocks aside")
    part = tmp_path / "a.part"
    with atomic.laid_out(part) as descriptor:
        atomic.reserve(descriptor, size)
    assert part.stat().st_blocks * 512 >= size
