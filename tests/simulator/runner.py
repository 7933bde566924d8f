"""Play many seeds in many processes, and let none of them pass unseen.

A process plays one seed at a time, so a process that dies or a seed that never ends is known by its
seed: it counts as failed and another process takes the place. Memory stays bounded however many
seeds there are: nothing is kept of those that held, and a process is replaced after some thousands.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import hashlib
import itertools
import logging
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Self

import stamina.instrumentation

__all__ = ["LONGEST_S", "Crew", "Verdict", "play", "quieten", "replay_command", "seeds_of_commit"]

LONGEST_S = 120.0
"""For how long one seed may take of the wall clock before it counts as hung."""

_SEEDS_A_PROCESS = 5_000
_SEED_BITS = 48
_GARBAGE_AT = 20_000
_START = multiprocessing.get_context("spawn")


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """How a seed ended: well, or for a `reason` in one line, with its log (possibly empty)."""

    seed: int
    steps: int = 0
    reason: str = ""
    lines: tuple[str, ...] = ()

    @property
    def failed(self) -> bool:
        """Tell whether something broke."""
        return bool(self.reason)


def seeds_of_commit(commit: str) -> Iterator[int]:
    """Derive seeds without end from a commit's id (or any text), the same for everybody."""
    for number in itertools.count():
        digest = hashlib.sha256(f"{commit} {number}".encode()).digest()
        yield int.from_bytes(digest) >> (8 * len(digest) - _SEED_BITS)


def replay_command(seed: int, left_out: Iterable[str] = ()) -> str:
    """Give the command that replays a seed with its log."""
    without = ",".join(sorted(left_out))
    return f"python -m tests.simulator {seed}" + (f" --without {without}" if without else "")


def quieten() -> None:
    """Let retries and warnings of the product be silent: in a world of faults they are the rule."""
    stamina.instrumentation.set_on_retry_hooks([])
    logging.disable(logging.CRITICAL)


def play(seed: int) -> Verdict:
    """Play one seed."""
    # Here, not above: the process that only hands out seeds never loads the product.
    from tests.simulator.scenario import Failed, run_seed

    try:
        return Verdict(seed, run_seed(seed).steps)
    except Failed as failure:
        return Verdict(seed, reason=failure.reason, lines=tuple(failure.lines))


def _play_handed(pipe: Connection, play_one: Callable[[int], Verdict]) -> None:
    # Ctrl-C reaches every process of the terminal; the one that hands out seeds ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    quieten()
    # What a world leaves is freed with it, but for few cycles: look for those less often.
    gc.set_threshold(_GARBAGE_AT)
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            pipe.send(play_one(pipe.recv()))


class _Player:
    """A process, the seed it plays and since when (monotonic seconds)."""

    def __init__(self, play_one: Callable[[int], Verdict]) -> None:
        self.pipe, theirs = _START.Pipe()
        self.process: BaseProcess = _START.Process(
            target=_play_handed, args=(theirs, play_one), daemon=True
        )
        self.process.start()
        theirs.close()
        self.seed = 0
        self.since = 0.0
        self.played = 0

    def hand(self, seed: int) -> None:
        """Hand it a seed."""
        self.seed, self.since = seed, time.monotonic()
        # A process that is gone by now is seen when its verdict is read.
        with contextlib.suppress(BrokenPipeError):
            self.pipe.send(seed)

    def verdict(self) -> Verdict:
        """Take the verdict it sent; that it died, if it did."""
        self.played += 1
        try:
            found: Verdict = self.pipe.recv()
        except (EOFError, ConnectionResetError):
            self.process.join()
            return Verdict(self.seed, reason=f"its process died: status {self.process.exitcode}")
        return found

    def end(self) -> None:
        """End the process, whatever it does."""
        self.process.kill()
        self.process.join()
        self.pipe.close()


class Crew:
    """Processes that play seeds, `workers` at a time (None: one a core); a context manager."""

    def __init__(
        self,
        workers: int | None = None,
        *,
        longest_s: float = LONGEST_S,
        play_one: Callable[[int], Verdict] = play,
    ) -> None:
        self.play_one = play_one
        self.workers = workers or len(os.sched_getaffinity(0))
        self.longest_s = longest_s
        self._busy: list[_Player] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for player in self._busy:
            player.end()
        self._busy.clear()

    def play(self, seeds: Iterable[int]) -> Iterator[Verdict]:
        """Play seeds; give each verdict as it comes, in no order."""
        left = iter(seeds)
        for seed in itertools.islice(left, self.workers):
            self._busy.append(_Player(self.play_one))
            self._busy[-1].hand(seed)
        while self._busy:
            for player in self._ended():
                verdict = self._verdict(player)
                after = next(left, None)
                if after is None or verdict.failed or player.played >= _SEEDS_A_PROCESS:
                    self._busy.remove(player)
                    player.end()
                    if after is not None:
                        self._busy.append(_Player(self.play_one))
                        self._busy[-1].hand(after)
                else:
                    player.hand(after)
                yield verdict

    def _ended(self) -> list[_Player]:
        """Wait until some have a verdict, or died, or took too long."""
        while True:
            now = time.monotonic()
            late = [each for each in self._busy if now - each.since > self.longest_s]
            first = min(each.since for each in self._busy)
            ready = wait(
                [each.pipe for each in self._busy],
                timeout=0.0 if late else max(first + self.longest_s - now, 0.0) + 0.01,
            )
            ended = [each for each in self._busy if each.pipe in ready or each in late]
            if ended:
                return ended

    def _verdict(self, player: _Player) -> Verdict:
        if player.pipe.poll():
            return player.verdict()
        text = f"it hangs: not ended after {self.longest_s:.0f} s"
        return Verdict(player.seed, reason=text)
