"""status, results: what a home holds."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gapless.cli.options import (
    HomeOption,
    JsonOption,
    StateOption,
    StatusSweepArgument,
    SweepArgument,
)
from gapless.cli.output import print_document, print_line, print_note, print_table

if TYPE_CHECKING:
    from gapless.local.status import NodeHeard, SweepStatus
    from gapless.results.reader import Results

__all__ = ["results", "status"]

_SHOWN = 20
_DIGITS = 6


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

    opened = read_home(home, state=state)
    ids = opened.store.ids() if sweep is None else [choose_sweep(opened.store, sweep)]
    found = [status_of(opened, sweep_id) for sweep_id in ids]
    nodes = nodes_heard(opened, clock())
    if json:
        print_document(
            {
                "home": str(opened.folder),
                "sweeps": [_document(each) for each in found],
                "nodes": [{"node": each.node, "heard_s_ago": each.heard_s_ago} for each in nodes],
            }
        )
        return
    if not found:
        print_line(f"{opened.folder} holds no sweep yet")
        return
    _print_status(found)
    print_line(_nodes_line(nodes))
    for each in found:
        for problem in each.problems:
            print_note(f"{each.sweep_id}: {problem}; `sweep reconcile --resubmit` mends it")


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
    json: JsonOption = False,
) -> None:
    """Show the stored results of a sweep, or write them as CSV."""
    from gapless.local.api import open  # noqa: A004, PLC0415
    from gapless.local.choice import choose_sweep  # noqa: PLC0415
    from gapless.wiring import read_home  # noqa: PLC0415

    sweep_id = choose_sweep(read_home(home).store, sweep)
    found = open(home, sweep_id)
    wanted = None if columns is None else [part.strip() for part in columns.split(",")]
    if csv is not None:
        _write_csv(found, csv, limit=limit, wanted=wanted)
        return
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
                "columns": names,
                "rows": rows,
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
    print_table(names, [[_cell(value) for value in row] for row in rows], right=numbers)
    shown = f" (the first {len(rows):,} shown)" if len(rows) < found.stored_count else ""
    print_note(f"{found}{shown}")


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
        with Path(target).open("w", encoding="utf-8", newline="") as file:
            write_csv(chosen, file)
    except OSError as error:
        raise typer.BadParameter(
            f"{target} cannot be written: {error.strerror}", param_hint="--csv"
        ) from error
    print_note(f"{target}: {len(chosen):,} runs; {found}")


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.{_DIGITS}g}"
    return str(value)


def _print_status(found: list[SweepStatus]) -> None:
    labels = list(found[0].outcomes)
    numbers = ["runs", "stored", *labels, "in flight", "left", "shards", "quarantine"]
    rows = []
    for each in found:
        counted = [each.total, each.stored, *each.outcomes.values(), each.in_flight, each.left]
        counted += [each.shards, each.quarantined]
        shown = ["?" if count is None else f"{count:,}" for count in counted]
        rows.append([each.sweep_id, each.state, *shown])
    print_table(["sweep", "state", *numbers], rows, right=frozenset(numbers))


def _nodes_line(nodes: list[NodeHeard]) -> str:
    if not nodes:
        return "no node was heard in the last minutes"
    named = ", ".join(f"{each.node} ({each.heard_s_ago:.0f} s ago)" for each in nodes)
    return f"nodes heard: {named}"


def _document(each: SweepStatus) -> dict[str, Any]:
    return {
        "sweep": each.sweep_id,
        "state": each.state,
        "total": each.total,
        "stored": each.stored,
        "outcomes": each.outcomes,
        "in_flight": each.in_flight,
        "left": each.left,
        "jobs_queued": each.jobs,
        "deliveries_queued": each.deliveries,
        "shards": each.shards,
        "quarantined": each.quarantined,
        "problems": list(each.problems),
    }
