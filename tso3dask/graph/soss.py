"""NIRISS SOSS: what headers and references say of the extraction of a member."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, ClassVar

import numpy as np

from tso3dask.config import PipelineParameters
from tso3dask.errors import InputError
from tso3dask.io.bestrefs import MemberReferences
from tso3dask.io.fitted_spectra import FittedTable
from tso3dask.io.reference import read_wavelength_ranges
from tso3dask.io.segment import Segment
from tso3dask.io.soss_references import (
    KernelReference,
    PastasossReference,
    PhotomReference,
    ProfileReference,
    ThroughputReference,
    read_estimate,
    read_pastasoss,
    read_photom,
    read_speckernel,
    read_specprofile,
    read_wave_grid,
)

__all__ = [
    "OrderSetup",
    "PreparedSegment",
    "SossReferences",
    "SossSetup",
    "models",
    "needed_references",
    "soss_setup",
    "soss_setups",
]


@dataclass(frozen=True, eq=False)
class SossReferences:
    """References of a member.

    Attributes
    ----------
    traces : PastasossReference
    profiles : ProfileReference or None
        Of use where light is modelled, as are `kernels`.
    kernels : KernelReference or None
    photom : PhotomReference or None
        None if spectra are not calibrated.
    grid : ndarray or None
        Wavelength grid to use, micrometre.
    estimate : tuple of ndarray or None
        Wavelength and flux of an estimate of the spectrum.
    ranges : tuple or None
        Content of the wavelengthrange reference, for the white light.
    """

    traces: PastasossReference
    profiles: ProfileReference | None = None
    kernels: KernelReference | None = None
    photom: PhotomReference | None = None
    grid: np.ndarray | None = None
    estimate: tuple[np.ndarray, np.ndarray] | None = None
    ranges: tuple[tuple[int, str, float, float], ...] | None = None


@dataclass(frozen=True, eq=False)
class OrderSetup:
    """One order of a member.

    Attributes
    ----------
    spectral_order : int
        Its number.
    white_range : (float, float)
        Wavelengths summed for the white light, micrometre.
    trace : OrderTrace
        Where it falls.
    wavelength : ndarray
        (dispersion,) micrometre.
    weights : ndarray
        Box (y, x).
    profile : ndarray or None
        Spatial profile (y, x); None where nothing is modelled.
    throughput : ThroughputReference
        Share of the light that goes into it.
    factor : ndarray or None
        (dispersion,) MJy / (DN/s); None if spectra are not calibrated.
    """

    dispaxis: ClassVar[None] = None
    slit_name: ClassVar[None] = None
    source_type: ClassVar[None] = None
    ra: ClassVar[None] = None
    dec: ClassVar[None] = None
    limits: ClassVar[None] = None

    spectral_order: int
    white_range: tuple[float, float]
    trace: Any
    wavelength: np.ndarray
    weights: np.ndarray
    profile: np.ndarray | None
    throughput: ThroughputReference
    factor: np.ndarray | None

    @property
    def ending(self) -> str:
        """What tells its rows from those of other orders, in tasks and trees."""
        return f"_{self.spectral_order}"

    @property
    def units(self) -> dict[str, str]:
        """Unit by column of x1dints; columns without one are not named."""
        return _RATE_UNITS if self.factor is None else _FLUX_UNITS

    @property
    def rate_units(self) -> dict[str, str]:
        """Unit by column before calibration."""
        return _RATE_UNITS


_KINDS = ("VAR_POISSON", "VAR_RNOISE", "VAR_FLAT")
_RATE_UNITS = {"WAVELENGTH": "um", **dict.fromkeys(("FLUX", "FLUX_ERROR", "BACKGROUND"), "DN/s")}
_FLUX_UNITS = {
    "WAVELENGTH": "um",
    **dict.fromkeys(("FLUX", "FLUX_ERROR", "BACKGROUND", "BKGD_ERROR"), "MJy"),
    **{f"{of}_{kind}": "MJy^2" for of in ("FLUX", "BKGD") for kind in _KINDS},
}


@dataclass(frozen=True, eq=False)
class PreparedSegment:
    """What became known of a segment before its integrations are extracted.

    Attributes
    ----------
    path : str
        File with the `tso3dask.graph.soss_segment.SegmentExtraction`.
    tikhonov_factor : float or None
        Regularisation of orders 1 and 2; None if nothing is modelled.
    grid : ndarray or None
        Wavelength grid of orders 1 and 2, micrometre.
    notes : tuple of str
        What a user should know.
    fitted : tuple of FittedTable
        Tables of the spectra that are fitted to an integration, if they are to be saved.
    """

    path: str
    tikhonov_factor: float | None
    grid: np.ndarray | None
    notes: tuple[str, ...]
    fitted: tuple[FittedTable, ...] = ()


@dataclass(frozen=True, eq=False)
class SossSetup:
    """What extraction needs to know of a member beyond its pixels.

    Attributes
    ----------
    layout : str
        ``SUBSTRIP96`` or ``SUBSTRIP256``.
    orders : tuple of OrderSetup
    parameters : Extract1d
        Parameters of the step.
    cutoffs : (float, float)
        Wavelengths at which order 2 parts with order 1, micrometre.
    references : SossReferences
    calibrated : bool
        Whether photometric calibration was applied.
    prepared : PreparedSegment or None
        What is known after the first pass over the segment.
    """

    layout: str
    orders: tuple[OrderSetup, ...]
    parameters: Any
    cutoffs: tuple[float, float]
    references: SossReferences
    calibrated: bool
    prepared: PreparedSegment | None = field(default=None, compare=False)

    @property
    def models(self) -> bool:
        """Whether light is modelled, not only summed."""
        return models(self.parameters)

    @property
    def saves(self) -> bool:
        """Whether models and fitted spectra are put to files."""
        return self.models and self.parameters.soss_modelname is not None

    @property
    def uncalibrated(self) -> SossSetup:
        """The same with spectra in DN/s."""
        orders = tuple(replace(order, factor=None) for order in self.orders)
        return replace(self, orders=orders)

    @property
    def metadata(self) -> dict[str, Any]:
        """What products say of the extraction, by attribute."""
        step = self.parameters
        values: dict[str, Any] = {
            "width": float(step.soss_width),
            "apply_decontamination": bool(step.soss_atoca),
            "oversampling": int(step.soss_n_os),
            "threshold": float(step.soss_threshold),
            "bad_pix": step.soss_bad_pix,
        }
        if self.prepared is not None and self.prepared.tikhonov_factor is not None:
            values["tikhonov_factor"] = float(self.prepared.tikhonov_factor)
        return {f"meta.soss_extract1d.{name}": value for name, value in values.items()}


def models(parameters: Any) -> bool:
    """Whether parameters of `extract_1d` ask for models of the light."""
    return bool(parameters.soss_atoca) or parameters.soss_bad_pix == "model"


def soss_setup(
    segment: Segment, parameters: PipelineParameters, references: SossReferences
) -> tuple[SossSetup | None, list[str]]:
    """Settle the extraction of a member from its header and references.

    Parameters
    ----------
    segment : Segment
        The member.
    parameters : PipelineParameters
        Steps' parameters.
    references : SossReferences
        Its references.

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
    from tso3dask.ops.soss.traces import extraction_subarray, find_traces, select_orders
    from tso3dask.ops.whitelight import wavelength_range

    step = parameters.extract_1d
    shape = segment.ny, segment.nx
    layout, reason = extraction_subarray(segment.text("SUBARRAY"), segment.text("FILTER"))
    if layout is None:
        return None, [reason]
    _check_rows(segment, layout)
    notes = []
    traces = references.traces
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
    photom = references.photom
    limits = parameters.white_light.min_wavelength, parameters.white_light.max_wavelength
    items = []
    for trace in found:
        factor, found_notes = _conversion(segment, photom, trace, parameters)
        if found_notes:
            photom = None  # as in the field's pipeline, which stops at an order without a row
        notes += found_notes
        items.append(
            OrderSetup(
                trace.order,
                wavelength_range(references.ranges, trace.order, segment.text("FILTER"), *limits),
                trace,
                trace.wavelength,
                weights[trace.order],
                _profile(references.profiles, trace.order, shape),
                traces.throughputs[trace.order],
                factor,
            )
        )
    setup = SossSetup(
        layout,
        tuple(items),
        step,
        traces.order2_separation_cutoff,
        references,
        references.photom is not None,
    )
    return setup, notes


