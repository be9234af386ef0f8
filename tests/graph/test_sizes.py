"""Sizes that a plan tells: those of the files of its run, or a little more."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest

import tso3dask as tso3
from tso3dask.graph.sizes import product_sizes

CURVES = {"light_curves": {"skip": False}, "regressors": {"skip": False}}
CASES = {
    "precise": ("spectra", {}, "precise"),
    "aperture": ("spectra", {**CURVES, "extract_1d": {"optimize_aperture": True}}, None),
    "short": ("spectra", {}, None),
    "detectors": ("detectors", {**CURVES, "white_light": {"errors": True}}, None),
    "images": ("images", {"tso_photometry": {"radii": "4 5"}}, "precise"),
}


def sizes_of(observation, wanted, recipe, folder):
    steps = copy.deepcopy(observation.steps)
    for step, values in wanted.items():
        steps[step] = {**steps.get(step, {}), **values}
    plan = tso3.plan(observation.asn, steps, recipe=recipe)
    products = plan.run(folder, scheduler="synchronous").products
    told = product_sizes(plan)
    assert set(told) == set(products)
    return {k: (told[k], sum(Path(p).stat().st_size for p in products[k])) for k in told}


@pytest.mark.parametrize("case", CASES)
def test_told_size_is_the_files_or_a_little_more(request, case, tmp_path):
    name, wanted, recipe = CASES[case]
    sizes = sizes_of(request.getfixturevalue(name), wanted, recipe, tmp_path)
    for kind, (told, found) in sizes.items():
        few = 120_000 if kind == "x1dints" else 2_000  # headers differ in length
        most = 1.8 if kind == "regressors" else 1.3  # many of its numbers are short
        assert 0.99 * found <= told <= most * found + few, kind


def test_products_of_nis_soss(made, tmp_path):
    shape, rates = (256, 400), {"lost_rate": 1e-3, "cr_rate": 1e-3}
    soss = made("nis_soss", nints=7, segments=[4, 3], subarray="SUBSTRIP256", shape=shape, **rates)
    steps = {**CURVES, "extract_1d": {"soss_atoca": False}}
    sizes = sizes_of(soss, steps, None, tmp_path)
    for kind in ("whtlt", "speclc", "x1dints"):
        told, found = sizes[kind]
        assert 0.99 * found <= told <= 1.3 * found + 2_000, kind
