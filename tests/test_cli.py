import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import tso3dask.pipeline
from tso3dask import cli
from tso3dask.errors import GuardError, InputError, NotYetError, RunError


class FakePlan:
    """Stands for a plan; keeps what it was asked to do."""

    def __init__(self, error=None):
        self.error = error
        self.nints, self.members, self.notes = 10, [1, 2], ("from the plan",)
        self.names = SimpleNamespace(quicklook="p_quicklook.png")
        self.products = {}

    def __str__(self):
        return "the plan"

    def destinations(self, folder, *, overwrite, resume):
        if folder.name == "full" and not overwrite:
            raise InputError("full: holds earlier products")

    def left_behind(self, folder):
        return ["left by another plan"]

    def run(self, folder, *, progress, **options):
        self.folder, self.options = folder, options
        progress(5, 10, "processing")
        if self.error is not None:
            raise self.error
        return SimpleNamespace(
            products={},
            integrations=10,
            outliers=[],
            seconds=1.0,
            peak_memory=1000,
            notes=["from the plan", "left by another plan", "from the run"],
            rows=[],
        )


@pytest.fixture
def planned(monkeypatch):
    asked = {}

    def make_plan(source, steps, **options):
        asked.update(source=source, steps=steps, options=options)
        return asked.setdefault("plan", FakePlan())

    monkeypatch.setattr(tso3dask.pipeline, "make_plan", make_plan)
    return asked


def test_help_is_quick_and_imports_nothing_heavy():
    code = (
        "import sys; from tso3dask.cli import main; main(['run', '--help']); "
        "heavy = {'numpy', 'astropy', 'dask', 'xarray', 'numba', 'matplotlib', 'rich'}; "
        "print('HEAVY', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "HEAVY []" in done.stdout
    assert "--steps.STEP.PARAM=VALUE" in done.stdout


@pytest.mark.parametrize("kind", ["spectra", "images"])
def test_a_run_imports_nothing_for_datasets_or_figures(kind, request, tmp_path):
    made = request.getfixturevalue(kind)
    words = ["run", str(made.asn), "--params", str(made.asn.parent / "steps.json"), "--no-plots"]
    code = (
        f"import sys; from tso3dask.cli import main; main({[*words, '-o', str(tmp_path)]!r}); "
        "heavy = {'xarray', 'pandas', 'dask.array', 'distributed', 'matplotlib'}; "
        "print('HEAVY', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "HEAVY []"
    assert list(tmp_path.glob("*crfints.fits"))


def test_version_help_and_no_command(capsys):
    assert cli.main(["--version"]) == 0
    assert tso3dask.__version__ in capsys.readouterr().out
    assert cli.main(["--help"]) == 0
    assert "simulate" in capsys.readouterr().out
    assert cli.main([]) == 2


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["rum"], "Did you mean 'run'"),
        (["run", "a.json", "--bad"], "unrecognized arguments: --bad"),
        (["run"], "no input"),
        (["run", "a.json", "--workers", "0"], "at least 1"),
        (["run", "a.json", "--scheduler", "fast"], "expected threads"),
        (["run", "a.json", "--overwrite", "--resume"], "not allowed with"),
        (["run", "a.json", "--steps.photom"], "a value is missing"),
        (["run", "a.json", "--steps.photom=3"], "--steps.STEP.PARAMETER=VALUE"),
        (["run", "a.json", "--steps.photm.skip=True"], "Did you mean 'photom'"),
        (["run", "a.json", "--steps.outlier_detection.snrr=5"], "Did you mean 'snr'"),
        (["run", "a.json", "--override_gane=x"], "Did you mean 'gain'"),
        (["run", "a.json", "--override_gain=/no/gain.fits"], "no file '/no/gain.fits'"),
        (["run", "a.json", "--params", "/no/p.json"], "no such parameter file"),
        (["run", "/no/a.json"], "no such file"),
        (["inspect", "/no/a.fits"], "no such file"),
        (["asn", "/no/a.fits", "-o", "x.json"], "missing /no/a.fits"),
        (["demo", "mir_lrs"], "Did you mean 'mir_lrs-slitless'"),
    ],
)
def test_bad_usage_is_one_line_and_status_2(words, text, capsys):
    assert cli.main(words) == 2
    out = capsys.readouterr()
    assert out.out == ""
    assert out.err.count("\n") == 1
    assert out.err.startswith("tso3dask: ")
    assert text in out.err


