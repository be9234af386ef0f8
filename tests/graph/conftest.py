"""Fixtures of the tests of graphs."""

from __future__ import annotations

import pytest

from tso3dask.io.pixels import ArraySpec


@pytest.fixture
def no_pixels(monkeypatch):
    """Reading a cube fails; images that all integrations share may be looked at."""
    real = ArraySpec.read

    def read(self, *args, **kwargs):
        assert len(self.shape) == 2, f"pixels of {self.path} were read"
        return real(self, *args, **kwargs)

    monkeypatch.setattr(ArraySpec, "read", read)
    monkeypatch.setattr(ArraySpec, "read_region", None)


@pytest.fixture(autouse=True)
def values_of_expressions(monkeypatch):
    """Compute arrays that are dask expressions before xarray turns them into values.

    xarray does not do so by itself yet where ``DASK_ARRAY__QUERY_PLANNING`` is on.
    """
    import dask
    import dask.array as da
    import xarray as xr

    if not dask.config.get("array.query-planning", False):
        return
    plain = xr.Variable.values

    def values(variable):
        return plain.fget(variable.compute() if isinstance(variable._data, da.Array) else variable)

    monkeypatch.setattr(xr.Variable, "values", property(values, plain.fset))
