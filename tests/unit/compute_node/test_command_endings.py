"""Nothing of a command outlives its run, its worker or its node; what it recorded does."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

import psutil
import pytest

from gapless.declaration.control import ControlState
from gapless.declaration.sweep import Limits
from gapless.results.outcome import Outcome
from gapless.storage import layout
from tests.unit.compute_node.commands_here import TREE, processes_of, submit_program

WAITS = f"""
{TREE}
    setsid sleep 1000 &
    echo '{{"early": 1}}' > "$GAPLESS_OUTPUT"
    echo said something
    sleep 1000
"""
ENDS = f"""
{TREE}
    setsid sleep 1000 &
    setsid sh -c 'sleep 1000 & sleep 1000' &
    while [ ! -e "$1" ]; do sleep 0.05; done
    echo '{{"fine": 1}}'
    exit "$2"
"""


def begun(place: Any) -> Any:
    return place.folder / "begun"


def workers_of(place: Any) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        words = process.info["cmdline"] or []
        if "compute_node.worker" in words and any(str(place.folder) in word for word in words):
            found.append(process)
    return found


@pytest.mark.parametrize("status", [0, 1])
def test_what_a_command_leaves_running_is_ended_with_it(place: Any, status: int) -> None:
    words = ["./program", str(begun(place)), str(status)]
    submit_program(place, ENDS, runs=1, words=words, limits=Limits(attempts=1))
    assert place.run_node() == 0
    found = place.delivered()
    assert found.outcomes == {0: Outcome.FAILED if status else Outcome.OK}
    assert found.values("fine") == {0: 1}
    assert processes_of(place.folder) == []


def test_a_command_past_its_time_is_ended_whole_and_what_it_recorded_is_kept(place: Any) -> None:
    words = ["./program", str(begun(place))]
    limits = Limits(time_s=1.0, attempts=1)
    submit_program(place, WAITS, runs=2, words=words, limits=limits)
    assert place.run_node(workers=1) == 0
    found = place.delivered()
    assert found.outcomes == dict.fromkeys((0, 1), Outcome.TIMEOUT)
    assert found.values("early") == {0: 1, 1: 1}
    assert all(not complete for block in found.blocks for complete in block.complete.tolist())
    assert "said something" in found.errors[0].output_head
    assert "limits.time" in found.errors[0].message
    assert processes_of(place.folder) == []


def test_a_killed_worker_takes_its_command_along_and_what_was_recorded_is_kept(
    place: Any, start_node: Callable[..., Any], until: Callable[..., None]
) -> None:
    words = ["./program", str(begun(place))]
    text = WAITS.replace("setsid sleep 1000 &", "")
    submit_program(place, text, runs=1, words=words, limits=Limits(attempts=1))
    node = start_node(workers=1)
    until(lambda: begun(place).exists() and any("sleep" in p for p in processes_of(place.folder)))
    outputs = list((place.folder / "work").rglob("run-*/output"))
    until(lambda: outputs or list((place.folder / "work").rglob("run-*/output")))
    (worker,) = workers_of(place)
    worker.send_signal(signal.SIGKILL)
    queue = layout.results_queue(place.sweep)
    until(lambda: place.queues.facts(queue).visible)
    assert processes_of(place.folder) == []
    found = place.delivered()
    assert found.outcomes == {0: Outcome.LOST}
    assert found.values("early") == {0: 1}
    assert found.errors[0].message == "killed by SIGKILL"
    node.stop()
    assert node.wait() == 0


def test_nothing_is_left_of_a_killed_node(
    place: Any, start_node: Callable[..., Any], until: Callable[..., None]
) -> None:
    words = ["./program", str(begun(place))]
    submit_program(place, WAITS.replace("setsid sleep 1000 &", ""), runs=2, words=words)
    node = start_node()
    until(lambda: begun(place).exists() and len(processes_of(place.folder)) >= 6)
    node.process.kill()
    node.wait()
    until(lambda: processes_of(place.folder) == [])
    until(lambda: workers_of(place) == [])


@pytest.mark.parametrize("how", ["cancel", "drain"])
def test_a_cancelled_sweep_and_a_stopped_node_end_their_commands_whole(
    place: Any, start_node: Callable[..., Any], until: Callable[..., None], how: str
) -> None:
    words = ["./program", str(begun(place))]
    submit_program(place, WAITS, runs=2, words=words)
    node = start_node(control_s=0.05, grace_s=0.2)
    until(lambda: begun(place).exists() and len(processes_of(place.folder)) >= 6)
    if how == "cancel":
        place.store.set_control(place.sweep, state=ControlState.CANCELLED)
        until(lambda: processes_of(place.folder) == [])
        node.stop()
    else:
        node.stop()
    assert node.wait() == 0
    assert processes_of(place.folder) == []


def test_the_last_complete_version_counts_when_the_next_is_cut_short(place: Any) -> None:
    text = """
        #!/bin/sh
        echo '{"step": 1}' > "$GAPLESS_OUTPUT"
        while [ ! -e "$GAPLESS_RUN_DIR/../kept" ]; do sleep 0.05; done
        printf '{"step": 2, "tr' > "$GAPLESS_OUTPUT"
        [ "$1" = 0 ] && exit 9
        [ "$1" = 1 ] && exit 0
        [ "$1" = 2 ] && kill -9 $PPID
        sleep 1000
    """
    submit_program(place, text, runs=4, limits=Limits(attempts=1, time_s=5.0))
    assert place.run_node(workers=2) == 0
    found = place.delivered()
    assert found.values("step") == dict.fromkeys(range(4), 1)
    assert found.outcomes == {
        0: Outcome.FAILED,
        1: Outcome.FAILED,
        2: Outcome.LOST,
        3: Outcome.TIMEOUT,
    }
    assert "no complete JSON object" in found.errors[0].message
    assert "no complete JSON object" in found.errors[1].message


def test_a_dead_worker_leaves_no_folder_behind(
    place: Any, start_node: Callable[..., Any], until: Callable[..., None]
) -> None:
    text = """
        #!/bin/sh
        echo x > "$GAPLESS_RUN_DIR/file"
        [ "$GAPLESS_ATTEMPT" = 1 ] && kill -9 $PPID && sleep 1000
        echo > "$2"
        sleep 1000
    """
    submit_program(place, text, runs=1, words=["./program", "{x}", str(begun(place))])
    node = start_node(workers=1, grace_s=0.1)
    until(lambda: begun(place).exists())
    assert len(list((place.folder / "work").rglob("runs-*"))) == 1
    node.stop()
    assert node.wait() == 0
    assert list((place.folder / "work").rglob("runs-*")) == []
