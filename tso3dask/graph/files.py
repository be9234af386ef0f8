"""Files of single steps: what they hold, how they are laid out, where their rows come from.

A step file is planned from headers like a product, filled by the same tasks, and renamed when
whole. A new kind needs a class here (or an instance of one that there is) and a line in
`tso3dask.graph.step_files`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tso3dask.io.crfints import CrfintsSink, crfints_size
from tso3dask.io.model_file import create_model_file, model_file_size, reopen_model_file
from tso3dask.io.segment import REPLACED_IN_TIME
from tso3dask.io.x1dints import SpectrumSpec, X1dintsSink, x1dints_size
from tso3dask.schema import EXTRACTED_COLUMNS

if TYPE_CHECKING:
    from tso3dask.graph.outline import Outline

__all__ = [
    "CubesFile",
    "Labels",
    "ModelFile",
    "Output",
    "SpectraFile",
    "StepFile",
    "TableFile",
    "columns_of_spectra",
]


@dataclass(frozen=True)
class Output:
    """Where a task puts rows of one file, and which. Small and picklable.

    Attributes
    ----------
    sink : object
        Writer with ``put(*place, a, b, arrays)``.
    point : int or None
        Stages of the program after which rows are taken; None: what is measured after the last.
    place : tuple of int
        Put before ``a, b``, as the number of a table.
    names : tuple of (str, str)
        Name of each array at that point and in the file; the writer's names by default.
    """

    sink: Any
    point: int | None = None
    place: tuple[int, ...] = ()
    names: tuple[tuple[str, str], ...] = ()

    @property
    def takes_stored(self) -> bool:
        """Whether `put` takes pixels as FITS files have them, too."""
        return bool(getattr(self.sink, "takes_stored", False))

    def put(self, a: int, b: int, arrays: Mapping[str, np.ndarray]) -> None:
        """Write the integrations ``a:b``."""
        names = self.names or [(name, name) for name in self.sink.names]
        self.sink.put(*self.place, a, b, {to: arrays[name] for name, to in names})


@dataclass(frozen=True)
class Labels:
    """What the metadata of a file say of the run that makes it."""

    filename: str
    asn_pool: str | None
    asn_table: str | None
    asn_id: str | None
    history: Sequence[str] = ()

    @property
    def shared(self) -> dict[str, Any]:
        """Arguments that all writers take when a file is laid out."""
        return {
            "filename": self.filename,
            "asn_pool": self.asn_pool,
            "asn_table": self.asn_table,
            "history": self.history,
        }


@dataclass(frozen=True, eq=False, kw_only=True)
class StepFile:
    """One file of one step.

    Attributes
    ----------
    kind : str
        Its kind among the products.
    name : str
        File name in the folder of the run, or an absolute path.
    numbered : str or None
        The name to take if other members lead to the same; None if that is not wanted.
    member : Member or None
        The member it belongs to; None for all of them.
    """

    kind: str
    name: str
    numbered: str | None = None
    member: Any = None

    def renamed(self) -> StepFile:
        """Return the same file under its numbered name."""
        assert self.numbered is not None
        return replace(self, name=self.numbered, numbered=None)

    def size(self, plan: Outline) -> int:
        """Bytes, about."""
        raise NotImplementedError

    def create(self, part: Path, labels: Labels) -> Any:
        """Lay the file out and return its writer."""
        raise NotImplementedError

    def reopen(self, part: Path) -> Any:
        """Return the writer of a file that an interrupted run laid out; RunError if it is none."""
        raise NotImplementedError

    def output(self, sink: Any) -> Output | None:
        """Tell tasks what to put into it; None if it is whole already."""
        raise NotImplementedError

    def outputs(self, sink: Any) -> tuple[Output, ...]:
        """Tell tasks everything to put into it."""
        output = self.output(sink)
        return () if output is None else (output,)

    @property
    def member_index(self) -> int | None:
        """Place of its member in the association."""
        return None if self.member is None else self.member.index


@dataclass(frozen=True, eq=False, kw_only=True)
class CubesFile(StepFile):
    """The member's own file with other pixels and step status.

    Attributes
    ----------
    point : int
        Stages of the program after which its pixels are taken.
    steps : mapping
        Step name to status, for the keywords.
    """

    point: int
    steps: Mapping[str, str] = field(default_factory=dict)

    def size(self, plan: Outline) -> int:
        """Bytes, about."""
        return crfints_size(self.member.segment)

    def create(self, part: Path, labels: Labels) -> CrfintsSink:
        """Lay the file out."""
        told = labels.shared
        if self.member.program.replaces_in_time(self.point):
            told["history"] = [*labels.history, REPLACED_IN_TIME]
        return CrfintsSink.create(
            self.member.segment,
            part,
            exptype="science" if labels.asn_id else None,
            steps=self.steps,
            **told,
        )

    def reopen(self, part: Path) -> CrfintsSink:
        """Take up the file of an interrupted run."""
        return CrfintsSink.reopen(self.member.segment, part)

    def output(self, sink: Any) -> Output:
        """Tell tasks what to put into it."""
        return Output(sink, self.point)


@dataclass(frozen=True, eq=False, kw_only=True)
class ModelFile(StepFile):
    """A data model with the member's metadata and arrays of its own, one row per integration.

    Attributes
    ----------
    model : str
        Class of the data model.
    shape : tuple of int
        Shape of its arrays.
    arrays : tuple of str
        Which of ``sci``, ``err`` and ``dq`` it has; those that tasks do not put are 0.
    point : int or None
        Stages of the program after which its rows are taken; None: what is measured.
    names : tuple of (str, str)
        Name of each array in a task and in the file (``sci``, ``err``, ``dq``).
    primary_only : bool
        Take of the member's metadata what its primary header holds.
    attributes : mapping
        Metadata beyond those.
    """

    model: str = "CubeModel"
    shape: tuple[int, ...]
    arrays: tuple[str, ...] = ("sci", "err", "dq")
    point: int | None = None
    names: tuple[tuple[str, str], ...] = ()
    primary_only: bool = False
    attributes: Mapping[str, Any] = field(default_factory=dict)

    def size(self, plan: Outline) -> int:
        """Bytes, about."""
        return model_file_size(self.shape, len(self.arrays))

    def create(self, part: Path, labels: Labels) -> CrfintsSink:
        """Lay the file out."""
        return create_model_file(
            self.member.segment,
            part,
            model=self.model,
            shape=self.shape,
            arrays=self.arrays,
            primary_only=self.primary_only,
            attributes=self.attributes,
            **labels.shared,
        )

    def reopen(self, part: Path) -> CrfintsSink:
        """Take up the file of an interrupted run."""
        return reopen_model_file(part, self.shape)

    def output(self, sink: Any) -> Output | None:
        """Tell tasks what to put into it."""
        return Output(sink, self.point, names=self.names)


@dataclass(frozen=True, eq=False, kw_only=True)
class SpectraFile(StepFile):
    """Spectra of one member.

    Attributes
    ----------
    specs : tuple of SpectrumSpec
        Its tables.
    steps : mapping
        Step name to status, for the keywords.
    calibrated : bool
        Whether NIRISS SOSS spectra are calibrated.
    """

    specs: tuple[SpectrumSpec, ...]
    steps: Mapping[str, str] = field(default_factory=dict)
    calibrated: bool = True

    def size(self, plan: Outline) -> int:
        """Bytes, about."""
        tables = [(spec.nints, spec.width) for spec in self.specs]
        return x1dints_size(tables, self.specs[0].nints)

    def create(self, part: Path, labels: Labels) -> X1dintsSink:
        """Lay the file out."""
        return X1dintsSink.create(
            part,
            self.specs,
            asn_id=labels.asn_id,
            steps=self.steps,
            **labels.shared,
            one_member=True,
        )

    def reopen(self, part: Path) -> X1dintsSink:
        """Take up the file of an interrupted run."""
        return X1dintsSink.reopen(part, self.specs)

    def outputs(self, sink: Any) -> tuple[Output, ...]:
        """Tell tasks what to put into it."""
        return tuple(
            Output(sink, None, (i,), columns_of_spectra(spectrum, self.calibrated))
            for i, spectrum in enumerate(self.member.tables)
        )


def columns_of_spectra(
    spectrum: Any = None, calibrated: bool = True
) -> tuple[tuple[str, str], ...]:
    """Columns that tasks put into a table of spectra, as they name them and as the table does."""
    ending = "" if spectrum is None else spectrum.ending
    if ending:
        from tso3dask.graph.soss_segment import COLUMNS

        rate = "" if calibrated else "_rate"
        return tuple((f"{name}{ending}{rate}", name) for name in COLUMNS)
    return tuple((name, name) for name in EXTRACTED_COLUMNS)


@dataclass(frozen=True, eq=False, kw_only=True)
class TableFile(StepFile):
    """A table that is written when all rows are known: of one member, or of all."""

    def size(self, plan: Outline) -> int:
        """Bytes, about."""
        from tso3dask.graph.sizes import TableSizes

        sizes = TableSizes(plan)
        return sizes.whtlt() if self.member is None else sizes.phot(self.member)

    def write(
        self, final: Path, plan: Outline, rows: Sequence[Mapping[str, Any]], run_id: str
    ) -> Path:
        """Write the table of rows of each member."""
        from tso3dask.graph.tables import make_table, table_meta
        from tso3dask.io.tables import write_table

        product = "whtlt" if self.member is None else "phot"
        columns = make_table(plan, self.member, rows)
        meta = table_meta(plan, product, None if self.member is None else [self.member])
        return write_table(final, columns, meta, run_id, count=False)
