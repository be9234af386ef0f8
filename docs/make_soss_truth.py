"""Compare NIRISS SOSS spectra with what was put in: ``python docs/make_soss_truth.py [FOLDER]``.

A transit is simulated on SUBSTRIP256 and extracted with and without the model of overlapping
orders, and by jwst where it is installed. The figure goes to docs/images/soss_truth.png, the table
that docs/soss.md shows is printed. FOLDER keeps the observation and the products; those that are
there are not made again.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
NINTS, DEPTH, WIDTH = 40, 0.015, 40.0
RTOL = 1e-2
"""Tolerance of the wavelength grid: the default of 1e-4 takes jwst hours."""
RANGES = (
    (1, 0.9, 1.5),
    (1, 1.5, 2.2),
    (1, 2.2, 2.75),
    (2, 0.62, 0.77),
    (2, 0.77, 0.95),
    (2, 0.95, 1.15),
    (2, 1.15, 1.35),
)
CASES = {
    "boxes": ("tso3dask, boxes only", "#9a9a9a", 1.0),
    "model": ("tso3dask, model", "#0071bc", 1.0),
    "jwst": ("jwst, model", "#c1272d", 0.8),
}

SHIFT = {1: -0.01, 2: -0.25}
"""How far spectra of jwst are drawn from those of tso3dask, which they would cover."""


@dataclass
class Truth:
    """What was put in of an order: column by column, and over time."""

    wavelength: np.ndarray
    rate: np.ndarray
    depth: np.ndarray
    transit: np.ndarray


@dataclass
class Spectra:
    """Count rates and errors (integration, x) of an order."""

    wavelength: np.ndarray
    flux: np.ndarray
    error: np.ndarray


def observe(folder: Path, shape: tuple[int, int] = (256, 2048)) -> dict[str, Path]:
    """Simulate and run; return the x1dints by case."""
    import tso3dask as tso3
    from tso3dask.simulation import simulate

    source = folder / "simulation"
    if not list(source.glob("*_asn.json")):
        simulate(
            "nis_soss",
            source,
            nints=NINTS,
            segments=1,
            subarray="SUBSTRIP256",
            shape=shape,
            depth=DEPTH,
            background=0.0,
            jitter=0.0,
            cr_rate=0.0,
            lost_rate=0.0,
            hot_fraction=0.0,
            dead_fraction=0.0,
        )
    asn = next(source.glob("*_asn.json"))
    for name in CASES:
        out = folder / name
        if list(out.glob("*_x1dints.fits")):
            continue
        steps = json.loads((source / "steps.json").read_text())
        steps["photom"] = {"skip": True}
        steps["extract_1d"] |= {"soss_atoca": name != "boxes", "soss_rtol": RTOL}
        if name != "jwst":
            tso3.run(asn, out, steps)
        elif importlib.util.find_spec("jwst"):
            given = folder / "jwst.json"
            given.write_text(json.dumps(steps))
            script = ROOT / "benchmarks" / "_run_jwst.py"
            subprocess.run([sys.executable, script, asn, given, out], check=True)
    found = {name: sorted((folder / name).glob("*_x1dints.fits")) for name in CASES}
    return {name: paths[0] for name, paths in found.items() if paths}


def read_truth(folder: Path) -> dict[int, Truth]:
    """Light of each order that falls into the box, as it was put in."""
    from astropy.io import fits

    from tso3dask.simulation.soss import SossOptics

    source = folder / "simulation"
    with np.load(next(source.glob("*_truth.npz"))) as truth:
        held = {name: truth[name] for name in truth.files}
    header = fits.getheader(next(source.glob("*_calints.fits")))
    found = {}
    for order in (1, 2):
        image = held[f"image_order{order}_NIS"].astype(float)
        optics = SossOptics(image.shape, header["PWCPOS"])
        centre = optics.centre(order, np.arange(image.shape[1]))
        edges = np.arange(len(image) + 1) - 0.5
        below = np.vstack([np.zeros(image.shape[1]), np.cumsum(image, axis=0)])
        inside = [
            np.diff(np.interp((row - WIDTH / 2, row + WIDTH / 2), edges, below[:, x]))[0]
            for x, row in enumerate(centre)
        ]
        found[order] = Truth(
            held[f"wavelength_order{order}_NIS"],
            np.array(inside),
            held[f"spectral_depth_order{order}_NIS"],
            held["transit"],
        )
    return found


def read_spectra(path: Path) -> dict[int, Spectra]:
    """Spectra of orders 1 and 2."""
    from astropy.io import fits

    found = {}
    with fits.open(path) as hdus:
        for hdu in hdus:
            if hdu.name == "EXTRACT1D" and hdu.header["SPORDER"] in (1, 2):
                columns = (hdu.data["WAVELENGTH"][0], hdu.data["FLUX"], hdu.data["FLUX_ERROR"])
                found[hdu.header["SPORDER"]] = Spectra(*(np.array(c, float) for c in columns))
    return found


def white(spectra: Spectra, truth: Truth, low: float, high: float) -> dict[str, np.ndarray]:
    """White light, its error and what was put in, the latter two relative to their star's light."""
    wave = spectra.wavelength
    used = (wave > low) & (wave < high) & np.isfinite(spectra.flux).all(axis=0)
    flux = spectra.flux[:, used].sum(axis=1)
    error = np.sqrt((spectra.error[:, used] ** 2).sum(axis=1))
    rate = truth.rate[: wave.size][used]
    depth = (rate * truth.depth[: wave.size][used]).sum() / rate.sum()
    return {"flux": flux, "error": error, "rate": rate.sum(), "depth": depth}


