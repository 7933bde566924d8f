"""Read what a run left whose worker is gone: `python -P -m compute_node.values_reader FOLDER`.

Started by an agent, which has more to lose than a run: what the file holds may crash, hang or flood
the process that reads it. FOLDER is the worker's folder of runs.
"""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
import sys
from pathlib import Path

from compute_node.command_folder import newest_folder
from compute_node.recorded_values import Recorded, ValuesUnreadable, decode_hdf5
from compute_node.values_file import KEPT, OUTPUT, STDOUT, read_left
from compute_node.values_wire import decode_recorded, encode_recorded

__all__ = ["main", "values_left"]

_READ_S = 60.0


def values_left(run_folder: Path) -> Recorded:
    """Give what the last run of a worker that is gone had recorded, as far as it can be read."""
    folder = newest_folder(run_folder) or run_folder
    if not any(map(_holds_any, (folder / OUTPUT, run_folder / KEPT, run_folder / STDOUT))):
        return Recorded()
    with contextlib.suppress(OSError, subprocess.SubprocessError, ValuesUnreadable):
        # In a session of its own: an interrupt at the terminal is for the agent.
        answer = subprocess.run(
            [sys.executable, "-P", "-m", "compute_node.values_reader", str(run_folder)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_READ_S,
            check=True,
            start_new_session=True,
        )
        return decode_recorded(answer.stdout)
    return Recorded()


def main(arguments: list[str]) -> int:
    """Read, and write to standard output."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    recorded = read_left(Path(arguments[0]), decode_hdf5) or Recorded()
    rest = memoryview(encode_recorded(recorded))
    while rest:
        rest = rest[os.write(1, rest) :]
    return 0


def _holds_any(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
