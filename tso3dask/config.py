"""Check what a user set for the steps of the pipeline, and hold it for a run.

A dictionary of steps written for the ``jwst`` package works here. The table of the steps and
their parameters is in `tso3dask.step_table`, the reading of single values in `tso3dask.values`.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import itertools
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tso3dask.errors import InputError
from tso3dask.step_table import (
    STEPS,
    AdaptiveTraceModel,
    Extract1d,
    LightCurveParameters,
    OutlierDetection,
    Photom,
    PixelReplace,
    Regressors,
    StepParameters,
    TsoPhotometry,
    WhiteLight,
)
from tso3dask.values import NOT_APPLICABLE, Parameter, Support, hook_name, parse_value

__all__ = [
    "NOT_APPLICABLE",
    "STEPS",
    "AdaptiveTraceModel",
    "Extract1d",
    "LightCurveParameters",
    "OutlierDetection",
    "Parameter",
    "Photom",
    "PipelineParameters",
    "PixelReplace",
    "Regressors",
    "StepParameters",
    "Support",
    "TsoPhotometry",
    "UnsupportedParameterError",
    "WhiteLight",
    "hook_name",
    "nearest",
    "parameters_of",
    "parse_steps",
    "steps_with_reference",
]


_WORD = re.compile(r"^\.?[A-Za-z0-9][\w.+-]*$")
"""A part of a file name that leads into no folder."""


class UnsupportedParameterError(InputError):
    """A parameter that the field's pipeline knows was set to something not supported here yet."""


def parameters_of(step: str) -> dict[str, Parameter]:
    """Return the table of one step: parameter by name, in order."""
    return {
        f.name: Parameter(
            step=step,
            name=f.name,
            default=f.default,
            **{k: v for k, v in f.metadata.items() if k != "only"},
        )
        for f in dataclasses.fields(STEPS[step])
    }


def steps_with_reference(reference_type: str) -> list[str]:
    """Return the steps that take ``override_<reference_type>``; empty if none does."""
    name = f"override_{reference_type}"
    return [s for s, cls in STEPS.items() if name in {f.name for f in dataclasses.fields(cls)}]


def nearest(name: str, known: Iterator[str] | list[str] | Mapping[str, Any]) -> str:
    """Return `` Did you mean 'x'?`` for the known name nearest to `name`, or an empty text."""
    lowered = {k.lower(): k for k in known}
    found = difflib.get_close_matches(name.lower(), list(lowered), n=1, cutoff=0.5)
    return f" Did you mean '{lowered[found[0]]}'?" if found else ""


