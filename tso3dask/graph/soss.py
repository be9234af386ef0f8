"""NIRISS SOSS: traces, boxes and calibration of a member, settled from header and references."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, ClassVar

import numpy as np

from tso3dask.config import PipelineParameters
from tso3dask.errors import InputError
from tso3dask.io.bestrefs import MemberReferences
from tso3dask.io.reference import read_wavelength_ranges
from tso3dask.io.segment import Segment
from tso3dask.io.soss_references import (
    PastasossReference,
    PhotomReference,
    ProfileReference,
    read_pastasoss,
    read_photom,
    read_speckernel,
    read_specprofile,
)
from tso3dask.ops.soss.traces import (
    crop_profile,
    extraction_subarray,
    find_traces,
    select_orders,
)

__all__ = [
    "SOSS_COLUMNS",
    "OrderSetup",
    "SossSetup",
    "extractable",
    "models_light",
    "soss_setup",
    "soss_setups",
]

SOSS_COLUMNS = ("FLUX", "FLUX_ERROR", "BACKGROUND", "NPIXELS")
"""Columns of x1dints that are not zero."""


@dataclass(frozen=True, eq=False)
class OrderSetup:
    """One order of a member.

    Attributes
    ----------
    order : int
        Spectral order.
    trace : OrderTrace
        Where it falls.
    wavelength : ndarray
        (dispersion,) micrometre.
    weights : ndarray
        Box (y, x).
    profile : ndarray or None
        Spatial profile (y, x); None where nothing is modelled.
    factor : ndarray or None
        (dispersion,) MJy / (DN/s); None if spectra are not calibrated.
    white_range : tuple of float
        Wavelengths summed for the white light, micrometre.
    """

    slit_name: ClassVar[None] = None
    source_type: ClassVar[None] = None
    dispaxis: ClassVar[None] = None
    ra: ClassVar[None] = None
    dec: ClassVar[None] = None
    limits: ClassVar[None] = None

    order: int
    trace: Any
    wavelength: np.ndarray
    weights: np.ndarray
    profile: np.ndarray | None
    factor: np.ndarray | None
    white_range: tuple[float, float] = (-1.0, 1e10)

    @property
    def spectral_order(self) -> int:
        """Order, under the name that other spectra have it."""
        return self.order

    @property
    def units(self) -> dict[str, str]:
        """Unit by column of x1dints; columns without one are not named."""
        if self.factor is None:
            return {
                "WAVELENGTH": "um",
                **dict.fromkeys(("FLUX", "FLUX_ERROR", "BACKGROUND"), "DN/s"),
            }
        kinds = ("VAR_POISSON", "VAR_RNOISE", "VAR_FLAT")
        units = dict.fromkeys(("FLUX", "FLUX_ERROR", "BACKGROUND", "BKGD_ERROR"), "MJy")
        units |= {f"{of}_{kind}": "MJy^2" for of in ("FLUX", "BKGD") for kind in kinds}
        return {"WAVELENGTH": "um", **units}


@dataclass(frozen=True, eq=False)
class SossSetup:
    """What extraction needs to know of a member beyond its pixels.

    Attributes
    ----------
    layout : str
        ``SUBSTRIP96`` or ``SUBSTRIP256``.
    orders : tuple of OrderSetup
    background : bool
        Whether backgrounds are subtracted.
    attributes : dict
        What the product's metadata say of the extraction, by dotted path.
    """

    layout: str
    orders: tuple[OrderSetup, ...]
    background: bool
    attributes: dict[str, Any] = field(default_factory=dict)

    def columns(
        self, arrays: Mapping[str, np.ndarray], model: Any = None
    ) -> dict[int, dict[str, np.ndarray]]:
        """Vector columns of the EXTRACT1D rows of filled integrations, by order.

        Parameters
        ----------
        arrays : mapping
            Cubes that `FillInTime` gives.
        model : object, optional
            Has ``solve(data, error)``, whose answer has dictionaries ``flux``, ``flux_error`` and
            ``npixels`` of ``(integration, x)`` arrays by order; boxes alone without it.

        Returns
        -------
        dict of dict of ndarray
            FLUX, FLUX_ERROR, BACKGROUND and NPIXELS, (integration, dispersion); all other columns
            are 0.
        """
        from tso3dask.ops.soss.prepare import extract_boxes, take_background

        ready = take_background(arrays["sci"], arrays["err"], arrays["mask"], self.background)
        width = {item.order: item.wavelength.size for item in self.orders}
        if model is None:
            weights = {item.order: item.weights for item in self.orders}
            found = {
                order: (spectra.flux, spectra.flux_error, spectra.npixels)
                for order, spectra in extract_boxes(ready, weights, width).items()
            }
        else:
            solved = model.solve(ready.image, ready.error)
            found = {
                order: (solved.flux[order], solved.flux_error[order], solved.npixels[order])
                for order in width
            }
        out = {}
        for item in self.orders:
            size = width[item.order]
            flux, error, npixels = (values[:, :size] for values in found[item.order])
            level = ready.background[:, :size]
            factor = 1.0 if item.factor is None else item.factor
            out[item.order] = {
                "FLUX": flux * factor,
                "FLUX_ERROR": error * factor,
                "BACKGROUND": level * factor,
                "NPIXELS": npixels,
            }
        return out


def models_light(parameters: PipelineParameters) -> bool:
    """Whether extraction needs a model of the orders, which there is not yet."""
    step = parameters.extract_1d
    return not step.skip and (step.soss_atoca or step.soss_bad_pix == "model")


def extractable(segment: Segment) -> bool:
    """Whether a member has spectra that can be extracted."""
    return extraction_subarray(segment.text("SUBARRAY"), segment.text("FILTER"))[0] is not None


def soss_setups(
    segments: Sequence[Segment],
    parameters: PipelineParameters,
    references: Sequence[MemberReferences],
) -> tuple[list[SossSetup | None], list[str]]:
    """Settle the extraction of all members; None for those without, and notes.

    Parameters
    ----------
    segments : sequence of Segment
        Members, of any mode.
    parameters : PipelineParameters
        Steps' parameters.
    references : sequence of mapping
        References of each member.
    """
    found: list[SossSetup | None] = [None] * len(segments)
    notes: list[str] = []
    if parameters.extract_1d.skip or models_light(parameters):
        return found, notes
    read_traces, read_profiles = cache(read_pastasoss), cache(read_specprofile)
    read_calibration, read_ranges = cache(read_photom), cache(read_wavelength_ranges)
    for i, (segment, files) in enumerate(zip(segments, references, strict=True)):
        if segment.exp_type != "NIS_SOSS":
            continue
        if not extractable(segment):
            reason = extraction_subarray(segment.text("SUBARRAY"), segment.text("FILTER"))[1]
            notes.append(f"{segment.path.name}: no spectrum: {reason}")
            continue
        paths = {kind: file.path for kind, file in files.items()}
        read_speckernel(_given(paths, "speckernel"))
        photom = paths.get("photom")
        found[i], more = soss_setup(
            segment,
            parameters,
            read_traces(_given(paths, "pastasoss")),
            read_profiles(_given(paths, "specprofile")),
            None if photom is None else read_calibration(photom),
            read_ranges(paths.get("wavelengthrange")),
        )
        notes += more
    return found, notes


def _given(paths: Mapping[str, str | None], kind: str) -> str:
    path = paths.get(kind)
    assert path is not None  # these types cannot be N/A
    return path


def soss_setup(
    segment: Segment,
    parameters: PipelineParameters,
    traces: PastasossReference,
    profiles: ProfileReference | None,
    photom: PhotomReference | None,
    ranges: tuple[tuple[int, str, float, float], ...] | None = None,
) -> tuple[SossSetup | None, list[str]]:
    """Settle the extraction of a member from its header and references.

    Parameters
    ----------
    segment : Segment
        The member.
    parameters : PipelineParameters
        Steps' parameters.
    traces, profiles, photom : references
        `profiles` is of use where light is modelled, `photom` where spectra are calibrated.
    ranges : tuple, optional
        Content of the wavelengthrange reference, for the white light.

    Returns
    -------
    setup : SossSetup or None
        None if the member has no spectrum; the notes say why.
    notes : list of str

    Raises
    ------
    InputError
        If header and references do not fit.
    """
    from tso3dask.ops.soss.box import order_weights
    from tso3dask.ops.whitelight import wavelength_range

    step = parameters.extract_1d
    shape = segment.ny, segment.nx
    layout, reason = extraction_subarray(segment.text("SUBARRAY"), segment.text("FILTER"))
    if layout is None:
        return None, [reason]
    notes = []
    orders, absent = select_orders(traces, layout, step.soss_order_3)
    if absent:
        notes.append(f"{traces.path} has no order {absent[0]}: it is not extracted")
    pwcpos = segment.get("PWCPOS")
    try:
        found = find_traces(
            traces, None if pwcpos is None else float(pwcpos), layout, orders, segment.nx
        )
    except InputError as error:
        raise InputError(f"{segment.path}: {error}") from error
    weights = order_weights(found, float(step.soss_width), shape, layout)
    items = []
    for trace in found:
        profile = None
        if profiles is not None:
            if trace.order not in profiles.profiles:
                raise InputError(
                    f"{profiles.path}: specprofile reference: has no order {trace.order}"
                )
            image = profiles.profiles[trace.order]
            profile = crop_profile(image, shape, profiles.path, trace.order)
        factor, found_notes = _conversion(segment, photom, trace, parameters)
        if found_notes:
            photom = None  # as in the field's pipeline, which stops at an order without a row
        notes += found_notes
        items.append(
            OrderSetup(
                trace.order,
                trace,
                trace.wavelength,
                weights[trace.order],
                profile,
                factor,
                wavelength_range(
                    ranges,
                    trace.order,
                    segment.text("FILTER"),
                    parameters.white_light.min_wavelength,
                    parameters.white_light.max_wavelength,
                ),
            )
        )
    attributes = {
        f"meta.soss_extract1d.{name}": value
        for name, value in (
            ("width", float(step.soss_width)),
            ("apply_decontamination", step.soss_atoca),
            ("oversampling", step.soss_n_os),
            ("threshold", float(step.soss_threshold)),
            ("bad_pix", step.soss_bad_pix),
        )
    }
    return SossSetup(layout, tuple(items), bool(step.subtract_background), attributes), notes


def _conversion(
    segment: Segment,
    photom: PhotomReference | None,
    trace: Any,
    parameters: PipelineParameters,
) -> tuple[np.ndarray | None, list[str]]:
    """Return factors of one order, or None without calibration."""
    from tso3dask.ops.soss.photom import conversion_factors, select_row, time_corrections

    if photom is None:
        return None, []
    names = segment.text("FILTER"), segment.text("PUPIL")
    row = select_row(photom.table, *names, trace.order)
    if row is None:
        return None, [
            f"{photom.path} has no row for FILTER {names[0]}, PUPIL {names[1]}, order"
            f" {trace.order}: spectra of this and further orders are not calibrated"
        ]
    correction = 1.0
    if parameters.photom.apply_time_correction:
        time = segment.get("EXPMID")
        rows = len(photom.table["order"])
        corrections = time_corrections(
            photom.time_coefficients, None if time is None else float(time), rows
        )
        correction = float(corrections[row])
    return conversion_factors(photom.table, row, trace.wavelength, correction), []
