"""What fails in the cloud costs repeated work, never a run: each sweep ends complete."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

import gapless
from gapless.wiring import S3Address
from tests.acceptance.cloud_programs import PERSON, SHORT_TIMES, CloudPrograms, made_home
from tests.acceptance.programs import wait_until
from tests.services.proxy import FaultProxy, Rule
from tests.services.proxy_faults import (
    EXPIRED,
    REFUSED,
    SLOW_DOWN,
    AnswerCut,
    Delayed,
    Entries,
    Flipped,
    PartlyFailed,
    ReplyDropped,
    RequestDropped,
    Said,
)
from tests.services.servers import Service

MINUTE_S = 60.0
DELETED_RECENTLY = Said(400, "AWS.SimpleQueueService.QueueDeletedRecently")
WRITES = {
    "PutObject",
    "CreateMultipartUpload",
    "UploadPart",
    "CompleteMultipartUpload",
}
BATCHES = {"SendMessageBatch", "DeleteMessageBatch", "ChangeMessageVisibilityBatch"}
ON_THEIR_OWN = {"node-1", "node-2", "aggregator"}


def sweep_of(points: int) -> str:
    return (
        'name = "chaos"\nfunction = "work:work"\nseed = 9\nreplicates = 2\n'
        f"[space.grid]\na = {{ range = [0, {points}] }}\n"
    )


WORK = """
import time
def work(a, *, seed):
    time.sleep(0.004)
    return {"twice": 2 * a, "drawn": seed}
