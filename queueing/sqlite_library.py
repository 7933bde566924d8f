"""The one place that chooses the SQLite library, for the queue and for the ledger.

SQLite 3.7.0 to 3.51.2 can, rarely, corrupt a database in WAL mode that two connections write at
once (https://sqlite.org/wal.html, "The WAL-Reset Bug"); 3.51.3 mends it. So the library's own
version is checked, whatever the package that brings it is called: pysqlite3-binary carries 3.51.1
under the import name of pysqlite3.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Sequence
from types import ModuleType

from queueing.errors import QueueError

__all__ = ["LEAST_VERSION", "choose", "dialect_arguments", "load"]

LEAST_VERSION = (3, 51, 3)
"""The first SQLite without the WAL-reset bug."""

_CANDIDATES = ("sqlite3", "pysqlite3")


def choose(
    names: Sequence[str], import_module: Callable[[str], ModuleType] = importlib.import_module
) -> ModuleType:
    """Give the first module of these whose SQLite is new enough; QueueError when none is."""
    found: list[str] = []
    for name in names:
        try:
            module = import_module(name)
        except ImportError:
            found.append(f"{name} is not installed")
            continue
        version: tuple[int, ...] = module.sqlite_version_info
        if version >= LEAST_VERSION:
            return module
        found.append(f"{name} has SQLite {'.'.join(map(str, version))}")
    least = ".".join(map(str, LEAST_VERSION))
    raise QueueError(
        f"SQLite {least} or newer is needed, older ones can corrupt a queue: {', '.join(found)}; "
        "run: pip uninstall -y pysqlite3-binary; pip install --force-reinstall 'pysqlite3>=0.6.1'"
    )


@functools.cache
def load() -> ModuleType:
    """Give the DB-API module to use: the standard sqlite3, or pysqlite3, by their libraries."""
    return choose(_CANDIDATES)


def dialect_arguments() -> dict[str, ModuleType]:
    """Give what SQLAlchemy's `create_engine("sqlite:///…", **arguments)` needs to use it too."""
    return {"module": load()}
