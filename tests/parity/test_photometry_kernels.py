"""Imaging photometry beside the field's own functions, on cubes in memory."""

import math
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
from jwst_oracle import silent
from scipy.special import erf

from tso3dask.ops import aperture, centroid, photometry, psffit

pytest.importorskip("jwst")
pytestmark = pytest.mark.parity

NAMES = ("centroid_x", "centroid_y", "psf_width_x", "psf_width_y", "psf_flux")
BOXES = SimpleNamespace(search=41, fit=11, radius=4.0)


def gaussian(shape, x, y, flux, fwhm):
    """Gaussian integrated over pixels."""

    def profile(center, size, width):
        edges = np.arange(size + 1) - 0.5 - center
        return np.diff(erf(edges / (width / 2.0 / math.sqrt(math.log(2.0))))) / 2

    return flux * np.outer(profile(y, shape[0], fwhm[1]), profile(x, shape[1], fwhm[0]))


def star(seed=0, nints=4, shape=(48, 50), flux=2000.0, fwhm=(2.3, 2.6), noise=1.0, bad=0.004):
    """Cube of a drifting source with noise and lost pixels, around (24.3, 25.1)."""
    rng = np.random.default_rng(seed)
    full = (nints, *shape)
    sci = np.empty(full)
    for i in range(nints):
        x, y = np.array([24.3, 25.1]) + rng.normal(0, 0.1, 2)
        sci[i] = gaussian(shape, x, y, flux * rng.normal(1, 0.01), fwhm)
    sci += 12.0 + rng.normal(0, noise, full)
    err = np.sqrt(noise**2 + np.abs(sci) / 50)
    dq = np.zeros(full, np.uint32)
    lost = rng.random(full) < bad
    dq[lost] = rng.choice([1, 17, 1025], full)[lost]
    sci[lost] = np.nan
    err[lost] = np.nan
    dq[rng.random(full) < bad] |= np.uint32(4)
    return {"sci": sci.astype(np.float32), "err": err.astype(np.float32), "dq": dq}


def trivial_wcs():
    import gwcs
    from astropy import coordinates, units
    from astropy.modeling import models
    from gwcs import coordinate_frames as frames

    detector = frames.Frame2D(name="detector", unit=(units.pix, units.pix))
    sky = frames.CelestialFrame(name="world", reference_frame=coordinates.ICRS())
    scale = models.Scale(1e-5) & models.Scale(2e-5)
    return gwcs.WCS([(detector, scale | models.Shift(80.0) & models.Shift(-30.0)), (sky, None)])


def cube_model(cube, bunit="MJy/sr", pupil="CLEAR", subarray="SUB160P"):
    from stdatamodels.jwst.datamodels import CubeModel

    model = CubeModel(data=cube["sci"].copy(), err=cube["err"].copy(), dq=cube["dq"].copy())
    model.meta.bunit_data = bunit
    model.meta.bunit_err = bunit
    model.meta.photometry.pixelarea_steradians = 2.3138e-14
    model.meta.exposure.integration_time = 7.25
    model.meta.exposure.integration_start = 1
    model.meta.instrument.name = "NIRCAM"
    model.meta.instrument.detector = "NRCB1"
    model.meta.instrument.channel = "SHORT"
    model.meta.instrument.filter = "F210M"
    model.meta.instrument.pupil = pupil
    model.meta.subarray.name = subarray
    model.meta.target.catalog_name = "STAR"
    nints = cube["sci"].shape[0]
    times = np.zeros(nints, model.get_dtype("int_times"))
    times["integration_number"] = np.arange(nints) + 1
    times["int_mid_MJD_UTC"] = 59000.5 + np.arange(nints) / 1e3
    times["int_mid_BJD_TDB"] = 59000.6 + np.arange(nints) / 1e3
    model.int_times = times
    model.meta.wcs = trivial_wcs()
    return model


def their_source(model, x, y, boxes=BOXES):
    from jwst.tso_photometry.tso_photometry import tso_source_centroid

    with silent():
        return tso_source_centroid(
            model,
            x,
            y,
            search_box_width=boxes.search,
            fit_box_width=boxes.fit,
            source_radius=boxes.radius,
        )


