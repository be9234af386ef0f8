"""Reference files that match a simulated observation, so that it runs without a server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from .geometry import Trace, soss_optics, traces_of
from .recipe import Recipe
from .soss_references import write_soss_references

__all__ = ["NOT_NEEDED", "write_references"]

NOT_NEEDED = "N/A"
_PSF_WAVES = 50
_PSF_SUBPIX = 5
_PSF_REACH = 8
_SOSS_RANGES = {1: (0.95, 2.7), 2: (0.65, 0.95), 3: (0.63, 0.95)}


def write_references(
    recipe: Recipe, directory: Path
) -> tuple[dict[str, Path], dict[str, dict[str, Any]]]:
    """Write the references of the mode and the step parameters that point to them.

    Parameters
    ----------
    recipe : what is simulated.
    directory : folder to write to.

    Returns
    -------
    references : path by reference type.
    steps : ``{step: {parameter: value}}`` with absolute paths; "N/A" where a step needs nothing.
    """
    mode = recipe.mode
    root = f"{mode.name}_sim"
    files = {"gain": directory / f"{root}_gain.fits"}
    _write_gain(recipe, files["gain"])
    if mode.imaging:
        return files, {"tso_photometry": {"override_gain": str(files["gain"])}}
    if mode.exp_type == "NIS_SOSS":
        files["wavelengthrange"] = directory / f"{root}_wavelengthrange.asdf"
        _write_wavelengthrange(recipe, files["wavelengthrange"])
        return files, _soss_steps(recipe, directory, files)
    files["extract1d"] = directory / f"{root}_extract1d.json"
    _write_extract1d(recipe, files["extract1d"])
    extract = {
        "override_extract1d": str(files["extract1d"]),
        "override_apcorr": NOT_NEEDED,
        "override_psf": NOT_NEEDED,
    }
    if mode.instrument in ("MIRI", "NIRSPEC"):
        files["psf"] = directory / f"{root}_psf.fits"
        _write_psf(recipe, files["psf"])
        extract["override_psf"] = str(files["psf"])
    writer = {"MIR_LRS-SLITLESS": _write_lrs_apcorr, "NRS_BRIGHTOBJ": _write_nirspec_apcorr}.get(
        mode.exp_type
    )
    if writer is not None:
        files["apcorr"] = directory / f"{root}_apcorr.fits"
        writer(recipe, files["apcorr"])
        extract["override_apcorr"] = str(files["apcorr"])
    return files, {"extract_1d": extract}


def _soss_steps(
    recipe: Recipe, directory: Path, files: dict[str, Path]
) -> dict[str, dict[str, Any]]:
    """Write the references of SOSS extraction; small arrays have none and skip it."""
    white_light = {"override_wavelengthrange": str(files["wavelengthrange"])}
    optics = soss_optics(recipe.mode, recipe.shape)
    if optics is None:
        return {
            "extract_1d": {"skip": True},
            "photom": {"skip": True},
            "white_light": white_light,
        }
    files |= write_soss_references(recipe, optics, directory, _describe)
    return {
        "extract_1d": {
            f"override_{name}": str(files[name])
            for name in ("pastasoss", "specprofile", "speckernel")
        },
        "photom": {"override_photom": str(files["photom"]), "override_area": NOT_NEEDED},
        "white_light": white_light,
    }


def _describe(model: Any, recipe: Recipe, reftype: str) -> None:
    """Fill in what every reference file must say about itself."""
    mode = recipe.mode
    model.meta.telescope = "JWST"
    model.meta.reftype = reftype
    model.meta.pedigree = "DUMMY"
    model.meta.author = "tso3dask simulator"
    model.meta.description = f"{reftype} reference of the simulated mode {mode.name}"
    model.meta.useafter = "2022-01-01T00:00:00"
    model.meta.instrument.name = mode.instrument
    model.meta.exposure.type = mode.exp_type


def _write_gain(recipe: Recipe, path: Path) -> None:
    """Gain of the subarray, e/DN; slightly different from pixel to pixel."""
    from stdatamodels.jwst.datamodels import GainModel

    mode = recipe.mode
    ny, nx = recipe.shape
    y, x = np.indices((ny, nx)) / max(ny, nx)
    with GainModel(data=(mode.gain * (1 + 0.01 * (x - y))).astype(np.float32)) as model:
        _describe(model, recipe, "gain")
        model.meta.instrument.detector = mode.detectors[0]
        model.meta.subarray.name = mode.subarray
        model.meta.subarray.xstart, model.meta.subarray.ystart = mode.corner
        model.meta.subarray.xsize, model.meta.subarray.ysize = nx, ny
        model.meta.subarray.fastaxis = 1 if mode.instrument == "MIRI" else -1
        model.meta.subarray.slowaxis = 2
        model.save(str(path))


def _aperture(recipe: Recipe, traces: list[Trace]) -> dict[str, Any]:
    """Place an extraction aperture, with background on both sides where there is room.

    Positions are those of a source at its nominal place; NIRSpec's is moved to each detector's
    trace, so what must stay clear of the star is measured from the middle of its trace.
    """
    mode = recipe.mode
    dispaxis = traces[0].dispaxis
    n_along, n_across = recipe.shape[::-1] if dispaxis == 1 else recipe.shape
    follows = mode.slit is not None
    centres = [trace.centre_at(trace.pixels) for trace in traces]
    if follows:
        middles = [float(trace.centre_at(np.array(n_along // 2))) for trace in traces]
    else:
        middles = [float(np.mean(centre)) for centre in centres]
    centre = round(float(np.mean(middles)))
    bow = max(float(np.max(np.abs(c - m))) for c, m in zip(centres, middles, strict=True))
    sigma = max(float(np.max(trace.sigma_at(trace.pixels))) for trace in traces)
    half = min(round(3.2 * sigma + (0 if follows else bow)), n_across // 4)
    axis = "y" if dispaxis == 1 else "x"
    aperture: dict[str, Any] = {
        "id": mode.slit or mode.exp_type,
        "region_type": "target",
        "dispaxis": dispaxis,
        f"{axis}start": centre - half,
        f"{axis}stop": centre + half,
    }
    if follows:
        aperture["extract_width"] = 2 * half + 1
    room = half + min(2.0, n_across / 16) + (bow if follows else 0)
    shift = max(abs(m - centre) for m in middles)
    sides = [(0.5 + shift, centre - room), (centre + room, n_across - 1.5 - shift)]
    sides = [side for side in sides if side[1] - side[0] >= 2.0]
    if sides:
        aperture["bkg_coeff"] = [[round(value, 2)] for side in sides for value in side]
        aperture["bkg_order"] = 0
        aperture["bkg_fit"] = "median" if mode.instrument == "NIRCAM" else "poly"
    return aperture


def _all_traces(recipe: Recipe) -> list[Trace]:
    """First-order traces of the mode's detectors."""
    return [traces_of(recipe.mode, name, recipe.shape)[0] for name in recipe.mode.detectors]


