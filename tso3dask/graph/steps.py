"""The steps as functions of datasets, for programs that build their own graph.

Each takes the parameters of the step of that name. Datasets from `tso3dask.open_segment` and
`tso3dask.open_association` are recognised as untouched pixels of a file: a step is then appended
to their program, and its tasks read what they need from the file. Anything else, for instance the
result of arithmetic on such a dataset, takes the generic way: a task per chunk on the chunks it
overlaps. Both give the same numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
from dask.tokenize import tokenize

from tso3dask.config import parse_steps
from tso3dask.errors import InputError
from tso3dask.graph.arrays import picked_arrays, settled
from tso3dask.graph.chunking import SUB_BLOCK_BYTES, SUB_BLOCK_ROWS, chunk_bounds
from tso3dask.graph.dataset import (
    IN_TIME,
    common_program,
    program_dataset,
    replaced_in_time,
    segment_of,
    variable_attrs,
)
from tso3dask.graph.extraction import SpectrumJob
from tso3dask.graph.imaging import ImagingJob, ImagingSetup, imaging_setup
from tso3dask.graph.lazy_photometry import photometry_dataset
from tso3dask.graph.lazy_spectra import spectrum_dataset, white_light
from tso3dask.graph.optimal import fit_image, settled_setup
from tso3dask.graph.program import Block, Source
from tso3dask.graph.replacement import member_replacements, replace_stage
from tso3dask.graph.spectra import spectrum_setup
from tso3dask.graph.spectrum import SpectrumSetup
from tso3dask.graph.stages import FlagOutliers, Match, flag_stage, median_prologue, needs_median
from tso3dask.graph.temporal import FlagInTime
from tso3dask.io import reference
from tso3dask.io.pixels import ArraySpec
from tso3dask.io.segment import Segment
from tso3dask.ops.exposure_model import ExposureModel
from tso3dask.ops.medians import nanmedian_image
from tso3dask.schema import CUBES

__all__ = ["extract_1d", "outlier_detection", "pixel_replace", "tso_photometry", "white_light"]

_MATCHING = (FlagOutliers, FlagInTime, Match)
"""Stages after which NaN and DO_NOT_USE agree."""


def outlier_detection(
    dataset: xr.Dataset, *, model: ExposureModel | None = None, **parameters: Any
) -> xr.Dataset:
    """Flag outliers against the rolling median over time.

    Parameters
    ----------
    dataset : Dataset
        Cubes (integration, y, x): ``sci``, ``err``, ``dq`` and the variances that there are.
    model : ExposureModel, optional
        Model of the exposure, for parameters that need one.
    **parameters
        Of the step ``outlier_detection``, as ``snr="5.0 4.0"``.

    Returns
    -------
    Dataset
        DQ with OUTLIER and DO_NOT_USE at outliers; NaN and DO_NOT_USE agree in all cubes.

    Raises
    ------
    InputError
        For unknown parameters, missing cubes, or data that do not name their file.
    """
    steps = parse_steps({"outlier_detection": parameters})
    if steps.outlier_detection.boundary != "segment":
        raise InputError(
            "outlier_detection.boundary='exposure': a dataset has one segment; plan the observation"
        )
    stage = flag_stage(steps, dataset.sizes["integration"])
    if steps.outlier_detection.needs_model:
        stage = _modelled(stage, model, dataset)
    return with_stage(dataset, stage).assign_attrs(outlier_detection="COMPLETE")


def pixel_replace(
    dataset: xr.Dataset, *, model: ExposureModel | None = None, **parameters: Any
) -> xr.Dataset:
    """Replace bad pixels by estimates from their neighbours, or from other times.

    Parameters
    ----------
    dataset : Dataset
        Cubes (integration, y, x) of spectra: ``sci``, ``err``, ``dq`` and the variances that
        there are; flagged, if outliers are to be replaced too.
    model : ExposureModel, optional
        Model of the exposure, for ``algorithm="temporal"``.
    **parameters
        Of the step ``pixel_replace``, as ``algorithm="fit_profile"``, ``n_adjacent_cols=3``.

    Returns
    -------
    Dataset
        Replaced pixels have FLUX_ESTIMATED in place of DO_NOT_USE. `extract_1d` makes NaN and
        DO_NOT_USE agree again: a pixel of which a variance could not be estimated is lost again.

    Raises
    ------
    InputError
        For unknown parameters, missing cubes, an algorithm that is not supported for the mode, or
        data that do not name their file.
    """
    steps = parse_steps({"pixel_replace": {**parameters, "skip": False}})
    segment = segment_of(dataset)
    (stage,), _ = member_replacements([segment], steps)
    if stage is None:  # images, which a pipeline leaves as they are
        stage = replace_stage(segment, steps)
    _require_whole_images(dataset, segment)
    if steps.pixel_replace.needs_model:
        stage = _modelled(stage, model, dataset)
    replaced = with_stage(dataset, stage).assign_attrs(pixel_replace="COMPLETE")
    return replaced.assign_attrs(IN_TIME) if steps.pixel_replace.needs_model else replaced


def _modelled(stage: Any, model: ExposureModel | None, dataset: xr.Dataset) -> Any:
    """Give the model of the exposure to a stage."""
    nints = dataset.sizes["integration"]
    if model is None:
        raise InputError(
            f"{stage.step}: these parameters need the model of the exposure; give model=, as "
            "members of Plan.modelled have it"
        )
    if model.first > 0 or model.first + model.brightness.size < nints:
        raise InputError(
            f"{stage.step}: the model has integrations {model.first + 1} to "
            f"{model.first + model.brightness.size} of the segment, the dataset {nints}"
        )
    return stage.with_model(model)


def with_stage(dataset: xr.Dataset, stage: Any) -> xr.Dataset:
    """Append a stage to a dataset's program, or apply it to its arrays."""
    for name in ("sci", "err", "dq"):
        if name not in dataset:
            raise InputError(f"the dataset has no {name!r}; expected the cubes of a calints file")
    segment = segment_of(dataset)
    program = common_program(dataset)
    if program is not None and not (program.stages and needs_median(stage)):
        program = program.then(stage)
        tasks, constants = median_prologue(program)
        chunks = _chunks(dataset, "integration")
        made = program_dataset(segment, program, chunks, tasks, constants)
        cubes = {name: made[name].variable for name in program.source.names}
    else:
        cubes = {
            name: xr.Variable(("integration", "y", "x"), data, variable_attrs(segment, name))
            for name, data in _generic(dataset, stage).items()
        }
    return dataset.assign(cubes)


