"""What submit and reconcile do under the sweep's lock: `tests.model.protocol`, rows L1 to L7."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from tests.model.places import Keeping, Places, minus, names, put_one, runs_in
from tests.model.protections import Configuration, Home, Protection
from tests.model.states import Batch, Bits, Mask
from tests.model.system import Action, Finding

__all__ = ["LedgerActions"]


class LedgerActions:
    """The actions of whoever holds the lock: one at a time, and none remembers the one before."""

    def __init__(self, configuration: Configuration, places: Places) -> None:
        self._configuration = configuration
        self._places = places

    def actions(self) -> Iterator[Action]:
        """Give what submit and reconcile do."""
        has_protection = self._configuration.has
        yield self._write_receipts()
        yield self._begin_sending()
        for part, job in enumerate(self._configuration.jobs):
            for runs in runs_in(job):
                yield self._send(part, job, runs)
        yield self._mark()
        if not has_protection(Protection.RECEIPT_BEFORE_SEND):
            yield self._send_without_receipt()
        if not has_protection(Protection.RECONCILE):
            return
        if self._configuration.home is Home.FOLDER:
            yield self._see_both_queues()
        else:
            yield self._see_jobs()
            yield self._see_results()
        yield self._read_manifests()
        yield self._write_gaps()

    def complete_by_its_word(self, states: Batch) -> Mask:
        """Tell where reconcile would say that the sweep is complete."""
        places = self._places
        if not self._configuration.has(Protection.COMPLETE_BY_RUNS):
            nothing = (places.queued(states) | places.delivered(states)) == 0
            return nothing & (states[places.written] == 1) & (states[places.pending] == 0)
        return self._stored_by_its_word(states) == places.all

    # ------------------------------------------------------------------ receipts and jobs

    def _write_receipts(self) -> Action:
        def effect(states: Batch) -> None:
            states[self._places.written] = 1
            states[self._places.pending] = self._places.all

        return Action(
            "submit writes the receipts, pending",
            "receipts.submit",
            lambda states: self._is(states, Keeping.IDLE) & (states[self._places.written] == 0),
            effect,
        )

    def _begin_sending(self) -> Action:
        return Action(
            "pending receipts: the work queue's creation is read",
            "receipts.jobs",
            lambda states: self._is(states, Keeping.IDLE) & (states[self._places.pending] > 0),
            lambda states: self._becomes(states, Keeping.SENDING),
        )

    def _send(self, part: int, job: int, runs: int) -> Action:
        places, count = self._places, self._places.jobs[runs]

        def may(states: Batch) -> Mask:
            # In the order of the receipts: the parts before are sent, or not pending.
            unsent = states[places.sent] >> part == 0
            earlier = sum(each for each in self._configuration.jobs[:part])
            before = states[places.sent] & ((1 << part) - 1)
            unsent &= (before == (1 << part) - 1) | (states[places.pending] & earlier == 0)
            mine = states[places.pending] & job == runs
            return self._is(states, Keeping.SENDING) & unsent & mine

        def effect(states: Batch) -> None:
            put_one(states, count)
            states[places.sent] = states[places.sent] | (1 << part)

        if not self._configuration.has(Protection.SEND_BEFORE_MARK):

            def may(states: Batch) -> Mask:
                return self._is(states, Keeping.SENDING) & (states[places.chosen] & job == runs)

            def effect(states: Batch) -> None:
                put_one(states, count)
                states[places.chosen] = minus(states[places.chosen], runs)
                self._rest(states, states[places.chosen] == 0)

        def judge(before: Batch, _after: Batch) -> Sequence[Finding]:
            return [("I5", before[places.written] == 0)]

        return Action(f"job {names(runs)} is sent", "receipts.jobs", may, effect, judge)

    def _mark(self) -> Action:
        places = self._places
        if not self._configuration.has(Protection.SEND_BEFORE_MARK):

            def mark_first(states: Batch) -> None:
                states[places.chosen] = states[places.pending]
                if self._configuration.home is Home.CLOUD:
                    states[places.current] = states[places.pending]
                states[places.pending] = 0

            return Action(
                "pending receipts are marked sent, before they are",
                "receipts.jobs",
                lambda states: self._is(states, Keeping.SENDING) & (states[places.pending] > 0),
                mark_first,
            )

        def effect(states: Batch) -> None:
            done = np.zeros(len(states), dtype=np.uint8)
            for part, job in enumerate(self._configuration.jobs):
                done |= np.where(states[places.sent] >> part & 1, job, 0).astype(np.uint8)
            done &= states[places.pending]
            # A receipt names the queue whose creation was read before the send.
            if self._configuration.home is Home.CLOUD:
                to_this_queue = np.where(states[places.outdated] == 0, done, 0)
                states[places.current] = states[places.current] | to_this_queue
                states[places.looks] = 0
            states[places.pending] = states[places.pending] & ~done
            states[places.sent] = 0
            self._rest(states, states[places.pending] == 0)

        return Action(
            "the receipts of what was sent are marked sent",
            "receipts.jobs",
            lambda states: self._is(states, Keeping.SENDING) & (states[places.sent] > 0),
            effect,
        )

    def _send_without_receipt(self) -> Action:
        job = self._configuration.jobs[0]

        def effect(states: Batch) -> None:
            put_one(states, self._places.jobs[job])
            self._becomes(states, Keeping.SENDING)

        def judge(before: Batch, _after: Batch) -> Sequence[Finding]:
            return [("I5", before[self._places.written] == 0)]

        return Action(
            f"job {names(job)} is sent before its receipt is written",
            "receipts.submit",
            lambda states: self._is(states, Keeping.IDLE) & (states[self._places.written] == 0),
            effect,
            judge,
        )

    # ------------------------------------------------------------------ gaps

    def _see_both_queues(self) -> Action:
        def nowhere(states: Batch) -> Bits:
            places = self._places
            return places.all & ~(places.queued(states) | places.delivered(states))

        return Action(
            "reconcile sees both queues at one instant",
            "receipts.in_flight",
            lambda states: self._may_look(states, nowhere(states)),
            lambda states: self._choose(states, nowhere(states), Keeping.SAW_RESULTS),
        )

    def _see_jobs(self) -> Action:
        def nowhere(states: Batch) -> Bits:
            places = self._places
            held = np.zeros(len(states), dtype=np.uint8)
            if self._configuration.has(Protection.LOOK_AT_HANDS):
                for node in places.nodes:
                    held |= node.todo(states)
            empty = places.queued(states) == 0
            older = np.where(empty, places.all, places.all & ~states[places.current])
            return (older & ~held).astype(np.uint8)

        return Action(
            "reconcile looks at the work queue and at what nodes have in hand",
            "receipts.remote_look",
            lambda states: self._may_look(states, nowhere(states)),
            lambda states: self._choose(states, nowhere(states), Keeping.SAW_JOBS),
        )

    def _see_results(self) -> Action:
        return Action(
            "reconcile sees that the result queue counts nothing",
            "receipts.remote_look",
            lambda states: (
                self._is(states, Keeping.SAW_JOBS) & (self._places.delivered(states) == 0)
            ),
            lambda states: self._becomes(states, Keeping.SAW_RESULTS),
        )

    def _read_manifests(self) -> Action:
        places = self._places

        def effect(states: Batch) -> None:
            lacking = states[places.chosen] & ~self._stored_by_its_word(states)
            if self._configuration.home is Home.FOLDER:
                proven = lacking
            else:
                proven = lacking & (~states[places.current] | states[places.looks])
                if not self._configuration.has(Protection.TWO_LOOKS):
                    proven = lacking
                states[places.looks] = states[places.looks] | (lacking & ~proven)
            states[places.chosen] = proven
            states[places.keeping] = np.where(proven > 0, Keeping.FOUND_GAPS, Keeping.IDLE)

        return Action(
            "reconcile reads the manifests and says what is a gap",
            "receipts.reconcile",
            lambda states: self._is(states, Keeping.SAW_RESULTS),
            effect,
        )

    def _write_gaps(self) -> Action:
        places = self._places

        def effect(states: Batch) -> None:
            states[places.pending] = states[places.chosen]
            # From here on what a queue lost is no excuse: it is there again.
            states[places.lost] = states[places.lost] & ~states[places.chosen]
            self._rest(states, np.ones(len(states), dtype=np.bool_))

        return Action(
            "reconcile writes receipts of the gaps, pending",
            "receipts.reconcile",
            lambda states: self._is(states, Keeping.FOUND_GAPS),
            effect,
        )

    # ------------------------------------------------------------------ single steps

    def _may_look(self, states: Batch, nowhere: Bits) -> Mask:
        """Tell where a look may begin; one that would find nothing is no step."""
        places = self._places
        idle = self._is(states, Keeping.IDLE) & (states[places.written] == 1)
        lacking = nowhere & ~self._stored_by_its_word(states)
        return idle & (states[places.pending] == 0) & (lacking > 0)

    def _choose(self, states: Batch, runs: Bits, keeping: Keeping) -> None:
        states[self._places.chosen] = runs
        self._becomes(states, keeping)

    def _stored_by_its_word(self, states: Batch) -> Bits:
        """Give the runs that are stored, as far as reconcile is told."""
        if self._configuration.has(Protection.STORED_BY_MANIFESTS):
            return states[self._places.stored]
        return states[self._places.told] | states[self._places.stored]

    def _is(self, states: Batch, keeping: Keeping) -> Mask:
        return states[self._places.keeping] == keeping

    def _becomes(self, states: Batch, keeping: Keeping) -> None:
        states[self._places.keeping] = keeping

    def _rest(self, states: Batch, where: Mask) -> None:
        """Give the lock back: nothing but the ledger is remembered."""
        for field in (self._places.keeping, self._places.chosen, self._places.outdated):
            states.changed(field, where, 0)
