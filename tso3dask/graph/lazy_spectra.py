"""Spectra and white light of one segment as lazy datasets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
from dask.tokenize import tokenize

from tso3dask.errors import InputError
from tso3dask.graph.arrays import picked_arrays, settled
from tso3dask.graph.build import Pieces, spectrum_prologue
from tso3dask.graph.chunking import chunk_bounds
from tso3dask.graph.dataset import coordinates
from tso3dask.graph.extraction import SpectrumJob, spectral_block
from tso3dask.graph.soss import OrderSetup
from tso3dask.graph.spectrum import SpectrumSetup
from tso3dask.io.segment import Segment
from tso3dask.ops.curves import LightCurves
from tso3dask.schema import EXTRACTED_COLUMNS

__all__ = ["label_spectra", "light_curves", "measured_curves", "spectrum_dataset", "white_light"]

_MEANINGS = {
    "flux": "flux of the source",
    "surf_bright": "surface brightness of the source",
    "background": "background per pixel",
    "npixels": "weight of the pixels that were summed",
    "dq": "data quality bits",
}


def spectrum_dataset(
    segment: Segment,
    job: SpectrumJob,
    chunks: Sequence[int],
    token: str,
    pieces: Pieces | None = None,
    upstream: Sequence[da.Array] = (),
    coords: Mapping[str, Any] | None = None,
) -> xr.Dataset:
    """Lazy spectra of one segment.

    Parameters
    ----------
    segment : Segment
        For coordinates and attributes.
    job : SpectrumJob
        Program and extraction.
    chunks : sequence of int
        Lengths along ``integration``.
    token : str
        Content name.
    pieces, upstream : sequence, optional
        Cubes of each chunk and the arrays that they are chunks of, for a job without a program.
    coords : mapping, optional
        Numbers and times of the integrations; those of the segment by default.

    Returns
    -------
    xarray.Dataset
        Columns of the EXTRACT1D table in lower case, (integration, dispersion).
    """
    setup = job.setup
    assert setup is not None
    bounds = chunk_bounds(chunks)
    graph, key, constants, factor = spectrum_prologue(job, token, len(bounds), pieces)
    names = list(EXTRACTED_COLUMNS)
    layer = f"spectra-{token}"
    tasks = {
        (layer, i): (spectral_block, key, a, b, constants[i], factor, names)
        for i, (a, b) in enumerate(bounds)
    }
    outputs = {
        n.lower(): ((setup.wavelength.size,), "uint32" if n == "DQ" else "float64") for n in names
    }
    arrays = picked_arrays(
        layer,
        tasks,
        outputs,
        chunks,
        extra=graph.tasks,
        upstream=upstream,
        token=f"spectra-{token}",
    )
    return label_spectra(segment, setup, arrays, coordinates(segment) if coords is None else coords)


def label_spectra(
    segment: Segment,
    setup: SpectrumSetup | OrderSetup,
    arrays: Mapping[str, Any],
    times: Mapping[str, Any],
) -> xr.Dataset:
    """Give spectra their names, units and coordinates."""
    variables = {}
    for name, data in arrays.items():
        own = {"long_name": _MEANINGS.get(name, name.replace("_", " "))}
        if name.upper() in setup.units:
            own["units"] = setup.units[name.upper()]
        variables[name] = xr.Variable(("integration", "dispersion"), data, own)
    coords: dict[str, Any] = dict(times)
    coords["wavelength"] = xr.Variable(
        "dispersion", setup.wavelength, {"units": "um", "long_name": "wavelength"}
    )
    attrs: dict[str, Any] = {
        "path": str(segment.path),
        "exp_type": segment.exp_type,
        "detector": segment.detector,
        "spectral_order": setup.spectral_order,
        "slit_name": setup.slit_name or "",
        "source_type": setup.source_type or "",
        "dispaxis": setup.dispaxis,
        "ra": setup.ra,
        "dec": setup.dec,
        "limits": None if setup.limits is None else list(setup.limits),
    }
    return xr.Dataset(variables, coords=coords, attrs=attrs)


def white_light(
    spectra: xr.Dataset, min_wavelength: float = -1.0, max_wavelength: float = 1e10
) -> xr.DataArray:
    """Sum spectra over a range of wavelengths.

    Parameters
    ----------
    spectra : Dataset
        With ``flux`` (integration, dispersion) and the coordinate ``wavelength``.
    min_wavelength, max_wavelength : float
        Inclusive limits, micrometres.

    Returns
    -------
    DataArray
        (integration,); NaN where an integration has no flux in range.
    """
    from tso3dask.ops.whitelight import white_light_sums

    flux = spectra["flux"]
    wavelength = np.asarray(spectra["wavelength"].values)
    data = flux.transpose("integration", "dispersion").data
    if isinstance(data, da.Array):
        data = data.rechunk({1: -1})
        summed = data.map_blocks(
            white_light_sums,
            wavelength,
            min_wavelength,
            max_wavelength,
            drop_axis=1,
            dtype="float64",
            meta=np.empty(0),
        )
    else:
        summed = white_light_sums(np.asarray(data), wavelength, min_wavelength, max_wavelength)
    coords = {k: v for k, v in flux.coords.items() if v.dims == ("integration",)}
    attrs = {"units": flux.attrs.get("units", ""), "long_name": "flux summed over wavelength"}
    if "path" in spectra.attrs:
        attrs["path"] = spectra.attrs["path"]
    return xr.DataArray(summed, dims="integration", coords=coords, attrs=attrs, name="white_light")


def light_curves(spectra: xr.Dataset, **parameters: Any) -> xr.Dataset:
    """Sum lazy spectra over channels.

    Parameters
    ----------
    spectra : Dataset
        With ``flux`` and ``flux_error`` (integration, dispersion) and the coordinate
        ``wavelength``.
    **parameters
        Of the step ``light_curves``, as ``resolving_power=50``.

    Returns
    -------
    Dataset
        ``flux`` and ``flux_error`` (integration, channel), with ``wavelength``, ``width``,
        ``wavelength_low`` and ``wavelength_high`` of the channels, um.

    Raises
    ------
    InputError
        For unknown parameters, or channels that the spectra do not reach.
    """
    from tso3dask.config import parse_steps
    from tso3dask.graph.curves import edges_for
    from tso3dask.ops.channels import channel_plan

    step = parse_steps({"light_curves": {"skip": False, **parameters}}).light_curves
    wavelength = np.asarray(spectra["wavelength"].values)
    plan = channel_plan(wavelength, edges_for(wavelength, step))
    found = measured_curves(spectra, LightCurves(wavelength, channels=plan))
    low, high = plan.edges.T
    numbers = {"wavelength": (low + high) / 2, "width": high - low}
    numbers |= {"wavelength_low": low, "wavelength_high": high}
    times = {str(k): v for k, v in spectra.coords.items() if v.dims == ("integration",)}
    coords: dict[str, Any] = dict(times)
    coords |= {n: xr.Variable("channel", v, {"units": "um"}) for n, v in numbers.items()}
    series = {"flux": found["channels"], "flux_error": found["channels_error"]}
    return xr.Dataset(series, coords=coords)


def measured_curves(spectra: xr.Dataset, curves: LightCurves) -> dict[str, xr.DataArray]:
    """Light curves of lazy spectra.

    Parameters
    ----------
    spectra : Dataset
        With ``flux`` and ``flux_error`` (integration, dispersion).
    curves : LightCurves
        What is summed.

    Returns
    -------
    dict of DataArray
        The series of `LightCurves.shapes`, (integration,) or (integration, channel).

    Raises
    ------
    InputError
        If there are no errors though they are wanted.
    """
    shapes = curves.shapes
    if len(shapes) == 1:
        return {"white": white_light(spectra, *curves.limits)}
    inputs: list[da.Array] = []
    for name in ("flux", "flux_error"):
        if name not in spectra:
            raise InputError(f"spectra have no '{name}', which light curves with errors need")
        data = spectra[name].transpose("integration", "dispersion").data
        array = data if isinstance(data, da.Array) else da.from_array(np.asarray(data), chunks=-1)
        rows = inputs[0].chunks[0] if inputs else array.chunks[0]
        inputs.append(settled(array.rechunk((rows, -1))))
    flux, error = inputs
    token = f"curves-{tokenize(flux.name, error.name, curves)}"
    tasks = {
        (token, i): (measured_block, curves, (flux.name, i, 0), (error.name, i, 0))
        for i in range(flux.numblocks[0])
    }
    outputs = {name: (shape, "float64") for name, shape in shapes.items()}
    arrays = picked_arrays(token, tasks, outputs, flux.chunks[0], upstream=inputs, token=token)
    dims = {0: ("integration",), 1: ("integration", "channel")}
    unit = {"units": spectra["flux"].attrs.get("units", "")}
    return {name: xr.DataArray(a, dims=dims[a.ndim - 1], attrs=unit) for name, a in arrays.items()}


def measured_block(
    curves: LightCurves, flux: np.ndarray, error: np.ndarray
) -> tuple[np.ndarray, ...]:
    """Task: light curves of the spectra of some integrations."""
    return tuple(curves.measure({"FLUX": flux, "FLUX_ERROR": error}).values())
