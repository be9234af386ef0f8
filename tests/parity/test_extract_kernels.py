"""The extraction kernels beside the field's own functions, on the same arrays."""

from __future__ import annotations

import copy
import types
import warnings

import numpy as np
import pytest

pytest.importorskip("jwst")
pytestmark = pytest.mark.parity

from jwst.extract_1d import extract as peer  # noqa: E402
from jwst.extract_1d import extract1d as peer_sums  # noqa: E402

from tso3dask.ops.aperture1d import aperture_center, box_profile, define_aperture  # noqa: E402
from tso3dask.ops.box import RESULTS, box_plan, extract_box  # noqa: E402
from tso3dask.ops.extract_params import resolve_parameters  # noqa: E402
from tso3dask.ops.source_position import SourceLocation  # noqa: E402

NY, NX = 36, 50
SOURCE = [[[12.2, 0.03], [19.7, 0.03]], [[10, 0.01], [13], [15.3], [20.1]]]
BACK = [[2.0, 0.02], [8.3, 0.02], [24.0], [30.6]]

APERTURES = {
    "start_stop": {"xstart": 3.4, "xstop": 46.2, "ystart": 10.3, "ystop": 17.8},
    "whole": {},
    "width": {"extract_width": 7.5, "ystart": 9, "ystop": 20, "xstart": 9, "xstop": 20},
    "poly": {"src_coeff": SOURCE[0], "bkg_coeff": BACK},
    "two_regions": {"src_coeff": SOURCE[1], "bkg_coeff": BACK, "bkg_order": 1},
    "median": {"src_coeff": SOURCE[0], "bkg_coeff": BACK, "bkg_fit": "median"},
    "wavelength": {
        "src_coeff": [[10.0, 1.5], [16.0, 1.5]],
        "bkg_coeff": [[3.0, 0.4], [6.0, 0.4]],
        "independent_var": "WaveLength",
    },
}
STEPS = [
    {},
    {"bkg_fit": "mean"},
    {"bkg_order": 1, "smoothing_length": 5},
    {"bkg_order": 2, "smoothing_length": 4},
    {"bkg_fit": "median", "smoothing_length": 7},
    {"subtract_background": False, "position_offset": 1.7},
    {"use_source_posn": True, "position_offset": -0.6},
]


def reference(name):
    return {
        "apertures": [
            {"id": "dummy"},
            {"id": "BKG", "region_type": "background"},
            {"id": "MODE", "spectral_order": 7, "xstart": 1},
            {"id": "MODE", "spectral_order": 1, **copy.deepcopy(APERTURES[name])},
        ]
    }


def wavelengths(dispaxis, seed=0):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:NY, :NX]
    along = x if dispaxis == 1 else y
    image = (1.0 + 0.05 * along + 0.002 * (y + x)).astype(np.float32)
    image[rng.random((NY, NX)) < 0.02] = np.nan
    if dispaxis == 1:
        image[:, :2] = np.nan
    else:
        image[:2] = np.nan
    return image


def cubes(seed, nints=3, bad=0.02):
    rng = np.random.default_rng(seed)
    sci = rng.normal(5, 2, (nints, NY, NX)).astype(np.float32)
    variances = [rng.uniform(0.1, 2, sci.shape).astype(np.float32) for _ in range(3)]
    for array in (sci, *variances):
        array[rng.random(sci.shape) < bad] = np.nan
        array[rng.random(sci.shape) < bad / 4] = np.inf
    sci[0, :, 17] = np.nan
    sci[0, 22] = np.nan
    sci[1, 4:9] = np.nan
    variances[1][1, 24:30, 30] = np.nan
    return sci, variances


def peer_parameters(name, dispaxis, steps):
    meta = types.SimpleNamespace(exposure=types.SimpleNamespace(type="MODE"))
    model = types.SimpleNamespace(data=np.zeros((2, NY, NX)))
    params = peer.get_extract_parameters(reference(name), model, "MODE", 1, meta, **steps)
    params["dispaxis"] = dispaxis
    return params


def our_parameters(name, dispaxis, steps):
    return resolve_parameters(
        reference(name),
        shape=(NY, NX),
        dispaxis=dispaxis,
        slit_name="MODE",
        spectral_order=1,
        exp_type="MODE",
        source_type="POINT",
        **steps,
    ).params


