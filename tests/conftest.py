"""Small synthetic observations that many tests read; no test writes into their folders."""

from __future__ import annotations

import datetime
import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import pytest


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """Simulate an observation once for all tests that ask for the same one."""
    from tso3dask.simulation import simulate

    known = {}

    def make(mode, **arguments):
        key = (mode, repr(sorted(arguments.items())))
        if key not in known:
            folder = tmp_path_factory.mktemp(mode.replace("-", "_"))
            known[key] = simulate(mode, folder, **arguments)
        return known[key]

    return make


@pytest.fixture(autouse=True, scope="session")
def no_crds_of_the_user():
    """Whatever CRDS the user has set up stays out of the tests."""
    kinds = ("PATH", "SERVER_URL", "CONTEXT", "READONLY_CACHE", "STEPPARS")  # crds sets others
    names = [n for n in os.environ if n.startswith(("CRDS_", "STPIPE_")) and n.endswith(kinds)]
    with mock.patch.dict(os.environ):
        for name in names:
            del os.environ[name]
        os.environ["CRDS_DEFAULT_CACHE"] = "/no/such/cache"
        yield


@pytest.fixture(scope="session")
def spectra(made):
    """Dispersed along y: a rolling segment, a short one, a very short one, and one integration."""
    return made("mir_lrs-slitless", nints=60, segments=[34, 20, 5, 1], shape=(26, 20), cr_rate=2e-3)


@pytest.fixture(scope="session")
def images(made):
    """Images: a rolling segment, one as long as the window, and one integration."""
    return made("nrc_tsimage", nints=57, segments=[31, 25, 1], shape=(24, 26), cr_rate=2e-3)


@pytest.fixture(scope="session")
def detectors(made):
    """Two detectors with two segments each, dispersed along x."""
    return made("nrs_g395h", nints=40, segments=[28, 12], shape=(12, 40), cr_rate=2e-3)


@pytest.fixture(scope="module")
def cluster():
    """Two worker processes on this machine."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        processes=True,
        dashboard_address=None,
        silence_logs=50,
    ) as cluster:
        yield cluster


@pytest.fixture
def copy_of(tmp_path):
    """Copy an observation, for tests that change it."""

    def copy(observation, name="input"):
        folder = tmp_path / name
        shutil.copytree(Path(observation.asn).parent, folder)
        return SimpleNamespace(
            folder=folder,
            asn=folder / Path(observation.asn).name,
            members=[folder / Path(member).name for member in observation.members],
            steps=observation.steps,
        )

    return copy


@pytest.fixture
def stopped_clock(monkeypatch):
    """Let everything written bear the same date, so that equal runs give equal files."""
    from stdatamodels.jwst.datamodels import model_base

    from tso3dask.io import asdf_edit, crfints, x1dints_layout

    moment = datetime.datetime(2026, 1, 2, 3, 4, 5)

    class Stopped(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return moment.replace(tzinfo=tz)

    clock = SimpleNamespace(datetime=Stopped, UTC=datetime.UTC)
    monkeypatch.setattr(asdf_edit, "datetime", clock)
    text = moment.isoformat(timespec="milliseconds")
    for module in (crfints, x1dints_layout):
        monkeypatch.setattr(module, "timestamp", lambda: text)
    stopped = SimpleNamespace(now=lambda: SimpleNamespace(isot=text))
    monkeypatch.setattr(model_base, "Time", stopped)


@pytest.fixture
def crds_of(tmp_path, monkeypatch):
    """Put the references of an observation into a CRDS cache and set it up.

    Returns the cache, whose rules may be changed before they are used, and the steps without
    overrides. With `detectors`, each has an extract1d reference of its own.
    """
    pytest.importorskip("crds")
    from crds_cache import CrdsCache

    def make(observation, detectors=(), folder="cache", context="jwst_0042.pmap"):
        from astropy.io import fits

        header = fits.getheader(observation.members[0])
        instrument, exp_type = header["INSTRUME"], header["EXP_TYPE"]
        cache = CrdsCache(tmp_path / folder, context)
        for kind, path in observation.references.items():
            if kind == "extract1d" and detectors:
                for detector in detectors:
                    cache.add(instrument, kind, path, exp_type, detector)
            else:
                cache.add(instrument, kind, path)
        cache.write()
        for name, value in cache.environment.items():
            monkeypatch.setenv(name, value)
        return cache

    return make
