"""Stages that know what a pixel should show from other times: flagging, and replacement.

Both may need the model of the exposure, which is known when its integrations have been read
once (`tso3dask.graph.modelled`). Until then they have none, and cannot be applied.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np

from tso3dask.config import PipelineParameters
from tso3dask.errors import GuardError, RunError
from tso3dask.graph.flag_rows import rows_to_flag
from tso3dask.graph.program import Block, Pointwise, Ranges, Source, rows_asked
from tso3dask.ops.dq import interpret_good_bits
from tso3dask.ops.exposure_model import ExposureModel
from tso3dask.ops.medians import Window
from tso3dask.ops.model_images import ModelImages, number_table
from tso3dask.ops.scaled_outliers import FlagRules, flag_scaled, scaled_image
from tso3dask.wording import listed

__all__ = ["FlagInTime", "ReplaceInTime", "adjoining", "flag_in_time"]


@dataclass(frozen=True)
class FlagInTime:
    """Flag outliers against medians as own parameters ask for, and make NaN and DO_NOT_USE agree.

    Attributes
    ----------
    window : Window
        Rolling window of the series: the segment, or that and what adjoins it.
    offset : int
        Integrations of the series before the segment.
    bad_bits : int
        DQ bits that keep a pixel out of rolling medians; -1 where nothing is to be flagged.
    rules : FlagRules
        What is an outlier.
    max_flagged : float or None
        Largest share of the target's pixels flagged in an integration.
    stop : bool
        Whether more than that is an error.
    keep_median : bool
        Give what pixels should show as ``extra["median"]``.
    model : ExposureModel or None
        Model of the exposure, where one is needed and known.
    """

    step: ClassVar[str] = "outlier_detection"

    window: Window
    offset: int
    bad_bits: int
    rules: FlagRules
    max_flagged: float | None = None
    stop: bool = False
    keep_median: bool = False
    model: ExposureModel | None = None

    @property
    def needs_model(self) -> bool:
        """Whether brightness, noise or the target's pixels are asked for."""
        rules = self.rules
        return rules.scale or rules.noise == "model" or self.max_flagged is not None

    def with_model(self, model: ExposureModel) -> Self:
        """Return the same with the model of the exposure, if it needs one."""
        return replace(self, model=model) if self.needs_model else self

    def input_ranges(self, ranges: Ranges, source: Source) -> Ranges:
        """SCI and DQ with their halo, everything else as asked for."""
        a, b = rows_asked(ranges)
        low, high = self.window.input_range(a + self.offset, b + self.offset)
        halo = low - self.offset, high - self.offset
        return {name: halo if name in ("sci", "dq") else (a, b) for name in source.names}

    def apply(
        self,
        block: Block,
        ranges: Ranges,
        source: Source,
        constants: Mapping[str, Any],
        scratch: dict[str, Any] | None,
    ) -> Block:
        """Flag the rows asked for."""
        more = {"expected": np.float32, "number": np.uint16}
        a, b, err, variances, out = rows_to_flag(block, ranges, source, scratch, more)
        begin = block.first["sci"]
        sci = block.arrays["sci"]
        images = self._images(source, scratch)
        result = flag_scaled(
            sci,
            block.arrays["dq"],
            err,
            variances,
            first=begin + self.offset,
            a=a + self.offset,
            b=b + self.offset,
            window=self.window,
            bad_bits=self.bad_bits,
            rules=self.rules,
            numbers=self._numbers(begin, begin + len(sci)),
            images=images,
            image=None if self.window.rolling else constants["median"],
            out=out,
        )
        carried = {name: result.pop(name) for name in ("expected", "number")}
        share = result.pop("n_inside") / images.target
        self._guard(source, a, share)
        counts = {
            **block.counts,
            "n_outliers": result.pop("n_outliers"),
            "flagged_fraction": share,
        }
        extra = {"median": carried["expected"]} if self.keep_median else {}
        if not self.rules.scale:
            carried = {}
        return Block(result, dict.fromkeys(result, a), counts, extra, carried)

    def median_tile(self, source: Source, y0: int, y1: int) -> np.ndarray:
        """Task: median at brightness 1 and number of values, of detector rows ``y0:y1``."""
        lo, hi = -self.offset, self.window.nints - self.offset
        sci, dq = (source.read(n, lo, hi, slice(y0, y1)) for n in ("sci", "dq"))
        return self.median_image(sci, dq, source.shape[1:], y0, y1)

    def median_image(
        self, sci: np.ndarray, dq: np.ndarray, shape: tuple[int, int], y0: int, y1: int
    ) -> np.ndarray:
        """Median at brightness 1 and number of values of all integrations of the series."""
        lo = -self.offset
        terms = ModelImages.of(self.model, shape).terms.reshape(3, *shape)[:, y0:y1]
        masked = max(self.bad_bits, 0) if self.rules.nan_aware else 0
        numbers = self._numbers(lo, lo + len(sci))
        return scaled_image(np.ascontiguousarray(sci), dq, numbers, terms, masked)

    def _numbers(self, a: int, b: int) -> np.ndarray:
        return number_table(self.model, a, b, scale=self.rules.scale)

    def _images(self, source: Source, scratch: dict[str, Any] | None) -> ModelImages:
        if self.needs_model and self.model is None:
            raise RunError("outlier_detection: the model of the exposure is not known")
        held = {} if scratch is None else scratch
        if "images" not in held:
            held["images"] = ModelImages.of(self.model, source.shape[1:])
        return held["images"]

    def _guard(self, source: Source, a: int, share: np.ndarray) -> None:
        """Stop where more is flagged than may be."""
        if self.max_flagged is None or not self.stop:
            return
        where = np.flatnonzero(share > self.max_flagged)
        if where.size:
            raise GuardError(
                f"{getattr(source, 'path', '') or 'outlier_detection'}: "
                f"{listed(where + a + 1)} of the segment: a share of {share[where].max():.2g} of "
                f"the target's pixels would be flagged, max_flagged is {self.max_flagged:g}; look "
                "at the data, raise snr or max_flagged, or set on_excess to 'warn'"
            )


