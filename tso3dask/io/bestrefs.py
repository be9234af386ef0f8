"""Which reference file each member uses: an override, else the best reference of CRDS."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tso3dask.config import NOT_APPLICABLE, PipelineParameters, steps_with_reference
from tso3dask.errors import InputError
from tso3dask.io import crds_client
from tso3dask.io.blend import keyword_attributes
from tso3dask.io.reference import check_overrides

if TYPE_CHECKING:
    from tso3dask.io.segment import Segment

__all__ = ["MemberReferences", "ReferenceFile", "find_reference", "find_references"]


@dataclass(frozen=True)
class ReferenceFile:
    """The reference of one type that a member uses.

    Attributes
    ----------
    path : str or None
        The file; None for ``N/A``.
    from_crds : bool
        Whether CRDS chose it, not an override.
    """

    path: str | None
    from_crds: bool = False

    @property
    def recorded(self) -> str:
        """What ``R_*`` keywords say: ``crds://NAME``, an absolute path, or ``N/A``."""
        if self.path is None:
            return NOT_APPLICABLE
        return (
            f"crds://{Path(self.path).name}" if self.from_crds else str(Path(self.path).absolute())
        )


OF_FIRST_MEMBER = frozenset({"wavelengthrange"})
"""Types that the first member chooses for all."""

NONE_WITHOUT_RULE = frozenset({"psf"})
"""Types of which a mode without rules simply has none."""

MemberReferences = Mapping[str, ReferenceFile]
"""The references of one member by type, as ``"extract1d"``."""


def find_references(
    parameters: PipelineParameters,
    segments: Sequence[Segment],
    needed: Iterable[str],
    mandatory: Collection[str] = (),
) -> tuple[MemberReferences, ...]:
    """Return the references that a run needs, for each member.

    Parameters
    ----------
    parameters : PipelineParameters
        They hold the overrides.
    segments : sequence of Segment
        The members.
    needed : iterable of str
        Reference types, as ``"extract1d"``.
    mandatory : collection of str
        Types among them for which ``N/A`` is no answer.

    Returns
    -------
    tuple of mapping
        One per member.

    Raises
    ------
    InputError
        One error for everything that is missing.
    """
    check_overrides(parameters)
    choice = _Choice(segments)
    found: list[dict[str, ReferenceFile]] = [{} for _ in segments]
    missing: dict[str, str] = {}
    for kind in needed:
        path = parameters.override(kind)
        try:
            files = choice.best(kind) if path is None else [_override(path)] * len(segments)
            if kind in mandatory and any(file.path is None for file in files):
                raise InputError("found N/A, but the step cannot do without it")
        except InputError as error:
            missing[kind] = str(error)
            continue
        for one, file in zip(found, files, strict=True):
            one[kind] = file
    if missing:
        raise InputError(_missing_text(missing, mandatory))
    return tuple(found)


def find_reference(
    parameters: PipelineParameters, kind: str, attributes: Mapping[str, Any], name: str
) -> ReferenceFile:
    """Return the reference of one type for one file, which need not have pixels.

    Parameters
    ----------
    parameters : PipelineParameters
        They hold the override.
    kind : str
        Reference type, as ``"wavelengthrange"``.
    attributes : mapping
        Metadata of the file by dotted path.
    name : str
        Its name, for errors.

    Raises
    ------
    InputError
        If there is no override, and CRDS cannot be asked or knows of none.
    """
    check_overrides(parameters)
    path = parameters.override(kind)
    if path is not None:
        return _override(path)
    try:
        return _best(attributes, kind, name)
    except InputError as error:
        raise InputError(_missing_text({kind: str(error)}, ())) from error


def _override(path: str) -> ReferenceFile:
    return ReferenceFile(None if path == NOT_APPLICABLE else path)


class _Choice:
    """Best references of members, whose keywords are read when they are first needed."""

    def __init__(self, segments: Sequence[Segment]) -> None:
        self._segments = segments
        self._headers: dict[int, dict[str, Any]] = {}

    def best(self, kind: str) -> list[ReferenceFile]:
        """Ask CRDS for the file of every member."""
        if kind in OF_FIRST_MEMBER:
            return [self._of_member(0, kind)] * len(self._segments)
        return [self._of_member(i, kind) for i in range(len(self._segments))]

    def _of_member(self, index: int, kind: str) -> ReferenceFile:
        if not crds_client.is_configured():
            return _best({}, kind, "")
        segment = self._segments[index]
        if index not in self._headers:
            self._headers[index] = keyword_attributes(segment)
        return _best(self._headers[index], kind, segment.path.name)


def _best(attributes: Mapping[str, Any], kind: str, name: str) -> ReferenceFile:
    """Ask CRDS for the file that metadata lead to."""
    if not crds_client.is_configured():
        raise InputError("")
    try:
        path = crds_client.best_reference(attributes, kind)
    except crds_client.CrdsError as error:
        if kind in NONE_WITHOUT_RULE and isinstance(error, crds_client.NoRuleError):
            return ReferenceFile(None, from_crds=True)
        where = f"{name}: " if isinstance(error, crds_client.NoRuleError) else ""
        raise InputError(f"{where}{error}") from error
    return ReferenceFile(path, from_crds=True)


def _missing_text(missing: Mapping[str, str], mandatory: Collection[str]) -> str:
    owners = {kind: (steps_with_reference(kind) or ["?"])[0] for kind in missing}
    what = ", ".join(f"{kind} (step {owners[kind]})" for kind in missing)
    options = " ".join(f"--override_{kind}=FILE" for kind in missing)
    entries = ", ".join(f"{owners[kind]}.override_{kind}" for kind in missing)
    none = [kind for kind in missing if kind not in mandatory]
    hint = f"; N/A means to do without (possible for {', '.join(none)})" if none else ""
    why = "; ".join(dict.fromkeys(reason for reason in missing.values() if reason))
    return (
        f"missing reference: {what}{f' [{why}]' if why else ''}. Give {options} on the command "
        f"line, or {entries} in the steps or the parameter file{hint}, or {crds_client.advice()}"
    )
