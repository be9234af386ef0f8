"""Time the kernels of imaging photometry: background, centroids, fit, apertures.

    python benchmarks/photometry.py --shape 2000 64 64 --repeat 5 --json out.json

Where jwst can be imported, ``--jwst 200`` times its functions once on the first 200 integrations
and says how far the columns differ.  Every figure is the least of the repeats, in microseconds per
integration; compilation is not counted.
"""

from __future__ import annotations

import argparse
import json
import logging
import platform
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tso3dask.ops import aperture, centroid, psffit

RADII = (3.0, 4.0, 5.0)


def make_cube(shape: tuple[int, int, int], seed: int = 1) -> dict[str, np.ndarray]:
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


def least(run: Callable[[], Any], repeat: int) -> tuple[float, float]:
    """Wall and CPU seconds of the quickest of several runs, after one that does not count."""
    run()
    best = (float("inf"), 0.0)
    for _ in range(repeat):
        wall, cpu = time.perf_counter(), time.thread_time()
        run()
        best = min(best, (time.perf_counter() - wall, time.thread_time() - cpu))
    return best


def photometry(cube: dict[str, np.ndarray], x: float, y: float, moving: bool) -> dict[str, Any]:
    """Do the whole photometry of a segment: two passes and the apertures."""
    sci, dq = cube["sci"], cube["dq"]
    first = centroid.nanmedian_center(*centroid.centroids(sci, dq, x, y, 41, RADII[1]))
    found = psffit.centroids_and_psf(sci, dq, *first, 11, RADII[1])
    center: Any = (found["centroid_x"], found["centroid_y"])
    if not moving:
        center = centroid.nanmedian_center(*center)
    return found | aperture.aperture_sums(sci, cube["err"], *center, *RADII)


def time_jwst(cube: dict[str, np.ndarray], x: float, y: float) -> dict[str, Any]:
    """Run the field's functions once, and compare their columns with ours."""
    from jwst.tso_photometry.tso_photometry import tso_source_centroid
    from photutils.aperture import ApertureStats, CircularAnnulus, CircularAperture
    from stdatamodels.jwst.datamodels import CubeModel

    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    model = CubeModel(data=cube["sci"].copy(), err=cube["err"].copy(), dq=cube["dq"].copy())
    names = ["centroid_x", "centroid_y", "psf_width_x", "psf_width_y", "psf_flux"]
    start = time.perf_counter()
    theirs = dict(zip(names, tso_source_centroid(model, x, y), strict=True))
    middle = time.perf_counter()
    center = np.nanmedian(theirs["centroid_x"]), np.nanmedian(theirs["centroid_y"])
    rows = []
    for image, error in zip(cube["sci"], cube["err"], strict=True):
        circle = ApertureStats(image, CircularAperture(center, r=RADII[0]), error=error)
        ring = ApertureStats(
            image, CircularAnnulus(center, r_in=RADII[1], r_out=RADII[2]), error=error
        )
        rows.append([v for s in (circle, ring) for v in (s.sum, s.sum_err, s.sum_aper_area.value)])
    end = time.perf_counter()
    sums = [f"{a}_{b}" for a in ("aperture", "annulus") for b in ("sum", "sum_err", "area")]
    theirs |= dict(zip(sums, np.array(rows).T, strict=True))
    ours = photometry(cube, x, y, moving=False)
    nints = len(rows)
    return {
        "integrations": nints,
        "source_us": (middle - start) / nints * 1e6,
        "apertures_us": (end - middle) / nints * 1e6,
        "largest_relative_difference": {
            name: float(np.nanmax(np.abs(ours[name] / value - 1), initial=0))
            for name, value in theirs.items()
        },
    }


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", nargs=3, type=int, default=(1000, 64, 64))
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--jwst", type=int, default=0, help="integrations to time jwst on; 0: none")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    args = parser.parse_args()
    nints, ny, nx = args.shape
    cube = make_cube((nints, ny, nx))
    sci, err, dq = cube["sci"], cube["err"], cube["dq"]
    x, y = nx / 2, ny / 2
    cx, cy = centroid.centroids(sci, dq, x, y, 11, RADII[1])
    kernels: dict[str, Callable[[], Any]] = {
        "background": lambda: centroid.background_median(sci, x, y, RADII[1]),
        "centroids, box 41": lambda: centroid.centroids(sci, dq, x, y, 41, RADII[1]),
        "centroids, box 11": lambda: centroid.centroids(sci, dq, x, y, 11, RADII[1]),
        "centroids and fit": lambda: psffit.centroids_and_psf(sci, dq, x, y, 11, RADII[1]),
        "apertures, fixed": lambda: aperture.aperture_sums(sci, err, x, y, *RADII),
        "apertures, moving": lambda: aperture.aperture_sums(sci, err, cx, cy, *RADII),
        "whole array": lambda: aperture.whole_array_sums(sci, err),
        "copy of sci": sci.copy,
        "photometry": lambda: photometry(cube, x, y, moving=False),
        "photometry, moving": lambda: photometry(cube, x, y, moving=True),
    }
    result: dict[str, Any] = {
        "shape": args.shape,
        "machine": platform.processor() or platform.machine(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "us_per_integration": {},
    }
    for name, run in kernels.items():
        wall, cpu = least(run, args.repeat)
        result["us_per_integration"][name] = {
            "wall": wall / nints * 1e6,
            "cpu": cpu / nints * 1e6,
        }
        print(f"{name:20s} {wall / nints * 1e6:9.2f} us per integration")
    if args.jwst:
        part = {name: array[: args.jwst] for name, array in cube.items()}
        result["jwst"] = time_jwst(part, x, y)
        print(json.dumps(result["jwst"], indent=1))
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
