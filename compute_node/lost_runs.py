"""The final result of a run that no worker can report: its process, or its nodes, were lost."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from compute_node.attempts import Attempt
from compute_node.commands import RecordLost
from compute_node.events import BlockMade
from compute_node.full_output import RunFile
from compute_node.outbox import Outbox
from compute_node.output import Output
from gapless.declaration.messages import text_digest
from gapless.declaration.runset import RunSet
from gapless.results.block import AttemptRecord, ErrorRecord, block_bytes, encode_block
from gapless.results.block_builder import BlockBuilder
from gapless.results.outcome import Outcome

__all__ = ["attempt_record", "lost_block"]

_MOST_ATTEMPTS = 2**16 - 1
_NOTHING: Mapping[str, Any] = MappingProxyType({})


def attempt_record(attempt: Attempt, *, node: str) -> AttemptRecord:
    """Give an attempt as it is stored."""
    return AttemptRecord(
        run=attempt.run,
        # A job may have died more often than this can be told.
        number=min(attempt.number, _MOST_ATTEMPTS),
        node=node,
        started_s=attempt.started_s,
        duration_s=attempt.duration_s,
        outcome=Outcome[attempt.outcome.upper()],
        exit=attempt.exit,
        peak_memory=attempt.peak_memory_bytes,
    )


def lost_block(
    command: RecordLost,
    output: Output,
    *,
    node: str,
    outbox: Outbox,
    values: Mapping[str, Any] = _NOTHING,
    full_output: RunFile | None = None,
) -> BlockMade:
    """Put the block of one such result into the outbox, with the values it had recorded."""
    last = command.attempts[-1]
    builder = BlockBuilder(command.epoch, node, command.code)
    builder.add(
        last.run,
        outcome=Outcome[last.outcome.upper()],
        complete=False,
        attempt=last.number,
        started_s=last.started_s,
        duration_s=last.duration_s,
        values=values,
        error=ErrorRecord(
            run=last.run,
            kind=last.outcome,
            type=last.outcome,
            message=last.exit,
            fingerprint=f"{last.outcome}:{last.exit}"[:80],
            transient=last.outcome == "lost",
            output_head=output.head,
            output_tail=output.tail,
        ),
        attempts=[attempt_record(each, node=node) for each in command.attempts],
    )
    block = builder.build()
    text = base64.b64encode(encode_block(block))
    return BlockMade(
        sweep=command.sweep,
        epoch=command.epoch,
        block=outbox.add(text, () if full_output is None else (full_output,)),
        runs=RunSet.of(last.run),
        digest=text_digest(text.decode("ascii")),
        size_bytes=len(text),
        opened_bytes=block_bytes(block),
    )
