"""Objects that the tasks of a segment share."""

from __future__ import annotations

import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest

from tso3dask.errors import RunError
from tso3dask.graph import shared
from tso3dask.graph.shared import drop_shared, shared_object


class Model:
    """Something that takes memory."""


@pytest.fixture
def read(monkeypatch):
    """Models that were read, by path."""
    found = []

    def load(path):
        gc.collect()
        assert sum(ref() is not None for _, ref in found) == 0
        model = Model()
        found.append((path, weakref.ref(model)))
        return model

    monkeypatch.setattr(shared, "load_object", load)
    yield found
    drop_shared()


def test_one_object_at_a_time(read):
    together = threading.Barrier(2, timeout=10)

    def task(path):
        with shared_object(path) as model:
            if path == "a":
                together.wait()  # both of its tasks have it
            return id(model)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(task, ["a", "a"]))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(task, ["b", "c", "b", "c", "d", "b"]))
    assert [path for path, _ in read].count("a") == 1
    drop_shared()
    gc.collect()
    assert all(ref() is None for _, ref in read)


def test_a_file_that_is_gone(tmp_path):
    for _ in range(2):
        with pytest.raises(RunError, match="cannot be read"), shared_object(str(tmp_path / "x")):
            pass
