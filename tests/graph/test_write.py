"""Datasets written as products: the same bytes and rows as a run's."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits

import tso3dask as tso3
from tso3dask import graph
from tso3dask.errors import InputError
from tso3dask.io.tables import read_table


@pytest.fixture(scope="module")
def spectroscopy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lrs")
    observation = tso3.simulate(
        "mir_lrs-slitless", folder / "in", nints=40, segments=2, shape=(64, 40), seed=3
    )
    run = tso3.plan(observation.asn, observation.steps).run(folder / "out")
    return observation, run, folder


@pytest.fixture(scope="module")
def imaging(tmp_path_factory):
    folder = tmp_path_factory.mktemp("img")
    observation = tso3.simulate(
        "nrc_tsimage", folder / "in", nints=30, segments=1, shape=(32, 32), seed=3
    )
    run = tso3.plan(observation.asn, observation.steps).run(folder / "out")
    return observation, run, folder


def same_hdus(one, other, names):
    with fits.open(one) as a, fits.open(other) as b:
        for name in names:
            np.testing.assert_array_equal(a[name].data, b[name].data)


def test_crfints_of_a_changed_dataset(spectroscopy, tmp_path):
    observation, run, _ = spectroscopy
    segment = tso3.open_segment(observation.members[0], chunks=7)
    flagged = graph.outlier_detection(segment.assign(sci=segment.sci * np.float32(1)))
    written = graph.write_crfints(flagged, tmp_path / "a_crfints.fits")
    names = ("SCI", "ERR", "DQ", "VAR_POISSON", "VAR_RNOISE", "VAR_FLAT", "INT_TIMES")
    same_hdus(written, run.products["crfints"][0], names)
    with fits.open(written) as opened:
        assert opened[0].header["S_OUTLIR"] == "COMPLETE"
        assert opened[0].header["FILENAME"] == "a_crfints.fits"


def test_spectra_and_white_light(spectroscopy, tmp_path):
    observation, run, _ = spectroscopy
    steps = observation.steps["extract_1d"]
    parts = []
    for member in observation.members:
        flagged = graph.outlier_detection(tso3.open_segment(member))
        parts.append(
            graph.extract_1d(
                flagged, extract1d=steps["override_extract1d"], apcorr=steps["override_apcorr"]
            )
        )
    written = graph.write_x1dints(parts, tmp_path / "a_x1dints.fits")
    with fits.open(written) as a, fits.open(run.products["x1dints"][0]) as b:
        assert [h.name for h in a] == [h.name for h in b]
        assert a[0].header["S_OUTLIR"] == b[0].header["S_OUTLIR"] == "COMPLETE"
        for i in (1, 2, 3):
            assert a[i].columns.units == b[i].columns.units
            for name in a[i].columns.names:
                np.testing.assert_array_equal(a[i].data[name], b[i].data[name], err_msg=name)
    from stdatamodels.jwst import datamodels

    with datamodels.open(written) as model:
        assert type(model).__name__ == "TSOMultiSpecModel"
        assert model.spec[0].slit_ra is not None
    plan = tso3.plan(observation.asn, observation.steps)
    table = graph.write_whtlt(plan.whtlt, tmp_path / "a_whtlt.ecsv")
    expected = read_table(run.products["whtlt"][0])
    found = read_table(table)
    assert found.colnames == expected.colnames
    np.testing.assert_array_equal(found["whitelight_flux"], expected["whitelight_flux"])
    one = graph.write_whtlt(graph.white_light(parts[0]), tmp_path / "b_whtlt.ecsv")
    assert read_table(one).meta["target_name"] == expected.meta["target_name"]


def test_photometry_of_a_changed_dataset(imaging, tmp_path):
    observation, run, _ = imaging
    segment = tso3.open_segment(observation.members[0], chunks=11)
    flagged = graph.outlier_detection(segment.assign(sci=segment.sci + np.float32(0)))
    table = graph.write_phot(graph.tso_photometry(flagged), tmp_path / "a_phot.ecsv")
    assert table.read_text() == run.products["phot"][0].read_text()


def test_refusals(spectroscopy, tmp_path):
    observation, _, _ = spectroscopy
    segment = tso3.open_segment(observation.members[0])
    path = tmp_path / "a_crfints.fits"
    with pytest.raises(InputError, match="var_flat"):
        graph.write_crfints(segment.drop_vars("var_flat"), path)
    with pytest.raises(InputError, match="cubes are"):
        graph.write_crfints(segment.isel(integration=slice(3)), path)
    with pytest.raises(InputError, match="no flux"):
        graph.write_x1dints(segment, tmp_path / "a_x1dints.fits")
    path.write_text("mine")
    with pytest.raises(InputError, match="overwrite"):
        graph.write_crfints(segment, path)
    assert path.read_text() == "mine"


def test_a_failing_step_leaves_nothing(spectroscopy, tmp_path):
    observation, _, _ = spectroscopy

    def fail(values):
        raise ZeroDivisionError("on purpose")

    segment = tso3.open_segment(observation.members[0])
    broken = segment.assign(
        sci=(segment.sci.dims, segment.sci.data.map_blocks(fail, meta=np.empty((0, 0, 0), "f4")))
    )
    with pytest.raises(Exception, match="on purpose"):
        graph.write_crfints(broken, tmp_path / "a_crfints.fits")
    assert list(tmp_path.iterdir()) == []
