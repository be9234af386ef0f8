"""The command ``tso3dask channels X1DINTS``."""

from __future__ import annotations

import argparse
from pathlib import Path

from tso3dask.config import parameters_of
from tso3dask.errors import InputError
from tso3dask.wording import counted

__all__ = ["add_arguments", "run_from_args"]

_PARAMETERS = (
    *("edges", "resolving_power", "pixels_per_channel"),
    *("min_wavelength", "max_wavelength"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to `parser`."""
    parser.add_argument("input", metavar="X1DINTS", help="spectra, of jwst too")
    parser.add_argument(
        "-o", "--output", metavar="FILE", help="table to write (<input>_speclc.ecsv, here)"
    )
    for name in _PARAMETERS:
        row = parameters_of("light_curves")[name]
        option = f"--{name.replace('_', '-')}"
        parser.add_argument(option, dest=name, metavar="VALUE", help=row.help)
    parser.add_argument("--overwrite", action="store_true", help="replace an existing file")
    parser.add_argument("-v", "--verbose", action="store_true", help="tracebacks")


def run_from_args(args: argparse.Namespace) -> int:
    """Run the command and return its exit status."""
    from tso3dask.pipeline import spectral_light_curves

    stem = Path(args.input).name.removesuffix(".fits").removesuffix("_x1dints")
    output = Path(args.output or f"{stem}_speclc.ecsv").expanduser()
    if output.exists() and not args.overwrite:
        raise InputError(f"{output}: is there already; give --overwrite to replace it")
    given = {name: getattr(args, name) for name in _PARAMETERS if getattr(args, name) is not None}
    table = spectral_light_curves(args.input, output, **given)
    count = len(table.meta["channels"])
    print(f"{output}: {counted(count, 'channel')}, {counted(len(table), 'integration')}")
    return 0
