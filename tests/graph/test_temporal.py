"""Flagging with scaled medians and replacement in time: in a run, lazily, and of datasets."""

from __future__ import annotations

import json

import numpy as np
import pytest
from astropy.io import fits

import tso3dask as tso3
from tso3dask.errors import GuardError, InputError, NotYetError, RunError
from tso3dask.graph import steps
from tso3dask.graph.program import Program, Source, _SlidingReader
from tso3dask.graph.stages import FlagOutliers, flag_stage
from tso3dask.graph.temporal import FlagInTime, adjoining
from tso3dask.io.segment import open_segment

DO_NOT_USE, OUTLIER, FLUX_ESTIMATED = 1, 16, 1 << 28
PRECISE = {
    "outlier_detection": {
        "nan_aware": True,
        "scale_brightness": True,
        "noise": "model",
        "boundary": "exposure",
        "snr": "4.5",
        "rolling_window_width": 9,
    },
    "pixel_replace": {"skip": False, "algorithm": "temporal"},
}
CUBES = ("sci", "err", "dq", "var_poisson", "var_rnoise", "var_flat")


def precise(observation, **more):
    """Parameters of an observation with those of a precise run."""
    chosen = {**observation.steps}
    for source in (PRECISE, more):
        for step, values in source.items():
            chosen[step] = {**chosen.get(step, {}), **values}
    return chosen


def leaves(tree):
    return [leaf.to_dataset().compute(scheduler="synchronous") for leaf in tree.leaves]


def of_file(path, name, reference):
    return fits.getdata(path, name.upper()).astype(reference.dtype)


@pytest.fixture(scope="module", params=["spectra", "images", "detectors"])
def ran(request, tmp_path_factory):
    """An observation, its precise plan, and what its run gave."""
    observation = request.getfixturevalue(request.param)
    plan = tso3.plan(observation.asn, precise(observation))
    folder = tmp_path_factory.mktemp("precise")
    return observation, plan, plan.run(folder, workers=2)


def test_a_run_and_lazy_products_are_the_same(ran):
    _, plan, result = ran
    assert all(isinstance(m.program.stages[0], FlagInTime) for m in plan.members)
    found = 0
    by_path = {leaf.attrs["path"]: leaf for leaf in leaves(plan.crfints)}
    for member, path in zip(plan.members, result.products["crfints"], strict=True):
        leaf = by_path[str(member.segment.path)]
        for name in CUBES:
            np.testing.assert_array_equal(of_file(path, name, leaf[name]), leaf[name].values)
        found += np.count_nonzero(leaf["dq"].values & OUTLIER)
        bad = leaf["dq"].values & DO_NOT_USE != 0
        np.testing.assert_array_equal(np.isnan(leaf["sci"].values), bad)
    assert found == sum(entry["n_outliers"] for entry in result.outliers) > 10
    if plan.kind == "imaging":
        table = plan.phot.compute()
        for name, (values, _) in result.tables["phot"].items():
            np.testing.assert_allclose(table[name].values, values, rtol=1e-12, err_msg=name)
    else:
        table = plan.whtlt.compute()
        for name, (values, _) in result.tables["whtlt"].items():
            np.testing.assert_allclose(table[name].values, values, rtol=1e-12, err_msg=name)


def test_replaced_pixels_go_to_the_measurement_and_not_to_crfints(ran):
    _, plan, result = ran
    flagged, replaced = leaves(plan.crfints), leaves(plan.replaced)
    number = 0
    for before, after in zip(flagged, replaced, strict=True):
        bad = np.isnan(before["sci"].values)
        now = after["dq"].values & FLUX_ESTIMATED != 0
        number += np.count_nonzero(now)
        assert not (now & ~bad).any()
        assert np.isfinite(after["sci"].values[now]).all()
        assert not (after["dq"].values[now] & DO_NOT_USE).any()
        np.testing.assert_array_equal(after["sci"].values[~bad], before["sci"].values[~bad])
        for name in CUBES[:2]:
            left = np.isnan(after[name].values)
            np.testing.assert_array_equal(left, after["dq"].values & DO_NOT_USE != 0)
        total = sum(after[name].values[now] for name in CUBES[3:])
        np.testing.assert_allclose(after["err"].values[now] ** 2, total, rtol=1e-5)
    assert number == sum(entry["n_replaced"] for entry in result.outliers) > 10
    for member, rows in zip(plan.members, result.rows, strict=True):
        for name in ("n_outliers", "flagged_fraction", "n_replaced", "replaced_fraction"):
            assert len(rows[name]) == member.segment.nints, name
        assert (rows["replaced_fraction"] >= rows["flagged_fraction"]).all()


