"""Shards: immutable HDF5 files of results, one a flush. Writing and reading are modules apart."""

from gapless.results.origin import Origin, shard_id
from gapless.results.shard_reading import ShardFile, read_shard
from gapless.results.shard_rows import Labels, RowColumns, ShardRows
from gapless.results.shard_writing import EncodedShard, encode_shard

__all__ = [
    "EncodedShard",
    "Labels",
    "Origin",
    "RowColumns",
    "ShardFile",
    "ShardRows",
    "encode_shard",
    "read_shard",
    "shard_id",
]