def _chunks(dataset: xr.Dataset, dim: str) -> tuple[int, ...]:
    chunks = dataset.chunksizes.get(dim)
    return tuple(chunks) if chunks else (dataset.sizes[dim],)


@dataclass(frozen=True)
class _Arrays:
    """Cubes in memory, described as a stage expects a source to be."""

    arrays: tuple[ArraySpec, ...]

    names = Source.names
    shape = Source.shape
    nints = Source.nints
    array = Source.array


def _generic(dataset: xr.Dataset, stage: Any) -> dict[str, da.Array]:
    """Apply a stage to arrays that are not, or not any more, the pixels of a file."""
    cubes = {name: variable.data for name, variable in cubes_of(dataset).items()}
    names = list(cubes)
    chunks = cubes["sci"].chunks[0]
    specs = tuple(ArraySpec(n, "", 0, np.dtype(d.dtype).str, 0, d.shape) for n, d in cubes.items())
    source: Any = _Arrays(specs)
    token = tokenize(stage, [d.name for d in cubes.values()])
    bounds = chunk_bounds(chunks)
    extra, constants = _generic_median(stage, cubes, token)
    layer = f"stage-{token}"
    tasks: dict[tuple[str, int], tuple[Any, ...]] = {}
    for i, (a, b) in enumerate(bounds):
        needed = stage.input_ranges(dict.fromkeys(names, (a, b)), source)
        pieces = [[name, *_overlapping(cubes[name].name, bounds, *needed[name])] for name in names]
        tasks[layer, i] = (staged_block, stage, source, a, b, names, pieces, constants)
    outputs = {n: (cubes[n].shape[1:], np.dtype(cubes[n].dtype)) for n in names}
    return picked_arrays(
        layer, tasks, outputs, chunks, extra=extra, upstream=list(cubes.values()), token=token
    )


