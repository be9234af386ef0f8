"""The files: valid, consistent with each other, independent of how they are made."""

from __future__ import annotations

import errno
import json
import os
import shutil
import tracemalloc

import numpy as np
import pytest
from astropy.io import fits

import tso3dask
from tso3dask.errors import InputError, RunError
from tso3dask.simulation import MODES, simulate
from tso3dask.simulation.noise import Detector

SHAPES = {1: (24, 60), 2: (60, 24), None: (24, 26)}


def make(mode, path, **arguments):
    dispaxis = MODES[mode].dispaxis if mode in MODES else None
    arguments = {"nints": 6, "segments": 2, "shape": SHAPES[dispaxis], **arguments}
    return simulate(mode, path, **arguments)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.filterwarnings("error")
def test_data_models_open_and_validate(mode, tmp_path):
    from stdatamodels.fits_support import fits_hash
    from stdatamodels.jwst import datamodels

    made = make(mode, tmp_path, segments=[4, 2])
    asn = json.loads(made.asn.read_text())
    names = [member["expname"] for member in asn["products"][0]["members"]]
    assert names == [path.name for path in made.members]
    assert asn["asn_type"] == "tso3" and asn["asn_id"] == "o007"
    assert len(made.members) == 2 * len(MODES[mode].detectors)
    for number, path in enumerate(made.members):
        nints = (4, 2)[number % 2]
        with datamodels.open(str(path)) as model:
            model.validate()
            assert type(model).__name__ == MODES[mode].model
            assert model.shape == (nints, *SHAPES[MODES[mode].dispaxis])
            assert model.meta.exposure.type == MODES[mode].exp_type
            assert model.meta.filename == path.name
            assert (model.meta.exposure.integration_start, model.meta.exposure.nints) in (
                (1, 6),
                (5, 6),
            )
            first = model.meta.exposure.integration_start
            assert model.int_times["integration_number"].tolist() == list(
                range(first, first + nints)
            )
        with fits.open(path) as hdus:
            hdus.verify("exception")
            tree_bytes = hdus["ASDF"].data.tobytes()
            assert fits_hash(hdus).encode() in tree_bytes
            assert hdus["DQ"].data.dtype == np.uint32
            assert path.stat().st_size % 2880 == 0
            assert hdus["SCI"].header["BUNIT"] == hdus["ERR"].header["BUNIT"]


@pytest.mark.parametrize("mode", [name for name in MODES if MODES[name].dispaxis])
def test_wcs_agrees_with_wavelengths_and_inverts(mode, tmp_path):
    from stdatamodels.jwst import datamodels

    made = make(mode, tmp_path, segments=1, nints=2)
    with datamodels.open(str(made.members[0])) as model:
        wcs = model.meta.wcs
        ny, nx = model.shape[-2:]
        y, x = np.indices((ny, nx), dtype=float)
        if mode == "nis_soss":
            waves = [wcs(x, y, order)[2] for order in (1, 2, 3)]
            assert np.nanmin(waves[0]) == pytest.approx(0.847, abs=0.01)
            assert np.nanmax(waves[2]) < 1
            return
        world = wcs(x, y, with_bounding_box=False)
        np.testing.assert_allclose(world[2], model.wavelength, rtol=1e-6)
        middle = wcs(nx / 2, ny / 2)
        np.testing.assert_allclose(
            wcs.invert(*middle, with_bounding_box=False)[:2], (nx / 2, ny / 2), atol=1e-6
        )


def test_nirspec_slit_frame_points_at_the_trace(tmp_path):
    from stdatamodels.jwst import datamodels

    made = make("nrs_prism", tmp_path, segments=1, nints=8, cr_rate=0.0, jitter=0.0)
    with datamodels.open(str(made.members[0])) as model:
        assert model.name == "S1600A1"
        to_detector = model.meta.wcs.get_transform("slit_frame", "detector")
        x, y = to_detector(model.source_xpos, model.source_ypos, 3.0e-6)
        column = round(float(x))
        image = np.nanmean(model.data, axis=0)
        light = image[:, column] - np.nanmedian(image[:4, column])
        light[~np.isfinite(light)] = 0
        near = np.abs(np.arange(len(light)) - y) < 4
        centre = np.sum(light[near] * np.arange(len(light))[near]) / np.sum(light[near])
        assert centre == pytest.approx(float(y), abs=0.3)
        assert model.meta.wcs(x, y)[2] == pytest.approx(3.0)


