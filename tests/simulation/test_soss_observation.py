"""The simulated SOSS: three orders whose light is known, and references that say where it falls."""

from __future__ import annotations

import numpy as np
import pytest

from tso3dask.errors import InputError
from tso3dask.simulation import simulate
from tso3dask.simulation.recipe import make_recipe
from tso3dask.simulation.soss import (
    PWCPOS_COMMANDED,
    SossLight,
    SossOptics,
    is_soss_frame,
    kernel_samples,
    stellar_flux,
    throughput,
)

PWCPOS = 245.778671


def test_only_real_arrays_and_narrow_ones_of_all_rows_have_optics():
    assert is_soss_frame((96, 2048)) and is_soss_frame((256, 2048)) and is_soss_frame((256, 512))
    assert not is_soss_frame((96, 512)) and not is_soss_frame((20, 40))


@pytest.mark.parametrize("order", [1, 2, 3])
def test_profile_holds_the_light_around_the_centre(order):
    optics = SossOptics((256, 2048), PWCPOS)
    profile, slope = optics.profile_around(optics.centre(order, np.arange(2048)), derivatives=1)
    x = np.arange(300, 700)
    rows = np.arange(256)[:, None]
    share = profile[:, x]
    np.testing.assert_allclose(share.sum(axis=0), 1, atol=1e-3)
    centre = (share * rows).sum(axis=0) / share.sum(axis=0)
    np.testing.assert_allclose(centre, optics.centre(order, x), atol=0.02)
    numeric = np.gradient(profile.astype(float), axis=0)[5:-5, 500]
    np.testing.assert_allclose(slope[5:-5, 500], numeric, atol=2e-3)


def test_pupil_wheel_turns_traces_about_their_pivots():
    still, turned = (SossOptics((256, 2048), PWCPOS_COMMANDED + d) for d in (0.0, 0.1))
    x = np.array([100.0, 1887.0])
    move = turned.centre(1, x) - still.centre(1, x)
    arm = 1887.0 - 100.0
    assert move[0] == pytest.approx(-np.radians(0.1) * arm, rel=0.01)
    assert abs(move[1]) < 0.02
    assert still.centre(1, x) == pytest.approx(still.commanded_centre(1, x), abs=1e-4)


def test_substrip96_is_part_of_substrip256():
    wide, narrow = SossOptics((256, 2048), PWCPOS), SossOptics((96, 2048), PWCPOS)
    np.testing.assert_allclose(
        narrow.profile(1, 20)[20:-20], wide.profile(1, 20)[30:126], atol=1e-6
    )


def test_light_of_a_flat_spectrum_is_the_integral_over_the_columns():
    optics = SossOptics((256, 512), PWCPOS)
    x = np.arange(512)
    edges = optics.wavelength(1, np.arange(513) - 0.5)
    middle = optics.wavelength(1, x)
    expected = throughput(1, middle) * middle * -np.diff(edges)
    np.testing.assert_allclose(optics.column_light(1), expected, rtol=2e-4)


def test_kernel_has_area_one():
    offset = np.linspace(-10, 10, 2001)
    for wave in (0.6, 1.5, 2.8):
        assert np.trapezoid(kernel_samples(wave, offset), offset) == pytest.approx(1, abs=1e-3)


def test_transit_takes_what_the_depth_says():
    optics = SossOptics((256, 512), PWCPOS)
    light = SossLight(optics, 1, 1.0, 0.01)
    assert light.rate.max() == pytest.approx(
        optics.column_light(1, stellar_flux(optics.fine_wavelengths(1))).max()
    )
    np.testing.assert_allclose(light.drop / light.rate, 0.01, rtol=0.2)
    out = np.zeros((2, 256, 512), np.float32)
    light.add(out, np.array([0.0, 1.0]), np.zeros(2), np.zeros(2))
    np.testing.assert_allclose(out[0], light.image(), rtol=1e-5)
    np.testing.assert_allclose((out[0] - out[1]).sum(axis=0)[50:450], light.drop[50:450], rtol=2e-2)


