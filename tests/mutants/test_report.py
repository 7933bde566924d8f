"""What a report says, and when there is none."""

import dataclasses
from pathlib import Path

import pytest

from tests.mutants.modules import MODULES, TESTS
from tests.mutants.mutant import Mutant, Place
from tests.mutants.report import Facts, Reason, Reasons, reasons_of, report
from tests.mutants.session import Session, Verdict

ROOT = Path(__file__).parents[2]
MODULE = MODULES[0]
FACTS = Facts(commit_id="abc", tool="mutmut 3", python="3.11", left_out=2)
SAME = Reason(
    module=MODULE,
    function="react",
    operator="swap_op",
    line="if a < b:",
    after="a <= 4",
    reason="both are never equal",
)


def mutant(number):
    return Mutant(
        id=f"m{number}",
        module=MODULE,
        name="react",
        place=Place.BODY,
        operator="swap_op",
        text="if a < b:",
        before="a < b",
        after=f"a <= {number}",
        first=7,
        last=7,
        number=number,
    )


@pytest.fixture
def session(tmp_path):
    session = Session(tmp_path / "session.db")
    session.know(MODULE, [mutant(number) for number in range(5)])
    for number, verdict in enumerate(Verdict):
        session.record(f"m{number}", verdict, commit_id="abc", killer="somebody", seconds=0.1)
    return session


def test_a_report_counts_and_lists_the_survivors(session):
    session.record("m4", Verdict.SURVIVED, commit_id="abc", killer="", seconds=0.1)
    text = report(session.all(), Reasons(equivalent=(SAME,)), FACTS)
    assert "Killed: 3 of the 4 that change something: **75.0 %**" in text
    assert f"| {MODULE} | 5 | 1 | 1 | 1 | 1 | 1 | 75.0 % |" in text
    survivors, _, same = text.partition("## Equivalent")
    assert "- `m3` " in survivors
    assert "- `m4` " not in survivors
    assert "- `m4` " in same
    assert "both are never equal" in same


def test_a_survivor_that_does_no_harm_counts_as_one_and_is_listed_with_the_reason(session):
    session.record("m4", Verdict.SURVIVED, commit_id="abc", killer="", seconds=0.1)
    text = report(session.all(), Reasons(survivor=(SAME,)), FACTS)
    assert "Killed: 3 of the 5 that change something: **60.0 %**" in text
    survivors = text.partition("## Survivors")[2].partition("## Equivalent")[0].splitlines()
    (known,) = [each for each in survivors if each.startswith("- `m4`")]
    assert known.endswith(": both are never equal")
    (unknown,) = [each for each in survivors if each.startswith("- `m3`")]
    assert unknown.endswith("a test is missing")


def test_what_could_not_be_put_in_counts_as_alive(session):
    text = report(session.all(), Reasons(), FACTS)
    assert "Killed: 3 of the 5" in text
    assert "could not be put in: 1" in text


def test_there_is_no_report_of_mutants_killed_at_another_commit(session):
    with pytest.raises(ValueError, match="3 of 5 mutants were not tried at def"):
        report(session.all(), Reasons(), dataclasses.replace(FACTS, commit_id="def"))


def test_who_survived_at_an_earlier_commit_counts_as_a_survivor_and_says_where(session):
    session.record("m3", Verdict.SURVIVED, commit_id="0123456789", killer="", seconds=0.1)
    text = report(session.all(), Reasons(), FACTS)
    assert "Killed: 3 of the 5" in text
    (line,) = [each for each in text.splitlines() if each.startswith("- `m3`")]
    assert "(at `0123456`)" in line
    (line,) = [each for each in text.splitlines() if each.startswith("- `m4`")]
    assert "(at" not in line


def test_there_is_no_report_while_a_mutant_is_untried(session):
    session.know(MODULE, [mutant(number) for number in range(6)])
    with pytest.raises(ValueError, match="1 of 6"):
        report(session.all(), Reasons(), FACTS)


def test_an_equivalent_that_was_killed_is_an_error(session):
    gone = SAME.__class__(
        module=MODULE,
        function="react",
        operator="swap_op",
        line="if a < b:",
        after="a <= 0",
        reason="it was thought",
    )
    with pytest.raises(ValueError, match="no survivor: take it off"):
        report(session.all(), Reasons(equivalent=(gone,)), FACTS)


def test_what_was_found_stays_when_a_module_is_read_again_and_lines_moved(session):
    moved = [dataclasses.replace(mutant(number), first=9, last=9) for number in range(4)]
    session.know(MODULE, moved)
    known = session.all()
    assert [each.id for each in known] == ["m0", "m1", "m2", "m3"]
    assert {each.first for each in known} == {9}
    assert [each.verdict for each in known] == list(Verdict)[:4]


def test_modules_that_left_the_list_are_forgotten(session):
    session.forget_other_modules([MODULE])
    assert len(session.all()) == 5
    session.forget_other_modules(["receipts/gaps.py"])
    assert session.all() == []


@pytest.mark.parametrize("path", [*MODULES, *TESTS])
def test_what_is_mutated_and_what_tries_it_is_there(path):
    assert (ROOT / path).exists()


def test_whatever_is_on_the_lists_gives_a_reason_and_a_module_that_is_mutated():
    reasons = reasons_of(ROOT / "tests/mutants/reasons.toml")
    for each in (*reasons.equivalent, *reasons.survivor):
        assert each.module in MODULES
        assert each.line in (ROOT / each.module).read_text(encoding="utf-8")
        assert len(each.reason.split()) > 3
