"""Run a sweep on this machine to its end: submit, a node, an aggregator, reconcile.

The node and the aggregator are the very programs of `sweep node` and `sweep aggregate`. They start
before the sweep is submitted, so that they are ready when its first job is there. This program only
watches what is stored: it starts a program anew that ended, and when nothing more is stored it
reconciles, which finds what a lost queue or ledger held and sends it again.

Whatever dies here, this program too, costs repeated work at most: the same call goes on.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

from compute_node.commands import UNFIT
from gapless.declaration.control import ControlState
from gapless.errors import GaplessError
from gapless.local.awaiting import Awaiting, StoppedWaiting
from gapless.local.late_counts import first_look_text
from gapless.local.leaving import LEAVE_S, leave_in_order
from gapless.local.notices import Notices
from gapless.local.pair import Pair
from gapless.local.progress import Moment, Silence, Watcher
from gapless.local.stopping import StopSignals
from gapless.local.submission import Prepared, settle, submit_prepared
from gapless.results.coverage import Coverage, CoverageReader, counts, missing
from gapless.results.outcome import Outcome
from gapless.storage.errors import StorageUnavailable
from gapless.wiring import Home, Pace

if TYPE_CHECKING:
    from gapless.results.failures import Failure

__all__ = ["RunSettings", "RunSummary", "SweepHalted", "SweepUnfit", "run_here"]

_T = TypeVar("_T")
_FIRST_LOOKS_S = 3.0
_STALL_S = 5.0
_LONGEST_STALL_S = 120.0
_STATE_EVERY_S = 2.0


class SweepHalted(GaplessError):
    """The sweep was cancelled while it ran, or paused itself."""


class SweepUnfit(GaplessError):
    """This machine cannot do the sweep's runs: its function cannot be imported, for example."""

    def __init__(self, why: str, *, again: str) -> None:
        super().__init__(
            f"{why}\nmend it, then {again}; if a library is missing, install it and repeat the "
            "same command"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """How to run: worker processes, and how long runs under way may take after a stop, seconds.

    `again_with_new_code` says, for messages, how a person repeats this run with mended code.
    """

    workers: int
    grace_s: float = 30.0
    again_with_new_code: str = "run it again with `--code new`"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """What came of it. `stored_here` counts the runs stored while this call watched."""

    sweep_id: str
    total: int
    outcomes: dict[str, int]
    stored_here: int
    duplicates: int
    elapsed_s: float
    resent: int
    restarts: int
    complete: bool
    failures: tuple[Failure, ...] = ()

    @property
    def stored(self) -> int:
        """Runs with a final result."""
        return sum(self.outcomes.values())

    @property
    def not_ok(self) -> int:
        """Runs whose final result is not ok."""
        return self.stored - self.outcomes[Outcome.OK.label]


def run_here(
    home: Home, prepared: Prepared, *, settings: RunSettings, watcher: Watcher
) -> RunSummary:
    """Run a prepared sweep until it is complete or a person stops it (SIGINT, SIGTERM).

    ProgramFailed when node or aggregator end again and again, SweepHalted when it is cancelled
    or paused itself, SweepUnfit when this machine cannot do its runs.
    Safe to repeat and to do twice at once.
    """
    started_s = time.monotonic()
    with StopSignals() as stop, contextlib.ExitStack() as leaving:
        leaving.callback(watcher.close)
        try:
            pair, watch = _begin(home, prepared, settings, stop, watcher, leaving)
        except StoppedWaiting:
            return _nothing_done(prepared, time.monotonic() - started_s)
        sweep_id = watch.sweep_id
        halted = _until_complete(pair, watch, stop, again=settings.again_with_new_code)
        if (stop.count or watch.paused_itself) and not watch.complete:
            leave_in_order(
                pair,
                grace_s=settings.grace_s,
                stop=stop,
                tell=watcher.note,
                look=watch.look,
            )
            watch.look()
        else:
            pair.ask_to_leave()
            watch.settle()
            pair.wait(LEAVE_S)
        watcher.close()
        if halted and not (watch.paused_itself and watch.complete):
            raise SweepHalted(halted)
    elapsed_s = time.monotonic() - started_s
    summary = watch.summary(elapsed_s=elapsed_s, restarts=pair.restarts)
    return replace(summary, failures=_failures(home, sweep_id)) if summary.not_ok else summary


def _begin(
    home: Home,
    prepared: Prepared,
    settings: RunSettings,
    stop: StopSignals,
    watcher: Watcher,
    leaving: contextlib.ExitStack,
) -> tuple[Pair, _Watch]:
    """Submit, and start node and aggregator; StoppedWaiting."""
    awaiting = Awaiting(stop, tell=watcher.note)
    # Files answer at once, or a person has to see to them.
    done = awaiting.done if home.is_remote or home.ledger_is_served else _at_once
    prepared, notes = done(lambda: settle(home, prepared))
    for note in notes:
        watcher.note(note)
    sweep_id = done(lambda: prepared.sweep_id(home))
    pair = Pair(home, sweep_id, workers=settings.workers, grace_s=settings.grace_s)
    leaving.callback(pair.close)
    if done(lambda: _has_work_already(home, sweep_id, prepared)):
        pair.start()
    report = done(lambda: submit_prepared(home, prepared))
    watch = done(lambda: _Watch(home, sweep_id, watcher))
    if not watch.complete_now():
        pair.start()
        if not report.created:
            # What was lost while nobody watched, such as the queue of a sweep taken up again.
            watch.mend()
    return pair, watch


def _at_once(step: Callable[[], _T]) -> _T:
    return step()


def _nothing_done(prepared: Prepared, elapsed_s: float) -> RunSummary:
    return RunSummary(
        sweep_id=prepared.wish.extend or prepared.frozen.id,
        total=prepared.frozen.segment.count,
        outcomes={outcome.label: 0 for outcome in Outcome},
        stored_here=0,
        duplicates=0,
        elapsed_s=elapsed_s,
        resent=0,
        restarts=0,
        complete=False,
    )


def _failures(home: Home, sweep_id: str) -> tuple[Failure, ...]:
    from gapless.results.reader import Results  # noqa: PLC0415

    try:
        return tuple(Results(home.blobs, sweep_id, damaged="skip").failures())
    except GaplessError:
        # A shard that went away meanwhile: counted it is, only its errors are not read.
        return ()


def _has_work_already(home: Home, sweep_id: str, prepared: Prepared) -> bool:
    """Tell whether node and aggregator may start while the sweep is being submitted."""
    if not home.store.exists(sweep_id):
        return True
    if prepared.wish.code == "new" and home.store.control(sweep_id).code != prepared.bundle.sha256:
        # A node that starts before the new code is stored would do runs with the old one.
        return False
    return not _Watch(home, sweep_id, Silence()).complete_now()


def _until_complete(pair: Pair, watch: _Watch, stop: StopSignals, *, again: str) -> str:
    """Watch until the sweep is complete ("") or stopped ("") or halted (why)."""
    started_s = time.monotonic()
    while True:
        watch.look()
        if watch.complete or stop.count:
            return ""
        if pair.somebody_ended():
            _revive_unless_done(pair, watch, again=again)
        watch.look_at_state_now_and_then()
        if watch.cancelled:
            return f"sweep {watch.sweep_id} was cancelled; what was stored before stays"
        if watch.paused_itself:
            return watch.what_to_do()
        watch.mend_if_stalled()
        early = time.monotonic() - started_s < _FIRST_LOOKS_S
        stop.wait(watch.pace.first_watch_s if early else watch.pace.watch_s)


def _revive_unless_done(pair: Pair, watch: _Watch, *, again: str) -> None:
    """Start anew what ended, unless it ended because the sweep is complete or cancelled."""
    watch.look()
    watch.look_at_state()
    if watch.complete or watch.cancelled or not watch.home_is_there():
        return
    if pair.node.exit_status == UNFIT:
        # Another start would meet the same; the aggregator may still store what was delivered.
        pair.ask_to_leave()
        pair.wait(LEAVE_S)
        raise SweepUnfit(pair.why_unfit(), again=again)
    pair.revive(watch.watcher)


@dataclass(slots=True)
class _Stall:
    """When something was last stored, and when to reconcile next."""

    since_s: float = field(default_factory=time.monotonic)
    patience_s: float = _STALL_S

    def progress(self) -> None:
        self.since_s = time.monotonic()
        self.patience_s = _STALL_S

    def due(self) -> bool:
        return time.monotonic() - self.since_s >= self.patience_s

    def looked(self, again_in_s: float | None) -> None:
        """Wait for the next look, longer than for this one, unless that tells more before."""
        self.since_s = time.monotonic()
        self.patience_s = min(2 * self.patience_s, _LONGEST_STALL_S)
        if again_in_s is not None:
            self.patience_s = min(self.patience_s, max(again_in_s, _STALL_S))


class _Watch:
    """What is stored of one sweep, and what to do when nothing more is."""

    def __init__(self, home: Home, sweep_id: str, watcher: Watcher) -> None:
        self.sweep_id = sweep_id
        self.watcher = watcher
        self.resent = 0
        self._notices = Notices(watcher.note)
        self._told_of_counts = False
        self._home = home
        self._reader = CoverageReader(home.blobs, sweep_id)
        self._declared = home.store.load(sweep_id).runs.all
        self._coverage = Coverage()
        self._outcomes = dict.fromkeys(Outcome, 0)
        self._stored_before: int | None = None
        self._stall = _Stall()
        self._state = ControlState.RUNNING
        self._next_state_s = 0.0
        self.paused_itself = ""
        self.complete = False

    @property
    def stored(self) -> int:
        return sum(self._outcomes.values())

    @property
    def pace(self) -> Pace:
        """How often to look."""
        return self._home.pace_under_run

    def home_is_there(self) -> bool:
        """Tell whether the home is not away; starting a program without it would help nobody."""
        return self._home.is_there()

    def complete_now(self) -> bool:
        """Look, and tell whether every run has its final result."""
        self.look()
        return self.complete

    def look(self) -> None:
        """Read the new manifests and show how far the sweep is; storage away: look later."""
        try:
            coverage = self._reader.refresh()
            asked = self._home.store.asked(self.sweep_id)
        except StorageUnavailable as error:
            self._notices.trouble("look", error)
            return
        self._notices.well("look")
        before = self.stored
        self._coverage = coverage
        self._outcomes = counts(self._declared, asked, coverage)
        self.complete = not missing(self._declared, asked, coverage)
        if self._stored_before is None:
            self._stored_before = before = self.stored
        if self.stored != before:
            self._stall.progress()
        not_ok = self.stored - self._outcomes[Outcome.OK]
        self.watcher.update(
            Moment(
                stored=self.stored,
                not_ok=not_ok,
                total=len(self._declared),
                paused=self._state is ControlState.PAUSED,
            )
        )

    @property
    def cancelled(self) -> bool:
        return self._state is ControlState.CANCELLED

    def look_at_state_now_and_then(self) -> None:
        if time.monotonic() >= self._next_state_s:
            self.look_at_state()

    def look_at_state(self) -> None:
        """Look at the desired state; say when it changes."""
        self._next_state_s = time.monotonic() + _STATE_EVERY_S
        try:
            state = self._home.store.control(self.sweep_id).state
            self.paused_itself = (
                self._home.store.why_paused(self.sweep_id) if state is ControlState.PAUSED else ""
            )
        except StorageUnavailable as error:
            self._notices.trouble("state", error)
            return
        self._notices.well("state")
        if state is not self._state and state is ControlState.PAUSED and not self.paused_itself:
            self.watcher.note(
                f"{self.sweep_id} is paused: `sweep resume {self.sweep_id}` lets it go on"
            )
        self._state = state

    def what_to_do(self) -> str:
        """Say why the sweep paused itself and how it goes on."""
        sweep = self.sweep_id
        return (
            f"{sweep} paused itself: {self.paused_itself}; mend the code and store it "
            "(`sweep submit FILE --code new`), ask for these runs anew "
            f"(`sweep resubmit {sweep} --outcome failed`), let it go on "
            f"(`sweep resume {sweep}`), then give this command again"
        )

    def mend_if_stalled(self) -> None:
        """Reconcile when nothing was stored for a while; every time later than before."""
        if self._stall.due() and self._state is ControlState.RUNNING:
            self._stall.looked(self.mend())

    def mend(self) -> float | None:
        """Find what a lost queue, shard or ledger held and send it again.

        Gives in how many seconds a look may tell more than this one could, if that is known.
        """
        from gapless.local.accounting import AWAY, reconcile_and_resend  # noqa: PLC0415

        try:
            report = reconcile_and_resend(self._home, self.sweep_id, tell=self.watcher.note)
        except AWAY as error:
            # Whether storage is back, the next look tells; of the others only the next mending.
            step = "look" if isinstance(error, StorageUnavailable) else "mend"
            self._notices.trouble(step, error)
            return None
        if report is None:
            return None
        self._notices.well("mend")
        if report.resubmitted:
            self.resent += report.resubmitted
            sent = f"{report.resubmitted:,} runs were on no queue and not stored: sent again"
            self.watcher.note(sent)
        again_in_s = report.look_again_in_s
        if again_in_s is not None and not self._told_of_counts:
            self._told_of_counts = True
            text = first_look_text(report, again_in_s=again_in_s, looker="this command")
            self.watcher.note(text)
        return again_in_s

    def settle(self) -> None:
        """Close the account of a complete sweep: what the ledger still thinks is pending."""
        self.mend()
        self.look()

    def summary(self, *, elapsed_s: float, restarts: int) -> RunSummary:
        once = sum(len(self._coverage.final(at_epoch=epoch)) for epoch in self._coverage.epochs)
        return RunSummary(
            sweep_id=self.sweep_id,
            total=len(self._declared),
            outcomes={outcome.label: count for outcome, count in self._outcomes.items()},
            stored_here=self.stored - (self._stored_before or 0),
            duplicates=self._reader.rows - once,
            elapsed_s=elapsed_s,
            resent=self.resent,
            restarts=restarts,
            complete=self.complete,
        )
