"""What is done to the pixels of a member before they are measured, as its parameters ask."""

from __future__ import annotations

from dataclasses import replace

from tso3dask.config import PipelineParameters
from tso3dask.graph.program import Program, Source
from tso3dask.graph.replacement import Replacement
from tso3dask.graph.stages import Match, flag_stage
from tso3dask.graph.temporal import ReplaceInTime, adjoining
from tso3dask.io.observation import Observation, exposure_name

__all__ = ["member_program"]


def member_program(
    observation: Observation,
    index: int,
    parameters: PipelineParameters,
    kind: str,
    replacement: Replacement | None,
) -> Program:
    """Return the program of one member.

    Parameters
    ----------
    observation : Observation
        All members.
    index : int
        Which of them.
    parameters : PipelineParameters
        Parameters of all steps.
    kind : str
        ``imaging``, ``spectroscopy`` or ``soss``.
    replacement : stage or None
        Replacement of its bad pixels.
    """
    segment, step = observation.segments[index], parameters.outlier_detection
    source = Source.from_segment(segment)
    width = step.rolling_window_width
    if step.boundary == "exposure" and width > 1 and not step.skip:
        places = observation.exposures[exposure_name(segment)]
        sources = [Source.from_segment(observation.segments[i]) for i in places]
        starts = [observation.segments[i].int_start for i in places]
        before, after = adjoining(sources, starts, places.index(index), width)
        source = replace(source, before=before, after=after)
    program = Program(source)
    if not step.skip:
        program = program.then(flag_stage(parameters, segment.nints, source.reach))
    if isinstance(replacement, ReplaceInTime):  # it keeps NaN and DO_NOT_USE in agreement
        return (program if program.stages else program.then(Match())).then(replacement)
    if replacement is not None:
        program = program.then(replacement)
        return program if kind == "soss" else program.then(Match())  # as its extraction does
    return program if program.stages or kind != "spectroscopy" else program.then(Match())
