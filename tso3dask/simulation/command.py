"""The command ``tso3dask simulate MODE -o DIR``."""

from __future__ import annotations

import argparse
import sys
import time
from typing import TextIO

from .modes import MODES

__all__ = ["add_arguments", "run_from_args"]


def _sizes(text: str) -> int | list[int]:
    """Read a number of segments, or their sizes separated by commas."""
    try:
        sizes = [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected 3 or 50,50,20, got {text!r}") from None
    return sizes if "," in text else sizes[0]


def _shape(text: str) -> tuple[int, int]:
    try:
        ny, nx = (int(part) for part in text.lower().split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected NYxNX as 64x64, got {text!r}") from None
    return ny, nx


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to `parser`; defaults are those of `simulate`."""
    parser.add_argument(
        "mode", metavar="MODE", help="observing mode: " + ", ".join(MODES), type=str.lower
    )
    parser.add_argument("-o", "--output-dir", required=True, metavar="DIR", help="output folder")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier simulation")
    unset = argparse.SUPPRESS
    for name, kind, text in (
        ("nints", int, "integrations per exposure"),
        ("segments", _sizes, "number of segments, or their sizes as 50,50,20"),
        ("exposures", int, "exposures in the association (1)"),
        ("seed", int, "seed of all random numbers (0)"),
        ("depth", float, "transit depth (0.01)"),
        ("cr-rate", float, "cosmic rays per pixel and integration (1e-4)"),
        ("lost-rate", float, "pixels without a value per pixel and integration (2e-5)"),
        ("jitter", float, "pointing scatter in pixels (0.01)"),
        ("background", float, "background in DN/s (the mode's)"),
        ("hot-fraction", float, "fraction of hot pixels (1e-3)"),
        ("dead-fraction", float, "fraction of dead pixels (5e-4)"),
        ("srctype", str, "POINT (default) or EXTENDED"),
        ("int-times", str, "INT_TIMES rows: segment (default), exposure, empty or absent"),
        ("model", str, "data model: SlitModel or CubeModel"),
        ("subarray", str, "another subarray of the mode, as SUBSTRIP256"),
        ("pupil", str, "another pupil of the mode, as WLP8"),
        ("shape", _shape, "array size as NYxNX, for small tests"),
    ):
        parser.add_argument(
            f"--{name}", type=kind, default=unset, help=text, metavar=name.upper().replace("-", "_")
        )
    for name, text in (
        ("photom", "flux-calibrated pixels"),
        ("var-flat", "write VAR_FLAT"),
        ("wavelength", "write WAVELENGTH"),
        ("area", "write AREA"),
    ):
        parser.add_argument(
            f"--{name}", action=argparse.BooleanOptionalAction, default=unset, help=text
        )


_NAMES = (
    "nints segments exposures seed depth cr_rate lost_rate jitter background hot_fraction "
    "dead_fraction srctype int_times model subarray pupil shape photom var_flat wavelength area"
)


def run_from_args(args: argparse.Namespace, out: TextIO | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    args : namespace that `add_arguments` filled.
    out : where the summary goes; standard output if None.

    Returns
    -------
    Exit status, 0.

    Raises
    ------
    InputError : bad arguments or files in the way.
    """
    from .observation import simulate

    given = vars(args)
    began = time.perf_counter()
    made = simulate(
        args.mode,
        args.output_dir,
        overwrite=args.overwrite,
        **{name: given[name] for name in _NAMES.split() if name in given},
    )
    seconds = time.perf_counter() - began
    size = sum(path.stat().st_size for path in made.members) / 1e6
    lines = [
        f"{len(made.members)} calints files, {size:.0f} MB in {seconds:.1f} s",
        f"association  {made.asn}",
        f"parameters   {made.steps_path}",
        f"truth        {made.truth_path}",
    ]
    (out or sys.stdout).write("\n".join(lines) + "\n")
    return 0
