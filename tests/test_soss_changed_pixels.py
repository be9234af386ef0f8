"""NIRISS SOSS with pixels that are not as in the file: replaced ones, hooks, changed datasets."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

import tso3dask as tso3
from tso3dask.errors import InputError
from tso3dask.graph import extract_1d, outlier_detection, pixel_replace

MODELLED = {"soss_tikfac": 1e-9, "soss_rtol": 1e-2, "soss_max_grid_size": 1000}
BOXES = {"soss_atoca": False}


@pytest.fixture(scope="module")
def soss(made):
    bad = {"lost_rate": 3e-3, "cr_rate": 1e-3, "hot_fraction": 5e-3, "dead_fraction": 5e-3}
    return made(
        "nis_soss", nints=9, segments=[6, 3], subarray="SUBSTRIP256", shape=(256, 400), **bad
    )


def steps_of(observation, extract=BOXES, **more):
    steps = {name: dict(values) for name, values in observation.steps.items()}
    steps["extract_1d"] |= extract
    for name, values in more.items():
        step, _, when = name.partition("__")
        steps.setdefault(step, {}).update({when: values} if when else values)
    return steps


def content(folder):
    """Pixels and columns of all products."""
    found = {}
    for path in sorted(folder.iterdir()):
        if path.suffix == ".fits":
            with fits.open(path, memmap=False) as hdus:
                found |= {
                    (path.name, h.name, h.ver): np.array(h.data).tobytes()
                    for h in hdus[1:]
                    if h.name not in ("ASDF", "HDRTAB")
                }
        elif path.suffix == ".ecsv":
            found[path.name] = path.read_text()
    return found


def spectra(folder, order=1, column="FLUX"):
    with fits.open(next(folder.glob("*_x1dints.fits"))) as hdus:
        tables = [h.data for h in hdus if h.name == "EXTRACT1D" and h.header["SPORDER"] == order]
        return np.concatenate([table[column] for table in tables])


def unchanged(dataset):
    return dataset


def copied(dataset):
    """The same values in arrays that are not any more the pixels of a file."""
    same = {n: dataset[n] + np.zeros((), dataset[n].dtype) for n in dataset.data_vars}
    return dataset.assign({n: v.assign_attrs(dataset[n].attrs) for n, v in same.items()})


def brighter(dataset):
    doubled = {n: dataset[n] * np.float32(2) for n in ("sci", "err")}
    return dataset.assign({n: v.assign_attrs(dataset[n].attrs) for n, v in doubled.items()})


def of_all_orders(tree):
    """Twice the flux of each order."""
    return tree.map_over_datasets(
        lambda d: d.assign(flux=(d["flux"] * 2).assign_attrs(d["flux"].attrs)) if d else d
    )


REPLACED = {"pixel_replace": {"skip": False}}


def test_replaced_pixels(soss, tmp_path):
    """Runs, lazy spectra and functions of datasets agree, for any chunks."""
    plain = tso3.run(soss.asn, tmp_path / "plain", steps_of(soss))
    first = None
    for name, chunk, scheduler in (("whole", None, "threads"), ("twos", 2, "synchronous")):
        steps = steps_of(soss, **REPLACED, pixel_replace__save_results=True)
        plan = tso3.plan(soss.asn, steps, chunk_integrations=chunk)
        plan.run(tmp_path / name, scheduler=scheduler)
        assert not list((tmp_path / name).glob(".*"))
        first = first or content(tmp_path / name)
        assert content(tmp_path / name) == first
    for path in plain:
        if "crfints" in path.name:
            before, after = (fits.getdata(f / path.name) for f in (path.parent, tmp_path / "twos"))
            np.testing.assert_array_equal(before, after)
    assert (spectra(tmp_path / "plain") != spectra(tmp_path / "twos")).any()
    more = [np.nansum(spectra(tmp_path / name, column="NPIXELS")) for name in ("twos", "plain")]
    assert more[0] > more[1]
    leaf = next(leaf for leaf in plan.x1dints.leaves if leaf.has_data)
    np.testing.assert_array_equal(leaf["flux"].compute(), spectra(tmp_path / "twos")[:6])
    dataset = outlier_detection(tso3.open_segment(soss.members[0], chunks=4))
    steps = steps_of(soss)
    tree = extract_1d(
        pixel_replace(dataset), photom=steps["photom"]["override_photom"], **steps["extract_1d"]
    )
    np.testing.assert_array_equal(tree["order1"]["flux"], spectra(tmp_path / "twos")[:6])


@pytest.mark.parametrize("extract", [BOXES, MODELLED], ids=["boxes", "model"])
def test_changed_datasets(soss, extract):
    """Twice the light, in arrays of a user."""
    steps = steps_of(soss, extract)
    dataset = tso3.open_segment(soss.members[1], chunks=2)
    once = extract_1d(dataset, **steps["extract_1d"]).compute()
    for changed, times in ((copied(dataset), 1), (brighter(dataset), 2)):
        if times == 2 and extract is MODELLED:
            continue  # half the errors are another factor
        tree = extract_1d(changed, **steps["extract_1d"]).compute()
        for order in ("order1", "order2", "order3"):
            for name in ("flux", "flux_error"):
                found, expected = (t[order][name].values for t in (tree, once))
                np.testing.assert_array_equal(found, times * expected)
    if extract is MODELLED:
        return
    some = dataset.isel(integration=slice(1, 3))
    tree = extract_1d(some, **steps["extract_1d"])
    assert tree["order1"]["flux"].shape[0] == tree["order1"]["mjd_utc_mid"].size == 2


WHERE = ("outlier_detection", "pixel_replace", "extract_1d", "photom", "white_light")


@pytest.mark.parametrize("extract", [BOXES, MODELLED], ids=["boxes", "model"])
def test_hooks_that_change_nothing(soss, extract, tmp_path):
    pixels = {"outlier_detection__pre_hooks": [copied], "pixel_replace__post_hooks": [copied]}
    spectral = {f"{s}__{w}": [unchanged] for s in WHERE[2:] for w in ("pre_hooks", "post_hooks")}
    more = {**REPLACED, "extract_1d__save_results": True}
    tso3.run(soss.asn, tmp_path / "plain", steps_of(soss, extract, **more))
    hooked = steps_of(soss, extract, **more, **pixels, **spectral)
    hooked["extract_1d"]["pre_hooks"] = [copied]
    plan = tso3.plan(soss.asn, hooked, chunk_integrations=4)
    result = plan.run(tmp_path / "hooked")
    assert not list((tmp_path / "hooked").glob(".*"))
    assert content(tmp_path / "hooked") == content(tmp_path / "plain")
    if extract is BOXES:
        written = Table.read(result.products["whtlt"][0])
        (white,) = plan.compute("whtlt")
        for name in written.colnames:
            np.testing.assert_array_equal(white[name], written[name], err_msg=name)
    assert "copied" in repr(plan)


def test_hooks_change_pixels_and_spectra(soss, tmp_path):
    tso3.run(soss.asn, tmp_path / "plain", steps_of(soss))
    hooks = {"extract_1d__pre_hooks": [brighter], "photom__post_hooks": [of_all_orders]}
    plan = tso3.plan(soss.asn, steps_of(soss, **hooks))
    plan.run(tmp_path / "hooked")
    for order in (1, 2, 3):
        one, four = (spectra(tmp_path / name, order) for name in ("plain", "hooked"))
        np.testing.assert_array_equal(four, 4 * one)
    leaf = next(leaf for leaf in plan.x1dints.leaves if leaf.has_data)
    np.testing.assert_array_equal(leaf["flux"].compute(), spectra(tmp_path / "hooked")[:6])


def test_hooks_that_lose_an_order_are_refused(soss):
    steps = steps_of(soss, extract_1d__post_hooks=[lambda tree: tree.drop_nodes("order3")])
    with pytest.raises(InputError, match="nodes"):
        tso3.plan(soss.asn, steps)
    steps = steps_of(soss, photom__pre_hooks=[lambda tree: tree["order1"].to_dataset()])
    with pytest.raises(InputError, match="expected an xarray DataTree"):
        tso3.plan(soss.asn, steps)
