import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tso3dask.errors import InputError
from tso3dask.ops import _kernels
from tso3dask.ops.median_network import OUTPUTS, median_program, sorting_pairs
from tso3dask.ops.medians import Window, nanmedian_image, rolling_median

WIDTHS = (2, 3, 4, 5, 8, 9, 12, 24, 25, 31)


def random_cube(seed, shape, special=0.02):
    """Values with ties, NaN and infinities."""
    rng = np.random.default_rng(seed)
    cube = rng.normal(0, 3, shape).astype(np.float32)
    if seed % 2:
        cube = np.round(cube)
    for value in (np.nan, np.inf, -np.inf):
        cube[rng.random(shape) < special] = value
    return cube


def sorted_median(rows, width):
    """Median of a window by sorting, NaN if it holds one; even widths in float64."""
    assert rows.shape[0] == width
    ordered = np.sort(rows, axis=0)
    low, high = ordered[(width - 1) // 2], ordered[width // 2]
    if width % 2:
        result = low.copy()
    else:
        with np.errstate(invalid="ignore"):
            result = (low.astype("f8") + high.astype("f8")) / 2
    result[np.isnan(rows).any(axis=0)] = np.nan
    return result


def rolling_twin(sci, width):
    """Rolling median of a whole segment, window by window."""
    n = sci.shape[0]
    rows = []
    for i in range(n):
        start = i - width // 2
        start = 0 if start < 0 else start
        start = n - width if start + width > n else start
        rows.append(sorted_median(sci[start : start + width], width))
    return np.stack(rows)


class TestWindow:
    def test_rolls_only_if_narrower_than_the_segment(self):
        assert Window(25, 26).rolling
        assert not Window(25, 25).rolling
        assert not Window(25, 24).rolling
        assert not Window(1, 10).rolling
        assert not Window(0, 10).rolling
        assert not Window(-3, 10).rolling
        assert Window(2, 3).rolling

    def test_starts(self):
        assert Window(5, 8).starts(0, 8).tolist() == [0, 0, 0, 1, 2, 3, 3, 3]
        assert Window(4, 8).starts(0, 8).tolist() == [0, 0, 0, 1, 2, 3, 4, 4]
        assert Window(2, 4).starts(0, 4).tolist() == [0, 0, 1, 2]
        assert Window(5, 8).starts(3, 5).tolist() == [1, 2]

    def test_input_range(self):
        window = Window(25, 100)
        assert window.input_range(0, 100) == (0, 100)
        assert window.input_range(0, 4) == (0, 25)
        assert window.input_range(96, 100) == (75, 100)
        assert window.input_range(40, 48) == (28, 60)
        assert window.input_range(40, 40) == (40, 40)
        assert Window(25, 20).input_range(3, 5) == (3, 5)
        assert Window(1, 20).input_range(3, 5) == (3, 5)

    @given(st.integers(2, 40), st.integers(1, 60), st.data())
    def test_input_range_holds_every_window_and_the_rows(self, width, more, data):
        window = Window(width, width + more)
        a = data.draw(st.integers(0, window.nints - 1))
        b = data.draw(st.integers(a + 1, window.nints))
        low, high = window.input_range(a, b)
        starts = window.starts(a, b)
        assert 0 <= low <= a and b <= high <= window.nints
        assert low == starts.min() and high == starts.max() + width
        assert (np.diff(starts) >= 0).all()

    def test_refuses_what_is_not_in_the_segment(self):
        with pytest.raises(InputError, match="at least 1"):
            Window(25, 0)
        for a, b in ((-1, 3), (3, 2), (0, 41)):
            with pytest.raises(ValueError, match="not within"):
                Window(25, 40).input_range(a, b)
        with pytest.raises(ValueError, match="does not roll"):
            Window(25, 20).starts(0, 3)


class TestNetwork:
    @pytest.mark.parametrize("width", [*range(2, 41), 63, 64, 101])
    def test_program_gives_the_middle_values(self, width):
        program = median_program(width, OUTPUTS)
        assert program.rows == width + OUTPUTS - 1
        rows = np.random.default_rng(width).integers(0, 30, (program.rows, 200)).astype(float)
        values = []
        for node in program.nodes:
            if node.kind == "row":
                values.append(rows[node.left])
            else:
                pick = np.minimum if node.kind == "min" else np.maximum
                values.append(pick(values[node.left], values[node.right]))
        for k, (low, high) in enumerate(program.results):
            ordered = np.sort(rows[k : k + width], axis=0)
            assert np.array_equal(values[low], ordered[(width - 1) // 2])
            assert np.array_equal(values[high], ordered[width // 2])
            held = [row for group in program.additions[k] for row in group]
            assert sorted(held) == list(range(k, k + width))

    def test_sharing_pays(self):
        assert median_program(25, 8).cost / 8 < median_program(25, 1).cost / 4

    def test_refuses(self):
        for width, outputs in ((0, 8), (9, 3)):
            with pytest.raises(ValueError, match="no median program"):
                median_program(width, outputs)


class TestRollingMedian:
    def test_a_ramp_is_its_own_median_and_the_ends_repeat(self):
        ramp = np.arange(12, dtype=np.float32).reshape(12, 1, 1) * np.ones((1, 2, 3), np.float32)
        odd = rolling_median(ramp, 0, 0, 12, Window(5, 12))
        assert odd.dtype == np.float32
        assert odd[:, 1, 2].tolist() == [2, 2, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9]
        even = rolling_median(ramp, 0, 0, 12, Window(4, 12))
        assert even.dtype == np.float64
        assert even[:, 0, 0].tolist() == [
            1.5,
            1.5,
            1.5,
            2.5,
            3.5,
            4.5,
            5.5,
            6.5,
            7.5,
            8.5,
            9.5,
            9.5,
        ]

    def test_one_nan_spoils_its_windows_only(self):
        sci = np.ones((60, 1, 1), np.float32)
        sci[30] = np.nan
        median = rolling_median(sci, 0, 0, 60, Window(25, 60))[:, 0, 0]
        assert np.flatnonzero(np.isnan(median)).tolist() == list(range(18, 43))

    def test_even_width_averages_in_float64(self):
        low, high = np.float32(1), np.float32(1 + 2**-23)
        sci = np.array([low, high] * 4, np.float32).reshape(8, 1, 1)
        median = rolling_median(sci, 0, 0, 8, Window(4, 8))
        assert (median == 1 + 2**-24).all()

    @settings(deadline=None, max_examples=60)
    @given(
        width=st.sampled_from(WIDTHS),
        more=st.integers(1, 40),
        ny=st.integers(1, 3),
        nx=st.integers(1, 40),
        seed=st.integers(0, 2**32),
        data=st.data(),
    )
    def test_any_block_equals_sorting_window_by_window(self, width, more, ny, nx, seed, data):
        window = Window(width, width + more)
        sci = random_cube(seed, (window.nints, ny, nx))
        expected = rolling_twin(sci, width)
        a = data.draw(st.integers(0, window.nints - 1))
        b = data.draw(st.integers(a + 1, window.nints))
        low, high = window.input_range(a, b)
        low = data.draw(st.integers(0, low))
        median = rolling_median(sci[low:high].copy(), low, a, b, window)
        assert median.dtype == expected.dtype
        np.testing.assert_array_equal(median, expected[a:b])

    @pytest.mark.parametrize("width", [6, 7])
    def test_wide_windows_take_the_other_road(self, width, monkeypatch):
        import tso3dask.ops.medians as module

        monkeypatch.setattr(module, "MAX_NETWORK_WIDTH", 5)
        sci = random_cube(3, (20, 3, 70))
        sci.flags.writeable = False
        window = Window(width, 20)
        for a, b in ((0, 20), (3, 4), (9, 20), (0, 2)):
            low, high = window.input_range(a, b)
            median = rolling_median(sci[low:high], low, a, b, window)
            assert median.dtype == window.dtype
            np.testing.assert_array_equal(median, rolling_twin(sci, width)[a:b])

    def test_more_pixels_than_a_tile_and_rows_apart(self):
        sci = random_cube(4, (40, 9, 333), special=0.001)
        window = Window(9, 40)
        expected = rolling_twin(sci[:, 1:8], 9)
        out = np.zeros((40, 9, 333), np.float32)
        rolling_median(sci[:, 1:8], 0, 0, 40, window, out=out[:, 1:8])
        np.testing.assert_array_equal(out[:, 1:8], expected)
        assert not out[:, 0].any() and not out[:, 8].any()
        np.testing.assert_array_equal(
            rolling_median(sci[:, 1:8, 3:9], 0, 0, 40, window), expected[:, :, 3:9]
        )

    @pytest.mark.parametrize("width", [2, 3, 9, 24])
    @pytest.mark.parametrize("before", [0, 1, 4, 15])
    def test_large_images_wherever_their_memory_begins(self, width, before):
        sci = random_cube(width, (40, 3, 1403), special=0.001)
        window = Window(width, 40)
        assert sci[0].size > 4 * _kernels.TILE
        expected = rolling_twin(sci, width)
        for a, b in ((0, 40), (7, 33), (38, 39)):
            room = np.full((b - a) * sci[0].size + 32, 77, window.dtype)
            begin = -room.ctypes.data % 64 // room.itemsize + before
            out = room[begin : begin + (b - a) * sci[0].size].reshape(b - a, 3, 1403)
            rolling_median(sci, 0, a, b, window, out=out)
            np.testing.assert_array_equal(out, expected[a:b])
            assert (room[:begin] == 77).all() and (room[begin + out.size :] == 77).all()

    def test_empty(self):
        sci = np.ones((10, 2, 0), np.float32)
        assert rolling_median(sci, 0, 2, 5, Window(3, 10)).shape == (3, 2, 0)
        assert rolling_median(sci[4:4], 4, 4, 4, Window(3, 10)).shape == (0, 2, 0)

    def test_refuses_what_does_not_fit(self):
        sci = np.ones((30, 2, 2), np.float32)
        window = Window(25, 100)
        with pytest.raises(ValueError, match="need rows 38:70"):
            rolling_median(sci, 40, 50, 58, window)
        with pytest.raises(ValueError, match="does not roll"):
            rolling_median(sci, 0, 0, 30, Window(30, 30))
        with pytest.raises(ValueError, match="float32 in native byte order"):
            rolling_median(sci.astype(">f4"), 0, 0, 1, window)
        with pytest.raises(ValueError, match="sci: expected"):
            rolling_median(sci[0], 0, 0, 1, window)
        with pytest.raises(ValueError, match="out: expected"):
            rolling_median(sci, 0, 0, 1, window, out=np.ones((2, 2, 2), np.float32))
        with pytest.raises(ValueError, match="out: to be written to"):
            rolling_median(sci, 0, 0, 1, window, out=np.ones((1, 2, 4), np.float32)[..., ::2])


class TestNanmedianImage:
    @settings(deadline=None, max_examples=40)
    @given(
        nints=st.one_of(st.integers(1, 40), st.sampled_from((599, 600, 601))),
        ny=st.integers(1, 3),
        nx=st.integers(1, 50),
        special=st.sampled_from((0.0, 0.02, 0.3)),
        seed=st.integers(0, 2**32),
    )
    def test_equals_numpy(self, nints, ny, nx, special, seed):
        sci = random_cube(seed, (nints, ny, nx), special)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            expected = np.nanmedian(sci, axis=0)
        image = nanmedian_image(sci)
        assert image.dtype == np.float32
        np.testing.assert_array_equal(image, expected)

    def test_two_middle_values_are_averaged_in_float32(self):
        sci = np.array([1, 1 + 2**-23, np.nan], np.float32).reshape(3, 1, 1)
        assert nanmedian_image(sci)[0, 0] == np.float32(1)

    @pytest.mark.parametrize("count", range(13))
    def test_pairs_sort_any_order(self, count):
        """A network that sorts all zeros and ones sorts everything (Knuth, theorem 5.3.4Z)."""
        values = np.arange(1 << count)[:, None] >> np.arange(count) & 1
        for low, high in sorting_pairs(count):
            assert low < high
            values[:, [low, high]] = np.sort(values[:, [low, high]], axis=1)
        assert (np.diff(values, axis=1) >= 0).all()

    def test_many_integrations(self):
        sci = random_cube(6, (300, 3, 50))
        np.testing.assert_array_equal(nanmedian_image(sci), np.nanmedian(sci, axis=0))

    def test_tiles_make_the_image(self):
        sci = random_cube(5, (7, 10, 33))
        whole = nanmedian_image(sci)
        out = np.zeros((10, 33), np.float32)
        for y0 in (0, 3, 6, 9):
            nanmedian_image(sci[:, y0 : y0 + 3], out=out[y0 : y0 + 3])
        np.testing.assert_array_equal(out, whole)

    def test_refuses_what_does_not_fit(self):
        with pytest.raises(ValueError, match="at least one"):
            nanmedian_image(np.ones((0, 2, 2), np.float32))
        with pytest.raises(ValueError, match="sci: expected"):
            nanmedian_image(np.ones((3, 2, 2)))
        with pytest.raises(ValueError, match="out: expected"):
            nanmedian_image(np.ones((3, 2, 2), np.float32), out=np.ones((2, 3), np.float32))


def test_kernels_work_where_no_cache_can_be_written(monkeypatch):
    import numba

    plain = numba.njit

    def njit(*args, cache=False, **options):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return plain(*args, **options)

    monkeypatch.setattr(numba, "njit", njit)
    monkeypatch.setattr(_kernels, "_ready", {})
    sci = random_cube(6, (8, 2, 5))
    median = rolling_median(sci, 0, 0, 8, Window(3, 8))
    np.testing.assert_array_equal(median, rolling_twin(sci, 3))
