"""status, results: what a home holds."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from gapless.cli.cells import cell
from gapless.cli.options import (
    HomeOption,
    JsonOption,
    StateOption,
    StatusSweepArgument,
    SweepArgument,
)
from gapless.cli.output import print_document, print_line, print_note, print_table
from gapless.cli.wording import counted, failures_document, print_failures

if TYPE_CHECKING:
    from gapless.local.status import NodeHeard, SweepStatus
    from gapless.results.reader import Results

__all__ = ["results", "status"]

_SHOWN = 20
_NAMED = 3


def status(
    sweep: StatusSweepArgument = None,
    home: HomeOption = None,
    state: StateOption = None,
    *,
    json: JsonOption = False,
) -> None:
    """Say how the sweeps of this home stand."""
    from gapless.local.choice import choose_sweep  # noqa: PLC0415
    from gapless.local.status import nodes_heard, status_of  # noqa: PLC0415
    from gapless.wiring import clock, read_home  # noqa: PLC0415

    opened = read_home(home, state=state, tell=print_note).for_readers(print_note)
    ids = opened.store.ids() if sweep is None else [choose_sweep(opened.store, sweep)]
    found = status_of(opened, ids, tell=print_note)
    nodes = nodes_heard(opened, ids, clock())
    if json:
        print_document(
            {
                "home": opened.location,
                "sweeps": [_document(each) for each in found],
                "nodes": [
                    {
                        "node": each.node,
                        "heard_s_ago": each.heard_s_ago,
                        "left": each.left,
                        "runs_in_hand": each.runs_in_hand,
                    }
                    for each in nodes
                ],
            }
        )
        return
    if not found:
        print_line(f"{opened.location} holds no sweep yet")
        return
    _print_status(found)
    for line in _nodes_lines(nodes, lease_s=opened.record.lease_s if opened.is_remote else None):
        print_line(line)
    for each in found:
        if each.nothing_queued:
            print_note(
                f"{each.sweep_id}: {counted(each.left, 'run')} left and nothing on its queues; "
                f"`sweep reconcile {each.sweep_id}` tells whether they are lost"
            )
        for problem in each.problems:
            print_note(f"{each.sweep_id}: {problem}; `sweep verify {each.sweep_id}` sees to it")


def results(
    sweep: SweepArgument = None,
    home: HomeOption = None,
    csv: Annotated[
        str | None,
        typer.Option(
            "--csv",
            metavar="FILE",
            help="Write all runs as CSV; - is standard output.",
            show_default=False,
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit",
            min=0,
            metavar="N",
            help="Show so many runs.  [default: 20]",
            show_default=False,
        ),
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(
            "--columns", metavar="a,b", help="Show only these columns.", show_default=False
        ),
    ] = None,
    *,
    skip_damaged: Annotated[
        bool, typer.Option("--skip-damaged", help="Leave out shards that are damaged.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Show the stored results of a sweep, or write them as CSV."""
    from gapless.local.choice import choose_sweep  # noqa: PLC0415
    from gapless.results.errors import ResultsError, ShardDamaged  # noqa: PLC0415
    from gapless.results.reader import Results  # noqa: PLC0415
    from gapless.wiring import read_home  # noqa: PLC0415

    if csv is not None and json:
        raise typer.BadParameter("give either --csv or --json", param_hint="--csv, --json")
    opened = read_home(home, tell=print_note).for_readers(print_note)
    damaged: Literal["skip", "raise"] = "skip" if skip_damaged else "raise"
    found = Results(opened.blobs, choose_sweep(opened.store, sweep), damaged=damaged)
    wanted = None if columns is None else [part.strip() for part in columns.split(",")]
    try:
        if csv is not None:
            _write_csv(found, csv, limit=limit, wanted=wanted)
        else:
            _show(found, limit=limit, wanted=wanted, json=json)
    except ShardDamaged as error:
        without = f"`sweep results {found.sweep_id} --skip-damaged` shows what the others hold"
        raise ResultsError(f"{error}; {without}") from error
    if found.skipped and not json:
        print_note(
            f"left out: {counted(len(found.skipped), 'damaged shard')} "
            f"({', '.join(found.skipped[:_NAMED])}{', …' if found.skipped[_NAMED:] else ''}); "
            f"`sweep verify {found.sweep_id}` sees to it"
        )


def _show(found: Results, *, limit: int | None, wanted: list[str] | None, json: bool) -> None:
    table = found.table(limit=_SHOWN if limit is None else limit)
    places = _places(table.columns, wanted)
    names = [table.columns[place] for place in places]
    rows = [[row[place] for place in places] for row in table]
    if json:
        print_document(
            {
                "sweep": found.sweep_id,
                "stored": found.stored_count,
                "total": found.total,
                "skipped": list(found.skipped),
                "columns": names,
                "rows": rows,
                "errors": failures_document(found.failures()),
            }
        )
        return
    if wanted is None:
        names, rows = _without_details(names, rows)
    numbers = frozenset(
        name
        for place, name in enumerate(names)
        if all(isinstance(row[place], int | float | None) for row in rows)
    )
    print_table(names, [[cell(value) for value in row] for row in rows], right=numbers)
    shown = f" (the first {len(rows):,} shown)" if len(rows) < len(found) else ""
    print_note(f"{found}{shown}")
    if found.has_failures:
        print_failures(found.failures(), on=print_note)


