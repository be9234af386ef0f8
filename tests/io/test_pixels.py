"""Pixels by byte offset equal what astropy reads, for every type, range and region."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st

from tso3dask.errors import RunError
from tso3dask.io import pixels
from tso3dask.io.pixels import ArraySpec, swap_into

SHAPE = (7, 5, 9)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A file with one image of each stored type, and descriptions of them."""
    rng = np.random.default_rng(1)
    path = tmp_path_factory.mktemp("pixels") / "images.fits"
    data = {
        "sci": rng.normal(size=SHAPE).astype("f4"),
        "err": rng.normal(size=SHAPE),
        "dq": rng.integers(0, 2**32, SHAPE, dtype="u4"),
        "var_flat": rng.integers(-9, 9, SHAPE, dtype="i2"),
    }
    data["sci"][2, 3, 4] = np.nan
    hdus = [fits.PrimaryHDU(), *(fits.ImageHDU(v, name=k.upper()) for k, v in data.items())]
    fits.HDUList(hdus).writeto(path)
    specs = {}
    with fits.open(path) as opened:
        for name, kind in (("sci", ">f4"), ("err", ">f8"), ("dq", ">i4"), ("var_flat", ">i2")):
            offset = opened[name.upper()].fileinfo()["datLoc"]
            bzero = 2**31 if name == "dq" else 0
            specs[name] = ArraySpec(name, str(path), offset, kind, bzero, SHAPE)
    return data, specs


@pytest.mark.parametrize("name", ["sci", "err", "dq", "var_flat"])
def test_whole_arrays(stored, name):
    data, specs = stored
    found = specs[name].read()
    assert found.dtype == specs[name].native == ("uint32" if name == "dq" else "float32")
    assert found.dtype.isnative
    np.testing.assert_array_equal(found, data[name].astype(found.dtype))


@pytest.mark.parametrize("name", ["sci", "err", "dq", "var_flat"])
def test_rows_as_the_file_has_them(stored, name):
    data, specs = stored
    spec = specs[name]
    assert spec.plain == (name in ("sci", "dq"))
    assert not ArraySpec("dq", spec.path, spec.offset, ">i4", 0, SHAPE).plain
    found = spec.read(2, 5, out=np.zeros((3, *SHAPE[1:]), spec.stored))
    assert found.dtype == spec.dtype
    values = found.astype("f8") + spec.bzero
    np.testing.assert_array_equal(values, data[name][2:5].astype("f8"))


@settings(deadline=None)
@given(
    name=st.sampled_from(["sci", "err", "dq", "var_flat"]),
    rows=st.tuples(st.integers(0, 7), st.integers(0, 7)).map(sorted),
    y=st.tuples(st.integers(0, 5), st.integers(0, 5)).map(sorted),
    x=st.tuples(st.integers(0, 9), st.integers(0, 9)).map(sorted),
)
def test_any_region(stored, name, rows, y, x):
    data, specs = stored
    expected = data[name].astype(specs[name].native)[slice(*rows), slice(*y), slice(*x)]
    found = specs[name].read_region(*rows, slice(*y), slice(*x))
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(
        specs[name].read(*rows), data[name].astype(specs[name].native)[slice(*rows)]
    )


@pytest.mark.parametrize("block", [4, 12, 64])
def test_block_size_does_not_matter(stored, monkeypatch, block):
    data, specs = stored
    monkeypatch.setattr(pixels, "_BLOCK", block)
    for name in ("sci", "dq"):
        out = np.empty((4, *SHAPE[1:]), specs[name].native)
        assert specs[name].read(2, 6, out=out) is out
        np.testing.assert_array_equal(out, data[name][2:6])


def test_wrong_ranges_and_buffers(stored):
    _, specs = stored
    with pytest.raises(IndexError):
        specs["sci"].read(3, 8)
    with pytest.raises(ValueError, match="contiguous"):
        specs["sci"].read(0, 2, out=np.empty((2, *SHAPE[1:]), "f8"))


def test_a_file_that_changed_is_named(stored, tmp_path):
    _, specs = stored
    short = tmp_path / "short.fits"
    spec = specs["sci"]
    with open(spec.path, "rb") as handle:
        short.write_bytes(handle.read(spec.offset + 3 * spec.row_bytes))
    cut = ArraySpec("sci", str(short), spec.offset, spec.dtype, 0, spec.shape)
    assert cut.read(0, 3).shape == (3, 5, 9)
    with pytest.raises(RunError, match=r"short\.fits: ends inside SCI"):
        cut.read(2, 5)
    gone = ArraySpec("sci", str(tmp_path / "gone.fits"), 0, ">f4", 0, SHAPE)
    with pytest.raises(RunError, match=r"gone\.fits"):
        gone.read(0, 1)


def test_descriptions_are_small(stored):
    _, specs = stored
    assert len(pickle.dumps(specs["dq"])) < 400
    assert pickle.loads(pickle.dumps(specs["dq"])) == specs["dq"]


@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=40), st.booleans())
def test_swapped_bytes(values, unsigned):
    native = np.array(values, "u4")
    scratch = np.empty(64, "u4")
    found = swap_into(native, scratch, 2**31 if unsigned else 0).tobytes()
    expected = (native ^ np.uint32(2**31)) if unsigned else native
    assert found == expected.astype(">u4").tobytes()


def test_scratch_is_kept_by_thread():
    first = pixels.scratch_words(100)
    first[:] = 7
    again = pixels.scratch_words(60)
    assert np.shares_memory(first, again)
    assert pixels.scratch_words(10**6).size == 10**6
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(pixels.scratch_words, 100).result()
    assert not np.shares_memory(other, pixels.scratch_words(100))
