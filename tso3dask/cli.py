"""The command line: ``tso3dask run``, ``plan``, ``demo``, ``simulate``, ``inspect`` and others.

Nothing heavy is imported here at module level, so that help and usage errors come at once.
"""

from __future__ import annotations

import argparse
import atexit
import gc
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import tso3dask
from tso3dask.errors import GuardError, InputError, NotYetError, Tso3Error
from tso3dask.step_arguments import all_steps, steps_text, take_steps
from tso3dask.wording import counted

__all__ = ["main"]

_LOCAL_SCHEDULERS = ("threads", "processes", "synchronous")


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line and exit status 2."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message} (see '{self.prog} --help')")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the program's name; those of the process by default.

    Returns
    -------
    int
        0 done; 2 bad usage or input, nothing written; 1 failed while running.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if argv is None and words[:1] in (["run"], ["plan"]):
        _postpone_collection()
    verbose = bool({"-v", "--verbose"} & set(words))
    try:
        return _dispatch(words)
    except SystemExit as stop:  # help and version end here
        return int(stop.code or 0)
    except BrokenPipeError:  # what reads our output has gone
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
        return 0
    except KeyboardInterrupt as error:
        if not getattr(error, "__notes__", None):
            writes = words[:1] not in (["run"], ["plan"], ["inspect"])
            whole = "Files that are there are whole; --overwrite replaces them"
            error.add_note(whole if writes else "Nothing was begun: there is nothing to resume")
        return _failed("interrupted", error, 1)
    except Tso3Error as error:
        if verbose:
            _print_traceback()
        return _failed(str(error), error, error.exit_status)
    except Exception as error:
        if verbose:
            _print_traceback()
        text = " ".join(str(error).split())
        hint = "" if verbose else "; -v shows where"
        return _failed(f"unexpected {type(error).__name__}: {text}{hint}", error, 1)


def _postpone_collection() -> None:
    """Search for no garbage before the plan is made, nor at the end of this process.

    Loading modules makes a million objects that stay; to go through them again and again would
    take a sixth of the time of a small run.
    """
    gc.disable()
    atexit.register(gc.freeze)


