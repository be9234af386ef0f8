"""Whole runs beside jwst's: every product of every mode, with default and other parameters."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits

pytest.importorskip("jwst")
pytestmark = pytest.mark.parity

from harness import Case, agree, run_case  # noqa: E402
from inputs import (  # noqa: E402
    all_of,
    as_files,
    as_from_list,
    damage,
    edit_asn,
    edit_member,
    in_model,
    lose,
    reference,
    repeat_times,
    reverse_members,
)

IMAGE = {"shape": (32, 40)}
LRS = {"shape": (60, 40)}
GRISM = {"shape": (40, 60)}
NRS = {"shape": (32, 72)}
SHORT = {"outlier_detection": {"rolling_window_width": 5}}


def image(name, steps=None, mode="nrc_tsimage", edit=None, chunk=7, segments=(12, 15), **simulate):
    steps = SHORT if steps is None else {**SHORT, **steps}
    return Case(name, mode, {**IMAGE, "segments": segments, **simulate}, steps, edit, chunk)


def spectrum(name, mode, steps=None, edit=None, chunk=4, segments=(6, 8), **simulate):
    shape = {"mir": LRS, "nrc": GRISM, "nrs": NRS}[mode[:3]]
    steps = SHORT if steps is None else {**SHORT, **steps}
    return Case(name, mode, {**shape, "segments": segments, **simulate}, steps, edit, chunk)


def outliers(**parameters):
    return {"outlier_detection": parameters}


def extract(**parameters):
    return {"extract_1d": parameters}


NO_APCORR = extract(apply_apcorr=False)


def replaced(algorithm="mingrad", **parameters):
    return {"pixel_replace": {"skip": False, "algorithm": algorithm, **parameters}}


TRACE = {"adaptive_trace_model": {"skip": False}}


def negative_variances(hdus):
    """Variances of which there is no root, so that replaced pixels beside them are lost again."""
    for name in ("VAR_POISSON", "VAR_RNOISE"):
        data = hdus[name].data
        data[np.random.default_rng(5).random(data.shape) < 0.02] *= -1


def estimated_before(hdus):
    """Flags of an earlier replacement, and of pixels that are no part of the detector."""
    dq = hdus["DQ"].data
    random = np.random.default_rng(6).random(dq.shape)
    dq[random < 0.01] |= np.uint32(1 << 28 | 1)
    dq[(random > 0.01) & (random < 0.02)] |= np.uint32(512 | 1)
    dq[(random > 0.02) & (random < 0.03)] |= np.uint32(512)
    dq[:, :2] |= np.uint32(1)
    dq[:, :, -1] |= np.uint32(513)


def photometry(**parameters):
    return {"tso_photometry": parameters}


def no_wavelengths(hdus):
    hdus["WAVELENGTH"].data[:] = 0


def more_in_association(content):
    """Members that are not science, and a second product."""
    product = content["products"][0]
    product["members"].insert(0, {"expname": "not_there.fits", "exptype": "background"})
    product["members"].append({"expname": "nor_there.fits", "exptype": "target_acquisition"})
    content["products"].append({"name": "other", "members": []})


def wide_gain(given):
    """A gain file of the whole detector, which has to be cut to the subarray."""
    path = given.steps["tso_photometry"]["override_gain"]
    rng = np.random.default_rng(3)
    with fits.open(path, memmap=False) as hdus:
        hdus["SCI"].data = rng.uniform(1, 3, (2048, 2048)).astype("f4")
        for keyword, value in zip(CORNER, (1, 1, 2048, 2048), strict=True):
            hdus[0].header[keyword] = value
        hdus.writeto(path, overwrite=True)
    return given


def all_wavelengths(hdus):
    image = hdus["WAVELENGTH"].data
    image[np.isnan(image)] = 2.5


ELSEWHERE = {"meta.subarray.name": "SUB160P"}
UNCOUNTED = {"meta.exposure.integration_start": None, "meta.exposure.integration_end": None}
BY_WAVELENGTH = {"src_coeff": [[10.5, 0.5], [18.5, 0.5]], "independent_var": "wavelength"}
NO_AREA = {"meta.photometry.pixelarea_steradians": None}
CORNER = ("SUBSTRT1", "SUBSTRT2", "SUBSIZE1", "SUBSIZE2")

SLIT = "MIR_LRS-FIXEDSLIT"
FIXED_SLIT = {"meta.exposure.type": SLIT}
OTHER_MEMBER = {
    "meta.observation.date": "2031-01-02",
    "meta.observation.time": "01:02:03.004",
    "meta.exposure.start_time": 59000.5,
    "meta.exposure.mid_time": 59000.75,
    "meta.exposure.end_time": 69000.25,
    "meta.exposure.duration": 123.25,
    "meta.exposure.effective_exposure_time": 17.5,
    "meta.exposure.elapsed_exposure_time": 18.5,
    "meta.exposure.nframes": 3,
    "meta.instrument.filter": "OTHER",
    "meta.instrument.pupil": "ANOTHER",
    "meta.program.title": "A much longer title than the one of the other member of the pair",
    "meta.program.pi_name": None,
    "meta.target.proposer_name": None,
    "meta.target.ra": 12.5,
    "meta.cal_step.jump": "SKIPPED",
    "meta.cal_step.flat_field": None,
    "meta.pointing.ra_v1": 1.5,
    "meta.aperture.pps_name": "SOMETHING_NEW",
}
"""Metadata in which one member differs from the others, that are missing there, or only there."""


OTHER_FOR_IMAGES = {
    name: value
    for name, value in OTHER_MEMBER.items()
    if name.startswith(("meta.exposure", "meta.program", "meta.cal_step", "meta.observation"))
}
"""The same without what the table of photometry names."""


def blended(number):
    return in_model(number, OTHER_MEMBER)


def dithered(given):
    """Put the target where the middle of the array looks."""
    from stdatamodels.jwst import datamodels

    for path in given.members:
        with datamodels.open(path) as model:
            _, ny, nx = model.data.shape
            ra, dec, _ = model.meta.wcs(nx / 2 + 0.7, ny / 2)
            model.meta.dither.dithered_ra, model.meta.dither.dithered_dec = float(ra), float(dec)
            model.save(path)
    return given


def without_background(aperture):
    aperture.pop("bkg_coeff", None)


def drop_last(content):
    del content["products"][0]["members"][-1]


def optimal(**parameters):
    return extract(extraction_type="optimal", **parameters)


IN_SLIT = all_of(in_model(None, FIXED_SLIT), reference(lambda a: a.update(id=SLIT)), dithered)
NODS = {
    "meta.cal_step.bkg_subtract": "COMPLETE",
    "meta.dither.primary_type": "2-POINT-NOD",
    "meta.dither.x_offset": -0.6,
    "meta.dither.y_offset": 0.1,
    "source_ypos": 0.2,
}

IMAGING = [
    image("image", {}, segments=(26, 34), seed=1),
    image("image-defaults", outliers(), segments=(29, 1, 25), seed=2, chunk=None, jitter=0.3),
    image("image-windows-at-size", outliers(rolling_window_width=12), seed=3),
    image("image-even-window", outliers(rolling_window_width=8), seed=4, chunk=3),
    image("image-window-of-3", outliers(rolling_window_width=3), seed=5, chunk=1),
    image(
        "image-thresholds",
        outliers(snr="3.0 2.0", maskpt=0.2, good_bits="~DO_NOT_USE+JUMP_DET+SATURATED"),
        seed=6,
    ),
    image("image-all-bits", outliers(good_bits="", snr="4.5 4.0"), seed=7),
    image("image-no-masking", outliers(maskpt=0.0, rolling_window_width=5), seed=8),
    image("image-skip-outliers", outliers(skip=True), seed=9),
    image("image-counts", photom=False, seed=10),
    image("image-weak-lens", pupil="WLP8", seed=11),
    image("image-weak-lens-counts", pupil="WLP8", photom=False, seed=12),
    image("image-radii", photometry(radius=4.5, radius_inner=6.2, radius_outer=9.1), seed=13),
    image("image-no-search", photometry(centroid_source=False), seed=14),
    image("image-moving", photometry(moving_centroid=True), seed=15, jitter=0.5),
    image("image-boxes", photometry(search_box_width=21, fit_box_width=7), seed=16),
    image("image-even-boxes", photometry(search_box_width=20, fit_box_width=8), seed=17),
    image("image-whole-exposure-times", int_times="exposure", seed=18),
    image("image-bare", var_flat=False, area=False, seed=19),
    image("image-reversed", edit=reverse_members, seed=20),
    image("image-from-list", edit=as_from_list, seed=21),
    image("image-files", edit=as_files, seed=38),
    image("image-two-exposures", exposures=2, segments=(7, 9), seed=22),
    image("image-damaged", edit=damage, seed=26),
    image("image-damaged-short", outliers(), edit=damage, seed=27),
    image("image-damaged-skip", outliers(skip=True), edit=damage, seed=28),
    image("image-damaged-counts", photometry(radius=2.2), edit=damage, photom=False, seed=29),
    image("image-lost", edit=all_of(lose(0, 4), lose(1, 0), lose(1, 14)), seed=30),
    image("image-wide-gain", edit=wide_gain, photom=False, seed=31),
    image("image-lens-elsewhere", edit=in_model(None, ELSEWHERE), pupil="WLP8", seed=32),
    image("image-more-members", edit=edit_asn(more_in_association), seed=33),
    image("image-no-effect", outliers(pixfrac=0.5, kernel="point", backg=2.0), seed=34),
    image("image-no-intstart", edit=in_model(0, UNCOUNTED), seed=35),
    image("image-blend", edit=in_model(0, OTHER_FOR_IMAGES), seed=39),
    image("image-strange-unit", edit=in_model(None, {"meta.bunit_data": "adu"}), seed=36),
    image("image-replaced", {**replaced("trace_model"), **TRACE}, seed=41),
    image("mir-image", {}, mode="mir_image", segments=(26, 30), seed=23),
    image("mir-image-counts", mode="mir_image", photom=False, seed=24),
    image("mir-image-moving", photometry(moving_centroid=True), mode="mir_image", seed=25),
]

SPECTRA = [
    spectrum("lrs", "mir_lrs-slitless", outliers(), segments=(26, 7), seed=1, chunk=None),
    spectrum("lrs-cube", "mir_lrs-slitless", model="CubeModel", wavelength=False, seed=2),
    spectrum("lrs-one", "mir_lrs-slitless", segments=(9, 1, 4), seed=3),
    spectrum("lrs-no-background", "mir_lrs-slitless", extract(subtract_background=False), seed=4),
    spectrum(
        "lrs-background-median",
        "mir_lrs-slitless",
        extract(subtract_background=True, bkg_fit="median", smoothing_length=5),
        seed=5,
    ),
    spectrum("lrs-extended", "mir_lrs-slitless", srctype="EXTENDED", seed=6),
    spectrum(
        "lrs-offset", "mir_lrs-slitless", extract(position_offset=1.3, apply_apcorr=False), seed=7
    ),
    spectrum("lrs-counts-bare", "mir_lrs-slitless", photom=False, var_flat=False, seed=8),
    spectrum("lrs-files", "mir_lrs-slitless", extract(apply_apcorr=False), edit=as_files, seed=15),
    spectrum("lrs-damaged", "mir_lrs-slitless", edit=damage, seed=10),
    spectrum(
        "lrs-damaged-background",
        "mir_lrs-slitless",
        extract(subtract_background=True, bkg_fit="poly", bkg_order=2, smoothing_length=3),
        edit=damage,
        seed=11,
    ),
    spectrum(
        "lrs-repeated-times",
        "mir_lrs-slitless",
        edit=all_of(repeat_times(0, (3, 1), (5, 1)), repeat_times(1, (7, 6), missing=(2,))),
        seed=12,
    ),
    spectrum("lrs-zero-wavelengths", "mir_lrs-slitless", edit=edit_member(None, no_wavelengths)),
    spectrum(
        "lrs-limits",
        "mir_lrs-slitless",
        edit=reference(lambda a: a.update(xstart=12.3, xstop=24.6, ystart=5.5, ystop=47)),
        seed=13,
    ),
    spectrum(
        "lrs-width",
        "mir_lrs-slitless",
        edit=reference(lambda a: a.update(extract_width=8.5, xstart=13, xstop=26)),
        seed=14,
    ),
    spectrum("lrs-blend", "mir_lrs-slitless", edit=blended(1), seed=16),
    spectrum("lrs-blend-first", "mir_lrs-slitless", edit=blended(0), segments=(4, 3, 5), seed=17),
    spectrum(
        "lrs-fixed-slit",
        "mir_lrs-slitless",
        edit=all_of(in_model(None, FIXED_SLIT), reference(lambda a: a.update(id=SLIT))),
        srctype="EXTENDED",
        seed=18,
    ),
    spectrum(
        "lrs-fixed-slit-source",
        "mir_lrs-slitless",
        NO_APCORR,
        edit=all_of(
            in_model(None, FIXED_SLIT),
            reference(lambda a: a.update(id=SLIT)),
            dithered,
        ),
        seed=19,
    ),
    spectrum(
        "lrs-other-order",
        "mir_lrs-slitless",
        edit=all_of(
            in_model(1, {"meta.wcsinfo.spectral_order": 2}),
            reference(lambda a: a.update(spectral_order=1)),
        ),
        seed=20,
    ),
    spectrum(
        "lrs-background-nowhere",
        "mir_lrs-slitless",
        extract(subtract_background=True),
        edit=reference(without_background),
        seed=21,
    ),
    spectrum("grism-cube", "nrc_tsgrism", model="CubeModel", seed=9),
    spectrum("grism", "nrc_tsgrism", seed=1),
    spectrum("grism-damaged", "nrc_tsgrism", edit=damage, photom=True, seed=6),
    spectrum("grism-no-reference", "nrc_tsgrism", extract(override_extract1d="N/A"), seed=7),
    spectrum(
        "grism-lines",
        "nrc_tsgrism",
        edit=reference(
            lambda a: a.update(
                src_coeff=[[3.2, 0.02], [9.7, 0.02]],
                bkg_coeff=[[14.5], [22.5], [26.5, -0.01], [33.5]],
                subtract_background=None,
            )
        ),
        seed=8,
    ),
    spectrum("grism-jy", "nrc_tsgrism", photom=True, seed=2),
    spectrum(
        "grism-jy-mean",
        "nrc_tsgrism",
        extract(subtract_background=True, bkg_fit="mean", smoothing_length=4),
        photom=True,
        seed=3,
    ),
    spectrum("lrs-source", "mir_lrs-slitless", extract(use_source_posn=True), seed=9),
    spectrum("grism-no-wavelengths", "nrc_tsgrism", wavelength=False, shape=(24, 36), seed=5),
    spectrum("prism", "nrs_prism", outliers(), segments=(28, 5), seed=1),
    spectrum(
        "prism-poly",
        "nrs_prism",
        extract(bkg_fit="poly", bkg_order=1, smoothing_length=7),
        seed=2,
    ),
    spectrum("prism-nominal", "nrs_prism", extract(use_source_posn=False), seed=3),
    spectrum(
        "prism-white",
        "nrs_prism",
        {"white_light": {"min_wavelength": 1.0, "max_wavelength": 3.5}},
        int_times="exposure",
        seed=4,
    ),
    spectrum("prism-extended", "nrs_prism", srctype="EXTENDED", seed=5),
    spectrum("prism-skip-outliers", "nrs_prism", outliers(skip=True), seed=6),
    spectrum("prism-counts", "nrs_prism", photom=False, seed=7),
    spectrum("g395h", "nrs_g395h", segments=(6, 3), seed=1),
    spectrum(
        "g395h-whole-exposure-times",
        "nrs_g395h",
        extract(position_offset=-0.8),
        segments=(4, 3),
        int_times="exposure",
        seed=2,
    ),
    spectrum("prism-white-min", "nrs_prism", {"white_light": {"min_wavelength": 2.0}}, seed=15),
    spectrum("g395h-unequal", "nrs_g395h", edit=edit_asn(drop_last), segments=(4, 3), seed=4),
    spectrum("prism-damaged", "nrs_prism", edit=damage, seed=9),
    spectrum("prism-damaged-skip", "nrs_prism", outliers(skip=True), edit=damage, seed=10),
    spectrum("prism-no-reference", "nrs_prism", extract(override_extract1d="N/A"), seed=11),
    spectrum(
        "prism-by-wavelength",
        "nrs_prism",
        edit=all_of(
            reference(lambda a: a.update(BY_WAVELENGTH)), edit_member(None, all_wavelengths)
        ),
        seed=12,
    ),
    spectrum("prism-no-area", "nrs_prism", edit=in_model(None, NO_AREA), seed=13),
    spectrum("g395h-damaged", "nrs_g395h", edit=damage, segments=(5, 4), seed=3),
    spectrum("prism-from-list", "nrs_prism", edit=as_from_list, seed=8),
]

OPTIMAL = [
    spectrum("lrs-optimal", "mir_lrs-slitless", optimal(), segments=(6, 1, 3), seed=1),
    spectrum(
        "lrs-optimal-order-damaged",
        "mir_lrs-slitless",
        optimal(subtract_background=True, bkg_fit="poly", bkg_order=2),
        edit=damage,
        seed=2,
    ),
    spectrum(
        "lrs-optimal-in-place",
        "mir_lrs-slitless",
        optimal(subtract_background=False, optimize_psf_location=False, position_offset=1.2),
        edit=damage,
        seed=3,
    ),
    spectrum(
        "lrs-optimal-no-region",
        "mir_lrs-slitless",
        optimal(subtract_background=True, bkg_fit="median", smoothing_length=5),
        edit=reference(without_background),
        seed=4,
    ),
    spectrum("lrs-optimal-fixed-slit", "mir_lrs-slitless", optimal(), edit=IN_SLIT, seed=5),
    spectrum(
        "lrs-optimal-fixed-slit-middle",
        "mir_lrs-slitless",
        optimal(use_source_posn=False, optimize_psf_location=False),
        edit=all_of(IN_SLIT, in_model(None, NODS)),
        seed=6,
    ),
    spectrum(
        "lrs-optimal-fixed-slit-nod",
        "mir_lrs-slitless",
        optimal(),
        edit=all_of(IN_SLIT, in_model(None, NODS)),
        seed=7,
    ),
    spectrum("lrs-optimal-cube", "mir_lrs-slitless", optimal(), model="CubeModel", seed=8),
    spectrum("lrs-optimal-extended", "mir_lrs-slitless", optimal(), srctype="EXTENDED", seed=9),
    spectrum("lrs-optimal-no-psf", "mir_lrs-slitless", optimal(override_psf="N/A"), seed=10),
    spectrum(
        "lrs-optimal-no-regions", "mir_lrs-slitless", optimal(override_extract1d="N/A"), seed=11
    ),
    spectrum("lrs-by-source", "mir_lrs-slitless", extract(extraction_type=None), seed=12),
    spectrum("prism-optimal", "nrs_prism", optimal(), seed=1),
    spectrum(
        "prism-by-source-damaged",
        "nrs_prism",
        extract(extraction_type=None, position_offset=0.7),
        edit=damage,
        seed=2,
    ),
    spectrum("prism-optimal-counts", "nrs_prism", optimal(), photom=False, var_flat=False, seed=3),
    spectrum("prism-optimal-nod", "nrs_prism", optimal(), edit=in_model(None, NODS), seed=4),
    spectrum(
        "prism-optimal-one-nod",
        "nrs_prism",
        optimal(model_nod_pair=False),
        edit=in_model(None, NODS),
        seed=5,
    ),
    spectrum(
        "g395h-optimal-middle",
        "nrs_g395h",
        optimal(use_source_posn=False),
        segments=(4, 3),
        seed=6,
    ),
]
"""Fits of a PSF."""


REPLACED = [
    spectrum("lrs-replaced", "mir_lrs-slitless", replaced(), edit=damage, seed=31),
    spectrum("lrs-replaced-profile", "mir_lrs-slitless", replaced("fit_profile"), seed=32),
    spectrum(
        "lrs-replaced-profile-damaged",
        "mir_lrs-slitless",
        replaced("fit_profile", n_adjacent_cols=5),
        edit=all_of(damage, edit_member(None, estimated_before)),
        seed=33,
    ),
    spectrum(
        "lrs-replaced-profile-optimal",
        "mir_lrs-slitless",
        {**replaced("fit_profile"), **optimal()},
        edit=damage,
        seed=37,
    ),
    spectrum(
        "lrs-replaced-lost-again",
        "mir_lrs-slitless",
        replaced(),
        edit=edit_member(None, negative_variances),
        seed=34,
    ),
    spectrum(
        "lrs-replaced-cube",
        "mir_lrs-slitless",
        {**replaced("trace_model"), **TRACE},
        model="CubeModel",
        seed=35,
    ),
    spectrum("lrs-trace-cube", "mir_lrs-slitless", TRACE, model="CubeModel", seed=36),
    spectrum("grism-replaced", "nrc_tsgrism", replaced(), photom=True, seed=31),
    spectrum(
        "grism-replaced-damaged",
        "nrc_tsgrism",
        replaced(),
        edit=all_of(damage, edit_member(0, estimated_before)),
        seed=32,
    ),
    spectrum("grism-replaced-trace", "nrc_tsgrism", replaced("trace_model"), seed=33),
    spectrum(
        "grism-replaced-profile", "nrc_tsgrism", replaced("fit_profile"), photom=True, seed=34
    ),
    spectrum(
        "grism-replaced-profile-one",
        "nrc_tsgrism",
        replaced("fit_profile", n_adjacent_cols=1),
        edit=damage,
        seed=35,
    ),
    spectrum(
        "grism-replaced-profile-none",
        "nrc_tsgrism",
        replaced("fit_profile", n_adjacent_cols=0),
        var_flat=False,
        seed=36,
    ),
    spectrum("prism-replaced", "nrs_prism", replaced(), edit=damage, seed=31),
    spectrum(
        "prism-replaced-skip-outliers",
        "nrs_prism",
        {**replaced(), **outliers(skip=True)},
        edit=damage,
        seed=32,
    ),
    spectrum("prism-replaced-profile", "nrs_prism", replaced("fit_profile"), seed=33),
    spectrum(
        "prism-replaced-profile-damaged",
        "nrs_prism",
        replaced("fit_profile", n_adjacent_cols=4),
        edit=all_of(damage, edit_member(1, estimated_before)),
        seed=34,
    ),
    spectrum("g395h-replaced", "nrs_g395h", replaced(), segments=(5, 4), seed=31),
    spectrum(
        "g395h-replaced-profile",
        "nrs_g395h",
        replaced("fit_profile", n_adjacent_cols=2),
        edit=damage,
        segments=(5, 4),
        seed=32,
    ),
]

FULL_SIZE = [
    Case("full-image", "nrc_tsimage", {"segments": (50, 70), "seed": 71}, chunk=None),
    Case(
        "full-weak-lens",
        "nrc_tsimage",
        {"segments": (40,), "pupil": "WLP8", "seed": 72},
        chunk=None,
    ),
    Case("full-mir-image", "mir_image", {"segments": (40, 30), "seed": 73}, chunk=None),
    Case("full-lrs", "mir_lrs-slitless", {"segments": (5, 3), "seed": 74}, chunk=None),
    Case("full-grism", "nrc_tsgrism", {"segments": (3, 2), "seed": 75}, chunk=None),
    Case("full-prism", "nrs_prism", {"segments": (27, 6), "seed": 76}, chunk=None),
    Case("full-g395h", "nrs_g395h", {"segments": (3, 2), "seed": 77}, chunk=None),
]


@pytest.mark.parametrize("case", IMAGING, ids=lambda c: c.name)
def test_imaging(case, tmp_path):
    check(case, tmp_path, ("crfints", "phot"))


@pytest.mark.parametrize("case", SPECTRA + OPTIMAL, ids=lambda c: c.name)
def test_spectroscopy(case, tmp_path):
    check(case, tmp_path, ("crfints", "x1dints", "whtlt"))


@pytest.mark.parametrize("case", REPLACED, ids=lambda c: c.name)
def test_replaced_pixels(case, tmp_path):
    check(case, tmp_path, ("crfints", "x1dints", "whtlt"))
    given = tmp_path / "ours"
    status = fits.getheader(next(given.glob("*_x1dints.fits")))["S_PXREPL"]
    assert status == ("COMPLETE" if "pixel_replace" in case.steps else "SKIPPED")


@pytest.mark.slow
@pytest.mark.parametrize("case", FULL_SIZE, ids=lambda c: c.name)
def test_full_size(case, tmp_path):
    tables = ("phot",) if "image" in case.mode else ("x1dints", "whtlt")
    check(case, tmp_path, ("crfints", *tables))


def flagged(folder):
    """Pixels with the OUTLIER bit in all crfints of a folder."""
    return sum(
        np.count_nonzero(fits.getdata(path, "DQ") & 16) for path in folder.glob("*_crfints.fits")
    )


def check(case, folder, kinds):
    outcome = run_case(case, folder)
    compared = agree(outcome)
    skipped = case.steps.get("outlier_detection", {}).get("skip")
    assert compared == set(kinds) - ({"crfints"} if skipped else set())
    assert skipped or flagged(outcome.theirs) > 0, "the case has no outlier, and so shows little"
