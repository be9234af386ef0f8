"""The xarray engine reads what astropy reads, lazily, and pickles small."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import xarray as xr
from astropy.io import fits
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tso3dask as tso3
from tso3dask.errors import InputError
from tso3dask.io.pixels import ArraySpec


@pytest.fixture(scope="module")
def products(spectra, detectors, tmp_path_factory):
    out = tmp_path_factory.mktemp("engine")
    one = tso3.plan(spectra.asn, spectra.steps).run(out / "one").products
    two = tso3.plan(detectors.asn, detectors.steps).run(out / "two").products
    return one, two


def test_opening_reads_no_pixel(spectra, monkeypatch):
    for name in ("read", "read_region"):
        monkeypatch.setattr(ArraySpec, name, lambda *a, **k: pytest.fail("pixels were read"))
    dataset = xr.open_dataset(spectra.members[0], engine="tso3dask", chunks={})
    assert dataset.sizes == {"integration": 34, "y": 26, "x": 20}
    assert dataset.sci.attrs["units"] == "MJy/sr"
    assert len(pickle.dumps(dataset)) < 40_000


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None
)
@given(data=st.data())
def test_any_selection(spectra, data):
    lazy = xr.open_dataset(spectra.members[0], engine="tso3dask")
    with fits.open(spectra.members[0]) as opened:
        name = data.draw(st.sampled_from(["sci", "dq"]))
        values = opened[name.upper()].data.astype(lazy[name].dtype)
    key = tuple(
        data.draw(
            st.one_of(
                st.integers(0, size - 1),
                st.slices(size).filter(lambda part, size=size: len(range(size)[part]) > 0),
                st.lists(st.integers(0, size - 1), min_size=1, max_size=4, unique=True),
            )
        )
        for size in values.shape
    )
    expected = values
    offset = 0
    for axis, part in enumerate(key):
        expected = expected[(slice(None),) * (axis - offset) + (part,)]
        offset += isinstance(part, int)
    np.testing.assert_array_equal(lazy[name][key].values, expected)


def test_recognised_by_name(spectra, products):
    assert xr.open_dataset(spectra.members[0]).sci.shape == (34, 26, 20)
    assert "flux" in xr.open_dataset(products[0]["x1dints"][0])
    assert "dq" in xr.open_dataset(products[0]["crfints"][0])


def test_spectra_of_all_segments(products):
    path = products[0]["x1dints"][0]
    dataset = xr.open_dataset(path, engine="tso3dask", chunks={"integration": 7})
    with fits.open(path) as opened:
        tables = [hdu.data for hdu in opened if hdu.name == "EXTRACT1D"]
        for name in ("FLUX", "DQ", "NPIXELS", "FLUX_ERROR"):
            expected = np.concatenate([t[name] for t in tables])
            np.testing.assert_array_equal(dataset[name.lower()].compute(), expected)
        times = np.concatenate([t["TDB-MID"] for t in tables])
    np.testing.assert_array_equal(dataset.bjd_tdb_mid.compute(), times)
    assert dataset.flux.attrs["units"] == "Jy"
    np.testing.assert_array_equal(dataset.integration.compute(), np.arange(1, 61))
    plain = xr.open_dataset(path, engine="tso3dask")
    np.testing.assert_array_equal(
        plain.flux[[50, 3, 33], ::5].values, dataset.flux.compute().values[[50, 3, 33], ::5]
    )


def test_several_detectors_need_a_name(products):
    path = products[1]["x1dints"][0]
    with pytest.raises(InputError, match=r"group=, among NRS1, NRS2"):
        xr.open_dataset(path, engine="tso3dask")
    one = xr.open_dataset(path, engine="tso3dask", group="NRS2")
    assert one.sizes["integration"] == 40
    tree = xr.open_datatree(path, engine="tso3dask")
    assert list(tree.children) == ["NRS1", "NRS2"]
    np.testing.assert_array_equal(tree["NRS2"].flux.values, one.flux.values)
    with pytest.raises(InputError, match="no spectrum 'NRS3'"):
        xr.open_dataset(path, engine="tso3dask", group="NRS3")


def test_tables_of_one_spectrum_each(tmp_path):
    rng = np.random.default_rng(0)
    hdus = [fits.PrimaryHDU()]
    hdus[0].header["DETECTOR"] = "NIS"
    flux = rng.normal(size=(4, 6))
    for i in range(4):
        columns = [
            fits.Column("WAVELENGTH", "D", array=np.linspace(1, 2, 6), unit="um"),
            fits.Column("FLUX", "D", array=flux[i], unit="Jy"),
        ]
        table = fits.BinTableHDU.from_columns(columns, name="EXTRACT1D", ver=i + 1)
        table.header["SPORDER"] = 1 + i // 2
        table.header["INT_NUM"] = 1 + i % 2
        table.header["TDB-MID"] = 59000.0 + i % 2
        hdus.append(table)
    path = tmp_path / "old_x1dints.fits"
    fits.HDUList(hdus).writeto(path)
    tree = xr.open_datatree(path, engine="tso3dask")
    assert list(tree.children) == ["NIS_order1", "NIS_order2"]
    np.testing.assert_array_equal(tree["NIS_order2"].flux.values, flux[2:])
    np.testing.assert_array_equal(tree["NIS_order2"].bjd_tdb_mid.values, [59000, 59001])


def test_steps_take_what_the_engine_opens(spectra, products):
    from tso3dask import graph

    dataset = xr.open_dataset(spectra.members[0], engine="tso3dask", chunks={"integration": 17})
    flagged = graph.outlier_detection(dataset)
    with fits.open(products[0]["crfints"][0]) as opened:
        for name in ("SCI", "DQ", "VAR_FLAT"):
            np.testing.assert_array_equal(flagged[name.lower()].compute(), opened[name].data)
