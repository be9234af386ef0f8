"""Simulate an observation, run both pipelines on it, compare what they write."""

from __future__ import annotations

import contextlib
import copy
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from compare import KINDS, Comparison, compare_folders
from jwst_oracle import quick, run_jwst, silent

__all__ = ["Case", "Input", "Outcome", "agree", "keep_records", "run_case", "run_ours"]

Steps = dict[str, dict[str, Any]]

BUSY = {"cr_rate": 1e-3, "lost_rate": 5e-4, "hot_fraction": 5e-3, "dead_fraction": 5e-3}
"""More bad pixels than the simulator's defaults, so that small arrays have many of each kind."""


@dataclass(frozen=True)
class Input:
    """What both pipelines are given: an association, or the members themselves."""

    folder: Path
    asn: Path | None
    members: tuple[Path, ...]
    steps: Steps
    environment: dict[str, str] | None = None
    """Variables that set up CRDS; without them all references are overrides."""

    @property
    def source(self) -> str | list[str]:
        """The association, or a list of files."""
        return [str(m) for m in self.members] if self.asn is None else str(self.asn)


@dataclass(frozen=True)
class Case:
    """One observation and one set of parameters.

    Attributes
    ----------
    name : str
        Name of the case in test ids and in the table of differences.
    mode : str
        Mode of the simulator.
    simulate : mapping
        Arguments of the simulator.
    steps : mapping
        Parameters, over those that the simulator gives.
    edit : callable, optional
        Changes the input before both runs; returns the input to use.
    chunk : int or None
        Integrations of a task of ours.
    files : tuple of str
        Last parts of the names of files of single steps, compared as well.
    models : bool
        Open the products as data models too, which takes much of the time. Headers and trees, of
        which models are made, are compared in any case, and models of all modes in `test_trees`.
    """

    name: str
    mode: str
    simulate: Mapping[str, Any] = field(default_factory=dict)
    steps: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    edit: Callable[[Input], Input] | None = None
    chunk: int | None = 5
    files: tuple[str, ...] = ()
    models: bool = False


@dataclass(frozen=True)
class Outcome:
    """Folders of products of both, and the comparison."""

    input: Input
    ours: Path
    theirs: Path
    comparison: Comparison
    notes: list[str]


def make_input(case: Case, folder: Path) -> Input:
    """Simulate the observation of a case."""
    from tso3dask.simulation import simulate

    observation = simulate(case.mode, folder, **{**BUSY, **case.simulate})
    steps = copy.deepcopy(observation.steps)
    for step, parameters in case.steps.items():
        steps.setdefault(step, {}).update(parameters)
    made = Input(folder, observation.asn, observation.members, steps)
    return made if case.edit is None else case.edit(made)


def run_ours(given: Input, folder: Path, chunk: int | None = 5, **options: Any) -> Any:
    """Run our pipeline."""
    import tso3dask

    with mock.patch.dict(os.environ, given.environment or {}):
        plan = tso3dask.plan(given.source, given.steps, chunk_integrations=chunk)
        return plan.run(folder, overwrite=True, **options)


@contextlib.contextmanager
def nothing_of_crds_ignored() -> Iterator[None]:
    """Compare version and context of CRDS as well, which differ where only one side asked it."""
    import stated

    with contextlib.ExitStack() as stack:
        for table in (stated.KEYWORDS, stated.ENTRIES):
            kept = {k: v for k, v in table.items() if "crds" not in k.lower()}
            stack.enter_context(mock.patch.dict(table, kept, clear=True))
        yield


def run_case(case: Case, folder: Path) -> Outcome:
    """Run both and compare."""
    given = make_input(case, folder / "input")
    ours, theirs = folder / "ours", folder / "jwst"
    run_jwst(given.source, theirs, given.steps, given.environment)
    result = run_ours(given, ours, case.chunk)
    asked = nothing_of_crds_ignored() if given.environment else contextlib.nullcontext()
    with silent(), quick(), asked:
        comparison = compare_folders(
            ours, theirs, case.name, (*KINDS, *case.files), models=case.models
        )
    return Outcome(given, ours, theirs, comparison, list(result.notes))


def agree(outcome: Outcome) -> set[str]:
    """Fail if a product differs; keep the differences and return the products compared."""
    left = outcome.comparison.unexplained({})
    assert not left, "\n".join([f"{len(left)} findings", *left[:40]])
    keep_records(outcome.comparison)
    return {product for product, _ in outcome.comparison.records}


def keep_records(comparison: Comparison) -> None:
    """Append the differences to the file that TSO3DASK_PARITY_TABLE names, as JSON lines."""
    path = os.environ.get("TSO3DASK_PARITY_TABLE")
    if path:
        test = os.environ.get("PYTEST_CURRENT_TEST", "").partition("::")[0]
        named = {"test": Path(test).stem}
        records = [named | asdict(record) for record in comparison.records.values()]
        lines = "".join(json.dumps(record) + "\n" for record in records)
        # One write, so that lines of several processes do not mix.
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(file, lines.encode())
        os.close(file)
