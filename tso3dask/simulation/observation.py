"""Simulate an observation: members, association, references, truth."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from ..errors import InputError
from ..io.atomic import atomic_path, check_space
from ..values import whole_number
from .metadata import build_model, describe_segment, exposure_root, product_name
from .noise import EVENT_DTYPE, Chunk, Detector
from .recipe import Recipe, Timeline, make_recipe
from .references import write_references
from .write import ARRAYS, write_segment

__all__ = ["Observation", "simulate"]

CHUNK_PIXELS = 2_000_000


@dataclass(frozen=True)
class Observation:
    """What `simulate` wrote.

    Parameters
    ----------
    mode : name of the mode.
    asn : the association.
    members : calints files in the association's order.
    references : path by reference type.
    steps : ``{step: {parameter: value}}``, ready for a stage-3 run.
    steps_path : the same as JSON.
    truth_path : ``.npz`` file; `truth` reads it.
    """

    mode: str
    asn: Path
    members: tuple[Path, ...]
    references: dict[str, Path]
    steps: dict[str, dict[str, Any]]
    steps_path: Path
    truth_path: Path

    def truth(self) -> dict[str, np.ndarray]:
        """Read what was put in; the names are explained in ``docs/simulator.md``."""
        with np.load(self.truth_path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}


def simulate(
    mode: str,
    output_dir: str | Path,
    *,
    overwrite: bool = False,
    chunk_integrations: int | None = None,
    **arguments: Any,
) -> Observation:
    """Write a synthetic time-series observation that stage-3 pipelines accept.

    Memory does not grow with the number of integrations; pixels depend on `seed` alone, not on
    `chunk_integrations`.

    Parameters
    ----------
    mode : ``nrc_tsimage``, ``mir_image``, ``mir_lrs-slitless``, ``nrc_tsgrism``, ``nrs_prism``,
        ``nrs_g395h`` or ``nis_soss``.
    output_dir : folder for all files; made if absent.
    overwrite : replace files of an earlier simulation of the same name.
    chunk_integrations : integrations made at a time; chosen from the array's size if None.
    **arguments : what to simulate:

        nints : integrations per exposure (default: the mode's).
        segments : number of segments, or their sizes.
        exposures : exposures in the association.
        seed : of all random numbers.
        depth : transit depth at mid-transit, relative.
        cr_rate : cosmic rays per pixel and integration.
        lost_rate : pixels without a value (NaN, DO_NOT_USE) per pixel and integration.
        jitter : scatter of the pointing, pixels.
        background : level of the background, DN/s (default: the mode's).
        hot_fraction, dead_fraction : bad pixels, as fractions of the array.
        photom : flux calibrated or in DN/s.
        var_flat, wavelength, area : whether that extension is written.
        srctype : POINT or EXTENDED.
        int_times : ``segment`` (each member its own rows), ``exposure`` (all rows in each
            member), ``empty`` or ``absent``.
        model : SlitModel or CubeModel.
        subarray, pupil : other than the mode's, where it has variants.
        shape : ``(ny, nx)``, for small arrays in tests.

    Returns
    -------
    Observation

    Raises
    ------
    InputError : an argument that cannot be meant, or files in the way.
    RunError : too little space on the disk; no file stays then.
    """
    known = inspect.signature(make_recipe).parameters
    for name in arguments:
        if name not in known:
            raise InputError(f"simulate: unknown argument {name!r}; known are {', '.join(known)}")
    recipe = make_recipe(mode, **arguments)
    if chunk_integrations is None:
        chunk_integrations = max(1, CHUNK_PIXELS // (recipe.shape[0] * recipe.shape[1]))
    else:
        whole_number("simulate: chunk_integrations", chunk_integrations)
    directory = Path(output_dir).absolute()
    asn = directory / f"{product_name(recipe)}_tso3_asn.json"
    members = _member_paths(recipe, directory)
    flat = [path for per_detector in members.values() for path in per_detector]
    _clear(directory, f"jw{recipe.mode.program}007001_*_calints.fits", overwrite)
    timeline = recipe.timeline()
    detectors = [Detector(recipe, index) for index in range(len(recipe.mode.detectors))]
    models = [build_model(recipe, d.scene.detector, d.scene.traces) for d in detectors]
    rays: list[np.ndarray] = []
    lost: list[np.ndarray] = []
    arrays = len(ARRAYS) if recipe.var_flat else len(ARRAYS) - 1
    plane = 4 * recipe.shape[0] * recipe.shape[1]
    check_space(directory, arrays * plane * recipe.nints * len(members), "simulate")
    with _all_or_none(flat):
        for (exposure, index), paths in members.items():
            for segment, path in enumerate(paths):
                _write_member(
                    recipe,
                    detectors[index],
                    models[index],
                    timeline,
                    exposure,
                    segment,
                    path,
                    chunk_integrations,
                    rays,
                    lost,
                )
    references, steps = write_references(recipe, directory)
    steps_path = directory / "steps.json"
    steps_path.write_text(json.dumps(steps, indent=1) + "\n")
    _write_asn(recipe, asn, flat)
    truth_path = directory / f"{product_name(recipe)}_truth.npz"
    _write_truth(recipe, truth_path, timeline, detectors, rays, lost)
    return Observation(
        mode=recipe.mode.name,
        asn=asn,
        members=tuple(flat),
        references=references,
        steps=steps,
        steps_path=steps_path,
        truth_path=truth_path,
    )


def _member_paths(recipe: Recipe, directory: Path) -> dict[tuple[int, int], list[Path]]:
    """Files by (exposure, detector), one per segment."""
    return {
        (exposure, index): [
            directory
            / (exposure_root(recipe, exposure, name).format(segment=s + 1) + "_calints.fits")
            for s in range(len(recipe.segments))
        ]
        for exposure in range(recipe.exposures)
        for index, name in enumerate(recipe.mode.detectors)
    }


def _clear(directory: Path, pattern: str, overwrite: bool) -> None:
    """Make the folder; remove an earlier simulation's members or refuse."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"simulate: cannot make the folder {directory}: {error}") from error
    if not overwrite:
        there = [
            path
            for kind in ("*_calints.fits", "*_asn.json", "steps.json")
            for path in sorted(directory.glob(kind))
        ]
        if there:
            raise InputError(
                f"simulate: {directory} already holds {there[0].name}; give another folder or"
                " overwrite"
            )
    for path in directory.glob(pattern):
        path.unlink()


@contextmanager
def _all_or_none(paths: Sequence[Path]) -> Iterator[None]:
    """Remove the members that are written, if not all can be."""
    try:
        yield
    except BaseException:
        for path in paths:
            path.unlink(missing_ok=True)
        raise


def _write_member(
    recipe: Recipe,
    detector: Detector,
    model: Any,
    timeline: Timeline,
    exposure: int,
    segment: int,
    path: Path,
    step: int,
    rays: list[np.ndarray],
    lost: list[np.ndarray],
) -> None:
    first, size = recipe.starts[segment], recipe.segments[segment]
    describe_segment(model, recipe, timeline, exposure, segment)

    def chunks() -> Iterator[tuple[int, Chunk]]:
        for start in range(0, size, step):
            stop = min(start + step, size)
            chunk = detector.expose(timeline, exposure, first + start, first + stop, segment + 1)
            rays.append(chunk.cosmic_rays)
            lost.append(chunk.lost)
            yield start, chunk

    model.meta.filename = path.name
    with atomic_path(path) as part:
        write_segment(part, model, size, chunks())


def _write_asn(recipe: Recipe, path: Path, members: list[Path]) -> None:
    content = {
        "asn_type": "tso3",
        "asn_rule": "Asn_Lv3TSO",
        "version_id": None,
        "code_version": "3.0.0",
        "degraded_status": "No known degraded exposures in association.",
        "program": recipe.mode.program,
        "constraints": "simulated",
        "asn_id": "o007",
        "asn_pool": f"jw{recipe.mode.program}_pool.csv",
        "target": "t001",
        "products": [
            {
                "name": product_name(recipe),
                "members": [
                    {"expname": member.name, "exptype": "science", "exposerr": None}
                    for member in members
                ],
            }
        ],
    }
    path.write_text(json.dumps(content, indent=4) + "\n")


def _write_truth(
    recipe: Recipe,
    path: Path,
    timeline: Timeline,
    detectors: list[Detector],
    rays: list[np.ndarray],
    lost: list[np.ndarray],
) -> None:
    segment_of = np.repeat(np.arange(len(recipe.segments)) + 1, recipe.segments)
    truth: dict[str, np.ndarray] = {
        "exposure": timeline.exposure,
        "segment": np.tile(segment_of, recipe.exposures),
        "integration": timeline.times["integration_number"],
        "mjd_utc_mid": timeline.times["int_mid_MJD_UTC"],
        "bjd_tdb_mid": timeline.times["int_mid_BJD_TDB"],
        "transit": timeline.transit,
        "jitter_x": timeline.jitter_x,
        "jitter_y": timeline.jitter_y,
        "depth": np.array(recipe.depth),
        "cosmic_rays": np.concatenate([np.zeros(0, EVENT_DTYPE), *rays]),
        "lost_pixels": np.concatenate([np.zeros(0, EVENT_DTYPE), *lost]),
    }
    for detector in detectors:
        name = detector.scene.detector
        truth[f"light_curve_{name}"] = detector.scene.light_curve(timeline.transit)
        truth[f"hot_{name}"] = detector.hot
        truth[f"dead_{name}"] = detector.dead
        for key, values in detector.scene.star().items():
            truth[f"spectral_{key}_{name}" if key.startswith("depth") else f"{key}_{name}"] = values
    with path.open("wb") as file:
        np.savez_compressed(file, **cast(Any, truth))
