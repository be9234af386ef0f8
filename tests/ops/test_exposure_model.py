"""The model of an exposure."""

import numpy as np
from dask.tokenize import tokenize

from tso3dask.ops.exposure_model import ExposureModel


def model(**changes):
    image = np.arange(12, dtype=np.float32).reshape(3, 4)
    zero, no = np.zeros((3, 4), np.float32), np.zeros((3, 4), bool)
    numbers = {name: np.arange(5.0) for name in ("background", "shift_y", "shift_x", "width")}
    values = {
        "identity": "one", "image": image, "variance": zero + 1, "gradient_y": zero + 2,
        "gradient_x": zero - 1, "curvature": zero + 3, "dead": no, "region": ~no, "dispaxis": 1,
        "centre": np.ones(4), "fitted": ("brightness",), "scatter": 1.0, "first": -2,
        "brightness": 1 + np.arange(5.0),
    }  # fmt: skip
    return ExposureModel(**(values | numbers | changes))


def test_expected_image():
    whole = model()
    expected = 3 * (whole.image + 2 * 2 - 2 * 1 + 2 * 3) + 2
    np.testing.assert_array_equal(whole.expected(0), expected)
    assert whole.expected(0).dtype == np.float32


def test_rows_are_those_of_the_segment():
    part = model().rows(-1, 2)
    assert part.first == -1 and part.brightness.tolist() == [2, 3, 4]
    np.testing.assert_array_equal(part.expected(1), model().expected(1))


def test_names_tell_content():
    assert tokenize(model()) == tokenize(model())
    assert tokenize(model()) != tokenize(model(identity="two"))
    assert tokenize(model()) != tokenize(model().rows(0, 1))
