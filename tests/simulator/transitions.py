"""Measure what the worlds make the programs do: events, commands, changes of status, branches.

The pure decision modules run under branch coverage by worlds alone, no other test. Every event type
must be handled, every command type given, every change of a status seen that its table has and none
that it lacks, and every branch taken, both ways.
"""

from __future__ import annotations

import enum
import json
import linecache
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import coverage
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from tests.simulator.scenario import Cast

__all__ = [
    "CHOSEN",
    "NONE",
    "Gap",
    "Measured",
    "choose",
    "deeds",
    "measure",
    "moves",
    "report",
]

_ROOT = Path(__file__).parents[2]
_MODULES = {
    "compute_node": (
        *("state", "reactions", "job_reactions", "worker_reactions", "job_changes", "deliveries"),
        *("jobs_in_hand", "sweeps_in_hand", "crew", "holdings", "failure_watch", "pacing"),
    ),
    "aggregator": ("state", "reactions", "buffers", "policy"),
    "receipts": ("absence", "looks", "in_flight", "gaps", "reconcile", "resubmit"),
}

CHOSEN: tuple[int, ...] = (
    5400,
    154,
    5470,
    5477,
    2832,
    626,
    2787,
    623,
    5450,
    678,
    2046,
    2808,
    2727,
    622,
    2819,
    690,
    5421,
    148,
    2694,
    2023,
    401,
    706,
    636,
    674,
    5410,
    132,
    2955,
    70,
    8,
    725,
    318,
    361,
    168,
    506,
    2085,
    496,
    776,
    511,
    59,
    52,
    516,
    36,
    87,
    789,
    243,
)
"""A few worlds that together do everything all worlds do; `choose` finds such."""

Move = tuple[str, str]
"""A change of a status: its words before and after; NONE where there is nothing."""

NONE = "-"


def _table(
    transitions: Mapping[Any, frozenset[Any]],
    *,
    first: Iterable[enum.Enum] = (),
    last: Iterable[enum.Enum] = (),
    at_once: Iterable[Move] = (),
) -> frozenset[Move]:
    """Give the moves of a table of the product, and from nothing to `first`, `last` to nothing."""
    moves = {
        (_word(before), _word(after))
        for before, each in transitions.items()
        for after in each
        if after is not before
    }
    moves |= {(NONE, _word(status)) for status in first}
    moves |= {(_word(status), NONE) for status in last}
    return frozenset(moves | set(at_once))


def moves() -> dict[str, frozenset[Move]]:
    """Give the table of each status, as the product has it, with what begins and what ends."""
    from aggregator import events as aggregator_events
    from aggregator import reactions
    from compute_node import crew, events, holdings, jobs_in_hand
    from receipts import ledger

    gone = aggregator_events.SweepState.GONE
    intents = set(jobs_in_hand.Intent)
    return {
        "node": _table(holdings.TRANSITIONS),
        "worker": _table(
            crew.TRANSITIONS, first=[crew.WorkerStatus.STARTING], last=crew.WorkerStatus
        ),
        "job in hand": _table(
            jobs_in_hand.TRANSITIONS,
            first=intents,
            last=intents,
        ),
        "sweep of a node": _table(events.SWEEP_TRANSITIONS, first=events.SweepState),
        "aggregator": _table(reactions.TRANSITIONS, at_once=[("running", "ended")]),
        "sweep of an aggregator": _table(
            aggregator_events.SWEEP_TRANSITIONS,
            first=set(aggregator_events.SweepState) - {gone},
            # Forgotten in the very event that tells that it is gone.
            last=aggregator_events.SweepState,
        ),
        "receipt": _table(ledger.TRANSITIONS, first=ledger.State),
    }


@dataclass(frozen=True, slots=True)
class Gap:
    """Something in a decision module that no world did: a line, or a branch from it to another."""

    file: str
    line: int
    text: str
    to: str = ""

    def __str__(self) -> str:
        """Say where it is."""
        return f"{self.file}:{self.line}: {self.text}" + (f"  ->  {self.to}" if self.to else "")


