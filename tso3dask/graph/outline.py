"""What a plan knows of an observation: members, names, memory, and what follows from them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from dask.tokenize import tokenize

import tso3dask
from tso3dask.config import NOT_APPLICABLE, PipelineParameters
from tso3dask.graph.chunking import Budget
from tso3dask.graph.imaging import ImagingSetup
from tso3dask.graph.program import Program
from tso3dask.graph.soss import OrderSetup, SossSetup
from tso3dask.graph.spectrum import SpectrumSetup
from tso3dask.io.bestrefs import MemberReferences
from tso3dask.io.naming import ProductNames
from tso3dask.io.observation import Observation
from tso3dask.io.segment import Segment
from tso3dask.ops.curves import Weights
from tso3dask.ops.exposure_model import ExposureModel
from tso3dask.ops.whitelight import repeated_times

if TYPE_CHECKING:
    from tso3dask.graph.files import StepFile
    from tso3dask.graph.hooks import HookedMember

__all__ = ["Member", "Outline", "mode_of"]


@dataclass(frozen=True, eq=False)
class Member:
    """One member of an observation as a run will treat it.

    Attributes
    ----------
    index : int
        Place in the association.
    segment : Segment
        Its headers.
    exposure : str
        Exposure and detector that it belongs to.
    program : Program
        Flagging of its pixels, and replacement of bad ones.
    chunks : tuple of int
        Lengths along ``integration``.
    times : IntegrationTimes
        Numbers and times of its integrations.
    imaging : ImagingSetup or None
        Photometry, for imaging.
    spectrum : SpectrumSetup or None
        Extraction, for spectroscopy.
    references : mapping
        Reference that it uses, by type.
    soss : SossSetup or None
        Extraction of several orders, for NIRISS SOSS.
    model : ExposureModel or None
        Model of its exposure, with the numbers of its integrations and of some around them; None
        until it is made, see `Outline.modelled`.
    weights : mapping
        Weights of the weighted white light by order, once they are known.
    """

    index: int
    segment: Segment
    exposure: str
    program: Program
    chunks: tuple[int, ...]
    times: Any
    imaging: ImagingSetup | None = None
    spectrum: SpectrumSetup | None = None
    references: MemberReferences = field(default_factory=dict)
    soss: SossSetup | None = None
    model: ExposureModel | None = None
    weights: Mapping[int, Weights] = field(default_factory=dict)

    @property
    def tables(self) -> tuple[SpectrumSetup | OrderSetup, ...]:
        """Its tables of spectra: one, or one per order, or none."""
        if self.soss is not None:
            return self.soss.orders
        return () if self.spectrum is None else (self.spectrum,)

    @property
    def label(self) -> str:
        """Short name in task keys."""
        return f"seg{self.index + 1:03d}"

    @property
    def node(self) -> str:
        """Path in trees: exposure and segment."""
        number = self.segment.get("EXSEGNUM") or self.index + 1
        return f"/{self.exposure}/seg{int(number):03d}"

    @cached_property
    def mid_utc(self) -> np.ndarray:
        """UTC mid times, NaN where they repeat an earlier one of the member."""
        utc = np.array(self.times.times["mjd_avg"])
        utc[repeated_times(utc)] = np.nan
        return utc


@dataclass(frozen=True, eq=False)
class Outline:
    """Facts of a plan, made from headers; what is done with them is in other modules.

    Attributes
    ----------
    observation : Observation
        Association and members.
    parameters : PipelineParameters
        Parameters of all steps.
    members : tuple of Member
        Members in association order.
    names : ProductNames
        File names of the products.
    budget : Budget
        Workers, sub-blocks and projected memory.
    notes : tuple of str
        What a user should know before running.
    crds : tuple of str or None
        Version of crds and context that were asked for references or parameters.
    crds_parameters : str
        Which parameter files of CRDS were used, or why none.
    recipe : str
        The recipe that parameters come from; empty without one.
    """

    observation: Observation
    parameters: PipelineParameters
    members: tuple[Member, ...]
    names: ProductNames
    budget: Budget
    notes: tuple[str, ...] = field(default=())
    crds: tuple[str, str] | None = None
    crds_parameters: str = ""
    recipe: str = ""

    @property
    def kind(self) -> str:
        """``imaging``, ``spectroscopy`` or ``soss``."""
        return mode_of(self.observation)

    @property
    def flags(self) -> bool:
        """Whether outlier detection runs, and so crfints are written."""
        return not self.parameters.outlier_detection.skip

    @property
    def replaces(self) -> bool:
        """Whether bad pixels are replaced before extraction."""
        return any(member.program.point_after("pixel_replace") for member in self.members)

    @property
    def calibrates(self) -> bool:
        """Whether spectra of NIRISS SOSS are flux calibrated."""
        photom = [m.references["photom"].path for m in self.members if "photom" in m.references]
        return any(path is not None for path in photom)

    @property
    def products(self) -> dict[str, list[str]]:
        """File names of all that a run will write, by kind; absolute if not in its folder."""
        out: dict[str, list[str]] = {}
        if self.flags:
            out["crfints"] = list(self.names.crfints)
        if self.kind == "imaging" and not self.parameters.tso_photometry.skip:
            out["phot"] = [self.names.phot]
        if any(member.tables for member in self.members):
            out["x1dints"] = [self.names.x1dints]
            if not self.parameters.white_light.skip:
                out["whtlt"] = [self.names.whtlt]
            if not self.parameters.light_curves.skip:
                out["speclc"] = [self.names.speclc]
        if not self.parameters.regressors.skip and ("phot" in out or "x1dints" in out):
            out["regressors"] = [self.names.regressors]
        for file in self.files:
            out.setdefault(file.kind, []).append(file.name)
        return out

    @cached_property
    def files(self) -> tuple[StepFile, ...]:
        """Files of single steps that a run will write beside the products."""
        from tso3dask.graph.step_files import step_files

        files = step_files(self)
        if self.parameters.hooks:
            from tso3dask.graph.hooks import check_files

            check_files(files)
        return files

    @cached_property
    def hooked(self) -> dict[int, HookedMember]:
        """Datasets of each member with hooks; empty for a plan without."""
        if not self.parameters.hooks:
            return {}
        from tso3dask.graph.hooks import hooked_members

        return hooked_members(self)

    @property
    def spectra(self) -> list[Member]:
        """Members that have one spectrum; those of NIRISS SOSS have several, see `tables`."""
        return [m for m in self.members if m.spectrum is not None]

    @property
    def tables(self) -> list[tuple[Member, SpectrumSetup | OrderSetup]]:
        """Tables of spectra of all members, in the order of the product."""
        return [(member, table) for member in self.members for table in member.tables]

    @property
    def references(self) -> dict[str, dict[str, tuple[str, ...]]]:
        """Members that use a file, by reference type and path, which may be ``N/A``."""
        found: dict[str, dict[str, tuple[str, ...]]] = {}
        for member in self.members:
            for kind, file in member.references.items():
                users = found.setdefault(kind, {})
                path = file.path or NOT_APPLICABLE
                users[path] = (*users.get(path, ()), member.segment.path.name)
        return found

    @cached_property
    def token(self) -> str:
        """Name of the results: files, parameters, references and version."""
        paths = {f.path for m in self.members for f in m.references.values()}
        stamps = {path: _stamp(path) for path in paths if path is not None}
        files = [
            sorted((kind, stamps.get(f.path or ""), f.recorded) for kind, f in m.references.items())
            for m in self.members
        ]
        programs = [m.program.token for m in self.members]
        parameters = self.parameters.token(), self.parameters.hooks
        used = (parameters, files, self.crds)
        return tokenize(tso3dask.__version__, programs, used, self.names.phot)

    @cached_property
    def fitted(self) -> Outline:
        """The same with every profile fitted to the first integration, which is read for that.

        The outline itself where nothing is to be fitted.
        """
        from tso3dask.graph.optimal import fitted_plan

        return fitted_plan(self)

    @cached_property
    def modelled(self) -> Outline:
        """The same with the model of every exposure, for which all integrations are read.

        The outline itself where no parameter needs one.
        """
        from tso3dask.graph.modelled import modelled_plan

        return modelled_plan(self)

    @property
    def needs_model(self) -> bool:
        """Whether some parameter asks for the model of each exposure."""
        from tso3dask.graph.modelled import needs_model

        return needs_model(self.parameters, self.kind)

    @cached_property
    def settled(self) -> Outline:
        """The same with all that pixels settle: models of the exposures, then fitted profiles.

        The outline itself where there is nothing of that kind.
        """
        return self.modelled.fitted

    def with_members(self, members: Iterable[Member], notes: Iterable[str] = ()) -> Self:
        """Return the same with members of which more is known, under the same name."""
        made = replace(
            self, members=tuple(members), notes=tuple(dict.fromkeys((*self.notes, *notes)))
        )
        made.__dict__["token"] = self.token  # what is known now follows from what that names
        return made

    @cached_property
    def weighted(self) -> Outline:
        """The same with all that pixels settle, and the weights of the white light.

        A sample of integrations is read where the weighted white light is wanted.
        """
        from tso3dask.graph.curves import weighted_plan

        return weighted_plan(self.settled)

    @cached_property
    def channels(self) -> dict[tuple[str, int], np.ndarray]:
        """Edges (channel, 2) of the channels by detector and order; empty without the step."""
        from tso3dask.graph.curves import channels_of

        return channels_of(self)

    @property
    def nints(self) -> int:
        """Integrations of all members."""
        return self.observation.nints

    @property
    def tasks(self) -> int:
        """Chunk tasks of a run."""
        passes = 1
        if any(m.imaging is not None and not m.imaging.by_model for m in self.members):
            passes = 3 if self.parameters.tso_photometry.centroid_source else 2
        return passes * sum(len(m.chunks) for m in self.members)

    @property
    def white_range(self) -> tuple[float, float]:
        """Wavelength range of the white light, micrometres."""
        from tso3dask.ops.whitelight import wavelength_range

        step = self.parameters.white_light
        return wavelength_range(None, 1, None, step.min_wavelength, step.max_wavelength)


def mode_of(observation: Observation) -> str:
    """Tell imaging, spectroscopy and NIRISS SOSS apart."""
    if observation.imaging:
        return "imaging"
    return "soss" if observation.exp_type == "NIS_SOSS" else "spectroscopy"


def _stamp(path: str) -> tuple[str, int, int]:
    stat = Path(path).stat()
    return str(Path(path).resolve()), stat.st_size, stat.st_mtime_ns
