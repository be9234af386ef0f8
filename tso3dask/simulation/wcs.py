"""World coordinate systems of the simulated observations, as gwcs objects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .geometry import Trace
from .recipe import Recipe
from .scene import star_centre

if TYPE_CHECKING:
    from gwcs import WCS

__all__ = ["ROLL", "SLIT_PIXELS", "SOURCE_YPOS", "TARGET", "build_wcs"]

TARGET = (217.32667, -3.44449)
ROLL = 37.5
SLIT_PIXELS = 16.0
SOURCE_YPOS = -0.03


def build_wcs(recipe: Recipe, traces: tuple[Trace, ...]) -> WCS:
    """WCS of one detector, with the frames its instrument's files have.

    Pixels are 0-based. Imaging gives right ascension and declination; spectroscopy adds the
    wavelength in um; NIRCam's grism adds the spectral order, NIRISS SOSS takes it as third input.
    NIRSpec has a ``slit_frame`` whose second axis is the position along the slit and whose third
    is the wavelength in m, and a ``gwa`` frame before it.
    """
    mode = recipe.mode
    if mode.imaging:
        return _imaging(recipe)
    if mode.exp_type == "NIS_SOSS":
        return _soss(traces)
    if mode.exp_type == "NRS_BRIGHTOBJ":
        return _nirspec(recipe, traces[0])
    if mode.exp_type == "NRC_TSGRISM":
        return _grism(recipe, traces[0])
    return _slitless(recipe, traces[0])


def _sky(recipe: Recipe) -> Any:
    """From V2, V3 in arcsec to right ascension and declination in degrees."""
    from astropy.modeling.models import RotationSequence3D, Scale
    from gwcs.geometry import CartesianToSpherical, SphericalToCartesian

    v2, v3 = (value / 3600 for value in recipe.mode.v2v3)
    ra, dec = TARGET
    turn = RotationSequence3D([v2, -v3, ROLL, dec, -ra], "zyxyz")
    return (
        Scale(1 / 3600) & Scale(1 / 3600)
        | SphericalToCartesian(wrap_lon_at=180)
        | turn
        | CartesianToSpherical(wrap_lon_at=360)
    )


def _frames() -> dict[str, Any]:
    from astropy import coordinates, units
    from gwcs import coordinate_frames as cf

    pixel, arcsec = (units.pix, units.pix), (units.arcsec, units.arcsec)
    spectral = cf.SpectralFrame(
        name="spectral", axes_order=(2,), unit=(units.um,), axes_names=("wavelength",)
    )
    v2v3 = cf.Frame2D(name="v2v3_spatial", axes_order=(0, 1), unit=arcsec, axes_names=("v2", "v3"))
    sky = cf.CelestialFrame(
        name="sky", axes_order=(0, 1), reference_frame=coordinates.ICRS(), unit=(units.deg,) * 2
    )
    order = cf.CoordinateFrame(
        1, "OTHER", (3,), unit=(units.one,), axes_names=("order",), name="order"
    )
    return {
        "detector": cf.Frame2D(name="detector", axes_order=(0, 1), unit=pixel),
        "v2v3": v2v3,
        "sky": sky,
        "spectral": spectral,
        "order": order,
        "v2v3+": cf.CompositeFrame([v2v3, spectral], name="v2v3"),
        "world+": cf.CompositeFrame([sky, spectral], name="world"),
    }


def _box(recipe: Recipe) -> tuple[tuple[float, float], tuple[float, float]]:
    ny, nx = recipe.shape
    return ((-0.5, nx - 0.5), (-0.5, ny - 0.5))


def _imaging(recipe: Recipe) -> WCS:
    from astropy import units
    from astropy.modeling.models import Rotation2D, Scale, Shift
    from gwcs import WCS
    from gwcs import coordinate_frames as cf

    frames = _frames()
    yc, xc = star_centre(recipe)
    scale = recipe.mode.pixel_scale
    v2, v3 = recipe.mode.v2v3
    distortion = (
        Shift(-xc) & Shift(-yc)
        | Rotation2D(0.4)
        | Scale(-scale) & Scale(scale)
        | Shift(v2) & Shift(v3)
    )
    flat_v2v3 = cf.Frame2D(
        name="v2v3", axes_order=(0, 1), unit=(units.arcsec,) * 2, axes_names=("v2", "v3")
    )
    world = frames["sky"]
    world.name = "world"
    wcs = WCS([(frames["detector"], distortion), (flat_v2v3, _sky(recipe)), (world, None)])
    wcs.bounding_box = _box(recipe)
    return wcs


def _untilt(trace: Trace) -> Any:
    """From pixel ``(x, y)`` to (pixel along the dispersion without tilt, pixel across it)."""
    from astropy.modeling.models import Identity, Mapping, Polynomial2D

    t, at = trace.tilt, trace.tilt * trace.pivot
    if trace.dispaxis == 1:
        forward = Mapping((0, 1, 1)) | Polynomial2D(1, c0_0=-at, c1_0=1, c0_1=t) & Identity(1)
        forward.inverse = Mapping((0, 1, 1)) | (
            Polynomial2D(1, c0_0=at, c1_0=1, c0_1=-t) & Identity(1)
        )
    else:
        forward = Mapping((1, 0, 0)) | Polynomial2D(1, c0_0=-at, c1_0=1, c0_1=t) & Identity(1)
        forward.inverse = Mapping((1, 0, 1)) | (
            Identity(1) & Polynomial2D(1, c0_0=at, c1_0=1, c0_1=-t)
        )
    return forward


def _tables(trace: Trace, scale: float = 1.0) -> tuple[Any, Any, Any]:
    """Wavelength of a pixel, pixel of a wavelength (NaN outside), centre of the trace."""
    from astropy.modeling.models import Polynomial1D, Tabular1D

    waves = trace.waves * scale
    order = np.argsort(waves)
    options = {"bounds_error": False, "fill_value": np.nan, "method": "linear"}
    wave = Tabular1D(points=trace.pixels, lookup_table=waves, **options)
    pixel = Tabular1D(points=waves[order], lookup_table=trace.pixels[order], **options)
    wave.inverse = pixel.copy()
    centre = Polynomial1D(
        len(trace.centre) - 1, **{f"c{i}": float(c) for i, c in enumerate(trace.centre)}
    )
    return wave, pixel, centre


def _slit_position(centre: Any) -> Any:
    """From (untilted pixel, pixel across) to the distance from the trace, pixels."""
    from astropy.modeling.models import Mapping

    return Mapping((1,), n_inputs=2) - (Mapping((0,), n_inputs=2) | centre)


def _offset_and_wave(trace: Trace) -> Any:
    """From pixel ``(x, y)`` to (distance from the trace in pixels, wavelength in um)."""
    from astropy.modeling.models import Mapping

    wave, pixel, centre = _tables(trace)
    forward = Mapping((0, 1, 0)) | _slit_position(centre) & wave
    across = Mapping((0,), n_inputs=2) + (Mapping((1,), n_inputs=2) | pixel | centre)
    backward = Mapping((1, 0, 1)) | pixel & across
    untilt = _untilt(trace)
    whole = untilt | forward
    whole.inverse = backward | untilt.inverse
    return whole


def _slitless(recipe: Recipe, trace: Trace) -> WCS:
    from astropy.modeling.models import Const1D, Identity, Mapping, Scale, Shift
    from gwcs import WCS

    frames = _frames()
    v2, v3 = recipe.mode.v2v3
    scale = recipe.mode.pixel_scale
    spread = Mapping((0, 0, 1)) | (Scale(scale) | Shift(v2)) & Const1D(v3) & Identity(1)
    spread.inverse = Mapping((0, 2), n_inputs=3) | (Shift(-v2) | Scale(1 / scale)) & Identity(1)
    pixels = _offset_and_wave(trace)
    to_v2v3 = pixels | spread
    to_v2v3.inverse = spread.inverse | pixels.inverse
    wcs = WCS(
        [
            (frames["detector"], to_v2v3),
            (frames["v2v3+"], _sky(recipe) & Identity(1)),
            (frames["world+"], None),
        ]
    )
    ny, nx = recipe.shape
    low, high = trace.pixels[0] - 0.5, trace.pixels[-1] + 0.5
    if trace.dispaxis == 2:
        wcs.bounding_box = ((min(3.5, nx / 4), nx - 0.5), (low, high))
    else:
        wcs.bounding_box = ((low, high), (-0.5, ny - 0.5))
    return wcs


def _grism(recipe: Recipe, trace: Trace) -> WCS:
    from astropy import units
    from astropy.modeling.models import Const1D, Identity, Mapping, Rotation2D, Scale, Shift
    from gwcs import WCS
    from gwcs import coordinate_frames as cf

    frames = _frames()
    nx = recipe.shape[1]
    x0, y0 = 0.23 * nx, float(trace.centre_at(np.array(nx / 2)))
    scale = recipe.mode.pixel_scale
    v2, v3 = recipe.mode.v2v3
    constant = Const1D(float(trace.order))
    place = Mapping((0, 0, 1, 0)) | Const1D(x0) & Shift(y0) & Identity(1) & constant
    place.inverse = Mapping((1, 2), n_inputs=4) | Shift(-y0) & Identity(1)
    pixels = _offset_and_wave(trace)
    to_direct = pixels | place
    to_direct.inverse = place.inverse | pixels.inverse
    distortion = (
        Shift(-x0) & Shift(-y0)
        | Rotation2D(0.2)
        | Scale(scale) & Scale(scale)
        | Shift(v2) & Shift(v3)
    )
    direct = cf.Frame2D(name="direct_spatial", axes_order=(0, 1), unit=(units.pix,) * 2)
    rest = [frames["spectral"], frames["order"]]
    wcs = WCS(
        [
            (
                cf.Frame2D(name="grism_detector", axes_order=(0, 1), unit=(units.pix,) * 2),
                to_direct,
            ),
            (cf.CompositeFrame([direct, *rest], name="direct_image"), distortion & Identity(2)),
            (cf.CompositeFrame([frames["v2v3"], *rest], name="v2v3"), _sky(recipe) & Identity(2)),
            (cf.CompositeFrame([frames["sky"], *rest], name="world"), None),
        ]
    )
    wcs.bounding_box = _box(recipe)
    return wcs


def _nirspec(recipe: Recipe, trace: Trace) -> WCS:
    from astropy import units
    from astropy.modeling.models import Const1D, Identity, Mapping, Scale, Shift
    from gwcs import WCS
    from gwcs import coordinate_frames as cf

    frames = _frames()
    wave, pixel, centre = _tables(trace, 1e-6)
    untilt = _untilt(trace)
    to_gwa = untilt | Mapping((0, 1, 0)) | Identity(2) & wave
    to_gwa.inverse = Mapping((0, 1), n_inputs=3) | untilt.inverse
    to_slit = Mapping((0, 0, 1, 2)) | (
        Const1D(0.0)
        & (_slit_position(centre) | Scale(1 / SLIT_PIXELS) | Shift(SOURCE_YPOS))
        & Identity(1)
    )
    across = (Mapping((0,), n_inputs=2) | Shift(-SOURCE_YPOS) | Scale(SLIT_PIXELS)) + (
        Mapping((1,), n_inputs=2) | pixel | centre
    )
    to_slit.inverse = Mapping((2, 1, 2, 2), n_inputs=3) | pixel & across & Identity(1)
    v2, v3 = recipe.mode.v2v3
    length = recipe.mode.pixel_scale * SLIT_PIXELS
    to_v2v3 = (Scale(length) | Shift(v2)) & (Scale(length) | Shift(v3)) & Scale(1e6)
    meters = cf.SpectralFrame(
        name="slit_spectral", axes_order=(2,), unit=(units.m,), axes_names=("wavelength",)
    )

    def frame(name: str) -> Any:
        plane = cf.Frame2D(name=f"{name}_spatial", axes_order=(0, 1), unit=(units.one,) * 2)
        return cf.CompositeFrame([plane, meters], name=name)

    wcs = WCS(
        [
            (frames["detector"], to_gwa),
            (frame("gwa"), to_slit),
            (frame("slit_frame"), to_v2v3),
            (frames["v2v3+"], _sky(recipe) & Identity(1)),
            (frames["world+"], None),
        ]
    )
    wcs.bounding_box = _box(recipe)
    return wcs


def _soss(traces: tuple[Trace, ...]) -> WCS:
    from astropy import units
    from astropy.modeling.models import Const1D, Mapping
    from gwcs import WCS
    from gwcs import coordinate_frames as cf
    from stdatamodels.jwst.transforms.models import NirissSOSSModel

    models = []
    for trace in traces:
        wave, _, _ = _tables(trace)
        models.append(
            Mapping((0, 0, 0), n_inputs=2) | Const1D(TARGET[0]) & Const1D(TARGET[1]) & wave
        )
    detector = cf.CoordinateFrame(
        3,
        ("SPATIAL", "SPATIAL", "OTHER"),
        (0, 1, 2),
        unit=(units.pix, units.pix, units.one),
        axes_names=("x", "y", "order"),
        name="detector",
    )
    to_world = NirissSOSSModel([trace.order for trace in traces], models)
    return WCS([(detector, to_world), (_frames()["world+"], None)])
