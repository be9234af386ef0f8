"""Small observations that several tests read; none of them writes into their folder."""

from __future__ import annotations

import pytest

from tso3dask.io.segment import open_segment


@pytest.fixture(scope="session")
def spectra_files(tmp_path_factory):
    """Two segments of a dispersed time series, 5 and 6 integrations of 24 x 20 pixels."""
    from tso3dask.simulation import simulate

    folder = tmp_path_factory.mktemp("spectra")
    made = simulate("mir_lrs-slitless", folder, nints=11, segments=[5, 6], shape=(24, 20))
    return sorted(made.members)


@pytest.fixture
def spectra_segments(spectra_files):
    """The same, opened."""
    return [open_segment(path) for path in spectra_files]
