"""Run inputs in a child process that cannot take more memory or time than they may.

`python -m tests.fuzz.bounds` reads names of targets and their inputs from standard input, and says
how each ended. A child that hangs is killed by its own alarm; one that takes too much is refused
memory by the kernel.
"""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import msgspec

from tests.fuzz.targets import target_named

__all__ = ["MOST_S", "Ending", "run_bounded"]

MOST_S = 10
"""One input may keep a processor busy for so long: generous, and little for what must not hang."""
_MOST_WAITED_S = 120
"""The same for what waits instead, on a machine that does many other things."""
_ROOT = Path(__file__).parents[2]
_STATM = Path("/proc/self/statm")


class Ending(msgspec.Struct, frozen=True):
    """How the check of one input ended; `problem` is "" when nothing is wrong with it."""

    target: str
    size_bytes: int
    decoded: bool
    problem: str


def run_bounded(inputs: Iterable[tuple[str, bytes]]) -> list[Ending]:
    """Check inputs (target, bytes) one after the other in one child; the last may end it."""
    sent = list(inputs)
    # A child that is stopped by neither of its alarms is not waited for without end.
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.bounds"],
        input=msgspec.msgpack.encode(sent),
        stdout=subprocess.PIPE,
        cwd=_ROOT,
        timeout=_MOST_WAITED_S * (len(sent) + 1),
        check=False,
    )
    endings = [
        msgspec.json.decode(line, type=Ending) for line in done.stdout.splitlines() if line.strip()
    ]
    if len(endings) < len(sent):
        name, data = sent[len(endings)]
        why = f"the process ended with status {done.returncode} (-27: more than {MOST_S} s)"
        endings.append(Ending(name, len(data), decoded=False, problem=why))
    return endings


def _main() -> int:
    for name, data in msgspec.msgpack.decode(sys.stdin.buffer.read(), type=list[tuple[str, bytes]]):
        target = target_named(name)
        target.seeds()
        signal.alarm(_MOST_WAITED_S)
        signal.setitimer(signal.ITIMER_PROF, MOST_S)
        if _STATM.exists():
            taken = int(_STATM.read_text().split()[0]) * resource.getpagesize()
            hard = resource.getrlimit(resource.RLIMIT_AS)[1]
            resource.setrlimit(resource.RLIMIT_AS, (taken + target.most_bytes(data), hard))
        problem, decoded = "", False
        try:
            decoded = target.check(data)
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is the finding
            problem = f"{type(error).__name__}: {error}"[:500]
        signal.alarm(0)
        signal.setitimer(signal.ITIMER_PROF, 0)
        ending = Ending(name, len(data), decoded=decoded, problem=problem)
        sys.stdout.buffer.write(msgspec.json.encode(ending) + b"\n")
        sys.stdout.buffer.flush()
    return 0


if __name__ == "__main__":
    sys.exit(_main())
