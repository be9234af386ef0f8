"""Runs on NIRISS SOSS: boxes around the traces of three orders."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import numpy as np
import peak_memory
import pytest
from astropy.io import fits
from astropy.table import Table

import tso3dask as tso3
from tso3dask.errors import InputError, RunError
from tso3dask.io.soss_references import read_photom
from tso3dask.ops.soss.photom import conversion_factors


@pytest.fixture(scope="module")
def soss(made):
    return made(
        "nis_soss",
        nints=7,
        segments=[4, 3],
        subarray="SUBSTRIP256",
        shape=(256, 400),
        lost_rate=1e-3,
        cr_rate=1e-3,
    )


def soss_steps(observation, **extract):
    steps = {name: dict(values) for name, values in observation.steps.items()}
    steps["extract_1d"] |= {"soss_atoca": False, **extract}
    return steps


@pytest.fixture(scope="module")
def ran(soss, tmp_path_factory):
    """Folder, plan and result of a run with parameters of extract_1d, made once for all tests."""
    known = {}

    def run(**extract):
        key = repr(sorted(extract.items()))
        if key not in known:
            plan = tso3.plan(soss.asn, soss_steps(soss, **extract))
            folder = tmp_path_factory.mktemp("ran")
            known[key] = folder, plan, plan.run(folder)
        return known[key]

    return run


def contents(folder):
    """All tables of the x1dints and the white light of a folder."""
    with fits.open(next(folder.glob("*_x1dints.fits"))) as hdus:
        found = [np.array(hdu.data).tobytes() for hdu in hdus if hdu.name == "EXTRACT1D"]
    return [*found, next(folder.glob("*_whtlt.ecsv")).read_text().split("MJD_UTC BJD_TDB")[-1]]


def test_niriss_soss_boxes_do_not_depend_on_chunks_or_schedulers(soss, ran, tmp_path):
    steps = soss_steps(soss)
    whole, _, result = ran()
    assert set(result.products) == {"crfints", "x1dints", "whtlt"}
    first = contents(whole)
    for name, chunk, scheduler in (
        ("ones", 1, "threads"),
        ("twos", 2, "synchronous"),
        ("elsewhere", 3, "processes"),
    ):
        plan = tso3.plan(soss.asn, steps, chunk_integrations=chunk)
        result = plan.run(tmp_path / name, scheduler=scheduler)
        assert set(result.products) == {"crfints", "x1dints", "whtlt"}
        assert contents(tmp_path / name) == first


OWN = {
    "nan_aware": True,
    "boundary": "exposure",
    "scale_brightness": True,
    "noise": "model",
    "rolling_window_width": 5,
}


def check_curves(plan, result, step):
    """Weighted white light is as the plain one; it and regressors are the same lazily."""
    white = Table.read(result.products["whtlt"][0], format="ascii.ecsv")
    (path,) = result.products["x1dints"]
    alone = tso3.WhiteLightStep.call(str(path), **step)
    for order in (1, 2):
        found = np.asarray(white[f"whitelight_flux_weighted_order_{order}"])
        plain = np.asarray(white[f"whitelight_flux_order_{order}"])
        stated = np.asarray(white[f"whitelight_flux_weighted_error_order_{order}"])
        assert np.all(np.isfinite(found)) and np.all(stated > 0)
        np.testing.assert_allclose(found / np.median(found), plain / np.median(plain), rtol=0.02)
        np.testing.assert_allclose(np.median(found), np.median(plain), rtol=0.02)
        again = np.asarray(alone[f"whitelight_flux_weighted_order_{order}"])
        # the sample of the file was flagged and filled before, which changes its scale a little
        np.testing.assert_allclose(found, again, rtol=1e-2)
        np.testing.assert_allclose(found / found[0], again / again[0], rtol=5e-5)
        assert np.median(stated / found) < np.median(
            np.asarray(white[f"whitelight_flux_error_order_{order}"]) / plain
        )
    lazy = plan.compute("whtlt", scheduler="synchronous")[0]
    for name in white.colnames:
        np.testing.assert_allclose(lazy[name], white[name], rtol=1e-12)
    table = Table.read(result.products["regressors"][0], format="ascii.ecsv")
    lazy = plan.compute("regressors", scheduler="synchronous")[0]
    assert list(lazy) == table.colnames
    assert {"shift_y", "brightness", "n_outliers", "flagged_fraction"} <= set(table.colnames)
    assert "background" not in table.colnames
    assert table.meta["dispersion_axis"] == "x"
    for name in table.colnames:
        np.testing.assert_allclose(lazy[name], table[name], rtol=1e-12)


@pytest.mark.parametrize("temporal", [False, True])
def test_niriss_soss_takes_own_flags_and_replacement_in_time(made, tmp_path, temporal):
    deep = made(
        "nis_soss",
        nints=16,
        segments=[9, 7],
        subarray="SUBSTRIP256",
        shape=(256, 384),
        depth=0.1,
        jitter=0.0,
        cr_rate=1e-4,
        lost_rate=1e-4,
        dead_fraction=0.0,
    )
    steps = soss_steps(deep)
    steps["outlier_detection"] = OWN
    if temporal:
        steps["pixel_replace"] = {"skip": False, "algorithm": "temporal"}
    steps["white_light"] |= {"errors": True, "weighted": True}
    steps["regressors"] = {"skip": False}
    plan = tso3.plan(deep.asn, steps)
    result = plan.run(tmp_path / "run")
    check_curves(plan, result, steps["white_light"])
    tso3.plan(deep.asn, steps, chunk_integrations=4).run(tmp_path / "chunks")
    assert contents(tmp_path / "run") == contents(tmp_path / "chunks")
    nodes = [node for node in plan.x1dints.leaves if node.name == "order1"]
    flux = np.concatenate([node["flux"].values for node in nodes])
    with fits.open(next((tmp_path / "run").glob("*_x1dints.fits"))) as hdus:
        tables = [h for h in hdus if h.name == "EXTRACT1D" and h.header["SPORDER"] == 1]
        written = np.concatenate([np.asarray(h.data["FLUX"]) for h in tables])
    np.testing.assert_array_equal(flux[:, : written.shape[1]], written)
    rays = deep.truth()["cosmic_rays"]
    found = alone = 0
    for path in sorted((tmp_path / "run").glob("*_crfints.fits")):
        with fits.open(path) as hdus:
            outlier = (np.asarray(hdus["DQ"].data, np.uint32) & 16) != 0
            first = hdus[0].header["INTSTART"]
        hit = np.zeros(outlier.shape, bool)
        here = rays[(rays["integration"] >= first) & (rays["integration"] < first + len(hit))]
        hit[here["integration"] - first, here["y"], here["x"]] = True
        found += (hit & outlier).sum()
        alone += (outlier & ~hit).sum()
    assert found > 0.98 * len(rays)
    assert alone < 2e-5 * 16 * 256 * 384


QUICK = {"soss_atoca": True, "soss_rtol": 1e-2, "soss_tikfac": 6e-10}


def test_niriss_soss_model_takes_contamination_away(soss, ran):
    truth = soss.truth()
    off = {}
    for name, extract in (("boxes", {}), ("model", QUICK)):
        with fits.open(next(ran(**extract)[0].glob("*_x1dints.fits"))) as hdus:
            table = hdus["EXTRACT1D", 2].data
            header = hdus[0].header
            photom = read_photom(str(soss.references["photom"]))
        wave, flux = table["WAVELENGTH"][0], table["FLUX"][0]
        rate = flux / conversion_factors(photom.table, 1, wave)
        expected = truth["rate_order2_NIS"][: wave.size]
        part = (wave > 1.1) & (wave < 1.3)
        off[name] = np.nanmedian(np.abs(rate[part] / expected[part] / 0.979 - 1))
    assert header["TIKFACTR"] == 6e-10
    assert off["model"] < 0.1 * off["boxes"] and off["boxes"] > 1, off


def test_niriss_soss_model_does_not_depend_on_chunks(soss, ran, tmp_path):
    tso3.plan(soss.asn, soss_steps(soss, **QUICK), chunk_integrations=1).run(tmp_path)
    fluxes = []
    for folder in (ran(**QUICK)[0], tmp_path):
        with fits.open(next(folder.glob("*_x1dints.fits"))) as hdus:
            fluxes.append([np.array(h.data["FLUX"]) for h in hdus if h.name == "EXTRACT1D"])
    for one, other in zip(*fluxes, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10)


def test_niriss_soss_tables_and_white_light(ran):
    folder, _, _ = ran()
    with fits.open(next(folder.glob("*_x1dints.fits"))) as hdus:
        tables = [hdu for hdu in hdus if hdu.name == "EXTRACT1D"]
        assert [hdu.header["SPORDER"] for hdu in tables] == [1, 2, 3, 1, 2, 3]
        assert [len(hdu.data) for hdu in tables] == [4, 4, 4, 3, 3, 3]
        assert hdus[0].header["S_PHOTOM"] == "COMPLETE" and hdus[0].header["SOSSWDTH"] == 40.0
        wave, flux = (tables[1].data[name][0] for name in ("WAVELENGTH", "FLUX"))
    white = Table.read(next(folder.glob("*_whtlt.ecsv")))
    names = [f"whitelight_flux_order_{order}" for order in (1, 2, 3)]
    assert white.colnames == ["MJD_UTC", "BJD_TDB", *names] and len(white) == 7
    used = (wave >= 0.65) & (wave <= 0.95)
    assert white[names[1]][0] == pytest.approx(np.nansum(flux[used]), rel=1e-12)


def test_niriss_soss_channels_of_a_run_and_of_a_file_are_told_alike(soss, tmp_path):
    steps = {**soss_steps(soss), "light_curves": {"skip": False, "resolving_power": 20}}
    result = tso3.plan(soss.asn, steps).run(tmp_path)
    (x1dints,), (speclc,) = result.products["x1dints"], result.products["speclc"]
    told = Table.read(speclc, format="ascii.ecsv").meta["channels"]
    assert {channel["detector"] for channel in told} == {"NIS"}
    assert tso3.spectral_light_curves(x1dints, resolving_power=20).meta["channels"] == told


def test_niriss_soss_draws_its_orders(ran):
    from tso3dask.quicklook import quicklook_of

    _, plan, result = ran()
    drawn = quicklook_of(plan, result)
    assert [channel.label for channel in drawn.channels] == ["order 1", "order 2", "order 3"]
    assert all(np.isfinite(channel.flux).all() for channel in drawn.channels)


def test_niriss_soss_through_another_filter_has_no_spectra(soss, copy_of, tmp_path):
    copied = copy_of(soss)
    for path in copied.members:
        fits.setval(path, "FILTER", value="F277W")
    plan = tso3.plan(copied.asn, soss_steps(soss))
    assert sum("F277W" in note for note in plan.notes) == 2
    assert set(plan.run(tmp_path / "out").products) == {"crfints"}


def test_niriss_soss_wants_its_references(soss, tmp_path):
    steps = soss_steps(soss)
    del steps["extract_1d"]["override_pastasoss"]
    with pytest.raises(InputError, match="pastasoss"):
        tso3.plan(soss.asn, steps)
    steps = soss_steps(soss, override_speckernel="N/A", soss_atoca=True)
    with pytest.raises(InputError, match="speckernel"):
        tso3.plan(soss.asn, steps)


def interrupted(plan, folder, monkeypatch):
    """Run until the third chunk."""
    from tso3dask.graph import build

    whole, calls = build.extract_orders, []

    def stops(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise OSError("the disk is full")
        return whole(*arguments)

    monkeypatch.setattr(build, "extract_orders", stops)
    with pytest.raises(RunError):
        plan.run(folder, scheduler="synchronous")
    monkeypatch.undo()


def test_niriss_soss_resumes(soss, ran, tmp_path, monkeypatch):
    steps = soss_steps(soss)
    plan = tso3.plan(soss.asn, steps, chunk_integrations=2)
    interrupted(plan, tmp_path / "out", monkeypatch)
    result = tso3.plan(soss.asn, steps, chunk_integrations=2).run(tmp_path / "out", resume=True)
    assert any("resumed" in note for note in result.notes)
    assert contents(tmp_path / "out") == contents(ran()[0])


def test_niriss_soss_files_of_steps(soss, tmp_path):
    """Spectra before and after their calibration, one file per member."""
    steps = soss_steps(soss, save_results=True)
    steps["photom"] |= {"save_results": True, "output_dir": str(tmp_path / "calibrated")}
    result = tso3.run(soss.asn, tmp_path / "out", steps)
    rates = sorted((tmp_path / "out").glob("*_extract_1d.fits"))
    fluxes = sorted((tmp_path / "calibrated").glob("*_photom.fits"))
    assert len(rates) == len(fluxes) == 2 and {*rates, *fluxes} < set(result)
    with fits.open(next((tmp_path / "out").glob("*_x1dints.fits"))) as hdus:
        expected = [np.array(hdu.data["FLUX"]) for hdu in hdus if hdu.name == "EXTRACT1D"]
    for member, (rate, flux) in enumerate(zip(rates, fluxes, strict=True)):
        with fits.open(rate) as before, fits.open(flux) as after:
            assert after[0].header["S_PHOTOM"] == "COMPLETE"
            for order in (1, 2, 3):
                one, other = before["EXTRACT1D", order], after["EXTRACT1D", order]
                np.testing.assert_array_equal(other.data["FLUX"], expected[3 * member + order - 1])
                units = one.columns["FLUX"].unit, other.columns["FLUX"].unit
                assert units == ("DN/s", "MJy")
                assert np.nanmax(one.data["FLUX"]) > 1e3 * np.nanmax(other.data["FLUX"])


def test_lazy_niriss_soss_is_what_runs_write(soss, tmp_path):
    plan = tso3.plan(soss.asn, soss_steps(soss), chunk_integrations=2)
    plan.run(tmp_path)
    tree, white = plan.compute("x1dints", "whtlt")
    with fits.open(next(tmp_path.glob("*_x1dints.fits"))) as hdus:
        tables = [hdu for hdu in hdus if hdu.name == "EXTRACT1D"]
        leaves = [leaf for leaf in tree.leaves if leaf.has_data]
        assert [leaf.name for leaf in leaves] == [f"order{n}" for n in (1, 2, 3)] * 2
        for leaf, hdu in zip(leaves, tables, strict=True):
            assert leaf.attrs["spectral_order"] == hdu.header["SPORDER"]
            np.testing.assert_array_equal(leaf["wavelength"], hdu.data["WAVELENGTH"][0])
            for name in ("flux", "flux_error", "background", "npixels", "dq", "surf_bright"):
                np.testing.assert_array_equal(leaf[name], hdu.data[name.upper()], err_msg=name)
            assert leaf["flux"].attrs["units"] == "MJy"
    written = Table.read(next(tmp_path.glob("*_whtlt.ecsv")))
    for name in written.colnames:
        np.testing.assert_array_equal(white[name], written[name], err_msg=name)


def test_niriss_soss_datasets_and_files_give_the_same(soss, tmp_path):
    from tso3dask.graph import extract_1d, outlier_detection
    from tso3dask.pipeline import WhiteLightStep

    steps = soss_steps(soss, soss_width=30.0)
    tso3.run(soss.asn, tmp_path, steps)
    flagged = outlier_detection(tso3.open_segment(soss.members[0], chunks=2))
    photom = steps["photom"]["override_photom"]
    tree = extract_1d(flagged, photom=photom, **steps["extract_1d"])
    product = next(tmp_path.glob("*_x1dints.fits"))
    with fits.open(product) as hdus:
        for order in (1, 2, 3):
            found = tree[f"order{order}"]["flux"].compute()
            np.testing.assert_array_equal(found, hdus["EXTRACT1D", order].data["FLUX"])
    white = WhiteLightStep.call(str(product), **steps["white_light"])
    written = Table.read(next(tmp_path.glob("*_whtlt.ecsv")))
    for name in written.colnames:
        np.testing.assert_array_equal(np.array(white[name]), np.array(written[name]), err_msg=name)


def test_niriss_soss_files_of_models(soss, ran, tmp_path, monkeypatch):
    """Models and fitted spectra of each member, and spectra that do not change with them."""
    plain = contents(ran(**MODELLED)[0])
    steps = soss_steps(soss, **MODELLED, soss_modelname="traces.fits")
    plans = {"whole": tso3.plan(soss.asn, steps)}
    plans["twos"] = tso3.plan(soss.asn, steps, chunk_integrations=2)
    interrupted(plans["twos"], tmp_path / "twos", monkeypatch)
    files = {}
    for name, plan in plans.items():
        result = plan.run(tmp_path / name, resume=name == "twos")
        assert any("resumed: 2 of 4" in note for note in result.notes) == (name == "twos")
        assert contents(tmp_path / name) == plain
        for kind in ("SossExtractModel", "AtocaSpectra"):
            made = [tmp_path / name / f"traces_{i}_{kind}.fits" for i in (0, 1)]
            assert result.products[kind] == made
            for path in made:
                with fits.open(path) as hdus:
                    held = [np.array(hdu.data).tobytes() for hdu in hdus[1:-1]]
                assert files.setdefault(path.name, held) == held
    with fits.open(tmp_path / "whole" / "traces_1_SossExtractModel.fits") as hdus:
        names = [hdu.name for hdu in hdus[1:-1]]
        assert names == ["ORDER1", "ORDER2", "ORDER3", "APER1", "APER2", "APER3"]
        orders = [hdus[f"ORDER{order}"].data for order in (1, 2, 3)]
        boxes = [hdus[f"APER{order}"].data for order in (1, 2, 3)]
        assert all(image.shape == (3, 256, 400) for image in (*orders, *boxes))
    pixels = tso3.open_segment(soss.members[1])
    seen = pixels["sci"].values
    used = np.isfinite(seen) & (boxes[0] > 0) & (boxes[1] == 0) & (pixels["dq"].values == 0)
    off = (seen - sum(orders))[used] / pixels["err"].values[used]
    assert np.median(np.abs(off)) < 1 < np.median(seen[used] / pixels["err"].values[used])
    with fits.open(tmp_path / "whole" / "traces_1_AtocaSpectra.fits") as hdus:
        tables = [hdu for hdu in hdus if hdu.name == "EXTRACT1D"]
        assert [t.header["SPORDER"] for t in tables] == [1, 2, 2, 3] * 3
        assert [t.header["INT_NUM"] for t in tables] == [1] * 4 + [2] * 4 + [3] * 4
        assert [t.ver for t in tables] == [*range(1, 13)]
        assert len({len(t.data) for t in tables[::4]}) == 1
        assert np.isfinite(tables[0].data["FLUX"]).all()


def test_niriss_soss_files_of_models_want_models(soss):
    steps = soss_steps(soss, soss_modelname="traces.fits")
    with pytest.raises(InputError, match="nothing is modelled"):
        tso3.plan(soss.asn, steps)


MODELLED = {"soss_atoca": True, "soss_tikfac": 1e-9, "soss_rtol": 1e-2, "soss_max_grid_size": 1000}


def test_niriss_soss_modelled_orders_do_not_depend_on_chunks(soss, tmp_path):
    steps = soss_steps(soss, **MODELLED, soss_wave_grid_out=str(tmp_path / "grid.fits"))
    first = None
    for name, chunk, scheduler in (("whole", None, "threads"), ("twos", 2, "processes")):
        plan = tso3.plan(soss.asn, steps, chunk_integrations=chunk)
        plan.run(tmp_path / name, scheduler=scheduler)
        assert not list((tmp_path / name).glob(".*"))
        first = first or contents(tmp_path / name)
        assert contents(tmp_path / name) == first
    header = fits.getheader(next((tmp_path / "whole").glob("*_x1dints.fits")))
    assert header["TIKFACTR"] == 1e-9 and header["SOSSWDTH"] == 40.0
    (tree,) = plan.compute("x1dints")
    with fits.open(next((tmp_path / "twos").glob("*_x1dints.fits"))) as hdus:
        leaf = next(leaf for leaf in tree.leaves if leaf.has_data)
        np.testing.assert_array_equal(leaf["flux"], hdus["EXTRACT1D", 1].data["FLUX"])
    given = soss_steps(soss, **MODELLED, soss_wave_grid_in=str(tmp_path / "grid_0.fits"))
    tso3.run(soss.asn, tmp_path / "given", given)
    assert contents(tmp_path / "given")[0] == first[0]


def test_niriss_soss_steps_alone(soss, tmp_path):
    from tso3dask.pipeline import Extract1dStep, PhotomStep

    steps = soss_steps(soss, **MODELLED)
    steps["outlier_detection"] = {"skip": True}
    tso3.run(soss.asn, tmp_path, steps)
    rates = Extract1dStep.call(str(soss.members[0]), **steps["extract_1d"])
    assert rates.spec[0].spec_table.columns["FLUX"].unit == "DN/s"
    assert rates.meta.soss_extract1d.tikhonov_factor == MODELLED["soss_tikfac"]
    fluxes = PhotomStep.call(rates, **steps["photom"])
    assert fluxes.meta.cal_step.photom == "COMPLETE"
    with fits.open(next(tmp_path.glob("*_x1dints.fits"))) as hdus:
        for order, spectrum in enumerate(fluxes.spec, 1):
            table = hdus["EXTRACT1D", order]
            assert spectrum.spec_table.columns["FLUX"].unit == table.columns["FLUX"].unit == "MJy"
            for name in ("FLUX", "FLUX_ERROR", "BACKGROUND"):
                np.testing.assert_array_equal(spectrum.spec_table[name], table.data[name])
    with pytest.raises(InputError, match="missing reference: photom"):
        PhotomStep.call(rates)


def test_niriss_soss_rows_must_be_those_of_the_subarray(soss, tmp_path):
    shutil.copytree(soss.asn.parent, tmp_path / "in")
    for path in (tmp_path / "in").glob("*_calints.fits"):
        fits.setval(path, "SUBARRAY", value="SUBSTRIP96")
    asn = tmp_path / "in" / soss.asn.name
    with pytest.raises(InputError, match="SUBSTRIP96, but its 256 rows are those of SUBSTRIP256"):
        tso3.plan(asn, soss_steps(soss))
    without = soss_steps(soss)
    without["extract_1d"]["skip"] = True
    assert tso3.plan(asn, without).nints == 7


def changed_copy(soss, folder, change):
    """Copy an observation whose second segment was changed."""
    shutil.copytree(soss.asn.parent, folder)
    with fits.open(next(folder.glob("*-seg002_*_calints.fits")), mode="update") as hdus:
        change(hdus)
    return folder / soss.asn.name


def without_values(hdus):
    hdus["SCI"].data[:] = np.nan


@pytest.mark.parametrize("atoca", [True, False])
def test_niriss_soss_segment_without_pixels_is_nan(soss, ran, tmp_path, atoca):
    asn = changed_copy(soss, tmp_path / "in", without_values)
    extract = QUICK | {"soss_atoca": atoca}
    steps = soss_steps(soss, **extract)
    if atoca:
        steps["extract_1d"]["soss_modelname"] = "traces.fits"
    plan = tso3.plan(asn, steps)
    result = plan.run(tmp_path / "out")
    (note,) = [note for note in result.notes if "no usable pixel" in note]
    assert "-seg002_nis_calints.fits: " in note
    assert not any("no flux at all" in note for note in result.notes)
    assert not any("around them" in note for note in result.notes)
    with (
        fits.open(next(ran(**extract)[0].glob("*_x1dints.fits"))) as good,
        fits.open(next((tmp_path / "out").glob("*_x1dints.fits"))) as made,
    ):
        for version in range(1, 7):
            one, other = (hdus["EXTRACT1D", version].data for hdus in (good, made))
            for name in ("FLUX", "FLUX_ERROR"):
                if version <= 3:
                    np.testing.assert_array_equal(other[name], one[name])
                else:
                    assert np.isfinite(one[name]).any() and np.isnan(other[name]).all()
        assert made[0].header.get("TIKFACTR") == (QUICK["soss_tikfac"] if atoca else None)
    lazily = [leaf["flux"].values for leaf in plan.x1dints.leaves if leaf.has_data]
    assert [bool(np.isfinite(flux).any()) for flux in lazily] == [True] * 3 + [False] * 3
    table = Table.read(next((tmp_path / "out").glob("*_whtlt.ecsv")))
    white = np.asarray(table["whitelight_flux_order_1"])
    assert np.isfinite(white[:4]).all() and not np.isfinite(white[4:]).any()
    if atoca:
        models = sorted((tmp_path / "out").glob("*SossExtractModel.fits"))
        assert len(models) == 2 and not fits.getdata(models[1], "ORDER1").any()
        assert fits.getdata(models[0], "ORDER1").any()
        fitted = sorted((tmp_path / "out").glob("*AtocaSpectra.fits"))
        assert np.isnan(fits.getdata(fitted[1], "EXTRACT1D")["FLUX"]).all()


def test_niriss_soss_tells_of_integrations_without_pixels(soss, tmp_path):
    def without_one(hdus):
        hdus["SCI"].data[1] = np.nan

    asn = changed_copy(soss, tmp_path / "in", without_one)
    result = tso3.plan(asn, soss_steps(soss)).run(tmp_path / "out")
    notes = [note for note in result.notes if "made of integrations around them" in note]
    assert len(notes) == 1 and "seg002_nis_calints.fits: most pixels" in notes[0]
    assert "not finite in integration 2:" in notes[0]


def test_niriss_soss_first_segment_without_pixels(soss, tmp_path):
    shutil.copytree(soss.asn.parent, tmp_path / "in")
    with fits.open(next((tmp_path / "in").glob("*-seg001_*_calints.fits")), "update") as hdus:
        without_values(hdus)
    steps = soss_steps(soss, **QUICK, subtract_background=True)
    tso3.run(tmp_path / "in" / soss.asn.name, tmp_path / "out", steps)
    with fits.open(next((tmp_path / "out").glob("*_x1dints.fits"))) as hdus:
        assert hdus[0].header["TIKFACTR"] == QUICK["soss_tikfac"]
        assert np.isnan(hdus["EXTRACT1D", 1].data["FLUX"]).all()
        assert np.isfinite(hdus["EXTRACT1D", 4].data["FLUX"]).any()


def test_niriss_soss_segment_that_cannot_be_modelled(soss, tmp_path):
    def leave_little(hdus):
        kept = hdus["SCI"].data[:, 60:90, 200:203].copy()
        without_values(hdus)
        hdus["SCI"].data[:, 60:90, 200:203] = kept

    asn = changed_copy(soss, tmp_path / "in", leave_little)
    steps = soss_steps(soss, **QUICK)
    for _ in range(2):  # nothing is left that --resume could go on with
        with pytest.raises(RunError, match=r"-seg002_nis_calints\.fits: order [12]: ") as caught:
            tso3.plan(asn, steps).run(tmp_path / "out", scheduler="synchronous")
        assert "\n" not in str(caught.value)
        assert not list((tmp_path / "out").glob(".*"))


def test_niriss_soss_does_not_rest_on_filters_of_warnings(soss, ran, tmp_path, monkeypatch):
    """Those of one thread are changed by others, and an estimate may be singular."""
    filtered = contents(ran(**QUICK)[0])
    steps = soss_steps(soss, **QUICK)
    for name in ("filterwarnings", "simplefilter"):
        monkeypatch.setattr(f"warnings.{name}", lambda *_, **__: None)
    tso3.plan(soss.asn, steps).run(tmp_path / "unfiltered", scheduler="synchronous")
    monkeypatch.undo()
    assert filtered == contents(tmp_path / "unfiltered")


PEAK = (
    peak_memory.PEAK
    + """
