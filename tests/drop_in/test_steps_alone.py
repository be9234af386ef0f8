"""Steps alone: what they take, give back and save."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

import tso3dask
from tso3dask import (
    Extract1dStep,
    InputError,
    NotYetError,
    OutlierDetectionStep,
    PixelReplaceStep,
    Tso3Pipeline,
    TSOPhotometryStep,
    WhiteLightStep,
)
from tso3dask.drop_in import AdaptiveTraceModelStep, LightCurvesStep, RegressorsStep
from tso3dask.io.tables import read_table


@pytest.fixture(scope="module")
def spectroscopy(made):
    return made("mir_lrs-slitless", segments=[7, 5], shape=(24, 20), cr_rate=2e-3)


@pytest.fixture(scope="module")
def imaging(made):
    return made("nrc_tsimage", segments=[8, 7], shape=(22, 24), cr_rate=2e-3)


@pytest.fixture(scope="module")
def products(spectroscopy, tmp_path_factory):
    """Products of a run, to compare with."""
    folder = tmp_path_factory.mktemp("run")
    steps = {"outlier_detection": {"rolling_window_width": 5}, **spectroscopy.steps}
    paths = tso3dask.run(spectroscopy.asn, folder, steps)
    return {"crfints": paths[0], **{p.stem.rpartition("_")[2]: p for p in paths[2:]}}


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def opened(path):
    from stdatamodels.jwst import datamodels

    return datamodels.open(str(path))


def left_in(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_other_segments_are_not_missed(spectroscopy, here, caplog):
    OutlierDetectionStep.call(spectroscopy.members[0])
    assert not caplog.text


@pytest.mark.parametrize("given", [str, Path, opened])
def test_outlier_detection(given, spectroscopy, products, here):
    member = spectroscopy.members[0]
    source = given(member)
    result = OutlierDetectionStep.call(source, rolling_window_width=5)
    assert result is not source
    with fits.open(products["crfints"]) as hdus:
        for name, array in {"SCI": "data", "ERR": "err", "DQ": "dq"}.items():
            np.testing.assert_array_equal(getattr(result, array), hdus[name].data)
        assert type(result).__name__ == hdus[0].header["DATAMODL"]
    assert result.meta.cal_step.outlier_detection == "COMPLETE"
    assert result.meta.filename == Path(member).name
    assert result.meta.wcs is not None
    if given is opened:
        assert source.meta.cal_step.outlier_detection is None
        assert source.meta.filename == Path(member).name
    result.save("again.fits")
    assert left_in(here) == ["again.fits"], "nothing else was written"


@pytest.mark.parametrize("kind", ["spectroscopy", "imaging"])
@pytest.mark.parametrize("given", [str, opened])
def test_regressors(given, kind, request, here, caplog):
    """Numbers are those of a run of the file, counts those of the flags that it has."""
    observation = request.getfixturevalue(kind)
    member = observation.members[0]
    table = RegressorsStep.call(given(member))
    assert not caplog.text and left_in(here) == []
    steps = {**observation.steps, "regressors": {"skip": False}}
    whole = tso3dask.plan([str(member)], steps).run(here / "run").tables["regressors"]
    assert set(whole) - set(table.colnames) == {"n_outliers"}
    for name in table.colnames:
        np.testing.assert_array_equal(table[name].value, whole[name][0])
    assert {"brightness", "background"} < set(table.colnames)
    assert (table.meta.get("dispersion_axis") == "y") == (kind == "spectroscopy")
    flagged = OutlierDetectionStep.call(member)
    flagged.save("jw1_crfints.fits")
    counts = RegressorsStep.call("jw1_crfints.fits")["n_outliers"]
    new = (flagged.dq & 16) != 0
    np.testing.assert_array_equal(counts, new.sum(axis=(1, 2)))
    assert counts.sum() > 0
    np.testing.assert_array_equal(counts, whole["n_outliers"][0])


@pytest.mark.parametrize("given", [str, opened])
def test_pixel_replace(given, spectroscopy, here):
    flagged = OutlierDetectionStep.call(spectroscopy.members[0], rolling_window_width=5)
    flagged.save("jw1_crfints.fits")
    source = given("jw1_crfints.fits")
    result = PixelReplaceStep.call(source, output_dir="out", save_results=True)
    lost, left = (np.isnan(model.data) for model in (flagged, result))
    assert not np.any(left & ~lost)
    assert np.all(result.dq[lost & ~left] & (1 << 28))
    np.testing.assert_array_equal(result.data[~lost], flagged.data[~lost])
    assert np.count_nonzero(lost & ~left) > 0
    assert result.meta.cal_step.outlier_detection == "COMPLETE"
    assert result.meta.cal_step.pixel_replace == "COMPLETE"
    if given is opened:
        np.testing.assert_array_equal(source.dq, flagged.dq)
    assert left_in(here / "out") == ["jw1_pixelreplacestep.fits"]


@pytest.mark.parametrize("kind", ["spectroscopy", "imaging"])
def test_replacement_in_time_makes_its_own_model(kind, request, here):
    """As datasets are replaced with the model of a plan of the same file."""
    from tso3dask import graph

    member = request.getfixturevalue(kind).members[0]
    OutlierDetectionStep.call(member, save_results=True, output_file="flagged.fits")
    (path,) = here.glob("flagged*.fits")
    alone = {"pixel_replace": {"algorithm": "temporal", "skip": False}}
    alone |= {n: {"skip": True} for n in ("outlier_detection", "extract_1d", "tso_photometry")}
    model = tso3dask.plan([str(path)], alone).modelled.members[0].model
    dataset = tso3dask.open_segment(path)
    expected = graph.pixel_replace(dataset, model=model, algorithm="temporal")
    result = PixelReplaceStep.call(str(path), skip=False, algorithm="temporal")
    np.testing.assert_array_equal(result.data, expected["sci"].values)
    assert np.isnan(fits.getdata(path, "SCI")).sum() > np.isnan(result.data).sum()


def test_replaced_pixels_do_not_change_the_profile(made, tmp_path):
    """Steps one after the other weigh pixels as a run does, though dead ones have estimates."""
    observation = made("mir_lrs-slitless", nints=30, shape=(40, 26), cr_rate=1e-3)
    given = {**observation.steps["extract_1d"], "extraction_type": "horne"}
    flagging = {"nan_aware": True, "scale_brightness": True, "noise": "model"}
    replacing = {"algorithm": "temporal", "skip": False}
    steps = {"extract_1d": given, "outlier_detection": flagging, "pixel_replace": replacing}
    result = tso3dask.plan(observation.asn, steps).run(tmp_path)
    table = fits.getdata(result.products["x1dints"][0], "EXTRACT1D", 1)
    flagged = OutlierDetectionStep.call(observation.members[0], **flagging)
    replaced = PixelReplaceStep.call(flagged, algorithm="temporal")
    spectra = Extract1dStep.call(replaced, **given).spec[0].spec_table
    ratio = spectra["FLUX_ERROR"] / table["FLUX_ERROR"]
    assert np.nanmax(np.abs(ratio - 1)) < 0.03
    assert np.nanmax(np.abs(spectra["FLUX"] - table["FLUX"]) / table["FLUX_ERROR"]) < 0.2


def test_boundary_of_one_file_has_no_effect_and_is_told(spectroscopy, here, caplog):
    member = spectroscopy.members[0]
    plain = OutlierDetectionStep.call(member, scale_brightness=True)
    assert "boundary" not in caplog.text
    result = OutlierDetectionStep.call(member, scale_brightness=True, boundary="exposure")
    assert "boundary='exposure' has no effect on one file alone" in caplog.text
    np.testing.assert_array_equal(result.dq, plain.dq)


def test_steps_follow_one_another(spectroscopy, products, here):
    """What one step returns is taken by the next, as in a notebook without the pipeline."""
    flagged = OutlierDetectionStep.call(spectroscopy.members[0], rolling_window_width=5)
    spectra = Extract1dStep.call(flagged, **spectroscopy.steps["extract_1d"])
    white = WhiteLightStep.call(spectra)
    assert type(spectra).__name__ == "TSOMultiSpecModel"
    assert len(spectra.spec) == 1
    assert spectra.meta.cal_step.outlier_detection == "COMPLETE"
    assert spectra.meta.filename == Path(spectroscopy.members[0]).name
    table = fits.getdata(products["x1dints"], "EXTRACT1D", 1)
    for name in ("INT_NUM", "MJD-AVG", "WAVELENGTH", "FLUX", "DQ", "NPIXELS"):
        np.testing.assert_array_equal(spectra.spec[0].spec_table[name], table[name])
    whole = read_table(products["whtlt"])
    np.testing.assert_array_equal(white["whitelight_flux"], whole["whitelight_flux"][:7])
    assert white["whitelight_flux"].unit == whole["whitelight_flux"].unit
    assert left_in(here) == []


@pytest.mark.parametrize("source", ["file", "model"])
def test_white_light_of_products(source, products, here):
    given = products["x1dints"] if source == "file" else opened(products["x1dints"])
    table = WhiteLightStep.call(given, save_results=True, output_dir="a/b")
    stem = products["x1dints"].name.removesuffix("_x1dints.fits")
    assert left_in(here) == [f"a/b/{stem}_whtlt.ecsv"]
    again = read_table(here / "a" / "b" / f"{stem}_whtlt.ecsv")
    whole = read_table(products["whtlt"])
    for name in whole.colnames:
        np.testing.assert_array_equal(table[name], whole[name])
        np.testing.assert_array_equal(again[name], whole[name])
    narrow = WhiteLightStep.call(given, min_wavelength=6.0, max_wavelength=9.0)
    assert np.all(narrow["whitelight_flux"] < table["whitelight_flux"])


@pytest.mark.parametrize("source", ["file", "model"])
@pytest.mark.parametrize("kind", [LightCurvesStep, RegressorsStep])
def test_tables_of_steps_alone_are_written(kind, source, spectroscopy, products, here):
    """Under the names that products of a run have, or the name given."""
    path = products["x1dints"] if kind is LightCurvesStep else Path(spectroscopy.members[0])
    given = str(path) if source == "file" else opened(path)
    suffix = {LightCurvesStep: "speclc", RegressorsStep: "regressors"}[kind]
    table = kind.call(given, save_results=True, output_dir="a/b")
    written = f"a/b/{path.stem.rpartition('_')[0]}_{suffix}.ecsv"
    assert left_in(here) == [written]
    again = read_table(here / written)
    assert again.colnames == table.colnames and again.meta == table.meta
    for name in table.colnames:
        np.testing.assert_array_equal(again[name], table[name])
    for name in ("mine.fits", f"mine_{suffix}.ecsv"):
        kind.call(given, output_file=name)
        (here / f"mine_{suffix}.ecsv").unlink()
    assert left_in(here) == [written]
    kind(suffix="other", output_file="mine").run(given)
    assert left_in(here) == [written, "mine_other.ecsv"]


def test_white_light_of_a_file_with_a_table_per_integration(products, here):
    """As versions of the field's pipeline before row-wise tables wrote them."""
    with fits.open(products["x1dints"]) as hdus:
        old = fits.HDUList([hdus[0].copy()])
        for table in hdus[1:]:
            if table.name != "EXTRACT1D":
                continue
            for row in table.data:
                columns = [
                    fits.Column(name, "D", array=row[name], unit=table.columns[name].unit)
                    for name in ("WAVELENGTH", "FLUX", "FLUX_ERROR")
                ]
                single = fits.BinTableHDU.from_columns(columns, name="EXTRACT1D")
                single.header["INT_NUM"] = int(row["INT_NUM"])
                single.header["MJD-AVG"] = float(row["MJD-AVG"])
                single.header["TDB-MID"] = float(row["TDB-MID"])
                single.header["SPORDER"] = 1
                old.append(single)
        old.writeto(here / "old_x1dints.fits")
    table = WhiteLightStep.call("old_x1dints.fits")
    whole = read_table(products["whtlt"])
    assert table.colnames == whole.colnames
    for name in whole.colnames:
        np.testing.assert_allclose(table[name].value, whole[name].value, rtol=1e-12)


