"""Parts of ATOCA with known answers: grids, kernels, weights, runs, banded systems, factors."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from tso3dask.errors import RunError
from tso3dask.ops.soss import grid as grids
from tso3dask.ops.soss.banded import BandedSystem, smoothness_matrix
from tso3dask.ops.soss.engine import OrderMap, TooFewPixelsError, build_design
from tso3dask.ops.soss.integration import integration_weights
from tso3dask.ops.soss.kernels import ResolutionKernel, convolution_matrix
from tso3dask.ops.soss.runs import SIDES, RunMatrix
from tso3dask.ops.soss.throughput import Throughput, unit_throughput
from tso3dask.ops.soss.tikhonov import FactorTests, RegularisedFit, best_factor, search_factor


def test_pixel_edges_are_halfway_between_centres():
    wave = np.array([[1.0, 2.0, 4.0, 8.0]])
    upper, lower = grids.pixel_edges(wave)
    np.testing.assert_allclose(lower[0], [0.5, 1.5, 3.0, 6.0])
    np.testing.assert_allclose(upper[0], [1.5, 3.0, 6.0, 10.0])
    falling = grids.pixel_edges(wave[:, ::-1])
    np.testing.assert_allclose(falling[0], upper[:, ::-1])


def test_pixel_edges_leave_out_pixels_without_wavelength():
    wave = np.array([[2.0, 4.0, 6.0, np.nan, np.nan, 12.0, 14.0, 16.0], [np.nan] * 8])
    upper, lower = grids.pixel_edges(wave)
    np.testing.assert_allclose(lower[0], [1, 3, 5, 0, 0, 9, 13, 15])
    assert (upper[1] == 0).all()


def test_pixel_edges_refuse_a_turning_wavelength():
    with pytest.raises(RunError, match="rise or fall"):
        grids.pixel_edges(np.array([[1.0, 2.0, 3.0, 1.0]]))


def test_oversampled_grid():
    np.testing.assert_allclose(grids.oversample(np.array([0.0, 1.0, 3.0]), 2), [0, 0.5, 1, 2, 3])
    parts = np.array([1, 4])
    np.testing.assert_allclose(
        grids.oversample(np.array([0.0, 1.0, 3.0]), parts), [0, 1, 1.5, 2, 2.5, 3]
    )


def test_adaptive_grid_integrates_within_tolerance():
    def peak(x):
        return 1 + np.exp(-0.5 * ((x - 0.5) / 0.02) ** 2)

    grid, converged = grids.adaptive_grid(np.linspace(0, 1, 11), peak, 10000, 30, 1e-4)
    assert converged
    truth = 1 + 0.02 * np.sqrt(2 * np.pi)
    assert np.trapezoid(peak(grid), grid) == pytest.approx(truth, rel=2e-4)
    steps = np.diff(grid)
    assert steps.min() < 0.01 < steps.max()


def test_adaptive_grid_of_noise_stays_bounded():
    rng = np.random.default_rng(1)
    noise = rng.normal(size=100003)
    grid, converged = grids.adaptive_grid(
        np.linspace(1, 2, 100),
        lambda x: noise[(x * 1e9).astype(np.int64) % len(noise)],
        500,
        30,
        1e-4,
    )
    assert not converged
    assert 500 <= len(grid) <= 1000
    assert np.diff(grid).min() > grids.SMALLEST_STEP


def test_combined_grid_covers_everything_once():
    one, two, three = np.linspace(1, 2, 11), np.linspace(1.5, 3, 26), np.linspace(0.2, 1.2, 8)
    grid, notes = grids.combined_grid(
        [one, two, three], [np.ones_like] * 3, [0.4, 2.5], rtol=1e-3, largest=1000
    )
    assert notes == []
    assert (np.diff(grid) > 0).all()
    assert np.isin(one, grid).all()
    assert grid[0] <= 0.4
    assert grid[-1] >= 2.5


def test_column_grid_and_cleaned_profile():
    wave = np.tile(np.linspace(2, 1, 5), (4, 1))
    wave[:, 4] = 0
    profile = np.full((4, 5), 0.25, np.float32)
    profile[0, 1] = -1
    grid, cleaned = grids.column_grid(wave, profile)
    np.testing.assert_allclose(grid, [1.25, 1.5, 1.75, 2.0])
    assert cleaned[0, 1] == 0
    assert (cleaned[:, 4] == 1).all()
    assert profile[0, 1] == -1


def test_throughput_falls_to_zero():
    throughput = Throughput(np.linspace(1, 2, 50), np.full(50, 0.5))
    np.testing.assert_allclose(throughput(np.array([0.5, 1.0, 1.5, 2.0, 3.0])), [0, 0, 0.5, 0, 0])


def gaussian_kernel(sigma=1.0, pixels=9):
    offsets = np.linspace(-(pixels // 2), pixels // 2, 81)
    centres = np.linspace(0.9, 2.1, 25)
    values = np.exp(-0.5 * (offsets[:, None] / sigma) ** 2) * np.ones(25)
    trace = np.linspace(2.0, 1.0, 501)
    return ResolutionKernel(np.tile(centres, (81, 1)), values, trace, pixels), 1 / 500


def test_convolution_keeps_a_constant_and_a_slope():
    kernel, _ = gaussian_kernel()
    grid = np.linspace(1.05, 1.95, 1801)
    matrix = convolution_matrix(kernel, grid, (50, 1700))
    np.testing.assert_allclose(matrix @ np.ones(len(grid)), 1.0)
    np.testing.assert_allclose(matrix @ grid, grid[50:1700], rtol=1e-4)


def test_convolution_widens_a_line():
    kernel, pixel = gaussian_kernel(sigma=1.0)
    grid = np.linspace(1.2, 1.8, 3001)
    line = np.exp(-0.5 * ((grid - 1.5) / (2 * pixel)) ** 2)
    wide = convolution_matrix(kernel, grid, (0, len(grid))) @ line
    sigma = np.sqrt((wide * (grid - 1.5) ** 2).sum() / wide.sum()) / pixel
    assert sigma == pytest.approx(np.sqrt(5), rel=5e-3)


def test_convolution_matrix_is_that_of_its_samples():
    kernel, _ = gaussian_kernel()
    grid = np.sort(np.random.default_rng(4).uniform(1.05, 1.95, 1500))
    bounds = (100, 1400)
    row, at = np.meshgrid(np.arange(*bounds), np.arange(len(grid)), indexing="ij")
    within = np.abs(kernel.pixel(grid[at], grid[row])) <= kernel.half
    outermost = np.abs(at - row)[within].max()
    step = np.concatenate([[0.0], np.diff(grid), [0.0]])
    left = np.where(at - row > -outermost, step[at], 0.0)
    right = np.where(at - row < outermost, step[at + 1], 0.0)
    value = np.where(within, kernel(grid[at], grid[row]), 0.0) * (left + right)
    expected = value / value.sum(axis=1, keepdims=True)
    found = convolution_matrix(kernel, grid, bounds).to_csr().toarray()
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-16)


def test_convolution_refuses_a_grid_wider_than_the_kernel():
    kernel, _ = gaussian_kernel()
    with pytest.raises(RunError, match="resolution kernel"):
        convolution_matrix(kernel, np.linspace(1.1, 1.9, 5), (0, 5))


def test_weights_integrate_a_constant_exactly():
    even = np.linspace(1, 2, 1001)
    lower = even[10] + 0.0004 + np.arange(100) * 0.005
    weights = integration_weights(even, lower, lower + 0.005, np.ones(100, dtype=bool))
    np.testing.assert_allclose(weights @ np.ones(1001), 0.005, rtol=1e-9)
    np.testing.assert_allclose(weights @ even, 0.005 * (lower + 0.0025), rtol=1e-3)


def test_pixel_that_is_one_interval_gets_both_ends():
    grid = np.linspace(1, 2, 11)
    weights = integration_weights(grid, grid[:-1], grid[1:], np.ones(10, dtype=bool))
    np.testing.assert_allclose(weights.to_csr().toarray()[3, 3:5], 0.05)
    np.testing.assert_allclose(weights @ np.ones(11), 0.1)


def random_runs(seed, rows, columns):
    rng = np.random.default_rng(seed)
    length = rng.integers(0, 6, rows)
    first = rng.integers(0, columns - 6, rows)
    pointers = np.concatenate([[0], np.cumsum(length)])
    return RunMatrix(first, pointers, rng.normal(size=pointers[-1]), columns)


def test_products_of_runs_are_those_of_matrices():
    a, b, c = random_runs(1, 30, 20), random_runs(2, 30, 25), random_runs(3, 25, 40)
    dense = [m.to_csr().toarray() for m in (a, b, c)]
    np.testing.assert_allclose(a.transposed_product(b).to_csr().toarray(), dense[0].T @ dense[1])
    np.testing.assert_allclose(b.product(c).to_csr().toarray(), dense[1] @ dense[2])
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(20, SIDES)), rng.normal(size=(30, SIDES))
    np.testing.assert_allclose(a @ x, dense[0] @ x)
    np.testing.assert_allclose(a @ x[:, 0], dense[0] @ x[:, 0])
    np.testing.assert_allclose(a.transposed_times(y), dense[0].T @ y)
    np.testing.assert_allclose(a.transposed_times(y[:, 0]), dense[0].T @ y[:, 0])
    rows, columns = rng.normal(size=30), rng.normal(size=20)
    np.testing.assert_allclose(
        a.scaled(rows, columns).to_csr().toarray(), rows[:, None] * dense[0] * columns
    )
    kept = rng.random(30) < 0.5
    np.testing.assert_allclose(a.selected(kept).to_csr().toarray(), dense[0] * kept[:, None])
    x[5, 0] = np.nan
    assert (a.reaches_nan(x[:, 0]) == (dense[0][:, 5] != 0)).all()


def folded_matrix(size, seed=0):
    """A matrix that couples each unknown with its neighbours and with the one at half its place."""
    rng = np.random.default_rng(seed)
    rows = np.repeat(np.arange(size), 3)
    columns = np.stack([np.arange(size), np.maximum(np.arange(size) - 1, 0), np.arange(size) // 2])
    matrix = sparse.coo_matrix((rng.normal(size=3 * size), (rows, columns.T.ravel()))).tocsr()
    return matrix.T @ matrix


@pytest.mark.parametrize("size", [5, 64, 65, 400])
def test_banded_solution_is_that_of_a_dense_matrix(size):
    grid = np.sort(np.random.default_rng(size).uniform(0, 1, size))
    normal, smooth = folded_matrix(size), smoothness_matrix(grid)
    system = BandedSystem(sparse.tril(normal).tocsr(), smooth)
    factor = 1e-3
    full = smooth.toarray()
    dense = normal.toarray() + factor**2 * (full + np.tril(full, -1).T)
    right = np.random.default_rng(9).normal(size=(size, 3))
    found = system.factorised(factor)
    assert not found.ill_conditioned
    np.testing.assert_allclose(dense @ found.solve(right), right, atol=1e-8)
    np.testing.assert_allclose(found.solve(right[:, 0]), found.solve(right)[:, 0], rtol=1e-9)


def test_singular_system_is_called_ill_conditioned():
    normal = sparse.csr_matrix((30, 30))
    found = BandedSystem(normal, smoothness_matrix(np.arange(30.0))).factorised(1.0)
    assert found.ill_conditioned
    assert np.isfinite(found.solve(np.ones(30))).all()


def test_too_few_pixels_name_the_order():
    order = OrderMap(3, np.tile(np.linspace(1, 2, 20), (3, 1)), np.ones((3, 20)))
    outside = np.ones((3, 20), dtype=bool)
    with pytest.raises(TooFewPixelsError, match="order 3"):
        build_design([order], [unit_throughput], [None], np.linspace(0.9, 2.1, 50), [outside])


def simple_fit(noise=0.01, points=61):
    """Pixels of one order with a smooth spectrum, finer sampled than they are."""
    rng = np.random.default_rng(5)
    order = OrderMap(1, np.tile(np.linspace(1, 2, 30), (8, 1)), np.ones((8, 30)))
    nothing = np.zeros((8, 30), dtype=bool)
    grid = np.linspace(0.95, 2.05, points)
    design = build_design([order], [unit_throughput], [None], grid, [nothing])
    truth = np.sin(4 * grid) + 2
    error = np.full(np.count_nonzero(~design.mask), noise * 0.05)
    pixels = design.pixel_model(truth) + rng.normal(size=error.size) * error
    return RegularisedFit(design, pixels / error, error), truth


def test_normal_matrix_is_the_product_of_the_model():
    fit, _ = simple_fit()
    dense = sum(m.to_csr().toarray() for m in fit.matrices)
    first, last = fit.design.orders[0].bounds
    expected = np.zeros((len(fit.design.grid),) * 2)
    expected[first:last, first:last] = dense.T @ dense
    lower = fit.design.normal_matrix(np.full(len(fit.scaled), 0.0005)).toarray()
    np.testing.assert_allclose(lower, np.tril(expected), atol=1e-9 * expected.max())


def test_search_finds_a_factor_that_recovers_the_spectrum():
    fit, truth = simple_fit()
    factor, tests, notes = search_factor(fit, 1e-1, (-4, 4))
    assert notes == []
    assert len(tests.factors) == 16
    solution, _ = fit.solve(factor)
    seen = np.isfinite(solution)
    assert seen.sum() > 50
    np.testing.assert_allclose(solution[seen][3:-3], truth[seen][3:-3], rtol=2e-2)
    stiff = fit.solve(1e6)[0][seen]
    assert np.ptp(stiff) < 0.1 * np.ptp(truth)


def test_best_factor_is_where_chi2_begins_to_rise():
    factors = np.logspace(-6, 2, 17)
    tests = FactorTests(factors=factors, chi2_cauchy=0.5 + np.log1p(factors / 1e-2))
    factor = best_factor(tests)
    rise = np.log(10) * factor / 1e-2
    assert rise == pytest.approx(1e-3, rel=0.5)
    assert best_factor(tests, lowest=1e-1) >= 1e-1
    flat = FactorTests(factors=factors, chi2_cauchy=np.ones(17))
    assert best_factor(flat) == pytest.approx(factors[-1])


def test_factor_decided_by_rounding_is_not_accepted(monkeypatch):
    fit, _ = simple_fit()
    honest = RegularisedFit.solve

    def solve(self, factor):
        solution, system = honest(self, factor)
        object.__setattr__(system, "ill_conditioned", factor < 1e-1)
        return solution, system

    monkeypatch.setattr(RegularisedFit, "solve", solve)
    factor, tests, notes = search_factor(fit, 1e-1, (-4, 4))
    assert factor >= tests.factors[~tests.ill_conditioned].min() > 0.09
    assert len(notes) <= 1
