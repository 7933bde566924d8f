"""Every kind of fault is really thrown, can be left out, and means what it means in the world."""

import math

import pytest

from compute_node.rules import Remainders
from queueing.errors import QueueUnavailable
from queueing.port import Entry
from tests.simulator.faults import Fault
from tests.simulator.plan import Plan
from tests.simulator.scenario import run_seed
from tests.simulator.services import ServiceClock, WatchedQueues
from tests.simulator.truth import Truth
from tests.simulator.world import Actor, World

# Worlds that together throw every kind, as found when this was written. It only saves time.
SHOWING = (522, 70, 317, 470, 286, 294, 339, 622)
QUEUE = "s0-00000000-jobs"


def test_every_kind_of_fault_is_thrown_in_some_world():
    unseen = set(Fault)
    for seed in [*SHOWING, *range(300)]:
        if not unseen:
            break
        unseen -= set(run_seed(seed).thrown)
    assert not unseen


def test_every_kind_of_fault_is_explained_in_one_sentence():
    sentences = [each.sentence for each in Fault]
    assert all(sentence.endswith(".") for sentence in sentences)
    assert len(set(sentences)) == len(sentences)


def test_a_kind_can_be_left_out():
    world = World(1, frozenset({Fault.KILL}))
    assert not world.fault(Fault.KILL)
    assert world.fault(Fault.STOP)
    assert world.thrown == {Fault.KILL: 1, Fault.STOP: 1}


def test_one_fault_of_a_kind_can_be_left_out():
    world = World(1, frozenset({f"{Fault.KILL}#2"}))
    assert [world.fault(Fault.KILL) for _ in range(3)] == [True, False, True]


def test_leaving_out_one_kind_does_not_change_the_dice_of_another():
    def throws(left_out):
        world = World(7, left_out)
        thrown = []
        for _ in range(50):
            if world.fault(Fault.CRASH, 0.5):
                world.dice(Fault.CRASH).random()
            thrown.append(world.fault(Fault.LATE, 0.5))
        return thrown

    assert throws(frozenset()) == throws(frozenset({Fault.CRASH}))


def test_no_fault_is_thrown_once_the_world_is_healed():
    world = World(1)
    world.heal()
    assert not world.fault(Fault.KILL)
    assert not world.thrown


def test_a_scenario_without_the_faults_it_would_throw_ends_well():
    left_out = frozenset(str(each) for each in Fault)
    world = run_seed(5, left_out=left_out)
    assert world.thrown
    log = "\n".join(world.lines)
    assert " dies" not in log
    assert "is frozen" not in log
    assert "an answer is lost" not in log


def test_a_wall_clock_may_be_wrong_while_the_world_goes_on():
    world = World(1)
    actor = Actor(world, "node0")
    actor.skew_s = -30.0
    assert actor.clock() == world.now - 30.0


def remote_queues(**settings):
    world = World(1, settings.pop("left_out", frozenset()))
    plan = Plan(seed=1, remainders=Remainders.ANYBODYS, **settings)
    return world, WatchedQueues(world, Truth(), plan, ServiceClock(world))


def pass_time(world, seconds):
    world.now += seconds


def receive(queues, most=10):
    return queues.receive([QUEUE], most=most, wait_s=0.0, lease_s=30.0)


def test_the_name_of_a_deleted_queue_is_barred_for_a_minute():
    world, queues = remote_queues(left_out=frozenset({Fault.LINGERS}))
    queues.create(QUEUE)
    queues.drop(QUEUE)
    for verb in (queues.create, queues.facts, lambda name: queues.send(name, [Entry("job")])):
        with pytest.raises(QueueUnavailable):
            verb(QUEUE)
    with pytest.raises(QueueUnavailable):
        receive(queues)
    pass_time(world, 60.0)
    queues.create(QUEUE)
    assert queues.facts(QUEUE).created_at_s == world.now


def test_a_barred_queue_keeps_no_other_waiting():
    _, queues = remote_queues(left_out=frozenset({Fault.LINGERS}))
    queues.create(QUEUE)
    queues.drop(QUEUE)
    queues.send("s1-00000000-jobs", [Entry("job")])
    found = queues.receive([QUEUE, "s1-00000000-jobs"], most=10, wait_s=0.0, lease_s=30.0)
    assert len(found) == 1


def test_a_deleted_queue_may_go_on_answering_and_swallow_what_is_sent():
    world, queues = remote_queues()
    queues.create(QUEUE)
    created_at_s = queues.facts(QUEUE).created_at_s
    while not world.thrown[Fault.LINGERS]:
        pass_time(world, 60.0)
        queues.create(QUEUE)
        created_at_s = queues.facts(QUEUE).created_at_s
        queues.drop(QUEUE)
    assert queues.send(QUEUE, [Entry("job")])[0].ok
    assert queues.facts(QUEUE).created_at_s == created_at_s
    assert not receive(queues)
    pass_time(world, 60.0)
    assert not receive(queues)


def test_a_message_vanishes_at_its_queues_retention_also_while_it_is_in_hand():
    world, queues = remote_queues(retention_s=60.0)
    queues.send(QUEUE, [Entry("job")])
    pass_time(world, 50.0)
    assert len(receive(queues)) == 1
    pass_time(world, 50.0)
    assert not receive(queues)
    assert queues.facts(QUEUE).visible == 0
    assert world.thrown == {Fault.RETENTION: 1}


def test_a_message_stays_where_no_retention_is_planned():
    world, queues = remote_queues()
    assert math.isinf(queues.plan.retention_s)
    queues.send(QUEUE, [Entry("job")])
    pass_time(world, 10_000.0)
    assert len(receive(queues)) == 1


def test_past_the_ceiling_a_receive_is_empty_without_an_error():
    world, queues = remote_queues(ceiling=2)
    queues.send(QUEUE, [Entry(f"job {n}") for n in range(3)])
    assert len(receive(queues, most=2)) == 2
    assert not receive(queues)
    assert queues.facts(QUEUE).visible == 1
    pass_time(world, 31.0)
    assert receive(queues)
