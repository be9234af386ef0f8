from __future__ import annotations

import io
from collections import OrderedDict

import numpy as np
import pytest
from astropy import units as u
from astropy.table import QTable

from tso3dask.errors import InputError
from tso3dask.io.tables import read_table, table_size, table_text, write_table

META = OrderedDict(instrument="NIRCAM", pupil=None, apertures="r=3.0: x")


def columns(rows=50):
    rng = np.random.default_rng(5)
    return {
        "MJD_UTC": (59000 + rng.random(rows), None),
        "flux": (rng.normal(size=rows) * 10.0 ** rng.integers(-300, 300, rows), "DN/s"),
        "narrow": (rng.normal(size=rows).astype(">f4"), "Jy"),
        "lost": (np.full(rows, np.nan), "electron"),
        "count": (np.arange(rows), None),
    }


def test_text_is_what_astropy_writes():
    table = QTable(meta=OrderedDict(META, number_of_integrations=50))
    for name, (values, unit) in columns().items():
        table[name] = values if unit is None else values << u.Unit(unit)
    stream = io.StringIO()
    table.write(stream, format="ascii.ecsv")
    assert table_text(columns(), META) == stream.getvalue()


def test_round_trip(tmp_path):
    path = write_table(tmp_path / "a_whtlt.ecsv", columns(25_000), META)
    assert [p.name for p in tmp_path.iterdir()] == ["a_whtlt.ecsv"]
    table = read_table(path)
    assert list(table.colnames) == list(columns())
    assert table.meta == {**META, "number_of_integrations": 25_000}
    for name, (values, unit) in columns(25_000).items():
        found = table[name] if unit is None else table[name].to_value(unit)
        np.testing.assert_array_equal(found, values)


@pytest.mark.parametrize(("rows", "size"), [(5, 1.6), (25_000, 1.2)])
def test_size_is_told_rather_too_large(tmp_path, rows, size):
    rng = np.random.default_rng(3)
    made = {f"whitelight_flux_{i}": (rng.lognormal(0, 6, rows), "DN/s") for i in range(5)}
    path = write_table(tmp_path / "a_whtlt.ecsv", made, META)
    assert 1 <= table_size(rows, len(made)) / path.stat().st_size < size


def test_pandas_reads_it(tmp_path):
    pandas = pytest.importorskip("pandas")
    path = write_table(tmp_path / "a_phot.ecsv", columns(), META)
    frame = pandas.read_csv(path, comment="#", sep=r"\s+")
    assert list(frame.columns) == list(columns())
    np.testing.assert_allclose(frame["MJD_UTC"], columns()["MJD_UTC"][0], rtol=1e-15)


def test_tables_of_early_versions_are_read(tmp_path):
    path = tmp_path / "old_phot.ecsv"
    table = QTable(meta={"xcenter": np.array([1.5, 2.5]), "RA": "x"})
    table["MJD"] = [1.0, 2.0]
    table.write(path, format="ascii.ecsv")
    assert "numpy.ndarray" in path.read_text()
    np.testing.assert_array_equal(read_table(path).meta["xcenter"], [1.5, 2.5])


def test_errors(tmp_path):
    with pytest.raises(ValueError, match="one length"):
        table_text({"a": (np.zeros(2), None), "b": (np.zeros(3), None)}, {})
    with pytest.raises(ValueError, match="numbers"):
        write_table(tmp_path / "a.ecsv", {"a": (np.array(["x"]), None)}, {})
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match="cannot be read"):
        read_table(tmp_path / "none.ecsv")
    (tmp_path / "bad.ecsv").write_text("a b\n1 2\n")
    with pytest.raises(InputError, match="not an ECSV table"):
        read_table(tmp_path / "bad.ecsv")
