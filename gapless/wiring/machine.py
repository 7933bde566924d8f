"""What programs ask of the machine they run on: the time, chance, cores, a name."""

from __future__ import annotations

import os
import re
import secrets
import socket
import time

__all__ = ["clock", "core_count", "new_id", "program_id"]


def clock() -> float:
    """Tell the time, Unix seconds: for what is stored."""
    return time.time()


def new_id() -> str:
    """Make a random id (32 hexadecimal digits)."""
    return secrets.token_hex(16)


def core_count() -> int:
    """Count the cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def program_id(kind: str) -> str:
    """Name a program of this machine for people and manifests: kind, host name, random digits."""
    host = re.sub(r"[^a-z0-9-]+", "-", socket.gethostname().lower()).strip("-")[:32] or "host"
    return f"{kind}-{host}-{secrets.token_hex(4)}"
