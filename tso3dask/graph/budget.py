"""The memory plan of a run, from headers and parameters."""

from __future__ import annotations

from typing import Any

from tso3dask.config import PipelineParameters
from tso3dask.graph.chunking import Budget, make_budget
from tso3dask.graph.modelled import needs_model
from tso3dask.graph.outline import mode_of
from tso3dask.graph.soss import models
from tso3dask.graph.soss_fill import FLAGGED_AT_A_TIME, TILE_BYTES
from tso3dask.io.observation import Observation
from tso3dask.ops.soss.infill import HALO

__all__ = ["plan_budget"]

MAKING_BYTES = 60 * 10**6
"""Bytes of the tiles of a sample that an exposure's model is made of."""

MAKING_IMAGES_BYTES = 170
"""Bytes per pixel of the images that are made on the way."""

SOSS_LIMIT = 15 * 10**8
"""Default memory limit of a run that extracts SOSS spectra, bytes."""

SOSS_SUB_BLOCK = 8
"""Integrations that are extracted together if memory allows one worker to: the model's matrices
are gone through for all of them at once."""

MODEL_BYTES = (60, 88_000)
"""Bytes per pixel and per column of the model of SOSS orders, which threads share. Tasks of two
segments do not run at the same time."""

PREPARING_MODEL_BYTES = (520, 110_000)
"""Bytes per pixel and per column while it is made, one segment at a time."""

SOLVING_BYTES = 32_000
"""Bytes per column that a task takes to solve the model, whatever the number of rows."""

BOXES_BYTES = 80
"""Bytes per pixel that extraction without the model takes beside the integrations."""

IMAGES_BYTES = 200
"""Bytes per pixel of images of models of a few integrations, where they are put to files."""

MODELLED_BYTES = 90
"""Bytes per pixel of the images of an exposure's model, in all forms that a task holds."""


def plan_budget(
    observation: Observation,
    parameters: PipelineParameters,
    extracted: bool,
    replaces: bool,
    memory_limit: str | int | None,
    workers: int | None,
    separate_processes: bool,
    held: int = 0,
) -> Budget:
    """Choose sub-blocks and workers of a run.

    Parameters
    ----------
    observation : Observation
        The members.
    parameters : PipelineParameters
        Parameters of all steps.
    extracted, replaces : bool
        Whether spectra are extracted, and bad pixels replaced.
    memory_limit, workers, separate_processes
        As for `tso3dask.graph.plan.make_plan`.
    held : int
        Bytes of numbers of each integration, as `tso3dask.graph.sizes.held_bytes` tells them.
    """
    largest = max(observation.segments, key=lambda s: s.bytes_per_integration)
    width = parameters.outlier_detection.rolling_window_width
    across = parameters.outlier_detection.boundary == "exposure"
    length = observation.nints if across else largest.nints
    window = width if not parameters.outlier_detection.skip and width < length else 1
    constants = 4 * largest.ny * largest.nx
    pixels = largest.ny * largest.nx
    stored = largest.bytes_per_integration
    if extracted:
        step = parameters.extract_1d
        # a fit has images of its own, one batch at a time
        fits = step.extraction_type not in ("box", "horne")
        constants = max(constants, (150 if fits else 32) * pixels)
        if step.save_scene_model or step.save_residual_image:
            stored += 24 * pixels
    if replaces:
        stored += 2 * pixels  # masks
        constants += 5 * pixels
    if parameters.outlier_detection.own and not parameters.outlier_detection.skip:
        stored += 7 * pixels  # what pixels should show, and of how many values; what was found
        constants += 8 * pixels
    plane = (12 if parameters.outlier_detection.save_intermediate_results else 8) * pixels
    if needs_model(parameters, mode_of(observation)):
        making = MAKING_BYTES + MAKING_IMAGES_BYTES * pixels  # before other tasks, with no window
        constants = max(constants + MODELLED_BYTES * pixels, making - window * plane)
    orders: dict[str, Any] = {}
    if extracted and mode_of(observation) == "soss":
        saved = IMAGES_BYTES if parameters.extract_1d.soss_modelname is not None else 0
        recent = 8 * (FLAGGED_AT_A_TIME + 2 * HALO)  # flagged values and errors
        images = max(constants, 4 * pixels) + (recent + saved) * pixels
        constants = images + BOXES_BYTES * pixels
        model, making = (
            a * pixels + b * largest.nx for a, b in (MODEL_BYTES, PREPARING_MODEL_BYTES)
        )
        modelled = models(parameters.extract_1d)
        boxes = {"shared": 32 * pixels, "before": 6 * TILE_BYTES, "constants": constants}
        without = "give soss_atoca=False with soss_bad_pix=masking"
        orders = {
            "most": FLAGGED_AT_A_TIME,
            "kept": 9 * pixels,  # filled values and errors, and a mask
            "shared": boxes["shared"],
            "before": boxes["before"],
            "fewest": SOSS_SUB_BLOCK,
            "default_limit": SOSS_LIMIT,
        }
        if modelled:
            constants = images + SOLVING_BYTES * largest.nx
            orders |= {
                "shared": model,
                "before": max(making, 6 * TILE_BYTES),
                "alternatives": {without: boxes},
            }
    return make_budget(
        plane=plane,
        stored=stored,
        window=window,
        constants=constants,
        memory_limit=memory_limit,
        workers=workers,
        separate_processes=separate_processes,
        held=held,
        **orders,
    )
