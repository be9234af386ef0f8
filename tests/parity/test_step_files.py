"""Files of single steps beside jwst's: names, headers, trees, pixels and tables."""

from __future__ import annotations

import pytest

pytest.importorskip("jwst")
pytestmark = pytest.mark.parity

from harness import Case, agree, run_case  # noqa: E402
from inputs import as_files, damage, repeat_times  # noqa: E402
from test_pipeline import image, spectrum  # noqa: E402

OUTLIERS = {"outlier_detection": {"rolling_window_width": 5, "save_results": True}}
MEDIANS = {"outlier_detection": {"rolling_window_width": 5, "save_intermediate_results": True}}
EVEN = {"outlier_detection": {"rolling_window_width": 4, "save_intermediate_results": True}}
SPECTRA = {"extract_1d": {"save_results": True, "output_use_model": True}}


def files(case: Case, *endings: str) -> Case:
    from dataclasses import replace

    return replace(case, files=endings)


CASES = [
    files(image("image-flagged", OUTLIERS, segments=(4, 7), seed=1), "detection"),
    files(
        image(
            "image-flagged-own-suffix",
            {"outlier_detection": {"save_results": True, "suffix": "mine"}},
            segments=(4, 7),
            edit=as_files,
            seed=2,
        ),
        "mine",
    ),
    files(image("image-medians", MEDIANS, segments=(4, 9), edit=damage, seed=3), "median"),
    files(image("image-medians-even", EVEN, segments=(4, 9), edit=damage, seed=4), "median"),
    files(
        image(
            "image-catalogs", {"tso_photometry": {"save_catalog": True}}, segments=(4, 7), seed=5
        ),
        "phot",
    ),
    files(spectrum("prism-flagged", "nrs_prism", OUTLIERS | SPECTRA, seed=6), "detection", "1d"),
    files(spectrum("prism-medians", "nrs_prism", MEDIANS, seed=7), "median"),
    files(spectrum("lrs-medians", "mir_lrs-slitless", MEDIANS | SPECTRA, seed=8), "median", "1d"),
    files(
        spectrum(
            "grism-medians",
            "nrc_tsgrism",
            MEDIANS | SPECTRA,
            edit=repeat_times(0, (2, 1)),
            seed=9,
        ),
        "median",
        "1d",
    ),
    files(
        spectrum(
            "prism-one-member",
            "nrs_prism",
            {
                "outlier_detection": {"search_output_file": True, "save_results": True},
                "extract_1d": {"save_results": True},
                "white_light": {"output_file": "curve.ecsv", "suffix": "lc", "output_ext": ".txt"},
            },
            segments=(6,),
            seed=10,
        ),
        "detection",
        "1d",
        "lc",
    ),
    files(
        spectrum(
            "prism-replaced",
            "nrs_prism",
            {"pixel_replace": {"skip": False, "save_results": True}, **SPECTRA},
            edit=damage,
            seed=12,
        ),
        "replace",
        "1d",
    ),
    files(
        spectrum(
            "lrs-replaced-unflagged",
            "mir_lrs-slitless",
            {
                "outlier_detection": {"skip": True},
                "pixel_replace": {"skip": False, "save_results": True, "algorithm": "fit_profile"},
            },
            seed=13,
        ),
        "replace",
    ),
    files(
        spectrum(
            "prism-unflagged",
            "nrs_prism",
            {"outlier_detection": {"skip": True}, **SPECTRA},
            seed=11,
        ),
        "1d",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_step_files(case, tmp_path):
    assert set(case.files) <= agree(run_case(case, tmp_path))
