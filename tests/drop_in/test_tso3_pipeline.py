"""The pipeline class: ways to call it, what it takes and where products go."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from astropy.io import fits

import tso3dask
from tso3dask import InputError, Tso3Pipeline

SHORT = {"outlier_detection": {"rolling_window_width": 5}}
PRODUCTS = ["_whtlt.ecsv", "_x1dints.fits", "seg001", "seg002"]


@pytest.fixture(scope="module")
def observation(made):
    return made("mir_lrs-slitless", segments=[7, 5], shape=(24, 20), cr_rate=2e-3)


@pytest.fixture(scope="module")
def steps(observation):
    return {**SHORT, **observation.steps}


@pytest.fixture(scope="module")
def expected(observation, steps, tmp_path_factory):
    """Products of the function, to compare with."""
    folder = tmp_path_factory.mktemp("function")
    tso3dask.run(observation.asn, folder, steps)
    return folder


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working directory of one's own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if p.suffix in (".fits", ".ecsv"))


def assert_same_numbers(ours: Path, theirs: Path) -> None:
    if ours.suffix == ".ecsv":
        assert ours.read_text() == theirs.read_text()
        return
    with fits.open(ours) as left, fits.open(theirs) as right:
        for one, other in zip(left[1:-1], right[1:-1], strict=True):
            if one.name == "HDRTAB":  # it holds dates
                continue
            np.testing.assert_array_equal(one.data, other.data, one.name)


def test_call_returns_nothing_and_writes_all(observation, steps, expected, here):
    assert (
        Tso3Pipeline.call(
            str(observation.asn),
            output_dir="out",
            steps=steps,
            save_results=True,
            configure_log=False,
            logcfg=None,
        )
        is None
    )
    assert names(here / "out") == names(expected)
    for name in names(expected):
        assert_same_numbers(here / "out" / name, expected / name)


def test_attributes_do_what_the_dictionary_does(observation, expected, here):
    pipeline = Tso3Pipeline()
    pipeline.output_dir = here / "out"
    pipeline.save_results = True
    pipeline.outlier_detection.rolling_window_width = 5
    for name, value in observation.steps["extract_1d"].items():
        setattr(pipeline.extract_1d, name, value)
    assert pipeline.run(Path(observation.asn)) is None
    assert names(here / "out") == names(expected)
    (white,) = (here / "out").glob("*_whtlt.ecsv")
    assert_same_numbers(white, expected / white.name)
    pipeline.outlier_detection.skip = True
    pipeline.white_light.skip = True
    pipeline.output_dir = "again"
    pipeline.run(observation.asn)
    assert [n.rpartition("_")[2] for n in names(here / "again")] == ["x1dints.fits"]


def test_earlier_products_are_replaced(observation, steps, here):
    for _ in range(2):
        Tso3Pipeline.call(observation.asn, steps=steps)
    assert len(names(here)) == 4


@pytest.mark.parametrize("name", ["mine", "elsewhere/mine_x1dints.fits", "mine.ecsv"])
def test_output_file_names_the_products(name, observation, steps, here):
    Tso3Pipeline.call(observation.asn, steps=steps, output_file=name, output_dir="out")
    assert names(here / "out")[-2:] == ["mine_whtlt.ecsv", "mine_x1dints.fits"]
    assert fits.getval(here / "out" / "mine_x1dints.fits", "FILENAME") == "mine_x1dints.fits"
    assert "_o" in names(here / "out")[0]


def test_home_and_variables_in_the_output_folder(observation, steps, here, monkeypatch):
    monkeypatch.setenv("TSO_PRODUCTS", str(here / "out"))
    Tso3Pipeline.call(observation.asn, steps=steps, output_dir="$TSO_PRODUCTS/night1")
    assert len(names(here / "out" / "night1")) == 4


def test_parameters_of_a_file_and_of_the_call(observation, steps, here):
    tree = {"output_dir": "out", "output_file": "mine", "steps": {**steps, "white_light": {}}}
    tree["steps"]["white_light"] = {"skip": True}
    (here / "pars.json").write_text(json.dumps(tree))
    Tso3Pipeline.call(observation.asn, config_file="pars.json")
    assert names(here / "out")[-1] == "mine_x1dints.fits"
    Tso3Pipeline.call(
        observation.asn,
        config_file=here / "pars.json",
        output_dir="again",
        steps={"white_light": {"skip": False}},
    )
    assert names(here / "again")[-2:] == ["mine_whtlt.ecsv", "mine_x1dints.fits"]


def test_run_options_of_our_own(observation, steps, expected, here):
    pipeline = Tso3Pipeline(steps=steps, workers=1, chunk_integrations=2)
    pipeline.scheduler = "synchronous"
    pipeline.memory_limit = "2GB"
    pipeline.run(observation.asn)
    (white,) = here.glob("*_whtlt.ecsv")
    assert_same_numbers(white, expected / white.name)


def content(observation):
    tree = json.loads(Path(observation.asn).read_text())
    for member in tree["products"][0]["members"]:
        member["expname"] = str(Path(observation.asn).parent / member["expname"])
    return tree


INPUTS = {
    "path": lambda o: Path(o.asn),
    "dictionary": content,
    "files": lambda o: [str(m) for m in o.members],
    "paths": lambda o: tuple(Path(m) for m in o.members),
    "array": lambda o: np.array([str(m) for m in o.members]),
    "file": lambda o: str(o.members[0]),
}


@pytest.mark.parametrize("kind", INPUTS)
def test_files_and_associations(kind, observation, steps, expected, here):
    Tso3Pipeline.call(INPUTS[kind](observation), steps=steps)
    found = names(here)
    assert len(found) == (3 if kind == "file" else 4)
    if kind in ("path", "dictionary"):
        assert found == names(expected)
    else:
        stem = Path(observation.members[0]).stem.removesuffix("_calints")
        assert f"{stem}_crfints.fits" in found
        assert f"{stem}_x1dints.fits" in found
    if kind != "file":
        (white,) = here.glob("*_whtlt.ecsv")
        assert_same_numbers(white, next(expected.glob("*_whtlt.ecsv")))


@pytest.fixture
def models(observation):
    from stdatamodels.jwst import datamodels

    opened = [datamodels.open(member) for member in observation.members]
    yield opened
    for model in opened:
        model.close()


def test_open_models(models, observation, steps, expected, here):
    models[0].data[2, 3, 4] += 1e9
    before = [(m.meta.filename, m.meta.date, m.data.copy()) for m in models]
    Tso3Pipeline.call(models, steps=steps)
    for model, (filename, date, data) in zip(models, before, strict=True):
        assert (model.meta.filename, model.meta.date) == (filename, date)
        np.testing.assert_array_equal(model.data, data)
    stem = Path(observation.members[0]).stem.removesuffix("_calints")
    (product,) = here.glob("*seg001*_crfints.fits")
    assert product.name == f"{stem}_crfints.fits"
    assert fits.getdata(product, "DQ")[2, 3, 4] & 16, "what was changed in memory is what is read"
    (other,) = here.glob("*seg002*_crfints.fits")
    assert_same_numbers(other, next(expected.glob("*seg002*_crfints.fits")))
    assert fits.getval(product, "S_OUTLIR") == "COMPLETE"


def test_a_single_open_model(models, steps, here):
    Tso3Pipeline.call(models[1], steps=steps)
    assert [n.rpartition("_")[2] for n in names(here)] == [
        "crfints.fits",
        "whtlt.ecsv",
        "x1dints.fits",
    ]


class Container(list):
    """Open models that know their association, as the container of the field's package."""

    def __init__(self, models, tree, table_name):
        super().__init__(models)
        self.asn_table, self.asn_table_name, self.meta = tree, table_name, SimpleNamespace()

    def save(self):
        raise AssertionError("members are saved, not the container")


