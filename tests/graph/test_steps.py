from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from astropy.io import fits

import tso3dask as tso3
from tso3dask.errors import InputError
from tso3dask.graph import steps
from tso3dask.graph.arrays import program_of
from tso3dask.ops.medians import Window
from tso3dask.ops.outliers import flag_block

DO_NOT_USE, OUTLIER = 1, 16


@pytest.fixture(scope="module")
def rough(spectra, tmp_path_factory):
    """Members with NaN in sci, err and variances, flags on good ones, and an empty integration."""
    folder = tmp_path_factory.mktemp("rough")
    random = np.random.default_rng(2)
    paths = []
    for path in spectra.members:
        with fits.open(path) as hdus:
            shape = hdus["SCI"].data.shape
            for name in ("SCI", "ERR", "VAR_RNOISE"):
                hdus[name].data[random.random(shape) < 0.01] = np.nan
            for bit in (1, 4, 1024):
                hdus["DQ"].data[random.random(shape) < 0.01] |= bit
            if shape[0] > 10:
                hdus["SCI"].data[7] = np.nan
            if shape[0] > 10:
                hdus["DQ"].data[3] |= 1
            hdus.writeto(folder / path.name)
        paths.append(folder / path.name)
    return paths


def other(dataset):
    """The same values, but not any more the untouched pixels of a file."""
    return dataset.assign({n: dataset[n] + np.zeros((), dataset[n].dtype) for n in cubes(dataset)})


def cubes(dataset):
    return [n for n in dataset if dataset[n].dims == ("integration", "y", "x")]


def same(a, b):
    assert list(a.data_vars) == list(b.data_vars)
    for name in a.data_vars:
        assert a[name].dtype == b[name].dtype, name
        assert a[name].values.tobytes() == b[name].values.tobytes(), name
    xr.testing.assert_equal(a.coords.to_dataset(), b.coords.to_dataset())


PARAMETERS = [
    {},
    {"snr": "3.5", "rolling_window_width": 6},
    {"rolling_window_width": 500},
    {"rolling_window_width": 1},
    {"maskpt": 1.5},
    {"good_bits": "~DO_NOT_USE+JUMP_DET", "rolling_window_width": 9},
]


@pytest.mark.parametrize("parameters", PARAMETERS, ids=str)
@pytest.mark.parametrize("number", range(4))
def test_both_ways_give_the_same_bits(rough, number, parameters):
    dataset = tso3.open_segment(rough[number], chunks=5)
    ours = steps.outlier_detection(dataset, **parameters)
    generic = steps.outlier_detection(other(dataset), **parameters)
    assert program_of(ours.sci.data) is not None
    assert program_of(generic.sci.data) is None
    same(ours.compute(), generic.compute())
    uneven = other(dataset).chunk({"integration": -1})
    same(generic.compute(), steps.outlier_detection(uneven, **parameters).compute())
    in_memory = steps.outlier_detection(dataset.compute(), **parameters)
    same(generic.compute(), in_memory.compute())


@pytest.mark.parametrize("width", [25, 9, 40])
def test_flags_are_those_of_the_kernel(rough, width):
    """The whole segment in one call of the kernel, from pixels that astropy read."""
    with fits.open(rough[0]) as hdus:
        arrays = {n: hdus[n.upper()].data.astype("f4") for n in ("sci", "err", "var_rnoise")}
        dq = hdus["DQ"].data.astype("u4")
    median = np.nanmedian(arrays["sci"], axis=0).astype("f4") if width >= 34 else None
    expected = flag_block(
        arrays["sci"],
        dq,
        arrays["err"],
        {"var_rnoise": arrays["var_rnoise"]},
        first=0,
        a=0,
        b=34,
        window=Window(width, 34),
        bad_bits=1,
        snr=5.0,
        median=median,
    )
    dataset = tso3.open_segment(rough[0], chunks=7)
    found = steps.outlier_detection(dataset, rolling_window_width=width)
    found = found.compute()
    np.testing.assert_array_equal(found.dq, expected["dq"])
    assert ((found.dq.values & OUTLIER) != 0).sum() > 20
    for name in ("var_poisson", "var_flat"):  # not given to the kernel above: NaN there as well
        nan = np.isnan(expected["sci"])
        assert np.isnan(found[name].values[nan]).all()


def test_nan_and_do_not_use_agree(rough):
    for path in rough:
        flagged = steps.outlier_detection(tso3.open_segment(path)).compute()
        bad = (flagged.dq.values & DO_NOT_USE) != 0
        for name in cubes(flagged):
            if name != "dq":
                np.testing.assert_array_equal(np.isnan(flagged[name].values), bad, err_msg=name)
        assert bad[..., :, :].any()


def test_empty_integrations_are_flagged_and_harm_no_others(rough):
    flagged = steps.outlier_detection(tso3.open_segment(rough[0], chunks=4)).compute()
    assert np.isnan(flagged.sci.values[[3, 7]]).all()
    assert ((flagged.dq.values[[3, 7]] & DO_NOT_USE) != 0).all()
    others = np.delete(flagged.sci.values, [3, 7], axis=0)
    assert np.isnan(others).mean() < 0.2


