"""Seeds: fixed for ever, of the point and the replicate alone, and all different."""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gapless.declaration.canonical import canonical_json
from gapless.declaration.runs import Part, Runs, Segment, first_segment
from gapless.declaration.space import Space, linspace, range_

GOLDEN = json.loads((Path(__file__).parent / "golden" / "seeds.json").read_text())


@dataclass(frozen=True)
class Declared:
    space: Any
    replicates: int = 1
    seed: int = 2009
    seed_mode: str = "point"
    order: str = "declared"


def runs_of(space: Space, **other: Any) -> Runs:
    frozen = space.freeze()
    declared = Declared(frozen.to_json(), **other)
    return Runs(declared, [first_segment(declared)], frozen.objects.__getitem__)


def seed_by_run(runs: Runs) -> dict[tuple[Any, ...], int]:
    block = runs.block(np.arange(runs.total, dtype=np.uint64))
    rows = zip(*(block.parameters[name].tolist() for name in sorted(runs.names)), strict=True)
    keys = zip(map(repr, rows), block.replicates.tolist(), strict=True)
    return dict(zip(keys, block.seeds.tolist(), strict=True))


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case["name"])
def test_seeds_are_fixed_for_ever(case: dict[str, Any]) -> None:
    space = Space.points(case["points"]) if case["points"] else Space.single()
    runs = runs_of(
        space, replicates=case["replicates"], seed=case["seed"], seed_mode=case["seed_mode"]
    )
    assert runs.seeds(np.arange(runs.total, dtype=np.uint64)).tolist() == case["seeds"]


def mixed(word: int) -> int:
    """Mix a word as Stafford's variant 13 does, written down from its publication."""
    word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    word = (word ^ (word >> 27)) * 0x94D049BB133111EB % 2**64
    return word ^ (word >> 31)


def keyed(seed: int, label: str, count: int) -> list[int]:
    digest = hashlib.blake2b(label.encode(), key=str(seed).encode(), digest_size=8 * count).digest()
    return list(struct.unpack(f"<{count}Q", digest))


def reference(point: dict[str, Any], replicate: int, seed: int, mode: str) -> int:
    """Compute one seed in plain Python, apart from the code under test."""
    lanes = keyed(seed, f"gapless.seed/1 {mode}", 2)
    for name, value in point.items() if mode == "point" else ():
        if type(value) in {int, float}:
            keys = keyed(seed, f"gapless.seed/1 {type(value).__name__} {name}", 4)
            (bits,) = struct.unpack("<Q", struct.pack("<q" if type(value) is int else "<d", value))
            words = [mixed((mixed(bits ^ keys[k]) + keys[k + 1]) % 2**64) for k in (0, 2)]
        else:
            label = f"gapless.seed/1 value {name}\0{canonical_json(value).decode()}"
            words = keyed(seed, label, 2)
        lanes = [(lane + word) % 2**64 for lane, word in zip(lanes, words, strict=True)]
    return mixed(mixed((lanes[0] + replicate * 0x9E3779B97F4A7C15) % 2**64) ^ lanes[1]) >> 1


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case["name"])
def test_seeds_are_those_of_the_definition(case: dict[str, Any]) -> None:
    assert case["seeds"] == [
        reference(point, replicate, case["seed"], case["seed_mode"])
        for point in case["points"] or [{}]
        for replicate in range(case["replicates"])
    ]


def test_a_seed_does_not_depend_on_how_or_where_its_point_was_declared() -> None:
    grid = Space.grid(a=[1, 2], b=["x", None, 0.5], c=linspace(0, 1, 3))
    reordered = Space.grid(c=[1.0, 0.5, 0.0], b=[0.5, "x", None], a=[2, 1, 3])
    rows = list(grid)
    table = Space.table(["b", "c", "a"], [[row[name] for row in rows] for name in "bca"])
    zipped = Space.zip_(b=["x", None, 0.5], a=[1, 1, 1]) * Space.grid(c=[0.5, 0.0])
    union = Space.grid(a=[7], b=["x"], c=[0.0]) + grid.where("a == 2 and c > 0")
    expected = seed_by_run(runs_of(grid, replicates=3))
    assert seed_by_run(runs_of(table, replicates=3)) == expected
    assert expected.items() <= seed_by_run(runs_of(reordered, replicates=4)).items()
    for other in (zipped, union):
        found = seed_by_run(runs_of(other, replicates=3, order="shuffled"))
        shared = found.keys() & expected.keys()
        assert len(shared) >= 12
        assert all(found[key] == expected[key] for key in shared)


