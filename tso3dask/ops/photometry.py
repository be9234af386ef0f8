"""Rules of imaging photometry: units, which position is used, the table's columns."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tso3dask.errors import InputError
from tso3dask.ops.centroid import nanmedian_center

__all__ = [
    "Column",
    "FluxUnits",
    "aperture_center",
    "photometry_columns",
    "table_meta",
    "to_flux_units",
    "uses_whole_array",
]


class FluxUnits(NamedTuple):
    """How pixels become fluxes.

    Attributes
    ----------
    factor : float32, (y, x) float32, or None
        What ``sci`` and ``err`` are multiplied by, in float32; None = nothing to do.
    unit : str
        Unit afterwards.
    expected : bool
        False when the unit of the data is neither of the two known ones, which
        deserves a warning; the data are then used as they are.
    """

    factor: np.float32 | np.ndarray | None
    unit: str
    expected: bool


def to_flux_units(
    bunit: str,
    pixel_area_sr: float | None = None,
    effinttm: float | None = None,
    gain: np.ndarray | None = None,
) -> FluxUnits:
    """Decide the factor that turns the pixels of a file into fluxes.

    MJy/sr becomes Jy by the nominal pixel area; DN/s becomes electrons by
    integration time and gain, pixel by pixel. Multiply in float32.

    Parameters
    ----------
    bunit : str
        BUNIT of the science array.
    pixel_area_sr : float, optional
        PIXAR_SR, needed for MJy/sr.
    effinttm : float, optional
        EFFINTTM, seconds, needed for DN/s.
    gain : (y, x) float32, optional
        Gain of the subarray, e-/DN, needed for DN/s.

    Raises
    ------
    InputError
        When the keyword or the gain that the unit needs is missing.
    """
    if bunit == "MJy/sr":
        if pixel_area_sr is None:
            raise InputError("photometry: PIXAR_SR is missing, needed to convert MJy/sr to Jy")
        return FluxUnits(np.float32(1e6 * pixel_area_sr), "Jy", True)
    if bunit == "DN/s":
        if effinttm is None:
            raise InputError("photometry: EFFINTTM is missing, needed to convert DN/s to electrons")
        if gain is None:
            raise InputError("photometry: a gain reference is needed to convert DN/s to electrons")
        return FluxUnits(np.float32(effinttm) * np.asarray(gain, np.float32), "electron", True)
    return FluxUnits(None, bunit, False)


def uses_whole_array(pupil: str | None, subarray: str | None) -> bool:
    """Tell whether the source fills the array, so that all its pixels are summed."""
    return pupil == "WLP8" and subarray == "SUB64P"


def aperture_center(
    centroid_x: np.ndarray | None,
    centroid_y: np.ndarray | None,
    planned_x: float,
    planned_y: float,
    moving: bool = False,
) -> tuple[float | np.ndarray, float | np.ndarray]:
    """Choose where the aperture of a segment lies.

    Parameters
    ----------
    centroid_x, centroid_y : (integration,) float64, or None
        Centroids of all integrations of the segment after the second pass, 0-based
        pixels; None when the source was not centroided.
    planned_x, planned_y : float
        Planned position (XREF_SCI - 1, YREF_SCI - 1).
    moving : bool, optional
        Follow the centroid of every integration.

    Returns
    -------
    x, y
        The planned position without any centroid, else the centroids themselves
        when ``moving``, else their medians. 0-based pixels.
    """
    if centroid_x is None or centroid_y is None:
        return planned_x, planned_y
    median = nanmedian_center(centroid_x, centroid_y)
    if math.isnan(median[0]):
        return planned_x, planned_y
    return (centroid_x, centroid_y) if moving else median


class Column(NamedTuple):
    """One column of the photometry table: values by integration, and unit if any."""

    values: np.ndarray
    unit: str | None


def _further_columns(sums: Mapping[str, np.ndarray], unit: str) -> dict[str, Column]:
    """Columns of further apertures, with the background of the annulus."""
    columns: dict[str, Column] = {}
    for name in [n for n in sums if n.startswith("aperture_sum_r")]:
        end = name.removeprefix("aperture_sum")
        kinds = ("sum", "sum_err", "area")
        own = {f"aperture_{kind}": sums[f"aperture_{kind}{end}"] for kind in kinds}
        net = _background_columns({**sums, **own}, unit)
        columns[name] = Column(sums[name], unit)
        columns[f"aperture_sum_err{end}"] = Column(sums[f"aperture_sum_err{end}"], unit)
        for kind in ("aperture_bkg", "net_aperture_sum", "net_aperture_sum_err"):
            columns[kind + end] = net[kind]
    return columns


def _background_columns(sums: Mapping[str, np.ndarray], unit: str) -> dict[str, Column]:
    """Annulus, background and net sums from aperture and annulus sums."""
    with np.errstate(all="ignore"):
        mean = sums["annulus_sum"] / sums["annulus_area"]
        mean_err = sums["annulus_sum_err"] / sums["annulus_area"]
        background = mean * sums["aperture_area"]
        background_err = mean_err * sums["aperture_area"]
        net = sums["aperture_sum"] - background
        net_err = np.sqrt(sums["aperture_sum_err"] ** 2 + background_err**2)
    return {
        "annulus_sum": Column(sums["annulus_sum"], unit),
        "annulus_sum_err": Column(sums["annulus_sum_err"], unit),
        "annulus_mean": Column(mean, unit),
        "annulus_mean_err": Column(mean_err, unit),
        "aperture_bkg": Column(background, unit),
        "aperture_bkg_err": Column(background_err, unit),
        "net_aperture_sum": Column(net, unit),
        "net_aperture_sum_err": Column(net_err, unit),
    }


def _whole_array_columns(sums: Mapping[str, np.ndarray], unit: str) -> dict[str, Column]:
    """Columns without a background: NaN without unit, and net equal to the sum."""
    empty = (
        "annulus_sum",
        "annulus_sum_err",
        "annulus_mean",
        "annulus_mean_err",
        "aperture_bkg",
        "aperture_bkg_err",
    )
    size = sums["aperture_sum"].size
    columns = {name: Column(np.full(size, np.nan), None) for name in empty}
    columns["net_aperture_sum"] = Column(sums["aperture_sum"], unit)
    columns["net_aperture_sum_err"] = Column(sums["aperture_sum_err"], unit)
    return columns


def photometry_columns(
    sums: Mapping[str, np.ndarray],
    *,
    unit: str,
    mjd: np.ndarray,
    bjd_tdb: np.ndarray,
    x: float | np.ndarray,
    y: float | np.ndarray,
    ra: float | np.ndarray,
    dec: float | np.ndarray,
    centroids: Mapping[str, np.ndarray] | None = None,
) -> dict[str, Column]:
    """Arrange the columns of the photometry table of a segment.

    Parameters
    ----------
    sums : mapping of (integration,) arrays
        Result of `tso3dask.ops.aperture.aperture_sums` or, recognised by its
        missing annulus, of `tso3dask.ops.aperture.whole_array_sums`.
    unit : str
        Unit of the sums.
    mjd, bjd_tdb : (integration,) float64
        Mid times, days; NaN where unknown.
    x, y : float or (integration,) float64
        Aperture centre, 0-based pixels.
    ra, dec : float or (integration,) float64
        The same on the sky, ICRS degrees.
    centroids : mapping of (integration,) float64, optional
        ``centroid_x`` and ``centroid_y``, and ``psf_width_x``, ``psf_width_y``,
        ``psf_flux`` when the second pass was made. None: no such columns.

    Returns
    -------
    dict of Column
        In the order of the table.
    """
    size = sums["aperture_sum"].size

    def filled(value: float | np.ndarray) -> np.ndarray:
        return np.array(np.broadcast_to(np.asarray(value, np.float64), (size,)))

    columns = {
        "MJD": Column(filled(mjd), None),
        "BJD_TDB": Column(filled(bjd_tdb), None),
        "aperture_sum": Column(sums["aperture_sum"], unit),
        "aperture_sum_err": Column(sums["aperture_sum_err"], unit),
    }
    has_annulus = "annulus_sum" in sums
    columns |= _background_columns(sums, unit) if has_annulus else _whole_array_columns(sums, unit)
    columns |= {
        "aperture_x": Column(filled(x), "pix"),
        "aperture_y": Column(filled(y), "pix"),
        "aperture_ra_icrs": Column(filled(ra), "deg"),
        "aperture_dec_icrs": Column(filled(dec), "deg"),
    }
    if centroids is not None:
        for name in ("centroid_x", "centroid_y", "psf_width_x", "psf_width_y"):
            if name in centroids:
                columns[name] = Column(centroids[name], "pix")
        if "psf_flux" in centroids:
            columns["psf_flux"] = Column(centroids["psf_flux"], unit)
    return columns | _further_columns(sums, unit)


def table_meta(
    *,
    instrument: str | None,
    detector: str | None,
    channel: str | None,
    subarray: str | None,
    filter: str | None,
    pupil: str | None,
    target_name: str | None,
    radius: float,
    radius_inner: float,
    radius_outer: float,
    number_of_integrations: int | None = None,
    more_radii: Sequence[float] = (),
    bkg_clip: float | None = None,
) -> dict[str, Any]:
    """Describe the photometry table: where the data come from, how they were summed.

    Parameters
    ----------
    instrument, detector, channel, subarray, filter, pupil, target_name : str or None
        INSTRUME, DETECTOR, CHANNEL, SUBARRAY, FILTER, PUPIL and TARGNAME of the header.
    radius, radius_inner, radius_outer : float
        Radii of aperture and annulus, pixels; quoted as they were given, 4 or 4.0.
    number_of_integrations : int, optional
        Rows of the finished table.
    more_radii, bkg_clip
        Further radii, and the clipping of the annulus, if there is any.

    Returns
    -------
    dict
        In the order of the table's header.
    """
    if uses_whole_array(pupil, subarray):
        apertures = (
            "Photometry measured as the sum of all values in the subarray.  "
            "No background subtraction was performed."
        )
    else:
        apertures = (
            f"Photometry measured in a circular aperture of r={radius} pixels.  "
            "Background calculated as the mean in a circular annulus with "
            f"r_inner={radius_inner} pixels and r_outer={radius_outer} pixels."
        )
        if bkg_clip is not None:
            apertures += f"  Its pixels are clipped at {bkg_clip:g} sigma."
        if more_radii:
            circles = ", ".join(f"r={radius:g}" for radius in more_radii)
            apertures += f"  Further apertures: {circles} pixels."
    meta: dict[str, Any] = {
        "instrument": instrument,
        "detector": detector,
        "channel": channel,
        "subarray": subarray,
        "filter": filter,
        "pupil": pupil,
        "target_name": target_name,
        "apertures": apertures,
    }
    if number_of_integrations is not None:
        meta["number_of_integrations"] = number_of_integrations
    return meta
