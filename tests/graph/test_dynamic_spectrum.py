"""Sums of spectra in bins of time and wavelength, for the quick-look figure."""

import numpy as np

from tso3dask.graph.extraction import DynamicSpectrum


def test_elements_without_flux_are_left_out_of_sums_and_counts(monkeypatch):
    monkeypatch.setattr("tso3dask.graph.extraction.SPECTRAL_BINS", 3)
    flux = np.full((5, 6), 2.0)
    flux[1] = np.nan
    flux[2, 0] = np.nan
    flux[4, 5] = np.inf
    bins = DynamicSpectrum(width=6, first_row=3, bin_rows=2, a=0, b=5)
    bins.add(0, flux[:2])
    bins.add(2, flux[2:])
    rows = bins.rows()  # rows 3 | 4, 5 | 6, 7 of the series
    np.testing.assert_array_equal(rows["bins"], [1, 2, 3])
    np.testing.assert_array_equal(rows["bin_count"], [[2, 2, 2], [1, 2, 2], [4, 4, 3]])
    np.testing.assert_array_equal(rows["bin_sum"], 2.0 * rows["bin_count"])


def test_an_integration_without_flux_is_a_gap():
    bins = DynamicSpectrum(width=4, first_row=0, bin_rows=1, a=0, b=2)
    bins.add(0, np.array([[1.0, 2.0, 3.0, 4.0], [np.nan] * 4]))
    assert not bins.rows()["bin_count"][1].any()
