"""Best references from a cache and from a server on this machine."""

from __future__ import annotations

import shutil
import sys

import pytest

pytest.importorskip("crds")

from crds_cache import CrdsCache
from crds_server import serve

from tso3dask.io.crds_client import (
    CrdsError,
    NoRuleError,
    advice,
    best_reference,
    context_in_use,
    is_configured,
)

HEADER = {
    "meta.instrument.name": "NIRSPEC",
    "meta.instrument.detector": "NRS1",
    "meta.instrument.grating": "G395H",
    "meta.exposure.type": "NRS_BRIGHTOBJ",
    "meta.observation.date": "2022-07-01",
    "meta.observation.time": "12:00:00",
}


@pytest.fixture
def cache(tmp_path):
    made = CrdsCache(tmp_path / "cache")
    for name in ("early.json", "one.json", "two.json", "table.fits"):
        (tmp_path / name).write_text(name)
    exp_type = "NRS_BRIGHTOBJ"
    made.add("NIRSPEC", "extract1d", tmp_path / "early.json", exp_type, "NRS1")
    later = "2022-06-01 00:00:00"
    made.add("NIRSPEC", "extract1d", tmp_path / "one.json", exp_type, "NRS1", after=later)
    made.add("NIRSPEC", "extract1d", tmp_path / "two.json", exp_type, "NRS2")
    made.add("NIRSPEC", "apcorr", tmp_path / "table.fits", exp_type, "G395H")
    return made.write()


@pytest.fixture
def use(monkeypatch):
    def change(cache, **more):
        for name, value in {**cache.environment, **more}.items():
            monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name, raising=False)

    return change


def content(header, kind):
    return open(best_reference(header, kind)).read()


def other(**values):
    names = {"detector": "meta.instrument.detector", "date": "meta.observation.date"}
    return HEADER | {names[k]: v for k, v in values.items()}


@pytest.mark.parametrize("settings", [{}, {"CRDS_READONLY_CACHE": "1"}, {"CRDS_CONTEXT": ""}])
def test_rules_of_a_cache(cache, use, settings):
    use(cache, **settings)
    assert is_configured()
    assert content(HEADER, "extract1d") == "one.json"
    assert content(other(detector="NRS2"), "extract1d") == "two.json"
    assert content(other(date="2022-05-01"), "extract1d") == "early.json"
    assert content(HEADER, "apcorr") == "table.fits"
    assert best_reference(HEADER, "psf") is None
    assert context_in_use()[1] == "jwst_0001.pmap"


def test_a_cache_without_configuration(cache, use):
    shutil.rmtree(cache.folder / "config")
    use(cache)
    assert content(HEADER, "extract1d") == "one.json"
    assert best_reference(HEADER, "psf") is None
    assert context_in_use()[1] == "jwst_0001.pmap"
    use(cache, CRDS_CONTEXT="")
    with pytest.raises(CrdsError, match="no configuration"):
        best_reference(HEADER, "extract1d")


def test_other_variables_in_the_same_process(cache, use, tmp_path):
    use(cache)
    assert content(HEADER, "extract1d") == "one.json"
    second = CrdsCache(tmp_path / "second", "jwst_0002.pmap")
    second.add("NIRSPEC", "extract1d", tmp_path / "two.json")
    use(second.write())
    assert content(HEADER, "extract1d") == "two.json"
    assert context_in_use()[1] == "jwst_0002.pmap"


def refused(kind="extract1d", header=HEADER, error=CrdsError):
    with pytest.raises(error) as caught:
        best_reference(header, kind)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_no_rule(cache, use, capfd):
    use(cache)
    text = refused(header=other(detector="NRS3"), error=NoRuleError)
    assert text.startswith("jwst_0001.pmap has no extract1d for ")
    assert "exposure.type=NRS_BRIGHTOBJ" in text and "instrument.detector=NRS3" in text
    header = {k: v for k, v in HEADER.items() if not k.endswith("detector")}
    assert "instrument.detector=missing" in refused(header=header, error=NoRuleError)
    refused("no-such-type", error=NoRuleError)
    assert capfd.readouterr() == ("", "")


def test_damaged_caches(cache, use, capfd):
    use(cache, CRDS_CONTEXT="jwst_0999.pmap")
    text = refused()
    assert "CRDS_CONTEXT=jwst_0999.pmap" in text and "not in the cache" in text
    use(cache, CRDS_CONTEXT="nonsense")
    assert "CRDS_CONTEXT=nonsense" in refused()
    use(cache, CRDS_PATH=str(cache.folder / "nothing"))
    assert "not in the cache" in refused()
    use(cache)
    file = next(
        p for p in (cache.folder / "references").rglob("*.json") if p.read_text() == "one.json"
    )
    file.unlink()
    assert file.name in refused()
    use(cache, CRDS_READONLY_CACHE="1")
    assert file.name in refused()
    cache.mapping("jwst_nirspec_apcorr_0001.rmap").write_text("no rules")
    use(cache, CRDS_READONLY_CACHE="0")
    assert "jwst_nirspec_apcorr_0001.rmap" in refused("apcorr")
    assert capfd.readouterr() == ("", "")


def test_not_set_up(monkeypatch):
    assert not is_configured()
    monkeypatch.setitem(sys.modules, "crds", None)
    assert "CRDS is not set up: set CRDS_PATH" in refused()
    assert "set CRDS_PATH" in advice()


def test_not_installed(cache, use, monkeypatch):
    use(cache)
    monkeypatch.setitem(sys.modules, "crds", None)
    assert "pip install 'tso3dask[crds]'" in refused()
    assert "set CRDS_SERVER_URL" in advice()


def test_files_are_fetched_from_a_server(cache, use, tmp_path):
    with serve(cache) as (address, asked):
        mine = {"CRDS_PATH": str(tmp_path / "mine"), "CRDS_SERVER_URL": address}
        use(cache, CRDS_CONTEXT="", **mine)
        assert content(HEADER, "extract1d") == "one.json"
        assert context_in_use()[1] == "jwst_0001.pmap"
        assert "get_build_context" in asked, "the context of the pipeline, not the latest"
        fetched = [name for name in asked if name.endswith(".json")]
        assert len(fetched) == 1 and (tmp_path / "mine").is_dir()
        assert content(HEADER, "extract1d") == "one.json"
        assert [name for name in asked if name.endswith(".json")] == fetched
    use(cache, CRDS_CONTEXT="jwst_0001.pmap", **mine)  # the server is gone
    assert content(HEADER, "extract1d") == "one.json"
    use(cache, CRDS_CONTEXT="", CRDS_PATH=mine["CRDS_PATH"], CRDS_SERVER_URL="")
    assert content(HEADER, "extract1d") == "one.json"
    assert "see to CRDS_SERVER_URL" not in advice()


def test_a_read_only_cache_fetches_nothing(cache, use, tmp_path):
    file = best = None
    with serve(cache) as (address, asked):
        use(cache)
        best = best_reference(HEADER, "extract1d")
        file = shutil.move(best, tmp_path / "away.json")
        use(cache, CRDS_SERVER_URL=address, CRDS_READONLY_CACHE="1")
        assert best.rpartition("/")[2] in refused()
        assert not [name for name in asked if name.endswith(".json")]
        shutil.move(file, best)
        assert content(HEADER, "extract1d") == "one.json"
