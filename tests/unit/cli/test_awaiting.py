"""Waiting for services that are away, with an ear for signals: see gapless/local/awaiting.py."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest

from gapless.local.awaiting import Awaiting, StoppedWaiting
from gapless.local.stopping import StopSignals
from gapless.storage.errors import StorageRefused, StorageUnavailable
from queueing.errors import QueueRefused, QueueUnavailable


class Signals(StopSignals):
    """Signals whose waits take no time; `at_wait` happens in each of them."""

    def __init__(self, at_wait: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self.waits: list[float] = []
        self._at_wait = at_wait

    def wait(self, timeout_s: float) -> None:
        self.waits.append(timeout_s)
        self._at_wait()


def failing(*errors: Exception) -> Callable[[], str]:
    left = list(errors)

    def step() -> str:
        if left:
            raise left.pop(0)
        return "done"

    return step


def test_a_step_is_repeated_until_its_service_answers_and_the_reason_is_told_once() -> None:
    told: list[str] = []
    signals = Signals()
    away = [StorageUnavailable("the bucket is away")] * 8 + [QueueUnavailable("no queue")] * 2
    assert Awaiting(signals, tell=told.append).done(failing(*away)) == "done"
    assert len(signals.waits) == 10
    assert max(signals.waits) <= 30.0
    assert [text.partition(";")[0] for text in told] == ["the bucket is away", "no queue"]


@pytest.mark.parametrize("error", [StorageRefused("not allowed"), QueueRefused("not allowed")])
def test_what_somebody_has_to_mend_is_said_at_once(error: Exception) -> None:
    signals = Signals()
    with pytest.raises(type(error), match="not allowed"):
        Awaiting(signals, tell=lambda _: None).done(failing(error))
    assert not signals.waits


def test_a_signal_ends_the_wait() -> None:
    with Signals(lambda: os.kill(os.getpid(), signal.SIGINT)) as signals:
        with pytest.raises(StoppedWaiting):
            Awaiting(signals, tell=lambda _: None).done(failing(*[QueueUnavailable("away")] * 9))
        assert len(signals.waits) == 1
