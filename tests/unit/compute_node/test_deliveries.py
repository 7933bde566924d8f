from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from compute_node.commands import SendDelivery, StoreClaim
from compute_node.deliveries import Deliveries
from gapless.declaration.messages import encode_delivery
from gapless.declaration.runset import RunSet


def make(*, most_bytes: int = 2000, in_flight: int = 100) -> Deliveries:
    numbers = itertools.count()
    return Deliveries(
        node="node",
        new_id=lambda: f"d{next(numbers)}",
        most_bytes=most_bytes,
        linger_s=1.0,
        most_in_flight=in_flight,
    )


def add(deliveries: Deliveries, block: int, size: int, *, now: float = 0.0) -> None:
    deliveries.add(
        sweep="s",
        block=block,
        epoch=0,
        runs=RunSet.of(block),
        digest="d" * 32,
        size_bytes=size,
        opened_bytes=0,
        now=now,
    )


def calm(_sweep: str) -> bool:
    return False


def hurried(_sweep: str) -> bool:
    return True


@given(st.lists(st.integers(min_value=1, max_value=2500), min_size=1, max_size=40))
def test_no_message_is_larger_than_allowed_and_no_block_is_left(sizes: list[int]) -> None:
    deliveries = make()
    for block, size in enumerate(sizes):
        add(deliveries, block, size)
    seen: list[int] = []
    for command in deliveries.due(0.0, hurry=hurried):
        seen.extend(command.blocks)
        texts = ["x" * sizes[block] for block in command.blocks]
        if isinstance(command, SendDelivery):
            assert len(encode_delivery(command.delivery, texts)) <= 2000
        else:
            assert len(command.blocks) == 1
    assert seen == list(range(len(sizes)))


def test_a_few_results_wait_for_more_but_not_longer_than_they_may() -> None:
    deliveries = make()
    add(deliveries, 1, 100, now=0.0)
    assert deliveries.due(0.9, hurry=calm) == []
    assert len(deliveries.due(1.0, hurry=calm)) == 1


def test_a_full_message_leaves_at_once() -> None:
    deliveries = make()
    for block in range(3):
        add(deliveries, block, 900)
    assert [command.blocks for command in deliveries.due(0.0, hurry=calm)] == [(0,), (1,)]


def test_a_block_too_large_for_a_message_goes_by_a_claim() -> None:
    deliveries = make()
    add(deliveries, 1, 5000)
    (command,) = deliveries.due(0.0, hurry=calm)
    assert isinstance(command, StoreClaim)


def test_a_refused_delivery_is_sent_again_as_it_was_and_later_each_time() -> None:
    deliveries = make()
    add(deliveries, 1, 100)
    (first,) = deliveries.due(0.0, hurry=hurried)
    now = 0.0
    pauses = []
    for _ in range(4):
        deliveries.refused(first.delivery.delivery, away=True, now=now)
        begun = now
        while not (again := deliveries.due(now, hurry=hurried)):
            now += 0.05
        assert again == [first]
        pauses.append(now - begun)
    assert pauses == sorted(pauses)
    assert pauses[-1] > 4 * pauses[0]


def test_a_delivery_that_the_queue_keeps_refusing_goes_by_a_claim() -> None:
    deliveries = make()
    add(deliveries, 1, 100)
    (first,) = deliveries.due(0.0, hurry=hurried)
    for _ in range(2):
        deliveries.refused(first.delivery.delivery, away=False, now=0.0)
        (again,) = deliveries.due(1000.0, hurry=hurried)
    assert isinstance(again, StoreClaim)
    assert again.delivery == first.delivery


def test_what_is_on_its_way_is_bounded() -> None:
    deliveries = make(in_flight=2)
    for block in range(5):
        add(deliveries, block, 1900)
    sent = deliveries.due(0.0, hurry=hurried)
    assert len(sent) == 2
    deliveries.acknowledged(sent[0].delivery.delivery)
    assert len(deliveries.due(0.0, hurry=hurried)) == 1