@dataclass(frozen=True, kw_only=True)
class PipelineParameters:
    """The parameters of all steps, fixed for one run; hashable and picklable.

    Attributes
    ----------
    explicit : frozenset of str
        ``step.parameter`` of everything that the user set, default or not.
    notes : tuple of str
        What a user should be told once: parameters set that have no effect here.
    origins : mapping of str
        Where a ``step.parameter`` comes from, if not from the call itself.
    """

    outlier_detection: OutlierDetection = field(default_factory=OutlierDetection)
    tso_photometry: TsoPhotometry = field(default_factory=TsoPhotometry)
    adaptive_trace_model: AdaptiveTraceModel = field(default_factory=AdaptiveTraceModel)
    pixel_replace: PixelReplace = field(default_factory=PixelReplace)
    extract_1d: Extract1d = field(default_factory=Extract1d)
    photom: Photom = field(default_factory=Photom)
    white_light: WhiteLight = field(default_factory=WhiteLight)
    light_curves: LightCurveParameters = field(default_factory=LightCurveParameters)
    regressors: Regressors = field(default_factory=Regressors)
    explicit: frozenset[str] = field(default=frozenset(), compare=False)
    notes: tuple[str, ...] = field(default=(), compare=False)
    origins: Mapping[str, str] = field(default_factory=dict, compare=False)

    @property
    def hooks(self) -> dict[str, tuple[Any, ...]]:
        """Hooks that were given, by ``step.pre_hooks`` and ``step.post_hooks``."""
        names = [(step, when) for step in STEPS for when in ("pre_hooks", "post_hooks")]
        found = {f"{step}.{when}": getattr(self.step(step), when) for step, when in names}
        return {name: hooks for name, hooks in found.items() if hooks}

    def step(self, name: str) -> StepParameters:
        """Return the parameters of the step called `name`."""
        return getattr(self, name)

    def to_dict(self, *, explicit_only: bool = False) -> dict[str, dict[str, Any]]:
        """Return ``{step: {parameter: value}}``, as ``parse_steps`` and ``jwst`` read it.

        Override parameters that are not set are left out, as exported parameter files do. Hooks
        are named.
        """
        out: dict[str, dict[str, Any]] = {}
        for step in STEPS:
            values = {
                name: [hook_name(hook) for hook in value] if isinstance(value, tuple) else value
                for name, value in vars(self.step(step)).items()
                if not (name.startswith("override_") and value is None)
                and not (explicit_only and f"{step}.{name}" not in self.explicit)
            }
            if values or not explicit_only:
                out[step] = values
        return out

    def given(self) -> dict[str, dict[str, Any]]:
        """Return ``{step: {parameter: value}}`` of what was set, hooks as functions."""
        out: dict[str, dict[str, Any]] = {}
        for full_name in sorted(self.explicit):
            step, _, name = full_name.partition(".")
            out.setdefault(step, {})[name] = getattr(self.step(step), name)
        return out

    def override(self, reference_type: str) -> str | None:
        """Return the override of a reference type: a path, ``N/A``, or None if there is none."""
        for step in steps_with_reference(reference_type):
            value = getattr(self.step(step), f"override_{reference_type}")
            if value is not None:
                return value
        return None

    def overrides(self) -> dict[str, str]:
        """Return every override given, as ``{"step.override_type": path or "N/A"}``."""
        return {
            f"{step}.{name}": value
            for step, values in self.to_dict().items()
            for name, value in values.items()
            if name.startswith("override_")
        }

    def token(self) -> str:
        """Return a digest, equal in every process, of the values that have an effect.

        Of hooks it knows the names alone; plans add their content.
        """
        values = {
            step: {
                name: _content(getattr(self.step(step), name))
                for name, parameter in parameters_of(step).items()
                if parameter.support is not Support.NO_EFFECT
            }
            for step in STEPS
        }
        text = json.dumps(values, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def __dask_tokenize__(self) -> tuple[str, str]:
        return ("tso3dask.PipelineParameters", self.token())


def _content(value: Any) -> Any:
    """Value of a parameter, or names of functions."""
    return [hook_name(hook) for hook in value] if isinstance(value, tuple) else value


def parse_steps(
    steps: Mapping[str, Mapping[str, Any]] | PipelineParameters | None = None,
    origins: Mapping[str, str] | None = None,
) -> PipelineParameters:
    """Check a dictionary of steps and return the parameters of a run.

    Parameters
    ----------
    steps : mapping of mappings, optional
        ``{step: {parameter: value}}`` with Python values or text. ``class`` and ``name`` inside a
        step, as parameter files have them, are ignored.
    origins : mapping, optional
        Where a ``step.parameter`` comes from.

    Raises
    ------
    InputError
        For an unknown step or parameter (naming the nearest known one) or a value of the wrong
        type; its subclass `UnsupportedParameterError` for a value not supported yet.
    """
    if isinstance(steps, PipelineParameters):
        return steps
    if steps is not None and not isinstance(steps, Mapping):
        raise InputError(f"steps: expected {{step: {{parameter: value}}}}, got {steps!r}")
    parsed: dict[str, StepParameters] = {}
    explicit: set[str] = set()
    without_effect: list[str] = []
    for step, values in (steps or {}).items():
        if step not in STEPS:
            raise InputError(
                f"unknown step '{step}'.{nearest(str(step), STEPS)} Known: {', '.join(STEPS)}"
            )
        parsed[step] = _parse_step(step, values, explicit, without_effect)
    parameters = PipelineParameters(
        **parsed,  # type: ignore[arg-type]
        explicit=frozenset(explicit),
        origins={name: where for name, where in (origins or {}).items() if name in explicit},
    )
    _check_radii(parameters.tso_photometry)
    _check_wavelengths("white_light", parameters.white_light)
    _check_wavelengths("light_curves", parameters.light_curves)
    _check_channels(parameters.light_curves)
    _check_outliers(parameters.outlier_detection)
    _check_extraction(parameters.extract_1d)
    if not without_effect:
        return parameters
    note = "no effect on time series, ignored: " + ", ".join(without_effect)
    return dataclasses.replace(parameters, notes=(note,))


def _parse_step(
    step: str, values: Any, explicit: set[str], without_effect: list[str]
) -> StepParameters:
    """Check the values of one step; add to `explicit` and `without_effect` as found."""
    if values is None:
        values = {}
    if not isinstance(values, Mapping):
        raise InputError(f"step '{step}': expected {{parameter: value}}, got {values!r}")
    table = parameters_of(step)
    only = {f.name: f.metadata.get("only") for f in dataclasses.fields(STEPS[step])}
    parsed: dict[str, Any] = {}
    for name, raw in values.items():
        if name in ("class", "name"):
            continue
        if name not in table:
            raise InputError(_unknown_parameter(step, name, table))
        parameter = table[name]
        value = parsed[name] = parse_value(parameter, raw)
        explicit.add(parameter.full_name)
        if value == parameter.default:
            continue
        allowed = only[name]
        if parameter.support is Support.NOT_YET or (allowed and value not in allowed):
            wanted = " or ".join(map(repr, allowed or (parameter.default,)))
            raise UnsupportedParameterError(
                f"{parameter.full_name}={value!r} is not supported yet: "
                f"remove it or set it to {wanted}"
            )
        if parameter.support is Support.NO_EFFECT:
            without_effect.append(parameter.full_name)
        if name in ("suffix", "output_ext") and value is not None and not _WORD.match(value):
            raise InputError(f"{parameter.full_name}: expected a word for a file name, got {raw!r}")
    return STEPS[step](**parsed)


def _unknown_parameter(step: str, name: str, table: dict[str, Parameter]) -> str:
    if name == "config_file":
        return f"step '{step}': config_file is read by the command line and tso3dask.params only"
    elsewhere = [s for s in STEPS if name in {f.name for f in dataclasses.fields(STEPS[s])}]
    if elsewhere:
        return f"step '{step}' has no parameter '{name}'; {elsewhere[0]} has it"
    if name == "override_readnoise":
        return f"step '{step}' has no parameter '{name}': nothing in this pipeline reads readnoise"
    return f"step '{step}' has no parameter '{name}'.{nearest(str(name), table)}"


def _check_wavelengths(name: str, step: WhiteLight | LightCurveParameters) -> None:
    low, high = step.min_wavelength, step.max_wavelength
    if low is not None and high is not None and not low < high:
        raise InputError(
            f"{name}.min_wavelength is {low}, max_wavelength {high}; the first must be smaller"
        )


def _check_outliers(step: OutlierDetection) -> None:
    """Refuse a threshold without meaning (``jwst`` takes any), and a guard that guards nothing."""
    if step.threshold <= 0 and step.noise == "model":
        raise InputError(
            f"outlier_detection.snr is {step.snr}; expected a threshold above 0 sigma, as 5, with "
            "noise=model"
        )
    if step.max_flagged is None and step.on_excess != "warn":
        raise InputError(
            f"outlier_detection.on_excess='{step.on_excess}' needs max_flagged, the largest share "
            "of the target's pixels flagged in an integration; set it, as 0.2"
        )
    if step.max_flagged is not None and step.max_flagged > 1:
        raise InputError(
            f"outlier_detection.max_flagged is {step.max_flagged:g}; expected a share, 0 to 1"
        )


def _check_extraction(step: Extract1d) -> None:
    """Refuse apertures and background regions that hold nothing."""
    for name in ("aperture_width", "bkg_clip"):
        value = getattr(step, name)
        if value is not None and value <= 0:
            raise InputError(f"extract_1d.{name} must be above 0, got {value:g}")
    if step.optimize_aperture and step.aperture_width is not None:
        raise InputError("extract_1d: give aperture_width or optimize_aperture, not both")
    edges = step.region_edges or ()
    pairs = list(zip(edges[::2], edges[1::2], strict=False))
    if len(edges) % 2 or any(low >= high for low, high in pairs):
        raise InputError(
            "extract_1d.bkg_regions must be pairs of a lower and a higher edge, got "
            f"{step.bkg_regions!r}"
        )


def _check_channels(light_curves: LightCurveParameters) -> None:
    """Refuse channels that are given in two ways, or edges that do not rise."""
    names = ("edges", "resolving_power", "pixels_per_channel")
    given = [name for name in names if getattr(light_curves, name) is not None]
    if len(given) > 1:
        raise InputError(f"light_curves: give one of {', '.join(names)}, not {' and '.join(given)}")
    edges = [float(edge) for edge in (light_curves.edges or "").split()]
    if any(not low < high for low, high in itertools.pairwise(edges)):
        raise InputError(f"light_curves.edges: must rise, got {light_curves.edges}")


def _check_radii(photometry: TsoPhotometry) -> None:
    """Refuse circles that no photometry could use, before any pixel is read."""
    more = photometry.more_radii
    if any(radius <= 0 for radius in more) or len(set(more)) < len(more):
        raise InputError(
            f"tso_photometry.radii must be different and above 0, got {photometry.radii!r}"
        )
    if photometry.bkg_clip is not None and photometry.bkg_clip <= 0:
        raise InputError(f"tso_photometry.bkg_clip must be above 0, got {photometry.bkg_clip:g}")
    if photometry.smooth_centroid and not photometry.centroid_source:
        raise InputError("tso_photometry.smooth_centroid needs centroids: centroid_source=True")
    if photometry.radius <= 0 or photometry.radius_inner <= 0:
        raise InputError(
            "tso_photometry: radius and radius_inner must be above 0, got "
            f"radius={photometry.radius:g}, radius_inner={photometry.radius_inner:g}"
        )
    if photometry.radius_outer <= photometry.radius_inner:
        raise InputError(
            "tso_photometry: radius_outer must be above radius_inner, got "
            f"radius_inner={photometry.radius_inner:g}, radius_outer={photometry.radius_outer:g}"
        )