import json, sys
import tso3dask as tso3
tso3.run(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]), workers=int(sys.argv[4]))
print(peak())
"""
)


def peak_of_run(made, workers, folder):
    words = [made.asn, folder, json.dumps(made.steps), workers]
    command = [sys.executable, "-c", PEAK, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    shutil.rmtree(folder)
    return int(done.stdout.split()[-1])


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_niriss_soss_memory_of_the_small_array_is_as_projected(workers, tmp_path):
    folder = tmp_path / "in"
    made = tso3.simulate("nis_soss", folder, nints=80, segments=2, subarray="SUBSTRIP96")
    projected = tso3.plan(made.asn, made.steps, workers=workers).budget.projected
    peak = peak_of_run(made, workers, tmp_path / "out")
    assert 0.75 * projected < peak < projected, f"{peak / 1e6:.0f} MB"


@pytest.mark.slow
def test_niriss_soss_memory_does_not_grow_with_the_observation(tmp_path):
    """Growth is that of one worker: whether two are at their peaks together is left to chance.

    The peak of a short run is by chance up to a tenth lower; the first of the two compiles, too.
    """

    def peak(made, workers):
        return peak_of_run(made, workers, tmp_path / "out")

    def simulated(name, nints):
        folder = tmp_path / name
        return tso3.simulate("nis_soss", folder, nints=nints, segments=2, subarray="SUBSTRIP256")

    few = simulated("short", 60)
    short = max(peak(few, 1), peak(few, 1))
    observation = simulated("long", 240)
    one, two = (tso3.plan(observation.asn, observation.steps, workers=n).budget for n in (1, 2))
    long = peak(observation, 1)
    assert long < 1.1 * short, f"{short / 1e6:.0f} MB, then {long / 1e6:.0f} MB"
    assert 0.8 * one.projected < long < one.projected, f"{long / 1e6:.0f} MB"
    assert (two.workers, two.sub_block) == (2, 8)
    assert peak(observation, 2) < two.projected < two.limit == 15 * 10**8
