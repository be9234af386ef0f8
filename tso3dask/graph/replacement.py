"""Replacement of bad pixels before extraction: the stage, and what headers settle about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tso3dask.config import PipelineParameters, UnsupportedParameterError
from tso3dask.errors import InputError
from tso3dask.graph.program import Pointwise
from tso3dask.graph.temporal import ReplaceInTime
from tso3dask.io.observation import IMAGING_TYPES
from tso3dask.io.segment import Segment

__all__ = ["ReplacePixels", "member_replacements", "replace_stage", "trace_model_status"]


@dataclass(frozen=True)
class ReplacePixels(Pointwise):
    """Estimate bad pixels from their neighbours in the same integration.

    Attributes
    ----------
    algorithm : str
        ``mingrad`` or ``fit_profile``.
    dispaxis : int
        1 where wavelength runs along x, 2 along y; of no use to ``mingrad``, and 0 there.
    n_adjacent_cols : int
        Columns on each side that make a profile; 0 for ``mingrad``.
    """

    step: ClassVar[str] = "pixel_replace"

    algorithm: str
    dispaxis: int = 0
    n_adjacent_cols: int = 0

    def change(self, arrays: dict[str, np.ndarray]) -> None:
        """Replace pixels of cubes (integration, y, x) in place."""
        from tso3dask.ops import pixel_replace

        if self.algorithm == "mingrad":
            pixel_replace.mingrad(arrays)
        else:
            pixel_replace.fit_profile(arrays, self.dispaxis, self.n_adjacent_cols)


Replacement = ReplacePixels | ReplaceInTime


def replace_stage(
    segment: Segment, parameters: PipelineParameters, algorithm: str | None = None
) -> Replacement:
    """Replacement stage of one segment with a step's parameters.

    Parameters
    ----------
    segment : Segment
        For the direction of dispersion (DISPAXIS).
    parameters : PipelineParameters
        Parameters of all steps.
    algorithm : str, optional
        Instead of the one in `parameters`.

    Raises
    ------
    InputError
        If the algorithm needs a direction of dispersion and the header has none.
    """
    step = parameters.pixel_replace
    algorithm = algorithm or step.algorithm
    if algorithm == "temporal":
        return ReplaceInTime()
    if algorithm == "mingrad":
        return ReplacePixels(algorithm)
    dispaxis = segment.get("DISPAXIS")
    if dispaxis not in (1, 2):
        raise InputError(
            f"{segment.path}: DISPAXIS is {dispaxis}, expected 1 or 2; "
            f"pixel_replace.algorithm='{algorithm}' needs it, use 'mingrad'"
        )
    return ReplacePixels(algorithm, int(dispaxis), step.n_adjacent_cols)


def member_replacements(
    segments: Sequence[Segment], parameters: PipelineParameters
) -> tuple[list[Replacement | None], list[str]]:
    """Replacement stage of every member, None where pixels stay as they are.

    Parameters
    ----------
    segments : sequence of Segment
        Members in association order; of images only bad pixels at single times are replaced.
    parameters : PipelineParameters
        Parameters of all steps.

    Returns
    -------
    stages : list of ReplacePixels, ReplaceInTime or None
    notes : list of str

    Raises
    ------
    InputError
        If a member does not fit the algorithm; its subclass `UnsupportedParameterError` where the
        algorithm is not supported yet.

    Notes
    -----
    Where no trace model can be made, ``trace_model`` falls back to ``mingrad``, for that member
    and for all that follow.
    """
    step = parameters.pixel_replace
    imaging = segments[0].exp_type in IMAGING_TYPES
    if step.skip or (imaging and step.algorithm != "temporal"):
        return [None] * len(segments), []
    algorithm, notes = step.algorithm, []
    stages: list[Replacement | None] = []
    for segment in segments:
        if algorithm == "trace_model":
            reason = _no_trace_model(segment)
            if reason is None:
                raise UnsupportedParameterError(
                    f"pixel_replace.algorithm='trace_model' is not supported yet for "
                    f"{segment.exp_type}: use 'mingrad' or 'fit_profile'"
                )
            notes.append(
                f"{segment.path.name}: no trace model can be made of {reason}; "
                "pixel_replace uses mingrad for it and for the members after it"
            )
            algorithm = "mingrad"
        stages.append(replace_stage(segment, parameters, algorithm))
    return stages, notes


def trace_model_status(
    segments: Sequence[Segment], parameters: PipelineParameters
) -> tuple[str, list[str]]:
    """Status of the step ``adaptive_trace_model`` as S_TRCMOD has it, and notes.

    Parameters
    ----------
    segments : sequence of Segment
        Members; the step has no part in imaging.
    parameters : PipelineParameters
        Parameters of all steps.

    Raises
    ------
    InputError
        For data of which no trace model can be made, if it is asked for; its subclass
        `UnsupportedParameterError` where one could be.
    """
    if parameters.adaptive_trace_model.skip or segments[0].exp_type in IMAGING_TYPES:
        return "SKIPPED", []
    for segment in segments:
        if _no_trace_model(segment) is None:
            raise UnsupportedParameterError(
                f"adaptive_trace_model.skip=False is not supported yet for {segment.exp_type}: "
                "remove it or set it to True"
            )
        if segment.model_type != "CubeModel":
            raise InputError(
                f"adaptive_trace_model.skip=False: {segment.path.name}: no trace model can be "
                f"made of {_no_trace_model(segment)}; remove it or set it to True"
            )
    return "FAILED", ["adaptive_trace_model: no trace model can be made of cubes; there is none"]


def _no_trace_model(segment: Segment) -> str | None:
    """Of what no trace model can be made; None where one could be."""
    if segment.model_type == "CubeModel":
        return "a cube (DATAMODL is CubeModel)"
    if segment.instrument not in ("MIRI", "NIRSPEC"):
        return f"{segment.exp_type} data"
    return None
