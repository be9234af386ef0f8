"""NIRISS SOSS: what is constant for a segment, and its spectra from that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tso3dask.errors import RunError
from tso3dask.graph.soss import SossSetup
from tso3dask.io.fitted_spectra import FittedTable

__all__ = ["COLUMNS", "PreparationError", "SegmentExtraction", "prepare_extraction"]

COLUMNS = ("FLUX", "FLUX_ERROR", "BACKGROUND", "NPIXELS")
"""Columns of x1dints that have values; all others are 0."""

MODELS_AT_A_TIME = 4
"""Integrations of which images of models are held at a time."""


class PreparationError(RunError):
    """The orders of a segment cannot be modelled, however often it is tried."""


@dataclass(frozen=True, eq=False)
class SegmentExtraction:
    """What the tasks of a segment share.

    Attributes
    ----------
    factors : dict of (int, ndarray or None)
        Columns and calibration of each order.
    background : bool
        Whether backgrounds are subtracted.
    weights : dict of ndarray
        Box (y, x) by order, where nothing is modelled.
    model : SegmentModel or None
        Model of the orders.
    constants : dict
        What the stages of the program need, as ``summary`` and ``median``.
    saves : bool
        Whether images of models and fitted spectra are wanted beside the extracted ones.
    empty : bool
        Whether no pixel of the boxes is usable: nothing is modelled, and all spectra are NaN.
    """

    factors: dict[int, tuple[int, np.ndarray | None]]
    background: bool
    constants: dict[str, Any]
    weights: dict[int, np.ndarray] = field(default_factory=dict)
    model: Any = None
    saves: bool = False
    empty: bool = False

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know."""
        if self.empty:
            return ("no usable pixel within the boxes of its orders: its spectra are NaN",)
        return () if self.model is None else self.model.notes

    @property
    def most(self) -> int | None:
        """Integrations to extract at a time at most, for images of models take memory."""
        return MODELS_AT_A_TIME if self.saves else None

    @property
    def fitted(self) -> tuple[FittedTable, ...]:
        """Tables of the spectra that are fitted to an integration, if they are wanted."""
        columns = self.model.fitted_columns() if self.saves and not self.empty else {}
        return tuple(
            FittedTable(order, wave[there]) for (order, _), (wave, there) in columns.items()
        )

    def spectra(
        self, arrays: Mapping[str, np.ndarray], *, save: bool = True
    ) -> tuple[dict[str, np.ndarray], list[tuple[int, str]]]:
        """Columns of the EXTRACT1D rows of filled integrations.

        Parameters
        ----------
        arrays : mapping
            Cubes that `FillInTime` gives.
        save : bool
            Whether models can be put to files here.

        Returns
        -------
        columns : dict of ndarray
            (integration, dispersion): `COLUMNS` of each order, as ``FLUX_1``, and the same
            before calibration, as ``FLUX_1_rate``. If models are wanted, images of those
            (integration, y, x) as ``model_1``, of the boxes as ``aperture_1``, and fitted spectra
            (integration, column), DN/s, as ``flux_0``.
        notes : list of (int, str)
            Integration among those given, and what is the matter with it.
        """
        from tso3dask.ops.soss.prepare import extract_boxes, take_background

        ready = take_background(arrays["sci"], arrays["err"], arrays["mask"], self.background)
        notes: list[tuple[int, str]] = []
        saved: dict[str, np.ndarray] = {}
        if self.model is None:
            sizes = {order: size for order, (size, _) in self.factors.items()}
            boxes = extract_boxes(ready, self.weights, sizes)
            found = {o: (s.flux, s.flux_error, s.npixels) for o, s in boxes.items()}
            if self.saves and save:
                nothing = np.zeros(ready.image.shape)
                saved = self._images(dict.fromkeys(self.factors, nothing), self.weights)
                for i, (size, _) in enumerate(self.factors.values()):
                    saved[f"flux_{i}"] = np.full((len(nothing), size), np.nan)
        else:
            solved = self.model.solve(ready.image, ready.error, models=self.saves and save)
            notes = list(solved.notes)
            saved = self._saved(solved)
            found = {
                order: (solved.flux[order], solved.flux_error[order], solved.npixels[order])
                for order in self.factors
            }
        out = saved
        for order, (size, factor) in self.factors.items():
            flux, error, npixels = (values[:, :size] for values in found[order])
            values = dict(zip(COLUMNS, (flux, error, ready.background[:, :size]), strict=False))
            for name, rate in values.items():
                out[f"{name}_{order}_rate"] = rate
                out[f"{name}_{order}"] = rate if factor is None else rate * factor
            out[f"NPIXELS_{order}"] = out[f"NPIXELS_{order}_rate"] = npixels
            if not self.empty:
                dark = np.flatnonzero(~np.isfinite(flux).any(axis=1))
                notes += [(int(one), f"order {order}: no flux at all") for one in dark]
        return out, notes

    @staticmethod
    def _images(
        models: Mapping[int, np.ndarray], boxes: Mapping[int, np.ndarray]
    ) -> dict[str, np.ndarray]:
        out = {}
        for order, images in models.items():
            out[f"model_{order}"] = images
            weights = boxes[order].astype(np.float32)
            out[f"aperture_{order}"] = np.broadcast_to(weights, images.shape)
        return out

    def _saved(self, solved: Any) -> dict[str, np.ndarray]:
        """Models, boxes and fitted spectra, as files of them are given."""
        out = self._images(solved.models, self.model.apertures)
        columns = self.model.fitted_columns() if solved.fitted else {}
        for i, (part, (_, fluxes)) in enumerate(solved.fitted.items()):
            out[f"flux_{i}"] = fluxes[:, columns[part][1]]
        return out


