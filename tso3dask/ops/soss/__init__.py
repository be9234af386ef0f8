"""Extraction of NIRISS SOSS spectra."""
