"""What a sweep that pauses itself records, and what was accepted when it was resumed."""

from __future__ import annotations

from collections.abc import Callable

from compute_node.failure_watch import FailureWatch, failures_so_far
from gapless.declaration.control import ControlState, SelfPause
from gapless.declaration.runs import extension
from gapless.declaration.runset import RunSet
from gapless.declaration.space import Space
from gapless.results.outcome import Outcome
from tests.unit.compute_node.test_failure_watch import Home, home

__all__ = ["home"]

Make = Callable[[str | int | None], Home]


def test_a_pause_names_when_it_was_and_how_many_failed_at_which_epoch(home: Make) -> None:
    made = home(5)
    made.end(0, 30, Outcome.OK)
    made.ask(RunSet.span(0, 30), 1)
    made.end(0, 7, epoch=1)
    assert made.watch.look(made.sweep)
    assert made.control.at_s == 7.0
    assert made.control.paused_itself == SelfPause(failures=7, epoch=1)


def test_failures_are_counted_at_the_epoch_a_run_was_asked_for_last(home: Make) -> None:
    made = home(5)
    made.end(0, 30)
    assert failures_so_far(made.store, made.place.blobs, made.sweep) == SelfPause(
        failures=30, epoch=0
    )
    made.ask(RunSet.span(0, 20), 3)
    assert failures_so_far(made.store, made.place.blobs, made.sweep) == SelfPause(
        failures=10, epoch=3
    )


def test_a_sweep_without_any_run_stored_has_no_failures(home: Make) -> None:
    made = home(0)
    assert made.watch.look(made.sweep) == ""
    made.end(0, 1)
    assert made.watch.look(made.sweep)


def test_a_paused_sweep_is_not_paused_once_more(home: Make) -> None:
    made = home(5)
    made.end(0, 50)
    made.store.set_control(made.sweep, state=ControlState.PAUSED)
    assert made.watch.look(made.sweep) == ""
    assert made.control.version == 1


def test_who_changes_the_sweep_meanwhile_is_not_overruled(home: Make) -> None:
    made = home(5)
    made.end(0, 50)

    def change_and_tell() -> float:
        made.store.set_control(made.sweep, priority=3)
        return 7.0

    watch = FailureWatch(made.store, made.place.blobs, change_and_tell)
    assert watch.look(made.sweep) == ""
    assert (made.control.state, made.control.version) == (ControlState.RUNNING, 1)


def test_only_failures_of_then_that_were_asked_for_anew_are_accepted_no_more(home: Make) -> None:
    made = home(5)
    made.end(0, 10)
    made.end(10, 40, Outcome.OK)
    assert made.watch.look(made.sweep)
    made.resume()
    # Ten were accepted. Asking for good ones anew takes none of that back; of failed ones does.
    made.ask(RunSet.span(10, 40), 1)
    made.end(40, 45)
    assert made.watch.look(made.sweep) == ""
    made.ask(RunSet.span(0, 4), 2)
    made.end(0, 4, epoch=2)
    assert made.watch.look(made.sweep)


def test_what_was_asked_for_before_the_pause_stays_accepted(home: Make) -> None:
    made = home(5)
    made.end(0, 20)
    made.ask(RunSet.span(0, 20), 1)
    made.end(0, 20, epoch=1)
    assert made.watch.look(made.sweep)
    made.resume()
    assert made.another_watch().look(made.sweep) == ""


def test_more_runs_may_fail_as_soon_as_a_sweep_has_more(home: Make) -> None:
    made = home("5%")
    assert made.watch.look(made.sweep) == ""
    stored = made.store.load(made.sweep)
    more = extension(
        stored.declaration,
        stored.segments,
        Space.grid(x=list(range(200))).freeze(),
        1,
        fetch=made.store.get_object,
    )
    assert more is not None
    made.store.add_segment(made.sweep, more.segment, more.objects)
    made.end(0, 10)
    assert made.watch.look(made.sweep) == ""
    made.end(10, 11)
    assert "11 of 200" in made.watch.look(made.sweep)
