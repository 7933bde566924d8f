"""Every backend against a plain model of the queues, by random calls."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from queueing.port import MAX_LEASE_S, AnswerStatus, Entry, Extension, Lease, Replacement
from tests.contract.queue_harness import BACKENDS

QUEUES = ("jobs", "results")
SECONDS = st.sampled_from([0.0, 1.0, 7.0, 60.0, 600.0])
LEASES = st.sampled_from([5.0, 60.0, MAX_LEASE_S])


@dataclass
class Known:
    seq: int
    queue: str
    body: str
    priority: int
    visible_at: float
    token: str | None = None
    receive_count: int = 0
    leased_at: float = 0.0


class QueueModel(RuleBasedStateMachine):
    """The model is a list; whatever it does slowly, the backend must do just the same."""

    kind = ""

    @initialize()
    def start(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.backend = BACKENDS[self.kind](self.folder)
        self.queues = self.backend.make()
        self.known: list[Known] = []
        self.leases: list[Lease] = [Lease("jobs", "99.unknown")]
        self.numbers = iter(range(1, 10**9))

    def teardown(self) -> None:
        if hasattr(self, "queues"):
            self.queues.close()
            shutil.rmtree(self.folder)

    def visible(self, message: Known) -> bool:
        now = self.backend.now()
        return message.visible_at <= now or message.visible_at > now + MAX_LEASE_S

    def hidden_for(self, seconds: float) -> float:
        return self.backend.now() + seconds if seconds else 0.0

    def holder(self, lease: Lease) -> Known | None:
        for message in self.known:
            if (message.queue, message.token) == (lease.queue, lease.token):
                return message
        return None

    def pick(self, data: st.DataObject) -> Lease:
        return data.draw(st.sampled_from(self.leases[-8:]))

    @rule(
        queue=st.sampled_from(QUEUES),
        entries=st.lists(st.tuples(st.integers(-2, 2), SECONDS), min_size=1, max_size=4),
    )
    def send(self, queue: str, entries: list[tuple[int, float]]) -> None:
        sent: list[Entry] = []
        for priority, delay_s in entries:
            seq = next(self.numbers)
            sent.append(Entry(f"{seq}\ntext", delay_s=delay_s, priority=priority))
            visible_at = self.hidden_for(delay_s)
            self.known.append(Known(seq, queue, sent[-1].body, priority, visible_at))
        assert all(answer.ok for answer in self.queues.send(queue, sent))

    @rule(both=st.booleans(), most=st.integers(1, 4), lease_s=LEASES)
    def receive(self, both: bool, most: int, lease_s: float) -> None:
        names = QUEUES if both else QUEUES[:1]
        expected: list[Known] = []
        for name in names:
            if len(expected) == most:
                break
            found = [each for each in self.known if each.queue == name and self.visible(each)]
            for each in found:
                # Once a receive saw it, it stays visible also when the clock is set back.
                each.visible_at = 0.0
            found.sort(key=lambda each: (-each.priority, each.seq))
            expected += found[: most - len(expected)]
        messages = self.queues.receive(names, most=most, wait_s=0.0, lease_s=lease_s)
        assert [each.body for each in messages] == [each.body for each in expected]
        now = self.backend.now()
        for message, known in zip(messages, expected, strict=True):
            known.receive_count += 1
            known.token, known.leased_at = message.lease.token, now
            known.visible_at = now + lease_s
            assert message.receive_count == known.receive_count
            self.leases.append(message.lease)

    @rule(data=st.data(), lease_s=LEASES)
    def extend(self, data: st.DataObject, lease_s: float) -> None:
        lease = self.pick(data)
        known = self.holder(lease)
        answer = self.queues.extend([Extension(lease, lease_s)])[0]
        now = self.backend.now()
        left_s = MAX_LEASE_S - max(0.0, now - known.leased_at) if known else 0.0
        if known is None or left_s <= 0.0:
            assert answer.status is AnswerStatus.LEASE_LOST
        else:
            assert answer.ok
            known.visible_at = now + min(lease_s, left_s)

    @rule(data=st.data(), delay_s=SECONDS)
    def release(self, data: st.DataObject, delay_s: float) -> None:
        lease = self.pick(data)
        assert self.queues.release([lease], delay_s=delay_s)[0].ok
        known = self.holder(lease)
        if known is not None:
            known.token, known.visible_at = None, self.hidden_for(delay_s)

    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        lease = self.pick(data)
        assert self.queues.delete([lease])[0].ok
        known = self.holder(lease)
        if known is not None:
            self.known.remove(known)

    @rule(data=st.data(), count=st.integers(0, 3), lease_s=st.sampled_from([0.0, 30.0]))
    def replace(self, data: st.DataObject, count: int, lease_s: float) -> None:
        lease = self.pick(data)
        known = self.holder(lease)
        pieces = [Replacement(f"piece {next(self.numbers)}", lease_s=lease_s) for _ in range(count)]
        given = self.queues.replace(lease, pieces)
        if known is None:
            assert given.answer.status is AnswerStatus.LEASE_LOST
            return
        assert given.answer.ok
        self.known.remove(known)
        now = self.backend.now()
        for index, (piece, new) in enumerate(zip(pieces, given.leases, strict=True)):
            seq = known.seq if index == 0 else next(self.numbers)
            added = Known(seq, known.queue, piece.body, known.priority, self.hidden_for(lease_s))
            assert (new is not None) == (lease_s > 0.0)
            if new is not None:
                added.token, added.leased_at, added.receive_count = new.token, now, 1
                self.leases.append(new)
            self.known.append(added)

    @rule(queue=st.sampled_from(QUEUES))
    def drop(self, queue: str) -> None:
        self.queues.drop(queue)
        self.known = [each for each in self.known if each.queue != queue]

    @rule(
        seconds=st.sampled_from([0.0, 1.0, 5.0, 59.0, 60.0, 900.0, MAX_LEASE_S, -30.0, -90_000.0])
    )
    def let_time_pass(self, seconds: float) -> None:
        self.backend.advance(seconds)

    @invariant()
    def heads_and_counts_agree(self) -> None:
        if not hasattr(self, "queues"):
            return
        for queue in QUEUES:
            known = sorted(
                (each for each in self.known if each.queue == queue), key=lambda each: each.seq
            )
            heads = [each.body.partition("\n")[0] for each in known]
            assert self.queues.heads([queue]) == {queue: heads}
            facts = self.queues.facts(queue)
            hidden = [each for each in known if not self.visible(each)]
            leased = sum(each.token is not None for each in hidden)
            assert (facts.visible, facts.leased, facts.delayed) == (
                len(known) - len(hidden),
                leased,
                len(hidden) - leased,
            )


@pytest.mark.parametrize("kind", sorted(BACKENDS))
def test_a_backend_does_what_a_plain_model_does(kind: str) -> None:
    machine = type("Machine", (QueueModel,), {"kind": kind})
    run_state_machine_as_test(
        machine, settings=settings(max_examples=40, stateful_step_count=30, deadline=None)
    )