def _write_extract1d(recipe: Recipe, path: Path) -> None:
    content = {
        "reftype": "EXTRACT1D",
        "instrument": recipe.mode.instrument,
        "exp_type": recipe.mode.exp_type,
        "pedigree": "DUMMY",
        "apertures": [_aperture(recipe, _all_traces(recipe))],
    }
    path.write_text(json.dumps(content, indent=1) + "\n")


def _correction(wave: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Factor to the whole flux for an aperture of `size` pixels, growing with wavelength."""
    return 1.0 + 0.8 * (0.6 + 0.08 * wave) * np.exp(-size / (2.5 + 0.2 * wave))


def _write_lrs_apcorr(recipe: Recipe, path: Path) -> None:
    from stdatamodels.jwst.datamodels import MirLrsApcorrModel

    wave = np.linspace(4.5, 14.5, 40, dtype=np.float32)
    size = np.arange(1, 21, dtype=np.uint8)
    table = np.zeros(
        1,
        dtype=[
            ("subarray", "S17"),
            ("wavelength", "f4", wave.shape),
            ("nelem_wl", "i2"),
            ("size", "u1", size.shape),
            ("nelem_size", "i2"),
            ("apcorr", "f4", (len(wave), len(size))),
            ("apcorr_err", "f4", (len(wave), len(size))),
        ],
    )
    table["subarray"] = recipe.mode.subarray
    table["wavelength"], table["size"] = wave, size
    table["nelem_wl"], table["nelem_size"] = len(wave), len(size)
    table["apcorr"] = _correction(wave[:, None], size[None, :].astype(float))
    with MirLrsApcorrModel(apcorr_table=table) as model:
        model.sizeunit = "pixels"
        _describe(model, recipe, "apcorr")
        model.save(str(path))


def _write_nirspec_apcorr(recipe: Recipe, path: Path) -> None:
    """Axes of the factors are (size, wavelength, pixel phase), the order in which they are used."""
    from stdatamodels.jwst.datamodels import NrsFsApcorrModel

    waves = np.concatenate([trace.waves for trace in _all_traces(recipe)])
    wave = np.linspace(waves.min() * 0.98, waves.max() * 1.02, 60, dtype=np.float32)
    size = np.arange(1, 16, dtype=np.float32)
    phase = np.linspace(0, 1, 11, dtype=np.float32)
    cube = (len(size), len(wave), len(phase))
    table = np.zeros(
        1,
        dtype=[
            ("filter", "S12"),
            ("grating", "S15"),
            ("slit", "S15"),
            ("wavelength", "f4", wave.shape),
            ("nelem_wl", "i2"),
            ("size", "f4", (len(size), len(wave))),
            ("nelem_size", "i2"),
            ("pixphase", "f4", phase.shape),
            ("apcorr", "f4", cube),
            ("apcorr_err", "f4", cube),
        ],
    )
    table["filter"], table["grating"] = recipe.mode.filter, recipe.mode.grating
    table["slit"] = recipe.mode.slit
    table["wavelength"], table["pixphase"] = wave, phase
    table["size"] = size[:, None]
    table["nelem_wl"], table["nelem_size"] = len(wave), len(size)
    factor = _correction(wave[None, :, None], size[:, None, None])
    table["apcorr"] = factor * (1 + 0.01 * (phase - 0.5) ** 2)
    with NrsFsApcorrModel(apcorr_table=table) as model:
        model.sizeunit = "pixels"
        _describe(model, recipe, "apcorr")
        model.save(str(path))


def _write_psf(recipe: Recipe, path: Path) -> None:
    """Profile across the dispersion at each wavelength, with that of the simulated traces."""
    from stdatamodels.jwst.datamodels import SpecPsfModel

    traces = _all_traces(recipe)
    waves = np.concatenate([trace.waves for trace in traces])
    wave = np.linspace(waves.min(), waves.max(), _PSF_WAVES)
    orders = [np.argsort(trace.waves) for trace in traces]
    widths = [
        np.interp(wave, trace.waves[order], trace.sigma_at(trace.pixels)[order])
        for trace, order in zip(traces, orders, strict=True)
    ]
    sigma = np.mean(widths, axis=0)
    half = int(np.ceil(_PSF_REACH * sigma.max() * _PSF_SUBPIX))
    offset = (np.arange(2 * half + 1) - half) / _PSF_SUBPIX
    image = np.exp(-0.5 * (offset / sigma[:, None]) ** 2)
    horizontal = traces[0].dispaxis == 1
    with SpecPsfModel() as model:
        _describe(model, recipe, "psf")
        model.apertures.append(model.apertures.item())
        psf = model.apertures[0]
        psf.name = "ANY"
        psf.subpix = _PSF_SUBPIX
        psf.center_row, psf.center_col = (half, 0) if horizontal else (0, half)
        psf.data = np.ascontiguousarray(image.T) if horizontal else image
        psf.wave = wave
        model.save(str(path))


def _write_wavelengthrange(recipe: Recipe, path: Path) -> None:
    from stdatamodels.jwst.datamodels import WavelengthrangeModel

    rows = [[order, recipe.mode.filter, *_SOSS_RANGES[order]] for order in (1, 2, 3)]
    with WavelengthrangeModel(wrange=rows, order=[1, 2, 3], wunits="micron") as model:
        model.waverange_selector = [recipe.mode.filter]
        _describe(model, recipe, "wavelengthrange")
        model.save(str(path))