@pytest.mark.parametrize("given", [str, opened])
def test_photometry(given, imaging, tmp_path):
    steps = {"outlier_detection": {"skip": True}, **imaging.steps}
    (path,) = tso3dask.run([imaging.members[1]], tmp_path / "run", steps)
    expected = read_table(path)
    table = TSOPhotometryStep.call(given(imaging.members[1]), **imaging.steps["tso_photometry"])
    assert table.colnames == expected.colnames
    for name in table.colnames:
        np.testing.assert_array_equal(table[name], expected[name])
    wide = TSOPhotometryStep.call(imaging.members[1], radius=3.5)
    assert np.all(wide["aperture_sum"] > table["aperture_sum"])


def test_instances_keep_their_parameters(spectroscopy, here):
    step = OutlierDetectionStep()
    step.rolling_window_width = 5
    step.skip = True
    step.output_dir = "out"
    step.save_results = True
    names = [step.run(member).meta.filename for member in spectroscopy.members]
    assert left_in(here / "out") == names
    assert all(name.endswith("_outlierdetectionstep.fits") for name in names)


def test_config_file(spectroscopy, here):
    (here / "pars.yaml").write_text("outlier_detection: {snr: '1e9 1', rolling_window_width: 5}")
    quiet = OutlierDetectionStep.call(spectroscopy.members[0], config_file="pars.yaml")
    assert not np.any(quiet.dq & 16)
    found = OutlierDetectionStep.call(spectroscopy.members[0], config_file="pars.yaml", snr=4)
    assert np.any(found.dq & 16)


