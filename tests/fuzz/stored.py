"""Targets: what is stored of results. Blocks, manifests, the coverage cache, shards, bundles."""

from __future__ import annotations

import hashlib
import io
import tempfile
import zipfile
from functools import cache
from pathlib import Path

import msgspec
import numpy as np

from gapless.declaration.errors import DamagedMessage, NewerFormat
from gapless.results.block import Block, decode_block, encode_block
from gapless.results.columns import ColumnKind, ValueColumn
from gapless.results.coverage_cache import CachedShard, CoverageCache, decode_cache, encode_cache
from gapless.results.errors import ShardDamaged
from gapless.results.manifest import (
    Manifest,
    decode_manifest,
    encode_manifest,
    manifest_of_shard,
)
from gapless.results.outcome import Outcome
from gapless.results.shard import Origin, encode_shard, read_shard
from gapless.storage.errors import StorageError
from gapless.storage.unpack import unpack
from tests.fuzz.messages import block_bodies, check_runs, sealed_block
from tests.fuzz.target import MEBIBYTE, Target, holds
from tests.unit.results.samples import DECLARATION, SWEEP, NumberedRuns, block_of, failed_block

__all__ = ["STORED"]

_GOLDEN = Path(__file__).parents[1] / "unit/results/golden"
_MOST_RUNS = 10**6
_ORIGIN = Origin("2026-01-31T12:00:00.000000Z", "agg-1", 7)


# ------------------------------------------------------------------------- blocks


def _check_block(data: bytes) -> bool:
    try:
        block = decode_block(data)
    except (DamagedMessage, NewerFormat):
        return False
    check_block(block)
    return True


def _check_sealed(data: bytes) -> bool:
    """A block under a right checksum: what a hostile worker can send."""
    return _check_block(sealed_block(data))


def check_block(block: Block) -> None:
    """What holds of every block that was decoded."""
    rows = block.rows
    for column in (block.outcome, block.complete, block.attempt, block.started_s, block.duration_s):
        holds(column.shape == (rows,), "a column of another length")
    holds(0 <= block.epoch < 2**32, "an epoch that cannot be")
    runs = block.run.tolist()
    holds(len(set(runs)) == rows, "two results of one run")
    holds(all(0 <= run < 2**63 for run in runs), "a run number that cannot be")
    holds(not rows or int(block.outcome.max()) in set(Outcome), "an unknown outcome")
    for name, column in block.values.items():
        holds(len(column) == rows, f"value {name!r} has another number of rows")
        holds(column.valid is None or column.valid.shape == (rows,), "a mask of another length")
        column.tolist()
    for record in (*block.errors, *block.attempts):
        holds(record.run in set(runs), "a record of a run that is not there")
    again = decode_block(encode_block(block))
    check_same(block, again)


def check_same(one: Block, other: Block) -> None:
    """To the last bit: a NaN is no other NaN, and 1 is not 1.0."""
    for name in ("run", "outcome", "complete", "attempt", "started_s", "duration_s"):
        holds(
            getattr(one, name).tobytes() == getattr(other, name).tobytes(),
            f"{name} reads back otherwise",
        )
    for name in ("epoch", "node", "code"):
        holds(getattr(one, name) == getattr(other, name), f"{name} reads back otherwise")
    holds([*one.values] == [*other.values], "other values are read back")
    for name, column in one.values.items():
        holds(_bits(column) == _bits(other.values[name]), f"value {name!r} reads back otherwise")
    # As bytes: a NaN in a record is not equal to itself.
    for left, right in ((one.errors, other.errors), (one.attempts, other.attempts)):
        holds(
            msgspec.msgpack.encode(left) == msgspec.msgpack.encode(right),
            "records read back otherwise",
        )


def _bits(column: ValueColumn) -> tuple[object, ...]:
    texts = column.kind in (ColumnKind.STR, ColumnKind.JSON)
    return (
        column.kind,
        column.data.tolist() if texts else column.data.tobytes(),
        column.data.shape,
        column.data.dtype,
        None if column.valid is None else column.valid.tobytes(),
        None if column.offsets is None else column.offsets.tobytes(),
    )


def _block_seeds() -> list[bytes]:
    return [*map(sealed_block, block_bodies()), (_GOLDEN / "block-1.bin").read_bytes()]


def _body_seeds() -> list[bytes]:
    return [*block_bodies(), *(_body(encode_block(each)) for each in _blocks())]


def _body(encoded: bytes) -> bytes:
    return encoded[12:16] + encoded[40:]


