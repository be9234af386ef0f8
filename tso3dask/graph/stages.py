"""The stages that a program can hold: outlier flagging and agreement of NaN and DQ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from dask.tokenize import tokenize

from tso3dask.config import PipelineParameters
from tso3dask.graph.flag_rows import rows_to_flag
from tso3dask.graph.program import Block, Pointwise, Program, Ranges, Source, Stage, rows_asked
from tso3dask.graph.stored_cubes import StoredCubes
from tso3dask.graph.temporal import FlagInTime, flag_in_time
from tso3dask.ops import dq as dq_ops
from tso3dask.ops import outliers
from tso3dask.ops.blocks import is_stored
from tso3dask.ops.medians import Window, nanmedian_image

__all__ = [
    "FlagOutliers",
    "Match",
    "flag_stage",
    "median_prologue",
    "median_tile",
    "needs_median",
    "segment_has_good",
    "stack_tiles",
]

TILE_BYTES = 48 * 10**6
"""Bytes of SCI that a tile through all integrations holds."""


@dataclass(frozen=True)
class FlagOutliers:
    """Flag outliers against the median over time, then make NaN and DO_NOT_USE agree.

    Attributes
    ----------
    window : Window
        Rolling window of the segment.
    bad_bits : int
        DQ bits that keep a pixel out of rolling medians.
    maskpt : float
        Weight threshold; weights are 0 or 1.
    snr : float
        Threshold in units of ERR.
    keep_median : bool
        Give the medians as ``extra["median"]``.
    """

    step: ClassVar[str] = "outlier_detection"

    window: Window
    bad_bits: int
    maskpt: float
    snr: float
    keep_median: bool = False

    @property
    def takes_stored(self) -> bool:
        """Whether pixels may be as files have them: not where medians are given."""
        return not self.keep_median

    def input_ranges(self, ranges: Ranges, source: Source) -> Ranges:
        """SCI and DQ with their halo, everything else as asked for."""
        a, b = rows_asked(ranges)
        halo = self.window.input_range(a, b)
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
        a, b, err, variances, out = rows_to_flag(block, ranges, source, scratch)
        halo = block.arrays["dq"]
        good = bool(dq_ops.any_good(halo, self.bad_bits)) or _segment_has_good(
            source, self.bad_bits, scratch
        )
        result = outliers.flag_block(
            block.arrays["sci"],
            halo,
            err,
            variances,
            first=block.first["sci"],
            a=a,
            b=b,
            window=self.window,
            bad_bits=self.bad_bits,
            maskpt=self.maskpt,
            any_good=good,
            snr=self.snr,
            median=None if self.window.rolling else constants["median"],
            out=out,
        )
        counts = {**block.counts, "n_outliers": result.pop("n_outliers")}
        extra = {"median": self._medians(block, a, b, constants, good)} if self.keep_median else {}
        arrays = StoredCubes(result) if is_stored(result["sci"]) else result
        return Block(arrays, dict.fromkeys(result, a), counts, extra)

    def _medians(
        self, block: Block, a: int, b: int, constants: Mapping[str, Any], good: bool
    ) -> np.ndarray:
        """Medians that the integrations ``a:b`` were compared with, float32."""
        if not self.window.rolling:
            return np.broadcast_to(constants["median"], (b - a, *constants["median"].shape))
        return outliers.compared_medians(
            block.arrays["sci"],
            block.arrays["dq"],
            first=block.first["sci"],
            a=a,
            b=b,
            window=self.window,
            bad_bits=self.bad_bits,
            maskpt=self.maskpt,
            any_good=good,
        )


@dataclass(frozen=True)
class Match(Pointwise):
    """Make NaN in any array and DO_NOT_USE agree, without looking for outliers."""

    def change(self, arrays: dict[str, np.ndarray]) -> None:
        """Match cubes (integration, y, x) in place."""
        values = {name: array for name, array in arrays.items() if name != "dq"}
        outliers.match_nans_and_flags(values, arrays["dq"])


def _segment_has_good(source: Source, bad_bits: int, scratch: dict[str, Any] | None) -> bool:
    """Whether any pixel of the segment has no bad bit. Asked only when a whole block has none."""
    if scratch is not None and "any_good" in scratch:
        return bool(scratch["any_good"])
    spec = source.array("dq")
    rows = max(1, TILE_BYTES // spec.row_bytes)
    found = any(
        dq_ops.any_good(spec.read(i, min(i + rows, source.nints)), bad_bits)
        for i in range(0, source.nints, rows)
    )
    if scratch is not None:
        scratch["any_good"] = found
    return found


def segment_has_good(source: Source, bad_bits: int, tile: np.ndarray) -> bool:
    """Whether any pixel of a segment has no bad bit, of whose DQ one tile is at hand."""
    return bool(dq_ops.any_good(tile, bad_bits)) or _segment_has_good(source, bad_bits, None)


def flag_stage(
    parameters: PipelineParameters, nints: int, reach: tuple[int, int] | None = None
) -> FlagOutliers | FlagInTime:
    """Outlier stage for a segment of ``nints`` integrations with a step's parameters.

    `reach` is that of its source, where segments adjoin it.
    """
    step = parameters.outlier_detection
    if step.own:
        return flag_in_time(parameters, nints, reach or (0, nints))
    return FlagOutliers(
        Window(step.rolling_window_width, nints),
        dq_ops.interpret_good_bits(step.good_bits),
        float(step.maskpt),
        float(step.threshold),
        bool(step.save_intermediate_results),
    )


def needs_median(stage: Stage) -> bool:
    """Whether a stage needs the median of all integrations of what goes into it."""
    window = getattr(stage, "window", None)
    return window is not None and not window.rolling


def median_tile(source: Source, y0: int, y1: int) -> np.ndarray:
    """Task: NaN-median over all integrations of the detector rows ``y0:y1``."""
    sci = source.array("sci").read_region(0, source.nints, slice(y0, y1))
    return nanmedian_image(np.ascontiguousarray(sci))


def stack_tiles(tiles: list[np.ndarray]) -> np.ndarray:
    """Task: one image out of tiles along y."""
    return np.concatenate(tiles, axis=-2)


def median_prologue(program: Program) -> tuple[dict[Any, Any], dict[str, Any]]:
    """Tasks that make the median image of a segment whose window does not roll.

    Returns
    -------
    tasks : dict
        Tasks by key; empty when no stage needs an image.
    constants : dict
        ``{"median": key}``, or nothing.
    """
    stage = next((s for s in program.stages if needs_median(s)), None)
    if stage is None:
        return {}, {}
    source = program.source
    nints, ny, nx = source.shape
    token = source.identity
    make: Any = median_tile
    if isinstance(stage, FlagInTime):
        make, nints = stage.median_tile, 3 * stage.window.nints
        token = tokenize(source, stage)
    rows = int(max(1, min(ny, TILE_BYTES // (4 * nints * nx))))
    edges = [(y, min(y + rows, ny)) for y in range(0, ny, rows)]
    tiles = {
        (f"median-tile-{token}", i): (make, source, y0, y1) for i, (y0, y1) in enumerate(edges)
    }
    key = f"median-{token}"
    return {**tiles, key: (stack_tiles, list(tiles))}, {"median": key}