_DETAILS = {"replicate", "seed", "complete", "attempt", "started", "node", "epoch"}


def _without_details(names: list[str], rows: list[list[Any]]) -> tuple[list[str], list[list[Any]]]:
    """Leave out, of a table for the eye, what --columns, --csv and --json give."""
    kept = [place for place, name in enumerate(names) if name not in _DETAILS]
    return [names[place] for place in kept], [[row[place] for place in kept] for row in rows]


def _places(columns: tuple[str, ...], wanted: list[str] | None) -> list[int]:
    if wanted is None:
        return list(range(len(columns)))
    unknown = [name for name in wanted if name not in columns]
    if unknown:
        raise typer.BadParameter(
            f"no column {unknown[0]!r}; there are {', '.join(columns)}", param_hint="--columns"
        )
    return [columns.index(name) for name in wanted]


def _write_csv(found: Results, target: str, *, limit: int | None, wanted: list[str] | None) -> None:
    from gapless.results.csv_file import save_csv  # noqa: PLC0415
    from gapless.results.row_table import RowTable, write_csv  # noqa: PLC0415

    table = found.table(limit=limit)
    places = _places(table.columns, wanted)
    chosen = RowTable(
        columns=tuple(table.columns[place] for place in places),
        data=tuple(table.data[place] for place in places),
    )
    if target == "-":
        write_csv(chosen, sys.stdout)
        return
    try:
        save_csv(chosen, Path(target))
    except OSError as error:
        raise typer.BadParameter(
            f"{target} cannot be written: {error.strerror}", param_hint="--csv"
        ) from error
    print_note(f"{target}: {counted(len(chosen), 'run')}; {found}")


_QUEUED = ("jobs", "deliveries")
_SELDOM = {"ok", "failed", "timeout", "lost", "in flight", *_QUEUED, "shards", "bad"}
"""Columns of `sweep status` that are left out where they are zero everywhere."""


def _print_status(found: list[SweepStatus]) -> None:
    columns: dict[str, list[int | None]] = {
        "runs": [each.total for each in found],
        "stored": [each.stored for each in found],
        **{label: [each.outcomes[label] for each in found] for label in found[0].outcomes},
        **_on_queues(found),
        "left": [each.left for each in found],
        "shards": [each.shards for each in found],
        "bad": [each.quarantined for each in found],
    }
    about = "~" if found[0].approximate else ""
    shown = {
        name: ["?" if n is None else f"{about if name in _QUEUED else ''}{n:,}" for n in counts]
        for name, counts in columns.items()
        if name not in _SELDOM or any(count != 0 for count in counts)
    }
    rows = [
        [each.sweep_id, _standing(each), *(counts[place] for counts in shown.values())]
        for place, each in enumerate(found)
    ]
    print_table(["sweep", "state", *shown], rows, right=frozenset(shown))
    for each in found:
        if each.paused_itself:
            print_line(f"{each.sweep_id} paused itself: {each.paused_itself}")
    if any(about and name in _QUEUED for name in shown):
        print_line("jobs, deliveries: messages as the queues count them, roughly")
    if any(each.quarantined for each in found):
        print_line("bad: unreadable messages, kept in quarantine")


def _on_queues(found: list[SweepStatus]) -> dict[str, list[int | None]]:
    """Say what is on the queues: of remote ones only how many messages, and that roughly."""
    if not found[0].approximate:
        return {"in flight": [each.in_flight for each in found]}
    return {
        "jobs": [each.jobs for each in found],
        "deliveries": [each.deliveries for each in found],
    }


def _standing(each: SweepStatus) -> str:
    return "complete" if each.complete and each.state == "running" else each.state


def _nodes_lines(nodes: list[NodeHeard], *, lease_s: float | None) -> list[str]:
    """Say of each node when it was heard; `lease_s`: how long a dead one's runs stay hidden."""
    if not nodes:
        return ["no node was heard in the last minutes"]
    named = ", ".join(
        f"{each.node} ({'left ' if each.left else ''}{each.heard_s_ago:.0f} s ago)"
        for each in nodes
    )
    lines = [f"nodes heard: {named}"]
    for each in nodes:
        if lease_s is not None and each.silent and each.runs_in_hand:
            held = counted(each.runs_in_hand, "run")
            lines.append(
                f"{each.node} is silent with {held} in hand: if it is gone, others get them "
                f"{lease_s / 60:.0f} min after its last sign of life"
            )
    return lines


def _document(each: SweepStatus) -> dict[str, Any]:
    return {
        "sweep": each.sweep_id,
        "state": each.state,
        "paused_itself": each.paused_itself,
        "complete": each.complete,
        "total": each.total,
        "stored": each.stored,
        "outcomes": each.outcomes,
        "in_flight": each.in_flight,
        "left": each.left,
        "jobs_queued": each.jobs,
        "deliveries_queued": each.deliveries,
        "queues_approximate": each.approximate,
        "shards": each.shards,
        "quarantined": each.quarantined,
        "problems": list(each.problems),
    }