def _allow_collection() -> None:
    """Search for garbage from now on, among what is made from now on."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()


def _print_traceback() -> None:
    import traceback

    traceback.print_exc()


def _failed(text: str, error: BaseException, status: int) -> int:
    """Print one line about a failure, with what `_execute` noted about it."""
    print(f"tso3dask: {'. '.join([text, *getattr(error, '__notes__', [])])}", file=sys.stderr)
    return status


def _dispatch(words: list[str]) -> int:
    parser = _Parser(
        prog="tso3dask",
        usage="tso3dask [-h] [--version] COMMAND ...",
        description="JWST stage-3 time-series processing on dask and xarray.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="commands:\n"
        + "\n".join(f"  {name:<10} {text}" for name, (text, _, _) in _COMMANDS.items())
        + "\n\n'tso3dask COMMAND --help' tells more of each.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"tso3dask {tso3dask.__version__}")
    parser.add_argument("command", metavar="COMMAND", nargs="?", help=argparse.SUPPRESS)
    if not words:
        parser.print_help()
        return 2
    if words[0].startswith("-"):
        parser.parse_args(words[:1])
    if words[0] not in _COMMANDS:
        from tso3dask.config import nearest

        raise InputError(
            f"unknown command '{words[0]}'.{nearest(words[0], _COMMANDS)} "
            f"Known: {', '.join(_COMMANDS)}"
        )
    text, add_arguments, run = _COMMANDS[words[0]]
    command = _Parser(
        prog=f"tso3dask {words[0]}",
        description=text[0].upper() + text[1:] + ".",
        allow_abbrev=False,
    )
    add_arguments(command)
    rest, steps = take_steps(words[1:]) if words[0] in ("run", "plan") else (words[1:], {})
    args = command.parse_intermixed_args(rest)
    args.given_steps = steps
    _quiet(getattr(args, "verbose", False))
    return run(args)


def _quiet(verbose: bool) -> None:
    """Keep warnings and messages of libraries from the user unless asked for."""
    if verbose:
        import logging

        logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")
    elif not sys.warnoptions:
        import warnings

        warnings.simplefilter("ignore")
        os.environ.setdefault("PYTHONWARNINGS", "ignore")  # for worker processes


# --- run and plan ------------------------------------------------------------------------------


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "input", nargs="*", metavar="ASN|CALINTS", help="an association, or calints files"
    )
    parser.add_argument("--params", metavar="FILE", help="parameter file: JSON, YAML or ASDF")
    parser.add_argument(
        "--recipe",
        metavar="NAME",
        help="ready parameters below those given: precise, jwst, or a .toml file",
    )
    parser.add_argument(
        "--disable-crds-steppars",
        action="store_true",
        help="leave parameter files of CRDS aside",
    )
    parser.add_argument(
        "--memory-limit",
        metavar="SIZE",
        help="memory that the run may take, as 8GiB (1GB, SOSS 1.5GB)",
    )
    parser.add_argument(
        "--output-file",
        "--output_file",
        metavar="NAME",
        help="first part of the names of tables and spectra, instead of the association's",
    )
    parser.add_argument(
        "--workers",
        type=_positive,
        metavar="N",
        help="tasks at a time (one per core, if memory allows)",
    )
    parser.add_argument(
        "--scheduler",
        metavar="NAME",
        help="threads (default), processes, synchronous, or the address of a dask scheduler",
    )
    parser.add_argument(
        "--chunk-integrations",
        type=_positive,
        metavar="N",
        help="integrations of a task (chosen)",
    )
    parser.add_argument(
        "--steps-help", action="store_true", help="list the steps and their parameters, and end"
    )
    parser.add_argument(
        "-o", "--output-dir", "--output_dir", metavar="DIR", help="folder of the products (here)"
    )
    again = parser.add_mutually_exclusive_group()
    again.add_argument("--overwrite", action="store_true", help="replace earlier products")
    again.add_argument("--resume", action="store_true", help="go on with an interrupted run")
    parser.add_argument(
        "--plots",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="draw the quick-look figure beside the products, or not (it is drawn)",
    )
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="more messages, tracebacks of errors"
    )
    parser.usage = (
        "%(prog)s ASN|CALINTS... [options] [--steps.STEP.PARAM=VALUE ...] "
        "[--override_TYPE=FILE ...]"
    )
    parser.epilog = (
        "--steps.STEP.PARAM=VALUE sets one parameter of a step, --override_TYPE=FILE a reference "
        "of every step that reads the type (N/A for none). What is in brackets is the default."
    )


def _positive(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a whole number, got {text!r}") from None
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {value}")
    return value


def _source(args: argparse.Namespace) -> Any:
    if not args.input:
        raise InputError("no input: give an association (.json) or calints files")
    return args.input[0] if len(args.input) == 1 else args.input


def _make_plan(args: argparse.Namespace) -> tuple[Any, str | None]:
    source = _source(args)
    scheduler = args.scheduler
    if scheduler is not None and scheduler not in _LOCAL_SCHEDULERS and ":" not in scheduler:
        raise InputError(
            f"--scheduler {scheduler}: expected {', '.join(_LOCAL_SCHEDULERS)}, or an address as "
            "tcp://host:8786"
        )
    steps, pipeline, origins = all_steps(args.given_steps, args.params)
    from tso3dask.config import parse_steps

    parse_steps(steps)  # before anything is opened
    from tso3dask.pipeline import make_plan

    plan = make_plan(
        source,
        steps,
        product_name=args.output_file or pipeline.get("output_file"),
        chunk_integrations=args.chunk_integrations,
        memory_limit=args.memory_limit,
        workers=args.workers,
        separate_processes=scheduler == "processes",
        origins=origins,
        crds_parameters=not args.disable_crds_steppars,
        recipe=args.recipe,
    )
    _allow_collection()
    return plan, pipeline.get("output_dir")


def _folder(args: argparse.Namespace, output_dir: str | None) -> Path:
    """Folder of the products: the one given, else that of the parameter file."""
    return Path(args.output_dir or output_dir or ".").expanduser()


def _run_plan(args: argparse.Namespace) -> int:
    if args.steps_help:
        print(steps_text())
        return 0
    plan, output_dir = _make_plan(args)
    print(plan)
    folder = _folder(args, output_dir)
    print(f"  products go to {folder.absolute()}")
    try:
        plan.destinations(folder, overwrite=args.overwrite, resume=args.resume)
    except InputError as error:
        print(f"  note: {error}")
    for note in plan.left_behind(folder) if args.resume else ():
        print(f"  note: {note}")
    return 0


def _run(args: argparse.Namespace) -> int:
    if args.steps_help:
        print(steps_text())
        return 0
    plan, output_dir = _make_plan(args)
    folder = _folder(args, output_dir)
    _execute(
        plan,
        folder,
        plots=args.plots,
        scheduler=args.scheduler,
        workers=args.workers,
        overwrite=args.overwrite,
        resume=args.resume,
    )
    return 0


def _execute(plan: Any, folder: Path, *, plots: bool, **options: Any) -> Path | None:
    """Run a plan with progress, draw its figure, print the summary; return the figure's path."""
    from tso3dask.progress import closing_text, left_text, progress_display

    told = [*plan.notes, *(plan.left_behind(folder) if options.get("resume") else ())]
    for note in told:
        print(f"note: {note}", file=sys.stderr)
    try:
        with progress_display(plan.nints, len(plan.members)) as report:
            result = plan.run(folder, progress=report, **options)
    except (InputError, NotYetError):
        raise
    except GuardError as error:
        error.add_note("The same command would stop again; with other parameters it begins anew")
        raise
    except (KeyboardInterrupt, Exception) as error:
        error.add_note(left_text(folder, resumable="resume" in options))
        raise
    try:
        figures = _draw(plan, result, folder) if plots else []
    except KeyboardInterrupt as error:
        error.add_note(f"The products in {folder} are whole; figures are missing")
        raise
    for note in result.notes:
        if note not in told:
            print(f"note: {note}", file=sys.stderr)
    print(closing_text(result, *figures))
    return figures[0] if figures else None