"""


@pytest.fixture
def home(on_ministack: Service, request: pytest.FixtureRequest) -> S3Address:
    del on_ministack
    return made_home(**SHORT_TIMES | getattr(request, "param", {}))


@pytest.fixture
def proxy(on_ministack: Service) -> Iterator[FaultProxy]:
    with FaultProxy(on_ministack.url, seed=11) as found:
        yield found


@pytest.fixture
def programs(home: S3Address, proxy: FaultProxy, tmp_path: Path) -> Iterator[CloudPrograms]:
    found = CloudPrograms(tmp_path, home=home.url, endpoint=proxy.url)
    found.write("work.py", WORK)
    yield found
    found.stop_everything()


def write(programs: CloudPrograms, *, points: int) -> None:
    programs.write("sweep.toml", sweep_of(points))


def check(programs: CloudPrograms, *, points: int) -> Any:
    """Every run of the sweep is there, once, with its own result."""
    results = gapless.open(programs.home)
    table = results.to_pandas()
    assert table["run"].tolist() == list(range(2 * points))
    assert (table["outcome"] == "ok").all()
    assert (table["twice"] == 2 * table["a"]).all()
    assert (table["drawn"] == table["seed"]).all()
    assert table["seed"].nunique() == 2 * points
    assert results.duplicates.differing == 0
    return table


def queue_urls(home: S3Address) -> list[str]:
    found = boto3.client("sqs").list_queues(QueueNamePrefix=home.queue_prefix)
    return list(found.get("QueueUrls", ()))


def counts(home: S3Address, kind: str) -> dict[str, int]:
    (url,) = [url for url in queue_urls(home) if url.endswith(f"-{kind}")]
    found = boto3.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
    return {
        name: int(value)
        for name, value in found["Attributes"].items()
        if name.startswith("ApproximateNumber")
    }


def sent(home: S3Address) -> int:
    return sum(counts(home, "jobs").values())


def test_a_node_and_an_aggregator_killed_in_mid_sweep_cost_only_repeated_work(
    programs: CloudPrograms,
) -> None:
    write(programs, points=1500)
    programs.submit("--job-size", "50")
    node, other, aggregator = programs.node(1), programs.node(2), programs.aggregator()
    programs.wait_for_stored(1)
    for victim in (node, aggregator):
        victim.kill()
        victim.wait(timeout=20)
    assert programs.stored() < 3000
    aggregator = programs.aggregator()
    # The leases of the dead end: nothing has to be sent again.
    programs.until_complete()
    programs.stop(other, aggregator)
    check(programs, points=1500)


@pytest.mark.parametrize("home", [{"lease_s": 900.0}], indirect=True)
def test_programs_stopped_in_mid_sweep_give_back_what_they_hold(programs: CloudPrograms) -> None:
    write(programs, points=1500)
    programs.submit("--job-size", "500")
    first = [programs.node(1), programs.node(2), programs.aggregator()]
    programs.wait_for_stored(1)
    programs.stop(*first)
    assert programs.stored() < 3000
    # Leases of a quarter of an hour: what was not given back would be missing for so long.
    second = [programs.node(1), programs.aggregator()]
    programs.until_complete(within_s=60)
    programs.stop(*second)
    check(programs, points=1500)


def test_a_submit_killed_between_two_batches_is_finished_by_the_same_command(
    programs: CloudPrograms, proxy: FaultProxy, home: S3Address
) -> None:
    write(programs, points=200)
    late = proxy.add(Rule(Delayed(60), operations={"SendMessageBatch"}, times=1))
    submit = programs.start(PERSON, "sweep-submit", "sweep.toml", "--job-size", "10")
    wait_for_hits(late, 1)
    submit.kill()
    submit.wait(timeout=20)
    wait_until(lambda: sent(home) >= 10, within_s=20, what="the first batch was sent")
    assert sent(home) < 40
    programs.submit("--job-size", "10")
    running = [programs.node(1), programs.node(2), programs.aggregator()]
    programs.until_complete()
    programs.stop(*running)
    check(programs, points=200)


def test_both_queues_deleted_in_mid_sweep_are_made_again_and_the_gaps_sent(
    programs: CloudPrograms, proxy: FaultProxy, home: S3Address
) -> None:
    write(programs, points=2500)
    programs.submit("--job-size", "50")
    running = [programs.node(1), programs.node(2), programs.aggregator()]
    programs.wait_for_stored(1)
    assert counts(home, "jobs")["ApproximateNumberOfMessages"] > 0
    # Amazon keeps a deleted queue's name back for a minute; here for as long as this lasts.
    barred = proxy.add(Rule(DELETED_RECENTLY, operations={"CreateQueue"}))
    for url in queue_urls(home):
        boto3.client("sqs").delete_queue(QueueUrl=url)
    wait_for_hits(barred, 4)
    proxy.drop(barred)
    found = programs.until_complete("--resubmit", within_s=120)
    assert max(each["gaps"] for each in found) > 0
    assert all(program.poll() is None for program in running), programs.logs()
    assert len(queue_urls(home)) == 2
    programs.stop(*running)
    check(programs, points=2500)


def test_a_bucket_that_refuses_writes_for_a_minute_costs_nothing(
    programs: CloudPrograms, proxy: FaultProxy, home: S3Address
) -> None:
    write(programs, points=1000)
    programs.submit("--job-size", "50")
    running = [programs.node(1), programs.node(2), programs.aggregator()]
    programs.wait_for_stored(1)
    refusing = proxy.add(Rule(REFUSED, service="s3", operations=WRITES))
    began = time.monotonic()
    wait_for_hits(refusing, 1)
    before = programs.stored()
    programs.write("sweep.toml", sweep_of(3).replace("chaos", "other"))
    told = programs.do("sweep-submit", "sweep.toml", within_s=30)
    assert told.returncode == 1, told.stdout
    assert "AccessDenied" in told.stderr
    while time.monotonic() < began + MINUTE_S:
        assert all(program.poll() is None for program in running), programs.logs()
        time.sleep(1)
    assert programs.stored() == before
    assert counts(home, "results")["ApproximateNumberOfMessagesNotVisible"] > 0
    proxy.drop(refusing)
    # Nothing was lost: nothing has to be sent again.
    programs.until_complete()
    programs.stop(*running)
    check(programs, points=1000)


def test_an_outage_of_everything_ends_no_program_and_costs_nothing(
    programs: CloudPrograms, proxy: FaultProxy
) -> None:
    write(programs, points=1000)
    programs.submit("--job-size", "50")
    running = [programs.node(1), programs.node(2), programs.aggregator()]
    programs.wait_for_stored(1)
    away = proxy.add(Rule(RequestDropped()))
    proxy.cut()
    waiting = programs.start(PERSON, "sweep-reconcile")
    # Longer than a lease: what the programs hold may be in other hands when they are back.
    until = time.monotonic() + 1.5 * SHORT_TIMES["lease_s"]
    while time.monotonic() < until:
        assert all(program.poll() is None for program in [*running, waiting]), programs.logs()
        time.sleep(0.5)
    assert away.hits > 10
    proxy.drop(away)
    # A person's command has waited too, and said so.
    assert waiting.wait(timeout=60) in {0, 3}, programs.logs()
    assert "trying again until it works" in programs.log(PERSON)
    assert "storage answers again" in programs.log(PERSON)
    programs.until_complete()
    programs.stop(*running)
    check(programs, points=1000)


@pytest.mark.parametrize("queues_too", [False, True], ids=["ledger", "ledger and queues"])
def test_a_ledger_deleted_after_the_submit_is_rebuilt_with_segments_and_epochs(
    programs: CloudPrograms, home: S3Address, queues_too: bool
) -> None:
    write(programs, points=100)
    programs.submit("--job-size", "20")
    running = [programs.node(1), programs.aggregator()]
    programs.until_complete()
    programs.stop(*running)

    answer = programs.do("sweep-resubmit", "chaos", "--runs", "0-49")
    assert answer.returncode == 0, answer.stderr
    write(programs, points=200)
    programs.submit("--extend", "chaos", "--job-size", "20")
    shutil.rmtree(programs.state())
    if queues_too:
        for url in queue_urls(home):
            boto3.client("sqs").delete_queue(QueueUrl=url)

    answer = programs.do("sweep-reconcile", "--rebuild", within_s=60)
    assert answer.returncode in {3, 4}, answer.stdout + answer.stderr
    running = [programs.node(1), programs.node(2), programs.aggregator()]
    options = ["--resubmit"] if queues_too else []
    programs.until_complete(*options, within_s=120)
    programs.stop(*running)
    table = check(programs, points=200)
    # What a person asked for anew before the loss was done anew after it.
    assert set(table["run"][table["epoch"] == 1]) == set(range(50))
    assert set(table["epoch"]) == {0, 1}


def test_random_faults_on_every_way_lose_nothing_and_double_nothing(
    programs: CloudPrograms, proxy: FaultProxy
) -> None:
    write(programs, points=800)
    rules = [
        Rule(Said(409, "ConditionalRequestConflict"), operations={"PutObject"}, chance=0.1),
        Rule(Flipped(), operations={"GetObject"}, chance=0.05),
        Rule(Flipped(), operations={"ReceiveMessage"}, chance=0.05, times=2),
        Rule(AnswerCut(), operations={"GetObject", "ReceiveMessage"}, chance=0.05),
        *(
            Rule(PartlyFailed(entries), service="sqs", operations=BATCHES, chance=0.1)
            for entries in Entries
        ),
        Rule(EXPIRED, by=ON_THEIR_OWN, chance=0.03),
        Rule(REFUSED, by=ON_THEIR_OWN, chance=0.03),
        Rule(ReplyDropped(), chance=0.04),
        Rule(RequestDropped(), chance=0.04),
        Rule(SLOW_DOWN, chance=0.04),
        Rule(Delayed(0.5), chance=0.04),
    ]
    for rule in rules:
        proxy.add(rule)
    programs.submit("--job-size", "10")
    running = [programs.node(1), programs.node(2), programs.aggregator()]
    programs.until_complete("--resubmit", within_s=180)
    assert all(program.poll() is None for program in running), programs.logs()
    for rule in rules:
        proxy.drop(rule)
    assert sum(rule.hits for rule in rules) > 50
    programs.stop(*running)
    check(programs, points=800)


def wait_for_hits(rule: Rule, enough: int, *, within_s: float = 60) -> None:
    deadline = time.monotonic() + within_s
    while rule.hits < enough:
        assert time.monotonic() < deadline, f"{rule.hits} of {enough}"
        time.sleep(0.05)
