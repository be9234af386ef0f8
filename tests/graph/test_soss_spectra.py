"""SOSS members: summaries in tiles, filled chunks, spectra of boxes."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits

from tso3dask.config import parse_steps
from tso3dask.errors import InputError
from tso3dask.graph import soss_fill
from tso3dask.graph.program import Program, Source
from tso3dask.graph.soss import SossReferences, soss_setup
from tso3dask.graph.soss_fill import FillInTime, filled_stream, summary_prologue
from tso3dask.graph.soss_segment import prepare_extraction
from tso3dask.graph.stages import Match, flag_stage, median_prologue
from tso3dask.io.segment import open_segment
from tso3dask.io.soss_references import read_pastasoss, read_photom, read_specprofile
from tso3dask.ops.soss.infill import summarize

NINTS = 14


@pytest.fixture(scope="module")
def observation(made):
    return made(
        "nis_soss",
        nints=NINTS,
        segments=1,
        subarray="SUBSTRIP256",
        shape=(256, 400),
        lost_rate=2e-3,
        cr_rate=1e-3,
    )


@pytest.fixture(scope="module")
def segment(observation):
    return open_segment(observation.members[0])


def program_of(segment, **outliers):
    program = Program(Source.from_segment(segment))
    if outliers.pop("skip", False):
        return program.then(Match())
    parameters = parse_steps({"outlier_detection": outliers})
    return program.then(flag_stage(parameters, segment.nints))


def run(tasks, key):
    """Compute tasks that depend on each other, without dask's scheduler."""
    import dask.core

    return dask.core.get(tasks, key)


def summary_of(program, **sizes):
    tasks, constants = median_prologue(program)
    more, key = summary_prologue(program, constants)
    values = {name: run(tasks, where) for name, where in constants.items()}
    return run({**tasks, **more}, key), values, len(more) - 1


