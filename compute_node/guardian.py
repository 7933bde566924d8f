"""A tiny process that kills the workers' sessions when the agent is gone.

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
leaders=""
while read -r sign leader; do
  rest=""
  for each in $leaders; do [ "$each" = "$leader" ] || rest="$rest $each"; done
  if [ "$sign" = "+" ]; then leaders="$rest $leader"; else leaders="$rest"; fi
done
[ -n "$leaders" ] || exit 0

kill_members() {
  found=1
  for stat in /proc/[0-9]*/stat; do
    line=""
    { while read -r piece; do line="$line$piece "; done < "$stat"; } 2>/dev/null
    set -- ${line##*) }
    [ "$1" = "Z" ] && continue
    case " $leaders " in
      *" $4 "*)
        pid="${stat#/proc/}"
        kill -s KILL "${pid%/stat}" 2>/dev/null && found=0
        ;;
    esac
  done
  return "$found"
}

for each in $leaders; do kill -s KILL -- "-$each" 2>/dev/null; done
turns=0
while [ "$turns" -lt 40 ] && kill_members; do turns=$((turns + 1)); done
"""
"""Fields of /proc/<pid>/stat after the name in parentheses: state, parent, group, session."""


class Guardian:
    """Watches over sessions; must be started before the first worker."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", _SCRIPT],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def watch(self, leader: int) -> None:
        """Kill the session of this leader when the agent ends."""
        self._tell(f"+ {leader}\n")

    def forget(self, leader: int) -> None:
        """Stop watching a session that is gone: its number may be another's soon."""
        self._tell(f"- {leader}\n")

    def close(self) -> None:
        """End the guardian; sessions it still watches are killed."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        self._process.wait()

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        # A guardian that is gone is missed only if the agent is killed too.
        with contextlib.suppress(OSError):
            os.write(self._process.stdin.fileno(), line.encode("ascii"))
