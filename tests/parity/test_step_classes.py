"""Step classes alone, beside those of jwst called in the same way: results, files and names."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("jwst")
pytestmark = pytest.mark.parity

from compare import compare_folders  # noqa: E402
from harness import BUSY, keep_records  # noqa: E402
from jwst_oracle import offline, quick, silent  # noqa: E402

import tso3dask  # noqa: E402

SHAPES = {"mir": (60, 40), "nrc_tsi": (32, 40), "nrc_tsg": (40, 60), "nrs": (32, 72)}
QUIET = {"configure_log": False}


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """Give observations, made once each."""
    from tso3dask.simulation import simulate

    made: dict[str, Any] = {}

    def make(mode: str, **more: Any) -> Any:
        key = f"{mode} {more}"
        if key not in made:
            shape = next(s for start, s in SHAPES.items() if mode.startswith(start))
            folder = tmp_path_factory.mktemp(mode)
            arguments = {"shape": shape, "segments": (8, 6), "seed": 91, **BUSY, **more}
            made[key] = simulate(mode, folder, **arguments)
        return made[key]

    return make


@pytest.fixture(scope="module", autouse=True)
def alone():
    """Ask no server for anything while these tests run."""
    with offline(), silent(), quick():
        yield


def theirs(name: str) -> Any:
    import jwst.step

    return getattr(jwst.step, name)


def both(name: str) -> tuple[Any, Any]:
    return getattr(tso3dask, name), theirs(name)


def opened(path: Any) -> Any:
    from stdatamodels.jwst import datamodels

    return datamodels.open(str(path))


def listing(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def expect_same(folder: Path, name: str) -> None:
    comparison = compare_folders(folder / "ours", folder / "jwst", name)
    left = comparison.unexplained({})
    assert not left, "\n".join([f"{len(left)} findings", *left[:40]])
    assert comparison.records
    keep_records(comparison)


OUTLIERS = {
    "prism": ("nrs_prism", {}),
    "prism-snr": ("nrs_prism", {"snr": "3.0 2.0", "good_bits": ""}),
    "lrs": ("mir_lrs-slitless", {"maskpt": 0.2}),
    "grism": ("nrc_tsgrism", {"skip": True}),
    "image": ("nrc_tsimage", {}),
    "mir-image": ("mir_image", {"rolling_window_width": 30}),
}


@pytest.mark.parametrize("case", OUTLIERS)
def test_outlier_detection(case, simulated, tmp_path):
    mode, parameters = OUTLIERS[case]
    member = simulated(mode).members[1]
    parameters = {"rolling_window_width": 5, **parameters, "save_results": True}
    for folder, cls in zip(("ours", "jwst"), both("OutlierDetectionStep"), strict=True):
        model = opened(member)
        before = model.data.copy()
        result = cls.call(
            model, output_dir=str(tmp_path / folder), suffix="crfints", **parameters, **QUIET
        )
        assert type(result) is type(model)
        assert result is not model
        np.testing.assert_array_equal(model.data, before)
        assert result.meta.filename == listing(tmp_path / folder)[0]
        assert result.meta.cal_step.outlier_detection == "COMPLETE"
    expect_same(tmp_path, f"step-outliers-{case}")


REPLACEMENTS = {
    "prism": ("nrs_prism", {}),
    "prism-profile": ("nrs_prism", {"algorithm": "fit_profile", "n_adjacent_cols": 5}),
    "lrs": ("mir_lrs-slitless", {"skip": True}),
    "grism": ("nrc_tsgrism", {"algorithm": "fit_profile"}),
    "image": ("nrc_tsimage", {}),
}


@pytest.mark.parametrize("kind", ["calints", "crfints"])
@pytest.mark.parametrize("case", REPLACEMENTS)
def test_pixel_replace(case, kind, simulated, tmp_path):
    mode, parameters = REPLACEMENTS[case]
    member = simulated(mode).members[1]
    if kind == "crfints":
        flagged = theirs("OutlierDetectionStep").call(opened(member), **QUIET)
        member = tmp_path / member.name.replace("calints", "crfints")
        flagged.save(str(member))
    for folder, cls in zip(("ours", "jwst"), both("PixelReplaceStep"), strict=True):
        place = str(tmp_path / folder)
        given = opened(member) if kind == "crfints" else str(member)
        result = cls.call(
            given, output_dir=place, suffix="crfints", save_results=True, **parameters, **QUIET
        )
        assert result.meta.filename == listing(tmp_path / folder)[0]
        assert result.meta.cal_step.pixel_replace == "COMPLETE"
    expect_same(tmp_path, f"step-replace-{case}-{kind}")


EXTRACTIONS = {
    "prism": ("nrs_prism", {}, {}),
    "prism-white": ("nrs_prism", {"use_source_posn": False, "position_offset": 1.25}, {}),
    "nrs2": ("nrs_g395h", {"bkg_fit": "median", "smoothing_length": 5}, {}),
    "lrs": ("mir_lrs-slitless", {"subtract_background": True}, {}),
    "lrs-extended": ("mir_lrs-slitless", {}, {"srctype": "EXTENDED", "model": "CubeModel"}),
    "grism": ("nrc_tsgrism", {}, {}),
    "no-reference": ("nrc_tsgrism", {"override_extract1d": "N/A"}, {}),
}


GIVEN = [(case, "calints") for case in EXTRACTIONS]
GIVEN += [(case, kind) for case in ("prism", "lrs") for kind in ("crfints", "model")]


@pytest.mark.parametrize("case, kind", GIVEN)
def test_extract_1d(case, kind, simulated, tmp_path):
    mode, parameters, more = EXTRACTIONS[case]
    observation = simulated(mode, **more)
    member = observation.members[-1]
    if kind == "crfints":
        flagged = theirs("OutlierDetectionStep").call(opened(member), **QUIET)
        member = tmp_path / member.name.replace("calints", "crfints")
        flagged.save(str(member))
    parameters = {**observation.steps["extract_1d"], **parameters}
    for folder, cls in zip(("ours", "jwst"), both("Extract1dStep"), strict=True):
        given = opened(member) if kind == "model" else str(member)
        place = str(tmp_path / folder)
        result = cls.call(
            given, output_dir=place, suffix="x1dints", save_results=True, **parameters, **QUIET
        )
        assert type(result).__name__ == "TSOMultiSpecModel"
        assert result.meta.filename == listing(tmp_path / folder)[0]
        assert not result.hasattr("hdrtab")
    expect_same(tmp_path, f"step-extract-{case}-{kind}")


WHITE = {
    "detectors": ("nrs_g395h", {}),
    "limits": ("nrs_prism", {"min_wavelength": 1.0, "max_wavelength": 3.5}),
    "shortest": ("nrs_prism", {"min_wavelength": 2.0}),
    "lrs": ("mir_lrs-slitless", {}),
}


@pytest.mark.parametrize("case", WHITE)
def test_white_light(case, simulated, tmp_path):
    mode, parameters = WHITE[case]
    observation = simulated(mode)
    tso3dask.run(observation.asn, tmp_path / "input", observation.steps)
    (spectra,) = (tmp_path / "input").glob("*_x1dints.fits")
    tables = []
    for folder, cls in zip(("ours", "jwst"), both("WhiteLightStep"), strict=True):
        place = str(tmp_path / folder)
        tables.append(
            cls.call(str(spectra), output_dir=place, output_file="mine", **parameters, **QUIET)
            if folder == "ours"
            else _made_there(cls, spectra, tmp_path / folder, parameters)
        )
    assert listing(tmp_path / "ours") == ["mine_whtlt.ecsv"]
    assert_same_tables(*tables)
    expect_same(tmp_path, f"step-white-{case}")


def _made_there(cls: Any, spectra: Path, folder: Path, parameters: dict[str, Any]) -> Any:
    folder.mkdir()
    return cls.call(
        opened(spectra), output_dir=str(folder), output_file="mine", **parameters, **QUIET
    )


def assert_same_tables(ours: Any, peer: Any) -> None:
    assert type(ours) is type(peer)
    assert type(ours.meta) is type(peer.meta)
    assert list(ours.meta.items()) == list(peer.meta.items())
    assert ours.colnames == peer.colnames
    for name in ours.colnames:
        one, other = ours[name], peer[name]
        assert type(one) is type(other), name
        assert getattr(one, "unit", None) == getattr(other, "unit", None), name
        assert one.dtype == other.dtype, name


PHOTOMETRY = {
    "plain": ("nrc_tsimage", {}, {}),
    "radii": ("nrc_tsimage", {"radius": 4.0, "radius_inner": 6.0, "radius_outer": 9.0}, {}),
    "lens": ("nrc_tsimage", {}, {"pupil": "WLP8"}),
    "counts": ("nrc_tsimage", {}, {"photom": False}),
    "moving": ("nrc_tsimage", {"moving_centroid": True}, {}),
    "mir": ("mir_image", {"centroid_source": False}, {}),
}


@pytest.mark.parametrize("case", PHOTOMETRY)
def test_tso_photometry(case, simulated, tmp_path):
    mode, parameters, more = PHOTOMETRY[case]
    observation = simulated(mode, **more)
    parameters = {**observation.steps["tso_photometry"], **parameters}
    tables = []
    for folder, cls in zip(("ours", "jwst"), both("TSOPhotometryStep"), strict=True):
        (tmp_path / folder).mkdir()
        table = cls.call(str(observation.members[0]), **parameters, **QUIET)
        table.write(tmp_path / folder / "x_phot.ecsv", format="ascii.ecsv")
        tables.append(table)
    assert_same_tables(*tables)
    expect_same(tmp_path, f"step-photometry-{case}")


NAMES = {
    "nothing": {},
    "saved": {"save_results": True},
    "folder": {"save_results": True, "output_dir": "some/where"},
    "file": {"output_file": "mine"},
    "file-with-suffix": {"output_file": "mine_x1dints.fits", "output_dir": "there"},
    "file-elsewhere": {"output_file": "there/mine.fits"},
    "suffix": {"save_results": True, "suffix": "new"},
    "extension": {"output_file": "a.b", "output_ext": ".fits"},
    "use-model": {"output_file": "mine", "output_use_model": True},
}


@pytest.mark.parametrize("step", ["OutlierDetectionStep", "PixelReplaceStep", "Extract1dStep"])
def test_models_without_a_name(step, simulated, tmp_path, monkeypatch):
    observation = simulated("nrs_prism")
    own = observation.steps["extract_1d"] if step == "Extract1dStep" else {}
    found = []
    for side, cls in zip(("ours", "jwst"), both(step), strict=True):
        (tmp_path / side).mkdir()
        monkeypatch.chdir(tmp_path / side)
        model = opened(observation.members[1])
        model.meta.filename = None
        names = [cls.call(model, **own, **QUIET).meta.filename]
        names += [cls.call(model, output_file="mine", **own, **QUIET).meta.filename]
        assert model.meta.filename is None
        found.append((names, listing(tmp_path / side)))
    assert found[0] == found[1]


STEPS_THAT_SAVE = ["OutlierDetectionStep", "PixelReplaceStep", "Extract1dStep", "WhiteLightStep"]


@pytest.mark.parametrize("style", ["call", "run"])
@pytest.mark.parametrize("step", STEPS_THAT_SAVE)
def test_names_of_files(step, style, simulated, tmp_path, monkeypatch):
    observation = simulated("nrs_prism")
    member = observation.members[0]
    own = observation.steps["extract_1d"] if step == "Extract1dStep" else {}
    if step == "WhiteLightStep":
        model = tso3dask.Extract1dStep.call(str(member), **observation.steps["extract_1d"])
        member = tmp_path / "jw1_x1dints.fits"
        model.save(str(member))
    for case, parameters in NAMES.items():
        if step == "WhiteLightStep" and case in ("extension", "use-model"):
            continue
        found = []
        for side, cls in zip(("ours", "jwst"), both(step), strict=True):
            folder = tmp_path / side / case
            folder.mkdir(parents=True)
            monkeypatch.chdir(folder)
            if step == "WhiteLightStep" and "output_dir" in parameters:
                Path(parameters["output_dir"]).mkdir(parents=True)
            with contextlib.closing(opened(member)) as model:
                given = str(member) if step == "Extract1dStep" else model
                if style == "call":
                    result = cls.call(given, **parameters, **own, **QUIET)
                else:
                    instance = cls()
                    for name, value in {**parameters, **own}.items():
                        setattr(instance, name, value)
                    result = instance.run(given)
            filename = result.meta.filename if hasattr(result.meta, "filename") else None
            found.append((filename, listing(folder)))
        assert found[0] == found[1], case


BESIDE = {
    "median": ("OutlierDetectionStep", "nrs_prism", {"save_intermediate_results": True}),
    "medians": (
        "OutlierDetectionStep",
        "nrc_tsimage",
        {"save_intermediate_results": True, "output_dir": "a/b", "rolling_window_width": 5},
    ),
    "catalog": ("TSOPhotometryStep", "nrc_tsimage", {"save_catalog": True}),
    "profile": (
        "Extract1dStep",
        "nrs_prism",
        {"save_profile": True, "save_scene_model": True, "save_residual_image": True},
    ),
    "catalog-there": (
        "TSOPhotometryStep",
        "nrc_tsimage",
        {"save_catalog": True, "output_dir": "c", "output_file": "mine"},
    ),
}


@pytest.mark.parametrize("case", BESIDE)
def test_files_beside_the_result(case, simulated, tmp_path, monkeypatch):
    step, mode, parameters = BESIDE[case]
    observation = simulated(mode)
    names = {"TSOPhotometryStep": "tso_photometry", "Extract1dStep": "extract_1d"}
    own = observation.steps.get(names.get(step), {})
    found = []
    for side, cls in zip(("ours", "jwst"), both(step), strict=True):
        (tmp_path / side).mkdir()
        monkeypatch.chdir(tmp_path / side)
        for _ in range(2):
            cls.call(opened(observation.members[0]), **parameters, **own, **QUIET)
        found.append(listing(tmp_path / side))
    assert found[0] == found[1] != []
    if "Outlier" in step:
        pair = (opened(tmp_path / side / found[0][0]) for side in ("ours", "jwst"))
        left, right = (model.data for model in pair)
        np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize("cls", ["Tso3Pipeline", "OutlierDetectionStep", "Extract1dStep"])
def test_parameters_and_parameter_files(cls, tmp_path):
    import jwst.pipeline

    peer = getattr(jwst.pipeline, cls, None) or theirs(cls)
    ours, made = getattr(tso3dask, cls)(), peer()
    for full in (True, False):
        assert ours.get_pars(full_spec=full) == made.get_pars(full_spec=full)
    ours.skip = made.skip = True
    ours.export_config(tmp_path / "ours.asdf")
    made.export_config(tmp_path / "jwst.asdf")
    assert peer.from_config_file(str(tmp_path / "ours.asdf")).get_pars() == made.get_pars()
    again = getattr(tso3dask, cls).from_config_file(tmp_path / "jwst.asdf").get_pars()
    expected = ours.get_pars()
    if cls == "Tso3Pipeline":  # a pipeline is run whether this is set or not
        assert again.pop("skip") is False
        expected.pop("skip")
    assert again == expected
