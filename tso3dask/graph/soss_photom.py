"""Flux calibration of NIRISS SOSS spectra that are open as a data model."""

from __future__ import annotations

from typing import Any

import numpy as np

from tso3dask.config import PipelineParameters
from tso3dask.errors import InputError

__all__ = ["calibrate"]

_LINEAR = ("FLUX", "FLUX_ERROR", "BACKGROUND", "BKGD_ERROR")
_SQUARES = tuple(
    f"{of}_{kind}" for of in ("FLUX", "BKGD") for kind in ("VAR_POISSON", "VAR_RNOISE", "VAR_FLAT")
)


def calibrate(model: Any, parameters: PipelineParameters) -> Any:
    """Calibrate the spectra of a TSOMultiSpecModel in place, and return it.

    Parameters
    ----------
    model : TSOMultiSpecModel
        Spectra in DN/s.
    parameters : PipelineParameters
        Parameters of the step.

    Raises
    ------
    InputError
        If the model has no SOSS spectra, or there is no reference.
    """
    from tso3dask.io.bestrefs import find_reference
    from tso3dask.io.soss_references import read_photom
    from tso3dask.ops.soss.photom import conversion_factors, select_row, time_corrections

    meta = model.meta
    if meta.exposure.type != "NIS_SOSS" or not hasattr(model, "spec"):
        raise InputError(
            f"photom: is for spectra of NIS_SOSS, not for {type(model).__name__} of "
            f"{meta.exposure.type}, which arrives calibrated"
        )
    file = find_reference(parameters, "photom", model.get_crds_parameters(), "photom")
    if file.path is None:
        meta.cal_step.photom = "SKIPPED"
        return model
    reference = read_photom(file.path)
    corrections = np.ones(len(reference.table["order"]))
    if parameters.photom.apply_time_correction:
        time = meta.exposure.mid_time
        corrections = time_corrections(reference.time_coefficients, time, len(corrections))
    for spectrum in model.spec:
        names = str(meta.instrument.filter), str(meta.instrument.pupil)
        row = select_row(reference.table, *names, spectrum.spectral_order)
        if row is None:
            break
        table = spectrum.spec_table
        wavelength = np.array(table["WAVELENGTH"][0], np.float64)
        factor = conversion_factors(reference.table, row, wavelength, float(corrections[row]))
        for name in (*_LINEAR, *_SQUARES):
            table[name] = table[name] * (factor if name in _LINEAR else factor**2)
            table.columns[name].unit = "MJy" if name in _LINEAR else "MJy^2"
    meta.cal_step.photom = "COMPLETE"
    return model
