"""Every parameter of every step that acts on time series, with all its options, beside jwst."""

from __future__ import annotations

import pytest

pytest.importorskip("jwst")
pytestmark = pytest.mark.parity

from inputs import damage, reference  # noqa: E402
from test_pipeline import check, extract, image, outliers, photometry, spectrum  # noqa: E402

LRS, GRISM, PRISM, G395H = "mir_lrs-slitless", "nrc_tsgrism", "nrs_prism", "nrs_g395h"
FEWER = (LRS, GRISM, PRISM)
SHORT_NAMES = {LRS: "lrs", GRISM: "grism", PRISM: "prism", G395H: "g395h"}
IMAGES = {"nrc_tsimage": "nircam", "mir_image": "miri"}


def white(**parameters):
    return {"white_light": parameters}


def pictures(name, steps, seed, **simulate):
    """One case in each of the two imaging modes."""
    return [
        image(f"parameter-{prefix}-{name}", steps, mode, segments=(9,), seed=seed + i, **simulate)
        for i, (mode, prefix) in enumerate(IMAGES.items())
    ]


def few(name, mode, steps, seed, **options):
    """One short member of spectra."""
    options.setdefault("segments", (6,))
    return spectrum(f"parameter-{SHORT_NAMES[mode]}-{name}", mode, steps, seed=seed, **options)


def spectra(name, steps, seed, modes=(LRS, GRISM, PRISM, G395H), **options):
    """One case in each of some modes of spectroscopy."""
    return [few(name, mode, steps, seed + i, **options) for i, mode in enumerate(modes)]


PHOTOMETRY = [
    *pictures("radius", photometry(radius=2.3), 101),
    *pictures("radius-below-a-pixel", photometry(radius=0.8), 103),
    *pictures("annulus", photometry(radius_inner=5.5, radius_outer=8.25), 105),
    *pictures("annulus-beyond-the-edge", photometry(radius_inner=9, radius_outer=30), 107),
    *pictures("all-radii", photometry(radius=6, radius_inner=7, radius_outer=11), 111),
    *pictures("planned-place", photometry(centroid_source=False), 113),
    *pictures("planned-place-counts", photometry(centroid_source=False), 115, photom=False),
    *pictures("moving", photometry(moving_centroid=True), 117, jitter=0.4),
    *pictures(
        "moving-without-search", photometry(moving_centroid=True, centroid_source=False), 119
    ),
    *pictures("search-box", photometry(search_box_width=15), 121),
    *pictures("search-box-even", photometry(search_box_width=14), 123),
    *pictures("search-box-wide", photometry(search_box_width=101), 125),
    *pictures("fit-box", photometry(fit_box_width=9), 127),
    *pictures("fit-box-even", photometry(fit_box_width=12), 129),
    *pictures(
        "as-text",
        {
            "outlier_detection": {"rolling_window_width": "5", "snr": "4 3", "maskpt": "0.5"},
            "tso_photometry": {
                "radius": "4",
                "radius_inner": "5.5",
                "radius_outer": "9",
                "search_box_width": "21",
                "moving_centroid": "True",
            },
        },
        131,
    ),
]

NO_EFFECT = outliers(
    weight_type="exptime",
    pixfrac=0.3,
    kernel="turbo",
    fillval="INDEF",
    scale="2.0 1.0",
    backg=1.5,
    kernel_size="5 5",
    threshold_percent=90.0,
    ifu_second_check=True,
    resample_data=False,
    in_memory=False,
)

FLAGGING = [
    *pictures("window-of-1", outliers(rolling_window_width=1), 141),
    *pictures("window-of-0", outliers(rolling_window_width=0), 143),
    *pictures("window-negative", outliers(rolling_window_width=-3), 145)[:1],
    *pictures("window-of-4", outliers(rolling_window_width=4), 147),
    *pictures("window-of-all", outliers(rolling_window_width=9), 149),
    *pictures("window-of-all-but-one", outliers(rolling_window_width=8), 151),
    *pictures("snr-negative", outliers(snr="-2.0 4.0"), 153)[:1],
    *pictures("snr-zero", outliers(snr="0 0"), 155)[:1],
    *spectra("window-of-1", outliers(rolling_window_width=1), 161, (LRS, PRISM)),
    *spectra("window-of-3", outliers(rolling_window_width=3), 163, (GRISM, G395H)),
    *spectra("window-of-4", outliers(rolling_window_width=4), 165, (LRS, PRISM)),
    *spectra("window-of-all", outliers(rolling_window_width=6), 167, (LRS, GRISM)),
    *spectra("good-bits", outliers(good_bits="~DO_NOT_USE+JUMP_DET+HOT"), 171, (LRS, PRISM)),
    *spectra("good-bits-number", outliers(good_bits="4"), 173, (GRISM, G395H)),
    *spectra("all-bits-bad", outliers(good_bits=""), 175, (LRS, GRISM)),
    *spectra("no-masking", outliers(maskpt=0.0), 177, (LRS, PRISM)),
    *spectra("mask-all", outliers(maskpt=1.5), 179, (LRS,)),
    *spectra("snr", outliers(snr="3.2 9"), 181, (LRS, GRISM, PRISM, G395H)),
    *spectra("skip-outliers", outliers(skip=True), 185, (LRS, GRISM)),
    *spectra("no-effect", NO_EFFECT, 187, (LRS, PRISM)),
]


