"""Optimal extraction in runs, lazily and as a function; PSF references that do not fit."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from astropy.io import fits

import tso3dask as tso3
from tso3dask.errors import InputError
from tso3dask.graph import steps as functions
from tso3dask.io.reference import read_psf
from tso3dask.ops.optimal import OptimalPlan

SYNCHRONOUS = {"scheduler": "synchronous"}
COLUMNS = ("FLUX", "FLUX_VAR_RNOISE", "BACKGROUND", "NPIXELS", "BKGD_VAR_POISSON")


@pytest.fixture(scope="module")
def small(made):
    """One segment whose window rolls and one whose does not."""
    return made("mir_lrs-slitless", nints=17, segments=[13, 4], shape=(26, 20), cr_rate=2e-3)


def chosen(observation, **parameters):
    steps = copy.deepcopy(observation.steps)
    steps["outlier_detection"] = {"rolling_window_width": 5}
    steps["extract_1d"] |= {"extraction_type": "optimal", **parameters}
    return steps


def tables(path):
    with fits.open(path) as hdus:
        found = [hdu for hdu in hdus if hdu.name == "EXTRACT1D"]
        return [{n: np.array(h.data[n]) for n in (*COLUMNS, "WAVELENGTH")} for h in found]


@pytest.fixture(scope="module")
def finished(small, tmp_path_factory):
    plan = tso3.plan(small.asn, chosen(small))
    return plan, tables(plan.run(tmp_path_factory.mktemp("whole")).products["x1dints"][0])


def test_profiles_are_fitted_before_anything_else(finished):
    plan, _ = finished
    assert all(m.spectrum.unsettled is not None for m in plan.members)
    fitted = plan.fitted
    assert all(m.spectrum.unsettled is None for m in fitted.members)
    assert fitted.token == plan.token
    assert fitted.fitted is fitted
    for before, after in zip(plan.members, fitted.members, strict=True):
        assert isinstance(after.spectrum.plan, OptimalPlan)
        moved = np.abs(after.spectrum.plan.profiles[0] - before.spectrum.plan.profiles[0]).max()
        assert 0 < moved < 0.2


@pytest.mark.parametrize("chunk", [1, 3, 7])
def test_chunks_do_not_matter(small, finished, tmp_path, chunk):
    plan = tso3.plan(small.asn, chosen(small), chunk_integrations=chunk)
    found = tables(plan.run(tmp_path, scheduler="synchronous").products["x1dints"][0])
    for one, other in zip(found, finished[1], strict=True):
        for name in one:
            np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def test_lazy_spectra_are_those_of_a_run(finished):
    plan, expected = finished
    nodes = [n.to_dataset().compute(**SYNCHRONOUS) for n in plan.x1dints.leaves if n.has_data]
    for node, table in zip(nodes, expected, strict=True):
        for name in COLUMNS:
            np.testing.assert_array_equal(node[name.lower()].values, table[name])
        np.testing.assert_array_equal(node["wavelength"].values, table["WAVELENGTH"][0])


@pytest.mark.parametrize("plain", [False, True])
def test_the_function_gives_the_same(small, finished, plain):
    given = chosen(small)
    for path, table in zip(small.members, finished[1], strict=True):
        dataset = tso3.open_segment(path, chunks=4)
        flagged = functions.outlier_detection(dataset, **given["outlier_detection"])
        if plain:
            flagged = flagged.assign(sci=flagged["sci"] + np.float32(0))
        spectra = functions.extract_1d(flagged, **given["extract_1d"]).compute(**SYNCHRONOUS)
        for name in COLUMNS:
            np.testing.assert_array_equal(spectra[name.lower()].values, table[name])


def test_where_headers_put_it(small, tmp_path):
    plan = tso3.plan(small.asn, chosen(small, optimize_psf_location=False))
    assert all(m.spectrum.unsettled is None for m in plan.members)
    assert plan.fitted is plan


def test_negative_images_of_nods(made, copy_of):
    given = copy_of(made("nrs_prism", nints=4, shape=(24, 40)))
    for path in given.members:
        with fits.open(path, mode="update") as hdus:
            hdus[0].header["S_BKDSUB"] = "COMPLETE"
            hdus[0].header["PATTTYPE"] = "ALONG-SLIT-NOD"
            hdus["SCI"].header["SRCYPOS"] = 0.25
    for pair in (True, False):
        steps = chosen(given, optimize_psf_location=False, model_nod_pair=pair)
        plan = tso3.plan(given.asn, steps)
        first, *rest = plan.members[0].spectrum.plan.profiles
        assert first.min() == 0 < first.max()
        assert [profile.min() < 0 == profile.max() for profile in rest] == [True] * pair


def test_what_becomes_of_it_without_a_psf(small):
    steps = chosen(small)
    del steps["extract_1d"]["override_psf"]
    with pytest.raises(InputError, match="missing reference: psf"):
        tso3.plan(small.asn, steps)
    plan = tso3.plan(small.asn, chosen(small, override_psf="N/A"))
    assert any("no PSF reference" in note for note in plan.notes)
    assert not any(isinstance(m.spectrum.plan, OptimalPlan) for m in plan.members)
    assert plan.members[0].spectrum.correction is not None
    plan = tso3.plan(small.asn, chosen(small, override_extract1d="N/A"))
    assert any("without an extract1d reference" in note for note in plan.notes)
    assert not any(isinstance(m.spectrum.plan, OptimalPlan) for m in plan.members)


def test_aperture_correction_is_for_boxes(small):
    assert all(m.spectrum.correction is None for m in tso3.plan(small.asn, chosen(small)).members)


def test_psf_references_that_do_not_fit(small, tmp_path):
    path = small.steps["extract_1d"]["override_psf"]
    psf = read_psf(path, 2)
    assert psf.aperture("S1600A1") is psf.apertures[0]
    assert read_psf("N/A", 2) is None

    def changed(name, change):
        file = tmp_path / name
        with fits.open(path) as hdus:
            change(hdus)
            hdus.writeto(file)
        return str(file)

    def other_name(hdus):
        hdus["PSF"].header["APERTURE"] = "S200A1"

    def no_scale(hdus):
        del hdus["PSF"].header["SUBPIX"]

    def short(hdus):
        hdus["WAVE"].data = hdus["WAVE"].data[:-3]

    with pytest.raises(InputError, match="has no aperture for S1600A1, but S200A1"):
        read_psf(changed("name.fits", other_name), 2).aperture("S1600A1")
    with pytest.raises(InputError, match="SUBPIX is None, expected a number"):
        read_psf(changed("scale.fits", no_scale), 2)
    with pytest.raises(InputError, match="expected one wavelength for each row"):
        read_psf(changed("short.fits", short), 2)
    with pytest.raises(InputError, match="has no PSF extension"):
        read_psf(str(small.members[0]), 2)
    text = tmp_path / "text.fits"
    text.write_text("nothing")
    with pytest.raises(InputError, match="not readable as psf reference"):
        read_psf(str(text), 2)
