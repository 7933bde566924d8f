"""The sweeps of a home: written in an order in which a crash leaves nothing that counts.

Objects, then segments, then control, then sweep.json: what has no sweep.json is no sweep, and
storing it again completes it. Each is put-if-absent, so that two submitters cannot mix.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from gapless.declaration.control import Asked, Control, ControlState
from gapless.declaration.errors import DamagedMessage, DeclarationError, NewerFormat
from gapless.declaration.runs import Runs, Segment
from gapless.declaration.sweep import Declaration, FrozenSweep
from gapless.errors import UserMistake
from gapless.storage import layout
from gapless.storage.blobs import Blob, Blobs
from gapless.storage.errors import BlobMissing, StorageError

__all__ = ["StoredSweep", "SweepStore"]

_Record = TypeVar("_Record")

_RACES = 1_000


@dataclass(frozen=True, slots=True)
class StoredSweep:
    """A sweep as it lies in a home: its declaration, its segments by number, and its runs."""

    declaration: Declaration
    segments: tuple[Segment, ...]
    runs: Runs

    @property
    def id(self) -> str:
        """The sweep's id."""
        return self.declaration.id


class SweepStore:
    """What is written under sweeps/<id>/ except results. Safe to use from several threads.

    Control versions, segments and asked records never change, so each is read once and kept as long
    as it is listed with the same size and time. What another of the same key holds, after a sweep
    was removed and submitted again, has another time: a bucket tells whole seconds, and a removal
    with its queues takes longer.
    """

    def __init__(self, blobs: Blobs) -> None:
        self.blobs = blobs
        self._kept: dict[str, dict[Blob, Any]] = {}

    def names(self) -> list[str]:
        """List what may be sweeps of the home, ascending, in one request: see `exists`."""
        return [*self.blobs.folders(layout.sweeps_prefix())]

    def ids(self) -> list[str]:
        """List every sweep of the home, ascending."""
        return [each for each in self.names() if self.exists(each)]

    def refuse_another(self, declaration: Declaration) -> None:
        """Raise DeclarationError when the stored sweep of this id is another one."""
        stored = self._read(layout.sweep(declaration.id), Declaration.decode)
        if stored.digest != declaration.digest:
            raise DeclarationError(
                f"the home has another sweep with the id {declaration.id} (digests "
                f"{stored.digest} and {declaration.digest}): give this one another name"
            )

    def ids_named(self, name: str) -> list[str]:
        """List the sweeps that are called `name`: more than one after its space was changed."""
        return [each for each in self.ids() if _name(each) == name]

    def exists(self, sweep_id: str) -> bool:
        """Tell whether the sweep was stored to the end."""
        try:
            self.blobs.get_range(layout.sweep(sweep_id), 0, 1)
        except BlobMissing:
            return False
        return True

    def store(self, frozen: FrozenSweep, bundle_sha: str | None, now_s: float) -> bool:
        """Store a sweep; tell whether it is new. Safe to repeat, also after a crash of the first.

        The bundle must have been stored before (`put_object`). A sweep that exists keeps its
        control. UserMistake when another declaration has the same id.
        """
        declaration = frozen.declaration
        sweep_id = declaration.id
        if self.exists(sweep_id):
            self.refuse_another(declaration)
            return False
        for sha256, data in frozen.objects.items():
            # A crash from here on leaves objects that nothing names: harmless, found by their hash.
            if self.put_object(data) != sha256:
                raise StorageError(f"object {sha256} of sweep {sweep_id} has another hash")
        self.add_segment(sweep_id, frozen.segment)
        # A crash here leaves segments without a sweep: the next store finds the same ones.
        self._first_control(
            sweep_id,
            Control(
                limits=frozen.limits,
                priority=frozen.priority,
                run_time_s=frozen.run_time_s,
                code=bundle_sha,
                at_s=float(now_s),
                why="submitted",
            ),
        )
        # A crash here leaves everything but the sweep itself: it still does not exist.
        if self.blobs.put_if_absent(layout.sweep(sweep_id), declaration.encode()):
            return True
        self.refuse_another(declaration)
        return False

    def load(self, sweep_id: str) -> StoredSweep:
        """Read a sweep; UserMistake when the home has none of this id."""
        declaration = self.declaration(sweep_id)
        segments = self.segments(sweep_id)
        return StoredSweep(declaration, segments, Runs(declaration, segments, self.get_object))

    def declaration(self, sweep_id: str) -> Declaration:
        """Read a sweep's declaration; UserMistake when the home has none of this id."""
        try:
            declaration = self._read(layout.sweep(sweep_id), Declaration.decode)
        except BlobMissing as error:
            raise self._no_such(sweep_id) from error
        if declaration.id != sweep_id:
            raise StorageError(
                f"{layout.sweep(sweep_id)} holds the sweep {declaration.id}: it was changed after "
                "it was submitted, or moved; put the original back"
            )
        return declaration

    def segments(self, sweep_id: str) -> tuple[Segment, ...]:
        """Read a sweep's segments, in their order."""
        prefix = layout.segments_prefix(sweep_id)
        found = self._list(prefix)
        numbers = [*found]
        if numbers != list(range(len(numbers))) or not numbers:
            raise StorageError(f"{prefix} holds the segments {numbers}: one is missing")
        return tuple(self._read_listed(prefix, blob, Segment.decode) for blob in found.values())

    def add_segment(
        self, sweep_id: str, segment: Segment, objects: Mapping[str, bytes] | None = None
    ) -> bool:
        """Store a segment and the objects it names; tell whether it is new. Safe to repeat.

        UserMistake when the number is taken by another segment.
        """
        for data in (objects or {}).values():
            self.put_object(data)
        key = layout.segment(sweep_id, segment.number)
        written = segment.encode()
        if self.blobs.put_if_absent(key, written):
            return True
        # As bytes: 1, 1.0 and True are equal in Python, and other points.
        if self._read(key, Segment.decode).encode() != written:
            raise UserMistake(
                f"sweep {sweep_id} has another segment {segment.number} already (somebody extended "
                "it at the same time, or two declarations share this id): look at it with "
                "`sweep status`, then extend it again"
            )
        return False

    def control(self, sweep_id: str) -> Control:
        """Read what is wanted of a sweep now: the highest version."""
        prefix = layout.control_prefix(sweep_id)
        found = self._list(prefix)
        if not found:
            if not self.exists(sweep_id):
                raise self._no_such(sweep_id)
            raise StorageError(f"sweep {sweep_id} has no control record: its home is damaged")
        return self._read_listed(prefix, found[max(found)], Control.decode)

    def why_paused(self, sweep_id: str) -> str:
        """Say why a sweep paused itself; "" when a person paused it, or it is not paused."""
        why, prefix = "", layout.control_prefix(sweep_id)
        for blob in reversed(self._list(prefix).values()):
            # Changed while it was paused: the first of the paused versions is the pause.
            record = self._read_listed(prefix, blob, Control.decode)
            if record.state is not ControlState.PAUSED:
                break
            why = record.why
        return why

    def set_control(self, sweep_id: str, **changes: Any) -> Control:
        """Change what is wanted; again on top of the newest version when another came first."""
        for _ in range(_RACES):
            following = self.control(sweep_id).changed(**changes)
            key = layout.control(sweep_id, following.version)
            if self.blobs.put_if_absent(key, following.encode()):
                return following
        raise StorageError(f"control of sweep {sweep_id} changed {_RACES} times meanwhile")

    def set_control_at(self, sweep_id: str, version: int, **changes: Any) -> Control | None:
        """Change what is wanted only if `version` still counts; None when it does not."""
        current = self.control(sweep_id)
        if current.version != version:
            return None
        following = current.changed(**changes)
        key = layout.control(sweep_id, following.version)
        return following if self.blobs.put_if_absent(key, following.encode()) else None

    def asked(self, sweep_id: str) -> list[Asked]:
        """Read which runs were asked for anew, by epoch ascending."""
        prefix = layout.asked_prefix(sweep_id)
        found = self._list(prefix).values()
        return [self._read_listed(prefix, blob, Asked.decode) for blob in found]

    def ask(self, sweep_id: str, asked: Asked) -> bool:
        """Store that runs are asked for anew; False: its epoch is taken by another one.

        Safe to repeat: True also when this very record was stored before.
        """
        key = layout.asked(sweep_id, asked.epoch)
        if self.blobs.put_if_absent(key, asked.encode()):
            return True
        return self._read(key, Asked.decode) == asked

    def put_object(self, data: bytes) -> str:
        """Store a bundle, table or bitmap under its hash and give the hash. Safe to repeat."""
        sha256 = hashlib.sha256(data).hexdigest()
        key = layout.object_(sha256)
        if not self.blobs.put_if_absent(key, data) and self.blobs.get(key) != data:
            # Its name says what it must hold, so a damaged one is mended.
            self.blobs.put(key, data)
        return sha256

    def get_object(self, sha256: str) -> bytes:
        """Read a bundle, table or bitmap; StorageError when it is missing or damaged."""
        try:
            data = self.blobs.get(layout.object_(sha256))
        except BlobMissing as error:
            raise StorageError(
                f"the home lacks object {sha256}, which a sweep needs: submit the sweep again"
            ) from error
        if hashlib.sha256(data).hexdigest() != sha256:
            raise StorageError(
                f"object {sha256} of the home is damaged ({len(data):,} bytes): delete the file "
                "and submit the sweep again"
            )
        return data

    def _first_control(self, sweep_id: str, control: Control) -> None:
        if self.blobs.put_if_absent(layout.control(sweep_id, 0), control.encode()):
            return
        # A submit that did not come to its end left one: what is asked for now counts.
        left = self.control(sweep_id)
        wanted = {
            "state": control.state,
            "limits": control.limits,
            "priority": control.priority,
            "run_time_s": control.run_time_s,
            "code": control.code,
        }
        if any(getattr(left, name) != value for name, value in wanted.items()):
            self.set_control(sweep_id, at_s=control.at_s, why=control.why, **wanted)

    def _list(self, prefix: str) -> dict[int, Blob]:
        """List numbered records, by number ascending; what was kept of others is forgotten."""
        found = {}
        for blob in self.blobs.list(prefix):
            name = blob.key[len(prefix) :].removesuffix(".json")
            if name.isascii() and name.isdigit():
                found[int(name)] = blob
        kept = self._kept.get(prefix, {})
        # Two threads may do this at once: then a record that is still there is read again.
        self._kept[prefix] = (
            {blob: kept[blob] for blob in found.values() if blob in kept} if kept else {}
        )
        return dict(sorted(found.items()))

    def _read_listed(self, prefix: str, blob: Blob, decode: Callable[[bytes], _Record]) -> _Record:
        kept = self._kept[prefix]
        if blob not in kept:
            kept[blob] = self._read(blob.key, decode)
        record: _Record = kept[blob]
        return record

    def _read(self, key: str, decode: Callable[[bytes], _Record]) -> _Record:
        try:
            return decode(self.blobs.get(key))
        except NewerFormat as error:
            raise StorageError(
                f"{key} is of format {error.found}, this program knows up to {error.known}: "
                "update gapless here"
            ) from error
        except DamagedMessage as error:
            raise StorageError(f"{key} of the home is damaged: {error}") from error

    def _no_such(self, sweep_id: str) -> UserMistake:
        known = self.ids()
        named = [each for each in known if _name(each) == _name(sweep_id)]
        close = named or difflib.get_close_matches(sweep_id, known, n=1)
        if close:
            return UserMistake(f"there is no sweep {sweep_id!r} here; did you mean {close[0]}?")
        listed = ", ".join(known[:5]) + (", …" if len(known) > 5 else "")
        return UserMistake(
            f"there is no sweep {sweep_id!r} here; the home holds {listed or 'no sweep yet'}"
        )


def _name(sweep_id: str) -> str:
    return sweep_id.rpartition("-")[0]
