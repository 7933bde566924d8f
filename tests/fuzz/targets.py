"""Every decoder of the product, as fuzz targets."""

from __future__ import annotations

from pathlib import Path

from tests.fuzz.command_output import COMMAND_OUTPUT
from tests.fuzz.messages import MESSAGES
from tests.fuzz.records import RECORDS
from tests.fuzz.stored import STORED
from tests.fuzz.target import Target
from tests.fuzz.written import WRITTEN

__all__ = ["FOUND", "TARGETS", "found_inputs", "target_named"]

TARGETS = (*MESSAGES, *RECORDS, *STORED, *WRITTEN, *COMMAND_OUTPUT)
FOUND = Path(__file__).parent / "found"
"""Inputs that once broke a target, one folder a target: they stay."""


def target_named(name: str) -> Target:
    """Give a target; KeyError with the known names."""
    for target in TARGETS:
        if target.name == name:
            return target
    raise KeyError(f"there is no target {name!r}: {', '.join(each.name for each in TARGETS)}")


def found_inputs() -> list[tuple[str, Path]]:
    """Give (target, file) of every input that once broke one."""
    return sorted(
        (path.parent.name, path) for path in FOUND.glob("*/*") if not path.name.startswith(".")
    )