def fit_depth(flux: np.ndarray, error: np.ndarray, transit: np.ndarray) -> tuple[float, float]:
    """Depth relative to the star's light, and its error, by linear least squares."""
    design = np.stack([np.ones_like(transit), -transit], axis=1) / error[:, None]
    covariance = np.linalg.inv(design.T @ design)
    level, drop = covariance @ design.T @ (flux / error)
    depth = drop / level
    by = np.array([-depth, 1.0]) / level
    return depth, float(np.sqrt(by @ covariance @ by))


def print_table(truth: dict[int, Truth], spectra: dict[str, dict[int, Spectra]]) -> None:
    """Ratio of recovered to injected light, and bias of the depth, by range."""
    names = [name for name in CASES if name in spectra]
    head = [f"light, {n}" for n in names] + [f"depth, {n}" for n in names]
    print(f"| order | um | injected depth | {' | '.join(head)} |")
    print("| --- " * (3 + len(head)) + "|")
    for order, low, high in RANGES:
        shares, biases = [], []
        for name in names:
            one = truth[order]
            found = white(spectra[name][order], one, low, high)
            outside = found["flux"][one.transit == 0]
            shares.append(f"{outside.mean() / found['rate']:.4f}")
            depth, error = fit_depth(found["flux"], found["error"], one.transit)
            miss = (depth - found["depth"]) / error
            biases.append(f"{1e6 * (depth - found['depth']):+.0f} ({miss:+.1f})")
        injected = f"{1e6 * found['depth']:.0f}"
        print(f"| {order} | {low}-{high} | {injected} | {' | '.join(shares + biases)} |")


def print_differences(ours: dict[int, Spectra], theirs: dict[int, Spectra]) -> None:
    """Print the largest and the median difference of fluxes, over the larger of flux and error."""
    for order, found in ours.items():
        other = theirs[order]
        share = np.abs(found.flux - other.flux) / np.maximum(np.abs(other.flux), other.error)
        largest, median = np.nanmax(share), np.nanmedian(share)
        print(f"order {order}: largest difference {largest:.1g}, median {median:.1g}")


def draw(truth: dict[int, Truth], spectra: dict[str, dict[int, Spectra]]) -> None:
    """Write docs/images/soss_truth.png."""
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 2, figsize=(10, 6.4), layout="constrained")
    for order, panel in zip((1, 2), axes[0], strict=True):
        one = truth[order]
        for name, found in spectra.items():
            label, colour, width = CASES[name]
            flux = np.median(found[order].flux[one.transit == 0], axis=0)
            shift = SHIFT[order] if name == "jwst" else 0.0
            label += f" (shifted by {shift:g})" if shift else ""
            ratio = flux / one.rate[: flux.size] + shift
            panel.plot(found[order].wavelength, ratio, color=colour, lw=width, label=label)
            panel.axhline(1 + shift, color="k", lw=0.5)
        panel.set(
            title=f"order {order}",
            xlabel="wavelength, um",
            ylabel="recovered / injected",
            xlim=((0.85, 2.8), (0.6, 1.4))[order - 1],
            ylim=((0.985, 1.02), (0.6, 1.5))[order - 1],
        )
        panel.legend(frameon=False, loc="upper left")
    for (order, low, high), panel in zip(((1, 0.9, 2.75), (2, 1.15, 1.35)), axes[1], strict=True):
        one = truth[order]
        for offset, (name, found) in zip((-0.25, 0, 0.25), spectra.items(), strict=False):
            light = white(found[order], one, low, high)
            level = light["flux"][one.transit == 0].mean()
            injected = 1 - light["depth"] * one.transit
            _, colour, _ = CASES[name]
            panel.errorbar(
                np.arange(len(injected)) + offset,
                1e6 * (light["flux"] / level / injected - 1),
                1e6 * light["error"] / level,
                fmt=".",
                ms=4,
                lw=0.6,
                color=colour,
            )
        inside = np.flatnonzero(one.transit > 0)
        panel.axvspan(inside[0] - 0.5, inside[-1] + 0.5, color="#eeeeee", zorder=0)
        panel.axhline(0, color="k", lw=0.5)
        panel.set(
            title=f"order {order}, {low} to {high} um",
            xlabel="integration (grey: transit)",
            ylabel="white light / injected - 1, ppm",
        )
    figure.savefig(ROOT / "docs" / "images" / "soss_truth.png", dpi=110)


def main(folder: Path) -> None:
    """Simulate, run, print and draw."""
    paths = observe(folder)
    truth = read_truth(folder)
    spectra = {name: read_spectra(path) for name, path in paths.items()}
    print_table(truth, spectra)
    if "jwst" in spectra:
        print_differences(spectra["model"], spectra["jwst"])
    draw(truth, spectra)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as name:
            main(Path(name))
