"""A service that is away, busy, or refuses; credentials that end; threads and processes."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from gapless.aws import Trouble
from gapless.errors import UserMistake
from queueing.errors import QueueError, QueueRefused, QueueUnavailable
from queueing.port import Entry, Lease
from queueing.sqs import SqsQueues
from tests.unit.aws.lost_credentials import LOSSES, ProfileFile
from tests.unit.queueing.sqs_loopback import DROP, Reply, Request, Sqs, refusal

JOBS = "walk-jobs"


def send(queues: SqsQueues) -> bool:
    return queues.send(JOBS, [Entry("a")])[0].ok


# Away or busy


def test_a_connection_dropped_once_is_not_even_noticed(sqs: Sqs, queues: SqsQueues) -> None:
    sqs.next("SendMessageBatch", DROP)
    assert send(queues)
    assert queues.requests == {"GetQueueUrl": 1, "SendMessageBatch": 2}


@pytest.mark.parametrize(
    "trouble",
    [
        DROP,
        refusal("InternalError", status=500),
        refusal("ServiceUnavailable", status=503),
        refusal("com.amazonaws.sqs#RequestThrottled", status=400),
        refusal("ThrottlingException", status=400),
    ],
    ids=["dropped", "500", "503", "throttled", "throttled-otherwise"],
)
def test_a_service_that_stays_away_or_busy_is_unavailable_until_it_is_back(
    sqs: Sqs, queues: SqsQueues, trouble: Reply
) -> None:
    queues.create(JOBS)
    sqs.always("SendMessageBatch", trouble)
    with pytest.raises(QueueUnavailable, match=r"cannot be reached|is busy") as raised:
        send(queues)
    assert not isinstance(raised.value, QueueRefused)
    # Retried below, so that a blip is over before anybody hears of it; then it is the caller's.
    assert 2 <= sqs.count()["SendMessageBatch"] <= 4
    sqs.always("SendMessageBatch", sqs.success)
    assert send(queues)


PAGE = Reply(b"<html>sign in first</html>")


@pytest.mark.parametrize("operation", ["GetQueueUrl", "SendMessageBatch"])
def test_a_page_in_place_of_an_answer_is_no_success(
    sqs: Sqs, queues: SqsQueues, operation: str
) -> None:
    sqs.always(operation, PAGE)
    with pytest.raises(QueueUnavailable, match="did not"):
        send(queues)


def test_a_page_in_place_of_a_new_queue_is_no_success(sqs: Sqs, queues: SqsQueues) -> None:
    sqs.always("CreateQueue", PAGE)
    with pytest.raises(QueueUnavailable, match="see what answers in its place"):
        queues.create(JOBS)


# Refused


@pytest.mark.parametrize("code", ["AccessDenied", "AccessDeniedException", "KmsAccessDenied"])
def test_a_refusal_is_told_as_one_and_names_what_was_asked(
    sqs: Sqs, queues: SqsQueues, code: str
) -> None:
    sqs.always("CreateQueue", refusal(code, "no policy allows it", status=403))
    with pytest.raises(QueueRefused, match=f"CreateQueue of queue {JOBS}.*no policy allows it"):
        queues.create(JOBS)
    assert sqs.count()["CreateQueue"] == 1


def test_a_refusal_nobody_knows_keeps_the_work(sqs: Sqs, queues: SqsQueues) -> None:
    sqs.always("SendMessageBatch", refusal("SomethingNew", "for a reason"))
    with pytest.raises(QueueUnavailable, match="SomethingNew: for a reason"):
        send(queues)


# Credentials


EXPIRED = ["ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId", "SignatureDoesNotMatch"]


@pytest.mark.parametrize("code", EXPIRED)
def test_expired_credentials_are_read_anew(
    sqs: Sqs, queues: SqsQueues, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    assert send(queues)

    def only_new_ones(request: Request) -> Reply:
        if request.access_key_id == "new-key":
            return sqs.success(request)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "new-key")
        return refusal(code, "expired", status=403)

    sqs.always("SendMessageBatch", only_new_ones)
    assert send(queues)
    keys = [request.access_key_id for request in sqs.of("SendMessageBatch")]
    assert keys == ["test-key", "test-key", "new-key"]


def test_credentials_that_stay_wrong_are_refused_after_one_more_try(
    sqs: Sqs, queues: SqsQueues
) -> None:
    sqs.always("SendMessageBatch", refusal("ExpiredToken", "it expired", status=403))
    with pytest.raises(QueueRefused, match=r"does not take the credentials.*it expired.*clock"):
        send(queues)
    assert sqs.count()["SendMessageBatch"] == 2


def test_no_credentials_at_all_are_told(
    sqs: Sqs, queues: SqsQueues, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(QueueRefused, match="give boto3 valid ones"):
        send(queues)
    assert sqs.requests == []
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "new-key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "new-secret")
    assert send(queues)


@pytest.mark.parametrize("way", LOSSES)
def test_credentials_that_are_lost_while_a_program_runs_keep_its_work(
    sqs: Sqs, queues: SqsQueues, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, way: str
) -> None:
    profile = ProfileFile(tmp_path, monkeypatch)
    assert send(queues)
    loss = LOSSES[way]
    loss.happen(profile)
    sqs.next("ReceiveMessage", refusal("ExpiredToken", "it expired", status=403))
    kind = QueueUnavailable if loss.trouble is Trouble.AWAY else QueueRefused
    verbs: list[Callable[[], object]] = [
        lambda: queues.receive([JOBS], most=1, wait_s=0.0, lease_s=60.0),
        lambda: send(queues),
        lambda: queues.delete([Lease(JOBS, "t")]),
        lambda: queues.drop(JOBS),
    ]
    for verb in verbs:
        with pytest.raises(QueueUnavailable, match=loss.words) as caught:
            verb()
        assert type(caught.value) is kind or loss.trouble is Trouble.AWAY
        assert not (loss.trouble is Trouble.AWAY and isinstance(caught.value, QueueRefused))
    assert sqs.count() == {"GetQueueUrl": 1, "SendMessageBatch": 1, "ReceiveMessage": 1}
    monkeypatch.delenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", raising=False)
    profile.give()
    assert send(queues)


def test_what_no_service_would_take_is_a_plain_error(sqs: Sqs, queues: SqsQueues) -> None:
    with pytest.raises(QueueError, match="was not sent: ParamValidationError") as caught:
        queues.delete([Lease(JOBS, 7)])  # type: ignore[arg-type]
    assert not isinstance(caught.value, QueueUnavailable)


def test_no_region_is_a_mistake_in_words(
    sqs: Sqs, queues: SqsQueues, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_REGION")
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    with pytest.raises(UserMistake, match="AWS_REGION"):
        send(queues)


# Threads and processes


def test_many_threads_use_one_object(sqs: Sqs, queues: SqsQueues) -> None:
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            assert all(each.ok for each in queues.send(f"q{number % 3}", [Entry("a")] * 25))
        except BaseException as failure:  # noqa: BLE001 - shown by the assert below
            failures.append(failure)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60.0)
    assert failures == []
    assert len(sqs.entries("SendMessageBatch")) == 12 * 25
    assert queues.requests["SendMessageBatch"] == sqs.count()["SendMessageBatch"]


FORKED = """
import os, sys
from queueing.errors import QueueError
from queueing.port import Entry
from queueing.sqs import QueueAttributes, SqsQueues

