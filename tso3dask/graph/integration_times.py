"""Times of the integrations of a segment."""

from __future__ import annotations

from tso3dask.io.segment import Segment
from tso3dask.ops.times import IntegrationTimes, match_int_times

__all__ = ["segment_times"]


def segment_times(segment: Segment) -> IntegrationTimes:
    """INT_TIMES rows matched to the integrations of a segment."""
    total = int(segment.get("NINTS", segment.nints))
    return match_int_times(
        segment.int_times,
        int_start=segment.get("INTSTART"),
        int_end=segment.get("INTEND"),
        nints_in_segment=segment.nints,
        nints_total=total,
    )
