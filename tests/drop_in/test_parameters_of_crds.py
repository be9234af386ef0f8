"""Parameter files of CRDS: ``call`` asks for them, ``run`` does not."""

from __future__ import annotations

import os
from unittest import mock

import numpy as np
import pytest

pytest.importorskip("crds")

from crds_cache import CrdsCache, write_parameters

from tso3dask import OutlierDetectionStep, Tso3Pipeline, WhiteLightStep


@pytest.fixture
def observation(made, tmp_path):
    """An observation for which CRDS says that nothing is an outlier."""
    observation = made("mir_lrs-slitless", segments=[7, 5], shape=(24, 20), cr_rate=2e-3)
    cache = CrdsCache(tmp_path / "cache", "jwst_0042.pmap")
    quiet = {"rolling_window_width": 5, "snr": "1e9 1e9", "suffix": "quiet"}
    files = {
        "pars-outlierdetectionstep": {"outlier_detection": quiet},
        "pars-whitelightstep": {"white_light": {"min_wavelength": 8.0}},
        "pars-tso3pipeline": {"tso3_pipeline": {"outlier_detection": {"snr": "2.0 2.0"}}},
    }
    for number, (kind, parameters) in enumerate(files.items()):
        path = write_parameters(tmp_path / f"pars{number}.asdf", **parameters)
        cache.add("MIRI", kind, path)
    cache.write()
    with mock.patch.dict(os.environ, cache.environment):
        yield observation


def flagged(model):
    return np.count_nonzero(model.dq & 16)


@pytest.mark.parametrize("opened", [False, True])
def test_a_step_alone(opened, observation, tmp_path):
    member = observation.members[0]
    if opened:
        from stdatamodels.jwst import datamodels

        member = datamodels.open(str(member))
    assert flagged(OutlierDetectionStep.call(member)) == 0
    assert flagged(OutlierDetectionStep.call(member, snr="4.0 3.0")) > 0
    assert flagged(OutlierDetectionStep(rolling_window_width=5).run(member)) > 0
    saved = OutlierDetectionStep.call(member, save_results=True, output_dir=str(tmp_path))
    assert saved.meta.filename.endswith("_quiet.fits")
    with mock.patch.dict(os.environ, {"STPIPE_DISABLE_CRDS_STEPPARS": "true"}):
        assert flagged(OutlierDetectionStep.call(member, rolling_window_width=5)) > 0


def test_white_light(observation, tmp_path):
    from tso3dask import run

    steps = {"outlier_detection": {"skip": True}, **observation.steps}
    spectra, _ = run(observation.asn, tmp_path / "run", steps, crds_parameters=False)
    narrow = WhiteLightStep.call(spectra)["whitelight_flux"]
    assert np.all(narrow < WhiteLightStep().run(spectra)["whitelight_flux"])
    np.testing.assert_array_equal(
        narrow, WhiteLightStep(min_wavelength=8.0).run(spectra)["whitelight_flux"]
    )


def test_the_pipeline(observation, tmp_path):
    from astropy.io import fits

    def outliers(folder):
        (path,) = folder.glob("*seg001*_crfints.fits")
        return np.count_nonzero(fits.getdata(path, "DQ") & 16)

    steps = {"extract_1d": {"skip": True}}
    Tso3Pipeline.call(observation.asn, output_dir=tmp_path / "call", steps=steps)
    Tso3Pipeline(output_dir=tmp_path / "run", steps=steps).run(observation.asn)
    steps["outlier_detection"] = {"rolling_window_width": 5, "snr": "2.0 2.0"}
    Tso3Pipeline(output_dir=tmp_path / "same", steps=steps).run(observation.asn)
    assert outliers(tmp_path / "call") == outliers(tmp_path / "same")
    assert outliers(tmp_path / "call") != outliers(tmp_path / "run")
