"""Profiles, scene models and residuals beside jwst's: headers, trees, images."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("jwst")
pytestmark = pytest.mark.parity

from astropy.io import fits  # noqa: E402
from harness import agree, run_case  # noqa: E402
from inputs import as_files, damage, in_model  # noqa: E402
from test_pipeline import NODS, spectrum  # noqa: E402
from test_step_files import files  # noqa: E402

SAVED = {"save_profile": True, "save_scene_model": True, "save_residual_image": True}


def saved(name, mode, segments=(4,), edit=None, **more):
    steps = {"extract_1d": {**SAVED, **more.pop("extract", {})}}
    steps |= more.pop("steps", {})
    case = spectrum(name, mode, steps, edit=edit, segments=segments, **more)
    return files(case, "profile", "model", "residual")


OPTIMAL = {"extraction_type": "optimal"}
CASES = [
    saved("lrs-images", "mir_lrs-slitless", edit=damage, seed=1),
    saved("lrs-images-optimal", "mir_lrs-slitless", edit=damage, extract=OPTIMAL, seed=3),
    saved("lrs-images-cube", "mir_lrs-slitless", model="CubeModel", extract=OPTIMAL, seed=4),
    saved(
        "lrs-images-median",
        "mir_lrs-slitless",
        edit=damage,
        extract={"subtract_background": True, "bkg_fit": "median", "smoothing_length": 5},
        seed=5,
    ),
    saved("lrs-images-files", "mir_lrs-slitless", edit=as_files, seed=6),
    saved("grism-images", "nrc_tsgrism", edit=damage, photom=True, seed=7),
    saved(
        "prism-images-unflagged",
        "nrs_prism",
        steps={"outlier_detection": {"skip": True}},
        seed=8,
    ),
    saved("prism-images-nod", "nrs_prism", edit=in_model(None, NODS), extract=OPTIMAL, seed=9),
]


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_images(case, tmp_path):
    assert set(case.files) <= agree(run_case(case, tmp_path))


@pytest.mark.parametrize("segments", [(4, 3), (4, 1)])
def test_every_member_has_its_own(tmp_path, segments):
    """jwst writes the files of all members to one name, so that those of the last are left."""
    case = saved("lrs-images-two", "mir_lrs-slitless", segments=segments, extract=OPTIMAL, seed=10)
    outcome = run_case(case, tmp_path)
    for kind in ("profile", "scene_model", "residual"):
        (theirs,) = outcome.theirs.glob(f"*_{kind}.fits")
        ours = [outcome.ours / theirs.name.replace(f"_{kind}", f"_{i}_{kind}") for i in (0, 1)]
        first, last = (fits.getdata(path) for path in ours)
        assert last.shape[-2:] == first.shape[-2:]
        with fits.open(ours[1]) as one, fits.open(theirs) as other:
            assert [h.name for h in one] == [h.name for h in other]
            assert one[0].header["DATAMODL"] == other[0].header["DATAMODL"]
        np.testing.assert_allclose(last, fits.getdata(theirs), rtol=1e-6)
