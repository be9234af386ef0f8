"""Runs on a cluster of processes beside runs on threads: everything that a plan can hold."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_hooks import content, copied

import tso3dask as tso3

pytestmark = pytest.mark.slow

OPTIMAL = {
    "outlier_detection": {"save_results": True, "save_intermediate_results": True},
    "pixel_replace": {"skip": False, "save_results": True},
    "extract_1d": {
        "extraction_type": "optimal",
        "save_results": True,
        "save_profile": True,
        "save_residual_image": True,
    },
    "white_light": {"save_results": True},
}
BOX = {
    "pixel_replace": {"skip": False, "algorithm": "fit_profile"},
    "extract_1d": {"save_scene_model": True},
}
IMAGES = {
    "outlier_detection": {"save_results": True, "save_intermediate_results": True},
    "tso_photometry": {"save_catalog": True},
}
MODEL = {
    "extract_1d": {
        "soss_rtol": 1e-2,
        "soss_tikfac": 6e-10,
        "soss_modelname": "model",
        "save_results": True,
    }
}


HOOKS = {
    "outlier_detection": {"post_hooks": [copied], "save_results": True},
    "pixel_replace": {"skip": False},
}

CASES = {
    "optimal": ("spectra", OPTIMAL),
    "box": ("spectra", BOX),
    "two-detectors": ("detectors", BOX),
    "images": ("images", IMAGES),
    "soss": ("soss", MODEL),
    "hooks": ("spectra", HOOKS),
    "hooks-images": ("images", {"outlier_detection": {"pre_hooks": [copied]}}),
}


@pytest.fixture(scope="module")
def soss(made):
    shape = (256, 320)
    return made("nis_soss", nints=5, segments=[3, 2], subarray="SUBSTRIP256", shape=shape)


@pytest.fixture
def address(cluster):
    return cluster.scheduler_address


@pytest.fixture
def planned(request):
    """Make the plan of a case."""

    def make(name):
        kind, more = CASES[name]
        observation = request.getfixturevalue(kind)
        steps = {step: dict(values) for step, values in observation.steps.items()}
        for step, values in more.items():
            steps.setdefault(step, {}).update(values)
        return tso3.plan(observation.asn, steps, chunk_integrations=2 if kind == "soss" else 9)

    return make


def whole(folder):
    """Pixels, columns and tables of all files of a run that left nothing unfinished."""
    assert not [path.name for path in folder.iterdir() if path.name.startswith(".")]
    return content(folder)


@pytest.mark.parametrize("case", CASES)
def test_equal_to_threads(case, planned, address, tmp_path):
    plan = planned(case)
    plan.run(tmp_path / "threads")
    expected = whole(tmp_path / "threads")
    assert plan.run(tmp_path / "cluster", scheduler=address).integrations == plan.nints
    found = whole(tmp_path / "cluster")
    assert found.keys() == expected.keys()
    assert not [key for key in found if found[key] != expected[key]]
    made = {path.name for kind in plan.products.values() for path in map(Path, kind)}
    assert made <= {key if isinstance(key, str) else key[0] for key in found}


@pytest.mark.parametrize("case", ["optimal", "images", "soss", "hooks"])
def test_resumed_on_a_cluster(case, planned, address, tmp_path):
    """Interrupted on threads, finished on a cluster."""
    plan = planned(case)
    plan.run(tmp_path / "whole")
    calls = []

    def interrupt(done, total, phase):
        calls.append(done)
        if len(calls) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        plan.run(tmp_path / "parts", progress=interrupt)
    assert list((tmp_path / "parts").glob(".*.part"))
    plan.run(tmp_path / "parts", resume=True, scheduler=address)
    assert whole(tmp_path / "parts") == whole(tmp_path / "whole")


@pytest.mark.parametrize("case", ["optimal", "images", "soss", "hooks"])
def test_lazy_products_on_a_cluster(case, planned, address):
    from distributed import Client

    plan = planned(case)
    here = plan.compute()
    with Client(address):
        there = plan.compute()
    for one, two in zip(here, there, strict=True):
        assert one.identical(two)
