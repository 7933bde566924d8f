"""pause, resume, cancel: what a person wishes of a sweep, stored in its home.

Nodes and aggregators read it now and then, so a wish is never lost with a queue.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gapless.cli.options import HomeOption, OneSweepArgument, StateOption
from gapless.cli.output import print_line, print_note

if TYPE_CHECKING:
    from pathlib import Path

    from gapless.wiring import Home

__all__ = ["cancel", "pause", "resume"]


def pause(sweep: OneSweepArgument, home: HomeOption = None, state: StateOption = None) -> None:
    """Pause a sweep: nodes finish what they have in hand. Safe to repeat."""
    from gapless.declaration.control import ControlState  # noqa: PLC0415
    from gapless.wiring import clock  # noqa: PLC0415

    opened, sweep_id = _open(sweep, home, state)
    if opened.store.control(sweep_id).state is ControlState.PAUSED:
        print_line(f"{sweep_id} is paused already")
        return
    opened.store.set_control(sweep_id, state=ControlState.PAUSED, at_s=clock())
    print_line(f"{sweep_id} is paused")
    print_note(f"`sweep resume {sweep_id}` lets it go on")


def resume(sweep: OneSweepArgument, home: HomeOption = None, state: StateOption = None) -> None:
    """Let a paused or cancelled sweep go on. Safe to repeat."""
    from compute_node.failure_watch import failures_so_far  # noqa: PLC0415
    from gapless.declaration.control import ControlState  # noqa: PLC0415
    from gapless.wiring import clock  # noqa: PLC0415

    opened, sweep_id = _open(sweep, home, state)
    before = opened.store.control(sweep_id).state
    if before is ControlState.RUNNING:
        print_line(f"{sweep_id} is not paused")
        return
    changes: dict[str, Any] = {}
    if opened.store.why_paused(sweep_id):
        # More failures were stored after it paused itself; what is known now is accepted.
        changes["paused_itself"] = failures_so_far(opened.store, opened.blobs, sweep_id)
    opened.store.set_control(sweep_id, state=ControlState.RUNNING, at_s=clock(), **changes)
    print_line(f"{sweep_id} goes on")
    if before is ControlState.CANCELLED:
        print_note(
            "its queues were dropped when it was cancelled: "
            f"`sweep reconcile {sweep_id} --resubmit` sends what is missing"
        )


def cancel(sweep: OneSweepArgument, home: HomeOption = None, state: StateOption = None) -> None:
    """Cancel a sweep: stored results stay, other runs get none. Safe to repeat."""
    from gapless.declaration.control import ControlState  # noqa: PLC0415
    from gapless.storage import layout  # noqa: PLC0415
    from gapless.wiring import clock  # noqa: PLC0415

    opened, sweep_id = _open(sweep, home, state)
    already = opened.store.control(sweep_id).state is ControlState.CANCELLED
    if not already:
        opened.store.set_control(sweep_id, state=ControlState.CANCELLED, at_s=clock())
    # The wish is durable before the queues go: a crash here leaves messages that no node takes
    # and that the same command drops.
    if opened.has_queues():
        queues = opened.queues()
        try:
            queues.drop(layout.jobs_queue(sweep_id))
            queues.drop(layout.results_queue(sweep_id))
        finally:
            queues.close()
    else:
        print_note(f"no queue is in {opened.state_folder}: is it in a folder that --state named?")
    print_line(f"{sweep_id} is cancelled{' already' if already else ''}")
    print_note(f"`sweep results {sweep_id}` shows what is stored")


def _open(sweep: str, home: str | None, state: Path | None) -> tuple[Home, str]:
    from gapless.local.choice import choose_sweep  # noqa: PLC0415
    from gapless.wiring import open_home  # noqa: PLC0415

    opened = open_home(home, state=state, create=False, tell=print_note).for_people(print_note)
    return opened, choose_sweep(opened.store, sweep)
