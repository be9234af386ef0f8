"""Time the model of overlapping NIRISS SOSS orders against copying the pixels that it reads.

    OMP_NUM_THREADS=1 python benchmarks/soss.py --modes SUBSTRIP96 SUBSTRIP256 --jwst 5

Figures are seconds in one thread: ``preparation`` is what is done once per segment (wavelength
grid, regularisation, matrices), ``spectra`` the model and sums of all integrations. ``--jwst N``
runs the field's own engine on the same segment, as far as its first N integrations; what it takes
for one is the difference of N and of the first alone. ``--whole N`` also runs all of calwebb_tso3
on N simulated integrations in two segments, in a process of its own. jwst is not run on them: its
preparation and its time for an integration give what its model alone would take.
"""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from _common import Figure, Report, clock, jwst_option, once, options, ratios, summary
from pipeline import TSO3DASK, measure, process

from tso3dask.ops.soss.box import box_weights
from tso3dask.ops.soss.kernels import ResolutionKernel
from tso3dask.ops.soss.model import AtocaParameters, SpectralOrder, prepare_segment
from tso3dask.ops.soss.throughput import Throughput
from tso3dask.simulation.soss import (
    KERNEL_HALFWIDTH,
    PWCPOS_COMMANDED,
    SossLight,
    SossOptics,
    kernel_samples,
    stellar_flux,
    throughput,
)

MODES: dict[str, dict[str, Any]] = {
    "SUBSTRIP96": {"shape": (96, 2048), "orders": (1, 2)},
    "SUBSTRIP256": {"shape": (256, 2048), "orders": (1, 2, 3)},
    "tiny": {"shape": (256, 400), "orders": (1, 2, 3)},
}

TIKFAC = 6e-10
"""Regularisation of orders 1 and 2 where spectra are compared on a coarse grid."""
COARSE = 1e-3
"""Tolerance from which on a grid is coarse, so that jwst prepares it within a minute."""
SEGMENTS = 2
"""Of a whole run."""
SECONDS = ("min", "median", "cpu")

WIDTH = 40.0
PEAK = 2e4
"""Count rate of order 1 in its brightest column, DN/s."""
ELECTRONS = 50.0
"""Electrons of an integration per DN/s."""
READ_VARIANCE = 0.04
"""Of a pixel, (DN/s)^2."""
PIXELS = 2 * KERNEL_HALFWIDTH + 1


@dataclass
class Reference:
    """What the references say of an order; arrays as in `SpectralOrder`."""

    order: int
    columns: np.ndarray
    rows: np.ndarray
    centre_wavelength: np.ndarray
    wavelength: np.ndarray
    profile: np.ndarray
    table: tuple[np.ndarray, np.ndarray]
    kernel: tuple[np.ndarray, np.ndarray]
    aperture: np.ndarray


@dataclass
class Segment:
    """Integrations, what summarises them, and pixels that are out of use."""

    data: np.ndarray
    error: np.ndarray
    typical: np.ndarray
    median_error: np.ndarray
    bad: np.ndarray
    reference: np.ndarray


def make_references(optics: SossOptics, orders: Sequence[int]) -> list[Reference]:
    """References that match the simulator's optics."""
    table = np.linspace(0.5, 3.0, 5001)
    centres = np.arange(0.5, 3.2, 0.05)
    offset = np.linspace(-KERNEL_HALFWIDTH, KERNEL_HALFWIDTH, 10 * (PIXELS - 1) + 1)[:, None]
    kernels = kernel_samples(centres, offset)
    kernels /= kernels.sum(axis=0)
    found = []
    for order in orders:
        columns = np.arange(optics.cutoff(order))
        rows = optics.centre(order, columns)
        everywhere = optics.wavelength(order, np.arange(optics.shape[1]))
        wave = np.zeros(optics.shape[1])
        wave[columns] = everywhere[columns]
        whole = optics.shape[0] == 96 and order == 2
        found.append(
            Reference(
                order,
                columns,
                rows,
                wave,
                np.tile(np.where(everywhere > 0.5, everywhere, np.nan), (optics.shape[0], 1)),
                optics.profile(order),
                (table, throughput(order, table)),
                (np.tile(centres, (len(offset), 1)), kernels),
                np.ones(optics.shape) if whole else box_weights(rows, WIDTH, optics.shape, columns),
            )
        )
    return found


