"""Products written here beside those of jwst, for the same pixels and spectra."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("jwst")
pytestmark = pytest.mark.parity

from astropy.io import fits  # noqa: E402
from jwst_oracle import run_jwst  # noqa: E402

from tso3dask.io.crfints import CrfintsSink  # noqa: E402
from tso3dask.io.segment import open_segment  # noqa: E402
from tso3dask.io.tables import read_table, table_text  # noqa: E402
from tso3dask.io.x1dints import SpectrumSpec, X1dintsSink, spectrum_units  # noqa: E402

OURS = {"CAL_VER", "CAL_VCS", "CRDS_VER", "CRDS_CTX", "DATE", "HISTORY"}
VERSIONS = {
    "meta.calibration_software_version",
    "meta.calibration_software_revision",
    "meta.ref_file.crds.sw_version",
    "meta.ref_file.crds.context_used",
}
TREE = ("_fits_hash", "asdf_library", "cal_logs", "history", "meta.date", "meta.calibration_")
TIMES = ("INT_NUM", "MJD-BEG", "MJD-AVG", "MJD-END", "TDB-BEG", "TDB-MID", "TDB-END")
SMALL = {"nints": 13, "segments": [6, 7], "shape": (48, 40)}

SPECTRA = {
    "lrs": ("mir_lrs-slitless", {}),
    "lrs-slit": ("mir_lrs-slitless", {"model": "SlitModel", "srctype": "EXTENDED"}),
    "lrs-cube": ("mir_lrs-slitless", {"model": "CubeModel", "wavelength": False}),
    "lrs-exposure": ("mir_lrs-slitless", {"int_times": "exposure"}),
    "lrs-jy": ("mir_lrs-slitless", {"photom": True}),
    "prism": ("nrs_prism", {}),
    "g395h": ("nrs_g395h", {}),
    "grism": ("nrc_tsgrism", {}),
}


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """Give observations and jwst's products, made once each."""
    simulation = pytest.importorskip("tso3dask.simulation")
    made = {}

    def make(mode, **options):
        key = (mode, repr(options))
        if key not in made:
            folder = tmp_path_factory.mktemp(mode)
            try:
                observation = simulation.simulate(mode, folder, **{**SMALL, **options})
            except (ValueError, KeyError, TypeError) as error:
                pytest.skip(f"the simulator does not make this: {error}")
            made[key] = observation, run_jwst(observation.asn, folder / "jwst", observation.steps)
        return made[key]

    return make


def assert_same_cards(ours, theirs, name):
    left, right = (
        {k: v for k, v in h.items() if k not in OURS and k not in ("", "COMMENT")}
        for h in (ours, theirs)
    )
    if name == "ASDF":
        for key in ("NAXIS1", "TFORM1"):
            left.pop(key), right.pop(key)
    assert list(left) == list(right), name
    assert left == right, name
    assert [c.comment for c in ours.cards if c.keyword in left and name != "PRIMARY"] == [
        c.comment for c in theirs.cards if c.keyword in right and name != "PRIMARY"
    ]


def assert_same_files(ours, theirs):
    with fits.open(ours) as left, fits.open(theirs) as right:
        assert [(h.name, h.ver) for h in left] == [(h.name, h.ver) for h in right]
        for one, other in zip(left, right, strict=True):
            assert_same_cards(one.header, other.header, one.name)
            if one.name == "ASDF" or one.data is None:
                continue
            if one.is_image:
                np.testing.assert_array_equal(one.data, other.data)
                continue
            assert one.columns.dtype == other.columns.dtype
            for column in one.columns.names:
                if column not in OURS:
                    np.testing.assert_array_equal(one.data[column], other.data[column], column)


def assert_same_models(ours, theirs):
    from stdatamodels.jwst import datamodels

    with datamodels.open(ours) as left, datamodels.open(theirs) as right:
        assert type(left) is type(right)
        left.validate()
        one, other = (
            {
                k: str(v)
                for k, v in m.to_flat_dict(include_arrays=False).items()
                if not k.startswith(TREE) and ".meta.date" not in k and "ref_file.crds" not in k
            }
            for m in (left, right)
        )
        assert one == other
        pairs = [(left.meta, right.meta)]
        if hasattr(left, "spec"):
            pairs = [(a.meta, b.meta) for a, b in zip(left.spec, right.spec, strict=True)]
        for a, b in pairs:
            wcs, peer = getattr(a, "wcs", None), getattr(b, "wcs", None)
            assert (wcs is None) == (peer is None)
            if wcs is None:
                continue
            points = np.linspace(-1, 45, 24)
            places = (points,) if wcs.forward_transform.n_inputs == 1 else (points, points[::-1])
            np.testing.assert_array_equal(wcs(*places), peer(*places))
            if len(places) == 1:
                world = peer(*places)
                np.testing.assert_array_equal(wcs.invert(*world), peer.invert(*world))


