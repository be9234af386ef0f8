from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits

from tso3dask.io.blend import (
    blend,
    header_table,
    product_attributes,
    spectrum_keywords,
    stored_attributes,
    summary_status,
)
from tso3dask.io.segment import open_segment

E = "meta.exposure."
I = "meta.instrument."  # noqa: E741


def test_attributes_come_from_the_schemas():
    known = product_attributes()
    nints = known[E + "nints"]
    assert (nints.keyword, nints.primary, nints.column) == ("NINTS", True, "NINTS")
    assert known[I + "detector"].rule == "multi"
    assert not known["meta.target.source_type"].primary
    assert spectrum_keywords()["extraction_xstart"] == "EXTRXSTR"


def test_rules():
    members = [
        {
            E + "start_time": 3.0 - i,
            E + "end_time": 4.0 + i,
            E + "mid_time": float(i),
            E + "duration": 10.0,
            E + "segment_number": i + 1,
            E + "nints": 9,
            I + "detector": f"NRS{i + 1}",
            I + "filter": "CLEAR",
            I + "filter_wheel_tolerance": ["within commanded tolerance", "x"][i % 2],
            "meta.observation.time": f"1{9 - i}:00:00",
            "meta.observation.date_end": f"2022-01-0{i + 1}",
            "meta.nothing.known": 1,
            "meta.origin": None,
        }
        for i in range(3)
    ]
    product = blend(members)
    assert product[E + "start_time"] == 1.0
    assert product[E + "end_time"] == 6.0
    assert product[E + "mid_time"] == 1.0
    assert product[E + "duration"] == 30.0
    assert product[E + "segment_number"] == 1
    assert product[E + "nints"] == 9
    assert product[I + "detector"] == "MULTIPLE"
    assert product[I + "filter"] == "CLEAR"
    assert product[I + "filter_wheel_tolerance"] == "within commanded tolerance"
    assert product["meta.observation.time"] == "17:00:00"
    assert product["meta.observation.date_end"] == "2022-01-03"
    assert "meta.nothing.known" not in product
    assert "meta.origin" not in product
    assert all(not isinstance(value, np.generic) for value in product.values())


def test_a_rule_uses_the_members_that_have_a_value():
    product = blend([{E + "nints": 1}, {E + "mid_time": 2.0}, {E + "mid_time": 4.0}])
    assert product == {E + "nints": 1, E + "mid_time": 3.0}


def test_header_table_has_a_row_per_member():
    table = header_table(
        [
            {"meta.filename": "a.fits", E + "nints": 4, "meta.visit.tsovisit": True},
            {"meta.filename": "longer.fits", E + "nints": 5, "meta.visit.tsovisit": False},
        ]
    )
    assert table.dtype.names == ("FILENAME", "TSOVISIT", "NINTS")
    assert table.dtype["FILENAME"] == "U11"
    assert table.dtype["TSOVISIT"].kind == "b"
    assert table["NINTS"].dtype == np.int64
    assert list(table["FILENAME"]) == ["a.fits", "longer.fits"]


def test_missing_values_in_the_header_table_are_nan():
    table = header_table([{E + "nints": 4}, {"meta.filename": "a"}])
    np.testing.assert_array_equal(table["NINTS"], [4.0, np.nan])
    assert list(table["FILENAME"]) == ["nan", "a"]


@pytest.mark.parametrize(
    "given, expected",
    [
        (["SKIPPED", "COMPLETE"], "COMPLETE"),
        (["SKIPPED", "FAILED", None], "FAILED"),
        ([None], "SKIPPED"),
    ],
)
def test_summary(given, expected):
    assert summary_status(given) == expected


def test_tree_and_keywords_say_the_same(spectra_files, tmp_path):
    path = tmp_path / "edited_calints.fits"
    with fits.open(spectra_files[0]) as opened:
        opened[0].header["TARGPROP"] = "edited"
        opened.writeto(path)
    tree = stored_attributes(open_segment(spectra_files[0]))
    keywords = stored_attributes(open_segment(path))
    assert keywords.pop("meta.target.proposer_name") == "edited"
    known = product_attributes()
    for attribute, value in keywords.items():
        if attribute in known and known[attribute].primary:
            if isinstance(value, float):
                value = pytest.approx(value, rel=1e-14)
            assert tree[attribute] == value, attribute