def test_products_say_which_steps_were_done(ran):
    _, _, result = ran
    for path in result.products["crfints"]:
        header = fits.getheader(path)
        assert header["S_OUTLIR"] == "COMPLETE"
        assert header.get("S_PXREPL") is None
    if "x1dints" in result.products:
        header = fits.getheader(result.products["x1dints"][0])
        assert header["S_PXREPL"] == "COMPLETE"
    record = json.loads(next(result.paths[0].parent.glob("*_tso3dask.json")).read_text())
    assert record["parameters"]["outlier_detection"]["scale_brightness"] is True
    assert record["parameters"]["pixel_replace"]["algorithm"] == "temporal"
    entry = record["outliers"][0]
    assert entry["n_replaced"] >= entry["n_outliers"] > 0
    most = entry["most_flagged"]
    rows = result.rows[0]["flagged_fraction"]
    assert most["target_fraction"] == rows.max() == rows[most["integration"] - 1]


@pytest.mark.parametrize("chunk", [1, 7])
def test_results_do_not_depend_on_chunks(ran, chunk):
    observation, plan, _ = ran
    other = tso3.plan(observation.asn, precise(observation), chunk_integrations=chunk)
    for one, two in zip(leaves(plan.replaced), leaves(other.replaced), strict=True):
        for name in CUBES:
            np.testing.assert_array_equal(one[name].values, two[name].values, err_msg=name)


def test_transits_are_not_flagged_and_hits_are(made):
    """One tenth of the light goes; all light that a hit adds is found."""
    arguments = {"nints": 120, "segments": 2, "shape": (24, 40), "depth": 0.1, "jitter": 0.02}
    observation = made("nrs_g395h", cr_rate=2e-3, **arguments)
    plan = tso3.plan(observation.asn, precise(observation))
    hits = observation.truth()["cosmic_rays"]
    found = missed = extra = pixels = 0
    for member, leaf in zip(plan.members, leaves(plan.crfints), strict=False):
        if member.segment.detector != "NRS1":
            continue
        flagged = leaf["dq"].values & OUTLIER != 0
        number = int(member.segment.get("EXSEGNUM"))
        mine = hits[(hits["detector"] == 0) & (hits["segment"] == number)]
        at = mine["integration"] - member.segment.int_start, mine["y"], mine["x"]
        truth = np.zeros(flagged.shape, bool)
        truth[at] = True
        found += (flagged & truth).sum()
        missed += (~flagged & truth).sum()
        extra += (flagged & ~truth).sum()
        pixels += flagged.size
    assert found > 100
    assert found / (found + missed) >= 0.99
    assert extra / pixels <= 3e-5


@pytest.mark.parametrize("width", [9, 25, 500])
@pytest.mark.parametrize("scale", [False, True])
def test_the_window_reaches_into_the_neighbouring_segments(made, width, scale):
    """An exposure in four files has the flags and medians of one in a single file."""
    arguments = {"nints": 60, "shape": (26, 20), "cr_rate": 2e-3}
    cut = made("mir_lrs-slitless", segments=[34, 20, 5, 1], **arguments)
    whole = made("mir_lrs-slitless", segments=[60], **arguments)
    chosen = {
        **PRECISE["outlier_detection"],
        "rolling_window_width": width,
        "scale_brightness": scale,
        "noise": "model" if scale else "err",
    }
    pixels = []
    for observation in (whole, cut):
        replaced = {"skip": not scale, "algorithm": "temporal"}
        parameters = precise(observation, outlier_detection=chosen, pixel_replace=replaced)
        plan = tso3.plan(observation.asn, parameters, chunk_integrations=8)
        tree = plan.replaced if scale else plan.crfints
        parts = leaves(tree)
        pixels.append({n: np.concatenate([p[n].values for p in parts]) for n in CUBES})
    for name in CUBES:
        np.testing.assert_array_equal(pixels[0][name], pixels[1][name], err_msg=name)
    assert np.count_nonzero(pixels[0]["dq"] & OUTLIER) > 20


def test_by_default_the_window_ends_with_the_segment(spectra):
    """Without own parameters nothing but the default stage runs; some of them change its flags."""
    plan = tso3.plan(spectra.asn, spectra.steps)
    assert isinstance(plan.members[0].program.stages[0], FlagOutliers)
    assert plan.members[0].program.source.reach == (0, 34)
    assert not plan.needs_model
    across = precise(spectra, outlier_detection={"boundary": "exposure"})
    source = tso3.plan(spectra.asn, across).members[1].program.source
    assert source.reach == (-34, 26)
    assert [s.nints for s in source.before] == [34]
    assert [s.nints for s in source.after] == [5, 1]


def sources_of(observation):
    segments = [open_segment(path) for path in observation.members]
    return [Source.from_segment(s) for s in segments], [s.int_start for s in segments]


