"""Systems by columns of the detector, beside the normal equations and dense least squares."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import soss_scene

from tso3dask.ops.soss.banded import NormalSystem, smoothness_matrix
from tso3dask.ops.soss.columns import ColumnModel
from tso3dask.ops.soss.engine import OrderMap, build_design
from tso3dask.ops.soss.frontal import FrontalSystem
from tso3dask.ops.soss.model import AtocaParameters, prepare_segment
from tso3dask.ops.soss.runs import SIDES
from tso3dask.ops.soss.tikhonov import RegularisedFit


def scene_fit(points=420, tilt=0.0, lost=0.01, orders=(1, 2)):
    """Design of overlapping orders on a part of the scene, its pixels over errors, and errors."""
    found = soss_scene.spectral_orders(soss_scene.references(orders, tilt=tilt))
    grid = np.linspace(0.6, 2.79, points)
    rng = np.random.default_rng(8)
    bad = rng.random(soss_scene.SHAPE) < lost
    bad[:, 60:64] = True
    design = build_design(
        [OrderMap(o.order, o.wavelength, o.profile) for o in found],
        [o.throughput for o in found],
        [o.kernel for o in found],
        grid,
        [~(o.aperture > 0) for o in found],
        bad,
    )
    model = design.pixel_model(soss_scene.spectrum(grid))
    error = np.sqrt(4.0 + np.abs(model)) * rng.uniform(0.9, 1.1, model.size)
    return design, model / error + rng.normal(size=model.size), error


def dense_model(design, error):
    """Matrix (pixel, grid point) of pixels over their errors."""
    parts = zip(design.orders, design.weighted(error), strict=True)
    size = len(design.grid)
    return sum(m.to_csr() @ part.convolution(size).to_csr() for part, m in parts).toarray()


@pytest.mark.parametrize("orders", [(1, 2), (1, 2, 3)])
def test_columns_tell_all_that_pixels_tell(orders):
    design, scaled, error = scene_fit(orders=orders)
    model = ColumnModel.of(design, error)
    dense, by_column = dense_model(design, error), model.matrix().toarray()
    assert by_column.shape == (len(orders) * soss_scene.SHAPE[1], 420)
    normal = dense.T @ dense
    np.testing.assert_allclose(by_column.T @ by_column, normal, atol=1e-10 * normal.max())
    right = by_column.T @ model.numbers(scaled).ravel()
    np.testing.assert_allclose(right, dense.T @ scaled, atol=1e-10 * np.abs(right).max())
    two = model.numbers(np.stack([scaled, 2 * scaled] * (SIDES // 2), axis=1))
    np.testing.assert_allclose(two[..., 1], 2 * model.numbers(scaled), rtol=1e-12)


def test_columns_with_several_wavelengths_have_no_model_by_columns():
    design, scaled, error = scene_fit(tilt=2e-5)
    assert ColumnModel.of(design, error) is None
    assert isinstance(RegularisedFit(design, scaled, error).system, NormalSystem)


@pytest.mark.parametrize("factor", [1e-8, 1e-5, 1e-2])
@pytest.mark.parametrize("kept", ["all", "some"])
def test_solution_is_that_of_dense_least_squares(factor, kept):
    design, scaled, error = scene_fit()
    seen = np.ones(420, bool)
    if kept == "some":
        seen[[0, 7, 8, 200, 419]] = False
    smoothness = smoothness_matrix(design.grid)[seen][:, seen]
    system = FrontalSystem(ColumnModel.of(design, error), smoothness, seen)
    found = system.factorised(factor)
    assert not found.ill_conditioned
    derivative = np.diff(np.eye(420), axis=0) / np.diff(design.grid)[:, None]
    stacked = np.concatenate([dense_model(design, error), factor * derivative])[:, seen]
    right = np.concatenate([scaled, np.zeros(419)])
    expected = np.linalg.lstsq(stacked, right, rcond=None)[0]
    solution = found.solve(scaled)
    np.testing.assert_allclose(solution, expected, atol=1e-7 * np.abs(expected).max())
    sides = found.solve(np.outer(scaled, np.arange(SIDES)))
    np.testing.assert_allclose(sides, np.outer(solution, np.arange(SIDES)), rtol=1e-10, atol=1e-6)


def test_elimination_is_that_of_the_whole_matrix():
    design, _, error = scene_fit(points=300)
    factor = 1e-6
    fit = RegularisedFit(design, np.ones(len(error)), error, drop_unseen=False)
    found = fit.system.factorised(factor)
    by_column = fit.system.model.matrix().toarray()[found.kept]
    smooth = smoothness_matrix(design.grid).toarray()
    smooth += np.tril(smooth, -1).T
    whole = np.block([[factor**2 * smooth, by_column.T], [by_column, -np.eye(len(by_column))]])
    order = np.argsort(np.concatenate([found.steps_of_points, found.steps_of_numbers]))
    whole = whole[np.ix_(order, order)]
    pivots = np.empty(len(whole))
    for step in range(len(whole)):  # the same without a front
        pivots[step] = whole[step, step]
        rest = slice(step + 1, None)
        whole[rest, rest] -= np.outer(whole[rest, step], whole[rest, step]) / pivots[step]
    np.testing.assert_allclose(found.pivots, pivots, rtol=1e-6)
    assert found.shares.shape[1] < 0.5 * len(pivots)


def test_small_factors_are_not_decided_by_rounding():
    """The normal equations are singular to rounding where least squares are not."""
    design, scaled, error = scene_fit(points=1200)
    factor = 1e-15
    fit = RegularisedFit(design, scaled, error, drop_unseen=False)
    solution, system = fit.solve(factor)
    assert not system.ill_conditioned
    smoothness = smoothness_matrix(design.grid)
    normal = NormalSystem(design, fit.matrices, error, smoothness, fit.seen)
    assert normal.factorised(factor).ill_conditioned
    by_column = system.model.matrix().toarray()
    derivative = np.diff(np.eye(1200), axis=0) / np.diff(design.grid)[:, None]
    stacked = np.concatenate([by_column, factor * derivative])
    right = np.concatenate([system.model.numbers(scaled).ravel(), np.zeros(1199)])
    expected = np.linalg.lstsq(stacked, right, rcond=0)[0]
    misfit, lowest = ((fit.residual(x) ** 2).mean() for x in (solution, expected))
    assert misfit == pytest.approx(lowest, rel=1e-6)
    np.testing.assert_allclose(solution, expected, atol=1e-3 * np.abs(expected).max())


@pytest.mark.parametrize("lost", [0.0, 0.01])
def test_solutions_are_corrected_where_elimination_loses_digits(lost):
    """The misfit of exact solutions does not rise where the regularisation becomes less."""
    design, scaled, error = scene_fit(lost=lost, orders=(1, 2, 3))
    fit = RegularisedFit(design, scaled, error, drop_unseen=False)
    solution, system = fit.solve(1e-14)
    assert not system.ill_conditioned and system.refinements > 0
    once = replace(system, refinements=0).solve(scaled)
    more, misfit, uncorrected = (
        (fit.residual(x) ** 2).mean() for x in (fit.solve(1e-13)[0], solution, once)
    )
    assert misfit <= more < uncorrected * (1 - 1e-6)
    sides = system.solve(np.outer(scaled, np.arange(SIDES)))
    assert (fit.residual(sides[:, 5] / 5) ** 2).mean() == pytest.approx(misfit, rel=1e-9)


@pytest.mark.parametrize("factor", [0.0, 1e-200, 1e-20])
def test_factors_that_rounding_decides_are_raised(factor):
    design, scaled, error = scene_fit()
    fit = RegularisedFit(design, scaled, error, drop_unseen=False)
    solution, system = fit.solve(factor)
    assert system.ill_conditioned
    least, still_good = fit.solve(1e-12)
    assert not still_good.ill_conditioned
    misfit, expected = ((fit.residual(x) ** 2).mean() for x in (solution, least))
    assert misfit == pytest.approx(expected, rel=1e-2)


def test_grid_and_system_end_in_bounded_size_with_defaults_on_noise():
    orders = soss_scene.spectral_orders(soss_scene.references(tilt=0))
    seen = soss_scene.observation(orders, nints=2, noise=10.0)
    parameters = AtocaParameters()
    model = prepare_segment(
        orders, seen.typical, seen.median_error, seen.bad, seen.reference, parameters
    )
    assert any("tolerance 0.0001 not reached" in note for note in model.notes)
    assert 5000 < len(model.grid) <= 2 * parameters.max_grid_size
    assert np.diff(model.grid).min() > 0.99e-5
    assert len(model.tests[1].factors) == 16
    front = model.joint.system.shares.shape[1]
    assert front <= 2 * 4 * soss_scene.PIXELS * 2  # strands and columns, not points of the grid
    assert all(np.isfinite(f) for f in model.factors.values())
