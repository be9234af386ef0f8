from __future__ import annotations

import pickle
import random

import numpy as np
import pytest
from astropy.io import fits

from tso3dask.errors import RunError, Tso3Error
from tso3dask.io.crfints import CrfintsSink, crfints_size
from tso3dask.io.segment import open_segment

NAME = "jw01_seg001_o007_crfints.fits"
LABELS = {"filename": NAME, "asn_pool": "pool.csv", "asn_table": "asn.json"}


def rows(segment, a, b):
    return {name: segment.arrays[name].read(a, b) for name in segment.cubes}


def changed(segment, seed=1):
    rng = np.random.default_rng(seed)
    arrays = rows(segment, 0, segment.nints)
    bad = rng.random(arrays["sci"].shape) < 0.1
    for name, values in arrays.items():
        if name == "dq":
            values[bad] |= np.uint32(17)
            values[:, 0, 0] = np.uint32(2**31)
        else:
            values[bad] = np.nan
    return arrays


def fill(sink, arrays, step=2, order=None):
    starts = list(range(0, sink.nints, step))
    if order is not None:
        order.shuffle(starts)
    for a in starts:
        b = min(a + step, sink.nints)
        sink.put(a, b, {name: values[a:b] for name, values in arrays.items()})


def write(segment, folder, **labels):
    arrays = changed(segment)
    sink = CrfintsSink.create(segment, folder / ".part", **{**LABELS, **labels})
    fill(sink, arrays)
    return sink.finish(folder / NAME), arrays


def test_pixels_headers_and_static_extensions(spectra_segments, tmp_path):
    segment = spectra_segments[0]
    path, arrays = write(segment, tmp_path, history=["outlier_detection: snr = 5.0 4.0"])
    result = open_segment(path)
    assert result.cubes == segment.cubes
    for name, values in arrays.items():
        np.testing.assert_array_equal(result.arrays[name].read(), values)
    assert result.get("S_OUTLIR") == "COMPLETE"
    assert result.get("FILENAME") == NAME
    assert result.get("ASNPOOL") == "pool.csv"
    assert result.get("ASNTABLE") == "asn.json"
    assert result.get("CAL_VER") == segment.get("CAL_VER")
    history = list(result.primary["HISTORY"])
    assert history[0].startswith("tso3dask ")
    assert history[1] == "outlier_detection: snr = 5.0 4.0"
    assert [h.name for h in result.hdus] == [h.name for h in segment.hdus]
    for i, hdu in enumerate(segment.hdus):
        if i and hdu.name != "ASDF":
            assert result.headers[i].tostring() == segment.headers[i].tostring()
        if hdu.name in ("WAVELENGTH", "INT_TIMES"):
            assert result.raw(i) == segment.raw(i)
    assert path.stat().st_size % 2880 == 0
    assert abs(path.stat().st_size - crfints_size(segment)) < 20_000
    with fits.open(path) as opened:
        opened.verify("exception")


def test_it_is_the_same_data_model_with_the_same_wcs(spectra_segments, tmp_path):
    from stdatamodels.jwst import datamodels

    segment = spectra_segments[0]
    path, _ = write(segment, tmp_path)
    with datamodels.open(path) as model, datamodels.open(segment.path) as old:
        assert type(model) is type(old)
        model.validate()
        assert model.meta.asn.table_name == "asn.json"
        assert model.meta.asn.exptype == "science"
        assert model.meta.cal_step.outlier_detection == "COMPLETE"
        assert model.meta.filename == NAME
        y, x = np.mgrid[:24:3, :20:3].astype(float)
        np.testing.assert_array_equal(model.meta.wcs(x, y), old.meta.wcs(x, y))


def test_any_order_any_step_and_again(spectra_segments, tmp_path):
    segment = spectra_segments[1]
    arrays = changed(segment)
    contents = []
    for step, order in ((1, random.Random(3)), (4, None), (6, None)):
        sink = CrfintsSink.create(segment, tmp_path / ".part", **LABELS)
        sink = pickle.loads(pickle.dumps(sink))
        fill(sink, {name: np.zeros_like(values) for name, values in arrays.items()})
        fill(sink, arrays, step, order)
        path = sink.finish(tmp_path / NAME)
        contents.append(path.read_bytes()[open_segment(path).hdus[1].data_offset :])
        assert len(pickle.dumps(sink)) < 2000
    same = min(len(c) for c in contents) - 60_000  # the date in the tree is behind the pixels
    assert len({c[:same] for c in contents}) == 1


def test_an_earlier_layout_is_taken_up_again(spectra_segments, tmp_path):
    one, other = spectra_segments
    sink = CrfintsSink.create(one, tmp_path / ".part", **LABELS)
    assert CrfintsSink.reopen(one, tmp_path / ".part") == sink
    with pytest.raises(RunError, match="another input"):
        CrfintsSink.reopen(other, tmp_path / ".part")
    with pytest.raises(RunError, match="cannot go on"):
        CrfintsSink.reopen(one, tmp_path / ".none")


def test_slices_and_other_layouts_of_arrays(spectra_segments, tmp_path):
    segment = spectra_segments[0]
    arrays = changed(segment)
    sink = CrfintsSink.create(segment, tmp_path / ".part", **LABELS)
    wide = {k: np.concatenate([v, v], axis=2)[..., : segment.nx] for k, v in arrays.items()}
    sink.put(0, 5, {k: np.asfortranarray(v) for k, v in wide.items()})
    result = open_segment(sink.finish(tmp_path / NAME))
    for name, values in arrays.items():
        np.testing.assert_array_equal(result.arrays[name].read(), values)


