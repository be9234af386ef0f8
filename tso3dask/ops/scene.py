"""Images of what an extraction takes the light to be: the scene, and what it leaves over."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .box import BoxPlan, Pixels, background_of
from .extract_params import HORIZONTAL
from .optimal import OptimalPlan, fit_profiles, total_variance

__all__ = ["scene_images"]


def scene_images(
    sci: Pixels,
    var_rnoise: Pixels | None,
    var_poisson: Pixels | None,
    var_flat: Pixels | None,
    plan: BoxPlan | OptimalPlan,
) -> NDArray[np.float64]:
    """Model of the light on the whole array.

    A fit gives the sum of all that was fitted, outside the fitted pixels as well. A box gives the
    background on the whole array and, in the aperture, the mean of the pixels there at each
    element along the dispersion; bad pixels have none of it.

    Parameters
    ----------
    sci : ndarray
        Values ``(integration, y, x)``, NaN for bad pixels.
    var_rnoise, var_poisson, var_flat : ndarray or None
        Variances of the same shape; None or another shape counts as zero.
    plan : BoxPlan or OptimalPlan
        The extraction; a box plan must be that of the whole image.

    Returns
    -------
    ndarray
        ``(integration, y, x)`` float64.
    """
    variances = [
        v if v is not None and v.shape == sci.shape else np.broadcast_to(np.float32(0), sci.shape)
        for v in (var_rnoise, var_poisson, var_flat)
    ]
    if isinstance(plan, OptimalPlan):
        return fit_profiles(sci, total_variance(variances, sci), plan).scene()
    scene = np.zeros(sci.shape)
    turned = plan.dispaxis != HORIZONTAL
    for i in range(len(sci)):
        image, *found = (a[i].T if turned else a[i] for a in (sci, *variances))
        model = _box_scene(image, tuple(found), plan)
        scene[i] = model.T if turned else model
    return scene


def _box_scene(image: Pixels, variances: tuple[Pixels, ...], plan: BoxPlan) -> NDArray[np.float64]:
    """Scene of one integration, ``(across, dispersion)``."""
    model = np.zeros(image.shape)
    background = background_of(image, variances, plan)
    if background is not None:
        model += background.level
        with np.errstate(invalid="ignore"):
            image = image - background.level
    profile = np.where(np.isfinite(image), plan.profile, 0.0)
    npixels = profile.sum(axis=0)
    flux = (np.where(profile != 0, image, 0) * profile).sum(axis=0)
    lit = npixels > 0
    model[:, lit] += (flux[lit] / npixels[lit]) * profile[:, lit]
    return model
