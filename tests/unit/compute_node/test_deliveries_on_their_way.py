"""What becomes of deliveries that are refused, dropped or hurried, and what each holds."""

from __future__ import annotations

import itertools

import pytest

from aggregator.decoding import MAX_OPENED_BYTES
from compute_node.commands import SendDelivery, StoreClaim
from compute_node.deliveries import Deliveries
from gapless.declaration.messages import Part, encode_delivery
from gapless.declaration.runset import RunSet
from gapless.results.buffers import MAX_RAW_BYTES


def make(*, most_bytes: int = 2000, in_flight: int = 100, linger_s: float = 1.0) -> Deliveries:
    numbers = itertools.count()
    return Deliveries(
        node="node",
        new_id=lambda: f"d{next(numbers)}",
        most_bytes=most_bytes,
        linger_s=linger_s,
        most_in_flight=in_flight,
    )


def add(
    deliveries: Deliveries, block: int, *, size: int = 100, sweep: str = "s", opened: int = 0
) -> None:
    deliveries.add(
        sweep=sweep,
        block=block,
        epoch=block % 3,
        runs=RunSet.span(block, block + 2),
        digest=f"{block:032}",
        size_bytes=size,
        opened_bytes=opened,
        now=0.0,
    )


def send(deliveries: Deliveries, now: float = 0.0) -> list[SendDelivery | StoreClaim]:
    return deliveries.due(now, hurry=lambda _: True)


def wait(deliveries: Deliveries, now: float) -> list[SendDelivery | StoreClaim]:
    return deliveries.due(now, hurry=lambda _: False)


def test_a_delivery_names_the_runs_the_epoch_and_the_digest_of_each_block() -> None:
    deliveries = make()
    add(deliveries, 4)
    add(deliveries, 8)
    (command,) = send(deliveries)
    assert isinstance(command, SendDelivery)
    assert command.blocks == (4, 8)
    assert (command.delivery.sweep, command.delivery.node) == ("s", "node")
    assert command.delivery.parts == (
        Part(runs=RunSet.span(4, 6), epoch=1, digest=f"{4:032}"),
        Part(runs=RunSet.span(8, 10), epoch=2, digest=f"{8:032}"),
    )


def test_results_of_two_sweeps_go_in_two_deliveries_of_two_ids() -> None:
    deliveries = make()
    add(deliveries, 1, sweep="s")
    add(deliveries, 2, sweep="t")
    add(deliveries, 3, sweep="s")
    first, second = send(deliveries)
    assert (first.delivery.sweep, first.blocks) == ("s", (1, 3))
    assert (second.delivery.sweep, second.blocks) == ("t", (2,))
    assert first.delivery.delivery != second.delivery.delivery


def test_a_message_that_is_nearly_full_waits_for_nothing_more() -> None:
    for size, sent in ((1500, 0), (1850, 1)):
        deliveries = make()
        add(deliveries, 1, size=size)
        assert len(wait(deliveries, 0.9)) == sent


def test_blocks_that_fill_a_message_between_them_wait_for_nothing_more() -> None:
    deliveries = make()
    add(deliveries, 1, size=800)
    assert wait(deliveries, 0.0) == []
    add(deliveries, 2, size=800)
    assert [each.blocks for each in wait(deliveries, 0.0)] == [(1, 2)]


def test_what_did_not_fit_goes_on_waiting_from_when_it_was_made() -> None:
    deliveries = make()
    add(deliveries, 1, size=1200)
    add(deliveries, 2, size=1200)
    assert [each.blocks for each in wait(deliveries, 0.5)] == [(1,)]
    assert wait(deliveries, 0.9) == []
    assert not deliveries.empty
    assert [each.blocks for each in wait(deliveries, 1.0)] == [(2,)]


def test_blocks_of_next_to_nothing_that_open_to_very_much_go_in_many_deliveries() -> None:
    largest = MAX_RAW_BYTES
    deliveries = make()
    for block in range(7):
        add(deliveries, block, opened=largest)
    commands = send(deliveries)
    assert [each.blocks for each in commands] == [(0, 1), (2, 3), (4, 5), (6,)]
    assert max(len(each.blocks) for each in commands) * largest <= MAX_OPENED_BYTES / 2


