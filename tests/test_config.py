import pickle

import numpy as np
import pytest

from tso3dask.config import (
    STEPS,
    PipelineParameters,
    Support,
    UnsupportedParameterError,
    parameters_of,
    parse_steps,
    steps_with_reference,
)
from tso3dask.errors import InputError


def test_defaults_of_the_steps_that_matter_most():
    p = parse_steps()
    assert p.outlier_detection.rolling_window_width == 25
    assert p.outlier_detection.threshold == 5.0
    assert p.outlier_detection.good_bits == "~DO_NOT_USE"
    assert (p.tso_photometry.radius, p.tso_photometry.search_box_width) == (3.0, 41)
    assert p.pixel_replace.skip and p.adaptive_trace_model.skip
    assert p.extract_1d.subtract_background is None
    assert p.white_light.suffix == "whtlt"
    assert p.explicit == frozenset()


@pytest.mark.parametrize(
    ("step", "name", "raw", "value"),
    [
        ("outlier_detection", "snr", "4", "4"),
        ("outlier_detection", "snr", 4, "4"),
        ("outlier_detection", "snr", "'6.0 4.0'", "6.0 4.0"),
        ("outlier_detection", "snr", [6.0, 4.0], "6.0 4.0"),
        ("outlier_detection", "rolling_window_width", "11", 11),
        ("outlier_detection", "rolling_window_width", np.int64(11), 11),
        ("outlier_detection", "skip", "yes", True),
        ("outlier_detection", "skip", np.bool_(True), True),
        ("outlier_detection", "maskpt", "1e-1", 0.1),
        ("outlier_detection", "maskpt", np.float32(0.5), 0.5),
        ("outlier_detection", "good_bits", 4, "4"),
        ("tso_photometry", "radius", 4, 4),
        ("tso_photometry", "radius", "4", 4.0),
        ("extract_1d", "smoothing_length", "None", None),
        ("extract_1d", "smoothing_length", None, None),
        ("extract_1d", "bkg_fit", "median", "median"),
        ("extract_1d", "use_source_posn", "False", False),
        ("extract_1d", "bkg_order", 2.0, 2),
        ("extract_1d", "override_apcorr", " n/a ", "N/A"),
        ("white_light", "min_wavelength", "5", 5.0),
    ],
)
def test_values_are_read_from_text_and_python(step, name, raw, value):
    p = parse_steps({step: {name: raw}})
    got = getattr(p.step(step), name)
    assert got == value
    assert type(got) is type(value)
    assert p.explicit == {f"{step}.{name}"}


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ({"outlier_detecton": {}}, ["outlier_detecton", "Did you mean 'outlier_detection'"]),
        ({"outlier_detection": {"sn": 5}}, ["'sn'", "Did you mean 'snr'"]),
        ({"white_light": {"override_gain": "g.fits"}}, ["tso_photometry has it"]),
        ({"outlier_detection": {"snr": "a b"}}, ["outlier_detection.snr", "numbers", "'a b'"]),
        ({"outlier_detection": {"snr": "1 2 3"}}, ["1 to 2 numbers"]),
        ({"outlier_detection": {"rolling_window_width": 2.5}}, ["an integer", "2.5"]),
        ({"outlier_detection": {"rolling_window_width": True}}, ["an integer"]),
        ({"outlier_detection": {"maskpt": "nan"}}, ["a number"]),
        ({"outlier_detection": {"skip": "maybe"}}, ["True or False"]),
        ({"extract_1d": {"bkg_order": -1}}, [">= 0"]),
        ({"extract_1d": {"bkg_fit": "polly"}}, ["poly, mean, median"]),
        ({"extract_1d": {"override_apcorr": 3}}, ["a file path or N/A"]),
        ({"tso_photometry": {"radius": None}}, ["a number", "None"]),
        ({"tso_photometry": {"radius": 0}}, ["above 0"]),
        ({"tso_photometry": {"radius_inner": 9}}, ["radius_outer must be above"]),
        ({"outlier_detection": 5}, ["outlier_detection", "5"]),
        ("outlier_detection", ["expected"]),
    ],
)
def test_bad_steps_get_one_clear_line(steps, words):
    with pytest.raises(InputError) as error:
        parse_steps(steps)
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize(
    ("step", "name", "value"),
    [
        ("extract_1d", "output_ext", ".asdf"),
    ],
)
def test_known_but_unsupported_is_refused_by_name_unless_at_its_default(step, name, value):
    with pytest.raises(UnsupportedParameterError, match=rf"{step}\.{name}=.* not supported yet"):
        parse_steps({step: {name: value}})
    parse_steps({step: {name: parameters_of(step)[name].default}})


