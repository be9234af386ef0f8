from __future__ import annotations

import os
import pickle
import subprocess
import sys
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st

from tso3dask.config import parse_steps
from tso3dask.graph.program import Block, Program, Source
from tso3dask.graph.stages import FlagOutliers, Match, flag_stage, median_prologue
from tso3dask.graph.stored_cubes import StoredCubes
from tso3dask.io.pixels import ArraySpec
from tso3dask.io.segment import open_segment
from tso3dask.ops.blocks import is_stored, to_native
from tso3dask.ops.medians import Window

ROLLING, SHORT, SHORTER, SINGLE = range(4)


@dataclass(frozen=True)
class Running:
    """Mean over a few integrations on either side: a second stage with a halo of its own."""

    halo: int

    def input_ranges(self, ranges, source):
        a, b = min(r[0] for r in ranges.values()), max(r[1] for r in ranges.values())
        lo, hi = max(0, a - self.halo), min(source.nints, b + self.halo)
        return {n: (lo, hi) if n == "sci" else (a, b) for n in source.names}

    def apply(self, block, ranges, source, constants, scratch):
        a, b = min(r[0] for r in ranges.values()), max(r[1] for r in ranges.values())
        rows = []
        for i in range(a, b):
            lo, hi = max(0, i - self.halo), min(source.nints, i + self.halo + 1)
            rows.append(block.rows("sci", lo, hi).sum(axis=0, dtype="f8"))
        arrays = {n: block.rows(n, a, b).copy() for n in source.names}
        arrays["sci"] = np.array(rows, "f4")
        begin = a - block.first["sci"]
        counts = {name: values[begin : begin + b - a] for name, values in block.counts.items()}
        return Block(arrays, dict.fromkeys(arrays, a), counts)


@pytest.fixture(scope="module")
def segments(spectra, tmp_path_factory):
    """The members, with values that are lost without a flag and flags on values that are there."""
    folder = tmp_path_factory.mktemp("segments")
    random = np.random.default_rng(1)
    for path in spectra.members:
        with fits.open(path) as hdus:
            shape = hdus["SCI"].data.shape
            for name in ("SCI", "ERR", "VAR_RNOISE"):
                hdus[name].data[random.random(shape) < 0.02] = np.nan
            for bit in (1, 4, 1024):
                hdus["DQ"].data[random.random(shape) < 0.02] |= bit
            hdus.writeto(folder / path.name)
    return [open_segment(folder / path.name) for path in spectra.members]


def flagged(segment, **parameters):
    steps = parse_steps({"outlier_detection": parameters})
    return Program(Source.from_segment(segment)).then(flag_stage(steps, segment.nints))


def constants_of(program):
    tasks, names = median_prologue(program)
    values = {}
    for key, (function, *arguments) in tasks.items():
        filled = [
            [values[a] for a in argument] if isinstance(argument, list) else argument
            for argument in arguments
        ]
        values[key] = function(*filled)
    return {name: values[key] for name, key in names.items()}


def whole(program):
    return program.block(0, program.source.nints, constants=constants_of(program))


@pytest.fixture(scope="module")
def cases(segments):
    """Programs of every kind, with what they need and their whole output."""
    programs = [
        Program(Source.from_segment(segments[ROLLING])),
        Program(Source.from_segment(segments[ROLLING])).then(Match()),
        flagged(segments[ROLLING]),
        flagged(segments[ROLLING], rolling_window_width=4, snr="3"),
        flagged(segments[ROLLING], rolling_window_width=33),
        flagged(segments[SHORT]),
        flagged(segments[SHORTER], rolling_window_width=1),
        flagged(segments[SINGLE]),
        flagged(segments[ROLLING], rolling_window_width=7).then(Running(2)),
        Program(Source.from_segment(segments[ROLLING])).then(Running(3), Match(), Running(1)),
        flagged(segments[ROLLING], rolling_window_width=9).then(
            Match(), flag_stage(parse_steps({"outlier_detection": {"snr": "3"}}), 34)
        ),
    ]
    return [(p, constants_of(p), whole(p)) for p in programs]


