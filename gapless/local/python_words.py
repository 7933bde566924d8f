"""Messages for those who call us from Python: options of commands as arguments."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from gapless.errors import GaplessError

__all__ = ["in_python", "python_words"]

_OPTIONS = re.compile(
    r"`?--(?:(code) (old|new)|(extend) ([a-z0-9][\w-]*)|(new)|(home|state|ledger))\b`?(?! [A-Z])"
)
_IN_COMMAND = re.compile(r"(`sweep [^`]*`)")


def in_python(text: str) -> str:
    """Word options (--code new, --extend walk-1a2b3c4d, --new, --home) as arguments.

    Whole commands (`sweep resume walk`) stay: they are given at a terminal.
    """
    parts = _IN_COMMAND.split(text)
    return "".join(
        part if _IN_COMMAND.fullmatch(part) else _OPTIONS.sub(_argument, part) for part in parts
    )


@contextmanager
def python_words() -> Iterator[None]:
    """Let errors of ours that pass speak of arguments instead of options."""
    try:
        yield
    except GaplessError as error:
        if error.args and isinstance(error.args[0], str):
            error.args = (in_python(error.args[0]), *error.args[1:])
        raise


def _argument(option: re.Match[str]) -> str:
    code, which, extend, sweep, new, place = option.groups()
    if code:
        return f'code="{which}"'
    if extend:
        return f'extend="{sweep}"'
    return "new=True" if new else f"{place}="
