"""Changes to valid encodings: to bytes as such, and to JSON by its structure. Pure."""

from __future__ import annotations

import json
from random import Random
from typing import Any

__all__ = ["mutated"]

_NUMBERS = (0, 1, -1, 2, 9, 255, 2**16, 2**31, 2**32, 2**53 + 1, 2**62, 2**63 - 1, 2**63, 2**64)
_ODD = (
    *_NUMBERS,
    *(-(2**63), -(2**63) - 1, 10**30, 1.5, -0.0, 1e308, 5e-324, 1e22),
    *(None, True, False, "", "0", "00", "1", "-1", "a", "x" * 300, "é", "\0", "\u2028", "../../x"),
    *("𝄞", "s" * 64, "0" * 64, "AAAA", "====", "[[0,1]]", "nan", "1e999", "/", ".", "sqs"),
    *(
        [],
        {},
        [[]],
        [0],
        [[0, 1]],
        [[1, 0]],
        [[0, 2**63]],
        [[0, 10**10]],
        {"0": {}},
        {"none": True},
    ),
)
_WORDS = (
    *(b'"', b"{", b"}", b"[", b"]", b",", b":", b"\\", b"\\ud800", b"\\u0000", b"null", b"NaN"),
    *(b"-1", b"1e999", b"9" * 30, b"9" * 5000, b"\n", b"\0", b"\xff", b"\xed\xa0\x80", b"[" * 2000),
    *(
        b"\xff\xff\xff\xff",
        b"\x7f\xff\xff\xff",
        b"\x00\x00\x00\x80",
        b"=",
        b".",
        b"0x" + b"f" * 4000,
    ),
)


def mutated(data: bytes, random: Random, *, others: tuple[bytes, ...] = ()) -> bytes:
    """Change valid bytes a little; what results may be valid or not."""
    for _ in range(random.choice((1, 1, 1, 2, 3, 6))):
        if random.random() < 0.5 and (changed := _by_structure(data, random)) is not None:
            data = changed
        else:
            data = _by_bytes(data, random, others)
    return data


def _by_bytes(  # noqa: PLR0911 - one answer a kind of change
    data: bytes, random: Random, others: tuple[bytes, ...]
) -> bytes:
    at = random.randrange(len(data) + 1)
    end = min(len(data), at + random.choice((1, 1, 2, 4, 8, 40)))
    match random.randrange(7):
        case 0 if at < len(data):
            return data[:at] + bytes([data[at] ^ 1 << random.randrange(8)]) + data[at + 1 :]
        case 1 if at < len(data):
            return data[:at] + bytes([random.choice((0, 1, 127, 128, 255, 48))]) + data[at + 1 :]
        case 2:
            return data[:at]
        case 3:
            return data[:at] + data[end:]
        case 4:
            return data[:end] + data[at:]
        case 5 if others:
            other = random.choice(others)
            return data[:at] + other[random.randrange(len(other) + 1) :]
        case _:
            return data[:at] + random.choice(_WORDS) + data[random.choice((at, end)) :]


def _by_structure(data: bytes, random: Random) -> bytes | None:
    """Change one place of the JSON in the first line, or in all; None when it is no JSON."""
    head, end, rest = data.partition(b"\n")
    try:
        value = json.loads(head)
    except (ValueError, RecursionError):
        head, end, rest = data, b"", b""
        try:
            value = json.loads(data)
        except (ValueError, RecursionError):
            return None
    if not isinstance(value, dict | list) or not value:
        return None
    if random.random() < 0.1 and isinstance(value, dict):
        # The same key twice: of two readers one may take the first and one the last.
        key = random.choice([*value])
        pair = f"{json.dumps(key)}:{json.dumps(random.choice(_ODD))}"
        text = json.dumps(value)
        return (text[:-1] + "," + pair + "}").encode() + end + rest
    _change(_place(value, random), random)
    try:
        return json.dumps(value).encode() + end + rest
    except (RecursionError, ValueError):
        return None


def _place(value: Any, random: Random) -> Any:
    """Give some list or table in a value, itself too."""
    while True:
        inner = [each for each in _parts(value) if isinstance(each, dict | list) and each]
        if not inner or random.random() < 0.3:
            return value
        value = random.choice(inner)


def _parts(value: Any) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else value


def _change(place: Any, random: Random) -> None:
    key = random.choice([*place]) if isinstance(place, dict) else random.randrange(len(place))
    odd = random.choice(_ODD)
    match random.randrange(6):
        case 0:
            del place[key]
        case 1 if isinstance(place, dict):
            place[str(odd)[:50]] = place[key]
        case 1:
            place.append(place[key])
        case 2 if isinstance(place[key], int):
            place[key] += random.choice((-1, 1, 2**32, -(2**63)))
        case 3 if isinstance(place[key], str) and place[key]:
            at = random.randrange(len(place[key]))
            place[key] = (
                place[key][:at] + random.choice(("", "A", "0", "é", "/")) + place[key][at + 1 :]
            )
        case 4:
            for _ in range(random.choice((1, 70, 300))):
                place[key] = [place[key]]
        case _:
            place[key] = odd
