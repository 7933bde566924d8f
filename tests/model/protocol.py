"""The protocol of jobs, deliveries, shards and receipts, as a model that can be searched whole.

A run is unsent -> in a job -> in a delivery -> in a shard with a manifest. Every action below is
one step that production does atomically, or that nobody else could tell from several.

  row  action (module)                       guard                        effect
  ---  ------------------------------------  ---------------------------  -------------------------
  L1   submit writes receipts                none are there               all runs pending
       (receipts.submit)
  L2   the work queue's creation is read     runs pending                 sending
       (receipts.jobs)
  L3   a job is sent (receipts.jobs)         pending, not sent just now   the job is visible
  L4   receipts are marked (receipts.jobs)   sent just now                no longer pending
  L5   reconcile looks at the queues         nothing pending              the lacking runs it saw
       (receipts.in_flight, .remote_look)                                 nowhere are chosen
  L6   it reads the manifests                after both queues            chosen: those not stored,
       (receipts.reconcile, .absence)                                     in a cloud seen so twice
  L7   it writes receipts of gaps            gaps are chosen              these runs pending
       (receipts.reconcile)
  N1   a node receives a job                 it has none; job visible     the job is leased to it
       (compute_node.job_reactions)
  N2   it does a run and delivers it         the run is to do             a delivery is visible,
       (compute_node.deliveries)                                          the run acknowledged
  N3   it skips what is stored               a run to do is stored        as if acknowledged
       (compute_node.jobs_in_hand)
  N4   it deletes the job (.job_changes)     nothing is to do             the message is gone
  N5   it learns that the lease is lost      so it is                     the job is dropped
       (compute_node.job_reactions)
  N6   it replaces the job by what is left   part of it is done           the remainder is on the
       (compute_node.job_changes)                                         queue, leased or not
  N7   it cuts a piece off                   two runs are to do           the piece is visible
       (compute_node.job_changes)
  N8   in a cloud N6 is two steps            part of it is done           the remainder is visible;
       (queueing.sqs)                                                     then the message is gone
  A1   an aggregator receives a delivery     it fills no shard            held, leased
       (aggregator.reactions)
  A2   it puts a shard (aggregator.store)    it holds some                a shard without manifest
  A3   it puts the manifest (.store)         the shard is put             the rows count: stored
  A4   it deletes a delivery (.reactions)    the manifest is put          the message is gone
  A5   a shard is adopted                    its aggregator died          as A3
       (gapless.results.coverage)
  F1   submit or reconcile, a node, an       any moment                   what it knew is gone, its
       aggregator dies                                                    leases end, shards stay
  F2   a lease is lost, its holder goes on   it holds one                 the message is visible
  F3   the answer of a send is lost          it sends                     sent, but not known to be
  F4   a message is there twice              it is visible                two of it are visible
  F5   a queue is deleted or purged          any moment                   all messages and leases of
                                                                          it are gone

Left out because a reordering of other actions shows all they could: a node's second job and the
time between a run's end and its delivery (nobody sees either), deliveries received during a flush
(as if received after it), a delivery of several runs (they come and go together), the adoption of a
shard whose aggregator lives (it writes the same manifest next), failed runs and epochs. Jobs are
sent least number first, as production sends them. Kept larger than life: the runs of a job are done
in any order and cut off in any way, any lease may end at any moment, a job may be given back at any
time, a look of reconcile believes what it saw of the work queue for as long as it likes, and looks
need no pause in between. What this model cannot show is left to the simulator: time, counts that
lie, damaged bytes.

Invariants: I1 no run is nowhere, unless a queue that held it was lost and no receipt of it was
written since; I2 a run leaves a job only acknowledged, stored or for another job; I3 a delivery is
deleted only when stored; I4 the reader sees one result a run, and "complete" is said only when
every run is stored; I5 no job without a receipt; I1b once faults stop, every order of steps ends
with every run stored (`tests.model.ranking`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from tests.model.aggregator_actions import AggregatorActions, adopt
from tests.model.fault_actions import FaultActions
from tests.model.ledger_actions import LedgerActions
from tests.model.node_actions import NodeActions
from tests.model.places import Flushing, Places
from tests.model.protections import Configuration, Protection, Reduction
from tests.model.ranking import Ranking
from tests.model.reduction import Canon
from tests.model.states import Batch, Layout, Mask
from tests.model.system import Action, Fault, Finding, Ranks
from tests.model.telling import told

__all__ = ["Protocol"]


class Protocol:
    """The model of one configuration (a `tests.model.system.System`)."""

    def __init__(self, configuration: Configuration) -> None:
        self.configuration = configuration
        self.budget: Mapping[Fault, int] = {
            Fault.CRASH: configuration.crashes,
            Fault.DELETION: configuration.deletions,
            Fault.MISHAP: configuration.mishaps,
        }
        self.only_most_left = configuration.reduces(Reduction.MOST_FAULTS_LEFT)
        self._places = Places(configuration, Layout())
        self._ledger = LedgerActions(configuration, self._places)
        self._canon = Canon(configuration, self._places)
        self._ranking = Ranking(configuration, self._places)
        self.actions: Sequence[Action] = tuple(self._all_actions())

    def initial(self) -> Batch:
        """Give the state of a home that holds a sweep of which nothing was sent."""
        return Batch(np.zeros(1, dtype=np.uint64))

    def canonical(self, states: Batch) -> None:
        """Replace each state by the one that stands for it (`tests.model.reduction`)."""
        self._canon.apply(states)

    def with_deletes_done(self, states: Batch) -> Batch:
        """Give the states after every aggregator has deleted what it put the manifest of."""
        for each in self._places.aggregators:
            states.changed(each.whole, states[each.flushing] == Flushing.MANIFEST_PUT, 0)
        self.canonical(states)
        return states

    def rank(self, states: Batch) -> Ranks:
        """Give what every step without fault makes smaller (`tests.model.ranking`)."""
        return self._ranking.rank(states)

    def wrong(self, states: Batch) -> Sequence[Finding]:
        """Hold I1 and what reconcile says."""
        places = self._places
        unsent = np.where(states[places.written] == 1, states[places.pending], places.all)
        somewhere = unsent | places.queued(states) | places.delivered(states)
        somewhere |= states[places.stored] | states[places.lost]
        said = self._ledger.complete_by_its_word(states)
        return [
            ("I1", somewhere != places.all),
            ("I4", said & (states[places.stored] != places.all)),
        ]

    def over(self, states: Batch) -> Mask:
        """Tell where every run is stored."""
        return states[self._places.stored] == self._places.all

    def told(self, states: Batch, row: int) -> str:
        """Describe a state: what is where, and nothing that is nowhere."""
        return told(states.take(np.array([row])), self._places)

    def _all_actions(self) -> Iterator[Action]:
        configuration, places = self.configuration, self._places
        yield from self._ledger.actions()
        for number in range(configuration.nodes):
            yield from NodeActions(configuration, places, number).actions()
        for number in range(configuration.aggregators):
            yield from AggregatorActions(configuration, places, number).actions()
        if configuration.has(Protection.ADOPTION):
            yield adopt(configuration, places)
        yield from FaultActions(configuration, places).actions()
