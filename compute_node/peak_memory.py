"""How much memory a process had at most, in bytes.

On Linux from VmHWM of /proc/<pid>/status (proc(5)), which counts since the program was started; the
kernel's ru_maxrss also counts what the parent had when it started the program. A process that is
dead and not reaped has no VmHWM any more.
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path

__all__ = ["of_child", "of_this_process", "of_usage"]


def of_this_process() -> int:
    """Give the peak of the process that asks."""
    return _high_water("self") or of_usage(resource.getrusage(resource.RUSAGE_SELF))


def of_child(pid: int) -> int:
    """Give the peak of a living process so far; 0 when it cannot be told."""
    return _high_water(str(pid))


def of_usage(usage: resource.struct_rusage) -> int:
    """Give the peak that getrusage or wait4 told (KiB; on macOS bytes)."""
    return usage.ru_maxrss if sys.platform == "darwin" else usage.ru_maxrss * 1024


def _high_water(process: str) -> int:
    try:
        status = Path(f"/proc/{process}/status").read_bytes()
    except OSError:
        return 0
    _, found, rest = status.partition(b"VmHWM:")
    return int(rest.split(maxsplit=1)[0]) * 1024 if found else 0
