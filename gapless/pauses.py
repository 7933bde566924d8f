"""Pauses between tries that grow, and differ from program to program. Pure."""

from __future__ import annotations

import zlib

__all__ = ["pause_s"]

_MOST_DOUBLINGS = 16
_HASHES = 2**32


def pause_s(failures: int, *, who: str, first_s: float = 0.25, longest_s: float = 30.0) -> float:
    """Give the pause in seconds after so many failures in a row (>= 1).

    It doubles from `first_s` to `longest_s`. Of that it is a share from half to all, which follows
    from `who` (a program's id, or a job's) and the number of failures: a hundred programs that met
    one outage do not come back in step, and each does the same again when it is played again.
    """
    full_s = min(longest_s, first_s * 2.0 ** min(failures - 1, _MOST_DOUBLINGS))
    share = zlib.crc32(f"{who} {failures}".encode()) / _HASHES
    return full_s * (0.5 + share / 2)
