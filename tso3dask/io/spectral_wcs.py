"""World coordinates of an extracted spectrum."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

__all__ = ["spectral_wcs"]


@lru_cache(maxsize=8)
def _pixels(count: int) -> np.ndarray:
    """Return pixel indices; one array for all spectra of a length is stored once."""
    return np.arange(count, dtype=float)


def spectral_wcs(ra: float, dec: float, wavelength: np.ndarray) -> Any:
    """Return the coordinate system of a spectrum extracted at one place on the sky.

    Parameters
    ----------
    ra, dec : float
        Position of the aperture in degrees (ICRS).
    wavelength : (dispersion,), um
        Wavelength of each element of the spectrum; interpolated and extrapolated linearly.

    Returns
    -------
    gwcs.WCS
        From element index to (right ascension, declination, wavelength). The inverse, from these
        three to the index, is NaN outside the spectrum; it is there only if the wavelengths rise
        or fall all the way.
    """
    import gwcs
    from astropy import units as u
    from astropy.coordinates import ICRS
    from astropy.modeling.models import Const1D, Mapping, Tabular1D
    from gwcs import coordinate_frames as frames

    wavelength = np.asarray(wavelength, dtype=float)
    pixels = _pixels(len(wavelength))
    table = Tabular1D(pixels, wavelength, bounds_error=False, fill_value=None)
    transform = Mapping((0,) * 3) | Const1D(ra) & Const1D(dec) & table
    transform.name = "pixel_to_world"
    step = np.diff(wavelength)
    if np.all(step > 0):
        back = Tabular1D(wavelength, pixels, bounds_error=False)
    elif np.all(step < 0):
        back = Tabular1D(wavelength[::-1], pixels[::-1], bounds_error=False)
    else:
        back = None
    if back is not None:
        transform.inverse = Mapping((2,)) | back

    sky = frames.CelestialFrame(reference_frame=ICRS(), axes_order=(0, 1), name="sky")
    spectral = frames.SpectralFrame(
        axes_order=(2,), axes_names=("wavelength",), unit=(u.micron,), name="spectral"
    )
    world = frames.CompositeFrame([sky, spectral], name="world")
    detector = frames.CoordinateFrame(
        naxes=1, axes_type=("SPATIAL",), axes_order=(0,), unit=(u.pix,), name="pixel_frame"
    )
    return gwcs.WCS([(detector, transform), (world, None)])
