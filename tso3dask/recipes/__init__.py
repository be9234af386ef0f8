"""Recipes: ready sets of parameters by observing mode, kept as data.

A recipe is a TOML file. Its tables are named ``[SECTION.STEP]``, where a section says for which
observations they are; what a later section of this list says goes over what an earlier one does:

- ``every``: all observations;
- ``imaging``, ``spectroscopy`` (all but imaging and NIRISS SOSS);
- ``miri_lrs``, ``nircam_grism``, ``nirspec_grating``, ``nirspec_prism``, ``niriss_soss``.

A recipe goes over the defaults and the parameter files of CRDS, and below parameter files and
single parameters of the user.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tso3dask.config import PipelineParameters, nearest, parse_steps
from tso3dask.errors import InputError
from tso3dask.params import merge_steps, refuse_hooks

__all__ = ["SECTIONS", "Recipe", "over_recipe", "read_recipe", "recipe_names", "sections_of"]

_FOLDER = Path(__file__).parent

_SPECTRA = {
    "MIR_LRS-SLITLESS": "miri_lrs",
    "MIR_LRS-FIXEDSLIT": "miri_lrs",
    "NRC_TSGRISM": "nircam_grism",
    "NRC_GRISM": "nircam_grism",
}

SECTIONS = (
    *("every", "imaging", "spectroscopy"),
    *("miri_lrs", "nircam_grism", "nirspec_grating", "nirspec_prism", "niriss_soss"),
)
"""Sections of a recipe, general ones first."""

Steps = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Recipe:
    """A set of parameters by section.

    Attributes
    ----------
    name : str
        Its name, or the path of its file.
    about : str
        What it is for.
    sections : mapping
        ``{section: {step: {parameter: value}}}``.
    """

    name: str
    about: str = ""
    sections: Mapping[str, Steps] = field(default_factory=dict)

    def steps(self, exp_type: str, grating: str | None = None, *, imaging: bool = False) -> Steps:
        """Parameters for an observation: ``{step: {parameter: value}}``.

        Parameters
        ----------
        exp_type : str
            EXP_TYPE of the observation.
        grating : str, optional
            GRATING, for NIRSpec.
        imaging : bool
            Whether it is imaging.
        """
        layers = (self.sections.get(s) for s in sections_of(exp_type, grating, imaging=imaging))
        return merge_steps(*layers)


def recipe_names() -> list[str]:
    """Names of the recipes that come with the package."""
    return sorted(path.stem for path in _FOLDER.glob("*.toml"))


def sections_of(
    exp_type: str, grating: str | None = None, *, imaging: bool = False
) -> tuple[str, ...]:
    """Sections that hold for an observation, general ones first."""
    if imaging:
        return ("every", "imaging")
    if exp_type == "NIS_SOSS":
        return ("every", "niriss_soss")
    if exp_type.startswith("NRS_"):
        kind = "prism" if str(grating).upper() == "PRISM" else "grating"
        return ("every", "spectroscopy", f"nirspec_{kind}")
    own = _SPECTRA.get(exp_type)
    return ("every", "spectroscopy", *([own] if own else []))


def read_recipe(name: str) -> Recipe:
    """Read a recipe of the package, or a recipe file of the user.

    Parameters
    ----------
    name : str
        Name of a recipe, or path of a ``.toml`` file.

    Raises
    ------
    InputError
        If there is no such recipe, or the file is damaged or holds what is no parameter.
    """
    text = str(name)
    own = text.endswith(".toml") or "/" in text
    path = Path(text).expanduser() if own else _FOLDER / f"{text}.toml"
    known = recipe_names()
    if not own and text not in known:
        raise InputError(
            f"unknown recipe '{text}'.{nearest(text, known)} Known: {', '.join(known)}, or the "
            "path of a .toml file"
        )
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"recipe {text}: cannot be read ({error})") from None
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"recipe {text}: not valid TOML: {error}") from None
    about = str(tree.pop("about", ""))
    for section, steps in tree.items():
        if section not in SECTIONS:
            raise InputError(
                f"recipe {text}: unknown section '{section}'.{nearest(section, list(SECTIONS))} "
                f"Known: {', '.join(SECTIONS)}"
            )
        refuse_hooks(steps, f"recipe {text}, [{section}]")  # before their modules are imported
        try:
            parse_steps(steps)
        except InputError as error:
            raise type(error)(f"recipe {text}, [{section}]: {error}") from None
    if own and not any(values for steps in tree.values() for values in steps.values()):
        empty = [f"an empty [{section}]" for section in tree]
        found = " and ".join((["'about'"] if about else []) + empty) or "nothing"
        raise InputError(
            f"recipe {text}: sets no parameter; expected tables of them, as "
            f"[every.outlier_detection], found {found}"
        )
    return Recipe(text, about, tree)


def over_recipe(parameters: PipelineParameters, recipe: Recipe, steps: Steps) -> PipelineParameters:
    """Put what the user set over the values that a recipe has for an observation.

    Parameters
    ----------
    parameters : PipelineParameters
        What the user set.
    recipe : Recipe
        For its name, which becomes the origin of its values.
    steps : dict
        Its values for the observation, as `Recipe.steps` gives them.
    """
    origin = f"recipe {recipe.name}"
    origins = {f"{step}.{name}": origin for step, values in steps.items() for name in values}
    origins = {k: v for k, v in origins.items() if k not in parameters.explicit}
    return parse_steps(merge_steps(steps, parameters.given()), {**origins, **parameters.origins})
