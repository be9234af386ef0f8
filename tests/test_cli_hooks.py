"""Hooks by name on the command line."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from tso3dask import cli

MODULE = """
def brighter(dataset):
    return dataset.assign(sci=(dataset.sci * 2).assign_attrs(dataset.sci.attrs))
"""


def words(observation, out, *more):
    override = observation.steps["extract_1d"]["override_extract1d"]
    apcorr = observation.steps["extract_1d"].get("override_apcorr", "N/A")
    return [
        "run", str(observation.asn), "-o", str(out), "--no-plots",
        f"--override_extract1d={override}", f"--override_apcorr={apcorr}", *more,
    ]  # fmt: skip


@pytest.mark.parametrize("scheduler", ["threads", "processes"])
def test_a_function_of_the_working_directory(spectra, tmp_path, monkeypatch, scheduler, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", list(sys.path))
    name = f"my_hooks_{scheduler}"
    Path(f"{name}.py").write_text(MODULE)
    given = f"--steps.outlier_detection.post_hooks={name}.brighter"
    status = cli.main(words(spectra, "out", given, "--scheduler", scheduler, "--workers", "2"))
    assert status == 0, capsys.readouterr().err
    assert cli.main(words(spectra, "plain")) == 0
    for path in sorted(Path("plain").glob("*_crfints.fits")):
        plain, mine = fits.getdata(path, "SCI"), fits.getdata(Path("out") / path.name, "SCI")
        np.testing.assert_array_equal(2 * plain, mine)


@pytest.mark.parametrize(
    ("hook", "text"),
    [
        ("no_such_module.f", "no_such_module cannot be imported"),
        ("broken_hooks.f", "broken_hooks cannot be imported (NameError"),
        ("numpy.nothing", "numpy has no 'nothing'"),
        ("f", "dotted name"),
    ],
)
def test_errors_are_one_line(spectra, tmp_path, monkeypatch, capsys, hook, text):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", list(sys.path))
    Path("broken_hooks.py").write_text("undefined\n")
    given = f"--steps.extract_1d.pre_hooks={hook}"
    assert cli.main(words(spectra, tmp_path / "out", given)) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "extract_1d.pre_hooks" in error
    assert text in error
    assert not (tmp_path / "out").exists()
