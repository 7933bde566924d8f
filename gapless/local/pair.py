"""The node and the aggregator that `sweep run` starts for its sweep."""

from __future__ import annotations

import time

from compute_node.node_report import told_unfit
from gapless.local.programs import Program
from gapless.local.progress import Watcher
from gapless.wiring import Home, program_id

__all__ = ["Pair"]


class Pair:
    """The node and the aggregator of one sweep."""

    def __init__(self, home: Home, sweep_id: str, *, workers: int, grace_s: float) -> None:
        self._started = False
        self._home = home
        self._sweep_id = sweep_id
        self._node_id = program_id("node")
        self.node = Program(
            "node",
            [
                *("node", sweep_id, *home.options, "--workers", str(workers)),
                *("--grace", f"{grace_s}s", "--node-id", self._node_id),
            ],
            log=home.logs_folder / f"{sweep_id}-node.log",
        )
        self.aggregator = Program(
            "aggregator",
            ["aggregate", sweep_id, *home.options, "--until-complete"],
            log=home.logs_folder / f"{sweep_id}-aggregator.log",
        )

    @property
    def restarts(self) -> int:
        """How often one of them was started anew."""
        return self.node.restarts + self.aggregator.restarts

    def start(self) -> None:
        """Start both; nothing when they were started before."""
        if not self._started:
            self._started = True
            self.node.start()
            self.aggregator.start()

    def somebody_ended(self) -> bool:
        """Tell whether one of them does not run."""
        return not (self.node.running and self.aggregator.running)

    def revive(self, watcher: Watcher) -> None:
        """Start anew what ended; ProgramFailed after too many times in a row."""
        for program in (self.node, self.aggregator):
            if not program.running and program.restart():
                watcher.note(f"the {program.kind} ended by itself and was started again")

    def why_unfit(self) -> str:
        """Say why the node cannot do the sweep's runs, in its own words."""
        told = told_unfit(self._home.blobs, self._node_id)
        return told.get(self._sweep_id, "").strip() or self.node.report()

    def ask_to_leave(self) -> None:
        """Let both end in good order."""
        self.node.ask_to_leave()
        self.aggregator.ask_to_leave()

    def wait(self, timeout_s: float) -> None:
        """Wait for the end of both, so long at most."""
        deadline_s = time.monotonic() + timeout_s
        for program in (self.node, self.aggregator):
            program.wait(max(0.0, deadline_s - time.monotonic()))

    def close(self) -> None:
        """Kill what still runs."""
        self.node.close()
        self.aggregator.close()
