"""Read a systemd unit file as systemd does, as far as ours go."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping

import infra

__all__ = ["command_line", "environment", "seconds", "settings"]


def settings(unit: str) -> dict[str, list[str]]:
    """Give what a unit sets, by name; what is set several times has several values."""
    found: dict[str, list[str]] = {}
    for line in infra.systemd_unit(unit).splitlines():
        if line and line[0] not in "#[":
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


def command_line(unit: str, variables: Mapping[str, str]) -> list[str]:
    """Give ExecStart as the words systemd starts.

    A word `$NAME` stands for the words of the variable, none when it is not set
    (systemd.service(5), "Command lines").
    """
    (line,) = settings(unit)["ExecStart"]
    words: list[str] = []
    for word in shlex.split(line):
        if word.startswith("$"):
            words += shlex.split(variables.get(word[1:], ""))
        else:
            words.append(word)
    return words


def environment(unit: str, folders: Mapping[str, str]) -> dict[str, str]:
    """Give what Environment sets, with `%S` and `%C` standing for the given folders."""
    found = {}
    for assigned in settings(unit).get("Environment", []):
        name, _, value = assigned.partition("=")
        found[name] = re.sub("%[A-Za-z%]", lambda each: folders[each.group()], value)
    return found


def seconds(text: str) -> float:
    """Read a time span: a bare number, or one with the unit s."""
    return float(text.removesuffix("s"))
