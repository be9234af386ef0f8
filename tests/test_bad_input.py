"""Bad input: one clear line, exit status 2, nothing written, and no pixel read to find out."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

import tso3dask as tso3
from tso3dask import cli
from tso3dask.errors import InputError
from tso3dask.io.pixels import ArraySpec

CUBES = {"sci", "err", "dq", "var_poisson", "var_rnoise", "var_flat"}


@pytest.fixture(scope="module")
def lrs(made):
    return made("mir_lrs-slitless", nints=12, segments=2, shape=(26, 20))


@pytest.fixture(scope="module")
def image(made):
    return made("nrc_tsimage", nints=12, segments=2, shape=(24, 26))


@pytest.fixture(scope="module")
def raw_image(made):
    return made("nrc_tsimage", nints=6, segments=1, shape=(24, 26), photom=False)


@pytest.fixture(scope="module")
def nirspec(made):
    return made("nrs_g395h", nints=6, segments=2, shape=(12, 40))


@pytest.fixture(scope="module")
def observations(lrs, image, raw_image, nirspec):
    return {"lrs": lrs, "image": image, "raw_image": raw_image, "nirspec": nirspec}


@pytest.fixture(autouse=True)
def no_pixels(monkeypatch):
    """Reading a cube fails; the wavelength image may be looked at."""
    real = ArraySpec.read

    def read(self, *args, **kwargs):
        assert self.name not in CUBES, f"pixels of {self.path} were read"
        return real(self, *args, **kwargs)

    def read_region(self, *args, **kwargs):
        raise AssertionError(f"pixels of {self.path} were read")

    monkeypatch.setattr(ArraySpec, "read", read)
    monkeypatch.setattr(ArraySpec, "read_region", read_region)


@pytest.fixture
def case(observations, copy_of, tmp_path, monkeypatch, capsys):
    """An observation to damage, and what a run of it must say."""
    monkeypatch.chdir(tmp_path)

    def copy(name="lrs"):
        ours = copy_of(observations[name])
        ours.out = tmp_path / "out"

        def refused(*texts, words=(), steps=None, source=None, python=True):
            given = [str(ours.asn)] if source is None else [str(s) for s in source]
            steps_file = tmp_path / "steps.json"
            steps_file.write_text(json.dumps(ours.steps if steps is None else steps))
            line = ["run", *given, "-o", str(ours.out), "--params", str(steps_file), *words]
            before = listing(tmp_path)
            capsys.readouterr()
            assert cli.main(line) == 2
            said = capsys.readouterr()
            assert said.out == ""
            assert said.err.count("\n") == 1, said.err
            assert said.err.startswith("tso3dask: ")
            assert "Traceback" not in said.err
            assert listing(tmp_path) == before, "something was written"
            for text in texts:
                assert text in said.err, f"{text!r} is not in {said.err!r}"
            if python:
                with pytest.raises(InputError) as caught:
                    tso3.plan(given[0] if source is None else given, steps_of(steps_file))
                assert f"tso3dask: {caught.value}\n" == said.err
            return said.err

        ours.refused = refused
        return ours

    return copy


def steps_of(path):
    return json.loads(path.read_text())


def listing(folder):
    return {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in Path(folder).rglob("*")}


def header(path, **values):
    """Set keywords, of the primary header or of the extension before ``__``; None removes."""
    with fits.open(path, mode="update") as hdus:
        for key, value in values.items():
            extension, _, keyword = key.rpartition("__")
            target = hdus[extension or 0].header
            if value is None:
                target.remove(keyword, ignore_missing=True)
            else:
                target[keyword] = value


def without_tree(path):
    """Drop the ASDF extension, where keywords that a header has lost are found again."""
    edit(path, lambda hdus: [h for h in hdus if h.name != "ASDF"])


def association(ours, change):
    tree = json.loads(ours.asn.read_text())
    result = change(tree)
    ours.asn.write_text(json.dumps(tree if result is None else result))


def test_the_cases_are_good_before_they_are_damaged(observations):
    for made in observations.values():
        plan = tso3.plan(made.asn, made.steps)
        assert plan.nints in (6, 12)


# --- files -------------------------------------------------------------------------------------


def test_missing_member(case):
    ours = case()
    ours.members[1].unlink()
    ours.refused(ours.asn.name, f"missing {ours.members[1]}")


def test_missing_association(case):
    ours = case()
    ours.asn.unlink()
    ours.refused(f"{ours.asn}: no such file")


def test_folder_instead_of_an_association(case):
    ours = case()
    ours.refused("is a folder", source=[ours.folder])


def test_folder_instead_of_a_member(case):
    ours = case()
    ours.members[0].unlink()
    ours.members[0].mkdir()
    ours.refused(ours.members[0].name)


def test_nothing_to_process(case):
    ours = case()
    ours.refused("no input", source=[], python=False)
    with pytest.raises(InputError, match="no input"):
        tso3.plan([])


@pytest.mark.parametrize("content", [b"", b"SIMPLE", b"hello" * 1000, b"\x89HDF\r\n" + bytes(3000)])
def test_not_fits(case, content):
    ours = case()
    ours.members[1].write_bytes(content)
    ours.refused(f"{ours.members[1]}: is not a FITS file")


def test_compressed(case):
    ours = case()
    ours.members[1].write_bytes(gzip.compress(ours.members[1].read_bytes()))
    ours.refused(f"{ours.members[1]}: is gzip-compressed", "gunzip")


@pytest.mark.parametrize("share", [0.97, 0.7, 0.3, 0.05, 0.01])
def test_truncated(case, share):
    ours = case()
    size = ours.members[1].stat().st_size
    os.truncate(ours.members[1], int(share * size))
    ours.refused(f"{ours.members[1]}: ")


def test_truncated_says_so(case):
    ours = case()
    os.truncate(ours.members[1], ours.members[1].stat().st_size // 2)
    ours.refused(f"{ours.members[1]}: truncated", "fetch it again")


def test_truncated_between_extensions(case):
    """Where the header counts extensions, and files of the pipeline end with their tree."""
    ours = case()
    path = ours.members[1]
    with fits.open(path) as hdus:
        last, rest = hdus[-1].name, [hdu.copy() for hdu in hdus[1:-1]]
        fits.HDUList([hdus[0].copy(), *rest]).writeto(path, overwrite=True)
    assert last == "ASDF"
    header(path, NEXTEND=len(rest) + 1)
    ours.refused(
        f"{path}: truncated: NEXTEND tells of {len(rest) + 1} extensions", "fetch it again"
    )


def test_truncated_in_the_padding_of_an_image(case):
    ours = case()
    with fits.open(ours.members[1]) as hdus:
        end = hdus["VAR_POISSON"].fileinfo()["datLoc"] + hdus["VAR_POISSON"].size
    os.truncate(ours.members[1], end + 10)
    ours.refused(f"{ours.members[1]}: truncated", "fetch it again")


@pytest.mark.parametrize("place", [80, 2880 + 40, 30_000])
def test_damaged_headers(case, place):
    """Garbage where a header should be: refused, or (in a text card) harmless, never a crash."""
    ours = case()
    with ours.members[0].open("r+b") as file:
        file.seek(place)
        file.write(b"\xff\x00=garbage" * 200)
    ours.refused(str(ours.members[0]))


def test_not_readable(case):
    ours = case()
    if os.geteuid() == 0:
        pytest.skip("everything is readable to root")
    ours.members[0].chmod(0)
    ours.refused(str(ours.members[0]))


def edit(path, change):
    """Rewrite a file with other HDUs."""
    with fits.open(path) as hdus:
        kept = [hdu.copy() for hdu in hdus]
    made = change(kept)
    fits.HDUList(kept if made is None else made).writeto(path, overwrite=True)


def named(hdus, name):
    return next(hdu for hdu in hdus if hdu.name == name)


@pytest.mark.parametrize(
    ("name", "cut", "text"),
    [
        ("ERR", np.s_[:, :, :-1], "ERR is 6x26x19, SCI is 6x26x20"),
        ("DQ", np.s_[:-1], "DQ is 5x26x20, SCI is 6x26x20"),
        ("VAR_RNOISE", np.s_[:, 1:], "VAR_RNOISE is 6x25x20"),
        ("WAVELENGTH", np.s_[1:], "WAVELENGTH is 25x20"),
        ("DQ", np.s_[0], "DQ is 26x20"),
    ],
)
def test_shapes_that_do_not_fit(case, name, cut, text):
    ours = case()

    def change(hdus):
        named(hdus, name).data = named(hdus, name).data[cut].copy()

    edit(ours.members[1], change)
    ours.refused(str(ours.members[1]), text)


def test_images_instead_of_cubes(case):
    ours = case()

    def change(hdus):
        for hdu in hdus:
            if getattr(hdu, "data", None) is not None and hdu.data.ndim == 3:
                hdu.data = hdu.data[0].copy()

    for path in ours.members:
        edit(path, change)
    ours.refused(str(ours.members[0]), "SCI is 2-D 26x20", "_calints")


@pytest.mark.parametrize("name", ["SCI", "ERR", "DQ"])
def test_missing_extension(case, name):
    ours = case()
    edit(ours.members[0], lambda hdus: [h for h in hdus if h.name != name])
    ours.refused(str(ours.members[0]), name)


def test_empty_cube(case):
    ours = case()

    def change(hdus):
        for hdu in hdus:
            if getattr(hdu, "data", None) is not None and hdu.data.ndim == 3:
                hdu.data = hdu.data[:0].copy()

    edit(ours.members[0], change)
    ours.refused(str(ours.members[0]))


def test_scaled_integers(case):
    ours = case()

    def change(hdus):
        sci = named(hdus, "SCI")
        sci.data = sci.data.astype("i2")
        sci.scale("int16", bscale=0.5, bzero=3)

    edit(ours.members[0], change)
    ours.refused(str(ours.members[0]), "SCI")


# --- members that do not belong together -------------------------------------------------------


def test_other_exposure_type(case):
    ours = case()
    header(ours.members[1], EXP_TYPE="MIR_IMAGE")
    ours.refused(ours.members[1].name, "EXP_TYPE is MIR_IMAGE", "MIR_LRS-SLITLESS")


def test_other_instrument(case):
    ours = case()
    header(ours.members[1], INSTRUME="NIRCAM")
    ours.refused(ours.members[1].name, "INSTRUME is NIRCAM", "MIRI")


def test_other_unit(case):
    ours = case()
    header(ours.members[1], SCI__BUNIT="DN/s")
    ours.refused(ours.members[1].name, "BUNIT is DN/S", "reduce them alike")


@pytest.mark.parametrize("status", [None, "SKIPPED"])
def test_other_photom_status(case, status):
    ours = case()
    header(ours.members[1], S_PHOTOM=status)
    if status is None:
        without_tree(ours.members[1])
    ours.refused(ours.members[1].name, "S_PHOTOM", "COMPLETE")


def test_files_of_two_observations(case, observations, tmp_path):
    ours = case()
    foreign = tmp_path / "foreign_calints.fits"
    shutil.copy(observations["image"].members[0], foreign)
    ours.refused("foreign_calints.fits", source=[*ours.members, foreign])


def test_overlapping_integrations(case):
    ours = case()
    header(ours.members[1], INTSTART=6, INTEND=11)
    ours.refused(
        ours.members[1].name, "integrations 6-11, which overlaps integrations 1-6 of", "INTSTART"
    )


def test_a_segment_twice_under_two_names(case):
    ours = case()
    twin = ours.members[1].with_name(ours.members[1].name.replace("seg002", "seg003"))
    shutil.copy(ours.members[1], twin)
    ours.refused("overlap", source=[*ours.members, twin])


def test_the_same_integrations_of_two_detectors_do_not_overlap(observations):
    """The counterpart: this must not be refused."""
    made = observations["nirspec"]
    assert len(tso3.plan(made.asn, made.steps).members) == 4


def test_other_array_size_in_one_exposure(case):
    ours = case()

    def change(hdus):
        for hdu in hdus:
            data = getattr(hdu, "data", None)
            if data is not None and data.ndim in (2, 3) and hdu.name != "ASDF":
                hdu.data = data[..., :-1].copy()

    edit(ours.members[1], change)
    ours.refused(ours.members[1].name, "26x19", "26x20")


def test_not_a_time_series(case):
    ours = case()
    for path in ours.members:
        header(path, TSOVISIT=False)
    ours.refused(ours.members[0].name, "not a time series", "TSOVISIT")


def test_one_integration_is_no_time_series(case):
    ours = case("image")
    header(ours.members[0], NINTS=1)
    ours.refused(ours.members[0].name, "not a time series", "at least 2 integrations")


def test_no_exposure_type(case):
    ours = case()
    header(ours.members[0], EXP_TYPE=None)
    ours.refused(ours.members[0].name, "EXP_TYPE")


def test_several_slits(case):
    ours = case("nirspec")
    for path in ours.members:
        header(path, DATAMODL="MultiSlitModel")
    ours.refused(ours.members[0].name, "several slits")


# --- associations ------------------------------------------------------------------------------


def test_member_named_twice(case):
    ours = case()
    association(ours, lambda t: t["products"][0]["members"].append(t["products"][0]["members"][0]))
    ours.refused(ours.asn.name, "named twice")
    link = ours.folder / "link_calints.fits"
    link.symlink_to(ours.members[0])
    ours.refused("named twice", source=[*ours.members, link])


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("", "not valid JSON"),
        ("{", "not valid JSON"),
        ("[1, 2]", "expected a dictionary"),
        ("3", "expected a dictionary"),
        ("{}", "has no 'products'"),
        ('{"products": []}', "has no 'products'"),
        ('{"products": {}}', "has no 'products'"),
        ('{"products": "x"}', "has no 'products'"),
        ('{"products": [3]}', "has no 'name'"),
        ('{"products": [{"name": "x"}]}', "has no 'members'"),
        ('{"products": [{"name": "x", "members": []}]}', "no member of exptype 'science'"),
        (
            '{"products": [{"name": "x", "members": [{"expname": 3, "exptype": "science"}]}]}',
            "expname",
        ),
        ('{"products": [{"name": "x", "members": ["a_calints.fits"]}]}', "expname"),
        ('{"products": [{"name": 3, "members": []}]}', "has no 'name'"),
    ],
)
def test_what_is_no_association(case, content, text):
    ours = case()
    ours.asn.write_text(content)
    ours.refused(ours.asn.name, text)


def test_association_that_is_no_text(case):
    ours = case()
    ours.asn.write_bytes(ours.members[0].read_bytes()[:3000] + b"\xff\xfe")
    ours.refused(ours.asn.name, "not a text file")


def test_no_science_members(case):
    ours = case()

    def change(tree):
        for member in tree["products"][0]["members"]:
            member["exptype"] = "background"

    association(ours, change)
    ours.refused(ours.asn.name, "science")


def test_members_outside_of_the_folder(case):
    ours = case()

    def change(tree):
        tree["products"][0]["members"][0]["expname"] = "../../etc/passwd"

    association(ours, change)
    ours.refused(ours.asn.name, "leads out of the association's folder")


def test_remote_members(case):
    ours = case()

    def change(tree):
        tree["products"][0]["members"][0]["expname"] = "https://mast/x_calints.fits"

    association(ours, change)
    ours.refused("download it first")


def test_bad_association_id(case):
    ours = case()
    association(ours, lambda tree: {**tree, "asn_id": "../x"})
    ours.refused("asn_id", "../x")


def test_two_associations(case):
    ours = case()
    ours.refused("one association", source=[ours.asn, ours.asn])


def test_members_that_become_one_product(case):
    ours = case()
    other = ours.folder / "more"
    other.mkdir()
    shutil.copy(ours.members[1], other / ours.members[0].name)
    ours.refused("would both become", source=[ours.members[0], other / ours.members[0].name])


# --- parameters --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "values", "text"),
    [
        ("outlier_detecton", {}, "Did you mean 'outlier_detection'"),
        ("outlier_detection", {"snrr": 5}, "Did you mean 'snr'"),
        ("outlier_detection", {"radius": 5}, "tso_photometry has it"),
        ("outlier_detection", {"snr": "five"}, "outlier_detection.snr: expected"),
        ("outlier_detection", {"rolling_window_width": 2.5}, "expected an integer"),
        ("outlier_detection", {"rolling_window_width": "wide"}, "expected an integer"),
        ("outlier_detection", {"maskpt": None}, "expected a number"),
        ("outlier_detection", {"skip": "maybe"}, "expected True or False"),
        ("outlier_detection", {"output_ext": ".asdf"}, "not supported yet"),
        ("outlier_detection", {"suffix": "../../up"}, "outlier_detection.suffix: expected a word"),
        ("outlier_detection", {"good_bits": "~NO_SUCH_FLAG"}, "NO_SUCH_FLAG"),
        ("outlier_detection", [1], "expected"),
        ("extract_1d", {"bkg_fit": "cubic"}, "one of poly, mean, median"),
        ("extract_1d", {"bkg_order": -1}, ">= 0"),
        ("extract_1d", {"smoothing_length": "x"}, "expected an integer"),
        ("tso_photometry", {"radius": -1}, "above 0"),
        ("tso_photometry", {"radius_inner": 6, "radius_outer": 5}, "radius_outer must be above"),
        ("pixel_replace", {"algorithm": "minigrad"}, "one of fit_profile, mingrad, trace_model"),
        ("pixel_replace", {"n_adjacent_cols": 2.5}, "expected an integer"),
        ("white_light", {"min_wavelength": "red"}, "expected a number"),
        ("white_light", {"output_ext": "/ecsv"}, "white_light.output_ext: expected a word"),
    ],
)
def test_bad_parameters(case, step, values, text):
    ours = case()
    steps = {k: dict(v) for k, v in ours.steps.items()}
    if isinstance(values, dict):
        steps.setdefault(step, {}).update(values)
    else:
        steps[step] = values
    ours.refused(text, steps=steps, python=isinstance(values, dict))


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--steps.extract_1d.bkg_ordr=1"], "Did you mean 'bkg_order'"),
        (["--steps.extract1d.bkg_order=1"], "Did you mean 'extract_1d'"),
        (["--override_extract1=x.json"], "Did you mean 'extract1d'"),
        (["--override_extract1d=/no/such.json"], "no file '/no/such.json'"),
        (["--scheduler", "thread"], "expected threads, processes, synchronous"),
        (["--scheduler", "tcp:nowhere"], "tcp:nowhere"),
        (["--memory-limit", "much"], "memory limit 'much' is not a size"),
        (["--memory-limit", "10MB"], "memory limit 10 MB is too small"),
        (["--workers", "0"], "at least 1"),
        (["--chunk-integrations", "0"], "at least 1"),
        (["--chunk-integrations", "few"], "few"),
        (["--overwrite", "--resume"], "not allowed with"),
        (["--no-such-option"], "--no-such-option"),
        (["--params", "/no/params.json"], "no such parameter file"),
    ],
)
def test_bad_words(case, words, text):
    ours = case()
    ours.refused(text, words=words, python=False)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"memory_limit": "10MB"}, "too small"),
        ({"memory_limit": "x"}, "not a size"),
        ({"memory_limit": []}, "not a size"),
        ({"memory_limit": float("nan")}, "not a size"),
        ({"chunk_integrations": 0}, "whole number"),
        ({"chunk_integrations": "4"}, "whole number"),
        ({"workers": -1}, "whole number"),
        ({"workers": 1.5}, "whole number"),
        ({"product_name": 3}, "must be text"),
        ({"recipe": 3}, "unknown recipe"),
    ],
)
def test_bad_options_in_python(lrs, options, text):
    with pytest.raises(InputError, match=text):
        tso3.plan(lrs.asn, lrs.steps, **options)


@pytest.mark.parametrize("source", [3, None, [3]])
def test_bad_source_in_python(source):
    with pytest.raises(InputError, match=r"expected .* got"):
        tso3.plan(source)


@pytest.mark.parametrize("scheduler", ["thread", 3])
def test_bad_scheduler_in_python(lrs, tmp_path, scheduler):
    with pytest.raises(InputError, match=f"scheduler {scheduler!r} is not known"):
        tso3.run(lrs.asn, tmp_path / "out", lrs.steps, scheduler=scheduler)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("{", "not valid JSON"),
        ("[]", "dictionary"),
        ('{"outlier_detection": {"snr": 5}, "outlier_detection": {}}', "twice"),
        ('{"outlier_detection": 5}', "outlier_detection"),
    ],
)
def test_bad_parameter_file(case, tmp_path, content, text):
    ours = case()
    (tmp_path / "bad.json").write_text(content)
    ours.refused("bad.json", text, words=["--params", str(tmp_path / "bad.json")], python=False)


# --- references --------------------------------------------------------------------------------


def without_references(steps):
    return {
        step: {k: v for k, v in values.items() if not k.startswith("override_")}
        for step, values in steps.items()
    }


def test_missing_references(case):
    ours = case()
    ours.refused(
        "missing reference: extract1d (step extract_1d), apcorr",
        "--override_extract1d=FILE",
        "extract_1d.override_extract1d",
        steps=without_references(ours.steps),
    )


def test_missing_gain(case):
    ours = case("raw_image")
    steps = without_references(ours.steps)
    ours.refused("missing reference: gain (step tso_photometry)", steps=steps)
    steps["tso_photometry"] = {"override_gain": "N/A"}
    ours.refused("missing reference: gain", steps=steps)


def with_extract1d(ours, content):
    path = ours.folder / "mine.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    steps = {k: dict(v) for k, v in ours.steps.items()}
    steps["extract_1d"]["override_extract1d"] = str(path)
    return steps


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("", "not valid JSON"),
        ("not json", "not valid JSON"),
        ("[]", "expected a list 'apertures'"),
        ({"apertures": {}}, "expected a list 'apertures'"),
        ({"apertures": [3]}, "expected a list 'apertures'"),
    ],
)
def test_bad_extract1d(case, content, text):
    ours = case()
    ours.refused("mine.json", text, steps=with_extract1d(ours, content))


@pytest.mark.parametrize(
    "aperture",
    [
        {"id": "MIR_LRS-SLITLESS", "xstart": "left", "xstop": 9, "dispaxis": 2},
        {"id": "MIR_LRS-SLITLESS", "src_coeff": "wide", "dispaxis": 2},
        {"id": "MIR_LRS-SLITLESS", "src_coeff": [[1.0]], "dispaxis": 2},
        {"id": "MIR_LRS-SLITLESS", "bkg_coeff": [["a"], ["b"]], "dispaxis": 2},
        {"id": "MIR_LRS-SLITLESS", "xstart": 30, "xstop": 35, "dispaxis": 2},
        {"id": "MIR_LRS-SLITLESS", "xstart": 12, "xstop": 3, "dispaxis": 2},
    ],
    ids=["text", "no-polynomials", "one-limit", "text-coefficients", "outside", "backwards"],
)
def test_apertures_that_cannot_be(case, aperture):
    ours = case()
    reference = {"apertures": [aperture], "reftype": "EXTRACT1D"}
    ours.refused("extract", steps=with_extract1d(ours, reference))


def test_slit_not_in_the_reference(case):
    ours = case("nirspec")
    steps = {k: dict(v) for k, v in ours.steps.items()}
    tree = json.loads(Path(steps["extract_1d"]["override_extract1d"]).read_text())
    for aperture in tree["apertures"]:
        aperture["id"] = "S200A1"
    ours.refused("has no aperture for 'S1600A1'", "S200A1", steps=with_extract1d(ours, tree))


def test_references_of_the_wrong_kind(case):
    ours = case()
    steps = {k: dict(v) for k, v in ours.steps.items()}
    steps["extract_1d"]["override_extract1d"] = str(ours.members[0])
    ours.refused("must be a JSON file", steps=steps)
    steps = {k: dict(v) for k, v in ours.steps.items()}
    steps["extract_1d"]["override_apcorr"] = str(ours.members[0])
    ours.refused("apcorr reference", "APCORR", steps=steps)
    text = ours.folder / "apcorr.fits"
    text.write_text("hello")
    steps["extract_1d"]["override_apcorr"] = str(text)
    ours.refused("apcorr.fits", "not readable as apcorr reference", steps=steps)


def test_gain_that_does_not_cover_the_subarray(case):
    ours = case("raw_image")
    steps = {k: dict(v) for k, v in ours.steps.items()}
    path = ours.folder / "gain.fits"
    sci = fits.ImageHDU(np.ones((10, 10), "f4"), name="SCI")
    primary = fits.PrimaryHDU()
    primary.header.update(SUBSTRT1=1, SUBSTRT2=1, SUBSIZE1=10, SUBSIZE2=10)
    fits.HDUList([primary, sci]).writeto(path)
    steps["tso_photometry"]["override_gain"] = str(path)
    ours.refused("gain.fits", "covers 10 x 10 pixels", steps=steps)


def test_no_wavelengths_at_all(case):
    ours = case()
    for path in ours.members:
        edit(path, lambda hdus: [h for h in hdus if h.name not in ("WAVELENGTH", "ASDF")])
    ours.refused(ours.members[0].name, "neither a WCS nor a WAVELENGTH image")


@pytest.mark.parametrize("keyword", ["XREF_SCI", "BUNIT"])
def test_keywords_that_photometry_needs(case, keyword):
    ours = case("image")
    for path in ours.members:
        header(path, **{keyword: None, f"SCI__{keyword}": None})
        without_tree(path)
    ours.refused(ours.members[0].name, keyword)


def test_unit_that_no_column_can_have(case):
    ours = case("image")
    for path in ours.members:
        header(path, SCI__BUNIT="furlongs")
    ours.refused(ours.members[0].name, "BUNIT is furlongs", "expected MJy/sr or DN/s")


# --- output ------------------------------------------------------------------------------------


def test_output_folder_with_earlier_products(case):
    ours = case()
    plan = tso3.plan(ours.asn, ours.steps)
    ours.out.mkdir()
    for name in (plan.names.x1dints, plan.names.crfints[0]):
        (ours.out / name).write_text("earlier")
    ours.refused(str(ours.out), "holds earlier products", "--overwrite", "--resume", python=False)
    with pytest.raises(InputError, match="holds earlier products"):
        plan.run(ours.out)


def test_output_that_is_a_file(case):
    ours = case()
    ours.out.write_text("a file")
    ours.refused(str(ours.out), "is a file", python=False)


def test_output_below_a_file(case, tmp_path):
    ours = case()
    (tmp_path / "file").write_text("a file")
    ours.out = tmp_path / "file" / "out"
    line = ["run", str(ours.asn), "-o", str(ours.out), "--params", str(tmp_path / "s.json")]
    (tmp_path / "s.json").write_text(json.dumps(ours.steps))
    assert cli.main(line) == 2


def test_output_that_cannot_be_written(case, tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root writes everywhere")
    ours = case()
    ours.out.mkdir(mode=0o500)
    ours.refused(str(ours.out), python=False)


def test_products_never_replace_members(case):
    """A crfints file as input, whose product has its own name."""
    ours = case()
    association(ours, lambda tree: {**tree, "asn_id": None})
    renamed = [p.rename(p.with_name(p.name.replace("calints", "crfints"))) for p in ours.members]
    ours.out = ours.folder
    before = {p: p.read_bytes() for p in renamed}
    line = ["run", *map(str, renamed), "-o", str(ours.folder), "--overwrite", "--params"]
    (ours.folder / "s.json").write_text(json.dumps(ours.steps))
    assert cli.main([*line, str(ours.folder / "s.json")]) == 2
    assert before == {p: p.read_bytes() for p in renamed}


def test_niriss_soss_wants_its_references_at_once(made, tmp_path, capsys, monkeypatch):
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    soss = made("nis_soss", nints=8, segments=2, shape=(20, 40))
    assert cli.main(["run", str(soss.asn), "-o", "out", "--no-plots"]) == 2
    said = capsys.readouterr().err
    for kind in ("pastasoss", "specprofile", "speckernel", "photom", "wavelengthrange"):
        assert f"--override_{kind}=FILE" in said
    assert "Traceback" not in said and not Path("out").exists()


def test_verbose_shows_the_traceback(lrs, capsys):
    assert cli.main(["run", str(lrs.asn), "-v"]) == 2
    assert "Traceback" in capsys.readouterr().err
