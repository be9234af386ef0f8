import io
from types import SimpleNamespace

from tso3dask import progress
from tso3dask.progress import closing_text, progress_display


def test_plain_lines_are_few_and_count_integrations_not_passes(monkeypatch):
    clock = iter(range(0, 1000, 3))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    stream = io.StringIO()
    with progress_display(100, 2, stream) as report:
        for done in range(0, 301, 3):
            report(done, 300, "processing")
        report(300, 300, "writing products")
    lines = stream.getvalue().splitlines()
    assert len(lines) == 11
    assert lines[0].startswith("processing: 10/100 integrations")
    assert "left" in lines[0]
    assert lines[-1].startswith("writing products: 100/100 integrations")


def test_terminal_gets_one_display():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    stream = Terminal()
    with progress_display(50, 3, stream) as report:
        report(0, 50, "processing")
        report(50, 50, "writing products")
    assert "50/50 integrations" in stream.getvalue() or stream.getvalue() == ""


def test_closing_text(tmp_path):
    file, figure = tmp_path / "p_x1dints.fits", tmp_path / "p_quicklook.png"
    file.write_bytes(b"x" * 2048)
    figure.write_bytes(b"y")
    result = SimpleNamespace(
        products={"x1dints": [file]},
        integrations=1200,
        outliers=[{"name": "seg1.fits", "nints": 1200, "n_outliers": 12345, "fraction": 1e-4}],
        seconds=3.0,
        peak_memory=533_000_000,
    )
    text = closing_text(result, figure)
    assert "seg1.fits          1,200     12,345        0.0100 %" in text
    assert f"2.05 kB  {file}" in text
    assert str(figure) in text
    assert text.endswith("1,200 integrations in 3.0 s (400/s), peak memory 533 MB")
    result.outliers, result.products = [], {}
    assert closing_text(result) == "1,200 integrations in 3.0 s (400/s), peak memory 533 MB"
