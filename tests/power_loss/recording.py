"""Record the calls by which programs change files, in the order in which they came.

The program and all it starts run under strace. A call counts from the moment it had returned, and a
flush covers what had returned before it was asked for: two calls under way at once are so taken for
the weaker of both orders. strace sees the kernel's side: what a library does to a file (SQLite,
HDF5, Python) is here, however it does it.

A mapping of a file that is written through memory is not seen. SQLite does that with -shm alone,
which is no part of what lasts: it is built anew by whoever opens the file first after a power loss
(https://sqlite.org/walformat.html, section 2.3). That nothing else was missed is checked by
`history.History`: what it replays must be what lies on the disk in the end.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["MARKS", "Call", "mark", "read_calls", "record"]

MARKS = "/gapless-mark/"
"""What a program opens to leave a word in the record: there is no such folder."""

_CALLS = (
    "open,openat,creat,write,pwrite64,writev,pwritev,pwritev2,truncate,ftruncate,fallocate,"
    "copy_file_range,sendfile,rename,renameat,renameat2,link,linkat,symlink,symlinkat,unlink,"
    "unlinkat,mkdir,mkdirat,rmdir,fsync,fdatasync,sync,syncfs,sync_file_range,fcntl"
)
_WHOLE = re.compile(r"(\d+) +(\w+)\((.*)\) += (-?\d+|0x[0-9a-f]+|\?)(?:<|\s|$)", re.ASCII)
_BEGUN = re.compile(r"(\d+) +(\w+)\((.*?) <unfinished \.\.\.>$", re.ASCII)
_ENDED = re.compile(
    r"(\d+) +<\.\.\. (\w+) resumed>(.*)\) += (-?\d+|0x[0-9a-f]+|\?)(?:<|\s|$)", re.ASCII
)
_MOST_BYTES = 1 << 26


@dataclass(frozen=True, slots=True)
class Call:
    """One system call that did what it was asked for, or one that left a mark.

    `began` and `ended` are positions in the record. `arguments` is strace's text of them.
    """

    name: str
    arguments: str
    result: int
    began: int
    ended: int


def mark(text: str) -> None:
    """Leave a word in the record, from within a recorded program."""
    try:
        os.close(os.open(f"{MARKS}{text}", os.O_RDONLY))
    except FileNotFoundError:
        return
    raise AssertionError(f"{MARKS} is there")


def record(
    command: Sequence[str],
    *,
    cwd: Path,
    environment: Mapping[str, str],
    log: Path,
    within_s: float,
) -> list[Call]:
    """Run a command under strace to its end; give the calls of it and of all it started."""
    strace = shutil.which("strace")
    if strace is None:
        raise FileNotFoundError("strace is missing: install it")
    output = log.with_suffix(".out")
    with output.open("wb") as out:
        answer = subprocess.run(
            [
                *(strace, "-f", "-qq", "-y", "-xx", "-s", str(_MOST_BYTES), "--seccomp-bpf"),
                *("-e", "signal=none", "-e", f"trace={_CALLS}", "-o", str(log), *command),
            ],
            cwd=cwd,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            timeout=within_s,
            check=False,
        )
    if answer.returncode != 0:
        raise AssertionError(f"exit status {answer.returncode}:\n{output.read_text()[-4000:]}")
    with log.open(encoding="ascii") as lines:
        return list(read_calls(lines))


def read_calls(lines: Iterable[str]) -> Iterator[Call]:
    """Read the lines strace wrote."""
    begun: dict[tuple[str, str], tuple[str, int]] = {}
    for number, line in enumerate(lines):
        if found := _BEGUN.match(line):
            process, name, arguments = found.groups()
            begun[process, name] = (arguments, number)
            continue
        if found := _ENDED.match(line):
            process, name, rest, result = found.groups()
            arguments, began = begun.pop((process, name))
            arguments += rest
        elif found := _WHOLE.match(line):
            process, name, arguments, result = found.groups()
            began = number
        else:
            if "killed by" in line or "exited with" in line:
                continue
            raise AssertionError(f"strace wrote a line nobody understands: {line[:300]!r}")
        # "?" is the answer to a process that died within the call.
        failed = result == "?" or int(result, 0) < 0
        if not failed or _is_mark(arguments):
            yield Call(name, arguments, -1 if failed else int(result, 0), began, number)


_HEXADECIMAL_MARKS = "".join(f"\\x{each:02x}" for each in MARKS.encode())


def _is_mark(arguments: str) -> bool:
    return f'"{_HEXADECIMAL_MARKS}' in arguments