def test_neighbours_as_far_as_a_window_reaches(spectra):
    sources, starts = sources_of(spectra)

    def found(place, width, starts=starts):
        before, after = adjoining(sources, starts, place, width)
        return [s.nints for s in before], [s.nints for s in after]

    assert found(0, 9) == ([], [20])
    assert found(0, 25) == ([], [20, 5])
    assert found(3, 6) == ([20, 5], [])
    assert found(3, 25) == ([20, 5], [])
    assert found(3, 26) == ([34, 20, 5], [])
    late = [*starts[:2], *(start + 1 for start in starts[2:])]
    assert found(1, 25, late) == ([34], [])
    assert found(2, 25, late) == ([], [1])
    assert {spec.name for spec in adjoining(sources, starts, 0, 9)[1][0].arrays} == {"sci", "dq"}


def test_rows_beyond_a_segment_are_those_of_its_neighbours(spectra):
    sources, starts = sources_of(spectra)
    every = np.concatenate([s.array("sci").read() for s in sources])
    before, after = adjoining(sources, starts, 1, 60)
    source = Source(sources[1].path, "x", sources[1].arrays, before, after)
    assert source.reach == (-34, 26)
    for lo, hi in [(-34, 26), (-3, 2), (18, 26), (0, 20), (-10, -5), (21, 23), (4, 4)]:
        expected = every[34 + lo : 34 + hi]
        np.testing.assert_array_equal(source.read("sci", lo, hi), expected)
        out = np.empty_like(expected)
        assert source.read("sci", lo, hi, out=out) is out
        np.testing.assert_array_equal(out, expected)
        if lo < hi:
            rows = source.read("sci", lo, hi, slice(3, 7))
            np.testing.assert_array_equal(rows, expected[:, 3:7])
    assert Program(source).token != Program(sources[1]).token


def test_neighbours_take_no_more_memory(spectra):
    sources, starts = sources_of(spectra)
    before, after = adjoining(sources, starts, 1, 60)
    source = Source(sources[1].path, "x", sources[1].arrays, before, after)
    reader = _SlidingReader(source, "sci", 9, 4)
    for lo in range(-34, 26 - 9, 4):
        np.testing.assert_array_equal(reader.rows(lo, lo + 9), source.read("sci", lo, lo + 9))
    assert len(reader._buffer) == 13


def test_too_many_flagged_pixels_stop_a_run_or_give_a_note(spectra, tmp_path):
    def run(folder, **guard):
        parameters = precise(spectra, outlier_detection={"max_flagged": 0.003, **guard})
        return tso3.plan(spectra.asn, parameters).run(tmp_path / folder, workers=1)

    warned = run("warned")
    notes = [note for note in warned.notes if "max_flagged" in note]
    share = warned.rows[0]["flagged_fraction"]
    over = [f"{i + 1}" for i in np.flatnonzero(share > 0.003)]
    assert notes[0].startswith(spectra.members[0].name)
    assert f"a share of {share.max():.2g} of the target's pixels is flagged" in notes[0]
    assert f"in integration{'s' * (len(over) > 1)} {', '.join(over[:5])}" in notes[0]
    with pytest.raises(
        GuardError, match=r"calints.fits: integrations? \d+.*a share of 0\.\d+ .*would be flagged"
    ) as stop:
        run("stopped", on_excess="stop")
    assert "max_flagged is 0.003" in str(stop.value)
    assert " 0.0% of the target" not in str(stop.value)
    assert not list((tmp_path / "stopped").glob("*crfints.fits"))
    stopped = tmp_path / "stopped"
    looser = precise(spectra, outlier_detection={"max_flagged": 0.5, "on_excess": "stop"})
    done = tso3.plan(spectra.asn, looser).run(stopped, workers=1, resume=True)
    assert "max_flagged was 0.003, is 0.5" in done.notes[0]
    assert len(run("enough", max_flagged=0.5, on_excess="stop").products["crfints"]) == 4


def test_replacement_in_time_after_the_flags_of_jwst(ran):
    """The default flags; the model of the exposure takes the place of medians."""
    observation, _, _ = ran
    parameters = {**observation.steps, "pixel_replace": PRECISE["pixel_replace"]}
    plan = tso3.plan(observation.asn, parameters)
    default = tso3.plan(observation.asn, observation.steps)
    for one, two in zip(leaves(plan.crfints), leaves(default.crfints), strict=True):
        for name in CUBES:
            np.testing.assert_array_equal(one[name].values, two[name].values)
    by_path = {str(m.segment.path): m.model for m in plan.modelled.members}
    number = 0
    for after in leaves(plan.replaced):
        model = by_path[after.attrs["path"]]
        for i, y, x in np.argwhere(after["dq"].values & FLUX_ESTIMATED != 0):
            expected = model.expected(i)[y, x]
            np.testing.assert_allclose(after["sci"].values[i, y, x], expected, rtol=1e-5)
            number += 1
    assert number > 10


