import hashlib
import struct
import zlib
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gapless.declaration.errors import DamagedMessage, NewerFormat
from gapless.results.block import AttemptRecord, ErrorRecord, decode_block, encode_block
from gapless.results.block_builder import BlockBuilder
from gapless.results.outcome import Outcome

GOLDEN = Path(__file__).parent / "golden" / "block-1.bin"
PREFIX = struct.Struct("<8sHHIQ16s")


def golden_block():
    """Every kind of column, an error and an attempt: what a program of format 1 must read."""
    builder = BlockBuilder(2, "node-ü", "c0de")
    for run in range(4):
        values = {
            "int": run - 2,
            "float": run / 3,
            "bool": run % 2 == 0,
            "text": f"№ {run}",
            "json": {"run": run},
            "array": np.arange(2, dtype=np.float32) + run,
            "ragged": list(range(run)),
        }
        builder.add_ok(2**40 + run, 1_700_000_000.25 + run, 0.125, values)
    builder.add(
        7,
        outcome=Outcome.FAILED,
        complete=False,
        attempt=3,
        started_s=1_700_000_009.0,
        duration_s=2.0,
        values={"int": 9},
        error=ErrorRecord(run=7, kind="exception", type="ValueError", message="no", transient=True),
        attempts=[
            AttemptRecord(
                run=7,
                number=1,
                node="node-ü",
                started_s=1_700_000_005.0,
                duration_s=1.0,
                outcome=Outcome.LOST,
                exit="signal 9",
                peak_memory=1 << 20,
            )
        ],
    )
    return builder.build()


def assert_same(one, other):
    assert (one.epoch, one.node, one.code) == (other.epoch, other.node, other.code)
    for field in ("run", "outcome", "complete", "attempt", "started_s", "duration_s"):
        assert np.array_equal(getattr(one, field), getattr(other, field)), field
    assert one.values.keys() == other.values.keys()
    for name, column in one.values.items():
        assert column.kind is other.values[name].kind
        assert repr(column.tolist()) == repr(other.values[name].tolist())
    assert one.errors == other.errors
    assert one.attempts == other.attempts


def test_a_block_of_format_1_is_read_for_ever():
    assert_same(decode_block(GOLDEN.read_bytes()), golden_block())


def test_the_same_block_gives_the_same_bytes():
    assert encode_block(golden_block()) == encode_block(golden_block())


def test_a_block_comes_back_as_it_was():
    assert_same(decode_block(encode_block(golden_block())), golden_block())


def test_columns_that_repeat_or_grow_slowly_take_little_room():
    builder = BlockBuilder(0, "n", "c")
    for run in range(20_000):
        builder.add_ok(run, 1.7e9 + run * 1e-3, 0.5, {"x": 1.0})
    assert len(encode_block(builder.build())) < 20_000 * 8


def test_columns_of_noise_come_back_to_the_bit():
    rng = np.random.default_rng(5)
    noise = rng.integers(0, 2**64, 5000, dtype=np.uint64).view(np.float64)
    noise = noise[np.isfinite(noise)]
    builder = BlockBuilder(0, "n", "c")
    order = rng.permutation(len(noise)).tolist()
    for run, value in zip(order, noise.tolist(), strict=True):
        builder.add_ok(run, value if abs(value) < 1e300 else 0.0, 0.0, {"x": value, "run": run})
    back = decode_block(encode_block(builder.build()))
    assert back.values["x"].data.tobytes() == noise.tobytes()
    assert back.run.tolist() == order


@pytest.mark.parametrize("data", [b"", b"short", b"\0" * 200, b"gaplessB" + bytes(60)])
def test_what_is_no_block_is_damaged(data):
    with pytest.raises(DamagedMessage):
        decode_block(data)


def test_every_flipped_byte_is_noticed():
    good = encode_block(golden_block())
    for position in range(len(good)):
        bad = bytearray(good)
        bad[position] ^= 0x10
        # A changed version may look like a later program's block; all else is damage.
        with pytest.raises((DamagedMessage, NewerFormat)):
            decode_block(bytes(bad))