def prepare_extraction(
    setup: SossSetup, constants: Sequence[tuple[str, Any]], path: str, after: Any = None
) -> SegmentExtraction:
    """Task: everything that is constant for a segment, from its summary among the `constants`.

    `after` is the result of a task that must have ended before, for the sake of memory.

    Raises
    ------
    PreparationError
        If the orders cannot be modelled; it names the segment.
    """
    factors = {o.spectral_order: (o.wavelength.size, o.factor) for o in setup.orders}
    background = bool(setup.parameters.subtract_background)
    known = dict(constants)
    summary = known["summary"]
    weights = {item.spectral_order: item.weights for item in setup.orders}
    inside = np.logical_or.reduce([image > 0 for image in weights.values()])
    empty = not (inside & ~summary.unusable).any()
    if empty or not setup.models:
        saves = setup.saves and empty
        return SegmentExtraction(factors, background, known, weights, saves=saves, empty=empty)
    from tso3dask.ops.soss.prepare import prepare_mean

    typical = prepare_mean(summary, background)
    try:
        model = _model(setup, typical.image[0], summary)
    except RunError as error:
        raise PreparationError(f"{path}: {error}") from error
    return SegmentExtraction(factors, background, known, model=model, saves=setup.saves)


def _model(setup: SossSetup, typical: np.ndarray, summary: Any) -> Any:
    """Model of the orders of a segment."""
    from tso3dask.ops.soss.estimate import flux_spline
    from tso3dask.ops.soss.kernels import ResolutionKernel
    from tso3dask.ops.soss.model import AtocaParameters, SpectralOrder, prepare_segment
    from tso3dask.ops.soss.throughput import Throughput

    step, references = setup.parameters, setup.references
    kernels = references.kernels
    assert kernels is not None
    orders = []
    for item in setup.orders:
        trace = item.trace
        assert item.profile is not None
        centre = trace.centre_wavelength()
        orders.append(
            SpectralOrder(
                order=item.spectral_order,
                wavelength=trace.wavelength_map(len(item.weights)),
                profile=item.profile,
                throughput=Throughput(item.throughput.wavelength, item.throughput.throughput),
                kernel=ResolutionKernel(
                    kernels.wavelengths, kernels.kernels, centre, kernels.pixels
                ),
                columns=trace.columns,
                trace_wavelength=trace.wavelength,
                aperture=item.weights,
            )
        )
    estimate = None if references.estimate is None else flux_spline(*references.estimate)
    parameters = AtocaParameters(
        threshold=float(step.soss_threshold),
        n_os=int(step.soss_n_os),
        rtol=float(step.soss_rtol),
        max_grid_size=int(step.soss_max_grid_size),
        wave_grid=references.grid,
        estimate=estimate,
        tikfac=None if step.soss_tikfac is None else float(step.soss_tikfac),
        bad_pix=step.soss_bad_pix,
        cutoffs=setup.cutoffs,
        fitted=setup.saves,
        blue_order2=setup.layout != "SUBSTRIP96",
    )
    bad, reference = summary.unusable, summary.reference
    return prepare_segment(orders, typical, summary.median_error, bad, reference, parameters)