def test_pixels_as_files_have_them_are_written_as_they_are(spectra_segments, tmp_path):
    segment = spectra_segments[0]
    arrays = changed(segment)
    sink = CrfintsSink.create(segment, tmp_path / ".part", **LABELS)
    assert sink.takes_stored
    stored = {name: values.astype(">f4") for name, values in arrays.items()}
    stored["dq"] = (arrays["dq"] ^ np.uint32(2**31)).view(np.int32).astype(">i4")
    sink.put(0, segment.nints, stored)
    result = open_segment(sink.finish(tmp_path / NAME))
    for name, values in arrays.items():
        assert result.arrays[name].read().tobytes() == values.tobytes()


def test_float64_and_small_integers_keep_their_stored_type(spectra_files, tmp_path):
    path = tmp_path / "old_calints.fits"
    with fits.open(spectra_files[0]) as opened:
        for name in ("ERR",):
            opened[name].data = opened[name].data.astype("f8")
        opened["DQ"].data = (opened["DQ"].data & 31).astype("i2")
        opened.writeto(path)
    segment = open_segment(path)
    assert not CrfintsSink.create(segment, tmp_path / ".part", **LABELS).takes_stored
    written, arrays = write(segment, tmp_path)
    result = open_segment(written)
    np.testing.assert_array_equal(result.arrays["err"].read(), arrays["err"])
    assert fits.getheader(written, "ERR")["BITPIX"] == -64
    assert fits.getheader(written, "DQ")["BITPIX"] == 16


@pytest.mark.parametrize("spare", range(8))
def test_primary_header_may_grow_over_its_block(spectra_files, tmp_path, spare):
    path = tmp_path / "full_calints.fits"
    with fits.open(spectra_files[0]) as opened:
        header = opened[0].header
        while (len(header.cards) + 1 + spare) % 36:
            header.append(("", ""), end=True)
        opened.writeto(path)
    segment = open_segment(path)
    written, arrays = write(segment, tmp_path, history=["a line " * 30])
    result = open_segment(written)
    assert result.hdus[1].header_offset >= segment.hdus[1].header_offset
    np.testing.assert_array_equal(result.arrays["dq"].read(), arrays["dq"])
    assert result.raw(result.index("INT_TIMES")) == segment.raw(segment.index("INT_TIMES"))


def test_keywords_changed_by_hand_win_over_the_tree(spectra_files, tmp_path):
    from stdatamodels.jwst import datamodels

    path = tmp_path / "edited_calints.fits"
    with fits.open(spectra_files[0]) as opened:
        opened[0].header["TARGNAME"] = "EDITED"
        opened.writeto(path)
    written, _ = write(open_segment(path), tmp_path)
    assert b"_fits_hash" not in open_segment(written).asdf_bytes()
    with datamodels.open(written) as model:
        assert model.meta.target.catalog_name == "EDITED"
        assert model.meta.cal_step.outlier_detection == "COMPLETE"


def test_checksums_are_dropped(spectra_files, tmp_path):
    path = tmp_path / "sums_calints.fits"
    with fits.open(spectra_files[0]) as opened:
        opened.writeto(path, checksum=True)
    written, _ = write(open_segment(path), tmp_path)
    for header in open_segment(written).headers:
        assert "CHECKSUM" not in header
        assert "DATASUM" not in header


def test_without_tree_and_with_association_keywords(spectra_files, tmp_path):
    path = tmp_path / "bare_calints.fits"
    with fits.open(spectra_files[0]) as opened:
        del opened["ASDF"]
        opened[0].header["ASNTABLE"] = "old.json"
        opened.writeto(path)
    written, _ = write(open_segment(path), tmp_path)
    result = open_segment(written)
    assert result.get("ASNTABLE") == "asn.json"
    assert result.get("ASNPOOL") == "pool.csv"
    keywords = list(result.primary)
    assert keywords.index("ASNPOOL") + 1 == keywords.index("ASNTABLE")


def test_failures_leave_nothing(spectra_segments, tmp_path):
    segment = spectra_segments[0]
    with pytest.raises(RunError, match="cannot be written"):
        CrfintsSink.create(segment, tmp_path, **LABELS)
    sink = CrfintsSink.create(segment, tmp_path / ".part", **LABELS)
    sink.abort()
    assert not (tmp_path / ".part").exists()
    with pytest.raises(RunError, match="has 0 bytes"):
        sink.finish(tmp_path / NAME)
    with pytest.raises(RunError, match="cannot be written"):
        fill(sink, changed(segment))
    sink = CrfintsSink.create(segment, tmp_path / ".part", **LABELS)
    with open(sink.path, "r+b") as stream:
        stream.truncate(1000)
    with pytest.raises(RunError, match="has 1000 bytes"):
        sink.finish(tmp_path / NAME)
    assert not (tmp_path / NAME).exists()


def test_an_input_that_shrinks_is_an_error(spectra_files, tmp_path):
    path = tmp_path / "cut_calints.fits"
    path.write_bytes(spectra_files[0].read_bytes())
    segment = open_segment(path)
    with path.open("r+b") as stream:
        stream.truncate(segment.hdus[-2].data_offset - 2880)
    with pytest.raises(Tso3Error):
        CrfintsSink.create(segment, tmp_path / ".part", **LABELS)
    assert not (tmp_path / ".part").exists()


def test_wrong_calls(spectra_segments, tmp_path):
    segment = spectra_segments[0]
    sink = CrfintsSink.create(segment, tmp_path / ".part", **LABELS)
    block = np.zeros((2, segment.ny, segment.nx), np.float32)
    with pytest.raises(ValueError, match="no array 'flux'"):
        sink.put(0, 2, {"flux": block})
    with pytest.raises(ValueError, match="outside"):
        sink.put(4, 6, {"sci": block})
    with pytest.raises(ValueError, match="expected shape"):
        sink.put(0, 1, {"sci": block})
