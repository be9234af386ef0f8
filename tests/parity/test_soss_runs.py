"""Whole runs of NIRISS SOSS beside jwst's."""

from __future__ import annotations

import pytest

pytest.importorskip("jwst")
pytestmark = pytest.mark.parity

from harness import Case, keep_records, run_case  # noqa: E402

SUBSTRIP96 = {"subarray": "SUBSTRIP96"}
SUBSTRIP256 = {"subarray": "SUBSTRIP256", "shape": (256, 512)}


def soss(name, simulate, steps=None, edit=None, chunk=2, segments=(3, 4)):
    given = {**simulate, "segments": segments}
    white = {"white_light": {"override_wavelengthrange": "N/A"}}  # else jwst takes that of order 1
    return Case(name, "nis_soss", given, {**white, **(steps or {})}, edit, chunk, models=False)


def extract(**parameters):
    return {"extract_1d": parameters}


BOXES = [
    soss("soss_box_96", SUBSTRIP96, extract(soss_atoca=False)),
    soss("soss_box_256", SUBSTRIP256, extract(soss_atoca=False, subtract_background=True)),
    soss(
        "soss_box_narrow_two_orders",
        SUBSTRIP256,
        extract(soss_atoca=False, soss_order_3=False, soss_width=23.4),
    ),
    soss(
        "soss_box_not_flagged",
        SUBSTRIP256,
        {**extract(soss_atoca=False), "outlier_detection": {"skip": True}},
    ),
]


@pytest.mark.parametrize("case", BOXES, ids=lambda c: c.name)
def test_boxes(case, tmp_path):
    check(case, tmp_path)


def test_white_light_of_each_order_has_its_own_range(tmp_path):
    """jwst sums all orders over the range of the first, where others have little light."""
    case = soss("soss_white", SUBSTRIP256, {**extract(soss_atoca=False), "white_light": {}})
    outcome = run_case(case, tmp_path)
    left = outcome.comparison.unexplained({})
    assert left and all(text.startswith("whtlt whitelight_flux_order_") for text in left)
    assert not any("order_1" in text for text in left)


def check(case, folder):
    outcome = run_case(case, folder)
    left = outcome.comparison.unexplained({})
    assert not left, "\n".join([f"{len(left)} findings", *left[:40]])
    keep_records(outcome.comparison)
    return outcome
