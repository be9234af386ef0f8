"""The steps, each alone on one file or open data model.

A step alone is a plan of one member in which all others are skipped, run in a folder of its own;
what it wrote there is opened and returned.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tso3dask.config import STEPS, parse_steps
from tso3dask.drop_in.inputs import file_of, is_model
from tso3dask.drop_in.models import detached_model, step_spectra, with_pixels
from tso3dask.drop_in.step import Step, folder_of, refuse_hooks, single_kind, told
from tso3dask.errors import NotYetError
from tso3dask.graph.plan import Plan, make_plan
from tso3dask.io.atomic import atomic_path
from tso3dask.io.segment import REPLACED_IN_TIME, open_segment
from tso3dask.io.tables import table_in_memory
from tso3dask.schema import CUBES

__all__ = [
    "STEP_CLASSES",
    "AdaptiveTraceModelStep",
    "Extract1dStep",
    "LightCurvesStep",
    "OutlierDetectionStep",
    "PhotomStep",
    "PixelReplaceStep",
    "RegressorsStep",
    "TSOPhotometryStep",
    "WhiteLightStep",
]


class _OnPixels(Step):
    """A step on the pixels of one member."""

    @contextlib.contextmanager
    def _planned(self, given: Any) -> Iterator[tuple[Plan, Path]]:
        """Plan of this step alone, and a folder to run it in, which is gone afterwards.

        What the step writes beside its result goes to its own folder.
        """
        steps: dict[str, dict[str, Any]] = {name: {"skip": True} for name in STEPS}
        beside = str(folder_of(self.output_dir).absolute())
        steps[self.step] = {**self._making(), "skip": False, "output_dir": beside}
        with (
            tempfile.TemporaryDirectory(prefix="tso3dask-") as folder,
            file_of(given, Path(folder), self.input_dir) as path,
        ):
            output = Path(folder) / "products"
            yield make_plan(path, steps), output


class _MakesTable(Step):
    """A step of which the result is a table."""

    def _saved(self, given: Any, table: Any) -> Any:
        """Write a table if that is wanted, and return it."""
        if self.save_results:
            with atomic_path(self._output_path(given)) as part:
                table.write(part, format="ascii.ecsv", overwrite=True)
        return table

    def _output_path(self, given: Any, result: Any = None) -> Path:
        path = super()._output_path(given, result)
        path.parent.mkdir(parents=True, exist_ok=True)
        suffix = f"_{self.suffix}"
        return path.with_name(path.name.replace(suffix * 2, suffix))


def _named_as(given: Any, result: Any) -> Any:
    """Give a result the name of the open model that it was made of, if it has one or not."""
    if is_model(given):
        result.meta.filename = given.meta.filename
    return result


def _told(plan: Any, notes: Any) -> None:
    """Send notes to the log but for those on integrations of other segments, left out here."""
    told(note for note in notes if note not in plan.observation.notes)


class OutlierDetectionStep(_OnPixels):
    """Flag pixels that deviate from their median in time.

    `run` returns a data model of the type of the input.
    """

    step = "outlier_detection"

    def _process(self, given: Any) -> Any:
        with self._planned(given) as (plan, folder):
            if self.boundary == "exposure":
                name = plan.members[0].segment.path.name
                told([f"{name}: boundary='exposure' has no effect on one file alone"])
            result = plan.run(folder, overwrite=True)
            _told(plan, result.notes)
            (product,) = result.products["crfints"]
            segment = plan.members[0].segment
            date = given.meta.date if is_model(given) else segment.get("DATE")
            return _named_as(given, detached_model(product, segment, date))


class TSOPhotometryStep(_OnPixels):
    """Aperture photometry of every integration; `run` returns a QTable."""

    step = "tso_photometry"

    def _process(self, given: Any) -> Any:
        from tso3dask.graph.tables import table_meta

        with self._planned(given) as (plan, folder):
            single_kind(plan.kind, "imaging", plan.members[0].segment.path, self.step)
            result = plan.run(folder, overwrite=True)
            _told(plan, result.notes)
            return table_in_memory(result.tables["phot"], table_meta(plan, "phot"))


class Extract1dStep(_OnPixels):
    """Extract a spectrum from every integration; `run` returns a TSOMultiSpecModel."""

    step = "extract_1d"

    def _process(self, given: Any) -> Any:
        with self._planned(given) as (plan, folder):
            if plan.kind != "soss":
                single_kind(plan.kind, "spectroscopy", plan.members[0].segment.path, self.step)
            result = plan.run(folder, overwrite=True)
            _told(plan, result.notes)
            (product,) = result.products["x1dints"]
            return _named_as(given, step_spectra(product, plan.members[0].segment))


class PixelReplaceStep(Step):
    """Replace bad pixels by estimates; `run` returns a data model of the type of the input.

    ``algorithm="temporal"`` makes the model of the exposure from this one file.
    """

    step = "pixel_replace"

    def _process(self, given: Any) -> Any:
        from tso3dask.graph.chunking import chunk_sizes
        from tso3dask.graph.dataset import source_dataset
        from tso3dask.graph.steps import pixel_replace

        refuse_hooks(self)
        with (
            tempfile.TemporaryDirectory(prefix="tso3dask-") as folder,
            file_of(given, Path(folder), self.input_dir) as path,
        ):
            segment = open_segment(path)
            sizes = chunk_sizes(
                segment.nints, segment.bytes_per_integration, 1, total=segment.nints
            )
            model = self._model_of(path)
            made = pixel_replace(source_dataset(segment, sizes), model=model, **self._making())
            replaced = made.compute()
            cubes = {name: replaced[name].values for name in CUBES if name in replaced}
            return with_pixels(
                given, path, cubes, self.step, None if model is None else REPLACED_IN_TIME
            )

    def _model_of(self, path: Path) -> Any:
        """Model of the exposure, from the integrations of a file; None where none is needed."""
        alone: dict[str, dict[str, Any]] = {name: {"skip": True} for name in STEPS}
        alone[self.step] = {**self._making(), "skip": False}
        if not parse_steps(alone).pixel_replace.needs_model:
            return None
        plan = make_plan(path, alone)
        modelled = plan.modelled
        _told(plan, modelled.notes)
        return modelled.members[0].model


class WhiteLightStep(_MakesTable):
    """Sum spectra over wavelength; `run` takes an x1dints file or model and returns a QTable."""

    step = "white_light"

    def _process(self, given: Any) -> Any:
        from tso3dask.graph.spectra_files import white_light_of_file

        refuse_hooks(self)
        parameters = parse_steps({"white_light": self._making()})
        with (
            tempfile.TemporaryDirectory(prefix="tso3dask-") as folder,
            file_of(given, Path(folder), self.input_dir) as path,
        ):
            columns, meta, notes = white_light_of_file(path, parameters)
        told(notes)
        return self._saved(given, table_in_memory(columns, meta))


class LightCurvesStep(_MakesTable):
    """Sum spectra over channels; `run` takes an x1dints file or model and returns a QTable."""

    step = "light_curves"

    def _process(self, given: Any) -> Any:
        from tso3dask.graph.spectra_files import spectral_light_curves

        with (
            tempfile.TemporaryDirectory(prefix="tso3dask-") as folder,
            file_of(given, Path(folder), self.input_dir) as path,
        ):
            return self._saved(given, spectral_light_curves(path, **self._making()))


class _NotAlone(Step):
    """A step whose parameters are known, but which does not run by itself yet."""

    def _process(self, given: Any) -> Any:
        raise NotYetError(f"{type(self).__name__} cannot be run alone yet")


class AdaptiveTraceModelStep(_NotAlone):
    """Model the spectral trace."""

    step = "adaptive_trace_model"


class RegressorsStep(_MakesTable, _OnPixels):
    """Tabulate what may go with the light curve; `run` returns a QTable.

    The model of the exposure is made from the one file or model given. Flagged and replaced
    pixels are counted where its header tells that they were looked for.
    """

    step = "regressors"

    def _process(self, given: Any) -> Any:
        from tso3dask.graph.regressor_file import regressors_of_plan

        with self._planned(given) as (plan, _):
            columns, meta, notes = regressors_of_plan(plan)
            told(notes)
            return self._saved(given, table_in_memory(columns, meta))


class PhotomStep(Step):
    """Calibrate NIRISS SOSS spectra; `run` takes and returns a TSOMultiSpecModel."""

    step = "photom"

    def _process(self, given: Any) -> Any:
        from stdatamodels.jwst import datamodels

        from tso3dask.graph.soss_photom import calibrate

        parameters = parse_steps({"photom": self._making()})
        model = given.copy() if is_model(given) else datamodels.open(str(given))
        return calibrate(model, parameters)


STEP_CLASSES: dict[str, type[Step]] = {
    cls.step: cls
    for cls in (
        OutlierDetectionStep,
        TSOPhotometryStep,
        AdaptiveTraceModelStep,
        PixelReplaceStep,
        Extract1dStep,
        PhotomStep,
        WhiteLightStep,
        LightCurvesStep,
        RegressorsStep,
    )
}
"""Step classes by the names of the steps, in the order in which they run."""
