"""A tiny process that kills the workers' process groups when the agent is gone.

A worker dies with its agent by itself, but what user code started does not: the kernel's
parent-death signal reaches no grandchildren. The guardian waits for the end of a pipe whose other
end only the agent holds.
"""

from __future__ import annotations

import contextlib
import os
import subprocess

__all__ = ["Guardian"]

_SCRIPT = """
groups=""
while read -r sign group; do
  rest=""
  for each in $groups; do [ "$each" = "$group" ] || rest="$rest $each"; done
  if [ "$sign" = "+" ]; then groups="$rest $group"; else groups="$rest"; fi
done
for each in $groups; do kill -s KILL -- "-$each" 2>/dev/null; done
"""


class Guardian:
    """Watches over process groups; must be started before the first worker."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", _SCRIPT],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def watch(self, group: int) -> None:
        """Kill this group when the agent ends."""
        self._tell(f"+ {group}\n")

    def forget(self, group: int) -> None:
        """Stop watching a group that is gone: its number may be another's soon."""
        self._tell(f"- {group}\n")

    def close(self) -> None:
        """End the guardian; groups it still watches are killed."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        self._process.wait()

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        # A guardian that is gone is missed only if the agent is killed too.
        with contextlib.suppress(OSError):
            os.write(self._process.stdin.fileno(), line.encode("ascii"))
