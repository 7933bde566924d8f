"""Every decoder, on valid encodings, on changed ones and on what is made to do harm."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from random import Random

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.fuzz.bounds import Ending, run_bounded
from tests.fuzz.mutation import mutated
from tests.fuzz.target import Target
from tests.fuzz.targets import TARGETS, found_inputs, target_named

by_name = pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
# The same tries every time, few enough for every commit; `python -m tests.fuzz` goes on from there.
few = settings(
    max_examples=100,
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
fewest = settings(few, max_examples=20)
ROOT = Path(__file__).parents[2]
TRIES_AN_EXAMPLE = 4


def check_changed(target: Target, number: int) -> None:
    seeds = tuple(target.seeds())
    random = Random(number)
    for _ in range(1 if target.apart else TRIES_AN_EXAMPLE):
        data = mutated(random.choice(seeds), random, others=seeds)
        try:
            target.check(data)
        except Exception as error:
            error.add_note(f"target {target.name}, input {data!r}")
            raise


def profile(target: Target) -> settings:
    return fewest if target.apart else few


@by_name
def test_what_is_valid_is_decoded(target: Target) -> None:
    assert all(target.check(seed) for seed in target.seeds())


@by_name
def test_what_was_changed_is_refused_or_decoded_to_a_value_that_can_be(target: Target) -> None:
    @profile(target)
    @given(st.integers(0, 2**64 - 1))
    def check(number: int) -> None:
        check_changed(target, number)

    check()


@by_name
def test_any_bytes_are_refused_or_decoded_to_a_value_that_can_be(target: Target) -> None:
    @profile(target)
    @given(st.binary(max_size=400) | st.text(max_size=200).map(lambda text: text.encode()))
    def check(data: bytes) -> None:
        target.check(data)

    check()


def test_no_hostile_input_takes_more_memory_or_time_than_it_may() -> None:
    inputs = [(target.name, data) for target in TARGETS for data in target.hostile()]
    endings = run_bounded(inputs)
    assert [each for each in endings if each.problem] == []
    assert len(endings) == len(inputs) > 100


def test_an_input_that_ends_its_process_is_told_and_named() -> None:
    endings = run_bounded([("job", b"{}"), ("no-such-target", b"abc"), ("job", b"{}")])
    assert endings[0] == Ending("job", 2, decoded=False, problem="")
    assert (endings[1].target, endings[1].size_bytes) == ("no-such-target", 3)
    assert "status 1" in endings[1].problem
    assert len(endings) == 2


def test_memory_beyond_the_bound_is_refused_and_told() -> None:
    """A target may take 64 MiB unless it says otherwise: this one asks for 1 GiB."""
    code = (
        "import sys, tests.fuzz.bounds as bounds; from tests.fuzz.target import Target;"
        "bounds.target_named = lambda name: Target(name=name, seeds=list,"
        " check=lambda data: bool(bytes(2**30)));"
        "sys.exit(bounds._main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=msgspec.msgpack.encode([("bomb", b"x")]),
        stdout=subprocess.PIPE,
        cwd=ROOT,
        timeout=60,
        check=True,
    )
    assert msgspec.json.decode(done.stdout, type=Ending).problem.startswith("MemoryError")


@pytest.mark.parametrize(
    ("name", "path"), found_inputs(), ids=lambda each: getattr(each, "name", each)
)
def test_what_once_broke_a_decoder_does_not_any_more(name: str, path) -> None:
    target_named(name).check(path.read_bytes())
