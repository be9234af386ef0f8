"""White light with errors and weights, and channels: runs, lazy objects, any cutting."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
from astropy.table import QTable, Table

import tso3dask as tso3
from tso3dask.errors import InputError, NotYetError
from tso3dask.io.spectra_tables import read_spectrum_tables
from tso3dask.io.tables import read_table

WANTED = {
    "white_light": {"errors": True, "weighted": True},
    "light_curves": {"skip": False, "pixels_per_channel": 5},
}
KINDS = ["spectra", "detectors"]


def steps_of(observation, **more):
    steps = {step: dict(values) for step, values in observation.steps.items()}
    for step, values in {**WANTED, **more}.items():
        steps[step] = {**steps.get(step, {}), **values}
    return steps


@pytest.fixture(scope="module")
def observations(spectra, detectors):
    return {"spectra": spectra, "detectors": detectors}


@pytest.fixture(scope="module")
def runs(observations, tmp_path_factory):
    """Plan, folder and result of a run of each kind."""
    found = {}
    for kind, made in observations.items():
        folder = tmp_path_factory.mktemp(kind)
        plan = tso3.plan(made.asn, steps_of(made))
        found[kind] = plan, folder, plan.run(folder)
    return found


def product(result, kind):
    (path,) = result.products[kind]
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_columns_are_those_of_jwst_and_further_ones(runs, observations, kind, tmp_path):
    _, _, result = runs[kind]
    table = read_table(product(result, "whtlt"))
    plain = tso3.plan(observations[kind].asn, observations[kind].steps).run(tmp_path)
    expected = read_table(product(plain, "whtlt"))
    endings = [""] if kind == "spectra" else ["_NRS1", "_NRS2"]
    names = []
    for ending in endings:
        names += [f"MJD_UTC{ending}", f"BJD_TDB{ending}"]
        for middle in ("", "_error", "_weighted", "_weighted_error"):
            names.append(f"whitelight_flux{middle}{ending}")
    assert table.colnames == names
    for name in expected.colnames:
        np.testing.assert_array_equal(table[name], expected[name])
        assert table[name].unit == expected[name].unit
    for name in names:
        assert (table[name].unit is not None) == ("flux" in name)


@pytest.mark.parametrize("kind", KINDS)
def test_errors_are_those_of_the_spectra(runs, kind):
    _, _, result = runs[kind]
    table = read_table(product(result, "whtlt"))
    _, spectra = read_spectrum_tables(product(result, "x1dints"))
    for detector in dict.fromkeys(s.header["DETECTOR"] for s in spectra):
        own = [s for s in spectra if s.header["DETECTOR"] == detector]
        variance = [
            np.nansum(np.where(np.isnan(s.column("FLUX")), np.nan, s.column("FLUX_ERROR")) ** 2, 1)
            for s in own
        ]
        ending = "" if kind == "spectra" else f"_{detector}"
        found = table[f"whitelight_flux_error{ending}"].value
        np.testing.assert_allclose(found, np.sqrt(np.concatenate(variance)), rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_channels_sum_what_the_white_light_sums(runs, kind):
    plan, _, result = runs[kind]
    table = Table.read(product(result, "speclc"), format="ascii.ecsv")
    channels = table.meta["channels"]
    assert table.meta["wavelength_unit"] == "um"
    for key, edges in plan.channels.items():
        detector, order = key
        own = [c for c in channels if c["detector"] == detector]
        assert len(own) == len(edges)
        np.testing.assert_allclose([c["wavelength"] for c in own], edges.mean(1), atol=1e-8)
        np.testing.assert_allclose([c["width"] for c in own], np.diff(edges)[:, 0], atol=1e-8)
        first = next(t for m, t in plan.tables if m.segment.detector == detector)
        index = [i for i, m in enumerate(plan.members) if m.segment.detector == detector]
        flux = np.concatenate([result.rows[i]["channels"] for i in index])
        for k, channel in enumerate(own):
            np.testing.assert_array_equal(table[channel["column"]], flux[:, k])
            error = channel["column"].replace("flux_", "flux_error_")
            assert np.all(table[error] > 0)
            assert table[error].unit == table[channel["column"]].unit == "Jy"
        # five whole columns each, from the shortest wavelength on
        size = first.wavelength.size // 5 * 5
        order = np.argsort(first.wavelength)[:size]
        _, spectra = read_spectrum_tables(product(result, "x1dints"))
        stored = [s for s in spectra if s.header["DETECTOR"] == detector]
        expected = np.concatenate([s.column("FLUX")[:, order] for s in stored])
        expected = np.nansum(expected.reshape(len(expected), -1, 5), axis=2)
        np.testing.assert_allclose(flux, expected, rtol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_pandas_reads_the_table(runs, kind):
    path = product(runs[kind][2], "speclc")
    data = pd.read_csv(path, comment="#", sep=r"\s+")
    assert list(data.columns) == Table.read(path, format="ascii.ecsv").colnames
    assert not data.isna().to_numpy().any()


@pytest.mark.parametrize("kind", KINDS)
def test_lazy_objects_hold_what_a_run_writes(runs, kind):
    plan, _, result = runs[kind]
    white, channels = plan.compute("whtlt", "speclc", scheduler="synchronous")
    table = read_table(product(result, "whtlt"))
    assert list(white) == table.colnames
    for name in table.colnames:
        values = getattr(table[name], "value", table[name])
        np.testing.assert_allclose(white[name], values, rtol=1e-13)
    stored = Table.read(product(result, "speclc"), format="ascii.ecsv")
    for k, channel in enumerate(stored.meta["channels"]):
        np.testing.assert_array_equal(channels["flux"][:, k], stored[channel["column"]])
        error = channel["column"].replace("flux_", "flux_error_")
        np.testing.assert_array_equal(channels["flux_error"][:, k], stored[error])
        for name in ("wavelength", "width", "detector", "order"):
            assert channels[name].values[k] == channel[name]
    times = "MJD_UTC" if kind == "spectra" else "MJD_UTC_NRS1"
    np.testing.assert_array_equal(np.squeeze(channels["mjd_utc"])[:], stored[times])
    assert channels["flux"].attrs["units"] == "Jy"


@pytest.mark.parametrize(("chunk", "scheduler"), [(1, "synchronous"), (7, "threads")])
def test_cutting_changes_nothing(runs, observations, chunk, scheduler, tmp_path):
    for kind in KINDS:
        made = observations[kind]
        plan = tso3.plan(made.asn, steps_of(made), chunk_integrations=chunk)
        budget = dataclasses.replace(plan.budget, sub_block=3)
        result = dataclasses.replace(plan, budget=budget).run(tmp_path / kind, scheduler=scheduler)
        for name in ("whtlt", "speclc"):
            found, expected = (QTable.read(product(r, name)) for r in (result, runs[kind][2]))
            for column in expected.colnames:
                np.testing.assert_allclose(found[column], expected[column], rtol=1e-11)


def test_weighted_light_curve_has_less_scatter(made, tmp_path):
    """Its level is that of the sum, its scatter that of its errors, and smaller than the sum's."""
    simulated = made("nrs_prism", nints=40, segments=2, shape=(16, 120), cr_rate=0.0)
    plan = tso3.plan(simulated.asn, steps_of(simulated))
    table = read_table(product(plan.run(tmp_path), "whtlt"))
    names = ("", "_weighted", "_error", "_weighted_error")
    plain, weighted, error, smaller = (table[f"whitelight_flux{n}_NRS1"].value for n in names)
    assert np.median(weighted) == pytest.approx(np.median(plain), rel=0.02)
    assert np.median(smaller / weighted) < np.median(error / plain)


