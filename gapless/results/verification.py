"""Read every shard of a sweep and say what it holds, from the rows; take bad ones out of the way.

Safe beside everything else that works on the sweep, and to be killed at any call: what is set aside
is copied first, and a second call goes on (`setting_aside`). A shard is bad only when two reads in
a row gave the same wrong bytes.

What becomes of a shard that is not sound:

- changed bytes, or gone: set aside with its manifest; its runs count no more
- whole, its manifest wrong: the manifest is set aside and made anew from the rows
- whole without manifest, not just being stored: adopted, as by reconcile
- whole under another name than its own: set aside when the shard of that name has the same bytes,
  else left: it may be the only copy, and counts once it is named as it was
- written as it is, but not readable here or of another declaration: left; a mistake of this program
  would show like that
- changed, as storage itself knows by a checksum: the same, for the way here may be at fault
- of a later version, or given by storage in pieces or not at all: left, and not verified

`Mode.FORCE` sets aside all of these but the last.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from gapless.declaration.errors import MessageError
from gapless.declaration.runset import RunSet
from gapless.errors import GaplessError
from gapless.patience import patiently
from gapless.results.cache_checks import wrong_caches
from gapless.results.coverage import Coverage
from gapless.results.declared_rows import DeclaredRows
from gapless.results.findings import Action, Finding, Mode, Verification
from gapless.results.manifest import Manifest, decode_manifest, encode_manifest
from gapless.results.origin import is_shard_id
from gapless.results.setting_aside import copy_aside, set_aside
from gapless.results.shard_bytes import ShardBytes, read_shard_bytes, read_shards
from gapless.results.shard_judgement import Found, Judgement, judge
from gapless.storage import layout
from gapless.storage.blobs import Blob, Blobs
from gapless.storage.bulk_reads import read_many
from gapless.storage.errors import BlobMissing, StorageError, StorageRefused, StorageUnavailable
from gapless.storage.sweeps import SweepStore

__all__ = ["ADOPT_AFTER_S", "Action", "Finding", "Mode", "Verification", "verify_shards"]

ADOPT_AFTER_S = 60.0
"""A shard without manifest may be about to get it for so long."""

_SETTLED = {Found.SOUND, Found.NOTHING, Found.NEWER}
_BY_FORCE = {Found.UNREADABLE, Found.DOUBTFUL, Found.FOREIGN, Found.MISNAMED}
_READS = 4
_PASSES = 10


def verify_shards(
    blobs: Blobs,
    sweep_id: str,
    *,
    clock: Callable[[], float],
    mode: Mode = Mode.MEND,
    readers: int = 1,
    on_shard: Callable[[Verification], None] = lambda _: None,
) -> Verification:
    """Verify every shard of a sweep, those included that are stored meanwhile (10 passes at most).

    `clock` gives Unix seconds; `readers` shards are read at once (1: no thread is started);
    `on_shard` is told after each. UserMistake (no such sweep), StorageUnavailable when the home
    cannot be listed. Safe to repeat and to do twice at once.
    """
    return _Verifier(blobs, sweep_id, clock=clock, mode=mode, on_shard=on_shard).verify(readers)


@dataclass(frozen=True, slots=True)
class _Listed:
    """A shard as listed: its file and its manifest, each None when it is not there."""

    shard: Blob | None = None
    manifest: Blob | None = None

    @property
    def size_bytes(self) -> int:
        return 0 if self.shard is None else self.shard.size_bytes


class _Verifier:
    def __init__(
        self,
        blobs: Blobs,
        sweep_id: str,
        *,
        clock: Callable[[], float],
        mode: Mode,
        on_shard: Callable[[Verification], None],
    ) -> None:
        self._blobs = blobs
        self._sweep_id = sweep_id
        self._clock = clock
        self._mode = mode
        self._on_shard = on_shard
        self._declared = DeclaredRows(SweepStore(blobs), sweep_id)
        self._done = Verification(sweep_id=sweep_id, total=self._declared.runs.total)
        self._sound: dict[str, Manifest] = {}
        self._claims: list[Manifest] = []
        self._left: list[Manifest] = []
        self._adoptable: list[Manifest] = []
        self._replaced: set[str] | None = None

    def verify(self, readers: int) -> Verification:
        # The caches first: what one names was stored before it, and is listed after.
        caches = [*self._blobs.list(layout.coverage_prefix(self._sweep_id))]
        cached = {blob.key: data for blob in caches if (data := self._get(blob.key)) is not None}
        seen: dict[str, _Listed] = {}
        being_stored: dict[str, _Listed] = {}
        for _ in range(_PASSES):
            listed = self._list()
            new = {name: each for name, each in listed.items() if name not in seen}
            being_stored = {name: each for name, each in new.items() if self._is_young(each)}
            ready = {name: each for name, each in new.items() if name not in being_stored}
            if not ready:
                break
            seen |= ready
            self._done.listed = len(seen)
            self._pass(ready, readers)
        # Most of them have their manifest by now.
        self._done.listed += len(being_stored)
        self._pass(being_stored, readers)
        self._check_caches(cached)
        self._done.total = self._declared.runs.total
        self._done.lost = self._lost()
        for manifest in (*self._sound.values(), *self._left, *self._adoptable):
            self._done.counting.add(manifest)
        return self._done

    def _pass(self, new: Mapping[str, _Listed], readers: int) -> None:
        sizes = {name: each.size_bytes for name, each in new.items()}
        read = read_shards(self._blobs, self._sweep_id, sizes, readers=readers)
        self._replaced = None
        unread: list[str] = []
        with contextlib.closing(read):
            for name, first in read:
                if isinstance(first, StorageError):
                    unread.append(name)
                    continue
                self._verify(name, new[name], first)
                self._on_shard(self._done)
        # What storage did not give, it may give now.
        for name in unread:
            self._verify(name, new[name])
            self._on_shard(self._done)

    def _verify(self, name: str, listed: _Listed, first: ShardBytes | None = None) -> None:
        try:
            judgement, what = self._judge_steadily(name, first or self._read(name))
        except StorageRefused:
            raise
        except StorageError as error:
            self._report(Finding(name=name, found=Found.AWAY, why=str(error)))
            return
        if judgement.found is Found.NOTHING:
            return
        if judgement.found is Found.GONE and self._is_replaced(name):
            return
        self._done.shards += 1
        self._done.size_bytes += listed.size_bytes
        if judgement.true is not None:
            self._done.rows += judgement.true.rows
        if judgement.found is Found.SOUND:
            self._count(judgement)
            return
        self._treat(name, listed, judgement, what)

    def _read(self, name: str) -> ShardBytes:
        return read_shard_bytes(self._blobs, self._sweep_id, name)

    def _judge_steadily(self, name: str, first: ShardBytes) -> tuple[Judgement, ShardBytes]:
        """Judge, and believe what is not sound only when the next read gives the same bytes."""
        what = first
        for _ in range(_READS - 1):
            judgement = judge(name, what, self._declared)
            if judgement.found in _SETTLED:
                return judgement, what
            before = what.forgetting_data()
            what = self._read(name)
            if what.is_as(before):
                return judgement, what
        why = f"{_READS} reads, one after the other, gave other bytes each time"
        return Judgement(Found.UNSTEADY, why), what

    def _treat(self, name: str, listed: _Listed, judgement: Judgement, what: ShardBytes) -> None:
        finding = Finding(name=name, found=judgement.found, why=judgement.why)
        try:
            if judgement.found is Found.MISNAMED and self._is_copy(judgement.is_shard, what):
                why = f"{finding.why}, which is there with the same bytes"
                finding = replace(finding, why=why, is_copy=True)
            finding = self._mend(finding, listed, judgement, what)
        except GaplessError as error:
            finding = replace(finding, action=Action.FAILED, why=f"{finding.why}; {error}")
        if finding.found is Found.WRONG_MANIFEST or finding.action is Action.ADOPTED:
            self._count(judgement)
        elif finding.found is Found.NO_MANIFEST and judgement.true is not None:
            self._adoptable.append(judgement.true)
        if judgement.stored is not None:
            (self._left if finding.is_unverified else self._claims).append(judgement.stored)
        self._report(finding)

    def _mend(
        self, finding: Finding, listed: _Listed, judgement: Judgement, what: ShardBytes
    ) -> Finding:
        if self._mode is Mode.LOOK or not self._may_act(finding, judgement, listed):
            return finding
        name, true = finding.name, judgement.true
        manifest_key = layout.manifest(self._sweep_id, name)
        if judgement.found is Found.NO_MANIFEST:
            assert true is not None
            self._blobs.put_if_absent(manifest_key, encode_manifest(true))
            return replace(finding, action=Action.ADOPTED)
        files: dict[str, bytes] = {}
        if what.data is not None and judgement.found is not Found.WRONG_MANIFEST:
            files[layout.shard(self._sweep_id, name)] = what.data
        if what.manifest is not None:
            files[manifest_key] = what.manifest
        keep = copy_aside if judgement.found is Found.WRONG_MANIFEST else set_aside
        note = keep(
            self._blobs,
            self._sweep_id,
            name,
            files=files,
            why=f"{finding.found.value}: {finding.why}",
            at_s=self._clock(),
        )
        if judgement.found is not Found.WRONG_MANIFEST:
            return replace(finding, action=Action.SET_ASIDE, note=note)
        assert true is not None
        # In one step: at no moment do these runs not count.
        self._blobs.put(manifest_key, encode_manifest(true))
        return replace(finding, action=Action.MANIFEST_MADE_ANEW, note=note)

    def _may_act(self, finding: Finding, judgement: Judgement, listed: _Listed) -> bool:
        if finding.found in {Found.UNSTEADY, Found.NEWER}:
            return False
        if finding.found in _BY_FORCE:
            return finding.is_copy or self._mode is Mode.FORCE
        is_ours = judgement.stored is not None or judgement.is_shard or is_shard_id(finding.name)
        # What is not ours is somebody's own file, which counts for nothing.
        return bool(is_ours) and not self._is_young(listed)

    def _is_copy(self, is_shard: str, what: ShardBytes) -> bool:
        """Tell whether the shard of this name has these bytes, or its manifest where only one is.

        The name is what a file says of itself: it may be anything.
        """
        if not is_shard_id(is_shard):
            return False
        if what.seal is None:
            return self._get(layout.manifest(self._sweep_id, is_shard)) == what.manifest
        return self._read(is_shard).seal == what.seal

    def _is_young(self, listed: _Listed) -> bool:
        """Tell whether a shard has no manifest, and may be about to get it."""
        if listed.manifest is not None or listed.shard is None:
            return False
        return self._clock() - listed.shard.written_at_s < ADOPT_AFTER_S

    def _count(self, judgement: Judgement) -> None:
        assert judgement.true is not None
        self._sound[judgement.true.shard] = judgement.true
        self._done.coverage.add(judgement.true)

    def _report(self, finding: Finding) -> None:
        self._done.findings.append(finding)

    def _list(self) -> dict[str, _Listed]:
        prefix = layout.shards_prefix(self._sweep_id)
        found: dict[str, _Listed] = {}
        for blob in self._blobs.list(prefix):
            name, _, ending = blob.key.removeprefix(prefix).rpartition(".")
            if ending == "h5":
                found[name] = replace(found.get(name, _Listed()), shard=blob)
            elif ending == "json":
                found[name] = replace(found.get(name, _Listed()), manifest=blob)
        return found

    def _get(self, key: str) -> bytes | None:
        try:
            return patiently(lambda: self._blobs.get(key), on=StorageUnavailable)
        except BlobMissing:
            return None

    def _is_replaced(self, name: str) -> bool:
        """Tell whether a shard that is there took over this one's rows, by its manifest.

        Looked at once a pass. One that comes later costs a false alarm, and no result: what is set
        aside then is the manifest of a shard that is gone.
        """
        if self._replaced is None:
            self._replaced = set()
            keys = [
                each.manifest.key
                for each in self._list().values()
                if each.manifest is not None and each.shard is not None
            ]
            for key, data in read_many(self._blobs, keys):
                with contextlib.suppress(MessageError):
                    manifest = decode_manifest(data)
                    if layout.manifest(manifest.sweep, manifest.shard) == key:
                        self._replaced.update(manifest.replaces)
        return name in self._replaced

    def _check_caches(self, cached: Mapping[str, bytes]) -> None:
        self._done.caches = len(cached)
        for key, why in wrong_caches(
            self._sweep_id, cached, sound=self._sound, coverage=self._done.coverage
        ):
            name = key.rpartition("/")[2].removesuffix(".json")
            finding = Finding(name=name, found=Found.WRONG_CACHE, why=why)
            if self._mode is not Mode.LOOK:
                # One that its aggregator wrote since goes too: it costs readers time, no result.
                finding = self._set_cache_aside(finding, key, cached[key])
            self._report(finding)

    def _set_cache_aside(self, finding: Finding, key: str, data: bytes) -> Finding:
        try:
            note = set_aside(
                self._blobs,
                self._sweep_id,
                f"coverage-{finding.name}",
                files={key: data},
                why=f"{finding.found.value}: {finding.why}",
                at_s=self._clock(),
            )
        except GaplessError as error:
            return replace(finding, action=Action.FAILED, why=f"{finding.why}; {error}")
        return replace(finding, action=Action.SET_ASIDE, note=note)

    def _lost(self) -> dict[int, RunSet]:
        still = Coverage()
        for manifest in (*self._sound.values(), *self._left):
            still.add(manifest)
        claimed: dict[int, RunSet] = {}
        for manifest in self._claims:
            for (epoch, _), runs in manifest.coverage.items():
                claimed[epoch] = claimed.get(epoch, RunSet()) | runs
        declared = self._declared.runs.all
        lost = {
            epoch: (runs & declared) - still.final_since(epoch) for epoch, runs in claimed.items()
        }
        return {epoch: runs for epoch, runs in sorted(lost.items()) if runs}
