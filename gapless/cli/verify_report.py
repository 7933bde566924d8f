"""What verify found, for people and for programs, and what a person does next."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gapless.cli.output import print_line, print_note
from gapless.cli.reconcile_report import document_of as document_of_report
from gapless.cli.reconcile_report import (
    listed_runs,
    print_report,
    print_standing,
    ranges_of,
)
from gapless.cli.wording import counted

if TYPE_CHECKING:
    from gapless.declaration.runset import RunSet
    from gapless.local.verifying import Verified
    from gapless.results.findings import Finding

__all__ = ["document_of", "print_verified"]

_MB = 1e6
_SHOWN = 20


def document_of(verified: Verified) -> dict[str, Any]:
    """Give the report for programs."""
    done, receipts, report = verified.verification, verified.receipts, verified.report
    return {
        "sweep": done.sweep_id,
        "mode": verified.mode.value,
        "total": done.total,
        "shards": done.shards,
        "rows": done.rows,
        "bytes": done.size_bytes,
        "coverage_caches": done.caches,
        "took_s": verified.took_s,
        "coverage": {
            str(epoch): {
                outcome.label: len(runs)
                for (each, outcome), runs in sorted(done.coverage.by.items())
                if each == epoch
            }
            for epoch in sorted(done.coverage.epochs)
        },
        "findings": [
            {
                "name": each.name,
                "found": each.found.value,
                "why": each.why,
                "action": each.action.value,
                "note": each.note,
            }
            for each in done.findings
        ],
        "unverified": len(done.unverified),
        "lost": {str(epoch): len(runs) for epoch, runs in done.lost.items()},
        "lost_ranges": {str(epoch): ranges_of(runs) for epoch, runs in done.lost.items()},
        "lacking": len(verified.lacking),
        "without_receipt": None if receipts is None else len(receipts.without_receipt),
        "unasked": None if receipts is None else len(receipts.unasked),
        "no_ledger": verified.no_ledger,
        "no_queues": verified.no_queues,
        "reconcile": None if report is None else document_of_report(report),
        "exit_status": int(verified.status),
    }


def print_verified(verified: Verified) -> None:
    """Print the report for people."""
    done = verified.verification
    print_line(
        f"{done.sweep_id}: {counted(done.shards, 'shard')} read, {counted(done.rows, 'row')}, "
        f"{done.size_bytes / _MB:,.1f} MB in {verified.took_s:.1f} s{_rate(verified)}"
    )
    for each in done.findings[:_SHOWN]:
        print_line(f"  {_told(each)}")
    if len(done.findings) > _SHOWN:
        print_line(f"  and {counted(len(done.findings) - _SHOWN, 'other finding')} (see --json)")
    for epoch, runs in done.lost.items():
        at = f" (epoch {epoch})" if epoch else ""
        print_line(f"  only there: {counted(len(runs), 'run')}{at}: {listed_runs(runs)}")
    _print_receipts(verified)
    if verified.would_lack:
        print_line("  without what is bad the sweep would stand like this:")
        if verified.report is not None:
            print_standing(verified.report)
        would = counted(len(verified.lacking), "run")
        print_line(f"not complete: {would} would lack a result: {listed_runs(verified.lacking)}")
    elif verified.report is not None:
        print_report(verified.report, forced=False, resubmit=False)
    elif verified.lacking:
        lacking = counted(len(verified.lacking), "run")
        print_line(f"not complete: {lacking} without a result: {listed_runs(verified.lacking)}")
    else:
        print_line("complete: every declared run has its result")
    for line in _what_next(verified):
        print_line(line)


def _rate(verified: Verified) -> str:
    done, took_s = verified.verification, verified.took_s
    if not done.rows or took_s <= 0:
        return ""
    return f" ({done.size_bytes / _MB / took_s:,.0f} MB/s, {done.rows / took_s:,.0f} rows/s)"


def _told(finding: Finding) -> str:
    done = {
        "left": "",
        "set aside": f": set aside (see {finding.note})",
        "manifest made anew": f": manifest made anew from the rows (see {finding.note})",
        "adopted": ": got the manifest that lacked",
        "failed": ": nothing done about it",
    }[finding.action.value]
    what = "coverage cache" if finding.found.value == "wrong cache" else "shard"
    return f"{what} {finding.name} ({finding.found.value}): {finding.why}{done}"


def _print_receipts(verified: Verified) -> None:
    sweep = verified.verification.sweep_id
    if verified.no_ledger:
        print_note(f"  note: compared with the declaration alone: {verified.no_ledger}")
    elif verified.no_queues:
        print_note(f"  note: compared with the receipts, not the queues: {verified.no_queues}")
    receipts = verified.receipts
    if receipts is None:
        return
    if receipts.without_receipt:
        print_note(
            f"  note: {_runs(receipts.without_receipt)} have no receipt: "
            f"`sweep reconcile {sweep} --rebuild` gives the ledger what it lacks"
        )
    if receipts.unasked:
        print_note(
            f"  note: {_runs(receipts.unasked)} have a result that no receipt asked for; it counts "
            "as any other"
        )


def _runs(runs: RunSet) -> str:
    return f"{counted(len(runs), 'run')} ({listed_runs(runs)})"


def _what_next(verified: Verified) -> list[str]:
    done, sweep = verified.verification, verified.verification.sweep_id
    lines: list[str] = []
    # None of those that --force sets aside is left after it.
    kinds = {each.found.value for each in done.unverified if each.action.value == "left"}
    failed = any(each.action.value == "failed" for each in done.unverified)
    if kinds & {"unreadable", "foreign"}:
        lines.append(
            "not verified: these files are as they were written. If this gapless reads the other "
            f"shards, `sweep verify {sweep} --force` sets them aside, and their runs are done again"
        )
    if kinds & {"misnamed"}:
        lines.append(
            "not verified: these files are whole, and count for nothing under other names than "
            "their own. Where the shard itself is missing, rename them as they say, the .h5 first; "
            f"otherwise `sweep verify {sweep} --force` sets them aside"
        )
    if kinds & {"doubtful"}:
        lines.append(
            "not verified: what arrives does not fit the checksum it was stored with. If it is so "
            f"from another machine too, `sweep verify {sweep} --force` sets it aside"
        )
    if kinds & {"newer"}:
        lines.append(
            "not verified: files of a later gapless; update this one. If none was ever used here, "
            "the file is damaged: move it away by hand and verify again"
        )
    if failed or kinds & {"unsteady", "away"}:
        lines.append(
            "not verified: storage does not do its part (a dying disk?): see to it, then "
            f"`sweep verify {sweep}` again"
        )
    if verified.mode.value == "look" and done.findings:
        lost = len(verified.would_lack)
        gaps = f"{counted(lost, 'run')} would be gaps; " if lost else ""
        lines.append(
            f"{gaps}nothing was changed: `sweep verify {sweep}` without --dry-run mends what can be"
        )
    elif done.lost and verified.lacking:
        lines.append(
            "what a bad shard alone had is done again by `sweep run`, or by nodes after "
            f"`sweep reconcile {sweep} --resubmit`"
        )
    return lines
