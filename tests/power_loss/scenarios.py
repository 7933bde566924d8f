"""What is recorded: the commands of a person, on a small sweep, run as they are shipped."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

from gapless.storage.folder import FolderBlobs
from gapless.storage.home import HomeRecord, open_home_record
from tests.power_loss.disk import Order
from tests.power_loss.history import History
from tests.power_loss.recording import mark, record

__all__ = ["HOME", "NAME", "RUNS", "SCENARIOS", "environment", "record_scenario", "record_walk"]

DISK = "disk"
"""The recorded folder, below the place of a scenario: what survives is what is in it."""
HOME = "new/home"
"""Below the recorded folder: two folders that the first command makes."""
NAME = "walk"
RUNS = 40
_LEASE_S = 4.0
"""What a program held that the power loss ended comes back after so long."""

_SWEEP_FILE = """
name = "walk"
function = "walk:walk"
seed = 3
[space.grid]
a = { range = [0, STOP] }
"""
_WALK = """
import time
def walk(a, *, seed):
    time.sleep(PAUSE)
    return {"twice": 2 * a, "seed": seed, "trace": [float(a)] * 20}
"""


def _prepare(place: Path, *, stop: int = RUNS, pause_s: float = 0.0) -> None:
    """Write the sweep file and its code, outside of the recorded folder."""
    work = place / "work"
    work.mkdir(exist_ok=True)
    (place / DISK).mkdir(exist_ok=True)
    (work / "sweep.toml").write_text(_SWEEP_FILE.replace("STOP", str(stop)))
    (work / "walk.py").write_text(_WALK.replace("PAUSE", str(pause_s)))


def environment(place: Path, *, home: Path | None = None) -> dict[str, str]:
    """Give the surroundings of the programs."""
    return {
        **os.environ,
        "GAPLESS_HOME": str(place / DISK / HOME if home is None else home),
        "GAPLESS_CACHE": str(place / "cache"),
        "COLUMNS": "200",
    }


def record_scenario(name: str, place: Path, order: Order = Order.ANY) -> History:
    """Play a scenario in an empty folder; give what it did to its disk."""
    return _recorded(["tests.power_loss.scenarios", name, str(place)], place, order)


def record_walk(without: str, place: Path, order: Order = Order.ANY) -> History:
    """Play the walk by hand without a protection ("" for none); give what it did to its disk."""
    return _recorded(["tests.power_loss.walk_by_hand", str(place), without], place, order)


def _recorded(module: list[str], place: Path, order: Order) -> History:
    (place / DISK).mkdir()
    calls = record(
        [sys.executable, "-m", *module],
        cwd=Path(__file__).parents[2],
        environment=os.environ,
        log=place / "calls.strace",
        within_s=240,
    )
    history = History.of(calls, place / DISK, order)
    history.check_against(place / DISK)
    return history


def _do(place: Path, *arguments: str, expect: tuple[int, ...] = (0,)) -> None:
    answer = subprocess.run(
        [str(Path(sys.executable).parent / "sweep"), *arguments],
        cwd=place / "work",
        env=environment(place),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if answer.returncode not in expect:
        raise AssertionError(f"sweep {' '.join(arguments)}: {answer.stdout}{answer.stderr}")


def _home_with_short_leases(place: Path) -> None:
    home = place / DISK / HOME
    home.mkdir(parents=True)
    open_home_record(FolderBlobs(home), create=True, record=HomeRecord(id="h", lease_s=_LEASE_S))


def _submit(place: Path) -> None:
    """A home is made and a sweep submitted; submitted again, nothing changes."""
    _prepare(place)
    _do(place, "submit", "sweep.toml", "--job-size", "10")
    mark("submitted")


def _run(place: Path) -> None:
    """A whole sweep, from nothing to complete, flushed about three times."""
    _prepare(place, pause_s=0.06)
    _home_with_short_leases(place)
    _do(place, "run", "sweep.toml", "--workers", "1")
    mark("submitted")
    mark("complete")


def _lose_the_queue_while_it_is_open(place: Path) -> None:
    """Leave -wal and -shm behind, with a transaction in them, as a program does that goes on."""
    _python(f"""
        import os
        from pathlib import Path
        from queueing.port import Entry
        from queueing.sqlite import SqliteQueues
        path = Path({str(place / DISK / HOME)!r}) / "queue.db"
        queues = SqliteQueues(path)
        queues.send("another", [Entry(str(number) * 2000) for number in range(50)])
        queues.close()
        queues = SqliteQueues(path)
        queues.send("another", [Entry("the last one")])
        path.unlink()
        os._exit(0)
    """)


def _lose_the_ledger_while_it_is_open(place: Path) -> None:
    _python(f"""
        import os
        from pathlib import Path
        from receipts.ledger import SweepRow, open_ledger
        home = Path({str(place / DISK / HOME)!r})
        ledger = open_ledger(home)
        for number in range(3):
            ledger.record_sweep(SweepRow(f"another-{{number}}", "d" * 40_000, "another", 0.0))
        ledger.close()
        ledger = open_ledger(home)
        ledger.record_sweep(SweepRow("the-last-one", "d", "another", 0.0))
        (home / "ledger.db").unlink()
        os._exit(0)
    """)


def _python(program: str) -> None:
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)], timeout=60, check=True)


def _changes(place: Path) -> None:
    """A complete sweep is extended, asked for anew, loses its queue and its ledger, is finished."""
    _prepare(place, stop=6)
    _do(place, "run", "sweep.toml", "--workers", "1")
    mark("complete")
    _prepare(place, stop=9)
    _do(place, "submit", "sweep.toml", "--extend", NAME, "--job-size", "2")
    mark("extended")
    _do(place, "resubmit", NAME, "--runs", "0-3")
    mark("resubmitted")
    mark("losing-the-queue")
    _lose_the_queue_while_it_is_open(place)
    _do(place, "reconcile", "--resubmit", expect=(3,))
    mark("losing-the-ledger")
    _lose_the_ledger_while_it_is_open(place)
    _do(place, "reconcile", "--rebuild", expect=(3,))
    mark("rebuilt")


def _remove(place: Path) -> None:
    """A sweep with some results is cancelled, then removed."""
    _prepare(place, stop=6)
    _home_with_short_leases(place)
    _do(place, "run", "sweep.toml", "--workers", "1")
    _prepare(place, stop=9)
    _do(place, "submit", "sweep.toml", "--extend", NAME, "--job-size", "2")
    mark("extended")
    _do(place, "cancel", NAME)
    mark("cancelled")
    mark("removing")
    _do(place, "remove", NAME, "--yes")
    mark("removed")


SCENARIOS: dict[str, Callable[[Path], None]] = {
    "submit": _submit,
    "run": _run,
    "changes": _changes,
    "remove": _remove,
}

if __name__ == "__main__":
    SCENARIOS[sys.argv[1]](Path(sys.argv[2]))