@dataclass(slots=True)
class Measured:
    """What worlds did. Counters by program and type, and by status, before, event and after."""

    events: Counter[tuple[str, str]] = field(default_factory=Counter)
    commands: Counter[tuple[str, str]] = field(default_factory=Counter)
    moves: Counter[tuple[str, str, str, str]] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    gaps: list[Gap] = field(default_factory=list)
    branches: int = 0
    failed: list[str] = field(default_factory=list)

    def lacking(self) -> list[str]:
        """Name everything no world did, every change of status that no table has, what failed."""
        found = [f"{who} never hears of {name}" for who, name in _events() - self.events.keys()]
        found += [f"{who} never gives {name}" for who, name in _commands() - self.commands.keys()]
        tables = moves()
        seen: dict[str, set[Move]] = {name: set() for name in tables}
        for name, before, _, after in self.moves:
            seen.setdefault(name, set()).add((before, after))
        for name, made in seen.items():
            table = tables.get(name, frozenset())
            found += [f"{name} never goes {a} -> {b}" for a, b in table - made]
            found += [f"{name} goes {a} -> {b}, which its table lacks" for a, b in made - table]
        return [*self.failed, *sorted(found), *map(str, self.gaps)]


def _types(union: Any) -> set[str]:
    return {each.__name__ for each in get_args(union)}


def _events() -> set[tuple[str, str]]:
    import aggregator.events
    import compute_node.events

    return {("node", name) for name in _types(compute_node.events.Event)} | {
        ("aggregator", name) for name in _types(aggregator.events.Event)
    }


def _commands() -> set[tuple[str, str]]:
    import aggregator.commands
    import compute_node.commands

    return {("node", name) for name in _types(compute_node.commands.Command)} | {
        ("aggregator", name) for name in _types(aggregator.commands.Command)
    }


# Statuses -----------------------------------------------------------------------------------------

Statuses = dict[tuple[str, Any], str]
"""What has which status: (name of the status, whose) to its word."""


def _word(status: enum.Enum) -> str:
    return status.name.lower()


def _node_statuses(state: Any) -> Statuses:
    found: Statuses = {("node", None): _word(state.mode)}
    for key, worker in state.crew.workers.items():
        found["worker", key] = _word(worker.status)
    for name, sweep in state.sweeps.items():
        found["sweep of a node", name] = _word(sweep.facts.state)
        for epoch, lane in sweep.lanes.items():
            for key, job in lane.jobs.items():
                found["job in hand", (name, epoch, key)] = _word(job.intent)
    return found


def _aggregator_statuses(state: Any) -> Statuses:
    found: Statuses = {("aggregator", None): _word(state._stage)}
    for name, sweep in state._sweeps.items():
        found["sweep of an aggregator", name] = _word(sweep.state)
    return found


class _Watch:
    """Records what a state machine is told, says and becomes."""

    def __init__(self, who: str, measured: Measured, statuses: Callable[[Any], Statuses]) -> None:
        self.who = who
        self.measured = measured
        self.statuses = statuses

    def over(self, state: Any) -> None:
        """Watch this state machine from now on."""
        handle = state.handle

        def watched(event: Any, now: float) -> list[Any]:
            before = self.statuses(state)
            commands: list[Any] = handle(event, now)
            kind = type(event).__name__
            self.measured.events[self.who, kind] += 1
            for command in commands:
                self.measured.commands[self.who, type(command).__name__] += 1
            self.note(before, kind, self.statuses(state))
            return commands

        state.handle = watched

    def note(self, before: Statuses, cause: str, after: Statuses) -> None:
        """Count the changes between two looks."""
        for key in before.keys() | after.keys():
            old, new = before.get(key, NONE), after.get(key, NONE)
            if old != new:
                self.measured.moves[key[0], old, cause, new] += 1


def _watched_cast(measured: Measured) -> Cast:
    import sqlalchemy as sa

    from receipts.tables import receipts
    from tests.simulator.collectors import SimAggregator
    from tests.simulator.nodes import SimNode
    from tests.simulator.people import Person
    from tests.simulator.scenario import Cast

    node = _Watch("node", measured, _node_statuses)
    collector = _Watch("aggregator", measured, _aggregator_statuses)

    class WatchedNode(SimNode):
        def start(self) -> None:
            super().start()
            node.over(self.state)

    class WatchedAggregator(SimAggregator):
        def start(self) -> None:
            super().start()
            collector.over(self.state)

    class WatchedPerson(Person):
        def _act(self, errand: Any) -> None:
            ledger, before = self.ledger, self._receipts()
            try:
                super()._act(errand)
            finally:
                # A lost ledger is another one, where nothing has changed its state.
                if self.ledger is ledger:
                    cause = errand.name.split()[0]
                    collector.note(before, cause, self._receipts())

        def _receipts(self) -> Statuses:
            with self.ledger._database.snapshot() as connection:  # type: ignore[attr-defined]
                rows = connection.execute(sa.select(receipts.c.id, receipts.c.state)).all()
            return {("receipt", number): str(state) for number, state in rows}

    return Cast(node=WatchedNode, aggregator=WatchedAggregator, person=WatchedPerson)


