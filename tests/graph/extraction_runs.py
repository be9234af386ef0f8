"""Runs, cut otherwise and lazy, of observations with parameters of the extraction."""

from __future__ import annotations

import copy

import numpy as np
from astropy.io import fits

import tso3dask as tso3

COLUMNS = ("FLUX", "FLUX_ERROR", "BACKGROUND", "NPIXELS", "FLUX_VAR_POISSON", "BKGD_VAR_POISSON")


def chosen(observation, **parameters):
    """Steps of an observation with parameters of extract_1d."""
    steps = copy.deepcopy(observation.steps)
    steps["outlier_detection"] = {"rolling_window_width": 5}
    steps.setdefault("extract_1d", {}).update(parameters)
    return steps


def tables(path):
    """Columns of the spectra of each member."""
    with fits.open(path) as hdus:
        found = [hdu for hdu in hdus if hdu.name == "EXTRACT1D"]
        return [{n: np.array(h.data[n]) for n in (*COLUMNS, "WAVELENGTH")} for h in found]


def agreeing_runs(observation, steps, folder):
    """Plan and spectra, once runs in threads, in small chunks, and lazy spectra agree."""
    plan = tso3.plan(observation.asn, steps)
    expected = tables(plan.run(folder / "a").products["x1dints"][0])
    cut = tso3.plan(observation.asn, steps, chunk_integrations=3)
    again = tables(cut.run(folder / "b", scheduler="synchronous").products["x1dints"][0])
    nodes = [n.to_dataset().compute(scheduler="synchronous") for n in plan.x1dints.leaves]
    for node, table, other in zip(nodes, expected, again, strict=True):
        np.testing.assert_array_equal(other["WAVELENGTH"], table["WAVELENGTH"])
        for name in COLUMNS:
            np.testing.assert_array_equal(other[name], table[name])
            np.testing.assert_array_equal(node[name.lower()].values, table[name])
    return plan, expected