def our_source(sci, dq, x, y, boxes=BOXES):
    first = centroid.centroids(sci, dq, x, y, boxes.search, boxes.radius)
    median = centroid.nanmedian_center(*first)
    if math.isnan(median[0]):
        return dict(zip(NAMES, first, strict=False))
    return psffit.centroids_and_psf(sci, dq, *median, boxes.fit, boxes.radius)


def compare_source(theirs, ours, rtol=1e-6, determined=None):
    """Same columns, centroids to the bit, same NaN, fits within ``rtol`` where determined."""
    assert [n for n, v in zip(NAMES, theirs, strict=True) if v is not None] == list(ours)
    for name, expected in zip(NAMES, theirs, strict=True):
        if expected is None:
            continue
        got = ours[name]
        if name.startswith("centroid"):
            np.testing.assert_array_equal(got, expected, err_msg=name)
            continue
        np.testing.assert_array_equal(np.isnan(got), np.isnan(expected), err_msg=name)
        use = np.ones(got.size, bool) if determined is None else determined[name]
        np.testing.assert_allclose(got[use], expected[use], rtol=rtol, err_msg=name)


# --- the whole table ------------------------------------------------------------------------


def their_table(model, x, y, radii, source=True, moving=False):
    from jwst.tso_photometry import tso_photometry as theirs

    gain = np.linspace(1.7, 2.1, model.data[0].size, dtype=np.float32).reshape(model.data[0].shape)
    with silent():
        theirs.convert_data_units(model, gain)
        found = (None,) * 5
        center = (x, y)
        if source:
            found = theirs.tso_source_centroid(model, x, y, source_radius=radii[1])
            if not np.isnan(found[0]).all():
                center = found[:2] if moving else tuple(np.nanmedian(v) for v in found[:2])
        return theirs.tso_aperture_photometry(
            model, *center, *radii, **dict(zip(NAMES, found, strict=True))
        ), gain


def our_table(cube, model, bunit, gain, x, y, radii, source=True, moving=False):
    units = photometry.to_flux_units(bunit, 2.3138e-14, 7.25, gain)
    sci, err = cube["sci"].copy(), cube["err"].copy()
    if units.factor is not None:
        sci *= units.factor
        err *= units.factor
    found = None
    if source:
        boxes = SimpleNamespace(search=41, fit=11, radius=radii[1])
        found = our_source(sci, cube["dq"], x, y, boxes)
    given = (None, None) if found is None else (found["centroid_x"], found["centroid_y"])
    center = photometry.aperture_center(*given, x, y, moving)
    meta = model.meta
    if photometry.uses_whole_array(meta.instrument.pupil, meta.subarray.name):
        sums = aperture.whole_array_sums(sci, err)
    else:
        sums = aperture.aperture_sums(sci, err, *center, *radii)
    ra, dec = model.meta.wcs(*(np.full(len(sci), v) for v in center))
    return photometry.photometry_columns(
        sums,
        unit=units.unit,
        mjd=model.int_times["int_mid_MJD_UTC"],
        bjd_tdb=model.int_times["int_mid_BJD_TDB"],
        x=center[0],
        y=center[1],
        ra=ra,
        dec=dec,
        centroids=found,
    )


def compare_tables(theirs, ours):
    assert theirs.colnames == list(ours)
    for name, column in ours.items():
        expected = theirs[name]
        unit = getattr(expected, "unit", None)
        assert (None if unit is None else unit.to_string()) == column.unit, name
        values = np.asarray(getattr(expected, "value", expected))
        assert values.dtype == column.values.dtype, name
        np.testing.assert_array_equal(np.isnan(values), np.isnan(column.values), err_msg=name)
        rtol = 1e-6 if name.startswith("psf") else 1e-9
        atol = 1e-12 * np.nanmax(np.abs(np.asarray(theirs["aperture_sum"])), initial=0.0)
        if name in ("MJD", "BJD_TDB"):
            rtol, atol = 0.0, 1e-9
        np.testing.assert_allclose(column.values, values, rtol=rtol, atol=atol, err_msg=name)


