"""Parameter files of CRDS and what goes over them."""

from __future__ import annotations

import sys

import pytest

pytest.importorskip("crds")

from crds_cache import write_parameters

from tso3dask.errors import InputError
from tso3dask.io.crds_parameters import crds_steps, over_crds_parameters
from tso3dask.io.segment import open_segment


@pytest.fixture
def first(spectra):
    return open_segment(spectra.members[0])


@pytest.fixture
def cache(spectra, crds_of, tmp_path):
    made = crds_of(spectra)

    def add(name, **steps):
        path = write_parameters(tmp_path / f"{name}.asdf", **steps)
        return made.add("MIRI", name, path)

    add("pars-outlierdetectionstep", outlier_detection={"snr": "6.0 5.0", "maskpt": 0.5})
    add("pars-extract1dstep", extract_1d={"bkg_order": 1, "smoothing_length": 5})
    add(
        "pars-tso3pipeline",
        tso3_pipeline={"extract_1d": {"bkg_order": 2}, "white_light": {"min_wavelength": 6.0}},
    )
    return made.write()


def test_the_file_of_the_pipeline_goes_before_those_of_steps(first, cache):
    found = crds_steps(first)
    assert found.steps == {
        "outlier_detection": {"snr": "6.0 5.0", "maskpt": 0.5},
        "extract_1d": {"bkg_order": 2, "smoothing_length": 5},
        "white_light": {"min_wavelength": 6.0},
    }
    assert found.asked and not found.notes
    assert "pars-tso3pipeline" in found.origins["extract_1d.bkg_order"]
    assert "pars-extract1dstep" in found.origins["extract_1d.smoothing_length"]
    assert found.summary.endswith("(jwst_0042.pmap)")
    alone = crds_steps(first, "extract_1d")
    assert alone.steps == {"extract_1d": {"bkg_order": 1, "smoothing_length": 5}}


def test_what_the_user_gives_goes_before_crds(first, cache):
    given = {"extract_1d": {"bkg_order": 0}, "outlier_detection": {"maskpt": 0.7}}
    parameters, found = over_crds_parameters(given, first)
    assert parameters.extract_1d.bkg_order == 0
    assert parameters.extract_1d.smoothing_length == 5
    assert parameters.outlier_detection.maskpt == 0.7, "a default that was given counts"
    assert parameters.outlier_detection.snr == "6.0 5.0"
    assert set(parameters.origins) == {
        "outlier_detection.snr", "extract_1d.smoothing_length", "white_light.min_wavelength",
    }  # fmt: skip
    assert found.asked


@pytest.mark.parametrize("value", ["true", "True", "1", "y"])
def test_switched_off(first, cache, monkeypatch, value):
    monkeypatch.setenv("STPIPE_DISABLE_CRDS_STEPPARS", value)
    monkeypatch.setitem(sys.modules, "crds", None)
    found = crds_steps(first)
    assert not found.steps and not found.asked and not found.notes
    assert "STPIPE_DISABLE_CRDS_STEPPARS" in found.summary


def test_crds_that_is_not_set_up(first, monkeypatch):
    monkeypatch.setitem(sys.modules, "crds", None)
    found = crds_steps(first)
    assert not found.steps and not found.notes
    assert found.summary == "not looked up (CRDS is not set up)"


def test_nothing_for_this_observation(first, spectra, crds_of):
    crds_of(spectra)
    found = crds_steps(first)
    assert found.asked and not found.steps
    assert found.summary == "none in jwst_0042.pmap"


def test_rules_that_are_not_there_are_a_note(first, cache, monkeypatch):
    monkeypatch.setenv("CRDS_CONTEXT", "jwst_0999.pmap")
    found = crds_steps(first)
    assert not found.steps and not found.asked
    (note,) = found.notes
    assert "defaults hold" in note and "jwst_0999.pmap" in note
    monkeypatch.setitem(sys.modules, "crds", None)
    assert "pip install" in crds_steps(first).notes[0]


@pytest.mark.parametrize(
    ("steps", "text"),
    [
        ({"extract_1d": {"bkg_ordr": 1}}, "Did you mean 'bkg_order'"),
        ({"extract_1d": {"bkg_order": "many"}}, "bkg_order"),
    ],
)
def test_a_file_that_holds_something_else(first, cache, tmp_path, steps, text):
    path = write_parameters(tmp_path / "bad.asdf", **steps)
    name = cache.add("MIRI", "pars-extract1dstep", path, after="2001-01-01 00:00:00")
    cache.context = "jwst_0043.pmap"
    cache.write()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CRDS_CONTEXT", cache.context)
        with pytest.raises(InputError, match=text) as error:
            crds_steps(first)
    assert name in str(error.value) and "chosen by CRDS" in str(error.value)


def test_a_damaged_file(first, cache):
    for path in cache.reference("miri", "").glob("*pars-extract1dstep*"):
        path.write_bytes(b"#ASDF nothing")
    with pytest.raises(InputError, match="pars-extract1dstep"):
        crds_steps(first)
