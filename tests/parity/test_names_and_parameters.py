"""Names, parameters and associations beside the jwst package."""

import pytest

pytestmark = pytest.mark.parity
pytest.importorskip("jwst")


def test_endings_are_those_of_jwst():
    from jwst.lib.suffix import KNOW_SUFFIXES

    from tso3dask.io.naming import ENDINGS

    assert sorted(KNOW_SUFFIXES) == ENDINGS


@pytest.mark.parametrize(
    "name", ["a.b.c", "a.b", "x/y/a.b.c_cal", "my-snr", "q_photom", "_cal", "Stage3", ".hidden"]
)
def test_product_names(name):
    from jwst.pipeline import Tso3Pipeline

    from tso3dask.io.naming import product_file

    pipeline = Tso3Pipeline()
    pipeline.output_file = name
    made = pipeline.make_output_path(basepath=name, suffix="crfints", asn_id="a3001")
    assert made == product_file(name, "crfints", "fits", "a3001")
    assert pipeline.make_output_path(suffix="phot", ext="ecsv") == product_file(
        name, "phot", "ecsv"
    )


def test_exported_parameters_are_our_defaults(tmp_path):
    from jwst.pipeline import Tso3Pipeline

    from tso3dask.config import STEPS, parameters_of, parse_steps
    from tso3dask.params import read_parameter_file

    path = tmp_path / "pars.asdf"
    Tso3Pipeline().export_config(path)
    steps = read_parameter_file(path).steps
    assert list(steps) == [step for step, cls in STEPS.items() if not cls.added]
    parsed = parse_steps(steps)
    assert parsed == parse_steps()
    assert parsed.notes == ()
    for step, values in steps.items():
        rows = {n: row for n, row in parameters_of(step).items() if not n.startswith("override_")}
        assert {n for n, row in rows.items() if not row.added} == set(values)


def test_overrides_are_those_of_the_steps():
    from jwst.pipeline import Tso3Pipeline

    from tso3dask.config import STEPS, parameters_of

    for step in (step for step, cls in STEPS.items() if not cls.added):
        theirs = {f"override_{t}" for t in Tso3Pipeline.step_defs[step].reference_file_types}
        assert theirs == {n for n in parameters_of(step) if n.startswith("override_")}


KINDS = {
    "boolean": {"boolean"},
    "integer": {"integer"},
    "float": {"float"},
    "float_list": {"numbers"},
    "list": {"hooks"},
    "option": {"option"},
    "string": {"string", "numbers", "file"},
    "output_file": {"file"},
    "input_file": {"file"},
    "is_string_or_datamodel": {"reference"},
}


def test_types_and_defaults_are_those_of_the_specifications():
    from configobj.validate import Validator
    from jwst.pipeline import Tso3Pipeline

    from tso3dask.config import STEPS, Support, parameters_of

    assert [s for s, cls in STEPS.items() if not cls.added] == list(Tso3Pipeline.step_defs)
    for step, cls in Tso3Pipeline.step_defs.items():
        ours = {name: row for name, row in parameters_of(step).items() if not row.added}
        theirs = cls.load_spec_file()
        assert set(ours) == set(theirs), step
        assert STEPS[step].class_name == cls.__name__
        for name, check in theirs.items():
            kind, choices, bounds, default = Validator()._parse_with_caching(check)
            row = ours[name]
            assert row.kind in KINDS[kind], row.full_name
            if kind == "option":
                named = [c for c in choices if c != "None"]
                assert list(row.choices) == named, row.full_name
                assert (len(named) < len(choices)) == (row.optional or row.default is None)
            if row.support is not Support.NO_EFFECT:
                assert row.minimum == (float(bounds["min"]) if "min" in bounds else None)
            if isinstance(row.default, (float, int)) and not isinstance(row.default, bool):
                assert row.default == float(default), row.full_name
            elif row.kind != "hooks":
                assert str(row.default) == str(default), row.full_name


def test_jwst_loads_our_association(tmp_path):
    from jwst.associations import load_asn

    from tso3dask.io.asn import write_association

    files = [tmp_path / f"jw01366002001_04103_00001-seg00{k}_nrca3_calints.fits" for k in (1, 2)]
    for file in files:
        file.touch()
    path = tmp_path / "my_asn.json"
    asn = write_association(files, path)
    with path.open() as stream:
        loaded = load_asn(stream)
    assert loaded["asn_id"] == asn.asn_id
    assert [m["expname"] for m in loaded["products"][0]["members"]] == [f.name for f in files]