@pytest.mark.parametrize("moving", [False, True])
@pytest.mark.parametrize("bunit", ["MJy/sr", "DN/s", "mJy"])
@pytest.mark.parametrize("radii", [(3.0, 4.0, 5.0), (6.2, 9.1, 40.0)])
def test_table(bunit, moving, radii):
    cube = star(seed=3)
    model = cube_model(cube, bunit)
    theirs, gain = their_table(model, 24.0, 25.0, radii, moving=moving)
    ours = our_table(cube, model, bunit, gain, 24.0, 25.0, radii, moving=moving)
    compare_tables(theirs, ours)


def test_table_without_centroids():
    cube = star(seed=4)
    model = cube_model(cube)
    theirs, gain = their_table(model, 24, 25, (3.0, 4.0, 5.0), source=False)
    ours = our_table(cube, model, "MJy/sr", gain, 24, 25, (3.0, 4.0, 5.0), source=False)
    compare_tables(theirs, ours)


def test_table_of_a_source_that_is_not_found():
    cube = star(seed=4)
    model = cube_model(cube)
    theirs, gain = their_table(model, 70.0, 25.0, (3.0, 4.0, 30.0))
    ours = our_table(cube, model, "MJy/sr", gain, 70.0, 25.0, (3.0, 4.0, 30.0))
    assert list(ours)[-2:] == ["centroid_x", "centroid_y"]
    compare_tables(theirs, ours)


def test_table_with_a_lost_integration_and_a_hole():
    cube = star(seed=5, nints=5)
    for name in ("sci", "err"):
        cube[name][1] = np.nan
        cube[name][3, 15:36, 15:36] = np.nan
    cube["dq"][1] |= 1
    cube["dq"][3, 15:36, 15:36] |= 1
    model = cube_model(cube)
    theirs, gain = their_table(model, 24.0, 25.0, (3.0, 4.0, 5.0))
    ours = our_table(cube, model, "MJy/sr", gain, 24.0, 25.0, (3.0, 4.0, 5.0))
    assert np.isnan(ours["aperture_sum"].values).tolist() == [False, True, False, True, False]
    compare_tables(theirs, ours)


@pytest.mark.parametrize(
    ("pupil", "subarray"), [("WLP8", "SUB64P"), ("WLP8", "SUB160P"), ("CLEAR", "SUB64P")]
)
def test_table_and_meta_of_a_weak_lens(pupil, subarray):
    cube = star(seed=6, shape=(64, 64), fwhm=(25.0, 30.0), flux=4e5)
    cube["sci"][2] = np.nan
    model = cube_model(cube, "MJy/sr", pupil, subarray)
    theirs, gain = their_table(model, 31.0, 31.0, (50.0, 60.0, 70.0))
    ours = our_table(cube, model, "MJy/sr", gain, 31.0, 31.0, (50.0, 60.0, 70.0))
    compare_tables(theirs, ours)
    meta = photometry.table_meta(
        instrument="NIRCAM",
        detector="NRCB1",
        channel="SHORT",
        subarray=subarray,
        filter="F210M",
        pupil=pupil,
        target_name="STAR",
        radius=50.0,
        radius_inner=60.0,
        radius_outer=70.0,
    )
    assert list(meta.items()) == list(theirs.meta.items())


# --- centroids and fits -----------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("scale", [1.0, 1e-4, 1e-6, 1e-8, 1e-10, 1e-13])
def test_source_in_units_that_make_it_bright_or_faint(seed, scale):
    cube = star(seed=seed, nints=2, noise=3.0)
    cube["sci"] *= np.float32(scale)
    compare_source(
        their_source(cube_model(cube), 23.7, 25.5), our_source(cube["sci"], cube["dq"], 23.7, 25.5)
    )


@pytest.mark.parametrize("fwhm", [(0.7, 0.8), (1.3, 1.1), (5.0, 3.0), (9.0, 12.0), (40.0, 40.0)])
def test_source_of_any_width(fwhm):
    for seed in range(3):
        cube = star(seed=seed, nints=2, fwhm=fwhm, flux=2e4)
        compare_source(
            their_source(cube_model(cube), 24, 25), our_source(cube["sci"], cube["dq"], 24, 25)
        )


