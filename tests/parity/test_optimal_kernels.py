"""Fits of profiles, scenes and placed PSFs beside jwst's own functions."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("jwst")
pytestmark = pytest.mark.parity

from jwst.extract_1d import extract1d, psf_profile, source_location  # noqa: E402

from tso3dask.ops.box import RESULTS, BoxPlan  # noqa: E402
from tso3dask.ops.optimal import extract_optimal, optimal_plan  # noqa: E402
from tso3dask.ops.psf_profile import fit_offsets, place_psf  # noqa: E402
from tso3dask.ops.scene import scene_images  # noqa: E402
from tso3dask.ops.source_position import middle_across, nod_place  # noqa: E402

NINTS, ACROSS, ALONG = 3, 18, 40
ORDER = (0, 1, 2, 3, 4, 5, 6, 7, 8)
"""jwst's results: flux, its three variances, background, its three variances, pixels."""


def profile(rng, centre, sign=1.0):
    y = np.arange(ACROSS)[:, None]
    middle = centre + 0.3 * np.sin(np.arange(ALONG) / 7)
    image = np.exp(-0.5 * ((y - middle) / 1.7) ** 2)
    image[image < 1e-4] = 0
    image[:, 3] = 0
    return sign * image / np.where(image.sum(axis=0) > 0, image.sum(axis=0), 1)


def observed(rng, profiles, damaged):
    sci = sum(p * rng.uniform(50, 90, (NINTS, 1, ALONG)) for p in profiles) + 4.0
    sci = (sci + rng.normal(0, 0.3, sci.shape)).astype(np.float32)
    variances = [rng.uniform(0.05, 0.2, sci.shape).astype(np.float32) for _ in range(3)]
    if damaged:
        sci[rng.random(sci.shape) < 0.08] = np.nan
        sci[0, 4, 7] = np.inf
        for variance in variances:
            variance[rng.random(sci.shape) < 0.01] = np.nan
        variances[0][1, 9, 12] = np.inf
        sci[1, :, 20] = np.nan
        sci[2, :, 21] = np.nan
        sci[2, 9, 21] = 5.0
    return sci, variances


def close(ours, theirs, error=None):
    np.testing.assert_array_equal(np.isnan(ours), np.isnan(theirs))
    scale = np.abs(theirs) if error is None else np.maximum(np.abs(theirs), error)
    apart = np.abs(ours - theirs)
    some = apart > 0
    assert np.all(apart[some] <= 1e-6 * scale[some])


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("damaged", [False, True])
@pytest.mark.parametrize("nod", [False, True])
@pytest.mark.parametrize("regions", [False, True])
@pytest.mark.parametrize("order", [None, 0, 1, 3])
def test_fits(order, regions, nod, damaged, seed):
    rng = np.random.default_rng(seed)
    profiles = [profile(rng, 6.0)] + [profile(rng, 12.5, -1.0)] * nod
    sci, variances = observed(rng, profiles, damaged)
    inside = np.zeros((ACROSS, ALONG))
    inside[[0, 1, -2, -1]] = 1.0
    inside = inside if regions else None
    plan = optimal_plan(profiles, 1, bkg_profile=inside, bkg_order=order)
    ours = extract_optimal(sci, *variances, plan)
    scene = scene_images(sci, *variances, plan)
    for i in range(NINTS):
        theirs = extract1d.extract1d(
            sci[i], profiles, *(v[i] for v in variances), profile_bg=inside,
            extraction_type="optimal", fit_bkg=order is not None, bkg_order=order or 0,
        )  # fmt: skip
        error = np.sqrt(np.nan_to_num(sum(theirs[k][0] for k in (1, 2, 3))))
        for name, k in zip(RESULTS, ORDER, strict=True):
            spread = error if name in ("flux", "background") else error**2
            close(ours[name][i], theirs[k][0], None if name == "npixels" else spread)
        close(scene[i], theirs[-1], np.nanmax(error))


@pytest.mark.parametrize("damaged", [False, True])
@pytest.mark.parametrize(
    ("fit", "order", "smoothing"),
    [(None, 0, 0), ("poly", 0, 0), ("poly", 2, 5), ("median", 0, 0), ("median", 0, 5)],
)
@pytest.mark.parametrize("dispaxis", [1, 2])
def test_scenes_of_boxes(dispaxis, fit, order, smoothing, damaged):
    rng = np.random.default_rng(5)
    box = np.zeros((ACROSS, ALONG))
    box[4:10] = 1.0
    box[3] = 0.4
    box[:, 30:] = 0.0
    sci, variances = observed(rng, [profile(rng, 6.0)], damaged)
    inside = np.zeros((ACROSS, ALONG), bool)
    inside[[0, 1, -2, -1]] = fit is not None
    arrays = (sci, *variances)
    plan = BoxPlan(
        shape=(ACROSS, ALONG) if dispaxis == 1 else (ALONG, ACROSS),
        dispaxis=dispaxis,
        window=(slice(0, ACROSS), slice(0, ALONG)),
        profile=box,
        inside=inside if fit else None,
        position=np.linspace(-1, 1, ACROSS),
        fit=fit,
        order=order,
        smoothing=smoothing,
    )
    if dispaxis == 2:
        ours = scene_images(*(a.transpose(0, 2, 1) for a in arrays), plan).transpose(0, 2, 1)
    else:
        ours = scene_images(*arrays, plan)
    for i in range(NINTS):
        theirs = extract1d.extract1d(
            sci[i], [box], *(v[i] for v in variances),
            profile_bg=inside.astype(float) if fit else None, extraction_type="box",
            bg_smooth_length=smoothing, fit_bkg=fit is not None, bkg_fit_type=fit, bkg_order=order,
        )  # fmt: skip
        close(ours[i], theirs[-1], 0.1)