def same(block, a, b, expected):
    for name, array in expected.arrays.items():
        got, want = block.rows(name, a, b), array[a:b]
        assert got.dtype == want.dtype
        assert got.shape == want.shape
        assert got.tobytes() == want.tobytes(), name
    for name, values in expected.counts.items():
        np.testing.assert_array_equal(block.counts[name], values[a:b])


@st.composite
def ranges(draw, n):
    a = draw(st.integers(0, n - 1))
    return a, draw(st.integers(a + 1, n))


@pytest.mark.parametrize("case", range(11))
@settings(deadline=None, max_examples=12)
@given(data=st.data())
def test_any_range_and_any_step_give_the_same_rows(cases, case, data):
    program, constants, expected = cases[case]
    a, b = data.draw(ranges(program.source.nints))
    step = data.draw(st.integers(1, program.source.nints + 3))
    same(program.block(a, b, constants=constants), a, b, expected)
    position = a
    for first, last, block in program.stream(a, b, step, constants=constants):
        assert first == position and first < last <= min(first + step, b)
        same(block, first, last, expected)
        position = last
    assert position == b


@pytest.mark.parametrize("case", range(2, 11))
def test_pixels_that_are_stored_otherwise_give_the_same_rows(cases, case, monkeypatch):
    monkeypatch.setattr(Source, "plain", False)
    program, constants, expected = cases[case]
    for first, last, block in program.stream(0, program.source.nints, 5, constants=constants):
        assert not isinstance(block.arrays, StoredCubes)
        same(block, first, last, expected)


@dataclass
class Kept:
    """A tap that keeps copies of what it gets, and the byte orders."""

    point: int
    takes_stored: bool
    rows: list = field(default_factory=list)
    orders: set = field(default_factory=set)

    def put(self, a, b, arrays):
        assert len(self.rows) == a
        self.orders |= {array.dtype.str[0] for array in arrays.values()}
        own = {n: to_native(v.copy()) if is_stored(v) else v.copy() for n, v in arrays.items()}
        self.rows += [{name: array[i] for name, array in own.items()} for i in range(b - a)]


@pytest.mark.parametrize("case", [2, 6, 8])
def test_taps_get_rows_as_files_have_them_where_they_take_them(cases, case):
    program, constants, _ = cases[case]
    expected = whole(program.until(1))
    alone = [Kept(1, True)], [Kept(1, False)]
    both = [Kept(1, True), Kept(1, False), Kept(1, True)]
    before = Kept(0, False)
    for taps in (*alone, both, [before]):
        for _ in program.stream(0, program.source.nints, 4, constants=constants, taps=taps):
            pass
    assert [t.orders for t in both] == [{">"}, {"<"}, {"<"}]
    assert alone[0][0].orders == {">"} and alone[1][0].orders == {"<"}
    for tap in (*alone[0], *alone[1], *both):
        for name, array in expected.arrays.items():
            assert np.array([row[name] for row in tap.rows]).tobytes() == array.tobytes()
    for name, array in Program(program.source).block(0, len(before.rows)).arrays.items():
        assert np.array([row[name] for row in before.rows]).tobytes() == array.tobytes()


def test_stored_cubes_become_native_one_by_one():
    numbers = {"sci": np.array([[1.5, np.nan]], ">f4"), "dq": np.array([[1 - 2**31, 0]], ">i4")}
    cubes = StoredCubes({name: array.copy() for name, array in numbers.items()})
    assert list(cubes) == ["sci", "dq"] and len(cubes) == 2 and "err" not in cubes
    assert cubes.get("err") is None
    assert cubes["dq"].dtype == np.uint32 and cubes["dq"].tolist() == [[1, 2**31]]
    assert cubes["dq"] is cubes["dq"]
    raw = cubes.as_they_are()
    assert raw["sci"].tobytes() == numbers["sci"].tobytes() and raw["dq"] is cubes["dq"]
    np.testing.assert_array_equal(cubes["sci"], np.array([[1.5, np.nan]], np.float32))


def test_flags_are_found_in_these_cases(cases):
    """The comparisons above would mean little if nothing were flagged."""
    assert all(e.counts["n_outliers"].sum() > 10 for _, _, e in cases[2:5])
    assert cases[5][2].counts["n_outliers"].sum() > 0