@pytest.mark.parametrize(
    ("x", "y"), [(0.2, 25.0), (24.0, 47.0), (1.4, 1.3), (49.0, 47.0), (-0.1, 25.0), (24.0, 47.2)]
)
def test_source_at_an_edge(x, y):
    rng = np.random.default_rng(1)
    sci = gaussian((48, 50), x, y, 3000.0, (2.5, 2.5)) + rng.normal(5, 0.5, (3, 48, 50))
    cube = {"sci": sci.astype(np.float32), "err": np.ones((3, 48, 50), np.float32)}
    cube["dq"] = np.zeros((3, 48, 50), np.uint32)
    compare_source(
        their_source(cube_model(cube), x, y), our_source(cube["sci"], cube["dq"], x, y), 1e-5
    )


def any_case(seed):
    """Draw a cube and parameters that may fail in every way the method knows."""
    rng = np.random.default_rng(seed)
    small = seed % 7 == 0
    shape = tuple(rng.integers(1, 12, 2) if small else rng.integers(3, 50, 2))
    x, y = rng.uniform(-2, shape[1] + 1), rng.uniform(-2, shape[0] + 1)
    flux, snr = 10 ** rng.uniform(-9, 5), 10 ** rng.uniform(0, 4)
    full = (2, *shape)
    sci = gaussian(shape, x, y, flux, 10 ** rng.uniform(-0.3, 1.3, 2))
    sci = sci + flux / snr * 0.1 * rng.normal(size=full) + flux * rng.uniform(-0.2, 0.2)
    sci = sci.astype(np.float32)
    dq = rng.integers(0, 5, full).astype(np.uint32) * 2
    fraction = rng.choice([0, 0, 0.01, 0.2, 0.9, 0.999])
    flagged = rng.random(full) < fraction
    dq[flagged] |= 1
    lost = (flagged, rng.random(full) < fraction, np.zeros(full, bool))[rng.integers(3)]
    sci[lost] = np.nan
    if rng.random() < 0.1:
        sci[rng.random(full) < 0.01] = np.inf
    if rng.random() < 0.1:
        sci[0] = rng.choice([np.nan, 0.0])
    if rng.random() < 0.03:
        dq[:] = 1
    boxes = SimpleNamespace(search=41, fit=11, radius=float(rng.choice([0, 0.5, 4, 4, 10, 200])))
    if seed % 3 == 0:
        boxes.search, boxes.fit = (int(rng.choice(w)) for w in ([-1, 0, 1, 3, 11], [1, 3, 5, 21]))
    if rng.random() < 0.7:
        return sci, dq, x + rng.normal(), y + rng.normal(), boxes
    return sci, dq, rng.uniform(-3, shape[1] + 3), rng.uniform(-3, shape[0] + 3), boxes


def determined(cube, x, y, boxes, theirs):
    """Where the reference's own fit stays put when its input moves by a rounding error.

    A width far below a pixel, or pure noise, is not determined by the data:
    the optimiser then magnifies the last bit of the input without limit.
    """
    from astropy.modeling import fitting

    convert = fitting._convert_input
    stays = {name: np.ones(len(cube["sci"]), bool) for name in NAMES}
    for shift in (3e-16, -3e-16, 1e-15):

        def moved(x, y, z, *args, shift=shift, **kwargs):
            return (*convert(x, y, z, *args, **kwargs)[:-1], np.asarray(z, float) * (1 + shift))

        with mock.patch.object(fitting, "_convert_input", moved):
            again = their_source(cube_model(cube), x, y, boxes)
        for name, one, two in zip(NAMES, theirs, again, strict=True):
            if one is not None:
                stays[name] &= ~(np.abs(one - two) > 1e-7 * np.abs(one))
    return stays


@pytest.mark.parametrize("seed", range(0, 200, 20))
def test_anything(seed):
    fits = certain = 0
    for k in range(seed, seed + 20):
        sci, dq, x, y, boxes = any_case(k)
        cube = {"sci": sci, "dq": dq, "err": np.ones_like(sci)}
        theirs = their_source(cube_model(cube), x, y, boxes)
        ours = our_source(sci, dq, x, y, boxes)
        stays = None
        if theirs[2] is not None:
            stays = determined(cube, x, y, boxes, theirs)
            fitted = np.isfinite(theirs[2])
            fits += fitted.sum()
            certain += (fitted & stays["psf_width_x"] & stays["psf_width_y"]).sum()
        compare_source(theirs, ours, 1e-5, determined=stays)
    assert certain >= 0.5 * fits
