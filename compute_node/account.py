"""What a node did since it started, for its last line."""

from __future__ import annotations

from compute_node.commands import UNFIT, Command, Exit, ReplaceJob
from compute_node.events import BlockMade, DrainAsked, Event, StopAsked, SweepsCompleted
from gapless.declaration.messages import decode_job

__all__ = ["Account"]


class Account:
    """Counts runs done and runs given back, and keeps why the node leaves."""

    def __init__(self) -> None:
        self._done = 0
        self._given_back: dict[int, int] = {}
        self._complete = False
        self._leaving = False
        self._why = "there was no more work"

    def note(self, what: Event | Command) -> None:
        """Take what happened, or what is to be done."""
        match what:
            case BlockMade(runs=runs):
                self._done += len(runs)
            case SweepsCompleted():
                self._complete = True
            case DrainAsked():
                self._leaving = True
                self._why = "every run has its result" if self._complete else "it was asked to"
            case StopAsked():
                self._leaving = True
                self._why = "it was asked to leave at once"
            case ReplaceJob(job=job, replacements=replacements) if self._leaving:
                # By job: a replace that was refused is tried again.
                runs_left = (len(decode_job(each.body).runs) for each in replacements)
                self._given_back[job] = sum(runs_left)
            case _:
                pass

    def text(self, ending: Exit) -> str:
        """Say it in one line."""
        why = self._why
        if ending.status == UNFIT:
            why = "it can do the runs of none of its sweeps"
        elif ending.status:
            why = "an error"
        given_back = sum(self._given_back.values())
        return f"leaving ({why}): {self._done:,} runs done, {given_back:,} given back"
