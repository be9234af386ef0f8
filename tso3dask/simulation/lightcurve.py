"""The star and its planet: transit light curve, spectrum and wavelength-dependent depth."""

from __future__ import annotations

import numpy as np

__all__ = ["overlap_area", "spectral_depth", "stellar_spectrum", "transit_shape"]

IMPACT = 0.3
LIMB_DARKENING = (0.2, 0.15)


def overlap_area(separation: np.ndarray, k: float) -> np.ndarray:
    """Area shared by the unit disc and a disc of radius `k`, over the area of the latter.

    Parameters
    ----------
    separation : distance of the centres in units of the larger radius; any shape.
    k : radius of the smaller disc, 0 < k < 1.

    Returns
    -------
    Fraction between 0 (apart) and 1 (inside), shape of `separation`.
    """
    z = np.atleast_1d(np.asarray(separation, dtype=np.float64))
    out = np.where(z <= 1 - k, 1.0, 0.0)
    crossing = (z > 1 - k) & (z < 1 + k)
    d = z[crossing]
    small = np.arccos(np.clip((d**2 + k**2 - 1) / (2 * d * k), -1, 1))
    large = np.arccos(np.clip((d**2 + 1 - k**2) / (2 * d), -1, 1))
    kite = 0.5 * np.sqrt(np.clip((-d + k + 1) * (d + k - 1) * (d - k + 1) * (d + k + 1), 0, None))
    out[crossing] = (k**2 * small + large - kite) / (np.pi * k**2)
    return out


def transit_shape(phase: np.ndarray, depth: float) -> np.ndarray:
    """Drop of a transit, 0 outside and 1 at its middle.

    The planet covers the area of Mandel & Agol (2002, ApJ 580, L171) for a uniform disc, weighted
    with the quadratic limb darkening at the planet's centre (their small-planet limit).

    Parameters
    ----------
    phase : time from mid-transit over the whole transit's duration; (integration,).
    depth : relative depth; sets how long ingress and egress are.

    Returns
    -------
    (integration,) float64.
    """
    k = float(np.sqrt(np.clip(abs(depth), 1e-8, 0.25)))
    half = np.sqrt((1 + k) ** 2 - IMPACT**2)

    def blocked(z: np.ndarray) -> np.ndarray:
        mu = np.sqrt(1 - np.clip(z, 0, 1) ** 2)
        u1, u2 = LIMB_DARKENING
        return overlap_area(z, k) * (1 - u1 * (1 - mu) - u2 * (1 - mu) ** 2)

    z = np.hypot(IMPACT, 2 * half * np.asarray(phase, dtype=np.float64))
    return blocked(z) / blocked(np.array([IMPACT]))


def stellar_spectrum(wave: np.ndarray) -> np.ndarray:
    """Flux density of the star relative to that at 2 um: a 5200 K black body with some lines.

    Parameters
    ----------
    wave : wavelength in um, any shape; NaN stays NaN.
    """

    def planck(um: np.ndarray | float) -> np.ndarray:
        return np.asarray(um) ** -3.0 / np.expm1(14387.77 / 5200.0 / np.asarray(um))

    flux = planck(wave) / planck(2.0)
    for centre, width, strength in (
        (0.589, 0.004, 0.3),
        (0.854, 0.004, 0.25),
        (1.083, 0.005, 0.15),
        (1.282, 0.006, 0.2),
        (2.295, 0.02, 0.1),
        (2.873, 0.012, 0.15),
        (4.052, 0.015, 0.2),
        (4.65, 0.15, 0.12),
        (7.46, 0.05, 0.1),
    ):
        flux = flux * (1 - strength * np.exp(-0.5 * ((wave - centre) / width) ** 2))
    return flux


def spectral_depth(wave: np.ndarray, depth: float) -> np.ndarray:
    """Transit depth at each wavelength: `depth` with a few molecular-looking bumps (within 15 %).

    Parameters
    ----------
    wave : wavelength in um, any shape.
    depth : mean relative depth.
    """
    bumps = 0.03 * np.sin(2 * np.pi * np.log(wave) / 0.45)
    for centre, width, height in ((1.4, 0.1, 0.05), (2.7, 0.2, 0.06), (4.3, 0.2, 0.10)):
        bumps = bumps + height * np.exp(-0.5 * ((wave - centre) / width) ** 2)
    return depth * (1 + bumps)
