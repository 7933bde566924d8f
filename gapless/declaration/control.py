"""What is wanted of a sweep now: its desired state, its limits, and which runs were asked anew."""

from __future__ import annotations

import enum
import math
from typing import Any

import msgspec

from gapless.declaration.errors import DamagedMessage, DeclarationError
from gapless.declaration.formats import decode_record, encode_record
from gapless.declaration.limits import MAX_PRIORITY, Limits
from gapless.declaration.messages import MAX_EPOCH
from gapless.declaration.runset import RunSet

__all__ = ["Asked", "Control", "ControlState", "SelfPause"]

_CONTROL_MAJOR = 1
_ASKED_MAJOR = 1


class ControlState(enum.Enum):
    """What the programs shall do with a sweep."""

    RUNNING = "running"
    PAUSED = "paused"
    CANCELLED = "cancelled"


_NEXT = {
    ControlState.RUNNING: {ControlState.PAUSED, ControlState.CANCELLED},
    ControlState.PAUSED: {ControlState.RUNNING, ControlState.CANCELLED},
    ControlState.CANCELLED: {ControlState.RUNNING},
}
"""A cancelled sweep may be resumed: its queues are gone, so reconcile then finds its gaps."""


class SelfPause(msgspec.Struct, frozen=True, kw_only=True):
    """What a sweep that paused itself, and was resumed, is not to pause itself for again.

    `failures` runs had ended not `ok` then, when `epoch` was the highest one asked for.
    """

    failures: int
    epoch: int


class Control(msgspec.Struct, frozen=True, kw_only=True):
    """One version of what is wanted; the highest version counts.

    `run_time_s` is a hint for the size of jobs; `code` is the sha256 of the bundle (None: the
    target needs none); `at_s` is when it was asked (Unix seconds, 0: not told), `why` for people.
    `paused_itself` tells of the last time it did, and stays in later versions.
    """

    version: int = 0
    state: ControlState = ControlState.RUNNING
    limits: Limits = Limits()
    priority: int = 0
    run_time_s: float | None = None
    code: str | None = None
    at_s: float = 0.0
    why: str = ""
    paused_itself: SelfPause | msgspec.UnsetType = msgspec.UNSET

    def changed(self, **changes: Any) -> Control:
        """Give the next version; DeclarationError when its state cannot follow this one."""
        state = changes.get("state", self.state)
        if state is not self.state and state not in _NEXT[self.state]:
            raise DeclarationError(
                f"a {self.state.value} sweep cannot become {state.value}: resume it first"
            )
        following: Control = msgspec.structs.replace(
            self, **{"why": "", "at_s": 0.0, **changes, "version": self.version + 1}
        )
        return following

    def encode(self) -> bytes:
        """Write it as stored."""
        return encode_record(self, kind="control", major=_CONTROL_MAJOR)

    @classmethod
    def decode(cls, data: bytes) -> Control:
        """Read what `encode` wrote; DamagedMessage or NewerFormat."""
        control = decode_record(data, cls, kind="control", known=_CONTROL_MAJOR)
        run_time_s = control.run_time_s
        if not 0 <= control.version < 2**53 or abs(control.priority) > MAX_PRIORITY:
            raise DamagedMessage(f"control has version {control.version}, {control.priority=}")
        if run_time_s is not None and not 0 < run_time_s < math.inf:
            raise DamagedMessage(f"control says that a run takes {run_time_s} s")
        return control


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """The runs that a person asked for anew at an epoch (>= 1), when (Unix seconds) and why."""

    epoch: int
    runs: RunSet
    at_s: float
    why: str = ""

    def encode(self) -> bytes:
        """Write it as stored."""
        wire = _AskedWire(
            epoch=self.epoch, runs=self.runs.to_wire(), at_s=float(self.at_s), why=self.why
        )
        return encode_record(wire, kind="asked", major=_ASKED_MAJOR)

    @classmethod
    def decode(cls, data: bytes) -> Asked:
        """Read what `encode` wrote; DamagedMessage or NewerFormat."""
        wire = decode_record(data, _AskedWire, kind="asked", known=_ASKED_MAJOR)
        if not 1 <= wire.epoch <= MAX_EPOCH:
            raise DamagedMessage(f"runs were asked for anew at epoch {wire.epoch}")
        return cls(epoch=wire.epoch, runs=RunSet.from_wire(wire.runs), at_s=wire.at_s, why=wire.why)


class _AskedWire(msgspec.Struct, frozen=True, kw_only=True):
    epoch: int
    runs: Any
    at_s: float
    why: str = ""
