"""Replay one seed with its log: `python -m tests.simulator SEED`."""

from __future__ import annotations

import sys

from tests.simulator.scenario import Failed, run_seed

if len(sys.argv) != 2 or not sys.argv[1].isdigit():
    sys.exit("usage: python -m tests.simulator SEED")
try:
    world = run_seed(int(sys.argv[1]))
except Failed as failure:
    sys.exit(str(failure))
print("\n".join(world.lines))
print(f"seed {world.seed}: every invariant held, {world.steps} steps")
