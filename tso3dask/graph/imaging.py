"""Imaging: passes over the pixels of a segment that end in aperture photometry.

The first pass flags, writes crfints and finds the source, the second centroids around the median
of the first and fits the PSF, the third sums apertures at the median of the second. What a pass
hands on is one position per integration. The later two read the cubes that they need from the
crfints; where none are written they flag the segment's own file again. Where a model of the
exposure tells the places beforehand, all of it is one pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tso3dask.config import PipelineParameters
from tso3dask.errors import InputError
from tso3dask.graph.execute import task_errors
from tso3dask.graph.job import Job
from tso3dask.graph.unreplaced import unreplaced
from tso3dask.io.journal import ChunkResult
from tso3dask.io.segment import Segment
from tso3dask.io.tables import known_unit

if TYPE_CHECKING:
    from tso3dask.ops.exposure_model import ExposureModel

__all__ = [
    "ImagingJob",
    "ImagingSetup",
    "centre_pass",
    "flag_pass",
    "imaging_setup",
    "join_centres",
    "measure_pass",
    "photometry_table",
    "smooth_centres",
    "whole_pass",
]

_CENTROIDS = ("centroid_x", "centroid_y", "psf_width_x", "psf_width_y", "psf_flux")


@dataclass(frozen=True, eq=False)
class ImagingSetup:
    """What photometry needs to know of a segment beyond its pixels.

    Attributes
    ----------
    planned : tuple of float
        Planned position (x, y) of the source, 0-based pixels.
    factor : float or ndarray or None
        What pixels are multiplied by, in float32; (y, x) for gain images.
    unit : str
        Unit after multiplication.
    whole_array : bool
        Sum the whole array instead of an aperture.
    centroid, moving : bool
        Find the source; let apertures follow it.
    search_box, fit_box : int
        Odd box widths of the two passes, pixels.
    radii : tuple of float
        Aperture, inner and outer annulus radius, pixels.
    smooth : int
        Integrations in the running median of the centroids that apertures follow; 0 for none.
    more_radii : tuple of float
        Radii of further apertures, pixels.
    bkg_clip : float or None
        Limit of the clipping in the annulus, sigma.
    by_model : bool
        Whether apertures go where the model of the exposure has the source.
    places : tuple of ndarray or None
        Where apertures are by the model of the exposure, x and y (integration,); None without one.
    """

    planned: tuple[float, float]
    factor: Any
    unit: str
    whole_array: bool
    centroid: bool
    moving: bool
    search_box: int
    fit_box: int
    radii: tuple[float, float, float]
    smooth: int = 0
    more_radii: tuple[float, ...] = ()
    bkg_clip: float | None = None
    by_model: bool = False
    places: tuple[np.ndarray, np.ndarray] | None = None

    def with_model(self, model: ExposureModel) -> ImagingSetup:
        """Return the same with the places of the source by the model of the exposure.

        Parameters
        ----------
        model : ExposureModel
            With the numbers of all integrations of the segment.
        """
        from tso3dask.ops.centroid import running_median

        if not (self.by_model and self.centroid) or not np.isfinite(model.centre).all():
            return self
        y, x = (
            np.where(np.isfinite(shift), shift, 0.0) + centre
            for centre, shift in zip(model.centre, (model.shift_y, model.shift_x), strict=True)
        )
        if self.smooth:
            x, y = running_median(x, self.smooth), running_median(y, self.smooth)
        elif not self.moving:
            y, x = (np.full(x.shape, centre) for centre in model.centre)
        begin = -model.first
        return replace(self, places=(x[begin:], y[begin:]))

    def scaled(self, array: np.ndarray) -> np.ndarray:
        """Pixels in the unit of the photometry, float32."""
        return array if self.factor is None else array * self.factor


def imaging_setup(
    segment: Segment, parameters: PipelineParameters, gain: np.ndarray | None
) -> tuple[ImagingSetup, list[str]]:
    """Settle the photometry of a segment from its headers.

    Parameters
    ----------
    segment : Segment
        The member.
    parameters : PipelineParameters
        Steps' parameters.
    gain : (y, x) float32 or None
        Gain of the subarray, for data in DN/s.

    Returns
    -------
    setup : ImagingSetup
    notes : list of str
        What a user should know.

    Raises
    ------
    InputError
        If a keyword that photometry needs is missing.
    """
    from tso3dask.ops.centroid import odd_box_width
    from tso3dask.ops.photometry import to_flux_units, uses_whole_array

    step = parameters.tso_photometry
    for keyword in ("XREF_SCI", "YREF_SCI", "BUNIT"):
        if segment.get(keyword) is None:
            raise InputError(
                f"{segment.path}: {keyword} is missing; tso_photometry needs the planned position "
                "and the unit of the pixels"
            )
    keywords = (segment.get("PIXAR_SR"), segment.get("EFFINTTM"))
    try:
        units = to_flux_units(str(segment.get("BUNIT")), *keywords, gain)
    except InputError as error:
        raise InputError(f"{segment.path}: {error}") from None
    notes = []
    if not units.expected:
        if not known_unit(str(segment.get("BUNIT"))):
            raise InputError(
                f"{segment.path}: BUNIT is {segment.get('BUNIT')}, which is no unit that is known; "
                "expected MJy/sr or DN/s"
            )
        notes.append(
            f"BUNIT is {segment.get('BUNIT')}, expected MJy/sr or DN/s: photometry stays in it"
        )
    boxes = {}
    for name in ("search_box_width", "fit_box_width"):
        boxes[name], reduced = odd_box_width(getattr(step, name))
        if reduced and step.centroid_source:
            notes.append(f"tso_photometry.{name} must be odd: {boxes[name]} is used")
    planned = (float(segment.get("XREF_SCI")) - 1, float(segment.get("YREF_SCI")) - 1)
    setup = ImagingSetup(
        planned=planned,
        factor=units.factor,
        unit=units.unit,
        whole_array=uses_whole_array(segment.get("PUPIL"), segment.get("SUBARRAY")),
        centroid=bool(step.centroid_source),
        moving=bool(step.moving_centroid),
        search_box=boxes["search_box_width"],
        fit_box=boxes["fit_box_width"],
        radii=(step.radius, step.radius_inner, step.radius_outer),
        smooth=step.smooth_centroid,
        more_radii=step.more_radii,
        bkg_clip=step.bkg_clip,
        by_model=parameters.outlier_detection.needs_model or parameters.pixel_replace.needs_model,
    )
    if setup.whole_array and (setup.more_radii or setup.bkg_clip is not None):
        notes.append("all pixels are summed: tso_photometry.radii and bkg_clip have no effect")
    return setup, notes


@dataclass(frozen=True, eq=False)
class ImagingJob(Job):
    """One member of an imaging observation, as tasks see it.

    Attributes
    ----------
    setup : ImagingSetup or None
        Positions, units, radii; None where only flagging is wanted.
    """

    setup: ImagingSetup | None = None


def flag_pass(job: ImagingJob, a: int, b: int, constants: Sequence[Any]) -> ChunkResult:
    """Task: flag, write pixels, and find the source around its planned position."""
    from tso3dask.ops.centroid import centroids

    rows = {"n_outliers": np.zeros(b - a, np.int64)}
    search = job.setup is not None and job.setup.centroid
    if search:
        rows |= {name: np.full(b - a, np.nan) for name in ("x", "y")}
    with task_errors(job.path, a, b):
        for first, last, block in job.blocks(a, b, constants, write=True):
            arrays = block.arrays
            here = slice(first - a, last - a)
            job.keep_counts(rows, block.counts, here, b - a)
            if search:
                assert job.setup is not None
                rows["x"][here], rows["y"][here] = centroids(
                    job.setup.scaled(arrays["sci"]),
                    arrays["dq"],
                    *job.setup.planned,
                    job.setup.search_box,
                    float(job.setup.radii[1]),
                )
    return ChunkResult(job.member, a, b, rows)


def join_centres(results: list[ChunkResult], x: str, y: str) -> tuple[float, float]:
    """Task: median position over the integrations of a segment; NaN if there is none."""
    from tso3dask.ops.centroid import nanmedian_center

    ordered = sorted(results, key=lambda r: r.a)
    return nanmedian_center(
        np.concatenate([r.rows[x] for r in ordered]), np.concatenate([r.rows[y] for r in ordered])
    )


def smooth_centres(results: list[ChunkResult], window: int) -> ChunkResult:
    """Task: centroids of a segment as running medians over integrations."""
    from tso3dask.ops.centroid import running_median

    ordered = sorted(results, key=lambda r: r.a)
    rows = {
        name: running_median(np.concatenate([r.rows[name] for r in ordered]), window)
        for name in ("centroid_x", "centroid_y")
    }
    return ChunkResult(ordered[0].member, 0, ordered[-1].b, rows)


def centre_pass(
    job: ImagingJob, a: int, b: int, constants: Sequence[Any], start: tuple[float, float]
) -> ChunkResult:
    """Task: centroids around the median of the first pass, and PSF fits there."""
    from tso3dask.ops.psffit import centroids_and_psf

    wanted = _CENTROIDS[:2] if np.isnan(start[0]) else _CENTROIDS
    rows = {name: np.full(b - a, np.nan) for name in wanted}
    assert job.setup is not None
    if not np.isnan(start[0]):
        with task_errors(job.path, a, b):
            for first, last, block in job.written.blocks(a, b, constants, names=("sci", "dq")):
                arrays = block.arrays
                found = centroids_and_psf(
                    job.setup.scaled(arrays["sci"]),
                    arrays["dq"],
                    *start,
                    job.setup.fit_box,
                    float(job.setup.radii[1]),
                )
                for name, values in found.items():
                    rows[name][first - a : last - a] = values
    return ChunkResult(job.member, a, b, rows)


def measure_pass(
    job: ImagingJob,
    a: int,
    b: int,
    constants: Sequence[Any],
    centre: tuple[float, float] | None,
    found: ChunkResult | None,
) -> ChunkResult:
    """Task: aperture and annulus sums.

    Parameters
    ----------
    job : ImagingJob
        The member.
    a, b : int
        Integrations.
    constants : sequence
        Prologue values by name.
    centre : tuple of float or None
        Median position of the second pass; NaN where no integration has one, None if the source
        was not looked for.
    found : ChunkResult or None
        Centroids of these integrations at least, for apertures that follow the source.
    """
    setup = job.setup
    assert setup is not None
    x: Any
    y: Any
    x, y = setup.planned if centre is None or np.isnan(centre[0]) else centre
    if found is not None and centre is not None and not np.isnan(centre[0]):
        known = slice(a - found.a, b - found.a)
        x, y = found.rows["centroid_x"][known], found.rows["centroid_y"][known]
    rows: dict[str, np.ndarray] = {}
    with task_errors(job.path, a, b):
        names = ("sci", "err", *(("dq",) if job.replaces else ()))
        for first, last, block in job.written.blocks(a, b, constants, names=names):
            arrays = block.arrays
            here = slice(first - a, last - a)
            where = (x, y) if np.ndim(x) == 0 else (x[here], y[here])
            sums = _aperture_rows(setup, arrays, where, job.replaces)
            for name, values in sums.items():
                rows.setdefault(name, np.empty(b - a, values.dtype))[here] = values
    rows["aperture_x"] = np.broadcast_to(np.asarray(x, float), (b - a,)).copy()
    rows["aperture_y"] = np.broadcast_to(np.asarray(y, float), (b - a,)).copy()
    return ChunkResult(job.member, a, b, rows)


def _aperture_rows(
    setup: ImagingSetup, arrays: Mapping[str, np.ndarray], where: tuple[Any, Any], raw: bool
) -> dict[str, np.ndarray]:
    """Sums of some integrations around places x and y; `raw`: also without replaced pixels."""
    from tso3dask.ops.aperture import aperture_sums, whole_array_sums

    sci, err = setup.scaled(arrays["sci"]), setup.scaled(arrays["err"])
    if setup.whole_array:
        return whole_array_sums(sci, err)
    radii, more = [*map(float, setup.radii)], setup.more_radii
    sums = aperture_sums(sci, err, *where, *radii, more_radii=more, bkg_clip=setup.bkg_clip)
    if not raw:
        return sums
    left = setup.scaled(unreplaced(arrays)["sci"])
    return {**sums, "raw_sum": aperture_sums(left, err, *where, *radii)["aperture_sum"]}


def whole_pass(job: ImagingJob, a: int, b: int, constants: Sequence[Any]) -> ChunkResult:
    """Task: flag, write pixels, centroids, PSF fits and sums at places that are known before."""
    from tso3dask.ops.psffit import centroids_and_psf

    setup = job.setup
    assert setup is not None
    assert setup.places is not None
    x, y = (place[a:b] for place in setup.places)
    start = float(np.median(setup.places[0])), float(np.median(setup.places[1]))
    rows: dict[str, np.ndarray] = {"n_outliers": np.zeros(b - a, np.int64)}
    with task_errors(job.path, a, b):
        for first, last, block in job.blocks(a, b, constants, write=True):
            arrays, here = block.arrays, slice(first - a, last - a)
            job.keep_counts(rows, block.counts, here, b - a)
            sci = setup.scaled(arrays["sci"])
            found = centroids_and_psf(
                sci, arrays["dq"], *start, setup.fit_box, float(setup.radii[1])
            )
            follows = setup.moving or setup.smooth
            where = (x[here], y[here]) if follows else (float(x[0]), float(y[0]))
            found |= _aperture_rows(setup, arrays, where, job.replaces)
            for name, values in found.items():
                rows.setdefault(name, np.empty(b - a, values.dtype))[here] = values
    rows["aperture_x"], rows["aperture_y"] = x.copy(), y.copy()
    return ChunkResult(job.member, a, b, rows)


def photometry_table(
    segment: Segment,
    setup: ImagingSetup,
    times: Any,
    measured: Mapping[str, np.ndarray],
    centroids: Mapping[str, np.ndarray] | None,
) -> dict[str, Any]:
    """Columns of the photometry table for all integrations of a segment.

    Parameters
    ----------
    segment : Segment
        For its WCS.
    setup : ImagingSetup
        Units.
    times : IntegrationTimes
        Matched INT_TIMES rows.
    measured : mapping
        Rows of `measure_pass`, all integrations.
    centroids : mapping or None
        Rows of `centre_pass`; None if the source was not looked for.

    Returns
    -------
    dict of Column
    """
    from tso3dask.ops.photometry import photometry_columns

    x, y = measured["aperture_x"], measured["aperture_y"]
    wcs = segment.wcs()
    ra, dec = (np.full(x.shape, np.nan),) * 2 if wcs is None else wcs(x, y)[:2]
    sums = {k: v for k, v in measured.items() if k not in ("aperture_x", "aperture_y", "raw_sum")}
    return photometry_columns(
        sums,
        unit=setup.unit,
        mjd=times.times["mjd_avg"],
        bjd_tdb=times.times["tdb_mid"],
        x=x,
        y=y,
        ra=ra,
        dec=dec,
        centroids=centroids,
    )
