"""The one definition of attributes, and the names of queues."""

import pytest

from gapless.declaration.sweep import MAX_NAME
from queueing.errors import QueueError
from queueing.sqs_attributes import MAX_PREFIX, QueueAttributes, differing, name_on_sqs


def test_a_queue_is_made_with_all_attributes_in_whole_seconds() -> None:
    attributes = QueueAttributes(retention_s=1_209_600.0, lease_s=0.5, long_poll_s=19.2)
    assert attributes.for_sqs() == {
        "MessageRetentionPeriod": "1209600",
        "VisibilityTimeout": "1",
        "ReceiveMessageWaitTimeSeconds": "20",
        "MaximumMessageSize": "1048576",
        "SqsManagedSseEnabled": "true",
    }


def test_encryption_can_be_left_out() -> None:
    attributes = QueueAttributes(retention_s=60, lease_s=30, encryption="none")
    assert attributes.for_sqs()["SqsManagedSseEnabled"] == "false"


@pytest.mark.parametrize(
    "wrong",
    [
        {"retention_s": 59.0},
        {"retention_s": 1_209_601.0},
        {"retention_s": float("nan")},
        {"lease_s": 0.0},
        {"lease_s": 43_201.0},
        {"long_poll_s": -1.0},
        {"long_poll_s": 20.5},
        {"encryption": "kms"},
    ],
    ids=str,
)
def test_attributes_that_sqs_does_not_take_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(QueueError, match="not"):
        QueueAttributes(**{"retention_s": 600.0, "lease_s": 60.0, **wrong})  # type: ignore[arg-type]


def test_the_longest_sweep_fits_below_the_longest_prefix() -> None:
    sweep_id = "n" * MAX_NAME + "-0123abcd"
    prefix = "p" * MAX_PREFIX
    assert name_on_sqs(prefix, f"{sweep_id}-results") == f"{prefix}-{sweep_id}-results"


@pytest.mark.parametrize("prefix", ["", "p" * 21, "a.b", "a b", "caf\u00e9"])
def test_a_prefix_that_no_queue_can_have_is_refused(prefix: str) -> None:
    with pytest.raises(QueueError, match="prefix"):
        name_on_sqs(prefix, "jobs")


@pytest.mark.parametrize("queue", ["q" * 80, "jobs.fifo", "a/b", "\u0664", "jobs\n"])
def test_a_name_that_no_standard_queue_can_have_is_refused(queue: str) -> None:
    with pytest.raises(QueueError, match="no queue named"):
        name_on_sqs("home", queue)


def test_differing_attributes_are_named_with_both_values() -> None:
    wanted = {"VisibilityTimeout": "900", "SqsManagedSseEnabled": "true", "DelaySeconds": "0"}
    found = {"VisibilityTimeout": "30", "SqsManagedSseEnabled": "True", "KmsMasterKeyId": "x"}
    assert differing(wanted, found) == [
        "VisibilityTimeout is 30, this home's is 900",
        "DelaySeconds is not set, this home's is 0",
    ]
