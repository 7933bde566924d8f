"""Bad files taken out of the way and kept: nothing that was stored is ever deleted.

What is set aside lies under quarantine/shards/<sweep>/<name>/, each file named by the SHA-256 of
its bytes, beside a note that says what it was, where it lay and why it is here. Taking a shard out
of the way goes, step by step, with what a crash right after each leaves:

1. copies of the shard and its manifest, then the note: all counts as before; the next time the same
   copies are found there
2. the shard is deleted: its manifest counts no more, its runs are gaps
3. the manifest is deleted: nothing is left but the copies

The shard goes first: one without its manifest might be adopted by anybody. A delete that a loss of
power takes back leaves one of these states too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

import msgspec

from gapless.declaration.formats import decode_record, encode_record
from gapless.storage import layout
from gapless.storage.blobs import Blobs
from gapless.storage.errors import BlobMissing

__all__ = ["AsideNote", "copy_aside", "read_notes", "set_aside"]

_KIND = "set-aside"
_MAJOR = 1
_NOTE = ".why.json"
_NAMED = 16


class AsideNote(msgspec.Struct, frozen=True, kw_only=True):
    """Why files were set aside; `kept` leads from where each lay to where its copy lies.

    `set_aside_at_s` is Unix time. To put a file back, copy it to where it lay.
    """

    sweep: str
    name: str
    why: str
    set_aside_at_s: float
    kept: dict[str, str]


def copy_aside(
    blobs: Blobs, sweep_id: str, name: str, *, files: Mapping[str, bytes], why: str, at_s: float
) -> str:
    """Keep copies of these files (key and bytes) with a note; give the note's key.

    Durable on return, safe to repeat: the same bytes are kept once, with the first reason.
    """
    kept: dict[str, str] = {}
    for key, data in files.items():
        ending = key.rpartition(".")[2]
        copy = layout.set_aside(sweep_id, name, f"{_digest(data)}.{ending}")
        blobs.put_if_absent(copy, data)
        kept[key] = copy
    note = AsideNote(sweep=sweep_id, name=name, why=why, set_aside_at_s=at_s, kept=kept)
    named = _digest("\n".join(kept.values()).encode("utf-8"))
    key = layout.set_aside(sweep_id, name, f"{named}{_NOTE}")
    blobs.put_if_absent(key, encode_record(note, kind=_KIND, major=_MAJOR))
    return key


def set_aside(
    blobs: Blobs, sweep_id: str, name: str, *, files: Mapping[str, bytes], why: str, at_s: float
) -> str:
    """Take these files out of the way, in the order given, and keep copies; give the note's key.

    Safe to repeat, also after a crash anywhere (see above).
    """
    note = copy_aside(blobs, sweep_id, name, files=files, why=why, at_s=at_s)
    for key in files:
        blobs.delete(key)
    return note


def read_notes(blobs: Blobs, sweep_id: str) -> Iterator[AsideNote]:
    """Give the notes on what was set aside of a sweep; DamagedMessage or NewerFormat."""
    for blob in blobs.list(layout.set_aside_prefix(sweep_id)):
        if blob.key.endswith(_NOTE):
            try:
                data = blobs.get(blob.key)
            except BlobMissing:
                continue
            yield decode_record(data, AsideNote, kind=_KIND, known=_MAJOR)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:_NAMED]
