from __future__ import annotations

import pickle
import random

import numpy as np
import pytest
from astropy.io import fits

from tso3dask.errors import RunError
from tso3dask.io.spectral_wcs import spectral_wcs
from tso3dask.io.x1dints import (
    SpectrumSpec,
    X1dintsSink,
    record_dtype,
    spectrum_units,
    x1dints_size,
)

NAME = "jw01_x1dints.fits"
LABELS = {"filename": NAME, "asn_pool": "pool.csv", "asn_table": "asn.json", "asn_id": "o007"}
STEPS = {"outlier_detection": "COMPLETE", "extract_1d": "COMPLETE", "pixel_replace": "SKIPPED"}
COLUMNS = record_dtype(1).names[2:19]
TIMES = record_dtype(1).names[-6:]


def specs_of(segments, widths=(7, 5), **more):
    made = []
    for i, (segment, width) in enumerate(zip(segments, widths, strict=True)):
        times = {name: 59000.0 + i + np.arange(segment.nints) * 0.01 for name in TIMES}
        times["INT_NUM"] = segment.int_start + np.arange(segment.nints)
        made.append(
            SpectrumSpec(
                segment,
                np.linspace(5, 12, width),
                spectrum_units("Jy", "MJy/sr"),
                times,
                dispaxis=2,
                name="MIR_LRS-SLITLESS",
                ra=10.0,
                dec=-5.0,
                limits=(3, 8.5, 1, 24),
                **more,
            )
        )
    return made


def columns_of(spec, seed=0):
    rng = np.random.default_rng(seed)
    shape = (spec.nints, spec.width)
    found = {name: rng.normal(size=shape) for name in COLUMNS}
    found["DQ"] = rng.integers(0, 2**32, shape, dtype=np.uint32)
    found["FLUX"][0, 0] = np.nan
    return found


def fill(sink, specs, step=2, order=None):
    blocks = [(i, a) for i, s in enumerate(specs) for a in range(0, s.nints, step)]
    if order is not None:
        order.shuffle(blocks)
    for i, a in blocks:
        b = min(a + step, specs[i].nints)
        values = {name: v[a:b] for name, v in columns_of(specs[i], i).items()}
        sink.put(i, a, b, values)


@pytest.fixture
def product(spectra_segments, tmp_path):
    specs = specs_of(spectra_segments)
    sink = X1dintsSink.create(tmp_path / ".part", specs, **LABELS, steps=STEPS, history=["h: 1"])
    fill(sink, specs)
    return specs, sink.finish(tmp_path / NAME)


def test_tables_and_keywords(product):
    specs, path = product
    with fits.open(path) as opened:
        opened.verify("exception")
        names = [(hdu.name, hdu.ver) for hdu in opened[1:]]
        assert names == [
            ("INT_TIMES", 1), ("EXTRACT1D", 1), ("EXTRACT1D", 2), ("HDRTAB", 1), ("ASDF", 1),
        ]  # fmt: skip
        for i, spec in enumerate(specs):
            table = opened["EXTRACT1D", i + 1]
            for name, values in columns_of(spec, i).items():
                np.testing.assert_array_equal(table.data[name], values, name)
            for name, values in spec.times.items():
                np.testing.assert_array_equal(table.data[name], values, name)
            np.testing.assert_array_equal(
                table.data["WAVELENGTH"], np.tile(spec.wavelength, (spec.nints, 1))
            )
            assert (table.data["N_ALONGDISP"] == spec.width).all()
            assert (table.data["SEGMENT"] == i + 1).all()
            units = {c.name: c.unit for c in table.columns if c.unit}
            assert units == {**spec.units, **dict.fromkeys(TIMES, "d")}
            assert table.header["SLTNAME"] == "MIR_LRS-SLITLESS"
            assert table.header["EXTRXSTP"] == 8.5
            assert table.header["DISPAXIS"] == 2
            assert table.header["DETECTOR"] == spec.segment.detector
        header = opened[0].header
        assert header["S_EXTR1D"] == header["S_OUTLIR"] == "COMPLETE"
        assert header["S_PXREPL"] == "SKIPPED"
        assert header["FILENAME"] == NAME
        assert header["DATAMODL"] == "TSOMultiSpecModel"
        assert header["ASNTABLE"] == "asn.json"
        assert header["HISTORY"][1] == "h: 1"
        assert header["INTSTART"] == 1
        assert header["INTEND"] == 11
        assert len(opened["HDRTAB"].data) == 2
        assert len(opened["INT_TIMES"].data) == 11
    assert path.stat().st_size % 2880 == 0
    size = x1dints_size([(s.nints, s.width) for s in specs], 11)
    assert abs(path.stat().st_size - size) < 120_000


