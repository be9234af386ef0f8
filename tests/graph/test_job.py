"""Pixels that later passes of a run take from files that an earlier one wrote."""

from __future__ import annotations

from collections import Counter

import numpy as np

import tso3dask as tso3
from tso3dask.graph import stages
from tso3dask.io.pixels import ArraySpec
from tso3dask.io.tables import read_table


def counted(monkeypatch):
    """Count integrations that are flagged, and rows that are read, by array and file."""
    counts = Counter()
    flag, read = stages.outliers.flag_block, ArraySpec.read

    def flagged(*arrays, a, b, **more):
        counts["all", "flagged"] += b - a
        return flag(*arrays, a=a, b=b, **more)

    def reading(self, start=0, stop=None, out=None):
        place = "crfints" if "crfints" in self.path else "calints"
        counts[place, self.name] += (self.shape[0] if stop is None else stop) - start
        return read(self, start, stop, out)

    monkeypatch.setattr(stages.outliers, "flag_block", flagged)
    monkeypatch.setattr(ArraySpec, "read", reading)
    return counts


def test_images_are_flagged_once_in_a_run(images, tmp_path, monkeypatch):
    lazy = tso3.plan(images.asn, images.steps).phot.compute(scheduler="synchronous")
    counts = counted(monkeypatch)
    plan = tso3.plan(images.asn, images.steps)
    result = plan.run(tmp_path, scheduler="synchronous")
    assert counts["all", "flagged"] == plan.nints
    assert counts["calints", "err"] == plan.nints
    read = {name: rows for (place, name), rows in counts.items() if place == "crfints"}
    assert read == {"sci": 2 * plan.nints, "dq": plan.nints, "err": plan.nints}
    table = read_table(result.products["phot"][0])
    np.testing.assert_array_equal(table["aperture_sum"].value, lazy["aperture_sum"].values)


def test_without_crfints_every_pass_flags(images, monkeypatch):
    counts = counted(monkeypatch)
    plan = tso3.plan(images.asn, images.steps)
    plan.phot.compute(scheduler="synchronous")
    assert counts["all", "flagged"] == 3 * plan.nints
    assert not [key for key in counts if key[0] == "crfints"]


def test_what_is_read_back_has_been_written(images, tmp_path):
    steps = {**images.steps, "tso_photometry": {"centroid_source": False}}
    plan = tso3.plan(images.asn, steps, chunk_integrations=3)
    lazy = plan.phot.compute(scheduler="synchronous")
    result = plan.run(tmp_path, scheduler="synchronous")
    table = read_table(result.products["phot"][0])
    np.testing.assert_array_equal(table["aperture_sum"].value, lazy["aperture_sum"].values)
    assert np.all(table["aperture_sum"].value != 0)
