import numpy as np
import pytest

from tso3dask.errors import InputError
from tso3dask.ops import dq

ALL = 0xFFFFFFFF


def test_table_has_each_bit_once():
    assert [flag.value for flag in dq.PIXEL_FLAGS] == [1 << bit for bit in range(32)]
    assert len({flag.name for flag in dq.PIXEL_FLAGS}) == 32
    assert all(flag.meaning for flag in dq.PIXEL_FLAGS)
    assert (dq.DO_NOT_USE, dq.OUTLIER) == (1, 16)
    assert dq.FLAG_VALUES["SATURATED"] == 2
    assert dq.FLAG_VALUES["DEAD"] == 1024
    assert dq.FLAG_VALUES["REFERENCE_PIXEL"] == 2**31


@pytest.mark.parametrize(
    ("good_bits", "bad"),
    [
        ("~DO_NOT_USE", 1),
        ("DO_NOT_USE+SATURATED", ALL & ~3),
        ("DO_NOT_USE | SATURATED", ALL & ~3),
        ("~(DO_NOT_USE+JUMP_DET)", 5),
        ("~4, 8", 12),
        ("4,8", ALL & ~12),
        ("12", ALL & ~12),
        ("~12", 12),
        ("-2", 1),
        ("0", ALL),
        ("GOOD", ALL),
        ("~0", 0),
        ("~GOOD", 0),
        (5, ALL & ~5),
        (-2, 1),
        (0, ALL),
        (2**40, ALL),
        (np.uint32(3), ALL & ~3),
        (None, 0),
        ("None", 0),
        ("", 0),
        ("INDEF", 0),
        ("~2147483648", 2**31),
    ],
)
def test_good_bits(good_bits, bad):
    assert dq.interpret_good_bits(good_bits) == bad


@pytest.mark.parametrize(
    ("good_bits", "says"),
    [
        ("~DO_NOT_USED", "nearest is 'DO_NOT_USE'"),
        ("do_not_use", "nearest is 'DO_NOT_USE'"),
        ("DO_NOT_USE,4", "mixes names and numbers"),
        ("4,DO_NOT_USE", "cannot read"),
        ("3+4", "powers of two"),
        ("1+2|4", "cannot read"),
        ("1~2", "cannot read"),
        ("~", "cannot read"),
        (True, "cannot read"),
        (1.5, "cannot read"),
    ],
)
def test_good_bits_that_cannot_be_read(good_bits, says):
    with pytest.raises(InputError, match="good_bits") as caught:
        dq.interpret_good_bits(good_bits)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_any_good():
    words = np.full((2, 3, 4), 1025, np.uint32)
    assert not dq.any_good(words, 1)
    assert dq.any_good(words, 2)
    assert dq.any_good(words, 0)
    words[1, 2, 3] = 16
    assert dq.any_good(words, 1)
    assert not dq.any_good(words, ALL)
    assert dq.any_good(words[1, 2], 1)
    assert not dq.any_good(words[:0], 0)
    assert not dq.any_good(words[:0], 1)


def test_decode():
    assert dq.decode(0) == ("GOOD",)
    assert dq.decode(17) == ("DO_NOT_USE", "OUTLIER")
    assert dq.decode(np.uint32(2**31 + 4)) == ("JUMP_DET", "REFERENCE_PIXEL")
    for value in (-1, 2**32):
        with pytest.raises(InputError, match="32 bits"):
            dq.decode(value)