@settings(deadline=None, max_examples=300)
@given(data=st.data(), width=st.integers(-2, 60), nints=st.integers(1, 80))
def test_halos_stay_in_the_segment_and_hold_a_full_window(data, width, nints):
    spec = [
        ArraySpec(n, "/none", 0, ">f4", 0, (nints, 4, 4)) for n in ("sci", "err", "var_poisson")
    ]
    source = Source("/none", "x", (*spec, ArraySpec("dq", "/none", 0, ">i4", 2**31, (nints, 4, 4))))
    window = Window(width, nints)
    program = Program(source).then(FlagOutliers(window, 1, 0.7, 5.0), Match())
    a, b = data.draw(ranges(nints))
    spans = program.spans(a, b)
    assert len(spans) == 3
    assert spans[-1] == dict.fromkeys(source.names, (a, b))
    for name, (lo, hi) in spans[0].items():
        assert 0 <= lo <= a < b <= hi <= nints
        if name in ("sci", "dq") and window.rolling:
            assert hi - lo >= width
            assert hi - lo <= b - a + width
        else:
            assert (lo, hi) == (a, b)


def test_last_rows_take_the_last_full_window(segments):
    """A chunk of 4 rows at the end of a segment against a window of 25."""
    program = flagged(segments[ROLLING])
    spans = program.spans(30, 34)
    assert spans[0]["sci"] == spans[0]["dq"] == (9, 34)
    assert spans[0]["err"] == (30, 34)
    same(program.block(30, 34), 30, 34, whole(program))
    assert program.spans(0, 4)[0]["sci"] == (0, 25)
    assert program.spans(0, 34)[0]["sci"] == (0, 34)


def test_halos_add_up_through_stages(segments):
    program = flagged(segments[ROLLING], rolling_window_width=5).then(Running(2))
    first, between, last = program.spans(10, 12)
    assert last["sci"] == (10, 12)
    assert between["sci"] == (8, 14)
    assert first["sci"] == (6, 16)
    assert first["err"] == (8, 14)


def test_only_the_arrays_wanted_are_read(segments, monkeypatch):
    read = []
    real = ArraySpec.read

    def note(self, start=0, stop=None, out=None):
        read.append((self.name, start, stop))
        return real(self, start, stop, out)

    monkeypatch.setattr(ArraySpec, "read", note)
    block = Program(Source.from_segment(segments[ROLLING])).block(3, 5, ("sci",))
    assert list(block.arrays) == ["sci"]
    assert read == [("sci", 3, 5)]


def test_a_stream_reads_every_row_once(segments, monkeypatch):
    rows = {}
    real = ArraySpec.read

    def note(self, start=0, stop=None, out=None):
        rows.setdefault(self.name, []).extend(range(start, stop))
        return real(self, start, stop, out)

    monkeypatch.setattr(ArraySpec, "read", note)
    program = flagged(segments[ROLLING], rolling_window_width=5)
    for _ in program.stream(0, 34, 3):
        pass
    assert rows == {name: list(range(34)) for name in program.source.names}


def test_blocks_are_the_callers_own(segments):
    program = flagged(segments[ROLLING])
    first = program.block(0, 4)
    kept = {name: array.copy() for name, array in first.arrays.items()}
    for array in first.arrays.values():
        array[...] = 0
    second = program.block(0, 4)
    for name, array in kept.items():
        assert second.arrays[name].tobytes() == array.tobytes()


# --- names -------------------------------------------------------------------------------------


def test_equal_programs_have_equal_names(spectra):
    a, b = (flagged(open_segment(spectra.members[0])) for _ in range(2))
    assert a.token == b.token
    assert a.token == flagged(open_segment(str(spectra.members[0])), snr="5.0 4.0").token
    assert a.token == flagged(open_segment(spectra.members[0]), snr="5.0 99").token


