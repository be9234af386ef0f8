import itertools
import os
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tso3dask.ops import outliers
from tso3dask.ops.blocks import is_stored, to_native
from tso3dask.ops.medians import Window, nanmedian_image
from tso3dask.ops.outliers import flag_block, mask_bad, match_nans_and_flags

VARIANCES = ("var_poisson", "var_rnoise", "var_flat")
WIDTHS = (-1, 0, 1, 2, 3, 4, 5, 8, 9, 24, 25)
FINE = {"first": 0, "a": 0, "bad_bits": 1, "snr": 5.0}


def random_segment(seed, shape, special=0.02):
    """Arrays of a segment with ties, NaN, infinities, and DQ bits of all kinds."""
    rng = np.random.default_rng(seed)
    cube = {"sci": rng.normal(0, 2, shape).astype(np.float32)}
    if seed % 3:
        cube["sci"] = np.round(cube["sci"], seed % 3)
    for name in ("err", *VARIANCES):
        cube[name] = rng.uniform(0, 1, shape).astype(np.float32)
    for name in cube:
        some = special if name in ("sci", "err") else special / 10
        for value in (np.nan, np.inf, -np.inf):
            cube[name][rng.random(shape) < some] = value
    cube["dq"] = np.zeros(shape, np.uint32)
    for bit in (1, 2, 4, 16, 1024, 2**31):
        cube["dq"][rng.random(shape) < special / 3] |= np.uint32(bit)
    return cube