def make_segment(optics: SossOptics, orders: Sequence[int], count: int, bad: float) -> Segment:
    """Integrations of a star with noise; some pixels and the margins are of no use."""
    rng = np.random.default_rng(1)
    scale = PEAK / optics.column_light(1, stellar_flux(optics.fine_wavelengths(1))).max()
    image = np.zeros(optics.shape, np.float32)
    for order in orders:
        image += SossLight(optics, order, scale, 0.0).image()
    error = np.sqrt(READ_VARIANCE + image / ELECTRONS).astype(np.float32)
    data = rng.standard_normal((count, *optics.shape), np.float32) * error + image
    errors = error * rng.uniform(0.95, 1.05, data.shape).astype(np.float32)
    lost = rng.random(optics.shape) < bad
    margin = np.zeros(optics.shape, bool)
    margin[-4:], margin[:, :4], margin[:, -4:] = True, True, True
    median = np.median(errors, axis=0)
    median[lost | margin] = np.inf
    spread = error * np.sqrt((count - 1) / count)
    typical = data.mean(axis=0) + spread * rng.standard_normal(optics.shape, np.float32)
    return Segment(data, errors, typical, median, lost, margin)


def spectral_orders(references: Sequence[Reference]) -> list[SpectralOrder]:
    """References as the package takes them."""
    return [
        SpectralOrder(
            order=ref.order,
            wavelength=ref.wavelength,
            profile=ref.profile,
            throughput=Throughput(*ref.table),
            kernel=ResolutionKernel(*ref.kernel, ref.centre_wavelength, PIXELS),
            columns=ref.columns,
            trace_wavelength=ref.centre_wavelength[ref.columns],
            aperture=ref.aperture,
        )
        for ref in references
    ]


class Peer:
    """The field's own engine on a segment."""

    def __init__(self, mode: str, references: Sequence[Reference], rtol: float) -> None:
        from jwst.extract_1d.soss_extract import atoca_utils, soss_extract

        self.extract = soss_extract._process_one_integration
        self.numbers = [ref.order for ref in references]
        self.weights = {f"Order {r.order}": r.aperture.copy() for r in references}
        self.waves = {f"Order {r.order}": r.centre_wavelength[r.columns] for r in references}
        self.models = []
        for ref in references:
            trace = np.arange(ref.profile.shape[1], dtype=float)
            rows = np.interp(trace, ref.columns, ref.rows)
            model = soss_extract.DetectorModelOrder(
                spectral_order=ref.order,
                wavemap=ref.wavelength.copy(),
                specprofile=ref.profile.copy(),
                throughput=atoca_utils.throughput_soss(*ref.table),
                spectrace=np.array([trace, rows, ref.centre_wavelength]),
                subarray="SUBSTRIP96" if mode == "SUBSTRIP96" else "SUBSTRIP256",
                trace_cutoff=len(ref.columns),
            )
            kernel = atoca_utils.WebbKernel(
                *(array.copy() for array in ref.kernel), ref.centre_wavelength, PIXELS
            )
            model.kernel = model.kernel_native = model.kernel_func = kernel
            model.trace = ref.columns, ref.rows, ref.centre_wavelength[ref.columns]
            self.models.append(model)
        self.options = {
            "threshold": 1e-2,
            "n_os": 2,
            "rtol": rtol,
            "max_grid_size": 20000,
            "estimate": None,
            "order_3": 3 in self.numbers,
            "subtract_background": False,
            "bad_pix": "masking",
            "model": None,
        }

    def prepare(self, segment: Segment, tikfac: float | None) -> None:
        """Choose the grid and, unless given, the regularisation from the typical integration."""
        for model in self.models:
            model.mederr = segment.median_error
        self.masks = segment.bad.copy(), segment.reference.copy()
        known = {"Order 1": tikfac, "Order 2": None, "Order 3": None} if tikfac else None
        image, error = segment.typical.copy(), segment.median_error
        *_, self.factors, self.grid = self.run(image, error, tikfacs_in=known)

    def spectra(self, segment: Segment, count: int) -> list[Any]:
        """Extract the first integrations."""
        known = {"wave_grid": self.grid, "tikfacs_in": self.factors}
        return [
            self.run(segment.data[i], segment.error[i].astype(float), int_num=i + 1, **known)[1]
            for i in range(count)
        ]

    def run(self, image: np.ndarray, error: np.ndarray, **known: Any) -> Any:
        """Model and extract one image."""
        shared = (*self.masks, self.models, self.weights, self.waves, self.options)
        return self.extract(image, error, *shared, **known)


