"""Weighted sums over the apertures of orders, and what other orders add to them.

A model of an order is linear in its spectrum, so that its share in the sum of a column is a fixed
row of factors: no image of a model has to be made to take it off.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tso3dask.ops.soss.engine import Design
from tso3dask.ops.soss.runs import RunMatrix

__all__ = ["ApertureStretches", "contamination"]


@dataclass(frozen=True)
class ApertureStretches:
    """The pixels of an aperture as stretches of adjacent pixels of a row.

    Parameters
    ----------
    rows, begins, ends : numpy.ndarray
        Row, first column, and the column after the last, of each stretch.
    weights : numpy.ndarray
        Weights of all pixels, one stretch after the other.
    """

    rows: np.ndarray
    begins: np.ndarray
    ends: np.ndarray
    weights: np.ndarray

    @classmethod
    def of_image(cls, weights: np.ndarray) -> ApertureStretches:
        """Find the stretches of an image of weights (y, x)."""
        inside = np.zeros((weights.shape[0], weights.shape[1] + 2), np.int8)
        inside[:, 1:-1] = weights > 0
        step = np.diff(inside, axis=1)
        rows, begins = np.nonzero(step == 1)
        ends = np.nonzero(step == -1)[1]
        return cls(rows, begins, ends, weights[weights > 0].astype(np.float64))

    def add_sums(
        self,
        data: np.ndarray,
        error: np.ndarray,
        flux: np.ndarray,
        variance: np.ndarray,
        odd: np.ndarray,
    ) -> None:
        """Add the sums of integrations (integration, y, x) to flux and variance in place.

        `odd` (integration,) counts pixels that are not finite or without a positive error.
        """
        from ._atoca_jit import aperture_sums

        aperture_sums(
            data, error, self.rows, self.begins, self.ends, self.weights, flux, variance, odd
        )


def contamination(weights: np.ndarray, design: Design, usable: np.ndarray) -> RunMatrix:
    """Share of an order in the sums over an aperture.

    Parameters
    ----------
    weights : numpy.ndarray
        Weights of the aperture (y, x), zero at bad pixels.
    design : Design
        Model of a single order.
    usable : numpy.ndarray
        Pixels (y, x) at which the model counts.

    Returns
    -------
    RunMatrix
        Matrix (x, point of the convolved spectrum).
    """
    pixels = design.pixels
    share = np.where(usable, weights, 0.0).ravel()[pixels]
    counted = share > 0
    columns = RunMatrix(
        pixels % weights.shape[1],
        np.concatenate([[0], np.cumsum(counted)]),
        share[counted],
        weights.shape[1],
    )
    model = design.orders[0].pixels_of_convolved().selected(counted)
    return columns.transposed_product(model)
