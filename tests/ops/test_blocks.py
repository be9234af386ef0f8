"""Memory that blocks are made of."""

from __future__ import annotations

import numpy as np
import pytest

from tso3dask.ops.blocks import STORED, is_stored, roomy_empty, to_native


@pytest.mark.parametrize("shape", [(0, 3), (3, 4, 5), (500, 1000), (2**20,), (3, 2**20)])
@pytest.mark.parametrize("dtype", [np.float32, np.uint32, np.float64])
def test_roomy_arrays_are_ordinary_ones(shape, dtype):
    found = roomy_empty(shape, dtype)
    assert found.shape == shape
    assert found.dtype == dtype
    assert found.flags.c_contiguous
    assert found.flags.writeable
    held = found if found.base is None else found.base
    assert found.size == 0 or found.ctypes.data % 64 == 0
    spare = held.nbytes - found.nbytes
    assert spare == 64 or (found.nbytes > 2**20 and held.nbytes == 2**22)


@pytest.mark.parametrize("size", [1, 7, 3 * 128 * 1024 + 5])
def test_pixels_of_files_become_native_where_they_are(size):
    random = np.random.default_rng(size)
    values = random.normal(size=(1, size)).astype(np.float32)
    bits = random.integers(0, 2**32, (size, 1), dtype=np.uint32)
    floats = values.astype(STORED["float"])
    words = (bits.astype(np.int64) - 2**31).astype(STORED["dq"])
    assert is_stored(floats) and is_stored(words) and not is_stored(values)
    for array, expected in ((floats, values), (words, bits)):
        found = to_native(array)
        assert found.dtype == expected.dtype and np.shares_memory(found, array)
        np.testing.assert_array_equal(found, expected)
