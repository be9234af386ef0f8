"""Time the kernels of imaging photometry: background, centroids, fit, apertures.

    python benchmarks/photometry.py --shape 2000 64 64 --jwst 100

Figures are seconds for the whole cube, in one thread. ``--jwst N`` runs the field's functions on
the first N integrations and says how far the columns differ.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from _common import Report, clock, jwst_option, options, ratios

from tso3dask.ops import aperture, centroid, psffit

RADII = (3.0, 4.0, 5.0)
Cube = dict[str, np.ndarray]


def make_cube(shape: tuple[int, int, int], seed: int = 1) -> Cube:
    """Return images of one source that drifts, on a background with noise and lost pixels."""
    nints, ny, nx = shape
    rng = np.random.default_rng(seed)
    dx, dy = rng.normal(0, 0.05, (2, nints, 1))
    column = np.exp(-0.5 * ((np.arange(nx) - nx / 2 - 0.2 - dx) / 1.1) ** 2)
    row = np.exp(-0.5 * ((np.arange(ny) - ny / 2 + 0.3 - dy) / 1.2) ** 2)
    sci = (300 * row[:, :, np.newaxis] * column[:, np.newaxis, :]).astype(np.float32)
    sci += 10 + rng.standard_normal(shape, np.float32)
    err = np.full(shape, 1, np.float32)
    dq = np.zeros(shape, np.uint32)
    lost = rng.integers(0, sci.size, sci.size // 300)
    for array, value in ((sci, np.nan), (err, np.nan), (dq, 1)):
        array.reshape(-1)[lost] = value
    return {"sci": sci, "err": err, "dq": dq}


def photometry(cube: Cube, x: float, y: float, moving: bool) -> dict[str, Any]:
    """Do the whole photometry of a segment: two passes and the apertures."""
    sci, dq = cube["sci"], cube["dq"]
    first = centroid.nanmedian_center(*centroid.centroids(sci, dq, x, y, 41, RADII[1]))
    found = psffit.centroids_and_psf(sci, dq, *first, 11, RADII[1])
    center: Any = (found["centroid_x"], found["centroid_y"])
    if not moving:
        center = centroid.nanmedian_center(*center)
    return found | aperture.aperture_sums(sci, cube["err"], *center, *RADII)


def jwst_photometry(cube: Cube, x: float, y: float) -> Callable[[], dict[str, np.ndarray]]:
    """Return a function that does the same with the field's functions."""
    from jwst.tso_photometry.tso_photometry import tso_source_centroid
    from photutils.aperture import ApertureStats, CircularAnnulus, CircularAperture
    from stdatamodels.jwst.datamodels import CubeModel

    model = CubeModel(data=cube["sci"].copy(), err=cube["err"].copy(), dq=cube["dq"].copy())
    names = ["centroid_x", "centroid_y", "psf_width_x", "psf_width_y", "psf_flux"]
    sums = [f"{a}_{b}" for a in ("aperture", "annulus") for b in ("sum", "sum_err", "area")]

    def measure() -> dict[str, np.ndarray]:
        found = dict(zip(names, tso_source_centroid(model, x, y), strict=True))
        center = np.nanmedian(found["centroid_x"]), np.nanmedian(found["centroid_y"])
        shapes = (
            CircularAperture(center, r=RADII[0]),
            CircularAnnulus(center, r_in=RADII[1], r_out=RADII[2]),
        )
        rows = []
        for image, error in zip(cube["sci"], cube["err"], strict=True):
            stats = [ApertureStats(image, shape, error=error) for shape in shapes]
            rows.append([v for s in stats for v in (s.sum, s.sum_err, s.sum_aper_area.value)])
        return found | dict(zip(sums, np.array(rows).T, strict=True))

    return measure


def compare(theirs: dict[str, np.ndarray], ours: dict[str, Any]) -> dict[str, Any]:
    """Largest relative difference of each column."""
    difference = {
        name: float(np.nanmax(np.abs(ours[name] / value - 1), initial=0))
        for name, value in theirs.items()
    }
    return {"largest_relative_difference": difference}


def main(argv: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = options(__doc__, "photometry")
    parser.add_argument("--shape", nargs=3, type=int, default=(1000, 64, 64))
    jwst_option(parser)
    args = parser.parse_args(argv)
    report = Report("photometry", args)

    nints, ny, nx = args.shape
    cube = make_cube((nints, ny, nx))
    sci, err, dq = cube["sci"], cube["err"], cube["dq"]
    out = {name: np.zeros_like(array) for name, array in cube.items()}
    x, y = nx / 2, ny / 2
    cx, cy = centroid.centroids(sci, dq, x, y, 11, RADII[1])

    def copy() -> None:
        for name, array in cube.items():
            np.copyto(out[name], array)

    runs: dict[str, Callable[[], Any]] = {
        "copy": copy,
        "background": lambda: centroid.background_median(sci, x, y, RADII[1]),
        "centroids, box 41": lambda: centroid.centroids(sci, dq, x, y, 41, RADII[1]),
        "centroids, box 11": lambda: centroid.centroids(sci, dq, x, y, 11, RADII[1]),
        "centroids and fit": lambda: psffit.centroids_and_psf(sci, dq, x, y, 11, RADII[1]),
        "apertures, fixed": lambda: aperture.aperture_sums(sci, err, x, y, *RADII),
        "apertures, moving": lambda: aperture.aperture_sums(sci, err, cx, cy, *RADII),
        "whole array": lambda: aperture.whole_array_sums(sci, err),
        "photometry": lambda: photometry(cube, x, y, moving=False),
        "photometry, moving": lambda: photometry(cube, x, y, moving=True),
    }
    figures = {name: clock(run, args.repeat) for name, run in runs.items()}
    case = f"{nints}x{ny}x{nx}"
    pairs = [("photometry", "copy"), ("whole array", "copy")]
    report.add(case, figures, shape=args.shape, ratios=ratios(figures, pairs))
    if args.jwst:
        part = {name: array[: args.jwst] for name, array in cube.items()}
        report.add_beside_jwst(
            f"{len(part['sci'])} integrations",
            part["sci"].shape,
            jwst_photometry(part, x, y),
            lambda: photometry(part, x, y, moving=False),
            compare,
        )
    report.write()


if __name__ == "__main__":
    main()