@pytest.fixture
def located(monkeypatch):
    """A source position that both sides are given."""

    def at(dispaxis):
        count = NX if dispaxis == 1 else NY
        trace = 13.0 + 0.04 * np.arange(count)
        trace[:3] = np.nan
        monkeypatch.setattr(peer, "location_from_wcs", lambda *_: (20, 1.9, 14.2, trace.copy()))
        return SourceLocation(20, 14.2, trace)

    return at


def peer_aperture(params, image, monkeypatch):
    monkeypatch.setattr(peer, "get_wavelengths", lambda *_: image.copy())
    center = {}

    def wcs(x, y):
        center["xy"] = (x, y)
        return (1.0, 2.0, 3.0)

    model = types.SimpleNamespace(
        data=np.zeros((2, *image.shape)), meta=types.SimpleNamespace(wcs=wcs)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = peer.define_aperture(model, None, params, "MODE")
    return found, center["xy"]


def close(ours, theirs, rtol):
    np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=1e-14)


@pytest.mark.parametrize("steps", STEPS, ids=str)
@pytest.mark.parametrize("dispaxis", [1, 2])
@pytest.mark.parametrize("name", APERTURES)
def test_aperture_and_sums(name, dispaxis, steps, located, monkeypatch):
    location = located(dispaxis)
    image = wavelengths(dispaxis)
    theirs = peer_parameters(name, dispaxis, steps)
    (_, _, wavelength, profile, background, _, limits), xy = peer_aperture(
        theirs, image, monkeypatch
    )
    params = our_parameters(name, dispaxis, steps)
    ours = define_aperture(params, (NY, NX), image, location)
    close(ours.profile, profile, 1e-12)
    close(ours.wavelength, wavelength, 1e-12)
    found = (ours.lower, ours.upper, ours.left, ours.right)
    assert np.isfinite(found).all()
    known = np.isfinite(limits)  # the peer has no mean of limits where a wavelength is missing
    assert known.all() or name == "wavelength"
    close(np.array(found)[known], np.array(limits)[known], 1e-12)
    close((ours.center_x, ours.center_y), xy, 1e-12)
    assert (ours.bkg_profile is None) == (background is None)
    if background is not None:
        close(ours.bkg_profile, background, 1e-12)

    sci, variances = cubes(3)
    result = extract_box(sci, *variances, box_plan(ours))
    tolerance = 1e-12 if background is None else 1e-10
    if steps.get("bkg_order") == 2:  # parabolas through a few pixels: badly conditioned
        tolerance = 1e-7
    model = types.SimpleNamespace(
        data=sci, var_rnoise=variances[0], var_poisson=variances[1], var_flat=variances[2]
    )
    for i in range(len(sci)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = peer.extract_one_slit(model, i, profile, background, None, theirs)
        for key, value in zip(RESULTS, expected, strict=False):
            got = result[key][i][ours.valid]
            np.testing.assert_allclose(
                got, value[ours.valid], rtol=tolerance, atol=1e-13, err_msg=f"{key} {i}"
            )


def test_trace_and_center(located):
    location = located(1)
    params = our_parameters("width", 1, {})
    theirs = peer_parameters("width", 1, {}) | {"trace": location.trace.copy()}
    image = wavelengths(1)
    ours = box_profile((NY, NX), params, image, trace=location.trace)
    expected = peer.box_profile((NY, NX), theirs, image, return_limits=True)
    for a, b in zip(ours, expected, strict=True):
        close(a, b, 1e-12)
    for middle in (None, 20):
        close(
            aperture_center(ours[0], 1, middle),
            peer.aperture_center(expected[0], 1, middle_pix=middle),
            1e-13,
        )


@pytest.mark.parametrize("fit", [None, "poly", "median"])
def test_missing_variances_count_as_zero(fit):
    sci, variances = cubes(5)
    params = our_parameters("poly", 1, {"bkg_fit": fit, "subtract_background": fit is not None})
    aperture = define_aperture(params, (NY, NX), wavelengths(1))
    result = extract_box(sci, None, variances[1], variances[2][:1], aperture)
    zero = np.zeros_like(sci[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = peer_sums.extract1d(
            sci[2],
            [aperture.profile],
            zero,
            variances[1][2],
            zero,
            profile_bg=aperture.bkg_profile,
            fit_bkg=fit is not None,
            bkg_fit_type=fit,
        )
    for key, value in zip(RESULTS, expected, strict=False):
        got = result[key][2][aperture.valid]
        np.testing.assert_allclose(got, value[0][aperture.valid], rtol=1e-10, atol=1e-13)
