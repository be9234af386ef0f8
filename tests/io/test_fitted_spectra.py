"""Files of fitted spectra: layout, headers, tree, and rows put in any order."""

from __future__ import annotations

import io

import numpy as np
import pytest
from astropy.io import fits

from tso3dask.errors import RunError
from tso3dask.io.asdf_edit import read_scalars
from tso3dask.io.fits_bytes import headers_hash
from tso3dask.io.fitted_spectra import FittedSpectraSink, FittedTable, fitted_spectra_size
from tso3dask.io.segment import open_segment

TABLES = (
    FittedTable(1, np.linspace(0.9, 2.8, 37)),
    FittedTable(2, np.linspace(0.7, 1.3, 20)),
    FittedTable(2, np.linspace(0.6, 0.9, 5)),
)


@pytest.fixture(scope="module")
def segment(made):
    observation = made("nis_soss", nints=7, segments=[4, 3], subarray="SUBSTRIP256", **SMALL)
    return open_segment(observation.members[0])


SMALL = {"shape": (256, 400), "lost_rate": 1e-3, "cr_rate": 1e-3}


def laid_out(segment, path):
    labels = {"filename": "made.fits", "asn_pool": None, "asn_table": "some_asn.json"}
    return FittedSpectraSink.create(segment, path, TABLES, **labels, history=["a test"])


def flux(i, j):
    return 100.0 * i + 10 * j + np.arange(len(TABLES[j].wavelength)) / 100


def test_rows_are_where_they_belong(segment, tmp_path):
    sink = laid_out(segment, tmp_path / "part")
    assert abs(sink.size - fitted_spectra_size(segment.nints, TABLES)) < 0.3 * sink.size
    for a, b in ((2, 4), (0, 1), (1, 2), (0, 1)):
        sink.put(a, b, {f"flux_{j}": np.stack([flux(i, j) for i in range(a, b)]) for j in range(3)})
    path = sink.finish(tmp_path / "made.fits")
    with fits.open(path) as hdus:
        hdus.verify("exception")
        tables = [hdu for hdu in hdus if hdu.name == "EXTRACT1D"]
        assert len(tables) == 12 and hdus[0].header["DATAMODL"] == "MultiSpecModel"
        for k, table in enumerate(tables):
            i, j = divmod(k, 3)
            header = table.header
            assert (header["EXTVER"], header["INT_NUM"]) == (k + 1, i + 1)
            assert header["SPORDER"] == TABLES[j].order
            np.testing.assert_array_equal(table.data["WAVELENGTH"], TABLES[j].wavelength)
            np.testing.assert_array_equal(table.data["FLUX"], flux(i, j))
            assert (table.data["DQ"] == 0).all() and (table.data["FLUX_ERROR"] == 0).all()
        content = hdus["ASDF"].data.tobytes()
        digest = headers_hash(hdu.header for hdu in hdus[:-1])
    assert read_scalars(content, "_fits_hash")["_fits_hash"] == digest


def test_data_models_read_it(segment, tmp_path):
    datamodels = pytest.importorskip("stdatamodels.jwst.datamodels")
    sink = laid_out(segment, tmp_path / "part")
    for i in range(segment.nints):
        sink.put(i, i + 1, {f"flux_{j}": flux(i, j)[np.newaxis] for j in range(3)})
    path = sink.finish(tmp_path / "made.fits")
    with datamodels.open(path) as model:
        model.validate()
        assert type(model).__name__ == "MultiSpecModel" and len(model.spec) == 12
        assert model.meta.filename == "made.fits"
        for k, spectrum in enumerate(model.spec):
            i, j = divmod(k, 3)
            assert (spectrum.int_num, spectrum.spectral_order) == (i + 1, TABLES[j].order)
            np.testing.assert_array_equal(spectrum.spec_table["FLUX"], flux(i, j))
        buffer = io.BytesIO()
        model.to_fits(buffer)
    buffer.seek(0)
    with fits.open(buffer) as again, fits.open(path) as before:
        assert [hdu.name for hdu in again] == [hdu.name for hdu in before]
        for one, other in zip(again[1:-1], before[1:-1], strict=True):
            assert np.array(one.data).tobytes() == np.array(other.data).tobytes()


def test_a_file_is_taken_up_if_it_fits(segment, tmp_path):
    sink = laid_out(segment, tmp_path / "part")
    again = FittedSpectraSink.reopen(tmp_path / "part", segment.nints, TABLES)
    assert (again.size, again.offset, again.head) == (sink.size, sink.offset, sink.head)
    for nints, tables in ((segment.nints - 1, TABLES), (segment.nints, TABLES[:2])):
        with pytest.raises(RunError):
            FittedSpectraSink.reopen(tmp_path / "part", nints, tables)
    with pytest.raises(RunError):
        FittedSpectraSink.reopen(tmp_path / "absent", segment.nints, TABLES)
    with pytest.raises(ValueError, match="outside"):
        sink.put(3, 5, {})
    sink.abort()
    assert not (tmp_path / "part").exists()
