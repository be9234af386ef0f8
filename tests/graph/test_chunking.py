from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tso3dask.errors import InputError
from tso3dask.graph import chunking
from tso3dask.graph.chunking import (
    BASE_MEMORY,
    MAXIMUM_CHUNKS,
    TASK_BYTES,
    chunk_bounds,
    chunk_sizes,
    make_budget,
    parse_bytes,
    task_memory,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, 10**9),
        (123, 123),
        (2.5e9, 2_500_000_000),
        ("123", 123),
        ("123B", 123),
        ("800MB", 800_000_000),
        ("800 MB", 800_000_000),
        (" 8GiB ", 8 * 2**30),
        ("8gib", 8 * 2**30),
        ("8 G", 8_000_000_000),
        ("1.5k", 1500),
        ("1.5KiB", 1536),
        ("2T", 2 * 10**12),
        ("1e9", 10**9),
    ],
)
def test_sizes_are_understood(text, expected):
    assert parse_bytes(text) == expected


@pytest.mark.parametrize("text", ["", "much", "GB", "8 XB", "8GGB", "0x10", "-", "nan", "inf"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(InputError, match="memory limit"):
        parse_bytes(text)


@pytest.mark.parametrize("value", [0, -5, "-1GB", "0"])
def test_a_limit_of_nothing_is_refused(value):
    with pytest.raises(InputError):
        make_budget(plane=8, stored=24, window=1, memory_limit=value, workers=1)


sizes = st.integers(1, 5000)


@given(
    nints=sizes,
    stored=st.integers(1, 10**9),
    window=st.integers(1, 100),
    more=st.integers(0, 10**6),
)
def test_chunks_tile_a_segment_evenly(nints, stored, window, more):
    chunks = chunk_sizes(nints, stored, window, total=nints + more)
    assert sum(chunks) == nints
    assert min(chunks) >= 1
    assert max(chunks) - min(chunks) <= 1
    assert max(chunks) * stored <= max(TASK_BYTES, max(chunks[0], 4 * window) * stored)


@given(nints=st.integers(1, 3000), segments=st.integers(1, 40), stored=st.integers(1, 10**9))
def test_a_run_has_at_most_about_a_thousand_chunks(nints, segments, stored):
    total = nints * segments
    count = segments * len(chunk_sizes(nints, stored, 25, total=total))
    assert count <= MAXIMUM_CHUNKS + 2 * segments


def test_a_million_integrations():
    chunks = chunk_sizes(10**6, 100, 25, total=10**6)
    assert len(chunks) <= MAXIMUM_CHUNKS
    assert sum(chunks) == 10**6
    many = chunk_sizes(10**6, 10**7, 25, total=10**6)
    assert len(many) <= MAXIMUM_CHUNKS


@given(nints=sizes, requested=sizes)
def test_a_chunk_length_asked_for_is_kept(nints, requested):
    chunks = chunk_sizes(nints, 1000, 25, total=nints, requested=requested)
    assert sum(chunks) == nints
    assert set(chunks[:-1]) <= {min(requested, nints)}
    assert 1 <= chunks[-1] <= requested


def test_a_chunk_length_below_one_is_refused():
    with pytest.raises(InputError, match=r"chunk_integrations must be .* got 0"):
        chunk_sizes(10, 1000, 25, total=10, requested=0)


def test_chunks_are_not_mostly_halo():
    assert min(chunk_sizes(1000, 10**9, 25, total=1000)) >= 90


def test_one_segment_still_keeps_two_workers_busy():
    assert len(chunk_sizes(100, 1000, 25, total=100)) == 2
    assert len(chunk_sizes(40, 1000, 25, total=40)) == 1


planes = st.integers(10**3, 3 * 10**7)


@given(
    plane=planes,
    layers=st.integers(1, 5),
    window=st.integers(1, 101),
    limit=st.integers(10**6, 10**11),
    workers=st.integers(1, 64),
    apart=st.booleans(),
)
def test_a_budget_keeps_its_limit_or_refuses(plane, layers, window, limit, workers, apart):
    stored = layers * plane
    least = BASE_MEMORY * (2 if apart else 1) + task_memory(plane, stored, window, 1, 0)
    arguments = dict(plane=plane, stored=stored, window=window, workers=workers)
    if least > limit:
        with pytest.raises(InputError, match="too small"):
            make_budget(**arguments, memory_limit=limit, separate_processes=apart)
        return
    budget = make_budget(**arguments, memory_limit=limit, separate_processes=apart)
    assert budget.projected <= budget.limit == limit
    assert 1 <= budget.workers <= workers
    assert budget.sub_block >= 1
    bases = budget.workers + 1 if apart else 1
    assert budget.projected == BASE_MEMORY * bases + budget.workers * budget.per_task


def test_all_workers_before_large_blocks():
    roomy = make_budget(plane=10**6, stored=3 * 10**6, window=25, workers=4)
    tight = make_budget(
        plane=10**6, stored=3 * 10**6, window=25, workers=4, memory_limit=600 * 10**6
    )
    assert roomy.workers == tight.workers == 4
    assert tight.sub_block <= roomy.sub_block


def test_fewer_workers_only_with_the_smallest_blocks():
    budget = make_budget(
        plane=10**7, stored=3 * 10**7, window=25, workers=8, memory_limit=2 * 10**9
    )
    assert budget.workers < 8
    assert budget.sub_block == 1


def test_fewer_workers_before_blocks_below_the_fewest():
    sizes = dict(plane=10**7, stored=3 * 10**7, window=25, most=4, kept=10**7)
    budget = make_budget(**sizes, fewest=8, workers=8, memory_limit=2 * 10**9)
    assert (budget.workers, budget.sub_block) == (2, 8)
    assert budget.per_task == task_memory(10**7, 3 * 10**7, 25, 8, 0, 4, 10**7)
    assert budget.per_task == (25 + 8 + 4 * 4 + 8) * 10**7
    tight = make_budget(
        **sizes, fewest=8, workers=8, memory_limit=budget.per_task + BASE_MEMORY - 1
    )
    assert (tight.workers, tight.sub_block) == (1, 4)


@pytest.mark.parametrize("apart", [False, True])
def test_numbers_of_integrations_count_once_and_raise_the_default_limit(apart):
    sizes = dict(plane=10**6, stored=3 * 10**6, window=25, workers=1, separate_processes=apart)
    plain = make_budget(**sizes)
    few, many = (make_budget(**sizes, held=held) for held in (10**7, 3 * 10**9))
    assert few.limit == plain.limit
    assert few.projected == plain.projected + 10**7
    assert many.limit == plain.limit + 3 * 10**9 - plain.limit // 10
    assert many.sub_block > 1
    with pytest.raises(InputError, match=r"needs 3[0-9]+ MB; raise the limit"):
        make_budget(**sizes, held=3 * 10**9, memory_limit="2GB")


@pytest.mark.parametrize("apart", [False, True])
def test_what_is_shared_counts_once_per_process(apart):
    sizes = dict(plane=10**6, stored=3 * 10**6, window=25, workers=2, separate_processes=apart)
    plain = make_budget(**sizes, memory_limit="3GB")
    shared = make_budget(**sizes, shared=10**7, memory_limit="3GB")
    assert shared.projected == plain.projected + (2 if apart else 1) * 10**7
    bases = 3 if apart else 1
    assert make_budget(**sizes, before=5 * 10**8, memory_limit="3GB").projected == (
        bases * BASE_MEMORY + 5 * 10**8
    )
    with pytest.raises(InputError, match="too small"):
        make_budget(
            **sizes, before=5 * 10**8, memory_limit=(2 if apart else 1) * BASE_MEMORY + 4 * 10**8
        )


def test_the_refusal_says_how_much_is_needed():
    with pytest.raises(InputError) as caught:
        make_budget(plane=8 * 2048**2, stored=24 * 2048**2, window=25, memory_limit="500MB")
    assert "memory limit 500 MB is too small" in str(caught.value)
    needed = int(str(caught.value).partition("needs ")[2].split()[0])
    make_budget(
        plane=8 * 2048**2, stored=24 * 2048**2, window=25, workers=1, memory_limit=f"{needed + 1}MB"
    )


def refusal(limit, **sizes):
    with pytest.raises(InputError) as caught:
        make_budget(plane=10**7, stored=3 * 10**7, workers=1, memory_limit=limit, **sizes)
    return str(caught.value).partition(" MB; ")[2]


def test_the_refusal_advises_what_helps():
    least = BASE_MEMORY + task_memory(10**7, 3 * 10**7, 3, 1, 0)
    assert refusal(least, window=25) == "raise the limit or lower rolling_window_width"
    assert refusal(least - 1, window=25) == "raise the limit"
    before = {"window": 25, "before": 10**9}
    assert refusal("1.2GB", **before) == "raise the limit"
    less = {"skip the start": {"before": 0}, "share": {"shared": 0}}
    assert refusal("1.2GB", **before, alternatives=less) == "raise the limit or skip the start"
    none = {"leave out images": {"constants": 0}}
    images = {"window": 3, "constants": 10**8, "alternatives": none}
    assert refusal(least, **images) == "raise the limit or leave out images"
    assert refusal(least - 1, **images) == "raise the limit"


def test_without_a_limit_the_smallest_plan_is_made_whatever_it_needs():
    budget = make_budget(plane=8 * 2048**2, stored=24 * 2048**2, window=101)
    assert (budget.workers, budget.sub_block) == (1, 1)
    assert budget.projected > budget.limit


def test_workers_default_to_the_cores(monkeypatch):
    monkeypatch.setattr(chunking, "_cores", lambda: 3)
    assert make_budget(plane=8, stored=24, window=1).workers == 3
    with pytest.raises(InputError, match=r"workers must be .* got -1"):
        make_budget(plane=8, stored=24, window=1, workers=-1)


def test_bounds_of_chunks():
    assert chunk_bounds((4, 4, 1)) == [(0, 4), (4, 8), (8, 9)]
    assert chunk_bounds(()) == []
