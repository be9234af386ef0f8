"""Replacement of bad pixels beside the field's own, bit for bit, on cubes in memory."""

import logging
import warnings

import numpy as np
import pytest

from tso3dask.ops.pixel_replace import fit_profile, mingrad

pytest.importorskip("jwst")
pytestmark = pytest.mark.parity

VARIANCES = ("var_poisson", "var_rnoise", "var_flat")
BRIGHTNESS = (1000.0, 3.0, 0.0, 20.0)


def make_cubes(seed, shape):
    """A trace, or noise of any size, with every kind of damage and flag."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[1], : shape[2]]
    across = y if seed % 2 == 0 else x
    trace = np.exp(-0.5 * ((across - across.max() / 2.2) / 2) ** 2) * (1 + 0.1 * np.sin(x / 7))
    sci = BRIGHTNESS[seed % 4] * trace + random.normal(0, 5, shape)
    if seed % 8 == 6:
        sci = random.normal(0, 1, shape) * 10 ** random.uniform(-3, 3, shape)
    cubes = {"sci": sci, "err": np.sqrt(np.abs(sci)) + random.uniform(5, 6, shape)}
    cubes["var_poisson"] = np.abs(sci)
    cubes["var_rnoise"] = random.uniform(1, 2, shape)
    cubes["var_flat"] = random.uniform(0, 1e-3, shape)
    cubes = {name: cube.astype(np.float32) for name, cube in cubes.items()}
    dq = np.zeros(shape, np.uint32)
    for share, flags in ((0.06, 1), (0.02, 4), (0.01, 513), (0.01, 512), (0.01, 1 << 28)):
        dq[random.random(shape) < share] |= np.uint32(flags)
    dq[random.random(shape) < 0.01] |= np.uint32(1 << 28 | 1)
    if seed % 3:
        for cube in cubes.values():
            cube[(dq & 1) > 0] = np.nan
    dq[:, :, random.integers(shape[2])] |= np.uint32(1)
    dq[0] |= np.uint32(seed % 5 == 4)
    dq[:, :3] |= np.uint32(seed % 4 == 3)
    dq[:, :, -2:] |= np.uint32(seed % 4 == 2)
    cubes["sci"][random.random(shape) < 0.005] = np.nan
    cubes["err"][random.random(shape) < 0.005] = np.nan
    cubes["err"][random.random(shape) < 0.005] = 0
    cubes["var_poisson"][random.random(shape) < 0.005] *= -1
    for turn, value in ((3, np.inf), (4, 1e25), (5, -1e4)):
        if seed % turn == 0:
            cubes["sci"][random.random(shape) < 0.004] = value
    cubes["dq"] = dq
    return cubes


def run_jwst(cubes, algorithm, dispaxis, reach):
    from jwst.pixel_replace.pixel_replace import PixelReplacement
    from stdatamodels.jwst.datamodels import SlitModel

    model = SlitModel()
    for name, cube in cubes.items():
        setattr(model, "data" if name == "sci" else name, cube.copy())
    model.meta.wcsinfo.dispersion_direction = dispaxis
    logging.disable()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            PixelReplacement(model, algorithm, reach).replace()
    finally:
        logging.disable(logging.NOTSET)
    return {name: getattr(model, "data" if name == "sci" else name) for name in cubes}


@pytest.mark.parametrize("algorithm", ["mingrad", "fit_profile"])
@pytest.mark.parametrize("seed", range(24))
def test_replaced_cubes(seed, algorithm):
    random = np.random.default_rng(1000 + seed)
    shape = (2, *random.integers(4, 60, 2)) if seed % 8 else (2, 300, 20)
    cubes = make_cubes(seed, shape)
    if seed % 6 == 5:
        del cubes["var_flat"]
    dispaxis, reach = 1 + seed % 2, int(random.integers(-1, 6))
    theirs = run_jwst(cubes, algorithm, dispaxis, reach)
    if algorithm == "mingrad":
        mingrad(cubes)
    else:
        fit_profile(cubes, dispaxis, reach)
    for name, cube in cubes.items():
        np.testing.assert_array_equal(cube, theirs[name], err_msg=name)
