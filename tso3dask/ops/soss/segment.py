"""Spectra of blocks of integrations from what is constant for a segment.

Integrations go through in groups, from sums over apertures and the shares of other orders in them.
Those with bad pixels of their own, bad pixels to be replaced by the model, and models that are
wanted themselves need images.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from tso3dask.ops.soss.aperture import ApertureStretches
from tso3dask.ops.soss.box import extract_box, replace_with_model
from tso3dask.ops.soss.engine import TooFewPixelsError
from tso3dask.ops.soss.images import joined_order, without_other_orders
from tso3dask.ops.soss.joint import JointOrders
from tso3dask.ops.soss.runs import SIDES, RunMatrix
from tso3dask.ops.soss.single_order import SingleOrder
from tso3dask.ops.soss.tikhonov import FactorTests

__all__ = ["SegmentModel", "SolvedBlock"]


@dataclass(frozen=True)
class SolvedBlock:
    """Spectra of a block of integrations.

    Parameters
    ----------
    flux, flux_error, npixels : dict of numpy.ndarray
        Per order (integration, x).
    models : dict of numpy.ndarray
        Per order, images (integration, y, x), zero where there is no model; empty unless wanted.
    fitted : dict of tuple
        Per order and part (``"RED"`` of the joint fit, ``"BLUE"`` of order 2 alone, ``"ALL"`` of
        order 3), wavelengths (column,) and fitted fluxes (integration, column), NaN where there
        is none; empty unless wanted.
    notes : list of tuple
        Integration within the block, and what is the matter with it.
    """

    flux: dict[int, np.ndarray]
    flux_error: dict[int, np.ndarray]
    npixels: dict[int, np.ndarray]
    models: dict[int, np.ndarray] = field(default_factory=dict)
    fitted: dict[tuple[int, str], tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)
    notes: list[tuple[int, str]] = field(default_factory=list)


@dataclass(frozen=True)
class SegmentModel:
    """Everything that is constant for the integrations of a segment.

    `tso3dask.ops.soss.model.prepare_segment` makes it.

    Parameters
    ----------
    apertures : dict of numpy.ndarray
        Weights of the box aperture (y, x) per order.
    bad : numpy.ndarray
        Pixels (y, x) bad in all integrations.
    without_error : numpy.ndarray
        Good pixels (y, x) whose median error is not positive.
    npixels : dict of numpy.ndarray
        Sum of the weights of usable pixels (x,) per order.
    native : dict of numpy.ndarray
        Wavelengths of the columns per order, ascending.
    cutoff : float
        Longest wavelength of order 2 alone, um.
    blue_order2 : bool
        Whether the blue part of order 2 and order 3 are fitted.
    replace : bool
        Whether bad pixels are replaced by the model.
    joint : JointOrders
        Fit of orders 1 and 2.
    singles : dict
        Fits of single orders: the blue part of order 2, order 3.
    grid : numpy.ndarray
        Wavelength grid of orders 1 and 2, um.
    factors : dict
        Regularisation factors: 1 for orders 1 and 2 together, 2 for the blue part of order 2,
        3; None where nothing was fitted.
    tests : dict of FactorTests
        The tests of factors, with the same keys.
    notes : tuple of str
        What a user should know of the preparation.
    stretches : dict of ApertureStretches
        Apertures without bad pixels.
    shares : dict of RunMatrix
        Contamination by order and part: (target, part), the part being 1 or 2 for the joint fit
        and -2 or -3 for a fit alone.
    """

    apertures: dict[int, np.ndarray]
    bad: np.ndarray
    without_error: np.ndarray
    npixels: dict[int, np.ndarray]
    native: dict[int, np.ndarray]
    cutoff: float
    blue_order2: bool
    replace: bool
    joint: JointOrders
    singles: dict[int, SingleOrder]
    grid: np.ndarray
    factors: dict[int, float | None]
    tests: dict[int, FactorTests]
    notes: tuple[str, ...]
    stretches: dict[int, ApertureStretches]
    shares: dict[tuple[int, int], RunMatrix]

    def solve(self, data: np.ndarray, error: np.ndarray, models: bool = False) -> SolvedBlock:
        """Extract integrations.

        Parameters
        ----------
        data : numpy.ndarray
            Images (integration, y, x) with missing values filled in, and without background.
        error : numpy.ndarray
            Their errors, those of values filled in enlarged.
        models : bool
            Whether images of the models are wanted; fitted spectra come with them if the segment
            was prepared for them.

        Returns
        -------
        SolvedBlock
            An integration that cannot be solved is NaN, with a note.
        """
        count, _, width = data.shape
        flux = {order: np.zeros((count, width)) for order in self.apertures}
        variance = {order: np.zeros((count, width)) for order in self.apertures}
        npixels = {order: np.empty((count, width)) for order in self.apertures}
        odd = self._sum_apertures(data, error, flux, variance)
        by_image = (odd > 0) | self.replace
        result = SolvedBlock(flux, variance, npixels)
        if models:
            for order in self.apertures:
                result.models[order] = np.zeros(data.shape)
            if self.joint.columns:
                result.fitted.update(self._empty_fitted(count))
        unsolved = np.zeros(count, dtype=bool)
        for begin in range(0, count, SIDES):
            block = slice(begin, min(begin + SIDES, count))
            unsolved[block] = self._solve_sides(
                data[block], error[block], by_image[block], begin, result
            )
        plain = ~by_image
        for order, used in self.npixels.items():
            npixels[order][plain] = used
            variance[order][plain] = np.sqrt(variance[order][plain])
            for values in (flux[order], variance[order]):
                values[np.ix_(plain, used == 0)] = np.nan
                values[unsolved] = np.nan
        for i in np.flatnonzero(unsolved):
            result.notes.append(
                (int(i), "orders 1 and 2: the fit has no solution, the spectra are NaN")
            )
        return result

    def fitted_columns(self) -> dict[tuple[int, str], tuple[np.ndarray, np.ndarray]]:
        """Wavelengths of each fitted spectrum, and which of them have a flux.

        Keys are those of `SolvedBlock.fitted`; empty if the segment was not prepared for them.
        """
        if not self.joint.columns:
            return {}
        zero = np.zeros(len(self.grid))
        found = {}
        for part, (wave, _) in self._empty_fitted(0).items():
            single = self.singles.get(part[0])
            if part[1] == "RED":
                flux = self.joint.column_spectrum(part[0] - 1, zero)
            elif single is not None:
                flux = single.columns.image(np.where(single.seen, 0.0, np.nan))[0]
            else:
                flux = np.zeros(len(wave))
            found[part] = wave, np.isfinite(flux)
        return found

    def _empty_fitted(self, count: int) -> dict[tuple[int, str], tuple[np.ndarray, np.ndarray]]:
        waves = {(1, "RED"): self.native[1], (2, "RED"): self.native[2]}
        for order in self.apertures if self.blue_order2 else ():
            if order == 2:
                waves[2, "BLUE"] = self.native[2][self.native[2] < self.cutoff]
            elif order == 3:
                waves[3, "ALL"] = self.native[3]
        return {part: (wave, np.full((count, len(wave)), np.nan)) for part, wave in waves.items()}

    def _sum_apertures(
        self,
        data: np.ndarray,
        error: np.ndarray,
        flux: dict[int, np.ndarray],
        variance: dict[int, np.ndarray],
    ) -> np.ndarray:
        from ._atoca_jit import count_positive

        odd = np.zeros(len(data), np.int64)
        for order, stretches in self.stretches.items():
            stretches.add_sums(data, error, flux[order], variance[order], odd)
        returned = np.flatnonzero(self.without_error)
        if returned.size:
            count_positive(error.reshape(len(error), -1), returned, odd)
        return odd

    def _solve_sides(
        self,
        data: np.ndarray,
        error: np.ndarray,
        by_image: np.ndarray,
        begin: int,
        result: SolvedBlock,
    ) -> np.ndarray:
        """Take the contamination off the sums of a few integrations, or extract from images.

        Returns which of them have no solution; `by_image` is true for more of them afterwards if
        they need images for a reason found here.
        """
        flat, flat_error = (a.reshape(len(a), -1) for a in (data, error))
        spectra = self.joint.spectra(flat)
        unsolved = ~np.isfinite(spectra).all(axis=0)
        parts = {1: self.joint.convolved(0, spectra), 2: self.joint.convolved(1, spectra)}
        alone = {}
        for order, single in self.singles.items():
            found, status = single.spectra(flat, flat_error)
            by_image |= status[: len(data)] > 0
            alone[order] = (found, status)
            parts[-order] = single.trace.orders[0].convolved(found)
            parts[-order] = np.nan_to_num(parts[-order], nan=0.0)
        for (target, part), share in self.shares.items():
            result.flux[target][begin : begin + len(data)] -= (share @ parts[part]).T[: len(data)]
        for i in np.arange(len(data)) if result.models else np.flatnonzero(by_image):
            usual = {o: found[:, i] for o, (found, status) in alone.items() if not status[i]}
            index = begin + int(i)
            self._extract_image(data[i], error[i], spectra[:, i], usual, index, result, by_image[i])
        return unsolved[: len(data)]

    def _models(
        self,
        data: np.ndarray,
        error: np.ndarray,
        bad: np.ndarray,
        spectrum: np.ndarray,
        usual: dict[int, np.ndarray],
    ) -> tuple[dict[int, np.ndarray], dict[tuple[int, str], np.ndarray], list[str]]:
        """Images of the models of all orders, fitted spectra, and what went wrong."""
        models = {i + 1: self.joint.image(i, spectrum) for i in range(2)}
        notes = []
        fitted = {
            (i + 1, "RED"): self.joint.column_spectrum(i, spectrum)
            for i in range(len(self.joint.columns))
        }
        same_mask = not (bad ^ (self.bad | self.without_error)).any()
        for order in self.apertures:
            if order > 2:
                models[order] = np.full(data.shape, np.nan)
        for order, single in self.singles.items():
            found = usual.get(order) if same_mask else None
            if found is None:
                try:
                    found = single.spectrum_with_mask(data, error, bad)
                except TooFewPixelsError as failure:
                    found = np.full(len(single.fit.grid), np.nan)
                    notes.append(f"{failure}; it is not modelled in this integration")
            models[order] = joined_order(models[order], single.trace.image(found))
            fitted[order, "BLUE" if order == 2 else "ALL"] = single.columns.image(found)[0]
        return models, fitted, notes

    def _extract_image(
        self,
        data: np.ndarray,
        error: np.ndarray,
        spectrum: np.ndarray,
        usual: dict[int, np.ndarray],
        index: int,
        result: SolvedBlock,
        extract: bool,
    ) -> None:
        """Extract one integration (y, x) from images, or give its models alone.

        `usual` has the spectra of single orders, right if its bad pixels are those of the segment.
        """
        bad = self.bad | ~(np.isfinite(data) & np.isfinite(error)) | ~(error > 0)
        models, fitted, notes = self._models(data, error, bad, spectrum, usual)
        for part, (_, fluxes) in result.fitted.items():
            if part in fitted:
                fluxes[index] = fitted[part]
        result.notes.extend((index, note) for note in notes)
        for order in result.models:
            result.models[order][index] = np.nan_to_num(
                models[order], nan=0.0, posinf=0.0, neginf=0.0
            )
        for order, weights in self.apertures.items() if extract else ():
            image = without_other_orders(data, models, order)
            sigma, masked = error, bad
            if self.replace:
                image, sigma, masked = replace_with_model(image, error, bad, weights, models[order])
            box = extract_box(image[np.newaxis], sigma[np.newaxis], masked, weights)
            result.flux[order][index] = box.flux[0]
            result.flux_error[order][index] = box.flux_error[0]
            result.npixels[order][index] = box.npixels[0]
