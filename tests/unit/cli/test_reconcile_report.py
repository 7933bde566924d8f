"""What reconcile's last line tells a person to do: see gapless/cli/reconcile_report.py."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gapless.cli.reconcile_report import document_of, print_report
from gapless.declaration.control import ControlState
from gapless.declaration.runset import RunSet
from gapless.local.accounting import look_until
from gapless.results.outcome import Outcome
from receipts.reconcile import ReconcileReport

SOME = RunSet.span(0, 6)
FLYING = ReconcileReport(
    sweep_id="tiny-01234567",
    state=ControlState.RUNNING,
    total=6,
    submitted=6,
    stored=dict.fromkeys(Outcome, 0),
    in_flight=SOME,
    gaps=RunSet(),
    unsent=RunSet(),
    pending=RunSet(),
    cancelled=RunSet(),
    exact=False,
    look_again_in_s=None,
    maybe_delivered=RunSet(),
    queues_made_anew=False,
    silent_s={},
    waiting=RunSet(),
    resubmitted=0,
    jobs_sent=0,
    jobs_pending=0,
    refusals=(),
    jobs_queued=1,
    deliveries_queued=0,
    damaged_messages=(),
    newer_messages=0,
    quarantined=0,
    adopted_shards=(),
    storage_problems=(),
)


def last_line(
    report: ReconcileReport,
    capsys: pytest.CaptureFixture[str],
    *,
    forced: bool = False,
    resubmit: bool = True,
) -> str:
    print_report(report, forced=forced, resubmit=resubmit)
    return capsys.readouterr().out.splitlines()[-1]


def test_only_the_first_look_of_a_watch_is_forced() -> None:
    forced: list[bool] = []

    def look(force: bool) -> ReconcileReport:
        forced.append(force)
        return FLYING

    look_until(look, goes_on=lambda _: len(forced) < 3, force=True)
    assert forced == [True, False, False]


def test_a_paused_sweep_is_not_said_to_lack_nodes(capsys: pytest.CaptureFixture[str]) -> None:
    paused = replace(FLYING, state=ControlState.PAUSED)
    assert "`sweep resume tiny-01234567`" in last_line(paused, capsys)
    assert "nodes and aggregators must run" in last_line(FLYING, capsys)


def test_gaps_that_wait_for_earlier_copies_are_not_said_to_be_sent_by_the_same_command(
    capsys: pytest.CaptureFixture[str],
) -> None:
    waiting = replace(FLYING, in_flight=RunSet(), gaps=SOME, waiting=SOME)
    line = last_line(waiting, capsys)
    assert "6 runs went out again not long ago" in line
    assert "--resubmit --watch` sends them when it is time, --force now" in line
    assert "sends them again" in last_line(waiting, capsys, resubmit=False)


def test_refused_jobs_are_not_called_gaps(capsys: pytest.CaptureFixture[str]) -> None:
    refused = replace(FLYING, in_flight=RunSet(), pending=SOME, jobs_pending=2)
    assert "the queue refused 2 jobs" in last_line(refused, capsys)


def test_what_was_forced_and_went_out_needs_no_advice(capsys: pytest.CaptureFixture[str]) -> None:
    assert "`sweep cancel tiny-01234567`" in last_line(FLYING, capsys, forced=True)
    sent = replace(FLYING, in_flight=RunSet(), gaps=SOME, resubmitted=6, jobs_sent=1)
    assert "cancel" not in last_line(sent, capsys, forced=True)
    exact = replace(FLYING, exact=True)
    assert "cancel" not in last_line(exact, capsys, forced=True)


def test_programs_are_told_what_people_are() -> None:
    told = document_of(replace(FLYING, maybe_delivered=RunSet.of(1, 2), queues_made_anew=True))
    assert (told["maybe_delivered"], told["queues_made_anew"], told["in_flight"]) == (2, True, 6)


def test_the_node_that_is_waited_for_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    held = replace(FLYING, jobs_queued=0, silent_s={"n1": 61.0, "n2": 5.0})
    line = last_line(held, capsys)
    assert "2 nodes; n1 was last heard" in line
    assert "--force" in line
    assert "n1" not in last_line(replace(held, jobs_queued=1), capsys)
    assert document_of(held)["silent_s"] == {"n1": 61.0, "n2": 5.0}