def test_imaging_wcs_gives_the_target(tmp_path):
    from stdatamodels.jwst import datamodels

    made = make("nrc_tsimage", tmp_path, segments=1, nints=2)
    with datamodels.open(str(made.members[0])) as model:
        info = model.meta.wcsinfo
        ra, dec = model.meta.wcs(info.siaf_xref_sci - 1, info.siaf_yref_sci - 1)
        assert np.hypot(ra - model.meta.target.ra, dec - model.meta.target.dec) < 1e-4
        assert model.area.shape == model.shape[-2:]


def test_same_seed_same_bytes_however_it_is_chunked(tmp_path):
    arguments = {"mode": "nrs_prism", "cr_rate": 1e-3, "nints": 9}
    first = make(path=tmp_path / "a", **arguments)
    second = make(path=tmp_path / "b", chunk_integrations=2, **arguments)
    for one, two in zip(first.members, second.members, strict=True):
        assert one.read_bytes() == two.read_bytes()
    third = make(path=tmp_path / "c", segments=[1, 3, 5], **arguments)
    whole = [np.concatenate([fits.getdata(p, "SCI") for p in o.members]) for o in (first, third)]
    np.testing.assert_array_equal(*whole)
    other = make(path=tmp_path / "d", seed=1, **arguments)
    assert first.members[0].read_bytes() != other.members[0].read_bytes()
    for name, values in first.truth().items():
        np.testing.assert_array_equal(values, second.truth()[name])


def test_truth_has_a_row_for_every_integration(tmp_path):
    made = make("nrs_g395h", tmp_path, exposures=2, cr_rate=1e-3)
    truth = made.truth()
    assert len(made.members) == 8
    assert truth["exposure"].tolist() == [0] * 6 + [1] * 6
    assert truth["integration"].tolist() == list(range(1, 7)) * 2
    assert truth["segment"].tolist() == [1, 1, 1, 2, 2, 2] * 2
    assert np.all(np.diff(truth["mjd_utc_mid"]) > 0)
    assert {"light_curve_NRS1", "light_curve_NRS2", "wavelength_NRS2"} <= set(truth)
    assert set(truth["cosmic_rays"]["detector"]) == {0, 1}
    start = [fits.getheader(path)["EXPSTART"] for path in made.members]
    assert start[0] == start[1] == start[2] < start[4]
    table = fits.getdata(made.members[5], "INT_TIMES")
    np.testing.assert_array_equal(table["int_mid_BJD_TDB"], truth["bjd_tdb_mid"][9:])


@pytest.mark.parametrize(
    ("layout", "rows"), [("segment", 3), ("exposure", 6), ("empty", 0), ("absent", None)]
)
def test_int_times_layouts(layout, rows, tmp_path):
    made = make("nrc_tsimage", tmp_path, int_times=layout)
    with fits.open(made.members[1]) as hdus:
        if rows is None:
            assert "INT_TIMES" not in hdus
        else:
            assert hdus["INT_TIMES"].header["NAXIS2"] == rows
            assert len(hdus["INT_TIMES"].columns) == 7


def test_variants(tmp_path):
    made = make("mir_lrs-slitless", tmp_path / "cube", model="CubeModel", wavelength=False,
                var_flat=False, srctype="EXTENDED", photom=False, segments=1)  # fmt: skip
    with fits.open(made.members[0]) as hdus:
        names = [hdu.name for hdu in hdus]
        assert "WAVELENGTH" not in names and "VAR_FLAT" not in names
        assert hdus[0].header["DATAMODL"] == "CubeModel"
        assert hdus[0].header["S_PHOTOM"] == "SKIPPED"
        assert hdus["SCI"].header["BUNIT"] == "DN/s"
        assert hdus["SCI"].header["SRCTYPE"] == "EXTENDED"
    made = make("nrs_prism", tmp_path / "extended", srctype="EXTENDED", segments=1)
    assert fits.getheader(made.members[0], "SCI")["BUNIT"] == "MJy/sr"
    made = make("nrs_prism", tmp_path / "point", segments=1)
    assert fits.getheader(made.members[0], "SCI")["BUNIT"] == "MJy"
    made = make("nrc_tsimage", tmp_path / "lens", pupil="WLP8", segments=1)
    assert fits.getheader(made.members[0])["PUPIL"] == "WLP8"
    made = make("nis_soss", tmp_path / "soss", subarray="SUBSTRIP256", segments=1)
    assert fits.getheader(made.members[0])["SUBARRAY"] == "SUBSTRIP256"


