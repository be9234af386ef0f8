"""What is told of white light whose errors or weights mean nothing."""

from __future__ import annotations

import copy
import logging

import numpy as np
import pytest
from astropy.io import fits

import tso3dask as tso3

NOISE = ("ERR", "VAR_POISSON", "VAR_RNOISE", "VAR_FLAT")


@pytest.fixture
def changed(spectra, copy_of):
    """Change the pixels of an observation; its path, and parameters with errors and weights."""

    def change(**factors):
        made = copy_of(spectra)
        for member in made.members:
            with fits.open(member, mode="update") as hdus:
                for name, factor in factors.items():
                    hdus[name].data[:] *= np.float32(factor)
        steps = copy.deepcopy(made.steps)
        steps["white_light"] = {"errors": True, "weighted": True}
        return made.asn, steps

    return change


def told(asn, steps, folder, caplog):
    """Notes of a run on the white light, after those of its spectra alone are the same."""
    result = tso3.plan(asn, steps).run(folder, workers=1)
    notes = [note for note in result.notes if note.startswith("whitelight_")]
    caplog.set_level(logging.WARNING)
    caplog.clear()
    (path,) = result.products["x1dints"]
    tso3.WhiteLightStep.call(path, errors=True, weighted=True)
    alone = [r.getMessage() for r in caplog.records if "whitelight_" in r.getMessage()]
    return notes, alone


def test_nothing_is_told_of_good_spectra(changed, tmp_path, caplog):
    assert told(*changed(), tmp_path / "out", caplog) == ([], [])


@pytest.mark.parametrize("name", ["spectra", "images", "detectors"])
def test_nothing_is_told_of_good_data_with_the_recipe(name, tmp_path, request):
    observation = request.getfixturevalue(name)
    result = tso3.plan(observation.asn, observation.steps, recipe="precise").run(tmp_path)
    assert [note for note in result.notes if "whitelight" in note or "flux" in note] == []


CAUSE = "the variances of their pixels are 0 or NaN (replaced ones aside)"
NO_ERROR = f"whitelight_flux_error tells nothing, no column has an error above 0: {CAUSE}"


def test_errors_and_weights_without_variances(changed, tmp_path, caplog):
    notes, alone = told(*changed(**dict.fromkeys(NOISE, 0)), tmp_path / "out", caplog)
    weighted = (
        f"whitelight_flux_weighted is NaN everywhere: no column has an error above 0: {CAUSE}"
    )
    assert notes == alone == [NO_ERROR, weighted]


@pytest.mark.parametrize(
    ("value", "words"),
    [(0, "no column has an error above 0"), (np.nan, "the spectra have no flux")],
)
def test_errors_of_replaced_pixels_alone(changed, tmp_path, caplog, value, words):
    asn, steps = changed(**dict.fromkeys(NOISE, value))
    steps["pixel_replace"] = {"skip": False, "algorithm": "temporal"}
    notes, _ = told(asn, steps, tmp_path / "out", caplog)
    assert notes[:-1] == ([NO_ERROR] if value == 0 else [])
    assert notes[-1].startswith(f"whitelight_flux_weighted is NaN everywhere: {words}")


def test_weights_of_negative_flux(changed, tmp_path, caplog):
    notes, alone = told(*changed(SCI=-1), tmp_path / "out", caplog)
    assert (
        notes
        == alone
        == ["whitelight_flux_weighted is NaN everywhere: the typical white light is below 0"]
    )


def test_few_errors_are_told_by_their_share():
    from tso3dask.ops.curve_notes import error_notes
    from tso3dask.ops.whitelight import white_light_columns

    zeros = np.zeros(3)
    spectrum = {"mid_utc": np.arange(3.0), "mid_tdb": zeros, "flux_sum": zeros}
    spectra = [spectrum | {"flux_error": zeros, "order": n, "detector": "A"} for n in (1, 2)]
    white = white_light_columns(spectra)
    counts = {("A", 1): np.array([40, 1000]), ("A", 2): np.array([600, 1000])}
    (note,) = error_notes(white, {}, counts)
    assert note.startswith("whitelight_flux_error_order_1 is made of 4.0% of the columns and too")
