"""What a shard's bytes show: sound, damaged, or of something else. Nothing is read or written here.

The order matters. HDF5 may hang on a damaged file, so no shard is opened whose seal does not fit.
A shard whose seal fits is what an aggregator wrote, whatever its manifest says of it: then the
manifest is wrong, and the true one follows from the rows.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace

from gapless.declaration.errors import DamagedMessage, NewerFormat
from gapless.results.declared_rows import DeclaredRows
from gapless.results.errors import ShardDamaged, ShardMisnamed
from gapless.results.manifest import Manifest, decode_manifest, manifest_of_rows
from gapless.results.origin import is_shard_id
from gapless.results.outcome import Outcome
from gapless.results.shard_bytes import ShardBytes
from gapless.results.shard_reading import ShardFile

__all__ = ["Found", "Judgement", "judge"]


class Found(enum.Enum):
    """What is the matter with a shard (or, the last one, with a coverage cache)."""

    SOUND = "sound"
    NOTHING = "nothing"
    """Removed or set aside by somebody, shard and manifest."""
    CHANGED = "changed"
    """Its bytes are not those that were written."""
    GONE = "gone"
    """Its manifest is there, the shard is not."""
    WRONG_MANIFEST = "wrong manifest"
    """The shard is whole, its manifest cannot be read or says something else."""
    NO_MANIFEST = "no manifest"
    """The shard is whole and has none: it is being stored, or its aggregator died."""
    UNREADABLE = "unreadable"
    """Its bytes are those that were written, and no results can be read from them here."""
    DOUBTFUL = "doubtful"
    """Its bytes do not fit the checksum storage has of them: damaged there, or on the way here."""
    MISNAMED = "misnamed"
    """It is whole, and lies under another name than its own: it counts for nothing there."""
    FOREIGN = "foreign"
    """It holds rows that the sweep does not declare."""
    NEWER = "newer"
    """A later version of gapless wrote it."""
    UNSTEADY = "unsteady"
    """Each read gives other bytes."""
    AWAY = "away"
    """Storage does not give it."""
    WRONG_CACHE = "wrong cache"
    """A coverage cache says something else than the shards it stands for."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """`why` it is so; `true` follows from the rows, where they could be read; `stored` is as read.

    The manifests are None where there is none, or it cannot be read. `is_shard`: the name that what
    is MISNAMED has of its own, or that a manifest under another name has ("" for none).
    """

    found: Found
    why: str = ""
    true: Manifest | None = None
    stored: Manifest | None = None
    is_shard: str = ""


def judge(  # noqa: PLR0911 - one answer a state of affairs
    shard_id: str, what: ShardBytes, declared: DeclaredRows
) -> Judgement:
    """Judge the bytes of a shard and its manifest."""
    if what.is_nothing:
        return Judgement(Found.NOTHING)
    try:
        stored, wrong, is_shard = _stored(shard_id, what, declared.sweep_id)
    except NewerFormat as error:
        return Judgement(Found.NEWER, f"its manifest: {error}")
    if what.data is None or what.seal is None:
        if is_shard and not is_shard_id(shard_id):
            return Judgement(Found.MISNAMED, wrong, is_shard=is_shard)
        return Judgement(Found.GONE, "its manifest is there, the shard is not", stored=stored)
    is_promised = stored is not None and what.seal.sha256 == stored.sha256
    if not what.seal.is_whole:
        unsealed = _judge_unsealed(what, stored, is_promised=is_promised)
        return replace(unsealed, is_shard=is_shard)
    opened = _open(shard_id, what, declared)
    if opened.true is not None:
        return _judge_manifest(what, stored, opened.true, wrong)
    if stored is None or is_promised or opened.found is Found.NEWER:
        return replace(opened, stored=stored)
    # What the manifest promises is not here.
    why = f"another file lies in its place: {opened.why}"
    return Judgement(Found.CHANGED, why, stored=stored)


def _judge_unsealed(what: ShardBytes, stored: Manifest | None, *, is_promised: bool) -> Judgement:
    assert what.seal is not None
    if what.seal.may_be_newer and (is_promised or stored is None):
        why = "its seal is of a later version: update gapless here"
        return Judgement(Found.NEWER, why, stored=stored)
    found = Found.DOUBTFUL if what.is_doubtful else Found.CHANGED
    return Judgement(found, _changed(what, stored), stored=stored)


def _judge_manifest(
    what: ShardBytes, stored: Manifest | None, true: Manifest, wrong: str
) -> Judgement:
    if what.manifest is None:
        return Judgement(Found.NO_MANIFEST, "it has no manifest", true=true)
    if stored is not None:
        wrong = _differences(stored, true)
    found = Found.WRONG_MANIFEST if wrong else Found.SOUND
    return Judgement(found, wrong, true=true, stored=stored)


def _stored(shard_id: str, what: ShardBytes, sweep_id: str) -> tuple[Manifest | None, str, str]:
    """Decode the manifest; or None, what is wrong and whose it is ("": unknown). NewerFormat."""
    if what.manifest is None:
        return None, "", ""
    try:
        stored = decode_manifest(what.manifest)
    except DamagedMessage as error:
        return None, f"its manifest cannot be read: {error}", ""
    if (stored.sweep, stored.shard) != (sweep_id, shard_id):
        why = f"its manifest is of shard {stored.shard} of sweep {stored.sweep}"
        return None, why, stored.shard
    return stored, "", ""


def _changed(what: ShardBytes, stored: Manifest | None) -> str:
    assert what.seal is not None
    if stored is None:
        return f"its {what.size_bytes:,} bytes do not fit its seal"
    if what.size_bytes != stored.size_bytes:
        return f"it has {what.size_bytes:,} bytes, its manifest says {stored.size_bytes:,}"
    return (
        f"its bytes are not those that were written: sha256 {what.seal.sha256[:12]}…, its manifest "
        f"says {stored.sha256[:12]}…"
    )


def _open(shard_id: str, what: ShardBytes, declared: DeclaredRows) -> Judgement:
    assert what.data is not None
    assert what.seal is not None
    try:
        with ShardFile(what.data, shard_id) as shard:
            rows = shard.rows()
            foreign = declared.why_foreign(shard, rows)
            if foreign:
                return Judgement(Found.FOREIGN, foreign)
            shard.read_through()
            true = manifest_of_rows(
                shard, rows, sha256=what.seal.sha256, size_bytes=what.size_bytes
            )
    except NewerFormat as error:
        return Judgement(Found.NEWER, str(error))
    except ShardMisnamed as error:
        return Judgement(Found.MISNAMED, error.why, is_shard=error.is_shard)
    except ShardDamaged as error:
        return Judgement(Found.UNREADABLE, error.why)
    return Judgement(Found.SOUND, true=true)


def _differences(stored: Manifest, true: Manifest) -> str:
    """Say what a manifest says otherwise than the rows; "" for nothing."""
    wrong: list[str] = []
    if stored.sha256 != true.sha256:
        wrong.append(f"sha256 {_differing_part(stored.sha256, true.sha256)}")
    if stored.size_bytes != true.size_bytes:
        wrong.append(f"{stored.size_bytes:,} bytes, found {true.size_bytes:,}")
    if stored.rows != true.rows:
        wrong.append(f"{stored.rows:,} rows, found {true.rows:,}")
    if any(stored.counts.get(each, 0) != count for each, count in true.counts.items()):
        wrong.append(f"{_counts(stored)}, found {_counts(true)}")
    covered = {key: runs for key, runs in stored.coverage.items() if runs}
    if covered != true.coverage:
        wrong.append("other runs than the rows have")
    if (stored.origin, stored.replaces) != (true.origin, true.replaces):
        wrong.append("another origin than the shard has")
    return f"its manifest says {'; '.join(wrong)}" if wrong else ""


def _counts(manifest: Manifest) -> str:
    return ", ".join(f"{manifest.counts.get(each, 0):,} {each.label}" for each in Outcome)


def _differing_part(said: str, found: str) -> str:
    """Show two hashes from where they begin to differ."""
    pairs = enumerate(zip(said, found, strict=True))
    start = next(place for place, (one, other) in pairs if one != other)
    before = "…" if start else ""
    return f"{before}{said[start : start + 12]}…, found {before}{found[start : start + 12]}…"
