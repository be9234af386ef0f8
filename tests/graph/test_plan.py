"""What a plan knows before anything runs."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from astropy.io import fits

import tso3dask as tso3
from tso3dask.errors import InputError
from tso3dask.graph.chunking import BASE_MEMORY
from tso3dask.io import wcs as wcs_module


@pytest.fixture
def plan(spectra, no_pixels):
    return tso3.plan(spectra.asn, spectra.steps, chunk_integrations=10)


def test_facts(plan, spectra):
    assert plan.kind == "spectroscopy"
    assert plan.nints == 60
    assert [m.chunks for m in plan.members] == [(10, 10, 10, 4), (10, 10), (5,), (1,)]
    assert plan.tasks == 8
    assert [m.segment.path for m in plan.members] == list(spectra.members)
    assert [m.label for m in plan.members] == ["seg001", "seg002", "seg003", "seg004"]
    assert plan.members[2].node.endswith("_mirimage/seg003")
    assert plan.budget.projected <= plan.budget.limit == 10**9


def test_names_of_products(plan, images):
    root = "jw09003007001_04101_00001-seg00{}_mirimage_o007_crfints.fits"
    base = plan.observation.association.name
    assert plan.products == {
        "crfints": [root.format(i) for i in (1, 2, 3, 4)],
        "x1dints": [f"{base}_x1dints.fits"],
        "whtlt": [f"{base}_whtlt.ecsv"],
    }
    made = tso3.plan(images.asn, images.steps)
    base = made.observation.association.name
    assert made.products["phot"] == [f"{base}_phot.ecsv"]
    assert list(made.products) == ["crfints", "phot"]
    assert made.tasks == 3 * 3


@pytest.mark.parametrize(
    ("skipped", "left"),
    [
        ({"outlier_detection"}, ["x1dints", "whtlt"]),
        ({"extract_1d"}, ["crfints"]),
        ({"white_light"}, ["crfints", "x1dints"]),
        ({"outlier_detection", "extract_1d"}, []),
    ],
)
def test_skipped_steps(spectra, no_pixels, skipped, left):
    steps = {k: dict(v) for k, v in spectra.steps.items()}
    for step in skipped:
        steps.setdefault(step, {})["skip"] = True
    made = tso3.plan(spectra.asn, steps)
    assert list(made.products) == left
    repr(made)


def test_a_plan_of_files(spectra, no_pixels):
    made = tso3.plan([str(p) for p in spectra.members], spectra.steps)
    assert [n for n in made.products["crfints"] if "o007" in n] == []
    assert made.observation.association.asn_id is None
    one = tso3.plan(spectra.members[0], spectra.steps)
    assert len(one.members) == 1
    assert any("integrations 35-60 are in no member" in note for note in one.notes)


def test_a_plan_of_a_dictionary(spectra, no_pixels, monkeypatch):
    monkeypatch.chdir(spectra.asn.parent)
    made = tso3.plan(json.loads(spectra.asn.read_text()), spectra.steps)
    assert made.products == tso3.plan(spectra.asn, spectra.steps).products


def test_members_in_any_order(spectra, copy_of, no_pixels):
    ours = copy_of(spectra)
    tree = json.loads(ours.asn.read_text())
    tree["products"][0]["members"].reverse()
    ours.asn.write_text(json.dumps(tree))
    made = tso3.plan(ours.asn, ours.steps)
    assert [m.segment.path.name for m in made.members] == [p.name for p in ours.members[::-1]]
    (group,) = made.observation.exposures.values()
    assert group == [3, 2, 1, 0]
    assert [node.path for node in made.crfints.leaves] == [m.node for m in made.members[::-1]]


# --- in words ----------------------------------------------------------------------------------


def test_text_of_a_plan(plan):
    text = repr(plan)
    for part in (
        "MIRI P750L",
        "MIR_LRS-SLITLESS",
        "4 members, 60 integrations of 26x20",
        "8 in 8 chunks of 1 to 10 integrations",
        "limit 1 GB",
        plan.products["x1dints"][0],
        "extract1d reference",
        "1-34",
        "60-60",
    ):
        assert part in text, part
    assert str(plan) == text


def test_text_counts_the_integrations_of_each_detector(detectors):
    text = str(tso3.plan(detectors.asn, detectors.steps))
    assert "4 members, 80 integrations (40 NRS1, 40 NRS2) of 12x40" in text


def test_markup_of_a_plan_escapes_what_files_say(spectra, copy_of, no_pixels):
    ours = copy_of(spectra)
    for path in ours.members:
        fits.setval(path, "TARGNAME", value="<script>&")
    markup = tso3.plan(ours.asn, ours.steps)._repr_html_()
    assert "<script>" not in markup
    assert "&lt;script&gt;&amp;" in markup
    assert markup.count("<table>") == markup.count("</table>") == 2


def test_text_of_every_mode(made, no_pixels, images, detectors):
    soss = made("nis_soss", nints=4, segments=1, shape=(20, 40))
    for observation in (images, detectors, soss):
        text = repr(tso3.plan(observation.asn, observation.steps))
        assert "memory" in text


# --- notes -------------------------------------------------------------------------------------


def test_good_input_has_no_notes(plan, images, detectors):
    assert plan.notes == ()
    assert tso3.plan(images.asn, images.steps).notes == ()
    assert tso3.plan(detectors.asn, detectors.steps).notes == ()


def test_gaps_are_noted(spectra, no_pixels):
    made = tso3.plan([spectra.members[i] for i in (0, 2, 3)], spectra.steps)
    assert [n for n in made.notes if "integrations 35-54 are in no member" in n]


def test_other_products_and_members_are_noted(spectra, copy_of, no_pixels):
    ours = copy_of(spectra)
    tree = json.loads(ours.asn.read_text())
    tree["products"].append({"name": "second", "members": []})
    tree["products"][0]["members"].append({"expname": "x.fits", "exptype": "background"})
    ours.asn.write_text(json.dumps(tree))
    notes = " ".join(tso3.plan(ours.asn, ours.steps).notes)
    assert "2 products, only the first" in notes
    assert "1 member not of type science is left out" in notes


def test_missing_times_are_noted_once(made, no_pixels):
    observation = made("mir_lrs-slitless", nints=9, segments=3, shape=(26, 20), int_times="absent")
    notes = tso3.plan(observation.asn, observation.steps).notes
    assert [n for n in notes if "INT_TIMES" in n] == [
        "3 members: the INT_TIMES table is absent: times are NaN"
    ]


def test_members_without_their_last_extension_are_noted(images, copy_of, no_pixels):
    ours = copy_of(images)
    for path in ours.members[:2]:
        with fits.open(path) as hdus:
            assert hdus[-1].name == "ASDF"
            kept = fits.HDUList([hdu.copy() for hdu in hdus[:-1]])
        kept.writeto(path, overwrite=True)
    note = "no ASDF extension, with which files of the pipeline end"
    noted = [n for n in tso3.plan(ours.asn, ours.steps).notes if note in n]
    assert len(noted) == 1 and noted[0].startswith("2 members: ")
    alone = [ours.members[0], ours.members[2]]
    noted = [n for n in tso3.plan(alone, ours.steps).notes if note in n]
    assert len(noted) == 1 and noted[0].startswith(f"{alone[0].name}: ")
    assert not [n for n in tso3.plan(images.asn, images.steps).notes if "ASDF" in n]


def test_a_folder_in_the_name_of_the_products_is_noted(images, no_pixels):
    made = tso3.plan(images.asn, images.steps, product_name="out/mine")
    assert made.names.phot == "mine_phot.ecsv"
    assert any(n.startswith("output_file: the product name 'out/mine'") for n in made.notes)


def test_destinations_are_those_of_a_run_and_nothing_is_written(images, tmp_path):
    made = tso3.plan(images.asn, images.steps)
    folder = tmp_path / "out"
    places = made.destinations(folder)
    assert not folder.exists()
    assert made.run(folder).products == places
    with pytest.raises(InputError, match="holds earlier products"):
        made.destinations(folder)
    assert made.destinations(folder, overwrite=True) == places


def test_parameters_without_effect_are_noted(spectra, no_pixels):
    steps = {**spectra.steps, "outlier_detection": {"pixfrac": 0.5}}
    assert any("outlier_detection.pixfrac" in n for n in tso3.plan(spectra.asn, steps).notes)


def test_defaults_in_an_exported_file_are_counted(spectra, no_pixels):
    """Such a file holds every parameter of every step."""
    from tso3dask.config import parse_steps

    steps = {
        "outlier_detection": {"maskpt": 0.5, "snr": "5.0 4.0", "good_bits": "~DO_NOT_USE"},
        "tso_photometry": {"radius": 3.0, "centroid_source": True},
        "extract_1d": {**spectra.steps["extract_1d"], "smoothing_length": None, "bkg_order": None},
    }
    origins = {f"{s}.{p}": "mine.asdf" for s, values in steps.items() for p in values}
    origins["extract_1d.bkg_order"] = "command line"
    made = tso3.plan(spectra.asn, parse_steps(steps, origins=origins))
    text = repr(made)
    assert "maskpt=0.5 (mine.asdf), 2 at their default (mine.asdf)" in text
    assert "bkg_order=None (command line), 1 at their default (mine.asdf)" in text
    assert not made.notes  # nothing is expected of defaults of a step that has no part


# --- references --------------------------------------------------------------------------------


def test_references_found(plan, spectra):
    step = spectra.steps["extract_1d"]
    names = tuple(m.segment.path.name for m in plan.members)
    assert plan.references == {
        "extract1d": {step["override_extract1d"]: names},
        "apcorr": {step["override_apcorr"]: names},
    }
    assert f"extract1d reference  {step['override_extract1d']}\n" in str(plan)


def test_no_reference_where_none_is_needed(spectra, images, no_pixels):
    assert tso3.plan(images.asn).references == {}
    assert tso3.plan(spectra.asn, {"extract_1d": {"skip": True}}).references == {}


def test_not_applicable_references(spectra, no_pixels):
    steps = {"extract_1d": {"override_extract1d": "N/A", "override_apcorr": "N/A"}}
    made = tso3.plan(spectra.asn, steps)
    assert [list(users) for users in made.references.values()] == [["N/A"], ["N/A"]]


def test_a_reference_that_is_needed(spectra, no_pixels):
    with pytest.raises(InputError, match="missing reference: extract1d"):
        tso3.plan(spectra.asn)


# --- names of results --------------------------------------------------------------------------


def test_token_tells_results_apart(spectra, copy_of, no_pixels):
    ours = copy_of(spectra)

    def token(**changes):
        steps = {k: {**v, **changes.get(k, {})} for k, v in ours.steps.items()}
        steps |= {k: v for k, v in changes.items() if k not in steps}
        return tso3.plan(ours.asn, steps).token

    first = token()
    assert token() == first
    assert token(outlier_detection={"snr": "5.0 4.0"}) == first
    assert token(outlier_detection={"snr": "5.1"}) != first
    assert token(white_light={"min_wavelength": 6.0}) != first
    assert token(extract_1d={"position_offset": 1.0}) != first
    assert tso3.plan(ours.asn, ours.steps, chunk_integrations=3, workers=1).token == first
    reference = ours.steps["extract_1d"]["override_extract1d"]
    copy = ours.folder / "again.json"
    copy.write_text(Path(reference).read_text())
    other = token(extract_1d={"override_extract1d": str(copy)})
    assert other != first
    os.utime(copy, ns=(1, 1))
    assert token(extract_1d={"override_extract1d": str(copy)}) != other
    os.utime(ours.members[3], ns=(1, 1))
    assert token() != first


# --- cost --------------------------------------------------------------------------------------


def test_one_wcs_evaluation_for_all_segments_of_an_exposure(made, no_pixels, monkeypatch):
    observation = made("nrc_tsgrism", nints=12, segments=6, shape=(16, 40))
    loaded = []
    real = wcs_module.load_wcs
    monkeypatch.setattr(wcs_module, "load_wcs", lambda content: loaded.append(1) or real(content))
    made_plan = tso3.plan(observation.asn, observation.steps)
    assert len({id(m.spectrum) for m in made_plan.members}) == 1
    assert len(loaded) <= 2


def test_members_of_an_exposure_evaluate_one_wcs(made, no_pixels, monkeypatch):
    from tso3dask.io import wcs

    observation = made("nrc_tsgrism", nints=12, segments=6, shape=(16, 40))
    reads = []
    read = wcs._read
    monkeypatch.setattr(wcs, "_loaded", {})
    monkeypatch.setattr(wcs, "_read", lambda content: reads.append(content) or read(content))
    plan = tso3.plan(observation.asn, observation.steps)
    assert len(reads) == 1
    assert len({id(member.spectrum) for member in plan.members}) == 1


def test_memory_follows_limit_and_workers(spectra, no_pixels):
    roomy = tso3.plan(spectra.asn, spectra.steps, memory_limit="8GiB", workers=4)
    assert roomy.budget.workers == 4
    tight = tso3.plan(spectra.asn, spectra.steps, memory_limit=BASE_MEMORY + 2 * 10**6, workers=4)
    assert tight.budget.projected <= BASE_MEMORY + 2 * 10**6
    assert tight.budget.sub_block < roomy.budget.sub_block


def test_a_picture_of_the_graph(plan, tmp_path):
    pytest.importorskip("graphviz")
    import shutil

    if shutil.which("dot") is None:
        pytest.skip("graphviz is not installed")
    plan.visualize(str(tmp_path / "graph.svg"))
    assert (tmp_path / "graph.svg").stat().st_size > 1000
