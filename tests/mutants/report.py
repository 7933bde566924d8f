"""The report of a campaign, and why some mutants are let live: they change nothing, or no harm."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from tests.mutants.modules import LONGEST_TEST_S, MODULES, MOST_OF_ONE_TEST, SEEDS, TESTS
from tests.mutants.session import Known, Verdict

__all__ = ["Facts", "Reason", "Reasons", "reasons_of", "report"]

_SHORT = 7


class Reason(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Why a mutant is let live; `after` is what the changed part becomes."""

    module: str
    function: str
    operator: str
    line: str
    after: str
    reason: str

    def names(self, mutant: Known) -> bool:
        """Tell whether this is the mutant that is meant."""
        there = (mutant.module, mutant.name, mutant.operator, mutant.text, mutant.after)
        return there == (self.module, self.function, self.operator, self.line, self.after)


class Reasons(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`equivalent` mutants have no effect and do not count; a `survivor` has one, and counts."""

    equivalent: tuple[Reason, ...] = ()
    survivor: tuple[Reason, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a report states beside the verdicts."""

    commit_id: str
    tool: str
    python: str
    left_out: int


def reasons_of(path: Path) -> Reasons:
    """Read the lists."""
    return msgspec.toml.decode(path.read_bytes(), type=Reasons)


def report(mutants: Sequence[Known], reasons: Reasons, facts: Facts) -> str:
    """Write it; ValueError says what keeps a report from being true."""
    wrong = list(_untrue(mutants, (*reasons.equivalent, *reasons.survivor), facts))
    if wrong:
        raise ValueError("; ".join(wrong))
    same = _told(mutants, reasons.equivalent)
    harmless = _told(mutants, reasons.survivor)
    return "\n".join(
        (
            *_head(mutants, same, facts),
            *_table(mutants, same),
            *_rest(mutants, same, harmless, facts),
        )
    )


def _told(mutants: Iterable[Known], listed: Iterable[Reason]) -> dict[str, str]:
    listed = tuple(listed)
    return {
        each.id: entry.reason for each in _alive(mutants) for entry in listed if entry.names(each)
    }


def _alive(mutants: Iterable[Known]) -> list[Known]:
    return [each for each in mutants if each.verdict is not None and not each.verdict.killed]


def _untrue(mutants: Sequence[Known], listed: Iterable[Reason], facts: Facts) -> Iterator[str]:
    if not mutants:
        yield "no mutant is known: run first"
    untried = [each for each in mutants if not each.verdict or _is_old_news(each, facts)]
    if untried:
        number = f"{len(untried)} of {len(mutants)}"
        yield f"{number} mutants were not tried at {facts.commit_id}: run on"
    alive = _alive(mutants)
    for entry in listed:
        if not any(entry.names(each) for each in alive):
            what = f"{entry.function}: {entry.line!r} -> {entry.after!r}"
            yield f"{what} is on the list, and no survivor: take it off"


def _is_old_news(mutant: Known, facts: Facts) -> bool:
    """Tell whether it was killed, by what may have changed since; who lived counts as alive."""
    killed = mutant.verdict is not None and mutant.verdict.killed
    return killed and mutant.commit_id != facts.commit_id


def _score(mutants: Sequence[Known], reasons: dict[str, str]) -> str:
    killed = sum(each.verdict.killed for each in mutants if each.verdict)
    same = sum(each.id in reasons for each in mutants)
    return f"{100.0 * killed / max(1, len(mutants) - same):.1f} %"


def _head(mutants: Sequence[Known], reasons: dict[str, str], facts: Facts) -> Iterator[str]:
    count = Counter(each.verdict for each in mutants)
    killed = sum(number for verdict, number in count.items() if verdict and verdict.killed)
    yield "# Mutants"
    yield ""
    yield (
        "A mutant is the program with one small change: a `<` that became `<=`, an argument left"
        " out, a `case` removed. Somebody must notice each. This page is written by `python -m"
        " tests.mutants report`; `make mutants` tries them all, takes hours, goes on where it was"
        " stopped, and is no part of CI."
    )
    yield ""
    yield f"- Commit: `{facts.commit_id}`"
    yield f"- Tool: the operators of {facts.tool}, on Python {facts.python}"
    yield f"- Mutants: {len(mutants)}, of {len(MODULES)} modules"
    yield (
        f"- Killed: {killed} of the {len(mutants) - len(reasons)} that change something:"
        f" **{_score(mutants, reasons)}**"
    )
    for verdict in Verdict:
        yield f"    - {verdict.value}: {count[verdict]}"
    yield f"- Equivalent, with the reason below: {len(reasons)} of those that survived"
    yield ""
    yield (
        f"A mutant is tried on the tests of {', '.join(f'`{each}`' for each in TESTS)} that"
        f" execute the changed lines, the quickest first, and then on {len(SEEDS)} worlds of the"
        " simulator, each until one fails. A mutant that hangs is noticed by whoever waits and"
        " counts as killed. Tests of whole programs, that need a server or take longer than"
        f" {LONGEST_TEST_S:g} s of the processor ({facts.left_out} tests) do not take part, of a"
        f" test with many parameters the {MOST_OF_ONE_TEST} quickest do, nor"
        " does a program that a test starts see the mutant: what only they would notice counts as"
        " survived. Left out as whole categories: the wording of messages (texts of several words,"
        " whatever stands inside an f-string), annotations, `__all__`, defaults of dataclasses that"
        " become None (the type checker refuses those). Each that was killed was killed at this"
        " commit. A survivor with a commit beside it was last tried there; it counts as a survivor"
        " until it is tried again."
    )
    yield ""


def _table(mutants: Sequence[Known], reasons: dict[str, str]) -> Iterator[str]:
    yield "| module | mutants | tests | simulator | timed out | survived | equivalent | killed |"
    yield "|---|--:|--:|--:|--:|--:|--:|--:|"
    for module in MODULES:
        here = [each for each in mutants if each.module == module]
        count = Counter(each.verdict for each in here)
        same = sum(each.id in reasons for each in here)
        survived = count[Verdict.SURVIVED] + count[Verdict.NOT_RUN] - same
        yield (
            f"| {module} | {len(here)} | {count[Verdict.TESTS]} | {count[Verdict.SIMULATOR]} |"
            f" {count[Verdict.TIMED_OUT]} | {survived} | {same} | {_score(here, reasons)} |"
        )
    yield ""


def _rest(
    mutants: Sequence[Known], same: dict[str, str], harmless: dict[str, str], facts: Facts
) -> Iterator[str]:
    alive = _alive(mutants)
    yield "## Survivors"
    yield ""
    yield from _lines((each for each in alive if each.id not in same), facts, harmless)
    yield ""
    yield "## Equivalent"
    yield ""
    yield from _lines((each for each in alive if each.id in same), facts, same)


def _lines(mutants: Iterable[Known], facts: Facts, reasons: dict[str, str]) -> Iterator[str]:
    for each in mutants:
        change = f"{_code(each.before)} → {_code(each.after)}"
        tried = each.commit_id or ""
        at = "" if tried == facts.commit_id else f" (at `{tried[:_SHORT]}`)"
        where = f"{each.module}:{each.first} `{each.name}`"
        reason = reasons.get(each.id, "no reason is known yet: a test is missing")
        yield f"- `{each.id}` {where}, {each.operator}: {change}{at}: {reason}"


def _code(text: str) -> str:
    shown = " ".join(text.split())
    return f"`{shown}`" if "`" not in shown else f"`` {shown} ``"
