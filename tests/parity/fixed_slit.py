"""Time series through the slit of MIRI's low-resolution spectrometer.

The simulator has the slitless mode alone. Its members are made into ones of the slit here:
keywords, dither position, and the coordinate system that jwst builds from a distortion and a table
of the trace, which are made up.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from harness import Input

__all__ = ["DITHERS", "in_slit"]

EXP_TYPE = "MIR_LRS-FIXEDSLIT"
PLACE = (19.6, 55.0)
"""Nominal place of the source in the array: x, y, 0-based."""
CORNER = (301, 251)
SCALE = 0.11
V2V3 = (-414.99, -400.69)
DITHERS = ((-0.21, 0.03), (0.34, 0.03))
"""Offsets from the middle of the slit in the two places of the source, arcseconds."""


def in_slit(
    stored: bool = True,
    dithers: tuple[tuple[float, float] | None, ...] = DITHERS,
) -> Callable[[Input], Input]:
    """Make members of the slitless mode into such of the slit.

    Parameters
    ----------
    stored : bool
        Whether members keep an image of wavelengths.
    dithers : tuple
        Offset of each exposure; None for one that is not in the header.
    """

    def edit(given: Input) -> Input:
        references = _references(given.folder)
        for path in given.members:
            _change_member(path, references, stored, dithers)
        steps = {name: dict(values) for name, values in given.steps.items()}
        if steps["extract_1d"]["override_extract1d"] != "N/A":
            _change_extraction(Path(steps["extract_1d"]["override_extract1d"]))
        path = given.folder / "slit_apcorr.fits"
        _write_correction(path)
        if steps["extract_1d"].get("override_apcorr") != "N/A":
            steps["extract_1d"]["override_apcorr"] = str(path)
        return replace(given, steps=steps)

    return edit


def _change_member(
    path: Path,
    references: dict[str, str],
    stored: bool,
    dithers: tuple[tuple[float, float] | None, ...],
) -> None:
    from gwcs import WCS
    from gwcs.wcstools import grid_from_bounding_box
    from jwst.assign_wcs import miri
    from stdatamodels.jwst import datamodels

    with datamodels.open(path) as model:
        model.meta.exposure.type = EXP_TYPE
        model.meta.subarray.name = "FULL"
        model.meta.subarray.xstart, model.meta.subarray.ystart = CORNER
        info = model.meta.wcsinfo
        info.v2_ref, info.v3_ref = V2V3
        info.v3yangle, info.vparity = 4.8, -1
        info.ra_ref, info.dec_ref, info.roll_ref = 217.32667, -3.44449, 37.5
        info.velosys = -12345.0
        model.meta.velocity_aberration.scale_factor = 1.00003
        model.meta.wcs = WCS(miri.lrs(model, references))
        number = int(model.meta.observation.exposure_number or 1)
        offset = dithers[(number - 1) % len(dithers)]
        if offset is None:
            model.meta.dither.dithered_ra = model.meta.dither.dithered_dec = None
        else:
            model.meta.dither.x_offset, model.meta.dither.y_offset = offset
            miri.store_dithered_position(model)
        if stored:
            x, y = grid_from_bounding_box(model.meta.wcs.bounding_box)
            image = np.full(model.data.shape[-2:], np.nan, np.float32)
            waves = model.meta.wcs(x, y)[2]
            inside = (y < image.shape[0]) & (x < image.shape[1]) & (x >= 0) & (y >= 0)
            image[y[inside].astype(int), x[inside].astype(int)] = waves[inside]
            model.wavelength = image
        model.save(path)


def _references(folder: Path) -> dict[str, str]:
    """Write a distortion and the table of the trace; return their paths."""
    from astropy.modeling.models import Rotation2D, Scale, Shift
    from stdatamodels.jwst.datamodels import DistortionModel, MiriLRSSpecwcsModel

    x0, y0 = PLACE[0] + CORNER[0] - 1, PLACE[1] + CORNER[1] - 1
    place = Shift(-x0) & Shift(-y0)
    turned = Rotation2D(4.8) | Scale(-SCALE) & Scale(SCALE)
    distortion = DistortionModel(model=place | turned | Shift(V2V3[0]) & Shift(V2V3[1]))
    paths = {kind: str(folder / f"slit_{kind}.asdf") for kind in ("distortion", "specwcs")}
    paths["specwcs"] = paths["specwcs"].replace(".asdf", ".fits")
    about = {"pedigree": "DUMMY", "author": "tests", "description": "made up"}
    about |= {"useafter": "2022-01-01T00:00:00", "telescope": "JWST"}
    for name, value in about.items():
        setattr(distortion.meta, name, value)
    distortion.meta.instrument.name = "MIRI"
    distortion.meta.instrument.detector = "MIRIMAGE"
    distortion.meta.exposure.type = EXP_TYPE
    distortion.meta.input_units = distortion.meta.output_units = "pixel"
    distortion.save(paths["distortion"])
    y = np.arange(2.0, -51.0, -1.0)  # from the zero point, the red end last, as in the real table
    names = ("x_center", "y_center", "wavelength", *(f"{a}{i}" for i in range(4) for a in "xy"))
    table = np.zeros(len(y), [(name, "f4") for name in names])
    table["y_center"] = y
    table["x_center"] = 0.9 * (y / 50.0) ** 2 + 0.25 * y / 50.0
    table["wavelength"] = 5.2 + 8.5 * (-(y - 2.0) / 52.0) ** 0.7
    for corner, (left, up) in enumerate(((-1, 1), (1, 1), (1, -1), (-1, -1))):
        table[f"x{corner}"], table[f"y{corner}"] = 14.0 * left, y + 0.5 * up
    model = MiriLRSSpecwcsModel(
        wavetable=table,
        x_ref=PLACE[0] + 1,
        y_ref=PLACE[1] + 1,
        x_ref_slitless=PLACE[0] + 1,
        y_ref_slitless=PLACE[1] + 1,
    )
    for name, value in about.items():
        setattr(model.meta, name, value)
    model.meta.instrument.detector = "MIRIMAGE"
    model.save(paths["specwcs"])
    return paths


def _change_extraction(path: Path) -> None:
    content = json.loads(path.read_text())
    (aperture,) = content["apertures"]
    aperture.update(id=EXP_TYPE, extract_width=7.0)
    path.write_text(json.dumps(content))


def _write_correction(path: Path) -> None:
    from stdatamodels.jwst.datamodels import MirLrsApcorrModel

    waves = np.linspace(4.5, 14.5, 30, dtype=np.float32)
    sizes = np.arange(1, 16, dtype=np.uint8)
    kinds = [("subarray", "S15"), ("wavelength", "f4", waves.shape), ("nelem_wl", "i2")]
    kinds += [("size", "u1", sizes.shape), ("nelem_size", "i2")]
    kinds += [(name, "f4", (len(waves), len(sizes))) for name in ("apcorr", "apcorr_err")]
    table = np.zeros(2, kinds)
    table["subarray"] = ["SLITLESSPRISM", "FULL"]
    table["wavelength"], table["nelem_wl"] = waves, len(waves)
    table["size"], table["nelem_size"] = sizes, len(sizes)
    for row, strength in enumerate((0.2, 0.7)):
        table["apcorr"][row] = 1 + strength * np.exp(
            -sizes.astype(float) / (2 + 0.2 * waves[:, None])
        )
    with MirLrsApcorrModel(apcorr_table=table) as model:
        model.sizeunit = "pixels"
        model.meta.telescope, model.meta.reftype = "JWST", "apcorr"
        model.meta.pedigree, model.meta.author = "DUMMY", "tests"
        model.meta.description, model.meta.useafter = "made up", "2022-01-01T00:00:00"
        model.meta.instrument.name = "MIRI"
        model.meta.exposure.type = EXP_TYPE
        model.save(str(path))
