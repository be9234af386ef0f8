"""Benchmarks run, and their results have the promised keys; no time is tested."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"

TOP = {"benchmark", "arguments", "date", "versions", "machine", "load", "cases"}

KERNELS = {
    "outliers": ["--shape", "30", "8", "16"],
    "photometry": ["--shape", "6", "32", "32"],
    "extraction": ["--modes", "tiny", "--integrations", "2"],
    "soss": ["--modes", "tiny", "--integrations", "2"],
}

PARTS = {"flag and write", "flag and write, one worker", "extract and write"}

OVER_COPY = {
    f"{what} / cp, {of}" for what in ("tso3dask", "flag and write") for of in ("wall", "CPU")
} | {"flag and write, one worker / flag and write, wall"}

TINY = "mir_lrs-slitless:30:26x20"


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run a script of the folder in this process; return its file of results."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))

    def run(name, *words):
        for loaded in ("_common", name):
            sys.modules.pop(loaded, None)
        script = importlib.import_module(name)
        path = tmp_path / "results" / f"{name}.json"
        try:
            script.main([*words, "--repeat", "1", "--json", str(path)])
        finally:
            for loaded in ("_common", name):
                sys.modules.pop(loaded, None)
        assert str(path) in capsys.readouterr().out
        return json.loads(path.read_text())

    return run


def check(result, name):
    assert result.keys() >= TOP
    assert result["benchmark"] == name
    assert result["versions"].keys() >= {"python", "numpy", "numba"}
    assert result["machine"].keys() == {"processor", "cores", "memory_gb", "system"}
    assert result["load"].keys() == {"before", "after"}
    assert result["cases"]
    for case in result["cases"]:
        assert case.keys() >= {"case", "figures", "ratios"}
        for figure in case["figures"].values():
            assert figure.keys() >= {"min", "median", "cpu"}
            assert 0 < figure["min"] <= figure["median"]
        assert all(ratio > 0 for ratio in case["ratios"].values())


@pytest.mark.parametrize("name", KERNELS)
def test_kernels(run, name):
    result = run(name, *KERNELS[name])
    check(result, name)
    for case in result["cases"]:
        assert "copy" in case["figures"]
        assert all("first" in figure for figure in case["figures"].values())


def test_whole_run(run):
    result = run("pipeline", "--cases", TINY, "--no-warm-up", "--no-jwst")
    check(result, "pipeline")
    (case,) = result["cases"]
    assert case["figures"].keys() == {"cp", "plan", "tso3dask"} | PARTS
    assert case["ratios"].keys() == OVER_COPY
    assert case["input_mb"] > 0
    assert [name.rsplit("_", 1)[1] for name in case["products"]] == [
        "whtlt.ecsv",
        "x1dints.fits",
        "crfints.fits",
    ]
    assert all(case["figures"][name]["peak_mb"] > 1 for name in ("cp", "plan", "tso3dask"))


def test_scaling(run):
    words = ["--shape", "30", "8", "16", "--photometry", "4", "--rounds", "1000"]
    result = run("scaling", *words, "--plan-integrations", "48", "--tasks", "40")
    check(result, "scaling")
    first = [case["case"].split()[0] for case in result["cases"]]
    assert first == ["threads,"] * 3 + ["plan", "40"]
    assert result["cases"][3]["tasks"] > 24
    assert result["cases"][4]["ratios"].keys() == {"dask tasks / direct calls, CPU"}


def test_shifts_beside_what_was_put_in(run, tmp_path):
    page = tmp_path / "page.md"
    page.write_text("<!-- table of benchmarks/regressors.py -->\n<!-- end of this table -->\n")
    result = run("regressors", "--modes", "tiny", "--page", str(page))
    rows = {row["column"]: row for case in result["cases"] for row in case["columns"]}
    for name in ("shift_x", "shift_y", "shift_y_NRS1"):
        row = rows[name]
        assert 0.6 * row["limit"] < row["rms"] < min(1.6 * row["limit"], 0.005)
        assert f"| `{name}` |" in page.read_text()


def test_page_takes_the_table(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    targets = importlib.import_module("targets")
    lines = [targets.Target("rolling median", ">= 100", [("5", 150.0), ("75", 90.0)])]
    found = {"date": "2026-01-01", "versions": {"numpy": "2"}, "machine": {"processor": "P"}}
    found["machine"]["cores"] = 2
    page = tmp_path / "page.md"
    page.write_text("before\n" + "old\n".join(targets.PAGE_MARKS) + "after\n")
    targets.write_page(lines, found, page)
    targets.write_page(lines, found, page)
    text = page.read_text()
    assert text.startswith("before\n<!--") and text.endswith("-->\nafter\n")
    assert "old" not in text
    assert text.count("| rolling median | >= 100 | 5: 150; 75: 90 | no |") == 1
    for name in ("_common", "targets"):
        sys.modules.pop(name, None)


@pytest.mark.slow
def test_curve(run, tmp_path):
    pytest.importorskip("matplotlib")
    figure = tmp_path / "cost.png"
    words = ["--modes", "mir_lrs-slitless", "--shape", "26x20", "--nints", "4", "--no-jwst"]
    result = run("curve", *words, "--figure", str(figure))
    check(result, "curve")
    assert [case["integrations"] for case in result["cases"]] == [4]
    assert result["cases"][0]["shape"] == "26x20"
    assert figure.read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_targets(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    targets = importlib.import_module("targets")
    targets.main(["--size", "tiny", "--folder", str(tmp_path)])
    text = capsys.readouterr().out
    content = json.loads((tmp_path / "targets.json").read_text())
    assert content.keys() >= {"date", "versions", "machine", "load", "targets"}
    assert all(f"| {line['what']} | {line['wanted']} |" in text for line in content["targets"])
    measured = {line["what"]: line["measured"] for line in content["targets"]}
    assert measured["outlier step / copy of six arrays"]
    assert measured["tso3dask --help, s of CPU"]
    for name in ("_common", "pipeline", "targets"):
        sys.modules.pop(name, None)


@pytest.mark.slow
def test_whole_run_with_a_recipe(run, tmp_path):
    page = tmp_path / "page.md"
    page.write_text("<!-- table of benchmarks/pipeline.py -->\n<!-- end of what it costs -->\n")
    words = ["--cases", TINY, "--no-warm-up", "--no-jwst", "--recipe", "precise"]
    (case,) = run("pipeline", *words, "--page", str(page))["cases"]
    assert case["recipe"] == "precise"
    assert case["figures"]["recipe"]["cpu"] != case["figures"]["tso3dask"]["cpu"]
    kinds = ("wall", "CPU", "peak")
    assert case["ratios"].keys() >= {f"recipe / tso3dask, {kind}" for kind in kinds}
    assert f"| {case['case']} | 0.00 |" in page.read_text()


@pytest.mark.slow
def test_precision(run, capsys):
    words = ["--modes", "tiny", "--rates", "1e-3", "--jitters", "0.01"]
    result = run("precision", *words, "--depths", "0.01", "--seeds", "2")
    assert result.keys() >= TOP | {"depths", "tables"}
    assert len(result["cases"]) == 2 and len(result["depths"]) == 4
    for case in result["cases"]:
        (row,) = case["curves"]
        assert 0 < row["noise"] < row["jwst"]
        assert row["clean"] != row["jitter alone"] < row["jwst"]
        assert case["flags"]["precise"]["hits"] > 10
    assert [len(table.splitlines()) for table in result["tables"]] == [4, 4, 4]


@pytest.mark.slow
def test_memory(run):
    result = run("pipeline", "--cases", "--memory-case", TINY)
    check(result, "pipeline")
    (case,) = result["cases"]
    assert case["figures"].keys() == {"1x", "8x"}
    assert case["ratios"].keys() == {"8x / 1x, peak"}


@pytest.mark.parity
@pytest.mark.parametrize("name", KERNELS)
def test_kernels_beside_jwst(run, name):
    pytest.importorskip("jwst")
    result = run(name, *KERNELS[name], "--jwst", "2")
    check(result, name)
    beside = [case for case in result["cases"] if case["case"].endswith("beside jwst")]
    assert beside
    for case in beside:
        assert case["figures"].keys() == {"jwst", "tso3dask"}
        assert case["agreement"]


@pytest.mark.parity
def test_whole_run_beside_jwst(run):
    pytest.importorskip("jwst")
    result = run("pipeline", "--cases", TINY, "--no-warm-up", "--jwst-python", sys.executable)
    check(result, "pipeline")
    (case,) = result["cases"]
    assert case["jwst"].keys() == {"version", "imports", "run", "steps_cpu"}
    assert case["jwst"]["steps_cpu"].keys() >= {"outlier_detection", "extract_1d"}
    assert case["ratios"].keys() == OVER_COPY | {
        "jwst, extract_1d / extract and write, CPU",
        "jwst / cp, wall",
        "jwst / tso3dask, wall",
        "jwst / tso3dask, CPU",
        "jwst / tso3dask, peak",
    }


def test_summary(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    summary = importlib.import_module("summary")
    reference = json.loads((BENCHMARKS / "results" / "reference.json").read_text())
    for result in reference:
        check(result, result["benchmark"])
    path = tmp_path / "all.json"
    summary.main([str(BENCHMARKS / "results" / "reference.json"), "--json", str(path)])
    text = capsys.readouterr().out
    assert all(f"### {result['benchmark']}.py" in text for result in reference)
    assert json.loads(path.read_text()) == reference
    for name in ("_common", "summary"):
        sys.modules.pop(name, None)
