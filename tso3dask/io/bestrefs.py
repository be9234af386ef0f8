"""Which reference file each member uses: an override, else the best reference of CRDS."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tso3dask.config import NOT_APPLICABLE, PipelineParameters, steps_with_reference
from tso3dask.errors import InputError
from tso3dask.io.reference import check_overrides

if TYPE_CHECKING:
    from tso3dask.io.segment import Segment

__all__ = ["MemberReferences", "ReferenceFile", "find_references"]


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
    found: dict[str, ReferenceFile] = {}
    missing = []
    for kind in needed:
        path = parameters.override(kind)
        if path is None or (path == NOT_APPLICABLE and kind in mandatory):
            missing.append(kind)
        else:
            found[kind] = ReferenceFile(None if path == NOT_APPLICABLE else path)
    if missing:
        raise InputError(_missing_text(missing, mandatory))
    check_overrides(parameters)
    return (found,) * len(segments)


def _missing_text(missing: list[str], mandatory: Collection[str]) -> str:
    owners = {kind: (steps_with_reference(kind) or ["?"])[0] for kind in missing}
    what = ", ".join(f"{kind} (step {owners[kind]})" for kind in missing)
    options = " ".join(f"--override_{kind}=FILE" for kind in missing)
    entries = ", ".join(f"{owners[kind]}.override_{kind}" for kind in missing)
    none = [kind for kind in missing if kind not in mandatory]
    hint = f"; N/A means to do without (possible for {', '.join(none)})" if none else ""
    return (
        f"missing reference: {what}. Give {options} on the command line, or {entries} in the "
        f"steps or the parameter file{hint}. This version does not ask CRDS for references"
    )
