"""Memory that blocks are made of."""

from __future__ import annotations

import numpy as np
import pytest

from tso3dask.ops.blocks import roomy_empty


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
