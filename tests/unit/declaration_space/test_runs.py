"""Runs by number: segments, order, extensions."""

from __future__ import annotations

import tracemalloc
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gapless.declaration.canonical import canonical_json
from gapless.declaration.errors import DamagedMessage, DeclarationError, NewerFormat
from gapless.declaration.runs import Runs, Segment, extension, first_segment
from gapless.declaration.runset import RunSet
from gapless.declaration.space import Space, linspace, range_

GOLDEN = Path(__file__).parent / "golden"
RELEASED = [
    (b'{"n":3,"x":0.25}', 1, 7547045205645295014),
    (b'{"n":3,"x":0.5}', 1, 4384476715777425271),
]


@dataclass(frozen=True)
class Declared:
    space: Any
    replicates: int = 1
    seed: int = 2009
    seed_mode: str = "point"
    order: str = "shuffled"


class Sweep:
    """A declaration with its segments and objects, as a home holds them."""

    def __init__(self, space: Space, **other: Any) -> None:
        frozen = space.freeze()
        self.objects = dict(frozen.objects)
        self.declared = Declared(frozen.to_json(), **other)
        self.segments = [first_segment(self.declared)]

    def extend(self, space: Space, replicates: int) -> Segment | None:
        added = extension(
            self.declared,
            self.segments,
            space.freeze(),
            replicates,
            fetch=self.objects.__getitem__,
        )
        if added is None:
            return None
        self.objects |= added.objects
        # Written and read, as a home does it.
        self.segments.append(Segment.decode(added.segment.encode()))
        return added.segment

    @property
    def runs(self) -> Runs:
        return Runs(self.declared, self.segments, self.objects.__getitem__)


def rows(runs: Runs, numbers: np.ndarray | None = None) -> list[tuple[bytes, int, int]]:
    """List (point, replicate, seed) of runs."""
    if numbers is None:
        numbers = np.arange(runs.total, dtype=np.uint64)
    block = runs.block(numbers)
    values = {name: column.tolist() for name, column in block.parameters.items()}
    points = [{name: values[name][place] for name in values} for place in range(len(numbers))]
    return list(
        zip(
            map(canonical_json, points),
            block.replicates.tolist(),
            block.seeds.tolist(),
            strict=True,
        )
    )


def test_declared_order_goes_point_by_point_with_replicates_innermost() -> None:
    runs = Sweep(Space.grid(n=[1, 2], m=["a", "b"]), replicates=2, order="declared").runs
    assert runs.total == 8
    assert runs.all == RunSet.span(0, 8)
    assert runs.names == ("n", "m")
    block = runs.block(np.arange(8, dtype=np.uint64))
    assert block.parameters["n"].tolist() == [1, 1, 1, 1, 2, 2, 2, 2]
    assert block.parameters["m"].tolist() == ["a", "a", "b", "b"] * 2
    assert block.replicates.tolist() == [0, 1] * 4


def test_shuffled_runs_are_the_declared_ones_in_another_order() -> None:
    space = Space.grid(n=range_(20), x=linspace(0, 1, 5))
    declared = rows(Sweep(space, replicates=3, order="declared").runs)
    shuffled = rows(Sweep(space, replicates=3, order="shuffled").runs)
    assert shuffled != declared
    assert sorted(shuffled) == sorted(declared)
    assert len(set(shuffled)) == 300


def test_the_same_declaration_gives_the_same_segment() -> None:
    made = [Sweep(Space.grid(n=range_(20))).segments[0].encode() for _ in range(2)]
    assert made[0] == made[1]


def test_runs_can_be_asked_for_in_any_order_and_again() -> None:
    sweep = Sweep(Space.grid(n=range_(20), m=["a", None]), replicates=3)
    sweep.extend(Space.grid(n=range_(25), m=["a", "b"]), 4)
    runs = sweep.runs
    whole = rows(runs)
    numbers = np.array([runs.total - 1, 0, 7, 7, 119, 120, 3], dtype=np.uint64)
    assert rows(runs, numbers) == [whole[number] for number in numbers.tolist()]
    assert rows(runs, np.array([], dtype=np.uint64)) == []


