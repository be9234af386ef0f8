import json
import shutil

import pytest

from tso3dask.config import parse_steps
from tso3dask.errors import InputError
from tso3dask.params import expand_steps, merge_steps, read_parameter_file

STEPS = {"outlier_detection": {"snr": "6 4"}, "extract_1d": {"override_apcorr": "N/A"}}

EXPORTED = """#ASDF 1.0.0
#ASDF_STANDARD 1.6.0
%YAML 1.1
%TAG ! tag:stsci.edu:asdf/
--- !core/asdf-1.1.0
class: jwst.pipeline.calwebb_tso3.Tso3Pipeline
name: Tso3Pipeline
parameters: {input_dir: '', output_dir: results, output_ext: .fits, pre_hooks: [],
  save_results: true, skip: false}
steps:
- class: jwst.outlier_detection.outlier_detection_step.OutlierDetectionStep
  name: outlier_detection
  parameters: {snr: 6 4, input_dir: '', kernel: square, pre_hooks: []}
- class: jwst.extract_1d.extract_1d_step.Extract1dStep
  name: extract_1d
  parameters: {override_apcorr: N/A, bkg_fit: null}
...
"""

SINGLE = """#ASDF 1.0.0
#ASDF_STANDARD 1.5.0
%YAML 1.1
%TAG ! tag:stsci.edu:asdf/
--- !core/asdf-1.1.0
class: jwst.white_light.WhiteLightStep
name: WhiteLightStep
parameters: {min_wavelength: 5.0}
...
"""


def write(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_json_yaml_and_nested_dictionaries(tmp_path):
    files = [
        write(tmp_path / "flat.json", STEPS),
        write(tmp_path / "nested.json", {"steps": STEPS, "save_results": True}),
        write(
            tmp_path / "flat.yaml",
            "outlier_detection: {snr: 6 4}\nextract_1d:\n  override_apcorr: N/A\n",
        ),
        write(tmp_path / "noname", STEPS),
    ]
    for file in files:
        assert read_parameter_file(file).steps == STEPS


def test_asdf_of_the_pipeline_and_of_one_step(tmp_path):
    found = read_parameter_file(write(tmp_path / "p.asdf", EXPORTED))
    assert found.output_dir == "results"
    parameters = parse_steps(found.steps)
    assert parameters.outlier_detection.threshold == 6
    assert parameters.extract_1d.override_apcorr == "N/A"
    assert parameters.notes == ()
    single = read_parameter_file(write(tmp_path / "w.asdf", SINGLE))
    assert single.steps == {"white_light": {"min_wavelength": 5.0}}


def test_reference_paths_are_looked_up_here_then_beside_the_file(tmp_path, monkeypatch):
    here, beside = tmp_path / "here", tmp_path / "beside"
    here.mkdir()
    beside.mkdir()
    monkeypatch.chdir(here)
    params = write(beside / "p.json", {"tso_photometry": {"override_gain": "gain.fits"}})

    with pytest.raises(InputError, match=r"no file 'gain.fits' \(looked in .*here and .*beside"):
        read_parameter_file(params)
    gain = write(beside / "gain.fits", "b")
    assert read_parameter_file(params).steps["tso_photometry"]["override_gain"] == str(gain)
    mine = write(here / "gain.fits", "a")
    with pytest.raises(InputError, match="the two differ"):
        read_parameter_file(params)
    gain.unlink()
    assert read_parameter_file(params).steps["tso_photometry"]["override_gain"] == str(mine)
    gain.symlink_to(mine)
    assert read_parameter_file(params).steps["tso_photometry"]["override_gain"] == str(mine)
    shutil.rmtree(beside)


def test_config_file_of_a_step_is_below_the_other_values(tmp_path):
    write(tmp_path / "o.json", {"outlier_detection": {"snr": "9", "maskpt": 0.5}})
    steps = {"outlier_detection": {"config_file": "o.json", "snr": "7"}}
    expanded = expand_steps(steps, tmp_path)
    assert expanded == {"outlier_detection": {"snr": "7", "maskpt": 0.5}}
    write(tmp_path / "o.json", steps)
    with pytest.raises(InputError, match="may not name another"):
        expand_steps(steps, tmp_path)


def test_merge_prefers_what_comes_later():
    merged = merge_steps(STEPS, None, {"outlier_detection": {"snr": "3"}, "photom": None})
    assert merged["outlier_detection"] == {"snr": "3"}
    assert merged["extract_1d"] == {"override_apcorr": "N/A"}
    assert STEPS["outlier_detection"] == {"snr": "6 4"}


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.json", "{'a': 1,}", "not valid JSON.*line 1"),
        ("a.json", '{"photom": {}, "photom": {}}', "'photom' is given twice"),
        ("a.yaml", "a: [1", "not valid YAML"),
        ("a.yaml", "a: !!python/object/apply:os.system ['true']", "not valid YAML"),
        ("a.asdf", "not asdf", "not readable as ASDF"),
        ("a.cfg", "[steps]", "old ConfigObj"),
        ("a.json", "[1]", "expected a dictionary"),
        ("a.json", '{"photom": 3}', "step 'photom'"),
        ("a.json", '{"steps": {}, "snr": 3}', "belongs to step 'outlier_detection'"),
        ("a.json", '{"steps": {}, "pre_hooks": ["a.b"]}', "not supported yet"),
        ("a.json", '{"class": "jwst.pipeline.Image3Pipeline"}', "expected Tso3Pipeline"),
    ],
)
def test_bad_files_get_one_line_with_their_name(tmp_path, name, content, words):
    file = write(tmp_path / name, content)
    with pytest.raises(InputError, match=words) as error:
        read_parameter_file(file)
    assert str(file) in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match="no such parameter file"):
        read_parameter_file(tmp_path / "absent.json")


@pytest.mark.parametrize("name", ["pre_hooks", "post_hooks"])
def test_code_is_not_taken_from_files(tmp_path, name):
    steps = {"outlier_detection": {name: ["os.getcwd"]}}
    path = write(tmp_path / "p.json", steps)
    with pytest.raises(InputError, match=rf"outlier_detection\.{name}: hooks are not taken"):
        read_parameter_file(path)
    write(tmp_path / "own.json", {"class": "OutlierDetectionStep", "parameters": {name: ["a.b"]}})
    outer = write(
        tmp_path / "outer.json", {"outlier_detection": {"config_file": str(tmp_path / "own.json")}}
    )
    with pytest.raises(InputError, match="hooks are not taken"):
        read_parameter_file(outer)
    assert read_parameter_file(write(tmp_path / "none.json", {"photom": {name: []}})).steps
