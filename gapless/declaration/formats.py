"""How stored records say what they are: canonical JSON with `"format": "gapless.<kind>/<major>"`.

A reader ignores keys it does not know (a minor addition) and refuses a major version it does not
know.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from gapless.declaration.canonical import canonical_json, check_value
from gapless.declaration.errors import DamagedMessage, DeclarationError, NewerFormat

__all__ = ["decode_record", "encode_record"]

_Record = TypeVar("_Record", bound=msgspec.Struct)


class _FormatWire(msgspec.Struct):
    format: str


_read_format = msgspec.json.Decoder(_FormatWire)


def encode_record(record: msgspec.Struct, *, kind: str, major: int) -> bytes:
    """Write a record as canonical JSON with its format."""
    values: dict[str, Any] = msgspec.to_builtins(record)
    return canonical_json({**values, "format": f"gapless.{kind}/{major}"})


def decode_record(data: bytes, record: type[_Record], *, kind: str, known: int) -> _Record:
    """Read what `encode_record` wrote; DamagedMessage or NewerFormat when it cannot be."""
    try:
        found = _read_format.decode(data).format
        name, _, major = found.partition("/")
        if name != f"gapless.{kind}" or not (major.isascii() and major.isdigit()):
            raise DamagedMessage(f"not a {kind}: format {found[:80]!r}")
        if len(major) > 9 or int(major) != known:
            raise NewerFormat(kind=kind, found=int(major[:9]), known=known)
        decoded: _Record = msgspec.json.decode(data, type=record)
        # What cannot be written again (an integer beyond 64 bits, a nest of lists) was never
        # written by us, and would stop whoever changes the record.
        check_value(msgspec.to_builtins(decoded))
    except (msgspec.DecodeError, UnicodeError, RecursionError, DeclarationError) as error:
        raise DamagedMessage(f"not a {kind}: {error}"[:300]) from error
    return decoded
