"""What nodes tell the home about themselves: nodes/<id>.json, written by them, read by others.

Format gapless.node/1, see `NodeReport`. A report is a claim of the moment it was written: who reads
one looks how old it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from gapless.declaration.errors import DamagedMessage, NewerFormat
from gapless.declaration.formats import decode_record, encode_record
from gapless.declaration.runset import RunSet
from gapless.storage import layout
from gapless.storage.blobs import Blobs
from gapless.storage.errors import BlobMissing

__all__ = ["HEARD_S", "NodeReport", "read_recent", "runs_in_hand"]

HEARD_S = 600.0
"""A node that wrote its report within this time is taken to be alive."""

_MAJOR = 1
# A clock wrong by more than a quarter of an hour can use no Amazon service: requests are refused
# (Amazon S3 API Reference, RequestTimeTooSkewed).
_WORST_SKEW_S = 900.0


class NodeReport(msgspec.Struct, frozen=True, kw_only=True):
    """One node: when it was last heard (Unix seconds, its own clock) and what it has in hand.

    `workers`: started ones; `busy`: of them at work; `waiting_bytes`: results on its disk that are
    not delivered yet; `unfit`: why it cannot do the runs of a sweep, by sweep; `sweeps`: the runs
    in hand as written in messages, by sweep and epoch (decimal).
    """

    node: str
    heard_at_s: float
    mode: str = ""
    workers: int = 0
    busy: int = 0
    waiting_bytes: int = 0
    unfit: dict[str, str] = {}
    sweeps: dict[str, dict[str, Any]] = {}

    def encode(self) -> bytes:
        """Write it."""
        return encode_record(self, kind="node", major=_MAJOR)

    @classmethod
    def decode(cls, data: bytes) -> NodeReport:
        """Read it; DamagedMessage or NewerFormat."""
        return decode_record(data, cls, kind="node", known=_MAJOR)

    def in_hand(self, sweep_id: str) -> dict[int, RunSet]:
        """Give the runs of a sweep it has in hand, by epoch; DamagedMessage."""
        found: dict[int, RunSet] = {}
        for epoch, wire in self.sweeps.get(sweep_id, {}).items():
            if not (epoch.isascii() and epoch.isdigit() and len(epoch) < 10) or (
                epoch != str(int(epoch))
            ):
                raise DamagedMessage(f"an epoch is {epoch[:40]!r}")
            found[int(epoch)] = RunSet.from_wire(wire)
        return found


def read_recent(blobs: Blobs, *, now_s: float) -> list[NodeReport]:
    """Read the reports of nodes that were heard within HEARD_S, before or after `now_s`.

    By the node's clock or by the storage's: one of the two may be wrong. What cannot be read is
    left out.
    """
    found: list[NodeReport] = []
    for blob in blobs.list(layout.nodes_prefix()):
        # Reports of nodes that are long gone stay for ever: these are not read again and again.
        if now_s - blob.written_at_s > HEARD_S + _WORST_SKEW_S:
            continue
        try:
            report = NodeReport.decode(blobs.get(blob.key))
        except (BlobMissing, DamagedMessage, NewerFormat):
            continue
        if min(abs(now_s - report.heard_at_s), abs(now_s - blob.written_at_s)) <= HEARD_S:
            found.append(report)
    return found


def runs_in_hand(reports: Iterable[NodeReport], sweep_id: str) -> dict[int, RunSet]:
    """Join what nodes have in hand of a sweep, by epoch; a damaged report says nothing."""
    found: dict[int, RunSet] = {}
    for report in reports:
        try:
            held = report.in_hand(sweep_id)
        except DamagedMessage:
            continue
        for epoch, runs in held.items():
            found[epoch] = found.get(epoch, RunSet()) | runs
    return found
