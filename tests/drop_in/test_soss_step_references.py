"""White light and calibration of NIRISS SOSS alone: references that CRDS chooses."""

from __future__ import annotations

import os
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

pytest.importorskip("crds")

from crds_cache import CrdsCache

import tso3dask as tso3
from tso3dask import Extract1dStep, PhotomStep, WhiteLightStep
from tso3dask.errors import InputError

SMALL = {"nints": 2, "segments": 1, "subarray": "SUBSTRIP256", "shape": (256, 400)}


@pytest.fixture
def observation(made):
    return made("nis_soss", **SMALL)


@pytest.fixture
def crds(observation, tmp_path):
    cache = CrdsCache(tmp_path / "cache", "jwst_0042.pmap")
    for kind, path in observation.references.items():
        cache.add("NIRISS", kind, Path(path))
    cache.write()
    return mock.patch.dict(os.environ, cache.environment)


def boxes(observation):
    steps = {step: dict(values) for step, values in observation.steps.items()}
    steps["extract_1d"] |= {"soss_atoca": False}
    return steps


def test_white_light_finds_its_ranges(observation, crds, tmp_path):
    steps = boxes(observation)
    result = tso3.run(observation.asn, tmp_path / "run", steps)
    spectra = next(path for path in result if path.name.endswith("_x1dints.fits"))
    expected = WhiteLightStep.call(spectra, **steps["white_light"])
    everything = WhiteLightStep.call(spectra, override_wavelengthrange="N/A")
    with crds:
        found = WhiteLightStep.call(str(spectra))
    name = "whitelight_flux_order_2"
    np.testing.assert_array_equal(found[name], expected[name])
    assert np.all(everything[name] > found[name])
    with pytest.raises(InputError, match=r"missing reference: wavelengthrange \(step white_light"):
        WhiteLightStep.call(spectra)


def test_photom_finds_its_factors(observation, crds):
    steps = boxes(observation)
    rates = Extract1dStep.call(str(observation.members[0]), **steps["extract_1d"])
    expected = PhotomStep.call(rates, **steps["photom"])
    with crds:
        found = PhotomStep.call(rates)
    for one, other in zip(found.spec, expected.spec, strict=True):
        np.testing.assert_array_equal(one.spec_table["FLUX"], other.spec_table["FLUX"])
    with pytest.raises(InputError, match=r"missing reference: photom"):
        PhotomStep.call(rates)
