"""White light with errors and weights."""

from __future__ import annotations

import numpy as np
import pytest

from tso3dask.ops.curves import LightCurves, spectrum_weights, weighted_sums, white_light_errors
from tso3dask.ops.whitelight import white_light_sums

WAVELENGTH = np.linspace(1, 5, 40)
SPECTRUM = np.geomspace(1, 300, 40)
ERROR = np.sqrt(0.5 * SPECTRUM + 25.0)  # photon noise and read noise


def spectra(rows, depth=0.0, seed=6):
    rng = np.random.default_rng(seed)
    light = np.ones(rows)
    light[rows // 3 : 2 * rows // 3] -= depth
    flux = light[:, None] * SPECTRUM + rng.normal(0, ERROR, (rows, 40))
    return flux, np.broadcast_to(ERROR, flux.shape)


def test_errors_are_added_in_quadrature_over_the_columns_of_the_sum():
    flux = np.array([[1.0, 2, 3, np.nan], [1, np.nan, np.nan, np.nan]])
    error = np.array([[3.0, 4, np.nan, 7], [np.nan, 1, 1, 1]])
    wavelength = np.arange(4.0)
    np.testing.assert_allclose(white_light_errors(flux, error, wavelength), [5, np.nan])
    np.testing.assert_allclose(white_light_errors(flux, error, wavelength, 1, 3), [4, np.nan])


def test_errors_are_the_scatter():
    flux, error = spectra(20_000)
    found = white_light_errors(flux, error, WAVELENGTH, 2.0, 4.0)
    assert white_light_sums(flux, WAVELENGTH, 2, 4).std() == pytest.approx(found[0], rel=0.02)


def test_weights_lower_the_noise_and_leave_the_depth():
    flux, error = spectra(30_000, depth=0.1)
    weights = spectrum_weights(flux[::500], error[::500], WAVELENGTH)
    total, uncertainty = weighted_sums(flux, error, weights)
    out, middle = slice(0, 10_000), slice(10_000, 20_000)
    assert total[out].std() == pytest.approx(uncertainty[0], rel=0.03)
    plain = white_light_sums(flux, WAVELENGTH)
    assert total[out].std() / total[out].mean() < 0.99 * plain[out].std() / plain[out].mean()
    mean = total[out].mean()
    assert 1 - total[middle].mean() / mean == pytest.approx(0.1, abs=4 * uncertainty[0] / mean / 70)
    assert mean == pytest.approx(plain[out].mean(), rel=0.05)


def test_weights_are_optimal():
    """No other weights give less noise: F / variance solves the least-squares problem."""
    weights = spectrum_weights(SPECTRUM[None], ERROR[None], WAVELENGTH)
    _, best = weighted_sums(SPECTRUM[None], ERROR[None], weights)
    assert best[0] / weights.level == pytest.approx(1 / np.sqrt(np.sum((SPECTRUM / ERROR) ** 2)))


def test_a_missing_column_leaves_the_weighted_curve_in_place():
    weights = spectrum_weights(SPECTRUM[None], ERROR[None], WAVELENGTH)
    flux = np.tile(SPECTRUM, (3, 1))
    flux[1, 30:35] = np.nan
    flux[2] = np.nan
    total, uncertainty = weighted_sums(flux, np.tile(ERROR, (3, 1)), weights)
    np.testing.assert_allclose(total[:2], weights.level)
    assert uncertainty[1] > uncertainty[0]
    assert np.isnan(total[2]) and np.isnan(uncertainty[2])


@pytest.mark.parametrize("rows", [1, 3, 20])
def test_sums_do_not_depend_on_the_rows_beside_nor_on_the_order_in_memory(rows):
    flux, error = spectra(20)
    weights = spectrum_weights(flux, error, WAVELENGTH)
    flux[3, 5] = np.nan
    whole = weighted_sums(flux, error, weights)
    for order in "CF":
        parts = [
            weighted_sums(
                np.array(flux[i : i + rows], order=order),
                np.array(error[i : i + rows], order=order),
                weights,
            )
            for i in range(0, 20, rows)
        ]
        np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)


def test_columns_without_light_or_outside_have_no_weight():
    flux = np.stack([SPECTRUM] * 3)
    flux[:, 0], flux[:, 1] = -1.0, np.nan
    weights = spectrum_weights(flux, np.tile(ERROR, (3, 1)), WAVELENGTH, (1.0, 4.0))
    assert not weights.weight[:2].any()
    assert not weights.weight[WAVELENGTH > 4].any()
    assert weights.level == pytest.approx(flux[0][(WAVELENGTH <= 4) & (flux[0] == flux[0])].sum())


def test_series_have_the_shapes_that_are_promised():
    from tso3dask.ops.channels import channel_edges, channel_plan

    flux, error = spectra(7)
    columns = {"FLUX": flux, "FLUX_ERROR": error}
    channels = channel_plan(WAVELENGTH, channel_edges(WAVELENGTH, resolving_power=5))
    weights = spectrum_weights(flux, error, WAVELENGTH)
    for curves in (
        LightCurves(WAVELENGTH),
        LightCurves(WAVELENGTH, errors=True),
        LightCurves(WAVELENGTH, (2, 3), True, weights, channels),
    ):
        found, empty = curves.measure(columns), curves.empty(7)
        assert {n: v.shape for n, v in found.items()} == {n: v.shape for n, v in empty.items()}
        assert {n: v.shape[1:] for n, v in found.items()} == curves.shapes
        part = curves.measure({name: values[2:4] for name, values in columns.items()})
        for name, values in part.items():
            np.testing.assert_array_equal(values, found[name][2:4])