def test_parameters_replicates_and_seeds_alone_are_those_of_the_block() -> None:
    runs = Sweep(Space.grid(n=range_(20)), replicates=3).runs
    numbers = np.array([5, 4, 59], dtype=np.uint64)
    block = runs.block(numbers)
    assert runs.parameters(numbers)["n"].tolist() == block.parameters["n"].tolist()
    assert runs.replicates(numbers).tolist() == block.replicates.tolist()
    assert runs.seeds(numbers).tolist() == block.seeds.tolist()
    described = runs.describe(59)
    assert described.parameters == {"n": block.parameters["n"].tolist()[2]}
    assert (described.replicate, described.seed) == rows(runs)[59][1:]


@pytest.mark.parametrize("number", [60, 2**63])
def test_a_run_beyond_the_sweep_is_refused(number: int) -> None:
    runs = Sweep(Space.grid(n=range_(20)), replicates=3).runs
    with pytest.raises(IndexError, match="60 runs"):
        runs.describe(number)
    with pytest.raises(IndexError, match="60 runs"):
        runs.seeds(np.array([number], dtype=np.uint64))


def test_a_million_million_runs_are_looked_up_in_constant_memory() -> None:
    sweep = Sweep(Space.grid({name: range_(1_000) for name in "abc"}), replicates=1_000)
    runs = sweep.runs
    assert runs.total == 10**12
    runs.describe(0)
    tracemalloc.start()
    block = runs.block(np.array([10**12 - 1, 5 * 10**11], dtype=np.uint64))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(set(block.seeds.tolist())) == 2
    assert peak < 1_000_000


def test_counting_runs_reads_no_object() -> None:
    sweep = Sweep(Space.grid(n=range_(100)).where("n % 3 == 0"), replicates=5)

    def refused(name: str) -> bytes:
        raise AssertionError(name)

    assert Runs(sweep.declared, sweep.segments, refused).total == 34 * 5
    assert sweep.segments[0].count == 170


# Extensions


def test_an_extension_adds_only_what_is_new_and_old_runs_stay_as_they_were() -> None:
    sweep = Sweep(Space.grid(n=[1, 2, 3], x=[0.0, 0.5]), replicates=2)
    before = rows(sweep.runs)
    added = sweep.extend(Space.grid(x=[0.5, 1.0], n=[2, 3, 4]), 3)
    assert added is not None
    assert (added.number, added.base) == (1, 12)
    after = rows(sweep.runs)
    assert after[:12] == before
    new = {(point, replicate) for point, replicate, _ in after[12:]}
    points = {canonical_json({"n": n, "x": x}) for n in (2, 3, 4) for x in (0.5, 1.0)}
    old = {canonical_json({"n": n, "x": 0.5}) for n in (2, 3)}
    expected = {(p, r) for p in points - old for r in range(3)} | {(p, 2) for p in old}
    assert new == expected
    assert len(after) == 12 + len(expected)


def test_an_extension_by_nothing_new_is_none() -> None:
    sweep = Sweep(Space.grid(n=[1, 2, 3]).where("n != 2"), replicates=3)
    assert sweep.extend(Space.grid(n=[3, 1]), 3) is None
    assert sweep.extend(Space.grid(n=[1]), 1) is None
    assert sweep.extend(Space.grid(n=[1, 2, 3]), 3) is not None
    assert sweep.extend(Space.grid(n=[1, 2, 3]), 3) is None


def test_an_extension_tells_equal_numbers_of_two_types_apart() -> None:
    sweep = Sweep(Space.grid(n=[1, 2]), replicates=2)
    added = sweep.extend(Space.grid(n=[1.0, 2.0]), 2)
    assert added is not None
    assert added.count == 4
    assert sweep.runs.kinds == {"n": "number"}
    values = sweep.runs.parameters(np.arange(8, dtype=np.uint64))["n"].tolist()
    assert sorted(map(repr, values)) == sorted(["1", "2", "1.0", "2.0"] * 2)