def test_references_exist_and_steps_name_them(tmp_path):
    made = make("nrs_prism", tmp_path)
    steps = json.loads(made.steps_path.read_text())
    assert steps == made.steps
    assert steps["extract_1d"]["override_extract1d"] == str(made.references["extract1d"])
    assert all(path.is_file() for path in made.references.values())
    aperture = json.loads(made.references["extract1d"].read_text())["apertures"][0]
    assert aperture["id"] == "S1600A1" and aperture["bkg_coeff"]


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"mode": "nope"}, "unknown mode"),
        ({"nints": 0}, "nints"),
        ({"segments": [1, 2]}, "add up"),
        ({"segments": 9}, "segments"),
        ({"segments": "5,5,2"}, r"a list of their sizes, as \[50, 50, 20\], got '5,5,2'"),
        ({"segments": None}, "a number of segments or a list of their sizes"),
        ({"segments": [5, "5"]}, "segments must be a whole number of at least 1, got '5'"),
        ({"depth": 3}, "depth"),
        ({"depth": "deep"}, "depth"),
        ({"int_times": "no"}, "int_times"),
        ({"subarray": "FULL"}, "subarray"),
        ({"pupil": "WLP8", "mode": "nrs_prism"}, "pupil"),
        ({"chunk_integrations": 0}, "chunk_integrations"),
        ({"shape": (2, 2)}, "ny"),
        ({"shape": 5}, "shape"),
        ({"nonsense": 1}, "nonsense"),
    ],
)
def test_bad_arguments_are_named(arguments, word, tmp_path):
    with pytest.raises(InputError, match=word) as caught:
        make(**{"mode": "nrc_tsimage", "path": tmp_path / "x", **arguments})
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "x").exists()


def test_existing_output_is_kept_unless_told(tmp_path):
    made = make("nrc_tsimage", tmp_path, segments=3)
    before = made.members[0].read_bytes()
    with pytest.raises(InputError, match="already holds"):
        make("nrc_tsimage", tmp_path, seed=2)
    assert made.members[0].read_bytes() == before
    again = make("nrc_tsimage", tmp_path, seed=2, overwrite=True)
    assert sorted(tmp_path.glob("*_calints.fits")) == sorted(again.members)


def test_memory_does_not_grow_with_integrations(tmp_path):
    make("nrc_tsimage", tmp_path / "warm", segments=1)

    def peak(nints):
        tracemalloc.start()
        make("nrc_tsimage", tmp_path / str(nints), nints=nints, segments=1, shape=(64, 64),
             chunk_integrations=16)  # fmt: skip
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return top

    assert peak(320) < 1.3 * peak(40)


def test_exported_and_command(tmp_path, capsys):
    import argparse

    from tso3dask.simulation.command import add_arguments, run_from_args

    assert tso3dask.simulate is simulate
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    args = parser.parse_args(
        ["MIR_IMAGE", "-o", str(tmp_path), "--segments", "2,3", "--shape", "20x24", "--no-area"]
    )
    assert run_from_args(args) == 0
    assert "2 calints files" in capsys.readouterr().out
    assert len(list(tmp_path.glob("*_calints.fits"))) == 2


def test_a_disk_without_space_is_found_before_anything_is_written(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=10_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(RunError, match=r"simulate: needs .* free; give another output folder"):
        make("nrc_tsimage", tmp_path)
    assert not list(tmp_path.glob("**/*.fits"))


def test_no_member_stays_where_one_cannot_be_written(tmp_path, monkeypatch):
    expose = Detector.expose

    def full(self, timeline, exposure, start, stop, segment):
        if segment == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return expose(self, timeline, exposure, start, stop, segment)

    monkeypatch.setattr(Detector, "expose", full)
    with pytest.raises(RunError, match=r"seg002.*_calints\.fits: cannot be written"):
        make("nrc_tsimage", tmp_path, segments=2)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
