"""Which parameters hooks cannot go with yet."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tso3dask.config import parameters_of
from tso3dask.errors import NotYetError

if TYPE_CHECKING:
    from tso3dask.graph.outline import Outline

__all__ = ["check_hooks"]


_FLAGGING = ("boundary", "scale_brightness", "noise", "max_flagged")
"""Parameters of outlier detection that reach beyond what a hook's dataset holds."""


def check_hooks(plan: Outline) -> None:
    """Refuse a plan with hooks and parameters that do not go with them.

    Raises
    ------
    NotYetError
        It names all of these parameters, where their values come from and which others do go.
    """
    if not plan.parameters.hooks:
        return
    clashes = list(dict.fromkeys(_clashes(plan)))
    if not clashes:
        return
    parameters = plan.parameters
    found, others = [], []
    for name in clashes:
        step, _, parameter = name.partition(".")
        found.append(f"{name}={getattr(parameters.step(step), parameter)}")
        others.append(f"{name}={_without(name)}")
    origins = [parameters.origins.get(name, "") for name in clashes]
    (common, *more) = dict.fromkeys(origins)
    if not more:
        source = f" (from {common})" if common else ""
        text = ", ".join(found) + source
    else:
        each = zip(found, origins, strict=True)
        text = ", ".join(f"{f} (from {origin})" if origin else f for f, origin in each)
    advice = f"set {', '.join(others)}"
    if common.startswith("recipe") and not more:
        advice += ", or run without the recipe"
    raise NotYetError(f"hooks do not go together yet with {text}: {advice}, or leave out the hooks")


def _clashes(plan: Outline) -> Iterator[str]:
    """Names of parameters, as ``step.parameter``."""
    parameters = plan.parameters
    for name in _FLAGGING if plan.flags else ():
        if getattr(parameters.outlier_detection, name) != _without(f"outlier_detection.{name}"):
            yield f"outlier_detection.{name}"
    if plan.kind != "imaging" and not parameters.adaptive_trace_model.skip:
        yield "adaptive_trace_model.skip"
    if parameters.pixel_replace.needs_model:
        yield "pixel_replace.algorithm"
    yield from _of_extraction(plan)
    extracted = any(member.tables for member in plan.members)
    if extracted and parameters.white_light.weighted and not parameters.white_light.skip:
        yield "white_light.weighted"
    if not parameters.regressors.skip and (extracted or any(m.imaging for m in plan.members)):
        yield "regressors.skip"


def _of_extraction(plan: Outline) -> Iterator[str]:
    spectra = [m.spectrum for m in plan.members if m.spectrum is not None]
    if any(spectrum.unsettled is not None for spectrum in spectra):
        yield "extract_1d.optimize_psf_location"
    if any(spectrum.awaiting is not None for spectrum in spectra):
        extraction = plan.parameters.extract_1d
        if extraction.extraction_type == "horne":
            yield "extract_1d.extraction_type"
        for name in ("follow_trace", "optimize_aperture"):
            if getattr(extraction, name):
                yield f"extract_1d.{name}"


def _without(name: str) -> object:
    """Value of a parameter that does go with hooks."""
    if name == "extract_1d.optimize_psf_location":
        return False
    if name == "extract_1d.extraction_type":
        return "box"
    step, _, parameter = name.partition(".")
    return parameters_of(step)[parameter].default