def _check_rows(segment: Segment, layout: str) -> None:
    """Refuse the rows of one subarray under the name of the other."""
    rows = {96: "SUBSTRIP96", 256: "SUBSTRIP256"}
    if rows.get(segment.ny, layout) != layout:
        raise InputError(
            f"{segment.path}: SUBARRAY is {segment.text('SUBARRAY')}, but its {segment.ny} rows "
            f"are those of {rows[segment.ny]}; mend the header, or skip extract_1d"
        )


def _profile(
    profiles: ProfileReference | None, order: int, shape: tuple[int, int]
) -> np.ndarray | None:
    from tso3dask.ops.soss.traces import crop_profile

    if profiles is None:
        return None
    if order not in profiles.profiles:
        raise InputError(f"{profiles.path}: specprofile reference: has no order {order}")
    return crop_profile(profiles.profiles[order], shape, profiles.path, order)


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


def needed_references(
    segments: Sequence[Segment], parameters: PipelineParameters
) -> tuple[list[str], list[str]]:
    """Types of references that a run needs, and those among them that cannot be ``N/A``.

    Types that are of no use for the parameters are taken all the same if they are given.
    """
    from tso3dask.ops.soss.traces import extraction_subarray

    if parameters.extract_1d.skip or not any(
        extraction_subarray(s.text("SUBARRAY"), s.text("FILTER"))[0] for s in segments
    ):
        return [], []
    wanted = {
        "pastasoss": True,
        "specprofile": models(parameters.extract_1d),
        "speckernel": models(parameters.extract_1d),
        "photom": not parameters.photom.skip,
        "area": False,
        "wavelengthrange": not parameters.white_light.skip,
    }
    idle = {"photom", "area"} if parameters.photom.skip else set()
    if parameters.white_light.skip:
        idle.add("wavelengthrange")
    needed = [
        kind
        for kind, needed in wanted.items()
        if needed or (parameters.override(kind) is not None and kind not in idle)
    ]
    mandatory = ["pastasoss"]
    if models(parameters.extract_1d):
        mandatory += ["specprofile", "speckernel"]
    return needed, mandatory


