"""Input at the edges of what is usual, beside jwst: sizes, times, losses, missing keywords."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("jwst")
pytestmark = pytest.mark.parity

from astropy.io import fits  # noqa: E402
from inputs import (  # noqa: E402
    all_of,
    damage,
    edit_asn,
    edit_member,
    in_model,
    lose,
    reference,
    repeat_times,
)
from test_pipeline import UNCOUNTED, check, extract, image, outliers, photometry, spectrum  # noqa: E402

LRS, GRISM, PRISM, G395H = "mir_lrs-slitless", "nrc_tsgrism", "nrs_prism", "nrs_g395h"


def pictures(name, steps=None, segments=(7, 8), **simulate):
    return image(f"edge-image-{name}", steps, segments=segments, **simulate)


def spectra(name, mode, steps=None, segments=(6, 4), **simulate):
    return spectrum(f"edge-{mode[:3]}-{name}", mode, steps, segments=segments, **simulate)


# ---- sizes

SIZES = [
    pictures("window-and-one-more", outliers(rolling_window_width=6), (6, 7, 5), seed=601),
    pictures("single-integrations", segments=(1, 6, 1), seed=602),
    pictures("even-window-and-one-more", outliers(rolling_window_width=8), (8, 9), seed=603),
    spectra("window-and-one-more", LRS, outliers(rolling_window_width=5), (5, 6, 4), seed=604),
    spectra("window-and-one-more", PRISM, outliers(rolling_window_width=4), (4, 5), seed=605),
    spectra("single-integrations", GRISM, segments=(1, 5, 1), seed=606),
    spectra("single-integrations", G395H, segments=(1, 4), seed=607),
    spectra("default-window-and-one-more", PRISM, outliers(), (25, 26), seed=608),
]


# ---- what is lost


def lose_member(number):
    """Flag every pixel of a member as unusable."""

    def change(hdus):
        hdus["DQ"].data[:] |= 1

    return edit_member(number, change)


def lose_columns(hdus):
    """Leave no value in some columns of all integrations, and in all pixels of one row."""
    for name in ("SCI", "ERR"):
        hdus[name].data[:, :, 30:33] = np.nan
        hdus[name].data[:, 20] = np.nan


def no_errors(hdus):
    """Most pixels of an integration without an error."""
    hdus["ERR"].data[2, 4:] = np.nan


LOST = [
    pictures("lost-first", edit=lose(0, 0), segments=(9, 7), seed=611),
    pictures("lost-last", edit=lose(1, 7), segments=(7, 8), seed=612),
    pictures("lost-plain-median", outliers(), edit=lose(0, 3), seed=613),
    pictures("lost-two", edit=all_of(lose(0, 2), lose(0, 9)), segments=(16,), seed=614),
    pictures("lost-errors", edit=edit_member(0, no_errors), seed=615),
    spectra("lost-columns", LRS, edit=edit_member(None, lose_columns), seed=616),
    spectra("lost-columns", PRISM, edit=edit_member(None, lose_columns), seed=617),
    spectra("lost-errors", LRS, edit=edit_member(0, no_errors), seed=618),
]


# ---- times


def drop_first_of_exposure(content):
    del content["products"][0]["members"][0]


def both_detectors(change, number, *arguments, **options):
    """Make a change in the same segment of two detectors with two segments each."""
    return all_of(*(change(n, *arguments, **options) for n in (number, number + 2)))


TIMES = [
    pictures("repeated-times", edit=repeat_times(0, (3, 1), (5, 1)), seed=621),
    pictures("other-length", edit=edit_asn(drop_first_of_exposure), exposures=2, seed=622),
    spectra("repeated-times", GRISM, edit=repeat_times(0, (1, 0), (4, 0)), seed=625),
    spectra("repeated-times", G395H, edit=both_detectors(repeat_times, 0, (1, 0)), seed=626),
    spectra("lost-times", G395H, edit=both_detectors(repeat_times, 1, missing=(1, 2)), seed=627),
]


# ---- keywords

NAMES = {
    "srctype-unknown": {"meta.target.source_type": "UNKNOWN", "source_type": "UNKNOWN"},
    "srctype-missing": {"meta.target.source_type": None, "source_type": None},
    "no-segment": {"meta.exposure.segment_number": None},
    "no-order": {"meta.wcsinfo.spectral_order": None},
    "no-names": {
        "meta.target.catalog_name": None,
        "meta.target.proposer_name": None,
        "meta.instrument.filter": None,
        "meta.subarray.name": None,
    },
    "no-s-region": {"meta.wcsinfo.s_region": None},
    "old-file-name": {"meta.filename": "jw09999001001_04101_00001-seg001_other_calints.fits"},
    "name-without-ending": {"meta.filename": "something"},
}
SPECTRAL_NAMES = {
    "srctype-unknown": (LRS, PRISM),
    "srctype-missing": (LRS, PRISM),
    "no-segment": (GRISM,),
    "no-order": (LRS, PRISM),
    "no-s-region": (LRS,),
    "old-file-name": (GRISM,),
}
NO_APCORR = extract(apply_apcorr=False)

KEYWORDS = [
    *(
        spectra(name, mode, segments=(5, 4), edit=in_model(None, NAMES[name]), seed=631)
        for name, modes in SPECTRAL_NAMES.items()
        for mode in modes
    ),
    pictures("no-names", edit=in_model(None, NAMES["no-names"]), seed=632),
    pictures("no-numbers", edit=in_model(0, UNCOUNTED), seed=633),
    spectra("no-numbers", LRS, segments=(6,), edit=in_model(0, UNCOUNTED), seed=629),
    spectra("no-numbers", PRISM, segments=(5,), edit=in_model(0, UNCOUNTED), seed=630),
    pictures("old-file-name", edit=in_model(0, NAMES["old-file-name"]), seed=634),
    pictures("name-without-ending", edit=in_model(0, NAMES["name-without-ending"]), seed=635),
    pictures(
        "no-area", edit=in_model(None, {"meta.photometry.pixelarea_arcsecsq": None}), seed=636
    ),
    spectra(
        "other-s-region",
        LRS,
        edit=in_model(1, {"meta.wcsinfo.s_region": "POLYGON ICRS 1 2"}),
        seed=637,
    ),
    spectra("s-region-of-second", LRS, edit=in_model(0, {"meta.wcsinfo.s_region": None}), seed=638),
    spectra("srctype-mixed", PRISM, edit=in_model(1, {"source_type": "EXTENDED"}), seed=639),
    spectra("names-in-lower-case", LRS, edit=reference(lambda a: a.pop("region_type")), seed=640),
]


# ---- types of files and of pixels


def another_image(hdus):
    """An extension that no data model knows."""
    hdus.append(fits.ImageHDU(np.arange(12.0).reshape(3, 4), name="MINE"))


TYPES = [
    spectra("cube-extended", LRS, NO_APCORR, model="CubeModel", srctype="EXTENDED", seed=642),
    pictures("extra", edit=all_of(edit_member(None, another_image), in_model(None, {})), seed=647),
    spectra("extra", LRS, edit=all_of(edit_member(0, another_image), in_model(None, {})), seed=648),
]

# ---- references


def other_apertures(given):
    """Apertures that do not fit before the one that does."""
    path = Path(given.steps["extract_1d"]["override_extract1d"])
    content = json.loads(path.read_text())
    (aperture,) = content["apertures"]
    content["apertures"] = [
        {**aperture, "id": "dummy", "ystart": 1},
        {**aperture, "region_type": "background", "ystart": 2},
        {**aperture, "id": "S200A1", "ystart": 3},
        {**aperture, "spectral_order": 7, "ystart": 4},
        {**aperture, "id": "ANY", "spectral_order": "ANY"},
        {**aperture, "ystart": 5},
    ]
    path.write_text(json.dumps(content))
    return given


def in_arcseconds(given):
    """Give the sizes of the aperture correction on the sky."""
    from stdatamodels.jwst import datamodels

    path = given.steps["extract_1d"]["override_apcorr"]
    with datamodels.NrsFsApcorrModel(path) as model:
        model.apcorr_table["size"] *= 0.1
        model.sizeunit = "arcsec"
        model.save(path)
    return given


def few_wavelengths(given):
    """An aperture correction that ends within the spectrum."""
    from stdatamodels.jwst import datamodels

    path = given.steps["extract_1d"]["override_apcorr"]
    with datamodels.NrsFsApcorrModel(path) as model:
        waves = model.apcorr_table["wavelength"]
        waves[:] = np.linspace(1.5, 3.5, waves.shape[-1])
        model.save(path)
    return given


LINES = {"src_coeff": [[10.5, 0.01], [18.5, 0.01]], "bkg_coeff": [[2.5], [6.5], [22.5], [27.5]]}

REFERENCES = [
    spectra("other-apertures", PRISM, edit=other_apertures, segments=(5,), seed=651),
    spectra("arcseconds", PRISM, edit=in_arcseconds, segments=(5,), seed=652),
    spectra("few-wavelengths", PRISM, edit=few_wavelengths, segments=(5,), seed=653),
    spectra(
        "lines-and-offset",
        PRISM,
        extract(position_offset=0.7),
        edit=reference(lambda a: a.update(LINES)),
        segments=(5,),
        seed=654,
    ),
    pictures("weak-lens-planned", photometry(centroid_source=False), pupil="WLP8", seed=655),
    pictures("weak-lens-moving", photometry(moving_centroid=True), pupil="WLP8", seed=656),
    pictures("weak-lens-lost", edit=lose(0, 3), pupil="WLP8", seed=657),
    pictures("weak-lens-damaged", edit=damage, pupil="WLP8", photom=False, seed=658),
]

CASES = [*REFERENCES, *SIZES, *LOST, *TIMES, *KEYWORDS, *TYPES]


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_edge(case, tmp_path):
    tables = ("phot",) if "image" in case.mode else ("x1dints", "whtlt")
    check(case, tmp_path, ("crfints", *tables))