def outlier_twin(cube, width, *, bad_bits, maskpt, snr, any_good):
    """Whole step on a whole segment, in plain numpy, written apart from the kernels."""
    cube = {name: None if array is None else array.copy() for name, array in cube.items()}
    sci = cube["sci"]
    n = sci.shape[0]
    dq = cube["dq"] if cube["dq"] is not None else np.zeros(sci.shape, np.uint32)
    err = cube["err"] if cube["err"] is not None else np.zeros_like(sci)
    with np.errstate(all="ignore"):
        if snr is None:
            found = np.zeros(sci.shape, bool)
        else:
            if 1 < width < n:
                weight = (dq & np.uint32(bad_bits) == 0).astype("f8")
                threshold = maskpt if any_good else np.nan
                data = np.where(weight < threshold, np.float32(np.nan), sci)
                level = np.empty(sci.shape, "f8")
                for i in range(n):
                    start = max(0, min(i - width // 2, n - width))
                    rows = np.sort(data[start : start + width].astype("f8"), axis=0)
                    level[i] = (rows[(width - 1) // 2] + rows[width // 2]) / 2
                    level[i][np.isnan(rows).any(axis=0)] = np.nan
            else:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", RuntimeWarning)
                    level = np.broadcast_to(np.nanmedian(sci, axis=0), sci.shape)
                assert level.dtype == np.float32
            limit = np.float32(snr) * np.nan_to_num(err)
            found = np.abs(sci - level) > limit
    dq[found] |= np.uint32(17)
    floats = [name for name in ("sci", "err", *VARIANCES) if cube.get(name) is not None]
    invalid = (dq & np.uint32(1)) != 0
    for name in floats:
        invalid |= np.isnan(cube[name])
    dq[invalid] |= np.uint32(1)
    for name in floats:
        cube[name][invalid] = np.nan
    result = {name: cube[name] for name in floats}
    return result | {"dq": dq, "n_outliers": found.sum(axis=(1, 2))}


def flag_parts(cube, window, cuts, *, in_place=False, **options):
    """Flag a segment in sub-blocks that end at `cuts`, and put the results together."""
    parts = []
    for a, b in zip([0, *cuts], [*cuts, window.nints], strict=True):
        low, high = window.input_range(a, b)
        err = None if cube["err"] is None else cube["err"][a:b].copy()
        variances = {
            name: None if cube.get(name) is None else cube[name][a:b].copy() for name in VARIANCES
        }
        out = None
        if in_place:
            out = {name: array for name, array in variances.items() if array is not None}
            if err is not None:
                out["err"] = err
        part = flag_block(
            cube["sci"][low:high],
            None if cube["dq"] is None else cube["dq"][low:high],
            err,
            variances,
            first=low,
            a=a,
            b=b,
            window=window,
            out=out,
            **options,
        )
        if out:
            assert all(part[name] is array for name, array in out.items())
        kinds = {part[name].dtype for name in part if name not in ("dq", "n_outliers")}
        assert (
            kinds == {cube["sci"].dtype} and part["dq"].dtype.isnative == cube["sci"].dtype.isnative
        )
        parts.append({n: to_native(a) if is_stored(a) else a for n, a in part.items()})
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def as_stored(name, array):
    """Pixels as FITS files have them."""
    if name == "dq":
        return (array ^ np.uint32(2**31)).view(np.int32).astype(">i4")
    return array.astype(">f4")


def flag_stored(cube, window, cuts, **options):
    """As `flag_parts`, of pixels as files have them."""
    cube = {name: None if array is None else as_stored(name, array) for name, array in cube.items()}
    return flag_parts(cube, window, cuts, **options)


def assert_same(result, expected):
    assert set(result) == set(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(result[name], array, err_msg=name)


def flat_segment(nints=40, ny=2, nx=3, err=1.0):
    shape = (nints, ny, nx)
    return np.zeros(shape, np.float32), np.full(shape, err, np.float32)


class TestTruth:
    def test_spikes_of_both_signs_and_nothing_else(self):
        sci, err = flat_segment()
        sci[20, 1, 1], sci[3, 0, 2], sci[39, 0, 0] = 5.5, -5.5, 4.9
        variance = np.full_like(sci, 0.3)
        result = flag_block(
            sci, None, err, {"var_flat": variance}, b=40, window=Window(25, 40), **FINE
        )
        assert np.argwhere(result["dq"]).tolist() == [[3, 0, 2], [20, 1, 1]]
        assert result["dq"][20, 1, 1] == 17
        assert np.flatnonzero(result["n_outliers"]).tolist() == [3, 20]
        for name in ("sci", "err", "var_flat"):
            assert np.argwhere(np.isnan(result[name])).tolist() == [[3, 0, 2], [20, 1, 1]]
        assert sci[20, 1, 1] == 5.5 and not np.isnan(variance).any()

    def test_threshold_is_strict(self):
        sci, err = flat_segment()
        sci[20, 1, 1] = 5
        result = flag_block(sci, None, err, None, b=40, window=Window(25, 40), **FINE)
        assert result["n_outliers"].sum() == 0
        sci[20, 1, 1] = np.nextafter(np.float32(5), np.float32(6))
        result = flag_block(sci, None, err, None, b=40, window=Window(25, 40), **FINE)
        assert result["n_outliers"].sum() == 1

    def test_nan_error_is_zero_and_infinite_error_never_flags(self):
        sci, err = flat_segment()
        sci[5], sci[6] = 1e-6, 1e6
        err[5, 0, 0], err[6, 0, 0] = np.nan, np.inf
        result = flag_block(sci, None, err, None, b=40, window=Window(25, 40), **FINE)
        assert result["dq"][5, 0, 0] == 17
        assert result["dq"][6, 0, 0] == 0
        assert result["n_outliers"].tolist()[4:7] == [0, 1, 5]

    def test_bad_pixel_in_the_window_switches_detection_off_there(self):
        sci, err = flat_segment(60)
        dq = np.zeros(sci.shape, np.uint32)
        sci[30:33, 0, 0] = 99
        dq[25, 0, 0] = 1
        result = flag_block(sci, dq, err, None, b=60, window=Window(25, 60), **FINE)
        assert result["n_outliers"].sum() == 0
        free = flag_block(sci, dq, err, None, b=60, window=Window(25, 60), maskpt=0.0, **FINE)
        assert free["n_outliers"].sum() == 3

    def test_median_image_uses_bad_pixels_and_may_flag_them(self):
        sci, err = flat_segment(5)
        dq = np.zeros(sci.shape, np.uint32)
        sci[2, 1, 1], dq[2, 1, 1] = 50, 1
        window = Window(25, 5)
        median = nanmedian_image(sci)
        result = flag_block(sci, dq, err, None, b=5, window=window, median=median, **FINE)
        assert result["dq"][2, 1, 1] == 17
        assert result["n_outliers"].tolist() == [0, 0, 1, 0, 0]

    def test_difference_is_float64_when_rolling_and_float32_with_an_image(self):
        sci, err = flat_segment(30)
        sci[:], err[:] = 1, np.float32(2**24)
        sci[7, 0, 0] = -np.float32(2**24)  # differs by 2**24 + 1, which no float32 can tell
        rolling = flag_block(
            sci, None, err, None, b=30, window=Window(25, 30), **FINE | {"snr": 1.0}
        )
        assert rolling["n_outliers"][7] == 1
        image = flag_block(
            sci,
            None,
            err,
            None,
            b=30,
            window=Window(30, 30),
            median=nanmedian_image(sci),
            **FINE | {"snr": 1.0},
        )
        assert image["n_outliers"][7] == 0

    @pytest.mark.parametrize(
        ("maskpt", "any_good", "found"),
        [
            (0.7, True, 0),
            (1.0, True, 0),
            (1.1, True, 0),
            (0.0, True, 1),
            (-1, True, 1),
            (np.nan, True, 1),
            (0.7, False, 1),
            (9.0, False, 1),
        ],
    )
    def test_weight_threshold(self, maskpt, any_good, found):
        sci, err = flat_segment(30)
        dq = np.zeros(sci.shape, np.uint32)
        sci[10, 0, 0], dq[12, 0, 0] = 99, 4
        result = flag_block(
            sci,
            dq,
            err,
            None,
            b=30,
            window=Window(9, 30),
            maskpt=maskpt,
            any_good=any_good,
            **FINE | {"bad_bits": 4},
        )
        assert result["n_outliers"].sum() == found

    def test_maskpt_above_one_masks_all(self):
        sci, err = flat_segment(30)
        sci[10, 0, 0] = 99
        window = Window(9, 30)
        assert flag_block(sci, None, err, None, b=30, window=window, maskpt=1.0, **FINE)["dq"].any()
        assert not flag_block(sci, None, err, None, b=30, window=window, maskpt=1.01, **FINE)[
            "dq"
        ].any()

    def test_no_snr_means_matching_only(self):
        sci, err = flat_segment(30)
        sci[10, 0, 0], err[3, 1, 1] = 99, np.nan
        result = flag_block(
            sci, None, err, None, first=0, a=0, b=30, window=Window(9, 30), bad_bits=1, snr=None
        )
        assert np.argwhere(result["dq"]).tolist() == [[3, 1, 1]]
        assert result["dq"][3, 1, 1] == 1 and np.isnan(result["sci"][3, 1, 1])
        assert result["n_outliers"].sum() == 0


class TestAgainstTwin:
    @settings(deadline=None, max_examples=120)
    @given(
        width=st.sampled_from(WIDTHS),
        more=st.integers(-3, 40),
        ny=st.integers(1, 3),
        nx=st.integers(1, 40),
        seed=st.integers(0, 2**32),
        special=st.sampled_from((0.0, 0.002, 0.03)),
        snr=st.sampled_from((None, 0.0, 1.5, 5.0, -1.0, np.inf, np.nan)),
        maskpt=st.sampled_from((0.7, 0.7, 0.7, 0.0, 1.0, 1.5, np.nan)),
        bad_bits=st.sampled_from((0, 1, 1, 6, 2**31, 2**32 - 1)),
        any_good=st.sampled_from((True, True, False)),
        absent=st.sets(st.sampled_from(("dq", "err", *VARIANCES)), max_size=2),
        in_place=st.booleans(),
        data=st.data(),
    )
    def test_any_partition_equals_the_whole(
        self,
        width,
        more,
        ny,
        nx,
        seed,
        special,
        snr,
        maskpt,
        bad_bits,
        any_good,
        absent,
        in_place,
        data,
    ):
        nints = max(1, width + more)
        cube = random_segment(seed, (nints, ny, nx), special)
        cube |= dict.fromkeys(absent)
        options = {"bad_bits": bad_bits, "maskpt": maskpt, "snr": snr, "any_good": any_good}
        expected = outlier_twin(cube, width, **options)
        window = Window(width, nints)
        cuts = data.draw(st.sets(st.integers(1, nints - 1), max_size=6)) if nints > 1 else ()
        median = None if window.rolling else nanmedian_image(cube["sci"])
        kept = {name: None if array is None else array.copy() for name, array in cube.items()}
        result = flag_parts(cube, window, sorted(cuts), in_place=in_place, median=median, **options)
        assert_same(result, expected)
        for name, array in kept.items():
            np.testing.assert_array_equal(cube[name], array)

    @settings(deadline=None, max_examples=40)
    @given(
        width=st.sampled_from((0, 4, 9)),
        nx=st.integers(1, 40),
        seed=st.integers(0, 2**32),
        snr=st.sampled_from((None, 1.5, 5.0)),
        bad_bits=st.sampled_from((0, 1, 6, 2**31, 2**32 - 1)),
        absent=st.sets(st.sampled_from(("err", *VARIANCES)), max_size=2),
        in_place=st.booleans(),
        data=st.data(),
    )
    def test_pixels_as_files_have_them(
        self, width, nx, seed, snr, bad_bits, absent, in_place, data
    ):
        nints = 30
        cube = random_segment(seed, (nints, 2, nx)) | dict.fromkeys(absent)
        options = {"bad_bits": bad_bits, "maskpt": 0.7, "snr": snr, "any_good": True}
        expected = outlier_twin(cube, width, **options)
        cuts = sorted(data.draw(st.sets(st.integers(1, nints - 1), max_size=4)))
        median = None if width else nanmedian_image(cube["sci"])
        result = flag_stored(
            cube, Window(width, nints), cuts, in_place=in_place, median=median, **options
        )
        assert_same(result, expected)

    @pytest.mark.parametrize("width", [6, 7])
    def test_wide_windows(self, width, monkeypatch):
        monkeypatch.setattr(outliers, "MAX_NETWORK_WIDTH", 5)
        options = {"bad_bits": 1, "maskpt": 0.7, "snr": 2.0, "any_good": True}
        cube = random_segment(8, (30, 4, 21))
        expected = outlier_twin(cube, width, **options)
        assert_same(flag_parts(cube, Window(width, 30), [7, 11, 29], **options), expected)
        assert_same(flag_stored(cube, Window(width, 30), [7, 11, 29], **options), expected)

    @pytest.mark.parametrize("width", [9, 24, 30])
    def test_tiles_of_y_through_all_time_and_more_pixels_than_a_tile(self, width):
        options = {"bad_bits": 1, "maskpt": 0.7, "snr": 3.0, "any_good": True}
        cube = random_segment(9, (30, 7, 401), 0.003)
        expected = outlier_twin(cube, width, **options)
        window = Window(width, 30)
        median = None if window.rolling else nanmedian_image(cube["sci"])
        for bounds in ([0, 7], [0, 1, 3, 7]):
            out = {name: np.zeros_like(array) for name, array in cube.items()}
            count = 0
            for y0, y1 in itertools.pairwise(bounds):
                part = flag_block(
                    *(cube[name][:, y0:y1] for name in ("sci", "dq", "err")),
                    {name: cube[name][:, y0:y1] for name in VARIANCES},
                    first=0,
                    a=0,
                    b=30,
                    window=window,
                    median=None if median is None else median[y0:y1],
                    out={name: array[:, y0:y1] for name, array in out.items()},
                    **options,
                )
                count = count + part["n_outliers"]
            assert_same(out | {"n_outliers": count}, expected)

    def test_all_in_place(self):
        options = {"bad_bits": 1, "maskpt": 0.7, "snr": 3.0, "any_good": True}
        cube = random_segment(10, (40, 3, 37))
        expected = outlier_twin(cube, 9, **options)
        result = flag_block(
            cube["sci"],
            cube["dq"],
            cube["err"],
            {name: cube[name] for name in VARIANCES},
            first=0,
            a=0,
            b=40,
            window=Window(9, 40),
            out=cube,
            **options,
        )
        assert_same(result, expected)
        assert all(result[name] is cube[name] for name in cube)

    def test_nothing_is_written_outside_the_outputs(self):
        options = {"bad_bits": 1, "maskpt": 0.7, "snr": 3.0, "any_good": True}
        for nx in (1, 15, 16, 17, 33):
            cube = random_segment(11, (30, 2, nx))
            for width in (9, 24, 1):
                window = Window(width, 30)
                guarded, out = {}, {}
                for name, array in cube.items():
                    guarded[name] = np.full((array.size // 30 * 10 + 128), 77, array.dtype)
                    out[name] = guarded[name][64:-64].reshape(10, 2, nx)
                low, high = window.input_range(5, 15)
                flag_block(
                    cube["sci"][low:high],
                    cube["dq"][low:high],
                    cube["err"][5:15],
                    {name: cube[name][5:15] for name in VARIANCES},
                    first=low,
                    a=5,
                    b=15,
                    window=window,
                    median=nanmedian_image(cube["sci"]),
                    out=out,
                    **options,
                )
                for array in guarded.values():
                    assert (array[:64] == 77).all() and (array[-64:] == 77).all()
                expected = outlier_twin(cube, width, **options)
                for name, array in out.items():
                    np.testing.assert_array_equal(array, expected[name][5:15])

    @pytest.mark.parametrize("before", [0, 3, 4])
    @pytest.mark.parametrize("width", [9, 24, 1])
    def test_large_images_wherever_their_memory_begins(self, width, before):
        options = {"bad_bits": 1, "maskpt": 0.7, "snr": 3.0, "any_good": True}
        cube = random_segment(12, (30, 3, 1403), 0.001)
        expected = outlier_twin(cube, width, **options)
        held = {}
        for name, array in cube.items():
            room = np.zeros(array.size + 32, array.dtype)
            begin = -room.ctypes.data % 64 // 4 + before
            held[name] = room[begin : begin + array.size].reshape(array.shape)
            held[name][...] = array
        result = flag_block(
            *(held[name] for name in ("sci", "dq", "err")),
            {name: held[name] for name in VARIANCES},
            first=0,
            a=0,
            b=30,
            window=Window(width, 30),
            median=nanmedian_image(cube["sci"]),
            out=held,
            **options,
        )
        assert_same(result, expected)

    def test_threads_do_not_disturb_each_other(self):
        options = {"bad_bits": 1, "maskpt": 0.7, "snr": 3.0, "any_good": True}
        cubes = [random_segment(seed, (40, 4, 300), 0.003) for seed in range(8)]
        with ThreadPoolExecutor(4) as pool:
            results = list(
                pool.map(lambda cube: flag_parts(cube, Window(9, 40), [8, 16], **options), cubes)
            )
        for cube, result in zip(cubes, results, strict=True):
            assert_same(result, outlier_twin(cube, 9, **options))


class TestDoor:
    def call(self, **changes):
        sci, err = flat_segment(30)
        given = {
            "sci": sci,
            "dq": np.zeros(sci.shape, np.uint32),
            "err": err[4:8],
            "variances": None,
            "first": 0,
            "a": 4,
            "b": 8,
            "window": Window(25, 60),
            "bad_bits": 1,
            "snr": 5.0,
        }
        given |= changes
        return flag_block(
            given.pop("sci"), given.pop("dq"), given.pop("err"), given.pop("variances"), **given
        )

    def test_missing_rows(self):
        with pytest.raises(ValueError, match="rows 0:30 given, but integrations 30:38 of 60"):
            self.call(a=30, b=38)
        with pytest.raises(ValueError, match="need rows 0:25"):
            self.call(first=2)
        with pytest.raises(ValueError, match="not within a segment of 60"):
            self.call(a=58, b=62)

    def test_shapes_and_types(self):
        sci, err = flat_segment(4)
        with pytest.raises(ValueError, match=r"dq: expected \(30, 2, 3\) uint32"):
            self.call(dq=np.zeros((29, 2, 3), np.uint32))
        with pytest.raises(ValueError, match="dq: expected"):
            self.call(dq=np.zeros((30, 2, 3), np.int32))
        with pytest.raises(ValueError, match="sci: expected"):
            self.call(sci=sci.astype("f8"))
        with pytest.raises(ValueError, match="err: expected"):
            self.call(err=err[:3])
        with pytest.raises(ValueError, match="var_flat: expected"):
            self.call(variances={"var_flat": np.zeros((4, 2, 4), np.float32)})
        with pytest.raises(ValueError, match="at most 3"):
            self.call(variances={str(k): err for k in range(4)})
        with pytest.raises(ValueError, match="byte order"):
            self.call(err=err.astype(">f4"))
        with pytest.raises(ValueError, match="out"):
            self.call(out={"sci": np.zeros((4, 2, 2), np.float32)})

    def test_median_image_is_asked_for(self):
        with pytest.raises(ValueError, match="a median image is needed"):
            self.call(window=Window(60, 60))
        with pytest.raises(ValueError, match="median: expected"):
            self.call(window=Window(60, 60), median=np.zeros((2, 2), np.float32))

    def test_nothing_to_do(self):
        result = self.call(a=4, b=4, err=None)
        assert result["sci"].shape == (0, 2, 3) and result["n_outliers"].shape == (0,)

    def test_pixels_as_files_have_them(self):
        sci, err = flat_segment(30)
        given = {"sci": as_stored("sci", sci), "err": as_stored("err", err[4:8])}
        with pytest.raises(ValueError, match="dq: pixels as files have them need it"):
            self.call(**given, window=Window(9, 30), dq=None)
        with pytest.raises(ValueError, match=r"dq: expected \(30, 2, 3\) >i4, got .*u4"):
            self.call(**given, window=Window(9, 30))
        given["dq"] = as_stored("dq", np.zeros(sci.shape, np.uint32))
        with pytest.raises(ValueError, match=r"err: expected \(4, 2, 3\) >f4, got .*<f4"):
            self.call(**given | {"err": err[4:8]}, window=Window(9, 30))
        assert self.call(**given, window=Window(9, 30))["n_outliers"].tolist() == [0] * 4


def test_mask_bad():
    sci = np.arange(6, dtype=np.float32).reshape(1, 2, 3)
    dq = np.array([[[0, 1, 2], [3, 4, 1025]]], np.uint32)
    assert np.isnan(mask_bad(sci, dq, 1)).tolist() == [[[0, 1, 0], [1, 0, 1]]]
    assert np.isnan(mask_bad(sci, dq, 1026)).tolist() == [[[0, 0, 1], [1, 0, 1]]]
    np.testing.assert_array_equal(mask_bad(sci, dq, 0), sci)
    np.testing.assert_array_equal(mask_bad(sci, None, 1), sci)
    assert not np.isnan(sci).any()
    assert mask_bad(sci, dq, 1, out=sci) is sci and np.isnan(sci).sum() == 3


def test_match_nans_and_flags():
    arrays = {name: np.ones((1, 2, 2), np.float32) for name in ("sci", "err", "var_flat")}
    dq = np.zeros((1, 2, 2), np.uint32)
    arrays["var_flat"][0, 0, 0], arrays["sci"][0, 0, 1] = np.nan, np.inf
    dq[0, 1, 1], dq[0, 1, 0] = 1025, 4
    match_nans_and_flags(arrays, dq)
    assert dq.tolist() == [[[1, 0], [4, 1025]]]
    for array in arrays.values():
        assert np.isnan(array).tolist() == [[[True, False], [False, True]]]
    match_nans_and_flags({}, None)
    sci, err = np.array([np.nan, 1], np.float32), np.ones(2, np.float32)
    match_nans_and_flags({"sci": sci, "err": err}, None)
    assert np.isnan(err).tolist() == [True, False]
    with pytest.raises(ValueError, match="differ in shape"):
        match_nans_and_flags({"sci": sci}, dq)


@pytest.mark.slow
def test_processors_without_long_vectors():
    """The same numbers from code compiled for the plainest processor."""
    check = (
        "from test_outliers import *\n"
        "from tso3dask.ops._vector_jit import LANES\n"
        "options = {'bad_bits': 1, 'maskpt': 0.7, 'snr': 3.0, 'any_good': True}\n"
        "cube = random_segment(12, (30, 5, 11))\n"
        "for width in (8, 9):\n"
        "    expected = outlier_twin(cube, width, **options)\n"
        "    for flag in (flag_parts, flag_stored):\n"
        "        result = flag(cube, Window(width, 30), [3, 11], **options)\n"
        "        assert_same(result, expected)\n"
        "print('lanes', LANES)\n"
    )
    path = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    run = subprocess.run(
        [sys.executable, "-c", check],
        env=os.environ | {"NUMBA_CPU_NAME": "generic", "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.stdout == "lanes 4\n", run.stderr