def cubes_of(dataset: xr.Dataset) -> dict[str, xr.Variable]:
    """Cubes with equal chunks along ``integration`` only, in the types of a file."""
    cubes: dict[str, xr.Variable] = {}
    chunks = None
    for name in (n for n in CUBES if n in dataset):
        data = dataset[name].transpose("integration", "y", "x").data
        if not isinstance(data, da.Array):
            data = da.from_array(data, chunks=(-1, -1, -1))
        kind = np.uint32 if name == "dq" else np.float32
        data = data.astype(kind).rechunk({0: chunks or data.chunks[0], 1: -1, 2: -1})
        chunks = data.chunks[0]
        cubes[name] = xr.Variable(("integration", "y", "x"), settled(data), dataset[name].attrs)
    return cubes


def _overlapping(
    name: str, bounds: Sequence[tuple[int, int]], lo: int, hi: int
) -> tuple[int, int, int, list[Any]]:
    """Rows wanted, first row of the first chunk that holds any, and the chunks' keys."""
    held = [i for i, (a, b) in enumerate(bounds) if a < hi and b > lo]
    return lo, hi, bounds[held[0]][0], [(name, i, 0, 0) for i in held]


def _generic_median(
    stage: Any, cubes: Mapping[str, da.Array], token: str
) -> tuple[dict[Any, Any], list[Any]]:
    if not needs_median(stage):
        return {}, []
    key = f"median-{token}"
    blocks = [
        [(cubes[name].name, i, 0, 0) for i in range(len(cubes[name].chunks[0]))]
        for name in ("sci", "dq")
    ]
    return {key: (whole_median, stage, *blocks)}, [["median", key]]


def whole_median(stage: Any, sci: list[np.ndarray], dq: list[np.ndarray]) -> np.ndarray:
    """Task: median image of a segment given in chunks, as a stage needs it."""
    cube = np.concatenate(sci, axis=0)
    if isinstance(stage, FlagInTime):
        ny = cube.shape[1]
        return stage.median_image(cube, np.concatenate(dq, axis=0), cube.shape[1:], 0, ny)
    return nanmedian_image(cube)


def staged_block(
    stage: Any,
    source: Any,
    a: int,
    b: int,
    names: Sequence[str],
    pieces: Sequence[Sequence[Any]],
    constants: Sequence[Any],
) -> tuple[np.ndarray, ...]:
    """Task: a stage on the chunks that its rows overlap."""
    arrays, first = {}, {}
    for name, lo, hi, begin, blocks in pieces:
        whole = blocks[0] if len(blocks) == 1 else np.concatenate(blocks, axis=0)
        arrays[name] = np.ascontiguousarray(whole[lo - begin : hi - begin])
        first[name] = lo
    ranges = dict.fromkeys(names, (a, b))
    block = stage.apply(Block(arrays, first, {}), ranges, source, dict(constants), None)
    return tuple(block.arrays[name] for name in names)