queues = SqsQueues(QueueAttributes(retention_s=600.0, lease_s=60.0), prefix="home")
assert all(each.ok for each in queues.send("jobs", [Entry("a")] * 40))
child = os.fork()
if child == 0:
    try:
        queues.send("jobs", [Entry("of the child")])
    except QueueError as error:
        queues.close()
        os._exit(7 if "open them again" in str(error) else 1)
    os._exit(2)
_, status = os.waitpid(child, 0)
assert queues.send("jobs", [Entry("of the parent")])[0].ok
queues.close()
sys.exit(os.waitstatus_to_exitcode(status))
"""


def test_queues_are_not_used_across_a_fork(sqs: Sqs) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", FORKED],
        env=dict(os.environ),
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 7, ran.stderr.decode()
    bodies = [entry["MessageBody"] for entry in sqs.entries("SendMessageBatch")]
    assert bodies.count("of the parent") == 1
    assert "of the child" not in bodies


def test_closing_does_not_wait_for_a_network_that_swallows_everything(
    sqs: Sqs, queues: SqsQueues
) -> None:
    begun, go_on = threading.Barrier(9), threading.Event()

    def swallow(request: Request) -> Reply:
        begun.wait(60.0)
        go_on.wait(60.0)
        return sqs.success(request)

    sqs.next("SendMessageBatch", sqs.success, *[swallow] * 8)
    sending = threading.Thread(
        target=lambda: queues.send(JOBS, [Entry("a")] * 90), name="sends", daemon=True
    )
    sending.start()
    begun.wait(60.0)
    closing = threading.Thread(target=queues.close, name="closes", daemon=True)
    closing.start()
    # Far less than the 30 s after which the requests would be given up.
    closing.join(15.0)
    is_closed = not closing.is_alive()
    go_on.set()
    sending.join(60.0)
    assert is_closed
    assert not sending.is_alive()


def test_a_closed_object_answers_nothing(open_queues: Callable[[], SqsQueues]) -> None:
    queues = open_queues()
    queues.close()
    for verb in (
        lambda: queues.create(JOBS),
        lambda: queues.send(JOBS, []),
        lambda: queues.receive([JOBS], most=1, wait_s=0.0, lease_s=1.0),
        lambda: queues.extend([]),
        lambda: queues.release([]),
        lambda: queues.delete([]),
        lambda: queues.facts(JOBS),
        lambda: queues.drop(JOBS),
    ):
        with pytest.raises(QueueError, match="closed"):
            verb()
