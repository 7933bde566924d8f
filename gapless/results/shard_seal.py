"""The seal: a hash behind the HDF5 data of a shard, which HDF5 ignores.

The HDF5 library may hang on a damaged file (seen: with at most four flipped bits, reading had not
returned after 30 s), so no shard is opened before its bytes are known to be whole: by its
manifest's hash, or, where there is no manifest yet, by the seal.
"""

from __future__ import annotations

import hashlib

from gapless.results.errors import ShardDamaged

__all__ = ["check_seal", "sealed"]

_MARK = b"\ngapless.seal/1 sha256="
_LENGTH = len(_MARK) + 64 + 1


def sealed(hdf5: bytes) -> bytes:
    """Give the bytes of a shard: the HDF5 file and its seal."""
    return b"".join((hdf5, _MARK, hashlib.sha256(hdf5).hexdigest().encode("ascii"), b"\n"))


def check_seal(data: bytes, shard_id: str) -> None:
    """ShardDamaged unless `data` is exactly what `sealed` gave."""
    hdf5 = memoryview(data)[: max(len(data) - _LENGTH, 0)]
    expected = _MARK + hashlib.sha256(hdf5).hexdigest().encode("ascii") + b"\n"
    if data[-_LENGTH:] != expected:
        raise ShardDamaged(shard_id, "it is cut short or changed: its seal differs")