def test_members_without_times_keep_their_rows(detectors, copy_of, tmp_path):
    from astropy.io import fits

    here = copy_of(detectors)
    for path in here.members[1::2]:
        with fits.open(path, mode="update") as hdus:
            del hdus["INT_TIMES"]
    plan = tso3.plan(here.asn, steps_of(here))
    result = plan.run(tmp_path / "out")
    white, channels = (read_table(product(result, n)) for n in ("whtlt", "speclc"))
    for name in white.colnames:
        if "flux" not in name:
            np.testing.assert_array_equal(white[name], channels[name])
    lazy = plan.speclc.compute()
    stored = channels.meta["channels"]
    assert np.isnan(lazy["mjd_utc"]).any() and not np.isnan(lazy["flux"]).all(axis=0).any()
    for k, channel in enumerate(stored):
        np.testing.assert_array_equal(lazy["flux"][:, k], channels[channel["column"]].value)


@pytest.mark.parametrize("kind", KINDS)
def test_light_curves_of_a_file(runs, kind, tmp_path):
    """Channels and white light of x1dints are those of the run that wrote it."""
    _, _, result = runs[kind]
    path = tmp_path / "own_speclc.ecsv"
    x1dints = product(result, "x1dints")
    table = tso3.spectral_light_curves(x1dints, path, pixels_per_channel=5)
    for found in (table, read_table(path)):
        expected = read_table(product(result, "speclc"))
        assert found.colnames == expected.colnames
        assert found.meta["channels"] == expected.meta["channels"]
        for name in expected.colnames:
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-12)
            assert found[name].unit == expected[name].unit
    white = tso3.WhiteLightStep.call(str(x1dints), errors=True, weighted=True)
    expected = read_table(product(result, "whtlt"))
    assert white.colnames == expected.colnames
    for name in expected.colnames:
        tolerance = 5e-3 if "weighted" in name else 1e-12  # weights of flagged spectra
        np.testing.assert_allclose(white[name], expected[name], rtol=tolerance)