@given(
    numbers=st.lists(
        st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False),
        min_size=1,
        max_size=6,
    )
)
def test_a_number_has_one_seed_in_typed_and_in_mixed_columns(numbers: list[float]) -> None:
    mixed = seed_by_run(runs_of(Space.grid(a=[*numbers, "text"])))
    for number in numbers:
        alone = runs_of(Space.grid(a=[number]))
        assert alone.describe(0).seed == mixed[repr((number,)), 0]


def test_values_of_another_type_name_root_or_replicate_have_other_seeds() -> None:
    seeds = [
        runs_of(Space.grid({name: [value]}), seed=seed, replicates=2).describe(replicate).seed
        for name in ("a", "b")
        for value in (1, 1.0, True, "1", None, [1], 0, 0.0, -0.0)
        for seed in (0, 1)
        for replicate in (0, 1)
    ]
    assert len(set(seeds)) == len(seeds) == 72
    assert all(0 <= seed < 2**63 and type(seed) is int for seed in seeds)


def test_swapped_and_doubled_values_have_different_seeds() -> None:
    runs = runs_of(Space.grid(a=range_(-50, 50), b=range_(-50, 50), c=range_(3)))
    assert len(np.unique(runs.seeds(np.arange(runs.total, dtype=np.uint64)))) == runs.total


def test_common_random_numbers_leave_the_point_out() -> None:
    runs = runs_of(Space.grid(a=[1, 2, 3]), replicates=4, seed_mode="common")
    seeds = runs.seeds(np.arange(12, dtype=np.uint64)).reshape(3, 4)
    assert (seeds == seeds[0]).all()
    assert len(set(seeds[0].tolist())) == 4
    other = runs_of(Space.grid(z=["else"]), replicates=4, seed_mode="common")
    assert other.seeds(np.arange(4, dtype=np.uint64)).tolist() == seeds[0].tolist()


def test_ten_million_structured_runs_have_ten_million_seeds() -> None:
    space = Space.grid(a=range_(100), b=linspace(0, 1, 100), c=range_(0, 50))
    runs = runs_of(space, replicates=20)
    assert runs.total == 10**7
    seeds = runs.seeds(np.arange(runs.total, dtype=np.uint64))
    seeds.sort()
    assert (np.diff(seeds) > 0).all()
    # Every bit is set about half of the time: five standard deviations are 0.0008.
    for bit in range(63):
        assert abs(float(((seeds >> bit) & 1).mean()) - 0.5) < 0.0008


def test_neighbouring_runs_differ_in_half_of_their_bits() -> None:
    runs = runs_of(Space.grid(a=range_(1_000)), replicates=100)
    seeds = runs.seeds(np.arange(runs.total, dtype=np.uint64)).reshape(1_000, 100)
    for axis in (0, 1):
        changed = np.bitwise_count(seeds ^ np.roll(seeds, 1, axis=axis))
        assert abs(float(changed.mean()) - 31.5) < 0.1


def test_a_run_described_alone_has_the_seed_of_its_block() -> None:
    runs = runs_of(Space.grid(a=range_(50), m=["x", "y"]), replicates=3, order="shuffled")
    seeds = runs.seeds(np.arange(runs.total, dtype=np.uint64)).tolist()
    assert [runs.describe(number).seed for number in range(runs.total)] == seeds


def test_a_segment_is_all_a_seed_needs_beside_root_and_mode() -> None:
    frozen = Space.grid(a=[1, 2]).freeze()
    part = Part(space=frozen.to_json(), replicate_start=2, replicate_stop=4)
    late = Segment(number=0, base=0, parts=(part,), order="declared", key=0)
    whole = runs_of(Space.grid(a=[1, 2]), replicates=4)
    runs = Runs(Declared(None), [late], frozen.objects.__getitem__)
    numbers = np.arange(4, dtype=np.uint64)
    assert runs.replicates(numbers).tolist() == [2, 3, 2, 3]
    assert runs.seeds(numbers).tolist() == [whole.describe(number).seed for number in (2, 3, 6, 7)]
