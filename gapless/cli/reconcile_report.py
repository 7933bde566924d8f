"""What reconcile found, for people and for programs, and what a person does next."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gapless.cli.output import print_line, print_note
from gapless.cli.wording import counted
from gapless.local.late_counts import first_look_text, rounded

if TYPE_CHECKING:
    from gapless.declaration.runset import RunSet
    from receipts.reconcile import ReconcileReport

__all__ = ["document_of", "listed_runs", "print_report", "print_standing", "ranges_of"]

_IN_FLIGHT = 3
_SHOWN_RANGES = 12


def document_of(report: ReconcileReport) -> dict[str, Any]:
    """Give the report for programs."""
    return {
        "sweep": report.sweep_id,
        "state": report.state.value,
        "complete": report.complete,
        "total": report.total,
        "submitted": report.submitted,
        "stored": report.stored_runs,
        "outcomes": {outcome.label: count for outcome, count in report.stored.items()},
        "in_flight": len(report.in_flight),
        "gaps": len(report.gaps),
        "gap_ranges": ranges_of(report.gaps),
        "unsent": len(report.unsent),
        "pending": len(report.pending),
        "cancelled": len(report.cancelled),
        "waiting": len(report.waiting),
        "exact": report.exact,
        "look_again_in_s": report.look_again_in_s,
        "maybe_delivered": len(report.maybe_delivered),
        "queues_made_anew": report.queues_made_anew,
        "silent_s": dict(report.silent_s),
        "resubmitted": report.resubmitted,
        "jobs_sent": report.jobs_sent,
        "jobs_pending": report.jobs_pending,
        "refusals": list(report.refusals),
        "jobs_queued": report.jobs_queued,
        "deliveries_queued": report.deliveries_queued,
        "damaged_messages": list(report.damaged_messages),
        "newer_messages": report.newer_messages,
        "quarantined": report.quarantined,
        "adopted_shards": list(report.adopted_shards),
        "storage_problems": list(report.storage_problems),
        "exit_status": int(report.exit_status),
    }


def ranges_of(runs: RunSet) -> list[list[int]]:
    """Give ranges for programs, both ends included; the first 1,000."""
    found: list[list[int]] = []
    for start, stop in runs.ranges():
        if len(found) == 1000:
            break
        found.append([start, stop - 1])
    return found


def print_report(report: ReconcileReport, *, forced: bool, resubmit: bool) -> None:
    """Print the report for people; `forced`, `resubmit`: what this look was asked to do."""
    print_standing(report)
    print_line(_verdict(report, forced=forced, resubmit=resubmit))


def print_standing(report: ReconcileReport) -> None:
    """Print where every run is, without a verdict."""
    running = report.state.value == "running"
    standing = "complete" if report.complete and running else report.state.value
    print_line(f"{report.sweep_id} ({standing})")
    rows = [
        ("declared", report.total, ""),
        ("submitted", report.submitted, ""),
        ("stored", report.stored_runs, _by_outcome(report)),
        ("in flight", len(report.in_flight), _queued(report)),
        *_maybe_delivered(report),
        ("gaps", len(report.gaps), listed_runs(report.gaps)),
    ]
    for name, runs, meaning in (
        ("not sent yet", report.unsent, "a submit ended before its end"),
        ("not sent yet", report.pending, "recorded, refused by the queue so far"),
        ("cancelled", report.cancelled, "get no result"),
        ("waiting", report.waiting, "gaps that were sent again before"),
    ):
        if runs:
            rows.append((name, len(runs), meaning))
    if report.resubmitted:
        rows.append(("sent again", report.resubmitted, f"in {counted(report.jobs_sent, 'job')}"))
    for name, count, note in rows:
        print_line(f"  {name:<14}{count:>16,}  {note}".rstrip())
    for problem in (*report.damaged_messages, *report.refusals, *report.storage_problems):
        print_note(f"  note: {problem}")
    if report.adopted_shards:
        print_note(
            f"  note: {counted(len(report.adopted_shards), 'shard')} got the manifest that lacked"
        )
    if report.newer_messages:
        print_note(
            f"  note: {counted(report.newer_messages, 'message')} of a newer gapless: update this"
        )
    if report.quarantined:
        print_note(f"  note: {counted(report.quarantined, 'unreadable message')} in quarantine")


def _by_outcome(report: ReconcileReport) -> str:
    return ", ".join(f"{count:,} {each.label}" for each, count in report.stored.items() if count)


def _queued(report: ReconcileReport) -> str:
    if not report.jobs_queued and not report.deliveries_queued:
        return "" if report.exact or not report.in_flight else "the queues count no message"
    deliveries, about = report.deliveries_queued, "" if report.exact else "about "
    return (
        f"in {about}{counted(report.jobs_queued, 'job')} and {deliveries:,} "
        f"{'delivery' if deliveries == 1 else 'deliveries'}"
    )


def _maybe_delivered(report: ReconcileReport) -> list[tuple[str, int, str]]:
    runs = len(report.maybe_delivered)
    return [("  of these", runs, "in no job any more: delivered, or lost")] if runs else []


def listed_runs(runs: RunSet) -> str:
    """Word a set of runs, shortened."""
    shown: list[str] = []
    for start, stop in runs.ranges():
        if len(shown) == _SHOWN_RANGES:
            shown.append("…")
            break
        shown.append(str(start) if stop == start + 1 else f"{start}-{stop - 1}")
    return ", ".join(shown)


def _verdict(report: ReconcileReport, *, forced: bool, resubmit: bool) -> str:
    if report.complete:
        return "complete: every run has its result"
    if report.cancelled:
        return "cancelled: not complete, and nothing more will come"
    if int(report.exit_status) != _IN_FLIGHT:
        return _verdict_of_gaps(report, resubmit=resubmit)
    if report.state.value == "paused":
        return f"not complete: paused; `sweep resume {report.sweep_id}` lets it go on"
    return _verdict_of_flight(report, forced=forced)


def _verdict_of_flight(report: ReconcileReport, *, forced: bool) -> str:
    if report.look_again_in_s is not None:
        return _verdict_of_a_first_look(report, report.look_again_in_s)
    if forced and not report.exact and report.in_flight and not report.resubmitted:
        return _verdict_of_messages_left(report)
    if report.silent_s and not report.jobs_queued and not report.deliveries_queued:
        return _verdict_of_nodes(report)
    return "not complete: the rest is in flight (nodes and aggregators must run)"


def _verdict_of_gaps(report: ReconcileReport, *, resubmit: bool) -> str:
    sweep = report.sweep_id
    if resubmit and report.jobs_pending:
        return (
            f"not complete: the queue refused {counted(report.jobs_pending, 'job')}, which the "
            "same command sends again"
        )
    if resubmit and report.waiting:
        return (
            f"not complete: {counted(len(report.waiting), 'run')} went out again not long ago, and "
            "wait longer each time for those copies: `sweep reconcile "
            f"{sweep} --resubmit --watch` sends them when it is time, --force now"
        )
    return f"gaps: `sweep reconcile {sweep} --resubmit` sends them again"


def _verdict_of_a_first_look(report: ReconcileReport, again_in_s: float) -> str:
    looker = f"`sweep reconcile {report.sweep_id}`"
    told = first_look_text(report, again_in_s=again_in_s, looker=looker)
    if report.maybe_delivered:
        return (
            f"not complete: {told} (--watch does), and in the end it takes for lost what is still "
            "not stored (with --resubmit --force at once)"
        )
    return f"not complete: {told} (--watch waits for it)"


def _verdict_of_nodes(report: ReconcileReport) -> str:
    from gapless.storage.node_reports import HEARD_S  # noqa: PLC0415

    node, silent_s = max(report.silent_s.items(), key=lambda each: each[1])
    return (
        f"not complete: the rest is in the hands of {counted(len(report.silent_s), 'node')}; "
        f"{node} was last heard {rounded(silent_s)} ago, and when that is {rounded(HEARD_S)} its "
        "runs count as lost (with --resubmit --force at once)"
    )


def _verdict_of_messages_left(report: ReconcileReport) -> str:
    sweep = report.sweep_id
    return (
        "not complete: the queues count messages, and nobody can see whether the missing runs are "
        "in them. If nothing works on the sweep any more, let `sweep aggregate --idle-exit 1min` "
        f"store what was delivered; then `sweep cancel {sweep}` deletes both queues, `sweep resume "
        f"{sweep}` takes the sweep up again, and `sweep reconcile {sweep} --resubmit` sends all "
        "that has no result"
    )
