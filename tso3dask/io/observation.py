"""All members of an association, opened and checked against one another from headers alone."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

from tso3dask.errors import InputError
from tso3dask.io.asn import Association
from tso3dask.io.segment import Segment, open_segment
from tso3dask.wording import counted, numbered

__all__ = ["IMAGING_TYPES", "Observation", "exposure_name", "is_time_series", "open_observation"]

IMAGING_TYPES = ("NRC_TSIMAGE", "MIR_IMAGE")
"""EXP_TYPE of modes with aperture photometry."""

_ALWAYS_TSO = {"NRC_TSIMAGE", "NRC_TSGRISM", "NRS_BRIGHTOBJ"}
_EXPOSURE_KEYS = ("PROGRAM", "OBSERVTN", "VISIT", "VISITGRP", "SEQ_ID", "ACT_ID", "EXPOSURE")
_DMS_NAME = re.compile(r"^(?P<stem>.+?)-seg\d+_(?P<detector>[^_]+)_[^_]+(_[^_]+)?$")
_MULTI = {"MultiSlitModel", "ModelContainer", "SourceModelContainer"}


@dataclass(frozen=True, eq=False)
class Observation:
    """An association with its opened members.

    Attributes
    ----------
    association : Association
        What was read from the association file or made from a list of files.
    segments : tuple of Segment
        Members in association order.
    notes : tuple of str
        Findings that do not stop a run.
    """

    association: Association
    segments: tuple[Segment, ...]
    notes: tuple[str, ...] = field(default=())

    @property
    def first(self) -> Segment:
        """First member, which decides the mode."""
        return self.segments[0]

    @property
    def exp_type(self) -> str:
        """EXP_TYPE of all members."""
        return self.first.exp_type

    @property
    def imaging(self) -> bool:
        """True for aperture photometry, False for spectroscopy."""
        return self.exp_type in IMAGING_TYPES

    @property
    def nints(self) -> int:
        """Integrations of all members together."""
        return sum(s.nints for s in self.segments)

    @cached_property
    def exposures(self) -> dict[str, list[int]]:
        """Members of each exposure and detector, in order of integration."""
        groups: dict[str, list[int]] = {}
        for i, segment in enumerate(self.segments):
            groups.setdefault(exposure_name(segment), []).append(i)
        for members in groups.values():
            members.sort(key=lambda i: self.segments[i].int_start)
        return groups


def exposure_name(segment: Segment) -> str:
    """Name of the exposure and detector that a segment belongs to.

    DMS file names carry it; for other names it is made from the exposure's keywords.
    """
    match = _DMS_NAME.match(segment.path.stem)
    if match:
        return f"{match['stem']}_{match['detector']}"
    values = [str(segment.get(k, "")).strip() for k in _EXPOSURE_KEYS]
    known = "_".join(v for v in values if v)
    return "_".join(p for p in (known or "exposure", segment.detector.lower()) if p)


def is_time_series(segment: Segment) -> bool:
    """Tell whether headers describe a time-series observation.

    TSOVISIT or one of the exposure types that always are, and more than one integration in the
    exposure.
    """
    flagged = bool(segment.get("TSOVISIT", False)) or segment.exp_type in _ALWAYS_TSO
    return flagged and int(segment.get("NINTS", segment.nints)) >= 2


def open_observation(association: Association) -> Observation:
    """Open every member and check that they belong together.

    Parameters
    ----------
    association : Association
        Paths and names.

    Returns
    -------
    Observation

    Raises
    ------
    InputError
        If a member cannot be used, or members do not fit together.
    """
    segments = tuple(open_segment(path) for path in association.members)
    for segment in segments:
        _check_member(segment)
    _check_equal(segments)
    observation = Observation(association, segments)
    notes = (*_check_exposures(observation), *_check_trees(segments))
    return Observation(association, segments, notes)


def _check_member(segment: Segment) -> None:
    path = segment.path
    if segment.model_type in _MULTI or segment.exp_type == "NRS_FIXEDSLIT":
        raise InputError(
            f"{path}: holds several slits (EXP_TYPE {segment.exp_type or 'missing'}, "
            f"{segment.model_type}); expected one cube of integrations"
        )
    if not segment.exp_type:
        raise InputError(f"{path}: has no EXP_TYPE; expected a calints file of the JWST pipeline")
    if not is_time_series(segment):
        raise InputError(
            f"{path}: is not a time series (EXP_TYPE {segment.exp_type}, TSOVISIT "
            f"{segment.get('TSOVISIT', 'missing')}, NINTS {segment.get('NINTS', segment.nints)}); "
            "expected TSOVISIT = T or a time-series EXP_TYPE, and at least 2 integrations"
        )
    if "dq" not in segment.arrays:
        raise InputError(f"{path}: has no DQ image; outlier detection needs it")


def _check_equal(segments: tuple[Segment, ...]) -> None:
    first = segments[0]
    for keyword in ("EXP_TYPE", "INSTRUME", "BUNIT", "S_PHOTOM"):
        for segment in segments[1:]:
            if _status(segment, keyword) != _status(first, keyword):
                raise InputError(
                    f"{segment.path}: {keyword} is {_shown(segment, keyword)}, but "
                    f"{_shown(first, keyword)} in {first.path.name}; members of one association "
                    "must agree: reduce them alike or run them apart"
                )


def _status(segment: Segment, keyword: str) -> str:
    value = segment.text(keyword)
    if keyword == "S_PHOTOM":
        return "COMPLETE" if value == "COMPLETE" else ""
    return value


def _shown(segment: Segment, keyword: str) -> str:
    return segment.text(keyword) or "missing"


def _check_exposures(observation: Observation) -> Iterable[str]:
    for name, members in observation.exposures.items():
        segments = [observation.segments[i] for i in members]
        for before, after in zip(segments[:-1], segments[1:], strict=True):
            if after.int_start <= before.int_end:
                raise InputError(
                    f"{after.path}: holds {numbered(after.int_start, after.int_end)}, which "
                    f"overlaps {numbered(before.int_start, before.int_end)} of "
                    f"{before.path.name} in the same exposure and detector; check INTSTART and "
                    "the members of the association"
                )
            if (after.ny, after.nx) != (before.ny, before.nx):
                raise InputError(
                    f"{after.path}: images are {after.ny}x{after.nx}, but {before.ny}x{before.nx} "
                    f"in {before.path.name} of the same exposure and detector"
                )
            if after.int_start > before.int_end + 1:
                yield _missing(name, before.int_end + 1, after.int_start - 1)
        total = segments[0].get("NINTS")
        if total is not None and segments[-1].int_end < int(total):
            yield _missing(name, segments[-1].int_end + 1, int(total))


def _check_trees(segments: tuple[Segment, ...]) -> Iterable[str]:
    """Note files without their last extension, which may have been cut before it."""
    without = [segment.path.name for segment in segments if not segment.has("ASDF")]
    if without:
        who = without[0] if len(without) == 1 else counted(len(without), "member")
        yield (
            f"{who}: no ASDF extension, with which files of the pipeline end; fetch again what may "
            "have been cut"
        )


def _missing(exposure: str, first: int, last: int) -> str:
    verb = "is" if first == last else "are"
    return f"{exposure}: {numbered(first, last)} {verb} in no member"