def test_it_opens_as_its_data_model(product):
    from stdatamodels.jwst import datamodels

    specs, path = product
    with datamodels.open(path) as model:
        assert isinstance(model, datamodels.TSOMultiSpecModel)
        model.validate()
        assert model.meta.exposure.integration_end == 11
        for spec, one in zip(specs, model.spec, strict=True):
            assert one.spec_table.shape == (spec.nints,)
            ra, dec, wavelength = one.meta.wcs(np.arange(spec.width))
            assert set(ra) == {10.0}
            assert set(dec) == {-5.0}
            np.testing.assert_allclose(wavelength, spec.wavelength)


def test_any_order_and_again(spectra_segments, tmp_path):
    specs = specs_of(spectra_segments)
    tables = []
    for step, order in ((1, random.Random(2)), (4, None)):
        sink = X1dintsSink.create(tmp_path / ".part", specs, **LABELS, steps=STEPS)
        sink = pickle.loads(pickle.dumps(sink))
        for i, spec in enumerate(specs):
            sink.put(i, 0, spec.nints, {"FLUX": 1.0, "WAVELENGTH": spec.wavelength})
        fill(sink, specs, step, order)
        assert len(pickle.dumps(sink)) < 2000
        with fits.open(sink.finish(tmp_path / NAME)) as opened:
            tables.append([hdu.data.tobytes() for hdu in opened if hdu.name == "EXTRACT1D"])
    assert tables[0] == tables[1]


def test_an_earlier_layout_is_taken_up_again(spectra_segments, tmp_path):
    specs = specs_of(spectra_segments)
    part = tmp_path / ".part"
    with pytest.raises(RunError, match="cannot go on"):
        X1dintsSink.reopen(part, specs)
    sink = X1dintsSink.create(part, specs, **LABELS)
    assert X1dintsSink.reopen(part, specs) == sink
    with pytest.raises(RunError, match="other input"):
        X1dintsSink.reopen(part, specs_of(spectra_segments, (7, 6)))
    with part.open("r+b") as stream:
        stream.truncate(sink.size - 2880)
    with pytest.raises(RunError, match="without resume"):
        X1dintsSink.reopen(part, specs)


def test_columns_not_given_are_zero(spectra_segments, tmp_path):
    specs = specs_of(spectra_segments[:1], (4,))
    sink = X1dintsSink.create(tmp_path / ".part", specs, **LABELS)
    sink.put(0, 0, 5, {"FLUX": np.ones((5, 4)), "WAVELENGTH": np.arange(20.0).reshape(5, 4)})
    with fits.open(sink.finish(tmp_path / NAME)) as opened:
        data = opened["EXTRACT1D"].data
        assert (data["FLUX"] == 1).all()
        assert (data["DQ"] == 0).all()
        assert (data["NPIXELS"] == 0).all()
        np.testing.assert_array_equal(data["WAVELENGTH"], np.arange(20.0).reshape(5, 4))
        np.testing.assert_array_equal(data["INT_NUM"], 1 + np.arange(5))


def test_spectra_without_place_on_the_sky_or_times(spectra_segments, tmp_path):
    from stdatamodels.jwst import datamodels

    specs = [
        SpectrumSpec(
            spectra_segments[0],
            np.linspace(0.6, 2.8, width),
            spectrum_units("DN/s", "DN/s"),
            spectral_order=order,
            slit=False,
            n_alongdisp=np.arange(5),
        )
        for order, width in ((1, 9), (2, 4), (3, 2))
    ]
    sink = X1dintsSink.create(
        tmp_path / ".part", specs, **LABELS, attributes={"meta.soss_extract1d.width": 40.0}
    )
    path = sink.finish(tmp_path / NAME, {"meta.soss_extract1d.tikhonov_factor": 1.5e-11})
    with datamodels.open(path) as model:
        assert [spec.spectral_order for spec in model.spec] == [1, 2, 3]
        assert model.meta.soss_extract1d.tikhonov_factor == 1.5e-11
        assert not hasattr(model.spec[0].meta, "wcs")
        np.testing.assert_array_equal(model.spec[0].spec_table["N_ALONGDISP"], np.arange(5))
        assert np.isnan(model.spec[0].spec_table["MJD-AVG"]).all()
    with fits.open(path) as opened:
        assert opened[0].header["SOSSWDTH"] == 40.0
        assert "DETECTOR" not in opened["EXTRACT1D", 1].header
        assert len(opened["HDRTAB"].data) == 1