def test_a_run_that_changes_its_values_changes_no_other_run() -> None:
    runs = Sweep(Space.grid(w=[[1, [2]], {"k": [3]}]), replicates=2, order="declared").runs
    numbers = np.arange(4, dtype=np.uint64)
    first, _, third, _ = runs.parameters(numbers)["w"].tolist()
    first[1].append("changed")
    third["k"].append("changed")
    assert runs.parameters(numbers)["w"].tolist() == [[1, [2]]] * 2 + [{"k": [3]}] * 2
    assert runs.describe(0).parameters == {"w": [1, [2]]}


def test_more_replicates_of_a_huge_space_are_added_without_walking_it() -> None:
    space = Space.grid({name: range_(1_000) for name in "abcd"})
    sweep = Sweep(space, replicates=2)
    added = sweep.extend(space, 5)
    assert added is not None
    assert added.count == 3 * 10**12
    assert sweep.runs.describe(2 * 10**12).replicate in {2, 3, 4}


def test_an_extension_by_distinct_values_of_a_huge_space_is_not_walked() -> None:
    sweep = Sweep(Space.grid({name: range_(1_000) for name in "abcd"}))
    wider = Space.grid({name: range_(1_000) for name in "abc"}, d=range_(1_000, 2_000))
    added = sweep.extend(wider, 1)
    assert added is not None
    assert added.count == 10**12


def test_an_extension_that_would_walk_too_much_is_refused() -> None:
    sweep = Sweep(Space.grid({name: range_(1_000) for name in "abcd"}))
    with pytest.raises(DeclarationError, match="declare only the new points"):
        sweep.extend(Space.grid({name: range_(1_001) for name in "abcd"}), 1)


def test_an_extension_with_other_parameters_is_refused() -> None:
    sweep = Sweep(Space.grid(n=[1]))
    with pytest.raises(DeclarationError, match=r"\(n, m\).*\(n\)"):
        sweep.extend(Space.grid(n=[1], m=[1]), 1)


SPACES = st.builds(
    lambda a, b, limit: (
        Space.grid(a=a, b=b).where(f"a + b <= {limit}") + Space.zip_(b=b[:1], a=a[:1])
    ),
    st.lists(st.integers(0, 5), min_size=1, max_size=5),
    st.lists(st.integers(0, 5), min_size=1, max_size=5),
    st.integers(0, 10),
)


@settings(max_examples=80, deadline=None)
@given(
    first=SPACES,
    replicates=st.integers(1, 3),
    more=st.lists(st.tuples(SPACES, st.integers(1, 5)), min_size=1, max_size=4),
    order=st.sampled_from(["shuffled", "declared"]),
)
def test_after_any_extensions_every_run_stands_once_and_keeps_its_number(
    first: Space, replicates: int, more: list[tuple[Space, int]], order: str
) -> None:
    sweep = Sweep(first, replicates=replicates, order=order)
    before = rows(sweep.runs)
    wanted = {(canonical_json(point), r) for point in first for r in range(replicates)}
    for space, count in more:
        wanted |= {(canonical_json(point), r) for point in space for r in range(count)}
        sweep.extend(space, count)
        after = rows(sweep.runs)
        assert after[: len(before)] == before
        runs = [row[:2] for row in after]
        assert len(set(runs)) == len(runs)
        assert set(runs) == wanted
        assert len({row[2] for row in after}) == len(after)
        before = after


# Formats


def test_a_segment_reads_back_as_it_was_written() -> None:
    sweep = Sweep(Space.grid(x=[1e16, 0.1, -0.0, 5e-324], v=[None, [1, {"a": 2.0}], "ü"]))
    segment = sweep.segments[0]
    written = segment.encode()
    assert written.isascii()
    assert Segment.decode(written) == segment
    assert Segment.decode(written).encode() == written
    again = Runs(sweep.declared, [Segment.decode(written)], sweep.objects.__getitem__)
    assert rows(again) == rows(sweep.runs)