def test_run_passes_everything_on(planned, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("gain.fits").touch()
    Path("p.json").write_text('{"outlier_detection": {"snr": "9", "maskpt": 0.5}}')
    words = "run a.fits --steps.outlier_detection.snr=4 -o out b.fits --params p.json"
    words += " --override_gain gain.fits --steps.extract_1d.bkg_fit median --workers 2"
    words += " --memory-limit 8GiB --chunk-integrations 7 --scheduler processes --resume"
    words += " --output_file mine"
    assert cli.main(words.split()) == 0
    assert planned["source"] == ["a.fits", "b.fits"]
    assert planned["steps"] == {
        "outlier_detection": {"snr": "4", "maskpt": 0.5},
        "tso_photometry": {"override_gain": str(tmp_path / "gain.fits")},
        "extract_1d": {"bkg_fit": "median"},
    }
    assert planned["options"] == {
        "product_name": "mine",
        "chunk_integrations": 7,
        "memory_limit": "8GiB",
        "workers": 2,
        "separate_processes": True,
        "crds_parameters": True,
        "recipe": None,
        "origins": {
            "outlier_detection.snr": "command line",
            "outlier_detection.maskpt": "p.json",
            "tso_photometry.override_gain": "command line",
            "extract_1d.bkg_fit": "command line",
        },
    }
    plan = planned["plan"]
    assert plan.folder == Path("out")
    assert plan.options == {
        "scheduler": "processes",
        "workers": 2,
        "overwrite": False,
        "resume": True,
    }
    out = capsys.readouterr()
    assert out.err.count("note: from the plan") == 1
    assert "note: from the run" in out.err
    assert out.out == "10 integrations in 1.0 s (10/s), peak memory 1 kB\n"


def test_output_folder_of_the_parameter_file(planned, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("p.json").write_text('{"steps": {}, "output_dir": "there"}')
    assert cli.main(["run", "a.json", "--params", "p.json"]) == 0
    assert planned["plan"].folder == Path("there")
    assert cli.main(["run", "a.json", "--params", "p.json", "-o", "here"]) == 0
    assert planned["plan"].folder == Path("here")


@pytest.mark.parametrize(
    ("error", "status", "resume"),
    [
        (InputError("bad input"), 2, False),
        (RunError("worker lost"), 1, True),
        (GuardError("too many"), 1, False),
        (NotYetError("not yet"), 1, False),
        (KeyboardInterrupt(), 1, True),
        (ZeroDivisionError("division\nby zero"), 1, True),
    ],
)
@pytest.mark.parametrize(
    "kept", [".p_x1dints.fits.1234.part", ".p_tso3dask_unfinished_run.12345", ""]
)
def test_failures_tell_what_is_safe(planned, error, status, resume, kept, tmp_path, capsys):
    planned["plan"] = FakePlan(type(error)(*error.args))
    if kept:
        (tmp_path / kept).touch()
    assert cli.main(["run", "a.json", "-o", str(tmp_path)]) == status
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("tso3dask: ")
    assert ("--resume" in last) == bool(resume and kept)
    assert ("Nothing was begun" in last) == (resume and not kept)
    assert ("would stop again" in last) == isinstance(error, GuardError)
    assert "Traceback" not in last


@pytest.mark.parametrize("resume", [True, False])
def test_work_that_cannot_be_taken_up_is_told_before_the_run(planned, resume, tmp_path, capsys):
    words = ["a.json", "-o", str(tmp_path), *(["--resume"] if resume else [])]
    assert cli.main(["plan", *words]) == 0
    assert ("left by another plan" in capsys.readouterr().out) == resume
    planned["plan"] = FakePlan(KeyboardInterrupt())
    assert cli.main(["run", *words]) == 1
    assert ("note: left by another plan" in capsys.readouterr().err) == resume
    planned["plan"] = FakePlan()
    assert cli.main(["run", *words]) == 0
    assert capsys.readouterr().err.count("left by another plan") == 1


def test_an_interruption_tells_what_is_safe_wherever_it_comes(planned, monkeypatch, capsys):
    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("tso3dask.quicklook.quicklook_of", stopped)
    assert cli.main(["run", "a.json", "-o", "out"]) == 1
    assert capsys.readouterr().err.endswith("The products in out are whole; figures are missing\n")
    monkeypatch.setattr(tso3dask.pipeline, "make_plan", stopped)
    assert cli.main(["run", "a.json"]) == 1
    expected = "tso3dask: interrupted. Nothing was begun: there is nothing to resume\n"
    assert capsys.readouterr().err.endswith(expected)
    monkeypatch.setattr("tso3dask.simulation.command.run_from_args", stopped)
    assert cli.main(["simulate", "nis_soss", "-o", "out"]) == 1
    assert "are whole; --overwrite replaces them" in capsys.readouterr().err


def test_verbose_shows_the_traceback(planned, capsys):
    planned["plan"] = FakePlan(RunError("worker lost"))
    assert cli.main(["run", "a.json", "-v"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_plan_prints_the_plan(planned, capsys):
    assert cli.main(["plan", "a.json"]) == 0
    here = Path.cwd()
    assert capsys.readouterr().out == f"the plan\n  products go to {here}\n"
    assert cli.main(["plan", "a.json", "-o", "full"]) == 0
    told = f"the plan\n  products go to {here / 'full'}\n"
    assert capsys.readouterr().out == f"{told}  note: full: holds earlier products\n"
    assert cli.main(["plan", "a.json", "--output_dir", "full", "--overwrite"]) == 0
    assert capsys.readouterr().out == told


def test_steps_help_lists_parameters(capsys):
    assert cli.main(["run", "--steps-help"]) == 0
    out = capsys.readouterr().out
    assert "rolling_window_width" in out
    assert "[no effect outside NIRISS SOSS]" in out


def test_a_figure_that_fails_costs_a_note(planned, monkeypatch, capsys):
    import tso3dask.quicklook

    def fail(plan, result):
        raise ValueError("no backend")

    monkeypatch.setattr(tso3dask.quicklook, "quicklook_of", fail)
    assert cli.main(["run", "a.json"]) == 0
    assert "note: no quick-look figure: ValueError: no backend" in capsys.readouterr().err
    assert cli.main(["run", "a.json", "--no-plots"]) == 0
    assert "quick-look" not in capsys.readouterr().err


def test_asn_command(tmp_path, capsys):
    from test_inspect import calints

    first = calints(tmp_path / "jw01366_1-seg001_nrca3_calints.fits")
    calints(tmp_path / "jw01366_1-seg002_nrca3_calints.fits", start=6)
    files = sorted(str(f) for f in tmp_path.glob("*.fits"))
    out = str(tmp_path / "my_asn.json")
    assert cli.main(["asn", *files, "-o", out, "--product-name", "mine"]) == 0
    assert "mine, 2 members, id a3001" in capsys.readouterr().out
    assert cli.main(["inspect", out]) == 0
    assert "association of 2 members" in capsys.readouterr().out
    assert cli.main(["asn", str(first), str(first), "-o", out]) == 2


def test_inspect_tells_of_all_files_it_knows(tmp_path, capsys):
    from test_inspect import calints

    first = str(calints(tmp_path / "jw01366_1-seg001_nrca3_calints.fits"))
    figure = tmp_path / "quicklook.png"
    figure.touch()
    assert cli.main(["inspect", str(figure), first, "/no/a.fits", first]) == 2
    out, err = capsys.readouterr()
    assert out.count("seg001_nrca3_calints.fits: ") == 2
    assert "quicklook.png: expected" in err and "/no/a.fits: no such file" in err
    assert err.count("\n") == 1


def test_quicklook_of_a_spectroscopic_run(monkeypatch):
    import tso3dask.graph.run
    from tso3dask.quicklook import quicklook_of

    monkeypatch.setattr(tso3dask.graph.run, "DYNAMIC_BINS", 4)

    def member(index, nints, start):
        header = {"INSTRUME": "NIRSPEC", "TARGPROP": "WASP-39", "SUBARRAY": "SUB2048"}
        times = {"tdb_mid": np.arange(nints) + 59791.0, "mjd_avg": np.arange(nints) + 59791.0}
        return SimpleNamespace(
            index=index,
            segment=SimpleNamespace(nints=nints, ny=2, nx=5, detector="NRS1", get=header.get),
            times=SimpleNamespace(
                matched=True, int_num=np.arange(start, start + nints), times=times
            ),
            imaging=None,
            tables=[
                SimpleNamespace(
                    spectral_order=1,
                    units={"FLUX": "Jy"},
                    wavelength=np.linspace(1, 2, 4),
                    ending="",
                )
            ],
        )

    def rows(nints, first):
        bins = (first + np.arange(nints)) // 2
        unique = np.unique(bins)
        count = np.array([np.sum(bins == b) for b in unique])
        return {
            "white": np.ones(nints),
            "n_outliers": np.ones(nints, int),
            "bins": unique,
            "bin_count": np.repeat(count[:, None], 4, axis=1),
            "bin_sum": count[:, None] * np.array([1.0, 2.0, 3.0, 4.0]),
        }

    plan = SimpleNamespace(
        members=[member(0, 3, 1), member(1, 4, 4)],
        products={"x1dints": []},
        flags=True,
        observation=SimpleNamespace(association=SimpleNamespace(name="prod")),
    )
    result = SimpleNamespace(rows=[rows(3, 0), rows(4, 3)], tables={})
    look = quicklook_of(plan, result)
    (channel,) = look.channels
    assert (look.target, look.mode) == ("WASP-39", "NIRSPEC SUB2048")
    assert channel.segment_starts == (0, 3)
    assert channel.unit == "Jy"
    np.testing.assert_array_equal(channel.integration, np.arange(1, 8))
    np.testing.assert_array_equal(channel.spectra_edges, [0, 2, 4, 6, 7])
    np.testing.assert_allclose(channel.spectra, np.tile([1.0, 2.0, 3.0, 4.0], (4, 1)))
    np.testing.assert_allclose(channel.flagged, 0.1)
    result.rows[1]["bin_count"][-1] = 0  # the last integrations have no flux
    (channel,) = quicklook_of(plan, result).channels
    assert np.isnan(channel.spectra[-1]).all() and np.isfinite(channel.spectra[:-1]).all()
    result.rows = []
    assert quicklook_of(plan, result) is None
