"""jwst's own pipeline takes every simulated mode and finds what was put in."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from jwst_oracle import run_jwst

from tso3dask.simulation import MODES, simulate

pytestmark = pytest.mark.parity

SHAPES = {1: (32, 96), 2: (96, 36), None: (48, 50)}
VARIANTS = [
    *((mode, {}) for mode in MODES),
    ("nrc_tsimage", {"pupil": "WLP8", "shape": None, "nints": 12}),
    ("nrc_tsimage", {"photom": False, "area": False}),
    ("mir_lrs-slitless", {"model": "CubeModel", "srctype": "EXTENDED"}),
    ("mir_lrs-slitless", {"wavelength": False, "var_flat": False}),
    ("nrc_tsgrism", {"photom": True, "int_times": "exposure"}),
    ("nrc_tsgrism", {"wavelength": False, "nints": 8, "shape": (24, 40)}),
    ("nrs_prism", {"srctype": "EXTENDED", "exposures": 2}),
    ("nrs_prism", {"wavelength": False, "photom": False}),
    ("nis_soss", {"subarray": "SUBSTRIP256", "shape": (128, 96)}),
]


@pytest.mark.parametrize(
    ("mode", "arguments"), VARIANTS, ids=[f"{m}-{'-'.join(a)}" for m, a in VARIANTS]
)
def test_pipeline_takes_it(mode, arguments, tmp_path):
    arguments = {
        "nints": 30,
        "shape": SHAPES[MODES[mode].dispaxis],
        "cr_rate": 3e-4,
        "lost_rate": 0.0,
        "depth": 0.004,
        **arguments,
    }
    made = simulate(mode, tmp_path / "sim", **arguments)
    products = run_jwst(made.asn, tmp_path / "out", made.steps)
    truth = made.truth()
    assert len(products["crfints"]) == len(made.members)
    _check_outliers(products["crfints"], truth)
    if mode == "nis_soss":
        return
    if MODES[mode].imaging:
        table = Table.read(products["phot"][0])
        column = "aperture_sum" if arguments.get("pupil") == "WLP8" else "net_aperture_sum"
        pairs = [(column, MODES[mode].detectors[0])]
    else:
        assert "x1dints" in products
        table = Table.read(products["whtlt"][0])
        names = [n for n in table.colnames if n.startswith("whitelight_flux")]
        assert len(names) == len(MODES[mode].detectors)
        pairs = list(zip(names, MODES[mode].detectors, strict=True))
    for column, detector in pairs:
        flux = np.array(table[column])
        curve = truth[f"light_curve_{detector}"]
        assert flux.shape == curve.shape
        assert np.median(np.abs(flux / np.median(flux / curve) - curve)) < 0.002


def _check_outliers(paths, truth):
    """Nearly all cosmic rays are flagged, and little else."""
    found = total = flagged = 0
    detectors = sorted({fits.getheader(path)["DETECTOR"] for path in paths})
    for path in paths:
        with fits.open(path) as hdus:
            header = hdus[0].header
            outlier = (hdus["DQ"].data & 16) != 0
        rays = truth["cosmic_rays"]
        rays = rays[
            (rays["detector"] == detectors.index(header["DETECTOR"]))
            & (rays["exposure"] == int(header["EXPOSURE"]) - 1)
            & (rays["segment"] == header["EXSEGNUM"])
        ]
        hits = outlier[rays["integration"] - header["INTSTART"], rays["y"], rays["x"]]
        found, total, flagged = found + hits.sum(), total + len(rays), flagged + outlier.sum()
    assert found > 0.9 * total
    assert flagged < 2 * total + 20
