"""Which reference each member uses."""

from __future__ import annotations

import pytest

from tso3dask.config import parse_steps
from tso3dask.errors import InputError
from tso3dask.io.bestrefs import ReferenceFile, find_references
from tso3dask.io.reference import check_overrides

MEMBERS = (None, None)


def test_what_keywords_say(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert ReferenceFile(None).recorded == "N/A"
    assert ReferenceFile("e.json").recorded == str(tmp_path / "e.json")
    assert ReferenceFile("/cache/e.json", from_crds=True).recorded == "crds://e.json"
    assert ReferenceFile(None, from_crds=True).recorded == "N/A"


def test_missing_references_are_one_error_with_both_ways():
    parameters = parse_steps({"extract_1d": {"override_apcorr": "N/A"}})
    with pytest.raises(InputError) as error:
        find_references(parameters, MEMBERS, ["extract1d", "apcorr", "gain"], mandatory=["gain"])
    text = str(error.value)
    assert "extract1d (step extract_1d), gain (step tso_photometry)" in text
    assert "--override_extract1d=FILE --override_gain=FILE" in text
    assert "extract_1d.override_extract1d" in text
    assert "N/A means to do without (possible for extract1d)" in text
    assert "set CRDS_PATH (folder of the cache) and CRDS_SERVER_URL" in text
    assert "tso3dask[crds]" in text
    assert "\n" not in text


def test_found_references(tmp_path):
    path = tmp_path / "e.json"
    steps = {"extract_1d": {"override_apcorr": "N/A", "override_extract1d": str(path)}}
    with pytest.raises(InputError, match="no such file"):
        find_references(parse_steps(steps), MEMBERS, ["extract1d"])
    path.touch()
    first, second = find_references(parse_steps(steps), MEMBERS, ["extract1d", "apcorr"])
    assert first == second == {"extract1d": ReferenceFile(str(path)), "apcorr": ReferenceFile(None)}
    with pytest.raises(InputError, match=r"white_light.override_wavelengthrange: no such file"):
        check_overrides(parse_steps({"white_light": {"override_wavelengthrange": "/no/w.asdf"}}))