def flag_in_time(parameters: PipelineParameters, nints: int, reach: tuple[int, int]) -> FlagInTime:
    """Stage of outlier detection with own parameters.

    Parameters
    ----------
    parameters : PipelineParameters
        Parameters of all steps.
    nints : int
        Integrations of the segment.
    reach : tuple of int
        First and last integration that its source can give, end excluded.
    """
    step = parameters.outlier_detection
    low, high = reach if step.boundary == "exposure" else (0, nints)
    bits = interpret_good_bits(step.good_bits)
    rules = FlagRules(
        float(step.threshold), step.scale_brightness, step.nan_aware, step.noise, step.grow
    )
    return FlagInTime(
        Window(step.rolling_window_width, high - low),
        -low,
        bits if 0 < step.maskpt <= 1 else 0 if step.maskpt <= 0 else -1,
        rules,
        None if step.max_flagged is None else float(step.max_flagged),
        step.on_excess == "stop",
        bool(step.save_intermediate_results),
    )


def adjoining(
    sources: Sequence[Source], starts: Sequence[int], place: int, width: int
) -> tuple[tuple[Source, ...], tuple[Source, ...]]:
    """Segments before and after one, as far as a window of `width` can reach.

    Parameters
    ----------
    sources : sequence of Source
        Segments of an exposure in order of time.
    starts : sequence of int
        Number of the first integration of each.
    place : int
        Which of them.
    width : int
        Integrations of the window.

    Returns
    -------
    before, after : tuple of Source
        SCI and DQ of the segments, in order of time. Where integrations are missing between two
        segments the series ends.
    """

    def gathered(places: range, step: int) -> list[Source]:
        found: list[Source] = []
        for i in places:
            early, late = min(i, i - step), max(i, i - step)
            if starts[early] + sources[early].nints != starts[late]:
                break
            if sum(source.nints for source in found) >= width:
                break
            cubes = tuple(sources[i].array(name) for name in ("sci", "dq"))
            found.append(Source(sources[i].path, sources[i].identity, cubes))
        return found

    before = gathered(range(place - 1, -1, -1), -1)
    return tuple(before[::-1]), tuple(gathered(range(place + 1, len(sources)), 1))


@dataclass(frozen=True)
class ReplaceInTime(Pointwise):
    """Put what pixels should show in place of those that cannot be used.

    That is the scaled median of the stage before, or the model of the exposure where it has none.

    Attributes
    ----------
    model : ExposureModel or None
        Model of the exposure, if it is known.
    """

    step: ClassVar[str] = "pixel_replace"
    in_time: ClassVar[bool] = True

    model: ExposureModel | None = None

    def with_model(self, model: ExposureModel) -> Self:
        """Return the same with the model of the exposure."""
        return replace(self, model=model)

    def apply(
        self,
        block: Block,
        ranges: Ranges,
        source: Source,
        constants: Mapping[str, Any],
        scratch: dict[str, Any] | None,
    ) -> Block:
        """Replace pixels of the rows asked for."""
        from tso3dask.ops.temporal_replace import replace_in_time

        if self.model is None:
            raise RunError("pixel_replace: the model of the exposure is not known")
        arrays, a, b = self.changeable(block, ranges, source, scratch)
        held = {} if scratch is None else scratch
        if "images" not in held:
            shape = source.shape[1:]
            held["images"] = ModelImages.of(self.model, shape).with_known_noise(shape)
        images = held["images"]
        numbers = number_table(self.model, a, b, scale=True)
        total, inside = replace_in_time(
            arrays, numbers, images, block.carried.get("expected"), block.carried.get("number")
        )
        share = inside / images.target
        counts = {**block.counts, "n_replaced": total, "replaced_fraction": share}
        return Block(arrays, dict.fromkeys(arrays, a), counts)
