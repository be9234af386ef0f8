"""Files of images of an extraction: spatial profile, scene model, residual."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tso3dask.graph.files import Labels, ModelFile, Output
from tso3dask.io.crfints import CrfintsSink

if TYPE_CHECKING:
    from tso3dask.graph.outline import Member

__all__ = ["PROFILE", "SCENES", "ImagesFile", "ProfileFile", "images_file"]

PROFILE = "profile"
SCENES = ("scene_model", "residual")


@dataclass(frozen=True, eq=False, kw_only=True)
class ImagesFile(ModelFile):
    """An image of each integration; a plain image if there is one integration."""

    primary_only: bool = True

    def create(self, part: Path, labels: Labels) -> CrfintsSink:
        """Lay the file out."""
        return _by_integration(super().create(part, labels))

    def reopen(self, part: Path) -> CrfintsSink:
        """Take up the file of an interrupted run."""
        return _by_integration(super().reopen(part))


@dataclass(frozen=True, eq=False, kw_only=True)
class ProfileFile(ImagesFile):
    """The weights of the pixels, one image for all integrations.

    Attributes
    ----------
    image : ndarray
        Weights (y, x).
    """

    image: np.ndarray

    def create(self, part: Path, labels: Labels) -> CrfintsSink:
        """Write the file."""
        return self._filled(super().create(part, labels))

    def reopen(self, part: Path) -> CrfintsSink:
        """Take up the file of an interrupted run."""
        return self._filled(super().reopen(part))

    def _filled(self, sink: CrfintsSink) -> CrfintsSink:
        sink.put(0, 1, {"sci": self.image[np.newaxis]})
        return sink

    def output(self, sink: Any) -> Output | None:
        """Nothing is left to put."""
        return None


def _by_integration(sink: CrfintsSink) -> CrfintsSink:
    """Writer that takes a plain image as that of the one integration."""
    specs = tuple(
        spec if len(spec.shape) == 3 else replace(spec, shape=(1, *spec.shape))
        for spec in sink.arrays
    )
    return replace(sink, arrays=specs)


def images_file(kind: str, steps: Mapping[str, str], *, member: Member, **names: Any) -> ImagesFile:
    """Return a file of an extraction.

    Parameters
    ----------
    kind : str
        ``profile``, ``scene_model`` or ``residual``.
    steps : mapping
        Status of the steps by name.
    member : Member
        The member.
    **names
        ``name`` and ``numbered`` of the file.
    """
    setup, segment = member.spectrum, member.segment
    assert setup is not None and setup.images is not None
    attributes: dict[str, Any] = {
        f"meta.cal_step.{k}": v for k, v in steps.items() if k != "extract_1d"
    }
    attributes["name"] = setup.slit_name
    common: dict[str, Any] = {"kind": kind, "member": member, "attributes": attributes, **names}
    image = (segment.ny, segment.nx)
    plain: dict[str, Any] = {"model": "ImageModel", "shape": image, "arrays": ("sci",)}
    if kind == PROFILE:
        return ProfileFile(image=setup.images.profile, **plain, **common)
    taken = ((kind, "sci"),)
    if segment.nints == 1:
        return ImagesFile(names=taken, **plain, **common)
    return ImagesFile(shape=(segment.nints, *image), names=taken, **common)
