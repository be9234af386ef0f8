"""A demonstration: simulate small observations, process them, say where the figures are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tso3dask.errors import InputError
from tso3dask.wording import counted

__all__ = ["DEMO_MODES", "run_demo"]

DEMO_MODES = {"nrc_tsimage": 240, "mir_lrs-slitless": 120}
"""Modes of a demo without a mode, and their integrations."""

_SOSS = {"subtract_background": True, "soss_rtol": 1e-3}
"""Segments of a demonstration are short: a grid that fits their noise would take minutes."""


def run_demo(
    mode: str | None,
    folder: Path,
    *,
    nints: int | None,
    recipe: str | None = None,
    overwrite: bool,
    execute: Callable[..., Path | None],
    say: Callable[[str], None],
) -> int:
    """Simulate and process one mode, or one imaging and one spectroscopic mode.

    Parameters
    ----------
    mode : str or None
        Name of a mode of the simulator.
    folder : Path
        Each mode gets a folder of its own in it.
    nints : int or None
        Integrations to simulate.
    recipe : str or None
        Recipe of the processing.
    overwrite : bool
        Replace an earlier demonstration.
    execute : callable
        Runs a plan into a folder and returns the path of its figure.
    say : callable
        Prints a line.
    """
    from tso3dask.simulation import MODES, simulate

    if mode is not None and mode.lower() not in MODES:
        from tso3dask.config import nearest

        raise InputError(
            f"demo: unknown mode '{mode}'.{nearest(mode, MODES)} Known: {', '.join(MODES)}"
        )
    modes = [mode.lower()] if mode is not None else list(DEMO_MODES)
    figures = []
    for name in modes:
        say(f"== {name}: {MODES[name].title}")
        size = nints or DEMO_MODES.get(name)
        sizes = {} if size is None else {"nints": size, "segments": 2 if size > 1 else 1}
        made = simulate(name, folder / name, overwrite=overwrite, **sizes)
        say(f"   simulated {counted(len(made.members), 'segment')} in {folder / name}")
        plan = _plan(made, recipe)
        figure = execute(plan, folder / name / "products", plots=True, overwrite=overwrite)
        figures.append(figure)
        if figure is None:
            say(f"   no figure: {name} gives nothing to draw")
        say("")
    for figure in figures:
        if figure is not None:
            say(f"figure: {figure}")
    return 0


def _plan(made: Any, recipe: str | None) -> Any:
    from tso3dask.params import read_parameter_file
    from tso3dask.pipeline import make_plan

    steps = read_parameter_file(made.steps_path).steps
    if made.mode == "nis_soss":
        steps["extract_1d"] = {**_SOSS, **steps.get("extract_1d", {})}
    return make_plan(made.asn, steps, recipe=recipe)
