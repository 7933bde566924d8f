"""Nodes that let a sweep pause itself wrongly, for `test_bites`: the simulator must find them."""

from __future__ import annotations

from typing import Any

import msgspec

from compute_node.failure_watch import FailureWatch
from gapless.declaration.control import Control, ControlState
from gapless.storage.blobs import Blobs
from gapless.storage.sweeps import SweepStore
from tests.simulator.nodes import SimNode

__all__ = ["CountsFromTheStart", "PausesAnyVersion"]


class CountsFromTheStart(SimNode):
    """Pauses a sweep again for the failures that a person resumed it with."""

    def start(self) -> None:
        super().start()
        if self.plan.max_failures is not None:
            self.failures = FailureWatch(_ForgetfulStore(self.blobs), self.blobs, self.clock)


class _ForgetfulStore(SweepStore):
    """Reads of no pause that was before."""

    def control(self, sweep_id: str) -> Control:
        return msgspec.structs.replace(super().control(sweep_id), paused_itself=msgspec.UNSET)


class PausesAnyVersion(SimNode):
    """Pauses a sweep for what it read of it before a person changed what is wanted."""

    def start(self) -> None:
        super().start()
        if self.plan.max_failures is not None:
            self.failures = FailureWatch(_HastyStore(self.blobs), self.blobs, self.clock)


class _HastyStore(SweepStore):
    """Reads what is wanted of a sweep once, and pauses whatever version there is by now."""

    def __init__(self, blobs: Blobs) -> None:
        super().__init__(blobs)
        self.read: dict[str, Control] = {}

    def control(self, sweep_id: str) -> Control:
        return self.read.setdefault(sweep_id, super().control(sweep_id))

    def set_control_at(self, sweep_id: str, version: int, **changes: Any) -> Control | None:
        now = SweepStore(self.blobs)
        if now.control(sweep_id).state is ControlState.RUNNING:
            return now.set_control(sweep_id, **changes)
        return None
