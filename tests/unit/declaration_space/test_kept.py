"""The bitmap of what is kept: chosen by place and asked by number, small and large."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from pyroaring import BitMap64

from gapless.declaration.errors import DamagedMessage
from gapless.declaration.factors import Kept


def ranges(*spans: tuple[int, int]) -> Kept:
    bits = BitMap64()
    for start, stop in spans:
        bits.add_range(start, stop)
    return Kept.of(bits)


KEPT = {
    "a few": ranges((2, 4), (70_000, 70_002)),
    "more than are held as an array": ranges((2, 4), (70_000, 70_000 + 2**24)),
    "beyond 32 bits": ranges((2, 4), (70_000, 70_002), (2**32, 2**32 + 2)),
}


@pytest.mark.parametrize("name", KEPT)
def test_places_and_candidates_belong_together(name: str) -> None:
    kept = KEPT[name]
    assert kept.select(np.array([3, 0, 1, 2, 0])).tolist() == [70_001, 2, 3, 70_000, 2]
    asked = np.array([0, 2, 3, 4, 69_999, 70_000, 70_001, 10**12])
    assert kept.holds(asked).tolist() == [False, True, True, False, False, True, True, False]
    last = kept.select(np.array([kept.count - 1]))
    assert kept.holds(np.append(last, last + 1)).tolist() == [True, False]


@pytest.mark.parametrize("name", KEPT)
def test_a_bitmap_reads_back_as_it_was(name: str) -> None:
    kept = KEPT[name]
    (data,) = kept.objects()
    objects = {hashlib.sha256(data).hexdigest(): data}
    again = Kept.from_json(kept.to_json(), objects.__getitem__, candidates=2**62)
    assert again.count == kept.count
    assert again.bits == kept.bits
    assert again.to_json() == kept.to_json()


def test_the_bytes_of_a_bitmap_are_fixed_for_ever() -> None:
    (data,) = ranges((2, 4), (70_000, 70_002), (2**32, 2**32 + 2)).objects()
    assert data.hex() == (
        "0200000000000000000000003a300000020000000000010001000100180000001c00000002000300"
        "70117111010000003a30000001000000000001001000000000000100"
    )


@pytest.mark.parametrize("data", [b"", b"no bitmap", bytes(8)])
def test_an_object_that_is_no_such_bitmap_is_told(data: bytes) -> None:
    name = hashlib.sha256(data).hexdigest()
    kept = Kept.from_json({"count": 4, "object": name}, lambda _: data, candidates=2**62)
    with pytest.raises(DamagedMessage, match=name):
        kept.select(np.array([0]))
