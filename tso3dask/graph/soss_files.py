"""NIRISS SOSS: files of the models of the light, and of the spectra that were fitted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tso3dask.graph.extraction_images import ImagesFile
from tso3dask.graph.files import Labels, Output, StepFile
from tso3dask.io.fitted_spectra import FittedSpectraSink, FittedTable, fitted_spectra_size

if TYPE_CHECKING:
    from tso3dask.graph.outline import Member, Outline

__all__ = ["FITTED", "MODELS", "FittedFile", "fitted_file", "models_file"]

MODELS = "SossExtractModel"
FITTED = "AtocaSpectra"


@dataclass(frozen=True, eq=False, kw_only=True)
class FittedFile(StepFile):
    """Fitted spectra: a table per integration and part of the model.

    Attributes
    ----------
    attributes : mapping
        Metadata beyond those of the member's primary header.
    """

    attributes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def tables(self) -> tuple[FittedTable, ...]:
        """Tables of an integration; one for each order where nothing is prepared or modelled."""
        setup = self.member.soss
        if setup.prepared is not None and setup.prepared.fitted:
            return setup.prepared.fitted
        return tuple(FittedTable(o.spectral_order, o.wavelength) for o in setup.orders)

    def size(self, plan: Outline) -> int:
        """Bytes, about."""
        return fitted_spectra_size(self.member.segment.nints, self.tables)

    def create(self, part: Path, labels: Labels) -> FittedSpectraSink:
        """Lay the file out."""
        return FittedSpectraSink.create(
            self.member.segment,
            part,
            self.tables,
            **labels.shared,
            attributes=self.attributes,
        )

    def reopen(self, part: Path) -> FittedSpectraSink:
        """Take up the file of an interrupted run."""
        return FittedSpectraSink.reopen(part, self.member.segment.nints, self.tables)

    def output(self, sink: Any) -> Output:
        """Tell tasks what to put into it."""
        return Output(sink)


def models_file(plan: Outline, member: Member, **names: Any) -> ImagesFile:
    """Return the file of the models of a member's orders, and of the boxes.

    Parameters
    ----------
    plan : Outline
        For the status of the steps.
    member : Member
        The member.
    **names
        ``name`` and ``numbered`` of the file.
    """
    assert member.soss is not None
    segment, orders = member.segment, [o.spectral_order for o in member.soss.orders]
    taken = [(f"model_{order}", f"order{order}") for order in orders]
    taken += [(f"aperture_{order}", f"aper{order}") for order in orders]
    return ImagesFile(
        kind=MODELS,
        member=member,
        model=MODELS,
        shape=(segment.nints, segment.ny, segment.nx),
        arrays=tuple(name for _, name in taken),
        names=tuple(taken),
        attributes=_attributes(plan),
        **names,
    )


def fitted_file(plan: Outline, member: Member, **names: Any) -> FittedFile:
    """Return the file of the spectra fitted to a member, see `models_file`."""
    return FittedFile(kind=FITTED, member=member, attributes=_attributes(plan), **names)


def _attributes(plan: Outline) -> dict[str, Any]:
    """Status of the steps before the extraction."""
    from tso3dask.graph.sinks import pixel_status

    return {f"meta.cal_step.{step}": status for step, status in pixel_status(plan).items()}
