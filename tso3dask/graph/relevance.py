"""What a run has a use for: references that it looks for, parameters that have a part in it."""

from __future__ import annotations

from collections.abc import Iterable

from tso3dask.config import NOT_APPLICABLE, PipelineParameters, Support, parameters_of
from tso3dask.graph import soss
from tso3dask.io.observation import Observation

__all__ = ["left_out", "needed_references"]


def needed_references(
    observation: Observation, parameters: PipelineParameters, kind: str
) -> tuple[list[str], list[str]]:
    """Kinds of references that a run looks for, and those without which it cannot be.

    Parameters
    ----------
    observation : Observation
        The members.
    parameters : PipelineParameters
        Parameters of all steps.
    kind : str
        ``imaging``, ``spectroscopy`` or ``soss``.
    """
    first = observation.first
    if kind == "imaging" and not parameters.tso_photometry.skip:
        return (["gain"], ["gain"]) if first.get("BUNIT") == "DN/s" else ([], [])
    if kind == "spectroscopy" and not parameters.extract_1d.skip:
        corrects = parameters.extract_1d.apply_apcorr and any(
            s.instrument in ("MIRI", "NIRSPEC") and s.text("SRCTYPE") == "POINT"
            for s in observation.segments
        )
        if parameters.extract_1d.extraction_type == "optimal":
            corrects &= parameters.override("psf") in (None, NOT_APPLICABLE)
        fits = parameters.extract_1d.extraction_type not in ("box", "horne")
        return ["extract1d", *["apcorr"] * corrects, *["psf"] * fits], []
    if kind == "soss":
        return soss.needed_references(observation.segments, parameters)
    return [], []


def left_out(observation: Observation, parameters: PipelineParameters, kind: str) -> Iterable[str]:
    """Notes on parameters and references that were given and are of no use here."""
    spectral = (
        *("extract_1d", "white_light", "photom", "pixel_replace", "adaptive_trace_model"),
        "light_curves",
    )
    idle = spectral if kind == "imaging" else ("tso_photometry",)
    for name in idle:
        named = [p for p in sorted(parameters.explicit) if p.startswith(f"{name}.")]
        named = [p for p in named if ".override_" not in p and _matters(p, parameters)]
        if name == "pixel_replace" and parameters.pixel_replace.needs_model:
            continue
        if named:
            yield f"{name} has no part in {observation.exp_type}: {', '.join(named)} left out"
    yield from _without_light_curve(parameters, kind)
    step = parameters.extract_1d
    if kind == "soss":
        table = parameters_of("extract_1d")
        horne = step.extraction_type == "horne"
        own = [n for n in table if table[n].added or (n == "extraction_type" and horne)]
        named = [f"extract_1d.{n}" for n in own]
        named = [p for p in named if p in parameters.explicit and _matters(p, parameters)]
        if named:
            yield f"{', '.join(named)} left out: NIS_SOSS has apertures of its own"
    given = parameters.override("apcorr") not in (None, "N/A")
    if kind != "spectroscopy" or step.skip or not step.apply_apcorr or not given:
        return
    if observation.first.instrument not in ("MIRI", "NIRSPEC"):
        yield (
            f"override_apcorr: spectra of {observation.exp_type} have no aperture correction; "
            "it is left out"
        )


def _without_light_curve(parameters: PipelineParameters, kind: str) -> Iterable[str]:
    """Say which products fall away because nothing is extracted that they could be made of."""
    source = "tso_photometry" if kind == "imaging" else "extract_1d"
    if not parameters.step(source).skip:
        return
    asked = ["regressors"] if kind == "imaging" else ["white_light", "light_curves", "regressors"]
    named = [
        name
        for name in asked
        if not parameters.step(name).skip
        and any(p.startswith(f"{name}.") and _matters(p, parameters) for p in parameters.explicit)
    ]
    if named:
        yield f"{source} is skipped, so there is nothing for {', '.join(named)}: left out"


def _matters(full_name: str, parameters: PipelineParameters) -> bool:
    """Whether a user who set a parameter expects something of it.

    Not of leaving a step out, nor of the defaults, all of which exported files hold; what has no
    effect anywhere has a note of its own.
    """
    step, name = full_name.split(".")
    parameter = parameters_of(step)[name]
    if parameter.support is Support.NO_EFFECT or (name == "skip" and parameter.default is False):
        return False
    return bool(getattr(parameters.step(step), name) != parameter.default)