KINDS = {
    "one median": {"rolling_window_width": 25},
    "rolling": {"rolling_window_width": 5},
    "not flagged": {"skip": True},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tile_bytes", [12 * 10**6, 200_000, 9_000])
def test_summaries_do_not_depend_on_tiles(segment, kind, tile_bytes, monkeypatch):
    monkeypatch.setattr(soss_fill, "TILE_BYTES", tile_bytes)
    program = program_of(segment, **KINDS[kind])
    found, constants, tiles = summary_of(program)
    whole = program.block(0, NINTS, constants=constants).arrays
    expected = summarize(whole["sci"], whole["err"], whole["dq"])
    for name in ("median", "median_error", "mean", "unusable", "reference"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)
    assert found.nints == NINTS
    assert tiles >= 256 * 400 * 4 * NINTS / max(tile_bytes, 4 * NINTS * 2)


@pytest.mark.parametrize("kind", KINDS)
def test_chunks_are_filled_the_same(segment, kind):
    program = program_of(segment, **KINDS[kind])
    summary, constants, _ = summary_of(program)
    constants["summary"] = summary
    filling = program.then(FillInTime(NINTS))
    whole = filling.block(0, NINTS, constants=constants).arrays
    good = ~summary.unusable
    assert np.isfinite(whole["sci"][:, good]).all() and not whole["mask"][:, good].any()
    for step in (1, 3, 14):
        for a, b in ((0, 14), (3, 9)):
            for first, last, block in filling.stream(a, b, step, constants=constants):
                for name in ("sci", "err", "mask"):
                    np.testing.assert_array_equal(block.arrays[name], whole[name][first:last])
                if kind != "not flagged":
                    assert block.counts["n_outliers"].shape == (last - first,)


class Written:
    """A tap that keeps what it is given, of each integration once."""

    takes_stored = False

    def __init__(self, point):
        self.point, self.rows = point, {}

    def put(self, a, b, arrays):
        for i in range(a, b):
            assert i not in self.rows
            self.rows[i] = {name: array[i - a].copy() for name, array in arrays.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_streams_fill_the_same(segment, kind):
    program = program_of(segment, **KINDS[kind])
    summary, constants, _ = summary_of(program)
    constants["summary"] = summary
    filling = program.then(FillInTime(NINTS))
    for most, (a, b) in [(1, (3, 9)), (3, (0, 14)), (5, (6, 7)), (5, (10, 14)), (100, (0, 5))]:
        whole = filling.block(a, b, constants=constants)
        flagged = program.block(a, b, constants=constants)
        tap, end = Written(1), a
        for first, last, block in filled_stream(filling, a, b, most, constants, [tap]):
            assert first == end and last == min(b, first + most)
            end = last
            rows = slice(first - a, last - a)
            for name in ("sci", "err", "mask"):
                np.testing.assert_array_equal(block.arrays[name], whole.arrays[name][rows])
            for name, values in flagged.counts.items():
                np.testing.assert_array_equal(block.counts[name], values[rows])
        assert end == b and sorted(tap.rows) == list(range(a, b))
        for i, arrays in tap.rows.items():
            for name, values in arrays.items():
                np.testing.assert_array_equal(values, flagged.rows(name, i, i + 1)[0])


def setup_of(observation, segment, **extract):
    files = observation.references
    return soss_setup(
        segment,
        parse_steps({"extract_1d": extract}),
        SossReferences(
            read_pastasoss(str(files["pastasoss"])),
            read_specprofile(str(files["specprofile"])),
            photom=read_photom(str(files["photom"])),
        ),
    )


@pytest.mark.parametrize("background", [None, True])
def test_spectra_do_not_depend_on_chunks_and_are_those_put_in(observation, segment, background):
    setup, notes = setup_of(observation, segment, subtract_background=background, soss_atoca=False)
    assert notes == [] and [item.spectral_order for item in setup.orders] == [1, 2, 3]
    program = program_of(segment)
    summary, constants, _ = summary_of(program)
    constants["summary"] = summary
    filling = program.then(FillInTime(NINTS))
    extraction = prepare_extraction(setup, list(constants.items()), "x.fits")
    whole, notes = extraction.spectra(filling.block(0, NINTS, constants=constants).arrays)
    assert notes == []
    for first, last, block in filling.stream(0, NINTS, 4, constants=constants):
        for name, values in extraction.spectra(block.arrays)[0].items():
            np.testing.assert_array_equal(values, whole[name][first:last], err_msg=name)
    truth = observation.truth()
    flux = whole["FLUX_1"]
    curve = np.nanmedian(flux[:, 200:380] / np.nanmedian(flux[:, 200:380], axis=0), axis=1)
    expected = 1 - truth["transit"] * np.median(truth["spectral_depth_order1_NIS"][200:380])
    np.testing.assert_allclose(curve / curve.max(), expected / expected.max(), atol=2e-3)


def test_profiles_are_cut_and_units_follow_calibration(observation, segment):
    setup, _ = setup_of(observation, segment)
    for item in setup.orders:
        assert item.profile.shape == (256, 400) == item.weights.shape
        assert item.units["FLUX"] == "MJy" and item.units["BKGD_VAR_FLAT"] == "MJy^2"
        assert "SURF_BRIGHT" not in item.units and "NPIXELS" not in item.units
    files = observation.references
    plain, _ = soss_setup(
        segment, parse_steps({}), SossReferences(read_pastasoss(str(files["pastasoss"])))
    )
    assert plain.orders[0].units == {
        "WAVELENGTH": "um",
        "FLUX": "DN/s",
        "FLUX_ERROR": "DN/s",
        "BACKGROUND": "DN/s",
    }
    assert plain.orders[0].profile is None


def test_orders_without_a_row_are_not_calibrated(observation, segment):
    files = observation.references
    photom = read_photom(str(files["photom"]))
    photom.table["order"] = np.array([1, 7, 3])
    setup, notes = soss_setup(
        segment,
        parse_steps({}),
        SossReferences(read_pastasoss(str(files["pastasoss"])), photom=photom),
    )
    assert [item.factor is None for item in setup.orders] == [False, True, True]
    assert len(notes) == 1 and "order 2: spectra of this and further orders" in notes[0]


def edited(segment, folder, **keywords):
    path = folder / segment.path.name
    with fits.open(segment.path) as hdus:
        hdus[0].header.update(keywords)
        hdus.writeto(path)
    return open_segment(path)


def test_some_members_have_no_spectrum(observation, segment, tmp_path):
    other = edited(segment, tmp_path, FILTER="F277W")
    assert setup_of(observation, other) == (
        None,
        ["SOSS spectra are extracted for FILTER CLEAR only, not F277W"],
    )


def test_a_wheel_out_of_range_names_the_member(observation, segment, tmp_path):
    other = edited(segment, tmp_path, PWCPOS=200.0)
    with pytest.raises(InputError, match=rf"{segment.path.name}: PWCPOS: 200.0 degrees"):
        setup_of(observation, other)


def test_two_orders_if_three_are_not_wanted(observation, segment):
    setup, _ = setup_of(observation, segment, soss_order_3=False)
    assert [item.spectral_order for item in setup.orders] == [1, 2]


def test_stages_and_tasks_travel(segment):
    program = program_of(segment).then(FillInTime(NINTS))
    assert pickle.loads(pickle.dumps(program)) == program
    assert replace(program, stages=program.stages[:1]).token != program.token
    tasks, key = summary_prologue(program_of(segment), {})
    pickle.dumps(list(tasks.values()))
    other, other_key = summary_prologue(program_of(segment, rolling_window_width=3), {})
    assert key != other_key and not set(tasks) & set(other)
