"""Go through a history: at every moment, open every state that a power loss may leave then."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field

from tests.power_loss.crash_states import Depth, Moment, moments
from tests.power_loss.disk import Put, Tree
from tests.power_loss.history import History
from tests.power_loss.opening import Opener
from tests.power_loss.promises import Promises

__all__ = ["Broken", "Report", "explore"]


@dataclass(frozen=True, slots=True)
class Broken:
    """A promise that a state breaks; `at` is its moment, `under_way` what was not flushed then."""

    what: str
    at: int
    under_way: str
    tree: Tree


@dataclass(slots=True)
class Report:
    """What was looked at: moments, states made, and of them the different ones (each opened)."""

    moments: int = 0
    states: int = 0
    different: int = 0
    parts_opened: int = 0
    broken: list[Broken] = field(default_factory=list)
    kept: dict[str, Tree] = field(default_factory=dict)
    """One tree of each different state, by its key."""

    def spread(self, most: int) -> list[Tree]:
        """Choose up to so many of the different states, from the first to the last."""
        trees = list(self.kept.values())
        step = max(1, len(trees) // max(1, most))
        return trees[::step][:most]

    def told(self) -> str:
        """Say it in a line, and each kind of broken promise once."""
        kinds = Counter(each.what for each in self.broken)
        looked_at = f"{self.moments:,} moments, {self.states:,} states"
        opened = (
            f"{self.different:,} different ones, {self.parts_opened:,} files and folders opened"
        )
        lines = [f"{looked_at}, {opened}, {len(self.broken):,} broken promises"]
        for what, count in kinds.items():
            first = next(each for each in self.broken if each.what == what)
            lines.append(f"{what} ({count:,} states; first at {first.at})\n{first.under_way}")
        return "\n".join(lines)


def explore(
    history: History,
    *,
    opener: Opener,
    depth: Depth,
    seed: int = 0,
    until: str | None = None,
) -> Report:
    """Check the promises in every state; `until` one is broken whose text holds that."""
    report = Report()
    home = opener.home
    promises = Promises(home)
    chance = random.Random(seed)
    opener.sweeps = _sweeps_of(history, home)
    for number, moment in enumerate(moments(history)):
        if number % depth.every and _is_within_a_transaction(history, moment):
            continue
        report.moments += 1
        full = moment.full()
        found = opener.open(full)
        ack = None if moment.ack is None else moment.ack.text
        promises.happened(found, full, ack)
        seen: set[str] = set()
        for tree in (full, *moment.states(depth, chance)):
            report.states += 1
            state = opener.open(tree)
            if state.key in seen:
                continue
            seen.add(state.key)
            if state.key not in report.kept:
                report.kept[state.key] = tree
            for what in promises.broken_by(state, tree):
                report.broken.append(Broken(what, moment.at, _told(history, moment), tree))
        if until is not None and any(until in each.what for each in report.broken):
            break
    report.different = len(report.kept)
    report.parts_opened = opener.parts
    return report


def _is_within_a_transaction(history: History, moment: Moment) -> bool:
    if moment.newest is None or not isinstance(moment.newest.effect, Put):
        return False
    return history.paths[moment.newest.effect.file].endswith(("db", "db-wal"))


def _sweeps_of(history: History, home: str) -> tuple[str, ...]:
    """Name every sweep that was ever stored, by its folder."""
    prefix = f"{home}/sweeps/"
    return tuple(
        sorted(
            {
                path.removeprefix(prefix).partition("/")[0]
                for path in history.paths.values()
                if path.startswith(prefix)
            }
        )
    )


def _told(history: History, moment: Moment) -> str:
    lines = [f"    {history.describe(each)}" for each in moment.pending[-12:]]
    return "\n".join(["  not flushed:", *lines, f"  then: {moment.ack or moment.newest!r}"[:300]])
