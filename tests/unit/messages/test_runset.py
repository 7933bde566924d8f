"""Sets of run numbers against Python's own sets."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gapless.declaration.errors import DamagedMessage
from gapless.declaration.runset import MAX_RUNS, RunSet

near = st.integers(0, 400)
far = st.integers(0, 2**40)
spans = st.tuples(st.integers(0, 3_000_000), st.sampled_from([1, 2, 500, 70_000]))
# Roaring keeps 65,536 numbers a container: its edges are where mistakes live.
edges = st.builds(
    lambda container, offset: max(0, container * 65_536 + offset),
    st.integers(0, 40),
    st.integers(-3, 3),
)
numbers = st.sets(st.one_of(near, edges, far), max_size=60)


def runs_of(found: list[tuple[int, int]]) -> RunSet:
    return RunSet.union(RunSet.span(start, start + length) for start, length in found)


@given(numbers, numbers)
def test_operators_do_what_sets_do(left: set[int], right: set[int]) -> None:
    ours, others = RunSet.from_numbers(left), RunSet.from_numbers(right)
    assert set(ours | others) == left | right
    assert set(ours & others) == left & right
    assert set(ours - others) == left - right
    assert ours.overlap(others) == len(left & right)
    assert ours.isdisjoint(others) == left.isdisjoint(right)
    assert ours.issubset(others) == left.issubset(right)
    assert len(ours) == len(left)
    assert (ours == others) == (left == right)


@given(numbers)
def test_every_form_reads_back(members: set[int]) -> None:
    runs = RunSet.from_numbers(members)
    assert RunSet.from_wire(runs.to_wire()) == runs
    assert RunSet.from_text(runs.to_text()) == runs
    assert RunSet.deserialize(runs.serialize()) == runs
    assert RunSet.from_numbers(runs.to_array()) == runs
    assert RunSet.from_numbers(np.array(sorted(members, reverse=True), dtype=np.uint64)) == runs
    assert RunSet.from_ranges(runs.ranges()) == runs
    assert hash(RunSet.from_numbers(members)) == hash(runs)


@given(st.lists(st.tuples(edges, st.sampled_from([1, 3, 65_536, 65_537, 200_000])), max_size=5))
def test_long_ranges_at_the_edges_of_containers_do_what_sets_do(
    found: list[tuple[int, int]],
) -> None:
    plain = {number for start, length in found for number in range(start, start + length)}
    runs = runs_of(found)
    assert len(runs) == len(plain)
    assert {number for span in runs.ranges() for number in range(*span)} == plain
    for start, length in found:
        piece = RunSet.span(start, start + length)
        assert piece.issubset(runs)
        assert len(runs - piece) == len(plain) - length
        assert runs.overlap(piece) == length
        assert RunSet.from_wire((runs - piece).to_wire()) == runs - piece
        assert (runs - piece).isdisjoint(piece)
        assert set(runs.first(1000)) == set(sorted(plain)[:1000])


def test_numbers_that_a_library_took_for_a_range_are_not_one() -> None:
    runs = RunSet.of(65_535, 1_114_112)
    assert list(runs.ranges()) == [(65_535, 65_536), (1_114_112, 1_114_113)]


@given(st.lists(spans, max_size=6))
def test_ranges_are_the_fewest_that_hold_the_set(found: list[tuple[int, int]]) -> None:
    runs = runs_of(found)
    ranges = list(runs.ranges())
    assert sum(stop - start for start, stop in ranges) == len(runs)
    assert all(stop < start for (_, stop), (start, _) in itertools.pairwise(ranges))


@given(st.lists(spans, min_size=1, max_size=4), st.integers(1, 50_000))
def test_pieces_are_the_set_cut_in_order(found: list[tuple[int, int]], size: int) -> None:
    runs = runs_of(found)
    taken = runs.first(size)
    assert len(taken) == min(size, len(runs))
    assert not taken or taken.greatest < (runs - taken or RunSet.of(2**41)).least
    pieces = list(runs.pieces(max(size, len(runs) // 20)))
    assert RunSet.union(pieces) == runs
    assert sum(map(len, pieces)) == len(runs)


def test_ten_thousand_million_consecutive_runs_are_told_at_once() -> None:
    runs = RunSet.span(5, MAX_RUNS)
    assert list(runs.ranges()) == [(5, MAX_RUNS)]
    assert runs.to_wire() == [[5, MAX_RUNS]]
    assert repr(runs) == f"RunSet(5-{MAX_RUNS - 1}; {MAX_RUNS - 5} runs)"


def test_few_ranges_travel_as_ranges_and_many_as_a_bitmap() -> None:
    assert RunSet.from_ranges([(0, 5), (7, 9)]).to_wire() == [[0, 5], [7, 9]]
    assert isinstance(RunSet.from_numbers(range(0, 10_000, 2)).to_wire(), str)


@pytest.mark.parametrize(
    "wire", [None, 3, {}, [[0]], [[1, 1]], [[-1, 2]], [[0, MAX_RUNS + 1]], [["0", "2"]], [0, 2]]
)
def test_what_is_no_set_of_runs_is_damaged(wire: object) -> None:
    with pytest.raises(DamagedMessage):
        RunSet.from_wire(wire)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_set_or_damaged(data: bytes) -> None:
    try:
        runs = RunSet.deserialize(data)
    except DamagedMessage:
        return
    assert RunSet.deserialize(runs.serialize()) == runs