@pytest.mark.parametrize("nod", [None, 6.3])
@pytest.mark.parametrize("dispaxis", [1, 2])
def test_placed_psf_and_its_fit(dispaxis, nod):
    from scipy.optimize import minimize

    rng = np.random.default_rng(8)
    half, subpix = 50, 5
    wave = np.linspace(4, 12, 25)
    offset = (np.arange(2 * half + 1) - half) / subpix
    data = np.exp(-0.5 * (offset / (0.2 * wave[:, None])) ** 2)
    waves = np.linspace(3.9, 11.5, ALONG)[:, None] + 0.01 * np.arange(ACROSS)
    bounds = ((-0.5, ACROSS - 0.5), (-0.5, ALONG - 0.5))
    trace = 10 + 0.5 * np.cos(np.arange(ALONG) / 9)
    if dispaxis == 1:
        data, waves, bounds = data.T, waves.T, bounds[::-1]
    psf = SimpleNamespace(data=data, wave=wave, subpix=subpix, center_row=half, center_col=half)
    placed = place_psf(
        psf, shape=waves.shape, dispaxis=dispaxis, bounds=bounds, trace=trace,
        wavelengths=waves, nod=nod,
    )  # fmt: skip
    column, row = (np.broadcast_to(a, waves.shape) for a in (placed.column, placed.row))
    theirs = psf_profile._make_cutout_profile(
        column.copy(), row.copy(), subpix, data, dispaxis, extra_shift=0.37, nod_offset=nod
    )
    ours = placed.profiles(0.37, nod)
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one, other)
    image = (70 * sum(ours) + 3 + rng.normal(0, 0.3, waves.shape)).astype(np.float32)
    image[rng.random(image.shape) < 0.05] = np.nan
    variance = rng.uniform(0.05, 0.2, image.shape).astype(np.float32)
    variance[rng.random(image.shape) < 0.02] = np.nan
    expected = minimize(
        psf_profile._profile_residual,
        [0.0] if nod is None else [0.0, nod],
        (image, variance, column, row, subpix, data, dispaxis),
        method="Nelder-Mead",
    ).x
    found = fit_offsets(placed, image, variance)
    np.testing.assert_allclose([f for f in found if f is not None], expected, rtol=1e-12)


class Slanted:
    """A WCS with straight lines, and the frames that nods are looked for in."""

    available_frames = ("detector", "v2v3", "world")
    bounding_box = ((1.5, 30.5), (0.5, 50.5))

    def __call__(self, x, y):
        x, y = np.asarray(x, float), np.asarray(y, float)
        wave = np.where((x > 4) & (x < 27), 5 + 0.1 * y - 0.003 * x, np.nan)
        return 10 + x / 50, 20 + y / 50, wave

    def get_transform(self, start, stop):
        assert (start, stop) == ("v2v3", "world")
        return lambda v2, v3, wave: (10 + v2 / 3600, 20 + v3 / 3600, wave)

    def backward_transform(self, ra, dec, wave):
        return (ra - 10) * 50 + 0.1 * wave, (dec - 20) * 50


@pytest.mark.parametrize("dispaxis", [1, 2])
def test_middle_and_other_nod(dispaxis):
    from types import SimpleNamespace as Tree

    wcs = Slanted()
    middle = source_location.middle_from_wcs(wcs, wcs.bounding_box, dispaxis)[1]
    assert middle_across(wcs, wcs.bounding_box, dispaxis) == pytest.approx(middle, rel=1e-14)
    ideal, dither = (4.8, -415.0, -400.6, -1), (1.2, -0.7)
    info = dict(zip(("v3yangle", "v2_ref", "v3_ref", "vparity"), ideal, strict=True))
    model = Tree(
        meta=Tree(
            wcs=wcs,
            wcsinfo=Tree(**info, dispersion_direction=dispaxis),
            dither=Tree(x_offset=dither[0], y_offset=dither[1]),
            exposure=Tree(type="MIR_LRS-FIXEDSLIT"),
        )
    )
    ours = nod_place(
        wcs, exp_type="MIR_LRS-FIXEDSLIT", dispaxis=dispaxis, wavelength=8.0,
        slit_position=(None, None), dither=dither, ideal=ideal,
    )  # fmt: skip
    assert ours == pytest.approx(float(source_location.nod_pair_location(model, 8.0)), rel=1e-13)
