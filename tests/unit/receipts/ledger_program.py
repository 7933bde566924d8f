"""A program that submits or reconciles when told to: ledger_program.py WORK LEDGER HOME.

It says `ready`, waits for a line, works, says `done` and waits for the next line until there is
none. WORK is `submit` or `reconcile`.
"""

import secrets
import sys
import time
from pathlib import Path

from gapless.errors import GaplessError
from receipts.ledger import open_ledger
from tests.unit.receipts.world import World, declare

RUNS, JOB_SIZE = 3000, 7
_DEADLINE_S = 60.0


def _new_id() -> str:
    return secrets.token_hex(16)


def _reconcile(world: World, sweep_id: str) -> None:
    deadline = time.monotonic() + _DEADLINE_S
    while not world.store.exists(sweep_id):
        # Whoever submits it has not put it into the home yet.
        assert time.monotonic() < deadline
        time.sleep(0.02)
    world.reconcile(sweep_id, resubmit=True, new_id=_new_id)


def main() -> None:
    work, location, home = sys.argv[1:]
    runs, job_size = (int(each) for each in (sys.stdin.readline().split() or (RUNS, JOB_SIZE)))
    ledger = open_ledger(location)
    world = World(ledger, Path(home), now_s=time.time())
    frozen = declare(runs)
    print("ready", flush=True)
    for _ in sys.stdin:
        if work == "submit":
            world.submit(frozen, new_id=_new_id, job_size=job_size)
        else:
            _reconcile(world, frozen.declaration.id)
        print("done", flush=True)
    ledger.close()
    world.queues.close()


if __name__ == "__main__":
    try:
        main()
    except GaplessError as error:
        sys.exit(f"{type(error).__name__}: {error}")