@pytest.mark.parametrize("full", [True, False])
def test_late_attributes_may_move_the_tables(spectra_segments, tmp_path, full):
    from stdatamodels.jwst import datamodels

    specs = specs_of(spectra_segments)
    sink = X1dintsSink.create(tmp_path / ".part", specs, **LABELS)
    if full:
        spare = -(len(fits.getheader(sink.path).cards) + 1) % 36
        notes = [f"note {i}" for i in range(spare)]
        sink = X1dintsSink.create(tmp_path / ".part", specs, **LABELS, history=notes)
    before = sink.tables[0].offset
    fill(sink, specs)
    late = {f"meta.soss_extract1d.{n}": float(i) for i, n in enumerate(("width", "theta"), 1)}
    path = sink.finish(tmp_path / NAME, {**late, "meta.target.catalog_name": "A LONG NAME"})
    with fits.open(path) as opened:
        place = opened["EXTRACT1D", 1].fileinfo()["datLoc"]
    assert place - before == (2880 if full else 0)
    with datamodels.open(path) as model:
        assert model.meta.soss_extract1d.theta == 2.0
        assert model.meta.target.catalog_name == "A LONG NAME"
        for i, spec in enumerate(specs):
            np.testing.assert_array_equal(
                model.spec[i].spec_table["FLUX"], columns_of(spec, i)["FLUX"]
            )


def test_values_outside_the_schema_are_left_out(spectra_files, tmp_path):
    from tso3dask.io.segment import open_segment

    path = tmp_path / "odd_calints.fits"
    with fits.open(spectra_files[0]) as opened:
        opened[0].header["NINTS"] = "many"
        opened.writeto(path)
    specs = specs_of([open_segment(path)], (4,))
    sink = X1dintsSink.create(tmp_path / ".part", specs, **LABELS, int_times=open_segment(
        spectra_files[0]).int_times)  # fmt: skip
    with fits.open(sink.finish(tmp_path / NAME)) as opened:
        assert "NINTS" not in opened[0].header


def test_wrong_calls_and_failures(spectra_segments, tmp_path):
    specs = specs_of(spectra_segments)
    sink = X1dintsSink.create(tmp_path / ".part", specs, **LABELS)
    with pytest.raises(ValueError, match="'SCI' is not an extracted column"):
        sink.put(0, 0, 1, {"SCI": 0})
    with pytest.raises(ValueError, match="outside"):
        sink.put(0, 4, 6, {"FLUX": 0})
    with pytest.raises(ValueError, match="broadcast"):
        sink.put(0, 0, 2, {"FLUX": np.zeros((2, 99))})
    sink.abort()
    with pytest.raises(RunError, match="cannot be written"):
        sink.put(0, 0, 1, {"FLUX": 0})
    with pytest.raises(RunError, match="run it again"):
        sink.finish(tmp_path / NAME)
    with pytest.raises(RunError, match="cannot be written"):
        X1dintsSink.create(tmp_path, specs, **LABELS)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("wavelength", [[1, 2, 4.0], [4, 2, 1.0], [1, 2, 1.5]])
def test_spectral_wcs(wavelength):
    wcs = spectral_wcs(11.0, 22.0, np.array(wavelength))
    ra, dec, found = wcs(np.array([0, 0.5, 1, 2]))
    assert set(ra) == {11.0}
    assert set(dec) == {22.0}
    np.testing.assert_allclose(found, np.interp([0, 0.5, 1, 2], [0, 1, 2], wavelength))
    if wavelength != [1, 2, 1.5]:
        np.testing.assert_allclose(wcs.invert(ra, dec, found), [0, 0.5, 1, 2])
        assert np.isnan(wcs.invert(11.0, 22.0, 9.0))
