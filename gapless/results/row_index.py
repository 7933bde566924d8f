"""Where the one result of every run lies: the rows of all shards, sorted out by precedence."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gapless.results.columns import ValueColumn
from gapless.results.differences import differing_rows
from gapless.results.errors import ShardDamaged, ShardGone
from gapless.results.manifest import Manifest
from gapless.results.origin import Origin
from gapless.results.precedence import Choice, RowKeys, choose
from gapless.results.shard_reading import ShardFile
from gapless.results.shard_rows import Labels, RowColumns
from gapless.results.storable import json_text
from gapless.results.widening import join_columns
from gapless.storage import layout
from gapless.storage.blobs import Blobs
from gapless.storage.errors import BlobMissing

__all__ = ["Duplicates", "Places", "RowIndex", "ShardSource", "build_index"]


@dataclass(frozen=True, slots=True)
class Duplicates:
    """Work that was recorded more than once.

    `count`: rows beyond one for each run and epoch. `differing`: runs whose `ok` rows at their
    winning epoch have different values (the code is not deterministic); `by_origin` counts, for
    each flush, its rows that differ from the result shown.
    """

    count: int
    differing: int
    by_origin: Mapping[Origin, int]


class ShardSource:
    """Open shards of one sweep, each checked against its manifest."""

    def __init__(self, blobs: Blobs, sweep_id: str) -> None:
        self._blobs = blobs
        self._sweep_id = sweep_id

    def open(self, manifest: Manifest) -> ShardFile:
        """Open a shard; ShardGone or ShardDamaged."""
        try:
            data = self._blobs.get(layout.shard(self._sweep_id, manifest.shard))
        except BlobMissing as error:
            raise ShardGone(manifest.shard) from error
        found = hashlib.sha256(data).hexdigest()
        if found != manifest.sha256:
            why = f"sha256 {found[:12]}…, its manifest says {manifest.sha256[:12]}…"
            raise ShardDamaged(manifest.shard, why)
        return ShardFile(data, manifest.shard)


@dataclass(frozen=True, slots=True, eq=False)
class Places:
    """Where rows lie: `shard` (n,) is a position among the shards, `row` (n,) one in its /runs."""

    shard: NDArray[np.int32]
    row: NDArray[np.intp]

    def take(self, rows: NDArray[np.intp]) -> Places:
        """Pick by position."""
        return Places(self.shard[rows], self.row[rows])


@dataclass(frozen=True, slots=True, eq=False)
class RowIndex:
    """The winning row of every stored run, by run ascending, and where its values lie."""

    source: ShardSource
    shards: tuple[Manifest, ...]
    names: tuple[str, ...]
    rows: RowColumns
    places: Places
    surplus: int
    rivals: tuple[Places, Places]

    def values(self, names: Iterable[str], places: Places) -> dict[str, ValueColumn]:
        """Read values of the rows at `places`, in that order; one pass over the shards."""
        return _gather(self.source, self.shards, list(names), places)

    def duplicates(self) -> Duplicates:
        """Count what was recorded more than once; reads the values of such rows."""
        shown, others = self.rivals
        if not len(shown.row):
            return Duplicates(self.surplus, 0, {})
        differs = np.zeros(len(shown.row), dtype=np.bool_)
        left, right = self.values(self.names, shown), self.values(self.names, others)
        for name in self.names:
            differs |= differing_rows(left[name], right[name])
        by_origin: dict[Origin, int] = {}
        for shard in others.shard[differs].tolist():
            origin = self.shards[shard].origin
            by_origin[origin] = by_origin.get(origin, 0) + 1
        runs = np.unique(np.column_stack((shown.shard, shown.row))[differs], axis=0)
        return Duplicates(self.surplus, len(runs), by_origin)


def build_index(
    source: ShardSource,
    manifests: Iterable[Manifest],
    on_damage: Callable[[ShardDamaged], None],
) -> RowIndex:
    """Read the rows of all shards; `on_damage` raises, or returns to leave that shard out."""
    shards: list[Manifest] = []
    parts: list[RowColumns] = []
    names: dict[str, None] = {}
    for manifest in manifests:
        try:
            with source.open(manifest) as file:
                rows = file.rows()
                names.update(dict.fromkeys(file.value_names))
        except ShardDamaged as error:
            on_damage(error)
            continue
        shards.append(manifest)
        parts.append(rows)
    places = _all_places(parts)
    every = _join_rows(parts)
    choice = _choose(source, shards, every, places)
    pairs = choice.rivals
    return RowIndex(
        source=source,
        shards=tuple(shards),
        names=tuple(names),
        rows=_take_rows(every, choice.winners),
        places=places.take(choice.winners),
        surplus=choice.surplus,
        rivals=(places.take(pairs[:, 0]), places.take(pairs[:, 1])),
    )


def _choose(
    source: ShardSource, shards: Sequence[Manifest], every: RowColumns, places: Places
) -> Choice:
    ranks = {origin: rank for rank, origin in enumerate(sorted({m.origin for m in shards}))}
    origin_of_shard = np.array([ranks[manifest.origin] for manifest in shards], dtype=np.int64)
    keys = RowKeys(
        run=every.run,
        epoch=every.epoch,
        outcome=every.outcome,
        origin=origin_of_shard[places.shard],
        started_s=every.started_s,
        duration_s=every.duration_s,
        attempt=every.attempt,
    )

    def content(rows: NDArray[np.intp]) -> list[bytes]:
        return _contents(source, shards, _take_rows(every, rows), places.take(rows))

    return choose(keys, content)


def _contents(
    source: ShardSource, shards: Sequence[Manifest], rows: RowColumns, places: Places
) -> list[bytes]:
    """Give what tells rows of one flush apart when all that decides is equal, as bytes."""
    names: set[str] = set()
    for shard in np.unique(places.shard).tolist():
        with source.open(shards[shard]) as file:
            names.update(file.value_names)
    values = _gather(source, shards, sorted(names), places)
    columns = [column.tolist() for column in values.values()]
    nodes, codes, complete = rows.node.tolist(), rows.code.tolist(), rows.complete.tolist()
    return [
        json_text(
            [nodes[each], codes[each], complete[each], [column[each] for column in columns]]
        ).encode("ascii")
        for each in range(len(places.row))
    ]


def _gather(
    source: ShardSource, shards: Sequence[Manifest], names: list[str], places: Places
) -> dict[str, ValueColumn]:
    order = np.argsort(places.shard, kind="stable")
    back = np.empty_like(order)
    back[order] = np.arange(len(order))
    pieces: dict[str, list[tuple[int, ValueColumn | None]]] = {name: [] for name in names}
    for shard in np.unique(places.shard).tolist():
        rows = places.row[places.shard == shard]
        with source.open(shards[shard]) as file:
            known = set(file.value_names)
            for name in names:
                column = file.value(name).take(rows) if name in known else None
                pieces[name].append((len(rows), column))
    return {name: join_columns(found).take(back) for name, found in pieces.items()}


def _all_places(parts: Sequence[RowColumns]) -> Places:
    counts = [len(rows.run) for rows in parts]
    shard = np.repeat(np.arange(len(parts), dtype=np.int32), counts)
    row = [np.arange(count, dtype=np.intp) for count in counts]
    return Places(shard, np.concatenate([np.empty(0, dtype=np.intp), *row]))


def _join_rows(parts: Sequence[RowColumns]) -> RowColumns:
    none = np.empty(0)
    return RowColumns(
        run=np.concatenate([none.astype(np.uint64), *(rows.run for rows in parts)]),
        replicate=np.concatenate([none.astype(np.int64), *(rows.replicate for rows in parts)]),
        epoch=np.concatenate([none.astype(np.uint32), *(rows.epoch for rows in parts)]),
        outcome=np.concatenate([none.astype(np.uint8), *(rows.outcome for rows in parts)]),
        complete=np.concatenate([none.astype(np.bool_), *(rows.complete for rows in parts)]),
        attempt=np.concatenate([none.astype(np.uint16), *(rows.attempt for rows in parts)]),
        started_s=np.concatenate([none, *(rows.started_s for rows in parts)]),
        duration_s=np.concatenate([none, *(rows.duration_s for rows in parts)]),
        node=Labels.join([rows.node for rows in parts]),
        code=Labels.join([rows.code for rows in parts]),
    )


def _take_rows(rows: RowColumns, picked: NDArray[np.intp]) -> RowColumns:
    return RowColumns(
        run=rows.run[picked],
        replicate=rows.replicate[picked],
        epoch=rows.epoch[picked],
        outcome=rows.outcome[picked],
        complete=rows.complete[picked],
        attempt=rows.attempt[picked],
        started_s=rows.started_s[picked],
        duration_s=rows.duration_s[picked],
        node=rows.node.take(picked),
        code=rows.code.take(picked),
    )