def test_light_curves_of_an_old_file(runs, tmp_path):
    """Older files have one table per integration."""
    from astropy.io import fits

    x1dints = product(runs["spectra"][2], "x1dints")
    with fits.open(x1dints) as hdus:
        old = [fits.PrimaryHDU(header=hdus[0].header)]
        for hdu in (h for h in hdus if h.name == "EXTRACT1D"):
            for row in hdu.data:
                names = ("WAVELENGTH", "FLUX", "FLUX_ERROR")
                unit = dict(zip(names, ("um", "Jy", "Jy"), strict=True))
                columns = [fits.Column(n, "D", unit[n], array=row[n]) for n in names]
                table = fits.BinTableHDU.from_columns(columns, name="EXTRACT1D")
                table.header["SPORDER"] = 1
                table.header["MJD-AVG"], table.header["TDB-MID"] = row["MJD-AVG"], row["TDB-MID"]
                old.append(table)
        fits.HDUList(old).writeto(tmp_path / "old_x1dints.fits")
    found = tso3.spectral_light_curves(tmp_path / "old_x1dints.fits", pixels_per_channel=5)
    expected = read_table(product(runs["spectra"][2], "speclc"))
    assert found.colnames == expected.colnames
    for name in expected.colnames:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-12)


def test_command(runs, tmp_path, capsys):
    from tso3dask.cli import main

    x1dints, path = product(runs["spectra"][2], "x1dints"), tmp_path / "a_speclc.ecsv"
    words = ["channels", str(x1dints), "-o", str(path), "--pixels-per-channel", "5"]
    assert main(words) == 0
    assert "integrations" in capsys.readouterr().out
    expected = read_table(product(runs["spectra"][2], "speclc"))
    assert read_table(path).meta["channels"] == expected.meta["channels"]
    assert main(words) == 2 and "--overwrite" in capsys.readouterr().err
    assert main([*words, "--overwrite", "--edges", "5 6"]) == 2
    assert "give one of edges" in capsys.readouterr().err