def compare(theirs: Sequence[Any], ours: Any, references: Sequence[Reference]) -> dict[str, Any]:
    """Differences of fluxes as a share of the larger of flux and error, by order."""
    found: dict[str, Any] = {}
    for ref in references:
        shares, equal = [], True
        for i, spectrum in enumerate(theirs):
            other = spectrum[f"Order {ref.order}"]
            flux = ours.flux[ref.order][i, : len(ref.columns)]
            scale = np.maximum(np.abs(other["flux"]), other["flux_error"])
            shares.append(np.abs(flux - other["flux"]) / scale)
            equal &= np.array_equal(np.isnan(flux), np.isnan(other["flux"]))
        found[f"order {ref.order}"] = {
            "largest_relative_difference": float(np.nanmax(shares)),
            "median_relative_difference": float(np.nanmedian(shares)),
            "same_nan": bool(equal),
        }
    return found


def peak_mb(run: Callable[[], Any]) -> dict[str, float]:
    """Peak resident memory of this process while something runs; nothing where Linux is not."""
    gc.collect()
    try:
        Path("/proc/self/clear_refs").write_text("5")
        run()
        lines = Path("/proc/self/status").read_text().splitlines()
        peak = next(line for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return {}
    return {"peak_mb": round(int(peak.split()[1]) * 1024 / 1e6, 1)}


def once_with_peak(run: Callable[[], Any]) -> tuple[Figure, Any]:
    """Run something once; return its times and peak memory, and its result."""
    seconds: list[tuple[float, float]] = []
    results: list[Any] = []

    def keep() -> None:
        with np.errstate(all="ignore"):
            seconds.append(once(lambda: results.append(run())))

    memory = peak_mb(keep)
    if not seconds:
        keep()
    return summary(seconds[:1]) | memory, results[0]


def both_ratios(figures: dict[str, Figure]) -> dict[str, float]:
    """CPU time and, where it is known, peak memory of jwst over ours."""
    pairs = [("jwst", "tso3dask")]
    found = ratios(figures, pairs)
    if all("peak_mb" in figure for figure in figures.values()):
        found |= ratios(figures, pairs, "peak_mb")
    return found


def run_mode(report: Report, mode: str, args: Any, whole: Figure | None) -> None:
    """Time one array; `whole` is what a whole run takes."""
    shape, numbers = MODES[mode]["shape"], MODES[mode]["orders"]
    optics = SossOptics(shape, PWCPOS_COMMANDED + 0.02)
    references = make_references(optics, numbers)
    segment = make_segment(optics, numbers, args.integrations, args.bad)
    orders = spectral_orders(references)
    parameters = AtocaParameters(
        rtol=args.rtol,
        tikfac=TIKFAC if mode == "tiny" else None,
        blue_order2=mode != "SUBSTRIP96",
    )
    out = np.zeros_like(segment.data)

    def prepare(tikfac: float | None = parameters.tikfac) -> Any:
        images = segment.typical, segment.median_error, segment.bad, segment.reference
        return prepare_segment(orders, *images, replace(parameters, tikfac=tikfac))

    def copy() -> None:
        np.copyto(out, segment.data)
        np.copyto(out, segment.error)

    model = prepare()
    runs: dict[str, Callable[[], Any]] = {
        "copy": copy,
        "preparation": prepare,
        "spectra": lambda: model.solve(segment.data, segment.error),
    }
    figures = {name: clock(run, args.repeat) | peak_mb(run) for name, run in runs.items()}
    report.add(
        f"{mode}, {args.integrations} integrations",
        figures,
        shape=segment.data.shape,
        grid_points=len(model.grid),
        ratios=ratios(figures, [("spectra", "copy"), ("preparation", "spectra")]),
    )
    found = {"tso3dask": whole} if whole else {}
    if args.jwst:
        once_jwst, each_jwst = beside_jwst(report, mode, references, segment, prepare, args)
        if whole:
            found["jwst, extrapolated"] = {
                key: SEGMENTS * once_jwst[key] + args.whole * each_jwst[key] for key in SECONDS
            }
    if whole:
        case = f"{mode}, whole run of {args.whole} integrations"
        report.add(case, found, ratios=ratios(found, [("jwst, extrapolated", "tso3dask")]))


def beside_jwst(
    report: Report,
    mode: str,
    references: Sequence[Reference],
    segment: Segment,
    prepare: Callable[..., Any],
    args: Any,
) -> tuple[Figure, Figure]:
    """Time and compare both preparations, then one integration of both.

    Returns what the preparation and an integration take jwst.
    """
    import logging

    logging.disable(logging.INFO)
    count = max(2, min(args.jwst, args.integrations))
    automatic = None if mode != "tiny" else TIKFAC
    peer = Peer(mode, references, args.rtol)
    model = prepare()
    figures = {"tso3dask": clock(prepare, 3) | peak_mb(prepare)}
    figures["jwst"], _ = once_with_peak(lambda: peer.prepare(segment, automatic))
    report.add(
        f"{mode}, preparation, beside jwst",
        figures,
        shape=segment.data.shape,
        grid_points=len(model.grid),
        ratios=both_ratios(figures),
        agreement=compare_preparations(peer, model),
    )
    all_of_them = clock(lambda: model.solve(segment.data, segment.error), 3)
    (first, _), (more, theirs) = (
        once_with_peak(lambda size=size: peer.spectra(segment, size)) for size in (1, count)
    )
    each = {
        "tso3dask": {key: all_of_them[key] / args.integrations for key in SECONDS},
        "jwst": {key: (more[key] - first[key]) / (count - 1) for key in SECONDS},
    }
    if automatic is None and args.rtol >= COARSE:  # a small factor is rounding in a dense inverse
        model = prepare(TIKFAC)
        peer = Peer(mode, references, args.rtol)  # the other keeps its inverse
        peer.prepare(segment, TIKFAC)
        theirs = peer.spectra(segment, count)
    report.add(
        f"{mode}, one integration, beside jwst",
        each,
        shape=segment.data[:count].shape,
        ratios=both_ratios(each),
        agreement=compare(
            theirs, model.solve(segment.data[:count], segment.error[:count]), references
        ),
    )
    return figures["jwst"], each["jwst"]


def whole_run(mode: str, args: Any) -> Figure:
    """Run calwebb_tso3 on a simulation; seconds and peak memory."""
    with tempfile.TemporaryDirectory(prefix="tso3dask-benchmark.", dir=args.folder) as name:
        work = Path(name)
        log, given = work / "run.log", work / "input"
        words = ["--subarray", mode, "--nints", str(args.whole), "--segments", str(SEGMENTS)]
        process([*TSO3DASK, "simulate", "nis_soss", "-o", given, *words], log)
        (association,) = given.glob("*_asn.json")
        run = [*TSO3DASK, "run", association, "--params", given / "steps.json", "--no-plots"]
        run += ["-o", work / "products", f"--steps.extract_1d.soss_rtol={args.rtol}"]
        return measure([process(run, log)])


def compare_preparations(peer: Peer, model: Any) -> dict[str, Any]:
    """Whether the grids are the same, and the differences of the regularisation factors."""
    same = len(peer.grid) == len(model.grid) and np.allclose(peer.grid, model.grid, rtol=1e-12)
    found: dict[str, Any] = {"same_grid": bool(same)}
    for order, factor in model.factors.items():
        other = peer.factors[f"Order {order}"]
        if factor is not None and other is not None:
            found[f"factor of order {order}, relative difference"] = float(abs(factor / other - 1))
    return found


def main(argv: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = options(__doc__, "soss")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=("SUBSTRIP96", "SUBSTRIP256"))
    parser.add_argument("--integrations", type=int, default=20)
    parser.add_argument("--bad", type=float, default=0.002, help="fraction of lost pixels")
    parser.add_argument("--rtol", type=float, default=1e-2, help="tolerance of the wavelength grid")
    parser.add_argument("--whole", type=int, default=0, metavar="N", help="run N integrations, too")
    parser.add_argument("--folder", type=Path, help="where to make the temporary folder")
    jwst_option(parser)
    args = parser.parse_args(argv)
    report = Report("soss", args)
    # Children come first: the peak that the system reports is at least that of this process.
    wholes = {mode: whole_run(mode, args) for mode in args.modes if args.whole and mode != "tiny"}
    for mode in args.modes:
        run_mode(report, mode, args, wholes.get(mode))
    report.write()


if __name__ == "__main__":
    main()