def test_a_truncated_or_prolonged_block_is_damaged():
    good = encode_block(golden_block())
    for bad in (good[:-1], good[: len(good) // 2], good + b"x"):
        with pytest.raises(DamagedMessage):
            decode_block(bad)


def test_a_block_of_a_later_version_is_given_back():
    good = encode_block(golden_block())
    later = good[:8] + struct.pack("<H", 2) + good[10:]
    with pytest.raises(NewerFormat) as caught:
        decode_block(later)
    assert (caught.value.kind, caught.value.found, caught.value.known) == ("block", 2, 1)


def forged(head: dict, buffers: bytes = b"") -> bytes:
    """A block with a right checksum, as an attacker would send it."""
    raw = msgspec.msgpack.encode(head)
    fields = (b"gaplessB", 1, 0, len(raw), len(raw) + len(buffers))
    digest = hashlib.blake2b(PREFIX.pack(*fields, bytes(16)) + raw + buffers, digest_size=16)
    return PREFIX.pack(*fields, digest.digest()) + raw + buffers


def header(rows: int = 0, **changes):
    empty = {
        "run": ["<u8", rows, 0, 0],
        "outcome": ["|u1", rows, 0, 0],
        "complete": ["|b1", rows, 0, 0],
        "attempt": ["<u2", rows, 0, 0],
        "started": ["<f8", rows, 0, 0],
        "duration": ["<f8", rows, 0, 0],
    }
    plain = {"epoch": 0, "node": "n", "code": "c", "rows": rows}
    return {**plain, **empty, "values": [], "errors": [], "attempts": [], **changes}


def one_row(**changes):
    """A header of one row and its buffers; `changes` replace fields of the header."""
    buffers = struct.pack("<QB?Hdd", 5, 0, True, 1, 1.0, 1.0)
    buffers = b"".join(
        (struct.pack("<Q", 5), b"\0", b"\1", struct.pack("<H", 1), struct.pack("<dd", 1.0, 1.0))
    )
    head = header(1)
    for name, size in (("run", 8), ("outcome", 1), ("complete", 1), ("attempt", 2)):
        head[name][3] = size
    head["started"][3] = head["duration"][3] = 8
    return {**head, **changes}, buffers


def test_the_forgery_these_tests_rest_on_is_right():
    assert decode_block(forged(*one_row())).run.tolist() == [5]


@pytest.mark.parametrize(
    ("changes", "extra"),
    [
        ({"rows": -1}, b""),
        ({"rows": 2}, b""),
        ({"epoch": -1}, b""),
        ({"epoch": 2**32}, b""),
        ({"node": "n\0"}, b""),
        ({"node": "n" * 201}, b""),
        ({"run": ["<u8", 1, 0, 10**12]}, b""),
        ({"run": ["<u8", 1, 64, 8]}, b""),
        ({"run": ["|O", 1, 0, 8]}, b""),
        ({"values": [["v", "float64", [], ["<f8", 1, 0, 8], None, None]]}, b""),
        ({"values": [["v", "object", [], ["<f8", 1, 0, 8], None, None]]}, bytes(8)),
        ({"values": [["a/b", "float64", [], ["<f8", 1, 0, 8], None, None]]}, bytes(8)),
        ({"values": [["v", "float64", [], ["<f8", 1, 0, 8], None, None]] * 2}, bytes(16)),
        ({"values": [["v", "bool", [], ["|b1", 1, 0, 1], None, None]]}, b"\2"),
        ({"values": [["v", "array", [-1], ["<f8", 1, 0, 8], None, None]]}, bytes(8)),
        ({"values": [["v", "array", [2**40], ["<f8", 2**40, 1, 8], None, None]]}, bytes(8)),
        ({"values": [["v", "str", [], ["|u1", 1, 0, 1], None, None]]}, b"x"),
        ({"values": [["v", "str", [], ["|u1", 1, 0, 1], None, ["<u4", 1, 0, 4]]]}, b"x\2\0\0\0"),
        ({"values": [["v", "str", [], ["|u1", 1, 0, 1], None, ["<u4", 1, 0, 4]]]}, b"\xff\1\0\0\0"),
        ({"values": [["v", "str", [], ["|u1", 1, 0, 1], None, ["<u4", 1, 0, 4]]]}, b"\0\1\0\0\0"),
        ({"values": [["v", "json", [], ["|u1", 1, 0, 1], None, ["<u4", 1, 0, 4]]]}, b"{\1\0\0\0"),
        ({"errors": [{"run": 6, "kind": "x"}]}, b""),
        ({"errors": [{"run": 5, "kind": "nul \0"}]}, b""),
    ],
)
def test_a_hostile_block_with_a_right_checksum_is_damaged(changes, extra):
    head, buffers = one_row(**changes)
    with pytest.raises(DamagedMessage):
        decode_block(forged(head, buffers + extra))


def test_json_nested_without_end_is_damaged():
    text = b"[" * 200_000
    value = ["v", "json", [], ["|u1", len(text), 0, len(text)], None, ["<u4", 1, 0, 4]]
    head, buffers = one_row(values=[value])
    with pytest.raises(DamagedMessage):
        decode_block(forged(head, buffers + text + struct.pack("<I", len(text))))


def test_a_small_block_cannot_unpack_to_much_memory():
    bomb = zlib.compress(bytes(2**20))
    value = ["v", "float64", [], ["<f8", 1, 8, len(bomb)], None, None]
    head, buffers = one_row(values=[value])
    with pytest.raises(DamagedMessage, match="another size"):
        decode_block(forged(head, buffers + bomb))


def test_constant_columns_count_against_the_cap():
    columns = [[f"v{k}", "array", [2**22], ["<f8", 2**22, 1, 8], None, None] for k in range(9)]
    head, buffers = one_row(values=columns)
    with pytest.raises(DamagedMessage, match="unpacks to more"):
        decode_block(forged(head, buffers + bytes(8) * 9))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.binary(max_size=300), st.binary(max_size=100))
def test_any_bytes_under_a_right_checksum_are_damage_and_never_another_error(head, buffers):
    fields = (b"gaplessB", 1, 0, len(head), len(head) + len(buffers))
    digest = hashlib.blake2b(PREFIX.pack(*fields, bytes(16)) + head + buffers, digest_size=16)
    with pytest.raises(DamagedMessage):
        decode_block(PREFIX.pack(*fields, digest.digest()) + head + buffers)
