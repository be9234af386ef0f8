import numpy as np
import pytest

from tso3dask.quicklook import Channel, QuickLook, bin_edges, bin_rows
from tso3dask.report import draw_quicklook, save_quicklook


def channel(n, label="", nwave=0, centroid=False, **changes):
    rng = np.random.default_rng(3)
    times = 59791.1 + np.arange(n) / 1440.0
    flux = 2.0 + 1e-3 * rng.standard_normal(n)
    flux[n // 3 : n // 2] *= 0.98
    values = {
        "integration": np.arange(1, n + 1),
        "flux": flux,
        "unit": "Jy",
        "bjd": times,
        "mjd": times,
        "flagged": rng.random(n) * 1e-3,
        "segment_starts": (0, n // 2),
    }
    if nwave:
        values["wavelength"] = np.linspace(1.0, 2.0, nwave)
        values["spectra"] = flux[:, None] * rng.normal(1, 1e-2, (n, nwave))
    if centroid:
        values["centroid_x"] = 80 + 0.01 * rng.standard_normal(n)
        values["centroid_y"] = 80 + 0.01 * rng.standard_normal(n)
    return Channel(label, **{**values, **changes})


def draw(*channels):
    return draw_quicklook(QuickLook("prod", "WASP-39", "NIRSpec PRISM", list(channels)))


def labels(figure):
    return [axis.get_ylabel() for axis in figure.axes]


def test_bins_are_means_without_nan():
    edges = bin_edges(7, 3)
    assert edges[0] == 0 and edges[-1] == 7 and len(edges) == 4
    values = np.array([1, 3, 5, np.nan, 4, np.nan, np.nan])
    np.testing.assert_allclose(
        bin_rows(values, np.array([0, 2, 5, 7])), [2.0, 4.5, np.nan], equal_nan=True
    )
    assert len(bin_edges(3, 10)) == 4
    assert bin_rows(np.ones((6, 2)), bin_edges(6, 2)).shape == (2, 2)


def test_imaging_has_its_panels_and_units():
    figure = draw(channel(40, centroid=True))
    text = " ".join(labels(figure))
    for word in ("(Jy)", "Relative flux", "%", "Centroid\n(pixel)", "Outlier pixels"):
        assert word in text
    assert figure.axes[-1].get_xlabel() == "Time since BMJD(TDB) 59791.10000 (minutes)"
    assert "WASP-39" in figure.axes[0].get_title(loc="left")
    assert "40 integrations · 2 segments" in figure.axes[0].texts[0].get_text()


def test_spectroscopy_has_one_dynamic_spectrum_per_detector():
    figure = draw(channel(30, "NRS1", 50), channel(30, "NRS2", 40))
    assert [t for t in labels(figure) if "Wavelength (μm)" in t] == [
        "NRS1\nWavelength (μm)",
        "NRS2\nWavelength (μm)",
    ]
    names = [t.get_text() for t in figure.axes[1].get_legend().get_texts()]
    assert names[0].startswith("NRS1: scatter") and names[1].startswith("NRS2: scatter")


def test_small_changes_are_in_ppm_and_a_transit_stays_in_view():
    quiet = channel(100)
    quiet.flux = 1 + 1e-5 * np.random.default_rng(0).standard_normal(100)
    assert "ppm" in labels(draw(quiet))[1]
    deep = channel(100)
    deep.flux[5] = 9.0
    low, high = draw(deep).axes[1].get_ylim()
    assert low < -2.0
    assert high < 5.0


@pytest.mark.parametrize(
    ("changes", "label"),
    [
        ({"bjd": None}, "MJD(UTC)"),
        ({"bjd": np.zeros(50)}, "MJD(UTC)"),
        ({"bjd": None, "mjd": np.full(50, np.nan)}, "Integration number"),
        ({"mjd": None}, "BMJD(TDB)"),
    ],
)
def test_time_axis_falls_back(changes, label):
    assert label in draw(channel(50, nwave=5, **changes)).axes[3].get_xlabel()


@pytest.mark.parametrize("n", [1, 2, 5, 5000])
def test_any_number_of_integrations(n, tmp_path):
    look = QuickLook("p", channels=[channel(n, nwave=30, centroid=True, segment_starts=(0,))])
    path = save_quicklook(look, tmp_path / "p_quicklook.png")
    assert path.stat().st_size > 10_000
    assert [f.name for f in tmp_path.iterdir()] == ["p_quicklook.png"]


def test_one_time_among_unknown_ones():
    look = channel(3, nwave=20)
    look.bjd[1:] = np.nan
    assert len(draw(look).axes[2].collections) >= 1


def test_nan_everywhere_and_gaps_do_not_fail():
    lost = channel(30, nwave=20, centroid=True)
    for name in ("flux", "spectra", "centroid_x", "flagged"):
        setattr(lost, name, np.full_like(getattr(lost, name), np.nan))
    assert draw(lost).axes
    gap = channel(60, nwave=20)
    gap.bjd[30:] += 0.5
    gap.bjd[3] = np.nan
    gap.spectra_edges = None
    figure = draw(gap)
    assert len(figure.axes[2].collections) >= 2


def test_prebinned_spectra():
    item = channel(100, nwave=20)
    item.spectra_edges = bin_edges(100, 10)
    item.spectra = bin_rows(item.spectra, item.spectra_edges)
    assert len(draw(item).axes[2].collections) == 1
