import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gapless.results.outcome import Outcome
from gapless.results.precedence import RowKeys, choose

OK, FAILED, TIMEOUT, LOST = Outcome
FIELDS = ("run", "epoch", "outcome", "origin", "started", "duration", "attempt", "content")


def row(run=1, epoch=0, outcome=OK, origin=0, started=1.0, duration=1.0, attempt=1, content=b"a"):
    return (run, epoch, int(outcome), origin, started, duration, attempt, content)


def chosen(rows):
    columns = dict(zip(FIELDS, zip(*rows, strict=True), strict=True))
    keys = RowKeys(
        run=np.array(columns["run"], dtype=np.uint64),
        epoch=np.array(columns["epoch"], dtype=np.uint32),
        outcome=np.array(columns["outcome"], dtype=np.uint8),
        origin=np.array(columns["origin"], dtype=np.int64),
        started_s=np.array(columns["started"], dtype=np.float64),
        duration_s=np.array(columns["duration"], dtype=np.float64),
        attempt=np.array(columns["attempt"], dtype=np.uint16),
    )
    return choose(keys, lambda places: [rows[each][-1] for each in places])


def winner(*rows):
    (found,) = chosen(list(rows)).winners.tolist()
    return rows[found]


def rank(each):
    """The precedence as the design says it, one row at a time."""
    _, epoch, outcome, origin, started, duration, attempt, content = each
    if outcome == OK:
        return (-epoch, False, origin, started, attempt, outcome, duration, content)
    return (-epoch, True, -(started + duration), origin, attempt, outcome, duration, content)


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        (row(epoch=1, outcome=FAILED), row(epoch=0)),
        (row(origin=9), row(outcome=FAILED, origin=0, started=99.0)),
        (row(origin=1, started=5.0), row(origin=2, started=1.0)),
        (row(started=1.0, attempt=2), row(started=2.0, attempt=1)),
        (row(attempt=1), row(attempt=2)),
        (row(content=b"a"), row(content=b"b")),
        (row(outcome=LOST, started=5.0, origin=2), row(outcome=FAILED, started=1.0, origin=1)),
        (row(outcome=LOST, duration=9.0), row(outcome=FAILED, started=5.0, duration=1.0)),
    ],
)
def test_the_better_row_wins_in_either_order(better, worse):
    assert winner(better, worse) == better
    assert winner(worse, better) == better


ROWS = st.lists(
    st.builds(
        row,
        run=st.integers(0, 3),
        epoch=st.integers(0, 1),
        outcome=st.sampled_from(list(Outcome)),
        origin=st.integers(0, 1),
        started=st.sampled_from([1.0, 2.0]),
        duration=st.sampled_from([1.0, 2.0]),
        attempt=st.integers(1, 2),
        content=st.sampled_from([b"a", b"b"]),
    ),
    min_size=1,
    max_size=12,
)


@given(ROWS)
def test_it_is_the_precedence_of_the_design(rows):
    found = chosen(rows)
    runs = sorted({each[0] for each in rows})
    expected = [min((each for each in rows if each[0] == run), key=rank) for run in runs]
    assert [rows[place] for place in found.winners.tolist()] == expected
    assert found.surplus == len(rows) - len({each[:2] for each in rows})
    for run, best in zip(runs, expected, strict=True):
        alike = [each for each in rows if each[:3] == (run, best[1], OK)]
        pairs = [pair for pair in found.rivals.tolist() if rows[pair[0]][0] == run]
        assert len(pairs) == (max(len(alike) - 1, 0) if best[2] == OK else 0)
        assert all(rows[shown] == best for shown, _ in pairs)


@given(ROWS, st.randoms(use_true_random=False))
def test_the_order_of_rows_makes_no_difference(rows, chance):
    shuffled = list(rows)
    chance.shuffle(shuffled)
    one, other = chosen(rows), chosen(shuffled)
    assert [rows[k] for k in one.winners] == [shuffled[k] for k in other.winners]
    assert one.surplus == other.surplus


def test_contents_are_asked_for_ties_only():
    def never(places):
        raise AssertionError(places)

    keys = RowKeys(
        run=np.array([3, 1, 3], dtype=np.uint64),
        epoch=np.zeros(3, dtype=np.uint32),
        outcome=np.zeros(3, dtype=np.uint8),
        origin=np.array([0, 0, 1]),
        started_s=np.zeros(3),
        duration_s=np.zeros(3),
        attempt=np.ones(3, dtype=np.uint16),
    )
    assert choose(keys, never).winners.tolist() == [1, 0]


def test_no_rows_choose_nothing():
    empty = RowKeys(
        run=np.empty(0, dtype=np.uint64),
        epoch=np.empty(0, dtype=np.uint32),
        outcome=np.empty(0, dtype=np.uint8),
        origin=np.empty(0, dtype=np.int64),
        started_s=np.empty(0),
        duration_s=np.empty(0),
        attempt=np.empty(0, dtype=np.uint16),
    )
    choice = choose(empty, lambda places: [])
    assert (len(choice.winners), choice.surplus, choice.rivals.shape) == (0, 0, (0, 2))
