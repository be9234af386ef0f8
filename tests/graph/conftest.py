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
