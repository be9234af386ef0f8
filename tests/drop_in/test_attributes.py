"""Parameters as attributes, and parameter files."""

from __future__ import annotations

import copy
import pickle

import pytest

from tso3dask import Extract1dStep, InputError, OutlierDetectionStep, Tso3Pipeline
from tso3dask.config import STEPS


def test_every_parameter_is_an_attribute():
    pipeline = Tso3Pipeline()
    assert list(pipeline.step_defs) == list(STEPS)
    for name in STEPS:
        step = getattr(pipeline, name)
        assert isinstance(step, pipeline.step_defs[name])
        assert step.name == name
        assert step.parent is pipeline
        for parameter in step.parameter_table.values():
            assert getattr(step, parameter.name) == parameter.default


def test_values_are_checked_and_converted_when_set():
    pipeline = Tso3Pipeline()
    pipeline.outlier_detection.rolling_window_width = "11"
    pipeline.outlier_detection.snr = (4, 3)
    pipeline.extract_1d.subtract_background = "yes"
    assert pipeline.outlier_detection.rolling_window_width == 11
    assert pipeline.outlier_detection.snr == "4 3"
    assert pipeline.extract_1d.subtract_background is True
    with pytest.raises(InputError, match=r"extract_1d\.bkg_order: expected an integer >= 0"):
        pipeline.extract_1d.bkg_order = -1
    with pytest.raises(InputError, match="output_dir: expected a file path"):
        pipeline.output_dir = 3


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("substract_background", "subtract_background"), ("apply_apcor", "apply_apcorr")],
)
def test_unknown_attributes_name_the_nearest(name, nearest):
    step = Extract1dStep()
    with pytest.raises(AttributeError, match=f"'{name}'.*Did you mean '{nearest}'"):
        getattr(step, name)
    with pytest.raises(InputError, match=f"'{name}'.*Did you mean '{nearest}'"):
        setattr(step, name, True)
    with pytest.raises(InputError, match=f"'{name}'.*Did you mean '{nearest}'"):
        Extract1dStep(**{name: True})


def test_unknown_steps_and_parameters_of_the_pipeline():
    with pytest.raises(InputError, match=r"'whitelight'\. Did you mean 'white_light'"):
        Tso3Pipeline(steps={"whitelight": {"skip": True}})
    with pytest.raises(InputError, match=r"'extract1d'.*Did you mean 'extract_1d'"):
        Tso3Pipeline().extract1d.skip = True
    with pytest.raises(InputError, match=r"'outputdir'.*Did you mean 'output_dir'"):
        Tso3Pipeline.call("x.json", outputdir="out")
    with pytest.raises(InputError, match="extract_1d is a step"):
        Tso3Pipeline().extract_1d = {"skip": True}


def test_instances_are_independent_and_can_be_copied():
    one, other = Tso3Pipeline(), Tso3Pipeline(steps={"outlier_detection": {"snr": 3}})
    one.extract_1d.skip = True
    assert not other.extract_1d.skip
    assert one.outlier_detection.snr == "5.0 4.0"
    for again in (copy.deepcopy(one), pickle.loads(pickle.dumps(one))):
        assert again.extract_1d.skip
        again.extract_1d.skip = False
        assert one.extract_1d.skip
    assert repr(other) == "Tso3Pipeline(steps={'outlier_detection': {'snr': '3'}})"
    assert not hasattr(one, "_repr_html_")


def test_names_can_be_completed():
    assert {"extract_1d", "output_file", "run", "workers"} <= set(dir(Tso3Pipeline()))
    assert {"bkg_fit", "save_results", "run"} <= set(dir(Extract1dStep()))


def test_get_pars_and_update_pars():
    pipeline = Tso3Pipeline(output_dir="out", steps={"extract_1d": {"bkg_fit": "median"}})
    pars = pipeline.get_pars()
    assert pars["output_dir"] == "out"
    assert pars["steps"]["extract_1d"]["bkg_fit"] == "median"
    assert pars["steps"]["pixel_replace"]["skip"] is True
    assert "override_extract1d" not in pars["steps"]["extract_1d"]
    own = pipeline.get_pars(full_spec=False)
    assert list(own) == ["steps"]
    assert own["steps"]["pixel_replace"].keys() >= {"algorithm", "skip"}
    assert "suffix" not in own["steps"]["pixel_replace"]
    other = Tso3Pipeline()
    other.update_pars(pars)
    assert other.get_pars() == pars


def test_parameter_files_there_and_back(tmp_path):
    (tmp_path / "regions.json").write_text("{}")
    pipeline = Tso3Pipeline(
        output_file="mine",
        steps={
            "outlier_detection": {"snr": "4.0 3.0", "skip": True},
            "extract_1d": {"override_extract1d": str(tmp_path / "regions.json")},
        },
    )
    pipeline.export_config(tmp_path / "pars.asdf", include_metadata=True)
    again = Tso3Pipeline.from_config_file(tmp_path / "pars.asdf", output_dir="out")
    assert again.get_pars() == {**pipeline.get_pars(), "output_dir": "out"}
    assert again.extract_1d.override_extract1d == str(tmp_path / "regions.json")
    step = OutlierDetectionStep.from_config_file(tmp_path / "pars.asdf")
    assert (step.snr, step.skip) == ("4.0 3.0", True)
    step.export_config(tmp_path / "step.asdf")
    again = OutlierDetectionStep.from_config_file(tmp_path / "step.asdf")
    assert again.get_pars() == step.get_pars()
    with pytest.raises(InputError, match="no parameters of step 'extract_1d'"):
        Extract1dStep.from_config_file(tmp_path / "step.asdf")