# Branches -----------------------------------------------------------------------------------------


def _files() -> list[str]:
    return [
        str(_ROOT / package / f"{module}.py")
        for package, modules in _MODULES.items()
        for module in modules
    ]


def _play(seeds: Iterable[int], measured: Measured) -> Iterator[int]:
    from tests.simulator.runner import quieten
    from tests.simulator.scenario import Failed, run_seed

    quieten()
    cast = _watched_cast(measured)
    for seed in seeds:
        try:
            measured.faults += run_seed(seed, cast).thrown
        except Failed as failure:
            measured.failed.append(f"seed {seed}: {failure.reason}")
        yield seed


def measure(seeds: Iterable[int]) -> Measured:
    """Play worlds and measure them.

    What decides must not have been imported yet: what a module does as it is imported counts too.
    """
    measured = Measured()
    watch = _watch_of_branches()
    watch.start()
    for _ in _play(seeds, measured):
        pass
    watch.stop()
    measured.gaps, measured.branches = _gaps(watch)
    return measured


def _watch_of_branches() -> coverage.Coverage:
    return coverage.Coverage(branch=True, data_file=None, config_file=False, include=_files())


def _gaps(watch: coverage.Coverage) -> tuple[list[Gap], int]:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "coverage.json"
        watch.json_report(outfile=str(out))
        found = json.loads(out.read_text())["files"]
    gaps: list[Gap] = []
    branches = 0
    for file in _files():
        name = str(Path(file).relative_to(_ROOT))
        facts = next(each for path, each in found.items() if file.endswith(path))
        branches += facts["summary"]["num_branches"]

        def text(line: int, file: str = file) -> str:
            return linecache.getline(file, line).strip() if line > 0 else "the end"

        gaps += [Gap(name, line, text(line)) for line in facts["missing_lines"]]
        gaps += [Gap(name, line, text(line), text(to)) for line, to in facts["missing_branches"]]
    return gaps, branches


def deeds(seeds: Iterable[int]) -> dict[int, set[object]]:
    """Say what each of these worlds does."""
    done: dict[int, set[object]] = {}
    measured = Measured()
    watch = _watch_of_branches()
    watch.start()
    for seed in _play(seeds, measured):
        watch.stop()
        data = watch.get_data()
        did: set[object] = {
            (file, arc) for file in data.measured_files() for arc in data.arcs(file) or ()
        }
        did |= {("event", *key) for key in measured.events}
        did |= {("command", *key) for key in measured.commands}
        did |= {("move", name, old, new) for name, old, _, new in measured.moves}
        did |= {("fault", kind) for kind in measured.faults}
        for counter in (measured.events, measured.commands, measured.moves, measured.faults):
            counter.clear()
        done[seed] = did
        watch.erase()
        watch.start()
    watch.stop()
    return done


def choose(done: Mapping[int, set[object]]) -> list[int]:
    """Find few of these worlds that do together whatever any of them does, greedily."""
    chosen: list[int] = []
    left = set().union(*done.values())
    while left:
        best = max(done, key=lambda seed: len(done[seed] & left))
        chosen.append(best)
        left -= done[best]
    return chosen


# Reports ------------------------------------------------------------------------------------------


def report(count: int | None, *, first: int = 0) -> int:
    """Show what worlds do (`count` of them from `first` on; None: the chosen ones) and what not.

    Gives an exit status: 0 when nothing lacks.
    """
    seeds = CHOSEN if count is None else range(first, first + count)
    measured = measure(seeds)
    console = Console(width=120)
    for title, counter in (
        ("events handled", measured.events),
        ("commands given", measured.commands),
    ):
        table = Table("program", "type", "times", title=title, title_justify="left")
        for (who, name), times in sorted(counter.items()):
            table.add_row(who, name, f"{times:,}")
        console.print(table)
    shown = Table("status", "before", "because", "after", "times", title="changes of status")
    for (name, old, cause, new), times in sorted(measured.moves.items()):
        shown.add_row(name, old, cause, new, f"{times:,}")
    console.print(shown)
    lacking = measured.lacking()
    missed = sum(bool(gap.to) for gap in measured.gaps)
    share = 100.0 * (measured.branches - missed) / max(measured.branches, 1)
    for line in lacking:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    taken = measured.branches - missed
    console.print(
        f"{len(seeds):,} worlds: {taken:,} of {measured.branches:,} branches ({share:.1f} %), "
        f"{len(lacking)} things lack",
        markup=False,
        highlight=False,
    )
    return 1 if lacking else 0