def test_parameters_without_effect_make_one_note():
    p = parse_steps(
        {
            "outlier_detection": {"kernel": "point", "pixfrac": 1.0},
            "extract_1d": {"log_increment": 5, "soss_width": 30, "override_psf": "N/A"},
            "white_light": {"input_dir": "here"},
        }
    )
    assert len(p.notes) == 1
    assert p.notes[0].endswith(
        "outlier_detection.kernel, extract_1d.log_increment, white_light.input_dir"
    )
    assert p.token() != parse_steps().token()  # soss_width will matter
    assert parse_steps({"outlier_detection": {"kernel": "point"}}).token() == parse_steps().token()


def test_round_trip_hash_pickle_and_token():
    p = parse_steps({"outlier_detection": {"snr": "4"}, "extract_1d": {"override_apcorr": "N/A"}})
    again = parse_steps(p.to_dict())
    assert again == p
    assert hash(again) == hash(p)
    assert pickle.loads(pickle.dumps(p)) == p
    assert p.token() == again.token() != parse_steps().token()
    assert p.to_dict(explicit_only=True) == {
        "outlier_detection": {"snr": "4"},
        "extract_1d": {"override_apcorr": "N/A"},
    }
    assert parse_steps(p) is p
    assert isinstance(p, PipelineParameters)


def test_overrides_by_type(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    p = parse_steps({"tso_photometry": {"override_gain": "ref/../gain.fits"}})
    assert p.override("gain") == str(tmp_path / "gain.fits")
    assert p.override("apcorr") is None
    assert p.overrides() == {"tso_photometry.override_gain": str(tmp_path / "gain.fits")}
    assert steps_with_reference("gain") == ["tso_photometry"]
    assert steps_with_reference("readnoise") == []


def test_every_row_of_the_table_is_whole_and_accepts_its_default():
    for step in STEPS:
        for name, row in parameters_of(step).items():
            assert row.help
            assert row.type_text
            assert isinstance(row.support, Support)
            parse_steps({step: {name: row.default}})


def test_wavelengths_of_the_white_light_are_in_order():
    with pytest.raises(InputError, match=r"min_wavelength is 3\.0, max_wavelength 2\.0"):
        parse_steps({"white_light": {"min_wavelength": 3.0, "max_wavelength": "2"}})


def test_own_parameters_of_outlier_detection_change_nothing_by_default():
    step = parse_steps().outlier_detection
    assert not step.own and not step.needs_model
    assert parse_steps({"outlier_detection": {"on_excess": "warn", "grow": 0}}) == parse_steps()


@pytest.mark.parametrize(
    ("values", "needs_model"),
    [
        ({"nan_aware": True}, False),
        ({"boundary": "exposure"}, False),
        ({"grow": 1}, False),
        ({"scale_brightness": True}, True),
        ({"noise": "model"}, True),
        ({"max_flagged": 0.2, "on_excess": "stop"}, True),
    ],
)
def test_which_own_parameters_need_the_model_of_the_exposure(values, needs_model):
    step = parse_steps({"outlier_detection": values}).outlier_detection
    assert step.own and step.needs_model is needs_model
    skipped = parse_steps({"outlier_detection": {**values, "skip": True}}).outlier_detection
    assert not skipped.needs_model


def test_replacement_in_time_needs_the_model_of_the_exposure():
    assert parse_steps(
        {"pixel_replace": {"algorithm": "temporal", "skip": False}}
    ).pixel_replace.needs_model
    assert not parse_steps({"pixel_replace": {"algorithm": "temporal"}}).pixel_replace.needs_model
    assert not parse_steps({"pixel_replace": {"skip": False}}).pixel_replace.needs_model


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"on_excess": "stop"}, "needs max_flagged"),
        ({"snr": -5, "noise": "model"}, "outlier_detection.snr is -5; expected a threshold above"),
        ({"snr": "0 4", "noise": "model"}, "outlier_detection.snr is 0 4; expected"),
        ({"max_flagged": 1.5}, "expected a share, 0 to 1"),
        ({"max_flagged": -0.1}, "max_flagged"),
        ({"grow": -1}, ">= 0"),
        ({"boundary": "visit"}, "segment, exposure"),
        ({"noise": "mad"}, "err, model"),
    ],
)
def test_own_parameters_that_cannot_be_used_are_refused(values, words):
    with pytest.raises(InputError, match=words):
        parse_steps({"outlier_detection": values})
