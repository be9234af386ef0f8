"""Plans and runs whose references and parameters come from CRDS."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from astropy.io import fits

import tso3dask as tso3
from tso3dask import cli
from tso3dask.errors import InputError


def without_overrides(observation):
    return {
        step: {k: v for k, v in values.items() if not k.startswith("override_")}
        for step, values in observation.steps.items()
    }


def shift(cache, detector, rows):
    """Move the aperture of one detector."""
    cases = cache.rules["NIRSPEC", "extract1d"]
    name = next(name for values, name, _ in cases if detector in values)
    path = cache.reference("NIRSPEC", name)
    content = json.loads(path.read_text())
    for aperture in content["apertures"]:
        aperture["extract_width"] += rows
    path.write_text(json.dumps(content))
    return name


@pytest.fixture
def cache(detectors, crds_of):
    return crds_of(detectors, ("NRS1", "NRS2"))


def test_each_member_has_the_reference_of_its_detector(detectors, cache, tmp_path):
    second = shift(cache, "NRS2", -2)
    plan = tso3.plan(detectors.asn, without_overrides(detectors))
    assert plan.crds[1] == "jwst_0042.pmap"
    assert {m.segment.detector: m.references["extract1d"].recorded for m in plan.members} == {
        "NRS1": "crds://jwst_nirspec_extract1d_0002.json",
        "NRS2": f"crds://{second}",
    }
    widths = {m.segment.detector: m.spectrum.limits for m in plan.members}
    assert widths["NRS1"] != widths["NRS2"]
    assert f"{second} for jw" in str(plan)
    assert "none in jwst_0042.pmap" in str(plan)
    result = plan.run(tmp_path)
    with fits.open(result.products["x1dints"][0]) as hdus:
        assert hdus[0].header["CRDS_CTX"] == "jwst_0042.pmap"
        assert hdus[0].header["CRDS_VER"] == plan.crds[0]
        assert hdus[0].header["R_EXTR1D"] == "crds://jwst_nirspec_extract1d_0002.json"
        names = [str(name).strip() for name in hdus["HDRTAB"].data["R_EXTR1D"]]
        assert names == [m.references["extract1d"].recorded for m in plan.members]
    calints = fits.getheader(detectors.members[0])
    crfints = fits.getheader(result.products["crfints"][0])
    assert crfints["CRDS_CTX"] == calints["CRDS_CTX"], "its pixels are those of the calints"
    record = json.loads(next(tmp_path.glob("*_tso3dask.json")).read_text())
    assert record["crds"]["context"] == "jwst_0042.pmap"
    assert (
        record["references"][plan.members[-1].segment.path.name]["extract1d"] == f"crds://{second}"
    )


def test_numbers_are_those_of_overrides(detectors, cache):
    import numpy as np

    ours = tso3.plan(detectors.asn, without_overrides(detectors)).whtlt.compute()
    given = tso3.plan(detectors.asn, detectors.steps, crds_parameters=False)
    theirs = given.whtlt.compute()
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name])
    assert given.crds is None, "nothing was asked of CRDS"


def test_files_are_read_once(detectors, cache, monkeypatch):
    from tso3dask.io import reference

    read = []
    real = reference.read_extract1d

    def counted(path):
        read.append(path)
        return real(path)

    monkeypatch.setattr(reference, "read_extract1d", counted)
    tso3.plan(detectors.asn, without_overrides(detectors))
    assert len(read) == len(set(read)) == 2


def test_an_override_goes_before_crds(detectors, cache, tmp_path):
    steps = without_overrides(detectors)
    mine = tmp_path / "mine.json"
    mine.write_text(detectors.references["extract1d"].read_text())
    steps["extract_1d"] = {"override_extract1d": str(mine)}
    plan = tso3.plan(detectors.asn, steps)
    assert list(plan.references["extract1d"]) == [str(mine)]
    assert plan.members[0].references["apcorr"].recorded.startswith("crds://")


def test_results_of_other_rules_have_another_name(detectors, cache):
    first = tso3.plan(detectors.asn, without_overrides(detectors)).token
    assert tso3.plan(detectors.asn, without_overrides(detectors)).token == first
    shift(cache, "NRS2", -2)
    assert tso3.plan(detectors.asn, without_overrides(detectors)).token != first


@pytest.mark.parametrize("kind", ["extract1d", "apcorr"])
def test_a_file_that_is_not_to_be_had_is_one_line(detectors, cache, kind, capsys):
    for path in cache.reference("NIRSPEC", "").glob(f"*_{kind}_*"):
        path.unlink()
    assert cli.main(["plan", str(detectors.asn)]) == 2
    text = capsys.readouterr().err
    assert text.count("\n") == 1
    assert f"missing reference: {kind} (step extract_1d) [" in text
    assert f"--override_{kind}=FILE" in text and "set CRDS_SERVER_URL" in text


def test_a_damaged_reference_is_one_line(detectors, cache, capsys):
    for path in cache.reference("NIRSPEC", "").glob("*_extract1d_*"):
        path.write_text('{"apertures": [')
    assert cli.main(["plan", str(detectors.asn)]) == 2
    text = capsys.readouterr().err
    assert text.count("\n") == 1 and "not valid JSON" in text


def test_gain_must_be_one(made, crds_of, tmp_path):
    images = made("nrc_tsimage", nints=4, shape=(24, 26), photom=False)
    cache = crds_of(images)
    plan = tso3.plan(images.asn)
    assert list(plan.references) == ["gain"]
    cache.rules.clear()
    cache.context = "jwst_0043.pmap"
    cache.write()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CRDS_CONTEXT", cache.context)
        with pytest.raises(
            InputError, match=r"missing reference: gain \(step tso_photometry\) \[found N/A"
        ):
            tso3.plan(images.asn)


def test_origins_of_parameters(detectors, cache, tmp_path, capsys):
    from crds_cache import write_parameters

    path = write_parameters(tmp_path / "p.asdf", extract_1d={"bkg_order": 1, "bkg_fit": "poly"})
    name = cache.add("NIRSPEC", "pars-extract1dstep", path)
    cache.write()
    file = tmp_path / "mine.json"
    file.write_text('{"extract_1d": {"smoothing_length": 3}}')
    words = ["plan", str(detectors.asn), "--params", str(file), "--steps.extract_1d.bkg_order=0"]
    assert cli.main(words) == 0
    text = capsys.readouterr().out
    assert f"bkg_fit=poly (crds://{name})" in text
    assert f"smoothing_length=3 ({file})" in text
    assert "bkg_order=0 (command line)" in text
    assert f"{name} (jwst_0042.pmap)" in text
    assert cli.main([*words, "--disable-crds-steppars"]) == 0
    assert name not in capsys.readouterr().out


def test_who_takes_parameters_of_crds(detectors, cache, tmp_path):
    from crds_cache import write_parameters

    path = write_parameters(tmp_path / "p.asdf", outlier_detection={"skip": True})
    cache.add("NIRSPEC", "pars-outlierdetectionstep", path)
    cache.write()
    assert not tso3.plan(detectors.asn).flags
    assert tso3.plan(detectors.asn, {"outlier_detection": {"skip": False}}).flags
    assert tso3.plan(detectors.asn, crds_parameters=False).flags
    asn = str(detectors.asn)
    for way, flags in (("call", False), ("run", True)):
        folder = tmp_path / way
        if way == "call":
            tso3.Tso3Pipeline.call(asn, output_dir=str(folder))
        else:
            tso3.Tso3Pipeline(output_dir=str(folder)).run(asn)
        assert bool(list(folder.glob("*_crfints.fits"))) is flags


WALL = """
import sys, warnings
warnings.simplefilter("ignore")
sys.modules["crds"] = None
from tso3dask.cli import main
status = main(sys.argv[1:])
assert sys.modules["crds"] is None
sys.exit(status)
"""


@pytest.mark.parametrize("mode", ["spectra", "images"])
def test_a_run_that_needs_nothing_of_crds_does_not_touch_it(mode, request, tmp_path):
    observation = request.getfixturevalue(mode)
    words = ["run", str(observation.asn), "-o", str(tmp_path), "--no-plots"]
    words += ["--params", str(observation.steps_path)]
    done = subprocess.run(
        [sys.executable, "-c", WALL, *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "CRDS" not in done.stderr
