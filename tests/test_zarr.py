"""Lazy products go to zarr and back."""

from __future__ import annotations

import pytest
import xarray as xr

import tso3dask as tso3

pytest.importorskip("zarr")


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    folder = tmp_path_factory.mktemp("zarr")
    made = tso3.simulate("nrs_prism", folder, nints=12, segments=2, shape=(16, 48))
    return tso3.plan(made.asn, steps=made.steps, chunk_integrations=4)


@pytest.mark.parametrize("product", ["crfints", "x1dints"])
def test_datasets_of_members(plan, product, tmp_path):
    tree = getattr(plan, product)
    node = tree.leaves[1].to_dataset()
    node.to_zarr(tmp_path / "one.zarr", consolidated=False)
    back = xr.open_zarr(tmp_path / "one.zarr", consolidated=False)
    xr.testing.assert_identical(back.compute(), node.compute())
    assert {n: back[n].dtype for n in back} == {n: node[n].dtype for n in node}
    assert {back[n].chunks[0] for n in back if "integration" in back[n].dims} == {(4, 2)}


def test_a_whole_tree(plan, tmp_path):
    plan.x1dints.to_zarr(tmp_path / "tree.zarr", consolidated=False)
    back = xr.open_datatree(tmp_path / "tree.zarr", engine="zarr", consolidated=False)
    xr.testing.assert_identical(back.compute(), plan.x1dints.compute())


def test_white_light(plan, tmp_path):
    plan.whtlt.to_zarr(tmp_path / "whtlt.zarr", consolidated=False)
    back = xr.open_zarr(tmp_path / "whtlt.zarr", consolidated=False)
    xr.testing.assert_identical(back.compute(), plan.whtlt.compute())
