"""Exposures of which everything is known: a trace with lines, and a star."""

from __future__ import annotations

import numpy as np
from scipy.special import erf


class Exposure:
    """Integrations of a source whose place, brightness and background are given.

    `sigma` is the width of its profile in pixels; `lines` the depth of the lines of its spectrum.
    """

    def __init__(
        self, nints=40, shape=(24, 300), dispaxis=1, sigma=0.75, lines=0.3, noise=2.0, seed=1,
        jitter=0.05, depth=0.1, hits=0.0, peak=2000.0, level=30.0,
    ):  # fmt: skip
        rng = np.random.default_rng(seed)
        self.dispaxis, self.sigma, self.lines, self.peak = dispaxis, sigma, lines, peak
        self.shape = shape if dispaxis != 2 else shape[::-1]
        self.dy, self.dx = jitter * rng.standard_normal((2, nints))
        self.brightness = np.where(np.abs(np.arange(nints) / nints - 0.5) < 0.2, 1 - depth, 1.0)
        self.background = level + 2 * rng.standard_normal(nints)
        self._waves = rng.uniform(0.03, 0.97, 25) * max(shape)
        sci = self.brightness[:, None, None] * np.array(
            [self.image(y, x) for y, x in zip(self.dy, self.dx, strict=True)]
        )
        photons = sci / 4
        sci += self.background[:, None, None]
        variance = noise**2 + photons
        sci += np.sqrt(variance) * rng.standard_normal(sci.shape)
        self.hit = rng.random(sci.shape) < hits
        sci[self.hit] += 400 * np.sqrt(variance[self.hit])
        self.dq = np.zeros(sci.shape, np.uint32)
        self.cubes = {
            "sci": sci.astype(np.float32),
            "dq": self.dq,
            "var_rnoise": np.full(sci.shape, noise**2, np.float32),
            "var_poisson": photons.astype(np.float32),
            "err": np.sqrt(variance).astype(np.float32),
        }

    def spectrum(self, x):
        """Light of each column; lines have the width of the profile."""
        out = 1 + 0.3 * np.asarray(x) / 300
        for wave in self._waves:
            out = out * (1 - self.lines * np.exp(-0.5 * ((x - wave) / 1.5) ** 2))
        return self.peak * out

    def centre(self, x):
        return 9.3 + 0.01 * np.asarray(x)

    def image(self, dy=0.0, dx=0.0):
        """Light of the source at brightness 1 (y, x), moved."""

        def across(n, centre):
            edges = np.arange(n + 1)[:, None] - 0.5 - np.atleast_1d(centre)
            return 0.5 * np.diff(erf(edges / np.sqrt(2) / self.sigma), axis=0)

        ny, nx = self.shape
        if self.dispaxis == 0:
            return self.peak * across(ny, ny / 2 + 0.2 + dy) * across(nx, nx / 2 - 0.3 + dx).T
        move, shift = (dy, dx) if self.dispaxis == 1 else (dx, dy)
        n, along = (ny, nx) if self.dispaxis == 1 else (nx, ny)
        x = np.arange(along)
        image = across(n, self.centre(x - shift) + move) * self.spectrum(x - shift)
        return image if self.dispaxis == 1 else image.T

    def read(self, name, picks, y0, y1):
        return self.cubes[name][picks, y0:y1]

    def template(self, names=("sci", "dq", "err", "var_poisson", "var_rnoise")):
        from tso3dask.ops.template import make_template

        count = len(self.cubes["sci"])
        return make_template(self.read, names, self.shape, self.dispaxis, count, "scene")