def test_a_container_of_open_models(models, observation, steps, expected, here):
    asn = Path(observation.asn)
    Tso3Pipeline.call(Container(models, json.loads(asn.read_text()), asn.name), steps=steps)
    assert names(here) == names(expected)
    for name in names(expected):
        assert_same_numbers(here / name, expected / name)
        if name.endswith(".fits"):
            ours, theirs = fits.getheader(here / name), fits.getheader(expected / name)
            for keyword in ("ASNTABLE", "ASNPOOL", "FILENAME"):
                assert ours[keyword] == theirs[keyword]


def test_models_of_one_name_are_refused(models, steps, here):
    models[1].meta.filename = models[0].meta.filename
    with pytest.raises(InputError, match=r"two of the open models.*set meta\.filename"):
        Tso3Pipeline.call(models, steps=steps)
    assert names(here) == []


@pytest.mark.parametrize("given", [3, None, [], [3]])
def test_anything_else_is_refused(given, here):
    with pytest.raises(InputError):
        Tso3Pipeline.call(given)
    assert list(here.iterdir()) == []


def test_notes_are_logged(observation, steps, here, caplog):
    more = {**steps, "outlier_detection": {"pixfrac": 0.5}, "white_light": {"min_wavelength": 90}}
    Tso3Pipeline.call(observation.asn, steps=more)
    assert "outlier_detection.pixfrac" in caplog.text
    assert "white light is NaN everywhere" in caplog.text


def test_import_from_where_the_field_has_it():
    from tso3dask.pipeline import Tso3Pipeline as same

    assert same is Tso3Pipeline
    with pytest.raises(ImportError):
        from tso3dask.pipeline import Tso4Pipeline  # noqa: F401
