"""The seal: a hash behind the HDF5 data of a shard, which HDF5 ignores.

The HDF5 library may hang on a damaged file (seen: with at most four flipped bits, reading had not
returned after 30 s), so no shard is opened before its bytes are known to be whole: by its
manifest's hash, or, where there is no manifest yet, by the seal.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from gapless.results.errors import ShardDamaged

__all__ = ["SealedBytes", "check_seal", "look_at_seal", "sealed"]

_MARK = b"\ngapless.seal/1 sha256="
_LENGTH = len(_MARK) + 64 + 1
_ANY_MARK = b"\ngapless.seal/"
_ANY_LENGTH = 1024


@dataclass(frozen=True, slots=True)
class SealedBytes:
    """What a shard's bytes say of themselves: the SHA-256 of all of them, and of their seal.

    `is_whole`: they are exactly what `sealed` gave. `may_be_newer`: not that, but they end in a
    seal of another version, of which nothing is known here.
    """

    sha256: str
    is_whole: bool
    may_be_newer: bool


def look_at_seal(data: bytes) -> SealedBytes:
    """Hash the bytes once and look at their seal; whatever they are is an answer."""
    split = max(len(data) - _LENGTH, 0)
    digest = hashlib.sha256(memoryview(data)[:split])
    expected = _MARK + digest.hexdigest().encode("ascii") + b"\n"
    digest.update(memoryview(data)[split:])
    end = data[-_ANY_LENGTH:]
    return SealedBytes(
        sha256=digest.hexdigest(),
        is_whole=data[split:] == expected,
        may_be_newer=_ANY_MARK in end and _MARK not in end,
    )


def sealed(hdf5: bytes) -> bytes:
    """Give the bytes of a shard: the HDF5 file and its seal."""
    return b"".join((hdf5, _MARK, hashlib.sha256(hdf5).hexdigest().encode("ascii"), b"\n"))


def check_seal(data: bytes, shard_id: str) -> None:
    """ShardDamaged unless `data` is exactly what `sealed` gave."""
    hdf5 = memoryview(data)[: max(len(data) - _LENGTH, 0)]
    expected = _MARK + hashlib.sha256(hdf5).hexdigest().encode("ascii") + b"\n"
    if data[-_LENGTH:] != expected:
        raise ShardDamaged(shard_id, "it is cut short or changed: its seal differs")