@pytest.mark.parametrize(("more", "deliveries_sent"), [(0, 1), (1, 2)])
def test_what_a_delivery_opens_to_is_bounded_to_the_byte(more: int, deliveries_sent: int) -> None:
    deliveries = make()
    add(deliveries, 1, opened=MAX_OPENED_BYTES // 4)
    add(deliveries, 2, opened=MAX_OPENED_BYTES // 4 + more)
    assert len(send(deliveries)) == deliveries_sent


def test_nothing_is_left_when_all_has_arrived() -> None:
    deliveries = make()
    assert deliveries.empty
    add(deliveries, 1)
    assert not deliveries.empty
    (command,) = send(deliveries)
    assert not deliveries.empty
    assert deliveries.acknowledged(command.delivery.delivery) == ("s", (1,))
    assert deliveries.empty
    assert send(deliveries, 100.0) == []


def test_a_refused_delivery_can_be_acknowledged_later() -> None:
    deliveries = make()
    add(deliveries, 1)
    (command,) = send(deliveries)
    name = command.delivery.delivery
    assert deliveries.refused(name, away=True, now=0.0) == "s"
    assert deliveries.acknowledged(name) == ("s", (1,))
    assert deliveries.empty


def test_who_is_in_a_hurry_sends_refused_ones_again_at_once_and_others_not_twice() -> None:
    deliveries = make()
    add(deliveries, 1, sweep="s")
    add(deliveries, 2, sweep="t")
    first, _ = send(deliveries)
    deliveries.refused(first.delivery.delivery, away=True, now=1000.0)
    assert send(deliveries, 1000.0) == []
    deliveries.hurry()
    assert send(deliveries, 1000.0) == [first]
    deliveries.hurry()
    assert send(deliveries, 1000.0) == []


def test_a_refused_delivery_takes_up_no_room_while_it_waits() -> None:
    deliveries = make(in_flight=1)
    add(deliveries, 1)
    (first,) = send(deliveries)
    add(deliveries, 2)
    assert send(deliveries) == []
    deliveries.refused(first.delivery.delivery, away=True, now=0.0)
    (second,) = send(deliveries, 0.0)
    assert second.blocks == (2,)
    assert send(deliveries, 1000.0) == []
    deliveries.acknowledged(second.delivery.delivery)
    assert send(deliveries, 1000.0) == [first]


def test_a_delivery_sent_again_takes_up_room() -> None:
    deliveries = make(in_flight=1)
    add(deliveries, 1)
    (first,) = send(deliveries)
    deliveries.refused(first.delivery.delivery, away=True, now=0.0)
    add(deliveries, 2)
    assert send(deliveries, 1000.0) == [first]


@pytest.mark.parametrize("refusals", [[False], [True, True, True, False], [True] * 5])
def test_only_a_second_refusal_by_the_queue_itself_makes_a_claim(refusals: list[bool]) -> None:
    deliveries = make()
    add(deliveries, 1)
    (first,) = send(deliveries)
    for away in refusals:
        deliveries.refused(first.delivery.delivery, away=away, now=0.0)
        assert send(deliveries, 1000.0) == [first]
    if not all(refusals):
        deliveries.refused(first.delivery.delivery, away=False, now=0.0)
        assert send(deliveries, 1000.0) == [StoreClaim(first.delivery, first.blocks)]
        deliveries.refused(first.delivery.delivery, away=True, now=0.0)
        assert send(deliveries, 1000.0) == [StoreClaim(first.delivery, first.blocks)]


def test_what_waits_for_a_dropped_sweep_is_forgotten_what_is_on_its_way_is_not() -> None:
    deliveries = make(in_flight=3)
    for block, sweep in ((1, "s"), (2, "t")):
        add(deliveries, block, sweep=sweep)
    refused, other = send(deliveries)
    add(deliveries, 3, sweep="s")
    (underway,) = send(deliveries)
    add(deliveries, 4, sweep="s")
    deliveries.refused(refused.delivery.delivery, away=True, now=0.0)
    deliveries.refused(other.delivery.delivery, away=True, now=0.0)
    assert sorted(deliveries.drop("s")) == [1, 4]
    assert deliveries.drop("s") == ()
    assert send(deliveries, 1000.0) == [other]
    assert deliveries.acknowledged(underway.delivery.delivery) == ("s", (3,))


def encoded(command: SendDelivery | StoreClaim, size: int) -> int:
    assert isinstance(command, SendDelivery)
    return len(encode_delivery(command.delivery, ["x" * size] * len(command.blocks)))


@pytest.mark.parametrize("blocks", [2, 20])
@pytest.mark.parametrize("sweep", ["s", "a-sweep-with-a-name-of-many-letters-00000000"])
def test_a_message_is_counted_to_the_byte_but_for_what_an_id_may_grow(
    blocks: int, sweep: str
) -> None:
    def pack(most_bytes: int) -> list[SendDelivery | StoreClaim]:
        deliveries = make(most_bytes=most_bytes)
        for block in range(blocks):
            add(deliveries, block + 10, size=30, sweep=sweep)
        return send(deliveries)

    (whole,) = pack(100_000)
    length = encoded(whole, 30)
    fits = [len(pack(length + spare)) == 1 for spare in range(-10, 20)]
    assert fits == sorted(fits)
    assert fits.index(True) - 10 == 8 + 1  # a comma behind the last part as well
    (tight,) = pack(length + 9)
    assert isinstance(tight, SendDelivery)


def test_a_message_is_nearly_full_at_nine_tenths() -> None:
    def sent_at_once(size: int) -> list[SendDelivery | StoreClaim]:
        deliveries = make(most_bytes=2000)
        add(deliveries, 1, size=size)
        return wait(deliveries, 0.0)

    least = next(size for size in range(1500, 2000) if sent_at_once(size))
    assert encoded(sent_at_once(least)[0], least) + 9 == 1800


def test_a_block_waits_from_when_it_was_made() -> None:
    deliveries = make()
    for block, made_at in ((1, 100.0), (2, 100.8)):
        deliveries.add(
            sweep="s",
            block=block,
            epoch=0,
            runs=RunSet.of(block),
            digest="d" * 32,
            size_bytes=50,
            opened_bytes=0,
            now=made_at,
        )
    assert wait(deliveries, 100.9) == []
    assert [each.blocks for each in wait(deliveries, 101.0)] == [(1, 2)]


def test_no_more_refused_deliveries_are_sent_again_than_may_be_on_their_way() -> None:
    deliveries = make(in_flight=4)
    for number in range(4):
        add(deliveries, number, sweep=f"s{number}")
    first = send(deliveries)
    for each in first:
        deliveries.refused(each.delivery.delivery, away=True, now=0.0)
    deliveries._most_in_flight = 2
    assert send(deliveries, 1000.0) == first[:2]
    assert send(deliveries, 1000.0) == []
    deliveries.acknowledged(first[0].delivery.delivery)
    assert send(deliveries, 1000.0) == [first[2]]


def test_at_once_is_at_once() -> None:
    deliveries = make()
    add(deliveries, 1)
    (first,) = send(deliveries)
    deliveries.refused(first.delivery.delivery, away=True, now=0.0)
    deliveries.hurry()
    assert send(deliveries, 0.0) == [first]


def test_deliveries_refused_together_are_sent_again_apart_the_first_time_soon() -> None:
    deliveries = make()
    for number in range(6):
        add(deliveries, number, sweep=f"s{number}")
    for each in send(deliveries):
        deliveries.refused(each.delivery.delivery, away=True, now=0.0)
    moments = [sent.again_at for sent in deliveries._sent.values()]
    assert len(set(moments)) == 6
    assert all(each is not None and 0.0 < each <= 0.25 for each in moments)


def test_a_message_is_not_larger_than_allowed_however_long_the_ids_of_deliveries_are() -> None:
    def pack(spare: int) -> list[SendDelivery | StoreClaim]:
        numbers = itertools.count(1)
        deliveries = Deliveries(
            node="node",
            new_id=lambda: f"{'node-of-a-long-name' * 5}-{next(numbers)}",
            most_bytes=2000 + spare,
            linger_s=1.0,
            most_in_flight=100,
        )
        for block in range(1, 21):
            add(deliveries, block)
        return send(deliveries)

    for spare in range(100, 400, 7):
        for sent in pack(spare):
            assert encoded(sent, 100) <= 2000 + spare