def plain(aperture):
    """Leave the choice of the fit to the defaults."""
    for name in ("bkg_fit", "bkg_order", "smoothing_length"):
        aperture.pop(name, None)


def of_reference(aperture):
    """Make the choices in the reference."""
    aperture.update(bkg_fit="median", bkg_order=2, smoothing_length=6)


FITS = {
    "poly-0": {"bkg_fit": "poly", "bkg_order": 0, "smoothing_length": 0},
    "poly-1": {"bkg_fit": "poly", "bkg_order": 1, "smoothing_length": 3},
    "poly-2": {"bkg_fit": "poly", "bkg_order": 2},
    "mean-of-order-2": {"bkg_fit": "mean", "bkg_order": 2, "smoothing_length": 5},
    "median": {"bkg_fit": "median", "smoothing_length": 4},
}

BACKGROUND = [
    *(
        case
        for i, (name, fit) in enumerate(FITS.items())
        for case in spectra(
            name,
            extract(subtract_background=True, **fit),
            201 + 5 * i,
            (*FEWER, G395H) if name == "poly-1" else FEWER,
        )
    ),
    *spectra("poly-3-damaged", extract(bkg_fit="poly", bkg_order=3), 231, FEWER, edit=damage),
    *spectra("order-alone", extract(bkg_order=1), 235, (LRS, GRISM), edit=reference(plain)),
    *spectra("smoothing-alone", extract(smoothing_length=9), 237, (GRISM, PRISM)),
    *spectra("smoothing-of-2", extract(smoothing_length=2), 239, (LRS, PRISM)),
    *spectra("smoothing-longer", extract(smoothing_length=301), 241, (LRS, PRISM)),
    *spectra("of-reference", {}, 243, (LRS, PRISM), edit=reference(of_reference)),
    *spectra("over-reference", extract(bkg_fit="mean"), 245, (LRS,), edit=reference(of_reference)),
    *spectra("no-background", extract(subtract_background=False, bkg_order=1), 247, FEWER),
]

PLACE = [
    *spectra("source-false", extract(use_source_posn=False), 301, (LRS, GRISM, G395H)),
    *spectra("source-true", extract(use_source_posn=True), 305, (PRISM, G395H)),
    *spectra(
        "source-true-extended",
        extract(use_source_posn=True),
        307,
        (LRS, PRISM, G395H),
        srctype="EXTENDED",
    ),
    *spectra(
        "source-in-reference",
        {},
        311,
        (LRS, PRISM),
        edit=reference(lambda a: a.update(use_source_posn=True)),
    ),
    *spectra(
        "no-source-in-reference",
        {},
        313,
        (PRISM, G395H),
        edit=reference(lambda a: a.update(use_source_posn=False)),
    ),
    *spectra(
        "source-over-reference",
        extract(use_source_posn=True),
        315,
        (PRISM,),
        edit=reference(lambda a: a.update(use_source_posn=False)),
    ),
    *spectra("offset", extract(position_offset=0.6), 317),
    *spectra("offset-back", extract(position_offset=-1.25, use_source_posn=False), 321, FEWER),
    *spectra("no-apcorr", extract(apply_apcorr=False), 329, FEWER),
    *spectra("no-apcorr-reference", extract(override_apcorr="N/A"), 333, (LRS, PRISM)),
    *spectra("log", extract(log_increment=1), 335, (LRS,)),
    *spectra(
        "whole-array",
        extract(
            override_extract1d="N/A",
            use_source_posn=True,
            position_offset=3.0,
            subtract_background=True,
            bkg_fit="median",
        ),
        337,
        (LRS, GRISM, PRISM),
    ),
    *spectra(
        "ifu-and-soss",
        extract(ifu_autocen=True, ifu_rscale=1.0, soss_width=10.0, soss_atoca=False),
        341,
        (LRS,),
    ),
]

SUMS = [
    few("white", LRS, white(min_wavelength=6.0, max_wavelength=9.5), 401),
    few("white-max", LRS, white(max_wavelength=8.0), 402),
    few("white", GRISM, white(min_wavelength=2.6, max_wavelength=3.9), 403),
    few("white-min", GRISM, white(min_wavelength=3.0), 404),
    few("white", PRISM, white(min_wavelength="1", max_wavelength="3.5"), 405),
    few("white-max", PRISM, white(max_wavelength=2), 406),
    few("white", G395H, white(min_wavelength=2.9, max_wavelength=4.8), 407),
    few("white-wide", G395H, white(min_wavelength=-1.0, max_wavelength=1e10), 408),
    few("white-text", G395H, {**white(min_wavelength="3"), **extract(bkg_order="1")}, 409),
]

CASES = [*PHOTOMETRY, *FLAGGING, *BACKGROUND, *PLACE, *SUMS]


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_parameter(case, tmp_path):
    tables = ("phot",) if "image" in case.mode else ("x1dints", "whtlt")
    check(case, tmp_path, ("crfints", *tables))
