"""Documentation says what is so: examples run, options exist, links lead somewhere."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import re
import shlex
from pathlib import Path

import pytest

from tso3dask.cli import main
from tso3dask.config import STEPS, parameters_of, steps_with_reference

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]


def blocks(page, *languages):
    """Text of the code blocks of a page."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(), re.M | re.S)
    return [text for language, text in found if language in languages]


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "python")], ids=str)
def test_examples_run(page, tmp_path, monkeypatch):
    """Blocks of a page, one after the other, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    code = "\n".join(blocks(page, "python"))
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(code, page.name, "exec"), {"__name__": "example"})
    assert "Traceback" not in printed.getvalue()


def test_example_of_the_readme_is_short():
    (code,) = blocks(PAGES[0], "python")
    lines = [line for line in code.splitlines() if line.strip() and not line.startswith("#")]
    assert len(lines) <= 20


def commands():
    for page, name in zip(PAGES, NAMES, strict=True):
        for block in blocks(page, "sh", ""):
            for line in block.replace("\\\n", " ").splitlines():
                for part in line.partition("#")[0].split("&&"):
                    if part.split()[:1] == ["tso3dask"]:
                        yield pytest.param(shlex.split(part)[1:], id=f"{name}: {part.strip()}")


def help_of(command):
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert main([command, "--help"]) == 0
    return printed.getvalue()


@pytest.mark.parametrize("words", list(commands()))
def test_commands_are_known(words):
    """Commands and options in the documentation are those of the program."""
    command, *rest = words
    known = set(re.findall(r"(?<![\w-])--?[a-z][\w-]*", help_of(command)))
    for word in (w.partition("=")[0] for w in rest if w.startswith("-")):
        if word.startswith("--steps."):
            step, _, parameter = word.removeprefix("--steps.").partition(".")
            assert parameter in parameters_of(step)
        elif word.startswith("--override_"):
            assert steps_with_reference(word.removeprefix("--override_"))
        else:
            assert word in known, f"tso3dask {command} has no option {word}"


def test_two_commands_of_the_readme():
    """Set-up is two commands, and the checks of this repository run what they say."""
    text = PAGES[0].read_text()
    assert "pip install . && tso3dask demo -o tso3dask-demo" in text
    assert 'pip install ".[test]" && pytest' in text
    ci = (ROOT / ".ci/run").read_text()
    assert 'pip" install -q ".[test]"' in ci and 'pytest"' in ci and "tso3dask-demo" in ci


def anchor(title):
    return re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_lead_somewhere(page):
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("https://"):
            continue
        path, _, place = target.partition("#")
        file = (page.parent / path) if path else page
        assert file.exists(), target
        if place:
            titles = re.findall(r"^#+ (.*)$", file.read_text(), re.M)
            assert place in {anchor(title) for title in titles}, target


def test_picture_is_small():
    picture = ROOT / "docs/images/demo_quicklook.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size < 300_000


def test_parameter_tables_are_up_to_date():
    path = ROOT / "docs/make_parameters.py"
    spec = importlib.util.spec_from_file_location("make_parameters", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    text = module.parameters_text()
    assert module.TARGET.read_text() == text, "run python docs/make_parameters.py"
    for step in STEPS:
        for name in parameters_of(step):
            assert f"`{name}`" in text


def test_supported_modes_are_listed():
    readme = PAGES[0].read_text()
    for name in ("NRC_TSIMAGE", "MIR_IMAGE", "MIR_LRS-SLITLESS", "NRC_TSGRISM", "NRS_BRIGHTOBJ"):
        assert name in readme


def test_design_lists_every_module_of_the_graph():
    """Each module of graph has its subject in the table of graph/DESIGN.md."""
    folder = ROOT / "tso3dask" / "graph"
    text = (folder / "DESIGN.md").read_text()
    names = {path.name for path in folder.glob("*.py")} - {"__init__.py"}
    assert sorted(name for name in names if f"`{name}`" not in text) == []
