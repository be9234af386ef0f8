"""Spectroscopy: the tasks of a member.

A task streams its integrations, flags them, writes their rows of crfints, replaces bad pixels if
that is wanted, extracts spectra from the same arrays, writes those to x1dints, and returns one flux
per integration.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tso3dask.graph.execute import task_errors
from tso3dask.graph.job import Job
from tso3dask.graph.spectrum import SpectrumSetup
from tso3dask.graph.unreplaced import unreplaced
from tso3dask.io.journal import ChunkResult
from tso3dask.ops.curves import LightCurves

__all__ = ["DynamicSpectrum", "SpectrumJob", "extract_pass", "first_correction", "spectral_block"]

SPECTRAL_BINS = 256
"""Columns of the dynamic spectrum that a run keeps for its figure."""


@dataclass(frozen=True, eq=False)
class SpectrumJob(Job):
    """One member of a spectroscopic observation, as tasks see it.

    Attributes
    ----------
    setup : SpectrumSetup or None
        None where there is nothing to extract.
    curves : LightCurves or None
        What is summed of each spectrum; None where nothing is extracted.
    first_row, bin_rows : int
        Place of integration 0 in the series of its detector, and integrations of one bin of the
        dynamic spectrum; no dynamic spectrum where ``bin_rows`` is 0.
    """

    setup: SpectrumSetup | None = None
    curves: LightCurves | None = None
    first_row: int = 0
    bin_rows: int = 0


def first_correction(job: SpectrumJob, constants: Sequence[Any]) -> np.ndarray:
    """Task: aperture correction that the first integration of a segment settles for all."""
    setup = job.setup
    assert setup is not None
    with task_errors(job.path, 0, 1):
        _, _, block = next(iter(job.blocks(0, 1, constants)))
        return setup.shared_factor(block.arrays)


def extract_pass(
    job: SpectrumJob, a: int, b: int, constants: Sequence[Any], factor: np.ndarray | None = None
) -> ChunkResult:
    """Task: flag, write crfints, extract, write x1dints; give back one flux per integration."""
    setup = job.setup
    rows: dict[str, np.ndarray] = {"n_outliers": np.zeros(b - a, np.int64)}
    if job.curves is not None:
        rows |= job.curves.empty(b - a)
    dynamic = DynamicSpectrum.of(job, a, b) if job.bin_rows and setup is not None else None
    box: SpectrumSetup | None = None
    with task_errors(job.path, a, b):
        for first, last, block in job.blocks(a, b, constants, write=True):
            here = slice(first - a, last - a)
            job.keep_counts(rows, block.counts, here, b - a)
            if setup is None:
                continue
            columns = setup.columns(block.arrays, factor, first)
            if setup.shares_factor and not setup.whole_aperture:
                _keep_pixels(rows, columns["NPIXELS"], first)
            job.put_measured(first, last, columns | setup.scenes(block.arrays))
            if job.curves is not None:
                for name, values in job.curves.measure(columns).items():
                    rows[name][here] = values
                counted = columns
                if "n_replaced" in block.counts:
                    box = setup.as_box() if box is None else box
                    counted = box.columns(unreplaced(block.arrays), factor, first)
                    white = rows.setdefault("raw_white", np.full(b - a, np.nan))
                    white[here] = job.curves.white(counted)
                if job.curves.errors:
                    counts = job.curves.error_counts(counted)
                    rows["error_counts"] = counts + rows.get("error_counts", 0)
            if dynamic is not None:
                dynamic.add(first, columns["FLUX"])
    if dynamic is not None:
        rows |= dynamic.rows()
    return ChunkResult(job.member, a, b, rows)


def _keep_pixels(rows: dict[str, np.ndarray], npixels: np.ndarray, first: int) -> None:
    """Keep the pixels of the columns in the first integration, and the most in any of a chunk."""
    if first == 0:
        rows["first_npixels"] = np.array(npixels[:1])
    rows.setdefault("first_npixels", npixels[:0].copy())
    most = np.fmax.reduce(npixels, axis=0)[np.newaxis]
    rows["most_npixels"] = np.fmax(most, rows.get("most_npixels", most))


class DynamicSpectrum:
    """Sums of a chunk's spectra in bins of time and wavelength, for the quick-look figure.

    Parameters
    ----------
    width : int
        Elements along the dispersion.
    first_row, bin_rows : int
        Place of integration 0 in the series, and integrations of one bin.
    a, b : int
        Integrations of the chunk.
    """

    def __init__(self, width: int, first_row: int, bin_rows: int, a: int, b: int) -> None:
        self._edges = np.linspace(0, width, min(width, SPECTRAL_BINS) + 1).astype(int)[:-1]
        self._first_row, self._bin_rows = first_row, bin_rows
        self._first = (first_row + a) // bin_rows
        last = (first_row + b - 1) // bin_rows
        self._sum = np.zeros((last - self._first + 1, self._edges.size))
        self._count = np.zeros(self._sum.shape, np.int32)

    @classmethod
    def of(cls, job: SpectrumJob, a: int, b: int) -> DynamicSpectrum:
        """Make that of a chunk of a member."""
        assert job.setup is not None
        return cls(job.setup.wavelength.size, job.first_row, job.bin_rows, a, b)

    def add(self, first: int, flux: np.ndarray) -> None:
        """Add the spectra of integrations from ``first`` on; what has no flux is left out."""
        finite = np.isfinite(flux)
        binned = np.add.reduceat(np.where(finite, flux, 0.0), self._edges, axis=1)
        count = np.add.reduceat(finite, self._edges, axis=1, dtype=np.int32)
        place = (self._first_row + first + np.arange(len(flux))) // self._bin_rows
        np.add.at(self._sum, place - self._first, binned)
        np.add.at(self._count, place - self._first, count)

    def rows(self) -> dict[str, np.ndarray]:
        """Sums and counts ``(bin, column)``, with the numbers of their bins in time."""
        return {
            "bins": np.arange(self._first, self._first + len(self._count)),
            "bin_sum": self._sum.astype(np.float32),
            "bin_count": self._count,
        }


def spectral_block(
    job: SpectrumJob,
    a: int,
    b: int,
    constants: Sequence[Any],
    factor: np.ndarray | None,
    names: Sequence[str],
) -> tuple[np.ndarray, ...]:
    """Task: columns of the EXTRACT1D rows of integrations ``a:b``, for lazy use."""
    setup = job.setup
    assert setup is not None
    parts: dict[str, list[np.ndarray]] = {name: [] for name in names}
    with task_errors(job.path, a, b):
        for first, _, block in job.blocks(a, b, constants):
            columns = setup.columns(block.arrays, factor, first)
            for name in names:
                parts[name].append(np.array(columns[name]))
    return tuple(np.concatenate(parts[name]) for name in names)