def test_a_table_in_place_of_spectra_is_told_in_one_line(tmp_path, capsys):
    from tso3dask.cli import main

    path = tmp_path / "X_phot.ecsv"
    path.write_text("# %ECSV 1.0\n# ---\nMJD flux\n1.0 2.0\n")
    assert main(["channels", str(path), "-o", str(tmp_path / "out.ecsv")]) == 2
    message = capsys.readouterr().err
    assert f"{path}: is no FITS file; expected an x1dints file" in message
    assert len(message.strip().splitlines()) == 1
    assert not (tmp_path / "out.ecsv").exists()


def test_function_of_datasets(runs):
    """Channels of lazy spectra are those of the run; errors of any spectra can be summed."""
    from tso3dask import graph

    plan, _, result = runs["spectra"]
    nodes = [node.to_dataset() for node in plan.x1dints.leaves]
    made = [graph.light_curves(spectra, pixels_per_channel=5).compute() for spectra in nodes]
    for name, rows in (("flux", "channels"), ("flux_error", "channels_error")):
        for dataset, member in zip(made, result.rows, strict=True):
            np.testing.assert_array_equal(dataset[name], member[rows])
    stored = read_table(product(result, "speclc")).meta["channels"]
    np.testing.assert_allclose(made[0]["wavelength"], [c["wavelength"] for c in stored], atol=1e-8)
    with pytest.raises(InputError, match="spectra have no 'flux_error'"):
        graph.light_curves(nodes[0].drop_vars("flux_error"))


def test_light_curves_step_alone(runs):
    x1dints = product(runs["spectra"][2], "x1dints")
    table = tso3.Tso3Pipeline().light_curves.call(str(x1dints), edges=[6.0, 7.0, 9.0])
    assert [c["wavelength"] for c in table.meta["channels"]] == [6.5, 8.0]
    with pytest.raises(InputError, match="no channel lies within the spectrum"):
        tso3.spectral_light_curves(x1dints, edges=[1, 2])
    with pytest.raises(InputError, match=r"own.fits: expected the name of a table.*ecsv"):
        tso3.spectral_light_curves(x1dints, "own.fits")
    with pytest.raises(InputError, match=r"nodir/a.ecsv: there is no folder nodir; make it first"):
        tso3.spectral_light_curves(x1dints, "nodir/a.ecsv")


def test_hooks_and_light_curves(spectra, tmp_path):
    def dimmed(dataset):
        return dataset.assign(flux=0.5 * dataset["flux"])

    steps = steps_of(spectra, white_light={"errors": True})
    plain = tso3.plan(spectra.asn, steps).run(tmp_path / "plain")
    steps["extract_1d"]["post_hooks"] = [dimmed]
    hooked = tso3.plan(spectra.asn, steps).run(tmp_path / "hooked")
    for name in ("whtlt", "speclc"):
        ours, theirs = (read_table(product(r, name)) for r in (hooked, plain))
        for column in theirs.colnames:
            factor = 0.5 if "flux" in column and "error" not in column else 1.0
            np.testing.assert_allclose(ours[column], factor * theirs[column], rtol=1e-12)
    with pytest.raises(NotYetError, match=r"hooks do not go .* white_light.weighted=True"):
        tso3.plan(spectra.asn, {**steps, "white_light": {"weighted": True}})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"edges": "5 7 6"}, r"light_curves.edges: must rise"),
        ({"edges": "50 60"}, "no channel lies within the spectrum"),
        ({"edges": "5 6", "resolving_power": 10}, "give one of edges, resolving_power"),
        ({"min_wavelength": 8, "max_wavelength": 7}, "light_curves.min_wavelength is 8"),
    ],
)
def test_channels_that_cannot_be_made_are_refused(spectra, values, message):
    steps = {**spectra.steps, "light_curves": {"skip": False, **values}}
    with pytest.raises(InputError, match=message):
        tso3.plan(spectra.asn, steps)


def test_nothing_of_it_by_default(spectra):
    plan = tso3.plan(spectra.asn, spectra.steps)
    assert "speclc" not in plan.products and plan.weighted is plan
    with pytest.raises(AttributeError, match="no light curves of channels"):
        _ = plan.speclc
