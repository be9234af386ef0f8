"""Replacement of bad pixels in a run, in lazy products and as a function of datasets."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits

import tso3dask as tso3
from tso3dask import graph
from tso3dask.config import UnsupportedParameterError
from tso3dask.errors import InputError
from tso3dask.graph import lazy
from tso3dask.graph.arrays import program_of
from tso3dask.ops import pixel_replace
from tso3dask.ops.outliers import match_nans_and_flags

DO_NOT_USE, FLUX_ESTIMATED = 1, 1 << 28
ALGORITHMS = {
    "mingrad": {"algorithm": "mingrad"},
    "fit_profile": {"algorithm": "fit_profile", "n_adjacent_cols": 2},
}


def with_replacement(observation, algorithm="mingrad", **more):
    chosen = ALGORITHMS.get(algorithm, {"algorithm": algorithm})
    return {**observation.steps, "pixel_replace": {"skip": False, **chosen}, **more}


def values(node):
    return {name: node[name].values for name in node.data_vars}


def same(one, other):
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def leaves(tree):
    return {leaf.path: leaf.to_dataset().compute(scheduler="synchronous") for leaf in tree.leaves}


@pytest.fixture(params=["spectra", "detectors"])
def observation(request):
    return request.getfixturevalue(request.param)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_run_extracts_from_replaced_pixels_and_writes_flagged_ones(
    observation, algorithm, tmp_path
):
    plain = tso3.plan(observation.asn, observation.steps)
    plan = tso3.plan(observation.asn, with_replacement(observation, algorithm))
    assert "pixel_replace, extract_1d" in repr(plan)
    assert "light_curves" not in repr(plan)
    products = plan.run(tmp_path, scheduler="synchronous").products
    flagged, spectra = leaves(plain.crfints), leaves(plan.x1dints)
    before = leaves(plain.x1dints)
    with fits.open(products["x1dints"][0]) as hdus:
        assert hdus[0].header["S_PXREPL"] == "COMPLETE"
        assert hdus[0].header["S_TRCMOD"] == "SKIPPED"
        written = [hdu.data for hdu in hdus if hdu.name == "EXTRACT1D"]
    gained = 0
    for member, table in zip(plan.members, written, strict=True):
        with fits.open(products["crfints"][member.index]) as hdus:
            np.testing.assert_array_equal(hdus["SCI"].data, flagged[member.node].sci)
            np.testing.assert_array_equal(hdus["DQ"].data, flagged[member.node].dq)
            assert "S_PXREPL" not in hdus[0].header
        np.testing.assert_array_equal(table["FLUX"], spectra[member.node].flux)
        more = spectra[member.node].npixels.values - before[member.node].npixels.values
        assert more.min() >= 0
        gained += more.sum()
    assert gained > 0


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_replaced_pixels_are_those_of_the_kernel(observation, algorithm):
    plan = tso3.plan(observation.asn, with_replacement(observation, algorithm))
    flagged, found, estimated = leaves(plan.crfints), leaves(plan.replaced), 0
    for member in plan.members:
        cubes = {name: a.copy() for name, a in values(flagged[member.node]).items() if a.ndim == 3}
        if algorithm == "mingrad":
            pixel_replace.mingrad(cubes)
        else:
            pixel_replace.fit_profile(cubes, member.segment.get("DISPAXIS"), 2)
        same(cubes, {name: found[member.node][name].values for name in cubes})
        estimated += np.count_nonzero(cubes["dq"] & FLUX_ESTIMATED)
    assert estimated > 10
    stored = lazy.member_datasets(plan, stage="stored")
    first = plan.members[0]
    pixels = stored[first.node].sci.values
    np.testing.assert_array_equal(pixels, fits.getdata(first.segment.path, "SCI"))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_chunks_and_sub_blocks_do_not_matter(observation, algorithm):
    steps = with_replacement(observation, algorithm)
    whole = leaves(tso3.plan(observation.asn, steps).x1dints)
    pixels = leaves(tso3.plan(observation.asn, steps).replaced)
    for chunk in np.random.default_rng(1).integers(1, 30, 3):
        plan = tso3.plan(observation.asn, steps, chunk_integrations=int(chunk), memory_limit="2GB")
        for path, node in leaves(plan.x1dints).items():
            same(values(node), values(whole[path]))
        for path, node in leaves(plan.replaced).items():
            same(values(node), values(pixels[path]))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("apart", [False, True], ids=["program", "arrays"])
def test_steps_as_functions_give_the_numbers_of_a_plan(observation, algorithm, apart):
    plan = tso3.plan(observation.asn, with_replacement(observation, algorithm))
    expected, pixels = leaves(plan.x1dints), leaves(plan.replaced)
    references = observation.steps["extract_1d"]
    member = plan.members[0]
    dataset = graph.outlier_detection(tso3.open_segment(member.segment.path, chunks=6))
    if apart:
        dataset = dataset.assign(sci=dataset.sci + np.float32(0))
    replaced = graph.pixel_replace(dataset, **ALGORITHMS[algorithm])
    assert (program_of(replaced.sci.data) is None) == apart
    for name in member.segment.cubes:
        np.testing.assert_array_equal(replaced[name], pixels[member.node][name], err_msg=name)
    spectra = graph.extract_1d(
        replaced,
        extract1d=references["override_extract1d"],
        apcorr=references.get("override_apcorr"),
    )
    same(values(spectra), values(expected[member.node]))


def test_steps_in_any_order(spectra):
    """Replaced before outliers are looked for: a stage that is asked for a halo."""
    dataset = tso3.open_segment(spectra.members[0], chunks=6)
    fused = graph.outlier_detection(graph.pixel_replace(dataset), rolling_window_width=5)
    in_memory = graph.outlier_detection(
        graph.pixel_replace(dataset.compute()), rolling_window_width=5
    )
    for name in ("sci", "dq", "var_rnoise"):
        np.testing.assert_array_equal(fused[name], in_memory[name])
    spectra_of = graph.extract_1d(fused)
    np.testing.assert_array_equal(spectra_of.flux, graph.extract_1d(in_memory).flux)


def test_a_pixel_without_a_variance_is_lost_again(spectra, copy_of):
    ours = copy_of(spectra)
    with fits.open(ours.members[0], mode="update") as hdus:
        hdus["SCI"].data[3, 10, 10] = np.nan
        hdus["VAR_RNOISE"].data[3, 9:12, 9:12] *= -1
    plan = tso3.plan(ours.asn, with_replacement(spectra, outlier_detection={"skip": True}))
    replaced = leaves(plan.replaced)[plan.members[0].node]
    assert np.isfinite(replaced.sci[3, 10, 10]) and np.isnan(replaced.var_rnoise[3, 10, 10])
    assert replaced.dq[3, 10, 10] == FLUX_ESTIMATED
    cubes = {n: replaced[n].values for n in plan.members[0].segment.cubes}
    match_nans_and_flags({n: a for n, a in cubes.items() if n != "dq"}, cubes["dq"])
    assert cubes["dq"][3, 10, 10] == FLUX_ESTIMATED | DO_NOT_USE
    expected = plan.members[0].spectrum.columns(cubes)["NPIXELS"]
    np.testing.assert_array_equal(leaves(plan.x1dints)[plan.members[0].node].npixels, expected)


def test_status_of_products_that_a_program_writes(spectra, tmp_path):
    plan = tso3.plan(spectra.asn, spectra.steps)
    parts = []
    for member in plan.members:
        dataset = graph.outlier_detection(tso3.open_segment(member.segment.path))
        parts.append(graph.extract_1d(graph.pixel_replace(dataset)))
    path = graph.write_x1dints(parts, tmp_path / "own_x1dints.fits")
    assert fits.getheader(path)["S_PXREPL"] == "COMPLETE"


def test_parameters_tell_results_apart(spectra):
    def token(**parameters):
        return tso3.plan(spectra.asn, {**spectra.steps, "pixel_replace": parameters}).token

    tokens = {
        token(skip=True),
        token(skip=False),
        token(skip=False, algorithm="fit_profile"),
        token(skip=False, algorithm="fit_profile", n_adjacent_cols=4),
    }
    assert len(tokens) == 4
    assert token(skip=False, algorithm="mingrad") == token(skip=False)


def test_stages_that_are_not_there(spectra):
    plan = tso3.plan(spectra.asn, spectra.steps)
    with pytest.raises(InputError, match="pixel_replace is skipped"):
        plan.replaced  # noqa: B018
    with pytest.raises(InputError, match="stage is 'flags'"):
        lazy.member_datasets(plan, stage="flags")


# --- what headers settle -------------------------------------------------------------------------


def test_trace_models_are_refused_where_they_could_be_made(observation, no_pixels):
    with pytest.raises(UnsupportedParameterError, match="algorithm='trace_model' is not supported"):
        tso3.plan(observation.asn, with_replacement(observation, "trace_model"))
    trace = {**observation.steps, "adaptive_trace_model": {"skip": False}}
    with pytest.raises(UnsupportedParameterError, match=r"adaptive_trace_model\.skip=False"):
        tso3.plan(observation.asn, trace)


def algorithms(plan):
    return [
        m.program.stages[m.program.point_after("pixel_replace") - 1].algorithm for m in plan.members
    ]


def test_grism_data_fall_back_to_mingrad(made, no_pixels):
    grism = made("nrc_tsgrism", nints=6, segments=2, shape=(16, 40))
    plan = tso3.plan(grism.asn, with_replacement(grism, "trace_model"))
    assert algorithms(plan) == ["mingrad", "mingrad"]
    notes = [note for note in plan.notes if "no trace model" in note]
    assert len(notes) == 1 and "NRC_TSGRISM" in notes[0] and "members after it" in notes[0]
    trace = {**grism.steps, "adaptive_trace_model": {"skip": False}}
    with pytest.raises(InputError, match="no trace model can be made of NRC_TSGRISM"):
        tso3.plan(grism.asn, trace)


def test_cubes_fall_back_to_mingrad_and_later_members_too(made, copy_of, tmp_path):
    ours = copy_of(made("mir_lrs-slitless", nints=6, segments=2, shape=(24, 20)))
    steps = with_replacement(ours, "trace_model")
    fits.setval(ours.members[1], "DATAMODL", value="CubeModel")
    with pytest.raises(UnsupportedParameterError, match="MIR_LRS-SLITLESS"):
        tso3.plan(ours.asn, steps)
    fits.setval(ours.members[1], "DATAMODL", value="SlitModel")
    fits.setval(ours.members[0], "DATAMODL", value="CubeModel")
    plan = tso3.plan(ours.asn, steps)
    assert algorithms(plan) == ["mingrad", "mingrad"]
    fits.setval(ours.members[1], "DATAMODL", value="CubeModel")
    plan = tso3.plan(ours.asn, {**steps, "adaptive_trace_model": {"skip": False}})
    products = plan.run(tmp_path / "out", scheduler="synchronous").products
    assert fits.getheader(products["x1dints"][0])["S_TRCMOD"] == "FAILED"


def test_profiles_need_a_direction(spectra, copy_of):
    ours = copy_of(spectra)
    for member in ours.members:
        fits.setval(member, "DISPAXIS", value=3, extname="SCI")
    with pytest.raises(InputError, match="DISPAXIS is 3, expected 1 or 2"):
        graph.pixel_replace(tso3.open_segment(ours.members[0]), algorithm="fit_profile")


def test_images_are_left_alone_with_a_note(images):
    plan = tso3.plan(images.asn, {**images.steps, "pixel_replace": {"skip": False}})
    assert any("pixel_replace has no part in NRC_TSIMAGE" in note for note in plan.notes)
    assert not plan.replaces
    quiet = tso3.plan(images.asn, {**images.steps, "pixel_replace": {"skip": True}})
    assert not any("pixel_replace" in note for note in quiet.notes)


def test_memory_of_masks_is_planned(spectra):
    plain = tso3.plan(spectra.asn, spectra.steps).budget
    assert tso3.plan(spectra.asn, with_replacement(spectra)).budget.per_task > plain.per_task
