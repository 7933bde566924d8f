"""Disasters between programs and the services they use, and of the queues there."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import partial

import boto3
from botocore.exceptions import ClientError

from tests.chaos.folder_disasters import disk_full
from tests.chaos.places import Cloud
from tests.chaos.scene import Disaster, Scene
from tests.services.proxy import Rule
from tests.services.proxy_calls import Reply
from tests.services.proxy_faults import (
    EXPIRED,
    SLOW_DOWN,
    AnswerCut,
    Delayed,
    Entries,
    Fault,
    Flipped,
    PartlyFailed,
    Passage,
    ReplyDropped,
    RequestDropped,
    Said,
)

__all__ = ["CLOUD", "Duplicated"]

_UNAVAILABLE = Said(503, "ServiceUnavailable")
_DELETED_RECENTLY = Said(400, "AWS.SimpleQueueService.QueueDeletedRecently")
_BATCHES = ("SendMessageBatch", "DeleteMessageBatch", "ChangeMessageVisibilityBatch")
_LONGEST_S = 8
_ANSWERS = ("GetObject", "ReceiveMessage", "ListObjectsV2")


@dataclass(frozen=True, slots=True)
class Duplicated:
    """The service gets the request twice; what it answers to the second is what is heard."""

    def perform(self, passage: Passage) -> Reply:
        passage.forward(passage.request)
        return passage.forward(passage.request)


def _faulty(
    scene: Scene[Cloud],
    *,
    kind: str,
    fault: Fault,
    chance: float,
    service: str | None = None,
    operations: Collection[str] = (),
) -> bool:
    """Have some of the calls hit for a while."""
    proxy = scene.place.proxy
    rule = proxy.add(Rule(fault, service=service, operations=operations, chance=chance))
    scene.rules.setdefault(kind, []).append(rule)
    scene.later(scene.dice.uniform(1, _LONGEST_S), partial(proxy.drop, rule))
    return True


def _on_the_way(
    kind: str,
    weight: int,
    fault: Fault,
    *,
    chance: float,
    service: str | None = None,
    operations: Collection[str] = (),
) -> Disaster:
    strike = partial(
        _faulty, kind=kind, fault=fault, chance=chance, service=service, operations=operations
    )
    return Disaster(kind, weight, strike)


def _outage(scene: Scene[Cloud]) -> bool:
    """Let nothing through, and end the connections there are."""
    _faulty(scene, kind="outage", fault=RequestDropped(), chance=1.0)
    scene.place.proxy.cut()
    return True


def _queue_deleted(scene: Scene[Cloud]) -> bool:
    urls = scene.place.queue_urls()
    if not urls:
        return False
    chosen = urls if scene.dice.random() < 0.3 else [scene.dice.choice(urls)]
    try:
        for url in chosen:
            boto3.client("sqs").delete_queue(QueueUrl=url)
    except ClientError:
        return False
    # Amazon keeps a deleted queue's name back for a minute (CreateQueue); here for some seconds.
    return _faulty(
        scene,
        kind="names of deleted queues barred",
        fault=_DELETED_RECENTLY,
        chance=1.0,
        operations=("CreateQueue",),
    )


def _queue_purged(scene: Scene[Cloud]) -> bool:
    urls = scene.place.queue_urls()
    if not urls:
        return False
    try:
        boto3.client("sqs").purge_queue(QueueUrl=scene.dice.choice(urls))
    except ClientError:
        return False
    return True


CLOUD: tuple[Disaster, ...] = (
    Disaster("queue deleted", 2, _queue_deleted),
    Disaster("queue purged", 2, _queue_purged),
    Disaster("outage", 1, _outage),
    Disaster("disk of a node full", 2, disk_full),
    _on_the_way("requests dropped", 3, RequestDropped(), chance=0.3),
    _on_the_way("replies dropped", 3, ReplyDropped(), chance=0.3),
    _on_the_way("answers cut in half", 2, AnswerCut(), chance=0.2, operations=_ANSWERS),
    _on_the_way("requests delayed", 2, Delayed(1.0), chance=0.3),
    _on_the_way("requests duplicated", 4, Duplicated(), chance=0.5),
    _on_the_way("503 from storage", 2, SLOW_DOWN, chance=0.5, service="s3"),
    _on_the_way("503 from queues", 2, _UNAVAILABLE, chance=0.5, service="sqs"),
    _on_the_way("expired credentials", 1, EXPIRED, chance=0.1),
    _on_the_way("flipped bytes", 1, Flipped(), chance=0.1, operations=("GetObject",)),
    *(
        _on_the_way(
            f"batch entries {entries.value}",
            1,
            PartlyFailed(entries),
            chance=0.5,
            service="sqs",
            operations=_BATCHES,
        )
        for entries in Entries
    ),
)
