"""Whom a node starts and lets go, with its slots given."""

from __future__ import annotations

import pytest

from compute_node.commands import Deployment, RetireWorker, StartWorker
from compute_node.crew import Crew, Demand, WorkerInHand, WorkerStatus

A = Deployment("a", "code", 10)
B = Deployment("b", "code", 10)
C = Deployment("c", "code", 10)


def crew_of(slots: int, *workers: tuple[Deployment, WorkerStatus, list[int]]) -> Crew:
    crew = Crew(slots)
    for number, (deployment, status, chunks) in enumerate(workers, start=1):
        crew.workers[number] = WorkerInHand(number, deployment, status, chunks)
    return crew


def idle(deployment: Deployment) -> tuple[Deployment, WorkerStatus, list[int]]:
    return deployment, WorkerStatus.READY, []


def busy(deployment: Deployment) -> tuple[Deployment, WorkerStatus, list[int]]:
    return deployment, WorkerStatus.READY, [7]


def leaving(deployment: Deployment) -> tuple[Deployment, WorkerStatus, list[int]]:
    return deployment, WorkerStatus.LEAVING, []


def starting(deployment: Deployment) -> tuple[Deployment, WorkerStatus, list[int]]:
    return deployment, WorkerStatus.STARTING, []


def retired(commands: list[StartWorker | RetireWorker]) -> list[int]:
    assert all(isinstance(each, RetireWorker) for each in commands)
    return [each.worker for each in commands]


def test_as_many_workers_start_as_are_asked_for_numbered_from_one() -> None:
    crew = Crew(4)
    assert crew.staff([Demand(A, 2), Demand(B, 1)]) == [
        StartWorker(1, A),
        StartWorker(2, A),
        StartWorker(3, B),
    ]
    assert {each.status for each in crew.workers.values()} == {WorkerStatus.STARTING}


def test_no_more_start_than_there_are_slots_and_the_first_demand_goes_first() -> None:
    assert Crew(2).staff([Demand(A, 1), Demand(B, 9)]) == [StartWorker(1, A), StartWorker(2, B)]


@pytest.mark.parametrize("spare", [idle(A), starting(A)])
def test_a_worker_that_waits_for_work_or_is_about_to_is_not_started_once_more(
    spare: tuple[Deployment, WorkerStatus, list[int]],
) -> None:
    assert crew_of(4, spare).staff([Demand(A, 1)]) == []
    assert len(crew_of(4, spare, spare).staff([Demand(A, 3)])) == 1


@pytest.mark.parametrize("other", [busy(A), leaving(A), idle(B), (A, WorkerStatus.STARTING, [7])])
def test_a_worker_that_has_work_or_leaves_or_is_anothers_spares_no_start(
    other: tuple[Deployment, WorkerStatus, list[int]],
) -> None:
    crew = crew_of(4, other)
    crew._next = 9
    assert crew.staff([Demand(A, 1)]) == [StartWorker(9, A)]


def test_where_no_slot_is_free_as_many_idle_workers_of_others_leave_as_are_needed() -> None:
    crew = crew_of(3, idle(B), idle(B), idle(B))
    assert retired(crew.staff([Demand(A, 2)])) == [1, 2]
    assert [each.status for each in crew.workers.values()] == [
        WorkerStatus.LEAVING,
        WorkerStatus.LEAVING,
        WorkerStatus.READY,
    ]


def test_one_that_leaves_already_makes_room_for_one() -> None:
    assert crew_of(2, leaving(B), idle(B)).staff([Demand(A, 1)]) == []
    assert retired(crew_of(3, leaving(B), idle(B), idle(B)).staff([Demand(A, 2)])) == [2]


def test_nobody_is_disturbed_who_works_or_is_wanted() -> None:
    crew = crew_of(3, busy(B), idle(C), idle(B))
    assert retired(crew.staff([Demand(A, 3), Demand(C, 1)])) == [3]


def test_idle_workers_of_a_sweep_without_any_work_make_room() -> None:
    assert retired(crew_of(1, idle(B)).staff([Demand(A, 1), Demand(B, 0)])) == [1]


def test_idle_workers_that_were_started_for_what_is_outdated_leave() -> None:
    crew = crew_of(4, idle(A), idle(B), busy(B), starting(B))
    assert crew.retire_idle([A]) == [RetireWorker(2)]
    assert crew.workers[2].status is WorkerStatus.LEAVING
    assert crew.retire_idle([A]) == []


def test_workers_of_a_sweep_are_those_of_it_that_do_not_leave() -> None:
    crew = crew_of(4, idle(A), busy(B), leaving(A), starting(A))
    assert [each.worker for each in crew.serving("a")] == [1, 4]
    assert [each.worker for each in crew.serving("b")] == [2]


def test_slots_that_do_nothing_are_the_free_ones_and_those_of_idle_workers() -> None:
    assert Crew(3).idle_count == 3
    assert crew_of(3, idle(A)).idle_count == 3
    assert crew_of(5, idle(A), starting(A), busy(A), leaving(A)).idle_count == 3
    assert crew_of(2, busy(A), busy(A)).idle_count == 0
    assert crew_of(2, (A, WorkerStatus.LEAVING, [7]), busy(A)).idle_count == 0
