"""Outlier flagging beside the field's own, bit for bit, on cubes in memory."""

import warnings

import numpy as np
import pytest

from tso3dask.ops.dq import any_good, interpret_good_bits
from tso3dask.ops.medians import Window, nanmedian_image
from tso3dask.ops.outliers import flag_block, match_nans_and_flags

pytest.importorskip("jwst")
pytestmark = pytest.mark.parity

VARIANCES = ("var_poisson", "var_rnoise", "var_flat")
NAMES = ("sci", "dq", "err", *VARIANCES)


def make_cube(nints, seed=0, special=0.004, shape=(6, 37)):
    rng = np.random.default_rng(seed)
    full = (nints, *shape)
    cube = {"sci": rng.normal(50, 3, full).astype(np.float32)}
    cube["sci"][rng.random(full) < 0.01] += 60
    cube["sci"][rng.random(full) < 0.01] -= 60
    cube["err"] = rng.uniform(2, 4, full).astype(np.float32)
    for name in VARIANCES:
        cube[name] = rng.uniform(0, 1, full).astype(np.float32)
    for name in cube:
        cube[name][rng.random(full) < special / 2] = np.nan
    for name, value in (("sci", np.inf), ("sci", -np.inf), ("err", np.inf), ("err", -np.inf)):
        cube[name][rng.random(full) < special / 4] = value
    cube["dq"] = np.zeros(full, np.uint32)
    for bit in (1, 2, 4, 1024, 2**31):
        cube["dq"][rng.random(full) < special] |= np.uint32(bit)
    cube["dq"][:, rng.random(shape) < 0.02] |= np.uint32(1025)
    return cube


def run_jwst(cube, *, width, good_bits, maskpt, snr):
    from jwst.outlier_detection.tso import detect_outliers
    from stdatamodels.jwst.datamodels import CubeModel

    given = {name: array.copy() for name, array in cube.items() if array is not None}
    given["data"] = given.pop("sci")
    model = CubeModel(**given)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        detect_outliers(model, False, good_bits, maskpt, width, snr, None)
    return {name: getattr(model, "data" if name == "sci" else name) for name in NAMES}


def run_ours(cube, *, width, good_bits, maskpt, snr, block=8):
    nints = cube["sci"].shape[0]
    window = Window(width, nints)
    bad_bits = interpret_good_bits(good_bits)
    dq = cube["dq"]
    parts = []
    for a in range(0, nints, block):
        b = min(a + block, nints)
        low, high = window.input_range(a, b)
        parts.append(
            flag_block(
                cube["sci"][low:high],
                None if dq is None else dq[low:high],
                None if cube["err"] is None else cube["err"][a:b],
                {name: None if cube[name] is None else cube[name][a:b] for name in VARIANCES},
                first=low,
                a=a,
                b=b,
                window=window,
                bad_bits=bad_bits,
                maskpt=maskpt,
                any_good=dq is None or any_good(dq, bad_bits),
                snr=snr,
                median=None if window.rolling else nanmedian_image(cube["sci"]),
            )
        )
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def check(cube, *, width=25, good_bits="~DO_NOT_USE", maskpt=0.7, snr=5.0):
    options = {"width": width, "good_bits": good_bits, "maskpt": maskpt, "snr": snr}
    theirs, ours = run_jwst(cube, **options), run_ours(cube, **options)
    for name in NAMES:
        if name == "dq" or cube[name] is not None:
            assert theirs[name].dtype.newbyteorder("=") == ours[name].dtype
            np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)
    return ours["n_outliers"]


@pytest.mark.parametrize("nints", [1, 2, 24, 25, 26, 27, 49, 60, 100])
def test_default_window(nints):
    found = check(make_cube(nints, nints))
    assert nints < 24 or found.sum() > 0


@pytest.mark.parametrize("width", [-1, 0, 1, 3, 4, 5, 8, 9, 16, 24, 31, 40, 59, 60, 61])
def test_other_windows(width):
    assert check(make_cube(60, width + 7), width=width).sum() > 0


