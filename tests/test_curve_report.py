"""The figure of light curves: panels, labels, any detectors, modes and lengths."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from tso3dask.curve_report import draw_curves, save_curves
from tso3dask.curvelook import CurveLook, Curves, curve_look
from tso3dask.quicklook import Channel, QuickLook, quicklook_of


def curves(n=60, label="", channels=20, seed=0):
    rng = np.random.default_rng(seed)
    light = 5.0 - 0.05 * (np.abs(np.arange(n) - n / 2) < n / 5)
    flux = light + rng.normal(0, 0.005, n)
    edges = np.linspace(3, 5, channels + 1)
    return Curves(
        Channel(
            label=label,
            integration=np.arange(1, n + 1),
            flux=flux,
            bjd=59000 + np.arange(n) * 1e-3,
            mjd=59000 + np.arange(n) * 1e-3,
            unit="Jy",
        ),
        raw=flux - 0.02 * (rng.random(n) < 0.3),
        error=np.full(n, 0.005),
        spectral=light[:, None] / channels + rng.normal(0, 0.005, (n, channels)),
        edges=np.stack([edges[:-1], edges[1:]], axis=1),
        regressors={"shift_x": rng.normal(0, 0.01, n), "flagged_fraction": rng.random(n) / 100},
    )


def axes_of(figure):
    return {axis.get_ylabel(): axis for axis in figure.axes}


def test_panels_of_two_detectors():
    look = CurveLook(
        QuickLook("p", "star", "NIRSpec"), [curves(label="NRS1"), curves(label="NRS2")]
    )
    axes = axes_of(draw_curves(look))
    assert list(axes) == [
        "Relative flux (%)",
        "NRS1 channels\n(%, shifted apart)",
        "NRS2 channels\n(%, shifted apart)",
        "Shift x\n(pixel)",
        "Flagged\n(% of target)",
        "Scatter between neighbouring bins (ppm)",
    ]
    legend = [t.get_text() for t in axes["Relative flux (%)"].get_legend().get_texts()]
    assert [text.split(",")[0] for text in legend[::2]] == [
        "NRS1 not replaced",
        "NRS2 not replaced",
    ]
    texts = [t.get_text() for t in axes["NRS1 channels\n(%, shifted apart)"].texts]
    assert len(texts) == 12 and texts[0] == "3.00 to 3.20 μm"
    noise = axes["Scatter between neighbouring bins (ppm)"]
    lines = [line.get_label() for line in noise.lines]
    assert {"NRS1 light curve", "$1/\\sqrt{N}$", "errors"} <= set(lines)


def test_scatter_of_white_noise_lies_on_its_line():
    quiet = curves(4000)
    quiet.channel.flux = 5 + np.random.default_rng(3).normal(0, 0.005, 4000)
    figure = draw_curves(CurveLook(QuickLook("p"), [quiet]))
    lines = {line.get_label(): line for line in figure.axes[-1].lines}
    found, white = (lines[name].get_ydata() for name in ("light curve", "$1/\\sqrt{N}$"))
    np.testing.assert_allclose(found, white, rtol=0.3)
    np.testing.assert_allclose(white[0], 1000, rtol=0.05)


@pytest.mark.parametrize("n", [12, 60, 400, 5000])
def test_scatter_is_labelled_with_numbers_that_do_not_touch(n):
    figure = draw_curves(CurveLook(QuickLook("p"), [curves(n)]))
    axis = axes_of(figure)["Scatter between neighbouring bins (ppm)"]
    assert axis.get_xscale() == "log"
    figure.canvas.draw()
    for side, name in ((axis.xaxis, "intervalx"), (axis.yaxis, "intervaly")):
        low, high = side.get_view_interval()
        shown = [
            label
            for label, place in zip(side.get_ticklabels(), side.get_ticklocs(), strict=True)
            if low <= place <= high
        ]
        assert shown
        assert all(label.get_text()[0].isdigit() for label in shown)
        assert not any(label.get_text() for label in side.get_ticklabels(minor=True))
        boxes = [getattr(label.get_window_extent(), name) for label in shown]
        assert all(one[1] < other[0] for one, other in itertools.pairwise(boxes))


@pytest.mark.parametrize("n", [1, 2, 9, 3000])
def test_any_number_of_integrations(n, tmp_path):
    path = save_curves(CurveLook(QuickLook("p"), [curves(n, channels=3)]), tmp_path / "p.png")
    assert path.stat().st_size > 10_000
    assert [f.name for f in tmp_path.iterdir()] == ["p.png"]


def test_growth_curve_has_its_panel():
    from tso3dask.ops.growth import GrowthCurve

    one, width = curves(), np.arange(1.0, 9)
    one.growth = GrowthCurve(width, width, 1e-3 / width)
    axis = draw_curves(CurveLook(QuickLook("p"), [one])).axes[-1]
    assert axis.get_xlabel() == "Width of the aperture (pixels)"
    np.testing.assert_allclose(axis.lines[0].get_ydata(), 1e3 / width)
    assert len(axis.lines) == 1 and axis.get_legend() is None
    one.growth = GrowthCurve(width, width, 1e-3 / width, chosen=5.0)
    axis = draw_curves(CurveLook(QuickLook("p"), [one])).axes[-1]
    np.testing.assert_array_equal(axis.lines[1].get_xdata(), [5, 5])
    assert [t.get_text() for t in axis.get_legend().get_texts()] == ["chosen, 5"]


@pytest.mark.parametrize("n", [4, 12])
def test_scatter_of_few_integrations_has_limits_around_it(n):
    axis = axes_of(draw_curves(CurveLook(QuickLook("p"), [curves(n)])))[
        "Scatter between neighbouring bins (ppm)"
    ]
    drawn = [line for line in axis.lines if line.get_visible()]
    sizes = np.concatenate([line.get_xdata() for line in drawn])
    values = np.concatenate([line.get_ydata() for line in drawn])
    (low, high), (bottom, top) = axis.get_xlim(), axis.get_ylim()
    assert sizes.min() / 2 <= low and high <= 2 * sizes.max()
    assert values.min() / 2 <= bottom < values.min() and values.max() < top <= 2 * values.max()
    texts = [t.get_text() for t in axis.get_legend().get_texts()]
    assert texts == [t for t in texts if any(t == line.get_label() for line in drawn)]
    if np.ptp(sizes) == 0:
        assert not {"errors", "$1/\\sqrt{N}$"} & set(texts)


def test_legend_and_panel_have_the_same_scatter():
    one = curves(400)
    figure = draw_curves(CurveLook(QuickLook("p"), [one]))
    legend = axes_of(figure)["Relative flux (%)"].get_legend()
    assert "median" in legend.get_title().get_text()
    told = [float(t.get_text().split()[-2].replace(",", "")) for t in legend.get_texts()]
    lines = {line.get_label(): line.get_ydata() for line in figure.axes[-1].lines}
    drawn = [lines["not replaced"][0], lines["light curve"][0]]
    np.testing.assert_allclose(told, drawn, atol=0.51)


def test_curves_that_coincide_are_drawn_once():
    one = curves()
    one.raw = one.channel.flux + 1e-6
    figure = draw_curves(CurveLook(QuickLook("p"), [one]))
    assert len(axes_of(figure)["Relative flux (%)"].get_legend().get_texts()) == 1
    assert "not replaced" not in [line.get_label() for line in figure.axes[-1].lines]


def test_panels_of_zeros_are_left_out_and_small_backgrounds_have_a_power_of_ten():
    one = curves()
    one.regressors["replaced_fraction"] = np.zeros(60)
    one.regressors["background"] = 2e-5 + 1e-6 * np.random.default_rng(0).normal(size=60)
    one.background_unit = "DN/s"
    figure = draw_curves(CurveLook(QuickLook("p"), [one]))
    axes = axes_of(figure)
    assert "Replaced\n(% of target)" not in axes
    axis = axes["Background\n($10^{-6}$ DN/s)"]
    assert 15 < np.median(axis.lines[0].get_ydata()) < 25
    figure.canvas.draw()
    assert axis.yaxis.get_offset_text().get_text() == ""


def test_points_beyond_the_limits_are_marked_at_the_edge():
    one = curves()
    one.raw = one.channel.flux.copy()
    one.raw[30], one.regressors["shift_x"][5] = 0.5 * one.raw[30], 1.0
    axes = axes_of(draw_curves(CurveLook(QuickLook("p"), [one])))
    for name, i, marker, colour in (
        ("Relative flux (%)", 30, "v", "0.6"),
        ("Shift x\n(pixel)", 5, "^", "#0072B2"),
    ):
        axis = axes[name]
        marks = [m for m in axis.lines if m.get_marker() == marker and m.get_color() == colour]
        assert [len(m.get_xdata()) for m in marks] == [1]
        assert marks[0].get_xdata()[0] == axis.lines[0].get_xdata()[i]
        assert marks[0].get_ydata()[0] == axis.get_ylim()[marker == "^"]


def test_integrations_without_flux_are_left_out_of_channels():
    one = curves(channels=24)
    one.spectral[20:30] = np.nan
    one.spectral[40, 0] = np.nan  # one of the two that are joined
    one.spectral[:, 3] = np.nan  # never known
    axis = axes_of(draw_curves(CurveLook(QuickLook("p"), [one])))["Channels\n(%, shifted apart)"]
    for k, line in enumerate(axis.lines):
        lost = np.flatnonzero(np.isnan(line.get_ydata()))
        np.testing.assert_array_equal(lost, [*range(20, 30), *([40] if k == 0 else [])])
    low, high = axis.get_ylim()
    assert high - low < 200


def test_regressors_that_orders_share_are_drawn_once():
    one, two = curves(label="order 1"), curves(label="order 2", seed=1)
    two.regressors["shift_x"] = one.regressors["shift_x"].copy()
    axes = axes_of(draw_curves(CurveLook(QuickLook("p"), [one, two])))
    shown = {
        name: [line for line in axes[name].lines if line.get_marker() == "o"]
        for name in ("Shift x\n(pixel)", "Flagged\n(% of target)")
    }
    assert [len(lines) for lines in shown.values()] == [1, 2]
    top = axes["Flagged\n(% of target)"].get_ylim()[1]
    assert top > max(line.get_ydata().max() for line in shown["Flagged\n(% of target)"])


def test_nothing_known_but_the_light_curve():
    one = curves()
    one.raw = one.error = one.spectral = one.edges = None
    one.regressors = {}
    one.channel.flux[:] = np.nan
    assert len(draw_curves(CurveLook(QuickLook("p"), [one])).axes) == 2


@pytest.mark.parametrize("kind", ["images", "detectors"])
def test_figure_of_a_run(kind, request, tmp_path):
    import tso3dask as tso3

    made = request.getfixturevalue(kind)
    plan = tso3.plan(made.asn, made.steps, recipe="precise")
    result = plan.run(tmp_path)
    found = curve_look(plan, result, quicklook_of(plan, result))
    assert [c.channel.label for c in found.curves] == (
        ["NRS1", "NRS2"] if kind == "detectors" else [""]
    )
    for one in found.curves:
        size = one.channel.flux.size
        assert one.raw.size == size and np.nanmax(one.channel.flux - one.raw) > 0
        assert all(values.size == size for values in one.regressors.values())
        assert {"shift_y", "replaced_fraction"} <= set(one.regressors)
        if kind == "images":
            error = result.tables["phot"]["net_aperture_sum_err"][0]
            np.testing.assert_array_equal(one.error, error)
        if kind == "detectors":
            assert one.spectral.shape == (size, len(one.edges)) and one.error.size == size
    assert draw_curves(found).axes
    plain = tso3.plan(made.asn, made.steps)
    done = plain.run(tmp_path / "plain")
    assert curve_look(plain, done, quicklook_of(plain, done)) is None
