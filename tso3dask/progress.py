"""What a run says while it works and when it is done, on a terminal and elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

from tso3dask.wording import counted, format_bytes, format_seconds

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["closing_text", "left_text", "progress_display"]

Report = Callable[[int, int, str], None]
"""Called with units of work done, units in all, and the phase."""


@contextmanager
def progress_display(
    integrations: int, segments: int, stream: TextIO | None = None
) -> Iterator[Report]:
    """Show the progress of a run: a moving bar on a terminal, a few lines elsewhere.

    Parameters
    ----------
    integrations, segments : int
        Of the whole run; progress is told in integrations, however many passes there are.
    stream : text stream, optional
        Standard error by default.

    Yields
    ------
    callable
        To be called with work done, work in all, and the phase.
    """
    stream = stream or sys.stderr
    if stream.isatty():
        with _bar(integrations, segments, stream) as report:
            yield report
    else:
        yield _Lines(integrations, stream)


@contextmanager
def _bar(integrations: int, segments: int, stream: TextIO) -> Iterator[Report]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn
    from rich.text import Text

    started = time.monotonic()

    class Pace(ProgressColumn):
        """Rate and time left, from the start of the run."""

        def render(self, task: Any) -> Text:
            return Text(_pace(task.completed, task.total or 0, time.monotonic() - started))

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        TextColumn("{task.percentage:>3.0f} %"),
        TextColumn(f"{{task.completed:.0f}}/{integrations} integrations"),
        Pace(),
    )
    with Progress(*columns, console=Console(file=stream), transient=True) as display:
        task = display.add_task(counted(segments, "segment"), total=integrations)

        def report(done: int, total: int, phase: str) -> None:
            completed = integrations * done / max(total, 1)
            display.update(task, completed=completed, description=phase)

        yield report


def _pace(done: float, total: float, seconds: float) -> str:
    """Return rate and time left, once there is enough to tell."""
    if done <= 0 or seconds < 0.5:
        return ""
    rate = done / seconds
    left = (total - done) / rate
    shown = f"{rate:.3g}" if rate < 999.5 else f"{rate:,.0f}"
    return f"{shown}/s, {format_seconds(left)} left" if left > 0 else f"{shown}/s"


class _Lines:
    """Progress as plain lines: one for each tenth, not more often than every two seconds."""

    def __init__(self, integrations: int, stream: TextIO) -> None:
        self._integrations = integrations
        self._stream = stream
        self._started = self._told = time.monotonic()
        self._tenth = 0
        self._phase = ""

    def __call__(self, done: int, total: int, phase: str) -> None:
        now = time.monotonic()
        tenth = 10 * done // max(total, 1)
        new_phase = bool(self._phase) and phase != self._phase
        self._phase = phase
        if not new_phase and (tenth <= self._tenth or now - self._told < 2.0):
            return
        self._tenth, self._told = tenth, now
        completed = self._integrations * done // max(total, 1)
        pace = _pace(completed, self._integrations, now - self._started)
        line = f"{phase}: {completed}/{self._integrations} integrations"
        self._stream.write(line + (f", {pace}" if pace else "") + "\n")
        self._stream.flush()


def _percent(share: float) -> str:
    return f"{100 * share:.4f} %"


_SUMMARY: tuple[tuple[str, str, Callable[[Any], str]], ...] = (
    ("integrations", "nints", "{:,}".format),
    ("outliers", "n_outliers", "{:,}".format),
    ("of all pixels", "fraction", _percent),
    ("of the target", "target_fraction", _percent),
    ("replaced", "n_replaced", "{:,}".format),
    ("scatter, ppm", "scatter_ppm", "{:,.0f}".format),
    ("without, ppm", "scatter_without_replacement_ppm", "{:,.0f}".format),
)
"""Columns of the summary of segments: title, name in the record, format."""


def _outlier_lines(outliers: list[dict[str, Any]]) -> list[str]:
    """Lines of the summary of segments; columns that no segment has are left out."""
    known = [column for column in _SUMMARY if any(column[1] in entry for entry in outliers)]
    rows = [["segment", *(title for title, _, _ in known)]]
    rows += [
        [e["name"], *(form(e[name]) if name in e else "-" for _, name, form in known)]
        for e in outliers
    ]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    first, *rest = widths
    return [
        f"{row[0]:<{first}}" + "".join(f"{c:>{w + 3}}" for c, w in zip(row[1:], rest, strict=True))
        for row in rows
    ]


def closing_text(result: Any, *figures: Path) -> str:
    """Return the summary of a finished run.

    Parameters
    ----------
    result : RunResult
        With ``products``, ``integrations``, ``outliers``, ``seconds`` and ``peak_memory``.
    *figures : Path
        Figures that were drawn.

    Returns
    -------
    str
        Lines without a trailing newline; the same on a terminal and in a log.
    """
    lines = []
    if result.outliers:
        lines += [*_outlier_lines(result.outliers), ""]
    products = [path for paths in result.products.values() for path in paths]
    products += figures
    if products:
        lines.append("products")
        sizes = [format_bytes(path.stat().st_size) for path in products]
        lines += [f"  {size:>8}  {path}" for size, path in zip(sizes, products, strict=True)]
        lines.append("")
    rate = result.integrations / result.seconds if result.seconds > 0.1 else 0.0
    lines.append(
        f"{counted(result.integrations, 'integration')} in {format_seconds(result.seconds)}"
        + (f" ({rate:,.3g}/s)" if 0 < rate < 999.5 else f" ({rate:,.0f}/s)" if rate else "")
        + f", peak memory {format_bytes(result.peak_memory)}"
    )
    return "\n".join(lines)


def left_text(folder: Path, resumable: bool) -> str:
    """Tell what a run that ended early left in its folder, and how to go on.

    Parameters
    ----------
    folder : Path
        Folder of the products.
    resumable : bool
        Whether the command has ``--resume``.
    """
    unfinished = (".*.part", ".*_tso3dask_unfinished_run.*")
    if not any(any(folder.glob(pattern)) for pattern in unfinished):
        return f"Nothing was begun in {folder}: there is nothing to resume"
    option = "--resume to go on" if resumable else "--overwrite to start anew"
    return f"Finished work is kept in {folder}: give the same command with {option}"