def write_crfints(member, peer, association, table, folder):
    segment, pixels = open_segment(member), open_segment(peer)
    sink = CrfintsSink.create(
        segment,
        folder / ".crfints.part",
        filename=peer.name,
        asn_pool=association["asn_pool"],
        asn_table=table,
        history=["outlier_detection: snr = 5.0 4.0"],
    )
    for first in range(0, segment.nints, 4):
        last = min(first + 4, segment.nints)
        sink.put(first, last, {n: pixels.arrays[n].read(first, last) for n in sink.names})
    return sink.finish(folder / peer.name)


@pytest.mark.parametrize(
    "name", ["lrs", "lrs-slit", "lrs-exposure", "image", "prism", "g395h", "grism"]
)
def test_crfints(name, simulated, tmp_path):
    import json

    mode, options = SPECTRA.get(name, ("nrc_tsimage", {}))
    observation, products = simulated(mode, **options)
    association = json.loads(observation.asn.read_text())
    assert len(products["crfints"]) == len(observation.members)
    for member in observation.members:
        stem = member.name.removesuffix("calints.fits")
        (peer,) = [path for path in products["crfints"] if path.name.startswith(stem)]
        written = write_crfints(member, peer, association, observation.asn.name, tmp_path)
        assert_same_files(written, peer)
        assert_same_models(written, peer)


@pytest.mark.parametrize("name", list(SPECTRA))
def test_x1dints(name, simulated, tmp_path):
    import json

    from stdatamodels.jwst import datamodels

    mode, options = SPECTRA[name]
    observation, products = simulated(mode, **options)
    association = json.loads(observation.asn.read_text())
    (peer,) = products["x1dints"]
    segments = [open_segment(member) for member in observation.members]
    reference = observation.steps["extract_1d"]["override_extract1d"]
    specs, columns = [], []
    with fits.open(peer) as hdus, datamodels.open(peer) as model:
        tables = [hdu for hdu in hdus if hdu.name == "EXTRACT1D"]
        for segment, table, spec in zip(segments, tables, model.spec, strict=True):
            data = table.data
            units = spectrum_units(table.header["TUNIT3"], table.header["TUNIT8"])
            edges = ("xstart", "xstop", "ystart", "ystop")
            specs.append(
                SpectrumSpec(
                    segment,
                    data["WAVELENGTH"][0],
                    units,
                    {n: data[n].copy() for n in TIMES},
                    spectral_order=spec.spectral_order,
                    dispaxis=spec.dispersion_direction,
                    name=spec.name,
                    ra=spec.slit_ra,
                    dec=spec.slit_dec,
                    limits=tuple(getattr(spec, f"extraction_{e}") for e in edges),
                    metadata={
                        "meta.ref_file.extract1d.name": str(reference),
                        **{k: v for k, v in model.to_flat_dict(False).items() if k in VERSIONS},
                    },
                )
            )
            columns.append({n: data[n].copy() for n in data.names[2:19]})
    sink = X1dintsSink.create(
        tmp_path / ".x1dints.part",
        specs,
        filename=peer.name,
        asn_pool=association["asn_pool"],
        asn_table=observation.asn.name,
        asn_id=association["asn_id"],
        steps={
            "outlier_detection": "COMPLETE",
            "adaptive_trace_model": "SKIPPED",
            "pixel_replace": "SKIPPED",
            "extract_1d": "COMPLETE",
        },
    )
    for i, (spec, block) in enumerate(zip(specs, columns, strict=True)):
        for first in range(0, spec.nints, 3):
            last = min(first + 3, spec.nints)
            sink.put(i, first, last, {n: v[first:last] for n, v in block.items()})
    written = sink.finish(tmp_path / peer.name)
    assert_same_files(written, peer)
    assert_same_models(written, peer)


@pytest.mark.parametrize("mode, suffix", [("nrc_tsimage", "phot"), ("mir_lrs-slitless", "whtlt")])
def test_tables(mode, suffix, simulated):
    _, products = simulated(mode)
    (peer,) = products[suffix]
    table = read_table(peer)
    columns = {}
    for name in table.colnames:
        unit = getattr(table[name], "unit", None)
        values = np.asarray(table[name] if unit is None else table[name].value)
        columns[name] = (values, None if unit is None else str(unit))
    assert table_text(columns, table.meta) == peer.read_text()
