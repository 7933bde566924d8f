"""The commands, as real processes, on a home on S3: see gapless/cli."""

from __future__ import annotations

import re
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services.proxy import FaultProxy, Rule
from tests.services.proxy_faults import REFUSED, SLOW_DOWN
from tests.services.servers import Service
from tests.unit.cli.a_place import Place
from tests.unit.cli.s3_places import S3Place
from tests.unit.cli.test_ledger_away import started

LEDGER_LIBRARIES = {"sqlite3", "pysqlite3", "sqlalchemy", "alembic"}


@pytest.fixture
def place(tmp_path: Path, moto_server: Service) -> S3Place:
    return S3Place(tmp_path, moto_server)


@pytest.fixture
def submitted(place: S3Place) -> S3Place:
    place.make_home()
    answer = place.do("submit", "sweep.toml")
    assert answer.returncode == 0, answer.stderr
    return place


@pytest.fixture
def proxy(moto_server: Service) -> Iterator[FaultProxy]:
    with FaultProxy(moto_server.url) as found:
        yield found


def test_a_sweep_gives_the_same_results_as_in_a_folder(place: S3Place, tmp_path: Path) -> None:
    (tmp_path / "beside").mkdir()
    local = Place(tmp_path / "beside")
    columns = ("results", "--columns", "run,a,b,outcome,sum")
    for each in (place, local):
        ran = each.do("run", "sweep.toml", "--workers", "1")
        assert ran.returncode == 5, ran.stderr
        assert "4 ok, 2 failed" in ran.stdout
    assert place.json(*columns)["rows"] == local.json(*columns)["rows"]
    assert place.json("status")["home"] == place.url
    (log,) = Path(place.environment["XDG_DATA_HOME"]).rglob("*-node.log")
    assert "requests to SQS: " in log.read_text()
    assert "botocore" not in log.read_text()


def test_node_and_aggregator_of_a_home_on_s3_load_no_library_of_the_ledger(
    submitted: S3Place,
) -> None:
    node = submitted.modules_of("node", "--workers", "1", "--idle-exit", "0.1")
    aggregator = submitted.modules_of("aggregate", "--idle-exit", "0.1")
    assert submitted.json("status")["sweeps"][0]["complete"]
    for loaded in (node, aggregator):
        assert "boto3" in loaded
        assert not loaded & LEDGER_LIBRARIES


def test_a_folder_home_loads_no_library_of_amazon(tmp_path: Path) -> None:
    place = Place(tmp_path)
    for command in (("submit", "sweep.toml"), ("reconcile", "--rebuild"), ("status",)):
        answer = place.do(*command)
        assert answer.returncode in {0, 3}, answer.stderr
    for arguments in (("submit", "sweep.toml"), ("node", "--idle-exit", "0.1"), ("cancel", "tiny")):
        assert not place.modules_of(*arguments) & {"boto3", "botocore"}


def test_help_loads_nothing_heavy(tmp_path: Path) -> None:
    loaded = Place(tmp_path).modules_of("--help")
    assert not loaded & {"boto3", "h5py", "numpy", "sqlalchemy", "msgspec", "gapless.wiring"}


def test_reconcile_tells_a_lost_run_after_two_looks_and_says_when_to_look(place: S3Place) -> None:
    place.make_home(settle_s=10.0)
    assert place.do("submit", "sweep.toml").returncode == 0
    place.lose_messages("-jobs")
    early = place.json("reconcile", status=3)
    assert (early["exact"], early["in_flight"], early["gaps"]) == (False, 6, 0)
    assert 0 < early["look_again_in_s"] <= 10.0
    told = place.do("reconcile")
    assert told.returncode == 3
    assert "can tell what is in flight and what is lost" in told.stdout
    watched = place.do("reconcile", "--watch")
    assert watched.returncode == 4, watched.stderr
    assert "or lost, which a look in" in watched.stderr
    assert "--resubmit` sends them again" in watched.stdout


def test_a_run_says_when_it_can_tell_what_is_lost_and_sends_it_again_then(place: S3Place) -> None:
    place.make_home(settle_s=12.0)
    assert place.do("submit", "sweep.toml").returncode == 0
    place.lose_messages("-jobs")
    done = place.do("run", "sweep.toml", "--workers", "1")
    assert done.returncode == 5, done.stderr
    assert done.stderr.count("these queues only count, and late; in ") == 1
    assert "s this command can tell what is in flight and what is lost" in done.stderr
    assert "6 runs were on no queue and not stored: sent again" in done.stderr


def test_reconcile_calls_the_counts_of_queues_rough(submitted: S3Place) -> None:
    told = submitted.do("reconcile")
    assert told.returncode == 3
    assert "in about 6 jobs" in told.stdout
    assert submitted.json("reconcile", status=3)["jobs_queued"] == 6
    table = submitted.do("status")
    assert "~6" in table.stdout
    assert "roughly" in table.stdout


