"""From a run's values to the words and the environment of its command. No shell is involved.

A value becomes text so: a string as it is, a number as Python writes it (0.1, 1e-05), true or
false, nothing for None, a list or a table as JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from gapless.declaration.target import word_parts

__all__ = ["PARAMETERS", "PARAMETER_PREFIX", "CommandWords", "parameter_environment", "value_text"]

PARAMETERS = "GAPLESS_PARAMS"
"""The variable that holds all parameters as one JSON object, whatever their names."""
PARAMETER_PREFIX = "GAPLESS_PARAM_"
"""Begins the variable of one parameter; its name follows as it is, small letters stay small."""

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


def value_text(value: Any) -> str:
    """Write one value as a word, or as a part of one."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple | dict):
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return repr(value)


def parameter_environment(parameters: Mapping[str, Any]) -> dict[str, str]:
    """Give the variables that hold the parameters.

    A name that is none for a variable (it has letters beyond ASCII) stands in GAPLESS_PARAMS only.
    """
    variables = {
        PARAMETER_PREFIX + name: value_text(value)
        for name, value in parameters.items()
        if _VARIABLE.fullmatch(name)
    }
    variables[PARAMETERS] = json.dumps(dict(parameters), ensure_ascii=False, separators=(",", ":"))
    return variables


class CommandWords:
    """The words of a command, to be filled in for each run."""

    def __init__(self, words: Sequence[str]) -> None:
        self._words = [word_parts(word) for word in words]

    @property
    def program(self) -> str | None:
        """The first word when it is the same for every run, else None."""
        parts = self._words[0]
        if any(name is not None for _, name in parts):
            return None
        return "".join(text for text, _ in parts)

    def fill(self, texts: Mapping[str, str]) -> list[str]:
        """Give the words with the texts of a run in the place of names."""
        return [
            "".join(text + (texts[name] if name is not None else "") for text, name in parts)
            for parts in self._words
        ]