@pytest.mark.parametrize("nints", [599, 600, 601])
def test_median_image_of_many_integrations(nints):
    assert check(make_cube(nints, nints, shape=(2, 21)), width=1).sum() > 0


def test_window_wider_than_the_networks():
    assert check(make_cube(300, 3, special=1e-4, shape=(2, 37)), width=271).sum() > 0


@pytest.mark.parametrize(
    "good_bits",
    ["~DO_NOT_USE", "DO_NOT_USE+SATURATED", "~4, 8", "~(SATURATED|JUMP_DET)", "0", "", None, 1, -5],
)
@pytest.mark.parametrize("width", [25, 1])
def test_good_bits(good_bits, width):
    check(make_cube(50, 5), good_bits=good_bits, width=width)


@pytest.mark.parametrize("maskpt", [-1.0, 0.0, 1e-9, 1.0, 1.0 + 1e-12, 2.0, float("nan")])
@pytest.mark.parametrize("width", [25, 24, 1])
def test_maskpt(maskpt, width):
    check(make_cube(50, 6), maskpt=maskpt, width=width)


@pytest.mark.parametrize("maskpt", [0.7, 2.0])
def test_no_good_pixel_at_all(maskpt):
    cube = make_cube(50, 7, special=0)
    cube["dq"] |= np.uint32(4)
    found = check(cube, good_bits="~JUMP_DET", maskpt=maskpt)
    assert found.sum() > 0


@pytest.mark.parametrize("snr", [0.0, 1.0, 3.3, -1.0, 1e30, float("inf"), float("nan")])
@pytest.mark.parametrize("width", [25, 1])
def test_snr(snr, width):
    check(make_cube(50, 8), snr=snr, width=width)


@pytest.mark.parametrize("width", [25, 30])
def test_one_lost_integration(width):
    cube = make_cube(30, 9, special=0)
    cube["sci"][7] = np.nan
    found = check(cube, width=width)
    assert (found.sum() == 0) == (width == 25)


def test_values_on_the_threshold():
    cube = make_cube(60, 10, special=0)
    cube["sci"] = np.round(cube["sci"])
    cube["err"][:] = 1
    for width in (5, 4, 1):
        for snr in (5.0, 2.0, 1.5):
            assert check(cube, width=width, snr=snr).sum() > 0
    cube["sci"] *= np.float32(1 / 3)
    cube["err"] /= np.float32(7)
    for width in (5, 4, 1):
        assert check(cube, width=width, snr=14 / 3).sum() > 0


@pytest.mark.parametrize("absent", [("var_flat",), ("dq",), ("err",), ("dq", *VARIANCES)])
@pytest.mark.parametrize("width", [25, 1])
def test_arrays_a_file_may_not_have(absent, width):
    check(make_cube(50, 11) | dict.fromkeys(absent), width=width)


def test_matching_alone():
    from jwst.lib.pipe_utils import match_nans_and_flags as match_jwst
    from stdatamodels.jwst.datamodels import CubeModel

    cube = make_cube(9, 12, special=0.1)
    model = CubeModel(**{"data" if n == "sci" else n: a.copy() for n, a in cube.items()})
    match_jwst(model)
    match_nans_and_flags({name: cube[name] for name in NAMES if name != "dq"}, cube["dq"])
    for name in NAMES:
        np.testing.assert_array_equal(cube[name], getattr(model, "data" if name == "sci" else name))


def test_a_window_of_two_takes_the_nearest_full_window():
    """Here the field's pipeline gives all integrations the last median; we do not."""
    sci = np.zeros((30, 1, 1), np.float32)
    sci[15:] = 100
    cube = {"sci": sci, "dq": np.zeros(sci.shape, np.uint32), "err": np.ones_like(sci)}
    cube |= {name: np.ones_like(sci) for name in VARIANCES}
    options = {"width": 2, "good_bits": "~DO_NOT_USE", "maskpt": 0.7, "snr": 5.0}
    theirs, ours = run_jwst(cube, **options), run_ours(cube, **options)
    assert np.flatnonzero(theirs["dq"]).tolist() == list(range(15))
    assert np.flatnonzero(ours["dq"]).tolist() == [15]
