"""Where the runs are that lack a final result."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gapless.declaration.runset import RunSet
from receipts.gaps import find_gaps
from receipts.ledger import Submitted

NUMBERS = st.sets(st.integers(0, 30)).map(RunSet.from_numbers)
EPOCHS = st.dictionaries(st.integers(0, 2), NUMBERS)


def test_a_run_that_was_sent_and_is_nowhere_is_a_gap() -> None:
    places = find_gaps(
        {0: RunSet.span(0, 10)},
        submitted=Submitted(sent={0: RunSet.span(0, 8)}, pending={0: RunSet.span(8, 9)}),
        in_flight={0: RunSet.span(0, 5)},
    )
    assert places.in_flight == {0: RunSet.span(0, 5)}
    assert places.gaps == {0: RunSet.span(5, 8)}
    assert places.pending == {0: RunSet.span(8, 9)}
    assert places.unsent == {0: RunSet.span(9, 10)}


def test_a_job_of_an_earlier_epoch_does_not_answer_a_later_wish() -> None:
    places = find_gaps(
        {1: RunSet.of(3)},
        submitted=Submitted(sent={0: RunSet.of(3), 1: RunSet.of(3)}, pending={}),
        in_flight={0: RunSet.of(3)},
    )
    assert places.gaps == {1: RunSet.of(3)}


def test_a_receipt_of_an_earlier_epoch_does_not_answer_a_later_wish() -> None:
    places = find_gaps(
        {1: RunSet.of(3)}, submitted=Submitted(sent={0: RunSet.of(3)}, pending={}), in_flight={}
    )
    assert places.unsent == {1: RunSet.of(3)}
    assert places.gaps == {}


def test_a_gap_whose_new_receipt_is_pending_is_pending() -> None:
    places = find_gaps(
        {0: RunSet.of(3)},
        submitted=Submitted(sent={0: RunSet.of(3)}, pending={0: RunSet.of(3)}),
        in_flight={},
    )
    assert places.pending == {0: RunSet.of(3)}
    assert places.gaps == {}


@given(missing=EPOCHS, sent=EPOCHS, pending=EPOCHS, in_flight=EPOCHS)
def test_every_missing_run_is_in_exactly_one_place(
    missing: dict[int, RunSet],
    sent: dict[int, RunSet],
    pending: dict[int, RunSet],
    in_flight: dict[int, RunSet],
) -> None:
    places = find_gaps(
        missing, submitted=Submitted(sent=sent, pending=pending), in_flight=in_flight
    )
    for epoch, runs in missing.items():
        parts = [
            each.get(epoch, RunSet())
            for each in (places.in_flight, places.pending, places.unsent, places.gaps)
        ]
        assert RunSet.union(parts) == runs
        assert sum(len(part) for part in parts) == len(runs)
