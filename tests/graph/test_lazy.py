"""Lazy products of a plan: the numbers of a run, nothing written, nothing done twice."""

from __future__ import annotations

from collections import Counter

import dask
import numpy as np
import pytest
import xarray as xr
from astropy.io import fits

import tso3dask as tso3
from tso3dask.graph import dataset as dataset_module
from tso3dask.graph import extraction as extraction_module
from tso3dask.graph import lazy, lazy_photometry, lazy_spectra
from tso3dask.graph.program import Program
from tso3dask.io.tables import read_table
from tso3dask.schema import EXTRACTED_COLUMNS

SYNCHRONOUS = {"scheduler": "synchronous"}


@pytest.fixture(scope="session")
def finished(spectra, images, detectors, tmp_path_factory):
    """Plan and products of a run, by kind."""
    results = {}
    for name, made in (("spectra", spectra), ("images", images), ("detectors", detectors)):
        plan = tso3.plan(made.asn, made.steps)
        results[name] = plan, plan.run(tmp_path_factory.mktemp(name)).products
    return results


@pytest.fixture(params=["spectra", "images", "detectors"])
def both(request, finished):
    return finished[request.param]


def nodes(tree):
    return {node.path: node.to_dataset() for node in tree.leaves if node.has_data}


def in_time_order(plan):
    return [plan.members[i] for group in plan.observation.exposures.values() for i in group]


def test_pixels_are_those_of_crfints(both):
    plan, products = both
    found = nodes(plan.crfints)
    assert list(found) == [m.node for m in in_time_order(plan)]
    for member in plan.members:
        flagged = found[member.node].compute(**SYNCHRONOUS)
        with fits.open(products["crfints"][member.index]) as hdus:
            for name in member.segment.cubes:
                stored = hdus[name.upper()].data
                np.testing.assert_array_equal(flagged[name].values, stored, err_msg=name)
        assert flagged.sizes["integration"] == member.segment.nints


def test_spectra_are_those_of_x1dints(finished):
    for kind in ("spectra", "detectors"):
        plan, products = finished[kind]
        found = nodes(plan.x1dints)
        with fits.open(products["x1dints"][0]) as hdus:
            tables = [hdu for hdu in hdus if hdu.name == "EXTRACT1D"]
            for member, table in zip(plan.spectra, tables, strict=True):
                dataset = found[member.node].compute(**SYNCHRONOUS)
                for column in EXTRACTED_COLUMNS:
                    np.testing.assert_allclose(
                        dataset[column.lower()], table.data[column], rtol=1e-12, err_msg=column
                    )
                np.testing.assert_array_equal(dataset.wavelength, table.data["WAVELENGTH"][0])
                unit = table.columns["FLUX"].unit
                assert dataset.flux.attrs["units"] == unit
                np.testing.assert_array_equal(dataset.integration, table.data["INT_NUM"])


def test_white_light_is_that_of_the_table(finished):
    for kind in ("spectra", "detectors"):
        plan, products = finished[kind]
        table = read_table(products["whtlt"][0])
        found = plan.whtlt.compute(**SYNCHRONOUS)
        assert list(found.data_vars) == table.colnames
        for name in table.colnames:
            stored = np.asarray(table[name])
            np.testing.assert_allclose(found[name], stored, rtol=1e-12, err_msg=name)


def test_photometry_is_that_of_the_table(finished):
    plan, products = finished["images"]
    table = read_table(products["phot"][0])
    found = plan.phot.compute(**SYNCHRONOUS)
    assert set(table.colnames) == set(found.data_vars)
    for name in table.colnames:
        np.testing.assert_allclose(found[name], np.asarray(table[name]), rtol=1e-12, err_msg=name)
        unit = getattr(table[name], "unit", None)
        if unit is not None:
            assert found[name].attrs["units"] == unit.to_string()


def test_chunks_do_not_matter(spectra, images, finished):
    plan = tso3.plan(spectra.asn, spectra.steps, chunk_integrations=4)
    expected = nodes(finished["spectra"][0].x1dints)
    for path, dataset in nodes(plan.x1dints).items():
        xr.testing.assert_allclose(dataset.compute(), expected[path].compute(), rtol=1e-12)
    plan = tso3.plan(images.asn, images.steps, chunk_integrations=4)
    xr.testing.assert_allclose(
        plan.phot.compute(), finished["images"][0].phot.compute(), rtol=1e-12
    )


def test_nothing_is_written(both):
    plan, _ = both
    folder = plan.members[0].segment.path.parent
    before = sorted(folder.iterdir())
    plan.compute(*plan.products, **SYNCHRONOUS)
    assert sorted(folder.iterdir()) == before


def test_products_computed_together(both):
    plan, _ = both
    together = plan.compute(*plan.products, **SYNCHRONOUS)
    assert len(together) == len(plan.products)
    for name, found in zip(plan.products, together, strict=True):
        alone = getattr(plan, name)
        if isinstance(alone, xr.DataTree):
            assert isinstance(found, xr.DataTree)
            for path, dataset in nodes(alone).items():
                xr.testing.assert_identical(dataset.compute(), found[path].to_dataset())
        else:
            xr.testing.assert_identical(alone.compute(), found)
    everything = plan.compute(**SYNCHRONOUS)
    assert len(everything) == len(plan.products)


