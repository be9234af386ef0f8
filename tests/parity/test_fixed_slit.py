"""Time series through slits: MIRI's low-resolution spectrometer, and NIRSpec's as one slit."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("jwst")
pytestmark = pytest.mark.parity

from astropy.io import fits  # noqa: E402
from fixed_slit import in_slit  # noqa: E402
from harness import keep_records, make_input, run_case, run_ours  # noqa: E402
from inputs import all_of, damage, reference  # noqa: E402
from test_pipeline import check, extract, outliers, spectrum  # noqa: E402

from tso3dask.errors import InputError  # noqa: E402

LRS = "mir_lrs-slitless"
KINDS = ("crfints", "x1dints", "whtlt")


def slit(name, steps=None, edit=None, segments=(6,), **simulate):
    edit = in_slit() if edit is None else edit
    return spectrum(f"slit-{name}", LRS, steps, edit=edit, segments=segments, **simulate)


def by_width(aperture):
    """Limits by polynomials instead of a width."""
    del aperture["extract_width"]
    aperture["src_coeff"] = [[14.5, 0.02], [22.5, 0.02]]


CASES = [
    slit("point", segments=(6, 7), seed=501),
    slit("extended", segments=(5, 3), srctype="EXTENDED", seed=502),
    slit("extended-source", extract(use_source_posn=True), srctype="EXTENDED", seed=503),
    slit("nominal", extract(use_source_posn=False), seed=504),
    slit("no-apcorr", extract(apply_apcorr=False), seed=505),
    slit("offset", extract(position_offset=0.8), seed=506),
    slit("no-wavelengths", edit=in_slit(stored=False), seed=508),
    slit(
        "cube",
        model="CubeModel",
        wavelength=False,
        edit=in_slit(stored=False),
        seed=509,
    ),
    slit("no-dither", edit=in_slit(dithers=(None,)), seed=510),
    slit("outside", edit=in_slit(dithers=((9.0, 0.0),)), seed=511),
    slit(
        "white",
        {"white_light": {"min_wavelength": 6.0, "max_wavelength": 9.0}},
        segments=(5, 4),
        seed=512,
    ),
    slit(
        "background",
        extract(subtract_background=True, bkg_fit="median", smoothing_length=5),
        seed=513,
    ),
    slit("coefficients", edit=all_of(in_slit(), reference(by_width)), seed=514),
    slit("damaged", edit=all_of(in_slit(), damage), segments=(6, 4), seed=515),
    slit("counts", photom=False, seed=516),
    slit("no-reference", extract(override_extract1d="N/A"), seed=517),
    slit("skip-outliers", outliers(skip=True), seed=518),
]


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_slit(case, tmp_path):
    check(case, tmp_path, KINDS)


def test_source_is_where_the_dither_put_it(tmp_path):
    """Each exposure by its own position; times of further exposures follow the first's."""
    outcome = run_case(slit("two-places", exposures=2, segments=(4,), seed=520), tmp_path)
    left = outcome.comparison.unexplained({r"^x1dints.*(INT_TIMES|int_times)": "rows are appended"})
    assert left == []
    keep_records(outcome.comparison)
    with fits.open(next(outcome.ours.glob("*_x1dints.fits"))) as hdus:
        first, second = (hdus["EXTRACT1D", i].header["EXTRXSTR"] for i in (1, 2))
    assert second - first == pytest.approx(5.0, abs=0.01)  # 0.55" in pixels of 0.11"
    assert np.isfinite(first)


def test_several_slits_are_refused(tmp_path):
    """jwst stops in outlier detection; here one line names the member and its model."""
    case = spectrum("multi-slit", "nrs_prism", seed=521)
    given = make_input(case, tmp_path / "input")
    for path in given.members:
        as_multi_slit(path)
    with pytest.raises(InputError, match="MultiSlitModel") as caught:
        run_ours(given, tmp_path / "ours")
    assert "\n" not in str(caught.value)
    assert given.members[0].name in str(caught.value)
    from jwst_oracle import run_jwst

    with pytest.raises(Exception):  # noqa: B017
        run_jwst(given.source, tmp_path / "jwst", given.steps)


def as_multi_slit(path):
    from stdatamodels.jwst import datamodels

    with datamodels.open(path) as model, datamodels.MultiSlitModel() as several:
        several.update(model)
        several.slits.append(model)
        several.meta.exposure.type = "NRS_FIXEDSLIT"
        several.meta.visit.tsovisit = True
        several.int_times = model.int_times
        several.save(path)
