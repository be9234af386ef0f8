"""Images of the models of orders: put together, and taken off the data."""

from __future__ import annotations

import numpy as np

__all__ = ["joined_order", "without_other_orders"]


def joined_order(red: np.ndarray, blue: np.ndarray) -> np.ndarray:
    """Model of an order (y, x) from two parts; the second counts where the first is NaN."""
    return np.where(np.isfinite(red), red, blue)


def without_other_orders(data: np.ndarray, models: dict[int, np.ndarray], order: int) -> np.ndarray:
    """Image (y, x) less the models of all orders but one; NaN of a model counts as zero."""
    result = data.copy()
    for other, model in models.items():
        if other != order:
            result = result - np.where(np.isfinite(model), model, 0.0)
    return result
