"""How a program that works until it is stopped ends: at once, whatever service is away."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable, Collection

import typer

from gapless.errors import GaplessError, UserMistake

__all__ = ["end_in_time", "within", "working"]

_LOG = logging.getLogger("gapless")


class _Ended(GaplessError):
    """A program that had begun its work could not go on."""


def working(work: Callable[[], int]) -> int:
    """Do a program's work; give its exit status.

    What stops it now was well when it began: a service manager that does not start a program again
    whose command line is wrong (exit status 2) shall start this one again.
    """
    try:
        return work()
    except UserMistake as error:
        raise _Ended(str(error)) from error


def within(seconds: float, step: Callable[[], None]) -> None:
    """Do a step of the ending, and leave it alone when it takes longer: a service may be away."""

    def do() -> None:
        try:
            step()
        except GaplessError as error:
            _LOG.debug("while leaving: %s", error)

    thread = threading.Thread(target=do, name="leaving", daemon=True)
    thread.start()
    thread.join(seconds)


def end_in_time(status: int, *, before: Collection[threading.Thread]) -> None:
    """End the program with its exit status, also when a library's thread waits for a service.

    `before`: the threads that were there when the program began.
    """
    waited_for = [
        thread
        for thread in threading.enumerate()
        if thread.is_alive() and not thread.daemon and thread not in before
    ]
    if waited_for:
        _LOG.debug("left behind: %s", ", ".join(thread.name for thread in waited_for))
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        # The interpreter would wait for them. What they do is done again by others, as after a
        # crash: nothing of it counts before its service has answered.
        os._exit(status)
    raise typer.Exit(status)