def test_names_are_the_same_in_another_process(spectra):
    code = (
        "import sys; from tso3dask.graph.program import *; from tso3dask.graph.stages import *\n"
        "from tso3dask.config import parse_steps; from tso3dask.io.segment import open_segment\n"
        "s = open_segment(sys.argv[1]); p = Program(Source.from_segment(s))\n"
        "print(p.then(flag_stage(parse_steps({}), s.nints), Match()).token)"
    )
    path = str(spectra.members[0])
    done = subprocess.run(
        [sys.executable, "-c", code, path],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONHASHSEED": "7"},
    )
    assert done.stdout.strip() == flagged(open_segment(path)).then(Match()).token


@pytest.mark.parametrize(
    "parameters",
    [{"snr": "5.1"}, {"rolling_window_width": 24}, {"maskpt": 0.6}, {"good_bits": "~JUMP_DET"}],
)
def test_other_parameters_have_other_names(segments, parameters):
    assert flagged(segments[ROLLING]).token != flagged(segments[ROLLING], **parameters).token


def test_other_stages_have_other_names(segments):
    plain = Program(Source.from_segment(segments[ROLLING]))
    programs = [plain, plain.then(Match()), flagged(segments[ROLLING])]
    programs += [programs[-1].then(Match()), plain.then(Running(1)), plain.then(Running(2))]
    assert len({p.token for p in programs}) == len(programs)


def test_another_version_has_other_names(segments, monkeypatch):
    before = Program(Source.from_segment(segments[ROLLING])).token
    monkeypatch.setattr("tso3dask.__version__", "99")
    assert Program(Source.from_segment(segments[ROLLING])).token != before


def test_a_changed_file_has_another_name(spectra, copy_of):
    path = copy_of(spectra).members[0]
    before = open_segment(path)
    stat = path.stat()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    touched = open_segment(path)
    header = bytearray(path.read_bytes()[:2880])
    place = header.index(b"FILENAME")
    header[place + 12 : place + 14] = b"xx"
    with path.open("r+b") as file:
        file.write(header)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    renamed = open_segment(path)
    tokens = {Program(Source.from_segment(s)).token for s in (before, touched, renamed)}
    assert len(tokens) == 3


def test_a_copy_elsewhere_has_another_name(spectra, copy_of):
    """Its tasks would read another file."""
    original = Program(Source.from_segment(open_segment(spectra.members[0])))
    copy = Program(Source.from_segment(open_segment(copy_of(spectra).members[0])))
    assert original.token != copy.token


# --- what travels ------------------------------------------------------------------------------


def test_programs_pickle_small(segments):
    for segment in segments:
        program = flagged(segment).then(Match())
        program.token  # noqa: B018  what is cached must not travel either
        data = pickle.dumps(program)
        assert len(data) < 3000
        again = pickle.loads(data)
        assert again == program
        assert again.token == program.token


def test_programs_do_not_change(segments):
    program = flagged(segments[ROLLING])
    with pytest.raises(AttributeError):
        program.stages = ()
    assert replace(program, stages=()) == Program(program.source)
    assert len({program, flagged(segments[ROLLING])}) == 1


def test_a_source_lists_what_the_file_has(segments):
    source = Source.from_segment(segments[ROLLING])
    assert source.shape == (34, 26, 20)
    assert source.names[:3] == ("sci", "err", "dq")
    with pytest.raises(KeyError):
        source.array("wavelength")


def test_the_median_image_comes_in_tiles(segments, monkeypatch):
    from tso3dask.graph import stages
    from tso3dask.ops.medians import nanmedian_image

    program = flagged(segments[SHORT])
    expected = constants_of(program)["median"]
    monkeypatch.setattr(stages, "TILE_BYTES", 4 * 20 * 20 * 4)
    tasks, _ = median_prologue(program)
    assert len(tasks) == 26 // 4 + 1 + 1
    np.testing.assert_array_equal(constants_of(program)["median"], expected)
    np.testing.assert_array_equal(nanmedian_image(program.source.array("sci").read()), expected)
    assert median_prologue(flagged(segments[ROLLING])) == ({}, {})


def test_a_block_gives_rows_by_their_number():
    block = Block({"sci": np.arange(5)}, {"sci": 10}, {})
    np.testing.assert_array_equal(block.rows("sci", 11, 13), [1, 2])
