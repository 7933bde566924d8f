"""node, aggregate: the programs that work until they are stopped."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from gapless.cli.leaving import end_in_time, within, working
from gapless.cli.options import (
    GraceOption,
    HomeOption,
    ParentPipeOption,
    StateOption,
    SweepsArgument,
    UntilCompleteOption,
    WorkersOption,
    duration_s,
)
from gapless.cli.parent import leave_with_parent
from gapless.cli.wording import counted

if TYPE_CHECKING:
    from compute_node.agent import NodeSettings
    from gapless.wiring import Home
    from gapless.wiring.pace import Pace
    from queueing.port import Queues

__all__ = ["aggregate", "node", "node_settings"]

_LOG = logging.getLogger("gapless")
_CLOSE_S = 0.5

_IdleExitOption = Annotated[
    float | None,
    typer.Option(
        "--idle-exit",
        parser=duration_s,
        metavar="TIME",
        help="End after so long without work, such as 10min.",
        show_default=False,
    ),
]


def node(  # noqa: PLR0913 - an argument is an option of the command
    sweeps: SweepsArgument = None,
    home: HomeOption = None,
    state: StateOption = None,
    workers: WorkersOption = None,
    *,
    until_complete: UntilCompleteOption = False,
    idle_exit: _IdleExitOption = None,
    grace: GraceOption = 30.0,
    node_id: Annotated[str | None, typer.Option("--node-id", hidden=True)] = None,
    parent_pipe: ParentPipeOption = None,
) -> None:
    """Do the runs of the sweeps in this home, until stopped."""
    leave_with_parent(parent_pipe)
    _log_to_stderr()
    before = threading.enumerate()
    from dataclasses import replace  # noqa: PLC0415

    from compute_node.agent import run_node  # noqa: PLC0415
    from gapless.wiring import core_count, open_home, program_id  # noqa: PLC0415

    opened = open_home(home, state=state, create=False, tell=_LOG.warning)
    pace = opened.pace if parent_pipe is None else opened.pace_under_run
    ids = _sweep_ids(opened, sweeps, parent_pipe)
    name, most = node_id or program_id("node"), workers or core_count()
    _say_start(f"node {name}: {counted(most, 'worker')}", opened, ids)
    queues = opened.queues()
    settings = replace(
        node_settings(opened, queues, pace=pace, node_id=name, sweep_ids=ids),
        workers=most,
        grace_s=grace,
        idle_exit_s=idle_exit,
        until_complete=until_complete,
    )
    try:
        status = working(lambda: run_node(settings))
    finally:
        within(_CLOSE_S, queues.close)
        _say_requests(opened)
    end_in_time(status, before=before)


def node_settings(
    home: Home, queues: Queues, *, pace: Pace, node_id: str, sweep_ids: Sequence[str] | None
) -> NodeSettings:
    """Say what a node of this home works with."""
    from compute_node.agent import NodeSettings  # noqa: PLC0415
    from compute_node.rules import Remainders  # noqa: PLC0415
    from gapless.wiring import clock, new_id  # noqa: PLC0415

    return NodeSettings(
        node_id=node_id,
        blobs=home.blobs,
        queues=queues,
        sweep_ids=sweep_ids,
        work_folder=home.node_work_folder,
        lease_s=home.record.lease_s,
        receive_wait_s=pace.receive_wait_s,
        control_s=pace.control_s,
        completeness_s=pace.completeness_s,
        failures_s=pace.failures_s,
        rest_s=pace.rest_s,
        # Amazon SQS gives a lease by a receive only.
        remainders=Remainders.ANYBODYS if home.is_remote else Remainders.LEASED,
        clock=clock,
        new_id=new_id,
    )


def aggregate(
    sweeps: SweepsArgument = None,
    home: HomeOption = None,
    state: StateOption = None,
    *,
    until_complete: UntilCompleteOption = False,
    idle_exit: _IdleExitOption = None,
    parent_pipe: ParentPipeOption = None,
) -> None:
    """Store the results that nodes deliver, until stopped."""
    leave_with_parent(parent_pipe)
    _log_to_stderr()
    before = threading.enumerate()
    from aggregator.service import AggregatorSettings, run_aggregator  # noqa: PLC0415
    from gapless.wiring import clock, open_home, program_id  # noqa: PLC0415

    opened = open_home(home, state=state, create=False, tell=_LOG.warning)
    pace = opened.pace if parent_pipe is None else opened.pace_under_run
    ids = _sweep_ids(opened, sweeps, parent_pipe)
    name = program_id("aggregator")
    _say_start(f"aggregator {name}", opened, ids)
    queues = opened.queues()
    settings = AggregatorSettings(
        aggregator_id=name,
        blobs=opened.blobs,
        queues=queues,
        sweep_ids=ids,
        lease_s=opened.record.lease_s,
        receive_wait_s=pace.receive_wait_s,
        poll_s=pace.control_s,
        rest_s=pace.rest_s,
        until_complete=until_complete,
        idle_exit_s=idle_exit,
        clock=clock,
        sweep_leftovers=opened.sweep_leftovers,
    )
    try:
        status = working(lambda: run_aggregator(settings))
    finally:
        within(_CLOSE_S, queues.close)
        _say_requests(opened)
    end_in_time(status, before=before)


def _sweep_ids(
    home: Home, named: list[str] | None, parent_pipe: int | None
) -> tuple[str, ...] | None:
    # Under `sweep run` the ids are whole and may be of a sweep that is being submitted just now.
    if parent_pipe is not None:
        return tuple(named) if named else None
    from gapless.local.choice import choose_sweeps  # noqa: PLC0415

    chosen = choose_sweeps(home.store, named)
    return None if chosen is None else tuple(chosen)


def _say_start(who: str, home: Home, ids: tuple[str, ...] | None) -> None:
    what = "every sweep" if ids is None else ", ".join(ids)
    state = "" if home.given_state is None else f" (state: {home.given_state})"
    _LOG.info("%s; %s of the home %s%s", who, what, home.location, state)


def _say_requests(home: Home) -> None:
    said = home.told_requests()
    if said:
        _LOG.info("%s", said)


def _log_to_stderr() -> None:
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s"
    )
    # Where it found credentials and endpoint is told once a client, and there are many.
    logging.getLogger("botocore").setLevel(logging.WARNING)
