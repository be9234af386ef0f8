"""Recipes: ready parameters by mode, below those of the user and above the defaults."""

from __future__ import annotations

import json

import pytest

import tso3dask as tso3
from tso3dask.cli import main
from tso3dask.config import parse_steps
from tso3dask.errors import InputError, NotYetError
from tso3dask.recipes import SECTIONS, over_recipe, read_recipe, recipe_names, sections_of

MODES = {
    "imaging": ("NRC_TSIMAGE", None),
    "miri_lrs": ("MIR_LRS-SLITLESS", None),
    "nircam_grism": ("NRC_TSGRISM", None),
    "nirspec_grating": ("NRS_BRIGHTOBJ", "G395H"),
    "nirspec_prism": ("NRS_BRIGHTOBJ", "PRISM"),
    "niriss_soss": ("NIS_SOSS", None),
}

OWN = """
about = "a test"
[every.outlier_detection]
snr = "6 4"
rolling_window_width = 9
[spectroscopy.extract_1d]
subtract_background = true
[miri_lrs.outlier_detection]
rolling_window_width = 11
[imaging.tso_photometry]
radius = 2.5
"""


@pytest.fixture
def own(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text(OWN)
    return str(path)


def test_recipes_that_come_with_the_package():
    assert {"jwst", "precise"} <= set(recipe_names())
    for name in recipe_names():
        recipe = read_recipe(name)
        assert recipe.about
        for mode, (exp_type, grating) in MODES.items():
            steps = recipe.steps(exp_type, grating, imaging=mode == "imaging")
            assert parse_steps(steps).notes == ()  # nothing without effect


def test_every_mode_has_its_section():
    for mode, (exp_type, grating) in MODES.items():
        assert sections_of(exp_type, grating, imaging=mode == "imaging")[-1] == mode
    assert set(MODES) < set(SECTIONS)
    assert sections_of("MIR_MRS") == ("every", "spectroscopy")


def test_jwst_is_the_default(spectra):
    plain, jwst = (tso3.plan(spectra.asn, spectra.steps, recipe=r) for r in (None, "jwst"))
    assert plain.parameters == jwst.parameters
    assert plain.token == jwst.token


def test_special_sections_go_over_general_ones(own):
    steps = read_recipe(own).steps("MIR_LRS-SLITLESS")
    assert steps["outlier_detection"] == {"snr": "6 4", "rolling_window_width": 11}
    assert steps["extract_1d"] == {"subtract_background": True}
    assert "tso_photometry" not in steps


def test_what_a_user_sets_goes_over_the_recipe(own):
    def hook(dataset):
        return dataset

    recipe = read_recipe(own)
    given = {"outlier_detection": {"snr": "4.5", "pre_hooks": [hook]}}
    parameters = parse_steps(given, {"outlier_detection.snr": "command line"})
    merged = over_recipe(parameters, recipe, recipe.steps("MIR_LRS-SLITLESS"))
    assert merged.outlier_detection.snr == "4.5"
    assert merged.outlier_detection.pre_hooks == (hook,)
    assert merged.outlier_detection.rolling_window_width == 11
    assert merged.origins["outlier_detection.snr"] == "command line"
    assert merged.origins["outlier_detection.rolling_window_width"] == f"recipe {own}"
    assert "outlier_detection.pre_hooks" not in merged.origins


def test_hooks_with_a_recipe_are_told_all_values_that_do_not_go_with_them(spectra, images):
    """And how to get on: with the values that the message names, the plan is made."""
    for observation, count in ((spectra, 8), (images, 6)):
        given = {**observation.steps, "outlier_detection": {"post_hooks": [lambda d: d]}}
        with pytest.raises(NotYetError) as caught:
            tso3.plan(observation.asn, given, recipe="precise")
        values, advice = str(caught.value).split(" (from recipe precise): set ")
        values = values.removeprefix("hooks do not go together yet with ").split(", ")
        assert len(values) == count
        assert {"outlier_detection.boundary=exposure", "regressors.skip=False"} < set(values)
        advice, *rest = advice.split(", or ")
        assert rest == ["run without the recipe", "leave out the hooks"]
        for item in advice.split(", "):
            name, _, value = item.partition("=")
            step, _, parameter = name.partition(".")
            given[step] = {**given.get(step, {}), parameter: value}
        plan = tso3.plan(observation.asn, given, recipe="precise")
        assert plan.parameters.outlier_detection.nan_aware
        assert plan.hooked


@pytest.mark.parametrize(
    ("kind", "skipped", "lost"),
    [
        ("spectra", "extract_1d", "white_light, light_curves, regressors"),
        ("images", "tso_photometry", "regressors"),
    ],
)
def test_products_that_fall_away_with_a_step_are_told(kind, skipped, lost, request):
    observation = request.getfixturevalue(kind)
    given = {**observation.steps, skipped: {"skip": True}}
    text = f"{skipped} is skipped, so there is nothing for {lost}: left out"
    plan = tso3.plan(observation.asn, given, recipe="precise")
    assert text in plan.notes
    assert "regressors" not in plan.products
    assert not any("is skipped" in note for note in tso3.plan(observation.asn, given).notes)


def test_recipe_goes_over_parameters_of_crds(own, spectra, crds_of, tmp_path):
    from crds_cache import write_parameters

    pars = {"rolling_window_width": 7, "maskpt": 0.5}
    cache = crds_of(spectra)
    path = write_parameters(tmp_path / "p.asdf", outlier_detection=pars)
    cache.add("MIRI", "pars-outlierdetectionstep", path)
    cache.write()
    made = tso3.plan(spectra.asn, recipe=own)
    assert made.parameters.outlier_detection.rolling_window_width == 11
    assert made.parameters.outlier_detection.maskpt == 0.5


def test_plan_tells_where_values_come_from(own, spectra, capsys, tmp_path):
    (tmp_path / "pars.json").write_text(json.dumps({"steps": spectra.steps}))
    words = [str(spectra.asn), "--params", str(tmp_path / "pars.json"), "--recipe", own]
    assert main(["plan", *words, "--steps.outlier_detection.snr=7"]) == 0
    text = capsys.readouterr().out
    assert f"rolling_window_width=11 (recipe {own})" in text
    assert "snr=7 (command line)" in text
    assert f"subtract_background=True (recipe {own})" in text


def test_record_names_the_recipe(own, spectra, tmp_path):
    plan = tso3.plan(spectra.asn, spectra.steps, recipe=own)
    plan.run(tmp_path / "out")
    record = json.loads(next((tmp_path / "out").glob("*_tso3dask.json")).read_text())
    assert record["recipe"] == own
    assert record["parameter_origins"]["outlier_detection.snr"] == f"recipe {own}"
    assert record["parameters"]["outlier_detection"]["snr"] == "6 4"


def test_the_pipeline_class_takes_a_recipe(own, spectra, tmp_path):
    folder = tmp_path / "out"
    tso3.Tso3Pipeline.call(
        spectra.asn, recipe=own, steps=spectra.steps, output_dir=str(folder), workers=1
    )
    record = json.loads(next(folder.glob("*_tso3dask.json")).read_text())
    assert record["parameters"]["outlier_detection"]["rolling_window_width"] == 11


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "precisely",
            None,
            r"unknown recipe 'precisely'. Did you mean 'precise'\? Known: jwst, pre",
        ),
        ("no.toml", None, "recipe no.toml: cannot be read"),
        (None, "[every", "not valid TOML"),
        (None, None, r"sets no parameter; expected .*\[every.outlier_detection\], found nothing$"),
        (None, "about = 'mine'", r"mine.toml: sets no parameter; expected .*, found 'about'$"),
        (None, "about = 'a'\n[every.photom]\n[imaging]", r"found 'about' and an empty .every"),
        (None, "[all.photom]\nskip = true", "unknown section 'all'"),
        (
            None,
            "[every.white_light]\npost_hooks = ['os.system']",
            r"mine.toml, \[every\]: white_light.post_hooks: hooks are not taken from files; give",
        ),
        (None, "[every.photom]\npre_hooks = 'no.such'", "photom.pre_hooks: hooks are not taken"),
        (None, "[every.photom]\nskop = true", r"\[every\]: step 'photom' has no parameter 'skop'"),
    ],
)
def test_bad_recipes_are_refused_by_name(name, text, message, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(text or "")
    with pytest.raises(InputError, match=message):
        tso3.plan("/no/such_asn.json", recipe=name or str(path))
