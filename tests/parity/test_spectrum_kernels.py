"""Columns, aperture correction, source position, times and white light beside the field's own."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest

pytest.importorskip("jwst")
pytestmark = pytest.mark.parity

import gwcs  # noqa: E402
from astropy import coordinates as coord  # noqa: E402
from astropy import units as u  # noqa: E402
from astropy.modeling.models import Const1D, Identity, Mapping, Scale, Shift  # noqa: E402
from gwcs import coordinate_frames as cf  # noqa: E402
from jwst.extract_1d import extract as peer  # noqa: E402
from jwst.extract_1d.source_location import location_from_wcs  # noqa: E402
from jwst.lib.wcs_utils import get_wavelengths  # noqa: E402
from jwst.white_light.white_light import white_light  # noqa: E402
from stcal.alignment.util import compute_scale  # noqa: E402
from stdatamodels.jwst import datamodels  # noqa: E402

from tso3dask.ops.apcorr import (  # noqa: E402
    apply_correction,
    reference_wavelength,
    select_correction,
)
from tso3dask.ops.aperture1d import define_aperture, has_wavelengths  # noqa: E402
from tso3dask.ops.box import extract_box  # noqa: E402
from tso3dask.ops.extract_params import resolve_parameters  # noqa: E402
from tso3dask.ops.source_position import locate_source  # noqa: E402
from tso3dask.ops.spectrum import VECTOR_COLUMNS, spectral_columns  # noqa: E402
from tso3dask.ops.times import TIME_COLUMNS, match_int_times  # noqa: E402
from tso3dask.ops.whitelight import (  # noqa: E402
    repeated_times,
    white_light_columns,
    white_light_meta,
    white_light_sums,
)

NINTS = 6


def simple_wcs(dispaxis, shape, slit):
    """Wavelength along dispersion with a small curvature; a slit frame if asked for."""
    ny, nx = shape
    world = cf.CompositeFrame(
        [
            cf.CelestialFrame(name="sky", axes_order=(0, 1), reference_frame=coord.ICRS()),
            cf.SpectralFrame(
                name="wave", axes_order=(2,), unit=(u.um,), axes_names=("wavelength",)
            ),
        ],
        name="world",
    )
    detector = cf.Frame2D(name="detector", axes_order=(0, 1), unit=(u.pix, u.pix))
    along = Shift(3.0) | Scale(0.01) | Shift(0.8)
    across = Shift(-12.3) | Scale(0.05)
    along_y = Shift(-float(ny)) | Scale(-0.02)
    inner = across & (along if dispaxis == 1 else along_y)
    order = (1, 1, 0) if dispaxis == 1 else (0, 0, 1)  # inputs are (x, y)
    to_slit = Mapping(order) | (Const1D(0.0) & inner)
    back = Mapping((1, 2), n_inputs=3) | inner.inverse
    back = back | (Mapping((1, 0)) if dispaxis == 1 else Identity(2))
    to_slit.inverse = back
    to_world = Shift(30.0) & (Scale(1e-3) | Shift(10.0)) & Identity(1)
    if slit:
        frame = cf.CompositeFrame(
            [
                cf.Frame2D(name="position", axes_order=(0, 1), unit=(u.pix, u.pix)),
                cf.SpectralFrame(name="w", axes_order=(2,), unit=(u.um,)),
            ],
            name="slit_frame",
        )
        result = gwcs.WCS([(detector, to_slit), (frame, to_world), (world, None)])
    else:
        whole = to_slit | to_world
        whole.inverse = to_world.inverse | back
        result = gwcs.WCS([(detector, whole), (world, None)])
    result.bounding_box = ((-0.5, nx - 0.5), (1.5, ny - 2.5))
    return result


def int_times(start, count):
    rows = np.zeros(count, dtype=datamodels.CubeModel().get_dtype("int_times"))
    rows["integration_number"] = np.arange(start, start + count)
    for k, name in enumerate(TIME_COLUMNS.values()):
        rows[name] = 59000.0 + k * 0.01 + np.arange(count) * 0.1
    return rows


def fill(model, seed, shape):
    rng = np.random.default_rng(seed)
    full = (NINTS, *shape)
    model.data = rng.normal(3, 0.5, full).astype(np.float32)
    model.data[rng.random(full) < 0.03] = np.nan
    model.data[2, :, :] = np.nan
    model.dq = np.zeros(full, np.uint32)
    model.err = rng.uniform(0.1, 1, full).astype(np.float32)
    for name in ("var_rnoise", "var_poisson", "var_flat"):
        setattr(model, name, rng.uniform(0.01, 1, full).astype(np.float32))
    model.meta.exposure.nints = 40
    model.meta.exposure.integration_start = 11
    model.meta.exposure.integration_end = 10 + NINTS
    model.meta.exposure.segment_number = 3
    model.meta.visit.tsovisit = True
    model.meta.cal_step.photom = "COMPLETE"
    model.meta.photometry.pixelarea_steradians = 2.3e-13
    model.meta.target.source_type = "POINT"
    model.meta.wcsinfo.spectral_order = 1
    model.int_times = int_times(1, 40)


def nirspec_model():
    model = datamodels.SlitModel()
    shape = (30, 64)
    fill(model, 1, shape)
    model.meta.instrument.name = "NIRSPEC"
    model.meta.instrument.detector = "NRS1"
    model.meta.instrument.filter = "F290LP"
    model.meta.instrument.grating = "G395H"
    model.meta.exposure.type = "NRS_BRIGHTOBJ"
    model.meta.wcsinfo.dispersion_direction = 1
    model.meta.wcs = simple_wcs(1, shape, slit=True)
    model.name = "S1600A1"
    model.source_xpos, model.source_ypos, model.source_type = 0.01, 0.3, "POINT"
    model.wavelength = get_wavelengths(model).astype(np.float32)
    return model


def miri_model():
    model = datamodels.CubeModel()
    shape = (60, 36)
    fill(model, 2, shape)
    model.meta.instrument.name = "MIRI"
    model.meta.instrument.detector = "MIRIMAGE"
    model.meta.instrument.filter = "P750L"
    model.meta.exposure.type = "MIR_LRS-SLITLESS"
    model.meta.subarray.name = "SLITLESSPRISM"
    model.meta.wcsinfo.dispersion_direction = 2
    model.meta.wcs = simple_wcs(2, shape, slit=False)
    return model


def nirspec_apcorr(path):
    model = datamodels.NrsFsApcorrModel()
    dtype = [
        ("filter", "S12"), ("grating", "S15"), ("slit", "S15"), ("wavelength", "f4", 20),
        ("nelem_wl", "i2"), ("size", "f4", (4, 20)), ("nelem_size", "i2"),
        ("pixphase", "f4", 3), ("apcorr", "f4", (4, 20, 3)), ("apcorr_err", "f4", (4, 20, 3)),
    ]  # fmt: skip
    table = np.zeros(2, dtype)
    rng = np.random.default_rng(7)
    table["filter"], table["grating"] = "F290LP", "G395H"
    table["slit"] = ["S400A1", "S1600A1"]
    table["wavelength"] = np.linspace(0.9, 1.3, 20)[::-1]
    table["nelem_wl"], table["nelem_size"] = 20, 4
    table["size"] = np.arange(1, 5)[:, None] * 0.1 + np.linspace(0, 0.02, 20)
    table["pixphase"] = [0.0, 0.4, 1.0]
    table["apcorr"] = rng.uniform(1, 2, (2, 4, 20, 3))
    model.apcorr_table = table
    model.sizeunit = "arcseconds"
    model.save(path)
    return model.apcorr_table, model.sizeunit


def miri_apcorr(path):
    model = datamodels.MirLrsApcorrModel()
    dtype = [
        ("subarray", "S17"), ("wavelength", "f4", 25), ("nelem_wl", "i2"), ("size", "u1", 9),
        ("nelem_size", "i2"), ("apcorr", "f4", (25, 9)), ("apcorr_err", "f4", (25, 9)),
    ]  # fmt: skip
    table = np.zeros(2, dtype)
    rng = np.random.default_rng(8)
    table["subarray"] = ["FULL", "SLITLESSPRISM"]
    table["wavelength"][:, :20] = np.linspace(0.2, 1.0, 20)[::-1]
    table["nelem_wl"], table["nelem_size"] = 20, 6
    table["size"][:, :6] = [1, 2, 4, 5, 7, 9]
    table["apcorr"] = rng.uniform(1, 2, (2, 25, 9))
    model.apcorr_table = table
    model.sizeunit = "pixels"
    model.save(path)
    return model.apcorr_table, model.sizeunit


REFERENCES = {
    "NIRSPEC": {
        "id": "S1600A1",
        "src_coeff": [[9.2], [15.1]],
        "bkg_coeff": [[2.0], [6.0], [20.0], [25.0]],
    },
    "MIRI": {
        "id": "MIR_LRS-SLITLESS",
        "xstart": 8.5,
        "xstop": 15.2,
        "ystart": 5,
        "ystop": 50,
        "bkg_coeff": [[20.5], [28.5]],
    },
}


def header_of(model):
    return {
        "INSTRUME": model.meta.instrument.name,
        "EXP_TYPE": model.meta.exposure.type,
        "SUBARRAY": model.meta.subarray.name,
        "FILTER": model.meta.instrument.filter,
        "GRATING": model.meta.instrument.grating,
        "SLTNAME": getattr(model, "name", None),
    }


def ours(model, reference, apcorr):
    """The chain of kernels as a program would run it."""
    shape = model.data.shape[-2:]
    dispaxis = model.meta.wcsinfo.dispersion_direction
    header = header_of(model)
    resolved = resolve_parameters(
        reference,
        shape=shape,
        dispaxis=dispaxis,
        slit_name=header["SLTNAME"] or header["EXP_TYPE"],
        spectral_order=1,
        exp_type=header["EXP_TYPE"],
        source_type="POINT",
    )
    assert not resolved.notes
    image = getattr(model, "wavelength", None)
    if not has_wavelengths(image):
        y, x = np.mgrid[: shape[0], : shape[1]].astype(float)
        image = model.meta.wcs(x, y)[2]
    location = None
    if resolved.params.use_source_posn:
        location, notes = locate_source(
            model.meta.wcs,
            shape=shape,
            dispaxis=dispaxis,
            exp_type=header["EXP_TYPE"],
            position=(model.source_xpos, model.source_ypos),
        )
        assert not notes
    aperture = define_aperture(resolved.params, shape, image, location)
    sums = extract_box(model.data, model.var_rnoise, model.var_poisson, model.var_flat, aperture)
    spectra = spectral_columns(
        sums,
        aperture.wavelength,
        photom_complete=True,
        source_type="POINT",
        instrument=header["INSTRUME"],
        pixel_area_sr=model.meta.photometry.pixelarea_steradians,
    )
    wavelength = aperture.wavelength[aperture.valid]
    place = model.meta.wcs(aperture.center_x, aperture.center_y)
    where = (float(place[0]), float(place[1]), reference_wavelength(wavelength, header["INSTRUME"]))
    scale = compute_scale(model.meta.wcs, where, disp_axis=dispaxis) * 3600.0
    correction, notes = select_correction(
        apcorr[0],
        header=header,
        size_unit=apcorr[1],
        source_type="POINT",
        pixel_scale_arcsec=scale,
    )
    assert correction is not None and not notes
    npixels = spectra.columns["NPIXELS"]
    if correction.needs_first_integration:
        npixels = npixels[0]
    factor = correction.evaluate(npixels, wavelength)
    assert np.mean(factor != 1) > 0.2 and np.ptp(factor) > 0.1
    apply_correction(spectra.columns, factor)
    return aperture, spectra


@pytest.fixture(params=["NIRSPEC", "MIRI"])
def chain(request, tmp_path):
    model = nirspec_model() if request.param == "NIRSPEC" else miri_model()
    reference = {"apertures": [REFERENCES[request.param]]}
    (tmp_path / "ref.json").write_text(json.dumps(reference))
    make = nirspec_apcorr if request.param == "NIRSPEC" else miri_apcorr
    apcorr = make(tmp_path / "apcorr.fits")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = peer.run_extract1d(
            model, str(tmp_path / "ref.json"), apcorr_ref_name=str(tmp_path / "apcorr.fits")
        )[0]
    return model, expected.spec[0], ours(model, reference, apcorr)


def test_whole_chain(chain):
    model, expected, (aperture, spectra) = chain
    for name in VECTOR_COLUMNS:
        theirs = np.asarray(expected.spec_table[name])
        np.testing.assert_allclose(spectra.columns[name], theirs, rtol=1e-10, atol=0, err_msg=name)
        unit = expected.spec_table.columns[name].unit
        assert spectra.units.get(name) == unit, name
        assert spectra.columns[name].dtype == theirs.dtype.newbyteorder("=")
    limits = aperture.header_limits()
    for key, name in (
        ("EXTRXSTR", "extraction_xstart"),
        ("EXTRXSTP", "extraction_xstop"),
        ("EXTRYSTR", "extraction_ystart"),
        ("EXTRYSTP", "extraction_ystop"),
    ):
        assert limits[key] == pytest.approx(getattr(expected, name), rel=1e-12)
    times = match_int_times(model.int_times, 11, 16, NINTS, 40)
    names = ("INT_NUM", "MJD-BEG", "MJD-AVG", "MJD-END", "TDB-BEG", "TDB-MID", "TDB-END")
    for name, values in zip(names, times.columns().values(), strict=True):
        np.testing.assert_array_equal(values, expected.spec_table[name])


def test_location():
    model = nirspec_model()
    middle, wavelength, location, trace = location_from_wcs(model, None)
    found, _ = locate_source(
        model.meta.wcs,
        shape=model.data.shape[-2:],
        dispaxis=1,
        exp_type="NRS_BRIGHTOBJ",
        position=(model.source_xpos, model.source_ypos),
    )
    assert found.middle == middle
    np.testing.assert_allclose((found.wavelength, found.location), (wavelength, location), 1e-14)
    np.testing.assert_allclose(found.trace, trace, 1e-14)


def spectra_model(parts):
    """Members as (order, detector, first time, repeats) in one table model."""
    model = datamodels.TSOMultiSpecModel()
    model.meta.instrument.name = "NIRSPEC"
    model.meta.exposure.type = "NRS_BRIGHTOBJ"
    model.meta.target.catalog_name = "STAR"
    rng = np.random.default_rng(3)
    for order, detector, times in parts:
        spec = datamodels.TSOSpecModel()
        nrows, ncol = len(times), 13
        plain = datamodels.TSOSpecModel().get_dtype("spec_table").descr
        vector = [
            (name, code, ncol) if name in VECTOR_COLUMNS else (name, code)
            for name, code, *_ in plain
        ]
        table = np.zeros(nrows, vector)
        table["WAVELENGTH"] = np.linspace(0.6, 1.9, ncol)
        table["FLUX"] = rng.normal(1, 0.1, (nrows, ncol))
        table["FLUX"][rng.random((nrows, ncol)) < 0.1] = np.nan
        table["MJD-AVG"] = times
        table["TDB-MID"] = np.asarray(times) + 0.003
        spec.spec_table = table
        spec.spec_table.columns["FLUX"].unit = "Jy"
        spec.spectral_order, spec.detector = order, detector
        model.spec.append(spec)
    return model


CASES = {
    "one": [(1, "MIRIMAGE", [3.0, 1.0, 2.0]), (1, "MIRIMAGE", [4.0, 5.0])],
    "repeats": [(1, "NRS1", [1.0, 1.0, np.nan, 2.0]), (1, "NRS1", [3.0, 3.5])],
    "detectors": [(1, "NRS1", [1.0, 2.0]), (1, "NRS1", [3.0]), (1, "NRS2", [1.1, 2.1])],
    "orders": [
        (1, None, [1.0, 2.0]),
        (2, None, [1.0, 2.0]),
        (3, None, [1.0, 2.0]),
        (1, None, [3.0, 4.0]),
        (2, None, [3.0, 4.0]),
    ],
}


@pytest.mark.parametrize("limits", [(None, None), (0.9, 1.4)])
@pytest.mark.parametrize("name", CASES)
def test_white_light(name, limits):
    parts = CASES[name]
    if name == "one":  # out of order inside a member: the peer puts fluxes at wrong times
        parts = [(1, "MIRIMAGE", [1.0, 2.0, 3.0]), parts[1]]
    model = spectra_model(parts)
    low, high = (-1.0, 1e10) if limits[0] is None else limits
    spectra = []
    repeated = []
    for spec in model.spec:
        table = spec.spec_table
        spectra.append(
            {
                "mid_utc": np.array(table["MJD-AVG"]),
                "mid_tdb": np.array(table["TDB-MID"]),
                "flux_sum": white_light_sums(
                    np.array(table["FLUX"]), np.array(table["WAVELENGTH"]), low, high
                ),
                "order": spec.spectral_order,
                "detector": spec.detector,
                "unit": "Jy",
            }
        )
        repeated.append(repeated_times(np.array(table["MJD-AVG"])))
    result = white_light_columns(spectra)
    expected = white_light(model, None, *limits)
    assert list(result.columns) == expected.colnames
    for column in expected.colnames:
        values = expected[column]
        unit = getattr(values, "unit", None)
        assert result.units.get(column) == (None if unit is None else str(unit))
        np.testing.assert_allclose(
            result.columns[column], getattr(values, "value", values), rtol=1e-13, err_msg=column
        )
    for spec, mask, part in zip(model.spec, repeated, parts, strict=True):
        after = np.where(mask, np.nan, part[2])
        np.testing.assert_array_equal(spec.spec_table["MJD-AVG"], after)
    meta = white_light_meta(
        {"INSTRUME": "NIRSPEC", "EXP_TYPE": "NRS_BRIGHTOBJ", "TARGNAME": "STAR"}
    )
    assert meta == dict(expected.meta)