def soss_setups(
    segments: Sequence[Segment],
    parameters: PipelineParameters,
    references: Sequence[MemberReferences],
) -> tuple[list[SossSetup | None], list[str]]:
    """Extraction of every member, and notes; see `soss_setup`."""
    step = parameters.extract_1d
    if step.skip or "pastasoss" not in references[0]:
        found = [soss_reason(segment) for segment in segments] if not step.skip else []
        return [None] * len(segments), found
    modelled = models(step)
    read = {
        "pastasoss": cache(read_pastasoss),
        "specprofile": cache(read_specprofile),
        "speckernel": cache(read_speckernel),
        "photom": cache(read_photom),
    }
    read_ranges = cache(read_wavelength_ranges)
    grid = estimate = None
    if modelled:
        grid = None if step.soss_wave_grid_in is None else read_wave_grid(step.soss_wave_grid_in)
        estimate = None if step.soss_estimate is None else read_estimate(step.soss_estimate)
    setups: list[SossSetup | None] = []
    notes: list[str] = []
    for segment, files in zip(segments, references, strict=True):
        paths = {kind: file.path for kind, file in files.items()}
        names = ("specprofile", "speckernel") if modelled else ()
        opened: dict[str, Any] = {
            name: read[name](path)
            for name in ("pastasoss", *names, "photom")
            if (path := paths.get(name)) is not None
        }
        setup, found = soss_setup(
            segment,
            parameters,
            SossReferences(
                opened["pastasoss"],
                opened.get("specprofile"),
                opened.get("speckernel"),
                opened.get("photom"),
                grid,
                estimate,
                read_ranges(paths.get("wavelengthrange")),
            ),
        )
        prefix = "" if setup is not None else f"{segment.path.name}: no spectrum: "
        notes += [prefix + note for note in found]
        setups.append(setup)
        if setup is not None and not parameters.photom.skip and "photom" not in opened:
            notes.append("there is no photom reference: spectra are not calibrated")
    return setups, notes


def soss_reason(segment: Segment) -> str:
    """Say why a member has no spectrum; empty if it has one."""
    from tso3dask.ops.soss.traces import extraction_subarray

    reason = extraction_subarray(segment.text("SUBARRAY"), segment.text("FILTER"))[1]
    return f"{segment.path.name}: no spectrum: {reason}"