def _draw(plan: Any, result: Any, folder: Path) -> list[Path]:
    """Draw the figures; one that fails costs a note, not the run."""
    from tso3dask.quicklook import quicklook_of

    figures = []
    try:
        look = quicklook_of(plan, result)
        if look is None:
            return []
        from tso3dask.report import save_quicklook

        figures.append(save_quicklook(look, folder / plan.names.quicklook))
        from tso3dask.curvelook import curve_look

        curves = curve_look(plan, result, look)
        if curves is not None:
            from tso3dask.curve_report import save_curves

            figures.append(save_curves(curves, folder / plan.names.light_curves))
    except Exception as error:
        text = " ".join(str(error).split())
        missing = "light-curve" if figures else "quick-look"
        print(f"note: no {missing} figure: {type(error).__name__}: {text}", file=sys.stderr)
    return figures


# --- the other commands ------------------------------------------------------------------------


def _add_demo(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "mode",
        nargs="?",
        metavar="MODE",
        help="one mode of simulate (an imaging and a spectral one)",
    )
    parser.add_argument("-o", "--output-dir", metavar="DIR", help="folder (tso3dask-demo)")
    parser.add_argument("--nints", type=_positive, metavar="N", help="integrations to simulate")
    parser.add_argument("--recipe", metavar="NAME", help="ready parameters: precise, jwst")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier demo")
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="more messages, tracebacks of errors"
    )


def _run_demo(args: argparse.Namespace) -> int:
    from tso3dask.demo import run_demo

    return run_demo(
        args.mode,
        Path(args.output_dir or "tso3dask-demo").expanduser(),
        nints=args.nints,
        recipe=args.recipe,
        overwrite=args.overwrite,
        execute=_execute,
        say=partial(print, flush=True),
    )


def _add_simulate(parser: argparse.ArgumentParser) -> None:
    from tso3dask.simulation.command import add_arguments

    add_arguments(parser)


def _run_simulate(args: argparse.Namespace) -> int:
    from tso3dask.simulation.command import run_from_args

    return run_from_args(args) or 0


def _add_inspect(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("input", nargs="+", metavar="FILE|ASN", help="any product or association")
    parser.add_argument("-v", "--verbose", action="store_true", help="tracebacks of errors")


def _run_inspect(args: argparse.Namespace) -> int:
    from tso3dask.inspect import describe

    failed = []
    shown = 0
    for path in args.input:
        try:
            text = describe(path)
        except InputError as error:
            failed.append(str(error))
            continue
        print(("\n" if shown else "") + text)
        shown += 1
    if failed:
        raise InputError("; ".join(failed))
    return 0


def _add_asn(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("input", nargs="+", metavar="CALINTS", help="the members, in any order")
    parser.add_argument("-o", "--output", required=True, metavar="ASN", help="file to write, .json")
    parser.add_argument("--product-name", metavar="NAME", help="first part of the products' names")
    parser.add_argument("--id", default="a3001", metavar="ID", help="association id (a3001)")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing file")
    parser.add_argument("-v", "--verbose", action="store_true", help="tracebacks of errors")


def _run_asn(args: argparse.Namespace) -> int:
    from tso3dask.io.asn import read_association, write_association
    from tso3dask.io.observation import open_observation

    observation = open_observation(read_association(list(args.input)))
    made = write_association(
        args.input, args.output, args.product_name, args.id, overwrite=args.overwrite
    )
    for note in observation.notes:
        print(f"note: {note}", file=sys.stderr)
    print(f"{args.output}: {made.name}, {counted(len(made.members), 'member')}, id {made.asn_id}")
    return 0


def _add_channels(parser: argparse.ArgumentParser) -> None:
    from tso3dask.channels_command import add_arguments

    add_arguments(parser)


def _run_channels(args: argparse.Namespace) -> int:
    from tso3dask.channels_command import run_from_args

    return run_from_args(args)


_COMMANDS: dict[str, tuple[str, Callable[[Any], None], Callable[[Any], int]]] = {
    "run": ("process an association or calints files and write the products", _add_run, _run),
    "plan": (
        "show what run would do, given the same; no pixel is read",
        _add_run,
        _run_plan,
    ),
    "demo": ("simulate a small observation and process it", _add_demo, _run_demo),
    "simulate": ("write a synthetic observation", _add_simulate, _run_simulate),
    "inspect": ("tell what is in a file or association", _add_inspect, _run_inspect),
    "asn": ("make an association from calints files", _add_asn, _run_asn),
    "channels": ("make light curves of channels from x1dints", _add_channels, _run_channels),
}