def test_status_says_why_the_queues_cannot_be_read(submitted: S3Place, proxy: FaultProxy) -> None:
    proxy.add(Rule(REFUSED, service="sqs"))
    submitted.environment["AWS_ENDPOINT_URL"] = proxy.url
    answer = submitted.do("status")
    assert answer.returncode == 0, answer.stderr
    assert "?" in answer.stdout
    assert "AccessDenied" in answer.stderr


def test_runs_of_a_queue_that_was_made_anew_are_gaps_at_once(submitted: S3Place) -> None:
    drop_queues(submitted)
    assert submitted.json("reconcile", "--resubmit", status=3)["resubmitted"] == 6


def test_a_lost_ledger_is_told_and_made_anew(submitted: S3Place) -> None:
    for file in Path(submitted.environment["XDG_DATA_HOME"]).rglob("ledger.db*"):
        file.unlink()
    lost = submitted.do("reconcile")
    assert lost.returncode == 1
    assert "--rebuild" in lost.stderr
    assert submitted.do("reconcile", "--rebuild").returncode == 3
    again = submitted.json("submit", "sweep.toml")
    assert (again["runs_sent"], again["earlier_runs"]) == (0, 6)


def test_pause_resume_and_cancel_work_and_cancel_drops_both_queues(submitted: S3Place) -> None:
    (sweep,) = submitted.json("status")["sweeps"]
    assert submitted.queues() == [f"{sweep['sweep']}-jobs", f"{sweep['sweep']}-results"]
    for command, state in (("pause", "paused"), ("resume", "running"), ("cancel", "cancelled")):
        assert submitted.do(command, "tiny").returncode == 0
        assert submitted.json("status")["sweeps"][0]["state"] == state
    # Neither did status make them anew.
    assert submitted.queues() == []


def test_a_dry_run_says_what_the_requests_cost(place: S3Place) -> None:
    plan = place.json("submit", "sweep.toml", "--dry-run")
    assert plan["requests_dollars"] == pytest.approx(plan["requests"] * 0.40e-6)
    said = place.do("submit", "sweep.toml", "--dry-run")
    assert "to the queues (SQS): less than $0.01" in said.stdout
    assert not place.keys()
    here = place.do("submit", "sweep.toml", "--dry-run", "--home", "folder")
    assert "(not here)" in here.stdout


def test_the_ledger_is_kept_where_its_address_says(place: S3Place, tmp_path: Path) -> None:
    place.make_home()
    ledger = f"sqlite:///{tmp_path}/l.db"
    assert place.do("submit", "sweep.toml", "--ledger", ledger).returncode == 0
    assert not Path(place.environment["XDG_DATA_HOME"]).exists()
    other = place.do("reconcile")
    assert other.returncode == 1
    assert "knows nothing of it" in other.stderr
    assert not Path(place.environment["XDG_DATA_HOME"]).exists()
    place.environment["GAPLESS_LEDGER"] = ledger
    assert place.do("reconcile").returncode == 3
    assert place.do("resubmit", "tiny", "--runs", "0").returncode == 0


def test_a_command_waits_for_a_service_that_is_away_and_says_so(
    place: S3Place, proxy: FaultProxy
) -> None:
    place.make_home()
    away = proxy.add(Rule(SLOW_DOWN))
    place.environment["AWS_ENDPOINT_URL"] = proxy.url
    waiting = place.start("submit", "sweep.toml")
    try:
        assert waiting.stderr is not None
        first = waiting.stderr.readline()
        proxy.drop(away)
        said, _ = waiting.communicate(timeout=100)
    finally:
        waiting.kill()
        waiting.wait()
    assert "trying again" in first
    assert waiting.returncode == 0
    assert "6 runs sent in 6 jobs" in said


def test_a_run_whose_service_is_away_is_stopped_by_a_signal(
    place: S3Place, proxy: FaultProxy
) -> None:
    place.make_home()
    place.environment["AWS_ENDPOINT_URL"] = proxy.url
    # The home answers, and its writes and queues do not.
    proxy.add(Rule(SLOW_DOWN, operations=("PutObject",)))
    running = place.start("run", "sweep.toml", "--workers", "1")
    told: list[str] = []
    heard = threading.Event()

    def listen() -> None:
        assert running.stderr is not None
        for line in running.stderr:
            told.append(line)
            if "trying again" in line:
                heard.set()

    listener = threading.Thread(target=listen)
    listener.start()
    try:
        assert heard.wait(100), told
        running.send_signal(signal.SIGINT)
        status = running.wait(60)
    finally:
        running.kill()
        running.wait()
        listener.join()
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.close()
        running.stderr.close()
    assert status == 130
    assert any("the same command continues" in line for line in told)


def test_a_run_says_once_that_storage_is_away_and_once_that_it_is_back(
    place: S3Place, proxy: FaultProxy
) -> None:
    place.make_home()
    gate = place.folder / "gate"
    (place.folder / "work.py").write_text(_UNTIL_THERE.format(gate=str(gate)))
    place.environment["AWS_ENDPOINT_URL"] = proxy.url
    with started(place, "run", "sweep.toml", "--workers", "1") as running:
        running.hear("0 of 6 runs stored")
        away = proxy.add(Rule(SLOW_DOWN, operations=("ListObjectsV2",)))
        running.hear("going on by itself")
        proxy.drop(away)
        running.hear("storage answers again")
        gate.touch()
        status, _ = running.end()
    assert status == 0
    assert [line for line in running.said if "cannot list" in line] == [
        line for line in running.said if line.endswith("; going on by itself\n")
    ]
    assert sum("going on by itself" in line for line in running.said) == 1
    assert sum("storage answers again" in line for line in running.said) == 1


