"""The light curve as it would be if pixels were not replaced: for comparison alone."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tso3dask.ops.dq import FLAG_VALUES

__all__ = ["unreplaced"]

_ESTIMATED = np.uint32(FLAG_VALUES["FLUX_ESTIMATED"])


def unreplaced(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Cubes with NaN in place of estimates in SCI; all others are the same arrays.

    Parameters
    ----------
    arrays : mapping
        Cubes ``(integration, y, x)``, ``sci`` and ``dq`` among them.
    """
    sci = np.where(arrays["dq"] & _ESTIMATED, np.float32(np.nan), arrays["sci"])
    return {**arrays, "sci": sci}
