"""The pipeline class beside jwst's, both called and given their input in the same ways."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("jwst")
pytestmark = pytest.mark.parity

from compare import compare_folders  # noqa: E402
from harness import BUSY, keep_records  # noqa: E402
from jwst_oracle import offline, quick, silent  # noqa: E402

from tso3dask import Tso3Pipeline  # noqa: E402


@pytest.fixture(scope="module")
def observation(tmp_path_factory):
    from tso3dask.simulation import simulate

    folder = tmp_path_factory.mktemp("observation")
    return simulate("mir_lrs-slitless", folder, shape=(60, 40), segments=(7, 6), seed=95, **BUSY)


def association(observation: Any) -> dict[str, Any]:
    """Content of the association, with absolute paths."""
    tree = json.loads(Path(observation.asn).read_text())
    for member in tree["products"][0]["members"]:
        member["expname"] = str(Path(observation.asn).parent / member["expname"])
    return tree


def models(observation: Any) -> list[Any]:
    from stdatamodels.jwst import datamodels

    return [datamodels.open(str(member)) for member in observation.members]


def container(given: Any) -> Any:
    from jwst.datamodels import ModelContainer

    return ModelContainer(given)


INPUTS = {
    "path": lambda o: Path(o.asn),
    "dictionary": association,
    "files": lambda o: [str(m) for m in o.members],
    "models": models,
    "container-of-models": lambda o: container(models(o)),
    "container-of-association": lambda o: container(str(o.asn)),
}
PARAMETERS = {
    "nothing": {},
    "output-file": {"output_file": "mine"},
    "output-file-with-suffix": {"output_file": "elsewhere/my_night_x1dints.fits"},
    "suffix": {"suffix": "new", "save_results": False},
}
SHORT = {"rolling_window_width": 5}


def run(cls: Any, given: Any, style: str, steps: dict[str, Any], **parameters: Any) -> Any:
    if style == "call":
        return cls.call(given, steps=steps, configure_log=False, **parameters)
    if style == "arguments":
        return cls(steps=steps, **parameters).run(given)
    pipeline = cls()
    for name, value in parameters.items():
        setattr(pipeline, name, value)
    for step, values in steps.items():
        for name, value in values.items():
            setattr(getattr(pipeline, step), name, value)
    return pipeline.run(given)


def check(observation, folder, monkeypatch, kind="path", style="call", **parameters):
    steps = {"outlier_detection": SHORT, **observation.steps}
    folder.joinpath("cwd").mkdir()
    monkeypatch.chdir(folder / "cwd")
    with offline() as peer, silent(), quick():
        for side, cls in (("ours", Tso3Pipeline), ("jwst", peer)):
            place = str(folder / side)
            given = INPUTS[kind](observation)
            assert run(cls, given, style, steps, output_dir=place, **parameters) is None
        comparison = compare_folders(folder / "ours", folder / "jwst", f"class-{kind}")
    left = comparison.unexplained({})
    assert not left, "\n".join([f"{len(left)} findings", *left[:40]])
    assert {product for product, _ in comparison.records} == {"crfints", "x1dints", "whtlt"}
    keep_records(comparison)


@pytest.mark.parametrize("kind", INPUTS)
def test_input(kind, observation, tmp_path, monkeypatch):
    check(observation, tmp_path, monkeypatch, kind)


STYLES = [(case, style) for case in PARAMETERS for style in ("call", "attributes")]


@pytest.mark.parametrize("case, style", [*STYLES, ("output-file", "arguments")])
def test_parameters_of_the_pipeline(case, style, observation, tmp_path, monkeypatch):
    check(observation, tmp_path, monkeypatch, style=style, **PARAMETERS[case])