def _blocks() -> list[Block]:
    values = {"rms": 0.25, "trace": [1, 2], "name": "x"}
    return [
        block_of(dict.fromkeys(range(5), values)),
        block_of({1: {"a": None}, 2: {"a": 1.5}}, epoch=3),
        failed_block([3, 4]),
    ]


# ------------------------------------------------------------------------- from a block to a shard


def _check_stored(data: bytes) -> bool:
    """What an aggregator stores of a block is what the block held."""
    try:
        block = decode_block(sealed_block(data))
    except (DamagedMessage, NewerFormat):
        return False
    if not block.rows or int(block.run.max()) >= _MOST_RUNS or _size(block) > 10 * MEBIBYTE:
        return False
    try:
        shard = encode_shard(
            [block],
            sweep_id=SWEEP,
            declaration_json=DECLARATION,
            runs=NumberedRuns(_MOST_RUNS),
            origin=_ORIGIN,
        )
    except (ValueError, TypeError, KeyError, IndexError, OverflowError):
        # The aggregator takes these for "no shard can hold it", and puts it into quarantine.
        return False
    read = read_shard(shard.data)
    order = np.argsort(block.run, kind="stable")
    back = np.argsort(read.rows.run, kind="stable")
    holds(read.rows.run[back].tolist() == block.run[order].tolist(), "other runs are stored")
    for name in ("outcome", "complete", "attempt", "started_s", "duration_s"):
        stored = getattr(read.rows, name)[back]
        holds(stored.tolist() == getattr(block, name)[order].tolist(), f"another {name} is stored")
    for name, column in block.values.items():
        if column.missing_everywhere:
            continue
        given = column.take(order)
        stored_column = read.values[name].take(back)
        for row in range(block.rows):
            holds(
                _plain(given.at(row)) == _plain(stored_column.at(row)),
                f"run {block.run[order][row]} has another value {name!r}",
            )
    made = manifest_of_shard(shard.data, shard.shard_id)
    holds(encode_manifest(made) == encode_manifest(shard.manifest), "another manifest is adopted")
    return True


def _size(block: Block) -> int:
    return sum(column.data.nbytes for column in block.values.values())


def _plain(value: object) -> object:
    if isinstance(value, np.ndarray):
        return (value.shape, value.tobytes())
    return repr(value)


# ------------------------------------------------------------------------- manifests


def _check_manifest(data: bytes) -> bool:
    try:
        manifest = decode_manifest(data)
    except NewerFormat as error:
        holds(error.found != error.known, "a manifest of the known format is called newer")
        return False
    except DamagedMessage:
        return False
    holds(0 <= manifest.rows < 2**63 and 0 < manifest.size_bytes < 2**63, "an impossible size")
    holds(sum(manifest.counts.values()) == manifest.rows, "its counts are not its rows")
    for (epoch, outcome), runs in manifest.coverage.items():
        holds(0 <= epoch < 2**32, f"results of epoch {epoch}")
        check_runs(runs)
        holds(len(runs) <= manifest.counts[outcome], "it covers more runs than it has rows")
    holds(decode_manifest(encode_manifest(manifest)) == manifest, "it reads back otherwise")
    return True


@cache
def _manifests() -> tuple[Manifest, ...]:
    blocks = ([block_of({run: {"y": 1} for run in range(9)})], [*_blocks()])
    return tuple(
        encode_shard(
            each,
            sweep_id=SWEEP,
            declaration_json=DECLARATION,
            runs=NumberedRuns(),
            origin=_ORIGIN,
        ).manifest
        for each in blocks
    )


def _manifest_seeds() -> list[bytes]:
    golden = (_GOLDEN / "manifest-1.json").read_bytes()
    return [golden, *map(encode_manifest, _manifests())]


def _manifest_hostile() -> list[bytes]:
    return [
        b'{"format":"gapless.manifest/1","coverage":' + b"[" * 10**6,
        b'{"format":"gapless.manifest/' + b"9" * 10**6 + b'"}',
        b'{"format":"gapless.manifest/1","rows":' + b"9" * 10**6 + b"}",
    ]


def _check_cache(data: bytes) -> bool:
    try:
        found = decode_cache(data)
    except NewerFormat as error:
        holds(error.found != error.known, "a cache of the known format is called newer")
        return False
    except DamagedMessage:
        return False
    for (epoch, _), runs in found.coverage.items():
        holds(0 <= epoch < 2**32, f"results of epoch {epoch}")
        check_runs(runs)
    rows = sum(each.rows for each in found.shards)
    holds(sum(map(len, found.coverage.values())) <= rows, "it covers more runs than there are rows")
    holds(decode_cache(encode_cache(found)) == found, "it reads back otherwise")
    return True


