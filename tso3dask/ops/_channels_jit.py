"""Compiled sums of spectra over channels.

This module imports numba when it is imported: load it inside functions only.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tso3dask.ops._jit import jit

__all__ = ["channel_sums"]


@jit
def channel_sums(
    flux: Any, error: Any, columns: Any, shares: Any, starts: Any, total: Any, uncertainty: Any
) -> None:
    """Sum spectra over channels, NaN left out.

    Parameters
    ----------
    flux, error : (integration, dispersion) float64
        Spectra and their errors.
    columns, shares : (part,) int64, float64
        Columns that channels are made of, channel after channel, and the part taken of each.
    starts : (channel + 1,) int64
        First part of each channel.
    total, uncertainty : (integration, channel) float64
        Written: sums and their errors.
    """
    for i in range(flux.shape[0]):
        for channel in range(starts.size - 1):
            added, variance, known = 0.0, 0.0, False
            for part in range(starts[channel], starts[channel + 1]):
                value = flux[i, columns[part]]
                if np.isnan(value):
                    continue
                known = True
                added += shares[part] * value
                deviation = shares[part] * error[i, columns[part]]
                if not np.isnan(deviation):
                    variance += deviation * deviation
            total[i, channel] = added if known else np.nan
            uncertainty[i, channel] = np.sqrt(variance) if variance > 0 else np.nan
