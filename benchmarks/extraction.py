"""Time the box extraction kernels, and the field's own where it can be imported.

    python benchmarks/extraction.py --mode grism --integrations 10 --fit poly --order 1

prints one JSON object: milliseconds per integration of the sums alone and of sums with table
columns, and the largest relative difference.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from typing import Any

import numpy as np

from tso3dask.ops.aperture1d import define_aperture
from tso3dask.ops.box import RESULTS, box_plan, extract_box
from tso3dask.ops.extract_params import ExtractParams
from tso3dask.ops.spectrum import spectral_columns

MODES = {
    "grism": {"shape": (256, 2048), "dispaxis": 1, "source": (26, 41), "back": (0, 255)},
    "bots": {"shape": (32, 2048), "dispaxis": 1, "source": (10, 20), "back": (0, 31)},
    "lrs": {"shape": (416, 72), "dispaxis": 2, "source": (32, 40), "back": (5, 65)},
}


def parameters(mode: dict[str, Any], fit: str, order: int, smoothing: int) -> ExtractParams:
    """Parameters of a straight aperture with background on both sides."""
    ny, nx = mode["shape"]
    (first, last), (low, high) = mode["source"], mode["back"]
    back = ((low - 0.5,), (first - 3.5,), (last + 3.5,), (high + 0.5,))
    limits = {"xstart": 4, "xstop": nx - 5, "ystart": 4, "ystop": ny - 5}
    return ExtractParams(
        dispaxis=mode["dispaxis"],
        spectral_order=1,
        **limits,
        src_coeff=((first - 0.5,), (last + 0.5,)),
        bkg_coeff=back if fit != "none" else None,
        subtract_background=fit != "none",
        bkg_fit=fit if fit != "none" else None,
        bkg_order=order,
        smoothing_length=smoothing,
    )


def cubes(shape: tuple[int, int], count: int, bad: float) -> list[np.ndarray]:
    """Values and three variances with some bad pixels."""
    rng = np.random.default_rng(1)
    full = (count, *shape)
    arrays = [rng.normal(5, 1, full).astype(np.float32)]
    arrays += [rng.uniform(0.1, 1, full).astype(np.float32) for _ in range(3)]
    lost = rng.random(full) < bad
    for array in arrays:
        array[lost] = np.nan
    return arrays


def best(function: Any, repeats: int) -> float:
    """Shortest of several runs, seconds."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def peer_time(arrays: list[np.ndarray], aperture: Any, result: dict[str, Any]) -> dict[str, Any]:
    """Time and difference of the field's own sums for two integrations."""
    try:
        from jwst.extract_1d.extract1d import extract1d
    except ImportError:
        return {}
    p = aperture.params
    flip = (lambda a: a) if p.dispaxis == 1 else (lambda a: a.T)
    back = None if aperture.bkg_profile is None else flip(aperture.bkg_profile)
    count = min(2, len(arrays[0]))
    start = time.perf_counter()
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for i in range(count):
            sci, *var = (flip(a[i]) for a in arrays)
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
    seconds = time.perf_counter() - start
    worst = 0.0
    for i, spectra in enumerate(found):
        for name, theirs in zip(RESULTS, spectra, strict=False):
            ours, other = result[name][i][aperture.valid], theirs[0][aperture.valid]
            scale = np.maximum(np.abs(other), 1e-30)
            worst = max(worst, float(np.nanmax(np.abs(ours - other) / scale)))
    return {"peer_ms": 1e3 * seconds / count, "largest_relative_difference": worst}


def main() -> None:
    """Run one case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mode", choices=MODES, default="grism")
    parser.add_argument("--integrations", type=int, default=10)
    parser.add_argument("--fit", choices=("none", "poly", "median"), default="none")
    parser.add_argument("--order", type=int, default=0)
    parser.add_argument("--smoothing", type=int, default=0)
    parser.add_argument("--bad", type=float, default=0.002)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--no-peer", action="store_true")
    options = parser.parse_args()
    mode = MODES[options.mode]
    params = parameters(mode, options.fit, options.order, options.smoothing)
    ny, nx = mode["shape"]
    along = np.arange(nx)[None, :] if mode["dispaxis"] == 1 else np.arange(ny)[:, None]
    wavelength = np.broadcast_to(1.0 + 0.001 * along, (ny, nx)).copy()
    aperture = define_aperture(params, (ny, nx), wavelength)
    plan = box_plan(aperture)
    arrays = cubes((ny, nx), options.integrations, options.bad)

    def columns() -> Any:
        return spectral_columns(
            extract_box(*arrays, plan), aperture.wavelength, photom_complete=True,
            source_type="POINT", instrument="NIRCAM", pixel_area_sr=1e-13,
        )  # fmt: skip

    result = extract_box(*arrays, plan)
    columns()
    report = {
        "mode": options.mode,
        "fit": options.fit,
        "order": options.order,
        "smoothing": options.smoothing,
        "integrations": options.integrations,
        "sums_ms": 1e3 * best(lambda: extract_box(*arrays, plan), options.repeats),
        "sums_and_columns_ms": 1e3 * best(columns, options.repeats),
    }
    for key in ("sums_ms", "sums_and_columns_ms"):
        report[key] /= options.integrations
    if not options.no_peer:
        report |= peer_time(arrays, aperture, result)
        if "peer_ms" in report:
            report["times_faster"] = report["peer_ms"] / report["sums_ms"]
    print(json.dumps(report))


if __name__ == "__main__":
    main()
