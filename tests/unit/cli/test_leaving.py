"""The end of a `sweep run` that a person stopped: see gapless/local/leaving.py."""

from __future__ import annotations

from dataclasses import dataclass, field

from gapless.local.leaving import leave_in_order
from gapless.local.stopping import StopSignals


@dataclass
class _Scene:
    """A virtual clock, signals at given times, and what was told when."""

    signal_at: float = float("inf")
    now: float = 0.0
    told: list[tuple[int, str]] = field(default_factory=list)
    stop: StopSignals = field(default_factory=StopSignals)

    def __post_init__(self) -> None:
        self.stop.count = 1

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        if self.now >= self.signal_at:
            self.stop.count = 2

    def leave(self, node: _Program, aggregator: _Program) -> float:
        """Leave, the grace being 30 s; give how long it took."""
        leave_in_order(
            _Pair(node, aggregator),
            grace_s=30.0,
            stop=self.stop,
            tell=lambda text: self.told.append((round(self.now), text)),
            look=lambda: None,
            monotonic=lambda: self.now,
        )
        return round(self.now)


@dataclass
class _Program:
    """Ends so many seconds after it was asked to."""

    scene: _Scene
    takes_s: float
    asked_at: float | None = None
    killed_at: float | None = None

    @property
    def running(self) -> bool:
        if self.killed_at is not None:
            return False
        return self.asked_at is None or self.scene.now < self.asked_at + self.takes_s

    def ask_to_leave(self) -> None:
        self.asked_at = self.scene.now

    def wait(self, timeout_s: float) -> bool:
        self.scene.pass_time(timeout_s)
        return not self.running

    def kill(self) -> None:
        if self.running:
            self.killed_at = self.scene.now


@dataclass
class _Pair:
    node: _Program
    aggregator: _Program


_FOR_EVER = float("inf")


def test_programs_that_leave_soon_are_waited_for_without_a_word_more() -> None:
    scene = _Scene()
    node, aggregator = _Program(scene, 12.0), _Program(scene, 1.0)
    assert scene.leave(node, aggregator) == 13
    assert [text.partition(":")[0] for _, text in scene.told] == ["stopping"]
    assert node.killed_at is aggregator.killed_at is None
    assert aggregator.asked_at is not None
    assert round(aggregator.asked_at) == 12


def test_what_is_waited_for_after_the_grace_time_is_said() -> None:
    scene = _Scene()
    assert scene.leave(_Program(scene, 35.0), _Program(scene, _FOR_EVER)) == 55
    assert [at for at, _ in scene.told] == [0, 31, 38]
    for_queue, for_storage = (text for _, text in scene.told[1:])
    assert for_queue.startswith("waiting up to 19 s for the queue to take what was done")
    assert for_storage.startswith("waiting up to 17 s for storage to take what was delivered")
    assert for_queue.endswith("Ctrl-C again ends now, nothing is lost")
    assert for_storage.endswith("Ctrl-C again ends now, nothing is lost")


def test_an_aggregator_whose_node_got_rid_of_nothing_is_not_waited_for_as_long() -> None:
    scene = _Scene()
    node, aggregator = _Program(scene, _FOR_EVER), _Program(scene, _FOR_EVER)
    assert scene.leave(node, aggregator) == 55
    assert node.killed_at is not None
    assert aggregator.killed_at is not None
    assert round(node.killed_at) == 50


def test_a_second_signal_ends_both_at_once() -> None:
    scene = _Scene(signal_at=33.0)
    node, aggregator = _Program(scene, _FOR_EVER), _Program(scene, _FOR_EVER)
    assert scene.leave(node, aggregator) == 33
    assert node.killed_at == aggregator.killed_at == scene.now
