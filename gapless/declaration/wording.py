"""Words for what somebody wrote where something else was expected, for messages."""

from __future__ import annotations

import datetime as dt
import json
import math

__all__ = ["describe"]

_SHOWN = 60
_MOST_BITS = 4_096


def describe(value: object) -> str:  # noqa: PLR0911 - one answer a type
    """Say in a few words what a value of a TOML file is."""
    match value:
        case bool():
            return "true" if value else "false"
        case float() if not math.isfinite(value):
            return f"{value} (no finite number)"
        case int() if value.bit_length() > _MOST_BITS:
            # Python refuses to write out the digits of very large ones.
            return f"an integer of {value.bit_length():,} bits"
        case int() | float():
            return str(value)[:_SHOWN]
        case str():
            text = json.dumps(value, ensure_ascii=False)
            return f"the text {text if len(text) <= _SHOWN else text[:_SHOWN] + '…'}"
        case list() | tuple():
            return f"a list of {len(value)}" if value else "an empty list"
        case dict():
            keys = ", ".join(str(key) for key in value)
            return f"a table with {keys[:_SHOWN]}" if value else "an empty table"
        case dt.date() | dt.time():
            return f"a date or time ({value.isoformat()})"
        case None:
            return "nothing"
    return f"a {type(value).__name__}"
