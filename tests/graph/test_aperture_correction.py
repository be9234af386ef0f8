"""Aperture correction of NIRSpec where the first integration of a segment has lost pixels."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from astropy.io import fits

import tso3dask as tso3
from tso3dask.graph import steps, write_crfints

LOST = 2
"""Segments 1 and 2 of the detector NRS1 have it: all pixels, and those of some columns."""


@pytest.fixture
def lost(detectors, copy_of):
    """An observation whose first integrations lack pixels, and the same with all of them."""
    changed = copy_of(detectors)
    whole, some = changed.members[0], changed.members[1]
    with fits.open(whole, mode="update") as hdus:
        hdus["SCI"].data[0] = np.nan
    with fits.open(some, mode="update") as hdus:
        hdus["DQ"].data[0, :, 10:20] |= 1
    return changed


def flux_of(paths):
    (path,) = paths
    with fits.open(path) as hdus:
        return [h.data["FLUX"] for h in hdus if h.name == "EXTRACT1D"]


def in_time(observation):
    return {**observation.steps, "pixel_replace": {"skip": False, "algorithm": "temporal"}}


def ran(observation, given, folder):
    result = tso3.plan(observation.asn, given).run(folder, workers=1)
    return flux_of(result.products["x1dints"]), result.notes


def brighter(found, expected, first):
    """Median of what columns differ by, of themselves; without the integrations before `first`."""
    ratio = np.median(found[int(first) :] / expected[int(first) :], axis=0)
    return np.nanmax(np.abs(ratio - 1))


def test_the_whole_aperture_counts_where_pixels_are_replaced_in_time(
    detectors, lost, tmp_path, caplog
):
    from tso3dask import Extract1dStep, PixelReplaceStep

    expected, _ = ran(detectors, in_time(detectors), tmp_path / "whole")
    found, notes = ran(lost, in_time(lost), tmp_path / "lost")
    assert not [note for note in notes if "the first integration has" in note]
    for table, (values, wanted) in enumerate(zip(found, expected, strict=True)):
        assert brighter(values, wanted, table < LOST) < 0.01
    plan = tso3.plan(lost.asn, in_time(lost))
    lazy = [leaf.to_dataset()["flux"].values for leaf in plan.x1dints.leaves]
    for values, wanted in zip(lazy, found, strict=True):
        np.testing.assert_array_equal(values, wanted)

    given = lost.steps["extract_1d"]
    model = plan.modelled.members[0].model
    dataset = tso3.open_segment(lost.members[0], chunks=7)
    flagged = steps.outlier_detection(dataset)
    replaced = steps.pixel_replace(flagged, model=model, algorithm="temporal")
    changed = replaced.assign(sci=replaced["sci"] + np.float32(0))
    written = write_crfints(changed, tmp_path / "replaced_calints.fits")
    for cubes in (replaced, changed, tso3.open_segment(written, chunks=7)):
        spectra = steps.extract_1d(cubes, **given)
        np.testing.assert_array_equal(spectra["flux"].values, found[0])

    caplog.set_level(logging.WARNING)
    model = PixelReplaceStep.call(lost.members[0], algorithm="temporal")
    alone = Extract1dStep.call(model, **given).spec[0].spec_table["FLUX"]
    model.save(tmp_path / "model_calints.fits")
    again = Extract1dStep.call(tmp_path / "model_calints.fits", **given).spec[0].spec_table["FLUX"]
    np.testing.assert_array_equal(alone, again)
    assert brighter(alone, expected[0], 1) < 0.01
    assert "the first integration has" not in caplog.text


def test_the_file_of_replaced_pixels_tells_how(detectors, tmp_path):
    given = in_time(detectors)
    given["pixel_replace"]["save_results"] = True
    result = tso3.plan(detectors.asn, given).run(tmp_path, workers=1)
    for kind, told in (("pixel_replace", True), ("crfints", False)):
        for path in result.products[kind]:
            assert tso3.graph.dataset.open_segment(path).replaced_in_time == told


@pytest.mark.parametrize("chunk", [1, 40])
def test_a_note_tells_of_lost_pixels(detectors, lost, tmp_path, chunk):
    """Numbers stay those of the first integration by default."""
    expected, quiet = ran(detectors, detectors.steps, tmp_path / "whole")
    assert not [note for note in quiet if "the first integration has" in note]
    plan = tso3.plan(lost.asn, lost.steps, chunk_integrations=chunk)
    result = plan.run(tmp_path / "lost", workers=1)
    found = flux_of(result.products["x1dints"])
    notes = [note for note in result.notes if "the first integration has" in note]
    columns = [np.isfinite(values).any(axis=0) for values in expected]
    assert len(notes) == LOST
    for note, member, count in zip(notes, lost.members, (columns[0].sum(), 10), strict=False):
        assert note.startswith(member.name)
        assert f"half of the pixels that others have in {count} of" in note
        assert "too bright in the whole segment" in note
    ratio = np.nanmedian(found[0][1:] / expected[0][1:])
    assert ratio > 1.2
    for values, wanted in zip(found[LOST:], expected[LOST:], strict=True):
        np.testing.assert_array_equal(values, wanted)
