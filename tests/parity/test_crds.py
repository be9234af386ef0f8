"""References and parameter files that CRDS chooses, beside jwst with the same cache."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("jwst")
pytest.importorskip("crds")
pytestmark = pytest.mark.parity

from astropy.io import fits  # noqa: E402
from crds_cache import CrdsCache, write_parameters  # noqa: E402
from harness import agree, make_input, run_case  # noqa: E402
from test_pipeline import image, spectrum  # noqa: E402


def from_crds(*parameters, only=(), detectors=(), not_applicable=()):
    """Put the references into a cache, for each detector one of its own, and parameter files.

    Parameters
    ----------
    *parameters : dict
        Of `write_parameters`.
    only : sequence of str
        Types that come from CRDS; others stay overrides.
    detectors : sequence of (str, dict)
        Detector and what its aperture has of its own.
    not_applicable : sequence of str
        Types that the rules declare so.
    """

    def edit(given):
        steps = {step: dict(values) for step, values in given.steps.items()}
        with fits.open(given.members[0]) as hdus:
            header = hdus[0].header
        instrument, exp_type = header["INSTRUME"], header["EXP_TYPE"]
        cache = CrdsCache(given.folder / "cache", "jwst_0042.pmap")
        for step, values in given.steps.items():
            for name, path in values.items():
                kind = name.removeprefix("override_")
                if kind == name or (only and kind not in only):
                    continue
                del steps[step][name]
                if path == "N/A" or kind in not_applicable:
                    cache.add(instrument, kind, "N/A")
                elif kind == "extract1d" and detectors:
                    for detector, own in detectors:
                        cache.add(
                            instrument, kind, aperture(path, detector, own), exp_type, detector
                        )
                else:
                    cache.add(instrument, kind, Path(path))
        for number, one in enumerate(parameters):
            path = write_parameters(given.folder / f"pars{number}.asdf", **one)
            kind = KIND_OF[next(iter(one))]
            cache.add(instrument, kind, path)
        for kind in ("gain", "readnoise", "apcorr", "psf"):
            if (instrument, kind) not in cache.rules:
                cache.add(instrument, kind, "N/A")
        cache.write()
        return replace(given, steps=steps, environment=cache.environment)

    return edit


KIND_OF = {
    "tso3_pipeline": "pars-tso3pipeline",
    "outlier_detection": "pars-outlierdetectionstep",
    "tso_photometry": "pars-tsophotometrystep",
    "extract_1d": "pars-extract1dstep",
    "white_light": "pars-whitelightstep",
}


def aperture(path, detector, own):
    content = json.loads(Path(path).read_text())
    for one in content["apertures"]:
        one.update(own)
    made = Path(path).with_name(f"{detector}_extract1d.json")
    made.write_text(json.dumps(content))
    return made


CASES = [
    spectrum(
        "crds-detectors",
        "nrs_g395h",
        {"extract_1d": {"smoothing_length": 3}},
        edit=from_crds(
            {"outlier_detection": {"rolling_window_width": 3, "snr": "4.0 3.0"}},
            {"extract_1d": {"bkg_order": 1, "smoothing_length": 5, "use_source_posn": False}},
            {"white_light": {"min_wavelength": 2.9}},
            {"tso3_pipeline": {"extract_1d": {"bkg_order": 2, "subtract_background": True}}},
            detectors=(("NRS1", {}), ("NRS2", {"bkg_fit": "median", "extract_width": 5})),
        ),
        seed=81,
    ),
    spectrum("crds-lrs", "mir_lrs-slitless", edit=from_crds(), seed=82),
    spectrum(
        "crds-no-apcorr", "mir_lrs-slitless", edit=from_crds(not_applicable=("apcorr",)), seed=83
    ),
    spectrum("crds-mixed", "nrs_prism", edit=from_crds(only=("apcorr", "psf", "gain")), seed=84),
    spectrum(
        "crds-nothing-applies",
        "nrc_tsgrism",
        edit=from_crds(not_applicable=("extract1d",)),
        seed=85,
    ),
    image(
        "crds-gain",
        edit=from_crds({"tso_photometry": {"radius": 2.5, "moving_centroid": True}}),
        photom=False,
        seed=86,
    ),
    image(
        "crds-image-parameters",
        {"tso_photometry": {"radius_outer": 7.0}},
        edit=from_crds(
            {"tso_photometry": {"radius": 2.5, "radius_inner": 5.0, "radius_outer": 6.0}},
            {"tso3_pipeline": {"tso_photometry": {"radius": 2.0}}},
        ),
        seed=87,
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_products(case, tmp_path):
    agree(run_case(case, tmp_path))


def test_overrides_alone(tmp_path, monkeypatch):
    """jwst names the context in use though nothing was asked of it; here the calints' stays."""
    monkeypatch.setenv("STPIPE_DISABLE_CRDS_STEPPARS", "true")
    case = spectrum("crds-unasked", "nrs_prism", edit=from_crds(only=("none",)), seed=88)
    outcome = run_case(case, tmp_path)
    stated = {r"^x1dints.*(CRDS_VER|CRDS_CTX|ref_file\.crds|NAXIS1|TFORM|datatype)": ""}
    assert not outcome.comparison.unexplained(stated)
    calints = fits.getheader(outcome.input.members[0])
    for path in outcome.ours.glob("*ints.fits"):
        assert fits.getheader(path)["CRDS_CTX"] == calints["CRDS_CTX"]


def test_parameters_of_a_step_alone(tmp_path):
    """`call` of a step takes the parameter file of this step, its `run` does not."""
    from jwst.tso_photometry import TSOPhotometryStep as Theirs
    from jwst_oracle import silent, with_crds

    from tso3dask import TSOPhotometryStep as Ours

    edit = from_crds(
        {"tso_photometry": {"radius": 2.5}},
        {"tso3_pipeline": {"tso_photometry": {"radius": 2.0}}},
    )
    given = make_input(image("crds-step", edit=edit, photom=False, seed=89), tmp_path)
    path = str(given.members[0])
    with with_crds(given.environment), silent():
        theirs = Theirs.call(path, configure_log=False), Theirs().run(path)
        ours = Ours.call(path), Ours().run(path)
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one["aperture_sum"], other["aperture_sum"], rtol=1e-6)
    assert abs(ours[0]["aperture_sum"] - ours[1]["aperture_sum"]).max().value > 0
