"""What tasks need to know of the extraction of a member."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from tso3dask.errors import InputError

if TYPE_CHECKING:
    from tso3dask.ops.exposure_model import ExposureModel
    from tso3dask.ops.psf_profile import PlacedPsf

__all__ = ["ExtractionImages", "ProfileFit", "SpectrumSetup"]


@dataclass(frozen=True, eq=False)
class SpectrumSetup:
    """What extraction needs to know of a segment beyond its pixels.

    Attributes
    ----------
    plan : BoxPlan or OptimalPlan
        Weights of source and background, cut to the pixels that matter; or profiles to fit.
    wavelength : ndarray
        Wavelength (dispersion,) of the table's columns, micrometres: only finite ones.
    along : ndarray
        Wavelength (dispersion,) of the whole array along dispersion, NaN where not valid.
    limits : tuple
        First and last column and row of the aperture, 1-based: xstart, xstop, ystart, ystop.
    dispaxis, spectral_order : int
        Dispersion direction (1 = x, 2 = y) and order.
    slit_name, source_type, instrument : str or None
        As the header has them.
    ra, dec : float or None
        Sky position of the aperture's centre, degrees.
    photom_complete : bool
        Whether pixels are flux calibrated.
    pixel_area : float or None
        PIXAR_SR.
    correction : SizeCorrection, PhaseCorrection or None
        Aperture correction.
    units : dict of str
        Unit by column.
    images : ExtractionImages or None
        What images of the extraction are made of, where they are saved.
    unsettled : ProfileFit or None
        Where the profile is still to be fitted to the first integration: what comes of it. The
        other attributes are then those of the place that headers give.
    awaiting : callable or None
        Where the aperture or its weights come from the model of the exposure: takes the model,
        gives the setup, or None if there is no spectrum, and notes. The other attributes are
        then those of a box where headers have it.
    chosen_width : float or None
        Width of the aperture that is not the reference's, pixels.
    whole_aperture : bool
        Whether an aperture correction that serves all integrations is that of the aperture with
        all its pixels, and not with those of the first integration.
    """

    ending: ClassVar[str] = ""

    plan: Any
    wavelength: np.ndarray
    along: np.ndarray
    limits: tuple[Any, Any, Any, Any]
    dispaxis: int
    spectral_order: int
    slit_name: str | None
    source_type: str | None
    instrument: str
    ra: float | None
    dec: float | None
    photom_complete: bool
    pixel_area: float | None
    correction: Any
    units: dict[str, str] = field(default_factory=dict)
    images: ExtractionImages | None = None
    unsettled: ProfileFit | None = None
    awaiting: Callable[[ExposureModel], tuple[SpectrumSetup | None, list[str]]] | None = None
    chosen_width: float | None = None
    whole_aperture: bool = False

    def with_model(self, model: ExposureModel) -> SpectrumSetup:
        """Return the setup that follows from the model of the exposure.

        Parameters
        ----------
        model : ExposureModel
            With the numbers of all integrations of the segment.

        Raises
        ------
        InputError
            If there is no spectrum in the aperture that follows.
        """
        if self.awaiting is None:
            return self
        made, notes = self.awaiting(model)
        if made is None:
            raise InputError("; ".join(notes))
        return made

    def columns(
        self,
        arrays: Mapping[str, np.ndarray],
        factor: np.ndarray | None = None,
        first: int = 0,
    ) -> dict[str, np.ndarray]:
        """Vector columns of the EXTRACT1D rows of a block of flagged pixels.

        Parameters
        ----------
        arrays : mapping
            Cubes (integration, y, x).
        factor : (dispersion,) ndarray, optional
            Aperture correction that serves all integrations, see `shared_factor`.
        first : int
            Integration of the segment that row 0 is.

        Returns
        -------
        dict of ndarray
            (integration, dispersion) each.
        """
        from tso3dask.ops.apcorr import apply_correction
        from tso3dask.ops.box import extract_box
        from tso3dask.ops.horne import HornePlan, extract_horne
        from tso3dask.ops.optimal import OptimalPlan, extract_optimal
        from tso3dask.ops.spectrum import spectral_columns

        optimal = isinstance(self.plan, OptimalPlan)
        extract: Any = extract_optimal if optimal else extract_box
        if isinstance(self.plan, HornePlan):
            extract = partial(extract_horne, first=first)
        sums = extract(
            arrays["sci"],
            arrays.get("var_rnoise"),
            arrays.get("var_poisson"),
            arrays.get("var_flat"),
            self.plan,
        )
        spectra = spectral_columns(
            sums,
            self.along,
            photom_complete=self.photom_complete,
            source_type=self.source_type,
            instrument=self.instrument,
            pixel_area_sr=self.pixel_area,
            surface_brightness=not optimal,
        )
        columns = spectra.columns
        if self.correction is not None:
            if factor is None:
                factor = self.correction.evaluate(columns["NPIXELS"], self.wavelength)
            apply_correction(columns, factor)
        return columns

    def as_box(self) -> SpectrumSetup:
        """Return the setup that sums the pixels of the aperture, each with weight 1."""
        from tso3dask.ops.box import BoxPlan
        from tso3dask.ops.horne import HornePlan

        if not isinstance(self.plan, HornePlan):
            return self
        known = {f.name: getattr(self.plan, f.name) for f in fields(BoxPlan)}
        inside = (self.plan.profile != 0).astype(np.float64)
        return replace(self, plan=BoxPlan(**{**known, "profile": inside}))

    def corrected(self, arrays: Mapping[str, np.ndarray], first: int) -> dict[str, np.ndarray]:
        """Columns of the rows of a block that settles its own aperture correction."""
        factor = self.shared_factor(arrays, first) if self.shares_factor else None
        return self.columns(arrays, factor, first)

    @property
    def shares_factor(self) -> bool:
        """Whether one aperture correction serves all integrations of a segment."""
        return self.correction is not None and self.correction.needs_first_integration

    def shared_factor(self, arrays: Mapping[str, np.ndarray], first: int = 0) -> np.ndarray:
        """Aperture correction (dispersion,) that the first row of a block settles for all.

        Parameters
        ----------
        arrays : mapping
            Cubes (integration, y, x); with `whole_aperture` only their shape counts.
        first : int
            Integration of the segment that row 0 is.
        """
        rows = {name: array[:1] for name, array in arrays.items()}
        if self.whole_aperture:
            rows = {name: np.ones_like(array) for name, array in rows.items()}
        columns = replace(self, correction=None).columns(rows, first=first)
        return np.asarray(self.correction.evaluate(columns["NPIXELS"][0], self.wavelength))

    def scenes(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Images of the extraction of a block of flagged pixels that are saved.

        Parameters
        ----------
        arrays : mapping
            Cubes (integration, y, x).

        Returns
        -------
        dict of ndarray
            ``scene_model`` and ``residual`` (integration, y, x); nothing if they are not saved.
        """
        if self.images is None or self.images.plan is None:
            return {}
        from tso3dask.ops.scene import scene_images

        rnoise, poisson, flat = (arrays.get(f"var_{k}") for k in ("rnoise", "poisson", "flat"))
        scene = scene_images(arrays["sci"], rnoise, poisson, flat, self.images.plan)
        with np.errstate(invalid="ignore"):
            return {"scene_model": scene, "residual": arrays["sci"] - scene}


@dataclass(frozen=True, eq=False)
class ExtractionImages:
    """What images of an extraction are made of.

    Attributes
    ----------
    profile : ndarray
        Weights (y, x) of the aperture, or the sum of all profiles.
    plan : BoxPlan, OptimalPlan or None
        The extraction, over the whole image; None if no image of each integration is saved.
    """

    profile: np.ndarray
    plan: Any


@dataclass(frozen=True, eq=False)
class ProfileFit:
    """A profile that is still to be fitted to the first integration of its segment.

    Attributes
    ----------
    placed : PlacedPsf
        The profile where headers put it.
    settle : callable
        Takes what `tso3dask.ops.psf_profile.fit_offsets` gives; gives the setup, or None if
        there is no spectrum, and notes.
    """

    placed: PlacedPsf
    settle: Callable[[float, float | None], tuple[SpectrumSetup | None, list[str]]]