def test_replacement_without_flagging_leaves_no_pixel_half_bad(copy_of, spectra):
    """NaN in any cube makes a pixel bad, and it is replaced in all."""
    here = copy_of(spectra)
    with fits.open(here.members[0], mode="update") as hdus:
        hdus["VAR_RNOISE"].data[5, 4, 3] = np.nan
    skipped = precise(here, outlier_detection={"skip": True})
    plan = tso3.plan(here.asn, skipped)
    after = leaves(plan.replaced)[0]
    assert after["dq"].values[5, 4, 3] & FLUX_ESTIMATED
    for name in (n for n in CUBES if n != "dq"):
        bad = np.isnan(after[name].values)
        np.testing.assert_array_equal(bad, after["dq"].values & DO_NOT_USE != 0, err_msg=name)


def test_steps_of_datasets(spectra):
    """Datasets of a file give the bits of the plan; changed ones the same flags."""
    parameters = {**PRECISE["outlier_detection"], "boundary": "segment"}
    plan = tso3.plan(spectra.asn, precise(spectra, outlier_detection=parameters))
    flags, pixels = leaves(plan.crfints), leaves(plan.replaced)
    for i, member in enumerate(plan.modelled.members[:2]):
        dataset = tso3.open_segment(member.segment.path, chunks=6)
        flagged = steps.outlier_detection(dataset, model=member.model, **parameters)
        replaced = steps.pixel_replace(flagged, model=member.model, algorithm="temporal")
        changed = dataset.assign({n: dataset[n] + dataset[n].dtype.type(0) for n in CUBES})
        generic = steps.outlier_detection(changed, model=member.model, **parameters)
        for name in CUBES:
            np.testing.assert_array_equal(flagged[name].values, flags[i][name].values)
            np.testing.assert_array_equal(generic[name].values, flags[i][name].values)
            np.testing.assert_array_equal(replaced[name].values, pixels[i][name].values)


def test_what_datasets_cannot_do_is_refused(spectra):
    dataset = tso3.open_segment(spectra.members[0])
    with pytest.raises(InputError, match="need the model of the exposure; give model="):
        steps.outlier_detection(dataset, scale_brightness=True)
    with pytest.raises(InputError, match="need the model of the exposure; give model="):
        steps.pixel_replace(dataset, algorithm="temporal")
    with pytest.raises(InputError, match="a dataset has one segment"):
        steps.outlier_detection(dataset, boundary="exposure")
    plan = tso3.plan(spectra.asn, precise(spectra)).modelled
    short = plan.members[1].model.rows(0, 5)
    with pytest.raises(InputError, match="the model has integrations 1 to 5"):
        steps.outlier_detection(dataset, model=short, scale_brightness=True)


def test_what_cannot_be_combined_yet_is_refused(spectra):
    def hook(dataset):
        return dataset

    for values in ({"scale_brightness": True}, {"boundary": "exposure"}):
        chosen = {**spectra.steps, "outlier_detection": {**values, "pre_hooks": [hook]}}
        with pytest.raises(NotYetError, match="hooks"):
            tso3.plan(spectra.asn, chosen)


def test_a_stage_without_its_model_says_so(spectra):
    plan = tso3.plan(spectra.asn, precise(spectra))
    with pytest.raises(RunError, match="model of the exposure is not known"):
        plan.members[0].program.block(0, 3)


def test_medians_can_be_kept(spectra, tmp_path):
    parameters = precise(spectra, outlier_detection={"save_intermediate_results": True})
    result = tso3.plan(spectra.asn, parameters).run(tmp_path, workers=1)
    median = fits.getdata(result.products["median"][0], "SCI")
    flagged = fits.getdata(result.products["crfints"][0], "SCI")
    error = fits.getdata(result.products["crfints"][0], "ERR")
    good = np.isfinite(flagged) & np.isfinite(median)
    assert good.mean() > 0.95
    assert np.std(((flagged - median) / error)[good]) == pytest.approx(1, abs=0.15)


def test_stages_name_what_changes_numbers():
    parameters = tso3.config.parse_steps({"outlier_detection": {"nan_aware": True}})
    one = flag_stage(parameters, 40)
    assert one == flag_stage(parameters, 40)
    other = tso3.config.parse_steps({"outlier_detection": {"nan_aware": True, "grow": 1}})
    assert one != flag_stage(other, 40)
    assert parameters.token() != other.token()