def _cache_seeds() -> list[bytes]:
    made = []
    for manifests in (_manifests()[:1], _manifests()[1:]):
        shards = tuple(CachedShard.of(each) for each in manifests)
        coverage = dict(manifests[0].coverage)
        made.append(CoverageCache(sweep=SWEEP, aggregator="a", shards=shards, coverage=coverage))
    return [encode_cache(each) for each in made]


# ------------------------------------------------------------------------- shards


def _check_shard(data: bytes) -> bool:
    """A shard is read only when its seal is right: HDF5 itself hangs on some damaged files."""
    whole = _shards()
    try:
        read_shard(data)
    except (ShardDamaged, NewerFormat):
        holds(data not in whole, "a whole shard is refused")
        return False
    holds(data in whole, "a damaged shard is read")
    return True


@cache
def _shards() -> tuple[bytes, ...]:
    made = [
        encode_shard(
            [block],
            sweep_id=SWEEP,
            declaration_json=DECLARATION,
            runs=NumberedRuns(),
            origin=_ORIGIN,
        ).data
        for block in _blocks()
    ]
    return (*made, (_GOLDEN / "shard-1.h5").read_bytes())


# ------------------------------------------------------------------------- bundles


def _check_bundle(data: bytes) -> bool:
    """Unpack a zip whose hash is right; nothing may be written anywhere else."""
    name = hashlib.sha256(data).hexdigest()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        into = place / "outer" / "bundles"
        into.mkdir(parents=True)
        try:
            goal = unpack(data, name, into)
        except StorageError:
            holds({*into.iterdir()} == set(), "a refused bundle leaves something")
            return False
        finally:
            holds([*place.iterdir()] == [place / "outer"], "a bundle wrote elsewhere")
            holds([*(place / "outer").iterdir()] == [into], "a bundle wrote elsewhere")
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for entry in archive.infolist():
                path = goal / entry.filename
                holds(path.is_file() and not path.is_symlink(), "a file is no file")
                holds(path.read_bytes() == archive.read(entry), "a file holds something else")
        holds(unpack(data, name, into) == goal, "it is not used again")
        _make_removable(place)
    return True


def _make_removable(place: Path) -> None:
    for each in place.rglob("*"):
        if each.is_dir():
            each.chmod(0o755)


def _bundle_seeds() -> list[bytes]:
    return [
        _zip({"walk.py": b"def f():\n    pass\n", "data/a.csv": b"x\n1\n"}),
        _zip({"one": b""}),
        _zip({"many.txt": bytes(3000)}, zipfile.ZIP_DEFLATED),
    ]


def _bundle_hostile() -> list[bytes]:
    names = ("../out", "/tmp/out", "a/../../out", "a\\..\\out", "C:/out", "a/./b", "a//b", "")
    return [
        *(_zip({name: b"x"}) for name in names),
        _zip({"a": b"x", "a/b": b"y"}),
        _zip({f"deep{'/d' * 300}/f": b"x"}),
        _zip({"n" * 5000: b"x"}),
        _zip({"zeros": bytes(30 * MEBIBYTE)}, zipfile.ZIP_LZMA),
        _zip({"zeros": bytes(30 * MEBIBYTE)}, zipfile.ZIP_BZIP2),
    ]


def _zip(files: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content, method)
    return buffer.getvalue()


STORED = [
    Target(name="block", check=_check_block, seeds=_block_seeds),
    Target(name="block-sealed", check=_check_sealed, seeds=_body_seeds, room_bytes=1536 * MEBIBYTE),
    Target(
        name="block-to-shard",
        check=_check_stored,
        seeds=lambda: [*_body_seeds()[:1], *_body_seeds()[2:]],
        room_bytes=1536 * MEBIBYTE,
    ),
    Target(
        name="manifest", check=_check_manifest, seeds=_manifest_seeds, hostile=_manifest_hostile
    ),
    Target(name="coverage-cache", check=_check_cache, seeds=_cache_seeds),
    Target(name="shard", check=_check_shard, seeds=lambda: list(_shards())),
    Target(
        name="bundle",
        check=_check_bundle,
        seeds=_bundle_seeds,
        hostile=_bundle_hostile,
        apart=True,
    ),
]
