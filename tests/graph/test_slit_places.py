"""Exposures through a slit with the source in two places: each has its own aperture."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from astropy.io import fits

import tso3dask
from tso3dask.io.segment import open_segment
from tso3dask.simulation import simulate

EXP_TYPE = "MIR_LRS-FIXEDSLIT"
STEPS = 0.0, 3.0
"""Pixels between the source and the middle of the array."""


@pytest.fixture
def observation(tmp_path):
    made = simulate("mir_lrs-slitless", tmp_path, shape=(60, 40), segments=(3,), exposures=2)
    for step, path in zip(STEPS, made.members, strict=True):
        ra, dec, _ = open_segment(path).wcs()(20.0 + step, 30.0)
        with fits.open(path, mode="update") as hdus:
            hdus[0].header["EXP_TYPE"] = EXP_TYPE
            hdus[0].header["DITH_RA"], hdus[0].header["DITH_DEC"] = float(ra), float(dec)
    reference = Path(made.steps["extract_1d"]["override_extract1d"])
    content = json.loads(reference.read_text())
    content["apertures"][0].update(id=EXP_TYPE, extract_width=7)
    reference.write_text(json.dumps(content))
    made.steps["extract_1d"]["override_apcorr"] = "N/A"
    return made


def test_apertures_follow_the_source(observation, tmp_path):
    paths = tso3dask.run(observation.asn, tmp_path / "out", observation.steps)
    (path,) = (p for p in paths if Path(p).name.endswith("_x1dints.fits"))
    with fits.open(path) as hdus:
        first, second = (hdus["EXTRACT1D", i].header["EXTRXSTR"] for i in (1, 2))
    assert second - first == pytest.approx(STEPS[1] - STEPS[0], abs=0.05)