def test_wrong_kind_of_data(spectroscopy, imaging, products, here):
    with pytest.raises(InputError, match="spectroscopy data, but tso_photometry is for imaging"):
        TSOPhotometryStep.call(spectroscopy.members[0])
    with pytest.raises(InputError, match="imaging data, but extract_1d is for spectroscopy"):
        Extract1dStep.call(imaging.members[0])
    with pytest.raises(InputError, match="no EXTRACT1D extension"):
        WhiteLightStep.call(spectroscopy.members[0])
    with pytest.raises(InputError):
        OutlierDetectionStep.call(products["x1dints"])
    assert left_in(here) == []


def test_input_that_is_not_one_file_or_model(spectroscopy):
    with pytest.raises(InputError, match="one file or open model, no association"):
        OutlierDetectionStep.call(spectroscopy.asn)
    with pytest.raises(InputError, match="got list"):
        OutlierDetectionStep.call([str(m) for m in spectroscopy.members])
    with pytest.raises(NotYetError, match="AdaptiveTraceModelStep"):
        AdaptiveTraceModelStep.call(spectroscopy.members[0])


def test_input_folder(spectroscopy, here):
    member = Path(spectroscopy.members[1])
    result = OutlierDetectionStep.call(member.name, input_dir=str(member.parent))
    assert result.meta.filename == member.name