def test_truth_adds_up_and_references_are_there(tmp_path):
    made = simulate(
        "nis_soss",
        tmp_path,
        nints=2,
        segments=1,
        subarray="SUBSTRIP256",
        shape=(256, 512),
        background=0.0,
        cr_rate=0.0,
        hot_fraction=0.0,
        dead_fraction=0.0,
        depth=0.0,
        jitter=0.0,
        var_flat=False,
    )
    assert {"pastasoss", "specprofile", "speckernel", "photom", "wavelengthrange"} <= set(
        made.references
    )
    truth = made.truth()
    image = sum(truth[f"image_order{order}_NIS"] for order in (1, 2, 3))
    from astropy.io import fits

    with fits.open(made.members[0]) as hdus:
        pull = (hdus["SCI"].data - image) / hdus["ERR"].data
        assert np.nanmean(pull) == pytest.approx(0, abs=0.02)
        assert np.nanstd(pull) == pytest.approx(1, abs=0.02)
    assert truth["rate_order2_NIS"].max() < truth["rate_order1_NIS"].max()
    assert truth["spectral_depth_order1_NIS"].shape == (512,)


def test_wavelength_ranges_reach_their_file(tmp_path):
    import asdf

    made = simulate("nis_soss", tmp_path, nints=1, segments=1, shape=(20, 40))
    with asdf.open(made.references["wavelengthrange"]) as file:
        assert [list(row[:2]) for row in file["wavelengthrange"]] == [
            [1, "CLEAR"],
            [2, "CLEAR"],
            [3, "CLEAR"],
        ]
    assert made.steps["extract_1d"] == {"skip": True}


def test_stripes_share_the_time_of_an_integration(tmp_path):
    from tso3dask.io.segment import open_segment

    made = simulate(
        "nis_soss",
        tmp_path,
        nints=5,
        segments=[3, 2],
        subarray="SUB680STRIPE_SOSS",
        shape=(256, 400),
    )
    for path, numbers in zip(made.members, ([1, 2, 3], [4, 5]), strict=True):
        segment = open_segment(path)
        assert segment.get("SUBARRAY") == "SUB680STRIPE_SOSS"
        stripes, whole = segment.int_times_stripe, segment.int_times
        np.testing.assert_array_equal(stripes["integration_number"], np.repeat(numbers, 3))
        np.testing.assert_array_equal(stripes["stripe_number"], [1, 2, 3] * len(numbers))
        np.testing.assert_array_equal(stripes["int_start_MJD_UTC"][::3], whole["int_start_MJD_UTC"])
        np.testing.assert_allclose(
            stripes["int_end_MJD_UTC"][2::3], whole["int_end_MJD_UTC"], rtol=1e-14
        )


@pytest.mark.parametrize(
    ("shape", "subarray"),
    [
        ((256, 384), "SUBSTRIP256"),
        ((256, 64), "SUBSTRIP256"),
        ((96, 64), "SUBSTRIP96"),
        ((20, 40), "SUBSTRIP96"),
        (None, "SUBSTRIP96"),
    ],
)
def test_256_rows_are_substrip256(shape, subarray):
    recipe = make_recipe("nis_soss", shape=shape)
    assert recipe.mode.subarray == subarray
    assert recipe.shape == (shape or (96, 2048))
    assert recipe.mode.frame_time == (5.494 if subarray == "SUBSTRIP256" else 2.214)


@pytest.mark.parametrize(
    ("shape", "subarray"),
    [
        ((256, 512), "SUBSTRIP96"),
        ((96, 2048), "SUBSTRIP256"),
        ((96, 2048), "SUB680STRIPE_SOSS"),
    ],
)
def test_rows_of_another_subarray_are_refused(shape, subarray):
    with pytest.raises(InputError, match=f"{subarray} has .* rows, shape has {shape[0]}"):
        make_recipe("nis_soss", shape=shape, subarray=subarray)
    assert make_recipe("nis_soss", shape=(20, 40), subarray=subarray).mode.subarray == subarray
