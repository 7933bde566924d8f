"""What user code may ask of the run it is in: the argument named `run`."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["Run"]


class Run:
    """One attempt at one run, as user code sees it.

    `number` is the run's number in the sweep, `replicate` counts the repetitions of its point,
    `attempt` the tries (from 1); `seed` is the run's own; `parameters` are its values, the fixed
    ones included.
    """

    __slots__ = ("_folder", "_values", "attempt", "number", "parameters", "replicate", "seed")

    def __init__(
        self,
        *,
        number: int,
        replicate: int,
        attempt: int,
        seed: int,
        parameters: Mapping[str, Any],
        folder: Path,
    ) -> None:
        self.number = number
        self.replicate = replicate
        self.attempt = attempt
        self.seed = seed
        self.parameters = parameters
        self._folder = folder
        self._values: dict[str, Any] = {}

    @property
    def folder(self) -> Path:
        """A folder of the run's own, made when first asked for and removed after the run."""
        self._folder.mkdir(parents=True, exist_ok=True)
        return self._folder

    def set(self, name: str, value: Any) -> None:
        """Record a value: scalar, text, list or array. It is kept if the run fails later on."""
        if not isinstance(name, str):
            raise TypeError(f"the name of a value is text, not {type(name).__qualname__}")
        self._values[name] = value

    def __repr__(self) -> str:
        return f"<run {self.number}, attempt {self.attempt}>"


def values_set(run: Run) -> dict[str, Any]:
    """Give what was set so far."""
    return run._values  # noqa: SLF001 - the worker's side of Run


def clear_folder(run: Run) -> None:
    """Remove the run's folder if it was made."""
    shutil.rmtree(run._folder, ignore_errors=True)  # noqa: SLF001 - the worker's side of Run