_UNTIL_THERE = """
import os, time

def work(a, b):
    while not os.path.exists({gate!r}):
        time.sleep(0.05)
    return {{"sum": a + b}}
"""


def test_python_runs_submits_and_opens_sweeps_on_s3(place: S3Place) -> None:
    place.make_home()
    (place.folder / "go.py").write_text(
        f"import gapless\nhome = {place.url!r}\n"
        "if __name__ == '__main__':\n"
        "    sent = gapless.submit('sweep.toml', home=home, code='old')\n"
        "    print(sent.stored)\n"
        "    done = gapless.run('sweep.toml', home=home, workers=1, progress=False, code='old')\n"
        "    print(done.stored)\n"
        "    print(gapless.open(home, 'tiny').stored_count)\n"
    )
    answer = place.python("go.py")
    assert answer.returncode == 0, answer.stderr
    assert "0 of 6 runs" in answer.stdout
    assert answer.stdout.splitlines()[1:] == ["6 of 6 runs", "6"]


def test_a_command_of_another_region_uses_the_queues_of_the_home(place: S3Place) -> None:
    assert place.do("submit", "sweep.toml").returncode == 0
    names = place.queues()
    place.environment |= {"AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "us-east-1"}
    assert place.json("reconcile", "--resubmit", status=3)["jobs_queued"] == 6
    assert place.queues() == names
    assert place.do("cancel", "tiny").returncode == 0
    assert place.queues() == []


def test_queues_that_are_not_there_are_told_to_who_may_be_in_another_account(
    submitted: S3Place,
) -> None:
    drop_queues(submitted)
    told = submitted.do("reconcile")
    assert told.returncode == 4
    assert "both queues of tiny-" in told.stderr
    assert "credentials are of the account" in told.stderr
    assert "both queues" not in submitted.do("reconcile", "--resubmit", "--json").stdout
    assert "both queues" not in submitted.do("reconcile").stderr


def test_runs_delivered_before_the_work_queue_was_lost_are_not_sent_again(
    place: S3Place,
) -> None:
    place.make_home(settle_s=1.0)
    assert place.do("submit", "sweep.toml").returncode == 0
    assert place.do("node", "--workers", "1", "--idle-exit", "0.1").returncode == 0
    drop_queues(place, "-jobs")
    told = place.do("reconcile", "--resubmit")
    assert told.returncode == 3
    assert "in no job any more: delivered, or lost" in told.stdout
    assert "6 runs may be among the results that are not stored yet" in told.stdout
    assert place.do("aggregate", "--until-complete").returncode == 0
    done = place.json("reconcile", "--resubmit")
    assert (done["complete"], done["maybe_delivered"], done["jobs_sent"]) == (True, 0, 0)


def test_force_says_how_to_pass_a_message_that_nobody_takes_and_that_works(
    place: S3Place,
) -> None:
    place.make_home(settle_s=1.0)
    assert place.do("submit", "sweep.toml").returncode == 0
    told = place.do("reconcile", "--resubmit", "--force")
    assert told.returncode == 3
    line = told.stdout.splitlines()[-1]
    commands = re.findall(r"`(sweep [^`]*)`", line)
    assert [each.split()[1] for each in commands] == ["aggregate", "cancel", "resume", "reconcile"]
    for each in commands[1:-1]:
        assert place.shell(each).returncode == 0
    sent = place.shell(commands[-1])
    assert sent.returncode == 3
    assert re.search(r"sent again +6 ", sent.stdout)


def test_ctrl_c_while_a_home_is_waited_for_ends_with_status_130(
    place: S3Place, proxy: FaultProxy
) -> None:
    place.make_home()
    proxy.add(Rule(SLOW_DOWN))
    place.environment["AWS_ENDPOINT_URL"] = proxy.url
    for command in (("submit", "sweep.toml"), ("run", "sweep.toml"), ("reconcile",)):
        waiting = place.start(*command)
        try:
            assert waiting.stderr is not None
            assert "trying again" in waiting.stderr.readline()
            waiting.send_signal(signal.SIGINT)
            _, said = waiting.communicate(timeout=100)
        finally:
            waiting.kill()
            waiting.wait()
        assert waiting.returncode == 130
        assert "sweep: stopped; the same command goes on from here" in said
        assert "Abort" not in said


def drop_queues(place: S3Place, ending: str = "") -> None:
    for name in place.queues():
        if name.endswith(ending):
            queue = f"{place.address.queue_prefix}-{name}"
            url = place.sqs.get_queue_url(QueueName=queue)["QueueUrl"]
            place.sqs.delete_queue(QueueUrl=url)