def extract_1d(
    dataset: xr.Dataset,
    *,
    extract1d: str | Mapping[str, Any] | None = None,
    apcorr: str | None = None,
    psf: str | None = None,
    photom: str | None = None,
    model: ExposureModel | None = None,
    **parameters: Any,
) -> xr.Dataset | xr.DataTree:
    """Extract one spectrum from each integration.

    Parameters
    ----------
    dataset : Dataset
        Cubes (integration, y, x), flagged. The graph of changed ones of NIRISS SOSS holds SCI, ERR
        and DQ of all integrations at a time.
    extract1d : path or mapping, optional
        Extraction regions: a reference file or its content, or ``override_extract1d`` as
        everywhere else. Without it (or ``N/A``) the whole array is taken.
    apcorr : path, optional
        Aperture correction reference, or ``override_apcorr``.
    psf : path, optional
        PSF reference, for ``extraction_type="optimal"``, or ``override_psf``. Where its place is
        fitted, the dataset's first integration is computed at once.
    photom : path, optional
        Flux calibration of NIRISS SOSS; spectra are in DN/s without it.
    model : ExposureModel, optional
        Model of the exposure, for ``extraction_type="horne"`` and ``follow_trace``, as members of
        `Plan.modelled` have it.
    **parameters
        Of the step ``extract_1d``, as ``subtract_background=True``.

    Returns
    -------
    Dataset or DataTree
        ``flux`` and the other columns of an EXTRACT1D table, (integration, dispersion), with
        ``wavelength``. NIRISS SOSS has a node for each order, ``/order1`` and so on.

    Raises
    ------
    InputError
        For unknown parameters, or a file that has no spectrum.
    """
    steps = parse_steps({"extract_1d": parameters})
    reference.check_overrides(steps)
    segment = segment_of(dataset)
    if segment.exp_type == "NIS_SOSS":
        from tso3dask.graph.soss_lazy import spectra_of_orders

        _require_whole_images(dataset, segment)
        others: dict[str, Any] = {"photom": {"skip": photom is None}, "white_light": {"skip": True}}
        if photom is not None:
            others["photom"]["override_photom"] = photom
        everything = parse_steps({"extract_1d": parameters, **others})
        return spectra_of_orders(dataset, segment, everything, _rows(segment))
    given = steps.extract_1d.override_extract1d if extract1d is None else extract1d
    if isinstance(given, Mapping):
        reference.check_regions(given, "extract1d")
        regions: Mapping[str, Any] | None = given
    else:
        regions = reference.read_extract1d(given)
    correction = steps.extract_1d.override_apcorr if apcorr is None else apcorr
    table = reference.read_apcorr(correction, segment.exp_type)
    _require_whole_images(dataset, segment)
    profile = None
    if steps.extract_1d.extraction_type not in ("box", "horne"):
        given = steps.extract_1d.override_psf if psf is None else psf
        profile = reference.read_psf(given, segment.get("DISPAXIS"))
    setup, notes = spectrum_setup(segment, steps, regions, table, {}, profile)
    if setup is None:
        raise InputError(f"{segment.path}: " + "; ".join(notes))
    if setup.awaiting is not None:
        if model is None:
            raise InputError(
                "extract_1d: these parameters need the model of the exposure; give model=, as "
                "members of Plan.modelled have it"
            )
        setup = setup.with_model(model)
    if replaced_in_time(dataset):
        setup = replace(setup, whole_aperture=True)
    return spectra_of(dataset, segment, setup, steps.token())


def spectra_of(
    dataset: xr.Dataset, segment: Segment, setup: SpectrumSetup, content: str
) -> xr.Dataset:
    """Extract the spectra of a dataset with a setup made before; `content` names parameters."""
    program = common_program(dataset)
    if program is None or not program.stages or not isinstance(program.stages[-1], _MATCHING):
        dataset = with_stage(dataset, Match())
        program = common_program(dataset)
    if setup.unsettled is not None:
        if "var_rnoise" not in dataset:
            raise InputError(
                f"{segment.path}: the dataset has no 'var_rnoise', which "
                "optimize_psf_location needs; set it to False"
            )
        first = dataset[["sci", "var_rnoise"]].isel(integration=slice(0, 1)).compute()
        arrays = {
            str(name): first[name].transpose("integration", "y", "x").values for name in first
        }
        setup, _ = settled_setup(setup, fit_image(setup.unsettled.placed, arrays))
    pieces = None
    upstream: list[da.Array] = []
    if program is None:
        pieces, upstream = _pieces(dataset, ("sci", "var_poisson", "var_rnoise", "var_flat"))
    job = SpectrumJob(0, program, _rows(segment), str(segment.path), setup)
    names = [dataset[n].data.name for n in CUBES if n in dataset]
    token = tokenize(names, _content(setup), content)
    chunks = _chunks(dataset, "integration")
    times = {str(k): v for k, v in dataset.coords.items() if v.dims == ("integration",)}
    spectra = spectrum_dataset(segment, job, chunks, token, pieces, upstream, times)
    for step in ("outlier_detection", "pixel_replace"):
        if step in dataset.attrs:
            spectra.attrs[step] = dataset.attrs[step]
    return spectra


