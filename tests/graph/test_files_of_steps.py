"""Files of single steps: names, places, what is refused, and going on with an interrupted run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

import tso3dask as tso3
from tso3dask.errors import InputError
from tso3dask.io.tables import read_table


def planned(observation, chunk=7, **steps):
    merged = {step: dict(values) for step, values in observation.steps.items()}
    for step, values in steps.items():
        merged.setdefault(step, {}).update(values)
    return tso3.plan(observation.asn, merged, chunk_integrations=chunk)


def stem(observation, number, asn_id="_o007"):
    return Path(observation.members[number]).name.replace("_calints.fits", asn_id)


def test_no_file_of_a_step_by_default(spectra, images):
    for observation in (spectra, images):
        assert planned(observation).files == ()


def test_names(spectra):
    plan = planned(
        spectra,
        outlier_detection={"save_results": True, "save_intermediate_results": True},
        extract_1d={"save_results": True, "output_use_model": True},
        white_light={"output_file": "curve.ecsv"},
    )
    products = plan.products
    assert products["outlier_detection"][1] == f"{stem(spectra, 1)}_outlier_detection.fits"
    assert products["median"][0] == f"{stem(spectra, 0)}_median.fits"
    assert products["extract_1d"][2] == f"{stem(spectra, 2, '')}_extract_1d.fits"
    assert products["white_light"] == ["curve_whtlt.ecsv"]
    assert {len(products[kind]) for kind in ("outlier_detection", "median", "extract_1d")} == {4}
    text = repr(plan)
    assert all(products[kind][0] in text for kind in products)


def test_members_that_would_share_a_name_are_numbered(spectra):
    plan = planned(spectra, extract_1d={"save_results": True})
    product = plan.observation.association.name
    wanted = [f"{product}_{i}_extract_1d.fits" for i in range(4)]
    assert plan.products["extract_1d"] == wanted
    flagged = {"output_file": "there/foo.fits", "suffix": "mine"}
    plan = planned(spectra, outlier_detection=flagged)
    assert plan.products["outlier_detection"][3] == "foo_o007_3_mine.fits"
    with pytest.raises(InputError, match=r"4 files would be called .*output_use_index"):
        planned(spectra, extract_1d={"save_results": True, "output_use_index": False})


def test_one_member_has_no_number(made):
    observation = made("mir_lrs-slitless", nints=6, segments=1, shape=(26, 20))
    plan = planned(observation, extract_1d={"save_results": True})
    (name,) = plan.products["extract_1d"]
    assert name == f"{plan.observation.association.name}_extract_1d.fits"


@pytest.mark.parametrize("width", [7, 6, 25, 1])
def test_medians(spectra, width, tmp_path):
    steps = {"rolling_window_width": width, "save_intermediate_results": True}
    plan = planned(spectra, outlier_detection=steps)
    plan.run(tmp_path)
    for member, name in zip(plan.members, plan.products["median"], strict=True):
        with fits.open(tmp_path / name) as hdus, fits.open(member.segment.path) as source:
            found, sci = hdus["SCI"].data, source["SCI"].data.astype("f4")
            sci[(source["DQ"].data & 1) != 0] = np.nan
            assert found.shape == sci.shape
            assert hdus["DQ"].data.dtype == np.uint32
            assert not hdus["DQ"].data.any()
            assert not hdus["ERR"].data.any()
            if 1 < width < len(sci):
                middle = len(sci) // 2
                first = middle - width // 2
                expected = np.median(sci[first : first + width].astype(float), axis=0)
                np.testing.assert_array_equal(found[middle], expected.astype("f4"))
            else:
                expected = np.nanmedian(source["SCI"].data, axis=0)
                np.testing.assert_array_equal(found, np.broadcast_to(expected, found.shape))


def test_a_folder_of_the_step(images, tmp_path):
    there = tmp_path / "catalogs" / "deep"
    plan = planned(
        images,
        tso_photometry={"save_catalog": True, "output_dir": str(there)},
        outlier_detection={"save_results": True, "output_dir": str(there)},
    )
    out = tmp_path / "out"
    result = plan.run(out)
    assert {p.parent for p in result.products["tso_photometry"]} == {there}
    assert sorted(p.name for p in there.iterdir()) == sorted(
        Path(n).name
        for kind in ("outlier_detection", "tso_photometry")
        for n in plan.products[kind]
    )
    whole = read_table(out / plan.names.phot)
    parts = [read_table(path) for path in result.products["tso_photometry"]]
    flux = np.concatenate([np.asarray(part["net_aperture_sum"]) for part in parts])
    np.testing.assert_array_equal(np.asarray(whole["net_aperture_sum"]), flux)
    assert "number_of_integrations" not in parts[0].meta
    with pytest.raises(InputError, match="holds earlier products"):
        plan.run(tmp_path / "another")
    assert plan.run(out, resume=True).notes[-1].startswith("all products of this plan")


def test_a_product_keeps_its_name(spectra, tmp_path):
    plan = planned(
        spectra,
        outlier_detection={"save_results": True, "suffix": "crfints"},
        white_light={"save_results": True, "output_dir": str(tmp_path)},
    )
    result = plan.run(tmp_path)
    assert "outlier_detection" not in result.products
    assert "white_light" not in result.products
    assert "number_of_integrations" in read_table(tmp_path / plan.names.whtlt).meta


def test_inputs_stay(copy_of, spectra):
    mine = copy_of(spectra)
    steps = {"save_results": True, "output_use_model": True, "suffix": "calints"}
    plan = planned(mine, extract_1d=steps)
    with pytest.raises(InputError, match="is an input"):
        plan.run(mine.folder)


def test_two_steps_may_not_write_one_file(spectra):
    both = {"save_results": True, "save_intermediate_results": True, "suffix": "median"}
    with pytest.raises(InputError, match="outlier_detection and median: 2 files"):
        planned(spectra, outlier_detection=both)


def test_files_do_not_depend_on_chunks(spectra, tmp_path):
    steps = {"save_results": True, "save_intermediate_results": True}
    for name, chunk in (("a", 3), ("b", 11)):
        plan = planned(
            spectra,
            chunk,
            outlier_detection=steps | {"rolling_window_width": 9},
            extract_1d={"save_results": True},
        )
        plan.run(tmp_path / name)
    for kind in ("outlier_detection", "median", "extract_1d"):
        for name in plan.products[kind]:
            one, two = (fits.open(tmp_path / f / name) for f in "ab")
            with one, two:
                for left, right in zip(one[1:-1], two[1:-1], strict=True):
                    assert left.data.tobytes() == right.data.tobytes(), (name, left.name)


def test_an_interrupted_run_goes_on(spectra, tmp_path, monkeypatch):
    from tso3dask.errors import RunError
    from tso3dask.graph import run
    from tso3dask.io.atomic import stale_parts

    plan = planned(
        spectra, outlier_detection={"save_intermediate_results": True, "rolling_window_width": 9}
    )
    plan.run(tmp_path / "whole")
    with monkeypatch.context() as patched:

        def stop(*_):
            raise RunError("stopped")

        patched.setattr(run, "make_tables", stop)
        with pytest.raises(RunError):
            plan.run(tmp_path / "part")
    median = tmp_path / "part" / plan.products["median"][0]
    assert not median.exists()
    (lost,) = stale_parts(median)
    lost.unlink()
    result = plan.run(tmp_path / "part", resume=True)
    assert any("resumed" in note for note in result.notes)
    for name in plan.products["median"]:
        one, two = (fits.getdata(tmp_path / f / name, "SCI") for f in ("whole", "part"))
        assert one.tobytes() == two.tobytes()