def test_files_are_not_changed(rough):
    before = rough[0].read_bytes()
    steps.outlier_detection(tso3.open_segment(rough[0], chunks=5)).compute()
    assert rough[0].read_bytes() == before


def plus_spike(block, i, block_info=None):
    first = block_info[0]["array-location"][0][0]
    rows = np.arange(first, first + len(block)) == i
    return (block + 1e6 * rows[:, None, None]).astype("f4")


def test_what_a_user_does_before_is_not_lost(rough):
    """A spike put in by the user's own lazy step is found; the file has none there."""
    dataset = tso3.open_segment(rough[0], chunks=5)
    good = dataset.sci.compute().values
    i, y, x = next(
        k
        for k in np.ndindex(good.shape)
        if k[0] == 20 and np.isfinite(good[:, k[1], k[2]][8:]).all()
    )
    spiked = da.from_array(good, chunks=(5, -1, -1)).map_blocks(plus_spike, i, dtype="f4")
    changed = dataset.assign(sci=(dataset.sci.dims, spiked))
    flagged = steps.outlier_detection(changed).compute()
    assert (flagged.dq.values[i, y, x] & OUTLIER) != 0
    untouched = steps.outlier_detection(dataset).compute()
    assert (untouched.dq.values[i, y, x] & OUTLIER) == 0


def test_what_a_user_does_between_is_not_lost(spectra):
    regions = spectra.steps["extract_1d"].get("override_extract1d")
    apcorr = spectra.steps["extract_1d"].get("override_apcorr")
    flagged = steps.outlier_detection(tso3.open_segment(spectra.members[0], chunks=10))
    plain = steps.extract_1d(flagged, extract1d=regions, apcorr=apcorr)
    doubled = flagged.assign(sci=flagged.sci * 2)
    changed = steps.extract_1d(doubled, extract1d=regions, apcorr=apcorr)
    np.testing.assert_allclose(changed.flux.compute(), 2 * plain.flux.compute(), rtol=1e-6)
    assert program_of(doubled.sci.data) is None


def test_a_reversed_or_cut_cube_takes_the_generic_way(spectra):
    dataset = tso3.open_segment(spectra.members[0], chunks=10)
    part = dataset.isel(integration=slice(4, 31))
    flagged = steps.outlier_detection(part)
    again = steps.outlier_detection(part.compute())
    same(flagged.compute(), again.compute())
    assert flagged.integration.values.tolist() == list(range(5, 32))


def test_spectra_of_some_integrations(spectra):
    dataset = steps.outlier_detection(tso3.open_segment(spectra.members[0], chunks=10))
    whole = steps.extract_1d(dataset).compute()
    part = steps.extract_1d(dataset.isel(integration=slice(4, 31))).compute()
    np.testing.assert_array_equal(part.flux, whole.flux[4:31])
    assert part.integration.values.tolist() == list(range(5, 32))


def test_cut_images_cannot_be_measured(spectra, images):
    cut = tso3.open_segment(spectra.members[0]).isel(y=slice(1, None))
    with pytest.raises(InputError, match="26x20, but 25x20"):
        steps.extract_1d(cut)
    flagged = steps.outlier_detection(cut)
    assert flagged.sizes["y"] == 25
    image = tso3.open_segment(images.members[0])
    with pytest.raises(InputError, match="24x26, but 24x25"):
        steps.tso_photometry(image.isel(x=slice(0, 25)))
    with pytest.raises(InputError, match="has 31 integrations, the dataset 30"):
        steps.tso_photometry(image.isel(integration=slice(0, 30)))


def test_trees_hold_the_pixels_of_the_files(rough):
    tree = tso3.open_association(rough, chunks=7)
    nodes = [node for node in tree.leaves if node.has_data]
    assert len(nodes) == 4
    for path, node in zip(rough, nodes, strict=True):
        with fits.open(path) as hdus:
            for name in ("sci", "err", "dq"):
                np.testing.assert_array_equal(node[name].compute(), hdus[name.upper()].data)
    plan = tso3.plan(rough, {"extract_1d": {"skip": True}}, chunk_integrations=9)
    for node, ours in zip(nodes, plan.crfints.leaves, strict=True):
        same(steps.outlier_detection(node.to_dataset()).compute(), ours.to_dataset().compute())


def test_other_variables_and_attributes_stay(spectra):
    dataset = tso3.open_segment(spectra.members[0]).assign(mine=("integration", np.arange(34)))
    dataset.attrs["note"] = "mine"
    dataset = dataset.assign_coords(phase=("integration", np.linspace(0, 1, 34)))
    for start in (dataset, other(dataset)):
        flagged = steps.outlier_detection(start)
        np.testing.assert_array_equal(flagged.mine, range(34))
        assert flagged.attrs["note"] == "mine"
        assert flagged.attrs["path"] == dataset.attrs["path"]
        assert "phase" in flagged.coords
        assert flagged.sci.attrs == dataset.sci.attrs
        spectra_of = steps.extract_1d(flagged)
        assert "phase" in spectra_of.coords


