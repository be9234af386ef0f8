"""Integrations made ready for modelling and extraction: filled, background subtracted, masked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tso3dask.ops.soss.background import subtract_background
from tso3dask.ops.soss.box import BoxSpectra, extract_box
from tso3dask.ops.soss.infill import Summary, fill_all, noisy_mean

__all__ = ["Prepared", "extract_boxes", "prepare", "prepare_mean", "take_background"]


@dataclass(frozen=True, eq=False)
class Prepared:
    """Integrations ready for extraction.

    Attributes
    ----------
    image : (integration, y, x) ndarray
        Values in the input's unit, gaps filled, background subtracted; float32, or float64 where a
        background was subtracted.
    error : (integration, y, x) ndarray float32
        Errors; infinite where nothing is known.
    background : (integration, x) ndarray float64
        What was subtracted from each pixel of a column.
    mask : (integration, y, x) ndarray bool
        Pixels not to use: unusable in the whole segment, or without a finite positive error.
    """

    image: np.ndarray
    error: npt.NDArray[np.float32]
    background: npt.NDArray[np.float64]
    mask: npt.NDArray[np.bool_]


def prepare(
    sci: npt.NDArray[np.float32],
    err: npt.NDArray[np.float32],
    start: int,
    first: int,
    stop: int,
    summary: Summary,
    background: bool,
) -> Prepared:
    """Prepare some integrations of a segment.

    Parameters
    ----------
    sci, err : (integration, y, x) ndarray float32
        Integrations from `start` on, with `infill.HALO` neighbours on either side of those wanted
        as far as the segment has them.
    start, first, stop : int
        Integration of the segment (0-based) that the arrays begin with, and those wanted.
    summary : Summary
        Of the whole segment.
    background : bool
        Whether to subtract a background from each column.
    """
    image, error, mask = fill_all(sci, err, start, first, stop, summary)
    return take_background(image, error, mask, background)


def prepare_mean(summary: Summary, background: bool) -> Prepared:
    """Prepare the typical integration, from which grids and regularisation are chosen.

    Its errors are the median errors of the segment.
    """
    image, error = noisy_mean(summary)[None], summary.median_error[None]
    mask = summary.unusable | ~((error > 0) & np.isfinite(error)) | ~np.isfinite(image)
    return take_background(image, error, mask, background)


def take_background(
    image: np.ndarray,
    error: npt.NDArray[np.float32],
    mask: npt.NDArray[np.bool_],
    background: bool,
) -> Prepared:
    """Subtract backgrounds from filled integrations, if they are to be subtracted.

    Parameters
    ----------
    image, error, mask : (integration, y, x) ndarray
        As `infill.fill_all` gives them.
    background : bool
        Whether to.
    """
    levels = np.zeros((image.shape[0], image.shape[2]))
    if background:
        parts = [subtract_background(one, off) for one, off in zip(image, mask, strict=True)]
        image = np.stack([part[0] for part in parts])
        levels = np.stack([part[1] for part in parts])
    return Prepared(image, error, levels, mask)


def extract_boxes(
    prepared: Prepared,
    weights: Mapping[int, npt.NDArray[np.float64]],
    columns: Mapping[int, int],
) -> dict[int, BoxSpectra]:
    """Extract each order without regard to the others.

    Parameters
    ----------
    prepared : Prepared
        Integrations.
    weights : mapping of (y, x) ndarray
        From `box.order_weights`.
    columns : mapping of int
        Columns of each order's spectra, its trace's cutoff.
    """
    return {
        order: extract_box(prepared.image, prepared.error, prepared.mask, weight, columns[order])
        for order, weight in weights.items()
    }
