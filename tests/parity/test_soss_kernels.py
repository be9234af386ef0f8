"""Kernels around the SOSS model beside the functions of jwst."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits
from jwst_oracle import run_jwst, silent

from tso3dask.io.soss_references import read_pastasoss, read_photom
from tso3dask.ops.soss.background import bright_pixels, subtract_background
from tso3dask.ops.soss.box import box_weights, extract_box, nearest_value_errors, order_weights
from tso3dask.ops.soss.infill import fill, noisy_mean, summarize
from tso3dask.ops.soss.photom import conversion_factors, select_row, time_corrections
from tso3dask.ops.soss.prepare import extract_boxes, prepare
from tso3dask.ops.soss.traces import extraction_subarray, find_traces, select_orders

pytestmark = pytest.mark.parity
pytest.importorskip("jwst")

REFERENCE_PIXEL = np.uint32(2**31)
ARRAYS = {
    "SUBSTRIP96": {"subarray": "SUBSTRIP96"},
    "SUBSTRIP256": {"subarray": "SUBSTRIP256", "shape": (256, 512)},
}


@pytest.fixture(scope="module", params=ARRAYS)
def observation(request, made):
    return made("nis_soss", nints=5, segments=1, lost_rate=1e-3, **ARRAYS[request.param])


@pytest.mark.parametrize("pwcpos", [245.76, 245.778671, 245.65, 245.93])
def test_traces_and_wavelengths(observation, pwcpos):
    from jwst.extract_1d.soss_extract.pastasoss import get_soss_wavemaps
    from jwst.extract_1d.soss_extract.soss_extract import DetectorModelOrder
    from stdatamodels.jwst.datamodels import PastasossModel

    header = fits.getheader(observation.members[0])
    path = str(observation.references["pastasoss"])
    layout, _ = extraction_subarray(header["SUBARRAY"], header["FILTER"])
    reference = read_pastasoss(path)
    traces = find_traces(reference, pwcpos, layout, (1, 2, 3), reference.columns)
    with PastasossModel(path) as model:
        maps, grids = get_soss_wavemaps(pwcpos, subarray=layout, refmodel=model, spectraces=True)
        for i, trace in enumerate(traces):
            theirs = DetectorModelOrder(
                i + 1, maps[i], grids[i], None, None, trace_cutoff=model.traces[i].cutoff
            )
            np.testing.assert_allclose(trace.wavelength_map(len(maps[i])), maps[i], rtol=1e-13)
            columns, rows, waves = theirs.trace
            np.testing.assert_array_equal(trace.columns, columns)
            np.testing.assert_allclose(trace.rows, rows, rtol=1e-12)
            np.testing.assert_allclose(trace.wavelength, waves, rtol=1e-13)


@pytest.mark.parametrize("nints", [1, 2, 6, 8, 9, 14])
def test_infill(nints):
    from jwst.extract_1d.soss_extract.soss_extract import _infill_data_get_mederr
    from stdatamodels.jwst.datamodels import CubeModel

    rng = np.random.default_rng(nints)
    sci = rng.normal(10, 2, (nints, 20, 30)).astype(np.float32)
    err = rng.uniform(1, 2, sci.shape).astype(np.float32)
    dq = np.zeros(sci.shape, np.uint32)
    sci[rng.random(sci.shape) < 0.2] = np.nan
    err[rng.random(sci.shape) < 0.1] = np.nan
    sci[:, 3, 4] = np.nan
    err[:, 5, 6] = np.nan
    dq[:, :, :2] = REFERENCE_PIXEL | 1
    dq[:, 3, 4] = 1
    reference = (dq[0] & REFERENCE_PIXEL) != 0
    with silent(), CubeModel(data=sci.copy(), err=err.copy(), dq=dq.copy()) as model:
        filled, error = _infill_data_get_mederr(model, reference)
        summary = summarize(sci, err, dq)
        np.testing.assert_array_equal(summary.reference, reference)
        np.testing.assert_array_equal(summary.median_error, error)
        np.testing.assert_array_equal(fill(sci, 0, summary.median, 0, nints, nints), filled)
        typical = np.mean(filled, axis=0)
        np.testing.assert_array_equal(summary.mean, typical)
        typical += np.random.default_rng(seed=42).normal(0, error * np.sqrt((nints - 1) / nints))
        np.testing.assert_array_equal(noisy_mean(summary), typical)


@pytest.mark.parametrize("rows", [96, 256])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_background(rows, dtype):
    from jwst.extract_1d.soss_extract.soss_syscor import make_background_mask, soss_background

    rng = np.random.default_rng(rows)
    image = rng.normal(3, 1, (rows, 60)).astype(dtype)
    image[20:60] += 40
    image[rng.random(image.shape) < 0.05] = 9
    image[:, 7] = np.nan
    mask = (rng.random(image.shape) < 0.05) | ~np.isfinite(image)
    mask[:, 9] = True
    with silent():
        bright = make_background_mask(image, width=40)
        left, level = soss_background(image, mask, bright)
        np.testing.assert_array_equal(bright_pixels(image), bright)
        ours, columns = subtract_background(image, mask)
    np.testing.assert_array_equal(columns, level)
    np.testing.assert_array_equal(ours, left)


@pytest.mark.parametrize("width", [0.5, 1.0, 7.3, 40.0])
def test_boxes(width):
    from jwst.extract_1d.soss_extract.soss_boxextract import (
        box_extract,
        estim_error_nearest_data,
        get_box_weights,
    )

    rng = np.random.default_rng(3)
    image = rng.normal(5, 1, (96, 50)).astype(np.float32)
    error = rng.uniform(1, 2, image.shape)
    mask = rng.random(image.shape) < 0.1
    mask[:, 5] = True
    centre = np.linspace(-3, 110, 40)
    weights = get_box_weights(centre, width, image.shape, np.arange(40))
    np.testing.assert_array_equal(box_weights(centre, width, image.shape, np.arange(40)), weights)
    made = extract_box(image[None], error[None], mask, weights)
    for one, expected in zip(made, box_extract(image, error, mask, weights)[1:], strict=True):
        np.testing.assert_allclose(one[0], expected, rtol=1e-14)
    wanted = mask & (weights > 0)
    valid = ~mask & (weights > 0)
    np.testing.assert_array_equal(
        nearest_value_errors(error, image, wanted, valid),
        estim_error_nearest_data(error, image, wanted, valid),
    )


def test_time_dependence_of_the_calibration():
    from jwst.photom.time_dependence import (
        exponential_correction,
        linear_correction,
        powerlaw_correction,
    )

    t0 = np.array([59000.5, 59400.25], np.float32)
    f4 = np.float32
    tables = {
        "linear": {"t0": t0, "lossperyear": f4([0.01, 0.02])},
        "exponential": {
            "t0": t0,
            "amplitude": f4([0.1, 0.2]),
            "tau": f4([300, 400]),
            "const": f4([0.9, 0.8]),
        },
        "powerlaw": {
            "t0": t0,
            "year1value": f4([0.95, 0.9]),
            "tsoft": f4([2, 1]),
            "alpha": f4([-0.01, -0.02]),
        },
    }
    time = 59791.25
    expected = np.ones(2)
    for kind, function in (
        ("linear", linear_correction),
        ("exponential", exponential_correction),
        ("powerlaw", powerlaw_correction),
    ):
        expected *= function(time, **tables[kind])
    np.testing.assert_array_equal(time_corrections(tables, time, 2), expected)


@pytest.mark.parametrize("background", [None, True])
def test_spectra_of_boxes_and_their_calibration(observation, background, tmp_path):
    """All of it in a row, beside the step."""
    steps = {name: dict(values) for name, values in observation.steps.items()}
    steps["outlier_detection"] = {"skip": True}
    steps["extract_1d"] |= {"soss_atoca": False, "subtract_background": background}
    product = run_jwst(observation.asn, tmp_path, steps)["x1dints"][0]
    with fits.open(observation.members[0]) as hdus:
        header = hdus[0].header
        sci, err = (hdus[name].data.astype(np.float32) for name in ("SCI", "ERR"))
        dq = hdus["DQ"].data.astype(np.uint32)
    nints = len(sci)
    layout, _ = extraction_subarray(header["SUBARRAY"], header["FILTER"])
    reference = read_pastasoss(str(observation.references["pastasoss"]))
    calibration = read_photom(str(observation.references["photom"]))
    orders, _ = select_orders(reference, layout, third=True)
    traces = find_traces(reference, header["PWCPOS"], layout, orders, sci.shape[2])
    weights = order_weights(traces, 40.0, sci.shape[1:], layout)
    prepared = prepare(sci, err, 0, 0, nints, summarize(sci, err, dq), bool(background))
    spectra = extract_boxes(prepared, weights, {t.order: t.columns.size for t in traces})
    with fits.open(product) as hdus:
        tables = {hdu.header["SPORDER"]: hdu.data for hdu in hdus if hdu.name == "EXTRACT1D"}
    assert tuple(tables) == orders
    for trace in traces:
        row = select_row(calibration.table, header["FILTER"], header["PUPIL"], trace.order)
        factor = conversion_factors(calibration.table, row, trace.wavelength)
        made = spectra[trace.order]
        table = tables[trace.order]
        level = prepared.background[:, : trace.columns.size]
        for name, values in (
            ("WAVELENGTH", np.broadcast_to(trace.wavelength, made.flux.shape)),
            ("FLUX", made.flux * factor),
            ("FLUX_ERROR", made.flux_error * factor),
            ("BACKGROUND", level * factor),
            ("NPIXELS", made.npixels),
        ):
            scale = np.nanmax(np.abs(values)) or 1.0
            np.testing.assert_allclose(
                table[name] / scale, values / scale, rtol=1e-12, atol=1e-14, err_msg=name
            )