def test_flagging_twice(rough):
    once = steps.outlier_detection(tso3.open_segment(rough[0], chunks=6))
    twice = steps.outlier_detection(once, snr="3")
    assert len(program_of(twice.sci.data).stages) == 2
    expected = steps.outlier_detection(other(once), snr="3")
    same(twice.compute(), expected.compute())
    short = steps.outlier_detection(tso3.open_segment(rough[1], chunks=6))
    twice = steps.outlier_detection(short, snr="3")
    same(twice.compute(), steps.outlier_detection(other(short), snr="3").compute())


# --- spectra -----------------------------------------------------------------------------------


def references(observation):
    step = observation.steps["extract_1d"]
    return {kind: step.get(f"override_{kind}") for kind in ("extract1d", "apcorr")}


@pytest.mark.parametrize("number", range(4))
def test_spectra_are_the_same_both_ways(spectra, number):
    flagged = steps.outlier_detection(tso3.open_segment(spectra.members[number], chunks=7))
    ours = steps.extract_1d(flagged, **references(spectra))
    generic = steps.extract_1d(other(flagged), **references(spectra))
    same(ours.compute(), generic.compute())
    assert ours.flux.attrs["units"] == "Jy"
    assert ours.wavelength.attrs["units"] == "um"


def test_spectra_of_two_detectors(detectors):
    for path in detectors.members:
        flagged = steps.outlier_detection(tso3.open_segment(path, chunks=9))
        ours = steps.extract_1d(flagged, **references(detectors))
        same(ours.compute(), steps.extract_1d(other(flagged), **references(detectors)).compute())


def test_spectra_without_flagging_first(rough):
    """NaN and DO_NOT_USE are made to agree before anything is summed."""
    dataset = tso3.open_segment(rough[0], chunks=7)
    same(steps.extract_1d(dataset).compute(), steps.extract_1d(other(dataset)).compute())


def test_parameters_of_extraction_matter(spectra):
    flagged = steps.outlier_detection(tso3.open_segment(spectra.members[2]))
    plain = steps.extract_1d(flagged, **references(spectra))
    shifted = steps.extract_1d(flagged, position_offset=2.0, **references(spectra))
    assert plain.flux.data.name != shifted.flux.data.name
    assert not np.array_equal(plain.flux.compute(), shifted.flux.compute())


def test_white_light_sums_a_range(spectra):
    flagged = steps.outlier_detection(tso3.open_segment(spectra.members[1], chunks=6))
    spectra_of = steps.extract_1d(flagged, **references(spectra))
    whole = spectra_of.compute()
    wave = spectra_of.wavelength.values
    low, high = np.sort(wave)[[5, 12]]
    white = steps.white_light(spectra_of, low, high).compute()
    inside = (wave >= low) & (wave <= high)
    np.testing.assert_allclose(white, np.nansum(whole.flux.values[:, inside], axis=1), rtol=1e-12)
    assert white.dims == ("integration",)
    in_memory = steps.white_light(whole, low, high)
    np.testing.assert_array_equal(in_memory, white)


# --- images ------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize(
    "parameters", [{}, {"moving_centroid": True}, {"centroid_source": False}], ids=str
)
def test_photometry_is_the_same_both_ways(images, number, parameters):
    dataset = steps.outlier_detection(tso3.open_segment(images.members[number], chunks=8))
    ours = steps.tso_photometry(dataset, **parameters)
    generic = steps.tso_photometry(other(dataset), **parameters)
    same(ours.compute(), generic.compute())
    assert np.isfinite(ours.aperture_sum.compute().values).all()


# --- errors ------------------------------------------------------------------------------------


def test_unknown_parameters_are_named(spectra, images):
    dataset = tso3.open_segment(spectra.members[0])
    with pytest.raises(InputError, match="Did you mean 'snr'"):
        steps.outlier_detection(dataset, snrr=5)
    with pytest.raises(InputError, match="bkg_order"):
        steps.extract_1d(dataset, bkg_ordr=1)
    with pytest.raises(InputError, match="radius"):
        steps.tso_photometry(tso3.open_segment(images.members[0]), radiuss=1)


def test_missing_cubes_are_named(spectra):
    dataset = tso3.open_segment(spectra.members[0])
    for name in ("sci", "err", "dq"):
        with pytest.raises(InputError, match=name):
            steps.outlier_detection(dataset.drop_vars(name))


def test_data_without_a_file_are_told_so(spectra):
    dataset = tso3.open_segment(spectra.members[0]).drop_attrs()
    dataset.encoding.clear()
    with pytest.raises(InputError, match="path"):
        steps.outlier_detection(dataset)
