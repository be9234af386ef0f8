"""Time the box extraction kernels against copying the pixels that they read.

    python benchmarks/extraction.py --modes grism lrs --fits none poly1 --integrations 20 --jwst 2

Figures are seconds for all integrations, in one thread: the sums alone, and sums with the columns
of the table. ``--jwst N`` runs the field's own sums on the first N integrations and gives the
largest relative difference.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from _common import Report, clock, jwst_option, options, ratios

from tso3dask.ops.aperture1d import Aperture, define_aperture
from tso3dask.ops.box import RESULTS, box_plan, extract_box
from tso3dask.ops.extract_params import ExtractParams
from tso3dask.ops.spectrum import spectral_columns

MODES: dict[str, dict[str, Any]] = {
    "grism": {"shape": (256, 2048), "dispaxis": 1, "source": (26, 41), "back": (0, 255)},
    "bots": {"shape": (32, 2048), "dispaxis": 1, "source": (10, 20), "back": (0, 31)},
    "lrs": {"shape": (416, 72), "dispaxis": 2, "source": (32, 40), "back": (5, 65)},
    "tiny": {"shape": (24, 64), "dispaxis": 1, "source": (10, 14), "back": (0, 23)},
}

FITS = {"none": (None, 0), "poly0": ("poly", 0), "poly1": ("poly", 1), "median": ("median", 0)}


def make_aperture(mode: dict[str, Any], fit: str, smoothing: int) -> Aperture:
    """Return a straight aperture, with background on both sides if any."""
    ny, nx = mode["shape"]
    (first, last), (low, high) = mode["source"], mode["back"]
    kind, order = FITS[fit]
    params = ExtractParams(
        dispaxis=mode["dispaxis"],
        spectral_order=1,
        xstart=4,
        xstop=nx - 5,
        ystart=4,
        ystop=ny - 5,
        src_coeff=((first - 0.5,), (last + 0.5,)),
        bkg_coeff=((low - 0.5,), (first - 3.5,), (last + 3.5,), (high + 0.5,)) if kind else None,
        subtract_background=kind is not None,
        bkg_fit=kind,
        bkg_order=order,
        smoothing_length=smoothing,
    )
    along = np.arange(nx)[None, :] if mode["dispaxis"] == 1 else np.arange(ny)[:, None]
    wavelength = np.broadcast_to(1.0 + 0.001 * along, (ny, nx)).copy()
    return define_aperture(params, (ny, nx), wavelength)


def make_cubes(shape: tuple[int, int], count: int, bad: float) -> list[np.ndarray]:
    """Return values and three variances with some lost pixels."""
    rng = np.random.default_rng(1)
    full = (count, *shape)
    arrays = [rng.normal(5, 1, full).astype(np.float32)]
    arrays += [rng.uniform(0.1, 1, full).astype(np.float32) for _ in range(3)]
    lost = rng.random(full) < bad
    for array in arrays:
        array[lost] = np.nan
    return arrays


def jwst_sums(arrays: list[np.ndarray], aperture: Aperture) -> Callable[[], list[Any]]:
    """Return a function that sums with the field's own code."""
    from jwst.extract_1d.extract1d import extract1d

    p = aperture.params
    flip = (lambda a: a) if p.dispaxis == 1 else (lambda a: a.T)
    back = None if aperture.bkg_profile is None else flip(aperture.bkg_profile)

    def sums() -> list[Any]:
        found = []
        for images in zip(*arrays, strict=True):
            sci, *var = map(flip, images)
            found.append(
                extract1d(
                    sci,
                    [flip(aperture.profile)],
                    *var,
                    profile_bg=back,
                    bg_smooth_length=p.smoothing_length,
                    fit_bkg=back is not None,
                    bkg_fit_type=p.bkg_fit,
                    bkg_order=p.bkg_order,
                )
            )
        return found

    return sums


def compare(theirs: list[Any], ours: dict[str, np.ndarray], valid: np.ndarray) -> dict[str, Any]:
    """Largest relative difference of all results."""
    worst = 0.0
    for i, spectra in enumerate(theirs):
        for name, other in zip(RESULTS, spectra, strict=False):
            a, b = ours[name][i][valid], other[0][valid]
            worst = max(worst, float(np.nanmax(np.abs(a - b) / np.maximum(np.abs(b), 1e-30))))
    return {"largest_relative_difference": worst}


def main(argv: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = options(__doc__, "extraction")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=("grism", "bots", "lrs"))
    parser.add_argument("--fits", nargs="+", choices=FITS, default=tuple(FITS))
    parser.add_argument("--integrations", type=int, default=10)
    parser.add_argument("--smoothing", type=int, default=0)
    parser.add_argument("--bad", type=float, default=0.002, help="fraction of lost pixels")
    jwst_option(parser)
    args = parser.parse_args(argv)
    report = Report("extraction", args)
    for mode in args.modes:
        arrays = make_cubes(MODES[mode]["shape"], args.integrations, args.bad)
        for fit in args.fits:
            run_case(report, mode, fit, arrays, args)
    report.write()


def run_case(report: Report, mode: str, fit: str, arrays: list[np.ndarray], args: Any) -> None:
    """Time one mode with one kind of background."""
    aperture = make_aperture(MODES[mode], fit, args.smoothing)
    plan = box_plan(aperture)
    read = [array[:, *plan.window] for array in arrays]
    out = [np.zeros_like(array) for array in read]

    def columns() -> Any:
        return spectral_columns(
            extract_box(*arrays, plan), aperture.wavelength, photom_complete=True,
            source_type="POINT", instrument="NIRCAM", pixel_area_sr=1e-13,
        )  # fmt: skip

    def copy() -> None:
        for target, source in zip(out, read, strict=True):
            np.copyto(target, source)

    runs = {
        "copy": copy,
        "sums": lambda: extract_box(*arrays, plan),
        "sums and columns": columns,
    }
    figures = {name: clock(run, args.repeat) for name, run in runs.items()}
    pairs = [("sums", "copy")]
    report.add(f"{mode}, {fit}", figures, shape=arrays[0].shape, ratios=ratios(figures, pairs))
    if args.jwst:
        part = [array[: args.jwst] for array in arrays]
        report.add_beside_jwst(
            f"{mode}, {fit}",
            part[0].shape,
            jwst_sums(part, aperture),
            lambda: extract_box(*part, plan),
            lambda theirs, ours: compare(theirs, ours, aperture.valid),
        )


if __name__ == "__main__":
    main()
