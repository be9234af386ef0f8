"""Extraction parameters and apertures: known weights, shifts and places."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tso3dask.errors import InputError
from tso3dask.ops.aperture1d import (
    aperture_center,
    box_profile,
    define_aperture,
    has_wavelengths,
    shift,
)
from tso3dask.ops.extract_params import ExtractParams, resolve_parameters
from tso3dask.ops.source_position import SourceLocation, locate_source, source_trace

SHAPE = (20, 30)
GRID = np.broadcast_to(np.linspace(1, 2, 30), SHAPE)


def reference(**aperture):
    return {"apertures": [{"id": "dummy"}, {"id": "SLIT", **aperture}]}


def resolve(ref, **changes):
    given = {
        "shape": SHAPE,
        "dispaxis": 1,
        "slit_name": "SLIT",
        "spectral_order": 1,
        "exp_type": "NRS_BRIGHTOBJ",
        "source_type": "POINT",
    } | changes
    return resolve_parameters(ref, **given)


def test_no_reference_is_the_whole_array():
    found = resolve(None, use_source_posn=True, position_offset=3.0, subtract_background=True)
    assert found.params == ExtractParams(1, 1, 0, 29, 0, 19)
    assert found.notes == ()


def test_reference_user_and_defaults_in_turn():
    ref = reference(bkg_coeff=[[1], [3]], bkg_order=2, smoothing_length=6, ystart=4)
    found = resolve(ref)
    p = found.params
    assert (p.subtract_background, p.bkg_fit, p.bkg_order) == (True, "poly", 2)
    assert p.smoothing_length == 5 and "even" in found.notes[0]
    assert (p.xstart, p.xstop, p.ystart, p.ystop) == (0, 29, 4, 19)
    assert p.use_source_posn
    p = resolve(ref, bkg_fit="mean", smoothing_length=2, exp_type="NRC_TSGRISM").params
    assert (p.bkg_fit, p.bkg_order, p.smoothing_length) == ("poly", 0, 0)
    assert not p.use_source_posn
    p = resolve(ref, subtract_background=False, bkg_fit="median").params
    assert p.bkg_fit is None and not p.fits_background
    assert not resolve(reference(), subtract_background=True).params.fits_background


def test_reference_may_ask_for_the_mean():
    p = resolve(reference(bkg_coeff=[[1], [3]], bkg_fit="mean", bkg_order=4)).params
    assert (p.bkg_fit, p.bkg_order) == ("poly", 0)


@pytest.mark.parametrize(
    ("source_type", "from_reference", "user", "expected"),
    [
        ("POINT", None, None, True),
        ("POINT", False, None, False),
        ("EXTENDED", True, None, False),
        ("EXTENDED", None, True, True),
        (None, True, None, False),
    ],
)
def test_use_of_the_source_position(source_type, from_reference, user, expected):
    ref = reference(use_source_posn=from_reference)
    found = resolve(ref, source_type=source_type, use_source_posn=user)
    assert found.params.use_source_posn is expected


def test_matching_of_apertures():
    ref = {
        "apertures": [
            {"id": "SLIT", "region_type": "background", "ystart": 1},
            {"id": "SLIT", "spectral_order": 2, "ystart": 2},
            {"id": "ANY", "spectral_order": "ANY", "ystart": 3},
            {"id": "SLIT", "ystart": 4},
        ]
    }
    assert resolve(ref).params.ystart == 3
    assert resolve(ref, spectral_order=2).params.ystart == 2
    assert resolve(ref, slit_name=None, spectral_order=5).params.ystart == 3
    only = {"apertures": [{"id": "S1"}, {"id": "S2", "spectral_order": 2}]}
    found = resolve(only, slit_name="S2")
    assert found.params is None and "order 1" in found.notes[0]
    with pytest.raises(InputError, match="no aperture for 'S3'; it has: S1, S2"):
        resolve(only, slit_name="S3")
    with pytest.raises(InputError, match="apertures"):
        resolve({})


def test_what_cannot_be_extracted_says_so():
    found = resolve(reference(), dispaxis=None)
    assert found.params is None and "dispersion" in found.notes[0]
    with pytest.raises(InputError, match="pairs"):
        resolve(reference(src_coeff=[[1], [2], [3]]))
    with pytest.raises(InputError, match="bkg_order"):
        resolve(reference(bkg_coeff=[[1], [2]], bkg_order=1.5))
    with pytest.raises(InputError, match="bkg_fit"):
        resolve(reference(bkg_coeff=[[1], [2]]), bkg_fit="spline")
    found = resolve(reference(), extraction_type="optimal", spectral_order=None)
    assert found.params.extraction_type == "box" and len(found.notes) == 2
    assert (
        resolve(reference(), extraction_type=None, psf_available=True).params
        == resolve(reference(), extraction_type="optimal", psf_available=True).params
    )


limits = st.floats(-3, 32, allow_nan=False)


@settings(max_examples=80, deadline=None)
@given(limits, st.floats(0, 20), st.sampled_from([1, 2]))
def test_start_and_stop_cover_their_length(start, length, dispaxis):
    names = ("ystart", "ystop") if dispaxis == 1 else ("xstart", "xstop")
    sizes = {"xstart": 0, "xstop": 29, "ystart": 0, "ystop": 19}
    params = ExtractParams(dispaxis, 1, **(sizes | {names[0]: start, names[1]: start + length}))
    profile, lower, upper = box_profile(SHAPE, params, GRID)
    assert (lower, upper) == (start, start + length)
    assert profile.min() >= 0 and profile.max() <= 1
    across = SHAPE[0] if dispaxis == 1 else SHAPE[1]
    inside = start >= 1 and start + length <= across - 2
    whole = np.floor(start + length) >= np.ceil(start)  # a whole pixel between the limits
    if inside and whole:
        np.testing.assert_allclose(profile.sum(axis=dispaxis - 1), length + 1, atol=1e-9)


def test_coefficients_are_pixel_centres_and_whole_for_a_median():
    params = ExtractParams(
        1, 1, 0, 29, 0, 19, src_coeff=((4.5,), (8.5,)), bkg_coeff=((4.2,), (8.8,)),
        subtract_background=True, bkg_fit="median",
    )  # fmt: skip
    source, lower, upper = box_profile(SHAPE, params, GRID)
    assert source[:, 0].nonzero()[0].tolist() == [5, 6, 7, 8]
    assert (lower, upper) == (5.0, 8.0)
    background, _, _ = box_profile(SHAPE, params, GRID, "bkg")
    assert background[:, 0].nonzero()[0].tolist() == [5, 6, 7, 8]
    assert set(np.unique(background)) == {0.0, 1.0}


def test_polynomials_of_wavelength_and_several_regions():
    params = ExtractParams(
        1, 1, 0, 29, 0, 19, src_coeff=((10.0,), (12.0,), (0.5, 1.0), (3.5, 1.0)),
        independent_var="wavelength",
    )  # fmt: skip
    profile, lower, upper = box_profile(SHAPE, params, GRID)
    np.testing.assert_allclose(profile.sum(axis=0), 2.0 + 3.0)
    assert lower == pytest.approx(0.5 + 1.5 + 0.5) and upper == pytest.approx(11.5)


def test_width_goes_around_the_trace_or_the_middle():
    params = ExtractParams(2, 1, 3, 9, 0, 19, extract_width=4)
    profile, lower, upper = box_profile(SHAPE, params, GRID)
    assert (lower, upper) == (4.5, 7.5)
    np.testing.assert_allclose(profile.sum(axis=1), 4.0)
    trace = np.linspace(10, 14, 20)
    profile, lower, upper = box_profile(SHAPE, params, GRID, trace=trace)
    for y in range(20):
        center = (profile[y] * np.arange(30)).sum() / 4.0
        assert center == pytest.approx(trace[y])
    assert (lower, upper) == (pytest.approx(10.5), pytest.approx(13.5))


def test_center():
    profile = np.zeros(SHAPE)
    profile[4:7, 10:13] = 1.0
    profile[4, 11] = 0.0
    assert aperture_center(profile)[1] == pytest.approx(11.0)
    assert aperture_center(profile, 2)[0] == pytest.approx(11.0)
    assert aperture_center(profile, 1, middle=11) == (5.5, 11)
    assert aperture_center(np.zeros(SHAPE)) == (9.5, 14.5)


def test_shift_moves_only_across():
    params = ExtractParams(1, 1, 2, 20, 3, 8, src_coeff=((3.0, 1.0), (4.0,)))
    moved = shift(params, 1.5)
    assert (moved.xstart, moved.ystart, moved.ystop) == (2, 4.5, 9.5)
    assert moved.src_coeff == ((4.5, 1.0), (5.5,))
    assert params.src_coeff == ((3.0, 1.0), (4.0,))
    down = ExtractParams(2, 1, 2, 20, 3, 8)
    assert shift(down, 1.0).xstart == 3 and shift(down, 1.0).ystart == 3


def test_aperture_follows_the_source():
    params = ExtractParams(1, 1, 0, 29, 4, 8, use_source_posn=True, position_offset=0.5)
    found = define_aperture(params, SHAPE, GRID, SourceLocation(15, 9.0))
    assert (found.lower, found.upper) == (7.5, 11.5)  # centre 6 to 9, and half a pixel more
    assert found.center_y == pytest.approx(9.5)
    stay = define_aperture(params, SHAPE, GRID)
    assert (stay.lower, stay.upper) == (4.5, 8.5) and "nominal" in stay.notes[0]


def test_wavelengths_are_weighted_means_and_missing_ones_are_left_out():
    y = np.arange(20)[:, None]
    image = (GRID + 0.01 * y).copy()
    image[:, 3] = np.nan
    image[5, 4] = np.nan
    params = ExtractParams(1, 1, 2, 27, 4, 6)
    found = define_aperture(params, SHAPE, image)
    assert found.valid.nonzero()[0].tolist() == [2, *range(4, 28)]
    assert (found.left, found.right) == (2, 27)
    assert found.wavelength[2] == pytest.approx(GRID[0, 2] + 0.05)
    assert found.wavelength[4] == pytest.approx(GRID[0, 4] + 0.05)
    assert found.profile[5, 4] == 0
    assert found.header_limits() == {"EXTRXSTR": 3, "EXTRXSTP": 28, "EXTRYSTR": 5, "EXTRYSTP": 7}
    with pytest.raises(InputError, match="wavelength image"):
        define_aperture(params, SHAPE, image[:5])


def test_use_of_a_wavelength_image():
    assert not has_wavelengths(None)
    assert not has_wavelengths(np.zeros(SHAPE))
    assert not has_wavelengths(np.zeros((0, 0)))
    assert has_wavelengths(GRID)
    assert has_wavelengths(np.full(SHAPE, np.nan))


class Wcs:
    """A straight spectrum along x, the slit along y."""

    available_frames = ("detector", "gwa", "slit_frame", "world")
    bounding_box = ((-0.5, 29.5), (1.5, 17.5))

    def __call__(self, x, y):
        return 0 * x, 0 * x, 1.0 + 0.1 * x

    def get_transform(self, first, last):
        if first == "detector":
            return lambda x, y: (0 * x, (y - 8) * 0.1, (1.0 + 0.1 * x) * 1e-6)
        return lambda a, b, wavelength: ((wavelength * 1e6 - 1.0) / 0.1, 8 + b / 0.1)


def test_location_from_the_wcs():
    keys = {"shape": SHAPE, "dispaxis": 1, "exp_type": "NRS_BRIGHTOBJ"}
    found, notes = locate_source(Wcs(), position=(0.0, 0.25), **keys)
    assert notes == ()
    assert found.middle == 14 and found.wavelength == pytest.approx(2.45)
    assert found.location == pytest.approx(10.5)
    np.testing.assert_allclose(found.trace, 10.5)
    found, notes = locate_source(Wcs(), position=(0.0, 2.0), **keys)
    assert found is None and "outside" in notes[0]
    found, notes = locate_source(Wcs(), position=(None, 2.0), **keys)
    assert found is None and "header" in notes[0]
    found, notes = locate_source(Wcs(), position=(0.0, np.nan), **keys)
    assert found is None and "no position" in notes[0]
    found, notes = locate_source(
        Wcs(), position=(0.0, 0.0), shape=SHAPE, dispaxis=1, exp_type="NRC_TSGRISM"
    )
    assert found is None and "NRC_TSGRISM" in notes[0]


def test_trace_along_y():
    def to_wavelength(x, y):
        return x, y, 1.0 + 0.1 * y

    def to_detector(a, b, wavelength):
        y = (wavelength - 1.0) / 0.1
        return a + 0.05 * y, y

    bounds = ((-0.5, 29.5), (2.5, 17.5))
    trace = source_trace(to_wavelength, to_detector, (9.0, 0.0), bounds, SHAPE, 2)
    assert np.isnan(trace[:3]).all() and np.isnan(trace[18:]).all()
    np.testing.assert_allclose(trace[3:18], 9.0 + 0.05 * np.arange(15))