def test_spectra_are_extracted_once_for_spectra_and_white_light(spectra, monkeypatch):
    plan = tso3.plan(spectra.asn, spectra.steps, chunk_integrations=10)
    counts = Counter()
    real = lazy_spectra.spectral_block

    def note(job, a, b, *rest):
        counts[job.member, a, b] += 1
        return real(job, a, b, *rest)

    monkeypatch.setattr(lazy_spectra, "spectral_block", note)
    plan.compute("x1dints", "whtlt", **SYNCHRONOUS)
    assert set(counts.values()) == {1}
    assert len(counts) == 4 + 2 + 1 + 1


def test_each_pass_of_photometry_runs_once(images, monkeypatch):
    from tso3dask.graph import build

    counts = Counter()
    for name in ("flag_pass", "centre_pass", "measure_pass"):
        real = getattr(build, name)

        def note(job, a, b, *rest, real=real, name=name):
            counts[name, job.member, a, b] += 1
            return real(job, a, b, *rest)

        monkeypatch.setattr(build, name, note)
    plan = tso3.plan(images.asn, images.steps, chunk_integrations=13)
    plan.phot.compute(**SYNCHRONOUS)
    assert set(counts.values()) == {1}
    assert len(counts) == plan.tasks


def test_plans_are_dask_collections(finished):
    plan, _ = finished["spectra"]
    assert dask.is_dask_collection(plan)
    (found,) = dask.compute(plan, **SYNCHRONOUS)
    direct = dict(zip(plan.products, plan.compute(**SYNCHRONOUS), strict=True))
    assert set(found) == set(plan.products)
    xr.testing.assert_identical(found["whtlt"], direct["whtlt"])


def test_what_a_plan_does_not_make_is_an_attribute_error(finished):
    plan, _ = finished["images"]
    with pytest.raises(AttributeError, match="no white light"):
        plan.whtlt  # noqa: B018
    with pytest.raises(AttributeError, match="no spectra"):
        plan.x1dints  # noqa: B018
    plan, _ = finished["spectra"]
    with pytest.raises(AttributeError, match="no photometry"):
        plan.phot  # noqa: B018


def test_a_part_of_the_pixels(spectra, monkeypatch):
    """A light curve of one pixel column: only its chunks are read, and nothing else."""
    counts = Counter()
    real = Program.block

    def note(self, a, b, *rest, **more):
        counts[a, b] += 1
        return real(self, a, b, *rest, **more)

    monkeypatch.setattr(Program, "block", note)
    plan = tso3.plan(spectra.asn, spectra.steps, chunk_integrations=10)
    first = nodes(plan.crfints)[plan.members[0].node]
    first.sci[25, :, 3].compute(**SYNCHRONOUS)
    assert counts == {(20, 30): 1}


def test_coordinates_of_trees(finished):
    plan, _ = finished["detectors"]
    assert [m.exposure.rpartition("_")[2] for m in plan.members] == ["nrs1", "nrs1", "nrs2", "nrs2"]
    for member in plan.members:
        dataset = nodes(plan.crfints)[member.node]
        first = member.segment.int_start
        last = first + member.segment.nints
        np.testing.assert_array_equal(dataset.integration, range(first, last))
        assert np.isfinite(dataset.bjd_tdb_mid).all()
        assert (np.diff(dataset.mjd_utc_mid) > 0).all()
        assert dataset.attrs["detector"] == member.segment.detector


def test_members_of_the_same_name_are_kept_apart(spectra):
    """Two files that headers do not tell apart, under file names that are not the archive's."""
    plan = tso3.plan(spectra.asn, spectra.steps)
    taken = {}
    for _ in range(3):
        taken[lazy._free(taken, "/exposure/seg001")] = None
    assert list(taken) == ["/exposure/seg001", "/exposure/seg001_2", "/exposure/seg001_3"]
    assert len(nodes(plan.crfints)) == 4


def test_errors_of_lazy_tasks_name_the_file(spectra, copy_of):
    ours = copy_of(spectra)
    plan = tso3.plan(ours.asn, ours.steps)
    tree = plan.crfints, plan.x1dints
    ours.members[0].unlink()
    for lazy_tree in tree:
        first = nodes(lazy_tree)[plan.members[0].node]
        with pytest.raises(tso3.RunError, match=ours.members[0].name):
            first.compute(**SYNCHRONOUS)


def test_modules_hold_what_tasks_call():
    """Functions that travel to other processes are found by module and name."""
    for holder, name in [
        (dataset_module, "compute_block"),
        (extraction_module, "spectral_block"),
        (lazy_photometry, "member_photometry"),
    ]:
        function = getattr(holder, name)
        assert function.__qualname__ == name
        assert function.__module__ == holder.__name__