def _require_whole_images(dataset: xr.Dataset, segment: Segment) -> None:
    found = dataset.sizes["y"], dataset.sizes["x"]
    if found != (segment.ny, segment.nx):
        raise InputError(
            f"{segment.path}: images are {segment.ny}x{segment.nx}, but {found[0]}x{found[1]} in "
            "the dataset; positions and wavelengths are those of whole images, do not cut them"
        )


def _content(setup: SpectrumSetup) -> tuple[Any, ...]:
    """Everything of a setup that its numbers depend on, for names of tasks."""
    correction = setup.correction
    return (
        list(vars(setup.plan).items()),
        setup.wavelength,
        setup.source_type,
        setup.photom_complete,
        setup.pixel_area,
        None if correction is None else list(vars(correction).items()),
        setup.whole_aperture,
    )


def _pieces(dataset: xr.Dataset, names: Sequence[str]) -> tuple[list[Any], list[da.Array]]:
    """Key of each cube for each chunk, and the arrays."""
    arrays = {name: dataset[name].data for name in names if name in dataset}
    count = len(dataset["sci"].data.chunks[0])
    pieces = [[[n, (d.name, i, 0, 0)] for n, d in arrays.items()] for i in range(count)]
    return pieces, list(arrays.values())


def tso_photometry(
    dataset: xr.Dataset,
    *,
    gain: str | None = None,
    model: ExposureModel | None = None,
    **parameters: Any,
) -> xr.Dataset:
    """Aperture photometry of each integration.

    Parameters
    ----------
    dataset : Dataset
        Cubes (integration, y, x) of one segment, flagged.
    gain : path, optional
        Gain reference, needed for data in DN/s, or ``override_gain``.
    model : ExposureModel, optional
        Model of the exposure, as members of `Plan.modelled` have it: apertures are at its places.
    **parameters
        Of the step ``tso_photometry``, as ``radius=3.0``.

    Returns
    -------
    Dataset
        Columns of the photometry table, (integration,).

    Raises
    ------
    InputError
        For unknown parameters or keywords that are missing.
    """
    steps = parse_steps({"tso_photometry": parameters})
    segment = segment_of(dataset)
    _require_whole_images(dataset, segment)
    if dataset.sizes["integration"] != segment.nints:
        raise InputError(
            f"{segment.path}: has {segment.nints} integrations, the dataset "
            f"{dataset.sizes['integration']}; give all of them and select rows of the result"
        )
    override = steps.tso_photometry.override_gain
    gain = gain or (None if override in (None, "N/A") else override)
    image = None if gain is None else reference.read_gain(gain, segment)
    setup, _ = imaging_setup(segment, steps, image)
    if model is not None:
        setup = replace(setup, by_model=True).with_model(model)
    return photometry_of(dataset, segment, setup, tokenize(steps.token(), gain, model))


def photometry_of(
    dataset: xr.Dataset, segment: Segment, setup: ImagingSetup, content: str
) -> xr.Dataset:
    """Photometry of a dataset with a setup made before; `content` names parameters."""
    program = common_program(dataset)
    pieces = None
    upstream: list[da.Array] = []
    if program is None:
        dataset = dataset.assign(cubes_of(dataset))
        pieces, upstream = _pieces(dataset, ("sci", "err", "dq"))
    token = tokenize([dataset[n].data.name for n in CUBES if n in dataset], content)
    job = ImagingJob(0, program, _rows(segment), str(segment.path), setup)
    chunks = _chunks(dataset, "integration")
    return photometry_dataset(segment, job, chunks, token, pieces, upstream)


def _rows(segment: Segment) -> int:
    fewest, most = SUB_BLOCK_ROWS
    return min(max(fewest, SUB_BLOCK_BYTES // segment.bytes_per_integration), most)
