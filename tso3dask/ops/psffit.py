"""Width and flux of the source from a Gaussian integrated over pixels.

The centre is fixed at each integration's centroid, flux and the two widths are
free: flux >= 0 and 0 <= FWHM <= box width. All pixels have equal weight. The
optimiser follows the trust-region reflective method step by step as the
field's pipeline runs it, with its stopping rules, because those show in the
result: the gradient is tested against an absolute 1e-8, so a faint source in
Jy is "converged" at the start and keeps its start widths (half the box) and
start flux (sum of the box).
"""

from __future__ import annotations

import numpy as np

from tso3dask.ops.centroid import mask_runs, outside_source, source_box

__all__ = ["centroids_and_psf", "fit_gaussian_prf"]


def _fitted(fits: np.ndarray) -> dict[str, np.ndarray]:
    """Columns of the result table from fitted (flux, x FWHM, y FWHM)."""
    from tso3dask.ops._psfmodel_jit import FWHM_TO_SIGMA

    return {
        "psf_width_x": FWHM_TO_SIGMA * fits[:, 1],
        "psf_width_y": FWHM_TO_SIGMA * fits[:, 2],
        "psf_flux": fits[:, 0].copy(),
    }


def centroids_and_psf(
    sci: np.ndarray,
    dq: np.ndarray,
    x: float,
    y: float,
    box_width: int,
    radius: float,
) -> dict[str, np.ndarray]:
    """Measure centroid, widths and PSF flux of the source in every integration.

    Parameters
    ----------
    sci : (integration, y, x) float32
        Science pixels; NaN pixels take no part.
    dq : (integration, y, x) uint32
        Data quality; DO_NOT_USE pixels take no part.
    x, y : float
        Position around which the box for the centroid lies, 0-based pixels.
    box_width : int
        Width of the box for centroid and fit, odd, pixels.
    radius : float
        Source radius, left out of the background, pixels.

    Returns
    -------
    dict of (integration,) float64
        ``centroid_x``, ``centroid_y`` in pixels (see `tso3dask.ops.centroid.centroids`);
        ``psf_width_x``, ``psf_width_y``, one sigma in pixels; ``psf_flux`` in the
        unit of ``sci``. The psf values are NaN without a centroid, with fewer than
        three valid pixels in the box around it, when the box holds an infinite
        value, and when its background-subtracted sum is negative.
    """
    from tso3dask.ops._psffit_jit import centroid_fit_block

    sci = np.ascontiguousarray(sci, np.float32)
    dq = np.ascontiguousarray(dq, np.uint32)
    nints, ny, nx = sci.shape
    cx = np.full(nints, np.nan)
    cy = np.full(nints, np.nan)
    fits = np.full((nints, 3), np.nan)
    box = source_box((ny, nx), x, y, box_width)
    runs = mask_runs(outside_source((ny, nx), x, y, radius))
    if box is not None and runs.size:
        centroid_fit_block(sci, dq, runs, box, box_width, cx, cy, fits)
    return {"centroid_x": cx, "centroid_y": cy} | _fitted(fits)


def fit_gaussian_prf(
    sci: np.ndarray, dq: np.ndarray, x: np.ndarray, y: np.ndarray, box_width: int
) -> dict[str, np.ndarray]:
    """Fit widths and flux at given positions in background-subtracted images.

    Parameters
    ----------
    sci : (integration, y, x) float32
        Background-subtracted pixels; NaN pixels take no part.
    dq : (integration, y, x) uint32
        Data quality; DO_NOT_USE pixels take no part.
    x, y : (integration,) float64
        Fixed centres inside the array, 0-based pixels; NaN gives NaN.
    box_width : int
        Width of the box, odd, pixels.

    Returns
    -------
    dict of (integration,) float64
        ``psf_width_x``, ``psf_width_y``, ``psf_flux``.
    """
    from tso3dask.ops._psffit_jit import centroid_fit_block

    sci = np.ascontiguousarray(sci, np.float32)
    dq = np.ascontiguousarray(dq, np.uint32)
    fits = np.full((sci.shape[0], 3), np.nan)
    cx = np.array(x, np.float64)
    cy = np.array(y, np.float64)
    as_they_are = np.empty((0, 2), np.int64)
    centroid_fit_block(sci, dq, as_they_are, (0, 0, 0, 0), box_width, cx, cy, fits)
    return _fitted(fits)