def test_hooks_that_would_do_nothing_are_refused(spectroscopy, products):
    with pytest.raises(NotYetError, match="WhiteLightStep takes no post_hooks"):
        WhiteLightStep.call(products["x1dints"], post_hooks=[print])
    with pytest.raises(NotYetError, match="PixelReplaceStep takes no pre_hooks"):
        PixelReplaceStep.call(spectroscopy.members[0], pre_hooks=[print])
    with pytest.raises(NotYetError, match="Tso3Pipeline takes no pre_hooks"):
        Tso3Pipeline.call(spectroscopy.asn, pre_hooks=[print])


def test_hooks_of_steps(spectroscopy, here):
    """They see datasets, as everywhere here."""

    def doubled(dataset):
        return dataset.assign(sci=dataset.sci * 2)

    member = spectroscopy.members[1]
    plain = OutlierDetectionStep(rolling_window_width=5).run(member)
    hooked = OutlierDetectionStep(rolling_window_width=5, post_hooks=[doubled]).run(member)
    np.testing.assert_array_equal(hooked.data, 2 * plain.data)
    pipeline = Tso3Pipeline(steps=spectroscopy.steps)
    pipeline.outlier_detection.rolling_window_width = 5
    pipeline.outlier_detection.post_hooks = [doubled]
    pipeline.run([member])
    (path,) = here.glob("*_crfints.fits")
    np.testing.assert_array_equal(fits.getdata(path, "SCI"), hooked.data)
