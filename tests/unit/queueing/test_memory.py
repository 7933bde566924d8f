"""What MemoryQueues does beyond the contract."""

from __future__ import annotations

import threading

from queueing.memory import MemoryQueues
from queueing.port import Entry, Message
from tests.contract.queue_harness import VirtualClock


def test_a_receive_without_a_virtual_wait_wakes_for_a_send_by_another_thread() -> None:
    queues = MemoryQueues()
    queues.create("jobs")
    received: list[Message] = []

    def receive() -> None:
        received.extend(queues.receive(["jobs"], most=1, wait_s=120.0, lease_s=60.0))

    thread = threading.Thread(target=receive)
    thread.start()
    queues.send("jobs", [Entry("a")])
    thread.join(60.0)
    assert not thread.is_alive()
    assert [message.body for message in received] == ["a"]


def test_the_same_calls_give_the_same_tokens() -> None:
    def play() -> list[str]:
        queues = MemoryQueues(VirtualClock())
        queues.send("jobs", [Entry("a"), Entry("b")])
        messages = queues.receive(["jobs"], most=2, wait_s=0.0, lease_s=60.0)
        return [message.lease.token for message in messages]

    assert play() == play()


def test_a_wait_that_lets_others_send_is_answered_with_what_they_sent() -> None:
    clock = VirtualClock()

    def wait(seconds: float) -> None:
        clock.advance(min(seconds, 1.0))
        queues.send("jobs", [Entry("sent meanwhile")])

    queues = MemoryQueues(clock, wait)
    messages = queues.receive(["jobs"], most=1, wait_s=60.0, lease_s=60.0)
    assert [message.body for message in messages] == ["sent meanwhile"]
    assert clock.now == VirtualClock().now + 1.0
