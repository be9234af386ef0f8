"""The package as it is installed and built: version, entry points, dependencies, content."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata, resources
from pathlib import Path

import pytest

import tso3dask

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_version_is_the_same_everywhere():
    cited = re.search(r"^version: (.*)$", (ROOT / "CITATION.cff").read_text(), re.M)
    assert cited and cited[1] == tso3dask.__version__
    assert f"## {tso3dask.__version__} " in (ROOT / "CHANGELOG.md").read_text()
    if "site-packages" in tso3dask.__file__:
        assert metadata.version("tso3dask") == tso3dask.__version__


def test_citation_has_what_readers_need():
    yaml = pytest.importorskip("yaml")
    content = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors", "license"} <= content.keys()
    assert content["license"] == PROJECT["license"]


def test_public_names_are_there():
    for name in tso3dask.__all__:
        assert getattr(tso3dask, name) is not None
    assert set(tso3dask.__all__) <= set(dir(tso3dask))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        tso3dask.nothing  # noqa: B018


@pytest.mark.parametrize("group", ["console_scripts", "xarray.backends"])
def test_entry_points_load(group):
    table = {"console_scripts": PROJECT["scripts"], **PROJECT["entry-points"]}[group]
    for name, value in table.items():
        assert callable(metadata.EntryPoint(name, value, group).load())
    installed = {e.name: e.value for e in metadata.entry_points(group=group)}
    assert table.items() <= installed.items()


def test_engine_is_known_to_xarray():
    import xarray as xr

    engine = xr.backends.list_engines()["tso3dask"]
    assert engine.guess_can_open("jw01366002001_04103_00001-seg001_nrs1_calints.fits")
    assert not engine.guess_can_open("jw01366002001_04103_00001-seg001_nrs1_uncal.fits")


def test_types_are_announced():
    assert resources.files("tso3dask").joinpath("py.typed").is_file()


def _bounds(requirements):
    found = {}
    for requirement in requirements:
        match = re.fullmatch(r"([\w.-]+)>=([\w.]+)", requirement)
        assert match, f"{requirement}: expected NAME>=VERSION"
        found[match[1].lower()] = match[2]
    return found


def _padded(version):
    return [int(part) for part in version.split(".")] + [0] * (3 - version.count(".") - 1)


def test_lower_bounds_are_those_that_are_tested():
    bounds = _bounds([*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["test"]])
    lines = (ROOT / ".ci/oldest.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    assert bounds.keys() == pins.keys()
    for name, version in bounds.items():
        assert _padded(version) == _padded(pins[name]), name


def test_every_import_is_a_dependency():
    """Packages that the code imports are named as dependencies, not found by luck."""
    import_names = {"pyyaml": "yaml"}
    declared = {import_names.get(name, name) for name in _bounds(PROJECT["dependencies"])}
    declared |= {"crds", "distributed", "tso3dask"}  # the first by extras, when they are needed
    imported = set()
    for path in (ROOT / "tso3dask").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                imported.add(str(node.module).partition(".")[0])
    assert imported - set(sys.stdlib_module_names) <= declared


def test_licence_is_there():
    assert "BSD 3-Clause" in (ROOT / "LICENSE").read_text()
    assert PROJECT["license"] == "BSD-3-Clause"


@pytest.mark.slow
def test_wheel_holds_the_package_and_nothing_else(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "tso3dask", source / "tso3dask", ignore=ignored)
    (source / "tests").mkdir()
    (source / "tests/test_it.py").write_text("")
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", tmp_path, source]
    subprocess.run(command, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name == f"tso3dask-{tso3dask.__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as content:
        files = set(content.namelist())
        record = next(n for n in files if n.endswith("METADATA"))
        about = content.read(record).decode()
    packaged = {f for f in files if not f.startswith("tso3dask-")}
    there = {p.relative_to(ROOT).as_posix() for p in (ROOT / "tso3dask").rglob("*.py")}
    recipes = {p.relative_to(ROOT).as_posix() for p in (ROOT / "tso3dask").rglob("*.toml")}
    assert packaged == there | recipes | {"tso3dask/py.typed"}
    assert any(f.endswith("LICENSE") for f in files)
    assert "License-Expression: BSD-3-Clause" in about
    assert "Requires-Python: >=3.11" in about
    assert "Provides-Extra: cluster" in about