def test_the_segment_of_the_first_release_is_read_for_ever() -> None:
    segment = Segment.decode((GOLDEN / "segment-1.json").read_bytes())
    runs = Runs(Declared(None), [segment], {}.__getitem__)
    assert segment.encode() == (GOLDEN / "segment-1.json").read_bytes()
    assert rows(runs, np.array([0, 5], dtype=np.uint64)) == RELEASED


def test_a_newer_segment_is_not_read() -> None:
    written = Sweep(Space.grid(n=[1])).segments[0].encode()
    with pytest.raises(NewerFormat, match="format 2"):
        Segment.decode(written.replace(b"gapless.segment/1", b"gapless.segment/2"))


@pytest.mark.parametrize(
    "written",
    [
        b"",
        b"[]",
        b'{"format": "gapless.job/1"}',
        b'{"format": "gapless.segment/x"}',
        b'{"format": "gapless.segment/1"}',
        b"\xff",
        b'{"format":"gapless.segment/1","number":0,"base":0,"parts":[],"order":"declared","key":0}',
    ],
)
def test_what_is_no_segment_is_told(written: bytes) -> None:
    with pytest.raises(DamagedMessage, match="segment"):
        Segment.decode(written)


def test_segments_that_do_not_join_are_told() -> None:
    sweep = Sweep(Space.grid(n=[1, 2]))
    sweep.extend(Space.grid(n=[3]), 1)
    with pytest.raises(DamagedMessage, match="begins at run 2, expected 0"):
        Runs(sweep.declared, sweep.segments[1:], sweep.objects.__getitem__)


@pytest.mark.parametrize(("replicates", "word"), [(0, "no runs"), (2**62, r"2\*\*62")])
def test_runs_that_cannot_be_numbered_are_refused(replicates: int, word: str) -> None:
    with pytest.raises(DeclarationError, match=word):
        Sweep(Space.grid(n=[1, 2]), replicates=replicates)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([0, 0.5, 1], "number"),
        ([2**53, 0.5], "number"),
        ([2**53 + 1, 0.5], "json"),
        ([0, 0.5, None], "json"),
        ([0, 0.5, True], "json"),
        ([0, 0.5, "1"], "json"),
        ([0, 1], "int"),
        ([0.0, 1.0], "float"),
    ],
)
def test_integers_among_floats_are_numbers_and_stay_as_they_were_written(
    values: list[Any], kind: str
) -> None:
    runs = Sweep(Space.grid(n=values), order="declared").runs
    assert runs.kinds == {"n": kind}
    found = runs.parameters(np.arange(len(values), dtype=np.uint64))["n"].tolist()
    assert list(map(repr, found)) == list(map(repr, values))


def test_numbers_are_one_kind_over_all_factors_of_a_space_and_all_segments() -> None:
    union = Space.grid(n=[1, 2]) + Space.grid(n=[0.5, 1.0])
    sweep = Sweep(union)
    assert sweep.runs.kinds == {"n": "number"}
    assert sweep.extend(union + Space.grid(n=[3]), 1) is not None
    assert sweep.runs.kinds == {"n": "number"}
    for number in range(5):
        column = sweep.runs.parameters(np.array([number], dtype=np.uint64))["n"]
        assert column.kind == "number"
    assert sweep.extend(union + Space.grid(n=[2**53 + 1]), 1) is not None
    assert sweep.runs.kinds == {"n": "json"}


def test_an_integer_and_a_float_of_one_value_are_two_points() -> None:
    runs = Sweep(Space.grid(n=[1, 1.0, 0.0, -0.0, 1]), order="declared").runs
    assert runs.total == 4
    values = runs.parameters(np.arange(4, dtype=np.uint64))["n"].tolist()
    assert list(map(repr, values)) == ["1", "1.0", "0.0", "-0.0"]
    assert len(set(runs.seeds(np.arange(4, dtype=np.uint64)).tolist())) == 4
